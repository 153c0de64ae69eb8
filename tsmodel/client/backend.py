"""`TStorageBackend`: a TStorage server as a backend. Raises where a channel answers with statuses.

Rules kept here:

* A connection serves one operation at a time. A pool keeps those at rest, so that a scan may go on while something else is
  asked.
* A connection whose operation failed, was refused or was left early has closed itself and is not used again.
* Reads are tried again, where the policy says so, as long as they have handed nothing over. A put never is here: it may be
  stored. Who knows what it carries decides that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import NoReturn, TypeVar

from tsmodel.backend import AcqInterval, Batch, Scan, Spare
from tsmodel.client.failures import refusal_error
from tsmodel.client.ledger import PoolOptions
from tsmodel.client.operations import Operation, get, get_acq, put
from tsmodel.client.pool import Pool
from tsmodel.client.retry import ONCE, Attempts, Retry
from tsmodel.errors import TSModelError
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.messages import Refusal
from tsmodel.wire.unstored import Unstored

__all__ = ["TStorageBackend"]

E = TypeVar("E")


class TStorageBackend:
    """A TStorage server. May be used by several threads at once.

    Args:
        options: how to reach it.
        retry: how connecting and reads are tried again.

    Raises:
        TransportError: when it cannot be reached.
    """

    def __init__(self, options: PoolOptions, retry: Retry = ONCE) -> None:
        self._options = options
        self._retry = retry
        self._pool = Pool(options)
        # Never all: somebody who waits for a query's next record may ask for something else meanwhile.
        self.spare = Spare(options.size // 2)
        self._again(self._reached)

    def scan(self, box: KeyRange) -> Scan:
        """See `Backend.scan`. For an empty box nothing is sent, and `acq` is the end of the box."""
        return Scan(self._chunks(box))

    def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """See `Backend.append`; without any batches nothing is sent.

        Raises:
            TransportError: when the connection is lost; what was sent may be stored or not.
            ServerError: when the server refuses.
        """
        if unless_stored is not None:
            for box in unless_stored.boxes():
                with self.scan(box) as scan:
                    for chunk in scan:
                        unless_stored.feed(chunk)
            batches = unless_stored.left_of(batches)
        if not batches:
            return AcqInterval(-1, -1)
        answer = self._result(put(batches, with_acq=with_acq))
        return AcqInterval(answer.acq_min, answer.acq_max)

    def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`.

        Raises:
            TransportError: when the connection is lost.
            ServerError: when the server refuses.
        """
        return self._again(lambda: self._result(get_acq(box.min, box.max))).acq

    def close(self) -> None:
        """Disconnects."""
        self._pool.close()

    def _chunks(self, box: KeyRange) -> Generator[Chunk, None, int]:
        if box.is_empty:
            return box.max.acq
        attempts = Attempts(self._retry)
        while True:
            handed_over = False
            try:
                with self._pool.connection() as connection, closing(connection.run(get(box.min, box.max))) as events:
                    for event in events:
                        if isinstance(event, Refusal):
                            self._refused(event)
                        if isinstance(event, Chunk):
                            handed_over = True
                            yield event
                        else:
                            acq = event.acq
                return acq
            except TSModelError as error:
                pause = None if handed_over else attempts.pause(error)
                if pause is None:
                    raise
            time.sleep(pause)

    def _again(self, work: Callable[[], E]) -> E:
        """What `work` gives, in as many attempts as the policy allows."""
        attempts = Attempts(self._retry)
        while True:
            try:
                return work()
            except TSModelError as error:
                if (pause := attempts.pause(error)) is None:
                    raise
            time.sleep(pause)

    def _reached(self) -> None:
        with self._pool.connection():
            pass

    def _result(self, operation: Operation[E | Refusal]) -> E:
        with self._pool.connection() as connection:
            answer = connection.result(operation)
        if isinstance(answer, Refusal):
            self._refused(answer)
        return answer

    def _refused(self, refusal: Refusal) -> NoReturn:
        raise refusal_error(refusal, str(self._options))
