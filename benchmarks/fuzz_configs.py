"""Random command lines and config files: each gives valid jobs, or an error that names the key or the file.

Nothing is computed: a case ends where the jobs are composed and checked.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from xai_framework.cli.run import composed_jobs
from xai_framework.core.errors import XaiError
from xai_framework.registry import Registry
from xai_framework.spec import Job
from xai_framework.spec.compose import job_of

Case = tuple[dict[str, bytes], list[str]]
"""Files below ./conf, and what is typed behind ``xai run``."""

_KEYS = (
    *("study", "seed", "space", "untrained", "device", "precision", "threads", "batch", "unit", "outputs", "report"),
    *("scale", "method", "backbone", "dataset", "target", "renderer", "experiment", "plugins", "defaults", "hydra"),
    *(
        "dataset.images",
        "dataset.seed",
        "dataset.name",
        "target.index",
        "target.k",
        "backbone.weights",
        "backbone.arch",
    ),
    *("method.gradient", "method.gradcam.layer", "method.smoothgrad.samples", "method.smoothgrad.sigma"),
    *("method.smoothgrad.inner", "method.smoothgrad.inner.layer", "method@method.sg", "method@method.smoothgrad.inner"),
    *("method.occlusion.window", "renderer.colormap", "hydra.mode", "hydra.sweeper.params", "hydra.run.dir"),
)
_VALUES = (
    *("", "null", "true", "off", "no", "012", "1:30", "0", "-1", "3", "1e3", "2.5", "nan", "inf", "-inf", "1_000"),
    *("9223372036854775808", "1" * 400, "gradient", "gradcam", "[gradient,gradcam]", "[gradient", "[]", "{}", "{a:1}"),
    *("[smoothgrad]", "smoothgrad,gradcam", "range(3)", "range(0,9,0)", "range(0,1e9)", "choice(1,2)", "glob(*)"),
    *("interval(0,1)", "shuffle(1,2)", "sort(2,1)", "int(3)", "str(a)", "extend_list(1)", "${seed}", "${oc.env:NOPE}"),
    *("${oc.env:HOME}", "${nope}", "${", "${a.${b}}", "${now:%Y}", "${hydra:job.name}", "${oc.decode:'[1'}", "???"),
    *("shapes", "shapes_vgg", "shapes_resnet", "index", "top_k", "predicted", "quickstart", "../x", "/etc/passwd", "~"),
    *("'quoted'", '"quoted"', "'open", "a b", "a=b", "\\", "%", "@", "*", "&a", "!x", "_target_", "None", "Grad-CAM++"),
)
_TYPICAL = (
    *("seed=3", "dataset.images=5", "method.gradcam.layer=last", "+method@method.sg=smoothgrad", "target=index"),
    *("target.index=[1,2]", "target.index='012'", "backbone=shapes_resnet", "backbone=torchvision", "dataset=folder"),
    *("dataset.path=photos", "renderer=overlay", "study=x", "device=cuda", "report=false", "space=pixels"),
    *("seed=1,2", "target=predicted,second_best", "method.smoothgrad.samples=2,3", "dataset=shapes,folder"),
    *("method.smoothgrad.inner=gradcam", "method.smoothgrad.inner=gradcam,gradient", "experiment=quickstart"),
    *("~renderer", "~method.gradcam", "hydra.mode=MULTIRUN", "outputs=/tmp/é", "study=ünïcode", "study=${target.name}"),
)
_FILES = ("experiment/mine", "method/mine", "dataset/mine", "experiment/a/b", "config", "hydra/launcher/planned", "x")

words = st.sampled_from(_VALUES)
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=()), max_size=12)
values = words | texts | st.integers().map(str) | st.floats().map(str)
keys = (
    st.sampled_from(_KEYS) | texts | st.builds("{}.{}".format, st.sampled_from(_KEYS), texts | st.sampled_from(_KEYS))
)


@st.composite
def overrides(draw: st.DrawFn) -> str:
    """``key=value`` as it may be typed, now and then without one of its parts."""
    mark = draw(st.sampled_from(("", "", "", "", "+", "++", "~")))
    sign = draw(st.sampled_from(("=", "=", "=", "=", "=", "", "==", " = ")))
    return f"{mark}{draw(keys)}{sign}{draw(values)}"


plain = st.none() | st.booleans() | st.integers() | st.floats() | texts | words
nested = st.recursive(
    plain, lambda s: st.lists(s, max_size=3) | st.dictionaries(keys | plain, s, max_size=3), max_leaves=8
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A config file: a mapping, one that is damaged, or anything at all."""
    kind = draw(st.sampled_from(("mapping", "mapping", "typed", "typed", "damaged", "bytes")))
    head = draw(st.sampled_from(("# @package _global_\n", "# @package _global_\n", "", "# @package a.b\n")))
    if kind == "bytes":
        return draw(st.binary(max_size=60))
    if kind == "typed":
        lines = draw(st.lists(st.builds("{}: {}".format, keys, values), max_size=4))
        return (head + "\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    tree = draw(st.dictionaries(keys, nested, max_size=4))
    with contextlib.suppress(yaml.YAMLError, UnicodeError, TypeError):
        text = head + yaml.safe_dump(tree, allow_unicode=draw(st.booleans()))
        if kind == "damaged" and text:
            at = draw(st.integers(0, len(text)))
            text = text[:at] + draw(texts | words) + text[at + draw(st.integers(0, 3)) :]
        return text.encode("utf-8", "surrogatepass")
    return head.encode()


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Some files, and a command line that may use them."""
    names = st.sampled_from(_FILES)
    # a third has nothing random but the mixture, so that more than the first check is reached
    noise = draw(st.integers(0, 2))
    files = draw(st.dictionaries(names.map("conf/{}.yaml".format), documents(), max_size=noise))
    typical = st.lists(st.sampled_from(_TYPICAL), max_size=4, unique_by=lambda o: o.partition("=")[0])
    argv = draw(typical) + draw(st.lists(overrides(), max_size=noise))
    uses = {"conf/experiment/mine.yaml": "experiment=mine", "conf/method/mine.yaml": "method=[mine]"}
    argv += [use for file, use in uses.items() if file in files]
    if not any(a.startswith("method") for a in argv) and draw(st.integers(0, 3)):
        argv.append("method=[gradient,smoothgrad]")
    return files, (["-m"] if draw(st.booleans()) else []) + argv


@cache
def _registry() -> Registry:
    return Registry([])


def outcome(case: Case) -> tuple[str, str]:
    """(``valid``, ``refused`` or ``broken``, what was said) of one case, in an empty folder."""
    files, argv = case
    with _inside(tempfile.TemporaryDirectory()) as folder, _silent() as said:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        start = time.monotonic()
        try:
            jobs = [job_of(c, _registry()) for c in composed_jobs(argv, _registry(), []) or ()]
            kind, text = "valid", f"{len(jobs)} jobs"
            if not all(isinstance(job, Job) and job.methods for job in jobs):
                kind, text = "broken", "a job without methods"
        except XaiError as error:
            kind, text = ("refused" if error.where and error.what else "broken"), str(error)
        except SystemExit:
            kind, text = "broken", f"Hydra ended it: {said.getvalue()[-300:]}"
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            ours = [f for f in traceback.extract_tb(error.__traceback__) if "xai_framework" in f.filename][-1]
            spot = f"{Path(last.filename).name}:{last.lineno} from {Path(ours.filename).name}:{ours.lineno}"
            kind, text = "broken", f"{type(error).__name__}: {str(error)[:200]} ({spot})"
            if isinstance(error, KeyboardInterrupt):
                raise
        if time.monotonic() - start > SLOW:
            kind, text = "broken", f"took {time.monotonic() - start:.0f} s"
    return kind, text


SLOW = 20.0


@contextlib.contextmanager
def _inside(made: tempfile.TemporaryDirectory[str]) -> Iterator[str]:
    before = Path.cwd()
    with made as folder:
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


@contextlib.contextmanager
def _silent() -> Iterator[io.StringIO]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield said


def main() -> None:
    """Print the counts, and every case that broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    broken: dict[str, str] = {}
    how = settings(
        max_examples=args.examples,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    @seeded(args.seed)
    @how
    @given(cases())
    def count(case: Case) -> None:
        kind, text = outcome(case)
        counts[kind] += 1
        if kind == "broken":
            broken.setdefault(text.partition(":")[0] + text[-60:], f"{case}\n    {text}")

    start = time.monotonic()
    count()
    numbers = ", ".join(f"{counts[kind]} {kind}" for kind in ("valid", "refused", "broken"))
    print(f"{sum(counts.values())} cases in {time.monotonic() - start:.0f} s: {numbers}")
    print("\n".join(broken.values()))


if __name__ == "__main__":
    main()
