"""A network whose output is the spatial mean of one of its layers."""

from __future__ import annotations

from torch import Tensor, nn

from xai_framework.core import Layer, LayerError


class Pooled(nn.Module):
    """(B,C,H,W) -> (B,K), K the layer's channels."""

    def __init__(self, net: nn.Module, layer: Layer) -> None:
        super().__init__()
        self.net = net
        self._name, self._to_grid = layer.name, layer.to_grid

    def forward(self, x: Tensor) -> Tensor:
        """Runs the whole network, which keeps it simple; what lies behind the layer has no say."""
        seen: list[Tensor] = []
        module = self.net.get_submodule(self._name)
        # a clone: an operation in place behind the layer would overwrite what was seen
        handle = module.register_forward_hook(lambda _module, _args, output: seen.append(output.clone()))
        try:
            self.net(x)
        finally:
            handle.remove()
        if not seen:
            raise LayerError(f"layer {self._name!r} was not executed in the forward pass", fix="choose another layer")
        grid: Tensor = self._to_grid(seen[0])
        return grid.mean((2, 3))
