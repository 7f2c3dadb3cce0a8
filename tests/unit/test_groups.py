"""Copies that share a pass change rectangles of like sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from xai_framework.fast.groups import DENSE, Share, groups
from xai_framework.fast.spans import Ints


def shares(copies: int, seed: int = 0) -> list[Share]:
    """Three layers that see more and more of a picture."""
    rng = np.random.default_rng(seed)
    first = rng.integers(2, 12, (copies, 2))
    return [
        Share(first, (32, 32), 500_000),
        Share(np.minimum(first + 4, 16), (16, 16), 4_000_000),
        Share(np.minimum(first + 8, 16), (16, 16), 8_000_000),
    ]


def cost(layers: Sequence[Share], passes: Sequence[Ints]) -> int:
    """Multiplications, pass by pass and layer by layer."""
    total = 0
    for members in passes:
        for share in layers:
            height, width = share.extents[members].max(0).tolist()
            places = share.size[0] * share.size[1]
            total += len(members) * share.each * (places if height * width >= DENSE * places else height * width)
    return total


@pytest.mark.parametrize("copies", [1, 7, 100, 625])
@pytest.mark.parametrize("most", [1, 16, 64])
def test_every_copy_stands_in_one_pass(copies: int, most: int) -> None:
    found = groups(shares(copies), copies, most, weights=1_000_000)
    assert sorted(np.concatenate(found).tolist()) == list(range(copies))
    assert all(0 < len(members) <= most for members in found)


def test_passes_cost_less_than_in_order_and_little_more_than_each_alone() -> None:
    layers = shares(625)
    passes = groups(layers, 625, 64)
    alone = cost(layers, [np.array([k]) for k in range(625)])
    by_size = np.array_split(np.argsort(layers[0].extents.prod(1), kind="stable"), len(passes))
    assert len(passes) < 150
    assert cost(layers, passes) < 1.15 * alone
    assert cost(layers, passes) < 0.9 * cost(layers, by_size)


def test_a_pass_that_costs_much_is_not_made_for_little() -> None:
    layers = shares(64)
    assert len(groups(layers, 64, 64)) > 1
    assert len(groups(layers, 64, 64, weights=10**12)) == 1


def test_equal_sizes_stay_together_and_order_does_not_matter() -> None:
    extents = np.array([[3, 9], [9, 3]] * 20)
    layers = [Share(extents, (32, 32), 100_000_000)]
    assert [sorted(members.tolist()) for members in groups(layers, 40, 64)] == [
        list(range(0, 40, 2)),
        list(range(1, 40, 2)),
    ]
    turned = [Share(extents[::-1].copy(), (32, 32), 100_000_000)]
    assert {len(members) for members in groups(turned, 40, 64)} == {20}


def test_a_network_without_layers_that_see_a_neighbourhood() -> None:
    assert [len(members) for members in groups([], 70, 32, weights=100)] == [24, 23, 23]
