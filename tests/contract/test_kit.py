"""The conformance kit finds what it looks for: one broken plugin for each promise."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from xai_framework.core import (
    Ask,
    Explainer,
    ModelAdapter,
    NotApplicable,
    Preprocess,
    Probe,
    Renderer,
    Rng,
    Scale,
    Shape,
    Status,
    param,
)
from xai_framework.testing import TinyAdapter, check_adapter, check_explainer, check_renderer, tiny_models


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
    return dataclass(frozen=True)(cls)()  # type: ignore[no-any-return]


def test_a_method_that_keeps_all_promises_passes() -> None:
    check_explainer(Good)
    check_explainer(Good(), tiny_models()[:1])


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


# backbones


@dataclass(frozen=True)
class BatchSeen(TinyAdapter):
    """Logits that depend on the batch."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) - inputs.mean()


@dataclass(frozen=True)
class FewLabels(TinyAdapter):
    """A label too few."""

    @property
    def labels(self) -> tuple[str, ...]:
        return ("ant", "bee")


@dataclass(frozen=True)
class NeedsModel(TinyAdapter):
    """Labels from the loaded network."""

    @property
    def labels(self) -> tuple[str, ...]:
        return super().labels[: self.model.classifier.out_features]  # type: ignore[union-attr, return-value]


@dataclass(frozen=True)
class NoGradient(TinyAdapter):
    """Cuts the graph."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.detach())


@dataclass(frozen=True)
class OnePosition(TinyAdapter):
    """Its last layer is a single position."""

    def to_grid(self, name: str) -> Any:
        return lambda x: x.mean((2, 3), keepdim=True)


@dataclass(frozen=True)
class OldModel(TinyAdapter):
    """Runs the model it was made with."""

    def with_model(self, model: nn.Module) -> OldModel:
        return self


@dataclass(frozen=True)
class OwnPixels(TinyAdapter):
    """Pixels that are not its own."""

    def pixels(self, inputs: Tensor) -> Tensor:
        return super().pixels(inputs) * 0.5


@dataclass(frozen=True)
class Counts(TinyAdapter):
    """Counts its calls on the model."""

    def forward(self, inputs: Tensor) -> Tensor:
        self.model.get_buffer("features.1.num_batches_tracked").add_(1)
        return super().forward(inputs)


@dataclass(frozen=True)
class AnyLayer(TinyAdapter):
    """Every name is a layer."""

    def layer(self, name: str) -> Any:
        return super().layer(name if name.startswith("features") else "last")


@dataclass(frozen=True)
class Divides(TinyAdapter):
    """A standard deviation of zero."""

    @property
    def preprocess(self) -> Preprocess:
        return Preprocess(resize=16, crop=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (BatchSeen, "rows must not see their mates"),
        (FewLabels, "there are 5 outputs, but 2 labels"),
        (NeedsModel, "loads the model to say its labels"),
        (NoGradient, "no differentiable path"),
        (OnePosition, "one position is no map"),
        (OldModel, "does not use the model it is given"),
        (OwnPixels, "normalise does not undo pixels"),
        (Counts, "running the model changes values of features.1.num_batches_tracked"),
        (AnyLayer, "raise LayerError"),
        (Divides, "every std must be above 0"),
    ],
)
def test_a_broken_backbone_is_found(cls: type[ModelAdapter], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_adapter(cls)


@pytest.mark.parametrize("adapter", tiny_models(), ids=lambda a: a.network)
def test_the_kits_own_backbones_pass(adapter: ModelAdapter) -> None:
    check_adapter(adapter)


# renderers


@dataclass(frozen=True)
class Plain(Renderer):
    """Red for, blue against; grey where there is no evidence."""

    def render(self, image: Image.Image, attribution: Any, scale: Scale, status: Status = Status.ok) -> Image.Image:
        if status != Status.ok:
            return Image.new("RGB", image.size, "gray")
        values = attribution.sum(0) / scale.high
        rgb = np.stack([values.clip(0, 1), np.zeros_like(values), (-values).clip(0, 1)], 2)
        return Image.fromarray((255 * rgb).astype(np.uint8)).resize(image.size)


class Small(Plain):
    def render(self, image, attribution, scale, status=Status.ok):
        return super().render(image, attribution, scale, status).resize((8, 8))


class Alpha(Plain):
    def render(self, image, attribution, scale, status=Status.ok):
        return super().render(image, attribution, scale, status).convert("RGBA")


class Unsigned(Plain):
    def render(self, image, attribution, scale, status=Status.ok):
        return super().render(image, abs(attribution), scale, status)


class DrawsAnything(Plain):
    def render(self, image, attribution, scale, status=Status.ok):
        return super().render(image, np.nan_to_num(attribution), Scale(-1, 1))


class Scribbles(Plain):
    def render(self, image, attribution, scale, status=Status.ok):
        drawn = super().render(image, attribution, scale, status)
        attribution[:] = 0
        return drawn


class Warns(Plain):
    def render(self, image, attribution, scale, status=Status.ok):
        np.float32(1e30) * attribution.astype(np.float32) ** 9
        return super().render(image, attribution, scale, status)


def test_a_renderer_that_keeps_all_promises_passes() -> None:
    check_renderer(Plain)


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Small, "for a photograph of"),
        (Alpha, "mode RGBA, expected RGB"),
        (Unsigned, "a map and its negative look the same"),
        (DrawsAnything, "draws the values of a map that nonfinite"),
        (Scribbles, "writes into the map"),
        (Warns, "raised RuntimeWarning"),
    ],
)
def test_a_broken_renderer_is_found(cls: type[Renderer], said: str) -> None:
    cls.__doc__ = Plain.__doc__
    with pytest.raises(AssertionError, match=said):
        check_renderer(dataclass(frozen=True)(cls)())  # type: ignore[arg-type]
