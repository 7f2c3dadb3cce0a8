"""zennit's composites of layer-wise relevance propagation.

zennit leaves the eps of a batch norm in place after merging it, so that a factor 1/sqrt(1 + eps) remains: it is set to
0 on its copy of the network, whose rectifiers do not work in place either.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from importlib.metadata import version

import torch
import zennit.composites as composites
from torch import Tensor, nn
from xai_plugins.methods.guided_backprop import GuidedBackprop
from xai_plugins.methods.lrp import Lrp
from zennit.canonizers import Canonizer, MergeBatchNorm
from zennit.core import Composite
from zennit.rules import AlphaBeta, Epsilon, Gamma, ZPlus
from zennit.torchvision import ResNetCanonizer, VGGCanonizer
from zennit.types import Convolution, Linear

from benchmarks.peers.common import Comparison, Subject

CANONIZERS: dict[str, Callable[[], Canonizer]] = {
    "resnet18": ResNetCanonizer,
    "vgg11": VGGCanonizer,
}


def comparisons(name: str) -> Iterator[Comparison]:
    """On the networks that zennit has canonizers for; it sees modules only."""
    if name not in CANONIZERS:
        return
    subject = Subject.of(name)
    low, high = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    normalise = subject.probe.adapter.normalise
    box = {"low": normalise(low).double().expand(1, -1, 64, 64), "high": normalise(high).double().expand(1, -1, 64, 64)}
    theirs: dict[str, Callable[[list[Canonizer]], Composite]] = {
        "epsilon_plus_flat": lambda c: composites.EpsilonPlusFlat(canonizers=c),
        "epsilon_gamma_box": lambda c: composites.EpsilonGammaBox(**box, canonizers=c),
        "epsilon_alpha_beta_flat": lambda c: composites.EpsilonAlpha2Beta1Flat(canonizers=c),
        "epsilon_plus": lambda c: composites.EpsilonPlus(canonizers=c),
        "epsilon": lambda c: _everywhere(Epsilon, c),
        "zplus": lambda c: _everywhere(ZPlus, c),
        "gamma": lambda c: _everywhere(Gamma, c),
        "alpha_beta": lambda c: _everywhere(AlphaBeta, c),
    }
    for composite, make in theirs.items():
        yield Comparison(
            name,
            f"zennit {version('zennit')}",
            f"lrp {composite}",
            subject.ours(Lrp(composite=composite)),  # type: ignore[arg-type]
            functools.partial(_zennit, subject, CANONIZERS[name], make),
            note="eps of merged batch norms set to 0",
        )
    yield Comparison(
        name,
        f"zennit {version('zennit')}",
        "guided_backprop",
        subject.ours(GuidedBackprop()),
        functools.partial(_zennit, subject, None, lambda c: composites.GuidedBackprop(canonizers=c), False),
    )


def _everywhere(rule: type, canonizers: list[Canonizer]) -> Composite:
    """One rule for every layer with weights."""
    layers = [((Convolution, Linear), rule()), *composites.layer_map_base()]
    return composites.LayerMapComposite(layers, canonizers=canonizers)


def _zennit(
    subject: Subject,
    canonizer: Callable[[], Canonizer] | None,
    make: Callable[[list[Canonizer]], Composite],
    relevance: bool = True,
) -> Tensor:
    """(B,C,H,W): relevance, or the plain gradient under the composite."""
    model = copy.deepcopy(subject.model).requires_grad_()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    composite = make([_exact(canonizer())] if canonizer else [])
    x = subject.inputs.clone().requires_grad_()
    with composite.context(model) as modified:
        outputs = modified(x)
        chosen = torch.nn.functional.one_hot(subject.targets, outputs.shape[1]).double()
        (maps,) = torch.autograd.grad(outputs, x, chosen * outputs.detach() if relevance else chosen)
    return maps


def _exact(canonizer: Canonizer) -> Canonizer:
    """The canonizer, leaving no eps behind."""
    merge = MergeBatchNorm.merge_batch_norm

    def merged(modules: list[nn.Module], batch_norm: nn.BatchNorm2d) -> None:
        merge(modules, batch_norm)
        batch_norm.eps = 0.0

    for part in (canonizer, *getattr(canonizer, "canonizers", ())):
        if isinstance(part, MergeBatchNorm):
            part.copy = lambda part=part: _with(part, merged)  # type: ignore[method-assign]
    return canonizer


def _with(part: MergeBatchNorm, merged: Callable[..., None]) -> MergeBatchNorm:
    twin = type(part)()
    twin.merge_batch_norm = merged  # type: ignore[method-assign]
    return twin
