"""Row 14: methods that misbehave in every way, beside methods that do not."""

from __future__ import annotations

from pathlib import Path

from benchmarks.reliability.lab import Lab, Row
from benchmarks.reliability.launch import run
from benchmarks.reliability.study import Known, events, hold, merged_of, study

GOOD = ("gradient", "gradcam", "smoothgrad", "occlusion")
_PLUGIN = '''"""Bad. Nobody 2026."""

import ctypes, os, random, sys, time
from dataclasses import dataclass

import numpy as np
import torch

from xai_framework.core import Explainer


def networks():
    import gc
    return [m for m in gc.get_objects() if isinstance(m, torch.nn.Module)]


@dataclass(frozen=True)
class Bad(Explainer):
    """Misbehaves."""

    def explain(self, probe, inputs, targets, rng):
        gradient = probe.gradient(inputs, targets)
{body}
        return gradient
'''
SEGFAULT, SLEEP = "is killed by the system", "sleeps for ever"
KINDS: dict[str, tuple[str, str]] = {
    # what it does: (its code, the status of its maps)
    "raises": ("raise ValueError('no')", "failed"),
    "raises what is no Exception": ("raise BaseException('no')", "failed"),
    "gives another shape": ("return gradient[:, :, :, 0]", "failed"),
    "gives another batch": ("return gradient[:1].repeat(len(inputs) + 1, 1, 1, 1)", "failed"),
    "gives integers": ("return gradient.to(torch.int64)", "failed"),
    "gives NaN": ("return gradient * float('nan')", "nonfinite"),
    "gives None": ("return None", "failed"),
    "gives a list": ("return gradient.tolist()", "failed"),
    "changes weights in place": ("for m in networks():\n  for p in m.parameters(): p.detach().add_(1)", "failed"),
    "changes weights unseen": ("[p.data.add_(1) for m in networks() for p in m.parameters()]", "failed"),
    "replaces weights": ("for m in networks():\n  for p in m.parameters(): p.data = p.data * 2", "failed"),
    "leaves hooks": ("[m.register_forward_hook(lambda m, i, o: o * 0) for m in networks()]", "failed"),
    "sets training mode": ("[m.train() for m in networks()]", "failed"),
    "writes into the images": ("inputs.zero_()", "failed"),
    "writes into an answer": ("gradient.zero_()", "failed"),
    "turns gradients off": ("torch.set_grad_enabled(False)", ""),
    "sets another dtype": ("torch.set_default_dtype(torch.float64)", ""),
    "sets threads": ("torch.set_num_threads(4)", ""),
    "draws from the common generators": (
        "torch.manual_seed(3); torch.rand(9); np.random.seed(3); random.seed(3)",
        "",
    ),
    "changes the folder": ("os.chdir('/')", ""),
    "prints 1 MB": ("print('x' * 1_000_000); print('y' * 1_000_000, file=sys.stderr)", "ok"),
    "calls sys.exit": ("sys.exit(0)", "failed"),
    "forks": ("os.fork()", ""),
    SEGFAULT: ("ctypes.string_at(0)", "failed"),
    "calls os._exit": ("os._exit(0)", "failed"),
    SLEEP: ("time.sleep(10_000)", "failed"),
}
_NEED_WORKERS = (SEGFAULT, SLEEP, "calls os._exit")
_QUICK_SERIAL = ("raises", "gives a list", "replaces weights", "leaves hooks", "writes into the images", "forks")


def _misbehave(lab: Lab) -> None:
    known = study(images=4, methods=GOOD).undisturbed(lab.new())
    for what in KINDS:
        if what not in _NEED_WORKERS and (lab.full or what in _QUICK_SERIAL):
            _kind(lab, known, what)
    for what in KINDS if lab.full else (SEGFAULT,):
        _kind(lab, known, what, "executor=processes", "executor.workers=2", "executor.timeout=3")
    lab.note(f"{len(KINDS)} ways to misbehave; those that end or block a process with worker processes only")


def _kind(lab: Lab, known: Known, what: str, *executor: str) -> None:
    body, status = KINDS[what]
    with lab.case(f"a method that {what}, {executor[0] if executor else 'serial'}") as folder:
        indented = "\n".join(f"        {line}" for line in body.split("\n"))
        (folder / "bad.py").write_text(_PLUGIN.format(body=indented))
        names = f"method=[{','.join((GOOD[0], 'bad', *GOOD[1:]))}]"
        argv = [names if a.startswith("method=[") else a for a in known.argv]
        ended = run(folder, [*argv, "plugins=[./bad.py]", *executor], seconds=200)
        hold(ended.code in (0, 3), f"exit code {ended.code}: {ended.said[-1500:]}")
        hold(
            merged_of(folder, GOOD) == merged_of(known.folder, GOOD),
            f"other methods' maps differ: {[k for k, v in merged_of(folder, GOOD).items() if v not in _known(known)]}",
        )
        _statuses(folder, status)
        hold(bool(executor) or not events(folder, "worker_died"), f"raised through: {events(folder, 'worker_died')}")


def _known(known: Known) -> set[str]:
    return set(merged_of(known.folder, GOOD).values())


def _statuses(folder: Path, status: str) -> None:
    """The bad method's maps have the status they should, with a reason; others are fine."""
    from xai_framework.store import open_run

    bad = open_run(folder / "outputs/runs/default")["bad"]
    rows = [bad.row(i) for i in range(len(bad))]
    if status:
        hold({r.status.name for r in rows} == {status}, f"its maps are {[r.status.name for r in rows]}")
    for row in rows:
        hold(row.status.name != "failed" or row.reason, "no reason is given")


ROWS = (
    Row(
        "14",
        "a method that raises, gives nonsense, changes the model, exits, forks, crashes, hangs, ...",
        "only its maps fail, with a reason; the merged files of all others are the same bytes",
        _misbehave,
    ),
)
