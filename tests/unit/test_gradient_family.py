"""Gradient methods and backward rules against closed forms, slow loops, and arrays of a peer's tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.testing.helpers.basic_models import BasicModel_ConvNet_One_Conv
from torch import Tensor, nn
from xai_plugins.methods.deconvnet import Deconvnet
from xai_plugins.methods.expected_gradients import ExpectedGradients
from xai_plugins.methods.fullgrad import FullGrad
from xai_plugins.methods.gradcam import GradCam
from xai_plugins.methods.gradient import Gradient
from xai_plugins.methods.guided_backprop import GuidedBackprop
from xai_plugins.methods.guided_gradcam import GuidedGradCam
from xai_plugins.methods.input_x_gradient import InputXGradient
from xai_plugins.methods.integrated_gradients import IntegratedGradients, points
from xai_plugins.methods.smoothgrad import SmoothGrad
from xai_plugins.methods.smoothgrad_squared import SmoothGradSquared
from xai_plugins.methods.vargrad import VarGrad
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import ConfigError, Explainer, NotApplicable, Preprocess, XaiError, resize
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng
from xai_framework.testing import TinyAdapter

SIZE = 10
X = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
TARGETS = torch.tensor([1, 0, 2])


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().double().eval()


def small(act: type[nn.Module] = nn.ReLU, bias: bool = True) -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, bias=bias),
            act(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, bias=bias),
            act(),
            nn.Flatten(),
            nn.Linear(72, 4, bias=bias),
        )
    )


SMOOTH, RELU = small(nn.Tanh), small(nn.ReLU)


def ask(model: nn.Module) -> SharedProbe:
    how = Preprocess(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.25))
    return SharedProbe(ModuleAdapter(model, how), Predicted())


def explain(method: Explainer, model: nn.Module = RELU, x: Tensor = X, targets: Tensor = TARGETS) -> Tensor:
    return method.explain(ask(model), x, targets, NamedRng.of(0, "abc"[: len(x)]))


def score(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).detach().gather(1, TARGETS[:, None])[:, 0]


def gradient(model: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).gather(1, TARGETS[:, None]).sum(), x)[0]


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


# input x gradient and integrated gradients


def test_input_x_gradient_of_a_network_without_bias_sums_to_the_logit() -> None:
    model = small(bias=False)
    maps = explain(InputXGradient(), model)
    close(maps.sum((1, 2, 3)), score(model, X))
    close(maps, X * gradient(model, X))
    close(explain(IntegratedGradients(steps=3), model), maps)  # piecewise linear through the origin


def test_baselines_are_what_they_say() -> None:
    white = (torch.ones(3) - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.2, 0.2, 0.25])
    expected = (X - white.double()[:, None, None]) * gradient(RELU, X)
    close(explain(InputXGradient(baseline="white")), expected, 1e-6)
    for method in (InputXGradient, IntegratedGradients):
        with pytest.raises(ConfigError, match="the baseline image is not given"):
            method(baseline="image")
        with pytest.raises(ConfigError, match="an image is given, but the baseline is mean"):
            method(image="x.png")


@pytest.mark.parametrize("how", ["gauss_legendre", "midpoint", "left", "right", "trapezoid"])
def test_integrated_gradients_against_a_loop(how: str) -> None:
    steps = 7
    at = {
        "midpoint": (np.arange(steps) + 0.5) / steps,
        "left": np.arange(steps) / steps,
        "right": (np.arange(steps) + 1) / steps,
        "trapezoid": np.linspace(0, 1, steps),
        "gauss_legendre": np.polynomial.legendre.leggauss(steps)[0] / 2 + 0.5,
    }[how]
    weights = np.full(steps, 1 / steps)
    if how == "trapezoid":
        weights = np.array([0.5, *[1.0] * (steps - 2), 0.5]) / (steps - 1)
    if how == "gauss_legendre":
        weights = np.polynomial.legendre.leggauss(steps)[1] / 2
    mean = sum(float(w) * gradient(SMOOTH, float(a) * X) for a, w in zip(at, weights, strict=True))
    close(explain(IntegratedGradients(steps=steps, sum=how), SMOOTH), X * mean)  # type: ignore[arg-type]
    assert sum(points(steps, how)[1]) == pytest.approx(1)  # type: ignore[arg-type]


def test_the_completeness_gap_falls_with_the_number_of_steps() -> None:
    gaps = []
    for steps in (2, 4, 8, 16):
        method = IntegratedGradients(steps=steps)
        gap = method.completeness_gap(ask(SMOOTH), X, TARGETS, NamedRng.of(0, "abc"))
        close(gap, explain(method, SMOOTH).sum((1, 2, 3)) - score(SMOOTH, X) + score(SMOOTH, 0 * X))
        gaps.append(float(gap.abs().max()))
    assert gaps[0] > 10 * gaps[1] > 100 * gaps[2]
    assert gaps[3] < 1e-9  # Gauss-Legendre on a smooth function


def test_chunks_of_the_path_do_not_matter() -> None:
    method = IntegratedGradients(steps=50)
    alone = torch.cat([explain(method, SMOOTH, X[i : i + 1], TARGETS[i : i + 1]) for i in range(3)])
    close(explain(method, SMOOTH), alone)


# expected gradients and the statistics of noisy copies


def test_expected_gradients_against_a_loop() -> None:
    method = ExpectedGradients(samples=6, baseline="noise")
    rng = NamedRng.of(0, "abc")
    total = torch.zeros_like(X)
    for k in range(6):
        draw = rng.repeat(1, k)
        start = ask(SMOOTH).adapter.normalise(draw.at("baseline").uniform(X.shape).double())
        alpha = draw.at("point").uniform((3, 1, 1, 1)).double()
        total += (X - start) * gradient(SMOOTH, start + alpha * (X - start)) / 6
    close(explain(method, SMOOTH), total)


def test_expected_gradients_of_one_baseline_become_integrated_gradients() -> None:
    found = explain(ExpectedGradients(samples=4000, baseline="mean"), SMOOTH, X[:1], TARGETS[:1])
    exact = explain(IntegratedGradients(steps=30), SMOOTH, X[:1], TARGETS[:1])
    assert float((found - exact).norm() / exact.norm()) < 0.05


def test_vargrad_and_smoothgrad_squared_are_statistics_of_smoothgrads_copies() -> None:
    for method, statistic in ((VarGrad, "variance"), (SmoothGradSquared, "square")):
        for options in (
            {"samples": 7, "sigma": 0.3},
            {"samples": 4, "inner": GradCam(layer=("3",)), "noise": "absolute"},
        ):
            close(explain(method(**options)), explain(SmoothGrad(statistic=statistic, **options)))  # type: ignore[arg-type]
    linear = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(300, 4)))
    assert float(explain(VarGrad(), linear).abs().max()) < 1e-28


# rules


class Conv(BasicModel_ConvNet_One_Conv):
    """captum/testing/helpers/basic_models.py."""


INPUT = torch.arange(16.0).view(1, 1, 4, 4)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (GuidedBackprop(), [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]]),
        (Deconvnet(), [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]]),
        (GuidedGradCam(layer=("relu1",)), [[0, 0, 4, 4], [0, 0, 12, 8], [28, 84, 97.5, 65], [28, 56, 65, 32.5]]),
    ],
)
@pytest.mark.parametrize("inplace", [False, True])
def test_arrays_of_captums_tests(method: Explainer, expected: list[list[float]], inplace: bool) -> None:
    """captum/tests/attr: test_guided_backprop.py, test_deconvolution.py, test_guided_grad_cam.py, target 0.

    captum resamples Grad-CAM to the nearest neighbour, ours is bilinear: compared before that step.
    """
    probe = SharedProbe(ModuleAdapter(Conv(inplace).eval(), Preprocess(mean=(0.0,), std=(1.0,))), Predicted())
    args = (probe, INPUT, torch.tensor([0]), NamedRng.of(0, "a"))
    if isinstance(method, GuidedGradCam):
        cam = GradCam(layer=("relu1",)).explain(*args)
        found = GuidedBackprop().explain(*args) * F.interpolate(cam, size=(4, 4), mode="nearest")
        close(method.explain(*args), GuidedBackprop().explain(*args) * resize(cam, (4, 4)))
    else:
        found = method.explain(*args)
    assert found[0, 0].tolist() == expected


class Net(nn.Module):
    """The same network with its rectifiers called in another way."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 4)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        x = x + self.relu(self.conv2(x))
        return self.fc(self.relu(x - 0.1).mean((2, 3)))


def statement(x: Tensor) -> Tensor:
    """In place, and what is returned is thrown away."""
    x.relu_()
    return x


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "method": lambda x: x.relu(),
    "statement": statement,
}


def by_hand(model: Net, x: Tensor, guided: bool) -> Tensor:
    """The network and its backward pass written out, rectifier by rectifier."""

    def back(g: Tensor, before: Tensor) -> Tensor:
        return g.clamp(min=0) * (before > 0) if guided else g.clamp(min=0)

    z1 = model.conv1(x)
    a1 = z1.clamp(min=0)
    z2 = model.conv2(a1)
    z3 = a1 + z2.clamp(min=0) - 0.1
    g = model.fc.weight[TARGETS][:, :, None, None].expand_as(z3) / (SIZE * SIZE)
    g3 = back(g, z3)
    g2 = back(g3, z2)
    g1 = back(g3 + F.conv_transpose2d(g2, model.conv2.weight, padding=1), z1)
    return F.conv_transpose2d(g1, model.conv1.weight, padding=1).detach()


@pytest.mark.parametrize("way", WAYS)
def test_rules_reach_every_way_to_call_a_rectifier(way: str) -> None:
    model = seeded(lambda: Net(WAYS[way]))
    close(explain(GuidedBackprop(), model), by_hand(model, X, True))
    close(explain(Deconvnet(), model), by_hand(model, X, False))
    assert not torch.allclose(explain(Gradient(), model), by_hand(model, X, True))


def test_relu6_passes_between_its_bends() -> None:
    model = nn.Sequential(nn.Flatten(), nn.ReLU6(), nn.Linear(4, 1, bias=False)).double().eval()
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, -1.0]]))
    x = torch.tensor([-1.0, 3.0, 7.0, 3.0], dtype=torch.float64).view(1, 1, 2, 2)
    probe = SharedProbe(ModuleAdapter(model, Preprocess(mean=(0.0,), std=(1.0,))), Predicted())
    args = (probe, x, torch.tensor([0]), NamedRng.of(0, "a"))
    assert GuidedBackprop().explain(*args).flatten().tolist() == [0, 2, 0, 0]
    assert Deconvnet().explain(*args).flatten().tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize(
    ("act", "named"),
    [(nn.GELU, "gelu"), (nn.Hardswish, "hardswish"), (nn.SiLU, "silu"), (nn.Tanh, "tanh"), (nn.Hardtanh, "hardtanh")],
)
def test_other_non_linearities_are_refused_by_name(act: type[nn.Module], named: str) -> None:
    mixed = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), act(), nn.Flatten(), nn.Linear(256, 4)))
    for method in (GuidedBackprop(), Deconvnet(), IntegratedGradients(steps=2, rule="guided")):
        with pytest.raises((XaiError, NotApplicable), match=named):
            explain(method, mixed)


def test_rules_work_inside_other_methods() -> None:
    guided = explain(GuidedBackprop())
    close(explain(InputXGradient(rule="guided")), X * guided)
    close(explain(IntegratedGradients(steps=1, sum="right", rule="guided")), X * guided)
    close(explain(SmoothGrad(inner=GuidedBackprop(), samples=1, sigma=0.0)), guided)
    assert torch.isfinite(explain(ExpectedGradients(samples=2, rule="deconvnet"))).all()


# FullGrad


@pytest.mark.parametrize("network", ["vgg_like", "residual", "reused"])
def test_fullgrad_is_complete(network: str) -> None:
    adapter = TinyAdapter(network)  # type: ignore[arg-type]
    probe = SharedProbe(adapter.with_model(adapter.model.double()), Predicted())
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    targets = torch.tensor([1, 4])
    maps = FullGrad(complete=True).explain(probe, x, targets, NamedRng.of(0, "ab"))
    close(maps.sum((1, 2, 3)), probe.score(x, targets), 1e-12)
    shown = FullGrad().explain(probe, x, targets, NamedRng.of(0, "ab"))
    assert shown.shape == (2, 1, 16, 16)
    assert float(shown.min()) >= 0


def test_fullgrad_against_equation_8_on_one_convolution() -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(200, 4)))
    conv, fc = model[0], model[3]
    z = conv(X)
    g = (fc.weight[TARGETS].view(3, 2, SIZE, SIZE) * (z > 0)).detach()

    def unit(v: Tensor) -> Tensor:
        low, high = v.amin((1, 2, 3), True), v.amax((1, 2, 3), True)
        return (v - low) / (high - low)

    inputs = unit((X * gradient(model, X)).abs()).sum(1, keepdim=True)
    biases = unit((g * conv.bias.detach()[:, None, None]).abs()).sum(1, keepdim=True)
    close(explain(FullGrad(), model), inputs + biases)


def test_fullgrad_refuses_what_is_not_piecewise_linear() -> None:
    with pytest.raises((XaiError, NotApplicable), match="not piecewise linear: it calls gelu"):
        explain(FullGrad(), small(nn.GELU))
