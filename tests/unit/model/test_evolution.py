"""Model versions: class creation, the version byte, and payload types of versioned models."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from tsmodel import Bits, Bool, Float32, Float64, Int16, Int32, Nullable, Text, TSModel, TSStruct, UInt8, connect, field
from tsmodel.client.record import Key, Record
from tsmodel.errors import DecodeError, EncodeError, QueryError, SchemaError
from tsmodel.model.model import codec_of
from tsmodel.wire.chunk import RowChunk


class First(TSModel):
    number: Int32


class Second(TSModel, replaces=First, versioned=True):
    number: Int32


@Second.upgrade_from(First)
def second(old: First) -> Second:
    return Second(cid=old.cid, mid=old.mid, moid=old.moid, cap=old.cap, number=old.number + 1)


class Since(TSModel, replaces=First, since=1000):
    number: Int32


@Since.upgrade_from(First)
def since(old: First) -> Since:
    return Since(cid=old.cid, mid=old.mid, moid=old.moid, cap=old.cap, number=old.number + 1)


KEY = Key(1, 2, 3, 4, 5)


def made(**keywords: Any) -> type[TSModel]:
    """A model of one Int32."""
    return type(TSModel)("Made", (TSModel,), {"__annotations__": {"number": Int32}}, **keywords)


def test_version_byte_is_part_of_layout() -> None:
    class Reading(TSModel, versioned=True):
        counter: Int16
        valid: Bool

    assert Reading.struct_format == "<Bh?"
    assert Reading.dtype == np.dtype([("_version", "u1"), ("counter", "<i2"), ("valid", "?")])
    assert str(Reading.layout).splitlines()[1:3] == ["     0     1  version 1", "     1     2  Int16      counter"]
    assert str(Reading.layout).endswith("4 bytes, little-endian, packed")
    payload = Reading.payload_type.to_bytes(Reading(cid=1, mid=1, moid=1, cap=1, counter=5, valid=True))
    assert payload == b"\x01\x05\x00\x01"
    assert Reading.payload_type.from_bytes(payload).counter == 5
    assert Reading.payload_type.from_bytes(b"\x02\x05\x00\x01") is None


class AsInC(TSModel, version=200, align="c"):
    small: UInt8
    large: Int32


class Empty(TSModel, version=3):
    pass


class WithBitmap(TSModel, version=4, byte_order="big"):
    number: Nullable[int] = field(item=Int16)
    low: Bits = field(bits=3, storage=UInt8)
    high: Bits = field(bits=5, storage=UInt8)


class Variable(TSModel, version=5):
    text: Text
    number: Nullable[int] = field(item=Int16)


class OnlyText(TSModel, version=6):
    text: Text = field(rest=True)


class Message(TSModel, version=7, encoding="json"):
    number: Int32


@pytest.mark.parametrize(
    ("model", "values", "payload"),
    [
        (AsInC, {"small": 1, "large": 2}, b"\xc8\x01\0\0\2\0\0\0"),
        (Empty, {}, b"\x03"),
        (WithBitmap, {"number": 258, "low": 1, "high": 2}, b"\x04\x01\x01\x02\x11"),
        (WithBitmap, {"number": None, "low": 7, "high": 0}, b"\x04\x00\x00\x00\x07"),
        (Variable, {"text": "ab", "number": 1}, b"\x05\x01\x02\x00ab\x01\x00"),
        (OnlyText, {"text": "ab"}, b"\x06ab"),
        (Message, {"number": 5}, b'\x07{"number":5}'),
    ],
)
def test_version_byte_in_every_kind_of_layout(model: type[Any], values: dict[str, Any], payload: bytes) -> None:
    row = model(cid=1, mid=2, moid=3, cap=4, **values)
    assert model.payload_type.to_bytes(row) == payload
    assert model.from_record(Record(KEY, payload)) == model(cid=1, mid=2, moid=3, cap=4, acq=5, **values)
    with connect("memory:") as session:
        session.add_all([row] * 3)
        session.flush()
        assert [model.payload_type.to_bytes(each) for each in model.query] == [payload] * 3
    another = bytes([payload[0] + 1]) + payload[1:]
    with pytest.raises(DecodeError, match=f"the version byte is {payload[0] + 1}; expected {payload[0]}") as caught:
        model.from_record(Record(KEY, another))
    assert caught.value.offset == 0
    with pytest.raises(DecodeError):
        model.from_record(Record(KEY, b""))
    if model is AsInC:
        assert struct.unpack("@BBi", payload) == (200, 1, 2)


def test_versions_increment_and_are_inherited() -> None:
    class Third(TSModel, replaces=Second):
        number: Int16

    class Fourth(TSModel, replaces=Third, version=9):
        number: Int16

    class Base(TSModel, abstract=True, versioned=True):
        number: Int16

    class Derived(Base):
        pass

    assert [model.layout.version for model in (First, Second, Third, Fourth, Derived)] == [None, 2, 3, 9, 1]


def test_records_of_all_versions_decode() -> None:
    assert Second.from_record(Record(KEY, struct.pack("<i", 7))) == Second(cid=1, mid=2, moid=3, cap=4, acq=5, number=8)
    assert Second.from_record(Record(KEY, struct.pack("<Bi", 2, 7))).number == 7
    assert Second.payload_type.from_bytes(struct.pack("<i", 7)).number == 8
    assert Second.payload_type.from_bytes(b"\1\0\0\0\0") is None
    assert Since.from_record(Record(KEY, struct.pack("<i", 7))).number == 8
    assert Since.from_record(Record(Key(1, 2, 3, 1000, 5), struct.pack("<i", 7))).number == 7
    assert Since.payload_type.from_bytes(struct.pack("<i", 7)) is None  # the payload alone does not tell
    with pytest.raises(
        DecodeError, match="no layout of Second matches: First takes 4 bytes; Second takes 5 bytes, the first"
    ):
        Second.from_record(Record(KEY, b"\1\0\0\0\0"))


def chunk_of(*records: tuple[Key, bytes]) -> RowChunk:
    return RowChunk.of([struct.pack("<i", 32 + len(body)) + key.to_bytes() + body for key, body in records])


def test_payload_types_read_all_versions() -> None:
    later = Key(9, 2, 3, 1000, 5)
    records = list(Second.payload_type.read(chunk_of((later, struct.pack("<Bi", 2, 7)), (KEY, struct.pack("<i", 7)))))
    assert sorted((record.key.cid, record.value.number) for record in records) == [(1, 8), (9, 7)]
    assert {record.value.cid for record in records} == {-1}
    records = list(Since.payload_type.read(chunk_of((later, struct.pack("<i", 7)), (KEY, struct.pack("<i", 7)))))
    assert sorted((record.key.cid, record.value.number) for record in records) == [(1, 8), (9, 7)]
    before_a_mismatch = Since.payload_type.read(chunk_of((KEY, struct.pack("<i", 7)), (KEY, b"")))
    assert next(before_a_mismatch).value.number == 8
    with pytest.raises(DecodeError, match="no layout of Since matches"):
        next(before_a_mismatch)
    batches = Since.payload_type.encode([Record(later, Since(cid=0, mid=0, moid=0, cap=0, number=1))], with_acq=False)
    assert batches.count == 1
    with pytest.raises(EncodeError, match="cap is 4; it must be 1000 to"):
        Since.payload_type.encode([Record(KEY, Since(cid=0, mid=0, moid=0, cap=0, number=1))], with_acq=False)


def test_writing_before_since_is_refused() -> None:
    with connect("memory:") as session:
        session.add(Since(cid=1, mid=1, moid=1, cap=999, number=1))
        with pytest.raises(EncodeError, match=r"Since\.cap is 999; it must be 1000 to .* since= assigns earlier records"):
            session.flush()
        session.discard()
        session.add_all([Since(cid=1, mid=1, moid=1, cap=1000, number=1), First(cid=1, mid=1, moid=1, cap=999, number=1)])
        session.flush()
        assert sorted(row.number for row in Since.query) == [1, 2]


def test_newer_version_does_not_affect_older_one() -> None:
    class Old(TSModel, moid=3):
        number: Int32

    def observed() -> tuple[object, ...]:
        with connect("memory:") as session:
            rows = [Old(cid=1, mid=2, cap=cap, number=cap) for cap in (99, 100, 500, 1000)]
            session.add_all(rows)
            session.flush()
            read = [(row.cap, row.number) for row in session.query(Old).where(Old.cap >= 100)]
        taken = [Old.payload_type.from_bytes(payload) for payload in (b"\0\0\0\0", b"\1\0\0\0\0")]
        codec = codec_of(Old)
        return type(codec), codec.discriminators, codec.caps, read, taken, Old.fingerprint, str(Old.layout)

    before = observed()
    assert before[3] == [(100, 100), (500, 500), (1000, 1000)]

    class Later(TSModel, replaces=Old, since=1000, moid=3):
        number: Int32

    class Earlier(TSModel, replaces=Old, since=100, moid=3):
        number: Int32

    class Third(TSModel, replaces=Earlier, since=500, moid=3):
        number: Int32

    class Marked(TSModel, replaces=Old, versioned=True, moid=3):
        number: Int32

    assert observed() == before
    for model, plus in ((Later, 10), (Earlier, 20), (Third, 30), (Marked, 40)):
        replaced = Earlier if model is Third else Old

        @model.upgrade_from(replaced)
        def upgrade(old: Any, model: Any = model, plus: int = plus) -> Any:
            return model(cid=0, mid=0, cap=0, number=old.number + plus)

    assert observed() == before
    with connect("memory:") as session:
        session.add_all([Old(cid=1, mid=2, cap=cap, number=0) for cap in (99, 100, 500, 1000)])
        session.flush()
        numbers = {model: [row.number for row in session.query(model)] for model in (Later, Earlier, Third, Marked)}
        assert numbers == {Later: [10, 10, 10, 0], Earlier: [20, 0, 0, 0], Third: [50, 30, 0, 0], Marked: [40] * 4}
        with pytest.raises(EncodeError, match=r"Earlier\.cap is 99; it must be 100 to "):
            session.add(Earlier(cid=1, mid=2, cap=99, number=0))
            session.flush()
        session.discard()


def test_older_version_does_not_decode_newer_records() -> None:
    with connect("memory:") as session:
        session.add_all([First(cid=1, mid=1, moid=1, cap=1, number=1), Second(cid=1, mid=1, moid=1, cap=2, number=5)])
        session.flush()
        assert [row.number for row in session.query(Second)] == [2, 5]
        with pytest.raises(DecodeError, match="has 5 bytes; First takes 4"):
            session.query(First).all()
        assert [row.number for row in session.query(First).on_error("skip")] == [1]
        assert [row.number for row in session.query(First).cap_before(2)] == [1]


class Base(TSModel, abstract=True):
    last: Nullable[int] = field(item=Int16)


class Flag(TSModel, abstract=True):
    first: Nullable[int] = field(item=Int16)


class Both(Flag, Base):
    """Inherited columns have other offsets here than in the classes that declare them."""


class Swapped(Base, byte_order="big"):
    pass


def test_base_class_column_resolves_to_queried_model() -> None:
    rows = [{"first": 5, "last": None}, {"first": None, "last": 7}, {"first": None, "last": 300}]
    with connect("memory:") as session:
        session.add_all([Both(cid=1, mid=1, moid=1, cap=n, **row) for n, row in enumerate(rows)])
        session.add_all([Swapped(cid=2, mid=1, moid=1, cap=n, last=row["last"]) for n, row in enumerate(rows)])
        session.flush()
        for model, cid in ((Both, 1), (Swapped, 2)):
            query = session.query(model).cid(cid)
            assert query.select(Base.last).all() == [(None,), (7,), (300,)]
            assert [row.last for row in query.order_by(Base.last.desc())] == [300, 7, None]
            assert [row.last for row in query.where(Base.last == 300)] == [300]
            assert [row.last for row in query.where(~(Base.last.between(0, 100) | Base.last.is_in([300])))] == [None]
            sums = query.resample("1h").agg(last=Base.last.sum()).columns()["last"]
            assert sums.tolist() == [307]


def test_condition_uses_field_of_queried_model() -> None:
    class Old(TSModel):
        share: Float32
        code: Int32

    class New(TSModel, replaces=Old):
        code: Text = field(size=8)
        share: Float64
        more: Int32

    @New.upgrade_from(Old)
    def upgrade(old: Old) -> New:
        return New(cid=0, mid=0, moid=0, cap=0, code=str(old.code), share=old.share, more=0)

    single = float(np.float32(0.1))
    with connect("memory:") as session:
        session.add(Old(cid=1, mid=1, moid=1, cap=1, share=0.1, code=7))
        session.add(New(cid=1, mid=1, moid=1, cap=2, share=0.1, code="8", more=1))
        session.flush()
        for model in (Old, New):  # columns of both versions mean New's fields
            caps = lambda condition: [row.cap for row in session.query(New).where(condition)]  # noqa: E731
            assert caps(model.share == 0.1) == [2]
            assert caps(model.share == single) == [1]
            assert caps(~model.share.is_in([0.1])) == [1]
            assert caps(model.share.between(0.1, single)) == [2]
        with pytest.raises(QueryError, match=r"New\.code \(Text of 8 bytes\) cannot be compared with 7"):
            session.query(New).where(Old.code == 7)


def test_upgrade_keeps_key_and_rounds_like_new_version() -> None:
    class Old(TSModel):
        number: Int32

    class New(TSModel, replaces=Old):
        share: Float32
        name: Text = field(size=4)

    @New.upgrade_from(Old)
    def upgrade(old: Old) -> New:
        return New(cid=99, mid=98, moid=97, cap=96, acq=95, share=0.1, name="x" * old.number)

    with connect("memory:") as session:
        session.add_all([Old(cid=1, mid=2, moid=3, cap=n, number=n) for n in range(5)])
        receipt = session.flush()
        (row,) = session.query(New).where(New.name == "xx").all()
        assert row.key == Key(1, 2, 3, 2, receipt.acq_min + 2)
        assert row.share == np.float32(0.1)
        assert session.query(New).where(New.share == np.float32(0.1)).count() == 5
        session.add(Old(cid=1, mid=2, moid=3, cap=9, number=9))
        session.flush()
        with pytest.raises(
            DecodeError, match=r"cap 9, .* from Old to New failed: EncodeError: New\.name: 'xxxxxxxxx' has 9"
        ):
            session.query(New).all()


def test_upgrade_must_return_new_class() -> None:
    class New(TSModel, replaces=First):
        name: Text = field(size=8)

    New.upgrade_from(First)(lambda old: old)  # type: ignore[arg-type,return-value]
    with connect("memory:") as session:
        session.add(First(cid=1, mid=1, moid=1, cap=1, number=1))
        session.flush()
        with pytest.raises(DecodeError, match=r"TypeError: it returned First\(cid=1, .*\), not a New"):
            New.query.all()


def test_missing_upgrade_error_says_what_to_write() -> None:
    class New(TSModel, replaces=First):
        name: Text = field(size=8)

    with connect("memory:") as session:
        session.add(New(cid=1, mid=1, moid=1, cap=1, name="x"))
        session.flush()
        with pytest.raises(SchemaError, match=r"@New\.upgrade_from\(First\)"):
            New.query.all()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"replaces": First},
            r"both take 4 bytes\. Either give it a version byte .*versioned=True\), or give the capture time .*since=",
        ),
        ({"replaces": Second, "version": 2}, r"both take 5 bytes\. Either choose another version with .*version=3\), or"),
        ({"replaces": 3}, "replaces=3 is not a model with records"),
        ({"replaces": TSModel}, "is not a model with records"),
        ({"versioned": 2}, "write version=2"),
        ({"version": 256}, "version=256 is not an int from 0 to 255"),
        ({"version": True}, "version=True is not an int"),
        ({"version": 1, "versioned": False}, "but versioned=False says there is none"),
        ({"since": 3}, "name it with replaces="),
        ({"replaces": First, "since": "2026-01-01"}, "since='2026-01-01': "),
        ({"replaces": Since, "since": 1000}, "records of Since start at .* a newer version must start later"),
        ({"abstract": True, "replaces": First}, "replaces= applies only to models with records"),
        ({"abstract": True, "version": 1}, "version= applies only to models"),
    ],
)
def test_invalid_version_options_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        made(**keywords)


def test_versions_must_fix_same_key_components() -> None:
    class Fixed(TSModel, moid=7):
        number: Int16

    with pytest.raises(SchemaError, match=r"does not fix moid, but Fixed, which it replaces, fixes moid as 7"):
        made(replaces=Fixed)
    with pytest.raises(SchemaError, match=r"fixes moid as 8, but Fixed"):
        made(replaces=Fixed, moid=8)
    assert made(replaces=Fixed, moid=7).layout.size == 4


def test_overlapping_variable_sizes_are_refused() -> None:
    class Short(TSModel):
        number: UInt8

    class Long(TSModel, replaces=Short):
        text: Text  # at least two bytes

    with pytest.raises(SchemaError, match=r"MadeOfText takes 0 bytes or more, and Short takes 1 bytes"):

        class MadeOfText(TSModel, replaces=Short):
            text: Text = field(rest=True)

    with pytest.raises(SchemaError, match="since="):

        class Message(TSModel, replaces=Long, encoding="msgpack"):
            text: Text


def test_structures_have_no_versions() -> None:
    with pytest.raises(SchemaError, match="version= applies only to models"):

        class Phase(TSStruct, version=1):
            volts: Float32


def test_upgrade_from_other_model_is_refused() -> None:
    class Third(TSModel, replaces=Second):
        text: Text = field(size=8)

    with pytest.raises(SchemaError, match="Third replaces Second, not First; records of First become Second first"):
        Third.upgrade_from(First)
    with pytest.raises(SchemaError, match="Third replaces Second, not Since$"):
        Third.upgrade_from(Since)
    with pytest.raises(SchemaError, match="First replaces no model"):
        First.upgrade_from(Second)
    with pytest.raises(SchemaError, match="decorates a function, not 3"):
        Third.upgrade_from(Second)(3)  # type: ignore[arg-type]


def test_invalid_unions_are_refused_up_front() -> None:
    with connect("memory:") as session:
        with pytest.raises(QueryError, match=r"First \| Since: both read records of First"):
            session.query(First | Since)
        with pytest.raises(
            QueryError, match="cannot be told apart: First takes 4 bytes, and Made takes 4 bytes. Fix a key"
        ):
            session.query(First | made())
        with pytest.raises(QueryError, match="int in a union is not a model"):
            session.query(First | int)  # type: ignore[call-overload]
        with pytest.raises(QueryError, match="TSModel in a union is not a model with records"):
            session.query(First | TSModel)
        assert session.query(First | First).all() == []
        assert repr(session.query(First | made(moid=7, version=1))) == "<Query of First | Made: all records>"


def test_column_of_older_version_uses_newer_offset() -> None:
    class Old(TSModel):
        last: Nullable[int] = field(item=Int16)

    class New(TSModel, replaces=Old):
        first: Nullable[int] = field(item=Int16)
        last: Nullable[int] = field(item=Int16)

    @New.upgrade_from(Old)
    def upgrade(old: Old) -> New:
        return New(cid=1, mid=1, moid=1, cap=1, first=5, last=old.last)

    with connect("memory:") as session:
        session.add_all([Old(cid=1, mid=1, moid=1, cap=1, last=None), Old(cid=1, mid=1, moid=1, cap=1, last=3)])
        session.flush()
        assert [row.last for row in New.query.where(Old.last == None)] == [None]  # noqa: E711
        assert [row.last for row in New.query.where(Old.last >= 3)] == [3]
