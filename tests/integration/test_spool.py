"""Sessions with a spool, in front of a server that goes away and comes back or whose answers are lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.forks import forked, forks, in_child
from support.proxy import Cut, Proxy, proxied
from support.sessions import Opener

from tsmodel import Int16, Retry, TSModel, connect
from tsmodel.errors import SessionError, SpoolFullError, StoreError, StoreFormatError, TransportError, WriteError
from tsmodel.server import serve_in_thread
from tsmodel.session.forwarding import Forwarder
from tsmodel.store import open_store
from tsmodel.store.spool_file import DrainerLock, SpoolFile

SOON = Retry(attempts=1, settle="100ms")
GETACQ_ANSWER, PUT_ANSWER = 20, 28


pytestmark = forks


class Reading(TSModel):
    counter: Int16


def rows(count: int, first: int = 0, **values: int) -> list[Reading]:
    return [
        Reading(**{"cid": n % 2, "mid": 1, "moid": 1, "cap": n, "counter": 1, **values})
        for n in range(first, first + count)
    ]


@contextmanager
def network(path: Path) -> Iterator[Proxy]:
    """A server behind a proxy."""
    with serve_in_thread(path / "store.tsdb") as (host, port), proxied(host, port) as proxy:
        yield proxy


def url(proxy: Proxy, path: Path, options: str = "") -> str:
    return "tstorage://{}:{}?timeout=20&spool={}{}".format(*proxy.address, path / "edge.spool", options)


def away(proxy: Proxy) -> None:
    proxy.refusing = True
    proxy.cut_all()


def caps(path: Path) -> list[int]:
    """Returns what the server holds, ordered by acq."""
    with connect(path / "store.tsdb", read_only=False) as session:
        return [row.cap for row in session.query(Reading).order_by(Reading.acq)]


def test_reachable_server_receives_puts_directly(tmp_path: Path, opened: Opener) -> None:
    with network(tmp_path) as proxy, opened(url(proxy, tmp_path)) as session:
        session.add_all(rows(3))
        receipt = session.flush()
        assert (receipt.count, receipt.spooled) == (3, 0)
        assert receipt.acq_min > 0
        assert session.spool.records == 0
        assert session.drain()


def test_puts_are_spooled_and_sent_in_order(tmp_path: Path, opened: Opener) -> None:
    with network(tmp_path) as proxy:
        with opened(url(proxy, tmp_path)) as session:
            away(proxy)
            for n in range(5):
                session.add_all(rows(2, first=2 * n, cid=1))
                receipt = session.flush()
                assert (receipt.count, receipt.spooled, receipt.acq_max) == (0, 2, -1)
                assert receipt.bytes > 0
            state = session.spool
            assert (state.records, state.puts, state.in_doubt, state.set_aside) == (10, 5, 0, ())
            assert 0 <= state.age < 600
            assert "failed" in state.error
            assert session.pending == ()
            with pytest.raises(SessionError, match=r"are in the spool.*drain"):
                session.wait_committed(receipt)
            proxy.refusing = False
            assert session.drain("60s")
            assert session.query(Reading).count() == 10
            state = session.spool
            assert (state.records, state.puts, state.oldest, state.drained) == (0, 0, None, 10)
            session.add_all(rows(1, first=10, cid=1))
            assert session.flush().count == 1
        assert caps(tmp_path) == list(range(11))


def test_idle_drainer_keeps_the_error_of_a_flush_that_fails_meanwhile(tmp_path: Path) -> None:
    file = SpoolFile(str(tmp_path / "edge.spool"))
    file.prepare(["here"])
    forwarder = Forwarder(file, "here", 0.1)
    turn = forwarder.turn(DrainerLock(file.path))
    next(turn)
    empty = file.totals()
    forwarder.error = "connecting failed"
    with pytest.raises(StopIteration):
        turn.send(empty)
    assert forwarder.error == "connecting failed"


def test_session_opens_without_the_server_and_the_next_one_drains(tmp_path: Path, opened: Opener) -> None:
    with network(tmp_path) as proxy:
        away(proxy)
        with opened(url(proxy, tmp_path)) as session:
            session.add_all(rows(3))
            assert session.flush().spooled == 3
            with pytest.raises(TransportError):
                session.query(Reading).count()
        proxy.refusing = False
        with opened(url(proxy, tmp_path)) as session:
            assert session.drain("60s")
            assert session.query(Reading).count() == 3


@pytest.mark.parametrize("after", [*range(1, PUT_ANSWER, 5), PUT_ANSWER - 1])
def test_answer_cut_anywhere_stores_once(tmp_path: Path, opened: Opener, after: int) -> None:
    with network(tmp_path) as proxy, opened(url(proxy, tmp_path), retry=SOON) as session:
        proxy.cuts = [Cut(from_server=GETACQ_ANSWER + after)]
        session.add_all(rows(4))
        receipt = session.flush()
        assert (receipt.count, receipt.spooled) == (0, 4)
        session.add_all(rows(1, first=4))
        assert session.flush().spooled == 1
        assert session.drain("60s")
        assert session.spool.set_aside == ()
        assert sorted(row.cap for row in session.query(Reading).all()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("after", [0, 5, 76, 77, 80, 90, 150, 200])
def test_put_cut_anywhere_is_stored_once(tmp_path: Path, opened: Opener, after: int) -> None:
    with network(tmp_path) as proxy, opened(url(proxy, tmp_path), retry=SOON) as session:
        proxy.cuts = [Cut(to_server=after, reset=bool(after % 2))]
        session.add_all(rows(4))
        assert session.flush().spooled == 4
        assert session.drain("60s")
        assert sorted(row.cap for row in session.query(Reading).all()) == [0, 1, 2, 3]


def test_drainer_reconciles_in_doubt_puts(tmp_path: Path, opened: Opener) -> None:
    with network(tmp_path) as proxy, opened(url(proxy, tmp_path), retry=SOON) as session:
        away(proxy)
        for _ in range(2):
            session.add_all(rows(3))  # two puts of the same records: both must be stored
            session.flush()
        proxy.cuts = [Cut(from_server=GETACQ_ANSWER + 1), Cut(from_server=GETACQ_ANSWER + 1)]
        proxy.refusing = False
        assert session.drain("60s")
        assert sorted(row.cap for row in session.query(Reading).all()) == [0, 0, 1, 1, 2, 2]


def test_spooled_puts_keep_their_kinds(tmp_path: Path, opened: Opener) -> None:
    with network(tmp_path) as proxy, opened(url(proxy, tmp_path), retry=SOON) as session:
        session.add_all(rows(2))
        session.flush()
        (first, _) = sorted(session.query(Reading).all(), key=lambda row: row.cap)
        away(proxy)
        session.add_all(rows(3), unless_stored=True)
        session.add_all(rows(1, first=7, acq=1234), keep_acq=True)
        session.correct(first, counter=5)
        assert session.flush().spooled == 5
        proxy.refusing = False
        assert session.drain("60s")
        found = sorted((row.cap, row.counter) for row in session.query(Reading).all())
        assert found == [(0, 1), (0, 5), (1, 1), (2, 1), (7, 1)]
        assert [row.acq for row in session.query(Reading).all() if row.cap == 7] == [1234]
        assert session.query(Reading).latest().cap_between(0, 1).one().counter == 5


def test_full_spool_leaves_records_pending(tmp_path: Path, opened: Opener) -> None:
    with network(tmp_path) as proxy, opened(url(proxy, tmp_path, "&spool_bytes=200")) as session:
        away(proxy)
        session.add_all(rows(4))
        assert session.flush().spooled == 4
        session.add_all([Reading(cid=n, mid=n**5, moid=n, cap=n**7, counter=n) for n in range(30)])
        with pytest.raises(WriteError, match="is full") as caught:
            session.flush()
        assert isinstance(caught.value.__cause__, SpoolFullError)
        assert (caught.value.__cause__.most, len(caught.value.not_stored), caught.value.unknown) == (200, 30, ())
        assert len(session.pending) == 30
        session.discard()


def test_oldest_puts_are_dropped_only_on_request(tmp_path: Path, opened: Opener) -> None:
    with network(tmp_path) as proxy, opened(url(proxy, tmp_path, "&spool_bytes=300&spool_full=drop_oldest")) as session:
        away(proxy)
        for n in range(12):
            session.add_all(rows(4, first=4 * n))
            assert session.flush().spooled == 4
        state = session.spool
        assert state.dropped > 0
        assert state.records + state.dropped == 48
        assert state.size <= 300
        proxy.refusing = False
        assert session.drain("60s")
        assert sorted(row.cap for row in session.query(Reading).all()) == list(range(state.dropped, 48))


def test_spool_belongs_to_its_database(tmp_path: Path, opened: Opener) -> None:
    with network(tmp_path) as proxy:
        away(proxy)
        with opened(url(proxy, tmp_path)) as session:
            session.add_all(rows(1))
            session.flush()
        other = f"tstorage://other.example:2025?spool={tmp_path / 'edge.spool'}"
        with pytest.raises(SessionError, match=r"holds 1 put for 127.*--retarget tstorage://other.example:2025"):
            opened(other).close()
        more = "tstorage://{}:{},other.example:2025?spool={}".format(*proxy.address, tmp_path / "edge.spool")
        opened(more).close()  # another connector of the same database
        proxy.refusing = False
        with opened(url(proxy, tmp_path)) as session:
            assert session.drain("60s")
        opened(other).close()  # no put is waiting for another database


def test_foreign_files_are_refused(tmp_path: Path, opened: Opener) -> None:
    connect(tmp_path / "edge.spool").close()
    with network(tmp_path) as proxy:
        with pytest.raises(StoreFormatError, match="is an embedded store, not a spool"):
            opened(url(proxy, tmp_path))
        (tmp_path / "edge.spool").write_bytes(b"something else" * 100)
        with pytest.raises(StoreFormatError, match="is not a spool"):
            opened(url(proxy, tmp_path))
        with pytest.raises(StoreError, match="there is no directory"):
            opened(url(proxy, tmp_path / "nowhere"))
        with pytest.raises(StoreError, match="is a directory"):
            opened(f"tstorage://h:1?spool={tmp_path}")


def test_processes_and_sessions_share_a_spool(tmp_path: Path) -> None:
    with network(tmp_path) as proxy:
        away(proxy)
        target = url(proxy, tmp_path)

        def work(mid: int) -> str:
            with connect(target) as session:
                for row in rows(5, mid=mid):
                    session.add(row)
                    assert session.flush().spooled == 1
            return "done"

        with forked(lambda: work(11)) as eleven, forked(lambda: work(12)) as twelve:
            with connect(target) as one, connect(target) as two:
                for session, mid in ((one, 13), (two, 14)):
                    session.add_all(rows(5, mid=mid))
                    session.flush()
                assert (eleven(), twelve()) == ("done", "done")
                proxy.refusing = False
                assert one.drain("60s")
                assert two.spool.records == 0
                assert sorted(row.mid for row in one.query(Reading).all()) == [11] * 5 + [12] * 5 + [13] * 5 + [14] * 5


def test_forked_process_drains(tmp_path: Path) -> None:
    with network(tmp_path) as proxy:
        away(proxy)
        with connect(url(proxy, tmp_path)) as session:
            session.add_all(rows(1))
            session.flush()

            def work() -> object:
                session.add_all(rows(1, first=1))
                return session.flush().spooled, session.spool.records

            assert in_child(work) == "(1, 2)"
            proxy.refusing = False
            assert session.drain("60s")
            assert sorted(row.cap for row in session.query(Reading).all()) == [0, 1]


def test_threads_flush_concurrently(tmp_path: Path) -> None:
    with network(tmp_path) as proxy, connect(url(proxy, tmp_path), retry=SOON) as session:

        def work(mid: int) -> None:
            for n in range(5):
                session.add_all(rows(1, first=n, mid=mid))
                session.flush()

        threads = [threading.Thread(target=work, args=(mid,)) for mid in range(4)]
        for thread in threads:
            thread.start()
        away(proxy)
        time.sleep(0.05)
        proxy.refusing = False
        for thread in threads:
            thread.join()
        assert session.drain("60s")
        assert sorted((row.mid, row.cap) for row in session.query(Reading).all()) == [
            (m, n) for m in range(4) for n in range(5)
        ]


def test_interrupted_flush_is_spooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with network(tmp_path) as proxy, connect(url(proxy, tmp_path)) as session:
        away(proxy)
        append = Forwarder(session._forwarder.file, "", 1.0).file.append  # type: ignore[union-attr]

        def interrupted(*arguments: Any, **options: Any) -> None:
            append(*arguments, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(session._forwarder.file, "append", interrupted)  # type: ignore[union-attr]
        session.add_all(rows(2))
        with pytest.raises(KeyboardInterrupt):
            session.flush()
        assert (session.pending, session.in_doubt) == ((), ())
        assert session.flush().spooled == 2
        monkeypatch.undo()
        proxy.refusing = False
        assert session.drain("60s")
        assert session.query(Reading).count() == 2


def test_refused_put_waits_in_the_spool(tmp_path: Path, opened: Opener) -> None:
    with serve_in_thread(tmp_path / "store.tsdb", read_only=True) as (host, port), proxied(host, port) as proxy:
        with opened(url(proxy, tmp_path)) as session:
            session.add_all(rows(1))
            with pytest.raises(WriteError, match="NOPERM"):  # nothing is waiting, so the program gets the error
                session.flush()
            session.discard()
            away(proxy)
            session.add_all(rows(1))
            session.flush()
            proxy.refusing = False
            assert not session.drain("300ms")
            state = session.spool
            assert (state.puts, state.set_aside) == (1, ())  # the put waits: the next server may accept it


def test_put_made_undecidable_by_another_writer_is_set_aside(tmp_path: Path) -> None:
    with network(tmp_path) as proxy, connect(url(proxy, tmp_path), retry=SOON) as session:
        proxy.cuts = [Cut(from_server=GETACQ_ANSWER + 1)]
        lock = DrainerLock(str(tmp_path / "edge.spool"))
        assert lock.take()
        session.add_all(rows(2))
        assert session.flush().spooled == 2
        with connect("tstorage://{}:{}".format(*proxy.address)) as other:
            other.add_all(rows(2))
            other.flush()
        lock.give_back()
        assert session.drain("60s")
        (aside,) = session.spool.set_aside
        assert (aside.reason, aside.records) == ("undecided", 2)
        assert "another writer" in aside.detail
        assert session.query(Reading).count() == 4
        session.add_all(rows(1, first=5))
        assert session.flush().count == 1  # a put set aside blocks no other


def test_close_leaves_unsent_puts_in_the_spool(tmp_path: Path, opened: Opener) -> None:
    with network(tmp_path) as proxy:
        away(proxy)
        began = time.monotonic()
        with opened(url(proxy, tmp_path, "&spool_wait=30")) as session:
            session.add_all(rows(1))
            session.flush()
        assert time.monotonic() - began < 20
        assert not DrainerLock(str(tmp_path / "edge.spool")).is_held


def test_close_drains_the_spool(tmp_path: Path, opened: Opener) -> None:
    with network(tmp_path) as proxy:
        away(proxy)
        with opened(url(proxy, tmp_path, "&spool_wait=60")) as session:
            session.add_all(rows(2))
            session.flush()
            proxy.refusing = False
            assert session.drain("60s")
        assert caps(tmp_path) == [0, 1]


def test_replaced_spool_refuses_puts(tmp_path: Path) -> None:
    with network(tmp_path) as proxy, connect(url(proxy, tmp_path)) as session:
        away(proxy)
        session.add_all(rows(1))
        session.flush()
        for end in ("", "-journal"):
            (tmp_path / f"edge.spool{end}").rename(tmp_path / f"moved.spool{end}")
        session.add_all(rows(1, first=1))
        with pytest.raises(WriteError, match="unable to open"):
            session.flush()
        assert len(session.pending) == 1
        with connect(url(proxy, tmp_path)), pytest.raises(WriteError, match="was replaced since it was opened"):
            session.flush()
        session.discard()


@pytest.mark.parametrize(
    ("options", "wording"),
    [
        ("?spool=", "names no file"),
        ("?spool_bytes=5", "add spool=PATH"),
        ("?spool=a&spool_bytes=5x", "not a number of bytes"),
        ("?spool=a&spool_full=sometimes", "must be refuse or drop_oldest"),
        ("?spool=a&spool_wait=-1", "not a number of seconds"),
        ("?spool=a&spool=b", "repeated option"),
    ],
)
def test_invalid_options(options: str, wording: str, opened: Opener) -> None:
    with pytest.raises(SessionError, match=wording):
        opened(f"tstorage://h:1{options}")


def test_proxy_server_refuses_a_spool(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="leave spool= out"), serve_in_thread(f"tstorage://h:1?spool={tmp_path}/a"):
        pass


def test_store_in_memory_refuses_a_spool() -> None:
    with connect("memory:") as session:
        assert session.spool is None
        assert session.drain()
    open_store(None).close()
