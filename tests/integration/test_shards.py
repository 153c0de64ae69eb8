"""A store over several PostgreSQL servers: which shard each operation uses, and what happens if one fails.

The shards are databases of one server, each behind a proxy where a test makes it fail. `tests/crash/postgres.py` kills
whole servers.
"""

from __future__ import annotations

import json
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from support.batches import batches, scanned
from support.postgres import SHARDS, needed, server, sharded, shards_of
from support.proxy import Cut, Proxy, proxied
from support.web import Client

from tsmodel import Int32, KeyRange, Retry, Session, TSModel, connect, connect_async
from tsmodel.cli import main
from tsmodel.errors import (
    RemovedWarning,
    ServerError,
    SessionError,
    StoreError,
    StoreFormatError,
    StoreInDoubtError,
    StoreUnansweredError,
    StoreUnreachableError,
    TransportError,
    UnsupportedError,
    WriteError,
)
from tsmodel.server import serve_in_thread
from tsmodel.session.connecting import open_backend
from tsmodel.store.postgres import ShardedStore, engine, init_shards
from tsmodel.store.postgres.sets import shard_of
from tsmodel.store.postgres.shards import Shard
from tsmodel.store.postgres.statements import PostgresTables
from tsmodel.web.application import application
from tsmodel.web.source import Source

pytestmark = list(needed)

CIDS = range(1, 10)
OF = [[cid for cid in CIDS if shard_of(cid, 3) == at] for at in range(3)]
"""The cids of each shard."""


class Reading(TSModel, moid=1):
    counter: Int32


@pytest.fixture
def url() -> Iterator[str]:
    with sharded() as found:
        yield found


@pytest.fixture
def proxies() -> Iterator[list[Proxy]]:
    """One proxy per shard."""
    with ExitStack() as stack:
        yield [stack.enter_context(proxied("127.0.0.1", server().port)) for _ in SHARDS]


@pytest.fixture
def behind(url: str, proxies: list[Proxy]) -> str:
    """The URL of a store whose shards are behind the proxies."""
    init_shards(url, [through(shard, proxy) for shard, proxy in zip(shards_of(url), proxies, strict=True)])
    return url


def through(url: str, proxy: Proxy) -> str:
    return url.replace(str(server().port), str(proxy.address[1])) + "&connect_timeout=5"


def opened(url: str) -> ShardedStore:
    store = open_backend(url)
    assert isinstance(store, ShardedStore)
    return store


def readings(count: int, **key: int) -> list[Reading]:
    """Records for all shards in turn."""
    return [Reading(**{"cid": CIDS[n % len(CIDS)], "mid": n, "cap": n, **key}, counter=n) for n in range(count)]


def counters(session: Session) -> list[int]:
    return sorted(row.counter for row in session.query(Reading).all())


def refuse(proxy: Proxy, refusing: bool = True) -> None:
    proxy.refusing = refusing
    proxy.cut_all()


def schema_in(url: str) -> str:
    return url.partition("schema=")[2].partition("&")[0]


class TestInit:
    def test_init_may_be_repeated(self, url: str) -> None:
        with connect(url) as session:
            session.add_all(readings(9))
        init_shards(url, shards_of(url))
        with connect(url, create=False) as session:
            assert counters(session) == list(range(9))

    def test_interrupted_init_can_be_finished(self, monkeypatch: pytest.MonkeyPatch) -> None:
        url = f"{server().url}?schema=t{uuid.uuid4().hex}"
        create = engine.PostgresEngine._create

        def interrupted(self: Any, connection: Any) -> None:
            if SHARDS[1] in self.path:
                raise KeyboardInterrupt
            create(self, connection)

        with monkeypatch.context() as patch:
            patch.setattr(engine.PostgresEngine, "_create", interrupted)
            with pytest.raises(KeyboardInterrupt):
                init_shards(url, shards_of(url))
        with pytest.raises(StoreError, match="some shards were not created; run `tsmodel init` with the same shards again"):
            connect(url)
        init_shards(url, shards_of(url))
        with connect(url) as session:
            session.add_all(readings(9))
            assert session.flush().count == 9

    def test_single_shard_cannot_be_opened(self, url: str) -> None:
        first, second, _ = shards_of(url)
        with pytest.raises(StoreFormatError, match="is shard 1 of 3 of a set.*connect to postgresql://.*schema=t"):
            connect(first)
        with pytest.raises(StoreFormatError, match="shard 2 of 3"):
            connect(second, read_only=True)

    def test_number_of_shards_cannot_change(self, url: str) -> None:
        with pytest.raises(StoreFormatError, match=r"has 3 shards, not 2, .*cannot change.*session.copy"):
            init_shards(url, shards_of(url)[:2])
        with pytest.raises(StoreFormatError, match="has 3 shards, not 4"):
            init_shards(url, [*shards_of(url), f"{server().url}?schema=more"])

    def test_other_shards_are_refused(self, url: str) -> None:
        first, second, third = shards_of(url)
        with pytest.raises(StoreFormatError, match=r"shard 1 of 3, .* is shard 2 of 3 already; .*in order"):
            init_shards(url, [second, first, third])
        elsewhere = f"{second.partition('?')[0]}?schema=t{uuid.uuid4().hex}"
        with pytest.raises(StoreError, match="has no tables of tsmodel: move the shard there first"):
            init_shards(url, [first, elsewhere, third])
        with sharded() as other, pytest.raises(StoreFormatError, match="is shard 2 of 3 of another set"):
            init_shards(url, [first, shards_of(other)[1], third])
        with connect(url) as session:
            session.add_all(readings(9))

    def test_schemas_in_other_use_are_refused(self, url: str) -> None:
        plain, new = (f"{server().url}?schema=t{uuid.uuid4().hex}" for _ in range(2))
        connect(plain).close()
        with pytest.raises(StoreFormatError, match="holds a store of its own: name another schema"):
            init_shards(plain, shards_of(plain))
        with pytest.raises(StoreFormatError, match="holds a store of its own, which no shard can take over"):
            init_shards(new, [plain])
        with pytest.raises(StoreFormatError, match="holds a list of shards, which no shard"):
            init_shards(new, [url])
        with pytest.raises(StoreFormatError, match="holds a shard: name another schema for the list"):
            init_shards(shards_of(url)[0], [f"{server().url}?schema=more"])

    def test_invalid_shard_urls(self) -> None:
        url = f"{server().url}?schema=t{uuid.uuid4().hex}"
        first, second, _ = shards_of(url)
        with pytest.raises(SessionError, match=r"shard 2 of 2, .* is shard 1, too"):
            init_shards(url, [first, first])
        with pytest.raises(SessionError, match="is the coordinating schema, which holds no records, too"):
            init_shards(url, [second, url])
        with pytest.raises(SessionError, match="1 to 999 shards, not 0"):
            init_shards(url, [])
        with pytest.raises(SessionError, match="is not a URL"):
            init_shards(url, ["db1"])

    def test_two_names_of_one_schema_are_refused(self) -> None:
        url = f"{server().url}?schema=t{uuid.uuid4().hex}"
        first = shards_of(url)[0]
        with pytest.raises(StoreFormatError, match="holds shard 1 of 2: the list of shards is wrong"):
            init_shards(url, [first, first.replace("127.0.0.1", "localhost")])
        init_shards(url, [first, shards_of(url)[1]])
        with connect(url) as session:
            session.add_all(readings(9))

    def test_lost_list_can_be_restored(self, url: str) -> None:
        with connect(url) as session:
            session.add_all(readings(9))
        server().execute(f"DROP SCHEMA {schema_in(url)} CASCADE")
        other = f"{server().url}?schema=t{uuid.uuid4().hex}"
        with pytest.raises(StoreFormatError, match="is shard 1 of 3 already"):
            init_shards(other, shards_of(url)[:2])
        init_shards(other, shards_of(url))
        with connect(other) as session:
            assert counters(session) == list(range(9))

    def test_wrong_list_of_shards_is_refused(self, url: str) -> None:
        """The list was edited by hand."""
        with sharded() as other:
            mine, theirs = schema_in(url), schema_in(other)
            data = f"(SELECT data FROM {theirs}.state)"
            changed = f"convert_to(replace(convert_from({data}, 'utf8'), '{theirs}', '{mine}'), 'utf8')"
            server().execute(f"UPDATE {mine}.state SET data = {changed}")
            with connect(url) as session, pytest.raises(StoreFormatError, match="holds shard 1 of 3 of another set"):
                session.query(Reading).cid(OF[0][0]).all()

    def test_defaults_of_shard_urls(self) -> None:
        """User, password, host and options default to those of the coordinating schema, and passwords are not stored."""
        schema = f"t{uuid.uuid4().hex}"
        url = f"postgresql://postgres:geheim@127.0.0.1:{server().port}/postgres?schema={schema}&application_name=mine"
        init_shards(url, ["postgresql:///shard_1", f"postgresql://postgres:secret@127.0.0.1:{server().port}/shard_2"])
        with connect(url) as session:
            session.add_all(readings(9))
            session.flush()
            import psycopg

            with psycopg.connect(server().url) as connection:
                row = connection.execute(f"SELECT convert_from(data, 'utf8') FROM {schema}.state".encode()).fetchone()
                names = connection.execute("SELECT DISTINCT datname FROM pg_stat_activity WHERE application_name = 'mine'")
                assert {name for (name,) in names} == {"shard_1", "shard_2"}
            assert row is not None
            assert "geheim" not in row[0]
            assert "secret" not in row[0]
            assert "geheim" not in repr(session)


class TestReading:
    def test_query_connects_only_to_the_shards_it_needs(self, behind: str, proxies: list[Proxy]) -> None:
        with connect(behind) as session:
            session.add_all(readings(90))
        before = [proxy.connections for proxy in proxies]

        def asked() -> list[int]:
            return [at for at, proxy in enumerate(proxies) if proxy.connections > before[at]]

        with connect(behind) as session:
            query = session.query(Reading)
            assert asked() == []
            for cid in OF[1]:
                assert query.cid(cid).count() == 10
                assert query.cid(cid).last_acq() > 0
            assert asked() == [1]
            session.add(Reading(cid=OF[1][0], mid=1, cap=1, counter=1))
            session.flush()
            assert query.cid(OF[1]).where(Reading.counter >= 0).count() == 10 * len(OF[1]) + 1
            assert list(query.cid(OF[1]).follow(wait=False))
            assert asked() == [1]
            assert query.cid(OF[1][0], OF[2][0]).count() == 21
            assert asked() == [1, 2]
            assert query.count() == 91
            assert asked() == [0, 1, 2]

    def test_each_cid_is_stored_on_its_shard(self, url: str) -> None:
        with connect(url) as session:
            session.add_all(readings(90))
            session.add_columns(Reading, cid=list(CIDS), mid=[1] * 9, cap=[-5] * 9, counter=range(9))
            session.flush()
            store: Any = session.backend
            assert [sorted(store.shard(at).counts()) for at in range(3)] == OF
            assert all(set(store.shard(at).counts().values()) == {11} for at in range(3))

    def test_records_are_ordered_by_cid(self, url: str) -> None:
        with closing(opened(url)) as store:
            for first in range(4):  # several runs per cid
                store.append(batches([(n % 40, first, 0, n, b"x") for n in range(400)]))
            answer = store.last_acq(KeyRange())
            with store.scan(KeyRange()) as scan:
                cids = [cid for chunk in scan for cid in chunk.key("cid").tolist()]
                assert scan.acq == answer
            assert cids == sorted(cids)
            assert len(scanned(store)) == 1600
            with store.scan(KeyRange.of(cid=(7, 7))) as scan:
                assert list(scan) == []

    def test_scan_prefetches_one_chunk_per_shard(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with closing(opened(url)) as store:
            store.append(batches([(cid, 1, 0, 1, b"x") for cid in range(60)]))
            taken = 0
            chunks = type(store.shard(0))._chunks

            def counted(self: Any, box: KeyRange) -> Any:
                nonlocal taken
                for chunk in (inner := chunks(self, box)):
                    taken += 1
                    yield chunk
                inner.close()
                return 0

            monkeypatch.setattr(type(store.shard(0)), "_chunks", counted)
            with store.scan(KeyRange()) as scan:
                for given, _ in enumerate(scan, 1):
                    assert taken <= given + 3
            assert given > 20

    def test_idle_shard_does_not_hold_readers_back(self, url: str) -> None:
        with connect(url) as session:
            receipts = []
            for cids in (OF[0], OF[2]):  # shard 2 stays empty
                session.add_all(Reading(cid=cid, mid=1, cap=1, counter=cid) for cid in cids)
                receipts.append(session.flush())
            assert receipts[0].wait_committed("1s") > receipts[0].acq_max
            for query in (session.query(Reading), session.query(Reading).cid(list(CIDS))):
                assert query.last_acq() > receipts[1].acq_max
                assert {row.cid for row in query.follow(wait=False)} == {*OF[0], *OF[2]}

    def test_no_record_is_added_below_last_acq(self, url: str) -> None:
        with closing(opened(url)) as store:
            for number in range(6):
                given = store.append(batches([(OF[number % 3][0], number, 0, 0, b"x")]))
                answer = store.last_acq(KeyRange())
                assert answer > given.acq_max
                for at in range(3):
                    assert store.append(batches([(OF[at][0], number, 0, 1, b"x")])).acq_min >= answer

    def test_read_only_readers(self, url: str) -> None:
        """They read up to the last acq of the slowest shard and miss nothing."""
        with connect(url) as session, connect(f"{url}&read_only=1") as reader:
            query = reader.query(Reading)
            session.add(Reading(cid=OF[0][0], mid=1, cap=1, counter=1))
            session.flush()
            with query.follow(wait=False) as follow:
                assert list(follow) == []
            assert query.count() == 1
            assert session.query(Reading).last_acq() > 0  # advances all shards
            assert [row.counter for row in query.follow(wait=False)] == [1]
            session.add(Reading(cid=OF[1][0], mid=1, cap=1, counter=2))
            session.flush()
            with connect("memory:") as copy:
                assert reader.copy(KeyRange(), to=copy).records == 2

    def test_copy_continues_from_the_lowest_position(self, url: str, tmp_path: Path) -> None:
        with connect(url) as session, connect(f"{url}&read_only=1") as reader, connect("memory:") as copy:
            session.add_all(readings(90))
            session.flush()
            path = tmp_path / "copy.json"
            assert reader.copy(KeyRange(), to=copy, checkpoint=path).records == 90
            for cid in (OF[2][0], OF[0][0]):
                session.add(Reading(cid=cid, mid=1000, cap=1, counter=90))
                session.flush()
            assert reader.copy(KeyRange(), to=copy, checkpoint=path).records == 2
            assert counters(copy) == [*range(90), 90, 90]


class TestWriting:
    def test_receipt_names_a_put_of_each_shard(self, url: str) -> None:
        with connect(url) as session:
            session.add_all(readings(90))
            receipt = session.flush("a note")
            assert receipt.count == 90
            assert [put.number for put in receipt.puts] == [1001, 1002, 1003]
            puts = session.puts()
            assert [(put.number, put.count, put.note) for put in puts] == [
                (1001 + at, 10 * len(OF[at]), "a note") for at in range(3)
            ]
            assert [list(put.cids) for put in puts] == OF
            assert (receipt.acq_min, receipt.acq_max) == (puts[0].acq_min, puts[-1].acq_max)

    def test_one_shard_down(self, behind: str, proxies: list[Proxy]) -> None:
        with connect(behind) as session:
            session.add_all(readings(9))
            session.flush()
            refuse(proxies[1])
            rows = readings(18, cap=50)
            session.add_all(rows)
            with pytest.raises(WriteError, match="shard 2 of 3, postgresql://.*nothing was stored") as caught:
                session.flush()
            down = [row for row in rows if row.cid in OF[1]]
            error = caught.value
            assert (error.stored, error.not_stored, error.unknown) == (18 - len(down), tuple(down), ())
            assert [rows[number] for number in error.not_stored_numbers] == down
            query = session.query(Reading)
            assert query.cid(OF[0] + OF[2]).cap_between(50, 51).count() == 18 - len(down)
            session.add(Reading(cid=OF[0][0], mid=1, cap=99, counter=99))
            with pytest.raises(WriteError, match="shard 2 of 3"):
                session.flush()
            assert query.cid(OF[0]).cap_since(99).count() == 1
            for read in (query.all, query.last_acq, query.cid(OF[1]).count, session.puts):
                with pytest.raises(StoreUnreachableError, match="shard 2 of 3"):
                    read()
            refuse(proxies[1], refusing=False)
            assert session.flush().count == 19
            assert query.count() == 28

    def test_two_shards_down(self, behind: str, proxies: list[Proxy]) -> None:
        for proxy in proxies[:2]:
            refuse(proxy)
        with connect(behind) as session:
            session.add_all(readings(9))
            with pytest.raises(WriteError, match=r"shard 1 of 3.*; shard 2 of 3") as caught:
                session.flush()
            assert {row.cid for row in caught.value.not_stored} == {*OF[0], *OF[1]}
            session.discard()

    @pytest.mark.parametrize("before", [True, False])
    @pytest.mark.parametrize("how", ["raise", "check", "finds out"])
    def test_commit_without_an_answer(self, url: str, before: bool, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """It happens on one shard; the others store their records."""
        if how != "finds out":
            monkeypatch.setattr(engine, "_FINDING_OUT", 0.0)
        retry = Retry(on_unknown="check", first="50ms") if how == "check" else Retry(attempts=1)
        rows = readings(18)
        with connect(url, retry=retry) as session:
            with monkeypatch.context() as patch:
                cut_commit(patch, before=before, settles=how == "finds out")
                session.add_all(rows)
                stored = 18 if how == "check" or (how == "finds out" and not before) else 18 - 2 * len(OF[1])
                if stored == 18:
                    assert session.flush().count == 18
                else:
                    with pytest.raises(WriteError, match="shard 2 of 3") as caught:
                        session.flush()
                    error = caught.value
                    theirs = tuple(row for row in rows if row.cid in OF[1])
                    assert error.stored == stored
                    assert (error.not_stored, error.unknown) == ((theirs, ()) if how == "finds out" else ((), theirs))
            there = 18 if not before else stored
            assert session.query(Reading).count() == there
            session.discard()

    def test_connection_cut_at_any_byte(self, url: str, proxies: list[Proxy]) -> None:
        """Each record is where the receipt or the error says."""
        init_shards(url, [through(shard, proxy) for shard, proxy in zip(shards_of(url), proxies, strict=True)])
        outcomes = set()
        with connect(url) as direct:
            for number, cut in enumerate(range(300, 4500, 300)):
                proxies[1].cut_all()
                proxies[1].cuts = [Cut(to_server=cut) if number % 2 else Cut(from_server=cut)]
                rows = readings(9, cap=number)
                with connect(url) as session:
                    session.add_all(rows)
                    outcome = flushed(session)
                    session.discard()
                outcomes.add(outcome is None)
                if outcome is not None:
                    assert outcome.unknown == ()  # another connection found out the outcome
                    assert {row.cid for row in outcome.not_stored} == set(OF[1])
                wanted = [cid for cid in CIDS if outcome is None or cid not in OF[1]]
                proxies[1].cuts = []
                found = [row.cid for row in direct.query(Reading).cap_between(number, number + 1).all()]
                assert sorted(found) == wanted
        assert outcomes == {True, False}

    def test_partly_stored_backend_put_is_in_doubt(self, behind: str, proxies: list[Proxy]) -> None:
        rows = [(cid, 1, 0, 1, b"x") for cid in CIDS]
        with closing(opened(behind)) as store:
            store.last_acq(
                KeyRange()
            )  # opens all shards: one that cannot be opened fails the put before anything is stored
            refuse(proxies[1])
            with pytest.raises(StoreUnansweredError, match=r"shard 2 of 3.*1 of 3 shards stored their part"):
                store.append(batches(rows))
            refuse(proxies[1], refusing=False)
            refuse(proxies[0])
            with pytest.raises(StoreUnreachableError) as caught:
                store.append(batches(rows))
            assert not isinstance(caught.value, StoreInDoubtError)  # nothing was stored
            refuse(proxies[0], refusing=False)
            assert sorted(row[0] for row in scanned(store)) == OF[0]

    def test_unless_stored(self, url: str) -> None:
        with connect(url) as session:
            session.add_all(readings(18))
            session.flush()
            session.add_all(readings(27), unless_stored=True)
            receipt = session.flush()
            assert (receipt.count, receipt.skipped) == (9, 18)
            assert counters(session) == list(range(27))

    def test_invalid_record_stops_all_shards(self, url: str) -> None:
        with connect(url) as session:
            rows = readings(9)
            rows[7].counter = 2**31
            session.add_all(rows)
            with pytest.raises(ValueError, match="record 7"):
                session.flush()
            assert session.query(Reading).count() == 0
            session.discard()


def flushed(session: Session) -> WriteError | None:
    """Flushes the session and returns the error, or None if everything was stored."""
    try:
        session.flush()
    except WriteError as error:
        return error
    return None


def cut_commit(patch: pytest.MonkeyPatch, *, before: bool, settles: bool) -> None:
    """Loses the connection to shard 2 once, before or after it commits. Unless it `settles`, the shard is then unreachable
    for a moment.
    """
    import psycopg

    commit, settle = PostgresTables.commit, engine.PostgresEngine._settle
    losses, refusals = iter([True]), iter([] if settles else [True, True])

    def cut(tables: PostgresTables) -> str:
        if SHARDS[1] not in tables.connection.info.dbname or not next(losses, False):
            return commit(tables)
        if not before:
            commit(tables)
        tables.connection.close()
        raise psycopg.OperationalError("the connection is lost")

    def refused(self: Any, token: Any = None) -> bool:
        if SHARDS[1] in self.path and next(refusals, False):
            raise StoreUnreachableError(f"{self.path}: unreachable")
        return settle(self, token)

    patch.setattr(PostgresTables, "commit", cut)
    patch.setattr(engine.PostgresEngine, "_settle", refused)


class TestRemoving:
    def test_records_are_deleted_on_all_shards(self, url: str) -> None:
        with connect(url) as session:
            session.add_all(readings(90))
            session.flush()
            query = session.query(Reading).where(Reading.counter >= 45)
            assert query.delete(dry_run=True) == 45
            assert query.delete(note="too high") == 45
            assert counters(session) == list(range(45))
            removals = session.removals()
            assert sorted(removal.number for removal in removals) == [1001, 1002, 1003]
            assert sum(removal.count for removal in removals) == 45
            assert session.query(Reading).cid(OF[1][0]).delete() == 5
            assert session.removals()[-1].number == 2002

    def test_undo(self, url: str) -> None:
        with connect(url) as session:
            session.add_all(readings(9))
            session.flush()
            session.add_all(readings(18, cap=7))
            receipt = session.flush()
            assert session.undo(receipt, "wrong file") == 18
            assert counters(session) == list(range(9))
            assert {put.undone is None for put in session.puts() if put.id in receipt.puts} == {False}
            assert session.removals()[0].what == f"put {receipt.puts[0].number}"
            with pytest.raises(StoreError, match=f"put {receipt.puts[0].number} was already undone"):
                session.undo(receipt)
            with pytest.raises(StoreError, match="has no put 5: its last three digits"):
                session.backend.undo([(receipt.puts[0]._replace(number=5))])  # type: ignore[attr-defined]
            with pytest.raises(StoreError, match="no put 99001"):
                session.backend.undo([(receipt.puts[0]._replace(number=99001))])  # type: ignore[attr-defined]

    def test_shard_that_fails_during_a_removal(self, behind: str, proxies: list[Proxy]) -> None:
        with connect(behind) as session:
            session.add_all(readings(9))
            session.flush()
            session.add_all(readings(9, cap=50))
            receipt = session.flush()
            store: Any = session.backend
            undo = store.shard(1).store.undo

            def failing(*arguments: Any) -> int:
                store.shard(1).store.undo = undo
                raise StoreUnreachableError("shard 2 of 3: gone", path="x")

            store.shard(1).store.undo = failing
            said = f"gone. {len(OF[0])} records were removed on 1 other shard; repeat the call"
            with pytest.raises(StoreUnreachableError, match=said):
                session.undo(receipt)
            assert session.undo(receipt) == 9 - len(OF[0])
            assert counters(session) == list(range(9))
            refuse(proxies[1])
            with pytest.raises(StoreUnreachableError, match="shard 2 of 3.*repeat the call for the rest"):
                session.query(Reading).delete(allow_full_scan=True)
            refuse(proxies[1], refusing=False)
            assert session.query(Reading).delete(allow_full_scan=True) == len(OF[1]) + len(OF[2])

    def test_followers_see_removals_on_each_shard(self, url: str, tmp_path: Path) -> None:
        def followed() -> tuple[int, list[int]]:
            with (
                connect(url) as session,
                warnings.catch_warnings(record=True) as caught,
                session.query(Reading).follow(
                    wait=False, checkpoint=tmp_path / "seen.json", checkpoint_every=1000
                ) as follow,
            ):
                warnings.simplefilter("always")
                count = len(list(follow))
            warned = [each.message for each in caught if isinstance(each.message, RemovedWarning)]
            return count, [removal.number for each in warned for removal in each.removals]

        with connect(url) as session:
            session.add_all(readings(9))
            session.flush()
            assert followed() == (9, [])
            query = session.query(Reading)
            for cid, expected in ((OF[2][0], 1003), (OF[0][0], 1001), (OF[2][1], 2003), (OF[0][1], 2001)):
                assert query.cid(cid).delete() == 1
                assert followed() == (0, [expected])
            assert followed() == (0, [])
            assert len(json.loads((tmp_path / "seen.json").read_text())["removal"]) == 3


class TestMaintenance:
    def test_info_verify_and_compact(self, url: str) -> None:
        with connect(url) as session:
            store: Any = session.backend
            for number in range(12):
                session.add_all(readings(9, cap=number))
                session.flush()
            found = store.info()
            assert (found.records, found.series, found.puts, found.removals) == (108, 9, 36, 0)
            assert list(found.cids) == list(CIDS)
            assert found.last_acq == min(put.acq_max for put in session.puts()[-3:])
            seen: list[tuple[int, int]] = []
            report = store.verify(lambda done, total: seen.append((done, total)))
            assert report.is_whole, str(report)
            assert report.records == 108
            assert seen[-1][0] == seen[-1][1] == report.stored
            assert [done for done, _ in seen] == sorted(done for done, _ in seen)
            done = session.compact()
            assert (done.runs_before > done.runs_after) is True
            assert done.runs_after == 9
            assert session.query(Reading).count() == 108
            with pytest.raises(UnsupportedError, match="back up each shard by pg_dump"):
                session.backup("copy.tsdb")

    def test_faults_name_their_shard(self, url: str) -> None:
        with connect(url) as session:
            session.add_all(readings(9))
            session.flush()
            store: Any = session.backend
            store.shard(0).append(batches([(OF[1][0], 1, 0, 1, b"x")]))
            (fault,) = store.verify().faults
            assert str(fault).startswith(
                f"shard 1 of 3: runs: it holds records of cid {OF[1][0]}, which belongs to shard 2"
            )
            assert fault.records == 1

    def test_server_on_shards(self, behind: str, proxies: list[Proxy]) -> None:
        retry = Retry(on_unknown="check", first="50ms", settle="100ms")
        with (
            serve_in_thread(behind) as (host, port),
            connect(f"tstorage://{host}:{port}?timeout=20", retry=retry) as session,
        ):
            session.add_all(readings(18))
            assert session.flush().count == 18
            assert counters(session) == list(range(18))
            assert len(list(session.query(Reading).follow(wait=False))) == 18
            refuse(proxies[2])
            assert session.query(Reading).cid(OF[0]).count() == 2 * len(OF[0])
            assert session.query(Reading).cid(OF[0][0]).last_acq() > 0
            with pytest.raises((ServerError, TransportError)):
                session.query(Reading).all()
            with connect(f"tstorage://{host}:{port}?timeout=20") as plain:
                plain.add_all(readings(9, cap=77))
                with pytest.raises(WriteError) as caught:
                    plain.flush()
                assert len(caught.value.unknown) == 9  # one part of them is stored
                plain.discard()
                plain.add(Reading(cid=OF[1][0], mid=99, cap=99, counter=99))
                assert plain.flush().count == 1
            refuse(proxies[2], refusing=False)
            assert session.query(Reading).count() == 18 + len(OF[0]) + len(OF[1]) + 1

    def test_partly_stored_server_put_is_reconciled(self, behind: str, proxies: list[Proxy]) -> None:
        retry = Retry(on_unknown="check", first="100ms", settle="100ms", attempts=20)
        with (
            serve_in_thread(behind) as (host, port),
            connect(f"tstorage://{host}:{port}?timeout=20", retry=retry) as session,
        ):
            session.add_all(readings(9))
            session.flush()
            proxies[2].cut_all()
            proxies[2].cuts = [Cut(to_server=600)] * 2
            session.add_all(readings(9, cap=77))
            assert session.flush().count == 9
            assert sorted(row.cid for row in session.query(Reading).cap_between(77, 78).all()) == list(CIDS)


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"{server().url}?schema=t{uuid.uuid4().hex}".replace("postgres@", "postgres:geheim@")
    shards = [word for shard in shards_of(url) for word in ("--shards", shard)]
    assert main(["init", url, *shards]) == 0
    assert main(["init", url]) == 0
    with connect(url) as session:
        session.add_all(readings(9))
    for command, expected in (
        ("info", "records           9"),
        ("verify", "9 records in 9 blocks of 9 runs"),
        ("compact", "9 runs now"),
        ("doctor", "shard 3"),
    ):
        assert main([command, url]) == 0
        said = "".join(capsys.readouterr())
        assert expected in said
        assert "geheim" not in said


def test_shards_listed_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "a.tsdb", "--shards", "postgresql://h/d"]) == 2
    assert "not a postgresql:// URL" in capsys.readouterr().err


def test_doctor_names_the_shard_that_is_down(behind: str, proxies: list[Proxy], capsys: pytest.CaptureFixture[str]) -> None:
    refuse(proxies[1])
    assert main(["doctor", behind, "--json"]) == 1
    found = {each["check"]: each["result"] for each in json.loads(capsys.readouterr().out)}
    assert found == {"open": "ok", "shard 1": "ok", "shard 2": "fail", "shard 3": "ok"}


def test_undo_command(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with connect(url) as session:
        session.add_all(readings(9))
    assert main(["undo", url, "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["put"] for each in listed] == [1001, 1002, 1003]
    assert main(["undo", url, "1001", "1003"]) == 0
    assert capsys.readouterr().out == f"removed {len(OF[0]) + len(OF[2])} records\n"


async def _followed(url: str) -> list[int]:
    async with connect_async(url) as session:
        await session.add_all(readings(18))
        receipt = await session.flush()
        assert len(receipt.puts) == 3
        assert await session.query(Reading).last_acq() > receipt.acq_max
        found = [row.counter async for row in session.query(Reading).cid(list(CIDS)).follow(wait=False)]
        assert await session.undo(receipt) == 18
        return found


@pytest.mark.parametrize("may_advance", [True, False])
def test_web_page_lists_series(url: str, may_advance: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not may_advance:
        monkeypatch.setattr(Shard, "advanced", lambda _self, answer, _acq: answer)
    monkeypatch.setattr("tsmodel.web.source.LOOK", 0.0)

    def counts() -> dict[int, int]:
        page = client.get("/api/series", {"limit": 1000}).json()
        assert (page["is_whole"], page["note"]) == (True, None)  # for a server, the page lists only the last day
        found: dict[int, int] = {}
        for series in page["series"]:
            found[series["cid"]] = found.get(series["cid"], 0) + series["records"]
        return found

    with connect(url) as session, closing(Source(connect(url, create=False), [Reading])) as source:
        client = Client(application(source))
        expected = dict.fromkeys(CIDS, 3)
        session.add_all(readings(27))
        session.flush()
        assert counts() == counts() == expected
        for n, cid in enumerate([OF[0][0], OF[1][0], OF[1][0], OF[2][0], OF[0][0]]):  # a different shard is ahead each time
            session.add(Reading(cid=cid, mid=5, cap=1000 + n, counter=n))
            session.flush()
            expected[cid] += 1
            assert counts() == expected
        session.add(Reading(cid=OF[2][0], mid=6, cap=5, acq=5, counter=1), keep_acq=True)
        session.flush()
        expected[OF[2][0]] += 1
        assert counts() == expected
        session.query(Reading).cid(OF[1][0]).delete()
        del expected[OF[1][0]]
        assert counts() == expected


def test_asynchronous_sessions(url: str) -> None:
    import asyncio

    assert sorted(asyncio.run(_followed(url))) == list(range(18))


def test_closed_store_refuses_calls(url: str) -> None:
    store = opened(url)
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        scanned(store)
    started = time.monotonic()
    store.close()
    assert time.monotonic() - started < 5
