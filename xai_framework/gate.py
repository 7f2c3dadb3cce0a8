"""``precision: auto``: which methods may be computed in bfloat16, decided once on a study's first images.

The decision is recorded. A second run reads the record: it loads no model. Imports no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xai_framework.core.errors import StoreError
from xai_framework.manifest import Manifest
from xai_framework.plan import Cell, Group, cell_identity, dataset_identity, expanded, plan
from xai_framework.registry import Registry
from xai_framework.registry.resolution import resolved as resolved_config
from xai_framework.spec import Job
from xai_framework.stop import Stop
from xai_framework.store import canonical, cell_id, write_atomic

if TYPE_CHECKING:
    from xai_framework.executors.trial import Compared, Trial

IMAGES = 8
"""Images that a decision is made on: the study's first that can be read."""

LEAST = 0.99
"""The smallest rank correlation of a bfloat16 map with the float32 one that is taken for the same map."""

_SCHEMA = 1
_LARGEST_RECORD = 1 << 20

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Decision:
    """In what precision one method is computed on one backbone and target, and why. ``lowest`` is the smallest Spearman
    of all compared images, at ``image``; ``record`` the file below the outputs folder, empty where nothing is decided.
    """

    method: str
    backbone: str
    target: str
    precision: Precision
    reason: str
    lowest: float | None = None
    image: str = ""
    images: int = 0
    record: str = ""


@dataclass(frozen=True)
class _Question:
    """One method whose precision is asked for: its cell in float32, and the rows that decide. ``key`` names both."""

    group: Group
    cell: Cell
    rows: tuple[int, ...]
    key: str

    @property
    def record(self) -> str:
        """The record's place in the outputs folder."""
        return f"store/precision/{self.key}.json"

    def decision(self, precision: Precision, reason: str, **facts: Any) -> Decision:  # noqa: ANN401 - its fields
        """An answer."""
        return Decision(self.cell.label, self.cell.backbone, self.cell.target, precision, reason, **facts)


@dataclass(frozen=True)
class Resolved:
    """Jobs without ``auto``. ``decisions`` by cell id and manifest, in the order in which methods were asked for;
    ``undecided`` are those that nothing is known of yet, ``manifests`` what was read of datasets, for :func:`plan`.
    """

    jobs: tuple[Job, ...]
    decisions: Mapping[tuple[str, str], Decision]
    undecided: tuple[Decision, ...] = ()
    manifests: dict[str, Manifest] = field(default_factory=dict)


def resolved(
    jobs: Sequence[Job], registry: Registry, stop: Stop | None = None, *, keep_manifests: bool = True
) -> Resolved:
    """Every job with ``precision: auto`` as jobs of float32 and bfloat16, by what is recorded.

    With ``stop`` (which a signal may set) what is not recorded is tried now and recorded; without it, nothing is
    computed or written, and such methods are float32 and ``undecided``. Raises ConfigError as :func:`plan` does, and
    StoreError where the disk refuses.
    """
    asking = [_in(job, "float32") for job in jobs if job.settings.precision == "auto"]
    if not asking:
        return Resolved(tuple(jobs), {})
    outputs = Path(asking[0].settings.outputs)
    manifests: dict[str, Manifest] = {}
    groups = plan(asking, registry, keep_manifests=keep_manifests, manifests=manifests).groups
    questions = [_question(group, cell) for group in groups for cell in group.cells]
    answers = {q.key: _read(outputs / q.record, q) for q in questions}
    if stop is not None:
        for group in groups:
            open_ = [q for q in questions if q.group is group and answers[q.key] is None]
            answers |= _tried(group, open_, outputs, registry, stop)
    found: dict[tuple[str, str], Decision] = {}
    precisions: dict[tuple[str, str], Precision] = {}
    undecided = []
    for q in questions:
        decision = answers[q.key] or q.decision("float32", "not decided yet")
        if not decision.record:
            undecided.append(decision)
        rows = q.group.manifest.key
        precisions[q.cell.store.id, rows] = decision.precision
        found[cell_id({**q.cell.store.identity, "precision": decision.precision}), rows] = decision
    split = [one for job in jobs for one in _split(job, precisions, registry, manifests)]
    return Resolved(tuple(split), found, tuple(undecided), manifests)


def words(decisions: Sequence[Decision]) -> list[str]:
    """One line for each backbone and target: which methods are computed in which precision, and why in float32."""
    places: dict[tuple[str, str], list[Decision]] = {}
    for decision in decisions:
        places.setdefault((decision.backbone, decision.target), []).append(decision)
    lines = []
    for place, here in places.items():
        reduced = ", ".join(dict.fromkeys(d.method for d in here if d.precision == "bfloat16"))
        full: dict[str, list[str]] = {}
        for decision in here:
            if decision.precision == "float32":
                full.setdefault(decision.reason, []).append(decision.method)
        parts = [f"bfloat16 for {reduced}"] if reduced else []
        if full:
            said = (f"{', '.join(dict.fromkeys(names))} ({reason})" for reason, names in full.items())
            parts.append(f"float32 for {', '.join(said)}")
        where = f" on {place[0]}, {place[1]}" if len(places) > 1 else ""
        lines.append(f"precision{where}: {'; '.join(parts)}")
    return lines


def facts(decision: Decision) -> dict[str, Any]:
    """What a run's record says of a decision."""
    kept = ("precision", "reason", "lowest", "image", "images", "record")
    return {name: getattr(decision, name) for name in kept}


def _in(job: Job, precision: Precision) -> Job:
    return replace(job, settings=replace(job.settings, precision=precision), decided=True)


def _split(
    job: Job,
    precisions: Mapping[tuple[str, str], Precision],
    registry: Registry,
    manifests: Mapping[str, Manifest],
) -> Iterator[Job]:
    """The job itself, or one for each target and precision. ``precisions``: by float32 cell and manifest."""
    if job.settings.precision != "auto":
        yield job
        return
    full, rows = _in(job, "float32"), manifests[dataset_identity(registry, job)].key
    backbone = resolved_config(registry, "backbone", job.backbone)
    for target in expanded(registry, "target", job.target):
        chosen: dict[Precision, dict[str, Mapping[str, Any]]] = {"bfloat16": {}, "float32": {}}
        for label, method in job.methods.items():
            cell = cell_id(cell_identity(registry, backbone, target, method, full))
            chosen[precisions[cell, rows]][label] = method
        for precision, methods in chosen.items():
            if methods:
                controls = tuple(label for label in job.controls if label in methods)
                yield replace(_in(job, precision), target=target, methods=methods, controls=controls)


def _question(group: Group, cell: Cell) -> _Question:
    rows = tuple([i for i, row in enumerate(group.manifest.rows) if not row.reason][:IMAGES])
    return _Question(group, cell, rows, cell_id(_deciding(group, cell, rows)))


def _deciding(group: Group, cell: Cell, rows: Sequence[int]) -> dict[str, Any]:
    """Everything that decides an answer: what is computed, on which images, and how alike it must be."""
    rule = {"schema": _SCHEMA, "least": LEAST}
    return {"rule": rule, "cell": dict(cell.store.identity), "images": [list(k) for k in group.manifest.keys(rows)]}


def _tried(
    group: Group, questions: Sequence[_Question], outputs: Path, registry: Registry, stop: Stop
) -> dict[str, Decision | None]:
    """Answers that are found by computing, and recorded; none where float32 itself does not run."""
    if not questions:
        return {}
    rows = questions[0].rows
    names = ", ".join(dict.fromkeys(q.cell.label for q in questions))
    print(f"comparing bfloat16 with float32 on {len(rows)} images of {group.backbone}: {names}", flush=True)
    from xai_framework.executors.trial import trial

    try:
        tried = trial(replace(group, cells=[q.cell for q in questions]), rows, registry, stop)
    except Exception as error:
        if stop.asked:
            raise
        # the run itself will stop at what is wrong with float32, after other backbones' maps are stored
        why = " ".join(f"not decided: {error}".split())[:200]
        return {q.key: q.decision("float32", why) for q in questions}
    return {q.key: _recorded(q, tried, outputs) for q in questions}


def _recorded(question: _Question, tried: Trial, outputs: Path) -> Decision:
    """Judge and write one answer; another run's, where one was faster, stays."""
    file = outputs / question.record
    if known := _read(file, question):
        return known
    images = tried.images.get(question.cell.store.id, ())
    decision = _judged(question, images, tried.broken)
    from importlib.metadata import version

    record = {
        "id": question.key,
        "decides": _deciding(question.group, question.cell, question.rows),
        "backbone": question.cell.backbone,
        "target": question.cell.target,
        "method": question.cell.label,
        "precision": decision.precision,
        "reason": decision.reason,
        "lowest": decision.lowest,
        "image": decision.image,
        "images": [asdict(c) for c in images],
        "device": tried.device,
        "versions": {name: version(name) for name in ("xai-framework", "torch", "numpy")},
    }
    write_atomic(file, canonical(record).encode())
    return decision


def _judged(question: _Question, images: Sequence[Compared], broken: str) -> Decision:
    """The rule: every image's map and prediction must stay, else float32."""
    known = [c for c in images if c.comparable]
    measured = [(c.spearman, c.image) for c in known if c.spearman is not None]
    lowest, where = min(measured, default=(None, ""))
    about = {"lowest": lowest, "image": where, "images": len(known), "record": question.record}
    moved = next((c.image for c in images if not c.same_prediction), None)
    lost = next((c for c in known if c.spearman is None), None)
    if broken:
        return question.decision("float32", broken, **about)
    if not known:
        why = images[0].note if images else "no image can be read"
        return question.decision("float32", f"nothing to compare: {why}", **about)
    if moved is not None:
        return question.decision("float32", f"another prediction on {moved}", **about)
    if lost is not None:
        return question.decision("float32", f"{lost.note} on {lost.image}", **about)
    reason = f"Spearman {shown(lowest)} on {where}"
    return question.decision("bfloat16" if lowest is not None and lowest >= LEAST else "float32", reason, **about)


def shown(spearman: float | None) -> str:
    """Three digits, rounded down: what is not enough must not look like it."""
    return "none" if spearman is None else f"{math.floor(spearman * 1000) / 1000:.3f}"


def _read(file: Path, question: _Question) -> Decision | None:
    """What is recorded; None where it is absent, or damaged: then it is decided anew."""
    try:
        if file.stat().st_size > _LARGEST_RECORD:
            return None
        record = json.loads(file.read_text("utf-8"))
        if record["id"] != question.key or cell_id(record["decides"]) != question.key:
            return None
        lowest, images = record["lowest"], [c for c in record["images"] if c["comparable"] is True]
        texts = (record["reason"], record["image"])
        sound = all(isinstance(text, str) for text in texts) and (lowest is None or 0 <= abs(float(lowest)) <= 1)
        if not sound or record["precision"] not in ("float32", "bfloat16"):
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, StoreError):
        return None
    about = {"lowest": lowest, "image": texts[1], "images": len(images), "record": question.record}
    return question.decision(record["precision"], texts[0], **about)
