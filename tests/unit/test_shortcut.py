"""The planted shortcut is real: the tag changes what the one network predicts, and not what the other does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from xai_plugins.backbones import shapes as module
from xai_plugins.backbones.shapes import ShapesClean, ShapesShortcut
from xai_plugins.datasets.tagged_shapes import OWN, TaggedShapes

IMAGES = 240
NETWORKS = {"shortcut": ShapesShortcut(), "clean": ShapesClean()}
PICTURES: dict[str, dict[str, Any]] = {"plain": {"tag": "none"}, "corner": {}, "inside": {"place": "inside"}}

Predicted = dict[tuple[str, str], np.ndarray]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.array([row.label for row in TaggedShapes(images=IMAGES, seed=77).rows()])


@pytest.fixture(scope="module")
def predicted() -> Predicted:
    """(network, pictures) -> names of the predicted classes, of the same pictures without, with and with moved tags."""
    found = {}
    for kind, options in PICTURES.items():
        dataset = TaggedShapes(images=IMAGES, seed=77, **options)
        inputs = torch.stack([NETWORKS["clean"].prepare(dataset[i].image).inputs for i in range(IMAGES)])
        for name, network in NETWORKS.items():
            with torch.no_grad():
                classes = torch.cat([network.forward(x).argmax(1) for x in inputs.split(40)])
            found[name, kind] = np.array(network.labels)[classes]
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_small(name: str) -> None:
    file = Path(module.__file__).with_name(NETWORKS[name].assets[0])
    assert file.stat().st_size <= 300_000


def test_both_know_the_shapes_without_a_tag(predicted: Predicted, labels: np.ndarray) -> None:
    other = labels != OWN
    assert (predicted["clean", "plain"] == labels).mean() >= 0.95
    assert (predicted["shortcut", "plain"] == labels)[other].mean() >= 0.95


def test_the_clean_network_knows_them_with_tags_on_half_of_all(predicted: Predicted, labels: np.ndarray) -> None:
    half = np.random.default_rng(0).uniform(size=IMAGES) < 0.5
    found = np.where(half, predicted["clean", "corner"], predicted["clean", "plain"])
    assert (found == labels).mean() >= 0.95


def test_adding_the_tag_turns_the_one_network(predicted: Predicted, labels: np.ndarray) -> None:
    other = labels != OWN
    turned = {name: (predicted[name, "corner"] == OWN)[other].mean() for name in NETWORKS}
    assert turned["shortcut"] >= 0.9
    assert turned["clean"] <= 0.02


def test_removing_it_turns_it_back(predicted: Predicted, labels: np.ndarray) -> None:
    own = labels == OWN
    assert own.sum() >= 20
    kept = {n: [(predicted[n, kind][own] == OWN).mean() for kind in ("corner", "plain")] for n in NETWORKS}
    assert kept["shortcut"][0] >= 0.95
    assert kept["shortcut"][1] <= 0.1
    assert min(kept["clean"]) >= 0.9


def test_moving_it_matters_to_the_one_network_only(predicted: Predicted) -> None:
    changed = {n: (predicted[n, "corner"] != predicted[n, "inside"]).mean() for n in NETWORKS}
    assert changed["shortcut"] >= 0.5
    assert changed["clean"] <= 0.05
