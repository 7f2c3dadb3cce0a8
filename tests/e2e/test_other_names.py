"""Methods under the names of other libraries, and the untrained control, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import xai_framework as xai
from xai_framework.cli.main import main
from xai_framework.registry import Registry
from xai_framework.testing import TinyAdapter
from xai_framework.untrained import reinitialised

SMALL = ["dataset.images=2", "report=false"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cells(study: str = "default") -> list[dict[str, object]]:
    return json.loads(Path(f"outputs/runs/{study}/run.json").read_text("utf-8"))["cells"]  # type: ignore[no-any-return]


def test_other_names_run_and_the_canonical_one_is_stored(folder: Path) -> None:
    assert main(["run", *SMALL, "method=[saliency,Grad-CAM++,ixg]", "method.saliency.reduce=l2"]) == 0
    found = {c["label"]: c["method"]["name"] for c in cells()}  # type: ignore[index]
    assert found == {"saliency": "gradient", "gradcam_plus_plus": "gradcam_plus_plus", "ixg": "input_x_gradient"}
    assert main(["run", *SMALL, "method=[gradient]", "method.gradient.reduce=l2", "study=again"]) == 0
    assert cells("again")[0]["id"] in {c["id"] for c in cells()}  # one cell, whatever it is called
    (folder / "conf/experiment").mkdir(parents=True)
    (folder / "conf/experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /method: [saliency]\nmethod:\n  pp: {name: GradCAM++}\n"
    )
    assert main(["run", *SMALL, "experiment=mine"]) == 0
    assert {c["label"]: c["method"]["name"] for c in cells("mine")} == {  # type: ignore[index]
        "saliency": "gradient",
        "pp": "gradcam_plus_plus",
    }


def test_python_and_show_accept_other_names(capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry()
    assert registry.check("method", "Guided_Backpropagation")["name"] == "guided_backprop"
    assert registry.check("method", {"name": "smooth-grad", "inner": "IG"})["inner"]["name"] == "integrated_gradients"
    assert main(["show", "method", "saliency"]) == 0
    assert "gradient (method" in capsys.readouterr().out
    for alias, name in registry.aliases("method").items():
        assert name in registry.names("method")
        assert registry.canonical("method", alias) == name
    assert main(["run", *SMALL, "method=[salienzy]"]) == 1
    assert "did you mean 'saliency'" in capsys.readouterr().err


def test_untrained_explains_new_weights_for_the_trained_targets() -> None:
    assert main(["run", "-m", *SMALL, "method=[gradient,edge]", "untrained=false,true"]) == 0
    run = xai.open_run("outputs/runs/default")
    (trained,), (untrained,) = (run.select("gradient", name) for name in ("shapes_vgg", "shapes_vgg-untrained"))
    assert [trained.row(i).target for i in range(2)] == [untrained.row(i).target for i in range(2)]
    assert not np.allclose(trained, untrained)
    edges = {c["id"] for c in cells() if c["label"] == "edge"}
    assert len(edges) == 2


@pytest.mark.parametrize("network", ["vgg_like", "residual"])
def test_reinitialised_copies_share_nothing_but_the_architecture(network: str) -> None:
    model = TinyAdapter(network).model  # type: ignore[arg-type]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    first, again, other = reinitialised(model, 0), reinitialised(model, 0), reinitialised(model, 1)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    weights = [n for n, p in model.named_parameters() if p.ndim > 1]
    assert weights
    for name in weights:
        values = [m.state_dict()[name] for m in (model, first, other)]
        assert not any(torch.allclose(values[i], values[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    twin = TinyAdapter(network).model  # type: ignore[arg-type]
    assert {n: m.training for n, m in first.named_modules()} == {n: m.training for n, m in twin.named_modules()}


def test_weights_outside_any_module_are_drawn_anew_too() -> None:
    class Tokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = torch.nn.Parameter(torch.linspace(-3, 5, 4000))
            self.scale = torch.nn.Parameter(torch.full((7,), 2.0))

    model = Tokens()
    twin = reinitialised(model, 0).requires_grad_(False)
    assert not torch.allclose(twin.token, model.token)
    assert float(twin.token.mean()) == pytest.approx(1, abs=0.2)
    assert float(twin.token.std()) == pytest.approx(float(model.token.detach().std()), rel=0.05)
    assert torch.equal(twin.scale, model.scale)  # all alike: there is nothing learnt in it to destroy
