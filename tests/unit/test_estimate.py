"""What is announced before a run is what the run then does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from xai_framework.attempt import Task
from xai_framework.cli.run import composed_jobs
from xai_framework.core import Explainer, Shape
from xai_framework.engine import Engine
from xai_framework.estimate import passes
from xai_framework.executors.runner import engine_of, tasks_of
from xai_framework.plan import plan
from xai_framework.registry import Registry
from xai_framework.spec.compose import job_of
from xai_framework.stop import Stop

REGISTRY = Registry()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def engine(*words: str) -> tuple[Engine, list[Task]]:
    configs = composed_jobs(["dataset.images=3", *words], REGISTRY, [])
    assert configs is not None
    (group,) = plan([job_of(c, REGISTRY) for c in configs], REGISTRY, keep_manifests=False).groups
    tasks = tasks_of(group.cells, REGISTRY)
    made = engine_of(group, tasks, REGISTRY, Stop(), lambda _event: None, "")
    made.counts.forward = made.counts.backward = 0
    return made, list(tasks.values())


@pytest.mark.parametrize(
    "words",
    [
        ["method=[gradient]"],
        ["method=[gradient,input_x_gradient,gradcam,layercam]"],
        ["method=[gradient,gradcam,smoothgrad,vargrad]", "method.smoothgrad.samples=6", "method.vargrad.samples=6"],
        ["method=[gradient,smoothgrad,vargrad]", "method.smoothgrad.samples=10", "method.vargrad.samples=5"],
        ["method=[occlusion,gradient]", "method.occlusion.window=32", "method.occlusion.stride=32"],
        ["method=[guided_backprop,gradient,guided_gradcam]"],
        ["method=[integrated_gradients,lrp,deeplift]", "method.integrated_gradients.steps=5"],
        ["method=[gradient,gradcam]", "target=top_k", "target.k=3"],
        ["method=[gradient,smoothgrad]", "method.smoothgrad.samples=4", "target=top_k", "target.k=2"],
        ["method=[rise,feature_ablation]", "method.rise.masks=20"],
        ["method=[edge,centre]"],
    ],
    ids=" ".join,
)
def test_passes_are_those_that_are_made(words: list[str]) -> None:
    made, tasks = engine(*words)
    expected = passes([(t.method, id(t.target)) for t in tasks], made.input_shape)
    made.adapter.model.eval()
    with torch.random.fork_rng(devices=[]):
        made._with_memory(made.rows, range(3), tasks)
    assert (made.counts.forward, made.counts.backward) == (3 * expected.forward, 3 * expected.backward)
    assert expected.shared <= expected.unshared


def test_metrics_that_explain_again_announce_the_methods_passes(tmp_path: Path) -> None:
    from xai_plugins.methods.gradient import Gradient
    from xai_plugins.metrics.gini import Gini
    from xai_plugins.metrics.max_sensitivity import MaxSensitivity

    from xai_framework.judge import Judged, planned

    def announced(method: Explainer) -> tuple[int, int]:
        found = passes([(planned(method), 0)], (3, 16, 16))
        return found.forward, found.backward

    maps = tmp_path / "never read.h5"
    # the clean pass of the target, and three neighbours of the picture
    assert announced(Judged(MaxSensitivity(draws=3), Gradient(), maps)) == (1 + 3, 3)
    assert announced(Judged(Gini(), Gradient(), maps)) == (1, 0)
    assert announced(Gradient()) == (1, 1)
    needs = Judged(MaxSensitivity(draws=3), Gradient(), maps).needs(Shape((3, 16, 16)))
    assert needs == ()  # they say what may be shared, and decide what result files name
