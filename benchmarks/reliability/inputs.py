"""Rows 11 and 19: pictures that vanish or change, and names that are meant to confuse."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.reliability.lab import Lab, Row
from benchmarks.reliability.launch import Ended, launch, run
from benchmarks.reliability.study import hold, sha256, study

PHOTOS = study("dataset=folder", "dataset.path=photos", methods=("gradient", "gradcam"))


def pictures(folder: Path, count: int = 8) -> None:
    """Pictures in ``folder/photos``."""
    (folder / "photos").mkdir()
    for i in range(count):
        picture(folder / "photos" / f"p{i}.png", i)


def picture(path: Path, number: int) -> None:
    """One picture, by number."""
    from PIL import Image

    pixels = np.random.default_rng(number).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC).save(path, "PNG")


def recorded(folder: Path) -> dict[str, str]:
    """Label -> sha256 of the merged files that the latest run's record names."""
    record = json.loads((folder / "outputs/runs/default/run.json").read_text())
    now = {c["label"]: c["file"] for c in record["cells"]}
    return {label: sha256(folder / "outputs" / file) for label, file in now.items()}


def _vanish(path: Path) -> None:
    path.unlink()


def _change(path: Path) -> None:
    picture(path, 99)


def _between(lab: Lab) -> None:
    """Pictures vanish or change between a run that is killed and its resume."""
    expected = {}
    for how in (_vanish, _change):

        def fill(folder: Path, how: Callable[[Path], None] = how) -> None:
            pictures(folder)
            how(folder / "photos/p3.png")

        expected[how] = PHOTOS.undisturbed(lab.new(), fill)
    for k in range(lab.count(20, 4)):
        how = (_vanish, _change)[k % 2]
        with lab.case(f"{how.__name__.strip('_')} between two runs, case {k}") as folder:
            pictures(folder)
            launched = launch(folder, PHOTOS.argv)
            time.sleep(lab.random.uniform(0, expected[how].seconds))
            launched.signal(signal.SIGKILL)
            launched.wait()
            how(folder / "photos/p3.png")
            ended = run(folder, PHOTOS.argv)
            hold(ended.code == 0, f"exit code {ended.code}: {ended.said[-800:]}")
            far = lab.most("difference", _difference(expected[how].folder, folder))
            hold(far <= ALIKE, f"results are not those of the pictures there are: {far:g}")


def _meanwhile(lab: Lab) -> None:
    """They vanish or change while the run goes on, after it has listed them."""
    known = PHOTOS.undisturbed(lab.new(), pictures)
    for k in range(lab.count(20, 4)):
        how = (_vanish, _change)[k % 2]
        name = f"p{lab.random.randrange(8)}.png"
        with lab.case(f"{how.__name__.strip('_')} during the run, case {k}") as folder:
            pictures(folder)
            path = folder / "photos" / name
            late = k // 2 % 2  # when the list is made, or when pictures are being read
            ended = run(folder, PHOTOS.argv, lambda how=how, path=path, late=late: _once_listed(late, how, path))  # type: ignore[misc]
            hold(not ended.crashed, f"a traceback: {ended.said[-800:]}")
            lab.add(f"exit code {ended.code}")
            if ended.code == 3:
                hold(name in ended.said, f"the picture is not named: {ended.said[-800:]}")
                _others_equal(known.folder, folder, name)
            elif ended.code == 1:
                hold("dataset: changed after the run was planned" in ended.said, f"not explained: {ended.said[-800:]}")
            else:  # it had been read by then
                hold(ended.code == 0 and late, f"exit code {ended.code}: {ended.said[-800:]}")
                hold(recorded(folder) == recorded(known.folder), "results differ")
            picture(path, int(name[1]))
            ended = run(folder, (*PHOTOS.argv, "retry_failed=true"))
            hold(ended.code == 0, f"with the picture back: {ended.said[-800:]}")
            far = lab.most("difference", _difference(known.folder, folder))
            hold(far <= ALIKE, f"with the picture back results differ by {far:g}")
    codes = ("exit code 3", "exit code 1", "exit code 0")
    lab.note("during a run: " + ", ".join(f"{lab.of(c):.0f} times {c}" for c in codes if lab.of(c)))
    lab.note(f"maps differ by at most {lab.of('difference'):.1e} from those of the pictures there are")


def _once_listed(late: int, how: Callable[[Path], None], path: Path) -> None:
    """Do it before the engine is made, or before its second unit."""
    from xai_framework import engine

    name, left = ("run", [1]) if late else ("__init__", [0])
    before = getattr(engine.Engine, name)

    def then(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] == -1:
            how(path)
        return before(*args, **kwargs)

    setattr(engine.Engine, name, then)


def _difference(one: Path, other: Path) -> float:
    """The largest between two runs' maps, relative to the largest value: units are cut in other ways here."""
    from xai_framework.store import open_run

    with_all, now = open_run(one / "outputs/runs/default"), open_run(other / "outputs/runs/default")
    most = 0.0
    for label in ("gradient", "gradcam"):
        a, b = with_all[label], now[label]
        hold(a.ids == b.ids, f"other pictures: {a.ids} and {b.ids}")
        most = max(most, float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(a)).max()))
    return most


def _others_equal(one: Path, other: Path, but: str) -> None:
    from xai_framework.store import open_run

    with_all, now = open_run(one / "outputs/runs/default"), open_run(other / "outputs/runs/default")
    for label in ("gradient", "gradcam"):
        a, b = with_all[label], now[label]
        hold(a.ids == b.ids, "other pictures")
        for i, name in enumerate(a.ids):
            if name == but:
                hold(b.row(i).status.name == "failed", f"{name} is stored as {b.row(i).status.name}")
            else:
                hold(np.array_equal(a[i], b[i]), f"the map of {name} differs")


def _vanishing(lab: Lab) -> None:
    _between(lab)
    _meanwhile(lab)


FILES = (
    *(
        "ü.png",
        "日本語.png",
        "🙂.png",
        "e\u0301.png",
        "a b.png",
        " lead.png",
        "quote'.png",
        'double".png',
        "new\nline.png",
    ),
    *(
        "tab\t.png",
        "\x01.png",
        "\x7f.png",
        "\u202egnp.png",
        "x" * 251 + ".png",
        "%41.png",
        "..a.png",
        "-rf.png",
        "~.png",
    ),
    *("$HOME.png", "`id`.png", "a;b.png", "a=b.png", "[a].png", "{a}.png", "*.png", "a\\b.png", "<b>.png", "&amp;.png"),
    *("#.png", "null.png", os.fsdecode(b"\xff\xfe.png")),
)
ALIKE = 1e-5
IDS = ("../../escape", "/etc/passwd", "a\0b", "..", "C:\\x", "x" * 5000, "new\nline", "a/b/c", "CON", "'\"")
STUDIES = (
    *("../escape", "../../escape", "/tmp/reliability-escape", "a/b", "..", ".", "ü", "a b", "x" * 255, "x" * 300),
    *("new\nline", "quote'", "~", "con", "*", "%s", "-x", "日本"),
)
OUTPUTS = ("a b", "ü/日本", "deep/er/still", "quote'", "new\nline", "x" * 255, "x" * 300, "*", "[a]", "$HOME", "-x")


def _names(lab: Lab) -> None:
    """Each works, or is refused by name; nothing is written elsewhere."""
    every = lab.count(1, 6)
    for name in FILES[::every]:
        with lab.case(f"a file {name!r}") as root:
            folder = _inner(root)
            (folder / "photos").mkdir()
            picture(folder / "photos" / name, 1)
            ended = run(folder, ["run", "dataset=folder", "dataset.path=photos", "method=[gradient]", "report=false"])
            _works(lab, root, folder, ended, name)
    for name in IDS[::every]:
        with lab.case(f"an id {name[:40]!r}") as root:
            folder = _inner(root)
            np.savez(folder / "images.npz", images=np.zeros((1, 96, 96, 3), np.uint8) + 9, ids=np.array([name]))
            ended = run(folder, ["run", "dataset=arrays", "dataset.path=images.npz", "method=[gradient]"])
            _works(lab, root, folder, ended, name)
    for key, names in (("study", STUDIES), ("outputs", OUTPUTS)):
        for name in names[::every]:
            with lab.case(f"{key}={name[:40]!r}") as root:
                folder = _inner(root)
                quoted = name.replace("\\", "\\\\").replace("'", "\\'")
                argv = ["run", "dataset.images=1", "method=[gradient]", "report=false", f"{key}='{quoted}'"]
                ended = run(folder, argv)
                _works(lab, root, folder, ended, "", name if key == "outputs" else "outputs")
    hold(not Path("/tmp/reliability-escape").exists(), "something was written to /tmp")
    lab.note(f"{lab.of('worked'):.0f} worked, {lab.of('refused'):.0f} were refused by an error that names them")


def _inner(root: Path) -> Path:
    folder = root / "a" / "b"
    folder.mkdir(parents=True)
    return folder


def _works(lab: Lab, root: Path, folder: Path, ended: Ended, id: str, outputs: str = "outputs") -> None:
    hold(not ended.crashed, f"a traceback: {ended.said[-1200:]}")
    hold(ended.code in (0, 1), f"exit code {ended.code}: {ended.said[-500:]}")
    lab.add("worked" if ended.code == 0 else "refused")
    if ended.code:
        hold("error[" in ended.said, f"not explained: {ended.said[-500:]}")
    allowed = {folder / "photos", folder / "images.npz", folder / outputs}
    for path in root.rglob("*"):
        inside = any(path == a or a in path.parents or path in a.parents for a in allowed)
        hold(inside, f"written elsewhere: {path.relative_to(root)}")
    if ended.code == 0 and id:
        from xai_framework.store import open_run

        found = open_run(folder / "outputs/runs/default")["gradient"].ids
        # HDF5 keeps text only: bytes of a name that are no text, and NUL, are escaped
        same = found == (id,) or (not id.isprintable() and len(found) == 1)
        hold(same, f"stored under another id: {found!r}")


ROWS = (
    Row(
        "11",
        "a picture vanishes or changes: between two runs, and while a run goes on",
        "results are those of the pictures there are; what changes during a run fails by name, or stops it by an error",
        _vanishing,
    ),
    Row(
        "19",
        "file names, ids, studies and folders with spaces, quotes, newlines, NUL, `../`, 255 and more bytes, no text",
        "each works or is refused by name; nothing is written elsewhere",
        _names,
    ),
)
