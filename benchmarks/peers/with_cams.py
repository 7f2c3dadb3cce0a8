"""The class activation maps of grad-cam and torchcam, signed and unscaled, at a layer that nothing overwrites.

Both return wrong maps where the network overwrites the layer's output in place; there captum is the referee.
"""

from __future__ import annotations

import copy
import functools
import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from importlib.metadata import version
from unittest import mock

import numpy as np
import pytorch_grad_cam as pgc
import torch
import torchcam.methods as torchcam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor
from xai_plugins.methods.ablationcam import AblationCam
from xai_plugins.methods.cam import ClassActivationMapping
from xai_plugins.methods.eigencam import EigenCam
from xai_plugins.methods.eigengradcam import EigenGradCam
from xai_plugins.methods.gradcam import GradCam
from xai_plugins.methods.gradcam_plus_plus import GradCamPlusPlus
from xai_plugins.methods.hirescam import HiResCam
from xai_plugins.methods.layercam import LayerCam
from xai_plugins.methods.scorecam import ScoreCam
from xai_plugins.methods.xgradcam import XGradCam

from benchmarks.peers.common import LAYERS, SIZE, Comparison, Subject
from xai_framework.core import resize

PGC = {
    "gradcam": (GradCam, pgc.GradCAM, 1e-9, ""),
    "gradcam_plus_plus": (GradCamPlusPlus, pgc.GradCAMPlusPlus, 1e-9, "their 1e-6 in the denominator set to 0"),
    "xgradcam": (XGradCam, pgc.XGradCAM, 1e-6, "they add 1e-7 to the sum of activations"),
    "hirescam": (HiResCam, pgc.HiResCAM, 1e-9, ""),
    "layercam": (LayerCam, pgc.LayerCAM, 1e-9, ""),
    "eigencam": (EigenCam, pgc.EigenCAM, 1e-6, "up to the sign, which they leave to LAPACK; they round to float32"),
    "eigengradcam": (EigenGradCam, pgc.EigenGradCAM, 1e-6, "the same"),
    "scorecam": (ScoreCam, pgc.ScoreCAM, 1e-6, "given our upsampling (theirs aligns corners); scores in float32"),
    "ablationcam": (AblationCam, pgc.AblationCAM, 1e-9, "their rounding of scores to float32 left out"),
}
TORCHCAM = {
    "gradcam": (GradCam, torchcam.GradCAM, 1e-9, ""),
    "xgradcam": (XGradCam, torchcam.XGradCAM, 1e-6, "they add 1e-8 to the sum of activations"),
    "layercam": (LayerCam, torchcam.LayerCAM, 1e-9, ""),
}


def comparisons(name: str) -> Iterator[Comparison]:
    """On one network."""
    subject = Subject.of(name)
    layer = LAYERS[name][0]
    for method, (ours, theirs, allowed, note) in PGC.items():
        options = {"centred": True} if "eigen" in method else {}
        yield Comparison(
            name,
            f"grad-cam {version('grad-cam')}",
            f"{method} {layer}",
            subject.ours(ours(layer=(layer,), relu=False, **options)),  # type: ignore[arg-type]
            functools.partial(_pgc, subject, layer, theirs, subject.ours(ours(layer=(layer,), relu=False, **options))),  # type: ignore[arg-type]
            allowed,
            note,
        )
    peers = dict(TORCHCAM)
    if name == "resnet18":
        peers["cam"] = (ClassActivationMapping, torchcam.CAM, 1e-9, "")
    for method, (ours, theirs, allowed, note) in peers.items():
        yield Comparison(
            name,
            f"torchcam {version('torchcam')}",
            f"{method} {layer}",
            subject.ours(ours(layer=(layer,), relu=False)),
            functools.partial(_torchcam, subject, layer, theirs),
            allowed,
            note,
        )


def _pgc(subject: Subject, layer: str, cls: type, ours: Callable[[], Tensor]) -> Tensor:
    """(B,1,h,w): what their class computes before it cuts, scales and resizes."""
    model = copy.deepcopy(subject.model).requires_grad_()  # they fill its gradients
    cam = cls(model, [model.get_submodule(layer)])
    targets = [ClassifierOutputTarget(int(t)) for t in subject.targets]
    outputs = cam.activations_and_grads(subject.inputs)
    activations = cam.activations_and_grads.activations[0].numpy()
    gradients = None
    if cam.uses_gradients:
        sum(target(output) for target, output in zip(targets, outputs, strict=True)).backward()
        gradients = cam.activations_and_grads.gradients[0].numpy()
    cam.activations_and_grads.release()
    with redirect_stderr(io.StringIO()), _patched(cls):
        maps = cam.get_cam_image(subject.inputs, model.get_submodule(layer), targets, activations, gradients, False)
    found = torch.from_numpy(np.asarray(maps, dtype=np.float64))[:, None]
    if "Eigen" in cls.__name__:  # the sign of a singular vector is arbitrary
        found *= (found * ours()).sum((1, 2, 3), keepdim=True).sign()
    return found


def _patched(cls: type) -> mock._patch:  # type: ignore[type-arg]
    """What would hide the agreement of everything else."""
    if cls is pgc.ScoreCAM:
        return mock.patch("torch.nn.UpsamplingBilinear2d", lambda size: lambda t: resize(t, tuple(size)))
    if cls is pgc.GradCAMPlusPlus:
        return mock.patch.object(pgc.GradCAMPlusPlus, "get_cam_weights", _without_epsilon)
    if cls is pgc.AblationCAM:
        return mock.patch.object(np, "float32", np.float64)
    return mock.patch("builtins.print")


def _without_epsilon(
    _self: object, _x: Tensor, _layers: object, _targets: object, a: np.ndarray, g: np.ndarray
) -> np.ndarray:
    """Their weights (equation 19) with nothing added to the denominator."""
    below = 2 * g**2 + a.sum((2, 3), keepdims=True) * g**3
    return (np.maximum(g, 0) * np.where(g != 0, g**2 / np.where(below != 0, below, 1), 0)).sum((2, 3))


def _torchcam(subject: Subject, layer: str, cls: type) -> Tensor:
    """(B,1,h,w)."""
    with cls(copy.deepcopy(subject.model).requires_grad_(), layer, input_shape=(3, SIZE, SIZE)) as extractor:
        extractor._relu = False
        outputs = extractor.model(subject.inputs)
        (maps,) = extractor.compute_cams(subject.targets.tolist(), outputs, normalized=False)
    return maps.detach()[:, None]
