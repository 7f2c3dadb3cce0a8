"""The reference experiments, composed from their YAML files, against the recipes restated in plain torch."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from tests.reference import recipes
from xai_framework.api import ModuleAdapter
from xai_framework.attempt import Task
from xai_framework.cli.main import main
from xai_framework.cli.run import composed_jobs
from xai_framework.core import Explainer, ModelAdapter, Preprocess, Status, Target, status_of
from xai_framework.engine import Engine
from xai_framework.probe import SharedProbe
from xai_framework.registry import Registry
from xai_framework.rng import NamedRng
from xai_framework.spec.compose import job_of

REGISTRY = Registry()
EXPERIMENTS = sorted(p.stem for p in (Path(__file__).parents[2] / "conf/experiment/reference").glob("*.yaml"))
TYPES = [(torch.float64, 1e-9), (torch.float32, 1e-5)]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def job(name: str, *overrides: str) -> Any:
    configs = composed_jobs([f"experiment=reference/{name}", *overrides], REGISTRY, [])
    assert configs is not None
    return job_of(configs[0], REGISTRY)


def method(made: Any, label: str) -> Explainer:
    found = REGISTRY.build("method", made.methods[label])
    assert isinstance(found, Explainer)
    return found


def target(made: Any) -> Target:
    found = REGISTRY.build("target", made.target)
    assert isinstance(found, Target)
    return found


@cache
def network(arch: str, seed: int = 0) -> nn.Module:
    """The architecture's convolutional part with random weights, and a small head in place of the large one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features = torchvision.models.get_model(arch, weights=None, num_classes=10).features
        head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(300), nn.ReLU(), nn.Linear(300, 10))
        with torch.no_grad():
            head(features(torch.zeros(1, 3, 64, 64)))
        model = nn.Sequential()
        model.features, model.head = features, head
    return model.double().eval()


def probe(model: nn.Module, made: Any) -> SharedProbe:
    return SharedProbe(ModuleAdapter(model, Preprocess()), target(made))


def run(made: Any, label: str, model: nn.Module, x: Tensor, rows: Tensor) -> Tensor:
    ids = [f"image {i}" for i in range(len(x))]
    return method(made, label).explain(probe(model, made), x, rows, NamedRng.of(0, ids))


def noise(count: int, shape: tuple[int, ...]) -> Tensor:
    """What the framework draws for the first image: the recipe's formula is tested, not its dice."""
    rng = NamedRng.of(0, ["image 0"]).shared("noise")
    return torch.stack([rng.repeat(1, k).normal((1, *shape))[0] for k in range(count)])


def relative(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    assert expected.any()
    return float((found - expected).norm() / expected.norm())


def picture(dtype: torch.dtype, scale: float, size: int = 64, count: int = 1) -> Tensor:
    x = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return ((x - 0.5) * scale).to(dtype)


CLASS = torch.tensor([4])


@pytest.mark.parametrize(("dtype", "allowed"), TYPES)
def test_r1_smoothgrad_gradient_and_strip(dtype: torch.dtype, allowed: float) -> None:
    made = job("r1_smoothgrad")
    counts = (1, 2, 3, 10, 20, 30, 50, 75, 100)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(10))
        model(torch.zeros(1, 3, 32, 32))
    model = model.to(dtype).eval()
    with torch.no_grad():
        model[4].weight.mul_(0.05)  # type: ignore[operator] # the classes chosen change from copy to copy
    x = picture(dtype, 200.0, 32)
    expected = recipes.r1_strip(model, x[0], noise(100, (3, 32, 32)).to(dtype), counts)
    assert relative(run(made, "strip", model, x, CLASS)[0], expected) <= allowed
    assert relative(run(made, "smoothgrad", model, x, CLASS)[0, 0], expected[-1]) <= allowed
    assert relative(run(made, "gradient", model, x, CLASS)[0, 0], recipes.r1_map(model, x[0])) <= allowed
    chosen = {int(model(x + 51 * n.to(dtype)).argmax()) for n in noise(100, (3, 32, 32))}
    assert len(chosen) > 1


class Nowhere:
    def write(self, block: object, attributes: object, volatile: object) -> None:
        pass


@pytest.mark.parametrize("images", [1, 3])
def test_r1_smoothgrad_and_its_strip_cost_one_run_of_100(images: int) -> None:
    made = job("r1_smoothgrad", f"dataset.images={images}")
    adapter = ModuleAdapter(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5)).eval(), Preprocess(crop=(16, 16)))
    dataset, aim = REGISTRY.build("dataset", made.dataset), target(made)
    tasks = [Task(label, method(made, label), aim, Nowhere()) for label in made.methods]
    engine = Engine(adapter, dataset, list(dataset.rows()), tasks)  # type: ignore[attr-defined,arg-type]
    engine.counts.forward = engine.counts.backward = 0
    engine.run(range(images), tasks)
    assert len(tasks) == 3
    # 100 noisy copies for all ten maps, and the picture itself for the plain gradient
    assert (engine.counts.forward, engine.counts.backward) == (101 * images, 101 * images)


@pytest.mark.parametrize("name", ["r1_smoothgrad", "r2_vgg16"])
def test_r1_r2_preprocessing(name: str) -> None:
    adapter = REGISTRY.build("backbone", job(name).backbone)
    assert isinstance(adapter, ModelAdapter)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    photograph = Image.fromarray(pixels)
    found = adapter.prepare(photograph).inputs
    torch.testing.assert_close(found, recipes.r1_input(photograph), rtol=0, atol=2e-4)


def test_other_preprocessing() -> None:
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8))
    found = {
        n: REGISTRY.build("backbone", job(n).backbone).prepare(photograph).inputs
        for n in EXPERIMENTS
        if n[:2] in ("r2", "r3", "r4")
    }  # type: ignore[attr-defined]
    assert found["r2_alexnet"].shape == (3, 227, 227)
    assert found["r3_production"].shape == (3, 299, 299)
    expected = torch.from_numpy(np.asarray(photograph).transpose(2, 0, 1) / np.float32(255))
    torch.testing.assert_close(found["r4_lecture"], expected)  # ToTensor and nothing else


@pytest.mark.parametrize(("dtype", "allowed"), TYPES)
@pytest.mark.parametrize(("name", "arch", "layer"), [("r2_vgg16", "vgg16", 29), ("r2_alexnet", "alexnet", 11)])
@pytest.mark.parametrize("cure", [False, True])
def test_r2(name: str, arch: str, layer: int, cure: bool, dtype: torch.dtype, allowed: float) -> None:
    made = job(name, *(["target.scale_logits=max"] if cure else []))
    model = network(arch).to(dtype)
    x = picture(dtype, 4.0)
    front, back = model.features[: layer + 1], nn.Sequential(*model.features[layer + 1 :], model.head)
    cam = recipes.r2_gradcam(front, back, x[0], 4, cure)
    found = run(made, "gradcam", model, x, CLASS)[0, 0]
    if dtype == torch.float64:
        assert torch.equal(found, cam)
    assert float((found - cam).abs().max()) <= 1  # a value on the edge of two of 256 steps may round either way
    if cure:
        return
    rewired = nn.Sequential(
        *[recipes.GuidedReLU() if isinstance(m, nn.ReLU) else m for m in [*model.features, *model.head]]
    )
    guided = recipes.r2_guided(rewired, x[0], 4)
    assert relative(run(made, "guided_backprop", model, x, CLASS)[0], guided) <= allowed
    product = run(made, "guided_gradcam", model, x, CLASS)[0]
    assert relative(product, recipes.r2_guided_gradcam(found, guided)) <= allowed


def test_r2_a_saturated_softmax_ends_in_zero_maps_and_the_cure_helps() -> None:
    model = network("alexnet", 1)
    saturated = nn.Sequential()
    saturated.features, saturated.head, saturated.scale = model.features, model.head, Times(1e6)
    x = picture(torch.float64, 4.0)
    wrong = torch.tensor([int(saturated(x).argmin())])
    made = job("r2_alexnet")
    for label in ("gradcam", "guided_backprop", "guided_gradcam"):
        assert status_of(run(made, label, saturated, x, wrong)[0].numpy()) == Status.zero
    cured = job("r2_alexnet", "target.scale_logits=max")
    assert run(cured, "guided_backprop", saturated, x, wrong).any()


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


@pytest.mark.parametrize(("dtype", "allowed"), TYPES)
def test_r3(dtype: torch.dtype, allowed: float) -> None:
    made = job("r3_production")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torchvision.models.resnet18(weights=None, num_classes=30).to(dtype).eval()
    x = picture(dtype, 4.0, 96)
    rows = model(x).argmax(1)
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    front = nn.Sequential(*[model.get_submodule(n) for n in names])
    back = nn.Sequential(model.avgpool, nn.Flatten(), model.fc)
    found = (
        method(made, "gradcam")
        .replace(layer=("layer4",))
        .explain(probe(model, made), x, rows, NamedRng.of(0, ["image 0"]))
    )
    assert relative(found[0, 0], recipes.r3_gradcam(front, back, x[0])) <= allowed


@pytest.mark.parametrize(("dtype", "allowed"), TYPES)
def test_r4(dtype: torch.dtype, allowed: float) -> None:
    made = job("r4_lecture")
    model = network("vgg19").to(dtype)
    x = picture(dtype, 1.0) + 0.5
    smooth = method(made, "smoothgrad").replace(samples=5)
    found = smooth.explain(probe(model, made), x, CLASS, NamedRng.of(0, ["image 0"]))[0, 0]
    assert relative(found, recipes.r4_smoothgrad(model, x[0], 4, noise(5, (3, 64, 64)).to(dtype))) <= allowed
    front, back = model.features[:36], nn.Sequential(model.features[36:], model.head)
    assert relative(run(made, "gradcam", model, x, CLASS)[0, 0], recipes.r4_gradcam(front, back, x[0], 4)) <= allowed
    leaf = x.clone().requires_grad_()
    gradient = torch.autograd.grad(model(leaf)[0, 4], leaf)[0]
    assert relative(run(made, "gradient", model, x, CLASS), gradient) <= allowed
    assert all(p.grad is None for p in model.parameters())


def test_r4_occlusion_with_stride_2() -> None:
    made = job("r4_lecture")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = (
            nn.Sequential(nn.Conv2d(3, 8, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 13 * 13, 10)).double().eval()
        )
    x = picture(torch.float64, 1.0, 41) + 0.5
    found = run(made, "occlusion", model, x, CLASS)[0, 0]
    assert found.shape == (6, 6)
    assert relative(found, recipes.r4_occlusion(model, x[0], 4, 32, 2)) <= 1e-9


@pytest.mark.parametrize(("dtype", "allowed"), TYPES)
@pytest.mark.parametrize("name", ["r5_saliency", "r5_loss"])
def test_r5(name: str, dtype: torch.dtype, allowed: float) -> None:
    made = job(name)
    model = network("alexnet").to(dtype)
    x, y = picture(dtype, 4.0, 64, 5), torch.tensor([3, 1, 4, 1, 5])
    expected = recipes.r5_saliency(model, x, y, loss=name == "r5_loss")
    assert relative(run(made, "gradient", model, x, y)[:, 0], expected) <= allowed
    alone = torch.cat([run(made, "gradient", model, x[i : i + 1], y[i : i + 1]) for i in range(5)])
    assert relative(alone[:, 0], expected) <= max(allowed, 1e-5)  # N is declared: the batch of the day has no say


SMALLER = {
    "r1_smoothgrad": ["method.smoothgrad.samples=3", "method.strip.samples=3", "method.strip.snapshots=[1,3]"],
    "r4_lecture": ["method.smoothgrad.samples=1", "method.occlusion.stride=32", "dataset.size=96"],
}
CHEAP = {"r1": "squeezenet1_1", "r2": "squeezenet1_1", "r3": "resnet18", "r4": "squeezenet1_1"}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_reference_experiment_runs_as_a_study(name: str) -> None:
    overrides = [*SMALLER.get(name, []), "dataset.images=1"]
    arch = CHEAP.get(name[:2])
    if arch:
        overrides += [f"backbone.arch={arch}"]
        made = job(name)
        overrides += [f"method.{m}.layer=last" for m, c in made.methods.items() if "layer" in c]
    assert main(["run", f"experiment=reference/{name}", *overrides]) == 0
    record = json.loads(Path(f"outputs/runs/reference-{name}/run.json").read_text("utf-8"))
    assert {c["label"] for c in record["cells"]} == set(job(name).methods)
    assert Path(f"outputs/runs/reference-{name}/index.html").is_file()
