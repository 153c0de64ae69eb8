"""A spool in front of a database that fails at any step: every flushed record is stored exactly once."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.batches import Row, rows_in

from tsmodel import Int16, TSModel, now_ns
from tsmodel.errors import ServerError, TransportError
from tsmodel.io.effects import Append, Block, Close, LastAcq, Next, Open, Pause, Sent, Work
from tsmodel.io.fetching import OnBackend
from tsmodel.io.runners import run
from tsmodel.keys import KeyRange
from tsmodel.session.forwarding import Forwarder
from tsmodel.session.puts import Segment, encoded
from tsmodel.session.writer import Doubt
from tsmodel.store import open_store
from tsmodel.store.spool_file import DrainerLock, SpoolFile
from tsmodel.wire.events import Status

LAG = 3_000_000
"""Nanoseconds that a commit of the database takes."""


class Reading(TSModel):
    counter: Int16


class Killed(BaseException):
    """The process dies here."""


class World:
    """A database, a network and a process that fail according to a plan.

    Attributes:
        plans: the outcome of each request in turn; later requests succeed.
        lag: nanoseconds that a commit of the database takes.
    """

    def __init__(self, path: str, plans: list[str], lag: int) -> None:
        self.store = open_store(None)
        self.file = SpoolFile(path)
        self.file.prepare(["here:2025"])
        self.plans = plans
        self.lag = lag
        self.backend = OnBackend(self.store)
        self.is_killing = True
        self.late: list[Append] = []
        self.lock = DrainerLock(path)
        self.start()

    def start(self) -> None:
        """Starts a new process; the system releases the old one's lock."""
        self.lock.give_back()
        self.forwarder = Forwarder(SpoolFile(self.file.path), "here", 0.0005)
        self.lock = DrainerLock(self.file.path)

    def perform(self, effect: Any) -> object:
        """Performs an effect, or fails."""
        if isinstance(effect, Pause):
            for put in self.late:  # requests cut off earlier arrive now
                self.backend(put)
            self.late.clear()
            time.sleep(min(effect.seconds, 0.001))
            return None
        if isinstance(effect, (Next, Close)):
            return self.backend(effect)
        plan = self.plans.pop(0) if self.plans else "fine"
        if isinstance(effect, Block):
            if plan == "killed before":
                self.kill()
            found = effect.function()
            if plan == "killed after":
                self.kill()
            return found
        if plan == "away":
            raise TransportError("away")
        if plan == "busy":
            raise ServerError("busy", status=Status.RETRY)
        if plan == "killed before":
            self.kill()
        if not isinstance(effect, Append):
            return self.answer(effect)
        batches = list(effect.batches)
        whole = Append(Sent(batches), effect.with_acq, effect.unless_stored)
        if plan == "in part" and effect.unless_stored is None:
            self.backend(Append(Sent(batches[: len(batches) // 2]), effect.with_acq)) if len(batches) > 1 else None
            raise TransportError("cut in the middle")
        if plan == "late" and effect.unless_stored is None:
            self.late.append(whole)
            raise TransportError("cut off, still under way")
        if plan == "unsent":
            raise TransportError("cut before the end")
        if plan == "refused":
            raise ServerError("refused", status=Status.ERROR)
        done = self.backend(whole)
        if plan == "unsaid":
            raise TransportError("cut after the end")
        if plan == "timeout":
            raise ServerError("timeout", status=Status.TIMEOUT)
        if plan == "killed after":
            self.kill()
        return done

    def answer(self, effect: Any) -> object:
        if isinstance(effect, LastAcq):
            now = now_ns()
            self.store.advance(now)
            return now - self.lag
        assert isinstance(effect, Open)
        return self.backend(effect)

    def kill(self) -> None:
        if self.is_killing:
            raise Killed

    def run(self, work: Work[Any]) -> Any:
        try:
            return run(work, self.perform)
        finally:
            self.backend.release()

    def rows(self) -> Counter[Row]:
        with self.store.scan(KeyRange()) as scan:
            return Counter((*row[:4], row[5]) for chunk in scan for row in rows_in(chunk))


@contextmanager
def new_world(plans: list[str], lag: int) -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        made = World(f"{directory}/edge.spool", plans, lag)
        with closing(made.store):
            yield made
        made.lock.give_back()


def sent_as(rows: list[Reading], **how: bool) -> Any:
    """A put of these records."""
    return encoded(Segment(0, how.get("keep_acq", False), list(rows), unless_stored=how.get("unless_stored", False)))


def identities(rows: list[Reading]) -> list[Row]:
    return [(row.cid, row.mid, row.moid, row.cap, Reading.payload_type.to_bytes(row)) for row in rows]


plans = st.sampled_from(
    [
        *["fine", "fine", "fine", "away", "busy", "in part", "late", "unsent", "unsaid", "refused", "timeout"],
        *["killed before", "killed after"],
    ]
)
keys = st.integers(0, 2)
records = st.builds(Reading, cid=keys, mid=keys, moid=st.just(0), cap=keys, counter=st.integers(0, 1))
steps = st.one_of(
    st.tuples(st.just("flush"), st.lists(records, min_size=1, max_size=5)),
    st.tuples(st.just("drain"), st.integers(1, 3)),
)


@given(
    st.lists(steps, min_size=1, max_size=12),
    st.lists(plans, max_size=60),
    st.sampled_from([0, LAG]),
    st.sampled_from(["plain", "keep_acq", "unless_stored"]),
)
def test_flushed_records_are_stored_exactly_once(
    steps: list[tuple[str, Any]], plans: list[str], lag: int, kind: str
) -> None:
    with new_world(plans, lag) as world:
        flushed: Counter[Row] = Counter()
        alone = 100  # killed puts use keys of their own: their outcome is unknown
        unknown: list[list[Row]] = []
        for what, given in steps:
            if what == "drain":
                drain(world, given)
                continue
            may_be_killed = bool(plans) and "killed" in plans[0]
            rows = list(given)
            if may_be_killed or kind == "keep_acq":
                alone += 1
                changed = {"mid": alone, **({"acq": 1000 + alone} if kind == "keep_acq" else {})}
                rows = [
                    Reading(**{"cid": row.cid, "moid": 0, "cap": at, "counter": row.counter, **changed})
                    for at, row in enumerate(rows)
                ]
            world.is_killing = may_be_killed
            put = sent_as(rows, **({} if kind == "plain" else {kind: True}))
            try:
                world.run(world.forwarder.put(Doubt(put, None), Sent(put.batches), put.unstored()))
            except Killed:
                world.start()
                unknown.append(identities(rows))
            except ServerError:
                pass  # refused: it is stored nowhere
            else:
                flushed.update(identities(rows))
            world.is_killing = True
        plans.clear()
        world.is_killing = False
        drain(world, 1000)
        totals = world.file.totals()
        assert (totals.puts, totals.aside) == (0, 0), world.file.set_aside()
        found = world.rows()
        for rows in unknown:
            counts = {found.pop(row, 0) for row in rows}
            assert counts in ({0}, {1})
        assert found == (Counter(set(flushed)) if kind == "unless_stored" else flushed)


def drain(world: World, turns: int) -> None:
    for _ in range(turns):
        try:
            seconds, _ = world.run(world.forwarder.turn(world.lock))
        except Killed:
            world.start()
            continue
        if seconds and not world.file.totals().puts:
            return
