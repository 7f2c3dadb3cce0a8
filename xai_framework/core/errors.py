"""Errors a user can act on: what, where, why, how to fix, with the nearest valid name. Imports nothing heavy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class XaiError(Exception):
    """A mistake or a fault explained to its user; the command line prints it without a traceback.

    ``what`` says what is wrong, ``where`` names the key, file or sample id, ``fix`` says how to mend it.
    """

    code: ClassVar[str] = "error"

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.fix:
            parts.append(self.fix)
        return "; ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions travel between processes; keyword arguments need help to be pickled.
        return _rebuild, (type(self), self.what, self.where, self.fix)


def _rebuild(cls: type[XaiError], what: str, where: str, fix: str) -> XaiError:
    return cls(what, where=where, fix=fix)


class ConfigError(XaiError):
    """A config, an override or a parameter is wrong; raised before any model is loaded."""

    code = "config"


class PluginError(XaiError):
    """A plugin cannot be found, imported or used as what it claims to be."""

    code = "plugin"


class ImageError(XaiError):
    """One image cannot be used; its row is stored as failed and the run goes on."""

    code = "image"


class WeightsError(XaiError):
    """A weights file cannot be loaded safely, or does not fit the architecture."""

    code = "weights"


class ModelError(XaiError):
    """A model does something a classifier should not (wrong output shape, no differentiable path)."""

    code = "model"


def does_not_run(shape: tuple[int, ...], error: Exception) -> ModelError:
    """The error of a network that cannot take an input of ``shape``, with its own complaint."""
    return ModelError(
        f"the network does not run on inputs {shape} ({' '.join(str(error).split())[:160]})",
        fix="give it the size and channels it was built for, by the backbone's preprocessing",
    )


class LayerError(XaiError):
    """A layer name does not exist, is never executed, or gives no spatial grid."""

    code = "layer"


class TargetError(XaiError):
    """A target does not exist for this backbone or this image."""

    code = "target"


class StoreError(XaiError):
    """A result file is missing, damaged, foreign or cannot be written."""

    code = "store"


class NotApplicable(Exception):  # noqa: N818 - it is an answer, not an error
    """Raised by a method that has no meaning here (with the reason); stored as status ``not_applicable``."""


def nearest(word: object, options: Iterable[object], n: int = 3, likeness: float = 0.5) -> list[str]:
    """The valid names closest to what was typed, best first; at least so like it, 1 being the same."""
    names = [str(o) for o in options]
    lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(str(word).lower(), list(lower), n=n, cutoff=likeness)
    return [lower[f] for f in found]


def did_you_mean(word: object, options: Iterable[object], most: int = 12) -> str:
    """``did you mean 'sigma'? (available: inner, samples, sigma)``; a long list is cut and counted."""
    names = [str(o) for o in options]
    close = nearest(word, names)
    shown = ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
    hint = f"did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return f"{hint}(available: {shown or 'none'})"
