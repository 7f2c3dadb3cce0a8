"""What ``last`` stands for in networks of one's own, and that looking for it leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xai_framework.api import ModuleAdapter
from xai_framework.core import LayerError, ModelError, Preprocess


def last(model: nn.Module, side: int = 16) -> str:
    return ModuleAdapter(model.eval(), Preprocess(crop=(side, side))).last_layer()


def stage(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())


def named(**parts: nn.Module) -> nn.Sequential:
    net = nn.Sequential()
    for name, part in parts.items():
        setattr(net, name, part)
    return net


def pooled(*head: nn.Module) -> dict[str, nn.Module]:
    return {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "head": nn.Sequential(*head)}


def test_the_outermost_of_modules_that_end_together() -> None:
    assert last(named(one=stage(3, 4), two=nn.Sequential(stage(4, 8), stage(8, 8)), **pooled(nn.Linear(8, 5)))) == "two"


def test_pooling_and_the_like_give_no_features() -> None:
    tail = {"drop": nn.Dropout2d(), "same": nn.Identity(), "half": nn.MaxPool2d(2), **pooled(nn.Linear(8, 5))}
    assert last(named(one=stage(3, 8), **tail)) == "one"


class PoolFormer(nn.Sequential):
    """A part with weights whose class has Pool in its name."""


def test_a_class_is_not_judged_by_its_name_alone() -> None:
    assert last(named(one=stage(3, 4), two=PoolFormer(stage(4, 8)), **pooled(nn.Linear(8, 5)))) == "two"


def test_as_many_channels_as_classes_is_no_classifier_before_a_linear_layer() -> None:
    assert last(named(one=stage(3, 4), two=stage(4, 8), **pooled(nn.Linear(8, 8)))) == "two"


@pytest.mark.parametrize("classes", [5, 8])
def test_a_convolution_with_a_channel_a_class_at_the_end_is_the_classifier(classes: int) -> None:
    net = named(features=stage(3, 8), head=stage(8, classes), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    assert last(net) == "features"


def test_a_grid_of_one_position_is_none() -> None:
    strided = nn.Sequential(nn.Conv2d(4, 8, 16), nn.ReLU())
    assert last(named(one=stage(3, 4), two=strided, flat=nn.Flatten(), head=nn.Linear(8, 5))) == "one"


def test_none_at_all_is_named() -> None:
    with pytest.raises(LayerError, match="no layer of this model gives a grid"):
        last(named(flat=nn.Flatten(), head=nn.Linear(3 * 16 * 16, 5)))


def test_a_size_the_network_cannot_take_is_named() -> None:
    net = named(one=stage(3, 4), flat=nn.Flatten(), head=nn.Linear(4 * 16 * 16, 5))
    assert last(net) == "one"
    with pytest.raises(ModelError, match=r"does not run on inputs \(1, 3, 20, 20\) \(.*cannot be multiplied"):
        last(net, 20)


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("on purpose")


@pytest.mark.parametrize("fails", [False, True])
def test_no_trace(fails: bool) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    net = named(one=stage(3, 4), norm=norm, drop=nn.Dropout(), **pooled(Fails() if fails else nn.Linear(4, 5)))
    net.eval()
    net.norm.train()
    net.drop.train()
    flags = [m.training for m in net.modules()]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.random.get_rng_state()
    adapter = ModuleAdapter(net, Preprocess(crop=(16, 16)))
    if fails:
        with pytest.raises(ModelError, match="on purpose"):
            adapter.last_layer()
    else:
        assert adapter.last_layer() == "norm"
    assert [m.training for m in net.modules()] == flags
    assert not any(m._forward_hooks for m in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


class Block(nn.Module):
    """A transformer block on (B,N,C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        x = x + self.attention(y, y, y)[0]
        return x + self.mlp(self.second(x))


class Tokens(nn.Module):
    """A vision transformer without an adapter of its own; ``extra`` tokens stand in front of 16 x 16 / 4 patches."""

    def __init__(self, extra: int, pooled: bool = False) -> None:
        super().__init__()
        self.stem, self.extra, self.pooled = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, extra, 8)), pooled
        self.blocks = nn.ModuleList(Block(8) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.extra.expand(len(x), -1, -1), self.stem(x).flatten(2).transpose(1, 2)], 1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return self.head(tokens[:, self.extra.shape[1] :].mean(1) if self.pooled else tokens[:, 0])


@pytest.mark.parametrize("side", [(16, 16), (16, 24), (24, 8)])
@pytest.mark.parametrize(("extra", "pooled"), [(1, False), (5, False), (1, True), (0, True)])
def test_the_last_norm_of_tokens_whose_patches_count(extra: int, pooled: bool, side: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = Tokens(extra, pooled).eval()
    adapter = ModuleAdapter(model, Preprocess(crop=side))
    layer = adapter.layer("last")
    assert layer.name == ("norm" if pooled else "blocks.2.first")
    rows, columns = side[0] // 4, side[1] // 4
    tokens = torch.randn(2, extra + rows * columns, 8)
    grid = layer.to_grid(tokens)
    assert grid.shape == (2, 8, rows, columns)
    assert torch.equal(grid[1, :, 1, 1], tokens[1, extra + columns + 1])
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_channels_last_are_told_by_the_norms_of_the_network() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm, self.head = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2)))

    adapter = ModuleAdapter(Last().eval(), Preprocess(crop=(16, 24)))
    layer, output = adapter.layer("last"), torch.randn(2, 4, 6, 8)
    assert layer.name == "norm"
    assert torch.equal(layer.to_grid(output), output.permute(0, 3, 1, 2))
    stem = torch.randn(2, 8, 4, 6)
    assert torch.equal(adapter.layer("stem").to_grid(stem), stem)
