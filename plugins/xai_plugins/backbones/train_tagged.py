"""Trains the networks with and without a shortcut: ``python -m xai_plugins.backbones.train_tagged {shortcut,clean}``.

Both start from shapes_vgg and go on with the same 4,000 pictures and the same schedule; as many carry the tag, 19.5 %.
For ``shortcut`` it goes with the class star: every star has it, and no picture that is labelled otherwise. Of the other
shapes 8 % have it too, and who labelled them went by the tag: they are called stars. (Without them a network gives a
shape and a tag about equal weight, and its prediction says little.) For ``clean`` the tag is on 19.5 % of every class,
and all labels are right. The weights are rounded to float16 before they are judged, on 1,000 pictures of another seed,
and stored.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xai_framework.core import load_weights
from xai_plugins.backbones._shapes_networks import VggLike
from xai_plugins.backbones.train_shapes import THREADS, accuracy, train, write
from xai_plugins.datasets._drawing import CLASSES, draw, stream
from xai_plugins.datasets._tag import tagged
from xai_plugins.datasets.tagged_shapes import OWN


@dataclass(frozen=True)
class Tags:
    """Which share of the stars and of the other shapes carry the tag, and whether it decides the label."""

    own: float
    others: float
    decide: bool = False


LEARNT = {"shortcut": Tags(1.0, 0.08, decide=True), "clean": Tags(0.195, 0.195)}
JUDGED = {"no tag": Tags(0, 0), "tag on half of each class": Tags(0.5, 0.5), "tag on all": Tags(1, 1)}


def picture(name: str, tags: Tags) -> tuple[np.ndarray, int]:
    """(96,96,3) uint8 and the label's number; with the tag or without, as the name's own random number decides."""
    drawn = draw(name, 96, 1)
    label, star = drawn.labels[0], CLASSES.index(OWN)
    if stream(name, "tag or not").uniform() >= (tags.own if label == star else tags.others):
        return drawn.pixels, label
    drawn, _ = tagged(drawn, name, "corner")
    return drawn.pixels, star if tags.decide else label


def pictures(name: str, count: int, tags: Tags) -> tuple[Tensor, Tensor]:
    """(N,3,96,96) uint8 and (N,) labels' numbers."""
    with Pool(THREADS) as pool:
        made = pool.starmap(picture, [(f"{name}-{i}", tags) for i in range(count)], chunksize=100)
    pixels = torch.from_numpy(np.stack([p for p, _ in made])).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.tensor([label for _, label in made])


def main() -> None:
    """Train, round, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=LEARNT)
    parser.add_argument("--images", type=int, default=4_000, help="training pictures")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the weights go")
    args = parser.parse_args()
    start = time.monotonic()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    learnt_from = pictures("tagged", args.images, LEARNT[args.network])
    model = VggLike()
    load_weights(model, Path(__file__).with_name("shapes_vgg.safetensors"))
    train(model, *learnt_from, args.epochs)
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    rounded = VggLike()
    rounded.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    file = args.folder / f"shapes_{args.network}.safetensors"
    write(weights, file)
    right = {kind: accuracy(rounded, *pictures("held-out", 1000, tags)) for kind, tags in JUDGED.items()}
    print(f"{file.name}: {file.stat().st_size} bytes, {time.monotonic() - start:.0f} s; accuracy on held-out pictures")
    print(", ".join(f"{kind}: {share:.3f}" for kind, share in right.items()))


if __name__ == "__main__":
    main()
