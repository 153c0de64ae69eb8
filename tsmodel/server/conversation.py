"""What a server says on one connection: requests in, answers out. No sockets.

Rules kept here:

* A conversation is a generator that yields `Send` and `Receive` for a driver to carry out, as the client's operations do.
* A put is kept until its end has arrived, and then stored whole: one that breaks off has not happened. What is kept is
  what has arrived, never what was announced, and never more than `max_put`.
* Chunks are sent as they are read, half a MiB at a time: a peer that does not read its answer costs no more than that, or
  one chunk.
* What the protocol does not allow is answered with a status; then the connection is closed. The reason goes to the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Final, TypeAlias

import attrs
import msgspec

from tsmodel.backend import Backend, Batch
from tsmodel.client.operations import Receive, Send
from tsmodel.errors import KeyRangeError, RemoteProtocolError, StoreError, TSModelError
from tsmodel.keys import Key, KeyRange
from tsmodel.timestamps import now_ns
from tsmodel.wire.messages import GetAcqRequest, GetRequest, PutBegin, PutEnd, PutRecords
from tsmodel.wire.requests import PORTION_BUFFERS, PORTION_BYTES, Buffers
from tsmodel.wire.serving import Request, RequestReader, acq_answer, get_begin, get_break, get_end, put_answer, refusal
from tsmodel.wire.status import Status

__all__ = ["Conversation", "RefusedError", "Steps"]

Steps: TypeAlias = Generator[Send | Receive, int | None, None]

_BUFFER: Final = 256 * 1024
_HELD: Final = 256
"""Bytes that a piece of a put takes beside its records: what is counted is what is held."""
_RESOLUTION: Final = 10**8
"""ns by which the answer to GETACQ may be behind the clock."""

_log = logging.getLogger("tsmodel.server")


class RefusedError(Exception):
    """A request is answered with a status, and is the last one of its connection."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@attrs.define
class Conversation:
    """One connection's requests and their answers.

    Attributes:
        backend: where records live.
        max_put: most bytes that one put may take while it arrives.
        peer: the other side, for the log.
        clock: gives the time, ns since 2001.
        at_rest: whether no request is under way.
    """

    backend: Backend
    max_put: int
    peer: str
    clock: Callable[[], int] = now_ns
    at_rest: bool = attrs.field(default=True, init=False)
    _put: list[Batch] = attrs.field(factory=list, init=False)
    _put_size: int = attrs.field(default=0, init=False)
    _with_acq: bool = attrs.field(default=False, init=False)

    def steps(self) -> Steps:
        """Goes on until the peer ends the connection, or a request is refused."""
        reader = RequestReader(_BUFFER)
        try:
            while not reader.done:
                count = yield Receive(reader.get_buffer())
                assert count is not None
                self.at_rest = False
                for request in reader.received(count):
                    yield from self._answer(request)
                self.at_rest = reader.at_rest
                if not count:
                    return
        except RefusedError as error:
            _log.warning("%s: refused with %s: %s", self.peer, error.status.name, error)
            yield Send(refusal(error.status))
        except RemoteProtocolError as error:
            _log.warning("%s: %s", self.peer, error)
            yield Send(refusal(Status.INVARG))

    def _answer(self, request: Request) -> Steps:
        if isinstance(request, PutRecords):
            self._keep(request)
        elif isinstance(request, PutBegin):
            self._put, self._put_size, self._with_acq = [], 0, request.with_acq
        elif isinstance(request, GetRequest):
            yield Send(get_begin())
            try:
                yield from self._get(request)
            except TSModelError as error:
                yield Send(get_break())
                raise _refused(error) from error
        else:
            try:
                yield Send(self._stored() if isinstance(request, PutEnd) else self._last_acq(request))
            except TSModelError as error:
                raise _refused(error) from error

    def _get(self, request: GetRequest) -> Steps:
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
        # Whatever lies at or below its beginning, a range is only empty; its end need not be a place of a range.
        key_max = msgspec.structs.replace(request.key_max, cid=max(request.key_max.cid, 0))
        return acq_answer(self.backend.last_acq(self._range(request.key_min, key_max)))

    def _stored(self) -> Buffers:
        batches, self._put = self._put, []
        return put_answer(*self.backend.append(batches, with_acq=self._with_acq))

    def _keep(self, request: PutRecords) -> None:
        self._put_size += len(request.records) + _HELD
        if self._put_size > self.max_put:
            raise RefusedError(Status.NOMEM, f"a put takes more than {self.max_put} bytes; send it in several")
        found = request.found
        records = memoryview(bytes(request.records))
        self._put.append(Batch(request.cid, records, found.count, found.record_size, found.offsets))

    def _range(self, key_min: Key, key_max: Key) -> KeyRange:
        """The range of a request.

        Raises:
            KeyRangeError: when it cannot be served: a key that cannot be, or a beginning in the future.
        """
        box = KeyRange(key_min, key_max)
        committed = self._committed(box.min.acq)
        if box.min.acq > committed:
            raise KeyRangeError(f"the range begins at acq {box.min.acq}, after the last commit, {committed}", field="acq")
        return box

    def _committed(self, needed: int) -> int:
        """The last full-commit acq of everything. In a store that rests it follows the clock.

        While somebody writes it stays where it is, so readers do not wait for writers, unless the range begins after it.
        """
        committed = self.backend.last_acq(KeyRange())
        advance = getattr(self.backend, "advance", None)
        now = self.clock()
        if advance is None or now <= committed or (needed <= committed and now - committed < _RESOLUTION):
            return committed
        try:
            return now if advance(now, wait=needed > committed) else committed
        except StoreError as error:  # a store that can be read and not written answers what was committed
            _log.debug("%s: the commit mark stays at %d: %s", self.peer, committed, error)
            return committed


def _refused(error: TSModelError) -> RefusedError:
    return RefusedError(Status.IOERR if isinstance(error, StoreError) else Status.ERROR, str(error))
