"""What a plugin does to the model, to tensors it shares and to its process is noticed and undone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from xai_framework.core.errors import PluginError
from xai_framework.guard import Guard, Habits, Lent
from xai_framework.handout import Handouts


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.detach().add_(1),
        lambda p: p.data.add_(1),  # no version counter counts this
        lambda p: setattr(p, "data", p.data * 2),
        lambda p: setattr(p, "data", p.data.double()),
        lambda p: p.data.fill_(float("nan")),
    ],
)
def test_weights_that_were_changed_are_put_back(change: Callable[[nn.Parameter], object]) -> None:
    model = _network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    guard = Guard(model)
    guard.check("nobody")
    change(model[3].weight)
    with pytest.raises(PluginError, match=r"bad: changed the model: weights 3.weight"):
        guard.check("bad")
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in model.state_dict().items())
    guard.check("nobody")


def test_weights_that_are_nan_are_no_change() -> None:
    model = _network()
    with torch.no_grad():
        model[0].weight[0] = float("nan")
    guard = Guard(model)
    guard.check("nobody")


def test_lent_tensors_are_put_back() -> None:
    lent = torch.rand(3)
    before, keeper = lent.clone(), Lent(lent)
    assert not keeper.restore()
    lent.zero_()
    assert keeper.restore()
    assert torch.equal(lent, before)
    assert not keeper.restore()


def test_inference_tensors_have_no_counter() -> None:
    with torch.inference_mode():
        handouts = Handouts()
        handouts.keep(torch.rand(2), "clean")
        assert handouts.once("key", "name", torch.rand(2), torch.clone).shape == (2,)
        assert not handouts.written()
        assert not Lent(torch.rand(2)).restore()


def test_answers_that_were_written_into_are_forgotten() -> None:
    handouts, answer = Handouts(), torch.rand(3)
    inputs = handouts.keep(torch.rand(2), "clean")
    handout = handouts.find(inputs)
    assert handout is not None
    handout.answers["question"] = answer
    handout.watch(answer)
    assert handouts.own(answer) is not answer
    assert handouts.own(answer[:1]).data_ptr() != answer.data_ptr()
    other = torch.rand(3)
    assert handouts.own(other) is other
    assert not handouts.written()
    answer.add_(1)
    assert handouts.written()
    assert handout.answers == {}
    assert not handouts.written()


def test_habits_of_the_process_are_restored(tmp_path: Path) -> None:
    habits, folder, threads = Habits(), Path.cwd(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_num_threads(threads + 1)
    os.chdir(tmp_path)
    habits.restore()
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads
    assert Path.cwd() == folder
