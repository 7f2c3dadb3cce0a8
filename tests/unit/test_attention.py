"""Attention methods against attention written out, with gradients by autograd."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from xai_plugins.backbones._torchvision_layers import grid_of
from xai_plugins.methods.attention import RawAttention
from xai_plugins.methods.attention_relevance import AttentionRelevance
from xai_plugins.methods.attention_rollout import AttentionRollout
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


def test_networks_without_attention_say_so() -> None:
    for method in (RawAttention(), AttentionRollout(), AttentionRelevance()):
        with pytest.raises(NotApplicable, match="calls no self-attention"):
            explain(method, ask("vgg_like"))


class Explicit(nn.Module):
    """A transformer of another make: scaled products or a softmax, with register tokens, or pooled without any."""

    def __init__(self, extra: int, fused: bool) -> None:
        super().__init__()
        self.embed, self.qkv, self.fc = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 24), nn.Linear(8, 5)
        self.extra = nn.Parameter(torch.randn(1, extra, 8))
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        t = torch.cat([self.extra.expand(len(x), -1, -1), self.embed(x).flatten(2).transpose(1, 2)], 1)
        for _ in range(2):
            q, k, v = self.qkv(t).view(len(t), t.shape[1], 3, 2, 4).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v) if self.fused else (q @ k.mT / 2).softmax(-1) @ v
            t = t + y.transpose(1, 2).reshape(t.shape)
        return self.fc(t[:, 0] if self.extra.shape[1] else t.mean(1))


@pytest.mark.parametrize("extra", [0, 1, 5])
@pytest.mark.parametrize("size", [(16, 16), (16, 24)])
def test_other_makes_of_attention_registers_and_oblong_grids(extra: int, size: tuple[int, int]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fused = Explicit(extra, True).double().eval()
    plain = Explicit(extra, False).double().eval()
    plain.load_state_dict(fused.state_dict())
    x = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    probes = [SharedProbe(ModuleAdapter(m, Preprocess(crop=size)), Predicted()) for m in (fused, plain)]
    for method in (RawAttention(), AttentionRollout(), AttentionRelevance()):
        one, other = (explain(method, p, x) for p in probes)
        assert one.shape == (3, 1, size[0] // 4, size[1] // 4)
        close(one, other)
        assert one.any()


def test_token_grids_with_registers() -> None:
    to_grid = grid_of("vit_b_16", "encoder.layers.encoder_layer_11.ln_1")
    grid = torch.arange(2.0 * 6 * 9).view(2, 9, 6)
    for extra in (1, 5):
        tokens = torch.cat([torch.full((2, extra, 6), -1.0), grid], 1)
        assert torch.equal(to_grid(tokens), grid.transpose(1, 2).reshape(2, 6, 3, 3))
    with pytest.raises(LayerError, match="no class token and square grid"):
        to_grid(torch.zeros(2, 9 * 10 + 8, 6))
