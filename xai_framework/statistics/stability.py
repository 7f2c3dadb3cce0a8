"""How far a ranking of methods hangs on the images, on how many they are, and on the seed.

Every image ranks the methods, and the mean of its ranks gives each method its place; so a ranking by other images is
another weighting of the same ranks, and thousands of them are one product of matrices.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xai_framework.statistics.compare import Comparison, Standing
from xai_framework.statistics.ranks import image_ranks

DRAWS = 2000
FEWEST = 5
"""Images that a smaller sample has at least."""

_SEED = re.compile(r"\[(?P<before>[^\[\]]*?),?seed=(?P<seed>\d+)(?P<after>[^\[\]]*)\]$")
"""What a study of several seeds puts behind a label: ``[seed=1]``, ``[samples=8,seed=1]``."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """One method over bootstrap samples of images.

    ``place`` is that by all images, 1 for the best, ties sharing the better one. ``kept`` is the share of samples in
    which it has this place, ``first`` the probability to be first (shared where several are), ``low`` and ``high``
    hold 95 % of its places.
    """

    label: str
    place: int
    kept: float
    first: float
    low: int
    high: int
    control: bool = False


@dataclass(frozen=True)
class Sample:
    """Rankings by ``images`` of all images, drawn without replacement: Kendall's tau-b to the ranking by all, the mean
    and what 95 % of the draws lie in. ``same_first``: how often the best method is the best by all images.
    """

    images: int
    tau: float
    low: float
    high: float
    same_first: float


@dataclass(frozen=True)
class Seeds:
    """A method that draws, under several seeds. All are in units of the metric.

    ``of_means`` is the standard deviation of the seeds' means; ``of_image`` that of one image's values over the seeds
    (root mean square over images); ``between_images`` that of the images' means over the seeds; ``standard_error`` is
    what other images would move a mean by, ``between_images`` / sqrt(n).
    """

    label: str
    seeds: tuple[int, ...]
    mean: float
    of_means: float
    of_image: float
    between_images: float
    standard_error: float


@dataclass(frozen=True)
class Stability:
    """Of one comparison. ``places`` in its order, ``samples`` from many images to few."""

    metric: str
    where: str
    images: int
    places: tuple[Place, ...]
    samples: tuple[Sample, ...]
    seeds: tuple[Seeds, ...]

    @property
    def words(self) -> str:
        """The result in a sentence or two."""
        if len(self.places) < 2 or self.images < 2:
            return "there is no ranking of one method or by one image"
        best = max(self.places, key=lambda p: p.first)
        said = [f"{best.label} is first in {_percent(best.first)} of samples of {self.images} images"]
        if self.samples:
            half = self.samples[0]
            said.append(f"a ranking by {half.images} of them has tau {half.tau:.2f} to that by all")
        for s in self.seeds:
            if not s.of_image:  # it draws nothing at these parameters
                continue
            more = "less" if s.of_means < s.standard_error else "more"
            said.append(
                f"another seed moves the mean of {s.label} by {s.of_means:.2g}, {more} than other images do "
                f"({s.standard_error:.2g})"
            )
        return "; ".join(said)


def stability(comparison: Comparison, *, draws: int = DRAWS, seed: int = 0) -> Stability:
    """Of the methods of a comparison, by the images that have a value for all of them; ``seed`` is the draws'."""
    table, labels = comparison.table, [s.label for s in comparison.ranked]
    images = table.shape[1]
    known = len(labels) > 1 and images > 1
    ranks = image_ranks(table, comparison.higher_is_better) if known else np.empty((0, 0))
    rng = np.random.default_rng(seed)
    return Stability(
        comparison.metric,
        comparison.where,
        images,
        _places(comparison.ranked, ranks, draws, rng) if known else (),
        _samples(ranks, draws, rng) if known else (),
        tuple(_seeds(labels, table)) if images > 1 else (),
    )


def _places(standings: Sequence[Standing], ranks: Numbers, draws: int, rng: np.random.Generator) -> tuple[Place, ...]:
    """By bootstrap samples: images drawn with replacement, as many as there are."""
    images = ranks.shape[1]
    by_all = _placed(ranks.sum(1)[:, None])[:, 0]
    # counts are whole and ranks are halves, so that equal sums are equal exactly
    sums = [ranks @ rng.multinomial(images, np.full(images, 1 / images), n).T for n in _portions(draws, images)]
    drawn = _placed(np.concatenate(sums, 1))
    is_first = drawn == 1
    first = (is_first / is_first.sum(0)).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=1, method="inverted_cdf")
    kept = (drawn == by_all[:, None]).mean(1)
    return tuple(
        Place(s.label, int(by_all[i]), float(kept[i]), float(first[i]), int(low[i]), int(high[i]), s.control)
        for i, s in enumerate(standings)
    )


def _samples(ranks: Numbers, draws: int, rng: np.random.Generator) -> tuple[Sample, ...]:
    """By a half, a quarter, ... of the images, as long as :data:`FEWEST` are left; each part is drawn of the last."""
    images = ranks.shape[1]
    sizes = [images >> k for k in range(1, images.bit_length()) if images >> k >= FEWEST]
    if not sizes:
        return ()
    portions = [_summed(ranks, sizes, n, rng) for n in _portions(draws, images)]
    whole = ranks.sum(1)[:, None]
    best = _placed(whole)[:, 0] == 1
    found = []
    for i, size in enumerate(sizes):
        sums = np.concatenate([portion[i] for portion in portions], 1)
        tau = kendall(whole, sums)
        tau = tau[~np.isnan(tau)]
        if len(tau):
            low, high = np.quantile(tau, (0.025, 0.975))
            same = float((_placed(sums)[best] == 1).any(0).mean())
            found.append(Sample(size, float(tau.mean()), float(low), float(high), same))
    return tuple(found)


def _summed(ranks: Numbers, sizes: Sequence[int], draws: int, rng: np.random.Generator) -> list[Numbers]:
    """For each size the ranks' sums over that many images, (methods, draws)."""
    keys = rng.random((draws, ranks.shape[1]))
    largest = np.partition(keys, [size - 1 for size in sizes], axis=1)
    return [ranks @ (keys <= largest[:, size - 1 : size]).T.astype(np.float64) for size in sizes]


def _portions(draws: int, images: int) -> list[int]:
    """Numbers of draws whose tables are 32 MB at most."""
    portion = max(1, 4_000_000 // images)
    return [min(portion, draws - first) for first in range(0, draws, portion)]


def _seeds(labels: Sequence[str], table: Numbers) -> list[Seeds]:
    groups: dict[str, dict[int, Numbers]] = {}
    for label, row in zip(labels, table, strict=True):
        if match := _SEED.search(label):
            rest = match["before"] + match["after"]
            name = label[: match.start()] + (f"[{rest.strip(',')}]" if rest else "")
            groups.setdefault(name, {})[int(match["seed"])] = row
    found = []
    for name, by_seed in groups.items():
        if len(by_seed) < 2:
            continue
        rows = np.stack([by_seed[s] for s in sorted(by_seed)])
        between = float(rows.mean(0).std(ddof=1))
        found.append(
            Seeds(
                name,
                tuple(sorted(by_seed)),
                float(rows.mean()),
                of_means=float(rows.mean(1).std(ddof=1)),
                of_image=float(np.sqrt(rows.var(0, ddof=1).mean())),
                between_images=between,
                standard_error=between / float(np.sqrt(rows.shape[1])),
            )
        )
    return found


def _placed(sums: Numbers) -> NDArray[np.int64]:
    """(methods, draws) of summed ranks -> places, 1 being the smallest sum, ties sharing the better place."""
    return np.asarray(1 + (sums[None] < sums[:, None]).sum(1), np.int64)


def kendall(first: Numbers, second: Numbers) -> Numbers:
    """Kendall's tau-b of columns: (methods, 1 or draws), (methods, draws) -> (draws,); NaN where one ties all."""
    upper = np.triu_indices(len(first), 1)
    a, b = (np.sign(x[upper[0]] - x[upper[1]]) for x in (first, second))
    left, right = np.abs(a).sum(0), np.abs(b).sum(0)
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(0) / np.sqrt(left * right), np.float64)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
