"""Which runs of a program are counted; figures themselves are measured, not tested."""

import types

import pytest

from arch.training import bench


@pytest.mark.parametrize(
    "seconds, counted",
    [
        ([9, 1, 5, 2, 4, 3, 7, 7], [1, 5, 2, 4, 3]),  # five after the first
        ([13, 12, 14, 6, 7], [12, 14, 6]),  # a run that begins at 39 seconds still counts
        ([30, 10, 1], [10]),
        ([60, 50, 1], [50]),  # one at least
    ],
)
def test_the_median_is_of_as_many_runs_as_begin_in_time(seconds, counted, monkeypatch):
    now, turns = 0.0, []

    def run(turn):
        nonlocal now
        now += seconds[turn]
        turns.append(turn)
        return turn

    monkeypatch.setattr(bench, "time", types.SimpleNamespace(perf_counter=lambda: now))
    assert bench.median_seconds(run) == sorted(counted)[len(counted) // 2]
    assert turns == list(range(len(counted) + 1))
