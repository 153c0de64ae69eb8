"""Storing what a session holds, as work; the same for sessions that block and sessions that await.

Rules kept here:

* A put ends in one of three ways: stored, not stored, or in doubt. Surely not stored is what never left, what the embedded
  store gave up, and what a server refused. A server that ran out of time may still store it: that is in doubt.
* What is not stored stays pending. What is in doubt is never sent again unless somebody said how: see `Retry.on_unknown`.
* Every failure comes out as a WriteError that accounts for all that was added, except bad input (EncodeError) and what
  interrupts the program.
"""

from __future__ import annotations

import logging
import time
from typing import Final

import attrs

from tsmodel.errors import CommitTimeoutError, EncodeError, ServerError, SessionError, StoreError, StoreInDoubtError
from tsmodel.io.effects import Append, LastAcq, Pause, Sent, Work, looked
from tsmodel.io.retry import ONCE, OnUnknown, Retry, again, seconds_of
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.session.pending import Doubt, Pending
from tsmodel.session.puts import Put, encoded
from tsmodel.session.receipt import committed
from tsmodel.session.reconciling import Looking
from tsmodel.timestamps import now_ns
from tsmodel.wire.events import Status

__all__ = ["Writer"]

_log = logging.getLogger("tsmodel.session")

_LONGEST_WAIT: Final = 60.0
"""Seconds for which a database may take to commit what was before a failure."""


def _stored_nothing(error: BaseException, sent: Sent) -> bool:
    """Whether a put that failed has surely stored nothing."""
    if isinstance(error, ServerError):
        return error.status != Status.TIMEOUT
    return (isinstance(error, StoreError) and not isinstance(error, StoreInDoubtError)) or not sent.asked


class Writer:
    """Stores what is pending.

    Args:
        pending: what a session holds.
        name: what the session is on.
        retry: what is tried again.

    Attributes:
        is_remote: whether a put may go on after it has failed here. That of an embedded store has come to its end.
    """

    def __init__(self, pending: Pending, name: str, retry: Retry = ONCE) -> None:
        self._pending = pending
        self._name = name
        self._retry = retry
        self.is_remote = True

    def flush(self, on_unknown: OnUnknown | None = None) -> Work[None]:
        """Stores everything, what is in doubt included where `on_unknown` (by default the policy's) says how."""
        how = self._how(on_unknown)
        self._pending.interrupted()
        for doubt in self._pending.doubts:
            if doubt.put.with_acq or how != "raise":
                try:
                    yield from self._settled(doubt, how)
                except Exception as error:
                    raise self._error(error) from error
        yield from self.store(how)
        if doubts := self._pending.doubts:
            cause = doubts[0].cause
            assert cause is not None
            raise self._error(cause) from cause

    def store(self, on_unknown: OnUnknown | None = None) -> Work[None]:
        """Stores what is surely not stored."""
        how = self._how(on_unknown)
        self._pending.interrupted()
        for put in self._pending.puts():
            yield from self._stored(put, how)

    def _how(self, on_unknown: OnUnknown | None) -> OnUnknown:
        if on_unknown is None:
            return self._retry.on_unknown
        return attrs.evolve(self._retry, on_unknown=on_unknown).on_unknown

    def _stored(self, put: Put, how: OnUnknown) -> Work[None]:
        """Stores one put, in as many attempts as the policy allows."""
        remaining: Put | None = put
        doubt: Doubt | None = None

        def attempt() -> Work[None]:
            nonlocal remaining, doubt
            if doubt is not None:
                remaining = yield from self._settled(doubt, how)
            doubt = None
            if remaining is not None:
                bound = (yield LastAcq(KeyRange())) if how == "check" and not remaining.with_acq else None
                doubt = self._pending.begin(remaining, bound)
            if doubt is not None:
                yield from self._sent(doubt)

        def failed(error: Exception, pause: float | None) -> None:
            nonlocal doubt
            if isinstance(error, EncodeError):
                raise error
            if doubt is not None and doubt.ended is None:  # it turned out that nothing is stored
                self._pending.returned(doubt)
                doubt = None
            if pause is None or (doubt is not None and how == "raise" and not doubt.put.with_acq):
                raise self._error(error) from error
            _log.warning("storing on %s failed, next attempt in %.3g s: %s", self._name, pause, error)

        yield from again(attempt, self._retry, failed)

    def _sent(self, doubt: Doubt) -> Work[None]:
        """One attempt. After a failure the doubt has ended, unless nothing is stored."""
        started = time.perf_counter()
        put = doubt.put
        sent, unstored = Sent(put.batches), put.unstored()
        try:
            interval = yield Append(sent, put.with_acq, unstored)
        except BaseException as error:
            if not _stored_nothing(error, sent):
                doubt.ended, doubt.cause = now_ns(), error
                _log.warning("%s records are in doubt on %s: %r", len(put.segment.rows), self._name, error)
            elif not isinstance(error, Exception):
                self._pending.returned(doubt)
            raise
        seconds = time.perf_counter() - started
        receipt = put.receipt(interval, seconds) if unstored is None else put.receipt_of(unstored, interval, seconds)
        self._pending.stored(doubt, receipt)
        _log.debug("stored %d records on %s in %.3g s", receipt.count, self._name, receipt.seconds)

    def _settled(self, doubt: Doubt, how: OnUnknown) -> Work[Put | None]:
        """Takes a put out of doubt. What is missing of it is pending again, and is what comes back."""
        if not self._pending.holds(doubt):
            return None
        if how == "duplicate" and not doubt.put.with_acq:
            return self._pending.returned(doubt)
        looking = Looking(doubt.put)
        if doubt.put.with_acq:
            last = yield LastAcq(KeyRange())  # a range may not begin after it
            acqs = looking.acqs
            box = looking.box(min(acqs.acq_min, last), acqs.acq_max + 1)
        else:
            yield from self._unchanging(doubt)
            assert doubt.bound is not None
            box = looking.box(doubt.bound, LIMITS["acq"].bound)
        yield from looked(box, looking.feed)
        if not self._pending.holds(doubt):
            return None
        found = looking.found()
        segment = self._pending.found(doubt, found)
        _log.info("%d of %d records in doubt are stored on %s", found.receipt.count, len(found.stored), self._name)
        return None if segment is None else encoded(segment)

    def _unchanging(self, doubt: Doubt) -> Work[None]:
        """Waits until what a put stored, if it stored anything, is there for all to see."""
        if doubt.bound is None or doubt.ended is None:
            raise SessionError(
                "what was stored can be looked for only when the session knows from when on: open it with "
                'retry=Retry(on_unknown="check"). This put went out without that; retry(on_unknown="duplicate") sends it '
                "again, discard(in_doubt_only=True) gives it up"
            )
        if not self.is_remote:
            return
        settle = seconds_of(self._retry.settle, "settle")
        yield Pause(max(0.0, (doubt.ended - now_ns()) / 1e9 + settle))
        try:
            yield from committed(KeyRange(), doubt.ended + int(settle * 1e9), int((_LONGEST_WAIT + settle) * 1e9))
        except CommitTimeoutError as error:
            raise SessionError(
                f"what was stored cannot be looked for yet: the database has not committed all until the failure: {error}"
            ) from error

    def _error(self, cause: BaseException) -> Exception:
        return self._pending.error(cause, self._name)
