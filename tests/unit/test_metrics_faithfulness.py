"""Metrics of faithfulness against slow loops by the papers' formulas, closed forms, and other implementations."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from judging import judging, measured
from torch import Tensor, nn
from xai_plugins.metrics._removal import Removal
from xai_plugins.metrics._road import road
from xai_plugins.metrics.average_drop import AverageDrop
from xai_plugins.metrics.deletion import Deletion
from xai_plugins.metrics.faithfulness_correlation import FaithfulnessCorrelation
from xai_plugins.metrics.increase_in_confidence import IncreaseInConfidence
from xai_plugins.metrics.infidelity import Infidelity
from xai_plugins.metrics.insertion import Insertion
from xai_plugins.metrics.irof import Irof
from xai_plugins.metrics.monotonicity import Monotonicity
from xai_plugins.metrics.pixel_flipping import PixelFlipping

from xai_framework.core import ConfigError, Metric, Shape, blur, resize

SIZE = 12
SHAPE = Shape((3, SIZE, SIZE))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(seed: int = 1) -> nn.Sequential:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 4))
    with torch.no_grad():
        model[1].weight.copy_(drawn(4, 3 * SIZE * SIZE, seed=seed) / 10)
        model[1].bias.copy_(drawn(4, seed=seed + 1))
    return model


def convolutional() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


X = drawn(4, 3, SIZE, SIZE)
MAPS = drawn(4, 1, SIZE, SIZE, seed=7)


def probability(model: nn.Module, x: Tensor, row: int) -> float:
    with torch.no_grad():
        return float(model.eval()(x[None]).softmax(1)[0, row])


def logit(model: nn.Module, x: Tensor, row: int) -> float:
    with torch.no_grad():
        return float(model.eval()(x[None])[0, row])


def hottest_first(heat: Tensor, side: int) -> list[tuple[slice, slice]]:
    """The patches of a map, one after another."""
    height, width = heat.shape
    found = [
        (slice(top, min(top + side, height)), slice(left, min(left + side, width)))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]
    return sorted(found, key=lambda where: -float(heat[where].double().mean()))


def without(x: Tensor, where: list[tuple[slice, slice]], fill: Tensor) -> Tensor:
    left = x.clone()
    for rows, columns in where:
        left[:, rows, columns] = fill[:, rows, columns]
    return left


EVERY = [
    Deletion(steps=5, patch=2),
    Deletion(steps=4, patch=3, impute="road"),
    Insertion(steps=5, patch=2),
    Insertion(steps=3, impute="noise"),
    PixelFlipping(steps=5, patch=3),
    PixelFlipping(steps=4, patch=2, order="difference", impute="noise"),
    AverageDrop(),
    IncreaseInConfidence(sign="absolute"),
    FaithfulnessCorrelation(subsets=7, patch=2),
    Monotonicity(cells=3, draws=2),
    Irof(cells=4),
]
INFIDELITIES = [
    Infidelity(draws=9),
    Infidelity(draws=9, scaling=False, map="global", size=0.4),
    Infidelity(draws=9, changes="gaussian", of="logit"),
]


def ids(metric: Metric) -> str:
    return f"{type(metric).__name__} {getattr(metric, 'impute', '')} {getattr(metric, 'order', '')}".strip()


# what every metric keeps


@pytest.mark.parametrize("metric", EVERY + INFIDELITIES, ids=ids)
def test_an_image_alone_gets_what_it_gets_in_a_batch(metric: Metric) -> None:
    model = convolutional()
    together = measured(metric, judging(model, X, MAPS))
    np.testing.assert_allclose(measured(metric, judging(model, X, MAPS, chunk=3)), together, rtol=1e-3, atol=1e-7)
    alone = judging(model, X[:1], MAPS[:1])
    np.testing.assert_allclose(measured(metric, alone), together[:1], rtol=1e-3, atol=1e-7)
    assert np.isfinite(together).all()


@pytest.mark.parametrize("metric", EVERY + INFIDELITIES, ids=ids)
def test_as_many_passes_as_announced_and_the_model_is_left_alone(metric: Metric) -> None:
    model = convolutional()
    before = deepcopy(model.state_dict())
    case = judging(model, X, MAPS)
    start = case.probe.counts.forward  # type: ignore[attr-defined]
    measured(metric, case)
    made = case.probe.counts.forward - start  # type: ignore[attr-defined]
    assert made == len(X) * sum(a.passes for a in metric.needs(SHAPE))
    assert case.probe.counts.backward == 0  # type: ignore[attr-defined]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("metric", EVERY, ids=ids)
def test_heat_that_orders_nothing_has_no_value(metric: Metric) -> None:
    maps = MAPS.clone()
    maps[1] = 0.1
    maps[2] = torch.cat([torch.ones(1, SIZE, SIZE)]) * 0
    case = judging(convolutional(), X, maps)
    values = measured(metric, case)
    assert np.isnan(values).tolist() == [False, True, True, False]
    assert "same everywhere" in case.reasons[1]
    assert "zero everywhere" in case.reasons[2]


def test_an_enlarged_constant_is_no_order_either() -> None:
    case = judging(convolutional(), X, torch.full((4, 1, 7, 7), 0.1))
    assert np.isnan(measured(Deletion(steps=2), case)).all()


@pytest.mark.parametrize("metric", [m for m in EVERY if isinstance(m, Removal | Irof)], ids=ids)
def test_ties_are_drawn_by_the_seed(metric: Metric) -> None:
    maps = torch.zeros(4, 1, SIZE, SIZE)
    maps[:, :, :2, :2] = 1
    model = convolutional()
    first, same, other = (measured(metric, judging(model, X, maps, seed=s)) for s in (0, 0, 1))
    assert first == same
    assert first != other


def test_an_image_needs_its_picture() -> None:
    with pytest.raises(ConfigError, match="image is not given"):
        Deletion(impute="image")
    with pytest.raises(ConfigError, match="an image is given"):
        PixelFlipping(image="a.png")  # type: ignore[arg-type]


def test_the_picture_of_impute_image(tmp_path: Any) -> None:
    from PIL import Image

    path = tmp_path / "grey.png"
    Image.new("RGB", (SIZE, SIZE), (0, 0, 0)).save(path)
    model = linear()
    given = measured(Deletion(steps=3, impute="image", image=str(path)), judging(model, X, MAPS))  # type: ignore[arg-type]
    np.testing.assert_allclose(given, measured(Deletion(steps=3, impute="black"), judging(model, X, MAPS)), rtol=1e-5)


# curves


def test_deletion_of_a_linear_logit_in_closed_form() -> None:
    model = linear()
    case = judging(model, X, MAPS)
    values = measured(Deletion(steps=SIZE * SIZE, of="logit"), case)
    for i, row in enumerate(case.targets.tolist()):
        weight = model[1].weight[row].detach().view(3, SIZE, SIZE)
        evidence = (weight * X[i]).sum(0).flatten().double()  # what each pixel adds to the logit
        order = MAPS[i, 0].flatten().argsort(descending=True)
        # a pixel removed at step k of n counts in the k - 1/2 trapezoids before
        held = (torch.arange(len(order)) + 0.5) / len(order)
        expected = float(model[1].bias[row].detach()) + float((evidence[order] * held).sum())
        assert values[i] == pytest.approx(expected, abs=1e-4)


def test_insertion_mirrors_the_deletion_of_the_opposite_map() -> None:
    how: dict[str, Any] = {"steps": 6, "patch": 2, "impute": "mean"}
    model = convolutional()
    inserted = measured(Insertion(**how), judging(model, X, MAPS))
    deleted = measured(Deletion(**how), judging(model, X, -MAPS))
    np.testing.assert_allclose(inserted, deleted, rtol=1e-5)


@pytest.mark.parametrize("side", [1, 2, 5])
@pytest.mark.parametrize("fill", ["mean", "white", "blur"])
def test_curves_picture_by_picture(side: int, fill: str) -> None:
    model, steps = convolutional(), 5
    case = judging(model, X, MAPS)
    fills = {"mean": torch.zeros_like(X), "white": torch.ones_like(X), "blur": blur(X, SIZE / 16)}[fill]
    found = {
        name: measured(metric, case)
        for name, metric in {
            "deletion": Deletion(steps=steps, patch=side, impute=fill),  # type: ignore[arg-type]
            "insertion": Insertion(steps=steps, patch=side, impute=fill),  # type: ignore[arg-type]
            "share": Deletion(steps=steps, patch=side, impute=fill, normalise=True),  # type: ignore[arg-type]
            "morf": PixelFlipping(steps=steps, patch=side, impute=fill),  # type: ignore[arg-type]
            "lerf": PixelFlipping(steps=steps, patch=side, impute=fill, order="lerf"),  # type: ignore[arg-type]
            "both": PixelFlipping(steps=steps, patch=side, impute=fill, order="difference"),  # type: ignore[arg-type]
        }.items()
    }
    for i, row in enumerate(case.targets.tolist()):
        order = hottest_first(MAPS[i, 0], side)
        n = len(order)
        gone = [round(k * n / steps) for k in range(steps + 1)]
        morf = [probability(model, without(X[i], order[:k], fills[i]), row) for k in gone]
        lerf = [probability(model, without(X[i], order[n - k :] if k else [], fills[i]), row) for k in gone]
        put = [probability(model, without(X[i], order[k:], fills[i]), row) for k in gone]
        at = [k / n for k in gone]
        assert found["deletion"][i] == pytest.approx(np.trapezoid(morf, at), rel=1e-5)
        assert found["insertion"][i] == pytest.approx(np.trapezoid(put, at), rel=1e-5)
        assert found["share"][i] == pytest.approx(np.trapezoid(morf, at) / morf[0], rel=1e-5)
        down, up = np.mean([morf[0] - s for s in morf]), np.mean([lerf[0] - s for s in lerf])
        assert found["morf"][i] == pytest.approx(down, abs=1e-6)
        assert found["lerf"][i] == pytest.approx(-up, abs=1e-6)
        assert found["both"][i] == pytest.approx(down - up, abs=1e-6)


def test_only_a_share_is_flipped() -> None:
    model = convolutional()
    case = judging(model, X, MAPS)
    values = measured(PixelFlipping(steps=3, patch=2, share=0.25), case)
    for i, row in enumerate(case.targets.tolist()):
        order = hottest_first(MAPS[i, 0], 2)
        curve = [probability(model, without(X[i], order[: 3 * k], torch.zeros_like(X[i])), row) for k in range(4)]
        assert values[i] == pytest.approx(np.mean([curve[0] - s for s in curve]), abs=1e-6)


def test_a_true_map_beats_its_opposite() -> None:
    model = linear()
    truth = judging(model, X, method=None, maps=None)
    evidence = truth.maps * X
    for metric in (Deletion(of="logit"), Insertion(of="logit"), PixelFlipping(of="logit", patch=1)):
        good, bad = (np.array(measured(metric, judging(model, X, m))) for m in (evidence, -evidence))
        assert ((good > bad) if metric.higher_is_better else (good < bad)).all()


def test_a_share_of_nothing_is_undefined() -> None:
    model = linear()
    case = judging(model, X, MAPS)
    values = measured(Deletion(steps=2, of="logit", normalise=True), case)
    clean = [logit(model, X[i], r) for i, r in enumerate(case.targets.tolist())]
    low = judging(model, X, MAPS, targets=model(X).argmin(1))
    assert np.isfinite(values).tolist() == [c > 0 for c in clean]
    assert np.isnan(measured(AverageDrop(of="logit"), low)).all()
    assert "not positive" in low.reasons[0]


# ROAD


def dense(x: Tensor, hidden: Tensor) -> np.ndarray:
    """The equations of the paper, pixel by pixel."""
    channels, height, width = x.shape
    unknown = [(r, c) for r in range(height) for c in range(width) if hidden[r, c]]
    place = {at: i for i, at in enumerate(unknown)}
    a, b = np.zeros((len(unknown), len(unknown))), np.zeros((len(unknown), channels))
    for (r, c), i in place.items():
        for dr, dc in [(y, z) for y in (-1, 0, 1) for z in (-1, 0, 1) if (y, z) != (0, 0)]:
            there = (r + dr, c + dc)
            if not (0 <= there[0] < height and 0 <= there[1] < width):
                continue
            weight = 1 / 12 if dr and dc else 1 / 6
            a[i, i] += weight
            if there in place:
                a[i, place[there]] -= weight
            else:
                b[i] += weight * x[:, there[0], there[1]].double().numpy()
    filled = x.double().numpy().copy()
    for (r, c), values in zip(unknown, np.linalg.solve(a, b), strict=True):
        filled[:, r, c] = values
    return filled


@pytest.mark.parametrize("size", [(12, 12), (9, 14), (1, 7)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_road_solves_its_equations(size: tuple[int, int], share: float) -> None:
    x = drawn(3, 2, *size)
    hidden = torch.rand(3, *size, generator=torch.Generator().manual_seed(4)) < share
    hidden[:, 0, 0] = False
    hidden[2] = True
    hidden[2, 0, -1] = False  # a single pixel is known: all others take its value
    nothing = torch.zeros_like(x)
    filled = road(x.double(), hidden, nothing.double(), tolerance=1e-12)
    for i in range(3):
        np.testing.assert_allclose(filled[i].numpy(), dense(x[i], hidden[i]), atol=1e-8)
    rough = road(x, hidden, nothing)
    np.testing.assert_allclose(rough.numpy(), filled.float().numpy(), atol=1e-3)


def test_road_of_a_large_hole() -> None:
    x = blur(drawn(1, 1, 40, 40), 3.0)
    hidden = torch.zeros(1, 40, 40, dtype=torch.bool)
    hidden[:, 3:36, 5:] = True
    hidden[:, 20, 20] = False
    np.testing.assert_allclose(
        road(x, hidden, x * 0)[0].numpy(), dense(x[0], hidden[0]), atol=1e-3 * float(x.max() - x.min())
    )


def test_road_row_by_row_and_without_anything_known() -> None:
    x = drawn(3, 3, 16, 16)
    hidden = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1)) < torch.tensor([0.2, 0.8, 2.0]).view(
        3, 1, 1
    )
    filled = road(x, hidden, torch.full_like(x, 5.0))
    assert (filled[2] == 5).all()
    assert torch.equal(filled[0][:, ~hidden[0]], x[0][:, ~hidden[0]])
    for i in range(2):
        alone = road(x[i : i + 1], hidden[i : i + 1], torch.full_like(x[:1], 5.0))
        torch.testing.assert_close(alone[0], filled[i], rtol=1e-5, atol=1e-6)


def test_deletion_with_road_is_what_its_equations_give() -> None:
    model = convolutional()
    case = judging(model, X, MAPS)
    values = measured(Deletion(steps=4, patch=2, impute="road"), case)
    noise = 0.01 * case.rng.shared("road").normal(X.shape)
    for i, row in enumerate(case.targets.tolist()):
        order, curve = hottest_first(MAPS[i, 0], 2), []
        for k in range(5):
            hidden = torch.zeros(SIZE, SIZE, dtype=torch.bool)
            for where in order[: k * len(order) // 4]:
                hidden[where] = True
            filled = torch.from_numpy(dense(X[i], hidden)).float() if k < 4 else torch.zeros_like(X[i])
            curve.append(probability(model, filled + noise[i] * hidden, row))
        assert values[i] == pytest.approx(np.trapezoid(curve, np.linspace(0, 1, 5)), abs=1e-4)


# the picture through its map


@pytest.mark.parametrize("sign", ["positive", "absolute", "signed"])
def test_drop_and_increase_picture_by_picture(sign: Any) -> None:
    model = convolutional()
    maps = drawn(4, 2, 5, 5, seed=9)
    case = judging(model, X, maps)
    drop, rise = (measured(metric(sign=sign), case) for metric in (AverageDrop, IncreaseInConfidence))
    for i, row in enumerate(case.targets.tolist()):
        heat = resize(maps[i].sum(0, keepdim=True)[None], (SIZE, SIZE))[0, 0]
        heat = {"positive": heat.clamp(min=0), "absolute": heat.abs(), "signed": heat}[sign]
        mask = (heat - heat.min()) / (heat.max() - heat.min())
        y, o = probability(model, X[i], row), probability(model, X[i] * mask, row)
        assert drop[i] == pytest.approx(max(0.0, y - o) / y, abs=1e-5)
        assert rise[i] == float(o > y)


# infidelity


def squares(case: Any, size: int, draws: int) -> Tensor:
    """(B,n,H,W) bool: the squares that are drawn."""
    at = (case.rng.shared("squares").uniform((len(case.inputs), draws, 2)) * (SIZE - size + 1)).long()
    hidden = torch.zeros(len(at), draws, SIZE, SIZE, dtype=torch.bool)
    for i in range(len(at)):
        for k, (top, left) in enumerate(at[i].tolist()):
            hidden[i, k, top : top + size, left : left + size] = True
    return hidden


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scaling", [False, True])
@pytest.mark.parametrize("of", ["probability", "logit"])
def test_infidelity_of_squares_picture_by_picture_and_as_captum_has_it(channels: int, scaling: bool, of: Any) -> None:
    from captum.metrics import infidelity

    model, draws = convolutional(), 11
    maps = drawn(4, channels, SIZE, SIZE, seed=5) / 100
    case = judging(model, X, maps)
    values = measured(Infidelity(draws=draws, size=0.25, scaling=scaling, of=of), case)
    hidden, score = squares(case, 3, draws), probability if of == "probability" else logit
    for i, row in enumerate(case.targets.tolist()):
        foretold, drops = [], []
        for k in range(draws):
            change = X[i] * hidden[i, k]
            foretold.append(float((change * maps[i]).double().sum()))
            drops.append(score(model, X[i], row) - score(model, X[i] - change, row))
        a, d = np.array(foretold), np.array(drops)
        beta = (a * d).mean() / (a * a).mean() if scaling else 1.0
        assert values[i] == pytest.approx(((beta * a - d) ** 2).mean(), rel=1e-3, abs=1e-12)

    changes = X[:, None] * hidden[:, :, None]

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        return changes.flatten(0, 1), inputs - changes.flatten(0, 1)

    def forward(x: Tensor) -> Tensor:
        return model(x).softmax(1) if of == "probability" else model(x)

    with torch.no_grad():
        theirs = infidelity(
            forward,
            perturb,
            X,
            maps.expand(-1, 3, -1, -1),
            target=case.targets,
            n_perturb_samples=draws,
            normalize=scaling,
        )
    np.testing.assert_allclose(values, theirs.numpy(), rtol=1e-2, atol=1e-9)


def test_infidelity_of_noise_as_captum_has_it() -> None:
    from captum.metrics import infidelity

    model, draws = convolutional(), 6
    maps = drawn(4, 3, SIZE, SIZE, seed=5) / 100
    case = judging(model, X, maps)
    values = measured(Infidelity(changes="gaussian", draws=draws, sigma=0.3, scaling=False, of="logit"), case)
    noise = 0.3 * case.rng.shared("gaussian").repeat(draws).normal((4 * draws, 3, SIZE, SIZE))
    with torch.no_grad():
        theirs = infidelity(model, lambda x: (noise, x - noise), X, maps, target=case.targets, n_perturb_samples=draws)
    np.testing.assert_allclose(values, theirs.numpy(), rtol=1e-4)


def test_the_gradient_of_a_linear_logit_is_faithful_to_the_last_digit() -> None:
    model = linear()
    case = judging(model, X)
    for changes in ("square", "gaussian"):
        metric = Infidelity(changes=changes, draws=8, of="logit", scaling=False)  # type: ignore[arg-type]
        assert max(measured(metric, case)) < 1e-10
        doubled = judging(model, X, case.maps * -7)
        assert max(measured(metric, doubled)) > 1e-3
        assert max(measured(metric.replace(scaling=True), doubled)) < 1e-10
    evidence = judging(model, X, case.maps * X)
    assert max(measured(Infidelity(draws=8, of="logit", scaling=False, map="global"), evidence)) < 1e-10


def test_infidelity_where_nothing_can_be_said() -> None:
    with pytest.raises(ConfigError, match="noise is everywhere"):
        Infidelity(changes="gaussian", map="global")
    maps = MAPS.clone()
    maps[1] = -maps[1].abs()
    case = judging(convolutional(), X, maps)
    assert np.isnan(measured(Infidelity(draws=3, sign="positive"), case)).tolist() == [False, True, False, False]
    assert "zero everywhere" in case.reasons[1]


# correlations


def test_faithfulness_correlation_subset_by_subset() -> None:
    model = convolutional()
    case = judging(model, X, MAPS)
    values = measured(FaithfulnessCorrelation(subsets=20, patch=4, share=0.3), case)
    patches = [(slice(t, t + 4), slice(c, c + 4)) for t in range(0, SIZE, 4) for c in range(0, SIZE, 4)]
    draws = [case.rng.shared("subsets").at(k).uniform((4, 9)) for k in range(20)]
    for i, row in enumerate(case.targets.tolist()):
        sums, drops = [], []
        for numbers in draws:
            chosen = [patches[j] for j in np.argsort(-numbers[i].numpy())[:3]]
            sums.append(sum(float(MAPS[i, 0][p].mean()) for p in chosen))
            left = without(X[i], chosen, torch.zeros_like(X[i]))
            drops.append(probability(model, X[i], row) - probability(model, left, row))
        assert values[i] == pytest.approx(np.corrcoef(sums, drops)[0, 1], abs=1e-4)


def test_what_a_linear_logit_is_made_of_correlates_perfectly() -> None:
    model = linear()
    evidence = judging(model, X).maps * X
    exact = judging(model, X, evidence)
    np.testing.assert_allclose(measured(FaithfulnessCorrelation(subsets=12, patch=3, of="logit"), exact), 1, rtol=1e-5)
    opposite = judging(model, X, -evidence)
    np.testing.assert_allclose(
        measured(FaithfulnessCorrelation(subsets=12, patch=3, of="logit"), opposite), -1, rtol=1e-5
    )


def test_a_score_that_depends_on_nothing_correlates_with_nothing() -> None:
    model = linear()
    with torch.no_grad():
        model[1].weight.zero_()
    for metric in (FaithfulnessCorrelation(subsets=5, patch=3), Monotonicity(cells=3, draws=1)):
        case = judging(model, X, MAPS)
        assert np.isnan(measured(metric, case)).all()
        assert len(case.reasons) == 4


@pytest.mark.parametrize("sign", ["absolute", "signed"])
def test_monotonicity_part_by_part(sign: Any) -> None:
    from scipy.stats import spearmanr

    model = convolutional()
    case = judging(model, X, MAPS)
    values = measured(Monotonicity(cells=3, draws=2, sign=sign), case)
    noise = [case.probe.baseline("noise", X, case.rng.shared("monotonicity").at(d)) for d in range(2)]
    parts = [(slice(t, t + 4), slice(c, c + 4)) for t in range(0, SIZE, 4) for c in range(0, SIZE, 4)]
    heat = MAPS[:, 0].abs() if sign == "absolute" else MAPS[:, 0]
    for i, row in enumerate(case.targets.tolist()):
        clean = probability(model, X[i], row)
        effects = [
            np.mean([(clean - probability(model, without(X[i], [p], n[i]), row)) ** 2 for n in noise]) for p in parts
        ]
        expected = spearmanr([float(heat[i][p].mean()) for p in parts], effects).statistic
        assert values[i] == pytest.approx(expected, abs=1e-6)


def test_irof_segment_by_segment() -> None:
    model = convolutional()
    case = judging(model, X, MAPS)
    values = measured(Irof(cells=4), case)
    for i, row in enumerate(case.targets.tolist()):
        order = hottest_first(MAPS[i, 0], 3)
        clean = probability(model, X[i], row)
        curve = [
            probability(model, without(X[i], order[:k], torch.zeros_like(X[i])), row) for k in range(1, len(order) + 1)
        ]
        assert values[i] == pytest.approx(np.mean([1 - s / clean for s in curve]), abs=1e-5)


def test_irof_of_superpixels_does_not_depend_on_the_mates() -> None:
    pytest.importorskip("skimage")
    x = torch.nn.functional.interpolate(drawn(3, 3, 4, 4), size=(24, 24), mode="bilinear")
    x[1] = torch.nn.functional.interpolate(drawn(1, 3, 2, 2), size=(24, 24))[0]
    maps = drawn(3, 1, 24, 24, seed=2)
    maps[:, :, :12] = 0  # ties
    model = convolutional()
    together = measured(Irof(segments="slic", cells=3), judging(model, x, maps))
    alone = judging(model, x[:1], maps[:1])
    assert measured(Irof(segments="slic", cells=3), alone) == pytest.approx(together[:1], rel=1e-4)
    assert np.isfinite(together).all()
