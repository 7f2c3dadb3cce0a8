"""Pictures with a planted tag: exact truth, the same every time, and otherwise those of ``shapes``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from xai_plugins.datasets.shapes import Shapes
from xai_plugins.datasets.tagged_shapes import OWN, TaggedShapes

from xai_framework.core import Item

MAGENTA = (255, 0, 255)


def pixels(item: Item) -> np.ndarray:
    return np.asarray(item.image)


def has_tag(item: Item) -> bool:
    return any(r.label == "tag" for r in item.truth)


@pytest.mark.parametrize("place", ["corner", "inside"])
@pytest.mark.parametrize(("objects", "size"), [(1, 96), (2, 130), (4, 96)])
def test_the_tag_is_where_the_truth_says_and_all_else_is_the_picture_of_shapes(
    place: Any, objects: Any, size: int
) -> None:
    plain = Shapes(images=6, objects=objects, size=size)
    dataset = TaggedShapes(images=6, objects=objects, size=size, place=place)
    for i in range(6):
        item = dataset[i]
        *shapes, tag = item.truth
        assert tag.label == "tag"
        assert tag.mask is not None
        assert tag.box is not None
        x0, y0, x1, y1 = (int(v) for v in tag.box)
        box = np.zeros((size, size), dtype=bool)
        box[y0:y1, x0:x1] = True
        assert np.array_equal(tag.mask, box)  # a full square
        assert x1 - x0 == y1 - y0 == round(size * 10 / 96)
        assert (pixels(item)[box] == MAGENTA).all()
        assert np.array_equal(pixels(item)[~box], pixels(plain[i])[~box])
        assert [r.label for r in shapes] == [r.label for r in plain[i].truth]
        for now, before in zip(shapes, plain[i].truth, strict=True):
            assert now.mask is not None
            assert before.mask is not None
            assert np.array_equal(now.mask, before.mask & ~box)
        margin = min(x0, y0, size - x1, size - y1)
        assert (margin > size / 5) == (place == "inside")
        corner = max(min(x0, size - x1), min(y0, size - y1))
        assert (corner == round(3 * size / 96)) == (place == "corner")


def test_a_single_shape_is_never_covered() -> None:
    for place in ("corner", "inside"):
        dataset, plain = TaggedShapes(images=60, place=place), Shapes(images=60)  # type: ignore[arg-type]
        for i in range(60):
            assert np.array_equal(dataset[i].truth[0].mask, plain[i].truth[0].mask)  # type: ignore[arg-type]


def test_all_four_corners_are_used() -> None:
    dataset = TaggedShapes(images=60)
    assert len({dataset[i].truth[-1].box for i in range(60)}) == 4


@pytest.mark.parametrize("tag", ["all", "own", "others", "none"])
def test_which_pictures_have_the_tag(tag: Any) -> None:
    dataset = TaggedShapes(images=40, tag=tag)
    items = [dataset[i] for i in range(40)]
    own = [item.label == OWN for item in items]
    assert 0 < sum(own) < 40
    expected = {"all": [True] * 40, "own": own, "others": [not o for o in own], "none": [False] * 40}[tag]
    assert [has_tag(item) for item in items] == expected
    assert [(r.id, r.label) for r in dataset.rows()] == [(item.id, item.label) for item in items]


def test_pictures_of_another_content_have_another_row() -> None:
    rows = {k: list(TaggedShapes(images=3, **v).rows()) for k, v in {"a": {}, "b": {"place": "inside"}}.items()}  # type: ignore[arg-type]
    plain = list(Shapes(images=3).rows())
    assert list(TaggedShapes(images=3, tag="none").rows()) == plain
    for one, two, three in zip(rows["a"], rows["b"], plain, strict=True):
        assert len({one.content, two.content, three.content}) == 3 == len({one.id, two.id, three.id})
    assert list(TaggedShapes(images=9).rows())[:3] == rows["a"]


def test_the_tag_has_not_changed_without_its_version() -> None:
    """Pictures are stored by VERSION, and the shipped networks learnt from these."""
    places = [TaggedShapes(images=4, place=p)[3].truth[-1].box for p in ("corner", "inside")]  # type: ignore[arg-type]
    assert places == [(3, 83, 13, 93), (59, 61, 69, 71)]
