"""Finding the layer that ``last`` stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xai_framework.core.errors import LayerError

if TYPE_CHECKING:
    from xai_framework.core.adapter import ModelAdapter

_NOT_FEATURES = ("Pool", "Dropout", "Flatten", "Identity", "StochasticDepth")


def find_last_layer(adapter: ModelAdapter) -> str:
    """The path of the last module to finish, in one forward pass of an empty picture, that still gives a feature grid.

    A grid is (1,C,h,w) with more than one position. Pooling and the like make no features; a grid with one channel a
    class is the classifier already (SqueezeNet). Of modules that end together the outermost finishes last and is
    taken. Raises LayerError where there is none. The model is left as it was.
    """
    import torch

    model = adapter.model
    size = adapter.preprocess.geometry((224, 224)).input_size
    parameter = next(model.parameters(), None)
    blank = torch.zeros((1, adapter.preprocess.channels, *size))
    blank = blank if parameter is None else blank.to(parameter.device, parameter.dtype)
    found: list[tuple[str, int]] = []
    training = [m for m in model.modules() if m.training]

    def watch(name: str, kind: str) -> Any:  # noqa: ANN401 - a forward hook
        def note(_module: object, _args: object, output: Any) -> None:  # noqa: ANN401
            grid = torch.is_tensor(output) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1
            if grid and not any(word in kind for word in _NOT_FEATURES):
                found.append((name, output.shape[1]))

        return note

    handles = [m.register_forward_hook(watch(n, type(m).__name__)) for n, m in model.named_modules() if n]
    try:
        for module in training:
            module.training = False
        with torch.no_grad():
            classes = adapter.forward(blank).shape[1]
    finally:
        for handle in handles:
            handle.remove()
        for module in training:
            module.training = True
    candidates = [name for name, channels in found if channels != classes]
    if not candidates:
        raise LayerError(
            "no layer of this model gives a grid of features", fix="name a layer, and override to_grid for tokens"
        )
    return candidates[-1]
