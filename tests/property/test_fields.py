"""Models of any field types: values round-trip, and bytes that no value encodes to are refused with field and offset."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples
from support.fields import models, rows, variable_models
from support.wiring import get_record

from tsmodel import TSModel
from tsmodel.client.record import Record
from tsmodel.errors import DecodeError, EncodeError
from tsmodel.layout import Fit
from tsmodel.model.model import codec_of
from tsmodel.types.bits import BitsCodec
from tsmodel.wire.chunk import RowChunk, parsed

any_model = models() | variable_models()

relaxed = settings(
    deadline=None, max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def chunk_of(batches: list[Any]) -> RowChunk:
    """Batches as a scan would return them, with acq 77."""
    answer = b""
    for batch in batches:
        data, at = bytes(batch.records), 0
        while at < len(data):
            (size,) = struct.unpack_from("<i", data, at)
            mid, moid, cap = struct.unpack_from("<qiq", data, at + 4)
            answer += get_record(data[at + 24 : at + 4 + size], batch.cid, mid, moid, cap, 77)
            at += 4 + size
    return parsed(memoryview(answer))


def shown(row: TSModel) -> str:
    return repr(msgspec.structs.replace(row, acq=77))


@relaxed
@given(any_model, st.data())
def test_records_round_trip(made: Any, data: st.DataObject) -> None:
    model, kinds = made
    written = data.draw(rows(model, kinds))
    codec = codec_of(model)
    fit = codec.fit(chunk_of(codec.encode(written)))
    assert fit.mismatches == ()
    by_cid = sorted(written, key=lambda row: row.cid)
    assert [repr(row) for row in codec.rows(fit.records)] == list(map(shown, by_cid))
    assert [repr(row) for row in codec.rows(fit.records[1:])] == list(map(shown, by_cid))[1:]
    for row in written:
        payload = codec.payload_of(row)
        assert codec.layout.size in (None, len(payload))
        again = model.from_record(Record(row.key, payload))
        assert repr(again) == repr(row)


def is_exempt(model: type[TSModel], values: tuple[Any, ...]) -> bool:
    """Messages can spell one value in many ways, and NaN has many bit patterns."""
    labels = [field.codec.label for field in codec_of(model).layout.fields]
    return "nan" in repr(values) or any("Packed" in label for label in labels)


def padding_blanked(model: type[TSModel], payload: bytes) -> bytes:
    """The payload with padding bytes and unused bits set to zero."""
    blank = bytearray(payload)
    layout = codec_of(model).layout
    used: dict[str, int] = {}
    for field in layout.fields:
        if isinstance(field.codec, BitsCodec):
            used[field.slot] = used.get(field.slot, 0) | (2**field.codec.bits - 1) << field.codec.shift
    for slot in layout.slots:
        if slot.name in used and slot.offset is not None:
            end = slot.offset + struct.calcsize(slot.code)
            order = slot.byte_order
            kept = int.from_bytes(blank[slot.offset : end], order) & used[slot.name]
            blank[slot.offset : end] = kept.to_bytes(end - slot.offset, order)
    for slot in layout.slots:
        if slot.gap and slot.offset is not None:
            blank[slot.offset - slot.gap : slot.offset] = bytes(slot.gap)
    if layout.tail:
        blank[-layout.tail :] = bytes(layout.tail)
    return bytes(blank)


@relaxed
@given(any_model, st.data())
def test_any_bytes_round_trip_or_are_refused(made: Any, data: st.DataObject) -> None:
    model, kinds = made
    codec = codec_of(model)
    size = codec.layout.size
    exact = st.binary(min_size=size, max_size=size) if size is not None else st.binary(max_size=40)
    written = codec.payload_of(data.draw(rows(model, kinds, most=1))[0])
    damaged = st.builds(
        lambda at, byte: written[:at] + bytes([byte]) + written[at + 1 :],
        st.integers(0, max(0, len(written) - 1)),
        st.integers(0, 255),
    )
    payload = data.draw(exact | damaged | st.binary(max_size=20))
    chunk = RowChunk.of([get_record(payload, 1, 2, 3, 4, 5), get_record(written, 1, 2, 3, 4, 5)])
    fit: Fit = codec.fit(chunk)
    assert len(fit.records) + len(fit.mismatches) == 2
    if fit.mismatches:
        (mismatch,) = fit.mismatches
        assert mismatch.payload == payload
        with pytest.raises(DecodeError) as caught:
            model.from_record(Record(mismatch.key, payload))
        assert 0 <= (caught.value.offset if caught.value.offset is not None else -1) <= len(payload)
        if mismatch.fault is not None and size is not None:
            assert (caught.value.field or "").split(".")[0] in (*codec.layout.names, "")
        return
    values = codec.values_of(payload)
    row = next(codec.rows(fit.records))
    assert repr(tuple(getattr(row, name) for name in codec.layout.names)) == repr(values)
    if is_exempt(model, values):
        return
    again = codec.payload_of(row)
    if any(slot.offset is None and (slot.gap or isinstance(slot.codec, BitsCodec)) for slot in codec.layout.slots):
        assert len(again) == len(payload)
        assert codec.values_of(again) == values
    else:
        assert again == padding_blanked(model, payload)


@relaxed
@given(any_model, st.data())
def test_value_of_wrong_type_is_refused_and_located(made: Any, data: st.DataObject) -> None:
    model, kinds = made
    written = data.draw(rows(model, kinds))
    at = data.draw(st.integers(0, len(written) - 1))
    name = data.draw(st.sampled_from(codec_of(model).layout.names))

    class Other:
        pass

    setattr(written[at], name, Other())
    with pytest.raises(EncodeError, match=rf"^record {at}: Made\.{name}: ") as caught:
        codec_of(model).encode(written)
    assert (caught.value.record, caught.value.field) == (at, name)
    with pytest.raises(EncodeError, match=rf"^Made\.{name}"):
        codec_of(model).payload_of(written[at])
