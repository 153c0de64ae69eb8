"""Random puts, reopenings and merges compared with a plain list: a scan returns each record of its box exactly once."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import Row, batches, scanned
from support.budget import examples

from tsmodel.backend import Batch
from tsmodel.keys import LIMITS, Key, KeyRange
from tsmodel.store import EmbeddedStore
from tsmodel.store.intake import Put
from tsmodel.store.memory import MemoryEngine
from tsmodel.store.merging import MergePolicy
from tsmodel.store.sqlite import SQLiteEngine

small = st.integers(0, 3)
extreme = {name: st.sampled_from([limits.least, limits.bound - 1, limits.bound]) for name, limits in LIMITS.items()}
payloads = st.binary(max_size=3) | st.integers(0, 3000).map(bytes)


def component(name: str) -> st.SearchStrategy[int]:
    return st.one_of(small, small, small, extreme[name])


rows = st.tuples(*(component(name) for name in LIMITS), payloads)
puts = st.tuples(st.booleans(), st.lists(rows, max_size=8))
boxes = st.builds(
    KeyRange,
    st.builds(Key, *(component(name) for name in LIMITS)),
    st.builds(Key, *(component(name) for name in LIMITS)),
)
steps = st.lists(puts | st.just("reopen") | boxes, max_size=25)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "sqlite with a small cache"])
@settings(max_examples=examples(60), deadline=None)
@given(
    steps=steps,
    fan_in=st.sampled_from([2, 3, 8]),
    final=st.sampled_from([100, 2000, 2**23]),
    slice_bytes=st.sampled_from([500, 3000, 2**25]),
)
def test_scans_match_a_plain_list(kind: str, steps: list[object], fan_in: int, final: int, slice_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        clock = random.Random(1)

        def opened() -> EmbeddedStore:
            path, cache = str(Path(directory, "store.tsdb")), 7000 if "cache" in kind else 2**20
            engine = MemoryEngine() if kind == "memory" else SQLiteEngine(path, cache)
            policy = MergePolicy(fan_in, final, dense=3, whole=200, step=100)
            return EmbeddedStore(engine, clock=lambda: clock.randrange(4), policy=policy, slice_bytes=slice_bytes)

        store, model = opened(), list[Row]()
        settled: dict[int, list[Row]] = {}
        for step in steps:
            if step == "reopen":
                if kind != "memory":
                    store.close()
                    store = opened()
            elif isinstance(step, KeyRange):
                inside = sorted(row for row in model if Key(*row[:5]) in step)
                assert scanned(store, step) == inside
            else:
                with_acq, put = step  # type: ignore[misc]
                _apply(store, model, put, with_acq)
                if not with_acq:
                    answer = store.last_acq(KeyRange())
                    settled[answer] = sorted(row for row in model if row[4] < answer)
        assert scanned(store) == sorted(model)
        store.close()
        putas = any(isinstance(step, tuple) and step[0] for step in steps)
        for answer, then in settled.items():
            assert putas or then == sorted(row for row in model if row[4] < answer)


def _apply(store: EmbeddedStore, model: list[Row], put: list[Row], with_acq: bool) -> None:
    """Puts rows into the store, and those with valid keys into the list."""
    sent = put if with_acq else [(*row[:4], row[5]) for row in put]
    interval = store.append(batches(sent, with_acq=with_acq), with_acq=with_acq)
    checked = list(LIMITS)[: 5 if with_acq else 4]
    kept = [row for row in put if all(row[at] < LIMITS[name].bound for at, name in enumerate(checked))]
    if not with_acq:
        kept = [(*row[:4], interval.acq_min + at, row[5]) for at, row in enumerate(kept)]
    if kept:
        assert interval == (min(row[4] for row in kept), max(row[4] for row in kept))
    model.extend(kept)


def prepared(store: EmbeddedStore, sent: list[Batch], with_acq: bool) -> Put:
    put = store.begin_put(with_acq=with_acq)
    for each in sent:  # one by one, as from a connection
        put.add([each])
    put.prepare()
    return put


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=examples(120), deadline=None)
@given(
    groups=st.lists(st.lists(puts, max_size=6), max_size=6),
    fan_in=st.sampled_from([2, 8]),
    seed=st.integers(0, 9),
    slice_bytes=st.sampled_from([200, 2**25]),
)
def test_group_commit_matches_puts_in_sequence(
    kind: str, groups: list[list[tuple[bool, list[Row]]]], fan_in: int, seed: int, slice_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:

        def opened(name: str) -> EmbeddedStore:
            engine = MemoryEngine() if kind == "memory" else SQLiteEngine(str(Path(directory, name)))
            policy = MergePolicy(fan_in, 2000)
            return EmbeddedStore(engine, clock=lambda: time, policy=policy, slice_bytes=slice_bytes)

        together, apart = opened("together.tsdb"), opened("apart.tsdb")
        times = random.Random(seed)
        for group in groups:
            time = times.randrange(20)
            sent = [
                (batches(rows if with_acq else [(*row[:4], row[5]) for row in rows], with_acq=with_acq), with_acq)
                for with_acq, rows in group
            ]
            waiting = [prepared(together, *each) for each in sent]
            together._store(waiting)
            assert [put.outcome for put in waiting] == [apart.append(each, with_acq=with_acq) for each, with_acq in sent]
            assert together.last_acq(KeyRange()) == apart.last_acq(KeyRange())
        assert scanned(together) == scanned(apart)
        together.close()
        apart.close()
