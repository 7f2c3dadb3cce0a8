"""Statistics against published tables, closed forms and simulation."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest

from xai_framework.statistics import (
    compared,
    critical_difference,
    holm,
    rank_biserial,
    stability,
)
from xai_framework.statistics.leaderboard import Leaderboard
from xai_framework.statistics.ranks import friedman, mean_ranks, wilcoxon

# Demšar 2006, table 5: q at 0.05 for 2 to 10 classifiers
Q = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]


@pytest.mark.parametrize(("methods", "q"), list(zip(range(2, 11), Q, strict=True)))
def test_nemenyi_against_the_published_table(methods: int, q: float) -> None:
    expected = q * math.sqrt(methods * (methods + 1) / (6 * 30))
    assert critical_difference(methods, 30) == pytest.approx(expected, abs=2e-3)


def test_friedman_against_the_published_example() -> None:
    # Demšar 2006, table 6: AUC of C4.5 with and without m and cf on 14 data sets; chi2 = 9.28, ranks 3.143 .. 1.964
    auc = np.array(
        [
            [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957],
            [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978],
            [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.000, 0.965, 0.614, 0.9751, 0.946],
            [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.000, 0.962, 0.669, 0.975, 0.970],
        ]
    )
    np.testing.assert_allclose(mean_ranks(auc, higher_is_better=True), [3.143, 2.000, 2.893, 1.964], atol=2e-3)
    ranks = mean_ranks(auc, higher_is_better=True)
    plain = 12 * 14 / (4 * 5) * (np.square(ranks).sum() - 4 * 25 / 4)
    assert plain == pytest.approx(9.28, abs=0.01)
    ties = sum(n**3 - n for column in auc.T for n in np.unique(column, return_counts=True)[1])
    corrected = plain / (1 - ties / (14 * (4**3 - 4)))
    # survival of chi squared with 3 degrees of freedom
    tail = math.erfc(math.sqrt(corrected / 2)) + math.sqrt(2 * corrected / math.pi) * math.exp(-corrected / 2)
    assert friedman(auc) == pytest.approx(tail, rel=1e-6)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm([float("nan"), 0.5, 0.02])
    assert math.isnan(found[0])
    assert found[1:] == pytest.approx([0.5, 0.04])
    assert holm([]) == []


def test_rank_biserial_by_hand() -> None:
    # differences 1, -2, 3: ranks 1, 2, 3; (1 + 3 - 2) / 6
    assert rank_biserial(np.array([1.0, 0.0, 3.0]), np.array([0.0, 2.0, 0.0])) == pytest.approx(1 / 3)
    assert rank_biserial(np.ones(4), np.ones(4)) == 0.0
    assert rank_biserial(np.ones(4), np.zeros(4)) == 1.0


def test_wilcoxon_against_all_signs() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0.4, 1, 12)
    ranks = np.abs(differences).argsort().argsort() + 1.0
    observed = ranks[differences > 0].sum()
    middle = ranks.sum() / 2
    signs = np.array(list(itertools.product((0, 1), repeat=12)))
    exact = (np.abs(signs @ ranks - middle) >= abs(observed - middle) - 1e-9).mean()
    assert wilcoxon(differences, np.zeros(12)) == pytest.approx(exact, abs=0.02)  # normal approximation at n = 12
    assert wilcoxon(np.ones(5), np.ones(5)) == 1.0


def test_a_comparison_uses_images_valid_for_all_and_shows_the_rest() -> None:
    nan = float("nan")
    good = [0.9, 0.8, 0.85, 0.9, 0.7, 0.95]
    found = compared(
        {"dies on hard images": [0.95, nan, nan, 0.99, nan, 0.97], "good": good, "bad": [0.1] * 6},  # type: ignore[dict-item]
        metric="m",
        higher_is_better=True,
    )
    assert found.common == 3
    by = {s.label: s for s in found.standings}
    assert [s.label for s in found.standings] == ["dies on hard images", "good", "bad"]
    assert (by["good"].valid, by["dies on hard images"].valid) == (6, 3)
    assert by["good"].mean.value == pytest.approx(np.mean([0.9, 0.9, 0.95]))
    # with the worst value in place of what is missing, it does not win
    assert by["dies on hard images"].worst_case == pytest.approx(np.mean([0.95, 0.1, 0.1, 0.99, 0.1, 0.97]))
    assert by["good"].worst_case > by["dies on hard images"].worst_case
    assert math.isnan(by["dies on hard images"].p)
    assert by["bad"].effect == -1.0


@pytest.mark.parametrize("higher", [True, False])
def test_words_say_what_is_and_is_not_told_apart(higher: bool) -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.4, 0.6, 60)
    offset = 0.2 if higher else -0.2
    values = {"a": base + offset, "b": base + offset + rng.normal(0, 0.05, 60), "c": base}
    found = compared(values, metric="m", higher_is_better=higher)
    assert {found.standings[0].label, found.standings[1].label} == {"a", "b"}
    assert "not distinguishable from" in found.words
    assert "n = 60" in found.words
    assert found.standings[-1].label == "c"
    assert found.standings[-1].distinguishable
    assert found.standings[-1].effect < -0.9
    alone = compared({"a": base}, metric="m")
    assert alone.words == "only a was measured, on 60 images"
    apart = compared({"a": [*base[:30], *[math.nan] * 30], "b": [*[math.nan] * 30, *base[30:]]}, metric="m")  # type: ignore[dict-item]
    assert "nothing can be compared" in apart.words
    assert "nothing can be compared" in compared({"a": base * np.nan}, metric="m").words
    same = compared({"a": base, "b": base.copy(), "c": base.copy()}, metric="m")
    assert same.friedman == 1.0
    assert same.words == "no method is distinguishable from a at n = 60"


def test_tables_to_take_along() -> None:
    rng = np.random.default_rng(0)
    values = {"a_b": rng.uniform(size=20), "c|d": rng.uniform(0.2, 1.2, size=20)}
    board = Leaderboard((compared(values, metric="m", backbone="net", target="predicted"),))
    lines = board.csv().splitlines()
    assert lines[0].startswith("metric,better,backbone,target,method,control,rank,mean,mean_low,mean_high")
    assert len(lines) == 3
    assert "nan" not in board.csv()
    assert "c\\|d" in board.markdown()
    assert "a\\_b" in board.latex()
    assert board.latex().count("\\toprule") == 1
    assert board.agreement().pairs == ()
    both = Leaderboard((compared(values, metric="m"), compared(values, metric="n", higher_is_better=False)))
    assert both.agreement().tau("n", "m") == -1.0


def test_controls_are_marked_and_spoken_of() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.4, 0.6, 77)
    values = {
        "good": base + 0.3,
        "gradient": base + rng.normal(0, 0.02, 77),
        "smoothgrad": base + rng.normal(0, 0.02, 77),
        "bad": base - 0.2,
        "centre": base,
        "random": base - 0.1,
    }
    found = compared(values, metric="m", controls={"centre", "random"})
    by = {s.label: s for s in found.standings}
    assert [s.label for s in found.standings if s.control] == ["centre", "random"]
    assert (by["good"].like, by["good"].below) == ((), ())
    assert (by["gradient"].like, by["gradient"].below) == (("centre",), ())
    assert (by["bad"].like, by["bad"].below) == ((), ("centre", "random"))
    assert by["centre"].like == ()
    alike = [s.label for s in found.standings if s.label in ("gradient", "smoothgrad")]
    assert found.control_words == (
        f"{alike[0]} and {alike[1]} are not distinguishable from the control centre; "
        "bad is worse than the controls centre and random at n = 77"
    )
    assert found.words == f"good is best, distinguishable from all others at n = 77; {found.control_words}"
    lower = compared({k: -v for k, v in values.items()}, metric="m", higher_is_better=False, controls={"random"})
    assert {s.label: s.below for s in lower.standings}["bad"] == ("random",)
    board = Leaderboard((found,))
    assert {r["method"]: r["control"] for r in board.rows()}["centre"] is True
    assert "| centre (control) |" in board.markdown()
    assert "random (control) &" in board.latex()


def test_words_about_controls_are_the_shortest_there_are() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.4, 0.6, 40)

    def near() -> np.ndarray:
        return base + rng.normal(0, 0.01, 40)

    controls = {"edge": near(), "centre": near()}
    same = compared({"a": near(), "b": near(), **controls}, metric="m", controls=controls)
    assert "; no method is distinguishable from the controls " in same.words
    but_one = compared({"a": base + 1, "b": near(), "c": near(), **controls}, metric="m", controls=controls)
    assert "; only a is distinguishable from the controls " in but_one.words
    worst = compared({"a": base - 1, "b": base - 2, **controls}, metric="m", controls=controls)
    assert "; every method is worse than the controls " in worst.words
    single = compared({"gradient": near(), "centre": near()}, metric="m", controls={"centre"})
    assert single.control_words == "gradient is not distinguishable from the control centre at n = 40"


def test_pairs_with_controls_are_corrected_for_their_number() -> None:
    rng = np.random.default_rng(1)
    control = rng.uniform(size=30)
    near = control + 0.03 + rng.normal(0, 0.07, 30)
    alone = compared({"near": near, "c": control}, metric="m", controls={"c"})
    p = wilcoxon(near, control)
    assert 0.05 / 6 < p < 0.05
    assert {s.label: s.like for s in alone.standings}["near"] == ()
    many = {f"same{i}": control + rng.normal(0, 1e-3, 30) for i in range(5)}
    crowd = compared({"near": near, "c": control, **many}, metric="m", controls={"c"})
    assert {s.label: s.like for s in crowd.standings}["near"] == ("c",)


def test_without_images_in_common_controls_say_nothing() -> None:
    halves = {"a": np.array([1.0, 2.0, math.nan]), "c": np.array([math.nan, math.nan, 1.0])}
    found = compared(halves, metric="m", controls={"c"})
    assert found.control_words == ""
    assert all(s.like == s.below == () for s in found.standings)


def test_a_method_without_any_value_keeps_no_other_from_being_compared() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(size=20)
    never = np.full(20, np.nan)
    rest = {"a": base + 0.2, "b": base}
    found = compared({"cam": never, **rest, "centre": never}, metric="m", controls={"centre"})
    without = compared(rest, metric="m")
    assert found.common == 20
    assert repr(found.ranked) == repr(without.standings)  # NaN is not itself
    assert [s.label for s in found.standings] == ["a", "b", "cam", "centre"]
    assert (found.friedman, found.critical_difference) == pytest.approx(
        (without.friedman, without.critical_difference), nan_ok=True
    )
    assert found.table.shape == (2, 20)
    last = found.standings[-1]
    assert (last.valid, last.images, last.control, last.distinguishable) == (0, 20, True, False)
    assert all(math.isnan(v) for v in (last.rank, last.mean.value, last.mean.low, last.worst_case, last.p))
    assert found.words == f"{without.words}; cam and centre have no value"
    assert "| centre (control) | - | - | - | 0/20 |" in Leaderboard((found,)).markdown()
    assert "nan" not in Leaderboard((found,)).latex()
    assert [p.label for p in stability(found).places] == ["a", "b"]


def test_where_neither_is_better_no_method_is_called_best() -> None:
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(3, 0.1, 30), "b": rng.normal(1, 0.1, 30), "random": rng.normal(2, 0.1, 30)}
    found = compared(values, metric="on tag", controls={"random"}, judged=False)
    assert found.direction == "neither is better"
    assert [s.label for s in found.standings] == ["a", "random", "b"]  # most first
    assert found.words.startswith("a is highest, distinguishable from all others")
    assert "b is lower than the control random" in found.words
    assert not re.search("best|worse", found.words)
    board = Leaderboard((found, compared(values, metric="gini"), compared(values, metric="sum")))
    assert {row["better"] for row in board.rows() if row["metric"] == "on tag"} == {"neither"}
    assert board.agreement().metrics == ("gini", "sum")  # what does not judge cannot agree
