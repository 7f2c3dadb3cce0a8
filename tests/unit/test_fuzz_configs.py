"""Random command lines and config files: valid jobs or an error that names the place, never a traceback."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings

from benchmarks.fuzz_configs import Case, cases, outcome


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(cases())
@example(({}, []))
@example(({}, ["method=[gradient]", "seed=${seed}"]))
@example(({}, ["method=[gradient]", "seed=${oc.env:NOPE}"]))
@example(({}, ["-m", "seed=range(0,1e9)"]))
@example(({"conf/experiment/mine.yaml": b"defaults:\n  - /experiment: mine\n"}, ["experiment=mine"]))
def test_valid_jobs_or_an_error_with_its_place(case: Case) -> None:
    kind, said = outcome(case)
    assert kind in ("valid", "refused"), said
