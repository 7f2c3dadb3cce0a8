"""A class is judged once, when it is loaded: is it a usable plugin of its kind? If not, the reason and the remedy."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xai_framework.core as core
from xai_framework.core.errors import ConfigError, PluginError
from xai_framework.core.params import params_of
from xai_framework.core.plugin import Plugin, check_value
from xai_framework.registry.discovery import Entry, find_spec
from xai_framework.registry.names import INTERFACES

# Folders of code that only carries an import out: this one, and importlib's.
_MACHINERY = (Path(__file__).parent, Path(importlib.__file__).parent)


def import_error(what: str, error: BaseException, source: Path | None) -> PluginError:
    """Why an import failed, and at which line: of the plugin's own file where it took part."""
    fix = ""
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        fix = f"install {top}" if find_spec(top) is None else ""
        if source is not None and (source.with_name(f"{top}.py").is_file() or (source.parent / top).is_dir()):
            fix = "a plugin file cannot import its neighbours: put the code into the same file or make it a package"
    return PluginError(
        f"{what} cannot be imported: {type(error).__name__}: {error}", where=_spot(error, source), fix=fix
    )


def _spot(error: BaseException, source: Path | None) -> str:
    """``file:line`` of an error: the last one in ``source``, else the last one outside the import machinery."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    frames = [f for f in frames if Path(f.filename).parent not in _MACHINERY]
    own = [f for f in frames if source is not None and Path(f.filename) == source]
    last = (own or frames)[-1:]
    return f"{last[0].filename}:{last[0].lineno}" if last else str(source or "")


def check_class(value: object, entry: Entry) -> type[Plugin]:
    """``value`` as the plugin class ``entry`` announces. Raises PluginError with the first thing that is wrong."""
    where = _where(value, entry)
    interface = getattr(core, INTERFACES[entry.kind])
    if not isinstance(value, type) or not issubclass(value, interface):
        raise PluginError(
            f"{entry.kind} {entry.name!r} is no {interface.__name__}",
            where=where,
            fix=f"derive it from {interface.__name__}",
        )
    cls: type[Plugin] = value
    if type(cls.api) is not int or type(cls.version) is not int:
        raise PluginError(f"api and version of {cls.__name__} must be whole numbers", where=where)
    if cls.api != Plugin.api:
        age = "newer" if cls.api > Plugin.api else "older"
        raise PluginError(
            f"written for plugin API {cls.api}, which is {age} than this framework's ({Plugin.api})",
            where=where,
            fix=f"install a {'newer xai-framework' if age == 'newer' else 'newer version of the plugin'}",
        )
    missing = [_signature(cls, name) for name in sorted(getattr(cls, "__abstractmethods__", ()))]
    if missing:
        raise PluginError(f"{cls.__name__} does not define {' and '.join(missing)}", where=where)
    for name, expected in _interface(cls):
        _check_member(cls, name, expected, where)
    parameters = getattr(cls, "__dataclass_params__", None) if "__dataclass_params__" in vars(cls) else None
    if parameters is None or not parameters.frozen:
        problem = "is no dataclass" if parameters is None else "is not frozen"
        raise PluginError(
            f"{cls.__name__} {problem}", where=where, fix=f"put @dataclass(frozen=True) above class {cls.__name__}"
        )
    _check_params(cls, where)
    return cls


def _where(value: object, entry: Entry) -> str:
    """The class's file and line, else its place."""
    try:
        source = inspect.getsourcefile(value)  # type: ignore[arg-type]
        return f"{source}:{inspect.getsourcelines(value)[1]}"  # type: ignore[arg-type]
    except (TypeError, OSError):
        return entry.place


def _interface(cls: type[Plugin]) -> Iterator[tuple[str, Any]]:
    """The public members that the plugin API defines and ``cls``, or a base of its author, overrides."""
    seen: set[str] = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("xai_framework.core."):
            continue
        for name, member in vars(base).items():
            if name.startswith("_") and name not in ("__len__", "__getitem__"):
                continue
            if name not in seen and (inspect.isfunction(member) or isinstance(member, property)):
                seen.add(name)
                if inspect.getattr_static(cls, name) is not member:
                    yield name, member


def _check_member(cls: type[Plugin], name: str, expected: Any, where: str) -> None:  # noqa: ANN401
    found = inspect.getattr_static(cls, name)
    if isinstance(expected, property):
        if inspect.isfunction(found):
            raise PluginError(f"{cls.__name__}.{name} is a method", where=where, fix="put @property above it")
        return
    if isinstance(found, staticmethod | classmethod) or not callable(found):
        kind = type(found).__name__
        raise PluginError(
            f"{cls.__name__}.{name} is a {kind}, expected a method {_signature_of(name, expected)}", where=where
        )
    if not _accepts(found, expected):
        raise PluginError(
            f"{cls.__name__} has the wrong signature: expected {_signature_of(name, expected)}, "
            f"found {_signature_of(name, found)}",
            where=where,
        )


def _accepts(found: Any, expected: Any) -> bool:  # noqa: ANN401
    """Whether ``found`` can stand for ``expected``: the same parameters in the same order; more only with defaults.

    A leading underscore (``_rng``, not used) makes no difference.
    """
    wanted = list(inspect.signature(expected).parameters.values())
    given = list(inspect.signature(found).parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in given):
        return True
    positional = [p for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < len(wanted):
        return False
    # the name of self is the author's choice
    if any(w.name != g.name.lstrip("_") for w, g in zip(wanted[1:], positional[1:], strict=False)):
        return False
    more = [p for p in given if p not in positional[: len(wanted)]]
    return all(p.default is not p.empty or p.kind is p.VAR_KEYWORD for p in more)


def _signature(cls: type, name: str) -> str:
    """``explain(self, probe: Probe, ...) -> Tensor`` of a member as the interface has it."""
    member = inspect.getattr_static(cls, name)
    if isinstance(member, property):
        returns = inspect.signature(member.fget).return_annotation if member.fget else "object"
        return f"the property {name} -> {str(returns).strip(chr(39))}"
    return _signature_of(name, member)


def _signature_of(name: str, function: Any) -> str:  # noqa: ANN401
    return f"{name}{inspect.signature(function)}".replace("'", "")


def _check_params(cls: type[Plugin], where: str) -> None:
    """Names, types and defaults of the parameters."""
    try:
        found = params_of(cls)
    except (TypeError, NameError) as error:
        raise PluginError(f"the parameters of {cls.__name__} cannot be read: {error}", where=where) from error
    for p in found:
        if p.name == "name" or p.name.startswith("_"):
            raise PluginError(
                f"{cls.__name__} has a parameter called {p.name!r}",
                where=where,
                fix="'name' holds the plugin's name in a config, and a leading underscore is reserved; rename it",
            )
        if p.required or p.default is None:
            continue
        try:
            check_value(p, p.default, f"{cls.__name__}.{p.name}")
        except ConfigError as error:
            raise PluginError(f"bad default: {error}", where=where) from error
