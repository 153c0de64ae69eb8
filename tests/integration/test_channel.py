"""Blocking and asynchronous channels against a server over TCP and TLS, and against misbehaving peers."""

from __future__ import annotations

import errno
import inspect
import random
import struct
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from support.channels import BlockingChannel, client_tls, server_tls
from support.peer import answering, playing, receive, silent
from support.wiring import OK, get_answer, get_record

from tsmodel import Float32, Int32, TSModel
from tsmodel.client.channel import Channel as SyncChannel
from tsmodel.client.channel_async import AsyncChannel
from tsmodel.client.payload_type import (
    BytesPayloadType,
    PayloadType,
    StructPayloadType,
    TuplePayloadType,
    UnitPayloadType,
)
from tsmodel.client.record import Key, Record
from tsmodel.client.response import Response, ResponseAcq, ResponseStatus
from tsmodel.errors import DecodeError, RemoteProtocolError, ServerError, TransportError, TruncatedError
from tsmodel.server import serve_in_thread
from tsmodel.timestamps import now_ns

Address = tuple[str, int]
GET_REQUEST = 12 + 64


class Reading(TSModel):
    counter: Int32
    volts: Float32


class Text(PayloadType[str]):
    """A user-defined payload type of variable size."""

    def to_bytes(self, value: str) -> bytes:
        return value.encode()

    def from_bytes(self, buffer: bytes) -> str | None:
        return None if buffer.startswith(b"\xff") else buffer.decode()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Any:
    return SyncChannel if request.param == "sync" else BlockingChannel


@pytest.fixture
def peer_channel(kind: Any) -> Any:
    """Creates channels to peers that speak plain TCP."""
    return kind


@pytest.fixture(params=["tcp", "tls"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def address(transport: str) -> Iterator[Address]:
    with serve_in_thread(ssl_context=server_tls() if transport == "tls" else None) as address:
        yield address


@pytest.fixture
def server_channel(kind: Any, transport: str) -> Any:
    """Creates channels to the server."""
    return partial(kind, ssl_context=client_tls() if transport == "tls" else None)


@pytest.mark.parametrize(
    ("payload_type", "values"),
    [
        (TuplePayloadType("<if?"), [(1, 2.5, True), (-1, 0.0, False)]),
        (TuplePayloadType("if?"), [(1, 2.5, True)]),
        (TuplePayloadType(""), [(), ()]),
        (StructPayloadType("<d"), [1.5, -2.0]),
        (BytesPayloadType(), [b"", b"a", b"bc" * 1000]),
        (UnitPayloadType(), [(), ()]),
        (Text(), ["", "zażółć", "x" * 70_000]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, PayloadType) else "",
)
def test_values_round_trip(
    address: Address, payload_type: PayloadType[object], values: list[object], server_channel: Any
) -> None:
    before = now_ns()
    with server_channel(*address, payload_type) as channel:
        put = channel.put([Record(Key(3, -5, 7, cap), value) for cap, value in enumerate(values)])
        got = channel.get(Key.min(), Key.max())
    assert put.is_ok()
    assert put.count == len(values)
    assert got.is_ok()
    assert [each.value for each in got.data] == values
    assert [each.key.astuple()[:4] for each in got.data] == [(3, -5, 7, cap) for cap in range(len(values))]
    assert put.acq_min is not None
    assert put.acq_max is not None
    assert before <= put.acq_min <= put.acq_max <= now_ns()
    assert {each.key.acq for each in got.data} == set(range(put.acq_min, put.acq_max + 1))


def test_model_is_a_payload_type(address: Address, server_channel: Any) -> None:
    reading = Reading(cid=1, mid=2, moid=3, cap=4, counter=5, volts=6.0)
    with server_channel(*address, Reading.payload_type) as channel:
        assert channel.put([reading.to_record()])
        (got,) = channel.get(Key.min(), Key.max()).data
    assert (got.value.counter, got.value.volts) == (5, 6.0)
    assert got.value.key == Key()
    assert Reading.from_record(got).key == got.key


def test_puta_keeps_acqs_and_get_acq_is_limited_by_its_range(address: Address, server_channel: Any) -> None:
    with server_channel(*address, UnitPayloadType()) as channel:
        assert channel.puta([Record(Key(1, 2, 3, 4, acq), ()) for acq in (50, 10)])
        got = channel.get(Key.min(), Key.max())
        assert sorted(each.key.acq for each in got.data) == [10, 50]
        assert 51 <= channel.get_acq(Key.min(), Key.max()).acq <= now_ns()
        assert channel.get_acq(Key.min(), Key(9, 9, 9, 9, 20)).acq == 20


def test_records_of_several_cids_in_any_order(address: Address, server_channel: Any) -> None:
    keys = [Key(cid, mid, 0, 0) for mid in range(50) for cid in (2, 0, 1)]
    with server_channel(*address, UnitPayloadType()) as channel:
        assert channel.put([Record(key, ()) for key in keys], max_batch_size=100).count == 150
        got = channel.get(Key.min(), Key.max()).data
    assert {each.key.astuple()[:2] for each in got} == {key.astuple()[:2] for key in keys}
    assert len(got) == 150


def test_put_larger_than_the_socket_buffers(address: Address, server_channel: Any) -> None:
    sent = [Record(Key(1, n, 0, 0), bytes([n % 256]) * 100_000) for n in range(200)]
    with server_channel(*address, BytesPayloadType(), timeout=60) as channel:
        assert channel.put(sent).count == 200
        got = channel.get(Key.min(), Key.max())
    assert sorted((record.key.mid, record.value) for record in got.data) == [(each.key.mid, each.value) for each in sent]


def test_get_iter_ends_with_the_acq(address: Address, server_channel: Any) -> None:
    with server_channel(*address, StructPayloadType("<i")) as channel:
        channel.put([Record(Key(1, 1, 1, cap), cap) for cap in range(10)])
        *records, last = channel.get_iter(Key.min(), Key.max())
    assert [each.value for each in records if isinstance(each, Record)] == list(range(10))
    assert isinstance(last, ResponseAcq)
    assert last.is_ok()
    assert last.acq == max(each.key.acq for each in records if isinstance(each, Record)) + 1


def test_get_iter_left_early_closes_the_connection(address: Address, server_channel: Any) -> None:
    with server_channel(*address, StructPayloadType("<i")) as channel:
        channel.put([Record(Key(1, 1, 1, cap), cap) for cap in range(10)])
        records = channel.get_iter(Key.min(), Key.max())
        next(records)
        records.close()  # type: ignore[attr-defined]
        assert channel.get_acq(Key.min(), Key.max()).status is ResponseStatus.DISCONNECTED
        assert channel.connect()
        assert len(channel.get(Key.min(), Key.max()).data) == 10


def test_get_stream_hands_over_batches(address: Address, server_channel: Any) -> None:
    batches: list[list[Record[bytes]]] = []
    with server_channel(*address, BytesPayloadType()) as channel:
        channel.put([Record(Key(1, 1, 1, cap), bytes(100)) for cap in range(1000)])
        assert channel.get_stream(Key.min(), Key.max(), batches.append, recv_buffer_size=4096).is_ok()
    assert sorted(each.key.cap for batch in batches for each in batch) == list(range(1000))
    assert max(map(len, batches)) <= 4096 // 136 + 1


def test_short_answer_is_one_batch_however_it_is_split(peer_channel: Any) -> None:
    batches: list[list[Record[bytes]]] = []
    with (
        playing(answering(GET_REQUEST, DIALOGUE, cuts=range(7, len(DIALOGUE), 7))) as address,
        peer_channel(*address, BytesPayloadType(), timeout=20) as channel,
    ):
        assert channel.get_stream(Key.min(), Key.max(), batches.append).acq == 77
    assert [each.key.mid for each in batches[0]] == list(range(1, 30))
    assert len(batches) == 1


@pytest.mark.parametrize("limit", [*range(41), 79, 80, 81, 90, 119, 120, 121, 319, 320, 321, 10_000])
def test_memory_limit(address: Address, server_channel: Any, limit: int) -> None:
    sent = [Record(Key(1, 2, 3, cap), cap) for cap in range(8)]  # 40 bytes each on the wire
    batches: list[list[Record[int]]] = []
    with server_channel(*address, StructPayloadType("<i"), timeout=20) as channel:
        channel.put(sent)
        channel.memory_limit = limit
        streamed = channel.get_stream(Key.min(), Key.max(), batches.append)
        assert channel.connect()
        got = channel.get(Key.min(), Key.max())
        assert channel.connect()
        *iterated, last = channel.get_iter(Key.min(), Key.max())
    fit = limit // 40
    assert streamed.status is (ResponseStatus.OK if fit else ResponseStatus.NO_MEMORY)
    if fit:
        full, rest = divmod(8, fit)
        assert [len(batch) for batch in batches] == [fit] * full + [rest] * bool(rest)
        assert [each.value for batch in batches for each in batch] == list(range(8))
    else:
        assert batches == []
    assert got.status is last.status is (ResponseStatus.OK if fit >= 8 else ResponseStatus.NO_MEMORY)
    assert [each.value for each in got.data] == [each.value for each in iterated] == list(range(8))[:fit]


def test_record_larger_than_the_memory_limit_after_others(address: Address, server_channel: Any) -> None:
    batches: list[list[Record[bytes]]] = []
    with server_channel(*address, BytesPayloadType(), timeout=20) as channel:
        channel.put([Record(Key(1, 1, 1, cap), bytes(size)) for cap, size in enumerate([0, 10, 64, 65, 0])])
        channel.memory_limit = 100
        response = channel.get_stream(Key.min(), Key.max(), batches.append)
        assert response.status is ResponseStatus.NO_MEMORY
        assert [[each.key.cap for each in batch] for batch in batches] == [[0, 1], [2]]
        assert channel.close() == Response(ResponseStatus.ERROR)


def test_records_before_a_lost_connection_are_handed_over(peer_channel: Any) -> None:
    batches: list[list[Record[bytes]]] = []
    with (
        playing(answering(GET_REQUEST, DIALOGUE[:-9])) as address,
        peer_channel(*address, BytesPayloadType(), timeout=20) as channel,
    ):
        assert channel.get_stream(Key.min(), Key.max(), batches.append).status is ResponseStatus.DISCONNECTED
    assert [each.key.mid for batch in batches for each in batch] == list(range(1, 30))


def test_no_batch_is_empty(address: Address, server_channel: Any) -> None:
    batches: list[object] = []
    with server_channel(*address, BytesPayloadType()) as channel:
        channel.put([Record(Key(1, 1, 1, 1), b"123")])
    with server_channel(*address, StructPayloadType("<d")) as channel:
        response = channel.get_stream(Key.min(), Key.max(), batches.append)
    assert response.status is ResponseStatus.UNPARSEABLE_ENTITY
    assert batches == []


def test_failed_key_names_the_invalid_record(address: Address, server_channel: Any) -> None:
    with server_channel(*address, StructPayloadType("<d")) as channel:
        assert channel.put([Record(Key(1, 2, 3, 4), 1.0), Record(Key(-5, 2), 1.0)]).failed_key == Key(-5, 2)


def test_positional_arguments() -> None:
    context = client_tls()
    sync = SyncChannel("localhost", 1, UnitPayloadType(), 2.5, 1000, context)
    assert (sync.timeout, sync.memory_limit) == (2.5, 1000)
    other = AsyncChannel("localhost", 1, UnitPayloadType(), 1000, context, timeout=2.5)
    assert (other.timeout, other.memory_limit) == (2.5, 1000)
    with pytest.raises(TypeError):
        AsyncChannel("localhost", 1, UnitPayloadType(), 1000, context, 2.5)  # type: ignore[misc]


def test_exception_of_the_callback_is_raised(address: Address, server_channel: Any) -> None:
    def refuse(_: object) -> None:
        raise KeyError("enough")

    with server_channel(*address, UnitPayloadType()) as channel:
        channel.put([Record(Key(1, 1, 1, 1), ())])
        with pytest.raises(KeyError, match="enough"):
            channel.get_stream(Key.min(), Key.max(), refuse)
        assert channel.get_acq(Key.min(), Key.max()).status is ResponseStatus.DISCONNECTED


@pytest.mark.parametrize(
    ("bad", "wording"),
    [
        (Record(Key(-1, 1, 1, 1), 1.0), "cid is -1; it must be 0 to 2147483646"),
        (Record(Key(1, 2**63 - 1, 1, 1), 1.0), "mid is 9223372036854775807"),
        (Record(Key(1, 1, 2**40, 1), 1.0), "moid is 1099511627776"),
        (Record(Key(1, 1, 1, 1), "text"), "required argument is not a float"),
    ],
)
def test_invalid_record_stops_a_put_before_it_is_sent(
    address: Address, bad: Record[float], wording: str, server_channel: Any
) -> None:
    good = [Record(Key(1, 1, 1, cap), float(cap)) for cap in range(3)]
    with server_channel(*address, StructPayloadType("<d")) as channel:
        refused = channel.put([*good, bad, *good])
        assert refused.status is ResponseStatus.BAD_REQUEST
        assert "record 3" in str(refused.error)
        assert wording in str(refused.error)
        assert channel.get(Key.min(), Key.max()).data == []

        lenient = channel.put([*good, bad, *good], skip_invalid=True)
        assert lenient.is_ok()
        assert (lenient.count, lenient.skipped) == (6, 1)
        assert len(channel.get(Key.min(), Key.max()).data) == 6


def test_payload_of_another_type(address: Address, server_channel: Any) -> None:
    with server_channel(*address, BytesPayloadType()) as channel:
        channel.put([Record(Key(1, 1, 1, 1), b"12345678"), Record(Key(1, 1, 1, 2), b"123"), Record(Key(1, 1, 1, 3), b"")])
    with server_channel(*address, StructPayloadType("<d")) as channel:
        got = channel.get(Key.min(), Key.max())
        assert got.status is ResponseStatus.UNPARSEABLE_ENTITY
        assert [each.key.cap for each in got.data] == [1]
        assert got.failed_key is not None
        assert got.failed_key.cap == 2
        assert isinstance(got.error, DecodeError)
        assert channel.get(Key.min(), Key.max()).status is ResponseStatus.DISCONNECTED


def test_payload_type_that_raises(address: Address, server_channel: Any) -> None:
    with server_channel(*address, BytesPayloadType()) as channel:
        channel.put([Record(Key(1, 1, 1, 1), b"\x80")])
    with server_channel(*address, Text()) as channel:
        got = channel.get(Key.min(), Key.max())
    assert got.status is ResponseStatus.UNPARSEABLE_ENTITY
    assert isinstance(got.error, DecodeError)
    assert isinstance(got.error.__cause__, UnicodeDecodeError)


def test_unreachable_server(peer_channel: Any) -> None:
    with playing() as address:
        pass
    channel = peer_channel(*address, UnitPayloadType(), timeout=5)
    response = channel.connect()
    assert response.status is ResponseStatus.ERROR
    assert isinstance(response.error, TransportError)
    assert isinstance(response.error.__cause__, ConnectionRefusedError)
    with pytest.raises(ConnectionRefusedError, match=f"connecting to {address[0]}:{address[1]} failed") as refused, channel:
        pass
    assert isinstance(refused.value, TransportError)
    assert refused.value.errno == errno.ECONNREFUSED
    assert channel.get(Key.min(), Key.max()).status is ResponseStatus.DISCONNECTED
    assert channel.put([]).status is ResponseStatus.DISCONNECTED


def test_calls_before_connecting_and_after_closing(address: Address, server_channel: Any) -> None:
    channel = server_channel(*address, UnitPayloadType())
    assert channel.get(Key.min(), Key.max()).status is ResponseStatus.DISCONNECTED
    assert channel.connect()
    assert channel.get(Key.min(), Key.max()).is_ok()
    assert channel.close() == Response(ResponseStatus.OK)
    assert channel.close() == Response(ResponseStatus.ERROR)
    assert channel.get_acq(Key.min(), Key.max()).status is ResponseStatus.DISCONNECTED


@pytest.mark.parametrize("call", ["get", "get_acq", "put"])
def test_server_that_never_answers(call: str, peer_channel: Any) -> None:
    with playing(silent) as address, peer_channel(*address, UnitPayloadType(), timeout=0.2) as channel:
        started = time.monotonic()
        arguments = ([Record(Key(1, 1, 1, 1), ())],) if call == "put" else (Key.min(), Key.max())
        response = getattr(channel, call)(*arguments)
        assert time.monotonic() - started < 10
        assert response.status is ResponseStatus.DISCONNECTED
        assert "timed out" in str(response.error)
        assert isinstance(response.error.__cause__, TimeoutError)
        assert getattr(channel, call)(*arguments).status is ResponseStatus.DISCONNECTED


def test_timeout_can_be_changed_while_connected(peer_channel: Any) -> None:
    with playing(silent) as address, peer_channel(*address, UnitPayloadType()) as channel:
        assert channel.timeout is None
        channel.timeout = 0.1
        assert "timed out" in str(channel.get_acq(Key.min(), Key.max()).error)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (struct.pack("<iQ", -7, 0), ResponseStatus.BAD_REQUEST),
        (OK + get_record(b"", 1, 1, 1, 1, 1) + struct.pack("<iiQ", 0, -7, 0), ResponseStatus.ERROR),
        (OK + struct.pack("<iiQ", 0, -7, 3) + b"abc", ResponseStatus.ERROR),
    ],
    ids=["at the beginning", "at the end", "with data"],
)
def test_refused_get(answer: bytes, status: ResponseStatus, peer_channel: Any) -> None:
    with playing(answering(GET_REQUEST, answer)) as address, peer_channel(*address, UnitPayloadType()) as channel:
        got = channel.get(Key.min(), Key.max())
        assert got.status is status
        assert got.server_status == -7
        assert isinstance(got.error, ServerError)
        assert "NOPERM" in str(got.error)
        assert channel.get_acq(Key.min(), Key.max()).status is ResponseStatus.DISCONNECTED


def test_server_refuses_a_put_before_reading_it(peer_channel: Any) -> None:
    def refusing(connection) -> None:  # type: ignore[no-untyped-def]
        receive(connection, 100)
        connection.sendall(struct.pack("<iQ", -5, 0))
        connection.shutdown(1)
        time.sleep(0.2)

    data = [Record(Key(1, 1, 1, cap), bytes(2**20)) for cap in range(64)]
    with playing(refusing) as address, peer_channel(*address, BytesPayloadType(), timeout=10) as channel:
        response = channel.put(data)
    if response.server_status is None:
        assert response.status is ResponseStatus.DISCONNECTED
        assert isinstance(response.error, TransportError)
    else:
        assert (response.status, response.server_status) == (ResponseStatus.ERROR, -5)


DIALOGUE = get_answer(
    *(get_record(bytes([mid]) * (mid % 5), 1, mid, 7, 10 * mid, mid) for mid in range(1, 30)),
    acq=77,
)


@pytest.mark.parametrize("size", [1, 3, 12, 45])
def test_answer_split_anywhere(size: int, peer_channel: Any) -> None:
    cuts = range(size, len(DIALOGUE), size)
    with (
        playing(answering(GET_REQUEST, DIALOGUE, cuts=cuts)) as address,
        peer_channel(*address, BytesPayloadType(), timeout=20) as channel,
    ):
        got = channel.get(Key.min(), Key.max(), recv_buffer_size=128)
    assert got.is_ok(), got
    assert got.acq == 77
    assert [each.value for each in got.data] == [bytes([mid]) * (mid % 5) for mid in range(1, 30)]


def test_answer_cut_off_anywhere(peer_channel: Any) -> None:
    ends = [0, 1, 4, 11, 12, 13, 15, 16, 48, 49, *random.Random(1).sample(range(50, len(DIALOGUE)), 40)]
    plays = [answering(GET_REQUEST, DIALOGUE[:end], reset=end % 2 == 1) for end in ends]
    with playing(*plays) as address:
        for end in ends:
            with peer_channel(*address, BytesPayloadType(), timeout=20) as channel:
                got = channel.get(Key.min(), Key.max())
                assert got.status is ResponseStatus.DISCONNECTED, (end, got)
                assert isinstance(got.error, (TruncatedError, TransportError))
                assert [each.key.mid for each in got.data] == list(range(1, len(got.data) + 1))
                assert channel.get_acq(Key.min(), Key.max()).status is ResponseStatus.DISCONNECTED


@pytest.mark.parametrize(
    ("answer", "wording"),
    [
        (OK + struct.pack("<i", -5), "says -5 bytes"),
        (OK + struct.pack("<i", 31), "says 31 bytes"),
        (OK + struct.pack("<i", 2**31 - 1), "says 2147483647 bytes"),
        (OK + struct.pack("<iiQ", 0, 0, 4) + bytes(4), "4 bytes of data where 8 are needed"),
        (DIALOGUE + b"more", "follow"),
    ],
)
def test_invalid_answers(answer: bytes, wording: str, peer_channel: Any) -> None:
    with (
        playing(answering(GET_REQUEST, answer)) as address,
        peer_channel(*address, BytesPayloadType(), timeout=20) as channel,
    ):
        got = channel.get(Key.min(), Key.max())
    assert got.status is ResponseStatus.ERROR
    assert isinstance(got.error, RemoteProtocolError)
    assert wording in str(got.error)


def test_unknown_data_in_headers_is_skipped(peer_channel: Any) -> None:
    answer = struct.pack("<iQ", 0, 5) + b"extra" + struct.pack("<iiQq", 0, 0, 12, 8) + b"more"
    with (
        playing(answering(GET_REQUEST, answer)) as address,
        peer_channel(*address, UnitPayloadType(), timeout=20) as channel,
    ):
        got = channel.get(Key.min(), Key.max())
    assert (got.status, got.acq, got.data) == (ResponseStatus.OK, 8, [])


def test_calls_have_the_parameters_of_the_official_client() -> None:
    keys, reading, storing = (
        "self, key_min, key_max",
        "recv_buffer_size=65536",
        "max_batch_size=2147483647, skip_invalid=False",
    )
    documented = {
        "get": f"({keys}, {reading})",
        "get_stream": f"({keys}, callback, {reading})",
        "get_iter": f"({keys}, {reading})",
        "get_acq": f"({keys})",
        "put": f"(self, data, {storing})",
        "puta": f"(self, data, {storing})",
    }
    for kind in (SyncChannel, AsyncChannel):
        for name, parameters in documented.items():
            signature = inspect.signature(getattr(kind, name))
            plain = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
            assert str(inspect.Signature(plain)) == parameters, (kind, name)
