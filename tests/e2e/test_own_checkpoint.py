"""A user's own checkpoint: the example file of the documentation, and one set of weights in every kind of file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from xai_plugins.backbones.torchvision import Torchvision

from xai_framework.core import File, WeightsError
from xai_framework.registry import Registry
from xai_framework.testing import check_adapter

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "cifar_resnet.py"


def test_the_page_shows_the_example_file() -> None:
    text = EXAMPLE.read_text("utf-8")
    assert f"```python file=cifar_resnet.py\n{text}```" in (DOCS / "own-checkpoint.md").read_text("utf-8")
    assert len(text.splitlines()) <= 40


def test_the_example_keeps_what_every_backbone_promises(real_data: Path) -> None:
    weights = str(real_data / "weights" / "cifar10_resnet20_fp16.pt")
    backbone = Registry([EXAMPLE]).build("backbone", {"name": "cifar_resnet", "weights": weights})
    check_adapter(backbone)
    assert backbone.layer("last").name == "layer3"
    with pytest.raises(WeightsError, match=r"90 missing \(layer1\.3\.conv1\.weight, "):
        backbone.replace(depth=38).load()


def test_one_set_of_weights_in_every_kind_of_file(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "weights"
    given = folder / "squeezenet1_0_imagenet_fp16.pt"
    state = torch.load(given, weights_only=True)
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
    inputs = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    files = [given, folder / "squeezenet1_0_imagenet_fp16.npz", tmp_path / "w.safetensors", tmp_path / "w.pth"]
    outputs = [Torchvision(arch="squeezenet1_0", file=File(str(f))).forward(inputs) for f in files]
    assert all(torch.equal(o, outputs[0]) for o in outputs)
    assert outputs[0].dtype == torch.float32
    checksum = hashlib.sha256(given.read_bytes()).hexdigest()
    Torchvision(arch="squeezenet1_0", file=File(str(given)), sha256=checksum).load()
    with pytest.raises(WeightsError, match=f"has sha256 {checksum}, expected {'0' * 64}"):
        Torchvision(arch="squeezenet1_0", file=File(str(given)), sha256="0" * 64).load()
    with pytest.raises(WeightsError, match="does not fit the architecture"):
        Torchvision(arch="resnet18", file=File(str(given))).load()
