"""One network with pictures, in the variants that peers are at their best with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.networks import LAYERS, Array, architecture, inputs_of, network, pictures

Gradients = Literal["no parameter gradients", "parameter gradients", "gradients from the layer on, by hand"]
FROZEN: Gradients = "no parameter gradients"
TRAINABLE: Gradients = "parameter gradients"
BY_HAND: Gradients = "gradients from the layer on, by hand"


@dataclass
class Subject:
    """``rows`` counts the pictures that peers have sent through the network."""

    name: str
    model: nn.Module
    pictures: Sequence[Array]
    inputs: Tensor
    targets: Tensor
    rows: int = 0
    _variants: dict[tuple[bool, Gradients], nn.Module] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, images: int, size: int) -> Subject:
        """Raises AbsentError where its weights are not there."""
        model, drawn = network(name, size), pictures(images, size)
        inputs = inputs_of(drawn, size)
        with torch.no_grad():
            return cls(name, model, drawn, inputs, model(inputs).argmax(1))

    @property
    def layer(self) -> str:
        """Where class activation maps are taken."""
        return LAYERS[architecture(self.name)]

    def variant(self, channels_last: bool, gradients: Gradients = FROZEN) -> nn.Module:
        """A copy of the network for a peer."""
        key = channels_last, gradients
        if key not in self._variants:
            model = copy.deepcopy(self.model).requires_grad_(gradients == TRAINABLE)
            if gradients == BY_HAND:  # one small tensor is enough for a graph from here to the output
                list(model.get_submodule(self.layer).parameters() or model.parameters())[-1].requires_grad_()
            if channels_last:
                model = model.to(memory_format=torch.channels_last)
            model.register_forward_pre_hook(self._count)
            self._variants[key] = model
        return self._variants[key]

    def _count(self, _module: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.rows += len(given[0])
