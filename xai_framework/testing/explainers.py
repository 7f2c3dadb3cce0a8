"""What every method promises."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack

import torch
from torch import Tensor

from xai_framework.core.adapter import ModelAdapter
from xai_framework.core.errors import NotApplicable
from xai_framework.core.explainer import Explainer
from xai_framework.core.maps import status_of
from xai_framework.core.status import Status
from xai_framework.registry import Registry
from xai_framework.testing.bench import Bench, Given, muted
from xai_framework.testing.documented import check_documented, hold, hold_all
from xai_framework.testing.models import TinyAdapter, name_of, tiny_models
from xai_framework.testing.traces import Trace, disordered, several

TOLERANCE = 1e-5
"""The largest difference, relative to the map's largest value, that other batch mates may make."""

_NOTHING = 1e-8
"""Below this, differences are rounding: the variance of a locally linear model is 0 give or take a few bits."""


def check_explainer(
    method: Explainer | type[Explainer], models: Iterable[ModelAdapter] | None = None, *, paper: bool = True
) -> None:
    """Check everything a method promises, on ``models`` or the kit's own.

    A class is checked by its ``example()``. Models for which the method raises NotApplicable are left out; one must
    remain. ``paper=False`` drops the demand that a docstring names where the method comes from. Models are copied.
    Raises AssertionError naming method, model, check and finding.
    """
    one = method.example() if isinstance(method, type) else method
    check_documented(one, paper=paper)
    benches = [Bench.of(one, adapter) for adapter in (tiny_models() if models is None else models)]
    fitting = [bench for bench in benches if bench.applies()]
    hold(bool(fitting), f"{type(one).__name__}: is not applicable to any of the models")
    for bench in fitting:
        hold_all(CHECKS, bench, f"{type(one).__name__} on {name_of(bench.adapter)}")


def returns_a_batch_of_maps(bench: Bench) -> None:
    """(B,c,h,w), finite, of the inputs' type and device, detached, with memory of its own."""
    maps = bench.run()
    hold(isinstance(maps, Tensor), f"returns {type(maps).__name__}, not a tensor")
    shape = tuple(maps.shape)
    hold(
        maps.ndim == 4 and len(maps) == len(bench.inputs) and 0 not in shape,
        f"returns shape {shape} for inputs {tuple(bench.inputs.shape)}, expected (batch, channels, height, width)",
    )
    hold(maps.dtype == bench.inputs.dtype, f"returns {maps.dtype} for inputs of {bench.inputs.dtype}")
    hold(maps.device == bench.inputs.device, f"returns a tensor on {maps.device}, inputs are on {bench.inputs.device}")
    hold(not maps.requires_grad, "the map is still part of a graph; the probe's answers are detached, keep them so")
    hold(bool(maps.isfinite().all()), "the map holds NaN or infinity")


def leaves_inputs_alone(bench: Bench) -> None:
    """Inputs and targets keep their values and flags, and the map does not share their memory."""
    inputs, targets = bench.inputs.clone(), bench.targets.clone()
    maps = bench.run(inputs=inputs, targets=targets)
    hold(torch.equal(inputs, bench.inputs), "writes into the inputs; clone them first")
    hold(torch.equal(targets, bench.targets), "writes into the targets; clone them first")
    hold(not inputs.requires_grad and inputs.grad is None, "leaves requires_grad or a gradient on the inputs")
    shared = maps.untyped_storage().data_ptr() == inputs.untyped_storage().data_ptr()
    hold(not shared, "the map shares the memory of the inputs; clone it")


def leaves_no_trace(bench: Bench) -> None:
    """On a model with mixed flags and a gradient of its own; the map is the same as on one in eval mode."""
    expected = bench.run()
    with disordered(bench.adapter.model):
        before = Trace.of(bench.adapter.model)
        maps = bench.run()
        changes = before.changes(Trace.of(bench.adapter.model))
    hold(not changes, f"changes {several(changes)}")
    hold(torch.equal(maps, expected), "the map depends on the model's training flags or on requires_grad of weights")


def leaves_no_trace_after_a_wrong_target(bench: Bench) -> None:
    """Targets that do not exist, and too few of them."""
    for targets in (bench.targets + 10_000, bench.targets[:-1]):
        before = Trace.of(bench.adapter.model)
        try:
            bench.run(targets=targets)
        except Exception:  # any error is right here
            changes = before.changes(Trace.of(bench.adapter.model))
            hold(not changes, f"changes {several(changes)}")
        else:
            hold(not bench.method.class_specific, "accepts targets that do not exist")


def leaves_no_trace_after_a_failing_module(bench: Bench) -> None:
    """A module that raises in the middle of the forward pass; its exception comes out."""
    failed = []

    def fail(*_: object) -> None:
        failed.append(True)
        raise RuntimeError("the module failed on purpose")

    executed = bench.executed_modules()
    with ExitStack() as stack:
        stack.callback(executed[len(executed) // 2].register_forward_hook(fail).remove)
        before = Trace.of(bench.adapter.model)
        try:
            bench.run()
        except Exception:  # a method may wrap it
            changes = before.changes(Trace.of(bench.adapter.model))
            hold(not changes, f"changes {several(changes)}")
        else:
            hold(not failed, "swallows the exception of a failing model")


def works_in_any_grad_mode(bench: Bench) -> None:
    """Called under no_grad or inference mode it gives the same."""
    expected = bench.run()
    modes: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "no_grad": torch.no_grad,
        "inference_mode": torch.inference_mode,
        "enable_grad": torch.enable_grad,
    }
    for name, mode in modes.items():
        with mode():
            maps = bench.run()
        hold(torch.equal(maps, expected), f"gives another map under torch.{name}")


def is_the_same_alone_and_in_a_batch(bench: Bench) -> None:
    """Whatever the mates, their number and their order."""
    everyone = range(len(bench.inputs))
    expected = bench.run()
    for rows in itertools.chain([[i] for i in everyone], [everyone[::-1]], itertools.combinations(everyone, 2)):
        maps = bench.run(rows)
        for found, i in zip(maps, rows, strict=True):
            error = _distance(found, expected[i])
            hold(
                error <= TOLERANCE, f"row {i} differs by {error:.1e} of its largest value in a batch of rows {[*rows]}"
            )


def is_the_same_planned_and_alone(bench: Bench) -> None:
    """Passes shared with other methods change the cost, never a bit of the result."""
    needs = bench.method.needs(bench.shape)
    hold(isinstance(needs, tuple), f"needs gives {type(needs).__name__}, not a tuple of Ask")
    expected = bench.run()
    hold(torch.equal(bench.run(asks=needs), expected), "gives another map when its own needs are announced")
    hold(torch.equal(bench.run(asks=bench.announced()), expected), "gives another map when it shares its passes")


def writes_into_no_answer(bench: Bench) -> None:
    """Answers of the probe are shared with other methods."""
    answers: list[Given] = []
    bench.run(asks=bench.announced(), answers=answers)
    written = [verb for verb, answer, held in answers if not torch.equal(answer, held)]
    hold(not written, f"writes into what probe.{''.join(written[:1])} gave; answers are read-only, clone them")


def follows_the_seed(bench: Bench) -> None:
    """The same seed gives the same bits; without ``stochastic`` every seed does."""
    expected = bench.run()
    hold(torch.equal(bench.run(), expected), "gives another map with the same seed; use the rng it is given")
    if not bench.method.stochastic:
        hold(torch.equal(bench.run(seed=1), expected), "depends on the seed; say stochastic: ClassVar[bool] = True")


def follows_the_target(bench: Bench) -> None:
    """A method that says it is not class specific is not."""
    if not bench.method.class_specific:
        others = (bench.targets + 1) % bench.adapter.forward(bench.inputs[:1].clone()).shape[1]
        same = torch.equal(bench.run(targets=others), bench.run())
        hold(same, "depends on the target; drop class_specific = False")


def is_not_fooled_by_operations_in_place(bench: Bench) -> None:
    """The same map as on a network with the same weights that works nowhere in place."""
    if isinstance(bench.adapter, TinyAdapter):
        twin = bench.adapter.twin()
        error = _distance(bench.run(), bench.run(adapter=twin))
        hold(error <= TOLERANCE, f"differs by {error:.1e} of the largest value from the network without them")


def survives_a_constant_model(bench: Bench) -> None:
    """No evidence is a legal result: all zeros, never NaN."""
    try:
        maps = bench.run(adapter=muted(bench.adapter))
    except NotApplicable:
        return
    hold(bool(maps.isfinite().all()), "the map of a constant model holds NaN or infinity: a division by zero")
    states = {status_of(m.numpy(force=True)) for m in maps}
    if bench.method.class_specific:
        hold(states == {Status.zero}, "the map of a constant model is not zero: there is nothing it could show")


def works_inside_smoothgrad(bench: Bench) -> None:
    """SmoothGrad of it has its shape, and is itself with no noise."""
    smooth = Registry().load("method", "smoothgrad")
    inner = bench.run()
    found = bench.run(method=smooth(inner=bench.method, samples=2))  # type: ignore[call-arg, arg-type]
    hold(found.shape == inner.shape, f"SmoothGrad of it gives {tuple(found.shape)}, itself {tuple(inner.shape)}")
    hold(bool(found.isfinite().all()), "SmoothGrad of it holds NaN or infinity")
    if not bench.method.stochastic:
        still = bench.run(method=smooth(inner=bench.method, samples=1, sigma=0.0))  # type: ignore[call-arg, arg-type]
        error = _distance(still, inner)
        hold(error <= TOLERANCE, f"SmoothGrad of it without noise differs from it by {error:.1e}")


def _distance(found: Tensor, expected: Tensor) -> float:
    """The largest difference as a share of the largest value; 0 where it is rounding."""
    if found.shape != expected.shape:
        return float("inf")
    difference = float((found - expected).abs().max())
    return 0.0 if difference <= _NOTHING else difference / max(float(expected.abs().max()), 1e-30)


CHECKS: dict[str, Callable[[Bench], None]] = {
    check.__name__.replace("_", " "): check
    for check in (
        returns_a_batch_of_maps,
        leaves_inputs_alone,
        leaves_no_trace,
        leaves_no_trace_after_a_wrong_target,
        leaves_no_trace_after_a_failing_module,
        works_in_any_grad_mode,
        is_not_fooled_by_operations_in_place,
        is_the_same_alone_and_in_a_batch,
        is_the_same_planned_and_alone,
        writes_into_no_answer,
        follows_the_seed,
        follows_the_target,
        survives_a_constant_model,
        works_inside_smoothgrad,
    )
}
