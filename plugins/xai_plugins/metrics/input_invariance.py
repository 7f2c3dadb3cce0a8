"""Input invariance. Kindermans et al. 2017, arXiv:1711.00867."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import nn

from xai_framework.core import Ask, Case, Metric, Shape, param
from xai_plugins.metrics._heat import where
from xai_plugins.metrics._twins import twin_of

if TYPE_CHECKING:
    from torch import Tensor

_SAME = 1e-3  # of the largest output: rounding stays far below, a layer that was shifted wrongly far above


@dataclass(frozen=True)
class InputInvariance(Metric):
    """How much a map changes when a constant is added to the input and taken away again in the network's first layer,
    so that nothing changes for the network.

    Equation: ||m'(x + s) - m(x)|| / ||m(x)||, Euclidean, over the raw maps; the first layer's bias becomes
    b - s sum(w), and it pads with s where it padded with 0, which is exact. Lower is better; 0..inf. Names of baselines
    mean the same picture before and after: a method that compares with one fails unless the baseline is shifted too,
    which is what the paper says of it. NaN where the first layer is neither a convolution nor linear, or where the
    shifted network's outputs are not the same (something else sees the input, too). Not enlarged. Three forward passes,
    and the method runs once more.
    """

    family: ClassVar[Literal["axiomatic"]] = "axiomatic"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    explains: ClassVar[bool] = True

    shift: float = param(1.0, doc="added to every value of the input, in its own (normalised) units")

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        """Clean and shifted outputs, and a look at which layer is the first."""
        return (Ask("outputs"), Ask("outputs", of="shifted", passes=2))

    def measure(self, case: Case) -> Tensor:
        """The shifted network, a check that it is the same one, and one more explanation."""
        twin = twin_of(case.adapter.model)
        first = _first_layer(case, twin)
        if not isinstance(first[1], nn.Conv2d | nn.Linear):
            what = "it has none" if first[1] is None else f"it is {type(first[1]).__name__}"
            for i in range(len(case.inputs)):
                case.undefined(i, f"the network's first layer cannot be shifted: {what}")
            return torch.full((len(case.inputs),), torch.nan, dtype=torch.float64)
        probe = case.probe.on(case.adapter.with_model(_put(twin, first[0], _shifted(first[1], self.shift))))
        inputs = case.inputs + self.shift
        before, after = case.probe.outputs(case.inputs), probe.outputs(inputs)
        same = (after - before).abs().amax(1) <= _SAME * before.abs().amax(1)
        for i in (~same).nonzero()[:, 0].tolist():
            case.undefined(i, "shifting the first layer does not undo the shift of the input")
        maps = case.explain(probe, inputs, case.targets).double().flatten(1)
        whole = maps.isfinite().all(1)
        for i in (~whole).nonzero()[:, 0].tolist():
            case.undefined(i, "the map of the shifted network is not finite")
        stored = case.maps.double().flatten(1)
        return where(same & whole, (maps - stored).norm(dim=1) / stored.norm(dim=1))


def _first_layer(case: Case, twin: nn.Module) -> tuple[str, nn.Module | None]:
    """The module with weights that runs first, by its name; modules that hold others do not count."""
    ran: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda _module, _args, name=name: ran.append(name))
        for name, module in twin.named_modules()
        if not [*module.children()] and [*module.parameters()]
    ]
    try:
        case.probe.on(case.adapter.with_model(twin)).outputs(case.inputs[:1])
    finally:
        for handle in handles:
            handle.remove()
    return (ran[0], twin.get_submodule(ran[0])) if ran else ("", None)


def _shifted(layer: nn.Conv2d | nn.Linear, shift: float) -> nn.Module:
    """The layer (changed in place) that gives for x + shift what it gave for x."""
    with torch.no_grad():
        taken = shift * layer.weight.flatten(1).sum(1)
        layer.bias = nn.Parameter(-taken if layer.bias is None else layer.bias - taken)
    if isinstance(layer, nn.Linear) or layer.padding_mode != "zeros" or not any(layer._reversed_padding_repeated_twice):
        return layer
    left, right, top, bottom = layer._reversed_padding_repeated_twice
    layer.padding = (0, 0)
    return nn.Sequential(nn.ConstantPad2d((left, right, top, bottom), shift), layer)


def _put(network: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    """The network with ``layer`` in the place of that name."""
    if not name:
        return layer
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, layer)
    return network
