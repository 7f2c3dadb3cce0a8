"""Running one method the way the engine does, on one model of the kit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xai_framework.core.adapter import ModelAdapter
from xai_framework.core.errors import NotApplicable
from xai_framework.core.explainer import CLEAN, Ask, Explainer, Shape
from xai_framework.core.probe import Probe
from xai_framework.core.rule import PLAIN, Rule
from xai_framework.core.target import About, ClassTarget
from xai_framework.handout import Handouts
from xai_framework.probe import SharedProbe
from xai_framework.rng import NamedRng

Given = tuple[str, Tensor, Tensor]
"""A verb of the probe, the tensor it gave, and a copy made at once."""


@dataclass(frozen=True)
class Best(ClassTarget):
    """The class with the largest output."""

    def choose(self, outputs: Tensor, about: Sequence[About], probe: Probe) -> Tensor:
        """(B,K) -> (B,)."""
        return outputs.argmax(1)


@dataclass(frozen=True, eq=False)
class Bench:
    """One method on a copy of one model, with three pictures."""

    method: Explainer
    adapter: ModelAdapter
    inputs: Tensor
    targets: Tensor
    ids: tuple[str, ...]

    @classmethod
    def of(cls, method: Explainer, adapter: ModelAdapter, images: int = 3) -> Bench:
        """Pictures of smooth noise, and the class predicted for each."""
        own = adapter.with_model(copy.deepcopy(adapter.model))
        rng = np.random.default_rng(0)
        height, width = own.preprocess.geometry((32, 32)).input_size
        coarse = rng.random((images, -(-height // 4), -(-width // 4), own.preprocess.channels), dtype=np.float32)
        pixels = coarse.repeat(4, 1).repeat(4, 2)[:, :height, :width]
        parameter = next(own.model.parameters(), torch.zeros(()))
        inputs = torch.stack([own.prepare(p).inputs for p in pixels]).to(parameter.device, parameter.dtype)
        targets = SharedProbe(own, Best()).outputs(inputs).argmax(1)
        return cls(method, own, inputs, targets, tuple(f"picture {i}" for i in range(images)))

    @property
    def shape(self) -> Shape:
        """What needs are asked about."""
        channels, height, width = self.inputs.shape[1:]
        return Shape((channels, height, width))

    def run(
        self,
        rows: Sequence[int] | None = None,
        *,
        method: Explainer | None = None,
        adapter: ModelAdapter | None = None,
        inputs: Tensor | None = None,
        targets: Tensor | None = None,
        seed: int = 0,
        asks: Sequence[Ask] | None = None,
        answers: list[Given] | None = None,
    ) -> Tensor:
        """The maps of some rows. ``asks`` None shares nothing, else passes are shared as if these were announced.

        ``answers`` collects what the probe gave.
        """
        chosen = list(range(len(self.inputs)) if rows is None else rows)
        batch = self.inputs[chosen].clone() if inputs is None else inputs
        aims = self.targets[chosen].clone() if targets is None else targets
        handouts = Handouts()
        if asks is not None:
            handouts.keep(batch, CLEAN)
        united: dict[object, list[Ask]] = {}
        for ask in asks or ():
            united.setdefault(ask.of, []).append(ask)
        rng = NamedRng.of(seed, [self.ids[i] for i in chosen], handouts).at("kit")
        probe = _Noting([] if answers is None else answers, adapter or self.adapter, handouts, united)
        return (method or self.method).explain(probe, batch, aims, rng)

    def applies(self) -> bool:
        """Whether the method has a meaning on this model; any other failure is for the checks to report."""
        try:
            self.run()
        except NotApplicable:
            return False
        except Exception:
            return True
        return True

    def executed_modules(self) -> list[nn.Module]:
        """The modules without children that a forward pass runs, in order."""
        ran: list[nn.Module] = []
        with ExitStack() as stack:
            for module in self.adapter.model.modules():
                if not list(module.children()):
                    stack.callback(module.register_forward_hook(lambda m, _args, _out: ran.append(m)).remove)
            with torch.no_grad():
                self.adapter.forward(self.inputs[:1].clone())
        return ran

    def announced(self) -> tuple[Ask, ...]:
        """The method's needs, with all that other methods could want of the same tensors."""
        needs = self.method.needs(self.shape)
        names = dict.fromkeys([CLEAN, *(ask.of for ask in needs)])
        others = [Ask("gradient", of=of, backwards=1) for of in names]
        return (*needs, *others, *(Ask("layers", layers=("last",), of=of, backwards=1) for of in names))


class _Noting(SharedProbe):
    """Notes every answer, and what it held when it was given."""

    def __init__(
        self, given: list[Given], adapter: ModelAdapter, handouts: Handouts, asks: Mapping[object, Sequence[Ask]]
    ) -> None:
        super().__init__(adapter, Best(), handouts=handouts, asks=asks)
        self._given = given

    def outputs(self, inputs: Tensor) -> Tensor:
        """As the base does."""
        return self._note("outputs", super().outputs(inputs))

    def gradient(self, inputs: Tensor, targets: Tensor, rule: Rule = PLAIN) -> Tensor:
        """As the base does."""
        return self._note("gradient", super().gradient(inputs, targets, rule))

    def layers(
        self,
        inputs: Tensor,
        targets: Tensor,
        names: Sequence[str] = ("last",),
        rule: Rule = PLAIN,
        grads: bool = True,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """As the base does."""
        answer = super().layers(inputs, targets, names, rule, grads)
        for pair in answer.values():
            for tensor in pair:
                self._note("layers", tensor)
        return answer

    def _note(self, verb: str, answer: Tensor) -> Tensor:
        self._given.append((verb, answer, answer.clone()))
        return answer


def muted(adapter: ModelAdapter) -> ModelAdapter:
    """The same backbone with all outputs 0 and all gradients 0."""
    twin = copy.copy(adapter)
    forward: Callable[[Tensor], Tensor] = adapter.forward
    twin.__dict__["forward"] = lambda inputs: forward(inputs) * 0
    return twin
