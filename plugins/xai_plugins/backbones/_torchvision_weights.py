"""Published torchvision weights: in torch's cache or downloaded into it, and the names they were saved under."""

from __future__ import annotations

import http.client
import re
from pathlib import Path
from typing import Any

from xai_framework.core import WeightsError

_CHECKSUM = re.compile(r"-([0-9a-f]{8,64})\.pth$")
_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)$")
_TRAINING_ONLY = ("AuxLogits.", "aux1.", "aux2.")


def fetch(member: Any) -> Path:  # noqa: ANN401 - a member of a torchvision WeightsEnum
    """The file of published weights; downloaded, whole or not at all, where torch's cache does not have it.

    Raises WeightsError naming the address, the place in the cache and the other ways to give weights.
    """
    import torch

    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(member.url).name
    if place.is_file():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(member.url, str(place), checksum(member.url), progress=False)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise WeightsError(
            f"the weights {member.name} could not be downloaded ({' '.join(str(error).split())[:120]})",
            where=member.url,
            fix=f"put the file at {place}, name a local one with backbone.file=..., or use backbone.weights=random",
        ) from None
    return place


def checksum(url: str) -> str | None:
    """The first digits of the file's sha256, which published files carry in their name."""
    found = _CHECKSUM.search(url)
    return found[1] if found else None


def current_name(name: str) -> str | None:
    """Today's name of a weight in a file saved by any version of torchvision; None for heads that serve training only.

    The published files of DenseNet, ViT, GoogLeNet and Inception need it.
    """
    if name.startswith(_TRAINING_ONLY):
        return None
    name = _DENSENET.sub(r"\1\2", name)
    return name.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3.")
