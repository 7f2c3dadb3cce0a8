"""Which output is explained, and what a user is told who asks for one that is not there."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from xai_plugins.targets.index import Index
from xai_plugins.targets.label import Label
from xai_plugins.targets.rank import Predicted, Rank, SecondBest, TopK

from xai_framework.core import About, ClassTarget, ConfigError, TargetError
from xai_framework.registry import Registry

NAMES = ("tabby", "tiger cat", "crane", "Crane", "boxer")
OUTPUTS = torch.tensor([[0.1, 3.0, 2.0, -1.0, 2.5], [5.0, 5.0, -2.0, 7.0, 5.0]])


def about(*labels: Any, names: tuple[str, ...] = NAMES) -> list[About]:
    return [About(f"image {i}", label, names) for i, label in enumerate(labels)]


def choose(target: ClassTarget, outputs: Tensor = OUTPUTS, *labels: Any, names: tuple[str, ...] = NAMES) -> list[int]:
    given = about(*(labels or [None] * len(outputs)), names=names)
    rows = target.choose(outputs, given, None)  # type: ignore[arg-type]
    assert rows.dtype == torch.int64
    return rows.tolist()


def test_ranks_of_the_prediction_equal_ones_in_order_of_index() -> None:
    assert [choose(Rank(rank=r)) for r in range(5)] == [[1, 3], [4, 0], [2, 1], [0, 4], [3, 2]]
    assert choose(Predicted()) == [1, 3]
    assert choose(SecondBest()) == [4, 0]


def test_top_k_and_other_spellings_are_one_target_a_rank() -> None:
    assert TopK(k=3, of="probability").expanded() == (
        Predicted(of="probability"),
        Rank(rank=1, of="probability"),
        Rank(rank=2, of="probability"),
    )
    assert Rank(rank=0).expanded() == TopK(k=1).expanded() == Predicted().expanded() == (Predicted(),)
    assert SecondBest().expanded() == Rank(rank=1).expanded() == (Rank(rank=1),)
    with pytest.raises(TargetError, match="stands for several targets"):
        choose(TopK(k=2))


@pytest.mark.parametrize(
    ("wanted", "index"),
    [(1, 1), ("tiger cat", 1), ("Tiger Cat", 1), ("tiger_cat", 1), (" TABBY ", 0), (np.int64(4), 4)],
)
def test_classes_by_index_and_by_name(wanted: Any, index: int) -> None:
    assert choose(Label(), OUTPUTS, wanted, wanted) == [index, index]
    if not isinstance(wanted, np.integer):
        assert choose(Index(index=wanted)) == [index, index]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (-1, r"-1 is not a class; use 0\.\.4, or target=predicted"),
        (5, r"5 is not a class of this backbone; use 0\.\.4"),
        ("tigre cat", r"no class 'tigre cat'; did you mean 'tiger cat'\?"),
        ("crane", r"'crane' names several classes; use an index: \[2, 3\]"),
    ],
)
def test_classes_that_are_not_there(wanted: Any, said: str) -> None:
    for call in (lambda: choose(Index(index=wanted)), lambda: Index(index=wanted).check(NAMES, 5)):
        with pytest.raises(TargetError, match=said) as error:
            call()
        assert error.value.where == "target.index"
    with pytest.raises(TargetError, match=said) as error:
        choose(Label(), OUTPUTS, 0, wanted)
    assert error.value.where == "label of image 1"


def test_a_thousand_classes_end_at_999() -> None:
    with pytest.raises(TargetError, match=r"1000 is not a class of this backbone; use 0\.\.999"):
        Index(index=1000).check((), 1000)
    Index(index=999).check((), 1000)


def test_names_need_names() -> None:
    with pytest.raises(TargetError, match=r"'dog' is a name, but this backbone has no class names; use 0\.\.4"):
        choose(Index(index="dog"), names=())
    assert choose(Index(index=3), names=()) == [3, 3]


def test_images_without_a_label_are_named() -> None:
    with pytest.raises(TargetError, match="label of image 1: the dataset gives no label; use target=predicted"):
        choose(Label(), OUTPUTS, 0, None)


def test_a_list_of_classes_is_one_target_each() -> None:
    both = Index(index=(1, "boxer"), of="log_probability")
    assert both.expanded() == (Index(index=1, of="log_probability"), Index(index="boxer", of="log_probability"))
    assert [choose(one)[0] for one in both.expanded()] == [1, 4]
    with pytest.raises(TargetError, match="stands for several targets"):
        choose(both)
    with pytest.raises(TargetError, match="7 is not a class"):
        Index(index=(1, 7)).check(NAMES, 5)


@pytest.mark.parametrize("wrong", [True, 2.0, None, [], [1, [2]]])
def test_what_cannot_be_a_class(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"Index\.index"):
        Index(index=wrong)


def test_ranks_beyond_the_classes() -> None:
    Rank(rank=4).check((), 5)
    for call in (lambda: Rank(rank=5).check((), 5), lambda: choose(Rank(rank=5))):
        with pytest.raises(TargetError, match=r"there is no rank 5 among 5 classes; use 0\.\.4"):
            call()
    with pytest.raises(TargetError, match="no rank 1 among 1 classes"):
        SecondBest().check((), 1)
    with pytest.raises(TargetError, match="there are no 6 classes; use at most 5"):
        TopK(k=6).check(NAMES, 5)
    for wrong in (-1, 0.5):
        with pytest.raises(ConfigError, match=r"Rank\.rank"):
            Rank(rank=wrong)  # type: ignore[arg-type]


def test_large_indices_survive_reduced_precision() -> None:
    outputs = torch.zeros(2, 1000, dtype=torch.bfloat16)
    outputs[:, 999] = 1
    assert choose(Index(index=997), outputs) == [997, 997]
    assert choose(Label(), outputs, 513, 999) == [513, 999]
    assert choose(Predicted(), outputs) == [999, 999]


@pytest.mark.parametrize("of", ["logit", "probability", "log_probability", "cross_entropy"])
def test_scores_and_their_gradients(of: Any) -> None:
    rows = torch.tensor([2, 3])
    s = OUTPUTS.double().requires_grad_()
    score = Predicted(of=of).score(s, rows)
    gradient = torch.autograd.grad(score.sum(), s)[0].numpy()
    z = OUTPUTS.double().numpy()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    one_hot = np.eye(5)[rows]
    p_c = (p * one_hot).sum(1)
    expected = {
        "logit": ((z * one_hot).sum(1), one_hot),
        "probability": (p_c, p_c[:, None] * (one_hot - p)),
        "log_probability": (np.log(p_c), one_hot - p),
        "cross_entropy": (-np.log(p_c), p - one_hot),
    }[of]
    np.testing.assert_allclose(score.detach(), expected[0], rtol=1e-12)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-9, atol=1e-15)


def test_scores_of_classes_that_do_not_exist() -> None:
    for rows, said in (([0, 5], "5 is not a class"), ([-1, 0], "-1 is not a class"), ([0], "1 targets for 2 images")):
        with pytest.raises(TargetError, match=said):
            Predicted().score(OUTPUTS, torch.tensor(rows))


def test_configs_give_targets_and_back() -> None:
    registry = Registry()
    for target in (*TopK(k=3).expanded(), *Index(index=(1, "boxer")).expanded(), Label(of="cross_entropy")):
        assert registry.build("target", registry.config_of(target)) == target
    assert registry.build("target", {"name": "index", "index": "tiger cat"}) == Index(index=("tiger cat",))
    assert registry.config_of(Predicted()).items() >= {"name": "predicted", "of": "logit"}.items()


def test_targets_import_no_torch() -> None:
    modules = ", ".join(f"xai_plugins.targets.{m}" for m in ("rank", "label", "index"))
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
