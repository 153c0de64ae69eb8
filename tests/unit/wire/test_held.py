"""Records held in the receive buffer are not copied, and later data does not overwrite them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.wiring import get_answer

from tsmodel import Float64, Int32, TSModel, connect
from tsmodel.server import serve_in_thread
from tsmodel.wire.client_role import GetAnswerReader
from tsmodel.wire.events import RangeEnd
from tsmodel.wire.reader import Held
from tsmodel.wire.records import GET_FORM

RECORD = GET_FORM.dtype([("number", "<i4"), ("rest", "V5")])
COUNT = 4000


class Reading(TSModel):
    number: Int32
    volts: Float64


def answered(count: int = COUNT) -> npt.NDArray[Any]:
    records = np.zeros(count, RECORD)
    records["n"], records["mid"] = RECORD.itemsize - 4, np.arange(count)
    records["payload"]["number"] = np.arange(count) * 7
    return records


def chunks(reader: GetAnswerReader, data: bytes, seed: int) -> Iterator[npt.NDArray[Any]]:
    """Returns the records of an answer that arrives in pieces of random size."""
    random = Random(seed)
    edges = [0, *sorted(random.sample(range(1, len(data)), 60)), len(data)]
    for start, end in pairwise(edges):
        for event in reader.feed(data[start:end]):
            if not isinstance(event, RangeEnd):
                yield np.frombuffer(event.rows(), RECORD)  # type: ignore[union-attr]


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_whole_answer_can_be_held(monkeypatch: pytest.MonkeyPatch, gathers: bool, seed: int) -> None:
    monkeypatch.setattr("tsmodel.wire.reader._HELD_SIZE", 2**14)  # so that the buffer grows more than once
    expected = answered()
    held = Held()
    for records in chunks(GetAnswerReader(4096, gathers=gathers), get_answer(expected.tobytes()), seed):
        assert held.take(records)
    whole = held.result(RECORD)
    assert whole.tobytes() == expected.tobytes()
    assert whole.flags.writeable
    assert len(held.result(RECORD)) == 0


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_held_records_survive_further_reads(parts: int) -> None:
    expected = answered()
    held, taken = Held(), []
    for number, records in enumerate(chunks(GetAnswerReader(4096), get_answer(expected.tobytes()), parts), 1):
        assert held.take(records)
        if number % parts == 0:
            taken.append(held.result(RECORD))
    taken.append(held.result(RECORD))
    assert b"".join(each.tobytes() for each in taken) == expected.tobytes()


def test_records_that_are_not_held_are_overwritten() -> None:
    expected = answered()
    reader = GetAnswerReader(4096)
    sizes = [len(reader.get_buffer()) for _ in chunks(reader, get_answer(expected.tobytes()), 1)]
    assert max(sizes) <= 4096


def test_chunks_that_cannot_be_held() -> None:
    expected = answered(100)
    one, other = (next(chunks(GetAnswerReader(), get_answer(expected.tobytes()), seed)) for seed in (1, 2))
    held = Held()
    assert not held.take(expected)  # in other memory
    assert not held.take(one.copy())
    assert held.take(one)
    assert not held.take(other)  # from another answer
    assert not held.take(one)  # not adjacent
    few = held.result(RECORD)
    assert few.tobytes() == one.tobytes()
    assert few.base is None  # a few records must not keep a large buffer alive
    assert not held.take(one)  # its buffer was released


def test_large_server_answers_as_numpy_arrays() -> None:
    with serve_in_thread() as (host, port), connect(f"tstorage://{host}:{port}") as session:
        session.add_all(Reading(cid=1 + n % 2, mid=n, moid=0, cap=n, number=n, volts=n / 2) for n in range(60_000))
        session.flush()
        query = session.query(Reading)
        first = query.to_numpy()
        copy = first.copy()
        some = query.mid(range(100, 50_000)).to_numpy()
        filtered = query.where(Reading.number >= 30_000).to_numpy()
        limited = query.limit(40_000).to_numpy()
        several = query.cid(1, 2).mid(range(50_000)).to_numpy()
        count = query.count()
    assert count == 60_000
    assert (first == copy).all()
    assert sorted(first["number"].tolist()) == list(range(60_000))
    assert (first["volts"] == first["number"] / 2).all()
    assert sorted(some["number"].tolist()) == list(range(100, 50_000))
    assert sorted(filtered["number"].tolist()) == list(range(30_000, 60_000))
    assert len(np.unique(limited["number"])) == 40_000
    assert sorted(several["number"].tolist()) == list(range(50_000))
