"""The registry: names, schemas and their cache, broken plugins, local files, configs and code identity."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import pickle
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai_framework.core.errors import ConfigError, PluginError
from xai_framework.core.params import Param
from xai_framework.registry import KINDS, Registry, Schema, snake_case
from xai_framework.registry.cache import folder
from xai_framework.registry.discovery import source_of
from xai_framework.registry.schema import from_json, to_json

HEAD = '''
"""Fake CAM. Nobody 2000, equation 1."""
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar, Literal
from xai_framework.core import Explainer, Target, param
'''

EXPLAIN = """
    def explain(self, probe, inputs, targets, rng):
        return inputs
"""

CAM = f"""{HEAD}
@dataclass(frozen=True)
class Cam(Explainer):
    \"\"\"What a fake CAM sees,
    in two lines.

    More.
    \"\"\"
    layer: str = param("last", doc="a layer")
    power: float = param(1, doc="an exponent", gt=0)
{EXPLAIN}
"""

SMOOTH = f"""{HEAD}
from {{package}}.cam import Cam

@dataclass(frozen=True)
class Smooth(Explainer):
    \"\"\"A mean.\"\"\"
    stochastic: ClassVar[bool] = True
    version: ClassVar[int] = 3
    inner: Explainer = param(Cam(power=2), doc="what is averaged")
    parts: tuple[Explainer, ...] = param((Cam(),), doc="more of it")
    also: Explainer | None = param(None, doc="one more, or none")
    samples: int = param(25, doc="copies", ge=1, le=100)
    sizes: tuple[int, ...] = param((1, 2), doc="sizes", ge=1)

    def resolved(self):
        return self
{EXPLAIN}
"""

NEEDY = f"""{HEAD}
@dataclass(frozen=True)
class Needy(Explainer):
    layer: str = param(doc="a layer")
{EXPLAIN}
"""

Install = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "xai_framework" / "schemas"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """install("acme", {"method": {"acme_cam": "acme.cam:Cam"}}, {"cam.py": text}) -> the package's folder."""
    installed: set[str] = set()

    def make(
        name: str, plugins: Mapping[str, Mapping[str, str]], files: Mapping[str, str], version: str = "1.0"
    ) -> Path:
        site = tmp_path / f"site_{name}"
        package = site / name
        package.mkdir(parents=True)
        for file, text in {"__init__.py": "", **files}.items():
            (package / file).parent.mkdir(parents=True, exist_ok=True)
            (package / file).write_text(textwrap.dedent(text))
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = []
        for kind, points in plugins.items():
            lines += [f"[xai_framework.{kind}s]", *(f"{n} = {value}" for n, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(site))
        installed.add(name)
        return package

    yield make
    for name in installed:
        forget(name)


@pytest.fixture
def acme(install: Install) -> Path:
    """A distribution with three methods."""
    points = {"acme_cam": "acme.cam:Cam", "smooth": "acme.smooth:Smooth", "needy": "acme.needy:Needy"}
    files = {"cam.py": CAM, "smooth.py": SMOOTH.format(package="acme"), "needy.py": NEEDY}
    return install("acme", {"method": points}, files)


def forget(package: str) -> None:
    """As in a new process."""
    for module in [m for m in sys.modules if m.partition(".")[0] == package]:
        del sys.modules[module]
    importlib.invalidate_caches()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- names, schemas, classes ---------------------------------------------------------------------------------------


def test_built_in_names() -> None:
    registry = Registry()
    assert {"gradient", "gradcam"} <= set(registry.names("method"))
    for kind in KINDS:
        assert list(registry.names(kind)) == sorted(registry.names(kind))


def test_names_and_outlines_import_nothing(acme: Path) -> None:
    registry = Registry()
    assert {"acme_cam", "smooth", "needy"} <= set(registry.names("method"))
    (cam,) = [o for o in registry.outlines("method") if o.name == "acme_cam"]
    assert (cam.summary, cam.distribution, cam.distribution_version, cam.broken) == (
        "What a fake CAM sees, in two lines.",
        "acme",
        "1.0",
        "",
    )
    assert not [m for m in sys.modules if m.startswith("acme")]


def test_schema(acme: Path) -> None:
    schema = Registry().schema("method", "smooth")
    assert (schema.kind, schema.name, schema.version, schema.caption) == ("method", "smooth", 3, "{name}")
    assert (schema.stochastic, schema.class_specific, schema.resolves, schema.expands) == (True, True, True, False)
    assert (schema.distribution, schema.distribution_version, schema.local) == ("acme", "1.0", False)
    assert schema.editable  # it does not lie in site-packages
    assert schema.doc == "A mean."
    assert schema.headline == "Fake CAM. Nobody 2000, equation 1."
    defaults = {p.name: p.default for p in schema.params}
    assert defaults == {
        "inner": {"name": "acme_cam", "power": 2.0},  # only what differs from the inner plugin's own defaults
        "parts": ({"name": "acme_cam"},),
        "also": None,
        "samples": 25,
        "sizes": (1, 2),
    }
    assert schema.sources == {str(acme / f): sha256(acme / f) for f in ("cam.py", "smooth.py")}
    cam = Registry().schema("method", "acme_cam")
    assert cam.doc == "What a fake CAM sees,\nin two lines.\n\nMore."
    assert cam.summary == "What a fake CAM sees, in two lines."
    assert Registry().schema("method", "needy").doc == ""  # not the signature dataclasses write there


def test_the_installed_are_not_editable(install: Install, tmp_path: Path) -> None:
    package = install("site-packages", {}, {})  # a folder of this name on the path
    assert not Registry().schema("method", "gradient").local
    site = package.parent / "site-packages"
    (site / "wheel_cam.py").write_text(CAM)
    info = site / "wheel_cam-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wheel-cam\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[xai_framework.methods]\nwheel_cam = wheel_cam:Cam\n")
    sys.path.insert(0, str(site))
    try:
        registry = Registry()
        assert not registry.schema("method", "wheel_cam").editable
        assert registry.code_identity("method", "wheel_cam") == {
            "plugin": "wheel_cam",
            "version": 1,
            "distribution": "wheel-cam",
            "assets": {},
        }
    finally:
        sys.path.remove(str(site))


def test_load_and_name_of(acme: Path) -> None:
    registry = Registry()
    cls = registry.load("method", "acme_cam")
    assert cls.__name__ == "Cam"
    assert registry.load("method", "acme_cam") is cls
    assert Registry().name_of(cls) == "acme_cam"  # also by a registry that has not loaded it
    other = type("LRPEpsilon", (cls,), {})
    assert registry.name_of(other) == "lrp_epsilon"


@pytest.mark.parametrize(
    ("class_name", "name"),
    [("MyCam", "my_cam"), ("GradCAM", "grad_cam"), ("LRP", "lrp"), ("VGG16Net", "vgg16_net"), ("A", "a")],
)
def test_snake_case(class_name: str, name: str) -> None:
    assert snake_case(class_name) == name


def test_unknown_names(acme: Path) -> None:
    registry = Registry()
    with pytest.raises(PluginError, match=r"no method 'smoth'; did you mean 'smooth'"):
        registry.load("method", "smoth")
    with pytest.raises(PluginError, match=r"no kind of plugin is called 'methd'; did you mean 'method'"):
        registry.names("methd")


def test_reexported_class(install: Install) -> None:
    files = {"__init__.py": "from .inner.cam import Cam as MyCam\n", "inner/__init__.py": "", "inner/cam.py": CAM}
    package = install("reexport", {"method": {"recam": "reexport:MyCam"}}, files)
    (seen,) = [o for o in Registry().outlines("method") if o.name == "recam"]
    assert (seen.summary, seen.broken) == ("What a fake CAM sees, in two lines.", "")
    assert "reexport" not in sys.modules
    schema = Registry().schema("method", "recam")
    assert set(schema.sources) == {str(package / "__init__.py"), str(package / "inner" / "cam.py")}
    assert Registry().name_of(Registry().load("method", "recam")) == "recam"


def test_source_of_does_not_import(install: Install) -> None:
    package = install(
        "parent", {}, {"__init__.py": "raise RuntimeError('imported')", "a/__init__.py": "", "a/b.py": ""}
    )
    assert source_of("parent.a.b") == package / "a" / "b.py"
    assert source_of("parent.a") == package / "a" / "__init__.py"
    assert source_of("parent.c") is None
    assert source_of("no_such_package.x") is None
    assert source_of("sys") is None


# --- what the sources of a plugin are ------------------------------------------------------------------------------


def test_sources_follow_imports_of_the_same_package(install: Install) -> None:
    method = f"""{HEAD}
import base_dist.base
from . import near
from .deep.far import thing
import json, torch
def later():
    import widget.lazy
@dataclass(frozen=True)
class M(base_dist.base.Base):
    pass
"""
    base = install(
        "base_dist",
        {},
        {
            "base.py": f"{HEAD}\nfrom base_dist import tool\nclass Base(Explainer):{EXPLAIN}",
            "tool.py": "",
            "unused.py": "",
        },
    )
    files = {
        "m.py": method,
        "near.py": "from widget import cycle",
        "cycle.py": "from widget import near",
        "deep/__init__.py": "",
        "deep/far.py": "thing = 1",
        "lazy.py": "",
        "unused.py": "",
    }
    package = install("widget", {"method": {"widget": "widget.m:M"}}, files)
    found = {Path(p) for p in Registry().schema("method", "widget").sources}
    assert found == {
        *(package / f for f in ("m.py", "near.py", "cycle.py", "deep/far.py", "lazy.py")),
        base / "base.py",
        base / "tool.py",
    }


def test_assets_belong_to_the_identity(install: Install) -> None:
    text = f"""{HEAD}
@dataclass(frozen=True)
class M(Explainer):
    assets: ClassVar[tuple[str, ...]] = ("data/weights.bin",)
{EXPLAIN}
"""
    package = install("weighty", {"method": {"weighty": "weighty.m:M"}}, {"m.py": text, "data/weights.bin": "one"})
    asset = package / "data" / "weights.bin"
    registry = Registry()
    assert registry.schema("method", "weighty").assets == {"data/weights.bin": sha256(asset)}
    before = registry.code_identity("method", "weighty")
    assert before["assets"] == {"data/weights.bin": sha256(asset)}
    asset.write_text("two")
    assert Registry().code_identity("method", "weighty") != before
    asset.unlink()
    with pytest.raises(PluginError, match=r"asset 'data/weights.bin' of weighty cannot be read"):
        Registry().schema("method", "weighty")


# --- the cache -----------------------------------------------------------------------------------------------------


def test_cached_schema_needs_no_import(acme: Path, cache_folder: Path) -> None:
    fresh = Registry().schema("method", "smooth")
    forget("acme")
    assert Registry().schema("method", "smooth") == fresh
    assert "acme" not in sys.modules
    assert [p.name for p in cache_folder.iterdir()] == [next(cache_folder.glob("method-smooth-*.json")).name]


def test_an_edit_ends_the_cached_schema(acme: Path) -> None:
    Registry().schema("method", "smooth")
    forget("acme")
    # of a module it imports, not its own
    (acme / "cam.py").write_text(CAM.replace('param(1, doc="an exponent"', 'param(2, doc="an exponent"'))
    # the process that imported the old code must not claim the new code's identity
    with pytest.raises(PluginError, match="was edited while it is in use; start again"):
        Registry().schema("method", "smooth")


def test_an_edit_between_processes(acme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Registry()
    old, identity = before.schema("method", "smooth"), before.code_identity("method", "smooth")
    forget("acme")
    monkeypatch.setattr("xai_framework.registry.sources._FIRST", {})  # as in a new process
    (acme / "cam.py").write_text(CAM.replace('param(1, doc="an exponent"', 'param(2, doc="an exponent"'))
    after = Registry()
    new = after.schema("method", "smooth")
    assert new.params[0].default == {"name": "acme_cam"}  # power=2 is now the default
    assert old.params[0].default == {"name": "acme_cam", "power": 2.0}
    assert after.code_identity("method", "smooth")["source"] != identity["source"]


def test_plan_then_edit_then_load_is_refused(acme: Path) -> None:
    Registry().schema("method", "acme_cam")
    forget("acme")
    planned = Registry()
    planned.schema("method", "acme_cam")  # from the cache
    (acme / "cam.py").write_text(CAM + "\n# edited\n")
    with pytest.raises(PluginError, match="was edited while it is in use"):
        planned.build("method", "acme_cam")


def test_a_new_version_is_looked_at_anew(acme: Path, cache_folder: Path) -> None:
    Registry().schema("method", "acme_cam")
    info = acme.parent / "acme-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.1\n")
    importlib.invalidate_caches()
    assert Registry().schema("method", "acme_cam").distribution_version == "1.1"
    assert len(list(cache_folder.glob("method-acme_cam-*.json"))) == 2


def _damage(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def damaged(text: str) -> str:
        stored = json.loads(text)
        change(stored)
        return json.dumps(stored)

    return damaged


HOSTILE: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "no object": lambda text: "[1, 2]",
    "huge": lambda text: text + " " * 1_000_001,
    "deep": lambda text: "[" * 100_000,
    "other key": _damage(lambda s: s["key"].update(value="os:system")),
    "no schema": _damage(lambda s: s.pop("schema")),
    "extra field": _damage(lambda s: s["schema"].update(code="x")),
    "no sources": _damage(lambda s: s["schema"].update(sources={})),
    "source list": _damage(lambda s: s["schema"].update(sources=["a"])),
    "bad hash": _damage(lambda s: s["schema"].update(assets={"../../etc/passwd": "x"})),
    "other kind": _damage(lambda s: s["schema"].update(kind="target")),
    "other name": _damage(lambda s: s["schema"].update(name="gradcam")),
    "text version": _damage(lambda s: s["schema"].update(version="1")),
    "bool version": _damage(lambda s: s["schema"].update(version=True)),
    "broken": _damage(lambda s: s["schema"].update(broken="no")),
    "param is text": _damage(lambda s: s["schema"].update(params=["layer"])),
    "param kind": _damage(lambda s: s["schema"]["params"][0].update(kinds=["code"])),
    "param no kinds": _damage(lambda s: s["schema"]["params"][0].update(kinds=[])),
    "param bound": _damage(lambda s: s["schema"]["params"][1].update(ge="0")),
    "param default type": _damage(lambda s: s["schema"]["params"][0].update(default=3)),
    "param default range": _damage(lambda s: s["schema"]["params"][1].update(default=-1.0)),
    "param default nan": _damage(lambda s: s["schema"]["params"][1].update(default=float("nan"))),
    "param choices": _damage(lambda s: s["schema"]["params"][0].update(choices=[["a"]])),
    "param flag": _damage(lambda s: s["schema"]["params"][0].update(many=1)),
}


@pytest.mark.parametrize("damage", HOSTILE.values(), ids=HOSTILE.keys())
def test_damaged_and_hostile_cache_files_are_ignored(acme: Path, cache_folder: Path, damage: Any) -> None:
    truth = Registry().schema("method", "acme_cam")
    (file,) = cache_folder.glob("method-acme_cam-*.json")
    good = file.read_text()
    file.write_text(damage(good))
    assert Registry().schema("method", "acme_cam") == truth
    assert file.read_text() == good  # and mended


def test_binary_cache_file_is_ignored(acme: Path, cache_folder: Path) -> None:
    truth = Registry().schema("method", "acme_cam")
    (file,) = cache_folder.glob("method-acme_cam-*.json")
    file.write_bytes(b"\xff\xfe\x00")
    assert Registry().schema("method", "acme_cam") == truth


def test_works_without_a_cache(acme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))  # a file where a folder should be
    assert Registry().schema("method", "acme_cam").name == "acme_cam"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/path")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert folder() is None
    assert Registry().schema("method", "acme_cam").name == "acme_cam"


def test_a_failed_write_leaves_nothing(acme: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert Registry().schema("method", "acme_cam").name == "acme_cam"
    assert list(cache_folder.iterdir()) == []


def test_schemas_survive_json(acme: Path) -> None:
    for name in ("acme_cam", "smooth", "needy"):
        schema = Registry().schema("method", name)
        assert from_json(json.loads(json.dumps(to_json(schema)))) == schema


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_any_json_is_a_schema_or_a_value_error(data: st.DataObject) -> None:
    plain = to_json(Schema("method", "acme_cam", params=(Param("layer", ("str",), default="last"),)))
    target: dict[str, Any] = data.draw(st.sampled_from([plain, plain["params"][0]]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON_VALUES)
    try:
        schema = from_json(plain)
    except ValueError:
        return
    assert isinstance(schema, Schema)
    assert to_json(schema) == plain


# --- plugins that cannot be used -----------------------------------------------------------------------------------

PLAIN_TEXTS = {
    "no_class": ("class Other: pass", r"broken_no_class\.m has no M; .*Other"),
    "syntax": ("def (", r"m\.py:1: method 'syntax' cannot be imported: SyntaxError"),
    "needs": ("\n\nimport not_there", r"m\.py:3: .*No module named 'not_there'; install not_there"),
    "raises": ("def f():\n    raise ValueError('oh')\nf()", r"m\.py:2: .*ValueError: oh"),
    "exits": ("import sys\nsys.exit(3)", r"m\.py:2: .*SystemExit: 3"),
    "not_a_class": ("M = 3", r"method 'not_a_class' is no Explainer; derive it from Explainer"),
}

# The class M of each, after HEAD.
CLASSES = {
    "wrong_base": ("@dataclass(frozen=True)\nclass M: pass", r"m\.py:\d+: .*is no Explainer"),
    "wrong_kind": ("@dataclass(frozen=True)\nclass M(Target): pass", "is no Explainer"),
    "no_dataclass": (f"class M(Explainer):{EXPLAIN}", r"M is no dataclass; put @dataclass\(frozen=True\) above"),
    "inherits_it": (
        f"@dataclass(frozen=True)\nclass B(Explainer):{EXPLAIN}\nclass M(B): x: int = 1",
        "M is no dataclass",
    ),
    "not_frozen": (f"@dataclass\nclass M(Explainer):{EXPLAIN}", "M is not frozen"),
    "abstract": (
        "@dataclass(frozen=True)\nclass M(Explainer): pass",
        r"M does not define explain\(self, probe: Probe, inputs: Tensor, targets: Tensor, rng: Rng\) -> Tensor",
    ),
    "unknown_type": (
        f"@dataclass(frozen=True)\nclass M(Explainer):\n    x: Nope = None{EXPLAIN}",
        "'Nope' is not defined",
    ),
    "unnamed_nested": (
        f"@dataclass(frozen=True)\nclass Hid(Explainer):{EXPLAIN}\n"
        f"@dataclass(frozen=True)\nclass M(Explainer):\n    x: Explainer = param(Hid(), doc=''){EXPLAIN}",
        r"the default of unnamed_nested\.x is no registered method: hid",
    ),
}

# One line in the body of an otherwise good class.
MEMBERS = {
    "too_new": ("api = 2", r"plugin API 2, which is newer than this framework's \(1\)"),
    "too_old": ("api = 0", "plugin API 0, which is older"),
    "odd_version": ("version = 'a'", "whole numbers"),
    "odd_type": ("x: dict = None", r"M\.x: type .*cannot be written"),
    "param_name": ("name: str = 'a'", "has a parameter called 'name'"),
    "param_underscore": ("_x: int = 1", "has a parameter called '_x'"),
    "no_annotation": ("x = param(1, doc='')", "TypeError: 'x' is a field but has no type annotation"),
    "bad_default": ("x: int = param(0, doc='', ge=1)", r"bad default: M\.x: 0 is out of range"),
    "bad_nested": ("x: Explainer = param('cam', doc='')", r"bad default: M\.x: expected a method"),
    "other_verb": ("def needs(self): ...", r"expected needs\(self, about: Shape\).*, found needs\(self\)"),
    "signature": (
        "def explain(self, model, image): ...",
        r"expected explain\(self, probe: Probe, .*found explain\(self, mo",
    ),
    "swapped": (
        "def explain(self, inputs, probe, targets, rng): ...",
        r"found explain\(self, inputs, probe, targets, rng\)",
    ),
    "more": ("def explain(self, probe, inputs, targets, rng, extra): ...", r"found explain\(.*extra\)"),
    "static": ("explain = staticmethod(lambda p, i, t, r: i)", "M.explain is a staticmethod"),
}


def member(line: str) -> str:
    explain = "" if "explain" in line else EXPLAIN
    return f"@dataclass(frozen=True)\nclass M(Explainer):\n    {line}\n{explain}"


BROKEN = {
    **PLAIN_TEXTS,
    **{name: (HEAD + text, says) for name, (text, says) in CLASSES.items()},
    **{name: (HEAD + member(line), says) for name, (line, says) in MEMBERS.items()},
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_plugins(install: Install, name: str) -> None:
    text, says = BROKEN[name]
    package = f"broken_{name}"
    install(package, {"method": {name: f"{package}.m:M"}}, {"m.py": text})
    registry = Registry()
    assert name in registry.names("method")  # it is listed,
    (schema,) = [s for s in registry.schemas("method") if s.name == name]
    assert re.search(says, schema.broken)  # with the cause,
    assert (schema.distribution, schema.distribution_version) == (package, "1.0")
    for use in (registry.load, registry.schema):  # and is an error when it is chosen
        with pytest.raises(PluginError, match=says):
            use("method", name)
    with pytest.raises(PluginError, match=says):
        registry.check("method", {"name": name}, "method.x")
    assert registry.build("method", "gradient")  # others are not affected


def test_missing_module(install: Install) -> None:
    install("hollow", {"method": {"hollow": "hollow.none:M"}, "target": {}}, {})
    with pytest.raises(
        PluginError, match=r"^method 'hollow' cannot be imported: ModuleNotFoundError: .*'hollow\.none'$"
    ):
        Registry().load("method", "hollow")


def test_signatures_that_do(install: Install) -> None:
    text = f"""{HEAD}
@dataclass(frozen=True)
class A(Explainer):
    def explain(this, probe, inputs, _targets, _rng, extra=1, **more): ...
@dataclass(frozen=True)
class B(Explainer):
    def explain(self, *args): ...
"""
    install("fine", {"method": {"a": "fine.m:A", "b": "fine.m:B"}}, {"m.py": text})
    assert Registry().load("method", "a").__name__ == "A"
    assert Registry().load("method", "b").__name__ == "B"


def test_outlines_see_obvious_faults(install: Install) -> None:
    points = {n: f"faulty.{n}:M" for n in ("absent", "syntax", "needs", "maybe")} | {"form": "faulty.maybe"}
    files = {
        "syntax.py": "def (",
        "needs.py": "import surely_not_installed.deep\nclass M: ...",
        "maybe.py": "try:\n    import surely_not_installed\nexcept ImportError:\n    pass\nclass M:\n    'Doc.'",
    }
    install("faulty", {"method": points}, files)
    broken = {o.name: o.broken for o in Registry().outlines("method") if o.distribution == "faulty"}
    assert broken["absent"] == "no module faulty.absent"
    assert broken["syntax"].startswith("SyntaxError: ")
    assert broken["needs"] == "surely_not_installed is not installed"
    assert broken["form"] == "its entry point is not module:Class"
    assert broken["maybe"] == ""
    checked = {o.name: o.broken for o in Registry().outlines("method", check=True)}
    assert "is no Explainer" in checked["maybe"]
    assert "is not module:Class" in checked["form"]


def test_a_name_of_two_distributions(install: Install) -> None:
    install("one", {"method": {"twice": "one.cam:Cam"}}, {"cam.py": CAM})
    install("two", {"method": {"twice": "two.cam:Cam"}}, {"cam.py": CAM}, version="2.5")
    registry = Registry()
    assert registry.names("method").count("twice") == 1
    with pytest.raises(PluginError, match="more than once") as caught:
        registry.load("method", "twice")
    assert "one 1.0 (one.cam:Cam)" in str(caught.value)
    assert "two 2.5 (two.cam:Cam)" in str(caught.value)
    (seen,) = [o for o in registry.outlines("method") if o.name == "twice"]
    assert "more than once" in seen.broken


@pytest.mark.parametrize(
    "name",
    [
        "grad/cam",
        "grad cam",
        "grad-cam",
        "Gradcam",
        "1cam",
        "gr\N{CYRILLIC SMALL LETTER A}dcam",
        "cam\N{COMBINING ACUTE ACCENT}",
        "_target_",
        "name",
        "null",
        "off",
    ],
)
def test_refused_names(install: Install, name: str) -> None:
    install("names", {"method": {name: "names.cam:Cam"}}, {"cam.py": CAM})
    registry = Registry()
    assert name not in registry.names("method")
    assert [s.broken for s in registry.schemas("method") if s.name == name] != [""]
    assert [o.broken for o in registry.outlines("method") if o.name == name] != [""]
    with pytest.raises(PluginError, match=r"no valid plugin name|reserved word"):
        registry.load("method", name)


# --- configs -------------------------------------------------------------------------------------------------------

FULL_CAM = {"name": "acme_cam", "layer": "last", "power": 1.0}


def test_check_fills_in_everything(acme: Path) -> None:
    registry = Registry()
    assert registry.check("method", "acme_cam") == FULL_CAM
    assert registry.check("method", {"name": "smooth", "samples": 4, "also": "acme_cam", "sizes": 7}) == {
        "name": "smooth",
        "inner": {**FULL_CAM, "power": 2.0},
        "parts": [FULL_CAM],
        "also": FULL_CAM,
        "samples": 4,
        "sizes": [7],
    }
    power = registry.check("method", {"name": "acme_cam", "power": 3})["power"]
    assert type(power) is float


def test_check_needs_no_class(acme: Path) -> None:
    for name in ("acme_cam", "smooth"):
        Registry().schema("method", name)
    forget("acme")
    registry = Registry()
    full = registry.check("method", {"name": "smooth", "inner": "smooth"})
    assert full["inner"]["inner"] == {**FULL_CAM, "power": 2.0}
    assert "acme" not in sys.modules


def test_build_and_back(acme: Path) -> None:
    registry = Registry()
    config = {
        "name": "smooth",
        "samples": 50,
        "inner": {"name": "smooth", "inner": {"name": "acme_cam", "layer": "4", "power": 3}, "sizes": [3, 4]},
        "parts": ["acme_cam", {"name": "acme_cam", "power": 5}],
    }
    plugin: Any = registry.build("method", config)
    cam, smooth = registry.load("method", "acme_cam"), registry.load("method", "smooth")
    inner = smooth(inner=cam(layer="4", power=3.0), sizes=(3, 4))  # type: ignore[call-arg]
    assert plugin == smooth(samples=50, inner=inner, parts=(cam(), cam(power=5.0)))  # type: ignore[call-arg]
    full = registry.config_of(plugin)
    assert full == registry.check("method", config)
    assert json.loads(json.dumps(full)) == full
    assert registry.build("method", full) == plugin


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"name": "smooth", "sampels": 4}, "method.s.sampels: no parameter 'sampels' in smooth; did you mean 'sam"),
        ({"name": "smooth", "samples": 0}, "method.s.samples: 0 is out of range; allowed: 1..100"),
        ({"name": "smooth", "samples": "many"}, "method.s.samples: expected int, got 'many'"),
        ({"name": "smooth", "inner": {"name": "acme_cam", "powr": 1}}, "method.s.inner.powr: no parameter 'powr' in"),
        ({"name": "smooth", "inner": {"name": "acme_cam", "power": 0}}, "method.s.inner.power: 0.0 is out of range"),
        ({"name": "smooth", "inner": "kam"}, "method.s.inner: no method 'kam'; did you mean 'cam'"),
        ({"name": "smooth", "inner": {"power": 1}}, "method.s.inner.name: no method is named"),
        ({"name": "smooth", "inner": None}, "method.s.inner: expected the name of a method"),
        ({"name": "smooth", "inner": 3}, "method.s.inner: expected the name of a method, or"),
        ({"name": "smooth", "inner": False}, "YAML reads on, off"),
        ({"name": "smooth", "inner": {"name": False}}, "method.s.inner.name: False is not a name"),
        ({"name": "smooth", "parts": []}, "method.s.parts: empty list"),
        (
            {"name": "smooth", "parts": ["acme_cam", {"name": "acme_cam", "layer": 1}]},
            "method.s.parts[1].layer: expected str",
        ),
        ({"name": "smooth", "sizes": [1, 0]}, "method.s.sizes[1]: 0 is out of range"),
        ({"name": "needy"}, "method.s.layer: needy needs a value for 'layer' (str); a layer"),
        ({"name": "acme_cam", "_target_": "os.system"}, "method.s._target_: '_target_' is not allowed"),
        ({"_target_": "os.system"}, "method.s.name: no method is named"),
        ({"name": "os.system"}, "no method 'os.system'"),
        ({"name": "acme_cam", 3: 4}, "method.s.3: no parameter 3 in acme_cam"),
        ({}, "no method is named"),
        (["acme_cam"], "expected the name of a method"),
        ("smoth", "method.s: no method 'smoth'; did you mean 'smooth'"),
    ],
)  # fmt: skip
def test_config_errors(acme: Path, config: Any, says: str) -> None:
    for act in (Registry().check, Registry().build):
        with pytest.raises((ConfigError, PluginError)) as caught:
            act("method", config, "method.s")
        assert says in str(caught.value)


def test_nesting_has_an_end(acme: Path) -> None:
    config: Any = "acme_cam"
    for _ in range(3000):
        config = {"name": "smooth", "inner": config}
    with pytest.raises(ConfigError, match="nested more than 16 deep"):
        Registry().check("method", config, "method")


def test_errors_of_a_constructor(install: Install) -> None:
    text = f"""{HEAD}
from xai_framework.core import ConfigError
@dataclass(frozen=True)
class M(Explainer):
    window: int = param(8, doc="")
    stride: int = param(4, doc="")
    def __post_init__(self):
        super().__post_init__()
        if self.stride > self.window:
            raise ConfigError("stride is larger than window", where="M.stride", fix="at most window")
        if self.window == 13:
            raise ValueError("bad luck")
{EXPLAIN}
"""
    install("strict", {"method": {"strict": "strict.m:M"}}, {"m.py": text})
    registry = Registry()
    with pytest.raises(ConfigError, match=r"^method\.a\.stride: stride is larger than window; at most window$"):
        registry.build("method", {"name": "strict", "stride": 9}, "method.a")
    with pytest.raises(PluginError, match=r"method\.a: strict cannot be made: ValueError: bad luck"):
        registry.build("method", {"name": "strict", "window": 13}, "method.a")


# --- local files ---------------------------------------------------------------------------------------------------

LOCAL = f"""{HEAD}
from xai_framework.core import Sampled
class _Base(Explainer):
    pass
@dataclass(frozen=True)
class MyCam(_Base):
    \"\"\"Mine.\"\"\"
    scale: float = param(1.0, doc="times")
{EXPLAIN}
@dataclass(frozen=True)
class Other(Explainer):
    plugin_name: ClassVar[str] = "better_cam"
    inner: Explainer = param(MyCam(scale=2.0), doc="inner")
{EXPLAIN}
@dataclass(frozen=True)
class Fixed(Target):
    def choose(self, outputs, about, probe): ...
    def score(self, outputs, rows): ...
"""


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "my cam.py"
    path.write_text(LOCAL)
    return path


def test_local_file(local: Path, cache_folder: Path) -> None:
    registry = Registry([local])
    assert {"my_cam", "better_cam"} <= set(registry.names("method"))
    assert not {"_base", "base", "sampled", "other"} & set(registry.names("method"))
    assert "fixed" in registry.names("target")
    schema = registry.schema("method", "my_cam")
    assert (schema.local, schema.editable, schema.distribution) == (True, False, "local")
    assert schema.sources == {str(local): sha256(local)}
    assert registry.schema("method", "better_cam").params[0].default == {"name": "my_cam", "scale": 2.0}
    plugin = registry.build("method", {"name": "better_cam", "inner": {"name": "my_cam", "scale": 3}})
    assert registry.config_of(plugin) == {"name": "better_cam", "inner": {"name": "my_cam", "scale": 3.0}}
    assert pickle.loads(pickle.dumps(plugin)) == plugin
    assert registry.code_identity("method", "my_cam") == {
        "plugin": "my_cam",
        "version": 1,
        "distribution": "local",
        "assets": {},
        "source": hashlib.sha256(sha256(local).encode()).hexdigest(),
    }
    assert not list(local.parent.glob("__pycache__"))
    assert not cache_folder.exists()
    (seen,) = [o for o in registry.outlines("method") if o.name == "my_cam"]
    assert (seen.summary, seen.distribution, seen.broken) == ("Mine.", "my cam.py", "")


def test_local_file_given_twice_is_one(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(local.parent)
    first, second = Registry([local]), Registry([f"./{local.name}", str(local)])
    assert first.load("method", "my_cam") is second.load("method", "my_cam")


def test_edited_local_file(local: Path) -> None:
    before = Registry([local])
    old = before.code_identity("method", "my_cam")
    local.write_text(LOCAL.replace("scale: float = param(1.0", "scale: float = param(7.0"))  # same second, same size
    after = Registry([local])
    assert after.check("method", "my_cam") == {"name": "my_cam", "scale": 7.0}
    assert after.load("method", "my_cam")().scale == 7.0  # type: ignore[attr-defined]
    assert after.code_identity("method", "my_cam")["source"] != old["source"]
    assert after.code_identity("method", "my_cam") == Registry([local]).code_identity("method", "my_cam")


def test_edited_before_it_was_looked_at(local: Path) -> None:
    registry = Registry([local])
    local.write_text(LOCAL + "\n# edited\n")
    with pytest.raises(PluginError, match="was edited while it is in use"):
        registry.code_identity("method", "my_cam")
    assert Registry([local]).code_identity("method", "my_cam")


def test_identity_names_no_path(local: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "renamed.py"
    elsewhere.parent.mkdir()
    elsewhere.write_text(LOCAL)
    assert Registry([local]).code_identity("method", "my_cam") == Registry([elsewhere]).code_identity(
        "method", "my_cam"
    )
    assert str(tmp_path) not in json.dumps(Registry([local]).code_identity("method", "my_cam"))


def test_local_plugin_built_on_an_installed_one(acme: Path, tmp_path: Path) -> None:
    path = tmp_path / "sub.py"
    path.write_text(f"{HEAD}\nfrom acme.cam import Cam\n@dataclass(frozen=True)\nclass SubCam(Cam): pass\n")
    registry = Registry([path])
    assert set(registry.schema("method", "sub_cam").sources) == {str(path), str(acme / "cam.py")}
    assert registry.load("method", "acme_cam") is registry.load("method", "sub_cam").__mro__[1]


def local_error(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises((ConfigError, PluginError)) as caught:
        Registry([path])
    return str(caught.value)


def test_local_files_that_cannot_be_used(tmp_path: Path, acme: Path) -> None:
    before = set(sys.modules)
    assert "mine.py:1: the plugin file mine.py cannot be imported: SyntaxError" in local_error(tmp_path, "def (")
    assert "mine.py:2: " in local_error(tmp_path, "x = 1\n1 / 0")
    assert not [m for m in set(sys.modules) - before if m.startswith("xai_local")]  # nothing half-imported is left
    assert "defines no plugin" in local_error(tmp_path, "from xai_framework.core import Explainer")
    (tmp_path / "helper.py").write_text("")
    assert "cannot import its neighbours" in local_error(tmp_path, "import helper")
    clash = local_error(tmp_path, CAM)
    assert "method 'cam' is defined more than once: xai-framework 0.1.0 (xai_plugins.methods.cam:" in clash
    assert f"{tmp_path / 'mine.py'} (Cam)" in clash
    assert "plugin_name" in clash
    named = CAM.replace("class Cam(Explainer):", "class Cam(Explainer):\n    plugin_name: ClassVar[str] = '{}'")
    assert "no valid plugin name" in local_error(tmp_path, named.replace("'{}'", "'my/cam'"))
    assert "3 is not a string" in local_error(tmp_path, named.replace("'{}'", "3"))


def test_an_unfinished_local_class_says_what_it_misses(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"{HEAD}\n@dataclass(frozen=True)\nclass Half(Explainer): pass\n")
    with pytest.raises(PluginError, match=r"mine\.py:\d+: Half does not define explain\("):
        Registry([path]).load("method", "half")


def test_missing_local_files(local: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such plugin file; did you mean 'my cam.py'"):
        Registry([tmp_path / "my_cam.py"])
    with pytest.raises(ConfigError, match="no such plugin file"):
        Registry([tmp_path])
    with pytest.raises(ConfigError, match="no such plugin file"):
        Registry([tmp_path / "none" / "x.py"])
    text = tmp_path / "cam.txt"
    text.write_text(LOCAL)
    with pytest.raises(ConfigError, match=r"ends in \.py"):
        Registry([text])


def test_schema_is_a_value() -> None:
    schema = Registry().schema("method", "gradcam")
    with pytest.raises(dataclasses.FrozenInstanceError):
        schema.name = "x"  # type: ignore[misc]
    assert schema.param("layer") is not None
    assert schema.param("lair") is None
