"""Metrics of localisation against slow direct formulas, published numbers and what they must say of odd cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from xai_plugins.metrics._ranks import average_ranks, spearman
from xai_plugins.metrics.energy_in_region import EnergyInRegion
from xai_plugins.metrics.grid_pointing_game import GridPointingGame
from xai_plugins.metrics.pointing_game import PointingGame
from xai_plugins.metrics.region_iou import RegionIou
from xai_plugins.metrics.relevance_rank import RelevanceRank
from xai_plugins.metrics.roc_auc import RocAuc
from xai_plugins.metrics.top_k_intersection import TopKIntersection
from xai_plugins.targets.similarity import Similarity

from tests.unit.judging import judging, measured
from xai_framework.core import Case, Metric, Region

ALL: tuple[Metric, ...] = (
    PointingGame(),
    PointingGame(tolerance=1.5),
    EnergyInRegion(),
    RelevanceRank(),
    RegionIou(),
    RocAuc(),
    TopKIntersection(k=5),
    GridPointingGame(),
)


def model(pixels: int, classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * pixels, classes))


def case(maps: Tensor, truth: Sequence[tuple[Region, ...]], classes: Sequence[int] = (), **options: Any) -> Case:
    """Pictures of the maps' own size; of class 1 where nothing else is said."""
    pictures = torch.zeros(len(maps), 3, *maps.shape[-2:])
    chosen = torch.tensor(classes or [1] * len(maps))
    return judging(
        model(maps[0, 0].numel()), pictures, maps, targets=options.pop("targets", chosen), truth=truth, **options
    )


def quarter(height: int, width: int, row: int, column: int) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[row * height // 2 : (row + 1) * height // 2, column * width // 2 : (column + 1) * width // 2] = True
    return mask


def counting() -> Case:
    """Quantus's example: 1..16 on 4x4, the lower right quarter is the object; the upper left one another's."""
    regions = (Region(1, mask=quarter(4, 4, 1, 1)), Region(2, mask=quarter(4, 4, 0, 0)))
    return case(torch.arange(1.0, 17.0).view(1, 1, 4, 4), [regions])


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (PointingGame(), 1.0),
        (EnergyInRegion(), 0.397058823529),
        (RelevanceRank(), 0.5),
        (RocAuc(), 0.916666667),
        (TopKIntersection(k=4), 0.5),
        (RegionIou(), 4 / 6),  # 11..16: all four, and 13 and 14
        (GridPointingGame(), (11 + 12 + 15 + 16) / (11 + 12 + 15 + 16 + 1 + 2 + 5 + 6)),
    ],
    ids=lambda m: type(m).__name__,
)
def test_the_numbers_of_quantus(metric: Metric, value: float) -> None:
    assert measured(metric, counting()) == pytest.approx([value], abs=1e-9)


def test_energy_is_quantus_attribution_localisation_but_for_its_epsilon() -> None:
    assert measured(EnergyInRegion(), counting()) == pytest.approx([0.397058823483], abs=1e-9)


# --- slow formulas -------------------------------------------------------------------------------------------------


def slow_energy(heat: np.ndarray, mask: np.ndarray) -> float:
    return float(heat[mask].sum() / heat.sum())


def slow_auc(heat: np.ndarray, mask: np.ndarray) -> float:
    pairs = [(a > b) + 0.5 * (a == b) for a in heat[mask] for b in heat[~mask]]
    return float(np.mean(pairs))


def slow_iou(heat: np.ndarray, mask: np.ndarray) -> float:
    return max(
        float(((heat >= t) & mask).sum() / ((heat >= t) | mask).sum()) for t in np.unique(heat[heat > 0]).tolist()
    )


def slow_rank(heat: np.ndarray, mask: np.ndarray) -> float:
    top = np.argsort(-heat.ravel(), kind="stable")[: mask.sum()]
    return float(mask.ravel()[top].mean())


def slow_top(heat: np.ndarray, mask: np.ndarray) -> float:
    return float(mask.ravel()[np.argsort(-heat.ravel(), kind="stable")[:5]].mean())


def slow_pointing(heat: np.ndarray, mask: np.ndarray) -> float:
    return float(mask.ravel()[heat.argmax()])


def slow_near(heat: np.ndarray, mask: np.ndarray) -> float:
    y, x = divmod(int(heat.argmax()), heat.shape[1])
    return float(any(math.hypot(y - b, x - a) <= 1.5 for b, a in zip(*mask.nonzero(), strict=True)))


SLOW: list[tuple[Metric, Callable[[np.ndarray, np.ndarray], float]]] = [
    (EnergyInRegion(), slow_energy),
    (RocAuc(), slow_auc),
    (RegionIou(), slow_iou),
    (RelevanceRank(), slow_rank),
    (TopKIntersection(k=5), slow_top),
    (PointingGame(), slow_pointing),
    (PointingGame(tolerance=1.5), slow_near),
]


def random_masks(count: int, height: int, width: int) -> list[np.ndarray]:
    numbers = np.random.default_rng(0)
    return [numbers.random((height, width)) < share for share in np.linspace(0.05, 0.9, count)]


@pytest.mark.parametrize(("metric", "slow"), SLOW, ids=lambda x: getattr(x, "__name__", type(x).__name__))
def test_slow_formulas(metric: Metric, slow: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """Three channels that are summed; heat without ties among what is positive."""
    maps = torch.randn(12, 3, 9, 11, generator=torch.Generator().manual_seed(1)) + 1.0
    masks = random_masks(12, 9, 11)
    found = measured(metric, case(maps, [(Region(1, mask=m),) for m in masks]))
    heat = maps.sum(1).clamp(min=0).double().numpy()
    assert found == pytest.approx([slow(h, m) for h, m in zip(heat, masks, strict=True)], abs=1e-6)


@pytest.mark.parametrize(("metric", "slow"), [(RocAuc(), slow_auc), (RegionIou(), slow_iou)])
def test_equal_heat_counts_half_and_is_cut_together(
    metric: Metric, slow: Callable[[np.ndarray, np.ndarray], float]
) -> None:
    maps = torch.randint(0, 4, (8, 1, 9, 11), generator=torch.Generator().manual_seed(2)).float()
    masks = random_masks(8, 9, 11)
    found = measured(metric, case(maps, [(Region(1, mask=m),) for m in masks]))
    heat = maps[:, 0].double().numpy()
    assert found == pytest.approx([slow(h, m) for h, m in zip(heat, masks, strict=True)], abs=1e-9)


def test_signs() -> None:
    """One negative pixel inside, one positive outside, zero elsewhere."""
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 0, 0], maps[0, 0, 3, 3] = 1.0, -3.0
    about = case(maps, [(Region(1, box=(2, 2, 4, 4)),)])
    assert measured(EnergyInRegion(), about) == [0.0]
    assert measured(EnergyInRegion(sign="absolute"), about) == [0.75]
    assert measured(PointingGame(), about) == [0.0]
    assert measured(PointingGame(sign="absolute"), about) == [1.0]
    assert measured(RocAuc(), about) == pytest.approx([(44 / 2) / 48])
    assert measured(RocAuc(sign="signed"), about) == pytest.approx([(33 / 2) / 48])
    assert measured(RocAuc(sign="absolute"), about) == pytest.approx([(12 + 33 / 2) / 48])


def test_tolerance_is_a_distance_between_pixel_centres() -> None:
    maps = torch.zeros(1, 1, 9, 9)
    maps[0, 0, 0, 0] = 1.0
    about = case(maps, [(Region(1, box=(3, 4, 9, 9)),)])  # the nearest pixel is (4, 3)
    assert measured(PointingGame(tolerance=4.9), about) == [0.0]
    assert measured(PointingGame(tolerance=5.0), about) == [1.0]


def test_ties_are_drawn_by_the_seed_and_fall_everywhere() -> None:
    flat, truth = torch.ones(60, 1, 8, 8), [(Region(1, box=(0, 0, 4, 8)),)] * 60
    for metric in (PointingGame(), RelevanceRank(), TopKIntersection(k=3)):
        first = measured(metric, case(flat, truth, seed=1))
        assert first == measured(metric, case(flat, truth, seed=1))
        assert first != measured(metric, case(flat, truth, seed=2))
        assert abs(float(np.mean(first)) - 0.5) < 0.2
    assert measured(RocAuc(), case(flat, truth)) == [0.5] * 60
    assert measured(EnergyInRegion(), case(flat, truth)) == [0.5] * 60


def test_a_coarse_map_is_enlarged_bilinearly() -> None:
    pictures, coarse = torch.zeros(1, 3, 8, 8), torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    about = judging(model(64), pictures, coarse, targets=torch.tensor([1]), truth=[(Region(1, box=(4, 0, 8, 8)),)])
    columns = np.clip((np.arange(8) + 0.5) * 2 / 8 - 0.5, 0, 1)
    assert measured(EnergyInRegion(), about) == pytest.approx([columns[4:].sum() / columns.sum()])


# --- truth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ALL, ids=str)
def test_boxes_masks_and_names_say_the_same(metric: Metric) -> None:
    maps = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    other, mask = Region(2, box=(0, 0, 4, 8)), quarter(8, 8, 1, 1)
    values = [
        measured(metric, case(maps, [(*mine, other)], labels=("a", "b", "c", "d")))
        for mine in (
            (Region(1, box=(4, 4, 8, 8)),),
            (Region("b", box=(4, 4, 8, 8)),),
            (Region(None, mask=mask),),
            (Region(1, box=(4, 4, 6, 8)), Region(1, box=(5, 4, 8, 8))),  # a union, counted once
        )
    ]
    assert values == [values[0]] * 4
    assert np.isfinite(values[0]).all()


@pytest.mark.parametrize("metric", ALL, ids=str)
def test_what_cannot_be_judged_has_no_value_and_a_reason(metric: Metric) -> None:
    good, cold = torch.rand(8, 8, generator=torch.Generator().manual_seed(4)), -torch.ones(8, 8)
    maps = torch.stack([good, good, good, good, cold, good])[:, None]
    here, other = Region(1, box=(4, 4, 8, 8)), Region(2, box=(0, 0, 4, 4))
    truth = [(here, other), (), (other,), (Region(1, box=(8, 0, 30, 8)), other), (here, other), (here, other)]
    about = case(maps, truth, (1, 1, 1, 1, 1, 0))
    values = measured(metric, about)
    assert np.isfinite(values).tolist() == [True, False, False, False, False, False]
    assert about.reasons == {
        1: "the picture has no regions",
        2: "the picture has no region of the explained class",
        3: "no region of the explained class lies in the model's input",
        4: "the map has no positive heat",
        5: "the picture has no region of the explained class",
    }
    assert values[0] == measured(metric, case(maps[:1], truth[:1]))[0]


@pytest.mark.parametrize("metric", ALL, ids=str)
def test_a_target_that_is_no_class(metric: Metric) -> None:
    """It has no regions of its own; those of no class it shares with everybody."""
    maps, rows = torch.rand(1, 1, 8, 8), torch.randn(1, 4)
    assert Similarity.kind == "target"
    foreign = case(maps, [(Region(1, box=(0, 0, 4, 4)),)], targets=rows)
    assert np.isnan(measured(metric, foreign)).all()
    assert foreign.reasons == {0: "the target is no class, and every region is of one"}
    anybody = case(maps, [(Region(None, box=(0, 0, 4, 4)), Region(1, box=(4, 4, 8, 8)))], targets=rows)
    assert np.isfinite(measured(metric, anybody)).all()


@pytest.mark.parametrize("metric", ALL, ids=str)
def test_alone_as_in_a_batch(metric: Metric) -> None:
    maps = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(5)).relu()
    pictures = torch.zeros(5, 3, 12, 12)
    truth = [(Region(1, box=(i, i, i + 5, i + 6)), Region(2, box=(0, 8, 4, 12))) for i in range(5)]

    def of(rows: slice) -> Case:
        about = judging(model(144), pictures, maps, targets=torch.ones(5, dtype=torch.int64), truth=truth)
        from dataclasses import replace

        rng = replace(about.rng, rows=about.rng.rows[rows])  # type: ignore[type-var]
        return replace(
            about,
            inputs=about.inputs[rows],
            targets=about.targets[rows],
            maps=about.maps[rows],
            classes=about.classes[rows],
            truth=truth[rows],
            geometry=about.geometry[rows],
            rng=rng,
        )

    together = measured(metric, of(slice(0, 5)))
    alone = [measured(metric, of(slice(i, i + 1)))[0] for i in range(5)]
    assert together == pytest.approx(alone, abs=1e-6)


def test_the_whole_input_as_region() -> None:
    maps, truth = torch.rand(1, 1, 8, 8), [(Region(1, box=(0, 0, 8, 8)),)]
    about = case(maps, truth)
    assert np.isnan(measured(RocAuc(), about)).all()
    assert about.reasons == {0: "the regions cover the whole input"}
    about = case(maps, truth)
    assert np.isnan(measured(GridPointingGame(), about)).all()
    assert about.reasons == {0: "no other class has a cell: the picture is no mosaic"}
    for metric in (PointingGame(), EnergyInRegion(), RelevanceRank(), TopKIntersection(k=5)):
        assert measured(metric, case(maps, truth)) == [1.0]


def test_a_mosaic() -> None:
    """Four cells; heat in the frame between them counts nowhere, and a mosaic without heat has no value."""
    maps = torch.zeros(2, 1, 9, 9)
    maps[0, 0, :4, :4], maps[0, 0, :4, 5:], maps[0, 0, 4] = 3.0, 1.0, 100.0
    maps[1, 0, 4] = 1.0
    corners = [(0, 0, 4, 4), (5, 0, 9, 4), (0, 5, 4, 9), (5, 5, 9, 9)]
    cells = tuple(Region(i, box=tuple(map(float, box))) for i, box in enumerate(corners))  # type: ignore[arg-type]
    about = case(maps, [cells] * 2, (0, 0))
    values = measured(GridPointingGame(), about)
    assert values[0] == 0.75
    assert np.isnan(values[1])
    assert about.reasons == {1: "no cell has heat"}


def test_more_than_the_input_has() -> None:
    about = case(torch.rand(1, 1, 4, 4), [(Region(1, box=(0, 0, 2, 2)),)])
    assert np.isnan(measured(TopKIntersection(), about)).all()
    assert about.reasons == {0: "k is 1000, the input has 16 pixels"}


# --- a region by its label -----------------------------------------------------------------------------------------


def with_tag(**options: Any) -> Case:
    """1..16 on 4x4: the object in the lower right quarter, the tag (3, 4, 7, 8) in the upper right one."""
    regions = (Region(1, mask=quarter(4, 4, 1, 1)), Region("tag", mask=quarter(4, 4, 0, 1)))
    return case(torch.arange(1.0, 17.0).view(1, 1, 4, 4), [regions], **options)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (EnergyInRegion(region="tag"), 22 / 136),
        (PointingGame(region="tag"), 0.0),
        (PointingGame(region="tag", tolerance=2.0), 1.0),  # 16 stands two rows below 8
        (RelevanceRank(region="tag"), 0.0),  # the hottest four are 13..16
        (TopKIntersection(region="tag", k=10), 2 / 10),  # 7 and 8 are among 7..16
        (RegionIou(region="tag"), 4 / 14),  # 3..16 holds all four
        (RocAuc(region="tag"), (2 + 2 + 4 + 4) / 48),  # outside and smaller: 1, 2; 1, 2; and 5, 6 too; 1, 2, 5, 6
        (GridPointingGame(region="tag"), 22 / (22 + 54)),
    ],
    ids=repr,
)
def test_a_region_by_its_label(metric: Metric, value: float) -> None:
    assert measured(metric, with_tag()) == pytest.approx([value], abs=1e-12)
    # whichever class is explained, also none at all
    other = torch.tensor([2])
    assert measured(metric, with_tag(targets=other)) == pytest.approx([value], abs=1e-12)


@pytest.mark.parametrize("metric", ALL, ids=repr)
def test_unwanted_heat_is_told_and_not_judged(metric: Metric) -> None:
    assert metric.judges
    assert not metric.replace(region="tag", wanted=False).judges


@pytest.mark.parametrize("metric", [m.replace(region="tga") for m in ALL], ids=repr)
def test_a_label_that_no_region_has(metric: Metric) -> None:
    about = with_tag()
    assert np.isnan(measured(metric, about)).all()
    assert about.reasons == {0: "the picture has no region 'tga'; did you mean 'tag'? (available: 1, tag)"}
    bare = case(torch.ones(1, 1, 4, 4), [()])
    assert np.isnan(measured(metric, bare)).all()
    assert bare.reasons == {0: "the picture has no regions"}


# --- ranks ---------------------------------------------------------------------------------------------------------


def test_ranks_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")

    numbers = torch.Generator().manual_seed(6)
    fine = torch.randn(4, 300, generator=numbers)
    coarse = torch.randint(-3, 4, (4, 300), generator=numbers).float()
    for values in (fine, coarse, -coarse):
        np.testing.assert_array_equal(average_ranks(values).numpy(), stats.rankdata(values.numpy(), axis=1))
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(fine.numpy(), coarse.numpy(), strict=True)]
    np.testing.assert_allclose(spearman(fine, coarse).numpy(), expected, atol=1e-12)
    assert spearman(coarse, 2 * coarse + 1).tolist() == pytest.approx([1.0] * 4)
    assert spearman(coarse, -coarse).tolist() == pytest.approx([-1.0] * 4)
    assert spearman(coarse, torch.ones_like(coarse)).isnan().all()
