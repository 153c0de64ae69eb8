"""Interrupted puts, and automatic flushes: by count, bytes, age and in the background."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support.peer import playing, silent
from support.proxy import Cut, proxied
from support.sessions import Opener, abandoned

from tsmodel import Int16, Retry, Session, TSModel, WriteError, connect, connect_async
from tsmodel.backend import AcqInterval, Batch
from tsmodel.errors import EncodeError, SessionError, StoreError, TransportError, UnflushedWarning
from tsmodel.server import serve_in_thread
from tsmodel.store import EmbeddedStore, open_store
from tsmodel.store.memory import MemoryEngine


class Reading(TSModel):
    counter: Int16


def rows(count: int, first: int = 0, **values: int) -> list[Reading]:
    return [
        Reading(**{"cid": 1, "mid": 1, "moid": 1, "cap": n, "counter": 1, **values}) for n in range(first, first + count)
    ]


class Scripted:
    """A backend in memory that runs a function before and after each put."""

    def __init__(self) -> None:
        self.store = open_store(None)
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None
        self.sends = True
        self.scan, self.last_acq, self.close = self.store.scan, self.store.last_acq, self.store.close

    def append(self, batches: Sequence[Batch], *, with_acq: bool = False) -> AcqInterval:
        if self.sends:
            batches = list(batches)
        self.before()
        interval = self.store.append(batches, with_acq=with_acq)
        self.after()
        return interval


def failing(error: BaseException) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), ZeroDivisionError(), MemoryError()], ids=repr)
def test_interrupted_put_is_in_doubt(when: str, error: BaseException) -> None:
    backend = Scripted()
    setattr(backend, when, failing(error))
    session = Session(backend)
    session.add_all(rows(3))
    with pytest.raises(WriteError if isinstance(error, Exception) else type(error)):
        session.flush()
    setattr(backend, when, lambda: None)
    assert session.pending == ()
    assert len(session.in_doubt) == 3
    with pytest.raises(WriteError, match="3 are in doubt"):
        session.flush()
    session.discard()
    session.close()


class Interrupted(EmbeddedStore):
    """An embedded store that interrupts puts before or after storing them."""

    before = after = False

    def append(self, batches: Sequence[Batch], *, with_acq: bool = False) -> AcqInterval:
        batches = list(batches)
        if self.before:
            raise KeyboardInterrupt
        interval = super().append(batches, with_acq=with_acq)
        if self.after:
            raise KeyboardInterrupt
        return interval


@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupted_put_to_an_embedded_store_is_reconciled(when: str, caplog: pytest.LogCaptureFixture) -> None:
    store = Interrupted(MemoryEngine())
    setattr(store, when, True)
    with Session(store, retry=Retry(on_unknown="check"), name="memory:") as session:
        session.add_all(rows(3))
        with pytest.raises(KeyboardInterrupt):
            session.flush()
        setattr(store, when, False)
        assert "3 records are in doubt on memory:: KeyboardInterrupt()" in caplog.text
        session.add_all(rows(1, first=3))
        receipt = session.retry()
        assert receipt.count == 4
        assert sorted(row.cap for row in session.query(Reading)) == [0, 1, 2, 3]


class Settling(Scripted):
    """A backend that declares a put finished when `append` returns."""

    settles_puts = True


def test_settled_put_is_reconciled_without_waiting() -> None:
    backend = Settling()
    backend.after = failing(KeyboardInterrupt())
    with Session(backend, retry=Retry(on_unknown="check", settle="1h")) as session:
        session.add_all(rows(3))
        with pytest.raises(KeyboardInterrupt):
            session.flush()
        backend.after = lambda: None
        assert session.retry().count == 3
        assert len(session.query(Reading).all()) == 3


def test_interrupted_put_that_was_not_sent_stays_pending() -> None:
    backend = Scripted()
    backend.sends = False
    backend.before = failing(KeyboardInterrupt())
    session = Session(backend)
    session.add_all(rows(3))
    with pytest.raises(KeyboardInterrupt):
        session.flush()
    backend.before = lambda: None
    assert len(session.pending) == 3
    assert session.flush().count == 3
    session.close()


def test_put_without_a_recorded_outcome_is_in_doubt() -> None:
    session = Session(Scripted())
    session.add_all(rows(2))
    (put,) = session._pending.puts()
    session._pending.begin(put, None)
    assert len(session.pending) == 2
    with pytest.raises(WriteError, match="a put was interrupted.*2 are in doubt"):
        session.flush()
    session.discard()
    session.close()


def test_cancelled_put_to_a_server_is_in_doubt() -> None:
    async def main(host: str, port: int) -> None:
        async with connect_async(f"tstorage://{host}:{port}") as session:
            await session.add_all(rows(3))
            flushing = asyncio.ensure_future(session.flush())
            await asyncio.sleep(0.05)
            assert len(session.pending) == 3
            flushing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await flushing
            assert session.pending == ()
            assert len(session.in_doubt) == 3
            with pytest.raises(WriteError):
                await session.flush()
            assert len(session.discard(in_doubt_only=True)) == 3

    with playing(silent) as address:
        asyncio.run(main(*address))


def test_leaving_the_block_by_an_exception_warns_of_in_doubt_records() -> None:
    backend = Scripted()
    backend.after = failing(KeyboardInterrupt())
    with pytest.warns(UnflushedWarning, match=r"ended with 2 records added and never stored \(2 of them in doubt\)"):
        with pytest.raises(KeyboardInterrupt):
            with Session(backend) as session:
                session.add_all(rows(2))
                session.flush()


def test_failed_flushes_are_stored_in_one_put() -> None:
    backend = Scripted()
    backend.before = failing(StoreError("the disk is full"))
    puts: list[int] = []
    with Session(backend) as session:
        for n in range(4):
            session.add_all(rows(2, first=2 * n))
            with pytest.raises(WriteError):
                session.flush()
        backend.before = lambda: puts.append(1)
        receipt = session.flush()
        assert (receipt.count, receipt.acq_max - receipt.acq_min, len(puts)) == (8, 7, 1)


def test_record_numbers_continue_after_stored_batches() -> None:
    with connect("memory:", batch_size=3) as session:
        session.add_all(rows(5))
        with pytest.raises(EncodeError, match="record 5: Reading.counter") as caught:
            session.add(rows(1, counter=2**15)[0])
        assert caught.value.record == 5
        with pytest.raises(EncodeError, match="record 5"):
            session.add_all(rows(1))
        assert len(session.discard()) == 4


def test_flush_by_bytes(opened: Opener) -> None:
    with opened("memory:", batch_bytes=260) as session:
        for row in rows(9):
            session.add(row)
        assert len(session.pending) == 9
        session.add(rows(1)[0])
        assert session.pending == ()
        session.add_all(rows(9))
        session.add(rows(1)[0])
        assert session.pending == ()


def test_flush_by_bytes_with_put_and_puta(opened: Opener) -> None:
    with opened("memory:", batch_bytes=260) as session:
        for n, row in enumerate(rows(10, acq=5)):
            assert len(session.pending) == n
            session.add(row, keep_acq=n % 2 == 0)
        assert session.pending == ()


def test_bytes_of_put_and_puta_records_are_counted_once() -> None:
    with connect("memory:", batch_bytes=10**9, batch_size=10**6) as session:
        for n, row in enumerate(rows(4000, acq=5)):
            session.add(row, keep_acq=n % 2 == 0)
        assert session._pending._others_size + session._pending._counted_open() == 4000 * 26
        session.discard()
        assert session._pending._others_size + session._pending._counted_open() == 0


def test_records_discarded_during_reconciliation_are_not_stored() -> None:
    async def main() -> None:
        with serve_in_thread() as address, proxied(*address) as proxy:
            target = "tstorage://{}:{}".format(*proxy.address)
            policy = Retry(on_unknown="check", settle="300ms", first="1ms")
            proxy.cuts = [Cut(to_server=76 + 30)]
            async with connect_async(target, retry=policy) as session:
                await session.add_all(rows(2))
                flushing = asyncio.ensure_future(session.flush())
                while not session.in_doubt:
                    await asyncio.sleep(0.01)
                assert len(session.discard()) == 2
                assert (await flushing).count == 0
                assert await session.query(Reading).count() == 0

    asyncio.run(main())


def test_flush_by_age(opened: Opener) -> None:
    with opened("memory:", batch_age="100ms") as session:
        session.add_all(rows(3))
        assert len(session.pending) == 3
        time.sleep(0.11)
        session.add_all(rows(3))
        assert session.pending == ()
        session.add_all(rows(3))
        assert len(session.pending) == 3


@pytest.mark.parametrize(
    ("options", "wording"),
    [
        ({"batch_bytes": 0}, "batch_bytes takes an int from 1, not 0"),
        ({"batch_bytes": 1.5}, "batch_bytes takes an int from 1"),
        ({"batch_age": "soon"}, "batch_age: 'soon' is not a duration"),
        ({"batch_age": "0s"}, "batch_age is '0s'; it must be above 0"),
        ({"flush_every": -1}, "flush_every is -1"),
        ({"retry": 3}, "retry takes a Retry, not 3"),
    ],
)
def test_invalid_options(opened: Opener, options: dict[str, Any], wording: str) -> None:
    with pytest.raises(SessionError, match=wording):
        opened("memory:", **options)


def until(condition: Callable[[], bool], session: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        getattr(session, "wait", time.sleep)(0.005)


def test_background_flush(opened: Opener) -> None:
    before = threading.active_count()
    with opened("memory:", flush_every="10ms") as session:
        for _ in range(3):
            session.add_all(rows(5))
            until(lambda: session.pending == (), session)
        assert session.query(Reading).count() == 15
        assert session.flush().count == 15
    until(lambda: threading.active_count() <= before, session) if opened is connect else None


def test_background_failure_is_raised_by_the_next_call(opened: Opener) -> None:
    with playing(silent) as address:
        with abandoned(opened("tstorage://{}:{}?timeout=0.05".format(*address), flush_every="10ms")) as session:
            session.add_all(rows(2))
            until(lambda: session.in_doubt != (), session)
            getattr(session, "wait", time.sleep)(0.1)
            with pytest.raises(WriteError, match="2 are in doubt"):
                session.add(rows(1)[0])
            assert [*session.pending, *session.in_doubt] != []


def test_background_failure_is_raised_by_close() -> None:
    backend = Scripted()
    backend.before = failing(StoreError("the disk is full"))
    session = Session(backend, flush_every="5ms")
    session.add_all(rows(2))
    until(lambda: session._failure is not None, session)
    with pytest.raises(WriteError, match="the disk is full"):
        session.close()
    with pytest.raises(WriteError, match="the disk is full"):
        session.add(rows(1)[0])
    backend.before = lambda: None
    session.close()
    assert backend.store


def test_resolved_background_failure_is_not_raised() -> None:
    backend = Scripted()
    backend.before = failing(TransportError("the line is dead"))
    backend.sends = False
    with Session(backend, flush_every="5ms") as session:
        session.add_all(rows(2))
        until(lambda: session._failure is not None, session)
        backend.before = lambda: None
        assert session.flush().count == 2
        session.add(rows(1)[0])


def test_flusher_does_not_keep_its_session_alive() -> None:
    before = threading.active_count()
    session = connect("memory:", flush_every="5ms")
    del session
    gc.collect()
    until(lambda: threading.active_count() <= before, None)


def test_threads_add_and_flush_concurrently() -> None:
    with connect("memory:", batch_size=50, flush_every="1ms") as session:

        def work(mid: int) -> None:
            for n in range(200):
                session.add(rows(1, first=n, mid=mid)[0])
                if n % 70 == 0:
                    session.flush()

        threads = [threading.Thread(target=work, args=(mid,)) for mid in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        session.flush()
        found = session.query(Reading).all()
        assert len(found) == len({row.key for row in found}) == len({row.key.astuple()[:4] for row in found}) == 1200


def test_adding_does_not_wait_for_a_flush() -> None:
    backend = Scripted()
    entered, leave = threading.Event(), threading.Event()
    backend.before = lambda: (entered.set(), leave.wait(20))
    with Session(backend) as session:
        session.add_all(rows(2))
        flushing = threading.Thread(target=session.flush)
        flushing.start()
        assert entered.wait(20)
        session.add_all(rows(3))
        assert len(session.pending) == 5
        assert len(session.discard()) == 3
        leave.set()
        flushing.join()
        assert session.pending == ()


def test_records_added_while_closing_are_not_dropped_silently() -> None:
    backend = Scripted()
    session = Session(backend)
    session.add_all(rows(2))

    def add_more() -> None:
        backend.after = lambda: None
        session.add(rows(1)[0])

    backend.after = add_more
    with pytest.warns(UnflushedWarning, match="1 record"):
        session.close()


def test_record_numbers_restart_after_a_concurrent_flush() -> None:
    async def main() -> None:
        async with connect_async("memory:") as session:
            await session.add_all(rows(4))
            flushing = asyncio.ensure_future(session.flush())
            for _ in range(4):
                await asyncio.sleep(0)
            await session.add(rows(1, counter=2**15)[0])
            assert (await flushing).count == 4
            with pytest.raises(EncodeError, match="record 0"):
                await session.flush()
            session.discard()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())


class CtrlC:
    """Raises KeyboardInterrupt after the nth call within a module of tsmodel, as a signal between two calls would.

    Args:
        module: end of the module's path.
        at: number of the call, from 1.
        functions: functions whose calls count; by default all of the module.
    """

    def __init__(self, module: str, at: int, functions: Collection[str] = ()) -> None:
        self.module, self.left, self.functions = str(Path(module)), at, functions

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        ends = event == "c_return" or (event == "return" and not frame.f_code.co_flags & inspect.CO_GENERATOR)
        code = frame.f_code
        if ends and code.co_filename.endswith(self.module) and (code.co_name in self.functions or not self.functions):
            self.left -= 1
            if not self.left:
                sys.setprofile(None)
                raise KeyboardInterrupt

    @contextmanager
    def expected(self) -> Iterator[None]:
        before = sys.getprofile()
        sys.setprofile(self)
        try:
            yield
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(before)


def add_and_flush(session: Session, taken: list[int]) -> None:
    """Adds objects and columns in several ways and records which the session accepted."""
    for row in rows(2):
        session.add(row)
        taken.append(row.cap)
    session.add_columns(Reading, cid=1, mid=1, moid=1, cap=[2, 3], counter=1)
    session.add_columns(Reading, cid=1, mid=1, moid=1, cap=[4], counter=1)
    session.add_all(rows(1, 5))
    taken += [2, 3, 4, 5]
    session.flush()


def test_ctrl_c_neither_loses_nor_duplicates_records() -> None:
    for points in itertools.count(1):
        taken: list[int] = []
        with connect("memory:") as session:
            ctrl_c = CtrlC("session/writer.py", points)
            with ctrl_c.expected():
                add_and_flush(session, taken)
            with suppress(WriteError):
                session.flush()
            doubtful = {row.cap for row in session.discard(in_doubt_only=True)}
            session.flush()
            stored = [row.cap for row in session.query(Reading).order_by("cap")]
        assert len(set(stored)) == len(stored), f"call {points}: {stored}"
        assert set(taken) <= {*stored, *doubtful}, f"call {points}: accepted {taken}, stored {stored}"
        if ctrl_c.left > 0:
            break
    assert points > 10


def test_ctrl_c_leaves_a_writable_file(tmp_path: Path) -> None:
    with connect(tmp_path / "other.tsdb") as session:  # does the imports of a first session
        session.add_all(rows(1))
    reopened = 0
    for points in itertools.count(1):
        path = tmp_path / f"{points}.tsdb"
        ctrl_c = CtrlC("store/sqlite.py", points, ("writing", "_begin", "_commit", "undo"))
        session = connect(path)
        with ctrl_c.expected():
            session.add_all(rows(2))
            session.flush()
        try:
            session.query(Reading).count()
        except StoreError:
            with pytest.raises(StoreError, match="a commit was interrupted: close the store and open it again"):
                session.query(Reading).count()
            session.discard()
            session.close()
            session = connect(path)
            reopened += 1
        with session, connect(path) as other:
            session.discard()
            for each in (session, other):
                each.add_all(rows(1, 5))
                each.flush()
            assert session.query(Reading).cap_since(5).count() == 2, f"call {points}"
        if ctrl_c.left > 0:
            break
    assert points > 5
    assert reopened > 0


OPEN_AT_THE_END = """
import sys
from tsmodel import connect
stores = [connect("memory:"), connect("memory:", flush_every="5s"), connect(sys.argv[1])]
"""


def test_sessions_open_at_interpreter_exit_are_silent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_AT_THE_END, str(tmp_path / "readings.tsdb")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout + done.stderr == ""
    assert [each.name for each in tmp_path.iterdir()] == ["readings.tsdb"]
