"""What one pass must capture, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xai_framework.capture import Taps, no_path, wide
from xai_framework.core.adapter import Layer
from xai_framework.core.edits import Edits
from xai_framework.core.errors import LayerError, XaiError
from xai_framework.core.rule import Rule
from xai_framework.meter import Bill

INPUT = "input"


@dataclass(frozen=True)
class Want:
    """What one pass must capture."""

    gradient: bool = False
    layers: tuple[str, ...] = ()
    grads: bool = True

    @property
    def backward(self) -> bool:
        """Whether it takes a way back."""
        return self.gradient or (self.grads and bool(self.layers))

    def covers(self, other: Want) -> bool:
        """Whether what was captured for this answers the other."""
        return (
            (self.gradient or not other.gradient)
            and set(other.layers) <= set(self.layers)
            and (self.backward or not other.backward)
        )

    def __or__(self, other: Want) -> Want:
        layers = tuple(dict.fromkeys((*self.layers, *other.layers)))
        return Want(self.gradient or other.gradient, layers, self.backward or other.backward)


@dataclass(eq=False)
class Pass:
    """One finished forward pass over a chunk; its graph answers for any targets until it is dropped."""

    want: Want
    leaf: Tensor
    outputs: Tensor
    taps: Taps
    rule: Rule
    layers: dict[str, Layer] = field(default_factory=dict)
    bill: Bill | None = None
    spent: bool = False
    """Whether its graph is gone."""
    complete: bool = True
    """Whether all outputs were computed."""


@dataclass(frozen=True, eq=False)
class Found:
    """What one pass gives for a layer or the input. What is missing has its reason: it is raised for those who asked
    for it, and for nobody else who shares the pass.
    """

    activation: Tensor | None = None
    gradient: Tensor | None = None
    reason: XaiError | None = None

    def both(self, grads: bool) -> tuple[Tensor, Tensor]:
        """(activation, gradient), or the activation twice without ``grads``."""
        second = self.gradient if grads else self.activation
        if self.activation is None or second is None:
            raise self.reason or no_path("what is asked for")
        return self.activation, second


Answer = dict[str, Found]
"""By layer name, or ``input``."""


def on_grid(layer: Layer, taps: Taps, seen: Tensor | None, gradient: Tensor | None, dtype: torch.dtype) -> Found:
    """Activation and gradient as (B,C,h,w), at least as wide as ``dtype``."""
    if seen is None or layer.name in taps.faults:
        return Found(reason=taps.faults.get(layer.name))
    try:
        activation = wide(grid_of(layer, seen.detach()), dtype)
        missing = no_path(f"layer {layer.name!r}") if gradient is None else None
        return Found(activation, None if gradient is None else wide(grid_of(layer, gradient), dtype), missing)
    except LayerError as error:
        return Found(reason=error)


def grid_of(layer: Layer, tensor: Tensor) -> Tensor:
    """(B,C,h,w) of what the layer gives. Raises LayerError where that is no grid."""
    grid = layer.to_grid(tensor).contiguous()
    if grid.ndim != 4:
        raise LayerError(
            f"layer {layer.name!r} gives {tuple(tensor.shape)}, which is no grid (batch, channels, height, width)",
            fix="choose a convolutional or token layer, e.g. last",
        )
    return grid


def edited(layer: Layer, edits: Edits, rows: Tensor, k: range, dtype: torch.dtype, output: Tensor) -> Tensor:
    """Edited copies of a layer's output, which the edits see with its channels in second place, as wide as inputs."""
    axis = _channel_axis(layer, output)
    copies = edits.make(wide(output, dtype).movedim(axis, 1), rows, k).movedim(1, axis).contiguous()
    return copies.to(output.dtype) if output.dtype != dtype else copies


def _channel_axis(layer: Layer, output: Tensor) -> int:
    """Which axis of a module's output becomes the grid's channels: found by following two of its values."""
    numbers = torch.arange(output[0].numel(), dtype=torch.float64, device=output.device).view(1, *output.shape[1:])
    first, *others = grid_of(layer, numbers)[0, :, 0, 0].long().tolist()
    if not others:
        return 1
    step = others[0] - first
    strides = output.new_empty(1, *output.shape[1:]).stride()
    return next(axis for axis in range(1, output.ndim) if strides[axis] == step and output.shape[axis] > 1)


def joined(answers: Sequence[Answer]) -> Answer:
    """The answers of consecutive chunks as one."""
    return answers[0] if len(answers) == 1 else {name: _joined_one([a[name] for a in answers]) for name in answers[0]}


def _joined_one(parts: Sequence[Found]) -> Found:
    activations = [p.activation for p in parts if p.activation is not None]
    gradients = [p.gradient for p in parts if p.gradient is not None]
    return Found(
        torch.cat(activations) if len(activations) == len(parts) else None,
        torch.cat(gradients) if len(gradients) == len(parts) else None,
        next((p.reason for p in parts if p.reason is not None), None),
    )
