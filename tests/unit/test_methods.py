"""The built-in methods against closed forms, slow loops over the papers' formulas, and arrays of a peer's tests."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import ceil

import numpy as np
import pytest
import torch
from captum.testing.helpers.basic_models import BasicModel_ConvNet_One_Conv, BasicModel_MultiLayer
from torch import Tensor, nn
from xai_plugins.methods.gradcam import GradCam
from xai_plugins.methods.gradient import Gradient
from xai_plugins.methods.occlusion import Occlusion
from xai_plugins.methods.smoothgrad import SmoothGrad
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import (
    ConfigError,
    Explainer,
    Moments,
    Preprocess,
    Probe,
    Rng,
    Sampled,
    Shape,
    asks_of_draws,
    reduce_channels,
)
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng
from xai_framework.testing import TinyAdapter

H, W, CLASSES = 9, 12, 4


class Linear(nn.Module):
    """S_c(x) = W_c . x + b_c."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(CLASSES, 3, H, W, generator=generator, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(CLASSES, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", x, self.weight) + self.bias


LINEAR = Linear()
TARGETS = torch.tensor([2, 0, 3])
X = torch.randn(3, 3, H, W, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def ask(model: nn.Module) -> SharedProbe:
    return SharedProbe(ModuleAdapter(model.eval(), Preprocess()), Predicted())


def explain(method: Explainer, model: nn.Module = LINEAR, x: Tensor = X, targets: Tensor = TARGETS) -> Tensor:
    return method.explain(ask(model), x, targets, NamedRng.of(0, [f"image {i}" for i in range(len(x))]))


def weights() -> Tensor:
    return LINEAR.weight.detach()[TARGETS]


# closed forms on a linear model


def test_gradient_of_a_linear_model_is_its_weight() -> None:
    assert torch.equal(explain(Gradient()), weights())


@pytest.mark.parametrize("how", ["max_abs", "sum_abs", "l2", "sum"])
def test_channels_of_the_gradient(how: str) -> None:
    w = weights().numpy()
    expected = {
        "max_abs": np.abs(w).max(1, keepdims=True),
        "sum_abs": np.abs(w).sum(1, keepdims=True),
        "l2": np.sqrt((w**2).sum(1, keepdims=True)),
        "sum": w.sum(1, keepdims=True),
    }
    found = explain(Gradient(reduce=how))  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected[how], rtol=1e-12)


@pytest.mark.parametrize("noise", ["range", "absolute"])
@pytest.mark.parametrize("samples", [1, 7, 40])
def test_smoothgrad_of_a_linear_model_is_its_weight_without_variance(noise: str, samples: int) -> None:
    for statistic, expected in (
        ("mean", weights()),
        ("sum", samples * weights()),
        ("square", weights() ** 2),
        ("variance", 0 * weights()),
    ):
        found = explain(SmoothGrad(samples=samples, noise=noise, statistic=statistic))  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def windows(size: int, window: int, stride: int) -> list[slice]:
    return [slice(s * stride, min(s * stride + window, size)) for s in range(1 + ceil((size - window) / stride))]


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (3, 3), (4, 2), (4, 3), (5, 5), (9, 9), (2, 1), (3, 4)])
def test_occlusion_of_a_linear_model_is_the_evidence_in_the_window(window: int, stride: int) -> None:
    """S(x) - S(x with x=0 in a window) = sum of W x there."""
    evidence = weights() * X
    tops, lefts = windows(H, window, stride), windows(W, window, stride)
    grid = torch.stack([evidence[:, :, t, s].sum((1, 2, 3)) for t, s in itertools.product(tops, lefts)], 1)
    grid = grid.view(3, 1, len(tops), len(lefts))
    torch.testing.assert_close(explain(Occlusion(window=window, stride=stride, output="grid")), grid)
    if stride > window:
        return
    expected = torch.empty(3, 1, H, W, dtype=torch.float64)
    for y, x in itertools.product(range(H), range(W)):
        rows = [i for i, t in enumerate(tops) if t.start <= y < t.stop]
        columns = [j for j, s in enumerate(lefts) if s.start <= x < s.stop]
        assert rows, "every pixel is covered"
        assert columns
        expected[:, 0, y, x] = grid[:, 0, rows][:, :, columns].mean((1, 2))
    torch.testing.assert_close(explain(Occlusion(window=window, stride=stride)), expected)


def test_disjoint_occlusion_is_complete() -> None:
    drops = explain(Occlusion(window=3, stride=3, output="grid")).sum((1, 2, 3))
    torch.testing.assert_close(drops + LINEAR.bias.detach()[TARGETS], ask(LINEAR).score(X, TARGETS))


@pytest.mark.parametrize(("fill", "value"), [("mean", 0.0), ("black", -2.0), ("white", 2.0)])
def test_occlusion_fills_are_named_never_zero(fill: str, value: float) -> None:
    how = Preprocess(mean=(0.5,) * 3, std=(0.25,) * 3)  # black becomes -2, white 2
    probe = SharedProbe(ModuleAdapter(LINEAR, how), Predicted())
    method = Occlusion(window=9, stride=9, fill=fill, output="grid")  # type: ignore[arg-type]
    found = method.explain(probe, X, TARGETS, NamedRng.of(0, "abc"))
    expected = (weights() * (X - value))[..., :9].sum((1, 2, 3))
    torch.testing.assert_close(found[:, 0, 0, 0], expected)


# the formulas, slowly


def forward(x: Tensor) -> Tensor:
    return TinyAdapter("residual").twin().model.double()(x)  # type: ignore[no-any-return]


SMALL = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
SMALL_TARGETS = torch.tensor([1, 4])


def smooth(**options: object) -> Tensor:
    adapter = TinyAdapter("residual")
    probe = SharedProbe(adapter.with_model(adapter.model.double()), Predicted())
    rng = NamedRng.of(11, ["first", "second"]).at("method")
    return SmoothGrad(**options).explain(probe, SMALL, SMALL_TARGETS, rng)  # type: ignore[arg-type]


@pytest.mark.parametrize("noise", ["range", "absolute"])
def test_smoothgrad_is_the_statistic_of_gradients_of_noisy_copies(noise: str) -> None:
    samples, sigma = 20, 0.3
    gradients = np.empty((2, samples, 3, 16, 16))
    for b, k in itertools.product(range(2), range(samples)):
        image = ["first", "second"][b]
        draw = NamedRng.of(11, [image]).shared("noise").repeat(1, k).normal((1, 3, 16, 16)).double()
        level = sigma * (SMALL[b].max() - SMALL[b].min() if noise == "range" else 1.0)
        noisy = (SMALL[b : b + 1] + level * draw).requires_grad_()
        gradients[b, k] = torch.autograd.grad(forward(noisy)[0, SMALL_TARGETS[b]], noisy)[0][0]
    expected = {
        "mean": gradients.mean(1),
        "sum": gradients.sum(1),
        "square": (gradients**2).mean(1),
        "variance": gradients.var(1),
    }
    for statistic, values in expected.items():
        found = smooth(samples=samples, sigma=sigma, noise=noise, statistic=statistic)
        np.testing.assert_allclose(found, values, rtol=1e-9, atol=1e-12)
    common = {"samples": samples, "sigma": sigma, "noise": noise}
    first = np.abs(gradients).max(2, keepdims=True).mean(1)  # reduce each copy's map, then average
    np.testing.assert_allclose(smooth(**common, reduce="max_abs", reduce_when="before"), first, rtol=1e-9)
    last = np.abs(gradients.sum(1)).sum(1, keepdims=True)  # signed sum, then absolute value, then channels
    np.testing.assert_allclose(smooth(**common, statistic="sum", reduce="sum_abs"), last, rtol=1e-9)


def test_smoothgrad_takes_each_images_own_range_and_leaves_flat_images_alone() -> None:
    x = torch.cat([SMALL[:1], torch.full((1, 3, 16, 16), 0.2, dtype=torch.float64)])
    seen = []

    class Inner(Explainer):
        def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
            seen.append(inputs)
            return inputs

    rng = NamedRng.of(0, ["a", "b"])
    SmoothGrad(inner=dataclassed(Inner), samples=200, sigma=0.1).explain(ask(LINEAR), x, SMALL_TARGETS, rng)
    copies = torch.cat([s.view(2, -1, 3, 16, 16) for s in seen], 1)
    noise = copies - x[:, None]
    assert copies.shape[1] == 200
    assert abs(float(noise[0].std() / (x[0].max() - x[0].min())) - 0.1) < 0.001
    assert noise[1].eq(0).all()


def dataclassed(cls: type[Explainer]) -> Explainer:
    return dataclass(frozen=True)(cls)()  # type: ignore[no-any-return]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_smoothgrad_of_an_image_does_not_depend_on_its_batch(size: int) -> None:
    adapter = TinyAdapter()
    x = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(6))
    ids, method = [f"image {i}" for i in range(5)], SmoothGrad(samples=11)
    targets = torch.tensor([0, 1, 2, 3, 4])
    whole = method.explain(SharedProbe(adapter, Predicted()), x, targets, NamedRng.of(0, ids))
    for chunk in (1, 4, 32):
        parts = []
        for rows in torch.arange(5).split(size):
            rng = NamedRng.of(0, [ids[i] for i in rows])
            parts.append(method.explain(SharedProbe(adapter, Predicted(), chunk=chunk), x[rows], targets[rows], rng))
        assert (torch.cat(parts) - whole).abs().max() <= 1e-5 * whole.abs().max()


def test_smoothgrad_and_vargrad_see_the_same_copies_whatever_they_are_called() -> None:
    probe, seen = ask(LINEAR), []

    class Inner(Explainer):
        def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
            seen.append(inputs)
            return inputs

    inner = dataclassed(Inner)
    for name, statistic in (("a", "mean"), ("b", "variance")):
        rng = NamedRng.of(0, ["x"]).at(name)
        SmoothGrad(inner, samples=3, statistic=statistic).explain(probe, X[:1], TARGETS[:1], rng)  # type: ignore[arg-type]
    assert torch.equal(seen[0], seen[1])


def test_smoothgrad_of_smoothgrad_has_fresh_noise_inside() -> None:
    """Two independent noises of variance s^2 add up: the copies of the inner one vary by 2 s^2."""
    seen = []

    class Inner(Explainer):
        def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
            seen.append(inputs)
            return inputs

    once = SmoothGrad(dataclassed(Inner), samples=30, sigma=0.5, noise="absolute")
    SmoothGrad(once, samples=30, sigma=0.5, noise="absolute").explain(
        ask(LINEAR), X[:1], TARGETS[:1], NamedRng.of(0, "a")
    )
    noise = torch.cat(seen) - X[:1]
    assert noise.shape[0] == 900
    assert abs(float(noise.var()) - 0.5) < 0.02
    assert len(torch.unique(noise.reshape(900, -1), dim=0)) == 900


def test_smoothgrad_of_grad_cam_is_the_mean_of_grad_cams() -> None:
    found = smooth(inner=GradCam(), samples=5)
    adapter = TinyAdapter("residual")
    probe = SharedProbe(adapter.with_model(adapter.model.double()), Predicted())
    cams = []
    for k in range(5):
        draw = NamedRng.of(11, ["first", "second"]).shared("noise").repeat(1, k).normal(SMALL.shape).double()
        spread = SMALL.amax((1, 2, 3), True) - SMALL.amin((1, 2, 3), True)
        cams.append(GradCam().explain(probe, SMALL + 0.15 * spread * draw, SMALL_TARGETS, NamedRng.of(0, "ab")))
    torch.testing.assert_close(found, torch.stack(cams).mean(0))


def test_needs_count_every_copy() -> None:
    needs = SmoothGrad(GradCam(layer="x"), samples=7).needs(Shape((3, 8, 8)))
    (only,) = needs
    assert (only.passes, only.backwards, only.layers) == (7, 7, ("x",))
    assert only.of == SmoothGrad(samples=3, statistic="variance").needs(Shape((3, 8, 8)))[0].of
    assert only.of != SmoothGrad(sigma=0.2).needs(Shape((3, 8, 8)))[0].of
    asks = Occlusion(window=32, stride=16).needs(Shape((3, 224, 224)))
    assert [a.passes for a in asks] == [1, 13 * 13]
    assert asks_of_draws(asks, 2, "n")[1].passes == 2 * 13 * 13


# Moments


@pytest.mark.parametrize("groups", [[1], [5], [1, 1, 1], [4, 4, 2], [1, 9]])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_moments_against_numpy(groups: list[int], offset: float) -> None:
    draws = np.random.default_rng(0).normal(offset, 1, (2, sum(groups), 3, 4, 5)).astype(np.float32)
    moments = Moments()
    for part in np.split(draws, np.cumsum(groups)[:-1], axis=1):
        moments.add(torch.from_numpy(part))
    exact = draws.astype(np.float64)
    assert moments.count == sum(groups)
    np.testing.assert_allclose(moments.mean, exact.mean(1), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moments.sum, exact.sum(1), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(moments.variance, exact.var(1), rtol=1e-3 if offset else 1e-5, atol=1e-6)
    np.testing.assert_allclose(moments.mean_square, (exact**2).mean(1), rtol=1e-5)


def test_moments_of_reduced_precision_are_added_up_in_full() -> None:
    moments = Moments()
    for _ in range(1000):
        moments.add(torch.full((1, 1, 1, 1, 1), 0.1, dtype=torch.bfloat16))
    assert moments.mean.dtype == torch.float32
    assert float(moments.mean) == pytest.approx(float(torch.tensor(0.1, dtype=torch.bfloat16)), rel=1e-6)
    assert Moments().count == 0
    for what in ("mean", "variance"):
        with pytest.raises(ValueError, match="no draws"):
            getattr(Moments(), what)


def test_sampled_methods_mean_their_draws_unless_they_say_otherwise() -> None:
    @dataclass(frozen=True)
    class Draws(Sampled):
        samples: int = 50

        def draw(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
            return rng.uniform(inputs.shape).to(inputs)

    found = explain(Draws())
    rng = NamedRng.of(0, ["image 0", "image 1", "image 2"])
    expected = torch.stack([rng.repeat(1, k).uniform(X.shape) for k in range(50)]).double().mean(0)
    torch.testing.assert_close(found, expected)


# arrays of captum's own tests


class Conv(BasicModel_ConvNet_One_Conv):
    """captum/testing/helpers/basic_models.py: one 3x3 convolution of ones, ReLU, a linear layer, ReLU."""


INPUT = torch.arange(16.0).view(1, 1, 4, 4)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("layer", "expected"),
    [("conv1", [[11.25, 13.5], [20.25, 22.5]]), ("relu1", [[0.0, 4.0], [28.0, 32.5]])],
)
def test_grad_cam_of_captums_convolution(inplace: bool, layer: str, expected: list[list[float]]) -> None:
    """captum/tests/attr/layer/test_grad_cam.py, target 0."""
    found = explain(GradCam(layer=layer, relu=False), Conv(inplace), INPUT, torch.tensor([0]))
    assert found.tolist() == [[expected]]


class Middle(nn.Module):
    """captum's three-feature model on the middle row of a picture: square windows then stand for its 1-d ones."""

    def __init__(self) -> None:
        super().__init__()
        self.net = BasicModel_MultiLayer()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x[:, 0, 1])  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("window", "stride", "baseline", "expected"),
    [(1, 1, 0, [80.0, 200.0, 120.0]), (2, 1, 10, [200.0, 220.0, 240.0]), (2, 2, 0, [280.0, 280.0, 120.0])],
)
def test_occlusion_of_captums_multilayer_model(window: int, stride: int, baseline: int, expected: list[float]) -> None:
    """captum/tests/attr/test_occlusion.py, input (20, 50, 30), target 0."""
    x = torch.tensor([20.0, 50.0, 30.0]).expand(1, 1, 3, 3).clone()
    how = Preprocess(mean=(-float(baseline),), std=(1.0,))  # black becomes the baseline
    probe = SharedProbe(ModuleAdapter(Middle().eval(), how), Predicted())
    method = Occlusion(window=window, stride=stride, fill="black")
    found = method.explain(probe, x, torch.tensor([0]), NamedRng.of(0, "a"))
    assert found[0, 0, 1].tolist() == expected


# mistakes


def test_wrong_parameters_are_named_with_what_is_allowed() -> None:
    for make, said in (
        (lambda: SmoothGrad(samples=0), r"SmoothGrad.samples: 0 is out of range; allowed: 1..10000"),
        (lambda: SmoothGrad(sigma=-1.0), r"SmoothGrad.sigma: -1.0 is out of range"),
        (lambda: SmoothGrad(sigma=float("nan")), r"not a finite number"),
        (lambda: SmoothGrad(inner="gradient"), r"expected a method, got 'gradient'"),  # type: ignore[arg-type]
        (lambda: SmoothGrad(statistic="median"), r"'median' is not a valid value"),  # type: ignore[arg-type]
        (lambda: Occlusion(window=8, stride=9), r"stride 9 is larger than window 8"),
        (lambda: Occlusion(fill="blak"), r"did you mean 'black'"),  # type: ignore[arg-type]
        (lambda: Gradient(reduce="max"), r"did you mean 'max_abs'"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError, match=said):
            make()


def test_a_window_larger_than_the_image_names_both() -> None:
    method = Occlusion(window=10, stride=5)
    for call in (lambda: explain(method), lambda: method.needs(Shape((3, H, W)))):
        with pytest.raises(ConfigError, match="window 10 is larger than the input of 9x12; use at most 9"):
            call()


def test_reduction_of_arrays_is_that_of_tensors() -> None:
    for how in ("none", "max_abs", "sum_abs", "l2", "sum"):
        np.testing.assert_allclose(reduce_channels(X.numpy(), how), reduce_channels(X, how))  # type: ignore[arg-type]
