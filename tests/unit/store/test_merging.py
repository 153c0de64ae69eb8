"""The merge policy: how many runs a series is spread over, and how often a record is rewritten."""

from __future__ import annotations

import math
import random

import pytest

from tsmodel.store.directory import Level
from tsmodel.store.interface import Run
from tsmodel.store.merging import MergePolicy


def simulate(sizes: list[int], policy: MergePolicy) -> tuple[int, float, int]:
    """Returns the highest number of runs, how often a byte is written on average, and the largest merge."""
    runs: list[int] = []
    most = written = largest = 0
    for size in sizes:
        together = [*runs, size]
        chosen = policy.choose(together)
        if len(runs) in chosen:
            merged = sum(together[at] for at in chosen)
            runs = [each for at, each in enumerate(together) if at not in chosen] + [merged]
            written += merged
            largest = max(largest, merged)
        else:
            assert chosen == []
            runs = together
            written += size
        most = max(most, len([run for run in runs if run < policy.final]))
    return most, written / sum(sizes), largest


@pytest.mark.parametrize("size", [45, 4_500, 45_000])
def test_small_puts_of_one_size(size: int) -> None:
    policy = MergePolicy()
    most, writes, largest = simulate([size] * 20_000, policy)
    tiers = math.ceil(math.log(policy.final / size, policy.fan_in)) + 1
    assert most <= tiers * (policy.fan_in - 1)
    assert writes <= tiers + 1
    assert largest <= policy.fan_in * policy.final


@pytest.mark.parametrize("seed", range(5))
def test_puts_of_random_sizes(seed: int) -> None:
    rng = random.Random(seed)
    most, writes, largest = simulate([int(2 ** rng.uniform(4, 24)) for _ in range(3000)], MergePolicy())
    assert most <= 60
    assert writes <= 8
    assert largest <= 9 * MergePolicy().final


def test_large_run_is_left_alone() -> None:
    policy = MergePolicy(fan_in=2, final=100)
    assert policy.choose([100, 500, 100]) == []
    assert policy.choose([500, 60, 500, 60]) == [1, 3]


def test_smaller_runs_join_the_merge() -> None:
    assert MergePolicy(fan_in=3, final=10**9).choose([100, 1, 100, 100]) == [0, 1, 2, 3]
    assert MergePolicy(fan_in=3, final=10**9).choose([100, 1, 100]) == []


def test_merge_includes_runs_of_the_merged_size() -> None:
    assert MergePolicy(fan_in=2, final=10**9).choose([8, 3, 3, 3]) == [0, 1, 2, 3]
    assert MergePolicy(fan_in=2, final=10**9).choose([16, 3, 3, 3]) == [1, 2, 3]


def test_dense_runs_are_left_alone() -> None:
    policy = MergePolicy(fan_in=2, final=10**9, dense=10, whole=1000)
    assert policy.is_dense(1000, 100, 10)
    assert not policy.is_dense(999, 100, 10)
    assert not policy.is_dense(1000, 99, 10)
    assert not policy.is_dense(1000, 100, 0)
    assert policy.choose([1000, 1000], {0, 1}) == []
    assert policy.choose([1000, 1000, 1000], {1}) == [0, 2]


def sized(*runs: tuple[int, int, int, Level]) -> list[Run]:
    """Makes runs of one cid from (size, count, series, level)."""
    return [Run(1, number, *run) for number, run in enumerate(runs)]


def numbers(runs: list[Run]) -> list[int]:
    return [run.number for run in runs]


def test_enough_large_sparse_runs_are_spread() -> None:
    policy = MergePolicy(fan_in=2, final=1000, dense=10, whole=500)
    sparse, small, dense = (1000, 99, 10, Level.PUT), (999, 99, 10, Level.PUT), (1000, 100, 10, Level.PUT)
    of_unknown_series, final = (1000, 99, 0, Level.PUT), (1000, 99, 10, Level.FINAL)
    assert numbers(policy.to_spread(sized(sparse, small, dense, of_unknown_series, final, sparse))) == [0, 5]
    assert policy.to_spread(sized(sparse, small, dense, of_unknown_series, final)) == []
    assert numbers(policy.to_spread(sized(sparse, sparse, sparse))) == [0, 1], (
        "spreads more runs at a time than a merge takes"
    )


def test_begun_spreading_is_finished_first() -> None:
    policy = MergePolicy(fan_in=2, final=1000, dense=10, whole=500)
    sparse, begun = (1000, 99, 10, Level.PUT), (10, 1, 1, Level.BEGUN)
    assert numbers(policy.to_spread(sized(sparse, sparse, begun, sparse, begun))) == [2, 4]


def test_dense_begun_and_final_runs_are_not_merged() -> None:
    policy = MergePolicy(fan_in=2, final=10_000, dense=10, whole=500)
    small, dense = (100, 9, 1, Level.PUT), (600, 100, 10, Level.PUT)
    begun, final = (100, 9, 1, Level.BEGUN), (100, 9, 1, Level.FINAL)
    assert numbers(policy.to_merge(sized(small, dense, begun, final, small))) == [0, 4]
    assert policy.to_merge(sized(small, dense, dense, begun, final)) == []
