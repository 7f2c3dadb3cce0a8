"""The conformance kit of metrics finds what it looks for: one broken metric for each promise."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_framework.core import Ask, Case, Metric, Shape, Sign, param
from xai_framework.testing import TinyAdapter, check_metric


@dataclass(frozen=True)
class Good(Metric):
    """The largest share of the heat in one pixel. Nobody & Nobody 2001, equation 1."""

    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    family: ClassVar[Any] = "complexity"

    sign: Sign = param("absolute", doc="of the heat")

    def measure(self, case: Case) -> Tensor:
        heat = case.heat(self.sign).double().abs().flatten(1)
        values = heat.amax(1) / heat.sum(1)
        for i in values.isnan().nonzero()[:, 0].tolist():
            case.undefined(i, "there is no heat")
        return values


def good(case: Any) -> Tensor:
    return Good().measure(case)


class NoDirection(Good):
    higher_is_better: ClassVar[Any] = None


class NoRange(Good):
    range: ClassVar[Any] = (1.0, 1.0)


class NoFamily(Good):
    family: ClassVar[Any] = "nice"


class OneNumber(Good):
    def measure(self, case):
        return good(case).mean()


class Singles(Good):
    def measure(self, case):
        return good(case).float()


class InAGraph(Good):
    def measure(self, case):
        return good(case).clone().requires_grad_()


class NeverSays(Good):
    def measure(self, case):
        return good(case) * torch.nan


class LeavesItsRange(Good):
    def measure(self, case):
        return 2 * good(case)


class Infinite(Good):
    def measure(self, case):
        values = good(case)
        return torch.where(values > 0.9, torch.inf, values)


class NoReasons(Good):
    def measure(self, case):
        values = good(case)
        case.reasons.clear()
        return values


class ScoresNoHeat(Good):
    def measure(self, case):
        return good(case).nan_to_num(0.0)


class SeesItsMates(Good):
    def measure(self, case):
        return good(case) / good(case).nan_to_num().sum()


class GoesByPlace(Good):
    def measure(self, case):
        return good(case) / (1 + torch.arange(len(case.inputs)))


class SeesThePasses(Good):
    def measure(self, case):
        return good(case) / case.probe.chunk


class DrawsFromTorch(Good):
    def measure(self, case):
        return good(case) * torch.rand(1, dtype=torch.float64)


class ForgetsStochastic(Good):
    def measure(self, case):
        return good(case) * (0.5 + 0.5 * case.rng.uniform((len(case.inputs),)).double())


class ForgetsTies(Good):
    """Draws only where several pixels are equally hot."""

    def measure(self, case):
        heat = case.heat("absolute").flatten(1)
        ties = (heat == heat.amax(1, keepdim=True)).sum(1) > 1
        low = (heat == 0).sum(1) > 1
        drawn = case.rng.uniform((len(heat),)).double()
        return torch.where(ties | low, good(case) * drawn, good(case))


class DrawsFromNumpy(Good):
    def measure(self, case):
        np.random.rand()
        return good(case)


class WritesInputs(Good):
    def measure(self, case):
        values = good(case)
        case.inputs.zero_()
        return values


class WritesMaps(Good):
    def measure(self, case):
        values = good(case)
        case.maps.abs_()
        return values


class ChangesWeights(Good):
    def measure(self, case):
        with torch.no_grad():
            next(case.adapter.model.parameters()).add_(1e-3)
        return good(case)


class LeavesAHook(Good):
    def measure(self, case):
        case.adapter.model.register_forward_hook(lambda *_: None)
        return good(case)


class SeesTrainingFlags(Good):
    def measure(self, case):
        return good(case) * (0.5 if any(m.training for m in case.adapter.model.modules()) else 1.0)


class LeavesAHookOnFailure(Good):
    def needs(self, about: Shape):
        return (Ask("score"),)

    def measure(self, case):
        module: nn.Module = case.adapter.model
        handle = module.register_forward_hook(lambda *_: None)
        case.probe.score(case.inputs, case.targets)
        handle.remove()
        return good(case)


class SwallowsFailures(Good):
    def needs(self, about: Shape):
        return (Ask("score"),)

    def measure(self, case):
        try:
            case.probe.score(case.inputs, case.targets)
        except RuntimeError:
            return torch.zeros(len(case.inputs), dtype=torch.float64)
        return good(case)


class ForgetsTruth(Good):
    def measure(self, case):
        return good(case) * torch.tensor([0.5 if t else 1.0 for t in case.truth])


class NeedsNoTruth(Good):
    needs_truth: ClassVar[bool] = True


class ForgetsToSayThatItExplains(Good):
    def measure(self, case):
        case.explain(case.probe, case.inputs, case.targets)
        return good(case)


class NeverExplains(Good):
    explains: ClassVar[bool] = True


class ForgetsHowOften(Good):
    explains: ClassVar[bool] = True

    def measure(self, case):
        for _ in range(5):
            case.explain(case.probe, case.inputs, case.targets)
        return good(case)


class ForgetsItsPasses(Good):
    def measure(self, case):
        for k in range(5):
            case.probe.score(case.inputs + k, case.targets)
        return good(case)


class ForgetsItsBackwards(Good):
    def needs(self, about: Shape):
        return (Ask("gradient", passes=5),)

    def measure(self, case):
        for k in range(5):
            case.probe.gradient(case.inputs + k, case.targets)
        return good(case)


class AnnouncesTooMany(Good):
    def needs(self, about: Shape):
        return (Ask("scores", passes=500),)


class AnnouncesAList(Good):
    def needs(self, about: Shape) -> Any:
        return [Ask("score")]


class Breaks(Good):
    def measure(self, case):
        raise KeyError("nothing here")


BROKEN = [
    (NoDirection, "says what it is: higher_is_better is None"),
    (NoRange, "range is (1.0, 1.0)"),
    (NoFamily, "family is 'nice'; one of faithfulness"),
    (OneNumber, "returns shape ()"),
    (Singles, "returns torch.float32"),
    (InAGraph, "part of a graph"),
    (NeverSays, "gives no number for any picture"),
    (LeavesItsRange, "for a map of one pixel, range is (0.0, 1.0)"),
    (Infinite, "gives infinity for a map of one pixel"),
    (NoReasons, "gives NaN for a map whose channels cancel without a reason"),
    (ScoresNoHeat, "scores a map whose channels cancel"),
    (SeesItsMates, "in a batch of rows [0]"),
    (GoesByPlace, "depends on its image alone: row 1"),
    (SeesThePasses, "where 1 rows fit in a pass"),
    (DrawsFromTorch, "torch's global random state"),
    (ForgetsStochastic, "say stochastic"),
    (ForgetsTies, "say stochastic"),
    (DrawsFromNumpy, "numpy's global random state"),
    (WritesInputs, "writes into the inputs"),
    (WritesMaps, "writes into the maps"),
    (ChangesWeights, "changes values of"),
    (LeavesAHook, "changes hooks of the model"),
    (SeesTrainingFlags, "depends on the model's training flags"),
    (LeavesAHookOnFailure, "after a failing module: changes hooks of the model"),
    (SwallowsFailures, "swallows the exception"),
    (ForgetsTruth, "say needs_truth"),
    (NeedsNoTruth, "gives numbers without regions"),
    (ForgetsToSayThatItExplains, "say explains"),
    (NeverExplains, "never runs the method"),
    (ForgetsHowOften, "runs the method 5 times, explanations says 1"),
    (ForgetsItsPasses, "makes 5 forward passes an image, needs announces 0"),
    (ForgetsItsBackwards, "makes 5 backward passes an image, needs announces 0"),
    (AnnouncesTooMany, "makes 0 forward passes an image, needs announces 500"),
    (AnnouncesAList, "needs gives list"),
    (Breaks, "gives one number an image: raised KeyError: 'nothing here'"),
]


def documented(cls: type[Metric]) -> Metric:
    cls.__doc__ = Good.__doc__
    return dataclass(frozen=True)(cls)()  # type: ignore[return-value]


def test_a_metric_that_keeps_all_promises_passes() -> None:
    check_metric(Good)
    check_metric(Good(sign="signed"), [TinyAdapter("residual")])


@pytest.mark.parametrize(("cls", "said"), BROKEN, ids=[c.__name__ for c, _ in BROKEN])
def test_a_broken_metric_is_found_and_named(cls: type[Metric], said: str) -> None:
    state = random.getstate()
    with pytest.raises(AssertionError) as error:
        check_metric(documented(cls))
    random.setstate(state)
    assert str(error.value).startswith(f"{cls.__name__} on vgg_like: ")
    assert said in str(error.value)


def test_documentation_is_asked_for() -> None:
    @dataclass(frozen=True)
    class Bare(Good):
        """Something."""

    with pytest.raises(AssertionError, match="names a paper"):
        check_metric(Bare)
