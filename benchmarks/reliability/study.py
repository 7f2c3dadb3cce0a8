"""A small study whose undisturbed results are known, and what must hold after anything was done to a run of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.reliability.launch import Ended, run


class BrokenPromiseError(Exception):
    """A promise was not kept."""


def hold(condition: object, what: str) -> None:
    """Raises BrokenPromiseError where a promise does not hold."""
    if not condition:
        raise BrokenPromiseError(what)


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def merged(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of all merged files."""
    store = folder / "outputs" / "store"
    return {str(p.relative_to(store)): sha256(p) for p in sorted(store.rglob("maps-*.h5"))}


def digest(folder: Path) -> str:
    """One text for all results below a folder."""
    return hashlib.sha256(json.dumps(sorted(merged(folder).items())).encode()).hexdigest()


def shards(folder: Path) -> dict[str, Path]:
    """Cell folder and file name -> path, of all shards in place."""
    store = folder / "outputs" / "store"
    return {f"{p.parent.parent.name}/{p.name}": p for p in store.rglob("shards/*.h5") if not p.name.startswith(".")}


def acknowledged(folder: Path) -> dict[Path, str]:
    """Shard -> sha256 as the journals say, read without the store's own code."""
    found: dict[Path, str] = {}
    for journal in (folder / "outputs" / "store").rglob("journal.jsonl"):
        for text in journal.read_bytes().split(b"\n"):
            try:
                line = json.loads(text)
                found[journal.parent / "shards" / line["shard"]] = line["sha256"]
            except (ValueError, KeyError, TypeError):
                continue  # torn by a crash, and so never acknowledged
    return found


def lost(before: dict[Path, str]) -> list[str]:
    """Acknowledged shards that are no longer there, or are not what they were."""
    return [p.name for p, wanted in before.items() if not p.is_file() or sha256(p) != wanted]


def events(folder: Path, name: str = "") -> list[dict[str, Any]]:
    """What runs told while they went on, in the order of their files."""
    found = []
    for path in sorted(folder.glob("outputs/runs/*/events/*.jsonl")):
        for text in path.read_bytes().split(b"\n"):
            try:
                event = json.loads(text)
            except ValueError:
                continue
            if not name or event["event"] == name:
                found.append(event)
    return found


def study(*more: str, images: int = 6, methods: Sequence[str] = ("gradient", "gradcam", "smoothgrad")) -> Study:
    """A study of cheap methods, cut into units of two images."""
    sizes = {"smoothgrad": ["method.smoothgrad.samples=2"], "occlusion": [f"method.occlusion.{k}=48" for k in _SIDES]}
    own = [a for m in methods for a in sizes.get(m, [])]
    given = {a.split("=")[0] for a in more}
    usual = [a for a in (f"dataset.images={images}", "unit=2", "report=false") if a.split("=")[0] not in given]
    if "dataset" in given:
        usual = [a for a in usual if not a.startswith("dataset.images")]
    return Study(("run", *usual, f"method=[{','.join(methods)}]", *own, *more))


_SIDES = ("window", "stride")


@dataclass(frozen=True)
class Study:
    """A command and what it gives when it is left alone."""

    argv: tuple[str, ...]

    def undisturbed(self, folder: Path, fill: Callable[[Path], object] | None = None) -> Known:
        """Run it in a new folder, which ``fill`` furnishes with what the study reads."""
        folder.mkdir(parents=True)
        if fill:
            fill(folder)
        ended = run(folder, self.argv)
        if ended.code:
            raise BrokenPromiseError(f"the undisturbed run ended with {ended.code}: {ended.said[-2000:]}")
        return Known(self, folder, ended.seconds)


@dataclass(frozen=True)
class Known:
    """An undisturbed run."""

    study: Study
    folder: Path
    seconds: float

    @property
    def argv(self) -> tuple[str, ...]:
        """The command."""
        return self.study.argv

    @cached_property
    def digest(self) -> str:
        """Of its results."""
        return digest(self.folder)

    @cached_property
    def shards(self) -> set[str]:
        """Names of its shards."""
        return set(shards(self.folder))

    @cached_property
    def pieces(self) -> int:
        """Units that it computed."""
        return len(events(self.folder, "started"))

    @cached_property
    def maps(self) -> int:
        """Maps that it stored."""
        return int(events(self.folder, "run")[0]["maps"])

    def copy(self, folder: Path) -> Path:
        """Its folder, to be broken."""
        shutil.copytree(self.folder, folder)
        return folder

    def resumed(self, folder: Path, before: dict[Path, str] | None = None, same_cut: bool = True) -> Ended:
        """Run the study again after a fault and check all promises; ``before`` is what was acknowledged by then.

        ``same_cut``: whether the units must be cut as in the undisturbed run.
        """
        ended = run(folder, self.argv)
        hold(ended.code == 0, f"the second run ended with {ended.code}: {ended.said[-1500:]}")
        self.check(folder, before, same_cut)
        return ended

    def check(self, folder: Path, before: dict[Path, str] | None = None, same_cut: bool = True) -> None:
        """All promises about a folder in which the study was finished, however often it was broken before."""
        gone = lost(before or {})
        hold(not gone, f"{len(gone)} acknowledged results are lost: {gone[:3]}")
        again = run(folder, self.argv)
        hold(again.code == 0, f"the third run ended with {again.code}: {again.said[-1500:]}")
        hold("nothing left to compute" in again.said, f"the third run computed something: {again.said[-500:]}")
        hold(digest(folder) == self.digest, f"results differ: {_differences(merged(folder), merged(self.folder))}")
        if same_cut:
            found = set(shards(folder))
            hold(found == self.shards, f"shards differ: {sorted(found ^ self.shards)[:4]}")
        for path, wanted in acknowledged(folder).items():
            hold(not path.name.startswith("."), f"a temporary file is counted: {path.name}")
            hold(path.is_file() and sha256(path) == wanted, f"the journal names what is not there: {path.name}")


def _differences(a: dict[str, str], b: dict[str, str]) -> list[str]:
    return sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))[:4]


def verified(folder: Path, *more: str, before: Callable[[], object] | None = None) -> tuple[Ended, list[str]]:
    """(how ``xai verify`` ended, problems it found)."""
    ended = run(folder, ["verify", "outputs", "--json", *more], before)
    if ended.crashed:
        raise BrokenPromiseError(f"verify crashed: {ended.said[-1500:]}")
    found = next((json.loads(ln) for ln in ended.said.splitlines() if ln.startswith("[")), [])
    return ended, [p["problem"] for p in found]


def largest_difference(one: Path, other: Path) -> float:
    """The largest difference of two folders' maps, relative to the largest value of each map's file."""
    return differences(one, other)[0]


def differences(one: Path, other: Path) -> tuple[float, float]:
    """The largest, and the share of maps that differ by more than 1e-5."""
    import h5py
    import numpy as np

    found = []
    names = set(merged(one)) | set(merged(other))
    for name in names:
        with h5py.File(one / "outputs/store" / name) as a, h5py.File(other / "outputs/store" / name) as b:
            x, y = a["attribution"][...], b["attribution"][...]
        scale = float(np.nanmax(np.abs(x))) or 1.0
        hold(x.shape == y.shape and (np.isnan(x) == np.isnan(y)).all(), f"{name}: maps of another shape")
        found.append(np.nanmax(np.abs(x - y).reshape(len(x), -1), axis=1) / scale)
    every = np.concatenate(found)
    return float(every.max()), float((every > 1e-5).mean())


def merged_of(folder: Path, methods: Iterable[str]) -> dict[str, str]:
    """Merged files of some methods only."""
    wanted = tuple(f"/{m}-" for m in methods)
    return {k: v for k, v in merged(folder).items() if any(w in f"/{k}" for w in wanted)}
