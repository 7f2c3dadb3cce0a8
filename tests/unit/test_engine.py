"""The engine: what becomes of pictures and methods that misbehave, and what their neighbours see of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_framework.attempt import Task
from xai_framework.core import (
    About,
    Ask,
    ClassTarget,
    Dataset,
    Explainer,
    ImageError,
    Item,
    LayerError,
    ModelAdapter,
    ModelError,
    NotApplicable,
    Preprocess,
    Probe,
    Row,
    Sampled,
    Shape,
    Status,
    TargetError,
)
from xai_framework.engine import Engine
from xai_framework.fast.batch import rows_per_pass
from xai_framework.stop import Stop
from xai_framework.store import Block


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


@dataclass(frozen=True)
class Small(ModelAdapter):
    make: Callable[[], nn.Module] = network
    labels: tuple[str, ...] = ("a", "b", "c")  # type: ignore[assignment]
    preprocess = Preprocess(crop=(8, 8))

    def __post_init__(self) -> None:
        pass

    def load(self) -> nn.Module:
        return self.make()

    def last_layer(self) -> str:
        return "1"


@dataclass(frozen=True)
class Noise(Dataset):
    count: int = 5
    broken: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        pass

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Item:
        if i in self.broken:
            raise ImageError("is torn", where=f"image {i}")
        return Item(f"image {i}", np.random.default_rng(i).random((8, 8, 3), dtype=np.float32), "a" if i != 2 else None)

    def rows(self) -> Any:
        return (Row(f"image {i}", f"{i}", "a" if i != 2 else None) for i in range(self.count))


@dataclass(frozen=True)
class Top(ClassTarget):
    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        return outputs.argmax(1)


@dataclass(frozen=True)
class Labelled(ClassTarget):
    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        if any(a.label is None for a in about):
            raise TargetError("has no label")
        return torch.tensor([a.classes.index(str(a.label)) for a in about])


@dataclass(frozen=True)
class Does(Explainer):
    what: Callable[..., Any] = lambda probe, inputs, targets: probe.gradient(inputs, targets)
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pass

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        return (Ask("layers", layers=self.layers),) if self.layers else (Ask("gradient"),)

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Any) -> Tensor:
        return self.what(probe, inputs, targets)


@dataclass(frozen=True)
class Draws(Sampled):
    samples: int = 4

    def __post_init__(self) -> None:
        pass

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        return (Ask("gradient", of="wobble"),)

    def draw(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Any) -> Tensor:
        noisy = rng.shared("wobble").once("wobble", inputs, lambda x: x + 0.1 * rng.shared("wobble").normal(x.shape))
        return probe.gradient(noisy, targets)


@dataclass
class Kept:
    blocks: list[Block] = field(default_factory=list)

    def write(self, block: Block, attributes: dict[str, str], volatile: dict[str, Any]) -> None:
        self.blocks.append(block)


def run(methods: dict[str, Explainer], dataset: Noise | None = None, **options: Any) -> tuple[dict[str, Block], Engine]:
    dataset = dataset or Noise()
    adapter = options.pop("adapter", None) or Small()
    target = options.pop("target", None) or Top()
    tasks = [Task(label, m, target, Kept()) for label, m in methods.items()]
    engine = Engine(adapter, dataset, list(dataset.rows()), tasks, **options)
    engine.counts.forward = engine.counts.backward = 0
    engine.run(range(len(dataset)), tasks)
    return {t.label: t.store.blocks[0] for t in tasks}, engine  # type: ignore[attr-defined]


def raising(error: Exception) -> Callable[..., Any]:
    def what(probe: Probe, inputs: Tensor, targets: Tensor) -> Tensor:
        raise error

    return what


def test_methods_of_a_batch_share_one_forward_and_one_backward() -> None:
    cam = Does(lambda p, x, t: p.layers(x, t, ("last",))["last"][1], layers=("last",))
    _, engine = run({"gradient": Does(), "cam": cam})
    assert (engine.counts.forward, engine.counts.backward) == (5, 5)


def test_the_backbone_that_chooses_is_asked_once_for_all_targets() -> None:
    dataset, kept, other = Noise(), [Kept(), Kept()], Small()
    tasks = [
        Task(f"gradient {i}", Does(), target, keep)
        for i, (target, keep) in enumerate(zip((Top(), Top(of="probability")), kept, strict=True))
    ]
    engine = Engine(Small(), dataset, list(dataset.rows()), tasks, chooser=other)
    engine.run(range(len(dataset)), tasks)
    assert (engine.counts.forward, engine.counts.backward) == (5 + 5, 2 * 5)  # one of each backbone
    chosen = other.model(torch.stack([other.prepare(dataset[i].image).inputs for i in range(5)])).argmax(1)
    assert kept[0].blocks[0].target.tolist() == kept[1].blocks[0].target.tolist() == chosen.tolist()


def test_sampled_methods_share_their_noisy_passes_with_each_other() -> None:
    blocks, engine = run({"one": Draws(), "two": Draws()})
    assert (engine.counts.forward, engine.counts.backward) == (5 + 4 * 5, 4 * 5)  # the clean forward chooses targets
    assert np.array_equal(blocks["one"].attribution, blocks["two"].attribution)


def test_together_equals_alone_bit_for_bit() -> None:
    cam = Does(lambda p, x, t: p.layers(x, t, ("last",))["last"][1], layers=("last",))
    together, _ = run({"gradient": Does(), "cam": cam, "draws": Draws()})
    for label, method in {"gradient": Does(), "cam": cam, "draws": Draws()}.items():
        alone, _ = run({label: method})
        assert np.array_equal(alone[label].attribution, together[label].attribution)


def test_an_unreadable_picture_keeps_its_slot_and_leaves_its_neighbours_alone() -> None:
    whole, _ = run({"gradient": Does()})
    torn, _ = run({"gradient": Does()}, Noise(broken=(1,)))
    block = torn["gradient"]
    assert block.status.tolist() == [0, Status.failed, 0, 0, 0]
    assert block.reason[1] == "image 1: is torn"
    assert np.isnan(block.attribution[1]).all()
    others = [0, 2, 3, 4]
    assert np.array_equal(block.attribution[others], whole["gradient"].attribution[others])


def test_all_pictures_unreadable() -> None:
    blocks, _ = run({"gradient": Does()}, Noise(count=3, broken=(0, 1, 2)))
    assert blocks["gradient"].status.tolist() == [Status.failed] * 3


def test_a_method_that_raises_fails_alone() -> None:
    blocks, _ = run({"bad": Does(raising(RuntimeError("boom"))), "gradient": Does()})
    assert set(blocks["bad"].status.tolist()) == {Status.failed}
    assert blocks["bad"].reason[0] == "RuntimeError: boom"
    assert set(blocks["gradient"].status.tolist()) == {Status.ok}


def test_a_method_that_fails_on_one_picture_keeps_the_others() -> None:
    marked = np.random.default_rng(3).random((8, 8, 3), dtype=np.float32)[0, 0, 0]

    def picky(probe: Probe, inputs: Tensor, targets: Tensor) -> Tensor:
        if (inputs[:, 0, 0, 0] == float(marked)).any():
            raise ValueError("not this one")
        return probe.gradient(inputs, targets)

    blocks, _ = run({"picky": Does(picky)})
    assert blocks["picky"].status.tolist() == [0, 0, 0, Status.failed, 0]


def test_not_applicable_is_an_answer() -> None:
    blocks, _ = run({"attention": Does(raising(NotApplicable("no attention here")))})
    assert set(blocks["attention"].status.tolist()) == {Status.not_applicable}
    assert blocks["attention"].reason[0] == "no attention here"


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (lambda p, x, t: None, "NoneType"),
        (lambda p, x, t: x[:, 0], "expected (batch, channels, h, w)"),
        (lambda p, x, t: x[:1], "returned shape"),
        (lambda p, x, t: x.long(), "expected floating point"),
        (lambda p, x, t: [1], "returned list"),
    ],
)
def test_wrong_results_are_named(result: Callable[..., Any], said: str) -> None:
    blocks, _ = run({"odd": Does(result)})
    assert set(blocks["odd"].status.tolist()) == {Status.failed}
    assert said in blocks["odd"].reason[0]


def test_a_map_with_nan_and_a_map_of_zeros() -> None:
    blocks, _ = run({"nan": Does(lambda p, x, t: x * float("nan")), "zero": Does(lambda p, x, t: torch.zeros_like(x))})
    assert set(blocks["nan"].status.tolist()) == {Status.nonfinite}
    assert set(blocks["zero"].status.tolist()) == {Status.zero}


def test_nan_weights_give_no_plausible_map() -> None:
    def broken() -> nn.Module:
        model = network()
        with torch.no_grad():
            model[4].bias[0] = float("nan")  # type: ignore[index]
        return model

    blocks, _ = run({"gradient": Does()}, adapter=Small(make=broken))
    assert set(blocks["gradient"].status.tolist()) == {Status.nonfinite}
    assert np.isnan(blocks["gradient"].attribution).all()


def test_a_plugin_that_changes_the_model_is_named_and_undone() -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}

    def vandal(probe: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            model[0].weight.add_(1)  # type: ignore[index]
        model[1].register_forward_hook(lambda *a: None)
        model[3].train()
        model[4].weight.requires_grad_(False)
        model[4].bias.grad = torch.ones(3)
        return probe.gradient(inputs, targets)

    blocks, _ = run({"vandal": Does(vandal), "gradient": Does()}, adapter=Small(make=lambda: model))
    clean, _ = run({"gradient": Does()})
    assert set(blocks["vandal"].status.tolist()) == {Status.failed}
    assert "changed the model" in blocks["vandal"].reason[0]
    assert np.array_equal(blocks["gradient"].attribution, clean["gradient"].attribution)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not model[1]._forward_hooks
    assert not any(m.training for m in model.modules())
    assert model[4].weight.requires_grad
    assert model[4].bias.grad is None


def test_an_image_without_the_target_fails_alone() -> None:
    blocks, _ = run({"gradient": Does()}, target=Labelled())
    assert blocks["gradient"].status.tolist() == [0, 0, Status.failed, 0, 0]
    assert "has no label" in blocks["gradient"].reason[2]
    assert blocks["gradient"].target.tolist() == [0, 0, -1, 0, 0]


def test_facts_of_each_row() -> None:
    blocks, engine = run({"gradient": Does()})
    block = blocks["gradient"]
    inputs = torch.stack([engine.adapter.prepare(engine.dataset[i].image).inputs for i in range(5)])
    outputs = engine.adapter.model(inputs).detach()
    assert block.prediction.tolist() == outputs.argmax(1).tolist()
    np.testing.assert_allclose(block.score, outputs.max(1).values.numpy(), rtol=1e-6)
    np.testing.assert_allclose(block.probability, outputs.softmax(1).max(1).values.numpy(), rtol=1e-6)
    assert block.prediction_name[0] == ("a", "b", "c")[block.prediction[0]]
    assert block.view[0].tolist() == [0, 0, 8, 8]


def test_mistakes_that_concern_every_image_are_raised_before_any_is_read() -> None:
    with pytest.raises(LayerError, match="no layer '9'"):
        run({"cam": Does(layers=("9",))})
    with pytest.raises(ModelError, match="names 2 classes, but gives 3"):
        run({"gradient": Does()}, adapter=Small(labels=("a", "b")))


def test_batches_are_cut_the_same_way_whatever_the_unit() -> None:
    assert rows_per_pass(4 * 64 * 224 * 224) == 2  # VGG16's first layer: 33.6 million bytes, 12.8 a row
    assert rows_per_pass(4 * 256 * 56 * 56) == 8
    assert rows_per_pass(2 * 256 * 56 * 56) == 16
    assert rows_per_pass(1000) == 32
    assert rows_per_pass(3 * 5000 * 5000) == 1


# memory that runs out


class Limited(Small):
    """Passes of more rows than ``most`` run out of memory; ``wide`` counts them."""

    most: ClassVar[int] = 100
    wide: ClassVar[int] = 0

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > Limited.most:
            Limited.wide += 1
            raise torch.OutOfMemoryError("pretended")
        return super().forward(inputs)


class Greedy(Does):
    """Runs out of memory in every pass of more than two rows."""

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Any) -> Tensor:
        if probe.chunk > 2:  # type: ignore[attr-defined]
            raise MemoryError
        return super().explain(probe, inputs, targets, rng)


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_passes_are_halved_until_memory_suffices(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    expected, _ = run({"gradient": Does(), "draws": Draws()})
    events: list[dict[str, Any]] = []
    adapter = Limited()
    monkeypatch.setattr(Limited, "wide", 0)
    dataset = Noise()
    tasks = [Task(k, m, Top(), Kept()) for k, m in {"gradient": Does(), "draws": Draws()}.items()]
    engine = Engine(adapter, dataset, list(dataset.rows()), tasks, tell=events.append)
    monkeypatch.setattr(Limited, "most", most)
    engine.run(range(len(dataset)), tasks)
    for task in tasks:
        (block,) = task.store.blocks  # type: ignore[attr-defined]
        assert (block.status == 0).all() or (block.status == expected[task.label].status).all()
        np.testing.assert_allclose(block.attribution, expected[task.label].attribution, rtol=1e-5, atol=1e-6)
    told = [e for e in events if e["event"] == "out_of_memory"]
    assert told
    assert len({(e.get("method"), e["rows_in_a_pass"]) for e in told}) == len(told)  # each size once
    wide = Limited.wide
    engine.run(range(len(dataset)), tasks)
    assert Limited.wide <= wide + 1  # remembered


ONEDNN = "could not create a primitive descriptor for a matmul primitive"
ALLOCATOR = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"


@pytest.mark.parametrize("said", [ONEDNN, ALLOCATOR])
def test_what_libraries_say_without_memory_halves_the_passes(said: str) -> None:
    """oneDNN, which has no working memory for its convolution, and PyTorch's own allocator say it by a RuntimeError."""

    class Says(Does):
        def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Any) -> Tensor:
            if probe.chunk > 2:  # type: ignore[attr-defined]
                raise RuntimeError(said)
            return super().explain(probe, inputs, targets, rng)

    blocks, engine = run({"says": Says(), "gradient": Does()})
    assert engine.attempts.limits == {"says": 2}
    np.testing.assert_allclose(blocks["says"].attribution, blocks["gradient"].attribution, atol=1e-6)
    other, engine = run({"other": Does(raising(RuntimeError("shapes do not match")))})
    assert engine.attempts.limits == {}
    assert "shapes do not match" in other["other"].reason[0]


def test_one_greedy_method_shrinks_its_own_passes_only() -> None:
    events: list[dict[str, Any]] = []
    kept = {"greedy": Kept(), "gradient": Kept()}
    target = Top()
    tasks = [Task("greedy", Greedy(), target, kept["greedy"]), Task("gradient", Does(), target, kept["gradient"])]
    dataset = Noise()
    engine = Engine(Small(), dataset, list(dataset.rows()), tasks, tell=events.append)
    engine.run(range(len(dataset)), tasks)
    assert engine.attempts.limits == {"greedy": 2}
    np.testing.assert_allclose(kept["greedy"].blocks[0].attribution, kept["gradient"].blocks[0].attribution, atol=1e-6)


def test_a_method_that_never_has_enough_is_failed_alone() -> None:
    blocks, _ = run({"never": Does(raising(torch.OutOfMemoryError("pretended"))), "gradient": Does()})
    assert set(blocks["never"].status.tolist()) == {int(Status.failed)}
    assert all("pretended" in reason for reason in blocks["never"].reason)
    assert set(blocks["gradient"].status.tolist()) == {int(Status.ok)}


# being asked to stop


def test_a_stopped_unit_stores_its_finished_batches() -> None:
    stop = Stop()
    dataset = Noise()

    def ask(probe: Probe, inputs: Tensor, targets: Tensor) -> Tensor:
        stop.ask("now")
        return probe.gradient(inputs, targets)

    kept = Kept()
    tasks = [Task("asks", Does(ask), Top(), kept)]
    engine = Engine(Small(), dataset, list(dataset.rows()), tasks, stop=stop, batch=2)
    ran = engine.run(range(len(dataset)), tasks)
    assert (ran.rows, ran.maps, ran.complete) == (2, 2, False)
    assert len(kept.blocks[0].ids) == 2


def test_a_batch_that_takes_too_long_to_stop_is_given_up() -> None:
    stop = Stop(grace=0.0)
    dataset = Noise()

    def ask(probe: Probe, inputs: Tensor, targets: Tensor) -> Tensor:
        stop.ask("now")
        time.sleep(0.01)
        return probe.gradient(inputs.clone(), targets)

    kept = Kept()
    adapter = Small()
    tasks = [Task("asks", Does(ask), Top(), kept)]
    engine = Engine(adapter, dataset, list(dataset.rows()), tasks, stop=stop)
    ran = engine.run(range(len(dataset)), tasks)
    assert (ran.rows, ran.complete, kept.blocks) == (0, False, [])
    assert not any(m._forward_hooks for m in adapter.model.modules())


def test_exits_and_forks_are_the_methods_own() -> None:
    def leaves(probe: Probe, inputs: Tensor, targets: Tensor) -> Tensor:
        raise SystemExit(7)

    def forks(probe: Probe, inputs: Tensor, targets: Tensor) -> Tensor:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return probe.gradient(inputs, targets)

    blocks, _ = run({"leaves": Does(leaves), "forks": Does(forks), "gradient": Does()})
    assert set(blocks["leaves"].status.tolist()) == {int(Status.failed)}
    assert "sys.exit(7)" in blocks["leaves"].reason[0]
    assert np.array_equal(blocks["forks"].attribution, blocks["gradient"].attribution)
