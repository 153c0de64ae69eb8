"""Over TCP on this machine, against a bare socket that moves the same bytes, and against a loop as users write it.

The other side is a process of its own: a peer that sends recorded answers at full speed, or takes requests and answers at
once. So what is measured is our side alone; the server is measured as the sender.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import Reading, put, readings
from benchmarks.decode import PlainPayloadType, PlainRecord, plain_decode, plain_encode
from benchmarks.harness import Result, compared, race
from tsmodel import KeyRange, connect
from tsmodel.client.channel import Channel
from tsmodel.client.channel_async import AsyncChannel
from tsmodel.client.payload_type import NumpyPayloadType
from tsmodel.client.record import Key, Record
from tsmodel.store import open_store
from tsmodel.wire.server_role import get_begin, get_end, put_answer

COUNT = 1_000_000
OBJECTS = 200_000
RANGE = Key.min(), Key.max()
PAYLOAD = [("counter", "<i4"), ("volts", "<f4"), ("valid", "?")]
GUARD = struct.pack("<i", -1)
GET = struct.pack("<iQ", 1, 64) + Key.min().to_bytes() + Key.max().to_bytes()


def records_in_get_form(count: int) -> bytes:
    """A chunk of 45-byte records."""
    records = np.zeros(count, NumpyPayloadType(PAYLOAD).parsing_dtype)
    n = np.arange(count)
    records["_size"], records["cid"], records["moid"] = 41, 1, 7
    records["mid"], records["cap"], records["acq"] = n % 1000, n // 1000 * 10**9, n
    records["counter"], records["volts"], records["valid"] = n, n / 2, n % 3 == 0
    return records.tobytes()


def answer_all(listener: socket.socket, answer: bytes) -> None:
    """The peer: sends one recorded answer to each GET, and acknowledges each PUT at its end guard."""
    stored = b"".join(put_answer(1, 2))
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_answer, args=(connection, answer, stored), daemon=True).start()


def _answer(connection: socket.socket, answer: bytes, stored: bytes) -> None:
    buffer = memoryview(bytearray(2**20))
    with connection:
        while received := connection.recv_into(buffer, len(GET)):
            if buffer[0] == 1:
                connection.sendall(answer)
                continue
            # The records here contain no guard except the last four bytes, however they are split into batches.
            end = bytes(buffer[:received])
            while not end.endswith(GUARD):
                received = connection.recv_into(buffer)
                end = (end + bytes(buffer[max(0, received - len(GUARD)) : received]))[-len(GUARD) :]
            connection.sendall(stored)


@contextmanager
def peer(answer: bytes, request: bytes = GUARD) -> Iterator[tuple[str, int]]:
    """Runs a peer in its own process, for puts of the records in `request`."""
    assert request.index(GUARD) == len(request) - len(GUARD)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.get_context("fork").Process(target=answer_all, args=(listener, answer), daemon=True)
        process.start()
        try:
            yield listener.getsockname()
        finally:
            process.terminate()
            process.join()


def receive_bare(address: tuple[str, int], size: int) -> None:
    """Does the least that a client can do: receive the bytes."""
    buffer = memoryview(bytearray(2**20))
    with socket.create_connection(address) as connection:
        connection.sendall(GET)
        left = size
        while left:
            left -= connection.recv_into(buffer)


def send_bare(address: tuple[str, int], request: bytes) -> None:
    """Does the least that a client can do: send the bytes and wait for the answer."""
    with socket.create_connection(address) as connection:
        connection.sendall(request)
        connection.recv(64)


def receive_plain(address: tuple[str, int], size: int) -> list[PlainRecord]:
    """Does what users write: receive, then loop over the records."""
    data = bytearray()
    with socket.create_connection(address) as connection:
        connection.sendall(GET)
        while len(data) < size:
            data += connection.recv(65536)
    return plain_decode(memoryview(data)[12:-24], PlainPayloadType())


def request_of(records: np.ndarray[Any, Any]) -> bytes:
    """Returns the bytes of a put of these columns."""
    batches = NumpyPayloadType(PAYLOAD).encode(records, with_acq=False).batches
    body = b"".join(struct.pack("<ii", batch.cid, len(batch.records)) + bytes(batch.records) for batch in batches)
    return struct.pack("<iQ", 5, 0) + body + GUARD


def with_channel(address: tuple[str, int], payload_type: Any, call: Callable[[Channel[Any]], object]) -> Callable[[], None]:
    """Makes a call on a new channel."""

    def work() -> None:
        with Channel(*address, payload_type) as channel:
            assert call(channel)

    return work


def with_async_channel(
    address: tuple[str, int], payload_type: Any, call: Callable[[AsyncChannel[Any]], Awaitable[object]]
) -> Callable[[], None]:
    """Makes a call on a new asynchronous channel."""

    async def main() -> None:
        async with AsyncChannel(*address, payload_type) as channel:
            assert await call(channel)

    return lambda: asyncio.run(main())


def client_rows() -> list[Result]:
    """Measures GET and PUT of columns and of objects."""
    chunk = records_in_get_form(COUNT)
    answer = b"".join([*get_begin(), chunk, *get_end(1)])
    columns = np.frombuffer(chunk, NumpyPayloadType(PAYLOAD).parsing_dtype)
    numpy_type = NumpyPayloadType(PAYLOAD)
    with peer(answer, request := request_of(columns)) as address:
        times = race(
            {
                "bare receive": lambda: receive_bare(address, len(answer)),
                "get": with_channel(address, numpy_type, lambda channel: channel.get(*RANGE)),
                "async get": with_async_channel(address, numpy_type, lambda channel: channel.get(*RANGE)),
                "bare send": lambda: send_bare(address, request),
                "put": with_channel(address, numpy_type, lambda channel: channel.put(columns)),
                "async put": with_async_channel(address, numpy_type, lambda channel: channel.put(columns)),
            }
        )
    rate = f"{COUNT / min(times['get']) / 1e6:.0f} M records/s"
    sent = f"{COUNT / min(times['put']) / 1e6:.0f} M records/s"
    return [
        compared("GET to columns", times, "get", "bare receive", 0.6, f"{rate}; peer: a bare socket, receiving"),
        compared("GET to columns, async", times, "async get", "get", 0.9, "peer: sync"),
        compared("PUT of columns", times, "put", "bare send", 0.5, f"{sent}; peer: a bare socket, sending"),
        compared("PUT of columns, async", times, "async put", "put", 0.9, "peer: sync"),
    ]


def serve_flight(records: bytes, said: Connection) -> None:
    """Runs an Arrow Flight server of one table: the columns of some records in GET form."""
    import pyarrow as pa
    from pyarrow import flight

    columns = np.frombuffer(records, NumpyPayloadType(PAYLOAD).parsing_dtype)
    table = pa.table({name: columns[name] for name in columns.dtype.names or () if name != "_size"})

    class Server(flight.FlightServerBase):  # type: ignore[misc]
        def do_get(self, _context: object, _ticket: object) -> object:
            return flight.RecordBatchStream(table)

    server = Server("grpc://127.0.0.1:0")
    said.send(server.port)
    server.serve()


@contextmanager
def flight_peer(records: bytes) -> Iterator[Callable[[], object]]:
    """Yields a function that gets a table from an Arrow Flight server in its own process."""
    from pyarrow import flight

    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve_flight, args=(records, there), daemon=True)
    process.start()
    try:
        with flight.connect(f"grpc://127.0.0.1:{here.recv()}") as client:
            yield lambda: client.do_get(flight.Ticket(b"all")).read_all()
    finally:
        process.terminate()
        process.join()


def frame_rows() -> list[Result]:
    """Measures GET to frames by a query."""
    chunk = records_in_get_form(COUNT)
    answer = b"".join([*get_begin(), chunk, *get_end(1)])
    with peer(answer) as address, connect("tstorage://{}:{}".format(*address)) as session, flight_peer(chunk) as get_flight:
        query = session.query(Reading)
        assert get_flight().num_rows == len(query.to_numpy()["mid"]) == query.to_arrow().num_rows  # type: ignore[attr-defined]
        times = race(
            {
                "bare receive": lambda: receive_bare(address, len(answer)),
                "numpy": query.to_numpy,
                "arrow": query.to_arrow,
                "flight": get_flight,
            }
        )
    return [
        compared("query to NumPy", times, "numpy", "bare receive", 0.75, "peer: a bare socket, receiving"),
        compared("query to Arrow", times, "arrow", "flight", 1.25, "peer: Arrow Flight, the same columns"),
    ]


def object_rows() -> list[Result]:
    """Measures GET and PUT of objects by a session."""
    chunk = records_in_get_form(OBJECTS)
    answer = b"".join([*get_begin(), chunk, *get_end(1)])
    rows = readings(OBJECTS)
    plain = plain_decode(memoryview(chunk), PlainPayloadType())
    request = request_of(np.frombuffer(chunk, NumpyPayloadType(PAYLOAD).parsing_dtype))
    payload_type = Reading.payload_type
    keyed = [Record(row.key, row) for row in rows]
    with peer(answer, request) as address, connect("tstorage://{}:{}".format(*address), batch_size=10 * OBJECTS) as session:
        query = session.query(Reading)

        def stream() -> None:
            for _ in query.batches(10_000):
                pass

        def put_models() -> None:
            session.add_all(rows)
            session.flush()

        def put_plain() -> None:
            body = plain_encode(plain, PlainPayloadType())
            send_bare(address, struct.pack("<iQ", 5, 0) + body + GUARD)

        times = race(
            {
                "plain get": lambda: receive_plain(address, len(answer)),
                "all": query.all,
                "stream": stream,
                "records": with_channel(address, payload_type, lambda channel: channel.get(*RANGE)),
                "plain put": put_plain,
                "put": put_models,
                "put records": with_channel(address, payload_type, lambda channel: channel.put(keyed)),
            },
            rounds=5,
        )
    loop = "peer: receive, then a loop of struct.unpack"
    return [
        compared("GET to models, streamed", times, "stream", "plain get", 10, loop),
        compared("GET to models, all()", times, "all", "plain get", 10, loop),
        compared("GET to Record(Key, model)", times, "records", "plain get", 5, loop),
        compared("PUT of models", times, "put", "plain put", 3, "peer: a loop of struct.pack, then send"),
        compared(
            "PUT of Record(Key, model)", times, "put records", "plain put", 2, "peer: a loop of struct.pack, then send"
        ),
    ]


@contextmanager
def served(path: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Runs our server in its own process."""
    command = [sys.executable, "-m", "tsmodel", "serve", "--data", str(path), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        host, port = process.stdout.readline().split()[3].rsplit(":", 1)
        try:
            yield host, int(port)
        finally:
            process.terminate()


def server_rows() -> list[Result]:
    """Measures what the server sends, alone and to 200 clients at once."""
    with tempfile.TemporaryDirectory(dir=".") as directory:
        path = Path(directory, "served.tsdb")
        store = open_store(path)
        for first in range(0, COUNT, 100_000):
            put(store, readings(100_000, first))
        with store.scan(KeyRange()) as scan:
            answer = b"".join([*get_begin(), *(chunk.rows() for chunk in scan), *get_end(1)])
        store.close()
        with peer(answer) as bare, served(path) as ours, served(path, "--cache-bytes", "0") as uncached:
            times = race(
                {
                    "bare": lambda: receive_bare(bare, len(answer)),
                    "ours": lambda: receive_bare(ours, len(answer)),
                    "uncached": lambda: receive_bare(uncached, len(answer)),
                }
            )
            latencies, failed = crowd(ours)
        with served(Path(directory, "put.tsdb")) as address:
            one, many = puts_at_once(address, 1), puts_at_once(address, 60)
    rate, slower = (f"{COUNT / min(times[name]) / 1e6:.0f} M records/s" for name in ("ours", "uncached"))
    ordered = sorted(latencies)
    p99 = ordered[int(len(ordered) * 0.99)]
    return [
        compared("server: GET of whole blocks", times, "ours", "bare", 0.9, f"{rate}; peer: a bare socket, sending"),
        compared("the same without its cache", times, "uncached", "bare", 0.25, f"{slower}; peer: a bare socket, sending"),
        Result(
            "server: puts of one record by 60 clients",
            1 / many,
            "one client",
            1 / one,
            many / one,
            "3",
            many >= 3 * one,
            f"{many:.0f} puts/s, {one:.0f} by one client; each has a cid of its own",
        ),
        Result(
            "server: 200 connections at once",
            statistics.median(latencies),
            "",
            None,
            None,
            "none fails",
            failed == 0,
            f"each connects and reads 1,000 records; p99 {p99 * 1000:.0f} ms, {failed} failed",
        ),
    ]


def puts_at_once(address: tuple[str, int], clients: int, seconds: float = 2) -> float:
    """Returns how many puts of one record a second many clients make that wait for each answer."""
    done = count()
    until = time.perf_counter() + seconds
    with selectors.DefaultSelector() as ready:
        for cid in range(clients):
            connection = socket.create_connection(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ready.register(connection, selectors.EVENT_READ, cid)
            connection.sendall(one_record(cid, 0))
        while time.perf_counter() < until:
            for key, _ in ready.select(1):
                answer = key.fileobj.recv(64)  # type: ignore[union-attr]
                assert answer[:4] == bytes(4)
                key.fileobj.sendall(one_record(key.data, next(done)))  # type: ignore[union-attr]
        for key in list(ready.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return next(done) / seconds


def one_record(cid: int, cap: int) -> bytes:
    """Returns the bytes of a put of one record."""
    record = struct.pack("<iqiq", 29, cap % 1000, 7, cap) + b"123456789"
    return struct.pack("<iQii", 5, 0, cid, len(record)) + record + GUARD


def crowd(address: tuple[str, int]) -> tuple[list[float], int]:
    """Returns the seconds that each of 200 simultaneous clients took, and how many failed."""
    taken: list[float] = []
    gate = threading.Barrier(200)

    def read(mid: int) -> None:
        gate.wait()
        start = time.perf_counter()
        with Channel(*address, NumpyPayloadType(PAYLOAD), timeout=60) as channel:
            got = channel.get(Key(1, mid, 0, 0, 0), Key(2, mid + 1, 9, 2**62, 2**62))
        arrays: list[Any] = got.data
        if got.is_ok() and sum(map(len, arrays)) == 1000:
            taken.append(time.perf_counter() - start)

    threads = [threading.Thread(target=read, args=(mid,)) for mid in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken, 200 - len(taken)


def measure() -> list[Result]:
    """Measures all rows."""
    return [*client_rows(), *frame_rows(), *object_rows(), *server_rows()]
