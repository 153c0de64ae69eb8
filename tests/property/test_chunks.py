"""Row chunks and column chunks give the same result in every sink, and columns are decoded only when needed."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.batches import rows_in, scanned
from support.budget import examples
from support.columns import InColumns, InMemory, apart, opaque
from support.fields import State, models, rows, variable_models

from tsmodel import Bool, Enumerated, Float32, Float64, Int32, Nullable, Session, Text, TSModel, UInt8, field
from tsmodel.errors import TSModelError
from tsmodel.keys import KEY_FIELDS, Key, KeyRange
from tsmodel.model.meta import schema_of
from tsmodel.server.conversation import Conversation
from tsmodel.session.puts import Segment, encoded, found_of
from tsmodel.store import open_store
from tsmodel.wire.chunk import ColumnChunk, RowChunk, joined
from tsmodel.wire.client_role import get_request
from tsmodel.wire.stored import Copies

relaxed = settings(deadline=None, max_examples=examples(60), suppress_health_check=list(HealthCheck))


class First(TSModel):
    number: Int32


class Fixed(TSModel, replaces=First):
    volts: Float64
    good: Bool
    state: Enumerated[State] = field(storage=UInt8)
    temp: Nullable[float] = field(item=Float32)


@Fixed.upgrade_from(First)
def upgraded(old: First) -> Fixed:
    return Fixed(
        cid=old.cid, mid=old.mid, moid=old.moid, cap=old.cap, volts=old.number / 2, good=True, state=State.ON, temp=None
    )


class Other(TSModel):
    name: Text
    volts: Float64


class Seventh(TSModel, moid=7):
    volts: Float64
    good: Bool


class Eighth(TSModel, moid=8):
    name: Text


few = {"cid": st.integers(0, 2), "mid": st.integers(-1, 1), "moid": st.integers(0, 1), "cap": st.integers(0, 5)}
numbers = st.sampled_from([-1.5, 0.0, 2.0])
firsts = st.builds(First, **few, number=st.integers(-3, 3))
fixed = st.builds(
    Fixed,
    **few,
    volts=numbers,
    good=st.booleans(),
    state=st.sampled_from(State),
    temp=st.sampled_from([None, 1.0, -3.0]),
)
others = st.builds(Other, **few, name=st.sampled_from(["", "a", "ä", "abcdefghij"]), volts=numbers)


mixed = st.builds(Seventh, **{**few, "moid": st.just(7)}, volts=numbers, good=st.booleans()) | st.builds(
    Eighth, **{**few, "moid": st.just(8)}, name=st.sampled_from(["", "a", "abcdefg"])
)


def payload_of(model: Any) -> Callable[[int], np.dtype[Any]]:
    """The dtype that a file would record for a put of objects."""
    layout = schema_of(model).layout
    return lambda size: layout.stored if layout.size == size else opaque(size)


def split(size: int) -> np.dtype[Any]:
    """Fields of another model of the same size, none at the offset of one of the reader's fields."""
    return np.dtype([("a", "V3"), *((f"b{at}", "u1") for at in range(size - 3))]) if size > 3 else opaque(size)


def outcome(sink: Callable[[Any], Any], query: Any) -> Any:
    """The result or error of a sink, in comparable form."""
    try:
        return plain(sink(query))
    except (TSModelError, OverflowError, pa.ArrowInvalid) as error:  # the latter two: times outside datetime's range
        return type(error), str(error)


def plain(result: Any) -> Any:
    """A result in comparable form; NaNs compare equal."""
    if isinstance(result, dict):
        return {name: plain(values) for name, values in result.items()}
    if isinstance(result, np.ndarray):
        masked = np.ma.getmaskarray(result).tolist() if isinstance(result, np.ma.MaskedArray) else None
        return result.dtype.names or str(result.dtype), repr(np.ma.getdata(result).tolist()), masked
    if hasattr(result, "to_pylist"):
        return result.schema, repr(result.to_pylist())
    return repr(result)


def sent_by_a_server(backend: Any) -> list[Any]:
    """The records a server sends in answer to a GET of all keys."""
    steps = Conversation(backend, 2**20, "test").work()
    request = b"".join(get_request(Key.min(), Key.max()))
    step, sent = next(steps), b""
    while True:
        if hasattr(step, "buffer"):
            step.buffer[: len(request)] = request
            count, request = len(request), b""
        else:
            sent, count = sent + b"".join(step.buffers), None
        try:
            step = steps.send(count)
        except StopIteration:
            break
    return sorted(rows_in(sent[12 : -4 - 20]))


def found_of_a_put(rows: list[TSModel], backend: Any) -> Any:
    """What a session finds stored after an interrupted put of these objects."""
    put = encoded(Segment(0, keep_acq=False, rows=rows, models=set(map(type, rows))))
    copies = Copies([part.batches for part in put.slices], with_acq=False)
    with backend.scan(KeyRange()) as scan:
        for chunk in scan:
            copies.feed(chunk)
    return found_of(put, copies)


def sinks(model: Any) -> dict[str, Callable[[Any], Any]]:
    """Every way to consume a query."""
    volts = model.volts
    return {
        "rows": lambda query: query.all(),
        "count": lambda query: query.count(),
        "first": lambda query: query.first(),
        "batches": lambda query: list(query.batches(3)),
        "keys": lambda query: query.select(model.cid, model.cap).all(),
        "select": lambda query: query.select(model.mid, volts).all(),
        "columns": lambda query: query.columns(),
        "some columns": lambda query: query.columns("mid", "volts"),
        "numpy": lambda query: query.to_numpy(),
        "some numpy": lambda query: query.to_numpy("mid", "volts"),
        "arrow": lambda query: query.to_arrow(),
        "reader": lambda query: query.to_reader("mid", "volts", batch_size=3).read_all(),
        "series": lambda query: query.series(),
        "exists": lambda query: query.exists(),
        "followed": lambda query: list(query.follow(wait=False)),
        "windows": lambda query: query.resample("2ns").agg(n=volts.count(), last=volts.last(), sum=volts.sum()).columns(),
        "quantiles": lambda query: (
            query.resample("2ns").agg(exact=volts.median(), rough=volts.median(error=0.01)).columns()
        ),
        "counters": lambda query: (
            query.resample("2ns", fill="previous")
            .agg(delta=volts.delta(), rate=volts.rate(), mean=volts.time_weighted_mean())
            .columns()
        ),
        "order": lambda query: query.order_by(volts.desc(), model.mid).limit(3).all(),
        "latest": lambda query: query.latest().all(),
        "revisions": lambda query: query.revisions().select(model.acq).all(),
        "first per series": lambda query: query.first_per_series().all(),
        "last per series": lambda query: query.last_per_series().columns(),
        "limit": lambda query: query.limit(2).count(),
        "skipping": lambda query: query.on_error("skip").all(),
        "quarantined": lambda query: ((quarantine := query.on_error("quarantine")).count(), quarantine.quarantined),
    }


def conditions_on(model: Any) -> list[list[Any]]:
    return [[], [model.volts >= 0], [model.mid != 0], [model.mid == 0, model.volts < 2]]


FORMS: dict[str, Callable[[Any], Any]] = {
    "fields": payload_of,
    "opaque": lambda _: opaque,
    "split": lambda _: split,
    "apart": lambda _: apart,
}
CASES: dict[str, Any] = {
    "fixed": (Fixed, st.lists(fixed, max_size=8)),
    "versions": (Fixed, st.lists(fixed | firsts, max_size=8)),
    "mismatches": (Fixed, st.lists(fixed | others, max_size=8)),
    "variable size": (Other, st.lists(others, max_size=8)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
def test_every_sink_returns_the_same(case: str, form: str) -> None:
    model, records = CASES[case]

    @settings(relaxed, max_examples=examples(20))
    @given(st.lists(records, max_size=3), st.sampled_from(conditions_on(model)))
    def check(puts: list[list[TSModel]], conditions: list[Any]) -> None:
        store = open_store(None)
        with Session(store) as row_session, Session(InColumns(store, FORMS[form](model))) as column_session:
            for put in puts:
                row_session.add_all(put)
                row_session.flush()
            expected, got = (session.query(model).where(*conditions) for session in (row_session, column_session))
            for name, sink in sinks(model).items():
                assert outcome(sink, got) == outcome(sink, expected), name
            assert sent_by_a_server(column_session.backend) == sent_by_a_server(store) == scanned(store)
            for put in filter(None, puts):
                more = [*put, *put[:1]]  # the last one is not stored
                expected, got = (found_of_a_put(more, each.backend) for each in (row_session, column_session))
                assert got == expected
            for wanted in (lambda _: KeyRange(), lambda session: session.query(model).where(model.mid != 0)):
                copies = []
                for session in (row_session, column_session):
                    with Session(open_store(None)) as target:
                        session.copy(wanted(session), target)
                        copies.append(scanned(target.backend))
                assert copies[0] == copies[1]

    check()


@pytest.mark.parametrize("form", FORMS)
def test_queries_of_several_models(form: str) -> None:
    @relaxed
    @given(st.lists(st.lists(mixed, max_size=8), max_size=3))
    def check(puts: list[list[TSModel]]) -> None:
        store = open_store(None)
        with Session(store) as row_session, Session(InColumns(store, FORMS[form](Seventh))) as column_session:
            for put in puts:
                row_session.add_all(put)
                row_session.flush()
            for conditions in ([], [Seventh.good == True, Eighth.cap > 1]):  # noqa: E712
                queries = [session.query(Seventh | Eighth).where(*conditions) for session in (row_session, column_session)]
                for sink in (lambda query: query.all(), lambda query: query.count(), lambda query: query.latest().all()):
                    assert outcome(sink, queries[1]) == outcome(sink, queries[0])

    check()


@relaxed
@given(models(most=4) | variable_models(), st.sampled_from(list(FORMS)), st.data())
def test_any_model(made: Any, form: str, data: st.DataObject) -> None:
    model, kinds = made
    store = open_store(None)
    with Session(store) as row_session, Session(InColumns(store, FORMS[form](model))) as column_session:
        row_session.add_all(data.draw(rows(model, kinds, most=4)))
        row_session.flush()
        for sink in (
            lambda query: query.all(),
            lambda query: query.count(),
            lambda query: query.columns(),
            lambda query: query.to_arrow(),
            lambda query: query.order_by(model.cap).all(),
        ):
            assert outcome(sink, column_session.query(model)) == outcome(sink, row_session.query(model))


def test_joined_chunks_keep_their_byte_order() -> None:
    class Big(TSModel, byte_order="big"):
        number: Int32
        level: Float64

    store = open_store(None)
    with Session(InColumns(store, payload_of(Big))) as session:
        session.add_all(Big(cid=cid, mid=1, moid=1, cap=1, number=1 + cid, level=0.5) for cid in range(3))
        session.flush()
        columns = session.query(Big).columns()
        assert (columns["number"].tolist(), columns["level"].tolist()) == ([1, 2, 3], [0.5] * 3)
        assert session.query(Big).where(Big.number == 2).count() == 1


class Plain(TSModel):
    number: Int32
    volts: Float64
    amperes: Float64


def test_columns_are_decoded_only_when_needed() -> None:
    backend = InColumns(open_store(None), payload_of(Plain))
    with Session(backend) as session:
        session.add_all([Plain(cid=1, mid=n % 3, moid=0, cap=n, number=n, volts=n, amperes=n) for n in range(9)])
        session.flush()
        query = session.query(Plain)

        def asked_by(sink: Callable[[], Any]) -> set[str | int]:
            backend.given.clear()
            assert sink()
            asked = [name for columns in backend.given for name in columns.asked]
            assert all(len(columns.asked) == len(set(columns.asked)) for columns in backend.given)
            return set(asked)

        number, volts, amperes = range(3)
        assert asked_by(query.count) == set()
        assert asked_by(query.where(Plain.volts > 3).count) == {volts}
        assert asked_by(query.where((Plain.volts > 3) | (Plain.mid == 1)).count) == {volts, "mid"}
        assert asked_by(query.select(Plain.mid, Plain.volts).all) == {"mid", volts}
        assert asked_by(lambda: query.where(Plain.volts > 3).columns("amperes")) == {volts, amperes}
        assert asked_by(lambda: query.to_arrow("cap", "number")) == {"cap", number}
        assert asked_by(query.series) == {"cid", "mid", "moid", "cap"}
        assert asked_by(query.all) == {*KEY_FIELDS, number, volts, amperes}


def chunks_of(records: list[bytes], dtype: np.dtype[Any] | None) -> tuple[RowChunk, ColumnChunk]:
    chunk = RowChunk.of(records)
    return chunk, ColumnChunk(InMemory(chunk, dtype))


@relaxed
@given(
    st.lists(st.tuples(st.integers(-2, 2), st.binary(min_size=8, max_size=8)), max_size=6)
    | st.lists(st.tuples(st.integers(-2, 2), st.binary(min_size=4, max_size=8)), max_size=6),
    st.sampled_from(["V8", "<i4,<f4", "V3,V5", "<i8", ">i4,>f4", "(2,)>i2,<u4", None]),
    st.data(),
)
def test_take_and_join_agree_in_both_forms(rows: list[tuple[int, bytes]], kind: str | None, data: st.DataObject) -> None:
    records = [struct.pack("<iiqiqq", 32 + len(body), 1, mid, 0, at, 9) + body for at, (mid, body) in enumerate(rows)]
    dtype = None if kind is None or any(len(body) != 8 for _, body in rows) else np.dtype(kind)
    pairs = [chunks_of(records, dtype)]
    for _ in range(3):
        pair = data.draw(st.sampled_from(pairs))
        count = len(pair[0])
        places = st.lists(st.integers(0, count - 1), max_size=8) if count else st.just([])
        picked: Any = data.draw(
            st.one_of(
                st.lists(st.booleans(), min_size=count, max_size=count).map(lambda mask: np.array(mask, np.bool_)),
                places.map(lambda at: np.array(at, np.intp)),
                st.builds(slice, st.integers(0, count), st.integers(0, count)),
            )
        )
        pairs.append((pair[0].take(picked), pair[1].take(picked)))
    drawn = data.draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=3))
    one, other = joined([one for one, _ in drawn]), joined([other for _, other in drawn])
    assert bytes(one.rows()) == bytes(other.rows()) == b"".join(bytes(each.rows()) for each, _ in drawn)
    for chunk in (one, other, one.kept(), other.kept()):
        expected = list(rows_in(bytes(one.rows())))
        assert list(rows_in(chunk)) == expected
        assert len(chunk) == len(expected)
        assert chunk.nbytes == len(chunk.rows())
        assert chunk.sizes().tolist() == [36 + len(row[-1]) for row in expected]
        assert (
            chunk.offsets().tolist() == [0, *itertools.accumulate(36 + len(row[-1]) for row in expected)][: len(expected)]
        )
        assert [(*key.astuple(), payload) for key, payload in chunk.pairs()] == expected
        assert np.asarray(chunk.keys()).tolist() == [row[:5] for row in expected]
        for at, name in enumerate(KEY_FIELDS):
            assert chunk.key(name).tolist() == [row[at] for row in expected]
        for offset, asked in ((0, "V4"), (1, "<u2"), (0, "<i4"), (2, "(2,)u1")):
            column = chunk.column(offset, np.dtype(asked))
            size = np.dtype(asked).itemsize
            assert column.dtype == np.dtype(asked).base
            assert column.tobytes() == b"".join(row[-1][offset : offset + size] for row in expected)
