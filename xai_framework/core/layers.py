"""Finding the layer that ``last`` stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_framework.core.errors import LayerError, does_not_run
from xai_framework.core.grids import Layouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from xai_framework.core.adapter import ModelAdapter

_BLANK = (224, 224)
_NOT_FEATURES = ("Pool", "Dropout", "Flatten", "Identity", "StochasticDepth")


@dataclass(frozen=True)
class _Finished:
    """A module at the end of its run. ``grid`` is (C,h,w) of its output, None where that is no grid of features."""

    name: str
    grid: tuple[int, ...] | None
    weights: bool
    tokens: bool


def find_last_layer(adapter: ModelAdapter) -> str:
    """The path of the last module to finish, in one forward pass of an empty picture, that still gives a feature grid.

    A grid is (1,C,h,w) with more than one position. Pooling and the like make no features. Where the last module with
    weights of its own gives a grid with one channel a class, it is the classifier (SqueezeNet), and what runs from it
    on does not count. Of modules that end together the outermost finishes last and is taken. In a transformer of
    tokens it is the last norm whose patches bear on the outputs: behind the last attention, the class token alone
    does. The model is left as it was. Raises LayerError where there is no such module, ModelError where the network
    does not run.
    """
    layouts = Layouts.of(adapter.model, adapter.preprocess.geometry(_BLANK).input_size)
    finished, classes = _run(adapter, layouts)
    classifier = next((i for i in reversed(range(len(finished))) if finished[i].weights), len(finished))
    grid = finished[classifier].grid if classifier < len(finished) else None
    features = finished[:classifier] if grid and grid[0] == classes else finished
    names = [f.name for f in features if f.grid]
    tokens = {f.name for f in features if f.tokens}
    if names and names[-1] in tokens:
        bearing = _bearing(adapter, tokens)
        names = [n for n in names if n not in tokens or n in bearing] or names
    if not names:
        raise LayerError(
            "no layer of this model gives a grid of features", fix="name a layer, and override to_grid for tokens"
        )
    return names[-1]


def _run(adapter: ModelAdapter, layouts: Layouts) -> tuple[list[_Finished], int]:
    """All modules in the order in which they finish, and the number of classes."""
    import torch

    finished: list[_Finished] = []

    def note(name: str, module: nn.Module, output: object) -> None:
        own = next(module.parameters(recurse=False), None) is not None
        tokens = torch.is_tensor(output) and output.ndim == 3
        finished.append(_Finished(name, _grid(module, output, layouts), own, tokens))

    with torch.no_grad():
        return finished, _watched(adapter, note).shape[1]


def _bearing(adapter: ModelAdapter, names: set[str]) -> set[str]:
    """Those of the modules ``names`` whose patches, not the tokens in front alone, the outputs depend on."""
    import torch

    seen: dict[str, Tensor] = {}

    def note(name: str, _module: nn.Module, output: object) -> None:
        if name in names and torch.is_tensor(output) and output.requires_grad:
            seen[name] = output

    blank = _blank(adapter).requires_grad_()
    with torch.inference_mode(False), torch.enable_grad():
        outputs = _watched(adapter, note, blank)
        # unequal shares, since the rows of a head may add up to nothing
        end = (outputs * torch.arange(1, 1 + outputs.shape[1], device=outputs.device)).sum()
        slopes = torch.autograd.grad(end, list(seen.values()), allow_unused=True) if seen and end.requires_grad else ()
    # the last token is a patch in every layout that is read
    return {name for name, slope in zip(seen, slopes, strict=False) if slope is not None and slope[:, -1].any()}


def _watched(
    adapter: ModelAdapter, note: Callable[[str, nn.Module, object], None], blank: Tensor | None = None
) -> Tensor:
    """The outputs for an empty picture; ``note`` is told of every module's. Nothing stays on the model."""
    import torch

    model = adapter.model
    blank = _blank(adapter) if blank is None else blank
    training = [m for m in model.modules() if m.training]
    handles = [
        m.register_forward_hook(lambda module, _args, output, name=n: note(name, module, output))
        for n, m in model.named_modules()
        if n
    ]
    try:
        for module in training:
            module.training = False
        return adapter.forward(blank)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:  # networks refuse a size in many ways
        raise does_not_run(tuple(blank.shape), error) from error
    finally:
        for handle in handles:
            handle.remove()
        for module in training:
            module.training = True


def _blank(adapter: ModelAdapter) -> Tensor:
    import torch

    size = adapter.preprocess.geometry(_BLANK).input_size
    blank = torch.zeros((1, adapter.preprocess.channels, *size))
    parameter = next(adapter.model.parameters(), None)
    return blank if parameter is None else blank.to(parameter.device, parameter.dtype)


def _grid(module: nn.Module, output: object, layouts: Layouts) -> tuple[int, ...] | None:
    import torch

    shape = layouts.shape(tuple(output.shape)) if isinstance(output, torch.Tensor) else None
    if shape is None or shape[1] * shape[2] <= 1:
        return None
    if len(output.shape) == 3 and "Norm" not in type(module).__name__:  # type: ignore[attr-defined]
        return None
    leaf = next(module.children(), None) is None
    if leaf and any(word in type(module).__name__ for word in _NOT_FEATURES):
        return None
    return shape
