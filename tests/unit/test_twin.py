"""Folded, reordered copies give what the network gives, and leave it alone."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torchvision
from probing import around, inputs, probe
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from xai_plugins.methods.ablationcam import AblationCam
from xai_plugins.methods.gradcam import GradCam
from xai_plugins.methods.guided_backprop import GuidedBackprop
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import Preprocess
from xai_framework.fast.twin import Twin, twin_of
from xai_framework.fast.ways import Ways
from xai_framework.rng import NamedRng


def normed(channels: int) -> nn.BatchNorm2d:
    """With statistics that matter."""
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.2, 3)
    return norm


class Net(nn.Module):
    """One pair that folds, and what must not: read twice, shared, run twice, another way through."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.how = how
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), normed(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.other = self.norm if how == "shared" else normed(6)
        if how == "weight norm":
            self.conv = weight_norm(self.conv)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        raw = self.conv(x)
        y = self.norm(raw).relu()
        if self.how == "read twice":
            y = y + raw
        if self.how == "run twice":
            y = y + self.norm(self.conv(x * 2))
        y = self.other(self.second(y)).relu()
        y = y.view(len(y), 6, -1).mean(2) if self.how == "view" else y.mean((2, 3))
        out: Tensor = self.head(y)
        return out


def twin(model: nn.Module, size: int = 16) -> Twin | None:
    with torch.no_grad():
        return twin_of(around(model), inputs(1, size))


@pytest.mark.parametrize(
    ("how", "folded"),
    [
        ("", {"conv", "second"}),
        ("read twice", {"second"}),
        ("run twice", {"second"}),
        ("shared", set()),
        ("weight norm", {"second"}),
        ("view", {"conv", "second"}),
    ],
)
def test_only_what_may_be_folded_is(how: str, folded: set[str]) -> None:
    torch.manual_seed(0)
    model = Net(how)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    made = twin(model)
    assert made is not None
    assert made.changed == folded
    x = inputs(3)
    with torch.no_grad():
        torch.testing.assert_close(made.adapter.forward(x), model(x), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_a_network_that_looks_into_memory_is_folded_without_another_order() -> None:
    class Flat(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            y = self[1](self[0](x))
            out: Tensor = self[2](y.view(len(y), -1))
            return out

    made = twin(Flat(nn.Conv2d(3, 4, 3), normed(4), nn.Linear(4 * 14 * 14, 2)))
    assert made is not None
    assert (made.changed, made.channels_last) == ({"0"}, False)


def test_what_cannot_be_copied_or_gains_nothing_is_left_as_it_is() -> None:
    class Single(nn.Conv2d):
        def __deepcopy__(self, memo: object) -> Single:
            raise TypeError("there is one of me")

    assert twin(nn.Sequential(Single(3, 4, 16), nn.Flatten())) is None
    assert twin(nn.Sequential(nn.Conv2d(3, 2, 16), nn.Flatten()).double()) is None
    assert twin(nn.Sequential(nn.AvgPool2d(16), nn.Flatten())) is None
    with torch.no_grad():
        assert twin_of(around(Net().double()), inputs(1).double()) is None  # no kernels for it


def test_a_copy_that_gives_something_else_is_not_used() -> None:
    class ReadsItsNorm(Net):
        def forward(self, x: Tensor) -> Tensor:
            scale = self.norm.weight.mean() if isinstance(self.norm, nn.BatchNorm2d) else 7
            return super().forward(x) * scale

    made = twin(ReadsItsNorm())
    assert made is None


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2", "googlenet", "efficientnet_b0"])
def test_gradients_and_layers_of_torchvision_are_those_of_the_network(name: str) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(torchvision.models, name)(weights=None, num_classes=5).eval()
    adapter, x, rows = ModuleAdapter(model, Preprocess(crop=(64, 64))), inputs(2, 64), torch.tensor([1, 3])
    fast, plain = probe(adapter, ways=Ways(adapter)), probe(adapter)
    one, other = fast.gradient(x, rows), plain.gradient(x, rows)
    assert one.is_contiguous()
    assert float((one - other).norm() / other.norm()) < 1e-2  # a ReLU at a tie turns single values round
    for a, b in zip(fast.layers(x, rows)["last"], plain.layers(x, rows)["last"], strict=True):
        assert a.is_contiguous()
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 * float(b.abs().max()))


def test_a_folded_layer_is_asked_of_the_network_itself() -> None:
    torch.manual_seed(0)
    adapter, x, rows = around(Net()), inputs(2), torch.tensor([0, 1])
    ways = Ways(adapter)
    assert ways.adapter(x, ["norm"]) is not adapter
    assert ways.adapter(x, ["conv"]) is adapter
    fast, plain = probe(adapter, ways=ways), probe(adapter)
    assert torch.equal(fast.layers(x, rows, ("conv",))["conv"][0], plain.layers(x, rows, ("conv",))["conv"][0])
    norms = fast.layers(x, rows, ("norm",))["norm"], plain.layers(x, rows, ("norm",))["norm"]
    torch.testing.assert_close(norms[0], norms[1], rtol=1e-4, atol=1e-5)


class Wrapped(Net):
    """Its first convolution stands at the end of a block."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Identity(), self.conv)
        del self.conv

    def forward(self, x: Tensor) -> Tensor:
        y = self.other(self.second(self.norm(self.block(x)).relu())).relu()
        out: Tensor = self.head(y.mean((2, 3)))
        return out


def test_a_block_that_ends_with_a_folded_layer_is_asked_of_the_network_itself() -> None:
    torch.manual_seed(0)
    adapter, x, rows = around(Wrapped()), inputs(2), torch.tensor([0, 1])
    ways = Ways(adapter)
    assert ways.adapter(x) is not adapter
    assert ways.adapter(x, ["block"]) is adapter
    fast, plain = probe(adapter, ways=ways), probe(adapter)
    for one, other in zip(*(p.layers(x, rows, ("block",))["block"] for p in (fast, plain)), strict=True):
        assert torch.equal(one, other)


def test_a_network_with_hooks_is_asked_itself() -> None:
    torch.manual_seed(0)
    model = Net()
    adapter, x, rows = around(model), inputs(2), torch.tensor([0, 1])
    asked = probe(adapter, ways=Ways(adapter))
    before = asked.gradient(x, rows)
    handle = model.norm.register_full_backward_hook(lambda _m, given, _out: (given[0].clamp(min=0),))
    changed = asked.gradient(x, rows)
    assert torch.equal(changed, probe(adapter).gradient(x, rows))
    assert not torch.allclose(before, changed)
    handle.remove()
    assert torch.equal(before, asked.gradient(x, rows))


def test_what_holds_for_one_size_is_found_out_anew_for_another() -> None:
    class BySize(Net):
        def forward(self, x: Tensor) -> Tensor:
            raw = self.conv(x)
            y = self.norm(raw)
            y = (y + raw if x.shape[-1] > 16 else y).relu()
            out: Tensor = self.head(self.other(self.second(y)).relu().mean((2, 3)))
            return out

    torch.manual_seed(0)
    adapter = around(BySize())
    ways = Ways(adapter)
    for size in (16, 24, 16):
        x = inputs(2, size)
        torch.testing.assert_close(
            probe(adapter, ways=ways).outputs(x), probe(adapter).outputs(x), rtol=1e-4, atol=1e-5
        )


def test_answers_are_those_of_the_score_that_is_asked_for() -> None:
    adapter, x, rows = around(Net()), inputs(2), torch.tensor([0, 1])
    asked = probe(adapter, keep=x)
    truth = {of: probe(adapter, target=Predicted(of=of)).gradient(x, rows) for of in ("probability", "logit")}
    for _ in range(20):  # targets made for the moment may get each other's place in memory
        for of, gradient in truth.items():
            assert torch.equal(asked.under(Predicted(of=of)).gradient(x, rows), gradient)


def test_rules_see_the_network_as_it_is_and_methods_agree() -> None:
    torch.manual_seed(0)
    adapter, x, rows = around(Net()), inputs(2), torch.tensor([0, 1])
    rng = NamedRng.of(0, "ab")
    for method in (GuidedBackprop(), GradCam(layer="second"), GradCam(layer="other"), AblationCam(layer="other")):
        found = [method.explain(p, x, rows, rng) for p in (probe(adapter, ways=Ways(adapter)), probe(adapter))]
        torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-5)


def test_graphs_are_kept_only_for_other_targets() -> None:
    adapter, x = around(Net()), inputs(2)
    rows = torch.tensor([0, 1])
    alone = probe(adapter, keep=x, others=False)
    first = alone.gradient(x, rows)
    assert torch.equal(first, alone.gradient(x, rows))
    assert (alone.counts.forward, alone.counts.backward) == (2, 2)
    later = alone.gradient(x, rows.flip(0).clone())  # nobody announced it: the forward pass is made again
    assert (alone.counts.forward, alone.counts.backward) == (4, 4)
    kept = probe(copy.copy(adapter), keep=x)
    kept.gradient(x, rows)
    assert torch.equal(later, kept.gradient(x, rows.flip(0).clone()))
    assert (kept.counts.forward, kept.counts.backward) == (2, 4)


def unseen(x: Tensor) -> Tensor:
    """A function that no mode for functions sees, and that keeps what it is given for its gradient."""
    found: Tensor = torch.vmap(lambda row: row * row)(x)
    return found


class Rectified(nn.Module):
    """ReLUs after what may be overwritten, and after what may not: read twice, or needed for a gradient."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(n, 6, 3, padding=1) for n in (3, 6, 6, 6))
        self.norm, self.squash, self.head = normed(6), nn.Sigmoid(), nn.Linear(6, 4)
        self.alone, self.normed, self.twice, self.viewed, self.squashed, self.flat = (nn.ReLU() for _ in range(6))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        raw = self.convs[0](x)
        if self.how == "unseen":
            x = self.alone(raw) + unseen(raw)
        elif self.how == "unseen before":
            x = unseen(raw) + self.alone(raw)
        else:
            x = self.alone(raw)
        x = self.normed(self.norm(self.convs[1](x)))
        raw = self.convs[2](x)
        x = self.twice(raw) + raw
        raw = self.convs[3](x)
        x = self.viewed(raw) + raw.flatten(2).mean(2)[..., None, None]
        x = self.squashed(self.squash(x)) - 0.5
        out: Tensor = self.flat(self.head(x.mean((2, 3))))
        return out


def test_a_copy_writes_over_what_nobody_else_reads() -> None:
    torch.manual_seed(0)
    model = Rectified()
    made = twin(model)
    assert made is not None
    assert {n for n, m in made.adapter.model.named_modules() if getattr(m, "inplace", False)} == {
        "alone",
        "normed",
        "flat",
    }
    assert not any(getattr(m, "inplace", False) for m in model.modules())
    adapter, x, rows = around(model), inputs(3), torch.tensor([0, 1, 2])
    names = ["convs.0", "convs.2", "norm", "alone", "normed", "squash"]
    fast, plain = (probe(adapter, ways=ways) for ways in (Ways(adapter), None))
    torch.testing.assert_close(fast.gradient(x, rows), plain.gradient(x, rows), rtol=1e-3, atol=1e-5)
    found, truth = (asked.layers(x, rows, names) for asked in (fast, plain))
    for name in names:
        torch.testing.assert_close(found[name], truth[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("how", ["unseen", "unseen before", "own forward"])
def test_a_copy_overwrites_nothing_where_a_reader_is_not_seen(how: str) -> None:
    torch.manual_seed(0)
    model = Rectified(how)
    if how == "own forward":
        conv = model.convs[0]
        conv.forward = lambda x: torch.sigmoid(nn.functional.conv2d(x, conv.weight, conv.bias, padding=1))
    made = twin(model)
    assert made is not None
    assert not made.adapter.model.get_submodule("alone").inplace
    adapter, x, rows = around(model), inputs(3), torch.tensor([0, 1, 2])
    fast, plain = (probe(adapter, ways=ways).gradient(x, rows) for ways in (Ways(adapter), None))
    torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-5)
