"""Loading weights that may come from strangers: safetensors first, then pickles restricted to tensors, never code."""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_framework.core.errors import WeightsError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor, nn

LARGEST = 64 << 30
"""Bytes a weights file may have."""

_NESTED = ("state_dict", "model_state_dict", "model", "net")


def load_weights(model: nn.Module, path: str | Path, *, sha256: str | None = None) -> None:
    """Put a file's weights into ``model``, cast to the model's types; every name and shape must match.

    Reads .safetensors, .npz and files of ``torch.save`` (state dicts, also nested under ``state_dict`` or ``model``).
    A ``module.`` prefix, left by data parallel training, is dropped; missing ``num_batches_tracked`` counters are no
    fault. Raises WeightsError naming the file and what is wrong with it; the model is then unchanged.
    """
    path = Path(path)
    _check_file(path, sha256)
    state = _read(path)
    if state and all(k.startswith("module.") for k in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}
    expected = model.state_dict()
    _check_names(state, expected, path)
    _check_values(state, expected, path)
    full = {k: state[k].to(v.dtype) if k in state else v for k, v in expected.items()}
    model.load_state_dict(full, strict=True)


def _check_file(path: Path, sha256: str | None) -> None:
    if not path.is_file():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise WeightsError("no such weights file", where=str(path), fix=did_you_mean(path.name, siblings))
    size = path.stat().st_size
    if size == 0:
        raise WeightsError("is empty", where=str(path), fix="download it again")
    if size > LARGEST:
        raise WeightsError(f"has {size} bytes, more than {LARGEST}", where=str(path))
    with path.open("rb") as file:
        head = file.read(512)
    start = head.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError("is a Git LFS pointer, not the weights", where=str(path), fix="run: git lfs pull")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(
            "is an HTML page, not weights", where=str(path), fix="the download gave an error page; download it again"
        )
    if sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256.lower():
            raise WeightsError(f"has sha256 {found}, expected {sha256}", where=str(path), fix="download it again")


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".npz":
        return _read_npz(path)
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on unusual pickles; what is refused is refused below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(_unsafe(str(error)), where=str(path), fix=_CONVERT) from None
    except (RuntimeError, EOFError, ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"cannot be read as weights, it is truncated or of another kind ({_line(error)})",
            where=str(path),
            fix="download it again",
        ) from None
    for key in _NESTED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    return _tensors(loaded, path)


_CONVERT = "load it where you trust it and save its state dict: torch.save(model.state_dict(), file) or safetensors"


def _unsafe(text: str) -> str:
    marker = "GLOBAL "
    if marker in text:
        name = text.split(marker, 1)[1].split()[0].rstrip(".,")
        return f"holds the Python object {name}, not just weights; it is not loaded, because loading could run code"
    return "is no file of torch.save with tensors alone; it is not loaded, because loading could run code"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"is no intact safetensors file ({_line(error)})", where=str(path), fix="download it again"
        ) from None


def _read_npz(path: Path) -> dict[str, Tensor]:
    import numpy as np
    import torch

    try:
        with np.load(path, allow_pickle=False) as file:
            return {k: torch.from_numpy(np.array(file[k], order="C")) for k in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"is no intact .npz of arrays ({_line(error)})", where=str(path)) from None


def _tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    import torch

    if not isinstance(loaded, Mapping):
        raise WeightsError(f"holds a {type(loaded).__name__}, not a state dict", where=str(path), fix=_CONVERT)
    wrong = [str(k) for k, v in loaded.items() if not torch.is_tensor(v)]
    if wrong:
        raise WeightsError(f"holds {wrong[0]!r}, which is no tensor", where=str(path), fix=_CONVERT)
    return {str(k): v for k, v in loaded.items()}


def _check_names(state: Mapping[str, Any], expected: Mapping[str, Any], path: Path) -> None:
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in expected]
    if missing or unexpected:
        said = [
            f"{len(keys)} {what} ({', '.join(keys[:5])})"
            for keys, what in ((missing, "missing"), (unexpected, "unexpected"))
            if keys
        ]
        raise WeightsError(
            f"does not fit the architecture: {' and '.join(said)}",
            where=str(path),
            fix="check the architecture's name and options",
        )


def _check_values(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    shapes = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    if shapes:
        k = shapes[0]
        raise WeightsError(
            f"{k} has shape {tuple(state[k].shape)}, the architecture {tuple(expected[k].shape)}"
            + (f" (and {len(shapes) - 1} more)" if len(shapes) > 1 else ""),
            where=str(path),
            fix="set the number of classes these weights were trained for"
            if len(shapes) <= 2
            else "check the architecture",
        )
    nonfinite = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if nonfinite:
        raise WeightsError(
            f"{len(nonfinite)} tensors hold NaN or infinity ({', '.join(nonfinite[:5])})", where=str(path)
        )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
