"""The server from its peers' point of view: exact bytes, bad, slow and many peers, and shutdown."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.batches import batches, scanned
from support.channels import authority, client_tls, server_tls
from support.wiring import OK, get_record, put_of, put_record

from tsmodel import Int32, TSModel, connect, now_ns
from tsmodel.backend import Scan
from tsmodel.cli import main
from tsmodel.client.channel import Channel
from tsmodel.client.payload_type import BytesPayloadType, UnitPayloadType
from tsmodel.client.record import Key, Record
from tsmodel.client.tstorage import TStorageBackend
from tsmodel.errors import SessionError, TransportError, WriteError
from tsmodel.io.effects import Receive, Send
from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.server import Listener, serve_in_thread
from tsmodel.server.conversation import Conversation, Memory
from tsmodel.server.monitoring import serve_metrics
from tsmodel.store import EmbeddedStore, open_store
from tsmodel.wire.chunk import Chunk, RowChunk

Address = tuple[str, int]
EVERYTHING = Key.min().to_bytes() + Key.max().to_bytes()
CONTRACT = Path(__file__).parent / "seed_usage.py"


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    store = open_store(None)
    yield store
    store.close()


@pytest.fixture
def address(store: EmbeddedStore) -> Iterator[Address]:
    with serve_in_thread(store) as address:
        yield address


def said(address: Address, request: bytes, *, end: bool = True) -> bytes:
    """Returns what the server sends until it closes. With `end`, the peer shuts down its sending side."""
    with socket.create_connection(address, 10) as connection:
        connection.sendall(request)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def serves(address: Address) -> bool:
    with Channel(*address, BytesPayloadType(), timeout=10) as channel:
        return channel.get(Key.min(), Key.max()).is_ok()


def test_dialogue_bytes(address: Address) -> None:
    before = now_ns()
    request = put_of((1, [put_record(b"abc", 2, 3, 4)]))
    status, size, acq_min, acq_max = struct.unpack("<iQqq", said(address, request))
    assert (status, size) == (0, 16)
    assert before <= acq_min == acq_max <= now_ns()

    answer = said(address, struct.pack("<iQ", 1, 64) + EVERYTHING)
    record = get_record(b"abc", 1, 2, 3, 4, acq_min)
    assert answer[: len(OK) + len(record) + 16] == OK + record + struct.pack("<iiQ", 0, 0, 8)
    (acq,) = struct.unpack_from("<q", answer, len(OK) + len(record) + 16)
    assert acq_max < acq <= now_ns()
    assert len(answer) == len(OK) + len(record) + 24

    status, size, again = struct.unpack("<iQq", said(address, struct.pack("<iQ", 7, 64) + EVERYTHING))
    assert (status, size) == (0, 8)
    assert acq <= again <= now_ns()


def test_many_requests_on_one_connection(address: Address) -> None:
    puta = put_of((5, [put_record(b"", 1, 1, 1, 9), put_record(b"x", 2, 1, 1, 8)]), command=6)
    get = struct.pack("<iQ", 1, 70) + b"excess" + EVERYTHING
    answer = said(address, puta + get + puta + get)
    assert answer.count(get_record(b"x", 5, 2, 1, 1, 8)) == 3
    assert answer.startswith(struct.pack("<iQqq", 0, 16, 8, 9) + OK)


def test_records_with_a_reserved_greatest_value_are_skipped(address: Address, store: EmbeddedStore) -> None:
    greatest = {name: limits.bound for name, limits in LIMITS.items()}
    records = [put_record(b"", 1, 1, 1), put_record(b"", greatest["mid"], 1, 1), put_record(b"", 1, greatest["moid"], 1)]
    records.append(put_record(b"", 1, 1, greatest["cap"]))
    answer = said(address, put_of((1, records), (greatest["cid"], records[:1])))
    assert answer[:12] == struct.pack("<iQ", 0, 16)
    assert len(scanned(store)) == 1


@pytest.mark.parametrize(
    ("key_min", "key_max"),
    [
        (Key(-1, 0, 0, 0, 0), Key(9, 9, 9, 9, 9)),
        (Key(-1, 0, 0, 0, 0), Key(-1, 0, 0, 0, 0)),
        (Key(0, 0, 0, 0, 2**62), Key(9, 9, 9, 9, 2**63 - 1)),
        (Key(1, 0, 0, 0, 2**62), Key(1, 9, 9, 9, 5)),
    ],
    ids=["negative cid", "negative cid, empty", "from the future", "from the future, empty"],
)
def test_bad_ranges_are_refused(address: Address, key_min: Key, key_max: Key) -> None:
    keys = key_min.to_bytes() + key_max.to_bytes()
    refused = struct.pack("<iQ", -1, 0)
    assert said(address, struct.pack("<iQ", 1, 64) + keys, end=False) == OK + struct.pack("<i", 0) + refused
    assert said(address, struct.pack("<iQ", 7, 64) + keys, end=False) == refused


@pytest.mark.parametrize(
    ("key_min", "key_max", "acq"),
    [
        (Key(0, 0, 0, 0, 0), Key(-5, 9, 9, 9, 9), 9),
        (Key(1, 0, 0, 0, 0), Key(1, 9, 9, 9, 9), 9),
        (Key(0, 5, 0, 0, 0), Key(9, 1, 9, 9, 9), 9),
        (Key(0, 0, 0, 0, 8), Key(9, 9, 9, 9, 3), 3),
        (Key(0, 0, 0, 0, 0), Key(0, *Key.max().astuple()[1:]), None),
    ],
    ids=["negative end", "empty", "reversed", "acq reversed", "no end of acq"],
)
def test_empty_range_has_a_last_acq_and_no_records(address: Address, key_min: Key, key_max: Key, acq: int | None) -> None:
    keys = key_min.to_bytes() + key_max.to_bytes()
    before = now_ns()
    status, size, answer = struct.unpack("<iQq", said(address, struct.pack("<iQ", 7, 64) + keys))
    assert (status, size) == (0, 8)
    assert before <= answer <= now_ns() if acq is None else answer == acq
    refused = OK + struct.pack("<iiQ", 0, -1, 0)
    assert said(address, struct.pack("<iQ", 1, 64) + keys, end=False) == refused


def test_range_that_starts_now_is_served(address: Address) -> None:
    with Channel(*address, UnitPayloadType(), timeout=10) as channel:
        for _ in range(20):
            key_min = Key(0, 0, 0, 0, now_ns())
            assert channel.get(key_min, Key.max()).is_ok()
            assert channel.get_acq(key_min, Key.max()).acq >= key_min.acq


def test_last_acq_follows_the_clock_without_puts(address: Address) -> None:
    with Channel(*address, UnitPayloadType(), timeout=10) as channel:
        first = channel.get_acq(Key.min(), Key.max()).acq
        time.sleep(0.15)
        second = channel.get_acq(Key.min(), Key.max()).acq
        put = channel.put([Record(Key(1, 1, 1, 1), ())])
    assert first < second
    assert put.acq_min is not None
    assert put.acq_min >= second


BAD = [
    struct.pack("<iQ", 2, 0),
    struct.pack("<iQ", -1, 2**64 - 1),
    struct.pack("<iQ", 1, 3) + b"abc",
    struct.pack("<iQi", 5, 0, -2),
    struct.pack("<iQii", 5, 0, 1, -4),
    put_of((1, [struct.pack("<i", -4) + bytes(40)])),
    put_of((1, [struct.pack("<i", 21 + 2**25)])),
    put_of((1, [put_record(b"abc", 1, 1, 1)[:-1]])),
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", BAD)
def test_invalid_requests_are_refused(address: Address, store: EmbeddedStore, request_bytes: bytes) -> None:
    (status, size) = struct.unpack("<iQ", said(address, request_bytes))
    assert status < 0
    assert size == 0
    assert scanned(store) == []
    assert serves(address)


@pytest.mark.parametrize("step", [1, 1000])
def test_requests_before_garbage_are_answered(address: Address, store: EmbeddedStore, step: int) -> None:
    puta = put_of((5, [put_record(b"x", 2, 1, 1, 8)]), command=6)
    requests = puta + struct.pack("<iQ", 1, 64) + EVERYTHING + b"what is this"
    with socket.create_connection(address, 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(requests), step):
            connection.sendall(requests[at : at + step])
        answer = b""
        while part := connection.recv(65536):
            answer += part
    put, get = struct.pack("<iQqq", 0, 16, 8, 8), OK + get_record(b"x", 5, 2, 1, 1, 8) + struct.pack("<iiQ", 0, 0, 8)
    assert answer.startswith(put + get)
    assert answer[len(put + get) + 8 :] == struct.pack("<iQ", -2, 0)
    assert sum(len(chunk) for chunk in store.scan(KeyRange())) == 1


def test_puts_cut_off_anywhere_store_nothing(address: Address, store: EmbeddedStore) -> None:
    records = [put_record(bytes(n), 1, 2, n) for n in range(4)]
    request = put_of((1, records), (2, records))
    for end in range(len(request)):
        said(address, request[:end])
    assert scanned(store) == []
    said(address, request)
    assert len(scanned(store)) == 8


def test_random_bytes(address: Address) -> None:
    rng = random.Random(5)
    for _ in range(150):
        start = rng.choice([b"", struct.pack("<iQ", rng.choice([1, 5, 6, 7]), rng.choice([0, 64, 2**63]))])
        said(address, start + rng.randbytes(rng.randrange(200)))
    assert serves(address)


def test_connection_reset_during_a_put_stores_nothing(address: Address, store: EmbeddedStore) -> None:
    records = [put_record(bytes(100), 1, 1, cap) for cap in range(10_000)]
    with socket.create_connection(address, 10) as connection:
        connection.sendall(put_of((1, records))[:-4])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.1)
    assert scanned(store) == []
    assert serves(address)


def test_peer_that_does_not_read_blocks_no_other(address: Address, store: EmbeddedStore) -> None:
    store.append(batches([(1, n, 0, 0, bytes(2**20)) for n in range(64)]))
    with socket.create_connection(address, 10) as stubborn:
        stubborn.sendall(struct.pack("<iQ", 1, 64) + EVERYTHING)
        time.sleep(0.1)
        with Channel(*address, BytesPayloadType(), timeout=10) as channel:
            assert len(channel.get(Key.min(), Key.max()).data) == 64
            assert channel.put([Record(Key(2, 1, 1, 1), b"")]).is_ok()


class Reusing:
    """A backend whose chunks share one buffer."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store

    def scan(self, box: KeyRange) -> Scan:
        return Scan(self._chunks(box))

    def _chunks(self, box: KeyRange) -> Generator[Chunk, None, int]:
        buffer = bytearray(2**20)
        with self._store.scan(box) as scan:
            for chunk in scan:
                buffer[: chunk.nbytes] = chunk.rows()
                yield RowChunk(memoryview(buffer)[: chunk.nbytes], len(chunk), chunk.record_size)
            return scan.acq

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_chunks_in_a_shared_buffer_are_sent_one_by_one(store: EmbeddedStore) -> None:
    for cid in range(20):
        store.append(batches([(cid, cid, 0, 0, b"%d" % cid)]))
    with serve_in_thread(Reusing(store)) as address, Channel(*address, BytesPayloadType(), timeout=10) as channel:
        got = channel.get(Key.min(), Key.max())
    assert sorted((record.key.cid, record.value) for record in got.data) == [(cid, b"%d" % cid) for cid in range(20)]


def test_put_larger_than_max_put_is_refused(store: EmbeddedStore) -> None:
    listener = Listener(store, max_put=1000)
    thread = threading.Thread(target=listener.serve)
    thread.start()
    records = [put_record(bytes(100), 1, 1, cap) for cap in range(20)]
    try:
        assert said(listener.address, put_of((1, records))) == struct.pack("<iQ", -5, 0)
        assert said(listener.address, put_of((1, records[:5])))[:4] == bytes(4)
    finally:
        listener.stop()
        thread.join()
    assert len(scanned(store)) == 5


def test_connection_above_the_limit_is_refused(store: EmbeddedStore) -> None:
    with serve_in_thread(store, max_connections=2) as address:
        with (
            Channel(*address, UnitPayloadType(), timeout=10) as first,
            Channel(*address, UnitPayloadType(), timeout=10) as second,
        ):
            assert first.get(Key.min(), Key.max()).is_ok()
            assert second.get(Key.min(), Key.max()).is_ok()
            with Channel(*address, UnitPayloadType(), timeout=10) as third:
                assert not third.get(Key.min(), Key.max()).is_ok()
        for _ in range(100):
            try:
                assert serves(address)
                break
            except (AssertionError, OSError):
                time.sleep(0.05)
        assert serves(address)


def test_idle_connection_is_closed() -> None:
    with serve_in_thread(idle_timeout=0.1) as address:
        assert said(address, b"", end=False) == b""
        assert said(address, struct.pack("<iQ", 5, 0), end=False) == b""


def test_many_connections_at_once(address: Address, store: EmbeddedStore) -> None:
    store.append(batches([(1, n, 0, 0, b"123456789") for n in range(1000)]))
    counts: list[int] = []

    def read() -> None:
        with Channel(*address, BytesPayloadType(), timeout=60) as channel:
            counts.append(len(channel.get(Key.min(), Key.max()).data))

    threads = [threading.Thread(target=read) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [1000] * 60


def test_restarted_server_continues_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "served.tsdb"
    for count, target in ((1, str(path)), (2, path)):
        with serve_in_thread(target) as address, Channel(*address, UnitPayloadType(), timeout=10) as channel:
            channel.put([Record(Key(1, 1, 1, 1), ())])
            assert len(channel.get(Key.min(), Key.max()).data) == count


def test_address_in_use(address: Address, store: EmbeddedStore) -> None:
    with pytest.raises(TransportError, match=f"port {address[1]} is in use on 127.0.0.1; choose another"):
        Listener(store, *address)
    with pytest.raises(TransportError, match="cannot listen"):
        Listener(store, port=99999)


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_ipv6() -> None:
    try:
        server = serve_in_thread(host="::1")
        with server as (host, port), connect(f"tstorage://[{host}]:{port}?timeout=10") as session:
            assert session.query(Mark).count() == 0
    except TransportError:
        pytest.skip("this machine has no ::1")


class Mark(TSModel):
    number: Int32


def command(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tsmodel", "serve", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def listening(process: subprocess.Popen[str]) -> Address:
    assert process.stdout is not None
    line = process.stdout.readline()
    host, port = line.split()[3].rsplit(":", 1)
    return host, int(port)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", None)])
def test_command_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    process = command("--data", "served.tsdb", "--port", "0", cwd=tmp_path)
    with connect("tstorage://{}:{}?timeout=10".format(*listening(process))) as session:
        session.add(Mark(cid=1, mid=1, moid=1, cap=1, number=5))
        session.flush()
        process.send_signal(number)
        out, log = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert "INFO    connection 1 from 127.0.0.1:" in log
    assert "Traceback" not in log
    assert [path.name for path in tmp_path.iterdir()] == ["served.tsdb"]
    with connect(tmp_path / "served.tsdb"):
        assert Mark.query.one().number == 5


def test_command_errors(tmp_path: Path) -> None:
    for arguments, wording in (
        (("--port", "99999", "--memory"), "argument --port: '99999' is not a port from 0 to 65535"),
        (("--data", "none/served.tsdb"), "create it first"),
        (("--memory", "--tls-key", "key.pem"), "add --tls-cert"),
        (("--memory", "--tls-cert", "none.pem"), "TLS cannot use none.pem"),
    ):
        out, error = command(*arguments, cwd=tmp_path).communicate(timeout=20)
        assert out == ""
        assert error.startswith("tsmodel: ")
        assert wording in error
        assert "Traceback" not in error


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory use from /proc")
def test_false_sizes_allocate_no_memory(tmp_path: Path) -> None:
    process = command("--memory", "--port", "0", cwd=tmp_path)
    address = listening(process)
    said(address, struct.pack("<iQ", 1, 64) + EVERYTHING)

    def resident() -> int:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    before = resident()
    lies = [struct.pack("<iQ", code, 2**63) for code in (1, 5, 6, 7)]
    lies.append(struct.pack("<iQiii", 5, 0, 1, 2**31 - 1, 2**25))
    for lie in lies:
        with socket.create_connection(address, 10) as connection:
            connection.sendall(lie + bytes(2**16))
            time.sleep(0.05)
            assert resident() - before < 10 * 2**20
    process.terminate()
    process.communicate(timeout=20)


def test_official_usage_example(tmp_path: Path) -> None:
    process = command("--memory", "--port", "0", cwd=tmp_path)
    host, port = listening(process)
    done = subprocess.run(
        [sys.executable, CONTRACT, host, str(port)], capture_output=True, text=True, timeout=60, check=False
    )
    process.terminate()
    process.communicate(timeout=20)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("ok\n")


def test_example_application(tmp_path: Path, address: Address) -> None:
    (tmp_path / "records.csv").write_text("1,2,3,4,00ff\n1,2,3,5,\n")
    arguments = [*map(str, address), "1", "2", "3", "0", str(LIMITS["acq"].least), *["9"] * 4, str(LIMITS["acq"].bound)]
    application = [sys.executable, "-m", "tsmodel.client", *arguments]

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*application, name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    done = run("records.csv")
    assert done.returncode == 0, done.stderr
    lines = [line.split(",") for line in done.stdout.splitlines()]
    assert [line[:4] + line[5:] for line in lines] == [["1", "2", "3", "4", "00ff"], ["1", "2", "3", "5", ""]]
    assert len(KEY_FIELDS) == len(lines[0]) - 1
    (tmp_path / "records.csv").write_text("1,2,3,4,00ff\n1,2,3,5,zz\n")
    done = run("records.csv")
    assert done.returncode == 1
    assert "records.csv, line 2: non-hexadecimal" in done.stderr
    assert "none.csv" in run("none.csv").stderr


class Flaky:
    """A listening socket whose first accepts fail."""

    def __init__(self, listening: socket.socket, failures: list[OSError]) -> None:
        self._listening, self._failures = listening, failures

    def accept(self) -> Any:
        if self._failures:
            raise self._failures.pop()
        return self._listening.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listening, name)


def test_failing_accept_does_not_stop_the_server(store: EmbeddedStore, caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener(store)
    failures = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.ECONNABORTED, "aborted")] * 2
    listener._socket = Flaky(listener._socket, failures)  # type: ignore[assignment]
    thread = threading.Thread(target=listener.serve)
    thread.start()
    assert serves(listener.address)
    assert not failures
    listener.stop()
    thread.join(20)
    assert not thread.is_alive()
    said = [record.message for record in caplog.records if "accept" in record.message]
    assert len(said) == 2  # when it starts and when it ends
    assert "cannot accept connections" in said[0]


def test_thread_that_cannot_start_costs_one_connection(
    address: Address, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start
    refused: list[str] = []

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("connection") and not refused:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert said(address, b"") == b""
    assert serves(address)
    assert len(refused) == 1
    assert "no thread is available" in caplog.text


@pytest.mark.parametrize("where", ["memory", "file", "another process"])
def test_reader_does_not_wait_for_a_writer(where: str, tmp_path: Path) -> None:
    store = open_store(None if where == "memory" else tmp_path / "store.tsdb")
    store.append(batches([(1, 1, 1, 1, b"x")]))
    committed = store.last_acq(KeyRange())
    with serve_in_thread(store) as address, ExitStack() as stack:
        if where == "another process":
            other = stack.enter_context(closing(sqlite3.connect(tmp_path / "store.tsdb", isolation_level=None)))
            other.execute("BEGIN IMMEDIATE")
        else:
            stack.enter_context(store._engine.writing())
        time.sleep(0.2)  # so that the clock passes the last acq
        with Channel(*address, BytesPayloadType(), timeout=10) as channel:
            empty = channel.get(Key.min(), Key(1, *Key.max().astuple()[1:]))
            assert (empty.is_ok(), empty.acq) == (True, committed)
            assert channel.get_acq(Key.min(), Key.max()).acq == committed
        stack.close()
        with Channel(*address, BytesPayloadType(), timeout=10) as channel:
            assert channel.get_acq(Key.min(), Key.max()).acq > committed
    store.close()


def test_getacq_during_the_first_put(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.tsdb")
    with serve_in_thread(store) as address, Channel(*address, BytesPayloadType(), timeout=10) as channel:
        with store._engine.writing():
            answer = channel.get_acq(Key.min(), Key.max())
            before_2001 = channel.get_acq(Key.min(), Key(1, 1, 1, 1, -5))
            everything = channel.get(Key.min(), Key.max())
        assert (answer.is_ok(), answer.acq) == (True, 0)
        assert (before_2001.is_ok(), before_2001.acq) == (True, -5)
        assert (everything.is_ok(), everything.acq, everything.data) == (True, 0, [])
        stored = channel.put([Record(Key(1, 1, 1, 1), b"x")])
        assert stored.acq_min is not None
        assert stored.acq_min > answer.acq
        assert [record.key.acq for record in channel.get(Key(0, 0, 0, 0, answer.acq), Key.max()).data] == [stored.acq_min]
    store.close()


def test_refused_peer_that_keeps_sending_is_disconnected(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsmodel.server.listener._LINGER", 0.1)
    with serve_in_thread(store, max_connections=1) as address, socket.create_connection(address, 20) as peer:
        peer.sendall(struct.pack("<iQ", 99, 0))
        for _ in range(400):  # one byte at a time, for longer than the test may take
            try:
                peer.sendall(b"x")
            except OSError:
                break
            time.sleep(0.05)
        else:
            pytest.fail("the server keeps reading from a peer that it has refused")
        assert serves(address)


@pytest.mark.parametrize(
    ("options", "wording"),
    [
        ({"idle_timeout": -1}, "idle_timeout must be a number of seconds above 0"),
        ({"idle_timeout": float("nan")}, "idle_timeout must be"),
    ]
    + [({name: 0}, f"{name} must be at least 1") for name in ("max_connections", "max_put", "max_memory")]
    + [({name: 0}, f"{name} must be a number of seconds above 0") for name in ("stall_timeout", "request_timeout")],
)
def test_invalid_limits(store: EmbeddedStore, options: dict[str, Any], wording: str) -> None:
    with pytest.raises(SessionError, match=wording):
        Listener(store, **options)


@pytest.mark.parametrize(
    ("arguments", "wording"),
    [
        (["--idle-timeout", "-1"], "'-1' is not a number of seconds above 0"),
        (["--idle-timeout", "nan"], "'nan' is not a number of seconds above 0"),
        (["--idle-timeout", "soon"], "'soon' is not a number of seconds above 0"),
        (["--cache-bytes", "-1"], "argument --cache-bytes"),
        (["--cache-bytes", "64MB"], "'64MB' is not a whole number from 0; write 64 MB as 64000000"),
        (["--max-connections", "0"], "'0' is not a whole number from 1"),
        (["--metrics", "9100x"], "'9100x' is not a port, or host:port"),
        (["--prot", "2026"], "there is no option --prot; did you mean --port?"),
        (["--stall-timeout", "0"], "'0' is not a number of seconds above 0"),
    ],
)
def test_invalid_arguments(arguments: list[str], wording: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--memory", *arguments]) == 2
    error = capsys.readouterr().err
    assert wording in error
    assert error.count("\n") == 1


def test_memory_limit_counts_the_overhead_of_small_batches(store: EmbeddedStore) -> None:
    memory = Memory(100_000)
    conversation = Conversation(store, max_put=100_000, peer="peer", memory=memory)
    steps = conversation.work()
    step = next(steps)
    record = put_record(b"", 1, 1, 1)
    data = struct.pack("<iQ", 5, 0) + b"".join(put_of((cid, [record]))[12:-4] for cid in range(1000))
    for part in range(0, len(data), 1000):  # 32 kB of records, each in its own piece
        assert isinstance(step, Receive)
        piece = data[part : part + 1000]
        step.buffer[: len(piece)] = piece
        step = steps.send(len(piece))
        if isinstance(step, Send):
            break
    assert isinstance(step, Send)
    assert b"".join(step.buffers) == struct.pack("<iQ", -5, 0)
    steps.close()
    assert memory.used == 0


@contextmanager
def listener(store: Any, **options: Any) -> Iterator[Listener]:
    """Runs a server with its own limits in a thread."""
    made = Listener(store, **options)
    thread = threading.Thread(target=made.serve)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join(20)
        assert not thread.is_alive()


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(1000):
        if is_so():
            return
        time.sleep(0.02)
    pytest.fail("the condition never became true")


def test_connections_share_one_memory_limit(store: EmbeddedStore) -> None:
    records = [put_record(bytes(100), 1, 1, cap) for cap in range(1000)]
    with listener(store, max_memory=200_000) as server, socket.create_connection(server.address, 10) as first:
        first.sendall(put_of((1, records))[:-4])
        until(lambda: server.memory.used > 100_000)
        assert said(server.address, put_of((1, records))) == struct.pack("<iQ", -5, 0)
        first.sendall(struct.pack("<i", -1))
        assert first.recv(64)[:4] == bytes(4)
        until(lambda: server.memory.used == 0)
        assert said(server.address, put_of((1, records)))[:4] == bytes(4)
        until(lambda: server.memory.used == 0)
        assert server.counts.refusals == {"NOMEM": 1}
    assert len(scanned(store)) == 2000


def test_large_put_takes_only_its_compressed_size(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_slice_bytes", 100_000)
    regular = [put_record(bytes(100), n % 7, 1, n) for n in range(5000)]
    rng = random.Random(1)
    noise = [put_record(rng.randbytes(100), n % 7, 1, n) for n in range(5000)]
    with listener(store, max_memory=400_000) as server:
        assert said(server.address, put_of(*((n % 3, regular[at : at + 50]) for n, at in enumerate(range(0, 5000, 50)))))[
            :4
        ] == bytes(4)
        assert server.memory.peak < 350_000
        assert said(
            server.address, put_of(*((n % 3, noise[at : at + 50]) for n, at in enumerate(range(0, 5000, 50))))
        ) == struct.pack("<iQ", -5, 0)
        until(lambda: server.memory.used == 0)
        with socket.create_connection(server.address, 10) as peer:  # disconnects in the middle of a put
            peer.sendall(put_of((1, regular))[:-4])
            until(lambda: server.memory.used > 0)
        until(lambda: server.memory.used == 0)
    assert len(scanned(store)) == 5000


def test_memory_for_a_large_record_is_counted_and_released(store: EmbeddedStore) -> None:
    with listener(store, max_memory=2**20) as server, socket.create_connection(server.address, 10) as peer:
        peer.sendall(put_of((1, [put_record(bytes(300_000), 1, 1, 1)])))
        assert peer.recv(64)[:4] == bytes(4)
        until(lambda: server.memory.used == 0)
        assert said(server.address, put_of((1, [put_record(bytes(2**21), 1, 1, 1)]))) == struct.pack("<iQ", -5, 0)
        until(lambda: server.memory.used == 0)
    assert len(scanned(store)) == 1


def test_stalled_request_is_closed_and_idle_connection_is_not(store: EmbeddedStore) -> None:
    with listener(store, stall_timeout=0.3) as server, socket.create_connection(server.address, 10) as resting:
        assert said(server.address, struct.pack("<iQ", 5, 0), end=False) == b""
        assert server.counts.values["connections_timed_out"] == 1
        time.sleep(0.4)
        for _ in range(2):
            resting.sendall(put_of((1, [put_record(b"", 1, 1, 1)])))
            assert resting.recv(64)[:4] == bytes(4)
            time.sleep(0.4)
        assert server.connections == 1


def test_endless_request_is_closed(store: EmbeddedStore) -> None:
    request = put_of((1, [put_record(b"", 1, 1, cap) for cap in range(200)]))
    with listener(store, request_timeout=0.5) as server, socket.create_connection(server.address, 10) as peer:
        for _ in range(4):  # each request has its own time limit
            peer.sendall(request)
            assert peer.recv(64)[:4] == bytes(4)
            time.sleep(0.2)
        for byte in request[:1000]:  # each byte arrives in time, but the request does not
            try:
                peer.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.02)
        else:
            pytest.fail("a request may take forever")
        assert server.counts.values["connections_timed_out"] == 1
    assert len(scanned(store)) == 800


def test_stalled_reader_releases_its_snapshot(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.tsdb")
    store.append(batches([(1, n, 0, 0, random.Random(n).randbytes(2**20)) for n in range(32)]))
    with listener(store, stall_timeout=0.3) as server, socket.create_connection(server.address, 10) as stubborn:
        stubborn.sendall(struct.pack("<iQ", 1, 64) + EVERYTHING)
        until(lambda: bool(store.engine._readers))  # type: ignore[attr-defined]
        until(lambda: not store.engine._readers)  # type: ignore[attr-defined]
        assert server.counts.values["connections_timed_out"] == 1
    store.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not report the reset")
def test_put_abandoned_by_its_client_is_not_stored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    store = open_store(tmp_path / "store.tsdb")
    with listener(store) as server:
        with store.engine.writing():
            first = socket.create_connection(server.address, 10)
            first.sendall(put_of((1, [put_record(b"first", 1, 1, 1)])))
            until(lambda: store._group._leader is not None)
            given_up = socket.create_connection(server.address, 10)
            given_up.sendall(put_of((1, [put_record(b"given up", 1, 1, 1)])))
            until(lambda: bool(store._group._queue))
            given_up.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            given_up.close()
            time.sleep(0.1)
        assert first.recv(64)[:4] == bytes(4)
        until(lambda: "the sender disconnected" in caplog.text)
        first.close()
    assert [row[5] for row in scanned(store)] == [b"first"]
    store.close()


def test_put_whose_commit_failed_is_not_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "store.tsdb")
    engine: Any = store.engine
    with listener(store) as server:
        monkeypatch.setattr(engine, "_commit", lambda _: engine._fail("disk I/O error", None))
        with connect("tstorage://{}:{}?timeout=10".format(*server.address)) as session:
            session.add(Mark(cid=1, mid=1, moid=1, cap=1, number=5))
            with pytest.raises(WriteError) as caught:
                session.flush()
            assert (len(caught.value.unknown), len(caught.value.not_stored)) == (1, 0)
            session.discard()
        answer = said(server.address, put_of((1, [put_record(b"", 1, 1, 1)])))
        assert answer == struct.pack("<iQ", -6, 0)  # the store has stopped, so the put is surely not stored
    store.close()


def test_read_only_server(store: EmbeddedStore) -> None:
    store.append(batches([(1, 1, 1, 1, b"x")]))
    with listener(store, read_only=True) as server:
        assert said(server.address, put_of((1, [put_record(b"", 1, 1, 1)]))) == struct.pack("<iQ", -7, 0)
        assert get_record(b"x", 1, 1, 1, 1, 0)[:28] in said(server.address, struct.pack("<iQ", 1, 64) + EVERYTHING)
    assert len(scanned(store)) == 1


def test_server_in_front_of_another_server(store: EmbeddedStore) -> None:
    with serve_in_thread(store) as (host, port), serve_in_thread(f"tstorage://{host}:{port}?timeout=10") as proxy:
        url = "tstorage://{}:{}?timeout=10".format(*proxy)
        with connect(url) as session:
            session.add_all(Mark(cid=1, mid=1, moid=1, cap=n, number=n) for n in range(1000))
            receipt = session.flush()
            assert [mark.number for mark in Mark.query.order_by(Mark.cap).all()] == list(range(1000))
            assert Mark.query.last_acq() > receipt.acq_max
        refused = struct.pack("<iQ", 1, 64) + Key(0, 0, 0, 0, 2**62).to_bytes() + Key.max().to_bytes()
        assert said(proxy, refused, end=False) == OK + struct.pack("<iiQ", 0, -1, 0)
    assert len(scanned(store)) == 1000


def test_server_without_its_cluster_answers_no_put(store: EmbeddedStore) -> None:
    with ExitStack() as stack:
        cluster = stack.enter_context(serve_in_thread(store))
        proxy = stack.enter_context(serve_in_thread("tstorage://{}:{}?timeout=2".format(*cluster)))
        monkey = stack.enter_context(pytest.MonkeyPatch.context())

        def lost(*arguments: Any, **options: Any) -> Any:
            raise TransportError("the connection was lost")

        monkey.setattr(TStorageBackend, "append", lost)
        monkey.setattr(TStorageBackend, "last_acq", lost)
        assert said(proxy, put_of((1, [put_record(b"", 1, 1, 1)]))) == b""
        assert said(proxy, struct.pack("<iQ", 7, 64) + EVERYTHING) == struct.pack("<iQ", -6, 0)


def test_clients_are_accepted_by_certificate_name(store: EmbeddedStore) -> None:
    context = server_tls()
    authority().configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with serve_in_thread(store, ssl_context=context, client_names=["meters.example", "other.example"]) as address:
        for name, is_let_in in (("meters.example", True), ("stranger.example", False), (None, False)):
            with Channel(*address, BytesPayloadType(), timeout=10, ssl_context=client_tls(name)) as channel:
                try:
                    found = channel.get(Key.min(), Key.max()).is_ok()
                except OSError:
                    found = False
                assert found is is_let_in


def test_prometheus_metrics(store: EmbeddedStore) -> None:
    pytest.importorskip("prometheus_client")
    with listener(store, max_put=1000) as server:
        said(server.address, put_of((1, [put_record(b"", 1, 1, cap) for cap in range(3)])))
        said(server.address, struct.pack("<iQ", 7, 64) + EVERYTHING)
        said(server.address, put_of((1, [put_record(bytes(2000), 1, 1, 1)])))
        until(lambda: server.connections == 0)
        web = serve_metrics("127.0.0.1", 0, server.counts, {"connections": ("Open.", lambda: server.connections)})
        with urllib.request.urlopen(f"http://127.0.0.1:{web.server_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        web.shutdown()
        web.server_close()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("tsmodel_"))
    assert lines["tsmodel_records_stored_total"] == "3.0"
    assert lines["tsmodel_connections_accepted_total"] == "3.0"
    assert lines['tsmodel_refusals_total{status="NOMEM"}'] == "1.0"
    assert lines['tsmodel_request_seconds_count{kind="put"}'] == "1.0"
    assert lines['tsmodel_request_seconds_bucket{kind="get_acq",le="+Inf"}'] == "1.0"
    assert lines["tsmodel_connections"] == "0.0"
    assert float(lines["tsmodel_received_bytes_total"]) > 2000


def test_public_address_without_tls_warns(store: EmbeddedStore, caplog: pytest.LogCaptureFixture) -> None:
    for host, is_warned in (("0.0.0.0", True), ("127.0.0.1", False)):
        caplog.clear()
        with listener(store, host=host) as server:
            assert serves(("127.0.0.1", server.address[1]))
        assert ("WITHOUT TLS" in caplog.text) is is_warned


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix sockets")
def test_command_as_a_systemd_service(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        process = command(
            *("--data", "file:served.tsdb", "--port", "0", "--log-format", "json", "--log-level", "info"),
            cwd=tmp_path,
            NOTIFY_SOCKET=str(tmp_path / "notify"),
        )
        address = listening(process)
        assert systemd.recv(100) == b"READY=1"
        said(address, struct.pack("<iQ", 99, 0))
        process.send_signal(signal.SIGTERM)
        assert systemd.recv(100) == b"STOPPING=1"
        _, log = process.communicate(timeout=20)
    lines = [json.loads(line) for line in log.splitlines()]
    assert {tuple(line) for line in lines} == {("time", "level", "logger", "message")}
    assert "max_memory 2147483648" in lines[0]["message"]
    (warned,) = [line for line in lines if line["level"] == "warning"]
    assert "unknown command 99" in warned["message"]


def test_command_serves_a_file_read_only(tmp_path: Path) -> None:
    store = open_store(tmp_path / "served.tsdb")
    store.append(batches([(1, 1, 1, 1, b"x")]))
    store.close()
    before = (tmp_path / "served.tsdb").read_bytes()
    process = command("--data", "served.tsdb", "--port", "0", "--read-only", "--log-level", "error", cwd=tmp_path)
    assert process.stdout is not None
    address = "127.0.0.1", int(process.stdout.readline().rsplit(":", 1)[1])
    with Channel(*address, BytesPayloadType(), timeout=10) as channel:
        assert [record.value for record in channel.get(Key.min(), Key.max()).data] == [b"x"]
    assert said(address, put_of((1, [put_record(b"", 1, 1, 1)]))) == struct.pack("<iQ", -7, 0)
    process.terminate()
    assert process.communicate(timeout=20) == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["served.tsdb"]
    assert (tmp_path / "served.tsdb").read_bytes() == before


def test_server_stops_if_a_signal_does_not_interrupt_accept(store: EmbeddedStore) -> None:
    server = Listener(store)
    thread = threading.Thread(target=server.serve)
    thread.start()
    time.sleep(0.05)
    server._stopping.set()  # as the signal handler does; nothing wakes accept()
    thread.join(20)
    assert not thread.is_alive()
