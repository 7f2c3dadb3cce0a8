"""What every backbone promises."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from xai_framework.core.adapter import ModelAdapter
from xai_framework.core.errors import LayerError
from xai_framework.probe import SharedProbe
from xai_framework.testing.bench import Best
from xai_framework.testing.documented import check_documented, hold, hold_all
from xai_framework.testing.traces import Trace

TOLERANCE = 1e-5
"""The largest difference of logits, relative to the largest, that batch mates may make."""


def check_adapter(adapter: ModelAdapter | type[ModelAdapter]) -> None:
    """Check everything a backbone promises; a class is checked by its ``example()``. Loads the model.

    Raises AssertionError naming backbone, check and finding.
    """
    one = adapter.example() if isinstance(adapter, type) else adapter
    check_documented(one)
    hold_all(CHECKS, one, type(one).__name__)


def says_what_it_takes_without_its_weights(adapter: ModelAdapter) -> None:
    """``preprocess`` and ``labels`` are known before the model is loaded."""
    twin = copy.copy(adapter)
    twin.__dict__.pop("model", None)
    labels, preprocess = twin.labels, twin.preprocess
    hold("model" not in twin.__dict__, "loads the model to say its labels or its preprocessing")
    hold(isinstance(labels, tuple) and all(isinstance(x, str) for x in labels), "labels must be a tuple of texts")
    hold(len(preprocess.mean) == len(preprocess.std), "mean and std have different lengths")
    hold(all(s > 0 for s in preprocess.std), "every std must be above 0")


def prepares_photographs(adapter: ModelAdapter) -> None:
    """Any upright photograph or float array becomes the same finite input each time, of one size."""
    height, width = adapter.preprocess.geometry((57, 91)).input_size
    for picture in _pictures(adapter):
        first, second = adapter.prepare(picture), adapter.prepare(picture)
        shape = tuple(first.inputs.shape)
        hold(shape[0] == adapter.preprocess.channels and len(shape) == 3, f"prepare gives {shape}, expected (C,H,W)")
        hold(first.inputs.dtype == torch.float32, f"prepare gives {first.inputs.dtype}, expected float32")
        hold(bool(first.inputs.isfinite().all()), "prepare gives NaN or infinity")
        hold(torch.equal(first.inputs, second.inputs), "prepare gives another input for the same picture")
        hold(first.geometry.input_size == shape[1:], "the geometry's input_size is not that of the input")
        hold(shape[1:] == (height, width), f"prepare gives {shape[1:]}, preprocess says {(height, width)}")


def shows_pixels(adapter: ModelAdapter) -> None:
    """``pixels`` undoes the normalisation, ``mean_input`` is a baseline like the inputs."""
    inputs = _inputs(adapter)
    pixels = adapter.pixels(inputs)
    hold(pixels.shape == inputs.shape, f"pixels gives {tuple(pixels.shape)} for inputs {tuple(inputs.shape)}")
    hold(float(pixels.min()) >= 0 and float(pixels.max()) <= 1, "pixels gives values outside [0, 1]")
    ordered = pixels.flip(-3) if adapter.preprocess.order == "bgr" else pixels
    error = float((adapter.normalise(ordered) - inputs).abs().max()) / max(1.0, float(inputs.abs().max()))
    hold(error <= 1e-4, f"normalise does not undo pixels: they differ by {error:.1e}")
    hold(adapter.mean_input(inputs).shape == inputs.shape, "mean_input is not shaped like its inputs")


def gives_one_row_of_logits_a_picture(adapter: ModelAdapter) -> None:
    """(B,K), finite, as many as there are labels, the same alone and in a batch."""
    inputs, probe = _inputs(adapter), SharedProbe(adapter, Best())
    hold(not adapter.model.training, "the model is in training mode; load gives it, model puts it into eval mode")
    outputs = probe.outputs(inputs)
    hold(outputs.ndim == 2 and outputs.is_floating_point(), f"forward gives {tuple(outputs.shape)} {outputs.dtype}")
    hold(bool(outputs.isfinite().all()), "the outputs hold NaN or infinity")
    count = outputs.shape[1]
    hold(len(adapter.labels) in (0, count), f"there are {count} outputs, but {len(adapter.labels)} labels")
    alone = torch.cat([probe.outputs(x[None]) for x in inputs])
    error = float((alone - outputs).abs().max()) / max(float(outputs.abs().max()), 1e-30)
    hold(error <= TOLERANCE, f"logits differ by {error:.1e} of the largest in a batch: rows must not see their mates")


def can_be_explained(adapter: ModelAdapter) -> None:
    """Gradients reach the input and the layer ``last``, and nothing is left on the model."""
    inputs, probe = _inputs(adapter), SharedProbe(adapter, Best())
    before = Trace.of(adapter.model)
    targets = probe.outputs(inputs).argmax(1)
    gradient = probe.gradient(inputs, targets)
    activation, at_layer = probe.layers(inputs, targets)["last"]
    changes = before.changes(Trace.of(adapter.model))
    hold(not changes, f"running the model changes {''.join(changes[:1])}")
    hold(bool(gradient.isfinite().all()), "the gradient holds NaN or infinity")
    shape = tuple(activation.shape)
    hold(shape == tuple(at_layer.shape) and shape[0] == len(inputs), f"layer last gives {shape}")
    hold(shape[2] * shape[3] > 1, f"layer last ({adapter.layer('last').name}) gives {shape}: one position is no map")


def names_its_layers(adapter: ModelAdapter) -> None:
    """A module path gives its module, and a wrong one a LayerError."""
    last = adapter.layer("last")
    hold(adapter.layer(last.name).module is last.module, "layer gives another module for the path of last")
    try:
        adapter.layer("no.such.layer")
    except LayerError:
        return
    hold(False, "layer takes a path that does not exist; raise LayerError")


def is_copied_by_with_model(adapter: ModelAdapter) -> None:
    """``with_model`` gives another adapter around the new model, and leaves this one."""
    old, new = adapter.model, copy.deepcopy(adapter.model)
    twin = adapter.with_model(new)
    hold(twin.model is new, "with_model does not use the model it is given")
    hold(adapter.model is old, "with_model changes the adapter itself; return a copy")
    _double(new)
    inputs = _inputs(adapter)
    hold(not torch.equal(twin.forward(inputs), adapter.forward(inputs)), "the copy's forward runs the old model")


def _double(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)


def _pictures(adapter: ModelAdapter) -> list[Image.Image | np.ndarray]:
    """Of odd sizes: an array with the backbone's channels, and photographs where it takes some."""
    rng, channels = np.random.default_rng(0), adapter.preprocess.channels
    coarse = rng.random((57, 91, channels), dtype=np.float32)
    pictures: list[Image.Image | np.ndarray] = [coarse]
    if channels in (1, 3):
        photograph = Image.fromarray(rng.integers(0, 256, (70, 64, 3), dtype=np.uint8))
        pictures += [photograph, photograph.convert("L")]
    return pictures


def _inputs(adapter: ModelAdapter) -> Tensor:
    """Three inputs on the model's device, in its type."""
    like = next(adapter.model.parameters(), torch.zeros(()))
    inputs = [adapter.prepare(p).inputs for p in (_pictures(adapter) * 3)[:3]]
    return torch.stack(inputs).to(like.device, like.dtype)


CHECKS: dict[str, Callable[[ModelAdapter], None]] = {
    check.__name__.replace("_", " "): check
    for check in (
        says_what_it_takes_without_its_weights,
        prepares_photographs,
        shows_pixels,
        gives_one_row_of_logits_a_picture,
        can_be_explained,
        names_its_layers,
        is_copied_by_with_model,
    )
}
