"""Agreement with captum in float64, also at layers whose output the network overwrites in place."""

from __future__ import annotations

import pytest

from benchmarks.agreement import LAYERS, comparisons

NETWORKS = [pytest.param(name, marks=pytest.mark.slow) if name == "vgg11" else name for name in LAYERS]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore::UserWarning:captum")
def test_maps_agree_with_captum(name: str) -> None:
    errors = {c.method: c.error() for c in comparisons(name)}
    assert len(errors) == 10
    assert {m: e for m, e in errors.items() if e > 1e-9} == {}
