"""Likeness to a reference picture, and the features it is measured in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_engine import Small
from torch import Tensor
from xai_plugins.backbones.embedding import Embedding
from xai_plugins.backbones.shapes import ShapesVgg
from xai_plugins.backbones.torchvision import Torchvision
from xai_plugins.methods.gradient import Gradient
from xai_plugins.targets.similarity import Similarity

from xai_framework.core import ConfigError, ImageError, ModelError, TargetError
from xai_framework.identity import plugin_identity
from xai_framework.probe import SharedProbe
from xai_framework.registry import Registry
from xai_framework.rng import NamedRng


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    paths = []
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (110, 130, 3), dtype=np.uint8)
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_similarity_is_the_cosine_of_features(pictures: list[str]) -> None:
    adapter = Embedding(of=ShapesVgg())
    x, reference = (adapter.prepare(Image.open(p)).inputs[None] for p in pictures)
    target = Similarity(image=pictures[1])
    asked = SharedProbe(adapter, target)
    rows = target.choose(asked.outputs(x), [], asked)

    plain = ShapesVgg()
    seen: list[Tensor] = []
    plain.layer("last").module.register_forward_hook(lambda _m, _i, output: seen.append(output.clone()))
    leaf = x.clone().requires_grad_()
    plain.model(leaf)
    plain.model(reference)
    f, g = (s.mean((2, 3)) for s in seen)
    torch.testing.assert_close(asked.outputs(x), f)
    cosine = (f * g).sum() / (f.square().sum() * g.square().sum()).sqrt()
    torch.testing.assert_close(asked.score(x, rows), cosine[None])
    found = Gradient().explain(asked, x, rows, NamedRng.of(0, ["x"]))
    torch.testing.assert_close(found, torch.autograd.grad(cosine, leaf)[0])


def test_a_picture_is_its_own_nearest(pictures: list[str]) -> None:
    adapter, target = Embedding(of=ShapesVgg()), Similarity(image=pictures[0])
    asked = SharedProbe(adapter, target)
    x = torch.cat([adapter.prepare(Image.open(p)).inputs[None] for p in pictures])
    found = asked.score(x, target.choose(asked.outputs(x), [], asked))
    assert float(found[0]) == pytest.approx(1, abs=1e-6)
    assert float(found[1]) < 1


def test_a_reference_counts_by_its_content_and_is_opened_once(pictures: list[str]) -> None:
    registry = Registry()

    def identity(path: str) -> object:
        return plugin_identity(registry, "target", registry.config_of(Similarity(image=path)))

    before = identity(pictures[0])
    asked = SharedProbe(Small(), Similarity(image=pictures[0]))
    assert asked.reference(pictures[0]) is asked.reference(pictures[0])
    assert before != identity(pictures[1])
    Path(pictures[1]).write_bytes(Path(pictures[0]).read_bytes())
    assert before == identity(pictures[1])


def test_references_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    asked = SharedProbe(Small(), Similarity(image="x"))
    with pytest.raises(ModelError, match="no reference image"):
        asked.reference(str(tmp_path / "none.png"))
    with pytest.raises(ImageError, match="is text"):
        asked.reference(str(tmp_path / "text.png"))
    with pytest.raises(TargetError, match="a reference of"):
        Similarity(image="x").score(torch.zeros(2, 5), torch.zeros(2, 4))
    with pytest.raises(ConfigError, match="no file"):
        plugin_identity(Registry(), "target", {"name": "similarity", "image": str(tmp_path / "none.png")}, "target")


def test_weights_that_may_move_are_fixed_inside_an_embedding_too() -> None:
    moving = Torchvision(arch="squeezenet1_1", weights="DEFAULT")
    assert Embedding(of=moving).resolved() == Embedding(of=moving.resolved()) != Embedding(of=moving)
