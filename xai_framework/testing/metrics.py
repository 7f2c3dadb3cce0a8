"""What every metric promises."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import get_args, get_type_hints

import torch
from torch import Tensor

from xai_framework.core.adapter import ModelAdapter
from xai_framework.core.explainer import Ask
from xai_framework.core.metric import Metric
from xai_framework.testing.case import MAPS, MetricBench
from xai_framework.testing.documented import check_documented, hold, hold_all
from xai_framework.testing.models import TinyAdapter, name_of
from xai_framework.testing.traces import Trace, disordered, several

TOLERANCE = 1e-4
"""The largest difference of values that batch mates or smaller passes may make, relative where values are above 1."""

_SLACK = 2.0
"""Passes an image, beyond a half more or less, by which what is announced may miss what is made."""


_FACTOR = 4
"""By which the announced number of explanations may miss: of what a network is like, only its input is known then."""


def check_metric(
    metric: Metric | type[Metric], models: Iterable[ModelAdapter] | None = None, *, paper: bool = True
) -> None:
    """Check everything a metric promises, on ``models`` or two of the kit's own.

    A class is checked by its ``example()``. It judges the maps of a method, and maps that are hard to judge: coarse,
    constant, of one sign, of one pixel, of channels that cancel. That maps without any evidence are never scored, the
    framework sees to itself. ``paper=False`` drops the demand that a docstring names where the metric comes from.
    Raises AssertionError naming metric, model, check and finding.
    """
    one = metric.example() if isinstance(metric, type) else metric
    check_documented(one, paper=paper)
    for adapter in (TinyAdapter("vgg_like"), TinyAdapter("vit")) if models is None else models:
        bench = MetricBench.of(one, adapter)
        hold_all(CHECKS, bench, f"{type(one).__name__} on {name_of(adapter)}")


def says_what_it_is(bench: MetricBench) -> None:
    """Where good is, which values there can be, and what it is about."""
    cls = type(bench.metric)
    better = getattr(cls, "higher_is_better", None)
    hold(isinstance(better, bool), f"higher_is_better is {better!r}; say True or False")
    low, high = (float(b) for b in getattr(cls, "range", (math.nan, math.nan)))
    hold(low < high, f"range is ({low}, {high}); say the smallest and the largest value, infinite where there is none")
    families = get_args(get_args(get_type_hints(Metric)["family"])[0])
    family = getattr(cls, "family", None)
    hold(family in families, f"family is {family!r}; one of {', '.join(families)}")


def gives_one_number_an_image(bench: MetricBench) -> None:
    """(B,), float64, detached; a number for at least one picture."""
    values = bench.run().values
    hold(isinstance(values, Tensor), f"returns {type(values).__name__}, not a tensor")
    shape = tuple(values.shape)
    hold(shape == (len(bench.truth),), f"returns shape {shape} for {len(bench.truth)} images, expected one number each")
    hold(values.dtype == torch.float64, f"returns {values.dtype}, expected torch.float64")
    hold(not values.requires_grad, "the values are still part of a graph")
    hold(bool(values.isfinite().any()), "gives no number for any picture of the kit")


def keeps_its_range(bench: MetricBench) -> None:
    """On every map a number within ``range``, or NaN with a reason; never infinity."""
    low, high = bench.metric.range
    for name in MAPS:
        found = bench.run(name)
        for i, value in enumerate(found.values.tolist()):
            hold(not math.isinf(value), f"gives infinity for a map {name}; give NaN and say why (case.undefined)")
            if math.isnan(value):
                hold(bool(found.reasons.get(i)), f"gives NaN for a map {name} without a reason (case.undefined)")
            else:
                slack = 1e-9 * max(1.0, abs(value))
                hold(
                    low - slack <= value <= high + slack, f"gives {value:g} for a map {name}, range is ({low}, {high})"
                )


def scores_no_map_without_heat(bench: MetricBench) -> None:
    """A metric that goes by heat (it has a parameter ``sign``) has no value where there is none."""
    if not hasattr(bench.metric, "sign"):
        return
    found = bench.run("whose channels cancel").values
    hold(bool(found.isnan().all()), "scores a map whose channels cancel: there is no heat to judge, give NaN")


def depends_on_its_image_alone(bench: MetricBench) -> None:
    """Whatever the mates, their number and their order."""
    everyone = range(len(bench.truth))
    expected = bench.run().values
    for rows in itertools.chain([[i] for i in everyone], [everyone[::-1]], [[0, 1], [2, 0], [1, 3, 2]]):
        found = bench.run(rows=rows).values
        for value, i in zip(found, rows, strict=True):
            hold(
                _same(value, expected[i]),
                f"row {i} is {float(value):g} in a batch of rows {[*rows]}, else {float(expected[i]):g}",
            )


def is_the_same_in_smaller_passes(bench: MetricBench) -> None:
    """How many rows fit in a pass changes nothing."""
    expected = bench.run().values
    for chunk in (1, 3):
        found = bench.run(chunk=chunk).values
        hold(_same(found, expected), f"gives other values where {chunk} rows fit in a pass")


def follows_the_seed(bench: MetricBench) -> None:
    """The same seed gives the same bits; without ``stochastic`` every seed does, also where the heat has ties."""
    for name in ("of a method", "that is coarse", "of one pixel"):
        expected = bench.run(name).values
        hold(_equal(bench.run(name).values, expected), "gives other values with the same seed; use case.rng")
        if not bench.metric.stochastic:
            same = all(_equal(bench.run(name, seed=seed).values, expected) for seed in (1, 2, 3))
            hold(same, "depends on the seed; say stochastic: ClassVar[bool] = True")


def leaves_everything_as_it_was(bench: MetricBench) -> None:
    """The model, also with mixed training flags and a gradient of its own; inputs, targets and maps."""
    expected = bench.run().values
    model = bench.bench.adapter.model
    with disordered(model):
        before = Trace.of(model)
        found = bench.run()
        changes = before.changes(Trace.of(model))
    hold(not changes, f"changes {several(changes)}")
    hold(not found.changed, f"writes into the {''.join(found.changed[:1])} of the case; clone them first")
    hold(_equal(found.values, expected), "depends on the model's training flags or on requires_grad of weights")


def leaves_no_trace_after_a_failing_module(bench: MetricBench) -> None:
    """A module that raises; its exception comes out."""
    failed = []

    def fail(*_: object) -> None:
        failed.append(True)
        raise RuntimeError("the module failed on purpose")

    executed = bench.bench.executed_modules()
    model = bench.bench.adapter.model
    with ExitStack() as stack:
        stack.callback(executed[len(executed) // 2].register_forward_hook(fail).remove)
        before = Trace.of(model)
        try:
            bench.run()
        except Exception:  # a metric may wrap it
            changes = before.changes(Trace.of(model))
            hold(not changes, f"changes {several(changes)}")
        else:
            hold(not failed, "swallows the exception of a failing model")


def says_whether_it_needs_truth(bench: MetricBench) -> None:
    """With ``needs_truth`` there is no value without regions; without it they change nothing."""
    found = bench.run(truth=False)
    if bench.metric.needs_truth:
        hold(bool(found.values.isnan().all()), "gives numbers without regions; needs_truth is True")
    else:
        same = _equal(found.values, bench.run().values)
        hold(same, "depends on the regions; say needs_truth: ClassVar[bool] = True")


def says_whether_it_explains(bench: MetricBench) -> None:
    """``explains`` says whether the method is run again."""
    explained = bench.run().explained
    hold(bench.metric.explains or not explained, "runs the method again; say explains: ClassVar[bool] = True")
    hold(bool(explained) or not bench.metric.explains, "says explains, but never runs the method")
    said = bench.metric.explanations(bench.bench.shape)
    hold(
        explained <= _FACTOR * said and said <= _FACTOR * explained,
        f"runs the method {explained} times, explanations says {said}",
    )


def announces_its_passes(bench: MetricBench) -> None:
    """``needs`` tells about how many passes there are, besides those of the method."""
    needs = bench.metric.needs(bench.bench.shape)
    is_one = isinstance(needs, tuple) and all(isinstance(ask, Ask) for ask in needs)
    hold(is_one, f"needs gives {type(needs).__name__}, not a tuple of Ask")
    found = bench.run()
    for what, made in (("forward", found.forward), ("backward", found.backward)):
        said = sum(ask.passes if what == "forward" else ask.backwards for ask in needs)
        hold(
            said <= 1.5 * made + _SLACK and made <= 1.5 * said + _SLACK,
            f"makes {made:g} {what} passes an image, needs announces {said}",
        )


def _same(found: Tensor, expected: Tensor) -> bool:
    """Up to rounding; NaN where the other is NaN."""
    slack = TOLERANCE * expected.abs().clamp(min=1.0)
    return bool((((found - expected).abs() <= slack) | (found.isnan() & expected.isnan())).all())


def _equal(found: Tensor, expected: Tensor) -> bool:
    return bool(((found == expected) | (found.isnan() & expected.isnan())).all())


CHECKS: dict[str, Callable[[MetricBench], None]] = {
    check.__name__.replace("_", " "): check
    for check in (
        says_what_it_is,
        gives_one_number_an_image,
        leaves_everything_as_it_was,
        keeps_its_range,
        scores_no_map_without_heat,
        depends_on_its_image_alone,
        is_the_same_in_smaller_passes,
        follows_the_seed,
        leaves_no_trace_after_a_failing_module,
        says_whether_it_needs_truth,
        says_whether_it_explains,
        announces_its_passes,
    )
}
