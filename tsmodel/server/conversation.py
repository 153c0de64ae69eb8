"""The server side of one connection: requests in, answers out. No sockets.

Rules kept here:

* A conversation is a generator that yields `Send` and `Receive` to its driver, like the client's operations.
* A put is buffered until its end has arrived, and then stored atomically; a put that breaks off stores nothing. The buffer
  holds only bytes that have arrived, whatever sizes the peer announced. One put may hold up to `max_put` bytes, and all
  connections share a limit. The embedded store compresses a large put while it arrives.
* An in-doubt put gets no answer, because every error status means that nothing was stored.
* Chunks are sent as they are read, half a MiB at a time. A peer that does not read its answer occupies that much memory, or
  one chunk.
* A protocol error is answered with a status, and the connection is closed. The reason goes to the log.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

import attrs
import msgspec

from tsmodel.backend import Backend, Batch, Sharded
from tsmodel.errors import (
    KeyRangeError,
    LocalProtocolError,
    PoolTimeoutError,
    RemoteProtocolError,
    ServerError,
    StoreError,
    StoreInDoubtError,
    TransportError,
    TSModelError,
)
from tsmodel.io.effects import Receive, Send, Work
from tsmodel.keys import Key, KeyRange
from tsmodel.server.monitoring import Counts
from tsmodel.store.capabilities import ArrivingPut, PutTaker
from tsmodel.timestamps import now_ns
from tsmodel.wire.client_role import PORTION_BUFFERS, PORTION_BYTES, Buffers
from tsmodel.wire.events import GetAcqRequest, GetRequest, PutBegin, PutEnd, PutRecords, Status
from tsmodel.wire.server_role import Request, RequestReader, acq_answer, get_begin, get_break, get_end, put_answer, refusal

__all__ = ["Conversation", "Memory", "RefusedError"]

_BUFFER: Final = 256 * 1024
_HELD: Final = 400
"""Memory overhead of a buffered piece of a put, in bytes."""
_RESOLUTION: Final = 10**8
"""How far the answer to GETACQ may lag behind the clock, in ns."""

_log = logging.getLogger("tsmodel.server")


class Memory:
    """A budget of bytes. Thread-safe.

    Args:
        most: the limit.

    Attributes:
        used: bytes in use.
        peak: most bytes in use so far.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = self.peak = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Reserves bytes, or releases them if `count` is negative; False if that would exceed the limit."""
        with self._lock:
            if count > 0 and self.used + count > self.most:
                return False
            self.used += count
            self.peak = max(self.peak, self.used)
            return True


class RefusedError(Exception):
    """A request is refused with a status; the connection is closed."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class UnknownOutcomeError(Exception):
    """A put is in doubt: its connection is closed without an answer."""


@attrs.define
class _Kept:
    """A put being received, for a backend that takes it in one piece."""

    with_acq: bool
    is_gone: Callable[[], bool] | None = None
    batches: list[Batch] = attrs.field(factory=list)
    held: int = 0

    def add(self, batches: Sequence[Batch]) -> None:
        self.batches += batches
        for batch in batches:
            self.held += len(batch.records) + _HELD + (0 if batch.offsets is None else batch.offsets.nbytes)


@attrs.define
class Conversation:
    """One connection's requests and their answers.

    Attributes:
        backend: stores the records.
        max_put: most bytes of records in one put.
        peer: name of the client, for the log.
        memory: memory limit shared by all connections.
        counts: counters for requests.
        read_only: whether to refuse puts.
        is_gone: returns whether the peer can no longer receive an answer.
        clock: returns the time, ns since 2001.
        at_rest: whether no request is in progress.
        ended: number of requests answered.
    """

    backend: Backend
    max_put: int
    peer: str
    memory: Memory = attrs.field(factory=lambda: Memory(2**31))
    counts: Counts = attrs.field(factory=Counts)
    read_only: bool = False
    is_gone: Callable[[], bool] | None = None
    clock: Callable[[], int] = now_ns
    at_rest: bool = attrs.field(default=True, init=False)
    ended: int = attrs.field(default=0, init=False)
    _put: _Kept | ArrivingPut | None = attrs.field(default=None, init=False)
    _put_size: int = attrs.field(default=0, init=False)
    _records: int = attrs.field(default=0, init=False)
    _taken: int = attrs.field(default=0, init=False)
    _grown: int = attrs.field(default=0, init=False)

    def work(self) -> Work[None]:
        """Serves requests until the peer closes the connection or a request is refused."""
        reader = RequestReader(_BUFFER)
        try:
            while not reader.done:
                count = yield Receive(reader.get_buffer())
                assert count is not None
                self.at_rest = False
                self._grown = reader.grown
                for request in reader.received(count):
                    yield from self._answer(request)
                self._grown = reader.grown
                self._account()
                self.at_rest = reader.at_rest
                if not count:
                    return
        except UnknownOutcomeError as error:
            _log.error("%s: closed without an answer, because the put may or may not be stored: %s", self.peer, error)
        except (RefusedError, RemoteProtocolError) as error:
            status = error.status if isinstance(error, RefusedError) else Status.INVARG
            self.counts.refused(status.name)
            _log.warning("%s: refused with %s: %s", self.peer, status.name, error)
            yield Send(refusal(status))
        finally:
            self._put = None
            self._grown = 0
            self._account()

    def _answer(self, request: Request) -> Work[None]:
        began = monotonic()
        if isinstance(request, PutRecords):
            self._keep(request)
            return
        if isinstance(request, PutBegin):
            self._begin(request.with_acq)
            return
        if isinstance(request, GetRequest):
            kind = "get"
            yield Send(get_begin())
            try:
                yield from self._get(request)
            except TSModelError as error:
                yield Send(get_break())
                raise _refused(error) from error
        elif isinstance(request, PutEnd):
            kind = "put"
            yield Send(self._stored())
        else:
            kind = "get_acq"
            try:
                yield Send(self._last_acq(request))
            except TSModelError as error:
                raise _refused(error) from error
        self.ended += 1
        self.counts.answered(kind, monotonic() - began)

    def _get(self, request: GetRequest) -> Work[None]:
        box = self._range(request.key_min, request.key_max)
        if box.is_empty:
            raise KeyRangeError(f"the range is empty: {box}")
        with self.backend.scan(box) as scan:
            portion: list[memoryview] = []
            size = 0
            for chunk in scan:
                portion.append(chunk.rows())
                size += chunk.nbytes
                if not chunk.lasting or size >= PORTION_BYTES or len(portion) == PORTION_BUFFERS:
                    yield Send(portion)
                    portion, size = [], 0
            yield Send([*portion, *get_end(scan.acq)])

    def _last_acq(self, request: GetAcqRequest) -> Buffers:
        # A negative cid at the end is allowed: the range is then empty.
        key_max = msgspec.structs.replace(request.key_max, cid=max(request.key_max.cid, 0))
        return acq_answer(self.backend.last_acq(self._range(request.key_min, key_max)))

    def _begin(self, with_acq: bool) -> None:
        if self.read_only:
            raise RefusedError(Status.NOPERM, "this server is read-only")
        backend = self.backend
        self._put = backend.begin_put(with_acq=with_acq) if isinstance(backend, PutTaker) else _Kept(with_acq)
        self._put.is_gone = self.is_gone
        self._put_size = self._records = 0

    def _keep(self, request: PutRecords) -> None:
        assert self._put is not None
        found = request.found
        self._put_size += len(request.records)
        if self._put_size > self.max_put:
            raise RefusedError(Status.NOMEM, f"a put has more than {self.max_put} bytes; split it into several")
        self._account(len(request.records))
        records = memoryview(bytes(request.records))
        try:
            self._put.add([Batch(request.cid, records, found.count, found.record_size, found.offsets)])
        except TSModelError as error:
            raise _refused(error) from error
        self._records += found.count
        self._account()

    def _account(self, more: int = 0) -> None:
        """Reserves shared memory for what this connection holds now, plus `more` bytes."""
        wanted = self._grown + more + (0 if self._put is None else self._put.held)
        if not self.memory.take(wanted - self._taken):
            raise RefusedError(
                Status.NOMEM,
                f"all connections together hold {self.memory.used} of {self.memory.most} bytes; try again later",
            )
        self._taken = wanted

    def _stored(self) -> Buffers:
        put, self._put = self._put, None
        assert put is not None
        try:
            if isinstance(put, _Kept):
                answer = self.backend.append(put.batches, with_acq=put.with_acq)
            else:
                assert isinstance(self.backend, PutTaker)
                answer = self.backend.store(put)
        except TSModelError as error:
            if isinstance(error, StoreInDoubtError) or not _stored_nothing(error):
                raise UnknownOutcomeError(str(error)) from error
            raise _refused(error) from error
        self.counts.add(records_stored=self._records)
        return put_answer(*answer)

    def _range(self, key_min: Key, key_max: Key) -> KeyRange:
        """The key range of a request.

        Raises:
            KeyRangeError: if a key is invalid, or the range starts in the future.
        """
        box = KeyRange(key_min, key_max)
        backend = self.backend.within(box) if isinstance(self.backend, Sharded) else self.backend
        if not hasattr(backend, "advance"):  # a cluster checks this itself
            return box
        committed = self._committed(box.min.acq, backend)
        if box.min.acq > committed:
            raise KeyRangeError(f"the range starts at acq {box.min.acq}, after the last commit, {committed}", field="acq")
        return box

    def _committed(self, needed: int, store: Any) -> int:
        """The last full-commit acq of a store. In an idle store, it follows the clock.

        During a write it does not advance, so that readers do not wait for writers, unless the range starts after it.
        """
        committed: int = store.last_acq(KeyRange())
        now = self.clock()
        if now <= committed or (needed <= committed and now - committed < _RESOLUTION):
            return committed
        try:
            return now if store.advance(now, wait=needed > committed) else committed
        except StoreError as error:  # a read-only store returns its last commit
            _log.debug("%s: the commit mark stays at %d: %s", self.peer, committed, error)
            return committed


def _stored_nothing(error: TSModelError) -> bool:
    """Whether a failed put certainly stored nothing, also with a cluster as the backend."""
    if isinstance(error, ServerError):
        return error.status != Status.TIMEOUT
    return isinstance(error, (StoreError, LocalProtocolError, PoolTimeoutError))


def _refused(error: TSModelError) -> RefusedError:
    if isinstance(error, ServerError) and error.status in set(Status):
        return RefusedError(Status(error.status), str(error))
    return RefusedError(Status.IOERR if isinstance(error, (StoreError, TransportError)) else Status.ERROR, str(error))
