"""Trains the embedded networks: ``python -m xai_plugins.backbones.train_shapes vgg|resnet``.

12,000 pictures with one shape, seeded; the
weights are rounded to float16 before they are judged on 1,000 pictures of another seed.
"""

from __future__ import annotations

import argparse
import os
import time
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from xai_plugins.backbones._shapes_networks import ResidualNet, VggLike
from xai_plugins.datasets._drawing import draw

NETWORKS = {"vgg": VggLike, "resnet": ResidualNet}
BATCH, SIZE = 128, 96


def picture(job: tuple[int, int]) -> tuple[NDArray[np.uint8], int]:
    """One training picture: (seed, number) -> pixels and class."""
    drawn = draw(np.random.default_rng(job), SIZE, 1)
    return drawn.pixels, drawn.labels[0]


def pictures(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """(N,3,96,96) uint8 and (N,) classes."""
    with Pool(os.cpu_count()) as pool:
        made = pool.map(picture, [(seed, i) for i in range(count)], chunksize=100)
    pixels = torch.from_numpy(np.stack([p for p, _ in made])).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.tensor([c for _, c in made])


def normalised(pixels: Tensor) -> Tensor:
    """As the backbones' preprocessing does."""
    return pixels.float() / 255 - 0.5


def train(model: nn.Module, pixels: Tensor, classes: Tensor, epochs: int) -> None:
    """AdamW with a one-cycle rate, flips and transpositions; bfloat16 on the forward pass."""
    model.to(memory_format=torch.channels_last).train()
    steps = epochs * (len(pixels) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(pixels))[: len(pixels) // BATCH * BATCH].split(BATCH):
            x = normalised(pixels[rows])
            x = x.flip(3) if torch.rand(1) < 0.5 else x
            x = x.transpose(2, 3) if torch.rand(1) < 0.5 else x
            with torch.autocast("cpu", torch.bfloat16):
                outputs = model(x.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(outputs.float(), classes[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # training, not explaining: parameters are meant to change
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch}: loss {total * BATCH / len(pixels):.3f}", flush=True)


def accuracy(model: nn.Module, pixels: Tensor, classes: Tensor) -> float:
    """Share of pictures classified right."""
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(normalised(x)).argmax(1) for x in pixels.split(250)])
    return (found == classes).float().mean().item()


def main() -> None:
    """Train, round, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    start = time.monotonic()
    torch.manual_seed(0)
    train_set, held_out = pictures(1, args.images), pictures(2, 1000)
    model = NETWORKS[args.network]()
    train(model, *train_set, args.epochs)
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    rounded = NETWORKS[args.network]()
    rounded.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    right = accuracy(rounded, *held_out)
    file = Path(__file__).with_name(f"shapes_{args.network}.safetensors")
    temporary = file.with_suffix(".tmp")
    save_file(weights, temporary)
    temporary.replace(file)
    seconds = time.monotonic() - start
    print(f"{file.name}: accuracy {right:.3f} on 1000 held-out images, {file.stat().st_size} bytes, {seconds:.0f} s")


if __name__ == "__main__":
    main()
