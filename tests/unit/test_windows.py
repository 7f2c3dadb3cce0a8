"""Passes over what an edit changes give what whole copies give, on every kind of network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from probing import around
from torch import Tensor, nn
from xai_plugins.methods._coalitions import Coalitions, Given
from xai_plugins.methods.feature_ablation import FeatureAblation
from xai_plugins.methods.occlusion import Occlusion
from xai_plugins.targets.rank import Predicted

from xai_framework.core import ModelAdapter, PluginError
from xai_framework.core.edits import Boxes, Local
from xai_framework.fast.changed import Changed, Known
from xai_framework.fast.spans import Sliding, Spans
from xai_framework.fast.ways import Ways
from xai_framework.fast.windows import Windows
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng
from xai_framework.space import PixelSpace, in_precision
from xai_framework.testing import TinyAdapter, tiny_models


def grid(size: int, window: int, stride: int) -> tuple[tuple[int, int, int, int], ...]:
    """Windows that are cut at the far edges, as occlusion's are."""
    starts = range(0, size - window + stride, stride)
    return tuple((t, s, min(t + window, size), min(s + window, size)) for t in starts for s in starts)


def both(adapter: ModelAdapter, x: Tensor, edits: Boxes, row: int = 0) -> tuple[Tensor | None, Tensor]:
    """The outputs by windows, None where that way is not open, and of whole copies."""
    windows = Windows(adapter)
    with torch.no_grad():
        windows.try_out(torch.randn(1, *x.shape[1:], generator=torch.Generator().manual_seed(0)).to(x))
        whole = adapter.forward(edits.make(x[row : row + 1], torch.tensor([row]), range(len(edits))))
        found = torch.full_like(whole, torch.nan)
        for which, outputs in windows.outputs(x, row, edits):
            found[which] = outputs
    return (found if windows.usable else None), whole


def assert_same(adapter: ModelAdapter, x: Tensor, edits: Boxes, row: int = 0) -> None:
    """To rounding of float64."""
    found, whole = both(adapter, x, edits, row)
    assert found is not None, "the network was not followed"
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-11 * float(whole.abs().max()))


FAMILIES = [
    *("alexnet", "vgg11_bn", "squeezenet1_0", "squeezenet1_1", "resnet18", "resnet50", "resnext50_32x4d"),
    *("densenet121", "googlenet", "inception_v3", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5"),
    *("mnasnet0_5", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny"),
]


@pytest.mark.parametrize("name", FAMILIES)
def test_all_convolution_families_of_torchvision(name: str) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model = getattr(torchvision.models, name)(weights=None, **settings).eval().double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    x = torch.randn(2, 3, 80, 80, dtype=torch.float64)
    assert_same(around(model), x, Boxes(grid(80, 24, 18), torch.randn(2, 3, 80, 80, dtype=torch.float64)), row=1)


@pytest.mark.parametrize("adapter", tiny_models(), ids=lambda a: a.network)
def test_every_kind_of_small_network(adapter: TinyAdapter) -> None:
    model = adapter.model.double()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found, whole = both(adapter.with_model(model), x, Boxes(grid(16, 5, 3), torch.zeros(1, 3, 1, 1, dtype=x.dtype)))
    if found is not None:  # tokens leave the grid: then the way is closed or exact
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-11)


class Odd(nn.Module):
    """What is rare: dilation, groups, uneven kernels, rounding up, margins that count, an activation read later."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, (5, 3), stride=(2, 1), padding=(2, 0))
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.far = nn.Conv2d(8, 8, 1, stride=2)
        self.norm = nn.BatchNorm2d(8).eval()
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.first(x)
        kept = x
        x = F.relu(self.dilated(x), inplace=True)
        x += kept
        x = self.scale * F.hardswish(x) - 0.1
        x = torch.cat([F.max_pool2d(x, 3, 2, 1, ceil_mode=True), F.max_pool2d(x, 3, 2, 1, ceil_mode=True)], 1)
        x = F.avg_pool2d(x, 2, 1, padding=1)
        left, right = x.chunk(2, dim=1)
        x = self.norm(self.far(left)) * torch.sigmoid(self.far(right))
        pooled = F.adaptive_avg_pool2d(x, 2).flatten(1)
        return {"logits": self.head(pooled), "other": x}


@pytest.mark.parametrize("size", [33, 40])
def test_rare_functions(size: int) -> None:
    torch.manual_seed(3)
    x = torch.randn(1, 3, size, size, dtype=torch.float64)
    assert_same(around(Odd().double().eval()), x, Boxes(grid(size, 7, 6), x.new_zeros(1, 3, 1, 1)))


def test_windows_of_all_sizes_and_places_at_once() -> None:
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 40, (60, 4))
    boxes = tuple((min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1) for a, b, c, d in corners.tolist())
    x = torch.randn(1, 3, 40, 40, dtype=torch.float64)
    assert_same(around(Odd().double().eval()), x, Boxes(boxes, torch.randn_like(x)))


def test_pixels_as_the_attribution_space_and_bfloat16() -> None:
    torch.manual_seed(0)
    model = torchvision.models.squeezenet1_1(weights=None, num_classes=7).eval()
    x, edits = torch.rand(1, 3, 64, 64), Boxes(grid(64, 16, 16), torch.zeros(1, 3, 1, 1))
    assert_same(PixelSpace(around(model.double())), x.double(), Boxes(edits.boxes, edits.fill.double()))
    found, whole = both(in_precision(around(model.float()), "bfloat16"), x, edits)
    assert found is not None
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, whole, rtol=0, atol=0.05 * float(whole.abs().max()))


class Sneaky(nn.Module):
    """Leaves the tensors it was given, or looks at its batch as a whole."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.body, self.head = how, nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.how == "numpy":
            y = torch.from_numpy(y.numpy() + 0)
        elif self.how == "batch":
            y = y - y.mean(0, keepdim=True)
        return self.head(F.relu(y).mean((2, 3)))


@pytest.mark.parametrize("how", ["numpy", "batch"])
def test_a_network_that_cannot_be_followed_is_asked_the_plain_way(how: str) -> None:
    torch.manual_seed(0)
    adapter, x = around(Sneaky(how).double()), torch.randn(1, 3, 12, 12, dtype=torch.float64)
    found, _ = both(adapter, x, Boxes(grid(12, 4, 4), x.new_ones(1, 3, 1, 1)))
    assert found is None
    edits = Boxes(grid(12, 4, 4), x.new_ones(1, 3, 1, 1))
    rows = torch.tensor([0])
    fast, plain = (SharedProbe(adapter, Predicted(), ways=ways, chunk=4) for ways in (Ways(adapter), None))
    assert torch.equal(fast.scores(x, rows, edits), plain.scores(x, rows, edits))
    assert fast.counts.forward == plain.counts.forward == len(edits)


def test_occlusion_is_the_same_and_counts_one_pass_a_window() -> None:
    torch.manual_seed(0)
    adapter = around(torchvision.models.resnet18(weights=None, num_classes=5).double().eval())
    x, rows = torch.randn(2, 3, 64, 64, dtype=torch.float64), torch.tensor([1, 4])
    maps = []
    for ways in (Ways(adapter), None):
        probe = SharedProbe(adapter, Predicted(), ways=ways, chunk=8)
        maps.append(Occlusion(window=16, stride=16).explain(probe, x, rows, NamedRng.of(0, "ab")))
        assert probe.counts.forward == 2 + 2 * 16
    torch.testing.assert_close(maps[0], maps[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("segments", ["grid", "slic"])
def test_feature_ablation_is_local_and_the_same(segments: str) -> None:
    torch.manual_seed(0)
    adapter = around(torchvision.models.resnet18(weights=None, num_classes=5).double().eval())
    x, rows = torch.rand(2, 3, 64, 64, dtype=torch.float64), torch.tensor([1, 4])
    maps, asked = [], []

    class Asked(SharedProbe):
        def _by_windows(self, *args: Any) -> bool:
            asked.append(super()._by_windows(*args))
            return asked[-1]

    for ways in (Ways(adapter), None):
        probe = Asked(adapter, Predicted(), ways=ways, chunk=8)
        method = FeatureAblation(cells=4, segments=segments)  # type: ignore[arg-type]
        maps.append(method.explain(probe, x, rows, NamedRng.of(0, "ab")))
    torch.testing.assert_close(maps[0], maps[1], rtol=0, atol=1e-12)
    assert asked == [True, True, False, False]


def test_copies_without_parts_from_all_over_are_made_whole() -> None:
    labels = torch.arange(16).view(1, 4, 4)
    one, many = 1 - torch.eye(16)[None], torch.rand(1, 40, 16).round()
    local = Coalitions(Given(one), labels, torch.zeros(1, 3, 4, 4))
    assert isinstance(local, Local)
    assert list(local.bounds(0) or ()) == [(i // 4, i % 4, i // 4 + 1, i % 4 + 1) for i in range(16)]
    assert Coalitions(Given(many), labels, torch.zeros(1, 3, 4, 4)).bounds(0) is None
    none = Coalitions(Given(torch.ones(1, 1, 16)), labels, torch.zeros(1, 3, 4, 4)).bounds(0)
    assert none == [(0, 0, 1, 1)]


@dataclass
class Lying:
    """Edits whose rectangles are wrong."""

    said: list[tuple[int, int, int, int]]
    at: str = "input"

    def __len__(self) -> int:
        return 2

    def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
        return x.repeat_interleave(len(k), 0)

    def bounds(self, row: int) -> list[tuple[int, int, int, int]]:
        return self.said


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([(0, 0, 1, 1)], "has bounds for 1 copies, but makes 2"),
        ([(0, 0, 1, 1), (0, 0, 1, 13)], "reach out of an input of 12x12"),
        ([(0, 0, 1, 1), (3, 3, 3, 5)], "are empty or"),
    ],
)
def test_impossible_rectangles_are_an_error(said: list[tuple[int, int, int, int]], why: str) -> None:
    windows = Windows(around(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(200, 2))), usable=True)
    with pytest.raises(PluginError, match=why):
        list(windows.outputs(torch.zeros(1, 3, 12, 12), 0, Lying(said)))


def test_edits_that_reach_out_of_their_rectangles_are_an_error() -> None:
    class Everywhere(Lying):
        def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
            return x + 1

    windows = Windows(around(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(200, 2))), usable=True)
    edits = Everywhere([(0, 0, 4, 4), (4, 4, 8, 8)])
    with torch.no_grad(), pytest.raises(PluginError, match="differs from the picture outside of its bounds"):
        list(windows.outputs(torch.zeros(1, 3, 12, 12), 0, edits))


class Strange(nn.Module):
    """Ways to write that are seldom seen."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.body, self.head = how, nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 3)
        self.register_buffer("scale", torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.how == "part of it in place":
            y[:, :4].clamp_(max=0.1)
        elif self.how == "chunks in place":
            y.chunk(2, 1)[1].mul_(2)
        elif self.how == "detached in place":
            y.detach().mul_(2)
        elif self.how == "out":
            torch.mul(y, 2, out=y)
        elif self.how == "a number":
            y = y * self.scale
        elif self.how == "mean of all":
            y = y - y.mean() * 0
        elif self.how == "weights made anew":
            weight = self.body.weight - self.body.weight.mean()
            y = y + F.conv2d(x, weight, None, 1, 1)
        return self.head(F.relu(y).mean((2, 3)))


@pytest.mark.parametrize(
    "how",
    [
        "part of it in place",
        "chunks in place",
        "detached in place",
        "out",
        "a number",
        "mean of all",
        "weights made anew",
    ],
)
def test_strange_ways_to_write(how: str) -> None:
    torch.manual_seed(0)
    model = Strange(how).double().eval()
    edits = Boxes(grid(20, 5, 5), torch.zeros(1, 3, 1, 1, dtype=torch.float64))
    for strength in (0.1, 30.0):  # what has no effect on the one picture has on the other
        x = strength * torch.randn(1, 3, 20, 20, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
        before = x.clone()
        assert_same(around(model), x, edits)
        assert torch.equal(x, before)


def test_what_is_remembered_does_not_grow_from_pass_to_pass() -> None:
    from xai_framework.fast import windows as module

    sizes: list[int] = []

    class Watched(Known):
        def forget(self) -> None:
            sizes.append(len(self.memo))
            super().forget()

    x = torch.randn(1, 3, 20, 20, dtype=torch.float64)
    for most in (4, 16):
        with pytest.MonkeyPatch.context() as patch, torch.no_grad():
            patch.setattr(module, "Known", Watched)
            windows = Windows(around(Strange("weights made anew").double().eval()), usable=True)
            list(windows.outputs(x, 0, Boxes(grid(20, 5, 5), x.new_zeros(1, 3, 1, 1)), most))
    assert sizes[0] == sizes[1] > 0


def test_the_way_that_is_gone_does_not_depend_on_the_first_picture() -> None:
    adapter = around(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 2)))
    x, edits = torch.full((1, 3, 12, 12), torch.nan), Boxes(grid(12, 4, 4), torch.zeros(1, 3, 1, 1))
    ways = Ways(adapter)
    probe = SharedProbe(adapter, Predicted(), ways=ways)
    probe.scores(x, torch.tensor([0]), Boxes((), torch.zeros(1, 3, 1, 1)))
    assert probe.scores(x, torch.tensor([0]), edits).isnan().all()
    with torch.no_grad():
        assert ways.windows(x) is not None


def test_memory_that_runs_out_is_no_reason_to_go_another_way() -> None:
    class Hungry(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if isinstance(x, Changed) and x.frame is not None:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
            return x

    windows = Windows(around(nn.Sequential(Hungry(), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(200, 2))), usable=True)
    with torch.no_grad(), pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        list(windows.outputs(torch.zeros(1, 3, 12, 12), 0, Boxes(((0, 0, 4, 4),), torch.zeros(1, 3, 1, 1))))
    assert windows.usable


def test_the_unedited_picture_is_computed_once() -> None:
    calls: list[int] = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return x * 2

    net = nn.Sequential(nn.Conv2d(3, 64, 3), Counting(), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 62 * 62, 2)).eval()
    x = torch.randn(1, 3, 64, 64)
    windows = Windows(around(net), usable=True)
    with torch.no_grad():
        sizes = [len(which) for which, _ in windows.outputs(x, 0, Boxes(grid(64, 8, 4), torch.zeros(1, 3, 1, 1)), 32)]
    assert calls == [1, *sizes]
    assert max(sizes) <= 32
    assert sum(sizes) == len(grid(64, 8, 4))


def test_nothing_is_left_of_an_activation_but_what_differs() -> None:
    x = torch.randn(1, 3, 64, 64)
    seen: list[tuple[int, ...]] = []

    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if isinstance(x, Changed) and x.frame is not None:
                seen.append(tuple(x.patch.shape))
            return x

    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Watching(), nn.Flatten(), nn.Linear(4 * 64 * 64, 2)).eval()
    both(around(net), x, Boxes(((30, 30, 34, 36),), torch.zeros(1, 3, 1, 1)))
    assert seen[-1] == (1, 4, 6, 8)  # one more on every side


@pytest.mark.parametrize("size", [9, 16])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (3, 2, 1, 1), (5, 3, 0, 1), (2, 2, 0, 3)]
)
def test_spans_are_exact(size: int, kernel: int, stride: int, padding: int, dilation: int) -> None:
    """Against trying it: a convolution with ones of a picture that is 1 within the window is not 0 where it reaches."""
    for low in range(size):
        for high in range(low + 1, size + 1):
            signal = torch.zeros(1, 1, size, size)
            signal[:, :, low:high, low:high] = 1
            ones = torch.ones(1, 1, kernel, kernel)
            found = F.conv2d(signal, ones, None, stride, padding, dilation)[0, 0]
            reached = found.nonzero()
            sliding = Sliding(*((v, v) for v in (kernel, stride, padding, dilation)))
            spans = Spans.of([(low, low, high, high)]).through(sliding, (found.shape[0], found.shape[1]))
            if len(reached):
                assert spans.low[0].tolist() <= reached.amin(0).tolist()
                assert spans.high[0].tolist() >= (reached.amax(0) + 1).tolist()
                if dilation == 1:  # else windows with gaps may reach over without touching
                    assert spans.low[0].tolist() == reached.amin(0).tolist()
                    assert spans.high[0].tolist() == (reached.amax(0) + 1).tolist()
            else:
                assert spans.extents[0].prod() <= max(1, (high - low) ** 2)
