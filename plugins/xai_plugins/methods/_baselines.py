"""The baseline of a method that compares an input with something without evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai_framework.core import Baseline, ConfigError, File, Probe, Rng

if TYPE_CHECKING:
    from torch import Tensor


def check_baseline(name: Baseline, image: File | None, where: str) -> None:
    """``image`` belongs to the baseline of that name, and to no other. Raises ConfigError."""
    if (name == "image") != (image is not None):
        what = "the baseline image is not given" if image is None else f"an image is given, but the baseline is {name}"
        raise ConfigError(what, where=f"{where}.image", fix="give baseline=image and image=path/to/picture.png")


def baseline_of(probe: Probe, name: Baseline, image: File | None, inputs: Tensor, rng: Rng) -> Tensor:
    """(B,C,H,W), like inputs."""
    if image is not None:
        return probe.reference(image).to(inputs).expand_as(inputs)
    return probe.baseline(name, inputs, rng)
