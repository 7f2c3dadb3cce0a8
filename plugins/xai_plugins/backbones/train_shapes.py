"""Trains the embedded networks: ``python -m xai_plugins.backbones.train_shapes {vgg,resnet}``.

12,000 pictures of one shape, seeded. The weights are rounded to float16 before they are judged, on 1,000 pictures of
another seed, and stored.
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
from safetensors.torch import save
from torch import Tensor, nn

from xai_plugins.backbones._shapes_networks import ResidualNet, VggLike
from xai_plugins.datasets._drawing import Drawn, draw

NETWORKS = {"vgg": VggLike, "resnet": ResidualNet}
BATCH = 128
THREADS = 2  # sums depend on how many threads share them: always the same number


def picture(name: str) -> Drawn:
    """One picture of one shape."""
    return draw(name, 96, 1)


def pictures(name: str, count: int) -> tuple[Tensor, Tensor]:
    """(N,3,96,96) uint8 and (N,) class numbers."""
    with Pool(THREADS) as pool:
        made = pool.map(picture, [f"{name}-{i}" for i in range(count)], chunksize=100)
    pixels = torch.from_numpy(np.stack([m.pixels for m in made])).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.tensor([m.labels[0] for m in made])


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
        print(f"epoch {epoch}: loss {total * epochs / steps:.3f}", flush=True)


def accuracy(model: nn.Module, pixels: Tensor, classes: Tensor) -> float:
    """Share of pictures classified right."""
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(normalised(x)).argmax(1) for x in pixels.split(250)])
    return (found == classes).float().mean().item()


def write(weights: dict[str, Tensor], file: Path) -> None:
    """Replace the file by these weights, whole or not at all."""
    temporary = file.with_suffix(f".tmp-{os.getpid()}")
    temporary.write_bytes(save(weights))
    temporary.replace(file)


def main() -> None:
    """Train, round, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--images", type=int, default=12_000, help="training pictures")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the weights go")
    args = parser.parse_args()
    start = time.monotonic()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    learnt_from, held_out = pictures("train", args.images), pictures("held-out", 1000)
    model = NETWORKS[args.network]()
    train(model, *learnt_from, args.epochs)
    # batch counters are left out: they serve training only
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    rounded = NETWORKS[args.network]()
    rounded.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    right = accuracy(rounded, *held_out)
    file = args.folder / f"shapes_{args.network}.safetensors"
    write(weights, file)
    times = os.times()
    cpu = times.user + times.system + times.children_user + times.children_system
    print(
        f"{file.name}: accuracy {right:.3f} on {len(held_out[1])} held-out pictures, {file.stat().st_size} bytes, "
        f"{time.monotonic() - start:.0f} s, {cpu:.0f} s of processor time"
    )


if __name__ == "__main__":
    main()
