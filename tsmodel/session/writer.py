"""Stores the pending records of a session, retries failed puts, and reconciles in-doubt puts.

Rules kept here:

* A put ends in one of three ways: stored, not stored, or in doubt. It is known not to be stored if it was never sent, if
  the embedded store failed before the commit, or if a server refused it. After a server's TIMEOUT status it may still be
  stored, so it is in doubt.
* Records that are not stored stay pending. In-doubt records are resent only as `Retry.on_unknown` says.
* If the backend has shards, each put is for one shard. A shard that fails does not keep the others from storing.
* Failures are raised as a WriteError that accounts for every added record. Exceptions are bad input (EncodeError) and
  interruptions of the program.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import attrs

from tsmodel.backend import AcqInterval
from tsmodel.errors import (
    CommitTimeoutError,
    EncodeError,
    ServerError,
    SessionError,
    StoreError,
    StoreInDoubtError,
    WriteError,
)
from tsmodel.io.effects import Append, LastAcq, Pause, Sent, Work, scanned
from tsmodel.io.retry import ONCE, OnUnknown, Retry, again, seconds_of
from tsmodel.keys import KeyRange
from tsmodel.session.pending import Doubt, Pending
from tsmodel.session.puts import Put, encoded, found_of
from tsmodel.session.receipt import Receipt, committed
from tsmodel.timestamps import now_ns
from tsmodel.wire.events import Status
from tsmodel.wire.stored import Copies

if TYPE_CHECKING:
    from tsmodel.session.forwarding import Forwarder

__all__ = ["Writer"]

_log = logging.getLogger("tsmodel.session")

_LONGEST_WAIT: Final = 60.0
"""How long to wait until a database has committed everything up to a failure, in seconds."""


def _stored_nothing(error: BaseException, sent: Sent) -> bool:
    """Whether a failed put is known to have stored nothing."""
    if isinstance(error, StoreInDoubtError):
        return False
    if isinstance(error, ServerError):
        return error.status != Status.TIMEOUT
    return isinstance(error, StoreError) or not sent.asked


class Writer:
    """Stores the pending records of a session. Its methods are work.

    Args:
        pending: the records.
        name: name of the session's target in messages.
        retry: the retry policy.
        spool: sends through a spool; None for no spool.

    Attributes:
        is_remote: whether a failed put may still be carried out later; see `store.capabilities.settles_puts`.
    """

    def __init__(self, pending: Pending, name: str, retry: Retry = ONCE, spool: Forwarder | None = None) -> None:
        self._pending = pending
        self._spool = spool
        self._name = name
        self._retry = retry
        self.is_remote = True

    def flush(self, on_unknown: OnUnknown | None = None) -> Work[None]:
        """Stores everything. In-doubt records are settled as `on_unknown` says; None for the policy's."""
        how = self._how(on_unknown)
        self._pending.interrupted()
        failures: dict[int, BaseException] = {}
        for doubt in self._pending.doubts:
            if doubt.put.with_acq or how != "raise":
                try:
                    yield from self._settled(doubt, how)
                except Exception as error:
                    if doubt.put.shard is None:
                        raise self._error([error]) from error
                    failures.setdefault(doubt.put.shard, error)
        yield from self._stored_all(how, failures)
        if doubts := self._pending.doubts:
            cause = doubts[0].cause
            assert cause is not None
            raise self._error([cause]) from cause

    def store(self, on_unknown: OnUnknown | None = None) -> Work[None]:
        """Stores the records that are known not to be stored."""
        return self._stored_all(self._how(on_unknown), {})

    def _stored_all(self, how: OnUnknown, failures: dict[int, BaseException]) -> Work[None]:
        """Stores the records that are known not to be stored. A shard that fails does not keep the others from storing.

        Args:
            how: what to do about in-doubt puts.
            failures: failures by shard. These shards are left out, and the failures are raised at the end.
        """
        self._pending.interrupted()
        for put in self._pending.puts():
            if put.shard in failures:
                continue
            try:
                yield from self._stored(put, how)
            except WriteError as error:
                if put.shard is None:
                    raise
                failures[put.shard] = error.__cause__ or error
        if failures:
            causes = list(failures.values())
            raise self._error(causes) from causes[0]

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
                bound = (yield LastAcq(KeyRange(), remaining.shard)) if self._asks_first(how, remaining) else None
                doubt = self._pending.begin(remaining, bound)
            if doubt is not None:
                yield from self._sent(doubt)

        def failed(error: Exception, pause: float | None) -> None:
            nonlocal doubt
            if isinstance(error, EncodeError):
                raise error
            if doubt is not None and doubt.ended is None and self._pending.holds(doubt):
                self._pending.returned(doubt)  # nothing was stored
                doubt = None
            if pause is None or (doubt is not None and how == "raise" and not doubt.put.with_acq):
                raise self._error([error]) from error
            _log.warning("storing on %s failed, next attempt in %.3g s: %s", self._name, pause, error)

        yield from again(attempt, self._retry, failed)

    def _asks_first(self, how: OnUnknown, put: Put) -> bool:
        """Whether to ask for the bound of a put before it is sent. A forwarder does that itself."""
        return how == "check" and not put.with_acq and self._spool is None

    def _sent(self, doubt: Doubt) -> Work[None]:
        """Makes one attempt. After a failure the put is in doubt, unless it is known to have stored nothing."""
        started = time.perf_counter()
        put = doubt.put
        sent, unstored = Sent(put.batches), put.unstored()
        interval: AcqInterval | None
        interruption: BaseException | None = None
        try:
            if self._spool is None:
                interval = yield Append(sent, put.with_acq, unstored, put.shard)
            else:
                interval, interruption = yield from self._spool.put(doubt, sent, unstored)
        except BaseException as error:
            if not _stored_nothing(error, sent):
                doubt.ended, doubt.cause = now_ns(), error
                _log.warning("%s records are in doubt on %s: %r", len(put.segment.rows), self._name, error)
            elif not isinstance(error, Exception):
                self._pending.returned(doubt)
            raise
        seconds = time.perf_counter() - started
        if interval is None:
            receipt = Receipt(bytes=put.size, seconds=seconds, spooled=len(put.segment.rows))
        else:
            receipt = put.receipt(interval, seconds) if unstored is None else put.receipt_of(unstored, interval, seconds)
        self._pending.stored(doubt, receipt)
        _log.debug(
            "stored %d records on %s, spooled %d, in %.3g s", receipt.count, self._name, receipt.spooled, receipt.seconds
        )
        if interruption is not None:
            raise interruption

    def _settled(self, doubt: Doubt, how: OnUnknown) -> Work[Put | None]:
        """Settles an in-doubt put. Its missing records are pending again; the result is a put of them, or None."""
        if not self._pending.holds(doubt):
            return None
        if how == "duplicate" and not doubt.put.with_acq:
            return self._pending.returned(doubt)
        copies = Copies([part.batches for part in doubt.put.slices], with_acq=doubt.put.with_acq)
        if doubt.put.with_acq:
            last = yield LastAcq(KeyRange(), doubt.put.shard)  # the range must not begin above it
            least, most = copies.acqs()
            boxes = copies.boxes(min(least, last), most + 1)
        else:
            yield from self._unchanging(doubt)
            assert doubt.bound is not None
            boxes = copies.boxes(doubt.bound)
        for box in boxes:
            yield from scanned(box, copies.feed, doubt.put.shard)
        if not self._pending.holds(doubt):
            return None
        found = found_of(doubt.put, copies)
        segment = self._pending.found(doubt, found)
        _log.info("%d of %d records in doubt are stored on %s", found.receipt.count, len(found.stored), self._name)
        return None if segment is None else encoded(segment)

    def _unchanging(self, doubt: Doubt) -> Work[None]:
        """Waits until reads see everything that a failed put may have stored."""
        if doubt.bound is None or doubt.ended is None:
            raise SessionError(
                "this put cannot be reconciled, because it was sent by a session without "
                'retry=Retry(on_unknown="check"): retry(on_unknown="duplicate") sends its records again, '
                "discard(in_doubt_only=True) drops them"
            )
        if not self.is_remote:
            return
        settle = seconds_of(self._retry.settle, "settle")
        yield Pause(max(0.0, (doubt.ended - now_ns()) / 1e9 + settle))
        try:
            yield from committed(KeyRange(), doubt.ended + int(settle * 1e9), int((_LONGEST_WAIT + settle) * 1e9))
        except CommitTimeoutError as error:
            raise SessionError(
                "the in-doubt records cannot be reconciled yet, because the database has not committed everything up to "
                f"the failure: {error}"
            ) from error

    def _error(self, causes: Sequence[BaseException]) -> Exception:
        return self._pending.error(causes, self._name)
