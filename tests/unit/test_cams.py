"""The class activation maps against identities, slow loops over the papers' formulas, and numpy's SVD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from xai_plugins.methods.ablationcam import AblationCam
from xai_plugins.methods.cam import ClassActivationMapping
from xai_plugins.methods.eigencam import EigenCam
from xai_plugins.methods.eigengradcam import EigenGradCam
from xai_plugins.methods.gradcam import GradCam
from xai_plugins.methods.gradcam_plus_plus import GradCamPlusPlus
from xai_plugins.methods.hirescam import HiResCam
from xai_plugins.methods.layercam import LayerCam
from xai_plugins.methods.scorecam import ScoreCam
from xai_plugins.methods.xgradcam import XGradCam
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import Explainer, LayerError, NotApplicable, Preprocess, resize
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng

SIZE, CLASSES, CHANNELS = 12, 4, 6


class Pooled(nn.Module):
    """Two convolutions, global average pooling, a linear head."""

    def __init__(self, head: nn.Module | None = None) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, CHANNELS, 3, padding=1), nn.ReLU()
        )
        self.head = head or nn.Linear(CHANNELS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        return self.head(features if isinstance(self.head, nn.Sequential) else features.mean((2, 3)))


def build(seed: int = 0, **options: nn.Module) -> Pooled:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Pooled(**options).double().eval()


torch_generator = torch.Generator().manual_seed(1)
MODEL = build()
X = torch.randn(3, 3, SIZE, SIZE, generator=torch_generator, dtype=torch.float64)
TARGETS = torch.tensor([1, 3, 0])


def ask(model: nn.Module = MODEL) -> SharedProbe:
    return SharedProbe(ModuleAdapter(model, Preprocess()), Predicted())


def explain(method: Explainer, model: nn.Module = MODEL) -> Tensor:
    return method.explain(ask(model), X, TARGETS, NamedRng.of(0, "abc"))


def activations_and_gradients(model: Pooled = MODEL) -> tuple[Tensor, Tensor]:
    """By hand, with the network cut in two."""
    activations = model.features(X).detach().requires_grad_()
    outputs = model.head(activations if isinstance(model.head, nn.Sequential) else activations.mean((2, 3)))
    gradients = torch.autograd.grad(outputs.gather(1, TARGETS[:, None]).sum(), activations)[0]
    return activations.detach(), gradients


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


SIGNED = {"relu": False}


def test_identities_behind_average_pooling_and_a_linear_head() -> None:
    gradcam = explain(GradCam(**SIGNED))
    positions = (SIZE // 2) ** 2
    close(explain(HiResCam(**SIGNED)), gradcam)
    close(explain(XGradCam(**SIGNED)), gradcam)
    close(explain(ClassActivationMapping()), gradcam * positions)
    activations, _ = activations_and_gradients()
    weights = MODEL.head.weight.detach()[TARGETS]
    close(explain(ClassActivationMapping()), torch.einsum("bk,bkhw->bhw", weights, activations)[:, None])
    positive = torch.einsum("bk,bkhw->bhw", weights.clamp(min=0), activations)[:, None]
    close(explain(LayerCam()), positive / positions)
    logits = MODEL(X).detach().gather(1, TARGETS[:, None])[:, 0]
    close(explain(HiResCam(**SIGNED)).sum((1, 2, 3)) + MODEL.head.bias.detach()[TARGETS], logits)


def test_cam_refuses_other_heads() -> None:
    head = nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * 36, CLASSES))
    with pytest.raises(NotApplicable, match="'features' the network is not average pooling and a linear head"):
        explain(ClassActivationMapping(layer=("features",)), build(head=head))
    with pytest.raises(NotApplicable, match="not average pooling"):
        explain(ClassActivationMapping(layer=("features.0",)))


FLAT = build(2, head=nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * 36, CLASSES), nn.Tanh()))
"""Gradients differ from place to place."""


def test_gradcam_plus_plus_against_equation_19() -> None:
    activations, g = activations_and_gradients(FLAT)
    below = 2 * g**2 + activations.sum((2, 3), keepdim=True) * g**3
    alphas = torch.where(g != 0, g**2 / below, 0)
    weights = (alphas * g.clamp(min=0)).sum((2, 3), keepdim=True)
    expected = (weights * activations).sum(1, keepdim=True).clamp(min=0)
    close(explain(GradCamPlusPlus(layer=("features",)), FLAT), expected)


def test_gradcam_plus_plus_of_tiny_gradients_in_float32() -> None:
    """Cubes of 1e-16 would be 0 in float32; the quotient of equation 19 is 1/2 there."""
    scale = 1e-16
    small = build(2, head=nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * 36, CLASSES))).float()
    with torch.no_grad():
        small.head[1].weight.mul_(scale)
    maps = GradCamPlusPlus(layer=("features",)).explain(ask(small), X.float(), TARGETS, NamedRng.of(0, "abc"))
    assert (maps.amax((1, 2, 3)) > 1e-17).all()


def test_position_weighted_maps_against_loops() -> None:
    a, g = activations_and_gradients(FLAT)
    xgrad, hires, layer = (np.zeros((3, 1, 6, 6)) for _ in range(3))
    for b in range(3):
        for k in range(CHANNELS):
            weight = float((a[b, k] * g[b, k]).sum() / a[b, k].sum()) if a[b, k].sum() else 0.0
            for i in range(6):
                for j in range(6):
                    xgrad[b, 0, i, j] += weight * a[b, k, i, j]
                    hires[b, 0, i, j] += g[b, k, i, j] * a[b, k, i, j]
                    layer[b, 0, i, j] += max(g[b, k, i, j], 0) * a[b, k, i, j]
    for method, expected in ((XGradCam, xgrad), (HiResCam, hires), (LayerCam, layer)):
        found = explain(method(layer=("features",), relu=False), FLAT)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("layer", ["features", "features.0"])
def test_eigencam_against_numpys_svd(centred: bool, layer: str) -> None:
    """More positions than channels at features, and the other way round when there are few positions."""
    size = SIZE if layer == "features" else 2
    x = X[:, :, :size, :size]
    model = nn.Sequential(MODEL.features, nn.Flatten()) if size == SIZE else MODEL.features[0:1]
    with torch.no_grad():
        values = MODEL.features(x) if size == SIZE else MODEL.features[0](x)
    expected = []
    for v in values.numpy():
        vectors = v.reshape(len(v), -1).T
        used = vectors - vectors.mean(0) if centred else vectors
        projection = used @ np.linalg.svd(used)[2][0]
        expected.append(projection * (-1 if (projection * vectors.sum(1)).sum() < 0 else 1))
    net = nn.Sequential(model, nn.Flatten(), nn.LazyLinear(CLASSES, dtype=torch.float64))
    net(x)
    name = "0.0" if size == SIZE else "0"
    probe = SharedProbe(ModuleAdapter(net.eval(), Preprocess()), Predicted())
    found = EigenCam(layer=(name,), relu=False, centred=centred).explain(probe, x, TARGETS, NamedRng.of(0, "abc"))
    np.testing.assert_allclose(found.flatten(1), np.stack(expected), rtol=1e-7, atol=1e-12)


def test_eigengradcam_is_the_principal_component_of_the_product() -> None:
    a, g = activations_and_gradients(FLAT)
    found = explain(EigenGradCam(layer=("features",), relu=False), FLAT)
    for b in range(3):
        product = (a[b] * g[b]).flatten(1).T.numpy()
        projection = product @ np.linalg.svd(product)[2][0]
        projection *= -1 if (projection * product.sum(1)).sum() < 0 else 1
        np.testing.assert_allclose(found[b].flatten(), projection, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("weights", ["softmax", "increase"])
def test_scorecam_against_algorithm_1(weights: str) -> None:
    found = explain(ScoreCam(layer=("features",), fill="black", weights=weights), FLAT)  # type: ignore[arg-type]
    with torch.no_grad():
        a = FLAT.features(X)
        for b in range(3):
            base = FLAT(torch.zeros_like(X[:1]))[0, TARGETS[b]]
            gains = []
            for k in range(CHANNELS):
                mask = resize(a[b, k], (SIZE, SIZE))
                spread = mask.max() - mask.min()
                mask = (mask - mask.min()) / (spread if spread > 0 else 1)
                gains.append(float(FLAT(X[b : b + 1] * mask)[0, TARGETS[b]] - base))
            w = np.exp(gains) / np.exp(gains).sum() if weights == "softmax" else np.array(gains)
            expected = sum(float(w[k]) * a[b, k] for k in range(CHANNELS)).clamp(min=0)  # type: ignore[union-attr]
            np.testing.assert_allclose(found[b, 0], expected, rtol=1e-9, atol=1e-13)


def test_ablationcam_against_equation_3() -> None:
    found = explain(AblationCam(layer=("features",), relu=False), FLAT)
    a, _ = activations_and_gradients(FLAT)
    with torch.no_grad():
        for b in range(3):
            whole = FLAT.head(a[b : b + 1])[0, TARGETS[b]]
            expected = torch.zeros(6, 6, dtype=torch.float64)
            for k in range(CHANNELS):
                without = a[b : b + 1].clone()
                without[:, k] = 0
                expected += (whole - FLAT.head(without)[0, TARGETS[b]]) / whole.abs() * a[b, k]
            np.testing.assert_allclose(found[b, 0], expected, rtol=1e-9, atol=1e-13)


class ChannelsLast(nn.Module):
    """A layer whose output is (B,h,w,K), with h = K so that shapes do not tell the axes apart."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.block = nn.Linear(6, 6)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.block(self.stem(x).permute(0, 2, 3, 1)).relu()
        return self.fc((tokens * torch.arange(36.0, dtype=x.dtype).view(6, 6, 1)).mean((1, 2)))


class LastIsLast(ModuleAdapter):
    def to_grid(self, name: str):
        return lambda t: t.permute(0, 3, 1, 2) if name == "block" else t


def test_ablationcam_finds_the_channels_of_any_layout() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = ChannelsLast().double().eval()
    probe = SharedProbe(LastIsLast(model, Preprocess()), Predicted())
    found = AblationCam(layer=("block",), relu=False).explain(probe, X, TARGETS, NamedRng.of(0, "abc"))
    with torch.no_grad():
        tokens = model.block(model.stem(X).permute(0, 2, 3, 1))

        def rest(t: Tensor) -> Tensor:
            where = torch.arange(36.0, dtype=t.dtype).view(6, 6, 1)
            return model.fc((t.relu() * where).mean((1, 2))).gather(1, TARGETS[:, None])[:, 0]

        whole, expected = rest(tokens), torch.zeros(3, 6, 6, dtype=torch.float64)
        for k in range(6):
            without = tokens.clone()
            without[..., k] = 0
            expected += ((whole - rest(without)) / whole.abs())[:, None, None] * tokens[..., k]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-9, atol=1e-13)


def test_several_layers_are_fused_on_the_finest_grid() -> None:
    both = ("features.1", "features")
    fine, coarse = (explain(GradCam(layer=(name,))) for name in both)
    unit = [m / m.amax((1, 2, 3), keepdim=True) for m in (fine, resize(coarse, (6, 6)))]
    unit = [fine / fine.amax((1, 2, 3), keepdim=True), resize(coarse / coarse.amax((1, 2, 3), True), (SIZE, SIZE))]
    close(explain(GradCam(layer=both)), (unit[0] + unit[1]) / 2)
    close(explain(GradCam(layer=both, fuse="max")), torch.maximum(*unit))
    with pytest.raises(LayerError, match="did you mean"):
        explain(GradCam(layer=("features", "featurs.1")))


def test_recipe_steps_of_gradcam() -> None:
    a, g = activations_and_gradients(FLAT)
    normalised = g / (g.square().mean((1, 2, 3), keepdim=True).sqrt() + 1e-5)
    expected = (1 + (normalised.mean((2, 3), keepdim=True) * a).sum(1, keepdim=True)).clamp(min=0)
    close(explain(GradCam(layer=("features",), normalise_gradients=True, start=1.0), FLAT), expected)
    plain = explain(GradCam(layer=("features",)), FLAT)
    quantised = explain(GradCam(layer=("features",), quantise=True), FLAT)
    assert quantised.unique().numel() <= 256
    for b in range(3):
        if plain[b].any():
            expected_bytes = (255 * plain[b].numpy() / plain[b].numpy().max()).astype(np.uint8)
            np.testing.assert_array_equal(quantised[b].numpy(), expected_bytes)


def test_no_evidence_stays_zero_whatever_the_recipe_adds() -> None:
    dead = build(2, head=nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * 36, CLASSES)))
    with torch.no_grad():
        dead.head[1].weight.zero_()
    for method in (GradCam(layer=("features",), start=1.0, quantise=True), GradCamPlusPlus(layer=("features",))):
        assert not explain(method, dead).any()
