"""Parameters: what a field's type, range and choices let through, and what the refusal says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xai_framework.core import ConfigError, File, Param, Plugin, param, params_of


class Method(Plugin):
    kind: ClassVar[str] = "method"


class Target(Plugin):
    kind: ClassVar[str] = "target"


@dataclass(frozen=True)
class Leaf(Method):
    depth: int = param(1, doc="how deep", ge=1)


LEAF = Leaf()


@dataclass(frozen=True)
class Full(Method):
    """One parameter of every type."""

    flag: bool = param(True, doc="yes or no")
    count: int = param(25, doc="how many", ge=1, le=10000)
    sigma: float = param(0.15, doc="how much", ge=0)
    share: float = param(0.5, doc="a part", gt=0, lt=1)
    mode: Literal["mean", "sum"] = param("mean", doc="how combined")
    number: Literal[1, 2, 4] = param(1, doc="one of some numbers")
    text: str = param("last", doc="a name")
    file: File | None = param(None, doc="a file")
    either: int | str = param(3, doc="index or name")
    several: tuple[float, ...] = param((0.0, 1.0), doc="values", ge=0)
    inner: Method = param(LEAF, doc="another method")
    maybe: Literal["a", None] = param(None, doc="a or nothing")
    parts: tuple[Method, ...] = param((LEAF,), doc="methods")


@dataclass(frozen=True)
class Needy(Method):
    layer: str = param(doc="must be given")


PARAMS = {p.name: p for p in params_of(Full)}


@pytest.mark.parametrize(
    ("name", "given_value", "expected"),
    [
        ("flag", False, False),
        ("count", 10000, 10000),
        ("sigma", 1, 1.0),
        ("sigma", 0.0, 0.0),
        ("mode", "sum", "sum"),
        ("number", 4, 4),
        ("file", None, None),
        ("file", "a b.pth", "a b.pth"),
        ("either", "tench", "tench"),
        ("either", 7, 7),
        ("several", [1, 2.5], (1.0, 2.5)),
        ("several", 3, (3.0,)),
        ("maybe", "a", "a"),
        ("maybe", None, None),
    ],
)
def test_accepts(name: str, given_value: Any, expected: Any) -> None:
    checked = PARAMS[name].check(given_value, "where")
    assert checked == expected
    assert type(checked) is type(expected)
    if isinstance(expected, tuple):
        assert [type(v) for v in checked] == [type(v) for v in expected]


@pytest.mark.parametrize(
    ("name", "bad", "says"),
    [
        ("count", "abc", "expected int, got 'abc' (str)"),
        ("count", 2.5, "expected int, got 2.5"),
        ("count", True, "expected int, got True (bool)"),
        ("count", None, "no value given, expected int"),
        ("count", 0, "0 is out of range; allowed: 1..10000"),
        ("count", 10**9, "1000000000 is out of range"),
        ("count", 10**400, "too large"),
        ("sigma", 10**400, "too large"),
        ("sigma", float("nan"), "nan is not a finite number"),
        ("sigma", float("inf"), "inf is not a finite number"),
        ("sigma", -0.1, "out of range; allowed: >= 0"),
        ("sigma", "0.2", "expected float, got '0.2' (str)"),
        ("share", 0, "allowed: > 0 and < 1"),
        ("share", 1.0, "allowed: > 0 and < 1"),
        ("flag", 1, "expected bool, got 1 (int)"),
        ("flag", "true", "expected bool"),
        ("mode", "men", "did you mean 'mean'?"),
        ("mode", ["mean"], "not a valid value"),
        ("number", 3, "3 is not a valid value"),
        ("number", True, "True is not a valid value"),
        ("number", 1.0, "1.0 is not a valid value"),
        ("text", 5, "expected str"),
        ("text", "a\0b", "NUL"),
        ("either", 1.5, "expected int or str"),
        ("several", [], "empty list"),
        ("several", [0.0, -1.0], "where[1]: -1.0 is out of range"),
        ("several", [[1.0]], "expected list of float"),
        ("several", {"a": 1}, "expected list of float"),
    ],
)
def test_refuses(name: str, bad: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PARAMS[name].check(bad, "where")
    assert says in str(caught.value)
    assert caught.value.where.startswith("where")


def test_words() -> None:
    texts = {p.name: p.type_text for p in params_of(Full)}
    assert texts == {
        "flag": "bool",
        "count": "int",
        "sigma": "float",
        "share": "float",
        "mode": "mean | sum",
        "number": "1 | 2 | 4",
        "text": "str",
        "file": "path or null",
        "either": "int or str",
        "several": "list of float",
        "inner": "method",
        "maybe": "a or null",
        "parts": "list of method",
    }
    assert PARAMS["inner"].nested == "method"
    assert PARAMS["file"].nested is None
    assert Param("n", ("int",), ge=0, le=2**63 - 1).range == "0..9223372036854775807"
    assert Param("x", ("float",), gt=1e-7).range == "> 1e-07"


def test_required() -> None:
    (layer,) = params_of(Needy)
    assert layer.required
    assert not PARAMS["count"].required
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'layer'"):
        Needy()


def test_required_after_inherited_defaults() -> None:
    @dataclass(frozen=True)
    class Deeper(Leaf):
        layer: str = param(doc="must be given")

    assert [p.name for p in params_of(Deeper)] == ["depth", "layer"]
    made: Any = Deeper(layer="4", depth=2)
    assert (made.depth, made.layer) == (2, "4")


def test_instances_check_themselves() -> None:
    made = Full(sigma=1, several=[2], parts=[Leaf(2), Leaf(3)])  # type: ignore[arg-type]
    assert (made.sigma, made.several, made.parts) == (1.0, (2.0,), (Leaf(2), Leaf(3)))
    assert type(made.sigma) is float
    with pytest.raises(ConfigError, match=r"Full\.count: 0 is out of range"):
        Full(count=0)
    with pytest.raises(ConfigError, match=r"Leaf\.depth"):
        Leaf().replace(depth=0)


@pytest.mark.parametrize("bad", ["gradient", Leaf, 3, None, Target()])
def test_nested_plugins_are_instances_of_their_kind(bad: Any) -> None:
    with pytest.raises(ConfigError, match=r"Full\.inner"):
        Full(inner=bad)
    with pytest.raises(ConfigError, match=r"Full\.parts: (expected a method|no value given)"):
        Full(parts=bad)


def test_types_no_config_can_express() -> None:
    @dataclass(frozen=True)
    class Odd(Method):
        table: dict[str, int] = param(None, doc="no")

    class Bare(Method):
        pass

    with pytest.raises(TypeError, match=r"Odd\.table: type dict\[str, int\] cannot be written in a config"):
        params_of(Odd)
    with pytest.raises(TypeError, match="Bare is not a dataclass"):
        params_of(Bare)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)


@given(st.sampled_from([p for p in PARAMS.values() if p.nested is None]), ANYTHING)
def test_any_value_is_taken_or_refused_by_name(p: Param, value: Any) -> None:
    try:
        checked = p.check(value, "method.x")
    except ConfigError as error:
        named = error.where.startswith("method.x") and error.what != ""
    else:
        named = p.check(checked, "again") == checked  # a checked value stays as it is
    assert named
