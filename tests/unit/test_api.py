"""Explaining from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from xai_plugins.datasets.shapes import Shapes
from xai_plugins.methods.gradcam import GradCam

import xai_framework as xai
from xai_framework.core import ConfigError, ImageError, Preprocess

HOW = Preprocess(crop=(8, 8), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))


def picture() -> np.ndarray:
    return np.random.default_rng(0).random((8, 8, 3))


def test_a_module_of_ones_own_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).train()
    model[0].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [m.training for m in model.modules()]
    result = xai.explain(picture(), ["gradient", "gradcam", "smoothgrad"], model, preprocess=HOW)
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    assert result["gradcam"].shape == (1, 6, 6)


def test_the_gradient_of_a_linear_model_is_its_weights_in_both_spaces() -> None:
    model = linear()
    weights = model[1].weight[2].detach().view(3, 8, 8).numpy()
    in_model = xai.explain(picture(), "gradient", model, preprocess=HOW, target=2)
    np.testing.assert_allclose(in_model["gradient"], weights, rtol=1e-6)
    in_pixels = xai.explain(picture(), "gradient", model, preprocess=HOW, target=2, space="pixels")
    np.testing.assert_allclose(in_pixels["gradient"], weights / 0.25, rtol=1e-6)


def test_one_picture_or_several_by_any_way_to_give_one(tmp_path: Path) -> None:
    image = Shapes(images=1)[0].image
    assert isinstance(image, Image.Image)
    image.save(tmp_path / "a.png")
    one = xai.explain(tmp_path / "a.png", ["gradcam"])
    several = xai.explain([str(tmp_path / "a.png"), image, np.asarray(image)], ["gradcam"])
    assert one["gradcam"].shape == (1, 12, 12)
    assert several["gradcam"].shape == (3, 1, 12, 12)
    for i in range(3):
        np.testing.assert_allclose(several["gradcam"][i], one["gradcam"], atol=1e-5)


def test_methods_by_name_config_instance_and_label() -> None:
    given = {"a": "gradcam", "b": {"name": "smoothgrad", "samples": 2, "inner": "gradcam"}, "c": GradCam(relu=False)}
    result = xai.explain(picture(), given, linear_conv(), preprocess=HOW, labels=["x", "y"], target="second_best")
    assert list(result) == ["a", "b", "c"]
    assert result.target != result.prediction
    np.testing.assert_allclose(np.maximum(result["c"], 0), result["a"])


def linear_conv() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def test_it_shows_and_saves_itself(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    result = xai.explain(picture(), ["gradient"], linear(), preprocess=HOW, labels=[hostile] * 4)
    shown = result._repr_html_()
    assert "<img" in shown
    assert "<script" not in shown
    for ending in ("png", "html", "npz"):
        assert result.save(tmp_path / f"r.{ending}").stat().st_size > 100
    held = np.load(tmp_path / "r.npz")
    np.testing.assert_array_equal(held["gradient"][0], result["gradient"])
    with pytest.raises(ConfigError, match="cannot save as"):
        result.save(tmp_path / "r.doc")


def test_a_zero_map_says_so() -> None:
    constant = linear()
    nn.init.zeros_(constant[1].weight)
    result = xai.explain(picture(), ["gradient"], constant, preprocess=HOW)
    assert result.status["gradient"][0].name == "zero"
    assert result["gradient"].any() == np.False_
    assert result.picture().size[0] > 0


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="given twice"):
        xai.explain(picture(), ["gradient", "gradient"])
    with pytest.raises(ConfigError, match="no method is given"):
        xai.explain(picture(), [])
    with pytest.raises(ConfigError, match=r"plain nn\.Module"):
        xai.explain(picture(), preprocess=HOW)
    with pytest.raises(ImageError, match="no such file"):
        xai.explain("nowhere.png")
    with pytest.raises(Exception, match="did you mean 'gradcam'"):
        xai.explain(picture(), ["gradcm"])


def test_the_same_noise_for_the_same_seed() -> None:
    a, b, c = (xai.explain(picture(), ["smoothgrad"], linear_conv(), preprocess=HOW, seed=s) for s in (1, 1, 2))
    assert np.array_equal(a["smoothgrad"], b["smoothgrad"])
    assert not np.array_equal(a["smoothgrad"], c["smoothgrad"])
