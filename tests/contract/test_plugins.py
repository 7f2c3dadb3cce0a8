"""Every registered plugin keeps the promises of its kind; generated from the registry."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from xai_framework.core import About, Explainer, Metric, ModelAdapter, Renderer, Target
from xai_framework.probe import SharedProbe
from xai_framework.registry import KINDS, Registry
from xai_framework.testing import TinyAdapter, check_adapter, check_explainer, check_metric, check_renderer
from xai_framework.testing.documented import check_documented

REGISTRY = Registry()
LARGER = {"occlusion": {"window": 48, "stride": 48}}  # parameters that are cheap on larger inputs too


@pytest.mark.parametrize("name", REGISTRY.names("method"))
def test_method(name: str) -> None:
    cls = REGISTRY.load("method", name)
    assert issubclass(cls, Explainer)
    check_explainer(cls)


@pytest.mark.parametrize("name", REGISTRY.names("backbone"))
def test_backbone(name: str) -> None:
    cls = REGISTRY.load("backbone", name)
    assert issubclass(cls, ModelAdapter)
    check_adapter(cls)


NEED_ATTENTION = {"attention", "attention_rollout", "attention_relevance"}


@pytest.mark.parametrize("method", REGISTRY.names("method"))
@pytest.mark.parametrize("backbone", ["shapes_vgg", "shapes_resnet"])
def test_method_on_the_embedded_backbones(method: str, backbone: str) -> None:
    adapter = REGISTRY.load("backbone", backbone).example()
    assert isinstance(adapter, ModelAdapter)
    if method in NEED_ATTENTION:
        with pytest.raises(AssertionError, match="not applicable to any of the models"):
            check_explainer(REGISTRY.load("method", method), [adapter])  # type: ignore[arg-type]
        return
    check_explainer(REGISTRY.load("method", method).example().replace(**LARGER.get(method, {})), [adapter])  # type: ignore[arg-type]


SMALLER = {"top_k_intersection": {"k": 20}}  # parameters that fit the kit's small pictures


@pytest.mark.parametrize("name", REGISTRY.names("metric"))
def test_metric(name: str) -> None:
    cls = REGISTRY.load("metric", name)
    assert issubclass(cls, Metric)
    check_metric(cls.example().replace(**SMALLER.get(name, {})))


@pytest.mark.parametrize("name", REGISTRY.names("renderer"))
def test_renderer(name: str) -> None:
    cls = REGISTRY.load("renderer", name)
    assert issubclass(cls, Renderer)
    check_renderer(cls)


@pytest.mark.parametrize("name", REGISTRY.names("target"))
def test_target(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "reference.png")
    cls = REGISTRY.load("target", name)
    assert issubclass(cls, Target)
    required: dict[str, dict[str, object]] = {
        "index": {"index": "bee"},
        "weights": {"classes": ["bee", 0], "weights": [1.0, -0.5]},
        "similarity": {"image": str(tmp_path / "reference.png")},
    }
    given = required.get(name, {})
    whole = REGISTRY.build("target", {"name": name, **given})
    check_documented(whole)
    adapter, probe = TinyAdapter(), None
    outputs = torch.tensor([[0.0, 2.0, 1.0, -1.0, 0.5], [3.0, 2.0, 2.5, 2.75, 1.0]])
    about = [About(f"picture {i}", 1, adapter.labels) for i in range(2)]
    whole.check(adapter.labels, 5)  # type: ignore[attr-defined]
    for target in whole.expanded():
        assert isinstance(target, Target)
        assert target.expanded() == (target,), "expanding is finished after one step"
        assert REGISTRY.build("target", REGISTRY.config_of(target)) == target
        probe = SharedProbe(adapter, target)
        rows = target.choose(outputs, about, probe)
        assert len(rows) == 2
        assert rows.ndim == 2 or not rows.is_floating_point()
        score: Tensor = target.score(outputs.clone().requires_grad_(), rows)
        assert score.shape == (2,)
        assert score.requires_grad


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in KINDS for n in REGISTRY.names(k)])
def test_every_parameter_is_documented(kind: str, name: str) -> None:
    schema = REGISTRY.schema(kind, name)
    assert schema.broken == ""
    assert [p.name for p in schema.params if not p.doc] == []
