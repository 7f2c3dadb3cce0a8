"""Rules of layer-wise relevance propagation for one linear map, in the notation of Montavon et al. 2019, section 10.2.

Each rule shares the relevance R of the outputs among the inputs as sum_g c_g sum_i s_i x_i * J_i^T (R / sum_i s_i z_i),
where term i is the map with other inputs x_i and weights (w_i, b_i), z_i its output, J_i its derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from xai_framework.core import NotApplicable

if TYPE_CHECKING:
    from torch import Tensor

LinearMap = Callable[["Tensor", "Tensor", "Tensor | None"], "Tensor"]
"""(input, weight, bias) -> output."""


@dataclass(frozen=True)
class Term:
    """One version of the map: what stands for its input and its weights."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    sign: float = 1.0


@dataclass(frozen=True)
class Group:
    """Terms that share one denominator. ``of`` keeps the outputs of one sign only (1, -1), or all (0)."""

    terms: Sequence[Term]
    coefficient: float = 1.0
    of: int = 0


LrpRule = Callable[["Tensor", "Tensor", "Tensor | None"], Sequence[Group]]
"""(input, weight, bias) -> the groups of terms."""


def stabilised(z: Tensor, epsilon: float) -> Tensor:
    """Z moved away from 0 by epsilon, in its own direction."""
    return z + epsilon * torch.where(z < 0, -1.0, 1.0)


def _parts(t: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if t is None else (t.clamp(min=0), t.clamp(max=0))


def epsilon_rule(x: Tensor, weight: Tensor, bias: Tensor | None) -> Sequence[Group]:
    """LRP-epsilon, Bach et al. 2015, equation 58."""
    return (Group((Term(x, weight, bias),)),)


def alpha_beta_rule(alpha: float, beta: float, x: Tensor, weight: Tensor, bias: Tensor | None) -> Sequence[Group]:
    """LRP-alpha-beta, Bach et al. 2015, equation 60; (1, 0) is z+. Also for negative inputs."""
    (x_up, x_down), (w_up, w_down), (b_up, b_down) = _halves(x), _halves(weight), _parts(bias)
    groups = [Group((Term(x_up, w_up, b_up), Term(x_down, w_down, None)), alpha)]
    if beta:
        groups.append(Group((Term(x_up, w_down, b_down), Term(x_down, w_up, None)), -beta))
    return groups


def gamma_rule(gamma: float, x: Tensor, weight: Tensor, bias: Tensor | None) -> Sequence[Group]:
    """LRP-gamma, Montavon et al. 2019, section 10.2.3, extended to negative inputs (Andeol et al. 2021)."""
    (x_up, x_down), (w_up, w_down), (b_up, b_down) = _halves(x), _halves(weight), _parts(bias)
    w_more, w_less = weight + gamma * w_up, weight + gamma * w_down
    b_more = None if bias is None or b_up is None else bias + gamma * b_up
    b_less = None if bias is None or b_down is None else bias + gamma * b_down
    return (
        Group((Term(x_up, w_more, b_more), Term(x_down, w_less, None)), of=1),
        Group((Term(x_up, w_less, b_less), Term(x_down, w_more, None)), of=-1),
    )


def box_rule(
    inputs: Tensor, low: Tensor, high: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Sequence[Group]:
    """z^B for inputs between low and high, Montavon et al. 2017, arXiv:1512.02479, equation 6.

    ``low`` and ``high`` are the bounds of ``inputs`` (B,C,H,W); a layer that sees anything else has others, unknown.
    """
    if not torch.equal(x.flatten(), inputs.flatten()):
        raise NotApplicable(
            "the z^B rule knows the bounds of the input, and this network changes it in front of its first layer; "
            "use a composite without z^B (box)"
        )
    (w_up, w_down), (b_up, b_down) = _halves(weight), _parts(bias)
    lowest, highest = (bound.expand_as(inputs).reshape(x.shape) for bound in (low, high))
    bounds = (Term(lowest, w_up, b_up, -1.0), Term(highest, w_down, b_down, -1.0))
    return (Group((Term(x, weight, bias), *bounds)),)


def flat_rule(x: Tensor, weight: Tensor, bias: Tensor | None) -> Sequence[Group]:
    """Evenly over the receptive field, Lapuschkin et al. 2019, arXiv:1902.10178."""
    return (Group((Term(torch.ones_like(x), torch.ones_like(weight), None),)),)


def positive_rule(x: Tensor, weight: Tensor, bias: Tensor | None) -> Sequence[Group]:
    """In proportion to positive inputs, for a map without weights."""
    return (Group((Term(x.clamp(min=0), weight, bias),)),)


def _halves(t: Tensor) -> tuple[Tensor, Tensor]:
    return t.clamp(min=0), t.clamp(max=0)


class _Relevance(torch.autograd.Function):
    """A linear map whose backward pass shares relevance out by a rule."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's own
        x: Tensor,
        call: LinearMap,
        weight: Tensor,
        bias: Tensor | None,
        rule: LrpRule,
        epsilon: float,
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.how = (call, weight, bias, rule, epsilon)
        return call(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None, None, None, None, None]:  # noqa: ANN401
        (x,) = ctx.saved_tensors
        call, weight, bias, rule, epsilon = ctx.how
        found = torch.zeros_like(x)
        whole = None
        for group in rule(x, weight, bias):
            if group.of and whole is None:
                whole = call(x, weight, bias)
            kept = relevance if whole is None or not group.of else relevance * (whole.sign() == group.of)
            found += group.coefficient * _shared(group, call, kept, epsilon)
        return found, None, None, None, None, None


def _shared(group: Group, call: LinearMap, relevance: Tensor, epsilon: float) -> Tensor:
    """One group's part of the inputs' relevance."""
    with torch.enable_grad():
        leaves = [_plain(term.x).requires_grad_() for term in group.terms]
        outputs = [t.sign * call(x, t.weight, t.bias) for t, x in zip(group.terms, leaves, strict=True)]
    share = relevance / stabilised(sum(o.detach() for o in outputs), epsilon)  # type: ignore[arg-type]
    gradients = torch.autograd.grad(outputs, leaves, [share] * len(outputs))
    total: Tensor = sum(x.detach() * g for x, g in zip(leaves, gradients, strict=True))  # type: ignore[assignment]
    return total


def _plain(x: Tensor) -> Tensor:
    """Of no graph; a tensor made in inference mode could not enter one."""
    return x.clone() if x.is_inference() else x.detach()


def relevance_through(
    x: Tensor, call: LinearMap, weight: Tensor, bias: Tensor | None, rule: LrpRule, epsilon: float
) -> Tensor:
    """``call(x, weight, bias)``, with relevance flowing back by the rule."""
    result: Tensor = _Relevance.apply(x, call, weight, bias, rule, epsilon)
    return result


def normalised_through(
    x: Tensor, call: Callable[[Tensor], Tensor], epsilon: float, rule: LrpRule = epsilon_rule
) -> Tensor:
    """A linear map without weights (pooling, a mean): relevance in proportion to what each input contributes."""
    nothing = x.new_zeros(())
    return relevance_through(x, lambda v, _w, _b: call(v), nothing, None, rule, epsilon)


def zplus_rule(*, bias: bool = True) -> LrpRule:
    """z+, Montavon et al. 2017: alpha-beta with (1, 0). Without the bias nothing is absorbed."""
    if bias:
        return partial(alpha_beta_rule, 1.0, 0.0)
    return lambda x, weight, _bias: alpha_beta_rule(1.0, 0.0, x, weight, None)
