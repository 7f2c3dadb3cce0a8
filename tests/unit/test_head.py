"""Passes that leave outputs out which no score reads: what is left is what it is among all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from probing import around, inputs, probe
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from xai_plugins.methods.ablationcam import AblationCam
from xai_plugins.methods.smoothgrad import SmoothGrad
from xai_plugins.targets.contrast import Contrast
from xai_plugins.targets.index import Index
from xai_plugins.targets.rank import Predicted
from xai_plugins.targets.weights import Weights

from xai_framework.core.edits import Boxes
from xai_framework.core.errors import TargetError
from xai_framework.core.target import ClassTarget, Target
from xai_framework.fast.twin import twin_of
from xai_framework.fast.ways import Ways
from xai_framework.rng import NamedRng

K = 160


class Net(nn.Module):
    """Fully convolutional, with different ends."""

    def __init__(self, end: str = "mean", groups: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.end = end
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.final = nn.Conv2d(16, K, 1, groups=groups)
        self.twice = self.final if end == "run twice" else None
        self.tied = nn.Conv2d(16, K, 1)
        if end == "tied":
            self.tied.weight = self.final.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.tied(self.body(x)).relu().sum((1, 2, 3)) if self.end == "tied" else None
        y = self.final(self.body(x if y is None else x + 0 * y[:, None, None, None]))
        if self.twice is not None:
            y = y + self.twice(self.body(x.flip(3)))
        if self.end == "view":
            y = y.view(len(y), K, -1).mean(2)
        elif self.end == "pool":
            y = nn.functional.adaptive_avg_pool2d(y.relu_(), (1, 1)).flatten(1)
        else:
            y = y.relu().mean((2, 3)) if self.end == "relu" else y.mean((2, 3))
        if self.end == "softmax":
            y = y.softmax(1)
        elif self.end == "centred":
            y = y - y.mean(1, keepdim=True)
        elif self.end == "mirrored":
            y = y.flip(1)
        elif self.end == "largest":
            y = torch.where(y > y.amax(1, keepdim=True) - 0.3, y, 0)
        elif self.end == "bounded":  # for pictures of larger values only
            y = y / (y.amax(1, keepdim=True) / 5).clamp(min=1)
        elif self.end == "counting":
            assert y.shape[1] == K
        return y


class Computed(TorchFunctionMode):
    """The most channels that each convolution of a pass gives."""

    def __init__(self) -> None:
        super().__init__()
        self.channels: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.conv2d:
            self.channels.add(len(args[1]))
        return func(*args, **(kwargs or {}))


def windows(x: Tensor) -> Boxes:
    places = tuple((y, z, y + 4, z + 4) for y in range(0, 13, 4) for z in range(0, 13, 4))
    return Boxes(places, torch.zeros_like(x))


def found_of(end: str, groups: int = 1) -> Any:
    with torch.no_grad():
        twin = twin_of(around(Net(end, groups)), inputs(1, 16))
    assert twin is not None
    return twin.head


@pytest.mark.parametrize("end", ["mean", "relu", "pool", "tied"])
def test_outputs_that_stand_alone_can_be_left_out(end: str) -> None:
    head = found_of(end)
    assert {"", "final"} <= head.behind
    assert head.behind.isdisjoint({"body", "body.0"})


@pytest.mark.parametrize(
    "end",
    [
        *("softmax", "centred", "mirrored", "run twice", "view"),
        *("largest", "bounded", "counting"),
    ],
)
def test_outputs_that_depend_on_others_cannot(end: str) -> None:
    assert found_of(end) is None


def test_channels_of_several_groups_are_all_computed() -> None:
    assert found_of("mean", groups=2) is None


TARGETS: list[Target] = [
    Predicted(),
    Index(index=7),
    Contrast(),
    Predicted(of="mean_logit"),
    Predicted(of="probability"),
    Predicted(softmax_first=True),
    Predicted(scale_logits="max"),
    Predicted(anew=True),
    Weights(classes=(1, 2), weights=(1.0, -1.0)),
]
FEWER = 4
"""So many of them read their classes alone."""


@pytest.mark.parametrize("target", TARGETS, ids=repr)
def test_answers_are_those_of_all_outputs(target: Target) -> None:
    adapter, x = around(Net()), inputs(3, 16)
    fast, plain = (probe(adapter, target=target, ways=ways) for ways in (Ways(adapter), None))
    rows = target.choose(plain.outputs(x), [], plain)
    layer = lambda p: p.layers(x, rows, ["body", "final"])  # noqa: E731
    asked: list[Callable[[Any], Any]] = [
        lambda p: p.gradient(x, rows),
        lambda p: p.score(x, rows),
        lambda p: p.scores(x, rows, windows(x)),
        lambda p: torch.cat([t.flatten() for pair in layer(p).values() for t in pair]),
        lambda p: SmoothGrad(samples=2).explain(p, x, rows, NamedRng.of(0, "abc")),
        lambda p: AblationCam(layer="body").explain(p, x, rows, NamedRng.of(0, "abc")),
        lambda p: AblationCam(layer="final").explain(p, x, rows, NamedRng.of(0, "abc")),
    ]
    for ask in asked:
        torch.testing.assert_close(ask(fast), ask(plain), rtol=1e-3, atol=2e-5)


def test_what_no_score_reads_is_not_computed() -> None:
    adapter, x = around(Net()), inputs(3, 16)
    fewer = 0
    for target in TARGETS:
        asked = probe(adapter, target=target, ways=Ways(adapter))
        rows = target.choose(asked.outputs(x), [], asked)
        for ask in (lambda a=asked, r=rows: a.gradient(x, r), lambda a=asked, r=rows: a.scores(x, r, windows(x))):
            ask()
            with Computed() as computed:
                ask()
            fewer += computed.channels == {16, 32}
            assert computed.channels in ({16, 32}, {16, K})
    assert fewer == 2 * FEWER


def test_draws_of_one_target_are_not_asked_for_other_classes_but_may_be() -> None:
    adapter, x = around(Net()), inputs(2, 16)
    rows, others = torch.tensor([3, 5]), torch.tensor([8, 9])
    asked, plain = probe(adapter, keep=x, ways=Ways(adapter), others=False), probe(adapter)
    draw = asked._handouts.once("draw", "noise", x, lambda t: t + 0.5)
    for wanted in (rows, others):
        torch.testing.assert_close(asked.gradient(draw, wanted), plain.gradient(draw, wanted), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(asked.outputs(draw), plain.outputs(draw), rtol=1e-4, atol=1e-6)


def test_draws_of_which_some_passes_are_whole_have_all_outputs() -> None:
    adapter, x = around(Net()), inputs(40, 16)
    asked = probe(adapter, target=Contrast(), keep=x, ways=Ways(adapter), others=False)
    draw = asked._handouts.once("draw", "noise", x, lambda t: t + 0.5)
    rows = torch.stack([torch.arange(40), torch.arange(40, 80)], 1)  # 64 classes in the first pass, 16 in the second
    asked.gradient(draw, rows)
    torch.testing.assert_close(asked.outputs(draw), probe(adapter).outputs(draw), rtol=1e-4, atol=1e-6)


def test_a_score_of_somebodys_own_may_read_everything() -> None:
    @dataclass(frozen=True)
    class Margin(ClassTarget):
        def choose(self, outputs: Tensor, about: Any, probe: Any) -> Tensor:
            return outputs.argmax(1)

        def score(self, outputs: Tensor, rows: Tensor) -> Tensor:
            return super().score(outputs, rows) - outputs.mean(1)

    adapter, x, rows = around(Net()), inputs(2, 16), torch.tensor([3, 5])
    target = Margin()
    assert target.reads(rows) is not None
    assert target.needed(rows) is None
    found = [probe(adapter, target=target, ways=w).gradient(x, rows) for w in (Ways(adapter), None)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_a_class_that_is_none_is_said_as_ever() -> None:
    adapter, x = around(Net()), inputs(2, 16)
    asked = probe(adapter, target=Index(index=0), ways=Ways(adapter))
    with pytest.raises(TargetError, match=f"{K} is not a class"):
        asked.gradient(x, torch.tensor([0, K]))


def test_an_exception_in_a_pass_leaves_the_copy_whole() -> None:
    adapter, x = around(Net()), inputs(2, 16)
    ways, rows = Ways(adapter), torch.tensor([3, 5])
    asked = probe(adapter, ways=ways)
    before = asked.outputs(x)
    copied = ways._twin.adapter.model  # type: ignore[union-attr]

    def fail(*_: Any) -> None:
        raise RuntimeError("stop")

    handle = copied.body.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="stop"):
        asked.gradient(x, rows)
    handle.remove()
    assert torch.equal(asked.outputs(x), before)
    assert adapter.model.final.weight.shape[0] == copied.final.weight.shape[0] == K
