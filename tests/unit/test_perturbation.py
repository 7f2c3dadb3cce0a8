"""Perturbation methods against closed forms, brute force, the papers' formulas written out, and captum."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation as CaptumAblation
from captum.attr import ShapleyValues as CaptumShapley
from torch import Tensor, nn
from xai_plugins.methods._segments import segment
from xai_plugins.methods.extremal_perturbation import ExtremalPerturbation
from xai_plugins.methods.feature_ablation import FeatureAblation
from xai_plugins.methods.kernel_shap import KernelShap
from xai_plugins.methods.lime import Lime
from xai_plugins.methods.rise import Rise
from xai_plugins.methods.shapley_sampling import ShapleySampling
from xai_plugins.methods.sobol import Sobol
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import ConfigError, Explainer, Preprocess, Shape, resize
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng

SIZE = 12
X = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.tensor([1, 0])


class Cells(nn.Module):
    """A game of 2 x 2 players: each is the mean of its quarter; class scores mix them, with or without products."""

    def __init__(self, interacting: bool) -> None:
        super().__init__()
        self.interacting = interacting

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d = nn.functional.adaptive_avg_pool2d(x.sum(1, keepdim=True), 2).flatten(1).T
        first = 2 * a - b + 0.5 * c + 3
        second = first + (a * b * 5 + (c * d).sin() if self.interacting else d)
        return torch.stack([first, second], 1)


class Smooth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.fc = nn.Conv2d(3, 5, 3), nn.Linear(5 * 100, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.conv(x)).flatten(1))


def ask(model: nn.Module, chunk: int = 5) -> SharedProbe:
    how = Preprocess(mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.2))
    return SharedProbe(ModuleAdapter(model.double().eval(), how), Predicted(), chunk=chunk)


def explain(method: Explainer, model: nn.Module, chunk: int = 5) -> Tensor:
    return method.explain(ask(model, chunk), X, TARGETS, NamedRng.of(0, ["a", "b"]))


def score(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).detach().gather(1, TARGETS[: len(x), None])[:, 0]


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def hidden(row: int, keep: tuple[int, ...]) -> Tensor:
    """The picture with only these quarters shown, the rest at 0."""
    x = torch.zeros_like(X[row : row + 1])
    for k in keep:
        i, j = divmod(k, 2)
        part = np.s_[:, :, i * 6 : i * 6 + 6, j * 6 : j * 6 + 6]
        x[part] = X[row : row + 1][part]
    return x


def value(model: nn.Module, row: int, keep: tuple[int, ...]) -> float:
    return float(model(hidden(row, keep)).detach()[0, TARGETS[row]])


# Shapley values and their kin


def shapley(model: nn.Module) -> Tensor:
    """The definition, coalition by coalition."""
    found = torch.zeros(2, 4, dtype=torch.float64)
    for row, k in itertools.product(range(2), range(4)):
        others = [i for i in range(4) if i != k]
        for n in range(4):
            weight = math.factorial(n) * math.factorial(3 - n) / math.factorial(4)
            for keep in itertools.combinations(others, n):
                found[row, k] += weight * (value(model, row, (*keep, k)) - value(model, row, keep))
    return found.view(2, 1, 2, 2)


QUARTERS = (torch.arange(SIZE) // 6)[:, None] * 2 + torch.arange(SIZE) // 6


class Entangled(nn.Module):
    """All four quarters act together, in both classes."""

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d = nn.functional.adaptive_avg_pool2d(x.sum(1, keepdim=True), 2).flatten(1).T
        return torch.stack([(a + 2 * b * c).tanh() - d.exp() * a, (a * b * c * d).sin() + a * b * c + d], 1)


GAMES = [Cells(False), Cells(True), Entangled()]


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("method", [KernelShap(cells=2, samples=14), ShapleySampling(cells=2, orders=24)])
def test_all_coalitions_and_all_orders_give_the_shapley_value(method: Explainer, game: nn.Module) -> None:
    close(explain(method, game), shapley(game))


@pytest.mark.parametrize("game", GAMES)
def test_shapley_values_and_ablations_are_captums(game: nn.Module) -> None:
    given = {"inputs": X, "baselines": 0.0, "target": TARGETS, "feature_mask": QUARTERS.repeat(1, 3, 1, 1)}
    corners = np.s_[:, :1, ::6, ::6]  # captum gives every pixel its part's value
    expected = CaptumShapley(game.double()).attribute(**given)[corners].double()  # added up in float32
    close(explain(KernelShap(cells=2), game), expected, 1e-5)
    close(explain(ShapleySampling(cells=2, orders=24), game), expected, 1e-5)
    close(explain(FeatureAblation(cells=2), game), CaptumAblation(game.double()).attribute(**given)[corners])


def test_an_order_pays_each_part_what_it_adds() -> None:
    model = Entangled().double()
    found = explain(ShapleySampling(cells=2, orders=3, paired=False), model).flatten(1)
    places = NamedRng.of(0, ["a", "b"]).at("order").uniform((2, 3, 4)).argsort(2)
    expected = torch.zeros(2, 4, dtype=torch.float64)
    for row, order in itertools.product(range(2), range(3)):
        arrival = sorted(range(4), key=lambda k: int(places[row, order, k]))
        for n, k in enumerate(arrival):
            gain = value(model, row, tuple(arrival[: n + 1])) - value(model, row, tuple(arrival[:n]))
            expected[row, k] += gain / 3
    close(found, expected)


def test_one_order_and_its_reverse_solve_a_game_of_pairs() -> None:
    """A gain that needs two parts is paid to the later one: to each of them once."""
    close(explain(ShapleySampling(cells=2, orders=2), Cells(True)), shapley(Cells(True).double()))


@pytest.mark.parametrize("orders", [1, 2, 5])
@pytest.mark.parametrize("paired", [True, False])
def test_sampled_shapley_values_are_efficient(orders: int, paired: bool) -> None:
    model = Smooth().double()
    maps = explain(ShapleySampling(cells=3, orders=orders, paired=paired), model)
    close(maps.sum((1, 2, 3)), score(model, X) - score(model, 0 * X))


def test_sampled_shapley_values_come_nearer_to_the_exact_ones() -> None:
    model = Smooth().double()
    exact = explain(KernelShap(cells=3, samples=510), model, chunk=64)
    size = exact.abs().max()
    for few, many in (
        (KernelShap(cells=3, samples=60), KernelShap(cells=3, samples=500)),
        (ShapleySampling(cells=3, orders=2), ShapleySampling(cells=3, orders=60)),
    ):
        errors = [float((explain(m, model, chunk=64) - exact).abs().max() / size) for m in (few, many)]
        assert errors[1] < min(0.05, errors[0] / 2)


def test_sampled_kernel_shap_is_efficient_and_near() -> None:
    model = Cells(True).double()
    exact = explain(KernelShap(cells=2, samples=14), model)
    close(exact.sum((1, 2, 3)), score(model, X) - score(model, 0 * X))
    sampled = explain(KernelShap(cells=4, samples=40), model)
    close(sampled.sum((1, 2, 3)), score(model, X) - score(model, 0 * X))


def test_additive_games_are_solved_exactly_by_every_method() -> None:
    model = Cells(False).double()
    alone = torch.tensor(
        [[value(model, r, (k,)) - value(model, r, ()) for k in range(4)] for r in range(2)], dtype=torch.float64
    ).view(2, 1, 2, 2)
    close(explain(FeatureAblation(cells=2), model), alone)
    close(explain(KernelShap(cells=2, samples=12), model), alone)
    close(explain(ShapleySampling(cells=2, orders=1), model), alone)
    close(explain(Lime(cells=2, samples=60, ridge=0.0), model), alone)


def test_feature_ablation_is_the_drop_of_each_part() -> None:
    model = Cells(True).double()
    found = explain(FeatureAblation(cells=2), model).flatten(1)
    for row, k in itertools.product(range(2), range(4)):
        without = tuple(i for i in range(4) if i != k)
        assert float(found[row, k]) == pytest.approx(value(model, row, (0, 1, 2, 3)) - value(model, row, without))


def test_lime_against_weighted_least_squares_in_numpy() -> None:
    model = Cells(True).double()
    found = explain(Lime(cells=2, samples=30, width=0.4, ridge=0.7), model).flatten(1)
    shown = NamedRng.of(0, ["a", "b"]).at("shown").uniform((2, 30, 4)) < 0.5
    for row in range(2):
        z = shown[row].double().numpy()
        y = np.array([value(model, row, tuple(np.flatnonzero(s))) for s in z])
        weights = np.exp(-((1 - np.sqrt(z.mean(1))) ** 2) / 0.4**2)
        design = np.hstack([np.ones((30, 1)), z])
        penalty = np.diag([0.0, 0.7, 0.7, 0.7, 0.7])
        beta = np.linalg.solve(design.T @ (weights[:, None] * design) + penalty, design.T @ (weights * y))
        np.testing.assert_allclose(found[row], beta[1:], rtol=1e-8)


def test_superpixels_follow_the_picture_and_their_absence_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    halves = X[:1] * 0
    halves[:, :, :, SIZE // 2 :] = 2.0
    method = FeatureAblation(segments="slic", cells=2)
    maps = method.explain(ask(Smooth()), halves, TARGETS[:1], NamedRng.of(0, "a"))
    assert maps.shape == (1, 1, SIZE, SIZE)
    assert (maps[..., : SIZE // 2] == 0).all()  # hiding what is at the fill already changes nothing
    assert maps[..., SIZE // 2 :].any()
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ConfigError, match=r'pip install "xai-framework\[segments\]"'):
        explain(FeatureAblation(segments="slic", cells=2), Smooth())


class Pooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        a = nn.functional.adaptive_avg_pool2d(x.tanh(), 2).flatten(1)
        return torch.stack([a.square().sum(1), a.prod(1) + a[:, 0]], 1)


@pytest.mark.parametrize(
    "method",
    [
        FeatureAblation(segments="slic", cells=3),
        Lime(segments="slic", cells=3, samples=15),
        KernelShap(segments="slic", cells=3, samples=20),
        ShapleySampling(segments="slic", cells=3, orders=2),
        Sobol(segments="slic", cells=3, designs=4),
    ],
    ids=lambda m: type(m).__name__,
)
def test_a_mate_with_more_superpixels_changes_nothing(method: Explainer) -> None:
    x = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[0] = x[0].mean() + torch.linspace(0, 0.5, 24, dtype=torch.float64)  # a gentle ramp: other superpixels
    probe = ask(Pooled())
    counts = segment(probe, x, "slic", 3).flatten(1).amax(1)
    assert counts[0] != counts[1]
    both = method.explain(probe, x, TARGETS, NamedRng.of(0, ["a", "b"]))
    for row, name in enumerate("ab"):
        part = slice(row, row + 1)
        alone = method.explain(probe, x[part], TARGETS[part], NamedRng.of(0, [name]))
        assert alone.any()
        close(both[part], alone, 1e-12)


# Sobol indices


def test_sobol_indices_against_the_estimator_written_out() -> None:
    model = Entangled().double()
    found = explain(Sobol(cells=2, designs=6), model).flatten(1)
    rng = NamedRng.of(0, ["a", "b"])
    strata = rng.at("order").uniform((2, 6, 8)).argsort(1)
    points = ((strata + rng.at("place").uniform((2, 6, 8)).double()) / 6).numpy()
    for row in range(2):
        first, second = points[row, :, :4], points[row, :, 4:]

        def faded(factors: np.ndarray, row: int = row) -> float:
            mask = torch.from_numpy(factors)[QUARTERS]
            return float(model(X[row : row + 1] * mask)[0, TARGETS[row]].detach())

        plain = np.array([faded(m) for m in first])
        for k in range(4):
            swapped = first.copy()
            swapped[:, k] = second[:, k]
            total = sum((faded(m) - p) ** 2 for m, p in zip(swapped, plain, strict=True))
            assert float(found[row, k]) == pytest.approx(total / (2 * 6 * plain.var(ddof=1)), rel=1e-9)


def test_every_number_of_a_design_lies_in_a_stratum_of_its_own() -> None:
    seen = []

    class Watched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x[:, 0, ::6, ::6].flatten(1))
            return x.mean((2, 3))

    ones = torch.ones_like(X[:1])
    Sobol(cells=2, designs=16).explain(ask(Watched()), ones, TARGETS[:1], NamedRng.of(0, "a"))
    strata = (torch.cat(seen)[:16] * 16).long().sort(0).values
    assert torch.equal(strata, torch.arange(16)[:, None].expand(-1, 4))


class Product(nn.Module):
    """Only the two upper quarters, and only together."""

    def forward(self, x: Tensor) -> Tensor:
        a, b, _, _ = nn.functional.adaptive_avg_pool2d(x.sum(1, keepdim=True), 2).flatten(1).T
        return torch.stack([a * b, 2 * a * b + 1], 1)


def test_sobol_indices_of_a_sum_and_of_a_product() -> None:
    method = Sobol(cells=2, designs=1024)
    parts = nn.functional.adaptive_avg_pool2d(X.sum(1, keepdim=True), 2).flatten(1)
    shares = (parts * torch.tensor([[2, -1, 0.5, 1], [2, -1, 0.5, 0]], dtype=torch.float64)).square()
    shares = shares / shares.sum(1, keepdim=True)  # variances add up
    sums = explain(method, Cells(False), chunk=256).flatten(1)
    assert float((sums - shares).abs().max()) < 0.05
    # of m1 * m2, both uniform: variance 1/9 - 1/16; without one of them E Var = 1/3 * 1/12: a share of 4/7
    products = explain(method, Product(), chunk=256).flatten(1)
    expected = torch.tensor([4 / 7, 4 / 7, 0, 0], dtype=torch.float64).expand(2, -1)
    assert float((products - expected).abs().max()) < 0.05


# RISE


@pytest.mark.parametrize("centred", [False, True])
def test_rise_against_equation_6(centred: bool) -> None:
    model = Smooth().double()
    method = Rise(masks=9, cells=4, keep=0.4, centred=centred)
    rng = NamedRng.of(0, ["a", "b"])
    grids = (rng.at("grid").uniform((2, 9, 4, 4)) < 0.4).double()
    shifts = rng.at("shift").uniform((2, 9, 2))
    expected = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.float64)
    for row in range(2):
        masks = []
        for k in range(9):
            large = resize(grids[row, k], (15, 15))
            y, x = (int(s * 3) for s in shifts[row, k])
            masks.append(large[y : y + SIZE, x : x + SIZE])
        scores = torch.stack([model(X[row : row + 1] * m)[0, TARGETS[row]].detach() for m in masks])
        scores = scores - scores.mean() if centred else scores
        expected[row, 0] = sum(s * m for s, m in zip(scores, masks, strict=True)) / (9 * 0.4)  # type: ignore[assignment]
    close(explain(method, model), expected)


def test_rise_makes_masks_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,000 masks of 224 x 224 pixels would be 800 MB a picture."""
    made: list[int] = []

    def watched(maps: Tensor, size: tuple[int, int]) -> Tensor:
        made.append(maps.shape[1])
        return resize(maps, size)

    monkeypatch.setattr("xai_plugins.methods.rise.resize", watched)
    explain(Rise(masks=300, cells=3), Smooth(), chunk=16)
    assert max(made) <= 64
    assert sum(made) == 3 * 300  # once for each picture's passes, once for the sum of both


def test_rise_finds_what_the_score_looks_at() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = x[:, :, :4, :4].abs().sum((1, 2, 3))
            return torch.stack([total, total], 1)

    maps = explain(Rise(masks=600, cells=4), Corner())
    assert (maps[:, 0, :4, :4].mean((1, 2)) > 3 * maps[:, 0].abs().mean((1, 2))).all()


# extremal perturbation


class Spot(nn.Module):
    """Only a corner matters."""

    def forward(self, x: Tensor) -> Tensor:
        total = (x[:, :, :4, :4] ** 2).sum((1, 2, 3))
        return torch.stack([total, total], 1)


def test_extremal_perturbation_keeps_what_matters_at_the_area_asked_for() -> None:
    method = ExtremalPerturbation(area=0.15, steps=150, cells=6)
    maps = explain(method, Spot())
    assert float(maps.min()) >= 0
    assert float(maps.max()) <= 1
    large = resize(maps, (SIZE, SIZE))[:, 0]
    inside, outside = large[:, :4, :4].mean((1, 2)), large[:, 6:, 6:].mean((1, 2))
    assert (inside > 0.5).all()
    assert (outside < 0.2).all()
    assert (maps.mean((1, 2, 3)) < 0.3).all()
    blurred = ask(Spot()).baseline("blur", X)
    kept = score(Spot(), blurred + (X - blurred) * large[:, None])
    assert (kept > 0.75 * score(Spot(), X)).all()


def test_one_step_of_extremal_perturbation_is_the_gradient_of_equation_2() -> None:
    """From the flat start, by autograd through the whole objective."""
    model, cells, rate, weight = Smooth().double(), 4, 1e-3, 7.0
    found = explain(ExtremalPerturbation(area=0.25, steps=1, cells=cells, rate=rate, weight=weight), model)
    blurred = ask(model).baseline("blur", X)
    unit = (score(model, X) - score(model, blurred)).abs()
    grid = torch.full((2, cells, cells), 0.5, dtype=torch.float64, requires_grad=True)

    def mask_of(grid: Tensor) -> Tensor:
        """Equation 7, point by point, on points twice as dense as the cells."""
        rows = []
        for i, j in itertools.product(range(2 * cells), range(2 * cells)):
            y, x = (i + 0.5) / 2 - 0.5, (j + 0.5) / 2 - 0.5
            felt = torch.stack(
                [
                    grid[:, a, b] * math.exp(-((y - a) ** 2 + (x - b) ** 2) / 2)
                    for a, b in itertools.product(range(cells), range(cells))
                ],
                1,
            )
            rows.append(((20 * felt).exp() * felt).sum(1) / (20 * felt).exp().sum(1))
        return torch.stack(rows, 1).view(-1, 1, 2 * cells, 2 * cells)

    mask = mask_of(grid)
    shown = blurred + (X - blurred) * resize(mask, (SIZE, SIZE))
    wanted = torch.cat([torch.zeros(48), torch.ones(16)]).double()
    area = (mask.flatten(1).sort(1).values - wanted).square().mean(1)
    objective = model(shown).gather(1, TARGETS[:, None])[:, 0] / unit - weight * area
    (ascent,) = torch.autograd.grad(objective.sum(), grid)
    close(found, mask_of(grid.detach() + rate * ascent))


def test_extremal_perturbation_of_an_image_does_not_depend_on_its_batch() -> None:
    method = ExtremalPerturbation(area=0.2, steps=20, cells=5)
    both = explain(method, Smooth())
    alone = method.explain(ask(Smooth()), X[1:], TARGETS[1:], NamedRng.of(0, ["b"]))
    close(both[1:], alone, 1e-9)


SAMPLED = (
    Lime(cells=3, samples=20),
    Rise(masks=20),
    KernelShap(cells=3, samples=50),
    ShapleySampling(cells=3, orders=4),
    Sobol(cells=3, designs=4),
)


@pytest.mark.parametrize("method", SAMPLED, ids=lambda m: type(m).__name__)
def test_noise_is_by_image_and_seed(method: Explainer) -> None:
    model = Smooth()
    both = explain(method, model)
    alone = method.explain(ask(model), X[1:], TARGETS[1:], NamedRng.of(0, ["b"]))
    close(both[1:], alone, 1e-12)
    other = method.explain(ask(model), X[1:], TARGETS[1:], NamedRng.of(1, ["b"]))
    assert not torch.allclose(alone, other)


@pytest.mark.parametrize("method", SAMPLED, ids=lambda m: type(m).__name__)
def test_how_many_copies_are_in_a_pass_changes_nothing(method: Explainer) -> None:
    model = Smooth()
    expected = explain(method, model)
    for chunk in (1, 7, 64):
        close(explain(method, model, chunk), expected, 1e-12)


class Indifferent(nn.Module):
    """One score for every picture, no round number."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.sum((1, 2, 3)) * 0 + 0.1)[:, None].expand(-1, 2)


@pytest.mark.parametrize("method", [*SAMPLED, FeatureAblation(cells=3)], ids=lambda m: type(m).__name__)
def test_what_never_changes_the_score_gets_exactly_nothing(method: Explainer) -> None:
    probe = SharedProbe(ModuleAdapter(Indifferent(), Preprocess()), Predicted(), chunk=5)
    maps = method.explain(probe, X.float(), TARGETS, NamedRng.of(0, ["a", "b"]))
    assert (maps == 0).all()


@pytest.mark.parametrize("method", [*SAMPLED, FeatureAblation(cells=3)], ids=lambda m: type(m).__name__)
def test_needs_count_the_passes(method: Explainer) -> None:
    probe = ask(Smooth())
    method.explain(probe, X, TARGETS, NamedRng.of(0, ["a", "b"]))
    assert probe.counts.forward == 2 * sum(a.passes for a in method.needs(Shape((3, SIZE, SIZE))))
