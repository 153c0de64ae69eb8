"""Reading variable-size payloads as columns gives the same values as reading them record by record."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.fields import rows, variable_models

from tsmodel import Array, Blob, Bool, Float32, Int16, Nullable, Text, TSModel, UInt8, UInt16, connect, field
from tsmodel.errors import DecodeError
from tsmodel.frames.frame import ArrowFrame, ColumnsFrame
from tsmodel.layout import SpanRecords, VariableRecords
from tsmodel.model.meta import schema_of
from tsmodel.model.model import codec_of
from tsmodel.wire.chunk import Chunk, parsed
from tsmodel.wire.records import GET_FORM


class Event(TSModel):
    name: Text
    level: UInt8
    note: Nullable[str] = field(item=Text, prefix=UInt16, default=None)
    samples: Array[float] = field(item=Float32, prefix=UInt8)
    on: Bool
    rest: Blob = field(prefix=None)


def chunk_of(model: Any, objects: list[Any]) -> Chunk:
    keys = np.zeros(len(objects), [(name, GET_FORM.header[name]) for name in GET_FORM.key_fields])
    for name in GET_FORM.key_fields:
        keys[name] = [getattr(row, name) for row in objects]
    return codec_of(model).chunk_of(objects, keys)


def columns_of(model: Any, records: Any) -> dict[str, str]:
    columns = ColumnsFrame(model, ())
    columns.add(records)
    return {name: repr(values.tolist()) for name, values in columns.result().items()}


def table_of(model: Any, records: Any) -> Any:
    """The Arrow table, or None if a time is outside Arrow's range."""
    table = ArrowFrame(model, ())
    try:
        table.add(records)
    except DecodeError:
        return None
    return table.result()


def listed(table: Any) -> str:
    try:
        return repr(table.to_pylist())
    except (OverflowError, ValueError):  # times within Arrow's range but outside Python's
        return "\n".join(column.to_string(window=len(table)) for column in table.itercolumns())


@settings(deadline=None, max_examples=examples(100), suppress_health_check=list(HealthCheck))
@given(variable_models(), st.data())
def test_columns_match_records(made: Any, data: st.DataObject) -> None:
    model, kinds = made
    objects = data.draw(rows(model, kinds, most=12))
    chunk = chunk_of(model, objects)
    codec = codec_of(model)
    whole, columns = codec.fit(chunk), codec.fit_columns(chunk)
    assert not columns.mismatches
    mask = np.array([data.draw(st.booleans()) for _ in objects])
    for slow, fast in ((whole.records, columns.records), (whole.records[mask], columns.records[mask])):
        for column in schema_of(model).columns.values():
            info = column.info
            assert repr(info.objects(fast)) == repr(info.objects(slow)), info
            present, expected = info.present(fast), info.present(slow)
            assert (present is None) == (expected is None)
            if present is not None:
                assert present.tolist() == expected.tolist()
        expected_columns = columns_of(model, slow)
        for name, column in columns_of(model, fast).items():
            assert column == expected_columns[name], (name, kinds)
        table, other = table_of(model, fast), table_of(model, slow)
        assert table is not None or other is None
        if table is not None and other is not None:
            table.validate(full=True)
            assert table.schema == other.schema
            assert listed(table) == listed(other)


EVENTS = [
    Event(
        cid=1, mid=n, moid=1, cap=n, name="zażółć" * (n % 3), level=n % 256, note=[None, "", "note"][n % 3],
        samples=[float(n)] * (n % 4), on=n % 2 == 0, rest=b"\xff\x80" * (n % 5),
    )
    for n in range(40)
]  # fmt: skip


def test_event_payloads_are_read_as_columns() -> None:
    records = codec_of(Event).fit_columns(chunk_of(Event, EVENTS)).records
    assert isinstance(records, SpanRecords)
    assert len(records[3:7]) == 4


def test_damaged_payloads_give_the_same_mismatches() -> None:
    """Changing any byte gives the same records and mismatches both ways."""
    codec = codec_of(Event)
    whole = bytes(chunk_of(Event, EVENTS[:6]).rows())
    heads = {at + offset for at in GET_FORM.offsets(whole).tolist() for offset in range(36)}
    generator = random.Random(11)
    seen = set()
    for at in range(len(whole)):
        if at in heads:
            continue
        for value in {0, 1, 0x80, 0xFF, generator.randrange(256)}:
            damaged = parsed(memoryview(whole[:at] + bytes([value]) + whole[at + 1 :]))
            slow, fast = codec.fit(damaged), codec.fit_columns(damaged)
            seen.add(type(fast.records))
            assert [repr(each) for each in fast.mismatches] == [repr(each) for each in slow.mismatches]
            assert columns_of(Event, fast.records) == columns_of(Event, slow.records), (at, value)
    assert seen == {SpanRecords, VariableRecords}


def test_truncated_payloads_give_the_same_mismatches() -> None:
    codec = codec_of(Event)
    for event in EVENTS[:8]:
        record = bytes(chunk_of(Event, [event]).rows())
        for length in range(36, len(record)):
            cut = parsed(memoryview((length - 4).to_bytes(4, "little") + record[4:length]))
            slow, fast = codec.fit(cut), codec.fit_columns(cut)
            assert [repr(each) for each in fast.mismatches] == [repr(each) for each in slow.mismatches]
            assert len(fast.records) == len(slow.records)


def test_queries_of_text() -> None:
    with connect("memory:") as session:
        session.add_all(EVENTS)
        session.flush()
        query = session.query(Event)
        assert sorted(query.where(Event.name == "zażółć").select(Event.mid, Event.note)) == [
            (n, EVENTS[n].note) for n in range(1, 40, 3)
        ]
        table = query.where(Event.level < 5).to_arrow("mid", "name", "samples")
        assert sorted(table.to_pylist(), key=lambda row: row["mid"]) == [
            {"mid": n, "name": EVENTS[n].name, "samples": EVENTS[n].samples} for n in range(5)
        ]
        windows = query.resample("1h").agg(most=Event.level.max(), on=Event.on.sum())
        assert [row.on for row in windows] == [int(event.on) for event in EVENTS]
        assert query.count() == 40
        assert list(query.columns("note")["note"].mask) == [note is None for note in query.columns("note")["note"].tolist()]


def test_mismatch_among_many_is_located() -> None:
    class Number(TSModel):
        n: Int16

    with connect("memory:") as session:
        session.add_all(EVENTS)
        session.add(Number(cid=1, mid=7, moid=1, cap=99, n=-1))
        session.flush()
        with pytest.raises(DecodeError, match="cap=99|cap 99"):
            session.query(Event).to_arrow()
        skipping = session.query(Event).on_error("skip")
        assert skipping.to_arrow().num_rows == 40
        assert skipping.stats.skipped == 1
