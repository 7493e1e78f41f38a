"""The rates of `benchmarks/scale.py`: counted only while all processes are at work."""

from __future__ import annotations

import pytest

from benchmarks.scale import steady_rate


def test_a_rate_counts_results_while_all_processes_are_at_work() -> None:
    assert steady_rate([[0.0, 1.0, 2.0, 3.0, 4.0]]) == 1.0
    early, late = [0.0, 1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 3.5, 4.5, 5.5]
    assert steady_rate([early, late]) == pytest.approx(5 / 2.5)


def test_processes_that_never_met_give_no_rate() -> None:
    with pytest.raises(ValueError, match="more --images"):
        steady_rate([[0.0, 1.0], [2.0, 3.0]])
