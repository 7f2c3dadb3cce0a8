"""Finding the layer that ``last`` stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xai_framework.core.errors import LayerError, does_not_run

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xai_framework.core.adapter import ModelAdapter

_NOT_FEATURES = ("Pool", "Dropout", "Flatten", "Identity", "StochasticDepth")


@dataclass(frozen=True)
class _Finished:
    """A module at the end of its run. ``grid`` is (C,h,w) of its output, None where that is no grid of features."""

    name: str
    grid: tuple[int, ...] | None
    weights: bool


def find_last_layer(adapter: ModelAdapter) -> str:
    """The path of the last module to finish, in one forward pass of an empty picture, that still gives a feature grid.

    A grid is (1,C,h,w) with more than one position. Pooling and the like make no features. Where the last module with
    weights of its own gives a grid with one channel a class, it is the classifier (SqueezeNet), and what runs from it
    on does not count. Of modules that end together the outermost finishes last and is taken. The model is left as it
    was. Raises LayerError where there is no such module, ModelError where the network does not run.
    """
    finished, classes = _run(adapter)
    classifier = next((i for i in reversed(range(len(finished))) if finished[i].weights), len(finished))
    grid = finished[classifier].grid if classifier < len(finished) else None
    features = finished[:classifier] if grid and grid[0] == classes else finished
    names = [f.name for f in features if f.grid]
    if not names:
        raise LayerError(
            "no layer of this model gives a grid of features", fix="name a layer, and override to_grid for tokens"
        )
    return names[-1]


def _run(adapter: ModelAdapter) -> tuple[list[_Finished], int]:
    """All modules in the order in which they finish, and the number of classes."""
    import torch

    model, blank = adapter.model, _blank(adapter)
    finished: list[_Finished] = []

    def watch(name: str) -> Any:  # noqa: ANN401 - a forward hook
        def note(module: nn.Module, _args: object, output: object) -> None:
            own = next(module.parameters(recurse=False), None) is not None
            finished.append(_Finished(name, _grid(module, output), own))

        return note

    training = [m for m in model.modules() if m.training]
    handles = [m.register_forward_hook(watch(n)) for n, m in model.named_modules() if n]
    try:
        for module in training:
            module.training = False
        with torch.no_grad():
            classes = adapter.forward(blank).shape[1]
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:  # networks refuse a size in many ways
        raise does_not_run(tuple(blank.shape), error) from error
    finally:
        for handle in handles:
            handle.remove()
        for module in training:
            module.training = True
    return finished, classes


def _blank(adapter: ModelAdapter) -> Tensor:
    import torch

    size = adapter.preprocess.geometry((224, 224)).input_size
    blank = torch.zeros((1, adapter.preprocess.channels, *size))
    parameter = next(adapter.model.parameters(), None)
    return blank if parameter is None else blank.to(parameter.device, parameter.dtype)


def _grid(module: nn.Module, output: object) -> tuple[int, ...] | None:
    import torch

    if not isinstance(output, torch.Tensor) or output.ndim != 4 or output.shape[2] * output.shape[3] <= 1:
        return None
    leaf = next(module.children(), None) is None
    if leaf and any(word in type(module).__name__ for word in _NOT_FEATURES):
        return None
    return tuple(output.shape[1:])
