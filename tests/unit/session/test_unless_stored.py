"""`unless_stored`: storing only records that are not stored yet."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.sessions import EVERYWHERE, ON_POSTGRES, opened_at

from tsmodel import Int32, Receipt, Retry, Session, TSModel, WriteError, connect
from tsmodel.backend import AcqInterval, Batch
from tsmodel.errors import TransportError
from tsmodel.io.retry import OnUnknown
from tsmodel.store import EmbeddedStore
from tsmodel.store.memory import MemoryEngine


class Reading(TSModel):
    number: Int32


@pytest.fixture(params=[*EVERYWHERE, *ON_POSTGRES], ids=" ".join)
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with opened_at(*request.param, tmp_path) as session:
        yield session


def rows(count: int = 1000) -> list[Reading]:
    return [Reading(cid=1 + at % 3, mid=at % 7, moid=7, cap=at, number=at) for at in range(count)]


def stored(session: Any) -> list[tuple[int, int, int]]:
    return sorted((row.cid, row.cap, row.number) for row in session.query(Reading).all())


def test_second_import_stores_nothing(session: Any) -> None:
    session.add_all(rows(), unless_stored=True)
    first = session.flush()
    assert (first.count, first.skipped, first.bytes) == (1000, 0, 28_000)
    before = stored(session)
    session.add_all(rows(), unless_stored=True)
    second = session.flush()
    assert (second.count, second.skipped, second.bytes, second.acq_min) == (0, 1000, 0, -1)
    assert stored(session) == before


def test_only_new_records_are_stored(session: Any) -> None:
    session.add_all(rows(500))
    session.flush()
    session.add_all(rows(510), unless_stored=True)
    receipt = session.flush()
    assert (receipt.count, receipt.skipped) == (10, 500)
    assert receipt.acq_max - receipt.acq_min == 9
    assert len(stored(session)) == 510


def test_corrected_record_is_not_stored_again(session: Any) -> None:
    original = Reading(cid=1, mid=2, moid=3, cap=4, number=5)
    session.add(original)
    session.flush()
    session.correct(original, number=6)
    session.flush()
    session.add(original, unless_stored=True)
    assert session.flush().skipped == 1
    assert stored(session) == [(1, 4, 5), (1, 4, 6)]


def test_records_added_without_unless_stored_are_always_stored(session: Any) -> None:
    session.add(rows(1)[0], unless_stored=True)
    session.add(rows(1)[0])
    session.add(rows(1)[0], unless_stored=True)
    receipt = session.flush()
    assert (receipt.count, receipt.skipped) == (2, 1)


def test_columns_and_frames(session: Any) -> None:
    columns = {"cid": 1, "mid": 2, "moid": 3, "cap": np.arange(100), "number": np.arange(100)}
    for expected in ((100, 0), (0, 100)):
        assert session.add_columns(Reading, columns, unless_stored=True) == 100
        receipt = session.flush()
        assert (receipt.count, receipt.skipped) == expected
    table = pa.table(
        {
            **{name: [value] * 101 for name, value in (("cid", 1), ("mid", 2), ("moid", 3))},
            **dict.fromkeys(("cap", "number"), range(101)),
        }
    )
    session.add_frame(Reading, table, unless_stored=True)
    receipt = session.flush()
    assert (receipt.count, receipt.skipped) == (1, 100)


def test_receipt_includes_automatically_stored_batches(tmp_path: Path) -> None:
    with connect("memory:", batch_size=100) as session:
        session.add_all(rows(250), unless_stored=True)
        session.add_all(rows(250), unless_stored=True)
        receipt = session.flush()
        assert (receipt.count, receipt.skipped) == (250, 250)


def test_concurrent_imports_store_records_once(tmp_path: Path) -> None:
    path = tmp_path / "readings.tsdb"
    receipts: list[Receipt] = []

    def import_all() -> None:
        with connect(path) as session:
            for _ in range(3):
                session.add_all(rows(300), unless_stored=True)
                receipts.append(session.flush())

    threads = [threading.Thread(target=import_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(receipt.count for receipt in receipts) == 300
    assert sum(receipt.skipped for receipt in receipts) == 11 * 300
    with connect(path) as session:
        assert len(stored(session)) == 300


def test_receipts_add_up_skipped_records() -> None:
    assert (Receipt(skipped=2) + Receipt(1, 5, 5, skipped=3)).skipped == 5


class Losing(EmbeddedStore):
    """A store that loses the connection before or after it stores a put."""

    loses: str | None = None

    def append(self, batches: Sequence[Batch], **named: Any) -> AcqInterval:
        batches = list(batches)
        if self.loses == "before":
            raise TransportError("the connection is lost")
        interval = super().append(batches, **named)
        if self.loses == "after":
            raise TransportError("the connection is lost")
        return interval


@pytest.mark.parametrize("on_unknown", ["check", "duplicate"])
@pytest.mark.parametrize("loses", ["before", "after"])
def test_in_doubt_records_can_be_retried(loses: str, on_unknown: OnUnknown) -> None:
    store = Losing(MemoryEngine())
    with Session(store, retry=Retry(on_unknown="check") if on_unknown == "check" else None) as session:
        session.add_all(rows(5))
        session.flush()
        session.add_all(rows(8), unless_stored=True)
        store.loses = loses
        with pytest.raises(WriteError):
            session.flush()
        store.loses = None
        receipt = session.retry(on_unknown)
        assert len(stored(session)) == 8
        assert receipt.count + receipt.skipped == 8
