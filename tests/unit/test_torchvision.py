"""torchvision backbones: preprocessing as published, `last` in every family, mistakes named."""

from __future__ import annotations

import hashlib
import http.client
import io
import re
from collections.abc import Callable
from email.message import Message
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.models import VisionTransformer
from xai_plugins.backbones._torchvision_weights import checksum, current_name
from xai_plugins.backbones.torchvision import Torchvision
from xai_plugins.targets.rank import Predicted

from xai_framework.core import ConfigError, File, LayerError, WeightsError, load_weights
from xai_framework.probe import SharedProbe

# family -> (input side, layer, grid): the last feature grid, checked by hand against each architecture
LAST = {
    "alexnet": (96, "features", (256, 2, 2)),
    "vgg11": (64, "features", (512, 2, 2)),
    "resnet18": (64, "layer4", (512, 2, 2)),
    "resnext50_32x4d": (64, "layer4", (2048, 2, 2)),
    "squeezenet1_1": (64, "features", (512, 3, 3)),
    "densenet121": (64, "features", (1024, 2, 2)),
    "googlenet": (64, "inception5b", (1024, 2, 2)),
    "inception_v3": (128, "Mixed_7c", (2048, 2, 2)),
    "mobilenet_v2": (64, "features", (1280, 2, 2)),
    "mobilenet_v3_small": (64, "features", (576, 2, 2)),
    "mnasnet0_5": (64, "layers", (1280, 2, 2)),
    "shufflenet_v2_x0_5": (64, "conv5", (1024, 2, 2)),
    "efficientnet_b0": (64, "features", (1280, 2, 2)),
    "efficientnet_v2_s": (64, "features", (1280, 2, 2)),
    "regnet_y_400mf": (64, "trunk_output", (440, 2, 2)),
    "convnext_tiny": (64, "features", (768, 2, 2)),
    "vit_b_32": (224, "encoder.layers.encoder_layer_11.ln_1", (768, 7, 7)),
    "swin_t": (64, "permute", (768, 2, 2)),
    "swin_v2_t": (64, "permute", (768, 2, 2)),
    "maxvit_t": (224, "blocks.3", (512, 7, 7)),
}


@pytest.mark.parametrize("arch", LAST)
def test_last_layer_of_every_family(arch: str) -> None:
    side, layer, grid = LAST[arch]
    backbone = Torchvision(arch=arch, weights="random", resize=side, crop=side)
    assert backbone.layer("last").name == layer
    inputs = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    probe = SharedProbe(backbone, Predicted())
    targets = probe.outputs(inputs).argmax(1)
    activations, gradients = probe.layers(inputs, targets, ("last",))["last"]
    assert tuple(activations.shape[1:]) == tuple(gradients.shape[1:]) == grid
    assert gradients.abs().sum() > 0


def test_every_classification_family_is_in_the_table() -> None:
    families = {name.split("_")[0].rstrip("0123456789") for name in models.list_models(module=models)}
    known = {name.split("_")[0].rstrip("0123456789") for name in LAST}
    assert families - known == {"wide"}  # wide_resnet is ResNet with wider layers


@pytest.mark.parametrize("arch", ["resnet18", "inception_v3", "vit_b_16", "swin_t", "efficientnet_b3"])
@pytest.mark.parametrize("size", [(333, 500), (500, 333), (224, 224), (100, 90)])
def test_preprocessing_equals_the_published_transforms(arch: str, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (size[0] // 10, size[1] // 10, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    expected = models.get_model_weights(arch).DEFAULT.transforms()(picture)
    prepared = Torchvision(arch=arch).prepare(picture)
    assert prepared.inputs.shape == expected.shape
    assert (prepared.inputs - expected).abs().max() <= 1e-6


def test_overrides_of_preprocessing() -> None:
    recipe = Torchvision(
        arch="vgg16",
        weights="random",
        resize_exact=(224, 224),
        filter="nearest",
        order="bgr",
        range=255,
        mean=(103.939, 116.779, 123.68),
        std=(1, 1, 1),
    )
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 80, 3), dtype=np.uint8))
    by_hand = np.asarray(picture.resize((224, 224), Image.Resampling.NEAREST)).astype(np.float32)[..., ::-1]
    by_hand = by_hand - np.array([103.939, 116.779, 123.68], np.float32)
    inputs = recipe.prepare(picture).inputs
    np.testing.assert_allclose(inputs.numpy(), by_hand.transpose(2, 0, 1), atol=1e-4)
    back = recipe.pixels(inputs[None])[0].permute(1, 2, 0).numpy() * 255
    np.testing.assert_allclose(back, np.asarray(picture.resize((224, 224), Image.Resampling.NEAREST)), atol=1e-3)
    bare = Torchvision(arch="vgg16", weights="random", resize=0, crop=0, mean=(0, 0, 0), std=(1, 1, 1))
    assert tuple(bare.prepare(picture).inputs.shape) == (3, 50, 80)


def test_labels_and_weights_names() -> None:
    backbone = Torchvision(arch="resnet50")
    assert backbone.resolved().weights == "IMAGENET1K_V2"
    assert backbone.labels[282] == "tiger cat"
    assert Torchvision(arch="resnet18", weights="random", classes=10).labels == ()


def test_a_file_has_the_preprocessing_of_the_weights_it_stands_beside(tmp_path: Path) -> None:
    file = File(str(tmp_path / "w.pt"))
    assert Torchvision(arch="resnet50", file=file).resolved().weights == "IMAGENET1K_V2"  # DEFAULT may move
    assert Torchvision(arch="resnet50", file=file).preprocess.resize == 232
    assert Torchvision(arch="resnet50", file=file, weights="IMAGENET1K_V1").preprocess.resize == 256


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "arch": ({"arch": "resnet19"}, "no torchvision model 'resnet19'; did you mean 'resnet18'"),
    "weights": ({"weights": "IMAGENET1K_V3"}, "did you mean 'IMAGENET1K_V1'"),
    "two sources": ({"weights": "random", "file": "w.pt"}, "random weights and a weights file"),
    "nothing to check": ({"sha256": "0" * 64}, "no file to check"),
    "no checksum": ({"file": "w.pt", "sha256": "abc"}, "'abc' is no sha256"),
    "grey": ({"order": "gray"}, "published weights take colour"),
    "one size": ({"resize_exact": (224,)}, r"expected \[height, width\]"),
    "two sizes": ({"resize_exact": (224, 224), "resize": 256}, "no resize beside it"),
    "channels": ({"mean": (0.5,)}, "1 values for 3 channels"),
    "classes": ({"classes": 10}, "published weights have 1000 outputs, not 10"),
    "names": ({"labels_file": "names.txt"}, "published weights have 1000 outputs, not 2"),
    "names and classes": ({"labels_file": "names.txt", "classes": 3, "file": "w.pt"}, "2 class names for 3 outputs"),
    "no names": ({"labels_file": "empty.txt", "file": "w.pt"}, "names no class"),
    "bad index": ({"labels_file": "bad.json", "file": "w.pt"}, "no list of names"),
    "no such names": ({"labels_file": "nowhere.txt", "file": "w.pt"}, "cannot be read"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_are_named_before_anything_is_loaded(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("\ufeffcat\n\n dog \n", "utf-8")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "bad.json").write_text('{"a": 1}')
    params, said = MISTAKES[kind]
    with pytest.raises(ConfigError, match=said):
        Torchvision(**{"arch": "resnet18", **params}).resolved()


def test_a_head_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\ufeffcat\n\n dog \n", "utf-8")
    trained = models.squeezenet1_1(weights=None, num_classes=2)
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    own: dict[str, Any] = {"arch": "squeezenet1_1", "file": File(str(tmp_path / "w.pt")), "resize": 64, "crop": 64}
    backbone = Torchvision(**own, labels_file=File(str(tmp_path / "names.txt")))
    inputs = torch.randn(2, 3, 64, 64)
    assert backbone.labels == ("cat", "dog")
    assert torch.equal(backbone.forward(inputs), trained.eval()(inputs))
    assert Torchvision(**own, classes=2).labels == ()
    with pytest.raises(WeightsError, match=r"these weights give 2 classes, not 1000"):
        Torchvision(**own).load()


def test_grey_pictures_enter_by_one_channel(tmp_path: Path) -> None:
    trained = models.resnet18(weights=None, num_classes=3)
    trained.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    how: dict[str, Any] = {"order": "gray", "classes": 3, "resize": 64, "crop": 64, "mean": (0.5,), "std": (0.25,)}
    backbone = Torchvision(arch="resnet18", file=File(str(tmp_path / "w.pt")), **how)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8))
    grey = np.asarray(picture.convert("L"), np.float32)[None, None, :, 8:72] / 255
    inputs = backbone.prepare(picture).inputs[None]
    np.testing.assert_allclose(inputs.numpy(), (grey - 0.5) / 0.25, atol=1e-6)
    assert torch.equal(backbone.forward(inputs), trained.eval()(inputs))
    assert Torchvision(arch="vgg11", weights="random", order="gray").preprocess.mean == pytest.approx((0.449,))


def publish(monkeypatch: pytest.MonkeyPatch, folder: Path, arch: str, state: dict[str, torch.Tensor]) -> Path:
    """Let a file in an empty cache be the published weights of an architecture."""
    file = folder / "hub" / "checkpoints" / "published.pth"
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    file = file.rename(file.with_name(f"published-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"))
    monkeypatch.setenv("TORCH_HOME", str(folder))
    monkeypatch.setattr(models.get_model_weights(arch).DEFAULT.value, "url", f"https://example.org/{file.name}")
    return file


def densenet_of_old(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", k): v for k, v in state.items()}
    return {k: v for k, v in old.items() if "num_batches" not in k}


PUBLISHED: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
    "googlenet": lambda: models.googlenet(weights=None, aux_logits=True, init_weights=False).state_dict(),
    "inception_v3": lambda: models.inception_v3(weights=None, aux_logits=True, init_weights=False).state_dict(),
    "densenet121": lambda: densenet_of_old(models.densenet121(weights=None).state_dict()),
    "mnasnet0_5": lambda: models.mnasnet0_5(weights=None).state_dict(),
    "mobilenet_v3_small": lambda: models.mobilenet_v3_small(weights=None).state_dict(),
    "swin_t": lambda: models.swin_t(weights=None).state_dict(),
}


@pytest.mark.parametrize("arch", PUBLISHED)
def test_published_weights_give_what_torchvision_gives(
    arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    publish(monkeypatch, tmp_path, arch, PUBLISHED[arch]())
    side = 128 if arch == "inception_v3" else 64
    inputs = torch.randn(2, 3, side, side)
    expected = models.get_model(arch, weights="DEFAULT").eval()
    ours = Torchvision(arch=arch, resize=side, crop=side)
    with torch.no_grad():
        assert torch.equal(ours.forward(inputs), expected(inputs))
    serving = [k for k in expected.state_dict() if not k.startswith("AuxLogits.")]
    assert list(ours.model.state_dict()) == serving  # heads that serve training only are left out


def test_vits_saved_long_ago_and_at_another_size(tmp_path: Path) -> None:
    vit = partial(VisionTransformer, 32, 16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3)
    fresh, ours, theirs = vit(), vit(), vit()
    old = {
        k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v
        for k, v in fresh.state_dict().items()
    }
    torch.save(old, tmp_path / "old.pt")
    load_weights(ours, tmp_path / "old.pt", rename=current_name)
    theirs.load_state_dict(old)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert Torchvision(arch="vit_b_16", weights="IMAGENET1K_SWAG_E2E_V1")._build(1000).image_size == 384
    with pytest.raises(ConfigError, match="cannot be built for inputs of 100x100"):
        Torchvision(arch="vit_b_16", weights="random", crop=100).load()
    with pytest.raises(ConfigError, match="takes square inputs"):
        Torchvision(arch="vit_b_16", weights="random", resize_exact=(224, 256)).load()


def test_every_published_file_carries_its_checksum() -> None:
    members = [m for arch in models.list_models(module=models) for m in models.get_model_weights(arch)]
    assert len(members) > 100
    assert all(checksum(m.url) for m in members)


def test_a_damaged_or_dangerous_file_in_the_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = publish(monkeypatch, tmp_path, "squeezenet1_1", models.squeezenet1_1(weights=None).state_dict())
    Torchvision(arch="squeezenet1_1").load()
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=rf"{file.name}: has sha256 [0-9a-f]+, expected"):
        Torchvision(arch="squeezenet1_1").load()
    torch.save(models.squeezenet1_1(weights=None), file)
    monkeypatch.setattr("xai_plugins.backbones.torchvision.checksum", lambda url: None)
    with pytest.raises(WeightsError, match=r"the Python object torchvision\.models\.squeezenet\.SqueezeNet"):
        Torchvision(arch="squeezenet1_1").load()


class Broken(io.BytesIO):
    """A download that ends early, or breaks off."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__(b"half of it")
        self.error = error

    def info(self) -> Message:
        return Message()

    def read(self, *sizes: int | None) -> bytes:
        part = super().read(*sizes)
        if not part and self.error:
            raise self.error
        return part


@pytest.mark.parametrize("error", [None, OSError("no network"), http.client.IncompleteRead(b"")])
def test_a_failed_download_says_what_to_do_and_leaves_nothing(
    error: Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", lambda request: Broken(error))
    url = models.SqueezeNet1_1_Weights.DEFAULT.url
    with pytest.raises(WeightsError) as caught:
        Torchvision(arch="squeezenet1_1").load()
    place = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    for said in (url, "could not be downloaded", str(place), "backbone.file="):
        assert said in str(caught.value)
    assert list(tmp_path.rglob("*.p*")) == []


def grid(backbone: Torchvision, name: str, inputs: torch.Tensor) -> torch.Tensor:
    return SharedProbe(backbone, Predicted()).layers(inputs, torch.zeros(len(inputs)).long(), (name,), grads=False)[
        name
    ][0]


WHERE = {
    "swin_t": ["features.0.0", "features.0.1", "features.0", "features.1.0.norm1", "features.1.0.mlp.0", "features.2"],
    "swin_v2_t": ["features.0.0", "features.1.0.attn", "features.1.0"],
    "convnext_tiny": ["features.0", *(f"features.1.0.block.{k}" for k in range(7)), "features.1"],
    "vit_b_32": ["conv_proj", "encoder.dropout", "encoder.layers.encoder_layer_0.ln_1"],
}


@pytest.mark.parametrize("arch", WHERE)
def test_early_layers_of_any_layout_see_a_change_where_it_is(arch: str) -> None:
    side = 160
    backbone = Torchvision(arch=arch, weights="random", resize=side, crop=side)
    plain = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    changed = plain.clone()
    changed[:, :, 96:128, 32:64] *= -1
    for name in WHERE[arch]:
        change = (grid(backbone, name, changed) - grid(backbone, name, plain)).abs().sum((0, 1))
        at = (torch.arange(len(change)) + 0.5) * side / len(change)
        centre = [float((change.sum(axis) * at).sum() / change.sum()) for axis in (1, 0)]
        assert change.shape[0] == change.shape[1] >= 5, name
        assert centre == pytest.approx([112, 48], abs=10), name


NO_GRID = [
    ("swin_t", "flatten", "choose last, features.K"),
    ("swin_v2_t", "features.1.0.attn.cpb_mlp", "positions are not those of the picture"),
    ("vit_b_32", "encoder.layers.encoder_layer_0.self_attention", "gives a tuple"),
    ("vit_b_32", "heads", "choose a convolutional or token layer, e.g. last"),
    ("maxvit_t", "blocks.0.layers.0.layers.window_attention.attn_layer", "choose last, blocks.K"),
    ("squeezenet1_1", "feature.3", "did you mean 'features"),
]


@pytest.mark.parametrize(("arch", "name", "said"), NO_GRID)
def test_layers_without_a_grid_of_the_picture_are_refused(arch: str, name: str, said: str) -> None:
    backbone = Torchvision(arch=arch, weights="random", resize=224, crop=224)
    with pytest.raises(LayerError, match=said):
        grid(backbone, name, torch.zeros(1, 3, 224, 224))


def test_random_weights_are_seeded_and_leave_the_global_stream_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (Torchvision(arch="squeezenet1_1", weights="random", seed=s).load() for s in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    key = "features.0.weight"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])
    assert not any(p.requires_grad for p in first.parameters())
