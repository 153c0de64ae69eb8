"""Writes that fail: what a session says of them is true of what the server stored, and nothing is lost or stored twice."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples, is_long
from support.peer import answering, playing, receive, silent
from support.proxy import Cut, Proxy, proxied
from support.sessions import OPENERS, BlockingSession, Opener, abandoned

from tsmodel import Int16, Mid, Receipt, Retry, TSModel, WriteError, connect
from tsmodel.errors import CommitTimeoutError, EncodeError, RemoteProtocolError, ServerError, SessionError, TransportError
from tsmodel.server import serve_in_thread


class Reading(TSModel):
    counter: Int16


class Event(TSModel, moid=9):
    code: Int16


class Metered(TSModel):
    meter: Mid
    counter: Int16


GETACQ = 12 + 64
GETACQ_ANSWER = 12 + 8
PUT_ANSWER = 12 + 16
RECORD = 24 + 2


def put_size(count: int, cids: int = 1) -> int:
    return 12 + 8 * cids + RECORD * count + 4


def rows(count: int, first: int = 0, **values: int) -> list[Reading]:
    return [
        Reading(**{"cid": 1, "mid": 1, "moid": 1, "cap": n, "counter": n % 1000, **values})
        for n in range(first, first + count)
    ]


@pytest.fixture(params=["sync", "async"])
def opened(request: pytest.FixtureRequest) -> Opener:
    return OPENERS[request.param]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    with serve_in_thread() as address:
        yield address


@pytest.fixture
def proxy(server: tuple[str, int]) -> Iterator[Proxy]:
    with proxied(*server) as proxy:
        yield proxy


def url(address: tuple[str, int], **options: object) -> str:
    return "tstorage://{}:{}?".format(*address) + "&".join(
        f"{name}={value}" for name, value in {"timeout": 20, **options}.items()
    )


def caps(address: tuple[str, int], cid: int, model: type[Any] = Reading) -> Counter[int]:
    with connect(url(address)) as session:
        return Counter(row.cap for row in session.query(model).cid(cid).all())


_next_cid = iter(range(1, 10**6))


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("with_acq", [False, pytest.param(True, marks=pytest.mark.long)], ids=["put", "puta"])
def test_the_account_is_true_wherever_the_connection_is_cut(
    opened: Opener, server: tuple[str, int], proxy: Proxy, reset: bool, with_acq: bool
) -> None:
    whole = put_size(2) + (16 if with_acq else 0)
    cuts = [Cut(to_server=at, reset=reset) for at in range(1, whole)] + [
        Cut(from_server=at, reset=reset) for at in range(1, PUT_ANSWER)
    ]
    for cut in cuts:
        cid = next(_next_cid)
        proxy.cuts = [cut]
        with abandoned(opened(url(proxy.address))) as session:
            sent = rows(2, cid=cid, acq=5) if with_acq else rows(2, cid=cid)
            session.add_all(sent, keep_acq=with_acq)
            with pytest.raises(WriteError) as caught:
                session.flush()
            error = caught.value
            assert isinstance(error.__cause__, (TransportError, RemoteProtocolError)), cut
            assert error.stored == 0
            assert list(error.unknown) == sent == list(session.in_doubt)
            assert list(error.unknown_numbers) == [0, 1]
            assert error.not_stored == session.pending == ()
            assert "2 are in doubt" in str(error)
            copy = pickle.loads(pickle.dumps(error))
            assert (copy.unknown, copy.unknown_numbers) == (error.unknown, error.unknown_numbers)
        stored = caps(server, cid)
        assert stored == ({} if cut.to_server else {0: 1, 1: 1}), cut


@pytest.mark.parametrize("with_acq", [False, True], ids=["put", "puta"])
def test_checking_stores_each_record_once_wherever_it_was_cut(
    opened: Opener, server: tuple[str, int], proxy: Proxy, with_acq: bool
) -> None:
    before, answered = (0, 0) if with_acq else (GETACQ, GETACQ_ANSWER)
    size = put_size(3, 2) + (24 if with_acq else 0)
    places = range(1, size + 1) if is_long() else (1, 12, 40, size - 1, size)
    cuts = [Cut(to_server=before + at) for at in places]
    cuts += [Cut(from_server=answered + at) for at in (range(1, PUT_ANSWER) if is_long() else (1, 12, PUT_ANSWER - 1))]
    for cut in cuts:
        cid = next(_next_cid)
        proxy.cuts = [cut]
        # The server has the whole put only in one case. A busy machine may take long to store it then.
        settle = "2s" if cut.to_server == before + size else "50ms"
        with opened(url(proxy.address), retry=Retry(on_unknown="check", settle=settle, first="1ms")) as session:
            session.add_all(rows(2, cid=cid, acq=77), keep_acq=with_acq)
            session.add_all(rows(1, cid=cid + 10**6, acq=78), keep_acq=with_acq)
            receipt = session.flush()
            assert receipt.count == 3
            assert receipt.bytes == 3 * (RECORD + (8 if with_acq else 0))
            if with_acq:
                assert (receipt.acq_min, receipt.acq_max) == (77, 78)
            else:
                assert receipt.acq_max - receipt.acq_min >= 2
        assert proxy.cuts == []
        assert caps(server, cid) == {0: 1, 1: 1}, cut
        assert caps(server, cid + 10**6) == {0: 1}, cut


def test_what_is_in_doubt_is_left_alone_and_told_again(opened: Opener, server: tuple[str, int], proxy: Proxy) -> None:
    cid = next(_next_cid)
    proxy.cuts = [Cut(from_server=1)]
    with opened(url(proxy.address)) as session:
        session.add_all(rows(2, cid=cid))
        with pytest.raises(WriteError, match="0 are stored, 0 are not, 2 are in doubt"):
            session.flush()
        assert "0 pending, 2 in doubt" in repr(session)
        session.add_all(rows(3, first=2, cid=cid))
        with pytest.raises(WriteError) as caught:
            session.flush()
        assert (caught.value.stored, caught.value.unknown_numbers) == (3, range(2))
        with pytest.raises(WriteError, match="sent by a session without retry=Retry"):
            session.retry()
        assert len(session.in_doubt) == 2
        assert [row.cap for row in session.discard(in_doubt_only=True)] == [0, 1]
        assert session.flush().count == 3
    assert caps(server, cid) == dict.fromkeys(range(5), 1)


def test_duplicates_are_stored_when_asked_for(opened: Opener, server: tuple[str, int], proxy: Proxy) -> None:
    cid = next(_next_cid)
    proxy.cuts = [Cut(from_server=1), Cut(from_server=1)]
    with opened(url(proxy.address)) as session:
        session.add_all(rows(2, cid=cid))
        with pytest.raises(WriteError):
            session.flush()
        with pytest.raises(WriteError):
            session.retry("duplicate")
        assert session.retry("duplicate").count == 2
        with pytest.raises(SessionError, match="on_unknown is one of 'raise', 'check', 'duplicate', not 'maybe'"):
            session.retry("maybe")
    assert caps(server, cid) == {0: 3, 1: 3}


def test_a_policy_of_duplicates(opened: Opener, server: tuple[str, int], proxy: Proxy) -> None:
    cid = next(_next_cid)
    proxy.cuts = [Cut(to_server=30), Cut(from_server=1)]
    with opened(url(proxy.address), retry=Retry(on_unknown="duplicate", first="1ms")) as session:
        session.add_all(rows(2, cid=cid))
        assert session.flush().count == 2
    assert caps(server, cid) == {0: 2, 1: 2}


def test_records_that_keep_their_acq_are_never_stored_twice(opened: Opener, server: tuple[str, int], proxy: Proxy) -> None:
    cid = next(_next_cid)
    proxy.cuts = [Cut(from_server=1)]
    with opened(url(proxy.address)) as session:
        session.add_all(rows(2, cid=cid, acq=5), keep_acq=True)
        with pytest.raises(WriteError, match="2 are in doubt"):
            session.flush()
        assert session.flush().count == 2
        assert session.in_doubt == ()
    assert caps(server, cid) == {0: 1, 1: 1}


@pytest.mark.parametrize("status", [-1, -2, -3, -6, -7, -99])
def test_a_refusal_stores_nothing(opened: Opener, status: int) -> None:
    refusal = answering(put_size(2), status.to_bytes(4, "little", signed=True) + bytes(8))
    with playing(refusal) as address, abandoned(opened(url(address))) as session:
        session.add_all(rows(2))
        with pytest.raises(WriteError, match="2 are not, 0 are in doubt") as caught:
            session.flush()
        assert isinstance(caught.value.__cause__, ServerError)
        assert list(caught.value.not_stored) == list(session.pending) == rows(2)
        assert caught.value.not_stored_numbers == range(2)


def test_a_server_that_ran_out_of_time_leaves_doubt(opened: Opener) -> None:
    timed_out = answering(put_size(2), (-4).to_bytes(4, "little", signed=True) + bytes(8))
    with playing(timed_out) as address, abandoned(opened(url(address))) as session:
        session.add_all(rows(2))
        with pytest.raises(WriteError, match="0 are not, 2 are in doubt"):
            session.flush()


def test_a_server_that_is_silent_leaves_doubt(opened: Opener) -> None:
    with playing(silent) as address, abandoned(opened(url(address, timeout=0.2))) as session:
        session.add_all(rows(2))
        with pytest.raises(WriteError, match="timed out|nothing for.*2 are in doubt"):
            session.flush()


def test_a_server_that_is_gone_leaves_none(opened: Opener) -> None:
    def hang_up(connection: Any) -> None:
        receive(connection, GETACQ)
        connection.sendall(bytes(12)[:4] + (8).to_bytes(8, "little") + bytes(8))

    with playing(hang_up) as address:
        with abandoned(opened(url(address, timeout=1))) as session:
            assert session.query(Reading).last_acq() == 0
            time.sleep(0.05)
            session.add_all(rows(2))
            with pytest.raises(WriteError) as caught:
                session.flush()
            assert len(caught.value.not_stored) + len(caught.value.unknown) == 2


def test_temporary_refusals_are_tried_again(opened: Opener) -> None:
    refusal = answering(put_size(2), (-3).to_bytes(4, "little", signed=True) + bytes(8))
    stored = answering(
        put_size(2), bytes(4) + (16).to_bytes(8, "little") + (5).to_bytes(8, "little") + (6).to_bytes(8, "little")
    )
    with playing(refusal, refusal, stored) as address:
        with opened(url(address), retry=Retry(first="1ms")) as session:
            session.add_all(rows(2))
            receipt = session.flush()
            assert (receipt.count, receipt.acq_min, receipt.acq_max) == (2, 5, 6)


def test_attempts_are_counted(opened: Opener) -> None:
    refusal = answering(put_size(2), (-3).to_bytes(4, "little", signed=True) + bytes(8))
    with playing(refusal, refusal) as address:
        with abandoned(opened(url(address), retry=Retry(attempts=2, first="1ms"))) as session:
            session.add_all(rows(2))
            with pytest.raises(WriteError, match="RETRY"):
                session.flush()


def test_only_what_failed_is_kept(opened: Opener, server: tuple[str, int], proxy: Proxy) -> None:
    cid = next(_next_cid)
    with opened(url(proxy.address), batch_size=4) as session:
        session.add_all(rows(4, cid=cid))
        assert session.pending == ()
        session.add_all(rows(2, first=4, cid=cid))
        proxy.cut_all()
        proxy.refusing = True
        with pytest.raises(WriteError) as caught:
            session.flush()
        error = caught.value
        assert error.stored == 4
        lost = [*error.not_stored, *error.unknown]
        assert [row.cap for row in lost] == [4, 5]
        assert [*error.not_stored_numbers, *error.unknown_numbers] == [4, 5]
        proxy.refusing = False
        if session.in_doubt:
            session.retry("duplicate")
        else:
            assert session.flush().count == 6
    assert caps(server, cid) == dict.fromkeys(range(6), 1)


def test_encoding_comes_before_sending_also_when_some_keep_their_acq(opened: Opener, server: tuple[str, int]) -> None:
    cid = next(_next_cid)
    with opened(url(server)) as session:
        session.add_all(rows(2, cid=cid))
        session.add_all(rows(2, first=2, cid=cid, acq=5), keep_acq=True)
        session.add(rows(1, first=4, cid=cid)[0], keep_acq=True)
        with pytest.raises(EncodeError, match="record 4: Reading.acq was never set"):
            session.flush()
        assert caps(server, cid) == {}
        session.pending[4].acq = 6
        receipt = session.flush()
        assert receipt.count == 5
        assert receipt.acq_min == 5
    with connect(url(server)) as session:
        kept = sorted((row.cap, row.acq) for row in session.query(Reading).cid(cid).acq_before(100).all())
    assert kept == [(2, 5), (3, 5), (4, 6)]


def test_a_reader_sees_what_was_committed(opened: Opener, server: tuple[str, int]) -> None:
    cid = next(_next_cid)
    with opened(url(server)) as session:
        session.add_all(rows(3, cid=cid))
        receipt = session.flush()
        acq = session.wait_committed(receipt, "10s")
        assert acq > receipt.acq_max
        assert session.query(Reading).cid(cid).acq_before(acq).count() == 3
        with pytest.raises(SessionError, match="this receipt has no stored records"):
            session.wait_committed(session.flush())
    with pytest.raises(SessionError, match="closed"):
        connect_and_close().wait_committed()
    with pytest.raises(SessionError, match="does not come from a session's flush"):
        Receipt(1, 5, 5).wait_committed()


def test_a_receipt_waits_by_itself_where_waiting_may_block() -> None:
    with connect("memory:") as session:
        session.add_all(rows(2))
        receipt = session.flush()
        assert receipt.wait_committed("10s") == session.wait_committed(receipt) > receipt.acq_max
    with BlockingSession("memory:") as session:
        session.add_all(rows(2))
        with pytest.raises(SessionError, match=r"use `await session.wait_committed\(receipt\)`"):
            session.flush().wait_committed()


def connect_and_close() -> Receipt:
    with connect("memory:") as session:
        session.add_all(rows(1))
        return session.flush()


def test_a_commit_that_does_not_come(opened: Opener) -> None:
    def stuck(connection: Any) -> None:
        receive(connection, put_size(1))
        connection.sendall(bytes(4) + (16).to_bytes(8, "little") + (5).to_bytes(8, "little") * 2)
        while connection.recv(GETACQ):
            connection.sendall(bytes(4) + (8).to_bytes(8, "little") + (5).to_bytes(8, "little"))

    with playing(stuck) as address, opened(url(address)) as session:
        session.add_all(rows(1))
        receipt = session.flush()
        began = time.monotonic()
        with pytest.raises(
            CommitTimeoutError, match="after 100ms, the last full-commit acq is 5; it must exceed 5"
        ) as caught:
            session.wait_committed(receipt, "100ms")
        assert time.monotonic() - began < 5
        assert (caught.value.acq, caught.value.wanted) == (5, 5)


def test_corrections_have_the_same_key(opened: Opener, server: tuple[str, int]) -> None:
    cid = next(_next_cid)
    with opened(url(server)) as session:
        session.add_all(rows(1, cid=cid))
        session.flush()
        (stored,) = session.query(Reading).cid(cid).all()
        correction = session.correct(stored, counter=9)
        assert (correction.cap, correction.acq, correction.counter) == (stored.cap, -1, 9)
        session.flush()
        versions = sorted(session.query(Reading).cid(cid).all(), key=lambda row: row.acq)
        assert [row.counter for row in versions] == [0, 9]
        assert versions[0] == stored
        for changes, wording in (
            ({"cap": 3}, "a correction keeps the key.*cap cannot change"),
            ({"acq": 3}, "acq cannot change"),
            ({"volts": 3}, "Reading has no field 'volts'; it has counter"),
            ({}, r"needs a field to change: correct\(row, counter=...\)"),
        ):
            with pytest.raises(SessionError, match=wording):
                session.correct(stored, **changes)
        with pytest.raises(SessionError, match="object of a model"):
            session.correct(5, counter=1)
        renamed = Metered(cid=cid, meter=1, moid=1, cap=1, counter=1)
        for name in ("meter", "mid"):
            with pytest.raises(SessionError, match=f"a correction keeps the key.*{name} cannot change"):
                session.correct(renamed, **{name: 3})
        assert session.pending == ()


@st.composite
def additions(draw: st.DrawFn) -> list[tuple[Any, bool]]:
    rows: list[tuple[Any, bool]] = []
    for n in range(draw(st.integers(1, 8))):
        keep = draw(st.booleans())
        key = {"cid": draw(st.integers(0, 2)), "mid": draw(st.integers(0, 1)), "cap": draw(st.integers(0, 2))}
        kind = draw(st.sampled_from([Reading, Event]))
        values = {"moid": 1, "counter": draw(st.integers(0, 1))} if kind is Reading else {"code": n}
        rows.append((kind(**key, **values, acq=draw(st.integers(0, 3)) if keep else -1), keep))
    return rows


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    added=additions(),
    cuts=st.lists(
        st.builds(Cut, to_server=st.none() | st.integers(1, 400), reset=st.booleans())
        | st.builds(Cut, from_server=st.none() | st.integers(1, 120), reset=st.booleans()),
        max_size=3,
    ),
)
def test_everything_is_stored_exactly_once_whatever_happens(
    opened: Opener, added: list[tuple[Any, bool]], cuts: list[Cut]
) -> None:
    def content(row: Any, acq: int) -> tuple[Any, ...]:
        return (type(row).__name__, *row.key.astuple()[:4], acq, getattr(row, "counter", getattr(row, "code", None)))

    with serve_in_thread() as address, proxied(*address) as proxy:
        proxy.cuts = list(cuts)
        policy = Retry(on_unknown="check", settle="20ms", first="1ms", most="2ms", attempts=8)
        with opened(url(proxy.address), retry=policy) as session:
            for row, keep in added:
                session.add(row, keep_acq=keep)
            receipt = session.flush()
            assert receipt.count == len(added)
            assert session.pending == session.in_doubt == ()
        with connect(url(address)) as session:
            found = Counter(content(row, row.acq if row.acq < 100 else -1) for row in session.query(Reading).moid(1).all())
            found += Counter(content(row, row.acq if row.acq < 100 else -1) for row in session.query(Event).all())
    assert found == Counter(content(row, row.acq if keep else -1) for row, keep in added)
