"""Which output is explained, and what a user is told who asks for one that is not there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from test_engine import Does, Noise, Small, run
from torch import Tensor, nn
from xai_plugins.methods.smoothgrad import SmoothGrad
from xai_plugins.targets.contrast import Contrast
from xai_plugins.targets.index import Index
from xai_plugins.targets.label import Label
from xai_plugins.targets.rank import Predicted, Rank, SecondBest, TopK
from xai_plugins.targets.similarity import Similarity
from xai_plugins.targets.weights import Weights

from xai_framework.core import About, ClassTarget, ConfigError, Row, Status, Target, TargetError
from xai_framework.identity import caption
from xai_framework.probe import SharedProbe
from xai_framework.registry import Registry
from xai_framework.rng import NamedRng

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


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def scored(target: Target, rows: Tensor, outputs: Tensor = OUTPUTS) -> tuple[np.ndarray, np.ndarray]:
    """Scores and their gradient by the outputs."""
    s = outputs.double().requires_grad_()
    score = target.score(s, rows)
    return score.detach().numpy(), torch.autograd.grad(score.sum(), s)[0].numpy()


Z, ONE_HOT = OUTPUTS.double().numpy(), np.eye(5)[[2, 3]]
ROWS = torch.tensor([2, 3])


def test_steps_of_published_recipes_and_their_gradients() -> None:
    score, gradient = scored(Predicted(of="mean_logit"), ROWS)
    np.testing.assert_allclose(score, (Z * ONE_HOT).mean(1))
    np.testing.assert_allclose(gradient, ONE_HOT / 5)

    p = softmax(Z)
    score, gradient = scored(Predicted(of="cross_entropy", softmax_first=True), ROWS)
    np.testing.assert_allclose(score, -np.log((softmax(p) * ONE_HOT).sum(1)))
    by_p = softmax(p) - ONE_HOT
    np.testing.assert_allclose(gradient, p * (by_p - (by_p * p).sum(1, keepdims=True)), atol=1e-15)

    largest = np.array([[3.0], [7.0]])  # a constant: the gradient knows nothing of which output it came from
    p = softmax(Z / largest)
    score, gradient = scored(Predicted(of="probability", scale_logits="max"), ROWS)
    np.testing.assert_allclose(score, (p * ONE_HOT).sum(1))
    np.testing.assert_allclose(gradient, (p * ONE_HOT).sum(1, keepdims=True) * (ONE_HOT - p) / largest, atol=1e-15)

    whole, part = scored(Label(of="cross_entropy"), ROWS), scored(Label(of="cross_entropy", divide_by=5.0), ROWS)
    for found, expected in zip(part, whole, strict=True):
        np.testing.assert_allclose(found, expected / 5)


def test_scaled_logits_rescue_a_saturated_softmax_and_survive_zeros() -> None:
    saturated = OUTPUTS * 1e5
    assert not scored(Predicted(of="probability"), ROWS, saturated)[1].any()
    rescued = scored(Predicted(of="probability", scale_logits="max"), ROWS, saturated)
    np.testing.assert_allclose(rescued[0], scored(Predicted(of="probability", scale_logits="max"), ROWS)[0])
    score, gradient = scored(Predicted(scale_logits="max"), ROWS, torch.zeros(2, 5))
    assert not score.any()
    np.testing.assert_array_equal(gradient, ONE_HOT)


@pytest.mark.parametrize("wrong", [{"divide_by": 0}, {"divide_by": -1.0}, {"of": "loss"}, {"scale_logits": "mean"}])
def test_scores_that_do_not_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"Predicted\.{next(iter(wrong))}"):
        Predicted(**wrong)


def test_a_contrast_is_a_difference_of_scores() -> None:
    rows = Contrast(plus="boxer", minus="second_best").choose(OUTPUTS, about(None, None), None)  # type: ignore[arg-type]
    assert rows.tolist() == [[4, 4], [4, 0]]
    for of in ("logit", "log_probability", "probability"):
        found = scored(Contrast(of=of), torch.tensor([[1, 0], [3, 2]]))  # type: ignore[arg-type]
        plus, minus = (scored(Predicted(of=of), torch.tensor(c)) for c in ([1, 3], [0, 2]))  # type: ignore[arg-type]
        np.testing.assert_allclose(found[0], plus[0] - minus[0])
        np.testing.assert_allclose(found[1], plus[1] - minus[1], atol=1e-15)
    labelled = Contrast(plus="predicted", minus="label").choose(OUTPUTS, about("tabby", 1), None)  # type: ignore[arg-type]
    assert labelled.tolist() == [[1, 0], [3, 1]]


def test_contrasts_that_do_not_exist() -> None:
    Contrast(plus=0, minus="boxer").check(NAMES, 5)
    for wrong, said, where in (
        (Contrast(plus="dog"), "no class 'dog'", "target.plus"),
        (Contrast(minus=5), "5 is not a class", "target.minus"),
        (Contrast(), "no rank 1 among 1 classes", "target.rank"),
    ):
        with pytest.raises(TargetError, match=said) as error:
            wrong.check(NAMES if where != "target.rank" else (), 5 if where != "target.rank" else 1)
        assert error.value.where == where
    with pytest.raises(TargetError, match="label of image 1: the dataset gives no label"):
        Contrast(minus="label").choose(OUTPUTS, about(0, None), None)  # type: ignore[arg-type]


def test_weights_are_a_product_of_several_classes() -> None:
    product = Weights(classes=("boxer", 0), weights=(10.0, -2.5), of="probability")
    rows = product.choose(OUTPUTS.double(), about(None, None), None)  # type: ignore[arg-type]
    w = np.array([-2.5, 0, 0, 0, 10.0])
    np.testing.assert_array_equal(rows, [w, w])
    p = softmax(Z)
    score, gradient = scored(product, rows)
    np.testing.assert_allclose(score, p @ w)
    np.testing.assert_allclose(gradient, p * (w - (p @ w)[:, None]), atol=1e-14)
    np.testing.assert_allclose(scored(Weights(classes=(3,), weights=(2.0,)), 2 * torch.eye(5)[[3, 3]])[0], 2 * Z[:, 3])


def test_weights_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match="1 weights for 2 classes; give one a class"):
        Weights(classes=(0, 1), weights=(1.0,))
    for classes, said in ((("dog",), "no class 'dog'"), ((1, "tiger cat"), "a class is given twice"), ((9,), "9 is")):
        with pytest.raises(TargetError, match=said):
            Weights(classes=classes, weights=(1.0,) * len(classes)).check(NAMES, 5)


def test_a_sampled_method_may_choose_the_class_anew_for_every_copy() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).double()
    x, noise, chosen = torch.zeros(1, 3, 8, 8, dtype=torch.float64), [], []
    for k in range(30):
        draw = NamedRng.of(0, ["x"]).shared("noise").repeat(1, k).normal((1, 3, 8, 8)).double()
        noise.append(draw)
        chosen.append(int(model(x + 2 * draw).argmax()))
    assert len(set(chosen)) > 2
    weight = model[1].weight.detach().view(5, 3, 8, 8)
    method = SmoothGrad(samples=30, sigma=2.0, noise="absolute")
    for target, expected in (
        (Predicted(anew=True), weight[chosen].mean(0)),
        (Predicted(), weight[int(model(x).argmax())]),
    ):
        asked = SharedProbe(Small().with_model(model.eval()), target)
        rows = target.choose(asked.outputs(x), [], asked)
        found = method.explain(asked, x, rows, NamedRng.of(0, ["x"]))[0]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_snapshots_may_come_in_any_order() -> None:
    adapter, x = Small(), torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    common: dict[str, Any] = {"sigma": 0.5, "reduce": "max_abs", "reduce_when": "before"}
    asked = SharedProbe(adapter, Predicted())
    strip = SmoothGrad(samples=20, snapshots=(20, 1, 17), **common)
    found = strip.explain(asked, x, torch.tensor([1]), NamedRng.of(0, ["x"]))
    for channel, samples in zip(found[0], (20, 1, 17), strict=True):
        alone = SmoothGrad(samples=samples, **common)
        expected = alone.explain(asked, x, torch.tensor([1]), NamedRng.of(0, ["x"]))[0, 0]
        torch.testing.assert_close(channel, expected)
    with pytest.raises(ConfigError, match=r"SmoothGrad\.snapshots"):
        SmoothGrad(samples=20, snapshots=(21,))


class Unlabelled(Noise):
    def rows(self) -> Iterator[Row]:
        return (Row(f"image {i}", f"{i}", None) for i in range(self.count))


@pytest.mark.parametrize("target", [Label(), Contrast(plus="label", minus=0)])
def test_without_any_label_every_image_says_so(target: Target) -> None:
    blocks, engine = run({"gradient": Does()}, Unlabelled(), target=target)
    assert blocks["gradient"].status.tolist() == [Status.failed] * 5
    assert all("the dataset gives no label" in reason for reason in blocks["gradient"].reason)
    assert blocks["gradient"].target.tolist() == [-1] * 5
    assert engine.counts.backward == 0


def test_a_contrast_needs_the_label_of_its_own_image_only() -> None:
    blocks, _ = run({"gradient": Does()}, Noise(), target=Contrast(plus="label", minus="c"))
    assert blocks["gradient"].status.tolist() == [0, 0, Status.failed, 0, 0]
    assert blocks["gradient"].target.tolist() == [-1] * 5


def test_scores_of_classes_that_do_not_exist() -> None:
    for rows, said in (([0, 5], "5 is not a class"), ([-1, 0], "-1 is not a class"), ([0], "1 targets for 2 images")):
        with pytest.raises(TargetError, match=said):
            Predicted().score(OUTPUTS, torch.tensor(rows))


def test_configs_give_targets_and_back() -> None:
    registry = Registry()
    for target in (
        *TopK(k=3).expanded(),
        *Index(index=(1, "boxer"), softmax_first=True, divide_by=5.0).expanded(),
        Label(of="cross_entropy"),
        Predicted(anew=True, scale_logits="max"),
        Contrast(plus="boxer", of="mean_logit"),
        Weights(classes=(1, "boxer"), weights=(1.0, 2.0)),
    ):
        assert registry.build("target", registry.config_of(target)) == target
    assert registry.build("target", {"name": "index", "index": "tiger cat"}) == Index(index=("tiger cat",))
    assert registry.config_of(Predicted()).items() >= {"name": "predicted", "of": "logit"}.items()


def test_targets_of_one_study_are_told_apart() -> None:
    registry = Registry()
    for target, name in (
        (Weights(classes=(1, "boxer"), weights=(1.0, -2.5)), "weights(1+boxer: 1+-2.5)"),
        (Contrast(plus="boxer", of="probability"), "boxer-second_best:probability"),
        (Predicted(anew=True, softmax_first=True, of="cross_entropy"), "predicted:cross_entropy:softmax_first:anew"),
        (Label(divide_by=5.0), "label:divide_by=5"),
        (Similarity(image="a/b.png"), "similarity(a/b.png)"),
    ):
        assert caption(registry, "target", registry.config_of(target)) == name


def test_targets_import_no_torch() -> None:
    modules = ", ".join(
        f"xai_plugins.targets.{m}" for m in ("rank", "label", "index", "contrast", "weights", "similarity")
    )
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
