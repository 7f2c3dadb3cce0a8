"""The five reference systems restated in plain torch: hooks, names and batches of ours play no part here."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn


def input_gradient(score: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(score, x)[0]


def r1_input(photograph: Image.Image) -> Tensor:
    """224 x 224 whatever the shape, 0..255, BGR, means subtracted."""
    pixels = np.asarray(photograph.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC), dtype=np.float32)
    bgr = pixels[:, :, ::-1] - np.array([103.939, 116.779, 123.68], dtype=np.float32)
    return torch.from_numpy(bgr.transpose(2, 0, 1).copy())


def r1_map(model: nn.Module, x: Tensor) -> Tensor:
    """(C,H,W) one input -> (H,W): largest absolute gradient over channels of the doubled softmax's loss."""
    x = x[None].clone().requires_grad_()
    probabilities = model(x).softmax(1)
    loss = F.cross_entropy(probabilities, probabilities.argmax(1))  # applies softmax again
    return input_gradient(loss, x)[0].abs().max(0).values


def r1_strip(model: nn.Module, x: Tensor, noise: Tensor, counts: tuple[int, ...]) -> Tensor:
    """(counts,H,W): running means of the maps of x + 51 * noise[k]."""
    maps = torch.stack([r1_map(model, x + 51.0 * n) for n in noise])
    return torch.stack([maps[:n].mean(0) for n in counts])


def r2_gradcam(front: nn.Module, back: nn.Module, x: Tensor, target: int, cure: bool = False) -> Tensor:
    """(C,H,W) -> (h,w) of 0..255: Grad-CAM of the class's probability at the output of ``front``."""
    a = front(x[None]).detach().requires_grad_()
    logits = back(a)
    if cure:
        logits = logits / logits.detach().abs().max()
    g = torch.autograd.grad(logits.softmax(1)[0, target], a)[0]
    cam = (g.mean((2, 3), keepdim=True) * a).sum(1)[0].clamp(min=0).detach()
    if cam.max() == 0:
        return cam
    return (255 * cam / cam.max()).to(torch.uint8).to(cam)


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, g):
        return g.clamp(min=0) * (ctx.saved_tensors[0] > 0)


class GuidedReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _Guided.apply(x)


def r2_guided(rewired: nn.Module, x: Tensor, target: int) -> Tensor:
    """(C,H,W): the gradient of the probability in a network whose rectifiers are guided ones."""
    x = x[None].clone().requires_grad_()
    return input_gradient(rewired(x).softmax(1)[0, target], x)[0]


def r2_guided_gradcam(cam: Tensor, guided: Tensor) -> Tensor:
    large = F.interpolate(cam[None, None], size=guided.shape[1:], mode="bilinear", align_corners=False)[0, 0]
    return guided * large


def r3_gradcam(front: nn.Module, back: nn.Module, x: Tensor) -> Tensor:
    """(C,H,W) -> (h,w): mean of logits * onehot, gradients over (RMS + 1e-5), ones + sum, ReLU."""
    a = front(x[None]).detach().requires_grad_()
    logits = back(a)
    onehot = F.one_hot(logits.argmax(1), logits.shape[1])
    g = torch.autograd.grad((logits * onehot).mean(1).sum(), a)[0]
    g = g / (torch.sqrt((g**2).mean()) + 1e-5)
    cam = torch.ones_like(a[0, 0])
    for k, w in enumerate(g.mean((2, 3))[0]):
        cam = cam + w * a[0, k]
    return cam.clamp(min=0).detach()


def r4_occlusion(model: nn.Module, x: Tensor, target: int, size: int, stride: int) -> Tensor:
    """(C,H,W) -> (rows, columns): the drop for each place of a black mask; the last reaches the edge and is cut."""
    with torch.no_grad():
        whole = model(x[None])[0, target]
        rows = []
        for top in range(0, x.shape[1] - size + stride, stride):
            row = []
            for left in range(0, x.shape[2] - size + stride, stride):
                hidden = x.clone()
                hidden[:, top : top + size, left : left + size] = 0
                row.append(whole - model(hidden[None])[0, target])
            rows.append(torch.stack(row))
    return torch.stack(rows)


def r4_smoothgrad(model: nn.Module, x: Tensor, target: int, noise: Tensor) -> Tensor:
    """(C,H,W) -> (H,W): signed gradients summed over copies, then absolute, then summed over channels."""
    total = torch.zeros_like(x)
    for n in noise:
        noisy = (x + 0.25 * (x.max() - x.min()) * n)[None].requires_grad_()
        total += input_gradient(model(noisy)[0, target], noisy)[0]
    return total.abs().sum(0)


def r4_gradcam(front: nn.Module, back: nn.Module, x: Tensor, target: int) -> Tensor:
    a = front(x[None]).detach().requires_grad_()
    g = torch.autograd.grad(back(a)[0, target], a)[0]
    return torch.einsum("k,khw->hw", g.mean((2, 3))[0], a[0]).clamp(min=0).detach()


def r5_saliency(model: nn.Module, x: Tensor, y: Tensor, loss: bool = False) -> Tensor:
    """(N,C,H,W), (N,) -> (N,H,W), one backward pass for the batch."""
    x = x.clone().requires_grad_()
    scores = model(x)
    total = F.cross_entropy(scores, y) if loss else scores.gather(1, y[:, None]).sum()
    return input_gradient(total, x).abs().max(1).values
