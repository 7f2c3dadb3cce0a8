"""torchvision backbones: preprocessing as published, `last` in every family, mistakes named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from xai_plugins.backbones.torchvision import Torchvision
from xai_plugins.targets.rank import Predicted

from xai_framework.core import ConfigError, LayerError, WeightsError
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
    from torchvision import models

    families = {name.split("_")[0].rstrip("0123456789") for name in models.list_models(module=models)}
    known = {name.split("_")[0].rstrip("0123456789") for name in LAST}
    assert families - known == {"wide"}  # wide_resnet is ResNet with wider layers


@pytest.mark.parametrize("arch", ["resnet18", "inception_v3", "vit_b_16", "swin_t", "efficientnet_b3"])
@pytest.mark.parametrize("size", [(333, 500), (500, 333), (224, 224), (100, 90)])
def test_preprocessing_equals_the_published_transforms(arch: str, size: tuple[int, int]) -> None:
    from torchvision import models

    pixels = np.random.default_rng(0).integers(0, 255, (size[0] // 10, size[1] // 10, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    expected = models.get_model_weights(arch).DEFAULT.transforms()(picture)
    prepared = Torchvision(arch=arch).prepare(picture)
    assert prepared.inputs.shape == expected.shape
    assert (prepared.inputs - expected).abs().max() < 1e-5


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


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="did you mean 'resnet18'"):
        Torchvision(arch="resnet19").resolved()
    with pytest.raises(ConfigError, match="did you mean 'IMAGENET1K_V1'"):
        Torchvision(arch="resnet18", weights="IMAGENET1K_V3").resolved()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", _no_network)
    with pytest.raises(WeightsError, match=r"could not be downloaded .*backbone\.file"):
        Torchvision(arch="squeezenet1_1").load()
    backbone = Torchvision(arch="squeezenet1_1", weights="random")
    with pytest.raises(LayerError, match="did you mean 'features"):
        backbone.layer("feature.3")


def _no_network(*_args: object, **_options: object) -> None:
    raise OSError("no network")


def test_random_weights_are_seeded_and_leave_the_global_stream_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (Torchvision(arch="squeezenet1_1", weights="random", seed=s).load() for s in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    key = "features.0.weight"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])
    assert not any(p.requires_grad for p in first.parameters())
