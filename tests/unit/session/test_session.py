"""Sessions: added records are stored whole or kept, receipts are right, and nothing is dropped silently."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tsmodel import (
    AsyncSession,
    Bool,
    Float32,
    Int16,
    KeyRange,
    Receipt,
    Session,
    TSModel,
    connect,
    connect_async,
    now_ns,
)
from tsmodel.backend import AcqInterval, Batch
from tsmodel.errors import EncodeError, NoSessionError, SessionError, StoreError, TSModelError, UnflushedWarning, WriteError
from tsmodel.store import EmbeddedStore, open_store


class Reading(TSModel):
    counter: Int16
    volts: Float32


class Event(TSModel, moid=7):
    on: Bool


def reading(n: int = 1, **values: object) -> Reading:
    return Reading(**{"cid": 1, "mid": 1, "moid": 1, "cap": n, "counter": n % 1000, "volts": 1.5, **values})  # type: ignore[arg-type]


class Failing:
    """A backend whose puts fail while `fails` is set."""

    def __init__(self) -> None:
        self.store: EmbeddedStore = open_store(None)
        self.fails = True
        self.scan, self.last_acq, self.close = self.store.scan, self.store.last_acq, self.store.close
        self.scan_budget = self.store.scan_budget

    def append(self, batches: Sequence[Batch], *, with_acq: bool = False) -> AcqInterval:
        if self.fails:
            raise StoreError("the disk is full")
        return self.store.append(batches, with_acq=with_acq)


@pytest.fixture
def session() -> Iterator[Session]:
    with connect("memory:") as session:
        yield session


def test_receipt(session: Session) -> None:
    session.add(reading())
    session.add_all(reading(n) for n in range(9))
    before = now_ns()
    receipt = session.flush()
    assert receipt.count == 10
    assert receipt.bytes == 10 * (24 + 6)
    assert receipt.seconds > 0
    assert before <= receipt.acq_min
    assert receipt.acq_max == receipt.acq_min + 9
    assert session.pending == ()


def test_flush_without_records(session: Session) -> None:
    assert session.flush() == Receipt()
    assert (Receipt().count, Receipt().acq_min, Receipt().acq_max) == (0, -1, -1)


def test_receipts_add_up() -> None:
    total = Receipt(1, 5, 6, 10, 1.0) + Receipt() + Receipt(2, 3, 4, 10, 0.5)
    assert total == Receipt(3, 3, 6, 20, 1.5)


def test_full_batches_are_stored_automatically() -> None:
    with connect("memory:", batch_size=10) as session:
        session.add_all(reading(n) for n in range(25))
        assert len(session.pending) == 5
        assert Reading.query.count() == 20
        for n in range(5):
            session.add(reading(n))
        assert session.pending == ()
        assert session.flush().count == 30
        assert session.flush().count == 0


def test_generator_is_consumed_in_batches() -> None:
    taken = 0

    def source() -> Iterator[Reading]:
        nonlocal taken
        for n in range(1000):
            assert taken - Reading.query.count() <= 100
            taken += 1
            yield reading(n)

    with connect("memory:", batch_size=100) as session:
        session.add_all(source())
        assert session.flush().count == 1000


def test_acqs_follow_the_order_of_addition_within_a_cid(session: Session) -> None:
    rows = [reading(n) if n % 3 else Event(cid=1, mid=1, cap=n, on=True) for n in range(30)]
    session.add_all(rows)
    session.flush()
    stored = [*Reading.query.moid(1), *Event.query]
    assert [row.cap for row in sorted(stored, key=lambda row: row.acq)] == list(range(30))


@pytest.mark.parametrize("position", [0, 5, 9])
def test_invalid_record_keeps_all_pending(session: Session, position: int) -> None:
    rows = [reading(n) for n in range(10)]
    rows[position].counter = 40_000
    session.add_all(rows)
    for _ in range(2):
        with pytest.raises(
            EncodeError, match=rf"record {position}: Reading.counter: 40000 \(int\) is not an int"
        ) as caught:
            session.flush()
        assert (caught.value.record, caught.value.field, caught.value.value) == (position, "counter", 40_000)
        assert Reading.query.count() == 0
        assert session.pending == tuple(rows)
    rows[position].counter = 4
    assert session.flush().count == 10


def test_record_numbers_count_across_batches_and_models() -> None:
    with connect("memory:", batch_size=10) as session:
        session.add_all(reading(n) for n in range(12))
        session.add(Event(cid=1, mid=1, cap=1, on=True))
        session.add(Event(cid=1, mid=1, moid=8, cap=1, on=True))
        with pytest.raises(EncodeError, match="record 13: Event.moid is 8; it must be 7, which the class fixes") as caught:
            session.flush()
        assert caught.value.record == 13
        assert len(session.discard()) == 4
        assert session.flush().count == 10


@pytest.mark.parametrize("cid", [-1, 2**31 - 1])
def test_invalid_cid_is_refused(session: Session, cid: int) -> None:
    session.add(reading(cid=cid))
    with pytest.raises(EncodeError, match=f"record 0: Reading.cid is {cid}.*it must be 0 to 2147483646"):
        session.flush()
    session.discard()


def test_failing_backend_loses_no_records() -> None:
    backend = Failing()
    with Session(backend, batch_size=10) as session:
        session.add_all(reading(n) for n in range(9))
        with pytest.raises(WriteError, match="disk is full") as caught:
            session.add(reading(9))
        assert isinstance(caught.value.__cause__, StoreError)
        with pytest.raises(
            WriteError, match="Of 10 added since the last receipt, 0 are stored, 10 are not, 0 are in doubt"
        ):
            session.flush()
        assert len(session.pending) == 10
        backend.fails = False
        assert session.flush().count == 10
        assert Reading.query.count() == 10


def test_add_all_resumes_a_generator_after_a_failed_put() -> None:
    backend = Failing()
    with Session(backend, batch_size=10) as session:
        source = (reading(n) for n in range(25))
        with pytest.raises(WriteError):
            session.add_all(source)
        backend.fails = False
        session.add_all(source)
        assert session.flush().count == 25
        assert sorted(row.cap for row in Reading.query) == list(range(25))


def test_add_all_keeps_records_of_a_failing_generator(session: Session) -> None:
    def source() -> Iterator[Reading]:
        yield from (reading(n) for n in range(7))
        raise KeyError("the line is dead")

    with pytest.raises(KeyError, match="the line is dead"):
        session.add_all(source())
    assert [row.cap for row in session.pending] == list(range(7))


@pytest.mark.parametrize(
    ("what", "hint"), [(3, ""), ([reading()], "; use add_all for several"), (Reading, ""), (None, ""), ({"cid": 1}, "")]
)
def test_only_model_objects_are_accepted(session: Session, what: object, hint: str) -> None:
    with pytest.raises(SessionError, match=rf"a session stores objects of models, not .*{hint}$"):
        session.add(what)  # type: ignore[arg-type]
    with pytest.raises(SessionError, match="objects of models"):
        session.add_all([reading(), what])  # type: ignore[list-item]
    assert session.pending == (reading(),)


def test_leaving_the_block_flushes_and_closes(tmp_path: Path) -> None:
    with connect(tmp_path / "a.tsdb") as session:
        session.add(reading())
    with pytest.raises(SessionError, match="closed"):
        session.add(reading())
    with connect(tmp_path / "a.tsdb"):
        assert Reading.query.count() == 1


def test_leaving_the_block_by_an_exception_does_not_flush_and_warns() -> None:
    store = open_store(None)
    with pytest.warns(UnflushedWarning, match=r"ended with 1 record added.* Reading\(cid=1"), pytest.raises(KeyError):
        with Session(store) as session:
            session.add(reading())
            raise KeyError
    with pytest.raises(SessionError, match="closed"):
        session.flush()


def test_failed_flush_on_leaving_is_raised() -> None:
    with pytest.raises(EncodeError), connect("memory:") as session:
        session.add(reading(cid=-5))
    with pytest.raises(SessionError, match="closed"):
        session.flush()


def test_close_flushes_and_may_be_repeated(tmp_path: Path) -> None:
    session = connect(tmp_path / "a.tsdb")
    session.add(reading())
    session.close()
    session.close()
    assert "closed" in repr(session)
    with connect(tmp_path / "a.tsdb"):
        assert Reading.query.count() == 1


def test_failed_close_leaves_the_session_open() -> None:
    session = connect("memory:")
    session.add(reading(cid=-5))
    with pytest.raises(EncodeError):
        session.close()
    assert repr(session) == "<Session on memory:: 1 pending>"
    (row,) = session.discard()
    assert row.cid == -5
    session.close()


def test_garbage_collected_session_with_records_warns() -> None:
    session = connect("memory:")
    session.add(reading())
    with pytest.warns(UnflushedWarning, match="a session on memory: ended with 1 record added and never stored"):
        del session
        gc.collect()


def test_garbage_collected_session_without_records_is_silent() -> None:
    session = connect("memory:")
    session.add(reading())
    session.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del session
        gc.collect()


def test_model_query_uses_the_innermost_open_session() -> None:
    with connect("memory:") as outer:
        outer.add(reading())
        outer.flush()
        with connect("memory:") as inner:
            assert Reading.query.count() == 0
            assert outer.query(Reading).count() == 1
            inner.add_all([reading(), reading()])
            inner.flush()
            assert Reading.query.count() == 2
        assert Reading.query.count() == 1
    with pytest.raises(NoSessionError):
        Reading.query.count()


def test_sessions_closed_out_of_order() -> None:
    first, second = connect("memory:"), connect("memory:")
    first.add(reading())
    first.flush()
    second.close()
    assert Reading.query.count() == 1
    first.close()
    with pytest.raises(NoSessionError):
        Reading.query.count()


def test_thread_does_not_see_sessions_of_other_threads(session: Session) -> None:
    seen: list[object] = []

    def look() -> None:
        try:
            Reading.query.count()
        except NoSessionError as error:
            seen.append(str(error))
        seen.append(session.query(Reading).count())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert "a new thread does not see the sessions of other threads" in str(seen[0])
    assert seen[1] == 0


def test_model_query_uses_the_session_open_when_it_runs(session: Session) -> None:
    query = Reading.query.cid(1)
    session.add(reading())
    session.flush()
    assert query.count() == 1
    with connect("memory:"):
        assert query.count() == 0


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, None])
def test_invalid_batch_sizes(batch_size: object) -> None:
    with pytest.raises(SessionError, match="batch_size takes an int from 1"):
        connect("memory:", batch_size=batch_size)  # type: ignore[arg-type]


def test_query_takes_models_only(session: Session) -> None:
    with pytest.raises(Exception, match="is not a model: give a subclass of TSModel"):
        session.query(int)  # type: ignore[type-var]


def test_both_sessions_have_the_same_methods() -> None:
    def methods(of: type[object]) -> dict[str, Any]:
        return {name: getattr(of, name) for name in dir(of) if name[0] != "_" and callable(getattr(of, name))}

    blocking, awaited = methods(Session), methods(AsyncSession)
    assert set(awaited) - set(blocking) == {"open"}
    at_once = {"discard", "query", "remover", "on_backend"}
    for name, method in blocking.items():
        other = awaited[name]
        assert inspect.signature(method).parameters.keys() == inspect.signature(other).parameters.keys(), name
        assert inspect.iscoroutinefunction(other) is (name not in at_once), name
        assert not inspect.iscoroutinefunction(method), name
        assert method.__doc__, name
        assert other.__doc__, name
    assert inspect.signature(Session.flush).return_annotation == "Receipt"
    assert "Raises:" in (AsyncSession.undo.__doc__ or "")


@pytest.mark.parametrize(
    ("call", "wording"),
    [
        (lambda s: s.copy("x", connect("memory:")), "copy() takes a query, its spec or a KeyRange first, not 'x' (str)"),
        (lambda s: s.copy(KeyRange(), "x"), "copy(..., to=...) takes an open Session as its target, not 'x' (str)"),
        (lambda s: s.copy(KeyRange(), connect_async("memory:")), "takes an open Session as its target, not <AsyncSession"),
        (lambda s: s.wait_committed("x"), "wait_committed() takes a receipt of flush(), not 'x' (str)"),
        (lambda s: s.correct(5), "correct() takes an object of a model, not 5 (int)"),
        (lambda s: s.query(Reading).using(5), "using() takes a session, not 5 (int)"),
        (lambda s: s.query(Reading).using(connect_async("memory:")), "using() takes a session, not <AsyncSession"),
        (lambda s: connect_async("memory:").query(Reading).using(s), "using() takes an asynchronous session, not <Session"),
    ],
)
def test_wrong_argument_types_are_named_in_the_error(session: Session, call: Any, wording: str) -> None:
    with pytest.raises(TSModelError) as caught:
        call(session)
    assert wording in str(caught.value)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_longest_flush_interval() -> None:
    longest = 2**63 - 1  # in ns; in seconds, it is more than a lock can wait
    with connect("memory:", flush_every=longest) as session:
        (flusher,) = [thread for thread in threading.enumerate() if thread.name == "tsmodel-flusher"]
        flusher.join(0.1)
        assert flusher.is_alive()
        session.add(reading())

    async def main() -> None:
        async with connect_async("memory:", flush_every=longest) as session:
            await asyncio.sleep(0.05)
            (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "tsmodel-flusher"]
            assert not task.done()
            await session.add(reading())

    asyncio.run(main())
