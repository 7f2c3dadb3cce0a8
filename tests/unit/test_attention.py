"""Attention methods against attention written out, with gradients by autograd."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer
from xai_plugins.backbones._torchvision_layers import grid_of, last_of_vit
from xai_plugins.methods.attention import RawAttention
from xai_plugins.methods.attention_relevance import AttentionRelevance
from xai_plugins.methods.attention_rollout import AttentionRollout
from xai_plugins.methods.gradcam import GradCam
from xai_plugins.targets.rank import Predicted

from xai_framework.api import ModuleAdapter
from xai_framework.core import Explainer, LayerError, NotApplicable, Preprocess
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng
from xai_framework.testing import TinyAdapter

X = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.tensor([1, 0, 4])


def ask(network: str) -> SharedProbe:
    adapter = TinyAdapter(network)  # type: ignore[arg-type]
    return SharedProbe(adapter.with_model(adapter.model.double()), Predicted(), chunk=2)


def explain(method: Explainer, probe: SharedProbe, x: Tensor = X) -> Tensor:
    return method.explain(probe, x, TARGETS, NamedRng.of(0, "abc"))


def written_out(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """(probabilities, gradient), each (B,heads,L,L), of torchvision's ViT run by hand, layer after layer."""
    x = model._process_input(X)
    x = torch.cat([model.class_token.expand(len(x), -1, -1), x], 1) + model.encoder.pos_embedding
    kept = []
    for block in model.encoder.layers:
        y, at = block.ln_1(x), block.self_attention
        b, n, e = y.shape
        heads, d = at.num_heads, e // at.num_heads
        q, k, v = (
            F.linear(y, w, c).view(b, n, heads, d).transpose(1, 2)
            for w, c in zip(at.in_proj_weight.chunk(3), at.in_proj_bias.chunk(3), strict=True)
        )
        attention = (q @ k.transpose(-2, -1) / math.sqrt(d)).softmax(-1)
        kept.append(attention)
        x = x + at.out_proj((attention @ v).transpose(1, 2).reshape(b, n, e))
        x = x + block.mlp(block.ln_2(x))
    outputs = model.heads(model.encoder.ln(x)[:, 0])
    gradients = torch.autograd.grad(outputs.gather(1, TARGETS[:, None]).sum(), kept)
    return [(a.detach(), g) for a, g in zip(kept, gradients, strict=True)]


def picture(height: int, width: int) -> Tensor:
    return torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


def test_relevance_against_equations_5_and_6() -> None:
    probe = ask("vit")
    expected = []
    layers = written_out(probe.adapter.model)
    for b in range(3):
        relevance = torch.eye(17, dtype=X.dtype)
        for a, g in layers:
            relevance = relevance + (a[b] * g[b]).clamp(min=0).mean(0) @ relevance
        expected.append(relevance[0, 1:].view(1, 4, 4))
    close(explain(AttentionRelevance(), probe), torch.stack(expected))
    last = [(a * g).clamp(min=0).mean(1)[:, 0, 1:].view(3, 1, 4, 4) for a, g in layers][-1]
    close(explain(AttentionRelevance(start=1), probe), last)
    with pytest.raises(NotApplicable, match="start=2, but only 2 layers"):
        explain(AttentionRelevance(start=2), probe)


@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_rollout_against_equation_1(heads: str) -> None:
    probe = ask("vit")
    layers = written_out(probe.adapter.model)
    expected = []
    for b in range(3):
        total = torch.eye(17, dtype=X.dtype)
        for a, _ in layers:
            fused = {"mean": a[b].mean(0), "max": a[b].max(0).values, "min": a[b].min(0).values}[heads]
            step = 0.3 * torch.eye(17, dtype=X.dtype) + 0.7 * fused
            total = (step / step.sum(1, keepdim=True)) @ total
        expected.append(total[0, 1:].view(1, 4, 4))
    close(explain(AttentionRollout(heads=heads, residual=0.3), probe), torch.stack(expected))  # type: ignore[arg-type]


def test_rollout_keeps_the_largest_attentions_only() -> None:
    probe = ask("vit")
    found = explain(AttentionRollout(discard=0.9, residual=0.0), probe)
    assert (found == 0).any()
    assert (explain(AttentionRollout(residual=0.0), probe) > 0).all()


def test_raw_attention_of_any_layer() -> None:
    probe = ask("vit")
    layers = written_out(probe.adapter.model)
    for index in (-1, 0):
        close(explain(RawAttention(index=index), probe), layers[index][0].mean(1)[:, 0, 1:].view(3, 1, 4, 4))
    with pytest.raises(NotApplicable, match="index=2, but the network has 2"):
        explain(RawAttention(index=2), probe)


def test_swin_shows_its_last_stage_and_refuses_rollout() -> None:
    """The last stage's window is the whole 4 x 4 grid; the head averages tokens."""
    probe = ask("swin")
    with pytest.raises(NotApplicable, match="confined to windows: rollout over shifted windows has no meaning"):
        explain(AttentionRollout(), probe)
    with pytest.raises(NotApplicable, match="this layer's attention is confined to windows"):
        explain(RawAttention(index=0), probe)
    model = probe.adapter.model
    kept: list[Tensor] = []
    softmax = F.softmax

    def keep(t: Tensor, dim: int) -> Tensor:
        kept.append(softmax(t, dim))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "softmax", keep)
        outputs = model(X)
    gradient = torch.autograd.grad(outputs.gather(1, TARGETS[:, None]).sum(), kept[-1])[0]
    expected = (kept[-1] * gradient).clamp(min=0).mean(1).mean(1).view(3, 1, 4, 4).detach()
    close(explain(AttentionRelevance(), probe), expected)


def swin(depths: list[int]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = SwinTransformer([2, 2], 4, depths, [1, 2], [4, 4], num_classes=5)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.4)
    return model.double().eval()


def around(model: nn.Module, size: tuple[int, int]) -> SharedProbe:
    return SharedProbe(ModuleAdapter(model, Preprocess(crop=size)), Predicted())


@pytest.mark.parametrize(
    ("size", "grid"), [((12, 12), (3, 3)), ((16, 12), (4, 3)), ((14, 14), (4, 4)), ((8, 8), (2, 2))]
)
def test_windows_larger_than_the_grid_of_swin(size: tuple[int, int], grid: tuple[int, int]) -> None:
    """Position (i,j) of the padded window is token 4 i + j; the padding is no patch and carries nothing on."""
    model, x = swin([2, 2]), picture(*size)
    kept: list[Tensor] = []
    softmax = F.softmax
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "softmax", lambda t, dim: kept.append(softmax(t, dim)) or kept[-1])
        outputs = model(x)
    gradients = torch.autograd.grad(outputs.gather(1, TARGETS[:, None]).sum(), kept[-2:])
    height, width = grid
    patches = [4 * i + j for i in range(height) for j in range(width)]
    expected = torch.zeros(3, height * width, dtype=X.dtype)
    for b in range(3):
        relevance = torch.eye(len(patches), dtype=X.dtype)
        for a, g in zip((a.detach() for a in kept[-2:]), gradients, strict=True):
            step = torch.zeros_like(relevance)
            for n, q in enumerate(patches):
                for m, k in enumerate(patches):
                    step[n, m] = sum(max(0.0, float(a[b, h, q, k] * g[b, h, q, k])) for h in range(2)) / 2
            relevance = relevance + step @ relevance
        expected[b] = (relevance - torch.eye(len(patches), dtype=X.dtype)).mean(0)
        padding = [t for t in range(16) if t not in patches]
        assert not gradients[-1][b, :, padding].any(), "what padding attends to is thrown away"
    probe = around(model, size)
    close(explain(AttentionRelevance(), probe, x), expected.view(3, 1, height, width))
    raw = kept[-1].detach().mean(1)[:, patches][:, :, patches].mean(1)
    close(explain(RawAttention(), probe, x), raw.view(3, 1, height, width))
    with pytest.raises(NotApplicable, match=r"confined to windows|different numbers of tokens"):
        explain(AttentionRollout(), probe, x)


def test_swin_whose_last_stage_has_several_windows_is_refused() -> None:
    probe, x = around(swin([1, 1]), (20, 20)), picture(20, 20)
    for method, said in ((AttentionRelevance(), "windows to the very end"), (RawAttention(), "confined to windows")):
        with pytest.raises(NotApplicable, match=said):
            explain(method, probe, x)


class Gated(nn.Module):
    """A softmax over channels of a square picture is no attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.fc((x * torch.softmax(x, 1) * F.softmax(x, dim=1) * x.softmax(dim=1)).mean((2, 3)))


def test_networks_without_attention_say_so() -> None:
    for method in (RawAttention(), AttentionRollout(), AttentionRelevance()):
        for probe in (ask("vgg_like"), around(Gated().double().eval(), (16, 16))):
            with pytest.raises(NotApplicable, match="calls no self-attention of the form"):
                explain(method, probe)


Make = Literal["fused", "written", "packed"]


class Explicit(nn.Module):
    """Another transformer: scaled products, a softmax or nn.MultiheadAttention; without extra tokens pooled."""

    def __init__(self, extra: int, make: Make, mask: Tensor | None = None) -> None:
        super().__init__()
        self.embed, self.qkv, self.fc = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 24), nn.Linear(8, 5)
        self.extra = nn.Parameter(torch.randn(1, extra, 8))
        self.make, self.mask = make, mask

    def forward(self, x: Tensor) -> Tensor:
        t = torch.cat([self.extra.expand(len(x), -1, -1), self.embed(x).flatten(2).transpose(1, 2)], 1)
        for _ in range(2):
            t = t + (self.packed(t) if self.make == "packed" else self.heads(t))
        return self.fc(t[:, 0] if self.extra.shape[1] else t.mean(1))

    def heads(self, t: Tensor) -> Tensor:
        q, k, v = self.qkv(t).view(len(t), t.shape[1], 3, 2, 4).permute(2, 0, 3, 1, 4)
        if self.make == "fused":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.mask is not None)
        else:
            scores = q @ k.mT / 2
            y = (scores if self.mask is None else scores.masked_fill(self.mask, -math.inf)).softmax(-1) @ v
        return y.transpose(1, 2).reshape(t.shape)

    def packed(self, t: Tensor) -> Tensor:
        """``mask`` is (L,L), or (b*heads,L,L)."""
        whole = nn.MultiheadAttention(8, 2, batch_first=True).to(t.dtype).eval()
        whole.load_state_dict(
            {
                "in_proj_weight": self.qkv.weight,
                "in_proj_bias": self.qkv.bias,
                "out_proj.weight": torch.eye(8),
                "out_proj.bias": torch.zeros(8),
            }
        )
        several = self.mask is not None and self.mask.ndim == 3
        mask = self.mask[: 2 * len(t)] if several else self.mask  # type: ignore[index]
        return whole(t, t, t, attn_mask=mask, need_weights=False)[0]  # type: ignore[no-any-return]


def makes(extra: int, **masks: Tensor | None) -> Iterator[nn.Module]:
    """The same network in several makes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = Explicit(extra, "written", masks.get("written")).double().eval()
    yield first
    for make in ("fused", "packed"):
        other = Explicit(extra, make, masks.get(make)).double().eval()  # type: ignore[arg-type]
        other.load_state_dict(first.state_dict())
        yield other


@pytest.mark.parametrize("extra", [0, 1, 5])
@pytest.mark.parametrize("size", [(16, 16), (16, 24), (18, 18), (17, 23), (30, 30)])
def test_other_makes_of_attention_registers_and_oblong_grids(extra: int, size: tuple[int, int]) -> None:
    """Also of sizes that the patches do not divide: what is left over at the edge is not looked at."""
    x = picture(*size)
    for method in (RawAttention(), AttentionRollout(), AttentionRelevance()):
        first, *others = (explain(method, around(model, size), x) for model in makes(extra))
        assert first.shape == (3, 1, size[0] // 4, size[1] // 4)
        assert first.any()
        for other in others:
            close(other, first)


@pytest.mark.parametrize("per_head", [False, True])
def test_masks(per_head: bool) -> None:
    """Each token sees itself and those before it only; for scaled products by a flag."""
    after = torch.ones(17, 17, dtype=torch.bool).triu(1)
    packed = after.expand(6, 17, 17) if per_head else after
    for method in (RawAttention(), AttentionRollout(), AttentionRelevance()):
        first, *others = (
            explain(method, around(model, (16, 16))) for model in makes(1, written=after, fused=after, packed=packed)
        )
        for other in others:
            close(other, first)
    # the class token comes first: it sees itself alone
    assert not explain(RawAttention(), around(next(makes(1, written=after)), (16, 16))).any()


def test_tokens_that_fit_no_patches_are_refused() -> None:
    for method in (RawAttention(), AttentionRollout(), AttentionRelevance()):
        with pytest.raises(NotApplicable, match="33 tokens make no grid of patches on an input of 16x24"):
            explain(method, around(next(makes(9)), (16, 24)), picture(16, 24))


class Registers(VisionTransformer):
    """torchvision's ViT with four more tokens behind the class token, as DINOv2 has them."""

    def __init__(self) -> None:
        super().__init__(16, 4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=5)
        self.registers = nn.Parameter(torch.randn(1, 4, 8))
        self.encoder.pos_embedding = nn.Parameter(torch.randn(1, 21, 8))
        nn.init.normal_(self.heads.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        extra = torch.cat([self.class_token, self.registers], 1).expand(len(x), -1, -1)
        return self.heads(self.encoder(torch.cat([extra, self._process_input(x)], 1))[:, 0])  # type: ignore[no-any-return]


class RegisterAdapter(ModuleAdapter):
    def last_layer(self) -> str:
        return last_of_vit(self.model)

    def to_grid(self, name: str) -> Callable[[Tensor], Tensor]:
        return grid_of("vit_b_16", name)


def test_grad_cam_and_relevance_of_a_vit_with_registers() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Registers().double().eval()
    probe = SharedProbe(RegisterAdapter(model, Preprocess(crop=(16, 16))), Predicted(), chunk=2)
    block = model.encoder.layers[-1]
    extra = torch.cat([model.class_token, model.registers], 1).expand(3, -1, -1)
    tokens = torch.cat([extra, model._process_input(X)], 1) + model.encoder.pos_embedding
    before = model.encoder.layers[0](tokens)
    normed = block.ln_1(before)
    attended, weights = block.self_attention(normed, normed, normed, need_weights=True, average_attn_weights=False)
    after = before + attended
    outputs = model.heads(model.encoder.ln(after + block.mlp(block.ln_2(after)))[:, 0])
    gradient = torch.autograd.grad(outputs.gather(1, TARGETS[:, None]).sum(), normed)[0]
    cam = torch.zeros(3, 1, 4, 4, dtype=X.dtype)
    for b in range(3):
        importance = gradient[b, 5:].mean(0)  # of the 16 patches alone
        for patch in range(16):
            value = float(importance @ normed[b, 5 + patch].detach())
            cam[b, 0, patch // 4, patch % 4] = max(0.0, value)
    assert cam.any()
    close(explain(GradCam(), probe), cam)
    close(explain(RawAttention(), probe), weights.mean(1)[:, 0, 5:].reshape(3, 1, 4, 4).detach())
    assert explain(AttentionRelevance(), probe).shape == (3, 1, 4, 4)


def test_token_grids_with_registers() -> None:
    to_grid = grid_of("vit_b_16", "encoder.layers.encoder_layer_11.ln_1")
    grid = torch.arange(2.0 * 6 * 9).view(2, 9, 6)
    for extra in (1, 5):
        tokens = torch.cat([torch.full((2, extra, 6), -1.0), grid], 1)
        assert torch.equal(to_grid(tokens), grid.transpose(1, 2).reshape(2, 6, 3, 3))
    with pytest.raises(LayerError, match="no class token and square grid"):
        to_grid(torch.zeros(2, 9 * 10 + 8, 6))
