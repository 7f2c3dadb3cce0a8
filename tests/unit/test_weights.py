"""Weights files: what loads, and how each broken or dangerous one is refused."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from xai_framework.core import ModelError, Preprocess, WeightsError, load_weights
from xai_framework.testing import check_adapter


def network(classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, classes))


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


WRITERS: dict[str, Callable[[dict[str, torch.Tensor], Path], None]] = {
    "plain.pt": torch.save,
    "nested.pth": lambda state, path: torch.save({"epoch": 3, "state_dict": state}, path),
    "model.pt": lambda state, path: torch.save({"model": state}, path),
    "parallel.pt": lambda state, path: torch.save({f"module.{k}": v for k, v in state.items()}, path),
    "file.safetensors": save_file,
    "file.npz": lambda state, path: np.savez(path, **{k: v.numpy() for k, v in state.items()}),
    "compiled.pt": lambda state, path: torch.save({f"_orig_mod.{k}": v for k, v in state.items()}, path),
    "legacy.pth": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    "safetensors.bin": save_file,
    "counterless.pt": lambda state, path: torch.save({k: v for k, v in state.items() if "tracked" not in k}, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_loads(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained, fresh = network(), network()
    WRITERS[name](trained.state_dict(), tmp_path / name)
    load_weights(fresh, tmp_path / name)
    assert same(trained, fresh)


def test_half_precision_files_are_cast_to_the_models_types(tmp_path: Path) -> None:
    state = {k: v.half() if v.is_floating_point() else v for k, v in network().state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    model = network()
    load_weights(model, tmp_path / "half.safetensors")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.state_dict()["0.weight"], state["0.weight"].float())


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (open, ("pwned", "w"))


def broken(kind: str, path: Path) -> str:
    """Write one broken file; returns what the error must say."""
    state = network().state_dict()
    if kind == "global":
        with path.open("wb") as f:
            pickle.dump({"a": Evil()}, f)
        return "io.open, not just weights"
    if kind == "global in zip":
        torch.save({"a": Evil()}, path)
        return "open"
    if kind == "whole model":
        torch.save(network(), path)
        return "torch.nn.modules.container.Sequential"
    if kind == "program":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, but such files are about
            torch.jit.save(torch.jit.trace(network().eval(), torch.zeros(1, 3, 8, 8)), path)
        return "TorchScript program"
    if kind.startswith("truncated"):
        torch.save(state, path, _use_new_zipfile_serialization=kind == "truncated")
        path.write_bytes(path.read_bytes()[:700])
        return "truncated"
    texts = {
        "html": (b"<!DOCTYPE html><html></html>", "HTML page"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        "empty": (b"", "is empty"),
        "error of a cloud": (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "HTML page"),
    }
    if kind in texts:
        path.write_bytes(texts[kind][0])
        return texts[kind][1]
    changed = {
        "missing": ({k: v for k, v in state.items() if not k.startswith("4")}, "2 missing (4.weight, 4.bias)"),
        "unexpected": ({**state, "9.weight": torch.zeros(1)}, "1 unexpected (9.weight)"),
        "several": ({k.replace("1.", "bn."): v for k, v in state.items()}, "4 missing (1.weight, 1.bias, 1.running"),
        "head": (network(5).state_dict(), "4.weight has shape (5, 144), the architecture (3, 144)"),
        "classes": (network(5).state_dict(), "these weights give 5 classes, not 3"),
        "width": ({k: torch.zeros(9, *v.shape) for k, v in state.items()}, "(and 8 more); check the architecture"),
        "overflow": ({k: torch.full(v.shape, 1e200, dtype=torch.float64) for k, v in state.items()}, "infinity"),
        "quantised": ({k: v.to(torch.int8) for k, v in state.items()}, "holds torch.int8"),
        "sparse": ({**state, "4.weight": state["4.weight"].to_sparse()}, "'4.weight', a sparse"),
        "nan": ({**state, "0.bias": torch.full((4,), torch.nan)}, "NaN or infinity (0.bias)"),
        "not tensors": ({**state, "a": 3}, "'a', which is no tensor"),
        "list": ([1, 2], "list, not a state dict"),
    }
    torch.save(changed[kind][0], path)
    return changed[kind][1]


KINDS = ["global", "global in zip", "whole model", "program", "truncated", "truncated legacy", "html", "lfs", "empty"]
KINDS += ["error of a cloud", "missing", "unexpected", "several", "head", "classes", "width", "nan", "overflow"]
KINDS += ["quantised", "sparse", "not tensors", "list"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    said = broken(kind, path)
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(model, path)
    assert said in str(caught.value)
    assert "weights.pt" in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not (tmp_path / "pwned").exists()


def test_a_safetensors_file_with_a_wrong_header(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(network().state_dict(), path)
    path.write_bytes((1 << 40).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(WeightsError, match="no intact safetensors"):
        load_weights(network(), path)


def test_checksums(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(network().state_dict(), path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    load_weights(network(), path, sha256=right)
    load_weights(network(), path, sha256=right[:8].upper())
    for wrong in ("0" * 64, right[:7], ""):
        with pytest.raises(WeightsError, match=f"has sha256 {right}, expected {wrong}"):
            load_weights(network(), path, sha256=wrong)


def test_a_missing_file_names_its_nearest_sibling(tmp_path: Path) -> None:
    (tmp_path / "resnet20.pt").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"did you mean 'resnet20\.pt'"):
        load_weights(network(), tmp_path / "resnet2.pt")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is a folder"):
        load_weights(network(), tmp_path)


def test_an_archive_that_unpacks_to_more_than_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(1_000_000))
    assert (tmp_path / "bomb.npz").stat().st_size < 20_000
    monkeypatch.setattr("xai_framework.core.weights.LARGEST", 100_000)
    with pytest.raises(WeightsError, match="unpacks to 8000128 bytes"):
        load_weights(network(), tmp_path / "bomb.npz")


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.array([Evil()], dtype=object))
    with pytest.raises(WeightsError, match=r"no intact \.npz"):
        load_weights(network(), tmp_path / "w.npz")


def test_a_model_with_a_part_called_module(tmp_path: Path) -> None:
    wrapped = nn.Sequential()
    wrapped.module = network()
    torch.save(wrapped.state_dict(), tmp_path / "w.pt")
    fresh = nn.Sequential()
    fresh.module = network()
    load_weights(fresh, tmp_path / "w.pt")
    assert same(wrapped, fresh)


def test_names_of_another_framework(tmp_path: Path) -> None:
    trained, fresh = network(), network()
    state = {f"net/{k}": v for k, v in trained.state_dict().items()} | {"auxiliary/w": torch.zeros(3)}
    save_file(state, tmp_path / "w.safetensors")
    names = {k: k.removeprefix("net/") for k in state if k.startswith("net/")}
    load_weights(fresh, tmp_path / "w.safetensors", rename=names.get)
    assert same(trained, fresh)


@pytest.mark.parametrize("name", ["plain.pt", "legacy.pth", "file.safetensors", "file.npz"])
def test_damaged_files_are_refused_or_load_but_never_anything_else(name: str, tmp_path: Path) -> None:
    path, rng = tmp_path / name, np.random.default_rng(0)
    WRITERS[name](network().state_dict(), path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    refused = 0
    for trial in range(60):
        damaged = whole[: rng.integers(1, len(whole))].copy() if trial % 3 == 0 else whole.copy()
        at = rng.integers(0, min(len(damaged), 1000), 6)
        damaged[at] = rng.integers(0, 256, 6)
        path.write_bytes(damaged.tobytes())
        try:
            load_weights(network(), path)
        except WeightsError:
            refused += 1
    assert refused > 30


class Gives(nn.Module):
    def __init__(self, what: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.what, self.linear = what, nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> object:
        return self.what(self.linear(x.mean((2, 3))))


@pytest.mark.parametrize("what", [lambda y: (y, y * 2), lambda y: {"logits": y, "loss": y.sum()}, lambda y: [y]])
def test_tuples_and_dicts_are_unpacked(what: Callable[[torch.Tensor], object]) -> None:
    from xai_framework.api import ModuleAdapter

    model = Gives(what)
    x = torch.randn(2, 3, 8, 8)
    adapter = ModuleAdapter(model, Preprocess(crop=(8, 8)))
    assert torch.equal(adapter.forward(x), model.linear(x.mean((2, 3))))


@pytest.mark.parametrize("what", [lambda y: y[..., None], lambda y: y.sum(), lambda y: "logits"])
def test_other_outputs_are_named(what: Callable[[torch.Tensor], object]) -> None:
    from xai_framework.api import ModuleAdapter

    adapter = ModuleAdapter(Gives(what), Preprocess(crop=(8, 8)))
    with pytest.raises(ModelError, match=r"expected \(batch, classes\)"):
        adapter.forward(torch.randn(2, 3, 8, 8))


def test_no_differentiable_path_is_named() -> None:
    import xai_framework as xai

    model = Gives(lambda y: y.detach())
    picture = np.random.default_rng(0).random((8, 8, 3))
    result = xai.explain(picture, ["gradient"], model, preprocess=Preprocess(crop=(8, 8)))
    assert result.status["gradient"][0].name == "failed"
    assert "no differentiable path" in result.reasons["gradient"][0]


def test_the_embedded_backbones_are_what_they_claim() -> None:
    from xai_plugins.backbones import shapes as module
    from xai_plugins.backbones.shapes import ShapesResnet, ShapesVgg
    from xai_plugins.datasets.shapes import Shapes

    held_out = Shapes(images=200, seed=77)
    sizes = 0
    for cls in (ShapesVgg, ShapesResnet):
        adapter = cls()
        inputs = torch.stack([adapter.prepare(held_out[i].image).inputs for i in range(200)])
        with torch.no_grad():
            found = adapter.forward(inputs).argmax(1)
        right = sum(adapter.labels[int(f)] == held_out[i].label for i, f in enumerate(found))
        assert right >= 196
        sizes += Path(module.__file__).with_name(cls.assets[0]).stat().st_size
        state = torch.random.get_rng_state()
        twins = [cls(weights="random", seed=s).model.state_dict() for s in (1, 1, 2)]
        assert torch.equal(state, torch.random.get_rng_state())
        key = next(iter(twins[0]))
        assert torch.equal(twins[0][key], twins[1][key])
        assert not torch.equal(twins[0][key], twins[2][key])
        check_adapter(adapter)
    assert sizes <= 600_000
