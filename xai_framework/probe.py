"""The only place that runs a model: one forward, at most one backward, everything anybody wants captured once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from xai_framework.capture import Graph, Listen, Substitute, Taps, at_rest, no_path, replaced, widened
from xai_framework.core.adapter import Layer, ModelAdapter
from xai_framework.core.edits import Edits, Local
from xai_framework.core.errors import LayerError, ModelError, NotApplicable, TargetError
from xai_framework.core.explainer import CLEAN, Ask
from xai_framework.core.gaussian import blur
from xai_framework.core.images import open_image
from xai_framework.core.probe import Baseline, Reduce, Rng
from xai_framework.core.rule import PLAIN, Function, Rule
from xai_framework.core.target import Target
from xai_framework.fast.ways import Ways
from xai_framework.fast.windows import MOST_COPIES
from xai_framework.handout import Handout, Handouts
from xai_framework.meter import Bill, Counts
from xai_framework.passes import INPUT, Answer, Found, Pass, Want, edited, joined, on_grid


class SharedProbe:
    """The Probe methods talk to. ``asks`` are the united needs of all methods planned on a batch, by what they are
    asked of; they decide how much one pass captures, never what it gives.

    ``chunk`` is the most rows in one pass. ``counts`` is shared with probes made by :meth:`on`. ``ways`` are faster
    ones of asking the same network; without them all is computed the plain way. ``others``: other targets will be asked
    about too, so that graphs are kept for them, which makes backward passes slower by a tenth.
    """

    def __init__(
        self,
        adapter: ModelAdapter,
        target: Target,
        *,
        chunk: int = 32,
        handouts: Handouts | None = None,
        asks: Mapping[Hashable, Sequence[Ask]] | None = None,
        references: dict[str, Tensor] | None = None,
        counts: Counts | None = None,
        ways: Ways | None = None,
        others: bool = True,
    ) -> None:
        self.adapter, self.target, self.chunk = adapter, target, chunk
        self.counts = counts or Counts()
        self._ways, self._most, self._others = ways, MOST_COPIES, others
        self._handouts = handouts or Handouts()
        self._asks = dict(asks or {})
        self._references = references if references is not None else {}
        self._layers: dict[str, Layer] = {}

    # the verbs, see core.probe.Probe

    def outputs(self, inputs: Tensor) -> Tensor:
        """(B,K)."""
        handout = self._handouts.find(inputs)
        if handout is None:
            return torch.cat([self._forward(x, Want(), PLAIN).outputs.detach() for x in inputs.split(self.chunk)])
        passes = self._passes(handout, Want(), PLAIN)
        return torch.cat([p.outputs.detach() for p in passes])

    def score(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """(B,)."""
        _check_rows(inputs, targets)
        return self.target.score(self.outputs(inputs), targets)

    def gradient(self, inputs: Tensor, targets: Tensor, rule: Rule = PLAIN) -> Tensor:
        """D score / d inputs."""
        return self._ask(inputs, targets, rule, Want(gradient=True))[INPUT].both(grads=True)[1]

    def layers(
        self,
        inputs: Tensor,
        targets: Tensor,
        names: Sequence[str] = ("last",),
        rule: Rule = PLAIN,
        grads: bool = True,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Name -> (activations, gradients)."""
        answer = self._ask(inputs, targets, rule, Want(layers=tuple(names), grads=grads))
        return {name: answer[name].both(grads) for name in names}

    def scores(self, inputs: Tensor, targets: Tensor, edits: Edits) -> Tensor:
        """(B,n). An edited layer runs what is below it once."""
        _check_rows(inputs, targets)
        if edits.at == INPUT:
            return self._copies(inputs, targets, edits)
        return torch.stack([self._layer_scores(inputs, targets, row, edits) for row in range(len(inputs))])

    def calls(self, inputs: Tensor, targets: Tensor, functions: Sequence[Function], reduce: Reduce) -> Tensor:
        """What passed through ``functions``, reduced chunk by chunk."""
        _check_rows(inputs, targets)
        parts = []
        for x, rows in zip(inputs.split(self.chunk), targets.split(self.chunk), strict=True):
            self.counts.add(len(x), len(x))
            listen = Listen(functions)
            with at_rest(self.adapter.model), torch.enable_grad():
                leaf = x.detach().clone().requires_grad_()
                with listen:
                    outputs = self.adapter.forward(leaf.clone())
                gradient, calls = listen.with_gradients(self.target.score(outputs, _plain(rows)), leaf)
            with torch.no_grad():
                parts.append(reduce(x, gradient, [widened(call, x.dtype) for call in calls]))
        return torch.cat(parts)

    def start_over(self) -> None:
        """Trust no copy of the network that was made: somebody changed the network, which has been put back."""
        if self._ways is not None:
            self._ways.forget()

    def smaller(self, chunk: int) -> SharedProbe:
        """The same probe with fewer rows in one pass; what is known already is still known."""
        twin = copy.copy(self)
        twin.chunk = twin._most = chunk
        return twin

    def under(self, target: Target) -> SharedProbe:
        """The same probe asking for another score; what is known of the network's outputs is shared."""
        twin = copy.copy(self)
        twin.target = target
        return twin

    def on(self, adapter: ModelAdapter) -> SharedProbe:
        """The same questions to other weights."""
        return SharedProbe(adapter, self.target, chunk=self.chunk, counts=self.counts)

    def baseline(self, name: Baseline, inputs: Tensor, rng: Rng | None = None) -> Tensor:
        """(B,C,H,W)."""
        if name in ("black", "white"):
            level = torch.zeros_like(inputs) if name == "black" else torch.ones_like(inputs)
            return self.adapter.normalise(level)
        if name == "blur":
            return blur(inputs, min(inputs.shape[-2:]) / 16)
        if name == "noise":
            if rng is None:
                raise ValueError("the noise baseline needs an rng")
            return self.adapter.normalise(rng.at("baseline").uniform(inputs.shape).to(inputs))
        if name == "image":
            return self.reference("image").to(inputs).expand_as(inputs)
        return self.adapter.mean_input(inputs)

    def pixels(self, inputs: Tensor) -> Tensor:
        """(B,C,H,W) in [0,1]."""
        return self.adapter.pixels(inputs)

    def reference(self, name: str) -> Tensor:
        """(1,C,H,W); ``name`` is a file, unless a tensor was given under it."""
        if name not in self._references:
            if not Path(name).is_file():
                raise ModelError(f"no reference image {name!r}", fix="give the path of a picture")
            prepared = self.adapter.prepare(open_image(name)).inputs[None]
            parameter = next(self.adapter.model.parameters(), prepared)
            self._references[name] = prepared.to(parameter.device, self.adapter.input_dtype)
        return self._references[name]

    # one pass, and who may share it

    def _ask(self, inputs: Tensor, targets: Tensor, rule: Rule, want: Want) -> Answer:
        _check_rows(inputs, targets)
        handout = self._handouts.find(inputs)
        if handout is None:
            step = max(rule.rows, self.chunk // rule.rows * rule.rows)
            chunks = zip(inputs.split(step), targets.split(step), strict=True)
            return joined([self._backward(self._forward(x, want, rule, t), t, want, keep=False) for x, t in chunks])
        key = (rule, id(targets), id(self.adapter.model), id(self.target))
        known: tuple[Want, Answer, object, tuple[Bill, ...]] | None = handout.answers.get(key)
        if known is None or not known[0].covers(want):
            united = self._united(handout, rule, want)
            # of a draw nobody asks for more than gradients of these targets
            alone = targets if united.backward and not self._others and handout.name != CLEAN else None
            passes = self._passes(handout, united, rule, alone)
            rows = targets.split([len(p.leaf) for p in passes])
            with self.counts.shared() as bill:
                found = [self._backward(p, t, united, keep=self._others) for p, t in zip(passes, rows, strict=True)]
            answer = joined(found)
            bills = (bill, *(p.bill for p in passes[:1] if p.bill is not None))
            # what the key names by its id is kept alive
            known = (united, answer, (targets, self.target, self.adapter.model), bills)
            handout.answers[key] = known
            handout.watch(*(t for f in answer.values() for t in (f.activation, f.gradient) if t is not None))
        for bill in known[3]:
            self.counts.use(bill)
        return known[1]

    def _united(self, handout: Handout, rule: Rule, want: Want) -> Want:
        for ask in self._asks.get(handout.name, ()):
            if ask.rule == rule and ask.verb in ("gradient", "layers"):
                want |= Want(ask.verb == "gradient", ask.layers, ask.grads)
        return want

    def _passes(self, handout: Handout, want: Want, rule: Rule, targets: Tensor | None = None) -> list[Pass]:
        """The forward passes of a handout, run once with all that anybody announced to want. With ``targets`` they may
        serve these alone.
        """
        key = ("forward", rule, id(self.adapter.model))
        known: list[Pass] | None = handout.answers.get(key)
        fits = known is not None and known[0].want.covers(want) and all(p.complete for p in known)
        if known is None or not fits or (want.backward and any(p.spent for p in known)):
            want = self._united(handout, rule, want)
            step = max(rule.rows, self.chunk // rule.rows * rule.rows)
            with self.counts.shared() as bill:
                parts = handout.tensor.split(step)
                rows = [None] * len(parts) if targets is None else targets.split(step)
                known = [self._forward(x, want, rule, t) for x, t in zip(parts, rows, strict=True)]
            for one in known:
                one.bill = bill
            handout.answers[key] = known
        if known[0].bill is not None:
            self.counts.use(known[0].bill)
        return known

    def _layer(self, name: str) -> Layer:
        if name not in self._layers:
            self._layers[name] = self.adapter.layer(name)
        return self._layers[name]

    def _forward(self, inputs: Tensor, want: Want, rule: Rule, targets: Tensor | None = None) -> Pass:
        """One pass. With ``targets`` only what their score reads need be computed."""
        layers = {name: self._layer(name) for name in want.layers}
        adapter, layers = self._fastest(inputs, layers, rule)
        # a rule judges every function between score and input, whoever else asks: its graph always starts at the input
        graph: Graph = "none" if not want.backward else "below" if want.gradient or rule != PLAIN else "here"
        taps = Taps({layer.name: layer.module for layer in layers.values()}, graph)
        self.counts.add(forward=len(inputs))
        with ExitStack() as stack:
            stack.enter_context(at_rest(adapter.model))
            # also restores the mode that a tap switches on in mid-pass
            stack.enter_context(torch.set_grad_enabled(graph == "below"))
            leaf = inputs.detach().clone().requires_grad_(graph == "below")
            substitute = Substitute(rule) if rule != PLAIN else None
            whole = stack.enter_context(self._only(adapter, targets, [layer.name for layer in layers.values()]))
            with taps.listening(), substitute or ExitStack():
                # a clone enters the model: it may work in place on its input
                outputs = adapter.forward(leaf.clone())
            if whole is not None:
                outputs = whole(outputs)
            if substitute is not None:
                substitute.check_used()
        if len(outputs) != len(inputs):
            raise ModelError(f"the model gives {len(outputs)} rows for {len(inputs)} inputs")
        return Pass(want, leaf, outputs, taps, rule, layers, complete=whole is None)

    def _only(
        self, adapter: ModelAdapter, targets: Tensor | None, layers: Sequence[str] = ()
    ) -> AbstractContextManager[Callable[[Tensor], Tensor] | None]:
        """Passes of ``adapter`` compute what the score of ``targets`` reads, where nobody wants more."""
        read = None if targets is None or self._ways is None else self.target.needed(targets)
        if self._ways is None or read is None:
            return nullcontext()
        return self._ways.only(adapter, read.flatten().unique(), layers)

    def _fastest(self, inputs: Tensor, layers: dict[str, Layer], rule: Rule) -> tuple[ModelAdapter, dict[str, Layer]]:
        """The adapter that answers fastest, with its own layers. A rule must see the network as it is."""
        if self._ways is None or rule != PLAIN:
            return self.adapter, layers
        with at_rest(self.adapter.model), torch.no_grad():
            adapter = self._ways.adapter(inputs, [layer.name for layer in layers.values()])
        if adapter is self.adapter or not layers:
            return adapter, layers
        modules = dict(adapter.model.named_modules())
        return adapter, {n: Layer(x.name, modules[x.name], x.to_grid) for n, x in layers.items()}

    def _backward(self, done: Pass, targets: Tensor, want: Want, *, keep: bool) -> Answer:
        """Gradients of the score of ``targets``; with ``keep`` the graph stays, other targets may follow."""
        seen = {name: done.taps.seen.get(done.layers[name].name) for name in want.layers}
        gradients: dict[str, Tensor] = {}
        if want.backward:
            asked = {INPUT: done.leaf} if want.gradient else {}
            asked |= {name: tensor for name, tensor in seen.items() if tensor is not None}
            gradients = self._gradients(done, targets, asked, keep)
        answer: Answer = {}
        if want.gradient:
            gradient = gradients.get(INPUT)
            gradient = None if gradient is None else gradient.contiguous()
            answer[INPUT] = Found(done.leaf.detach(), gradient, no_path("the input"))
        for name in want.layers:
            answer[name] = on_grid(done.layers[name], done.taps, seen[name], gradients.get(name), done.leaf.dtype)
        return answer

    def _gradients(self, done: Pass, targets: Tensor, asked: dict[str, Tensor], keep: bool) -> dict[str, Tensor]:
        """D score / d tensor, for those that the score depends on."""
        with torch.inference_mode(False), torch.enable_grad():
            end, start = self._start(done, targets)
            if not end.requires_grad or not asked:
                return {}
            self.counts.add(backward=len(done.leaf))
            done.spent = not keep
            found = torch.autograd.grad(end, list(asked.values()), start, retain_graph=keep, allow_unused=True)
        return {name: gradient for name, gradient in zip(asked, found, strict=True) if gradient is not None}

    def _start(self, done: Pass, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Where the way back starts, and with what: with the score, or with the outputs' parts in it."""
        if not done.rule.relevance:
            return self.target.score(done.outputs, _plain(targets)).sum(), None
        outputs = done.outputs.detach().requires_grad_()
        score = self.target.score(outputs, _plain(targets))
        if not score.requires_grad:
            return score.sum(), None
        (gradient,) = torch.autograd.grad(score.sum(), outputs)
        parts, score = gradient * outputs.detach(), score.detach()
        if ((parts.sum(1) - score).abs() > 1e-4 * parts.abs().sum(1)).any():
            raise NotApplicable(
                f"rule {done.rule.name!r} hands back what every output adds to the score; this score is no such sum, "
                "one of logits is (of: logit)"
            )
        return done.outputs, parts

    def _copies(self, inputs: Tensor, targets: Tensor, edits: Edits) -> Tensor:
        """(B,n): scores of edited copies, as many in a pass as fit."""
        # allocated before the copies: small tensors kept between large ones would leave holes, and memory would grow
        scores = inputs.new_empty(len(inputs), len(edits))
        left = [i for i in range(len(inputs)) if not self._by_windows(inputs, targets[i], i, edits, scores[i])]
        for parts in _packed(left, len(edits), self.chunk):
            made = [edits.make(inputs[i : i + 1], torch.tensor([i]), k) for i, k in parts]
            rows = torch.cat([_repeated(targets[i], len(k)) for i, k in parts])
            outputs = self._forward(torch.cat(made) if len(made) > 1 else made[0], Want(), PLAIN, rows).outputs
            found = self.target.score(outputs, rows)
            for (i, k), values in zip(parts, found.split([len(k) for _, k in parts]), strict=True):
                scores[i, k.start : k.stop] = values
        return scores

    def _by_windows(self, inputs: Tensor, target: Tensor, number: int, edits: Edits, scores: Tensor) -> bool:
        """Fill in ``scores`` by passes over what the edits change; False where that cannot be done."""
        if self._ways is None or not isinstance(edits, Local):
            return False
        done = False
        with at_rest(self.adapter.model), torch.no_grad():
            windows = self._ways.windows(inputs)
            if windows is None:
                return False
            with self._only(windows.adapter, target[None]) as whole:
                for which, found in windows.outputs(inputs, number, edits, self._most):
                    self.counts.add(forward=len(which))
                    outputs = found if whole is None else whole(found)
                    scores[which.to(scores.device)] = self.target.score(outputs, _repeated(target, len(which)))
                    done = True
        return done

    def _layer_scores(self, inputs: Tensor, targets: Tensor, number: int, edits: Edits) -> Tensor:
        """(n,): the same for a layer's edited output."""
        row, target = inputs[number], targets[number]
        adapter, layers = self._fastest(inputs, {edits.at: self._layer(edits.at)}, PLAIN)
        layer = layers[edits.at]
        scores = inputs.new_empty(len(edits))
        for first in range(0, len(edits), self.chunk):
            k = range(first, min(len(edits), first + self.chunk))
            make = partial(edited, layer, edits, torch.tensor([number]), k, inputs.dtype)
            self.counts.add(forward=1)
            with (
                at_rest(adapter.model),
                torch.no_grad(),
                self._only(adapter, target[None], [layer.name]) as whole,
                replaced(layer.name, layer.module, make),
            ):
                outputs = adapter.forward(row[None].clone())
            if whole is not None:
                outputs = whole(outputs)
            if len(outputs) != len(k):
                raise LayerError(f"the part behind layer {layer.name!r} does not carry {len(k)} copies through")
            scores[k.start : k.stop] = self.target.score(outputs, _repeated(target, len(k)))
        return scores


def _packed(rows: Sequence[int], copies: int, size: int) -> Iterator[list[tuple[int, range]]]:
    """All copies of all rows, ``size`` at a time: rows and which of their copies.

    Rows of very few copies stand in one pass, since small passes are slow. Others do not: their scores must not depend
    on their mates, not even in the last digit, since methods take differences of many of them.
    """
    together = size // copies if 0 < copies <= size // 8 else 1
    for start in range(0, len(rows), together):
        some = rows[start : start + together]
        for first in range(0, copies, size):
            yield [(i, range(first, min(copies, first + size))) for i in some]


def _repeated(target: Tensor, n: int) -> Tensor:
    return target[None].expand(n, *target.shape)


def _check_rows(inputs: Tensor, targets: Tensor) -> None:
    """Indexing would take fewer targets than images in silence and leave the others without a gradient."""
    if len(inputs) != len(targets):
        raise TargetError(f"{len(targets)} targets for {len(inputs)} images")


def _plain(tensor: Tensor) -> Tensor:
    """A tensor that a graph may save: one made in inference mode cannot be."""
    return tensor.clone() if tensor.is_inference() else tensor
