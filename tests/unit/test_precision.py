"""bfloat16: a private copy of the network, float32 all around it, and the classes of the float32 network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from probing import around, inputs, probe
from torch import Tensor, nn
from xai_plugins.methods._rules import GUIDED

from xai_framework import gate
from xai_framework.api import ModuleAdapter
from xai_framework.attempt import Task
from xai_framework.core import Ask, ClassTarget, Dataset, Explainer, Item, Preprocess, Probe, Sampled, Shape
from xai_framework.core.probe import Call
from xai_framework.engine import Engine
from xai_framework.executors.runner import explained_and_chooser
from xai_framework.executors.trial import Compared
from xai_framework.space import Reduced, in_precision, in_space
from xai_framework.spec.job import Settings
from xai_framework.store import Block
from xai_framework.untrained import reinitialised


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
    return nn.Sequential(*layers)


class Close(nn.Module):
    """Class 1 leads class 0 by 0.001, which bfloat16 rounds away: it calls it a tie, and the first of the two wins."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([1.0, 1.001]))

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,2); what speaks for one class speaks against the other."""
        features = x.mean((1, 2, 3))[:, None] * 1e-6
        return torch.cat([features, -features], 1) + self.bias


def vector(x: Tensor) -> Tensor:
    return x.double().flatten() - x.double().mean()


def correlation(a: Tensor, b: Tensor) -> float:
    a, b = vector(a), vector(b)
    return float(a @ b / (a.norm() * b.norm()))


def test_the_users_model_is_not_touched_and_the_copy_is_bfloat16() -> None:
    model = network()
    before = {name: (id(p), p.clone()) for name, p in model.named_parameters()}
    reduced = in_precision(around(model), "bfloat16")
    reduced.forward(inputs())
    assert {p.dtype for p in reduced.model.parameters()} == {torch.bfloat16}
    assert {name: id(p) for name, p in model.named_parameters()} == {name: at for name, (at, _) in before.items()}
    assert all(p.dtype == torch.float32 and torch.equal(p, before[name][1]) for name, p in model.named_parameters())
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in reduced.model.parameters()}


def test_float32_is_the_very_adapter() -> None:
    adapter = around(network())
    assert in_precision(adapter, "float32") is adapter
    assert explained_and_chooser(adapter, Settings()) == (adapter, adapter)


def test_only_the_network_works_in_bfloat16() -> None:
    model = network()
    asked = probe(Reduced(around(model)))
    x, targets = inputs(), torch.tensor([0, 1, 2])
    outputs = asked.outputs(x)
    # by hand: the converted network, and nothing else converted
    twin = network().to(torch.bfloat16)
    leaf = x.clone().requires_grad_()
    hidden = twin[1](twin[0](leaf.bfloat16()))
    expected = twin[2:](hidden).float()
    gradient, inner = torch.autograd.grad(expected.gather(1, targets[:, None]).sum(), [leaf, hidden])
    assert outputs.dtype == torch.float32
    assert torch.equal(outputs, expected.detach())
    assert asked.score(x, targets).dtype == torch.float32
    found = asked.gradient(x, targets)
    assert found.dtype == torch.float32
    assert torch.equal(found, gradient)
    activation, slope = asked.layers(x, targets, ["1"])["1"]
    assert (activation.dtype, slope.dtype) == (torch.float32, torch.float32)
    assert torch.equal(activation, hidden.detach().float())
    assert torch.equal(slope, inner.float())


@dataclass
class Halved:
    """One edit of a layer: half its output, in the type that it is given."""

    at: str = "1"
    seen: list[torch.dtype] = field(default_factory=list)

    def __len__(self) -> int:
        return 1

    def make(self, x: Tensor, rows: Tensor, k: range) -> Tensor:
        self.seen.append(x.dtype)
        return x * torch.tensor(0.5)


def test_edits_and_calls_see_float32() -> None:
    asked, edits = probe(Reduced(around(network()))), Halved()
    x, targets = inputs(), torch.tensor([0, 1, 2])
    scores = asked.scores(x, targets, edits)
    assert set(edits.seen) == {torch.float32}
    twin = network().to(torch.bfloat16)
    expected = twin[2:](twin[:2](x.bfloat16()) * 0.5).float().gather(1, targets[:, None])
    assert torch.allclose(scores, expected.detach(), rtol=0, atol=1e-6)
    types: set[torch.dtype] = set()

    def reduce(given: Tensor, gradient: Tensor, calls: Sequence[Call]) -> Tensor:
        for call in calls:
            assert call.gradient is not None
            tensors = [call.output, call.gradient, *(a for a in call.args if isinstance(a, Tensor))]
            types.update(t.dtype for t in tensors)
        return gradient

    asked.calls(x, targets, [nn.functional.linear], reduce)
    assert types == {torch.float32}


def test_rules_do_not_judge_the_conversions() -> None:
    strict = replace(GUIDED, passes=GUIDED.passes - {Tensor.to, Tensor.float})
    x, targets = inputs(), torch.tensor([0, 1, 2])
    full = probe(around(network())).gradient(x, targets, strict)
    reduced = probe(Reduced(around(network()))).gradient(x, targets, strict)
    assert correlation(full, reduced) > 0.99


def test_pixel_space() -> None:
    how = Preprocess(crop=(16, 16), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    adapter = ModuleAdapter(network(), how)
    reduced, chooser = explained_and_chooser(adapter, Settings(precision="bfloat16", space="pixels"))
    pixels, targets = inputs().sigmoid(), torch.tensor([0, 1, 2])
    assert reduced.input_dtype == torch.float32
    assert torch.equal(chooser.forward(pixels), adapter.forward(adapter.normalise(pixels)))
    found = probe(reduced).gradient(pixels, targets)
    assert found.dtype == torch.float32
    assert correlation(found, probe(in_space(adapter, "pixels")).gradient(pixels, targets)) > 0.99
    assert torch.allclose(reduced.pixels(pixels), pixels, atol=1e-6)
    assert torch.allclose(reduced.mean_input(pixels)[0, :, 0, 0], torch.tensor([0.5, 0.4, 0.3]))


def test_untrained_weights_are_drawn_before_they_are_converted() -> None:
    model = network()
    reduced, chooser = explained_and_chooser(around(model), Settings(precision="bfloat16", untrained=True, seed=3))
    drawn = reinitialised(model, 3).state_dict()
    assert all(torch.equal(v, drawn[k].bfloat16()) for k, v in reduced.model.state_dict().items())
    assert chooser.model is model


@dataclass(frozen=True)
class Noise(Dataset):
    count: int = 4

    def __post_init__(self) -> None:
        pass

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Item:
        return Item(f"image {i}", np.random.default_rng(i).random((16, 16, 3), dtype=np.float32))


@dataclass(frozen=True)
class Top(ClassTarget):
    def choose(self, outputs: Tensor, about: Any, probe: Probe) -> Tensor:
        return outputs.argmax(1)


@dataclass(frozen=True)
class Slope(Explainer):
    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Any) -> Tensor:
        return probe.gradient(inputs, targets)


@dataclass(frozen=True)
class Meddling(Explainer):
    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Any) -> Tensor:
        next(probe.adapter.model.parameters()).data.mul_(2)  # type: ignore[attr-defined]
        return probe.gradient(inputs, targets)


@dataclass(frozen=True)
class Draws(Sampled):
    samples: int = 2
    seen: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        pass

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        return (Ask("gradient", of="wobble"),)

    def draw(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Any) -> Tensor:
        noisy = inputs + rng.normal(inputs.shape)
        self.seen.append(noisy)
        return probe.gradient(noisy, targets)


@dataclass
class Kept:
    blocks: list[Block] = field(default_factory=list)

    def write(self, block: Block, attributes: dict[str, str], volatile: dict[str, Any]) -> None:
        self.blocks.append(block)


def explained(model: nn.Module, precision: str, **methods: Explainer) -> dict[str, Block]:
    adapter, chooser = explained_and_chooser(around(model), Settings(precision=precision))
    target, dataset = Top(), Noise()
    kept = {label: Kept() for label in methods}
    tasks = [Task(label, method, target, kept[label]) for label, method in methods.items()]
    engine = Engine(adapter, dataset, list(dataset.rows()), tasks, chooser=chooser)
    engine.run(range(len(dataset)), tasks)
    return {label: k.blocks[0] for label, k in kept.items()}


def test_the_float32_network_chooses_the_class() -> None:
    full, reduced = (explained(Close(), p, slope=Slope())["slope"] for p in ("float32", "bfloat16"))
    assert reduced.prediction.tolist() == [0, 0, 0, 0], "bfloat16 itself sees a tie, or there is nothing to test"
    assert full.prediction.tolist() == full.target.tolist() == reduced.target.tolist() == [1, 1, 1, 1]
    # the gradient of class 1 is that of class 0 with the other sign
    assert (full.attribution < 0).all()
    assert (reduced.attribution < 0).all()
    # the facts are those of the explained network: its score is 1, where float32 has 1.001
    assert reduced.score.tolist() == [1.0] * 4
    assert full.score == pytest.approx([1.001] * 4, abs=1e-5)
    assert reduced.probability.tolist() == [0.5] * 4


def test_methods_see_equal_noise_and_float32() -> None:
    seen: list[list[Tensor]] = [[], []]
    for precision, tensors in zip(("float32", "bfloat16"), seen, strict=True):
        explained(network(), precision, draws=Draws(seen=tensors))
    assert len(seen[0]) == len(seen[1]) > 0
    assert all(b.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(*seen, strict=True))


def test_the_guard_watches_the_copy() -> None:
    found = explained(network(), "bfloat16", meddling=Meddling(), slope=Slope())
    assert set(found["meddling"].status.tolist()) == {3}
    assert "changed the model" in found["meddling"].reason[0]
    alone = explained(network(), "bfloat16", slope=Slope())["slope"]
    assert np.array_equal(found["slope"].attribution, alone.attribution)


# the rule


@dataclass(frozen=True)
class _Cell:
    label: str = "gradcam"
    backbone: str = "net"
    target: str = "predicted"


def judged(images: Sequence[Compared], broken: str = "") -> gate.Decision:
    question = gate._Question(None, _Cell(), (0, 1), "0" * 64)  # type: ignore[arg-type]
    return gate._judged(question, images, broken)


def seen(image: str, spearman: float | None, **facts: Any) -> Compared:
    return Compared(image, f"content of {image}", spearman, **({"same_prediction": True} | facts))


@pytest.mark.parametrize(
    ("images", "precision", "reason"),
    [
        ([seen("a", 0.999), seen("b", 0.99)], "bfloat16", "Spearman 0.990 on b"),
        # rounded down: 0.990 would look like enough
        ([seen("a", 0.999), seen("b", 0.98999)], "float32", "Spearman 0.989 on b"),
        ([seen("a", -1.0), seen("b", 1.0)], "float32", "Spearman -1.000 on a"),
        ([seen("a", 1.0), seen("b", 1.0, same_prediction=False)], "float32", "another prediction on b"),
        ([seen("a", 1.0), seen("b", None, note="failed: no kernel")], "float32", "failed: no kernel on b"),
        # what float32 cannot explain either says nothing
        ([seen("a", 1.0), seen("b", None, comparable=False, note="torn")], "bfloat16", "Spearman 1.000 on a"),
        ([seen("a", None, comparable=False, note="no attention")], "float32", "nothing to compare: no attention"),
        ([], "float32", "nothing to compare: no image can be read"),
    ],
)  # fmt: skip
def test_every_image_must_keep_its_map_and_its_prediction(
    images: Sequence[Compared], precision: str, reason: str
) -> None:
    decision = judged(images)
    assert (decision.precision, decision.reason) == (precision, reason)


def test_a_network_that_does_not_run_is_float32() -> None:
    decision = judged([], broken="fails in bfloat16 (not implemented)")
    assert (decision.precision, decision.reason) == ("float32", "fails in bfloat16 (not implemented)")


def test_words() -> None:
    made = [
        gate.Decision("gradcam", "net", "predicted", "bfloat16", "Spearman 0.999 on a"),
        gate.Decision("occlusion", "net", "predicted", "float32", "Spearman 0.970 on dog_cat"),
        gate.Decision("smoothgrad", "net", "predicted", "bfloat16", "Spearman 0.995 on a"),
    ]
    line = "bfloat16 for gradcam, smoothgrad; float32 for occlusion (Spearman 0.970 on dog_cat)"
    assert gate.words(made) == [f"precision: {line}"]
    other = replace(made[0], target="rank1", precision="float32", reason="another prediction on a")
    assert gate.words([*made, other]) == [
        f"precision on net, predicted: {line}",
        "precision on net, rank1: float32 for gradcam (another prediction on a)",
    ]
