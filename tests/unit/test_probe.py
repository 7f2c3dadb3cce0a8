"""The probe: right answers, shared passes, no trace, whatever the model does in place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from probing import around, counted, inputs, probe
from torch import Tensor, nn
from xai_plugins.methods.gradcam import GradCam

from xai_framework.core import Ask, Boxes, Channels, LayerError, Masks, ModelError, NotApplicable, Rule, TargetError
from xai_framework.core.probe import Call
from xai_framework.rng import NamedRng
from xai_framework.space import PixelSpace
from xai_framework.testing import TinyAdapter, tiny_models
from xai_framework.testing.models import VggLike

# right answers


@pytest.mark.parametrize("adapter", tiny_models(), ids=lambda a: a.network)
@pytest.mark.parametrize("chunk", [1, 2, 32])
def test_answers_are_those_of_plain_autograd_on_the_network_without_operations_in_place(
    adapter: TinyAdapter, chunk: int
) -> None:
    x, twin = inputs().double(), adapter.twin()
    adapter, model = adapter.with_model(adapter.model.double()), twin.model.double()
    seen = []
    model.get_submodule(twin.last_layer()).register_forward_hook(lambda _m, _a, out: seen.append(out))
    leaf = x.clone().requires_grad_()
    out = model(leaf)
    out = out[0] if isinstance(out, tuple) else out
    classes = out.argmax(1)
    score = out.gather(1, classes[:, None]).sum()
    expected = torch.autograd.grad(score, [leaf, seen[0]])

    asked = probe(adapter, chunk=chunk)
    torch.testing.assert_close(asked.outputs(x), out.detach())
    torch.testing.assert_close(asked.score(x, classes), out.amax(1).detach())
    torch.testing.assert_close(asked.gradient(x, classes), expected[0])
    activation, gradient = asked.layers(x, classes)["last"]
    to_grid = adapter.layer("last").to_grid
    torch.testing.assert_close(activation, to_grid(seen[0].detach()))
    torch.testing.assert_close(gradient, to_grid(expected[1]))


def safe_and_unsafe() -> list[Any]:
    return [
        pytest.param("vgg11", "features.18", id="vgg11, convolution before an in-place ReLU"),
        pytest.param("vgg11", "features.19", id="vgg11, the in-place ReLU itself"),
        pytest.param("resnet18", "layer4", id="resnet18, a block"),
        pytest.param("resnet18", "layer4.1.bn2", id="resnet18, batch norm before an in-place sum and ReLU"),
        pytest.param("resnet18", "layer4.1.relu", id="resnet18, a ReLU that runs twice"),
    ]


@pytest.mark.parametrize(("name", "layer"), safe_and_unsafe())
def test_grad_cam_at_layers_that_are_overwritten_in_place(
    name: str, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=10).eval()
    if name == "vgg11":
        model.classifier = nn.Sequential(nn.Flatten(), nn.Linear(512 * 49, 10))
    x = inputs(2, 64)
    asked, method = probe(around(model)), GradCam(layer=layer)
    targets = torch.tensor([3, 3])
    if layer.endswith("relu"):
        with pytest.raises(LayerError, match="more than once"):
            method.explain(asked, x, targets, NamedRng.of(0, "ab"))
        return
    found = method.explain(asked, x, targets, NamedRng.of(0, "ab"))
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    monkeypatch.setattr(torchvision.models.resnet.BasicBlock, "forward", out_of_place)
    seen = []
    model.get_submodule(layer).register_forward_hook(lambda _m, _a, out: seen.append(out))
    score = model(x)[:, 3].sum()
    gradient = torch.autograd.grad(score, seen[0])[0]
    expected = (gradient.mean((2, 3), keepdim=True) * seen[0]).sum(1, keepdim=True).clamp(min=0).detach()
    assert expected.any()
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


def out_of_place(self: Any, x: Tensor) -> Tensor:
    out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
    shortcut = x if self.downsample is None else self.downsample(x)
    return self.relu(out + shortcut)  # type: ignore[no-any-return]


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_modes_of_caller_and_model_do_not_matter(
    mode: type[AbstractContextManager[None]], training: bool, frozen: bool
) -> None:
    adapter = TinyAdapter()
    x, classes = inputs(), torch.tensor([0, 1, 2])
    asked = probe(adapter)
    expected = asked.gradient(x, classes), *asked.layers(x, classes)["last"], asked.outputs(x)
    adapter.model.train(training).requires_grad_(not frozen)
    statistics = adapter.model.features[1].running_mean.clone()  # type: ignore[index, union-attr]
    with mode():
        x, classes = inputs(), torch.tensor([0, 1, 2])
        asked = probe(adapter, keep=x)
        found = asked.gradient(x, classes), *asked.layers(x, classes)["last"], asked.outputs(x)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert all(m.training == training for m in adapter.model.modules())
    assert torch.equal(adapter.model.features[1].running_mean, statistics)  # type: ignore[index, union-attr]
    assert all(p.grad is None for p in adapter.model.parameters())


def test_a_model_made_in_inference_mode_can_be_explained() -> None:
    with torch.inference_mode():
        adapter = TinyAdapter()
        asked = probe(adapter)
        found = asked.gradient(inputs(), torch.tensor([0, 1, 2]))
    assert torch.equal(found, probe(TinyAdapter()).gradient(inputs(), torch.tensor([0, 1, 2])))


# rules


def relu_twice(x: Tensor, inplace: bool = False) -> Tensor:
    return x.clamp(min=0) * 2


DOUBLED = Rule(
    "doubled",
    make=lambda: {F.relu: relu_twice},
    passes=frozenset({torch.conv2d, F.batch_norm, F.linear, Tensor.mean, F.max_pool2d, F.dropout, Tensor.add_}),
)


def test_a_rule_applies_to_gradients_and_layers_and_is_never_mixed_with_plain_passes() -> None:
    adapter = TinyAdapter("residual")
    x, classes = inputs(), torch.tensor([0, 1, 2])
    asked = probe(adapter, Ask("gradient"), Ask("gradient", rule=DOUBLED), Ask("layers", ("last",)), keep=x)
    plain, ruled = asked.gradient(x, classes), asked.gradient(x, classes, DOUBLED)
    assert counted(asked) == (6, 6)
    assert not torch.allclose(plain, ruled)
    assert torch.equal(plain, probe(adapter).gradient(x, classes))
    assert torch.equal(ruled, probe(adapter).gradient(x, classes, DOUBLED))
    # layers under a rule are judged as a gradient is, down to the input
    strict = Rule("strict", make=DOUBLED.make, passes=DOUBLED.passes - {torch.conv2d})
    for verb in (asked.gradient, lambda x, t, rule: asked.layers(x, t, rule=rule)):
        with pytest.raises(NotApplicable, match="conv2d"):
            verb(x, classes, rule=strict)


def test_rows_of_a_rule_are_never_split() -> None:
    sizes = []

    class Sizes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return F.relu(x).mean((2, 3))

    paired = Rule("paired", make=lambda: {F.relu: relu_twice}, passes=frozenset({Tensor.mean}), rows=2)
    probe(around(Sizes()), chunk=5).gradient(inputs(6), torch.zeros(6, dtype=torch.int64), paired)
    assert sizes == [4, 2]


# edited copies


def slow_scores(model: nn.Module, copies: list[Tensor], classes: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack([model(c).gather(1, classes[:, None])[:, 0] for c in copies], 1)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 32])
def test_edited_inputs_are_scored_like_copies_made_by_hand(chunk: int) -> None:
    adapter, x, classes = TinyAdapter(), inputs(), torch.tensor([0, 1, 2])
    fill = x.flip(0) * 0.1
    boxes = tuple((i, i, i + 5, i + 4) for i in range(5))
    copies = []
    for top, left, bottom, right in boxes:
        copy = x.clone()
        copy[:, :, top:bottom, left:right] = fill[:, :, top:bottom, left:right]
        copies.append(copy)
    asked, model = probe(adapter, chunk=chunk), adapter.model
    torch.testing.assert_close(asked.scores(x, classes, Boxes(boxes, fill)), slow_scores(model, copies, classes))
    masks = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    copies = [x * m + fill * (1 - m) for m in masks]
    torch.testing.assert_close(asked.scores(x, classes, Masks(masks, fill)), slow_scores(model, copies, classes))
    own = torch.rand(3, 4, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    copies = [x * own[:, k] + fill * (1 - own[:, k]) for k in range(4)]
    torch.testing.assert_close(asked.scores(x, classes, Masks(own, fill)), slow_scores(model, copies, classes))


@pytest.mark.parametrize("chunk", [3, 32])
@pytest.mark.parametrize("space", ["model", "pixels"])
def test_edited_layers_run_the_part_below_once(chunk: int, space: str) -> None:
    below, tiny = [], TinyAdapter()
    adapter = PixelSpace(tiny) if space == "pixels" else tiny
    x = adapter.pixels(inputs()) if space == "pixels" else inputs()
    classes = torch.tensor([0, 1, 2])
    model = tiny.twin().model
    rows = tiny.normalise(x) if space == "pixels" else x
    with torch.no_grad():
        activation = model.features[:5](rows)  # type: ignore[index]
        expected = []
        for k in range(8):
            edited = activation.clone()
            edited[:, k] = 0
            out = model.classifier(model.features[5:](edited).mean((2, 3)))  # type: ignore[operator, index]
            expected.append(out.gather(1, classes[:, None])[:, 0])
    handle = tiny.model.features[0].register_forward_hook(lambda _m, a, _o: below.append(len(a[0])))  # type: ignore[index, union-attr]
    found = probe(adapter, chunk=chunk).scores(x, classes, Channels(8, at="features.4"))
    handle.remove()
    torch.testing.assert_close(found, torch.stack(expected, 1))
    assert below == [1] * 3 * -(-8 // chunk)
    assert sum(len(m._forward_hooks) for m in tiny.model.modules()) == 0


def test_edits_of_a_layer_that_does_not_run_once_are_refused() -> None:
    adapter = TinyAdapter("reused")
    for at, said in (("act", "more than once"), ("nowhere", "no layer 'nowhere'")):
        with pytest.raises(LayerError, match=said):
            probe(adapter).scores(inputs(), torch.tensor([0, 1, 2]), Channels(2, at=at))


# calls, baselines, other weights


def test_calls_are_reduced_chunk_by_chunk() -> None:
    adapter, x, classes = TinyAdapter("residual"), inputs(), torch.tensor([0, 1, 2])

    def reduce(inputs: Tensor, gradient: Tensor, calls: Sequence[Call]) -> Tensor:
        assert not torch.is_grad_enabled()
        return gradient + sum(c.output.mean() for c in calls if len(inputs) < 0)

    for chunk in (1, 2, 32):
        asked = probe(adapter, chunk=chunk)
        found = asked.calls(x, classes, [F.relu], reduce)
        torch.testing.assert_close(found, probe(adapter).gradient(x, classes))
        assert counted(asked) == (3, 3)


def test_baselines() -> None:
    tiny = TinyAdapter()  # mean 0.5, std 0.25: black is -2, white 2
    x, rng = inputs(), NamedRng.of(0, "abc")
    asked = probe(tiny, references={"image": torch.full((1, 3, 16, 16), 0.7)})
    assert asked.baseline("mean", x).eq(0).all()
    assert asked.baseline("black", x).eq(-2).all()
    assert asked.baseline("white", x).eq(2).all()
    assert asked.baseline("image", x).eq(0.7).all()
    noise = asked.baseline("noise", x, rng)
    assert -2 <= noise.min() < -1.9 < 1.9 < noise.max() <= 2
    assert torch.equal(noise[1:2], asked.baseline("noise", x[1:2], NamedRng.of(0, "b")))
    with pytest.raises(ValueError, match="needs an rng"):
        asked.baseline("noise", x)
    with pytest.raises(ModelError, match="no reference image 'other'"):
        asked.reference("other")
    pixels = probe(PixelSpace(tiny))
    assert pixels.baseline("mean", x).eq(0.5).all()
    assert pixels.baseline("white", x).eq(1).all()


def test_blur_is_a_gaussian_with_reflected_edges() -> None:
    asked = probe(TinyAdapter())
    x = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    x[0, 1, 16, 16] = 1
    kernel = torch.exp(-0.5 * (torch.arange(-6, 7, dtype=torch.float64) / 2) ** 2)  # sigma 32 / 16, cut at 3 sigma
    kernel /= kernel.sum()
    expected = torch.zeros_like(x)
    expected[0, 1, 10:23, 10:23] = kernel[:, None] * kernel[None]
    torch.testing.assert_close(asked.baseline("blur", x), expected)
    flat = torch.full((1, 3, 20, 9), 0.3, dtype=torch.float64)
    torch.testing.assert_close(asked.baseline("blur", flat), flat)


def test_other_weights_have_answers_of_their_own() -> None:
    adapter, x, classes = TinyAdapter(), inputs(), torch.tensor([0, 1, 2])
    other = adapter.with_model(VggLike().eval())
    asked = probe(adapter, Ask("gradient"), keep=x)
    own, others = asked.gradient(x, classes), asked.on(other).gradient(x, classes)
    assert torch.equal(others, probe(other).gradient(x, classes))
    assert torch.equal(asked.gradient(x, classes), own)
    assert counted(asked) == (6, 6)


# mistakes


def test_targets_must_fit() -> None:
    x, asked = inputs(), probe(TinyAdapter())
    for rows in (torch.tensor([0, 1]), torch.tensor([0, 1, 2, 3])):
        for verb in (asked.gradient, asked.score, asked.layers):
            with pytest.raises(TargetError, match=f"{len(rows)} targets for 3 images"):
                verb(x, rows)
    for wrong in (-1, 5):
        with pytest.raises(TargetError, match=rf"{wrong} is not a class; use 0\.\.4"):
            asked.gradient(x, torch.tensor([0, wrong, 1]))


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach().mean((2, 3))


def test_a_model_without_gradients_says_so_and_can_still_be_perturbed() -> None:
    x, classes = inputs(), torch.tensor([0, 1, 2])
    asked = probe(around(Detached()), Ask("gradient"), keep=x)
    with pytest.raises(ModelError, match="no differentiable path leads from the score to the input"):
        asked.gradient(x, classes)
    drops = asked.scores(x, classes, Boxes(((0, 0, 16, 16),), torch.zeros(1, 3, 1, 1)))
    assert drops.eq(0).all()


def test_wrong_outputs_are_named() -> None:
    class Wrong(nn.Module):
        def __init__(self, give: Any) -> None:
            super().__init__()
            self.give = give

        def forward(self, x: Tensor) -> Any:
            return self.give(x)

    for give in (lambda x: x, lambda x: x.mean((2, 3))[:2], lambda x: "logits", lambda x: x.mean((2, 3)).repeat(2, 1)):
        with pytest.raises(ModelError, match="the model gives"):
            probe(around(Wrong(give))).outputs(inputs())
    for give in (lambda x: {"aux": x, "logits": x.mean((2, 3))}, lambda x: [x.mean((2, 3)), x]):
        assert probe(around(Wrong(give))).outputs(inputs()).shape == (3, 3)
