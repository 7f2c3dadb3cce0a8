"""The same methods on two backbones: which of them tell the backbones apart."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from xai_framework.core.errors import StoreError
from xai_framework.statistics import PairedBoard, paired, paired_comparisons
from xai_framework.statistics.datasets import dataset_captions
from xai_framework.statistics.paired import controls

NAMES: dict[str, str] = {"metric": "energy", "backbone": "net", "against": "net-untrained"}


def noise(seed: int, images: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, images)


def test_only_images_with_a_value_on_both_count() -> None:
    nan = math.nan
    found = paired({"m": np.array([3.0, nan, 5.0, 9.0])}, {"m": np.array([1.0, 1.0, nan, 4.0])}, **NAMES)
    (pair,) = found.pairs
    assert (pair.common, pair.images) == (2, 4)
    assert (pair.first.value, pair.second.value, pair.difference.value) == (6.0, 2.5, 3.5)
    assert pair.effect == 1.0


def test_pairing_sees_what_separate_intervals_do_not() -> None:
    """Images differ far more than the backbones do: each interval is wide, that of the differences is narrow."""
    images = 10 * noise(0)
    (pair,) = paired({"m": images + 1 + 0.1 * noise(1)}, {"m": images}, **NAMES).pairs
    assert pair.distinguishable
    assert not pair.apart
    assert pair.difference.low < 1 < pair.difference.high
    assert pair.difference.high - pair.difference.low < 0.1  # 4 standard errors of 0.1 / sqrt(40) are 0.063
    assert pair.first.high - pair.first.low > 4


def test_apart_needs_intervals_that_do_not_touch() -> None:
    low, high = np.linspace(0, 1, 30), np.linspace(2, 3, 30)
    (pair,) = paired({"m": high}, {"m": low}, **NAMES).pairs
    assert pair.apart
    assert pair.first.low > pair.second.high
    (other,) = paired({"m": low}, {"m": high}, **NAMES).pairs
    assert other.apart
    assert other.effect == -1.0


def test_words_say_who_tells_the_backbones_apart() -> None:
    base = noise(0)
    second = {k: base for k in ("up", "down", "same", "gone")}
    first = {"same": base, "down": base - 2, "up": base + 2, "gone": np.full(40, math.nan)}
    found = paired(first, second, **NAMES)
    assert [p.label for p in found.pairs] == ["up", "same", "down", "gone"]
    assert (
        found.words == "energy of net against net-untrained: higher by up; lower by down; not told apart by same, gone"
    )
    assert math.isnan(found.pairs[-1].effect)
    none = paired({"gone": first["gone"]}, second, **NAMES)
    assert none.words == "no image has a value on both backbones: nothing can be compared"


def test_p_is_corrected_for_the_number_of_methods() -> None:
    first, second = noise(1) + 0.5, noise(2)
    (alone,) = paired({"m": first}, {"m": second}, **NAMES).pairs
    among = paired({f"m{i}": first for i in range(4)}, {f"m{i}": second for i in range(4)}, **NAMES)
    assert among.pairs[0].p == pytest.approx(4 * alone.p)


def test_controls_are_found_by_name() -> None:
    names = ["a", "b", "a-untrained", "c-untrained", "d[seed=1]", "d-untrained[seed=1]"]
    assert controls(names) == [("a", "a-untrained"), ("d[seed=1]", "d-untrained[seed=1]")]


def measure(backbone: str, label: str, numbers: np.ndarray, objects: int = 1, metric: str = "energy") -> Any:
    facts = {"metric": metric, "backbone": backbone, "target": "predicted", "label": label}
    facts |= {"dataset": {"name": "shapes", "objects": objects}}
    return SimpleNamespace(
        facts=facts,
        path=Path("abc.h5"),
        file=SimpleNamespace(attributes={"better": "higher"}),
        numbers=numbers,
        higher_is_better=True,
        range=(-math.inf, math.inf),
    )


def run_of(*measures: Any) -> Any:
    return SimpleNamespace(measures=list(measures), folder=Path("outputs/runs/x"))


def test_datasets_are_never_mixed() -> None:
    run = run_of(
        *(
            measure(b, "m", noise(i) + 5 * ("-" not in b) * o, o)
            for i, b in enumerate(("a", "a-untrained"))
            for o in (2, 4)
        )
    )
    found = paired_comparisons(run)
    assert [(c.dataset, round(c.pairs[0].difference.value / 5)) for c in found] == [("objects=2", 2), ("objects=4", 4)]
    assert found[0].where == "a against a-untrained, predicted, objects=2"
    assert set(dataset_captions(run.measures[:1]).values()) == {""}
    board = PairedBoard(found)
    assert [s.where for s in board.summaries()] == [c.where for c in found]


def test_any_backbone_can_be_the_other_one() -> None:
    run = run_of(*(measure(b, "m", noise(0) + i) for i, b in enumerate("abc")))
    assert paired_comparisons(run) == ()
    found = paired_comparisons(run, "b")
    assert [(c.backbone, c.against, round(c.pairs[0].difference.value, 9)) for c in found] == [
        ("a", "b", -1),
        ("c", "b", 1),
    ]


@pytest.mark.parametrize(
    ("against", "names", "said"),
    [("sahpes", ["shapes", "other"], "did you mean 'shapes'"), ("a", ["a"], "'a' is the only backbone")],
)
def test_a_backbone_that_cannot_be_compared_is_said(against: str, names: list[str], said: str) -> None:
    with pytest.raises(StoreError, match=said):
        paired_comparisons(run_of(*(measure(n, "m", noise(0)) for n in names)), against)


def test_tables_to_take_along() -> None:
    run = run_of(
        *(
            measure(b, f"{k}_|", noise(1) + 9 * (b == "a") * (k == "up"), metric=m)
            for b in ("a", "a-untrained")
            for k in ("up", "same")
            for m in ("e", "f")
        )
    )
    board = PairedBoard(paired_comparisons(run))
    (summary,) = board.summaries()
    assert summary.metrics == ("e", "f")
    assert summary.cells == {"up_|": ("+9.00*", "+9.00*"), "same_|": ("~+0.00", "~+0.00")}
    rows = board.csv().splitlines()
    assert rows[0].startswith("metric,better,backbone,against,target,dataset,method,images,common,first,first_low")
    assert len(rows) == 5
    assert "up_\\|" in board.markdown()
    assert "up\\_|" in board.latex()
    assert board.latex().count("\\toprule") == 2
