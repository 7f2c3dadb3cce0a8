"""Passes shared by methods and targets: what they cost, and that they change no bit of any result."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from probing import around, counted, inputs, plan, probe
from torch import Tensor, nn
from xai_plugins.methods.gradcam import GradCam
from xai_plugins.methods.gradient import Gradient
from xai_plugins.methods.smoothgrad import SmoothGrad
from xai_plugins.targets.rank import Predicted, SecondBest

from xai_framework.core import Ask, LayerError, Shape
from xai_framework.handout import Handouts
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng
from xai_framework.testing import TinyAdapter


def test_gradient_gradcam_and_the_predicted_class_take_one_forward_and_one_backward() -> None:
    adapter, x = TinyAdapter(), inputs()
    methods = [Gradient(), GradCam(), GradCam(layer="features.2")]
    asks = [ask for m in methods for ask in m.needs(None)]  # type: ignore[arg-type]
    asked = probe(adapter, *asks, keep=x)
    classes = asked.target.choose(asked.outputs(x), [], asked)
    asked.score(x, classes)
    for method in methods * 2:
        method.explain(asked, x, classes, NamedRng.of(0, "abc"))
    assert counted(asked) == (3, 3)


def test_several_targets_share_the_forward_pass() -> None:
    adapter, x = TinyAdapter(), inputs()
    handouts, asks = Handouts(), plan(Ask("gradient"), Ask("layers", ("last",)))
    handouts.keep(x, "clean")
    first = SharedProbe(adapter, Predicted(), handouts=handouts, asks=asks)
    for target in (Predicted(), SecondBest(), Predicted(of="probability")):
        asked = SharedProbe(adapter, target, handouts=handouts, asks=asks, counts=first.counts)
        rows = target.choose(asked.outputs(x), [], asked)
        found = asked.gradient(x, rows), asked.layers(x, rows)["last"][1]
        alone = probe(adapter, target=target)
        assert torch.equal(found[0], alone.gradient(x, rows))
        assert torch.equal(found[1], alone.layers(x, rows)["last"][1])
    assert counted(first) == (3, 9)


def test_what_was_not_announced_is_slower_not_wrong() -> None:
    x, classes = inputs(), torch.tensor([0, 1, 2])
    asked = probe(TinyAdapter(), keep=x)
    gradient = asked.gradient(x, classes)
    cam = asked.layers(x, classes)["last"]
    assert counted(asked) == (6, 6)
    planned = probe(TinyAdapter(), Ask("gradient"), Ask("layers", ("last",)), keep=x)
    assert torch.equal(gradient, planned.gradient(x, classes))
    assert torch.equal(cam[1], planned.layers(x, classes)["last"][1])


def test_layers_without_gradients_run_no_backward_and_give_the_activation_twice() -> None:
    x, classes = inputs(), torch.tensor([0, 1, 2])
    asked = probe(TinyAdapter(), Ask("layers", ("last",), grads=False), keep=x)
    alone = asked.layers(x, classes, grads=False)["last"]
    assert counted(asked) == (3, 0)
    together = probe(TinyAdapter(), Ask("layers", ("last",), grads=False), Ask("gradient"), keep=x)
    together.gradient(x, classes)
    shared = together.layers(x, classes, grads=False)["last"]
    assert all(torch.equal(t, alone[0]) for t in (*alone, *shared))


class Counting(torch.autograd.Function):
    """The identity; counts its backward passes."""

    calls = 0

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        Counting.calls += 1
        return gradient


class CountingNet(nn.Module):
    """Counts backward passes through the part below ``middle``, and those that reach a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.middle, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 5)
        self.watch = "below"

    def forward(self, x: Tensor) -> Tensor:
        x = self.below(x)
        x = self.middle(Counting.apply(x) if self.watch == "below" else x)
        weight = Counting.apply(self.fc.weight) if self.watch == "weight" else self.fc.weight
        return F.linear(x.relu().mean((2, 3)), weight, self.fc.bias)


@pytest.mark.parametrize(("watch", "gradient_calls"), [("below", 1), ("weight", 0)])
def test_backward_passes_stop_at_the_layer_and_never_reach_weights(watch: str, gradient_calls: int) -> None:
    model = CountingNet()
    model.watch = watch
    x, classes = inputs(), torch.tensor([0, 1, 2])
    Counting.calls = 0
    GradCam(layer="middle").explain(probe(around(model)), x, classes, NamedRng.of(0, "abc"))
    assert Counting.calls == 0
    probe(around(model)).gradient(x, classes)
    assert Counting.calls == gradient_calls


def test_smoothgrad_and_vargrad_in_step_share_noisy_passes() -> None:
    adapter, x, classes = TinyAdapter(), inputs(), torch.tensor([0, 1, 2])
    methods = [SmoothGrad(samples=12), SmoothGrad(samples=12, statistic="variance"), SmoothGrad(GradCam(), samples=12)]
    handouts = Handouts()
    handouts.keep(x, "clean")
    asks = plan(*(ask for m in methods for ask in m.needs(Shape((3, 16, 16)))))
    asked = SharedProbe(adapter, Predicted(), handouts=handouts, asks=asks)
    rng = NamedRng.of(0, "abc", handouts)
    # other names for each method: what is shared must not hang on the method's own stream
    running = {i: m.steps(asked, x, classes, rng.at(f"method {i}")) for i, m in enumerate(methods)}
    maps = {}
    while running:
        for i in list(running):
            try:
                next(running[i])
            except StopIteration as stop:
                maps[i] = stop.value
                del running[i]
        handouts.end_step()
    assert counted(asked) == (12 * 3, 12 * 3)
    for i, method in enumerate(methods):
        alone = method.explain(probe(adapter), x, classes, NamedRng.of(0, "abc"))
        assert torch.equal(maps[i], alone)


def test_a_sampled_method_alone_keeps_nothing_of_its_draws() -> None:
    x, classes, handouts = inputs(1), torch.tensor([0]), Handouts()
    handouts.keep(x, "clean")
    most = []

    class Spy(SharedProbe):
        def gradient(self, inputs: Tensor, targets: Tensor, rule: Any = None) -> Tensor:
            most.append(len(handouts._draws))
            return super().gradient(inputs, targets)

    nested = SmoothGrad(SmoothGrad(samples=40), samples=3)
    nested.explain(Spy(TinyAdapter(), Predicted(), handouts=handouts), x, classes, NamedRng.of(0, "a", handouts))
    assert max(most) <= 6  # rows, targets and noisy copies of the outer and the inner draw
    assert not handouts._draws
    assert not handouts._made


def test_one_methods_mistake_stays_its_own() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    x, classes = inputs(), torch.tensor([0, 1, 2])
    wrong = Ask("layers", ("4",))
    asked = probe(around(model), Ask("gradient"), Ask("layers", ("1",)), wrong, keep=x)
    alone = probe(around(model))
    assert torch.equal(asked.gradient(x, classes), alone.gradient(x, classes))
    assert torch.equal(asked.layers(x, classes, ("1",))["1"][1], alone.layers(x, classes, ("1",))["1"][1])
    with pytest.raises(LayerError, match="which is no grid"):
        asked.layers(x, classes, ("4",))
