"""executor=ray on two nodes of one machine, and on a cluster that lasts as long as the study."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import digest, events, run, start, until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One node with one core; tests add others. It runs in a folder of its own."""
    utils = pytest.importorskip("ray.cluster_utils", reason="the extra ray is not installed")
    before, environment = Path.cwd(), os.environ.copy()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    made = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    os.environ["RAY_ADDRESS"] = made.address
    try:
        yield made
    finally:
        made.shutdown()
        os.chdir(before)
        os.environ.clear()
        os.environ |= environment


def both_have_stored(folder: Path) -> bool:
    return len({e["worker"] for e in events(folder, "stored")}) == 2


def test_a_node_that_is_lost(tmp_path: Path, cluster: Any, expected: str) -> None:
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    study = start(tmp_path, "executor=ray", "executor.address=auto")
    until(lambda: both_have_stored(tmp_path), "both workers to have stored something")
    cluster.remove_node(node, allow_graceful=False)
    printed, _ = study.communicate(timeout=200)
    assert study.returncode == 0, printed
    assert [e["how"] for e in events(tmp_path, "worker_died")] == ["its node has died"]
    # the one that was lost did not cost its unit the company of its methods
    assert {len(e["methods"]) for e in events(tmp_path, "started")} == {6}  # type: ignore[arg-type]
    assert digest(tmp_path / "outputs") == expected


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, cluster: Any, expected: str) -> None:
    study = start(tmp_path, "executor=ray", "executor.address=auto")
    until(lambda: events(tmp_path, "stored"), "a unit")
    os.kill(int(str(events(tmp_path, "stored")[0]["worker"]).rpartition("-")[2]), signal.SIGKILL)
    printed, _ = study.communicate(timeout=200)
    assert study.returncode == 0, printed
    assert len({e["worker"] for e in events(tmp_path, "started")}) == 2
    assert digest(tmp_path / "outputs") == expected


DEADLY = '''
import os
from dataclasses import dataclass

from torch import Tensor

from xai_framework.core import Ask, Explainer, Probe, Rng, Shape


@dataclass(frozen=True)
class Deadly(Explainer):
    """Takes its worker with it."""

    def needs(self, about: Shape) -> tuple[Ask, ...]:
        return ()

    def explain(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng) -> Tensor:
        os._exit(11)
'''


def test_a_method_that_kills_workers_fails_alone(tmp_path: Path, cluster: Any) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    few = ["dataset.images=4", "method=[gradient,deadly]", "plugins=deadly.py"]
    done = run(tmp_path, *few, "executor=ray", "executor.address=auto", expect=3)
    assert "its worker died 2 times over it" in done.stderr
    assert len(list((tmp_path / "outputs/store").rglob("gradient-*/maps-*.h5"))) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cluster_of_ones_own_and_a_signal_to_all_of_it(tmp_path: Path, expected: str, number: signal.Signals) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    study = start(tmp_path, "executor=ray", "executor.workers=2")
    until(lambda: both_have_stored(tmp_path), "both workers to have stored something")
    os.killpg(study.pid, number) if number == signal.SIGINT else os.kill(study.pid, number)
    printed, _ = study.communicate(timeout=30)
    assert study.returncode == 75, printed
    with pytest.raises(ProcessLookupError):  # nothing of the cluster is left
        os.killpg(study.pid, 0)
    assert not list((tmp_path / "outputs").glob(".shared-*"))
    run(tmp_path, "executor=serial")
    assert digest(tmp_path / "outputs") == expected


@pytest.mark.parametrize(
    ("environment", "wrong", "words"),
    [
        ({"RAY_ADDRESS": "127.0.0.1:1"}, ["executor.address=auto"], "no Ray cluster can be reached (RAY_ADDRESS=127.0"),
        ({}, ["executor.address=example.org:6379"], "executor.address"),
        ({}, ["executor.workers=1", "device=cuda:97", "executor.gpus=0"], "device: no device 'cuda:97' here"),
    ],
)
def test_wrong_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], wrong: list[str], words: str
) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = run(tmp_path, "executor=ray", *wrong, expect=1)
    assert words in done.stderr
    assert "error[config]" in done.stderr
