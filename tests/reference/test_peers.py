"""Agreement with other libraries in float64, also at layers whose output the network overwrites in place."""

from __future__ import annotations

import pytest

from benchmarks.agreement import comparisons
from benchmarks.peers.common import LAYERS

QUICK = ("shapes_resnet",)
NETWORKS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LAYERS]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore")
def test_maps_agree_with_other_libraries(name: str) -> None:
    found = [(c, c.error()) for c in comparisons(name)]
    assert len(found) >= 27
    assert {f"{c.peer} {c.method}": e for c, e in found if not e <= c.allowed} == {}
