"""The conformance kit finds what it looks for: one broken method for each promise."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_framework.api import ModuleAdapter
from xai_framework.core import (
    Ask,
    Explainer,
    NotApplicable,
    Preprocess,
    Probe,
    Rng,
    Shape,
    param,
)
from xai_framework.testing import check_explainer, tiny_models
from xai_framework.testing.models import VggLike


@dataclass(frozen=True)
class Good(Explainer):
    """Nobody & Nobody 2001, equation 1."""

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        return probe.gradient(inputs, targets)


def model_of(probe: Any) -> nn.Module:
    return probe.adapter.model  # type: ignore[no-any-return]


class NoBatch(Good):
    def explain(self, probe, inputs, targets, rng):
        return probe.gradient(inputs, targets)[0]


class Doubles(Good):
    def explain(self, probe, inputs, targets, rng):
        return probe.gradient(inputs, targets).double()


class Infinite(Good):
    def explain(self, probe, inputs, targets, rng):
        return probe.gradient(inputs, targets) / 0.0


class InAGraph(Good):
    def explain(self, probe, inputs, targets, rng):
        return probe.gradient(inputs, targets).clone().requires_grad_()


class Aliases(Good):
    def explain(self, probe, inputs, targets, rng):
        return inputs


class WritesInputs(Good):
    def explain(self, probe, inputs, targets, rng):
        maps = probe.gradient(inputs, targets)
        inputs.zero_()
        return maps


class LeavesRequiresGrad(Good):
    def explain(self, probe, inputs, targets, rng):
        inputs.requires_grad_()
        return probe.gradient(inputs, targets)


class ChangesWeights(Good):
    def explain(self, probe, inputs, targets, rng):
        with torch.no_grad():
            next(model_of(probe).parameters()).add_(1e-3)
        return probe.gradient(inputs, targets)


class LeavesAHook(Good):
    def explain(self, probe, inputs, targets, rng):
        model_of(probe).register_forward_hook(lambda *_: None)
        return probe.gradient(inputs, targets)


class FillsGradients(Good):
    def explain(self, probe, inputs, targets, rng):
        with torch.enable_grad():
            probe.adapter.forward(inputs.clone()).sum().backward()
        return probe.gradient(inputs, targets)


class GoesToEval(Good):
    def explain(self, probe, inputs, targets, rng):
        model_of(probe).eval()
        return probe.gradient(inputs, targets)


class ReplacesModules(Good):
    def explain(self, probe, inputs, targets, rng):
        for module in model_of(probe).modules():
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(module, name, nn.ReLU())
        return probe.gradient(inputs, targets)


class DrawsFromTorch(Good):
    def explain(self, probe, inputs, targets, rng):
        return probe.gradient(inputs + 0.1 * torch.randn(inputs.shape), targets)


class DrawsFromNumpy(Good):
    def explain(self, probe, inputs, targets, rng):
        np.random.rand()
        return probe.gradient(inputs, targets)


class DrawsFromPython(Good):
    def explain(self, probe, inputs, targets, rng):
        random.random()
        return probe.gradient(inputs, targets)


class RunsInTrainingMode(Good):
    def explain(self, probe, inputs, targets, rng):
        with torch.enable_grad():
            leaf = inputs.clone().requires_grad_()
            return torch.autograd.grad(probe.adapter.forward(leaf.clone()).max(1).values.sum(), leaf)[0]


class LeavesAHookOnFailure(Good):
    def explain(self, probe, inputs, targets, rng):
        handle = model_of(probe).register_forward_hook(lambda *_: None)
        maps = probe.gradient(inputs, targets)
        handle.remove()
        return maps


class SwallowsFailures(Good):
    def explain(self, probe, inputs, targets, rng):
        try:
            return probe.gradient(inputs, targets)
        except RuntimeError:
            return torch.zeros_like(inputs)


class AcceptsAnyTarget(Good):
    def explain(self, probe, inputs, targets, rng):
        return probe.gradient(inputs, torch.zeros(len(inputs), dtype=torch.int64))


class NeedsGradMode(Good):
    def explain(self, probe, inputs, targets, rng):
        return probe.gradient(inputs, targets) * (2.0 if torch.is_grad_enabled() else 1.0)


class SeesItsMates(Good):
    def explain(self, probe, inputs, targets, rng):
        maps = probe.gradient(inputs, targets)
        return maps / maps.abs().amax().clamp(min=1e-12)


class SharesDifferently(Good):
    def needs(self, about: Shape) -> tuple[Ask, ...]:
        return (Ask("gradient"),)

    def explain(self, probe, inputs, targets, rng):
        return probe.gradient(inputs, targets) * (1.0 + len(probe._asks))


class NeedsAList(Good):
    def needs(self, about: Shape) -> Any:
        return [Ask("gradient")]


class WritesAnswers(Good):
    def explain(self, probe, inputs, targets, rng):
        return probe.gradient(inputs, targets).abs_()


class ForgetsStochastic(Good):
    def explain(self, probe, inputs, targets, rng):
        return probe.gradient(inputs + 0.1 * rng.normal(inputs.shape), targets)


class ForgetsClass(Good):
    class_specific: ClassVar[bool] = False

    def explain(self, probe, inputs, targets, rng):
        return probe.gradient(inputs, targets)


class HooksWithoutClone(Good):
    """Grad-CAM the way that breaks before an operation in place."""

    def explain(self, probe, inputs, targets, rng):
        seen = []
        layer = probe.adapter.layer("last").module
        handle = layer.register_forward_hook(lambda _m, _a, out: seen.append(out.detach()))
        try:
            probe.outputs(inputs)
        finally:
            handle.remove()
        gradient = probe.layers(inputs, targets)["last"][1]
        return (gradient.mean((2, 3), keepdim=True) * seen[0]).sum(1, keepdim=True)


class DividesByZero(Good):
    def explain(self, probe, inputs, targets, rng):
        maps = probe.gradient(inputs, targets)
        return maps / maps.abs().amax((1, 2, 3), keepdim=True)


class ShowsTheInput(Good):
    def explain(self, probe, inputs, targets, rng):
        return probe.gradient(inputs, targets) + inputs


class NotTwice(Good):
    """Works on the clean pictures only."""

    def explain(self, probe, inputs, targets, rng):
        if rng.rows[0][1]:
            raise ValueError("not on noisy copies")
        return probe.gradient(inputs, targets)


BROKEN = [
    (NoBatch, "returns shape"),
    (Doubles, "returns torch.float64"),
    (Infinite, "NaN or infinity"),
    (InAGraph, "part of a graph"),
    (Aliases, "shares the memory of the inputs"),
    (WritesInputs, "writes into the inputs"),
    (LeavesRequiresGrad, "requires_grad"),
    (ChangesWeights, "changes values of"),
    (LeavesAHook, "changes hooks of the model"),
    (FillsGradients, "changes gradient of"),
    (GoesToEval, "changes training flag of"),
    (ReplacesModules, "changes identity of"),
    (DrawsFromTorch, "torch's global random state"),
    (DrawsFromNumpy, "numpy's global random state"),
    (DrawsFromPython, "Python's global random state"),
    (RunsInTrainingMode, "leaves no trace: "),
    (LeavesAHookOnFailure, "after a wrong target: changes hooks of the model"),
    (SwallowsFailures, "swallows the exception"),
    (AcceptsAnyTarget, "accepts targets that do not exist"),
    (NeedsGradMode, "under torch.no_grad"),
    (SeesItsMates, "in a batch of rows"),
    (SharesDifferently, "when its own needs are announced"),
    (NeedsAList, "needs gives list"),
    (WritesAnswers, "writes into what probe.gradient gave"),
    (ForgetsStochastic, "say stochastic"),
    (ForgetsClass, "depends on the target"),
    (HooksWithoutClone, "from the network without them"),
    (DividesByZero, "a division by zero"),
    (ShowsTheInput, "there is nothing it could show"),
    (NotTwice, "works inside smoothgrad: raised ValueError: not on noisy copies"),
]


def documented(cls: type[Explainer]) -> Explainer:
    cls.__doc__ = Good.__doc__
    frozen = cls if "__dataclass_params__" in vars(cls) else dataclass(frozen=True)(cls)
    return frozen()  # type: ignore[no-any-return]


def test_a_method_that_keeps_all_promises_passes() -> None:
    check_explainer(Good)
    check_explainer(Good(), tiny_models()[:1])


class Edges(Good):
    """A control that never asks the model. Nobody 2001, equation 1."""

    class_specific: ClassVar[bool] = False

    def explain(self, probe, inputs, targets, rng):
        return inputs.diff(dim=3).abs().sum(1, keepdim=True)


def test_a_control_that_never_asks_the_model_passes() -> None:
    check_explainer(documented(Edges))


class Unused(VggLike):
    """With modules that no forward pass runs, right in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier, head = nn.ModuleList([nn.Linear(1, 1) for _ in range(30)]), self.classifier
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


def test_models_with_modules_that_never_run() -> None:
    adapter = ModuleAdapter(Unused().eval(), Preprocess(crop=(16, 16)))
    check_explainer(Good, [adapter])
    with pytest.raises(AssertionError, match="swallows the exception"):
        check_explainer(documented(SwallowsFailures), [adapter])


@pytest.mark.parametrize(("cls", "said"), BROKEN, ids=[c.__name__ for c, _ in BROKEN])
def test_a_broken_method_is_found_and_named(cls: type[Explainer], said: str) -> None:
    state = random.getstate()
    with pytest.raises(AssertionError) as error:
        check_explainer(documented(cls))
    random.setstate(state)
    assert str(error.value).startswith(f"{cls.__name__} on ")
    assert said in str(error.value)


@dataclass(frozen=True)
class Bare(Explainer):
    strength: float = 1.0

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        return probe.gradient(inputs, targets)


@dataclass(frozen=True)
class Undescribed(Bare):
    """A map, somehow."""

    strength: float = param(1.0, doc="of the map")


@dataclass(frozen=True)
class Unnumbered(Undescribed):
    """A map. Nobody 2001."""


@dataclass(frozen=True)
class Nowhere(Good):
    """Nobody 2001, equation 1."""

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        raise NotApplicable("this network has no attention")


def test_documentation_is_asked_for() -> None:
    for cls, said in (
        (Bare, "has no docstring"),
        (Nowhere, "is not applicable to any of the models"),
        (Undescribed, "names a paper"),
        (Unnumbered, "names an equation"),
    ):
        with pytest.raises(AssertionError, match=said):
            check_explainer(cls)
    check_explainer(Undescribed, paper=False)


@dataclass(frozen=True)
class Undocumented(Undescribed):
    """Nobody 2001, equation 1."""

    other: float = 1.0


def test_parameters_without_doc_are_named() -> None:
    with pytest.raises(AssertionError, match="parameters without doc: other"):
        check_explainer(Undocumented)
