"""Layers of the private copy are computed by other kernels, to the same values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from probing import around, inputs, probe
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from xai_framework.fast import packed
from xai_framework.fast.kernels import tune
from xai_framework.fast.packed import Packed
from xai_framework.fast.stem import Stem
from xai_framework.fast.twin import twin_of
from xai_framework.fast.ways import Ways


def twin(model: nn.Module, size: int = 16) -> nn.Module:
    with torch.no_grad():
        made = twin_of(around(model), inputs(1, size))
    assert made is not None
    return made.adapter.model


@pytest.mark.parametrize("shape", [(5,), (1,), (2, 7), (3, 2, 4), (0,)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_gives_outputs_and_gradients_of_the_layer(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(37, 11, bias=bias).requires_grad_(False)
    exact = nn.Linear(37, 11, bias=bias).double()
    exact.load_state_dict(layer.state_dict())
    x, back = torch.randn(*shape, 37), torch.randn(*shape, 11)
    assert tune(layer)
    assert isinstance(layer, Packed)
    leaf, wide = x.clone().requires_grad_(), x.double().requires_grad_()
    outputs, truth = layer(leaf), exact(wide)
    torch.testing.assert_close(outputs.double(), truth, rtol=1e-5, atol=1e-5)
    (found,) = torch.autograd.grad(outputs, leaf, back)
    (wanted,) = torch.autograd.grad(truth, wide, back.double())
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(layer(leaf), outputs.detach(), rtol=0, atol=0)


def test_other_types_than_its_own_go_the_plain_way() -> None:
    layer = nn.Linear(4, 2)
    tune(layer)
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.zeros(1, 4, dtype=torch.float64))  # as the layer itself says


def test_a_copy_shares_weights_with_the_network_and_leaves_them_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 256, 5))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    private = twin(model)
    copied, own = private[3], model[3]
    assert isinstance(copied, Packed)
    assert type(own) is nn.Linear
    assert copied.weight.data_ptr() == own.weight.data_ptr()
    assert own.weight.requires_grad
    assert not copied.weight.requires_grad
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    conv = model[0]
    assert isinstance(conv, nn.Conv2d)
    assert conv.dilation == (1, 1)
    assert conv.weight.data_ptr() != private[0].weight.data_ptr()


def narrow(stride: int = 1, kernel: int = 1) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(3, 4, kernel, stride=stride)


@pytest.mark.parametrize(
    ("make", "chosen"),
    [(narrow(), True), (narrow(kernel=3), False), (lambda: narrow()().double(), False)],
)
def test_only_convolutions_of_single_places_are_dilated(make: Callable[[], nn.Module], chosen: bool) -> None:
    torch.manual_seed(0)
    conv = make()
    x = torch.randn(2, 3, 9, 9).to(next(conv.parameters()))
    before = conv(x)
    assert tune(conv) is chosen
    torch.testing.assert_close(conv(x), before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(24, 24), (23, 30), (31, 17)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(7, 2, 3), (3, 2, 0), (11, 4, 2), (4, 4, 0), (3, 2, 1), (2, 3, 0), (5, 3, 4), ((3, 5), (2, 3), (1, 0)), (3, 2, 3)],
)
def test_a_stem_gives_outputs_and_gradients_of_the_layer(
    size: tuple[int, int], kernel: int, stride: int, padding: int
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, kernel, stride, padding)
    exact = nn.Conv2d(3, 5, kernel, stride, padding).double()
    exact.load_state_dict(layer.state_dict())
    assert tune(layer)
    assert isinstance(layer, Stem)
    x = torch.randn(2, 3, *size)
    leaf, wide = x.clone().requires_grad_(), x.double().requires_grad_()
    outputs, truth = layer(leaf), exact(wide)
    back = torch.randn(outputs.shape)
    torch.testing.assert_close(outputs.double(), truth, rtol=1e-5, atol=1e-5)
    (found,) = torch.autograd.grad(outputs, leaf, back)
    (wanted,) = torch.autograd.grad(truth, wide, back.double())
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 6, 3, stride=2, groups=3),
        nn.Conv2d(3, 6, 3, stride=2, dilation=2),
        nn.Conv2d(3, 6, 3, stride=2, padding=1, padding_mode="reflect"),
        nn.Conv2d(8, 6, 3, stride=2),
        nn.Conv2d(3, 6, 3),
        nn.Conv2d(3, 6, 3, padding="same"),
        nn.Conv2d(3, 6, 3, stride=(2, 1)),
    ],
)
def test_other_convolutions_are_no_stem(layer: nn.Module) -> None:
    assert not tune(layer)


class Odd(nn.Linear):
    """Not what its class says."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_layers_that_are_not_what_they_seem_are_left_alone() -> None:
    own = nn.Linear(3, 2)
    own.forward = lambda x: x[..., :2]  # type: ignore[method-assign]
    model = nn.ModuleList([Odd(3, 2), own, weight_norm(nn.Linear(3, 2)), nn.Linear(3, 2).double()])
    assert not tune(model)
    assert not any(isinstance(m, Packed) for m in model.modules())


def test_without_the_functions_everything_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(weight: Tensor) -> Tensor:
        raise AttributeError("no such operator")

    monkeypatch.setattr(packed, "_packed", absent)
    packed.packs.cache_clear()
    try:
        private = twin(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 196, 5)))
        assert type(private[2]) is nn.Linear
    finally:
        packed.packs.cache_clear()


class Energy(nn.Module):
    """Differentiates inside of its pass."""

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.first, self.head = first, nn.Linear(3 * 256, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = x if x.requires_grad else x.clone().requires_grad_()
            (slope,) = torch.autograd.grad(self.first(leaf).pow(2).sum(), leaf, create_graph=True)
        out: Tensor = self.head((x + 10 * slope).flatten(1))
        return out


class RowByRow(nn.Sequential):
    """Gives its convolution single pictures."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self[1](torch.stack([self[0](row) for row in x]).flatten(1))
        return out


class Cast(nn.Sequential):
    """Chooses types for itself."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self[0](x)
        out: Tensor = self[1](y.float().flatten(1))
        return out


class Mapped(nn.Sequential):
    """Another kind of batch."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.vmap(lambda row: self[1](self[0](row).flatten()))(x)
        return out


def strided() -> nn.Conv2d:
    return nn.Conv2d(3, 4, 4, stride=2, padding=1)


STRANGE = {
    "energy of a convolution": lambda: Energy(strided()),
    "energy of a linear layer": lambda: Energy(nn.Sequential(nn.Flatten(), nn.Linear(768, 5))),
    "row by row": lambda: RowByRow(strided(), nn.Linear(256, 4)),
    "autocast": lambda: Cast(strided(), nn.Linear(256, 4)),
    "vmap": lambda: Mapped(strided(), nn.Linear(256, 4)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("which", STRANGE)
def test_networks_that_do_strange_things_give_the_same_gradients(which: str) -> None:
    torch.manual_seed(0)
    adapter, x, rows = around(STRANGE[which]()), inputs(2), torch.tensor([1, 3])
    one, other = (probe(adapter, **options).gradient(x, rows) for options in ({"ways": Ways(adapter)}, {}))
    assert float(other.norm()) > 0
    assert float((one - other).norm() / other.norm()) < (0.02 if which == "autocast" else 1e-5)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_a_layer_without_outputs_is_left_alone() -> None:
    assert not tune(nn.ModuleList([nn.Linear(4, 0), nn.Linear(0, 4)]))


def test_a_network_that_writes_into_itself_or_is_not_copied_whole_stays_as_it_is() -> None:
    class Writes(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                self[1].weight.mul_(1.00001)
            return super().forward(x)

    class Itself(nn.Linear):
        def __deepcopy__(self, memo: object) -> Itself:
            return self

    for model in (
        Writes(nn.Flatten(), nn.Linear(768, 4)),
        nn.Sequential(nn.Flatten(), Itself(768, 4), nn.Linear(4, 2)),
    ):
        with torch.no_grad():
            assert twin_of(around(model), inputs(1)) is None
        assert type(model[1]) in (nn.Linear, Itself)
        assert model[1].weight.requires_grad


def test_the_functions_are_tried_whatever_the_defaults_are() -> None:
    packed.packs.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        assert packed.packs(torch.float32)
    finally:
        torch.set_default_dtype(torch.float32)


def test_without_onednn_no_kernel_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not tune(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(4, 2), strided()))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["vit_b_32", "swin_t", "convnext_tiny", "alexnet", "resnet18"])
def test_networks_of_linear_layers_give_the_same_gradients(name: str) -> None:
    torch.manual_seed(0)
    size = 224 if name.startswith("vit") else 64
    model = getattr(torchvision.models, name)(weights=None, num_classes=5).eval()
    nn.init.normal_(list(model.parameters())[-2], std=0.1)  # zero in some
    adapter, x, rows = around(model), inputs(2, size), torch.tensor([1, 3])
    ways = Ways(adapter)
    assert any(isinstance(m, Packed) for m in ways.adapter(x).model.modules())
    one, other = probe(adapter, ways=ways).gradient(x, rows), probe(adapter).gradient(x, rows)
    assert float((one - other).norm() / other.norm()) < 1e-3
