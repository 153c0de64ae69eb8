"""The records of a session that are not known to be stored, and the writer that stores them.

Rules kept here:

* An object stays pending until it is stored. A put contains the objects that were pending when it was encoded, in the order
  of addition.
* While a put is in progress, its objects are in doubt. It ends in one of three ways: stored, not stored, or in doubt. It is
  known not to be stored if it was never sent, if the embedded store failed before the commit, or if a server refused it.
  After a server's TIMEOUT status it may still be stored, so it is in doubt.
* Records that are not stored stay pending. In-doubt records are resent only as `Retry.on_unknown` says.
* If the backend has shards, each put is for one shard. A shard that fails does not keep the others from storing.
* Failures are raised as a WriteError that accounts for every added record. Exceptions are bad input (EncodeError) and
  interruptions of the program. Records are numbered from the last receipt on, so that an error points to the record that
  the user added.
* Ctrl-C raises between two calls, anywhere. So each method of `Pending` prepares first, by calls, what changes, and then
  changes it without any call, `append` and `len` included: an object is never in no place, nor in two.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import countOf, itemgetter
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import msgspec

from tsmodel.backend import AcqInterval, PutId
from tsmodel.errors import (
    CommitTimeoutError,
    EncodeError,
    RemoteProtocolError,
    ServerError,
    SessionError,
    StoreError,
    StoreInDoubtError,
    TimeUnitWarning,
    TransportError,
    UnflushedWarning,
    WriteError,
)
from tsmodel.io.effects import Append, LastAcq, Pause, Sent, Work, scanned
from tsmodel.io.retry import ONCE, OnUnknown, Retry, again, seconds_of
from tsmodel.keys import KeyRange
from tsmodel.model import TSModel
from tsmodel.session.puts import ColumnRows, Found, Put, Segment, encoded, found_of, unit_hint
from tsmodel.session.receipt import Receipt, committed
from tsmodel.session.target import SessionOptions
from tsmodel.timestamps import now_ns
from tsmodel.wire.events import Status
from tsmodel.wire.records import PUT_FORM
from tsmodel.wire.stored import Copies

if TYPE_CHECKING:
    from tsmodel.session.forwarding import Forwarder

__all__ = ["TRY_LATER", "Doubt", "Limits", "Pending", "Writer", "outcome"]

_log = logging.getLogger("tsmodel.session")

_GUESS: Final = 64
"""Assumed bytes of a payload of variable size."""
_PIECE: Final = 256
"""How many objects to take from a source at once, if size or age matters."""
_LONGEST_WAIT: Final = 60.0
"""How long to wait until a database has committed everything up to a failure, in seconds."""
TRY_LATER: Final = frozenset({Status.RETRY, Status.INACTIVE, Status.IOERR})
"""Statuses of a server that cannot take a put now. Nothing was stored."""


class Limits:
    """The limits at which a session stores its pending records. Sizes of records are estimated from those stored before.

    Args:
        options: has the limits.

    Attributes:
        count: number of records.
        counts_bytes: whether their size matters.
        is_more: whether anything but their number matters.
    """

    def __init__(self, options: SessionOptions) -> None:
        self.count = options.batch_size
        self._bytes = options.batch_bytes
        self._age = None if options.batch_age is None else seconds_of(options.batch_age, "batch_age")
        self.counts_bytes = self._bytes is not None
        self.is_more = self.counts_bytes or self._age is not None
        self._sizes: dict[type[TSModel], float] = {}

    def reached(self, size: float, since: float) -> bool:
        """Whether records of this many bytes, added since a monotonic time, reach a limit other than the count."""
        if self._age is not None and time.monotonic() - since >= self._age:
            return True
        return self._bytes is not None and size >= self._bytes

    def learn(self, put: Put) -> None:
        """Learns the average record size of each model from an encoded put."""
        if self.counts_bytes:
            self._sizes.update({part.model: part.size / len(part.cids) for part in put.slices})

    def size(self, rows: Iterable[TSModel]) -> float:
        """Bytes of the records of some objects; 0 if the size does not matter."""
        return sum(map(self._size_of, map(type, rows))) if self.counts_bytes else 0.0

    def _size_of(self, model: type[TSModel]) -> float:
        if model not in self._sizes:
            payload: int | None = model.layout.size
            self._sizes[model] = PUT_FORM.header.itemsize + (_GUESS if payload is None else payload)
        return self._sizes[model]


class Doubt(msgspec.Struct, eq=False):
    """A put that is in progress, or whose outcome is unknown.

    Attributes:
        bound: none of its records is stored below this acq; None if that was not asked for before it was sent.
        ended: when it failed, ns since 2001; None while it is in progress.
    """

    put: Put
    bound: int | None
    ended: int | None = None
    cause: BaseException | None = None


class Pending:
    """The records that a session holds.

    Attributes:
        shard_of: returns the shard that keeps a cid, if the backend has shards: each put is then for one shard.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        self.shard_of: Callable[[int], int] | None = None
        self._name = name
        self._limits = limits
        self._receipt = Receipt()
        self._segments: list[Segment] = []
        self._doubts: list[Doubt] = []
        self._rows: list[TSModel] = []
        self._open = Segment(0, False, self._rows)
        self._counted = 0
        self._others = 0
        self._others_size = 0.0
        self._next = 0
        self._since = 0.0
        self._checked: set[type[TSModel]] = set()

    @property
    def is_full(self) -> bool:
        """Whether a limit is reached."""
        count = self._others + len(self._open.rows)
        return count >= self._limits.count or (self._limits.is_more and count > 0 and self._is_more())

    @property
    def stored_puts(self) -> tuple[PutId, ...]:
        """The puts stored since the last receipt, if the backend numbers puts."""
        return self._receipt.puts

    @property
    def held_count(self) -> int:
        """Number of objects not known to be stored."""
        return self._others + len(self._open.rows) + sum(len(doubt.put.segment.rows) for doubt in self._doubts)

    @property
    def doubts(self) -> list[Doubt]:
        """The in-doubt puts that are not in progress."""
        return [doubt for doubt in self._doubts if doubt.ended is not None]

    def interrupted(self) -> None:
        """Marks puts that seem to be in progress as failed: they were interrupted before their outcome was recorded."""
        for doubt in self._doubts:
            if doubt.ended is None:
                doubt.ended, doubt.cause = now_ns(), SessionError("a put was interrupted")

    def rows(self) -> tuple[TSModel, ...]:
        """The objects that are not stored or in progress, in the order of addition."""
        under_way = [doubt.put.segment for doubt in self._doubts if doubt.ended is None]
        return tuple(map(itemgetter(1), _numbered([*under_way, *self._held()])))

    def in_doubt(self) -> tuple[TSModel, ...]:
        """The in-doubt objects, in the order of addition."""
        return tuple(map(itemgetter(1), _numbered([doubt.put.segment for doubt in self.doubts])))

    def add(self, row: object, *, keep_acq: bool, unless_stored: bool = False) -> bool:
        """Adds an object; returns whether a limit is reached.

        Raises:
            SessionError: when it is not an object of a model.
        """
        if not isinstance(row, TSModel):
            hint = "; use add_all for several" if isinstance(row, (list, tuple, Iterator)) else ""
            raise SessionError(f"a session stores objects of models, not {row!r} ({type(row).__name__}){hint}")
        segment = self._segment(keep_acq, unless_stored)
        segment.models.add(type(row))
        self._rows.append(row)
        limits = self._limits
        return self._others + len(self._rows) >= limits.count or (limits.is_more and self._is_more())

    def taken(self, source: Iterator[object]) -> tuple[list[Any], bool, BaseException | None]:
        """Takes as many objects from a source as fit. Returns them, whether there may be more, and the source's error."""
        room = max(1, self._limits.count - self._others - len(self._open.rows))
        if self._limits.is_more:
            room = min(room, _PIECE)
        rows: list[Any] = []
        try:
            rows.extend(islice(source, room))
        except BaseException as error:  # noqa: BLE001 - the caller raises it after adding the objects before it
            return rows, False, error
        return rows, len(rows) == room, None

    def extend(self, rows: list[Any], *, keep_acq: bool, unless_stored: bool = False) -> None:
        """Adds a list of objects, and may keep the list itself. Raises as `add`; objects before the bad one are added."""
        if not rows:
            return
        first = type(rows[0])
        kinds = {first} if countOf(map(type, rows), first) == len(rows) else set(map(type, rows))
        if all(issubclass(kind, TSModel) for kind in kinds):
            segment = self._segment(keep_acq, unless_stored)
            segment.models |= kinds
            if self._rows:
                self._rows += rows
            else:
                self._rows = segment.rows = rows
        else:
            for row in rows:
                self.add(row, keep_acq=keep_acq, unless_stored=unless_stored)

    def take_columns(self, rows: ColumnRows, *, keep_acq: bool, unless_stored: bool = False) -> None:
        """Adds records from columns. Each batch of them becomes a put of its own."""
        self._close_segment()
        most = self._limits.count
        for start in range(0, len(rows), most):
            part = rows if len(rows) <= most else rows[start : start + most]
            if not self._others:
                self._since = time.monotonic()
            segment = Segment(self._next, keep_acq, part, None, part.nbytes, {part.model}, unless_stored)
            count = len(part)
            # no call from here on
            self._segments += [segment]
            self._others += count
            self._others_size += segment.size
            self._next += count
        self._close_segment()

    def puts(self) -> list[Put]:
        """Encodes all objects that are not stored as puts. Nothing is sent before everything is encoded.

        Raises:
            EncodeError: when a field of some object cannot be stored.
        """
        self._close_segment()
        self._segments = _joined(self._segments, self._limits.count)
        puts = [encoded(segment) for segment in self._segments]
        for put in puts:
            self._limits.learn(put)
            self._check_units(put)
        if self.shard_of is not None:
            puts = [part for put in puts for part in ([put] if put.shard is not None else put.of_shards(self.shard_of))]
            self._segments = [put.segment for put in puts]
        return puts

    def _check_units(self, put: Put) -> None:
        """Warns of a capture time in the wrong unit, once for each model."""
        for part in put.slices:
            if part.model not in self._checked:
                self._checked.add(part.model)
                if hint := unit_hint(part):
                    warnings.warn(hint, TimeUnitWarning, stacklevel=2)

    def begin(self, put: Put, bound: int | None) -> Doubt | None:
        """Marks a put as in progress; None if its objects were discarded meanwhile."""
        segment = put.segment
        if segment not in self._segments:
            return None
        doubt, at, count = Doubt(put, bound), self._segments.index(segment), len(segment.rows)
        # no call from here on
        del self._segments[at]
        self._doubts += [doubt]
        self._others -= count
        self._others_size -= segment.size
        return doubt

    def stored(self, doubt: Doubt, receipt: Receipt) -> None:
        """Releases the objects of a stored put."""
        total, at = self._receipt + receipt, self._doubts.index(doubt)
        # no call from here on
        del self._doubts[at]
        self._receipt = total

    def holds(self, doubt: Doubt) -> bool:
        """Whether a put is still in doubt, and not discarded."""
        return doubt in self._doubts

    def returned(self, doubt: Doubt) -> Put:
        """Makes the objects of a put pending again: it is not stored, or will be sent again."""
        self._hold(doubt, doubt.put.segment, self._receipt)
        return doubt.put

    def found(self, doubt: Doubt, found: Found) -> Segment | None:
        """Takes the result of a reconciliation. Missing objects are pending again; returns them, or None."""
        if all(found.stored):
            self.stored(doubt, found.receipt)
            return None
        segment = doubt.put.segment.part([not stored for stored in found.stored])
        self._hold(doubt, segment, self._receipt + found.receipt)
        return segment

    def receipt(self) -> Receipt:
        """The receipt for everything stored since the last one. Numbering restarts with the first pending record."""
        receipt, self._receipt = self._receipt, Receipt()
        segments = [*self._held(), *(doubt.put.segment for doubt in self._doubts)]
        by = min((min(segment.numbers) for segment in segments if segment.rows), default=self._next + len(self._open.rows))
        for segment in {id(segment): segment for segment in [*segments, self._open]}.values():
            segment.renumber(by)
        self._next -= by
        return receipt

    def discard(self, *, in_doubt_only: bool = False) -> list[TSModel]:
        """Drops all objects that are not in progress, or only those in doubt, and returns them."""
        segments = [doubt.put.segment for doubt in self.doubts]
        self._doubts = [doubt for doubt in self._doubts if doubt.ended is None]
        if not in_doubt_only:
            segments += self._held()
            self._close_segment()
            self._segments.clear()
            self._others, self._others_size = 0, 0.0
        return [row for _, row in _numbered(segments)]

    def error(self, causes: Sequence[BaseException], name: str) -> WriteError:
        """The error of a failed flush, which accounts for every record."""
        whys = dict.fromkeys(str(cause) or type(cause).__name__ for cause in causes)
        not_stored = _numbered(self._held())
        unknown = _numbered([doubt.put.segment for doubt in self.doubts])
        return WriteError(
            f"storing on {name} failed: {'; '.join(whys)}. "
            + _account(self._receipt.count, len(not_stored), len(unknown), self._receipt.spooled),
            stored=self._receipt.count + self._receipt.spooled,
            not_stored=tuple(row for _, row in not_stored),
            unknown=tuple(row for _, row in unknown),
            not_stored_numbers=_compact([number for number, _ in not_stored]),
            unknown_numbers=_compact([number for number, _ in unknown]),
        )

    def state(self) -> str:
        """Counts of pending records, for the repr of a session."""
        doubtful = sum(len(doubt.put.segment.rows) for doubt in self.doubts)
        under_way = sum(len(doubt.put.segment.rows) for doubt in self._doubts if doubt.ended is None)
        return f"{under_way + self._others + len(self._rows)} pending" + (f", {doubtful} in doubt" if doubtful else "")

    def warn(self) -> None:
        """Warns of objects that were never stored."""
        rows = [*self.in_doubt(), *self.rows()]
        if rows:
            count = "1 record" if len(rows) == 1 else f"{len(rows)} records"
            doubtful = f" ({len(self.in_doubt())} of them in doubt)" if self._doubts else ""
            warnings.warn(
                f"a session on {self._name} ended with {count} added and never stored{doubtful}, the first of them "
                f"{rows[0]}: call flush() or close(), or leave its with block without an exception",
                UnflushedWarning,
                stacklevel=3,
            )

    def _segment(self, keep_acq: bool, unless_stored: bool) -> Segment:
        """The segment that takes new objects."""
        if self._open.keep_acq is not keep_acq or self._open.unless_stored is not unless_stored:
            self._close_segment()
            self._open.keep_acq, self._open.unless_stored = keep_acq, unless_stored
        if not self._open.rows and not self._others:
            self._since = time.monotonic()
        return self._open

    def _is_more(self) -> bool:
        return self._limits.reached(self._others_size + self._counted_open(), self._since)

    def _counted_open(self) -> float:
        """Bytes of the open segment. Only objects added since the last count are counted."""
        segment = self._open
        if self._limits.counts_bytes:
            segment.size += self._limits.size(self._rows[self._counted :])
            self._counted = len(segment.rows)
        return segment.size

    def _held(self) -> list[Segment]:
        return [*self._segments, self._open] if self._open.rows else self._segments

    def _hold(self, doubt: Doubt, segment: Segment, total: Receipt) -> None:
        """Holds objects of a put in doubt again."""
        if not self._others and not self._open.rows:
            self._since = time.monotonic()
        segment.size = segment.rows.nbytes if isinstance(segment.rows, ColumnRows) else self._limits.size(segment.rows)
        at, count = self._doubts.index(doubt), len(segment.rows)
        # no call from here on
        del self._doubts[at]
        self._receipt = total
        self._segments[0:0] = [segment]
        self._others += count
        self._others_size += segment.size

    def _close_segment(self) -> None:
        """Starts a new segment for later additions."""
        closed, rows = self._open, list[TSModel]()
        count, size = len(closed.rows), self._counted_open() if closed.rows else 0.0
        opened = Segment(self._next + count, closed.keep_acq, rows, unless_stored=closed.unless_stored)
        # no call from here on
        if count:
            self._segments += [closed]
            self._others += count
            self._others_size += size
            self._next += count
        self._rows = rows
        self._open = opened
        self._counted = 0


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
            if outcome(error, asked=sent.asked) == "unknown":
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


def outcome(error: BaseException, *, asked: bool) -> Literal["later", "unknown", "refused"]:
    """What became of a put that failed. "later": not stored, and worth sending again. "unknown": it may be stored.
    "refused": not stored, and sending it again would not help.

    Args:
        error: the failure.
        asked: whether any part of the put may have been sent.
    """
    if isinstance(error, ServerError):
        if error.status == Status.TIMEOUT:
            return "unknown"
        return "later" if error.status in TRY_LATER else "refused"
    if isinstance(error, StoreError) and not isinstance(error, StoreInDoubtError):
        return "refused"
    if asked or isinstance(error, StoreInDoubtError):
        return "unknown"
    return "later" if isinstance(error, (TransportError, RemoteProtocolError)) else "refused"


def _joined(segments: list[Segment], most: int) -> list[Segment]:
    """Joins adjacent segments, in the order of addition: each becomes one put, stored whole or not at all. The given
    segments do not change."""
    joined: list[Segment] = []
    is_own = False
    for segment in sorted(segments, key=lambda segment: segment.numbers[0]):
        if joined and joined[-1].goes_on_with(segment, most):
            if not is_own:
                joined[-1], is_own = joined[-1].copy(), True
            joined[-1].take(segment)
        else:
            joined.append(segment)
            is_own = False
    return joined


def _numbered(segments: list[Segment]) -> list[tuple[int, TSModel]]:
    """The objects of some segments with their numbers, in the order of addition."""
    pairs = [pair for segment in segments for pair in zip(segment.numbers, segment.rows, strict=True)]
    return sorted(pairs, key=itemgetter(0)) if len(segments) > 1 else pairs


def _compact(numbers: list[int]) -> range | tuple[int, ...]:
    """Numbers as a range if they are consecutive, to save memory."""
    if not numbers:
        return range(0)
    whole = range(numbers[0], numbers[-1] + 1)
    return whole if len(whole) == len(numbers) else tuple(numbers)


def _account(stored: int, not_stored: int, unknown: int, spooled: int = 0) -> str:
    """The counts of a failed flush, and what to do."""
    total = stored + not_stored + unknown + spooled
    where = f", {spooled} are in the spool" if spooled else ""
    said = (
        f"Of {total} added since the last receipt, {stored} are stored{where}, {not_stored} are not, {unknown} are in doubt"
    )
    if unknown:
        return (
            f"{said}: sent but never acknowledged. The session holds all that are not known to be stored. flush() stores "
            'those that are not, retry(on_unknown="check") or "duplicate" settles those in doubt, '
            "discard(in_doubt_only=True) drops those in doubt"
        )
    return f"{said}. The session holds those that are not: flush() tries again"
