"""Looking into a forward pass without leaving a trace, and replacing functions in it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_framework.capture import Listen, Substitute, Taps, at_rest, replaced
from xai_framework.core import LayerError, ModelError, NotApplicable, Rule

X = torch.tensor([[-2.0, -1.0, 1.0, 3.0]])


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def tapped(model: nn.Module, graph: str = "none", **modules: nn.Module) -> Taps:
    taps = Taps(modules, graph)  # type: ignore[arg-type]
    with torch.set_grad_enabled(graph == "below"), taps.listening():
        model(X.clone())
    return taps


@pytest.mark.parametrize("graph", ["none", "here", "below"])
def test_a_later_operation_in_place_cannot_overwrite_a_record(graph: str) -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True), nn.Hardtanh(0, 2, inplace=True))
    taps = tapped(model, graph, first=model[0], relu=model[1])
    assert torch.equal(taps.seen["first"], X)
    assert taps.seen["relu"].tolist() == [[0, 0, 1, 3]]
    assert hooks(model) == 0


def test_the_graph_starts_at_the_first_record() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).requires_grad_(False)
    assert not tapped(model, "none", a=model[0]).seen["a"].requires_grad
    here = tapped(model, "here", a=model[0], b=model[1])
    assert here.seen["a"].is_leaf
    assert here.seen["b"].grad_fn is not None
    assert torch.is_grad_enabled()


class Branches(nn.Module):
    """Two layers side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) + self.two(x)


def test_layers_side_by_side_both_start_a_graph() -> None:
    model = Branches().requires_grad_(False)
    taps = Taps({"one": model.one, "two": model.two}, "here")
    with torch.no_grad(), taps.listening():
        out = model(X)
    found = torch.autograd.grad(out.sum(), list(taps.seen.values()))
    assert all(torch.equal(g, torch.ones(1, 4)) for g in found)


class Odd(nn.Module):
    """A pair, a module that runs twice, one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.act, self.unused = Pair(), nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.act(x) + self.pair(x)[0])


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def test_layers_that_cannot_be_recorded_have_their_reason() -> None:
    model = Odd()
    taps = tapped(model, pair=model.pair, act=model.act, unused=model.unused)
    assert {k: str(v).split(";")[0] for k, v in taps.faults.items()} == {
        "pair": "layer 'pair' gives a tuple, not one tensor",
        "act": "layer 'act' runs more than once in a forward pass",
        "unused": "layer 'unused' was not executed in the forward pass",
    }


def test_hooks_are_gone_after_an_exception() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(3, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        tapped(model, a=model[0], b=model[1])
    assert hooks(model) == 0


def test_replaced_output_is_seen_by_what_follows() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU())
    with replaced("0", model[0], torch.neg):
        assert model(X).tolist() == [[2, 1, 0, 0]]
    assert model(X).tolist() == [[0, 0, 1, 3]]
    odd = Odd()
    for name, said in (("unused", "not executed"), ("act", "more than once"), ("pair", "gives a tuple")):
        with pytest.raises(LayerError, match=said), replaced(name, odd.get_submodule(name), torch.neg):
            odd(X)
    assert hooks(model) == hooks(odd) == 0


def test_at_rest_puts_every_flag_back_also_after_an_exception() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()), nn.Dropout())
    model[2].eval()
    model[1].eval()
    flags = [m.training for m in model.modules()]
    assert True in flags
    assert False in flags
    with suppress(RuntimeError), torch.inference_mode(), at_rest(model):
        assert not any(m.training for m in model.modules())
        assert not torch.is_inference_mode_enabled()
        assert not torch.backends.mha.get_fastpath_enabled()
        raise RuntimeError
    assert [m.training for m in model.modules()] == flags
    assert torch.backends.mha.get_fastpath_enabled()


# rules


class Guided(torch.autograd.Function):
    """Springenberg et al. 2014: only positive gradients, only where the input was positive."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(min=0) * (ctx.saved_tensors[0] > 0)


def guided(x: Tensor, inplace: bool = False) -> Tensor:
    return Guided.apply(x)  # type: ignore[no-any-return]


RELUS = (F.relu, torch.relu, torch.relu_, F.relu_, Tensor.relu, Tensor.relu_)
GUIDED = Rule("guided", make=lambda: dict.fromkeys(RELUS, guided), passes=frozenset({F.linear, Tensor.sum}))


class Net(nn.Module):
    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.relu = nn.Linear(4, 6), nn.Linear(6, 3), relu

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.relu(self.a(x)))


def under(rule: Rule, model: nn.Module) -> Tensor:
    x = X.clone().requires_grad_()
    substitute = Substitute(rule)
    with substitute:
        out = model(x)
    substitute.check_used()
    return torch.autograd.grad(out.sum(), x)[0]


@pytest.mark.parametrize(
    "relu",
    [nn.ReLU(), nn.ReLU(inplace=True), F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_],
    ids=["ReLU", "inplace", "F.relu", "F.relu_", "torch.relu", "torch.relu_", "relu", "relu_"],
)
def test_a_rule_meets_every_spelling_of_a_function(relu: Callable[[Tensor], Tensor]) -> None:
    model = Net(relu)
    hidden = X @ model.a.weight.T + model.a.bias
    back = model.b.weight.sum(0).clamp(min=0) * (hidden > 0)
    expected = (back @ model.a.weight).detach()
    assert torch.allclose(under(GUIDED, model), expected, atol=1e-6)
    x = X.clone().requires_grad_()
    plain = torch.autograd.grad(model(x).sum(), x)[0]
    assert not torch.allclose(plain, expected), "nothing is left replaced"


def test_a_function_the_rule_does_not_know_is_refused() -> None:
    with pytest.raises(NotApplicable, match=r"rule 'guided' does not know what to do with .*silu"):
        under(GUIDED, Net(lambda x: F.relu(x) + F.silu(x)))


def test_a_function_with_several_outputs_is_no_way_round() -> None:
    with pytest.raises(NotApplicable, match="chunk"):
        under(GUIDED, Net(lambda x: torch.cat([F.relu(part) for part in x.chunk(2, 1)], 1)))


def test_a_rule_that_meets_nothing_is_refused() -> None:
    with pytest.raises(NotApplicable, match="met nothing to replace"):
        under(GUIDED, nn.Linear(4, 3))


def test_functions_that_are_not_differentiated_may_run() -> None:
    model = Net(lambda x: F.relu(x) if bool((x.detach() > 1e9).any()) is False else x)
    assert under(GUIDED, model).shape == X.shape


def test_replacements_are_fresh_for_every_pass_and_may_call_the_original() -> None:
    made = []

    def make() -> dict[Callable[..., Tensor], Callable[..., Tensor]]:
        calls: list[int] = []
        made.append(calls)

        def relu(x: Tensor, inplace: bool = False) -> Tensor:
            calls.append(1)
            return F.relu(x)

        return {F.relu: relu}

    rule = Rule("counting", make=make, passes=GUIDED.passes)
    for _ in range(2):
        under(rule, Net(F.relu))
    assert made == [[1], [1]]


def test_listening_gives_calls_with_their_gradients() -> None:
    model = Net(nn.ReLU(inplace=True))
    listen, x = Listen([F.relu, F.linear]), X.clone().requires_grad_()
    with listen:
        out = model(x)
    gradient, calls = listen.with_gradients(out.sum(), x)
    assert [c.function for c in calls] == [F.linear, F.relu, F.linear]
    hidden = (X @ model.a.weight.T + model.a.bias).detach()
    assert torch.allclose(calls[0].output, hidden)
    assert torch.allclose(calls[1].output, hidden.clamp(min=0))
    assert calls[1].gradient is not None
    assert torch.allclose(calls[1].gradient, model.b.weight.sum(0).expand(1, 6))
    assert not any(c.output.requires_grad for c in calls)
    assert torch.allclose(gradient, ((model.b.weight.sum(0) * (hidden > 0)) @ model.a.weight).detach(), atol=1e-6)


def test_listening_to_a_model_without_gradients_says_so() -> None:
    listen, x = Listen([F.relu]), X.clone().requires_grad_()
    with listen:
        out = F.relu(x.detach())
    with pytest.raises(ModelError, match="no differentiable path"):
        listen.with_gradients(out.sum(), x)
    with pytest.raises(ModelError, match="no differentiable path"):
        listen.with_gradients(torch.ones(1, requires_grad=True).sum(), x)
