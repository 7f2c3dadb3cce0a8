"""Loading weights that may come from strangers: safetensors first, then pickles restricted to tensors, never code."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_framework.core.errors import WeightsError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor, nn

LARGEST = 64 << 30
"""Bytes a weights file may have, and may unpack to."""

_NESTED = ("state_dict", "model_state_dict", "model", "net")
_WRAPPERS = ("module.", "_orig_mod.")  # left by data parallel training and by torch.compile


def load_weights(
    model: nn.Module,
    path: str | Path,
    *,
    sha256: str | None = None,
    rename: Callable[[str], str | None] | None = None,
) -> None:
    """Put a file's weights into ``model``, cast to the model's types; every name and shape must match.

    Reads safetensors, ``.npz`` and files of ``torch.save`` (state dicts, also nested under ``state_dict`` or
    ``model``). A ``module.`` or ``_orig_mod.`` prefix, left by data parallel training or compilation, is dropped;
    missing ``num_batches_tracked`` counters are no fault. ``sha256`` is the file's checksum, or its first 8 digits or
    more. ``rename`` gives the model's name for a name in the file, or None for weights the model does not have (heads
    that serve training only). Raises WeightsError naming the file and what is wrong with it; the model is then
    unchanged.
    """
    path = Path(path)
    _check_file(path, sha256)
    expected = model.state_dict()
    state = _named(_read(path), expected, rename)
    _check_names(state, expected, path)
    _check_shapes(state, expected, path)
    full = OrderedDict((k, _cast(k, state[k], v, path) if k in state else v) for k, v in expected.items())
    _check_finite(full, path)
    # names and shapes are the current ones, whatever version the file was written by
    full._metadata = getattr(expected, "_metadata", None)  # type: ignore[attr-defined]
    model.load_state_dict(full, strict=True)


def _check_file(path: Path, sha256: str | None) -> None:
    if not path.is_file():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        what = "is a folder, not a weights file" if path.is_dir() else "no such weights file"
        raise WeightsError(what, where=str(path), fix=did_you_mean(path.name, siblings))
    size = path.stat().st_size
    if size == 0:
        raise WeightsError("is empty", where=str(path), fix="download it again")
    if size > LARGEST:
        raise WeightsError(f"has {size} bytes, more than {LARGEST}", where=str(path))
    start = _head(path).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError("is a Git LFS pointer, not the weights", where=str(path), fix="run: git lfs pull")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(
            "is an HTML page, not weights", where=str(path), fix="the download gave an error page; download it again"
        )
    if sha256 is not None:
        _check_sum(path, sha256)


def _check_sum(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if len(sha256) < 8 or not found.startswith(sha256.lower()):
        raise WeightsError(f"has sha256 {found}, expected {sha256}", where=str(path), fix="download it again")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise WeightsError(f"cannot be read ({error.strerror})", where=str(path)) from None


def _read(path: Path) -> dict[str, Tensor]:
    head = _head(path)
    # a safetensors file starts with the length of its JSON header: 8 bytes, then a brace
    if path.suffix == ".safetensors" or (head[8:9] == b"{" and head[5:8] == b"\0\0\0"):
        return _read_safetensors(path)
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path)
    return _read_npz(path) if path.suffix == ".npz" else _read_torch(path)


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise WeightsError("is truncated: its end is missing", where=str(path), fix="download it again") from None
    if unpacked > LARGEST:
        raise WeightsError(f"unpacks to {unpacked} bytes, more than {LARGEST}", where=str(path))


def _read_torch(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on unusual pickles; what is refused is refused below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(_unsafe(path, str(error)), where=str(path), fix=_CONVERT) from None
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to ask for
        if "TorchScript" in str(error):
            raise WeightsError("is a TorchScript program, not weights", where=str(path), fix=_CONVERT) from None
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
_OF_WEIGHTS = re.compile(r"collections\.OrderedDict|torch\._utils\._rebuild\w+|torch\.(storage\.)?\w*Storage")


def _unsafe(path: Path, text: str) -> str:
    because = "it is not loaded, because loading could run code"
    found = text.split("GLOBAL ", 1)[1].split()[0].rstrip(".,") if "GLOBAL " in text else _foreign_name(path)
    if found:
        return f"holds the Python object {found}, not just weights; {because}"
    return f"is no file of torch.save with tensors alone; {because}"


def _foreign_name(path: Path) -> str:
    """The first name of a pickle that is not part of weights, found by reading its steps without running any."""
    with path.open("rb") as file:
        start = io.BytesIO(file.read(1 << 20))
    texts: list[str] = []
    with warnings.catch_warnings(), contextlib.suppress(ValueError):  # no pickle, or one that ends early
        warnings.simplefilter("ignore")
        for step, value, _ in pickletools.genops(start):
            name = ""
            if step.name == "GLOBAL":
                name = str(value).replace(" ", ".")
            elif step.name == "STACK_GLOBAL":
                name = ".".join(texts[-2:])
            elif isinstance(value, str):
                texts.append(value)
            if name and not _OF_WEIGHTS.fullmatch(name):
                return name
    return ""


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"is no intact safetensors file ({_line(error)})", where=str(path), fix="download it again"
        ) from None


def _read_npz(path: Path) -> dict[str, Tensor]:
    import numpy as np
    import torch

    try:
        with np.load(path, allow_pickle=False) as file:
            return {k: torch.from_numpy(np.array(file[k], order="C")) for k in file.files}
    except Exception as error:  # damaged archives raise zlib, zip, header and type errors of many classes
        raise WeightsError(f"is no intact .npz of arrays ({_line(error)})", where=str(path)) from None


def _tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    import torch

    if not isinstance(loaded, Mapping):
        raise WeightsError(f"holds a {type(loaded).__name__}, not a state dict", where=str(path), fix=_CONVERT)
    for name, value in loaded.items():
        if not isinstance(value, torch.Tensor):
            raise WeightsError(f"holds {str(name)!r}, which is no tensor", where=str(path), fix=_CONVERT)
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise WeightsError(f"holds {str(name)!r}, a sparse, quantised or empty tensor", where=str(path))
    return {str(k): v for k, v in loaded.items()}


def _named(
    state: dict[str, Tensor], expected: Mapping[str, Any], rename: Callable[[str], str | None] | None
) -> dict[str, Tensor]:
    """The state under the model's names."""
    for prefix in _WRAPPERS:
        if state and all(k.startswith(prefix) for k in state) and not any(k.startswith(prefix) for k in expected):
            state = {k.removeprefix(prefix): v for k, v in state.items()}
    if rename is None:
        return state
    return {new: v for k, v in state.items() if (new := rename(k)) is not None}


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


def _check_shapes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    wrong = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    if not wrong:
        return
    k = wrong[0]
    found, wanted = tuple(state[k].shape), tuple(expected[k].shape)
    said = f"{k} has shape {found}, the architecture {wanted}"
    if len(wrong) <= 2 and found and wanted and found[1:] == wanted[1:]:
        # only the output layer differs, and only in its number of rows
        fix = f"these weights give {found[0]} classes, not {wanted[0]}: set the number of classes"
    else:
        said += f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        fix = "check the architecture's name and options"
    raise WeightsError(said, where=str(path), fix=fix)


def _cast(name: str, value: Tensor, like: Tensor, path: Path) -> Tensor:
    if like.is_floating_point() and not value.is_floating_point():
        raise WeightsError(f"{name} holds {value.dtype}, the architecture {like.dtype}", where=str(path))
    return value.to(like.dtype)


def _check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    nonfinite = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if nonfinite:
        raise WeightsError(
            f"{len(nonfinite)} tensors hold NaN or infinity ({', '.join(nonfinite[:5])})", where=str(path)
        )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
