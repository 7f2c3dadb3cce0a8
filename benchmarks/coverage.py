"""How often do the 95 % intervals hold the truth? ``python -m benchmarks.coverage`` (half a minute).

Prints the table of docs/comparing.md. For each kind of values many samples are drawn from a distribution whose mean and
median are known, each is given its interval by the very functions that the tables use, and the share that holds the
truth is counted. Of shares nothing is drawn: what Wilson's interval covers is a finite sum.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from xai_framework.statistics.intervals import LEVEL, order_statistics, unskewed, wilson

SIZES = (20, 77, 200, 1000)
REPETITIONS = 10_000
CHUNK = 500
RESAMPLES = 2000
Numbers = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Numbers]
Bounds = tuple[Numbers, Numbers]


@dataclass(frozen=True)
class Kind:
    """Values of one distribution, and its true mean and median."""

    name: str
    draw: Draw
    mean: float
    median: float


def _often_zero(
    share: float, rest: Callable[..., Numbers]
) -> Callable[[np.random.Generator, tuple[int, int]], Numbers]:
    return lambda rng, shape: np.where(rng.uniform(size=shape) < share, 0.0, rest(rng, shape))


def _lognormal(rng: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    return rng.lognormal(0, 1, shape)


def _exponential(rng: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    return rng.exponential(1, shape)


KINDS = (
    Kind("uniform", lambda rng, shape: rng.uniform(size=shape), 0.5, 0.5),
    Kind("beta(1/2, 3/2)", lambda rng, shape: rng.beta(0.5, 1.5, shape), 0.25, 0.163194),
    Kind("exponential", _exponential, 1.0, math.log(2)),
    Kind("lognormal(0, 1)", _lognormal, math.exp(0.5), 1.0),
    Kind("80 % zeros, else exponential", _often_zero(0.8, _exponential), 0.2, 0.0),
    Kind("60 % zeros, else lognormal", _often_zero(0.6, _lognormal), 0.4 * math.exp(0.5), 0.0),
)
SHARES = (0.5, 0.8, 0.95)


def samples(kind: Kind, n: int, repetitions: int, seed: int = 0) -> Iterator[tuple[int, Numbers]]:
    """Chunks of samples (rows, n), each with a seed for its resamples."""
    rng = np.random.default_rng([seed, n, *kind.name.encode()])
    for first in range(0, repetitions, CHUNK):
        yield first, kind.draw(rng, (min(CHUNK, repetitions - first), n))


def covered(kind: Kind, n: int, repetitions: int, seed: int = 0) -> tuple[float, float]:
    """The share of samples whose intervals hold the mean, and the median."""
    means = medians = 0
    for _, found in samples(kind, n, repetitions, seed):
        means += _holding(unskewed(found), kind.mean)
        medians += _holding(order_statistics(found), kind.median)
    return means / repetitions, medians / repetitions


def covered_by_others(kind: Kind, n: int, repetitions: int, seed: int = 0) -> tuple[float, float]:
    """The share of samples whose mean is held by other intervals: the BCa bootstrap, and mean +- t s / sqrt(n)."""
    boot = plain = 0
    t = special.stdtrit(n - 1, (1 + LEVEL) / 2)
    for chunk, found in samples(kind, n, repetitions, seed):
        boot += _holding(bca(found, chunk), kind.mean)
        middle, half = found.mean(1), t * found.std(1, ddof=1) / math.sqrt(n)
        plain += _holding((middle - half, middle + half), kind.mean)
    return boot / repetitions, plain / repetitions


def bca(found: Numbers, seed: int) -> Bounds:
    """Efron 1987, section 4, of the mean: (samples, n) -> bounds (samples,); all samples see the same resamples."""
    n, middle = found.shape[1], found.mean(1)
    deviations = found - middle[:, None]
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
    means = np.sort(deviations @ drawn.T, axis=1)
    below = ((means < 0).mean(1) + (means <= 0).mean(1)) / 2
    bias = special.ndtri(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    scale = np.where(deviations.any(1), deviations.std(1), 1.0)
    acceleration = (deviations**3).mean(1) / scale**3 / (6 * math.sqrt(n))
    bounds = []
    for side in (special.ndtri((1 - LEVEL) / 2), special.ndtri((1 + LEVEL) / 2)):
        place = special.ndtr(bias + (bias + side) / (1 - acceleration * (bias + side)))
        index = np.rint(place * (RESAMPLES - 1)).astype(int)
        bounds.append(middle + means[np.arange(len(means)), index])
    return bounds[0], bounds[1]


def _holding(bounds: Bounds, truth: float) -> int:
    slack = 1e-12  # of a sum of zeros and numbers around 1
    return int(((bounds[0] <= truth + slack) & (truth - slack <= bounds[1])).sum())


def covered_share(p: float, n: int) -> float:
    """How often Wilson's interval holds ``p``, exactly."""
    total = 0.0
    for count in range(n + 1):
        low, high = wilson(count, n)
        if low <= p <= high:
            log_ways = math.lgamma(n + 1) - math.lgamma(count + 1) - math.lgamma(n - count + 1)
            total += math.exp(log_ways + count * math.log(p) + (n - count) * math.log(1 - p))
    return total


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="samples of each kind and size")
    args = parser.parse_args()
    started = time.monotonic()
    print("| values | interval | " + " | ".join(f"n = {n:,}" for n in SIZES) + " |")
    print("|---|---|" + "---:|" * len(SIZES))
    for kind in KINDS:
        found = [covered(kind, n, args.repetitions) for n in SIZES]
        others = [covered_by_others(kind, n, args.repetitions) for n in SIZES]
        _row(kind.name, "**mean, Hall**", [mean for mean, _ in found])
        _row("", "(mean, BCa)", [boot for boot, _ in others])
        _row("", "(mean, Student)", [plain for _, plain in others])
        _row("", "**median, order statistics**", [median for _, median in found])
    for p in SHARES:
        _row(f"0 or 1, {100 * p:.0f} % ones", "**mean, Wilson**", [covered_share(p, n) for n in SIZES])
    error = 1.96 * math.sqrt(0.95 * 0.05 / args.repetitions)
    print(f"\n{args.repetitions:,} samples of each (Monte-Carlo error {error:.2%}), {time.monotonic() - started:.0f} s")


def _row(name: str, interval: str, shares: list[float]) -> None:
    print(f"| {name} | {interval} | " + " | ".join(f"{100 * s:.1f}" for s in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
