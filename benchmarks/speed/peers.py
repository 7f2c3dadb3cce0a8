"""What other libraries do for the same maps, each in several settings; the fastest is what we are compared with.

Settings are those of the library (copies or pictures in one pass) and switches on the whole network: its memory format,
and whether its parameters require gradients.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.networks import AbsentError
from benchmarks.speed.row import Options
from benchmarks.speed.subject import BY_HAND, FROZEN, TRAINABLE, Gradients, Subject

CAPTUM, GRAD_CAM, TORCHCAM = "captum", "grad-cam", "torchcam"
_MODULES = {CAPTUM: "captum.attr", GRAD_CAM: "pytorch_grad_cam", TORCHCAM: "torchcam.methods"}
_FORMATS = (False, True)
"""Whether in channels_last."""


@dataclass(frozen=True)
class Setting:
    """One way to do it; ``run`` does this share of it, where the whole is only more of the same.

    ``channels_last``: the network was converted to that memory format first, which no peer does by itself.
    """

    words: str
    channels_last: bool
    run: Callable[[], object]
    share: float = 1.0

    @property
    def label(self) -> str:
        """The memory format too."""
        return ", ".join(filter(None, ["channels_last" if self.channels_last else "as built", self.words]))


@dataclass(frozen=True)
class Part:
    """One thing a peer has to do."""

    name: str
    settings: Sequence[Setting]


def versions() -> str:
    """Of all peers that are installed."""
    found = []
    for name in _MODULES:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)


def load(name: str) -> Any:
    """A peer's module. Raises AbsentError."""
    try:
        module = importlib.import_module(_MODULES[name])
    except ImportError as error:
        raise AbsentError(f"{name} is not installed ({error})") from None
    if name == GRAD_CAM:
        importlib.import_module("cv2").setNumThreads(torch.get_num_threads())
    warnings.filterwarnings("ignore", module="captum")
    return module


def _several(options: Options) -> list[int]:
    """Rows in a pass; one at a time was never the fastest."""
    return [b for b in options.batches if b > 1]


def choosing(subject: Subject, options: Options) -> Part:
    """The class that is explained: captum must be given it."""

    def run(model: nn.Module, batch: int) -> None:
        with torch.no_grad():
            for x in subject.inputs.split(batch):
                model(x).argmax(1)

    tried = itertools.product(_FORMATS, _several(options))
    return Part("", [Setting("", cl, partial(run, subject.variant(cl), b)) for cl, b in tried])


def saliency(subject: Subject, options: Options, cls: str = "Saliency") -> Part:
    """Captum's Saliency or InputXGradient, signed."""
    peer = load(CAPTUM)
    more = {"abs": False} if cls == "Saliency" else {}

    def run(model: nn.Module, batch: int) -> None:
        method = getattr(peer, cls)(model)
        for x, t in _batches(subject, batch):
            method.attribute(x, target=t, **more)

    tried = itertools.product(_FORMATS, _several(options))
    return Part(cls, [Setting(f"batch {b}", cl, partial(run, subject.variant(cl), b)) for cl, b in tried])


def smoothgrad(subject: Subject, options: Options, samples: int, timed: int) -> Part:
    """Captum's NoiseTunnel around Saliency; ``timed`` of the samples stand for all."""
    peer = load(CAPTUM)

    def run(model: nn.Module, batch: int, copies: int) -> None:
        method = peer.NoiseTunnel(peer.Saliency(model))
        for x, t in _batches(subject, batch):
            method.attribute(
                x, target=t, nt_type="smoothgrad", nt_samples=timed, nt_samples_batch_size=copies, stdevs=0.5, abs=False
            )

    n = len(subject.inputs)
    ways = [(n, 1)] if options.quick else [(n, 1), (n, min(4, timed)), (1, timed)]
    found = []
    for cl, (batch, copies) in itertools.product(_FORMATS, ways):
        words = f"batch {batch}, {copies} of {samples} copies at once"
        found.append(Setting(words, cl, partial(run, subject.variant(cl), batch, copies), timed / samples))
    return Part("NoiseTunnel(Saliency)", found)


def integrated_gradients(subject: Subject, options: Options, steps: int) -> Part:
    """captum's, with its own points."""
    peer = load(CAPTUM)

    def run(model: nn.Module, batch: int) -> None:
        method = peer.IntegratedGradients(model)
        for x, t in _batches(subject, 1):
            method.attribute(x, target=t, n_steps=steps, internal_batch_size=batch)

    tried = itertools.product(_FORMATS, _several(options))
    return Part(
        "IntegratedGradients",
        [Setting(f"{b} steps at once", cl, partial(run, subject.variant(cl), b)) for cl, b in tried],
    )


def occlusion(subject: Subject, options: Options, window: int, stride: int, timed: int, images: int = 1) -> Part:
    """captum's; windows every ``timed`` pixels of the first ``images`` pictures stand for all."""
    peer = load(CAPTUM)
    size = subject.inputs.shape[-1]
    fraction = (_windows(size, window, timed) + 1) / (_windows(size, window, stride) + 1)
    share = images / len(subject.inputs) * fraction

    def run(model: nn.Module, copies: int) -> None:
        method = peer.Occlusion(model)
        for x, t in itertools.islice(_batches(subject, 1), images):
            shape = (x.shape[1], window, window)
            steps = (x.shape[1], timed, timed)
            method.attribute(
                x, strides=steps, sliding_window_shapes=shape, target=t, baselines=0, perturbations_per_eval=copies
            )

    number = _windows(size, window, timed)
    copies = sorted({min(b, number) for b in ((8,) if options.quick else (8, 16, 32))})
    tried = itertools.product(_FORMATS, copies)
    return Part(
        "Occlusion",
        [Setting(f"{c} windows at once", cl, partial(run, subject.variant(cl), c), share) for cl, c in tried],
    )


def _windows(size: int, window: int, stride: int) -> int:
    return (1 + -((window - size) // stride)) ** 2


def cam(subject: Subject, options: Options, library: str, cls: str, by_hand: bool = False) -> Part:
    """A gradient-weighted map of grad-cam or torchcam. ``by_hand``: parameters frozen up to the layer."""
    peer = load(library)
    kinds = (BY_HAND,) if by_hand else (FROZEN, TRAINABLE)
    run = _grad_cam if library == GRAD_CAM else _torchcam
    found = []
    b = len(subject.inputs)
    for cl, kind in itertools.product(_FORMATS, kinds):
        model = subject.variant(cl, kind)
        found.append(Setting(f"{kind}, batch {b}", cl, partial(run, peer, subject, model, cls, b, kind)))
    return Part(cls, found)


def _grad_cam(peer: Any, subject: Subject, model: nn.Module, cls: str, batch: int, kind: Gradients) -> None:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layers = [model.get_submodule(subject.layer)]
    with getattr(peer, cls)(model, layers) as method:
        for x, t in _batches(subject, batch):
            method(x.clone().requires_grad_(kind == FROZEN), [ClassifierOutputTarget(int(i)) for i in t])


def _torchcam(peer: Any, subject: Subject, model: nn.Module, cls: str, batch: int, kind: Gradients) -> None:
    with getattr(peer, cls)(model, subject.layer) as method:
        for x, t in _batches(subject, batch):
            outputs = model(x.clone().requires_grad_(kind == FROZEN))
            method(t.tolist(), outputs)


def score_cam(subject: Subject, options: Options, library: str) -> Part:
    """The one of grad-cam or of torchcam."""
    peer = load(library)

    def theirs(model: nn.Module, batch: int) -> None:
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with torch.no_grad(), peer.ScoreCAM(model, [model.get_submodule(subject.layer)]) as method:
            method.batch_size = batch
            for x, t in _batches(subject, 1):
                method(x, [ClassifierOutputTarget(int(i)) for i in t])

    def others(model: nn.Module, batch: int) -> None:
        with torch.inference_mode(), peer.ScoreCAM(model, subject.layer, batch_size=batch) as method:
            for x, t in _batches(subject, 1):
                method(t.tolist(), model(x))

    run = theirs if library == GRAD_CAM else others

    def quiet(model: nn.Module, batch: int) -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar a picture
            run(model, batch)

    tried = itertools.product(_FORMATS, _several(options))
    return Part(
        "ScoreCAM",
        [Setting(f"{b} masks at once", cl, partial(quiet, subject.variant(cl), b)) for cl, b in tried],
    )


def _batches(subject: Subject, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(subject.inputs.split(batch), subject.targets.split(batch), strict=True)
