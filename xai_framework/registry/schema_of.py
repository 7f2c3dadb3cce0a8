"""The schema of a loaded plugin class."""

from __future__ import annotations

import inspect
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_framework.core.errors import PluginError, did_you_mean
from xai_framework.core.params import Param, params_of
from xai_framework.core.plugin import Plugin
from xai_framework.registry import configs
from xai_framework.registry.discovery import Entry, source_of
from xai_framework.registry.schema import Schema, first_paragraph
from xai_framework.registry.sources import Module, digest, gather, is_foundation

if TYPE_CHECKING:
    from xai_framework.registry.registry import Registry


def schema_of(registry: Registry, cls: type[Plugin], entry: Entry) -> Schema:
    """What ``cls`` says of itself. Raises PluginError where its files cannot be read or a default has no name."""
    main = _main_file(entry)
    try:
        sources = gather(_modules(cls, entry, main))
    except (OSError, SyntaxError, ValueError) as error:
        raise PluginError(f"the source of {entry.name} cannot be read: {error}", where=entry.place) from error
    folder, assets = _assets(cls, entry)
    return Schema(
        kind=entry.kind,
        name=entry.name,
        doc=_doc(cls),
        headline=first_paragraph(sys.modules[cls.__module__].__doc__ or ""),
        params=tuple(replace(p, default=_default(registry, p, entry)) for p in params_of(cls)),
        version=cls.version,
        caption=cls.caption,
        stochastic=bool(getattr(cls, "stochastic", False)),
        class_specific=bool(getattr(cls, "class_specific", True)),
        resolves=_overrides(cls, "resolved"),
        expands=_overrides(cls, "expanded"),
        distribution=entry.distribution,
        distribution_version=entry.distribution_version,
        editable=entry.file is None and main is not None and not _installed(main),
        local=entry.file is not None,
        sources=sources,
        assets=assets,
        asset_folder=folder,
    )


def _main_file(entry: Entry) -> Path | None:
    if entry.file is not None:
        return entry.file
    file = getattr(sys.modules.get(entry.module), "__file__", None)
    return source_of(entry.module) or (Path(file) if file else None)


def _installed(source: Path) -> bool:
    """Whether a file lies where installers put packages: then its distribution's version says what it contains."""
    return not {"site-packages", "dist-packages"}.isdisjoint(source.parts)


def _modules(cls: type, entry: Entry, main: Path | None) -> list[Module]:
    """The announced module, and those of the class and its bases."""
    local = entry.file.parent if entry.file is not None else None
    modules = [Module(entry.module, main, local)] if main is not None else []
    for base in cls.__mro__:
        name = base.__module__
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and name != entry.module and not is_foundation(name):
            modules.append(Module(name, Path(file), local if Path(file).parent == local else None))
    return modules


def _assets(cls: type[Plugin], entry: Entry) -> tuple[str, dict[str, str]]:
    """The folder of the class that declares the assets, and declared name -> sha256."""
    if not cls.assets:
        return "", {}
    owner = next(base for base in cls.__mro__ if "assets" in vars(base))
    folder = Path(inspect.getfile(owner)).parent
    hashes = {}
    for name in cls.assets:
        try:
            hashes[name] = digest(folder / name)
        except OSError as error:
            beside = [p.name for p in sorted((folder / name).parent.glob("*")) if p.is_file()]
            raise PluginError(
                f"asset {name!r} of {entry.name} cannot be read: {error.strerror}",
                where=str(folder / name),
                fix=did_you_mean(Path(name).name, beside),
            ) from error
    return str(folder), hashes


def _doc(cls: type) -> str:
    """The class's own docstring; not the signature that dataclasses put there when there is none."""
    doc = cls.__doc__ or ""
    return "" if doc.startswith(f"{cls.__name__}(") else inspect.cleandoc(doc)


def _default(registry: Registry, p: Param, entry: Entry) -> Any:  # noqa: ANN401 - any parameter's value
    """A default as plain data: of a nested plugin its name and what differs from that one's own defaults."""
    if p.nested is None or p.default is None:
        return p.default
    plain = configs.plain(registry, p, p.default, full=False)
    for config in plain if p.many else [plain]:
        if config["name"] not in registry.names(p.nested):
            raise PluginError(
                f"the default of {entry.name}.{p.name} is no registered {p.nested}: {config['name']}",
                where=entry.place,
                fix="register it under an entry point, or define it in the same plugin file",
            )
    return tuple(plain) if p.many else plain


def _overrides(cls: type[Plugin], method: str) -> bool:
    return getattr(cls, method) is not getattr(Plugin, method)
