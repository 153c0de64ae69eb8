"""A small server that speaks the protocol over an embedded store: a thread a connection, no limits; for tests only."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tsmodel.backend import Batch
from tsmodel.errors import KeyRangeError, RemoteProtocolError
from tsmodel.keys import KeyRange
from tsmodel.store import EmbeddedStore, open_store
from tsmodel.wire.messages import GetAcqRequest, GetRequest, PutBegin, PutEnd, PutRecords
from tsmodel.wire.serving import RequestReader, acq_answer, get_begin, get_end, put_answer, refusal
from tsmodel.wire.status import Status


@contextmanager
def serving(store: EmbeddedStore | None = None) -> Iterator[tuple[str, int]]:
    """The address of a server over `store`, or over an empty one in memory."""
    store = store or open_store(None)
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def listen() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                threads.append(threading.Thread(target=_serve, args=(connection, store), daemon=True))
                threads[-1].start()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for each in threads:
            each.join()
        store.close()


def _serve(connection: socket.socket, store: EmbeddedStore) -> None:
    reader = RequestReader()
    batches: list[Batch] = []
    with connection, suppress(OSError):
        try:
            while received := connection.recv_into(reader.get_buffer()):
                for request in reader.received(received):
                    if isinstance(request, PutBegin):
                        batches, with_acq = [], request.with_acq
                    elif isinstance(request, PutRecords):
                        records = memoryview(bytes(request.records))
                        batches.append(Batch(request.cid, records, request.found.count, request.found.record_size))
                    elif isinstance(request, PutEnd):
                        connection.sendmsg(put_answer(*store.append(batches, with_acq=with_acq)))
                    elif isinstance(request, GetAcqRequest):
                        connection.sendmsg(acq_answer(store.last_acq(KeyRange(request.key_min, request.key_max))))
                    elif isinstance(request, GetRequest):
                        connection.sendmsg(get_begin())
                        scan = store.scan(KeyRange(request.key_min, request.key_max))
                        for chunk in scan:
                            connection.sendall(chunk)
                        connection.sendmsg(get_end(scan.acq))
            reader.received(0)
        except (RemoteProtocolError, KeyRangeError):
            connection.sendmsg(refusal(Status.INVARG))
