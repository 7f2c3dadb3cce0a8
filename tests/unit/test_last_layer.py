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
