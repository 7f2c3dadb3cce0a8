"""Named noise: a function of seed, image, stream and draw; and what is handed out once."""

from __future__ import annotations

import random
from contextlib import suppress
from hashlib import blake2b

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xai_framework.handout import Handouts
from xai_framework.rng import NamedRng

SHAPE = (3, 5, 7)


def noise(rng: NamedRng) -> torch.Tensor:
    return rng.normal((len(rng.rows), *SHAPE))


def test_bits_follow_from_the_name_alone() -> None:
    """The documented rule, written out: stored results of one version must be found again by the next."""
    name = repr((7, "dog.jpg", (2, 5), ("smooth", 1))).encode()
    seed = int.from_bytes(blake2b(name, digest_size=8).digest(), "little") >> 1
    expected = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
    rng = NamedRng.of(7, ["dog.jpg"]).at("smooth", 1).repeat(1, 2).repeat(1, 5)
    assert torch.equal(noise(rng)[0], expected)


@pytest.mark.parametrize("rows", [[0], [3], [3, 1], [2, 0, 1, 3], [1, 1]])
def test_neither_batch_nor_position_matters(rows: list[int]) -> None:
    ids = ["a", "b", "c", "d"]
    whole = noise(NamedRng.of(0, ids).at("x"))
    assert torch.equal(noise(NamedRng.of(0, [ids[i] for i in rows]).at("x")), whole[rows])


@pytest.mark.parametrize("sizes", [[6], [1] * 6, [4, 2], [1, 5]])
def test_grouping_of_draws_does_not_matter(sizes: list[int]) -> None:
    rng = NamedRng.of(0, ["a", "b"]).at("x")
    whole = noise(rng.repeat(6)).view(2, 6, *SHAPE)
    first, parts = 0, []
    for n in sizes:
        parts.append(noise(rng.repeat(n, first)).view(2, n, *SHAPE))
        first += n
    assert torch.equal(torch.cat(parts, 1), whole)


def test_every_part_of_the_name_makes_other_noise() -> None:
    base = NamedRng.of(0, ["a"]).at("x")
    others = [
        NamedRng.of(1, ["a"]).at("x"),
        NamedRng.of(0, ["b"]).at("x"),
        NamedRng.of(0, ["a"]).at("y"),
        NamedRng.of(0, ["a"]).at("x", 0),
        base.repeat(1),
        base.repeat(1, 1),
        base.repeat(1).repeat(1),
        base.shared("x"),
    ]
    drawn = torch.stack([r.normal((1, 20_000))[0] for r in (base, *others)])
    correlation = torch.corrcoef(drawn).fill_diagonal_(0)
    assert correlation.abs().max() < 0.04  # 5.6 standard deviations of 20,000 independent pairs


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_no_two_names_are_one(first: tuple[str, str], second: tuple[str, str]) -> None:
    """Quotes, commas and brackets in an image's id or a stream's name do not make two names alike."""
    one, two = (noise(NamedRng.of(0, [image]).at(stream)) for image, stream in (first, second))
    assert torch.equal(one, two) == (first == second)


def test_shared_streams_are_the_same_for_all_methods_but_not_for_all_draws() -> None:
    root = NamedRng.of(0, ["a"])
    assert torch.equal(noise(root.at("one").shared("n")), noise(root.at("two", 3).shared("n")))
    assert not torch.equal(noise(root.at("one").repeat(1, 0).shared("n")), noise(root.repeat(1, 1).shared("n")))


def test_a_stream_has_no_memory() -> None:
    rng = NamedRng.of(0, ["a"]).at("x")
    assert torch.equal(noise(rng), noise(rng))


def test_distributions() -> None:
    rng = NamedRng.of(0, [str(i) for i in range(100)])
    normal = rng.normal((100, 1000)).double()
    assert abs(normal.mean()) < 0.02
    assert abs(normal.var() - 1) < 0.02
    assert abs((normal.abs() < 1).double().mean() - 0.6827) < 0.01
    uniform = rng.uniform((100, 1000)).double()
    assert 0 <= uniform.min() <= uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01
    assert abs(uniform.var() - 1 / 12) < 0.01


def test_defaults_of_the_process_do_not_matter() -> None:
    rng = NamedRng.of(0, ["a"]).at("x")
    expected = noise(rng)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        drawn = noise(rng)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert drawn.dtype == torch.float32
    assert torch.equal(drawn, expected)


def test_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()
    noise(NamedRng.of(0, ["a"]))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tobytes(), random.getstate()) == before[1:]


def test_wrong_number_of_rows() -> None:
    with pytest.raises(ValueError, match="serves a batch of 2 rows, not 3"):
        NamedRng.of(0, ["a", "b"]).normal((3, 1))


# handed out once


def test_once_makes_one_object_for_a_name_a_tensor_and_a_stream() -> None:
    handouts = Handouts()
    rng, x, made = NamedRng.of(0, ["a"], handouts), torch.zeros(1), []

    def make(t: torch.Tensor) -> torch.Tensor:
        made.append(t)
        return t + 1

    first = rng.at("s").once("n", x, make)
    assert rng.at("s").once("n", x, make) is first
    assert len(made) == 1
    others = [
        rng.at("s").once("m", x, make),
        rng.at("t").once("n", x, make),
        rng.at("s").once("n", torch.zeros(1), make),
        rng.repeat(1).at("s").once("n", x, make),
    ]
    assert all(other is not first for other in others)
    assert handouts.find(first) is not None
    assert handouts.find(first).name == "n"  # type: ignore[union-attr]


def test_end_of_a_step_forgets_draws_and_keeps_the_batch() -> None:
    handouts = Handouts()
    clean = handouts.keep(torch.zeros(1), "clean")
    noisy = handouts.once("k", "noise", clean, torch.clone)
    handouts.find(clean).answers["x"] = 1  # type: ignore[union-attr]
    handouts.end_step()
    assert handouts.find(noisy) is None
    assert handouts.find(clean).answers == {"x": 1}  # type: ignore[union-attr]
    assert handouts.once("k", "noise", clean, torch.clone) is not noisy
    handouts.clear()
    assert handouts.find(clean) is None


def test_a_scope_forgets_what_was_made_inside_also_after_an_error() -> None:
    handouts = Handouts()
    rng, x = NamedRng.of(0, ["a"], handouts), torch.zeros(1)
    outer = rng.once("outer", x, torch.clone)
    with suppress(RuntimeError), rng.scope():
        inner = rng.once("inner", x, torch.clone)
        assert rng.once("outer", x, torch.clone) is outer
        assert handouts.find(inner) is not None
        raise RuntimeError
    assert handouts.find(inner) is None
    assert handouts.find(outer) is not None


def test_tensors_are_known_by_identity_never_by_content() -> None:
    handouts = Handouts()
    kept = handouts.keep(torch.ones(2), "clean")
    assert handouts.find(kept.clone()) is None
    assert handouts.find(kept.view(2)) is None
