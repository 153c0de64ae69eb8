"""Store and forward: while the database is unreachable, puts wait in a spool file. A drainer sends them later, in order.

Rules kept here:

* Order is preserved: a put bypasses the spool only if the spool is empty.
* Every put has a *bound*, taken before it is sent: an acq below which none of its records can be stored. The drainer writes
  the bound to the spool before it sends the put. From then on the put is in doubt, even if the process dies, until its
  outcome is known.
* In-doubt puts are reconciled before anything else is sent. The drainer waits until the database has committed everything
  that may have been in flight, counts the copies of each record at or above the bound, and resends only missing records.
* So that these counts are right, a put waits while records with the same keys, sent recently, are not fully committed.
  Every copy at or above a put's bound is then its own or another writer's.
* A put whose outcome cannot be determined is set aside with the reason. Nothing is guessed.
* A drainer does not keep its session alive. It ends when the session is closed or garbage-collected.
* Of all drainers of a spool, in any process, one sends. The others check at intervals whether it is still alive.
* A drainer that is stopped during a request leaves the put in doubt in the spool. The next drainer reconciles it.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.backend import AcqInterval, Batch
from tsmodel.errors import RemoteProtocolError, ServerError, StoreError, StoreInDoubtError, TransportError
from tsmodel.io.effects import Append, Block, LastAcq, Pause, Sent, Wait, Work, scanned
from tsmodel.io.runners import AsyncPerform, Perform, run, run_async
from tsmodel.keys import KeyRange
from tsmodel.session.puts import Put
from tsmodel.session.receipt import committed
from tsmodel.session.writer import TRY_LATER, Doubt, outcome
from tsmodel.store.intake import one_batch
from tsmodel.store.spool_file import DrainerLock, Queued, SetAside, SpoolFile, Totals
from tsmodel.timestamps import now_ns, to_iso
from tsmodel.wire.events import Status
from tsmodel.wire.stored import Copies, Unstored, key_hashes

__all__ = ["AsyncDrainer", "Drainer", "Forwarder", "SetAside", "SpoolState"]

_log = logging.getLogger("tsmodel.spool")

_GROUP_BYTES: Final = 4 * 2**20
_GROUP_PUTS: Final = 1000
"""Limits of the waiting puts that are sent as one."""
_MOST_REFUSALS: Final = 5
_LAG: Final = 60.0
"""Longest commit delay of a database, in seconds: how far its clock may be ahead of its last full-commit acq."""
_LONGEST_WAIT: Final = 120.0
_IDLE: Final = 5.0
_OTHERS: Final = 0.5
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_GLANCE: Final = 0.02

_PATIENT: Final = frozenset({Status.NOPERM, Status.UNAUTHORIZED})
"""Statuses that concern the client, not the put."""
_NEVER: Final = frozenset({Status.INVARG, Status.NOIMPL})


@attrs.frozen(kw_only=True)
class SpoolState:
    """A snapshot of a spool.

    Attributes:
        path: its file.
        target: the connectors of the database it sends to.
        records: number of records waiting to be sent.
        puts: number of puts they came in.
        bytes: size of these records in a put.
        in_doubt: number of these puts that were sent but never acknowledged. They are reconciled before they are resent.
        oldest: when the oldest of them was spooled, ns since 2001; None if there are none.
        set_aside: puts that stay in the spool until you resend or discard them.
        dropped: total number of records dropped because the spool was full; only with `spool_full=drop_oldest`.
        drained: total number of records sent from the spool.
        size: bytes that the puts take in the file.
        error: why this session's last attempt failed; None if it succeeded.
    """

    path: str
    target: tuple[str, ...]
    records: int = 0
    puts: int = 0
    bytes: int = 0
    in_doubt: int = 0
    oldest: int | None = None
    set_aside: tuple[SetAside, ...] = ()
    dropped: int = 0
    drained: int = 0
    size: int = 0
    error: str | None = None

    @property
    def age(self) -> float:
        """How long the oldest record has been waiting, in seconds; 0.0 if none is."""
        return 0.0 if self.oldest is None else max(0.0, (now_ns() - self.oldest) / 1e9)

    @classmethod
    def of(cls, file: SpoolFile, error: str | None = None) -> SpoolState:
        """The state of a spool file."""
        totals = file.totals()
        shared = attrs.asdict(totals, filter=attrs.filters.exclude("aside", "aside_records", "acked"))
        aside = tuple(file.set_aside()) if totals.aside else ()
        return cls(path=file.path, target=tuple(file.target), set_aside=aside, error=error, **shared)

    def __str__(self) -> str:
        since = "" if self.oldest is None else f", the oldest since {to_iso(self.oldest)}"
        aside = f"; {len(self.set_aside)} puts set aside" if self.set_aside else ""
        return f"{self.records} records in {self.puts} puts wait{since}{aside}"


class Forwarder:
    """Sends puts, directly or through a spool. Its methods are work.

    Args:
        file: the spool.
        name: name of the session's target in messages.
        settle: how long an interrupted put may still be in flight, in seconds.

    Attributes:
        error: why the last attempt failed; None if it succeeded.
        is_elsewhere: whether another process or session drains the spool.
        wake: called after a put was spooled.
    """

    def __init__(self, file: SpoolFile, name: str, settle: float) -> None:
        self.file = file
        self._name = name
        self._settle = settle
        self.begin()

    def begin(self) -> None:
        """Resets the state in memory, also in a forked process."""
        self.error: str | None = None
        self.is_elsewhere = False
        self.wake: Callable[[], object] = lambda: None
        self._recent: list[tuple[int, npt.NDArray[np.uint64]]] = []
        self._latest = self._known = -(2**63)
        self._lock = threading.Lock()
        self._failures = 0
        self._refusals: dict[int, int] = {}
        self._singly = 0

    def state(self) -> SpoolState:
        """The state of the spool."""
        return SpoolState.of(self.file, self.error)

    def put(
        self, doubt: Doubt, sent: Sent, unstored: Unstored | None
    ) -> Work[tuple[AcqInterval | None, BaseException | None]]:
        """Stores a put, or spools it, and sets the bound of `doubt`. Returns the acqs that the database assigned, None if
        spooled, and an interruption that the caller raises.

        Raises:
            TransportError, ServerError: when the database refuses it for good.
            StoreError: when the spool cannot take it. It is stored nowhere.
            StoreInDoubtError: when it may be stored, and the spool cannot take it.
        """
        put = doubt.put
        bound = yield from self._free(put)
        if bound is None:
            return None, (yield from self._keep(put, None))
        doubt.bound = bound
        try:
            interval: AcqInterval = yield Append(sent, put.with_acq, unstored)
        except GeneratorExit:
            raise
        except BaseException as error:
            what = outcome(error, asked=sent.asked)
            if what == "refused":
                raise
            try:
                interruption = yield from self._keep(put, bound if what == "unknown" else None)
            except StoreError as refusal:
                if what == "later":
                    raise
                raise StoreInDoubtError(
                    f"{error}; and the put could not be spooled: {refusal}", path=self.file.path
                ) from error
            if isinstance(error, (TransportError, RemoteProtocolError, ServerError)):
                self._away(error)
                return None, interruption
            return None, error
        if not put.with_acq:
            self._sent_lately(interval.acq_max, put.batches)
        return interval, None

    def turn(self, lock: DrainerLock) -> Work[tuple[float, bool]]:
        """Sends or reconciles the next puts, if this drainer holds the lock. Returns the seconds until the next turn, and
        whether a new put ends that wait."""
        earlier = self.error
        try:
            totals: Totals = yield Block(self.file.totals)
            if not totals.puts:
                lock.give_back()
                if self.error is earlier:  # a flush may have failed since the puts were counted
                    self._fine()
                return _IDLE, True
            self.is_elsewhere = not (yield Block(lock.take))
            if self.is_elsewhere:
                return _OTHERS, False
            yield from self._step()
        except Exception as error:  # noqa: BLE001 - the drainer goes on; the session shows it
            return self._failed(error), False
        self._fine()
        return 0.0, True

    def emptied(self, seconds: float | None, *, while_fine: bool = False) -> Work[bool]:
        """Waits until the spool is empty, for `seconds` or without a limit; returns whether it is.

        With `while_fine`, it gives up once an attempt has failed, or if another drainer does the sending.
        """
        until = None if seconds is None else time.monotonic() + seconds
        is_hopeless = False
        while True:
            totals: Totals = yield Block(self.file.totals)
            if not totals.puts:
                return True
            if while_fine:
                is_hopeless = self.error is not None or self.is_elsewhere
            if is_hopeless or (until is not None and time.monotonic() >= until):
                return False
            yield Pause(_GLANCE)

    def _free(self, put: Put) -> Work[int | None]:
        """The bound of a put that may go straight to the database; None if it has to wait."""
        totals: Totals = yield Block(self.file.totals)
        if totals.puts:
            return None
        try:
            last: int = yield LastAcq(KeyRange())
        except Exception as error:
            if outcome(error, asked=False) == "refused":
                raise
            self._away(error)
            return None
        if self._counts(put.with_acq, put.segment.unless_stored) and self._meets(put.batches, last, totals.acked):
            return None
        return last

    def _keep(self, put: Put, bound: int | None) -> Work[BaseException | None]:
        """Spools a put. Returns an interruption that came after the put was durable, or None."""
        uid = os.urandom(16)
        how: dict[str, Any] = {"with_acq": put.with_acq, "unless_stored": put.segment.unless_stored}
        try:
            with self._lock:
                known = self._known = max(self._known, self._latest)
            yield Block(partial(self.file.append, put.batches, bound=bound, uid=uid, acked=known, **how))
        except (Exception, GeneratorExit):
            raise
        except BaseException as error:
            try:
                is_kept = yield Block(partial(self.file.has, uid))
            except StoreError as failure:
                raise StoreInDoubtError(
                    f"{failure}; the put may or may not be in the spool", path=self.file.path
                ) from error
            if not is_kept:
                raise
            self.wake()
            return error
        self.wake()
        return None

    def _step(self) -> Work[None]:
        most = 1 if self._singly else _GROUP_PUTS
        head: list[Queued] = yield Block(partial(self.file.head, _GROUP_BYTES, most))
        damaged = [each.number for each in head if each.batches is None]
        if damaged:
            said = "its checksum in the spool does not match"
            _log.error("put %s of the spool %s is set aside: %s", damaged, self.file.path, said)
            yield Block(partial(self.file.settle, aside=[(number, "damaged", said) for number in damaged]))
        elif head and head[0].bound is not None:
            yield from self._reconciled(head)
        elif head:
            yield from self._sent(head)

    def _sent(self, head: list[Queued]) -> Work[None]:
        """Sends waiting puts as one."""
        first, numbers = head[0], [each.number for each in head]
        batches = _joined(head)
        bound: int = yield LastAcq(KeyRange())
        if self._counts(first.with_acq, first.unless_stored):
            totals: Totals = yield Block(self.file.totals)
            while (acq := self._meets(batches, bound, totals.acked)) is not None:
                bound = yield from committed(KeyRange(), acq, int(_LONGEST_WAIT * 1e9))
        if not (yield Block(partial(self.file.mark, numbers, bound))):
            return
        sent, began = Sent(batches), now_ns()
        unstored = Unstored(batches, with_acq=first.with_acq) if first.unless_stored else None
        try:
            interval: AcqInterval = yield Append(sent, first.with_acq, unstored)
        except Exception as error:
            if outcome(error, asked=sent.asked) == "unknown":
                raise
            yield Block(partial(self.file.settle, missing=numbers))
            if not isinstance(error, ServerError) or error.status in TRY_LATER | _PATIENT:
                raise
            yield from self._refused(head, error)
            return
        self._singly = max(0, self._singly - 1)
        self._refusals.pop(first.number, None)
        gave_acqs = not first.with_acq and interval.acq_max >= 0
        acked, ahead = (interval.acq_max, interval.acq_min - began) if gave_acqs else (None, None)
        yield Block(partial(self.file.settle, stored=numbers, acked=acked, ahead=ahead))
        if gave_acqs:
            self._sent_lately(interval.acq_max, batches, is_noted=True)
        _log.info("sent %d records of %d puts from the spool %s", sum(b.count for b in batches), len(head), self.file.path)

    def _refused(self, head: list[Queued], error: ServerError) -> Work[None]:
        """Finds the put that the database refuses, by sending them one at a time, and sets it aside."""
        if len(head) > 1:
            self._singly = len(head)
            return
        number = head[0].number
        self._refusals[number] = self._refusals.get(number, 0) + 1
        if error.status not in _NEVER and self._refusals[number] < _MOST_REFUSALS:
            raise error
        del self._refusals[number]
        self._singly = max(0, self._singly - 1)
        _log.error("put %d of the spool %s is set aside: %s", number, self.file.path, error)
        yield Block(partial(self.file.settle, aside=[(number, "refused", str(error))]))

    def _reconciled(self, head: list[Queued]) -> Work[None]:
        """Reconciles in-doubt puts. Missing records wait to be sent again."""
        numbers = [each.number for each in head]
        yield from self._committed()
        if head[0].unless_stored:
            yield Block(partial(self.file.settle, missing=numbers))
            return
        with_acq = head[0].with_acq
        puts = [each.batches or [] for each in head]
        copies = Copies(puts, with_acq=with_acq)
        is_shown = True
        if with_acq:
            least, most = copies.acqs()
            last: int = yield LastAcq(KeyRange())
            if last <= most < last + int(_LAG * 1e9):
                last = yield from committed(KeyRange(), most, int(2 * _LAG * 1e9))
            is_shown = most < last
            boxes = copies.boxes(min(least, last), most + 1)  # the range must not begin above the last acq
        else:
            boxes = copies.boxes(min(each.bound for each in head if each.bound is not None))
        for box in boxes:
            yield from scanned(box, copies.feed)
        said = ""
        if not is_shown and not copies.is_whole:
            said = (
                f"its records have acqs up to {to_iso(most)}, which the database has not committed and may not return yet"
            )
        elif not with_acq and copies.surplus and not (copies.is_whole and copies.exact):
            said = (
                f"the database holds more copies of {copies.surplus} of its records than were sent: another writer stored "
                "equal records, so it cannot be determined whether the put is stored"
            )
        if said:
            _log.error("put %s of the spool %s is set aside: %s", numbers, self.file.path, said)
            yield Block(partial(self.file.settle, aside=[(number, "undecided", said) for number in numbers]))
            return
        missing = copies.missing()
        stored = [number for number, left in zip(numbers, missing, strict=True) if not left]
        waiting, parts = [], []
        for each, left in zip(head, missing, strict=True):
            if left and sum(batch.count for batch in left) == each.count:
                waiting.append(each.number)
            elif left:
                parts.append((each.number, left))
        _log.info(
            "of %d in-doubt puts of the spool %s, %d are stored, %d are not, %d are stored in part",
            *(len(head), self.file.path, len(stored), len(waiting), len(parts)),
        )
        acked = None if with_acq else copies.acq_max
        yield Block(partial(self.file.settle, stored=stored, missing=waiting, parts=parts, acked=acked))
        if acked is not None:
            self._sent_lately(acked, [batch for batches in puts for batch in batches], is_noted=True)

    def _committed(self) -> Work[None]:
        """Waits until the database has committed everything that was in flight when this began."""
        ahead: int = yield Block(self.file.ahead)
        last: int = yield LastAcq(KeyRange())
        clock = min(max(last, now_ns() + ahead), last + int(_LAG * 1e9))
        yield Pause(self._settle)
        yield from committed(KeyRange(), clock + int(self._settle * 1e9), int((_LONGEST_WAIT + self._settle) * 1e9))

    def _counts(self, with_acq: bool, unless_stored: bool) -> bool:
        """Whether such a put, when in doubt, is reconciled by counting copies in an interval of acqs."""
        return not with_acq and not unless_stored

    def _sent_lately(self, acq_max: int, batches: Sequence[Batch], *, is_noted: bool = False) -> None:
        """Remembers the keys of a stored put. `is_noted`: the spool file has its acq."""
        hashes = key_hashes(batches)
        with self._lock:
            self._recent.append((acq_max, hashes))
            self._latest = max(self._latest, acq_max)
            if is_noted:
                self._known = max(self._known, acq_max)

    def _meets(self, batches: Sequence[Batch], last: int, acked: int | None) -> int | None:
        """The acq that must be committed before a put is sent: records with its keys were stored recently, or another
        process sent something, with unknown keys. None if there is nothing to wait for.
        """
        with self._lock:
            self._recent = [each for each in self._recent if each[0] >= last]
            recent, known = list(self._recent), self._known
        if acked is not None and acked >= last and acked > known:
            return acked
        if recent:
            hashes = key_hashes(batches)
            return max((acq for acq, others in recent if np.isin(hashes, others).any()), default=None)
        return None

    def _away(self, error: BaseException) -> None:
        if self.error is None:
            _log.warning("%s cannot take puts now; they wait in the spool %s: %s", self._name, self.file.path, error)
        self.error = str(error)

    def _fine(self) -> None:
        self.error, self._failures = None, 0

    def _failed(self, error: Exception) -> float:
        """Records a failure; returns the seconds until the next attempt."""
        self._away(error)
        greatest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures, 32))
        self._failures += 1
        _log.debug("draining %s failed %d times: %s", self.file.path, self._failures, error)
        return random.uniform(greatest / 2, greatest)  # noqa: S311 - spreads clients


def _joined(head: Sequence[Queued]) -> list[Batch]:
    """The batches of several puts in order; adjacent batches of one cid are joined."""
    batches = (batch for each in head for batch in each.batches or [])
    return [one_batch(list(some)) for _, some in groupby(batches, attrgetter("cid"))]


class _Draining:
    """The work of a drainer, and the signals that end its pauses."""

    def __init__(self, forwarder: Forwarder) -> None:
        self.is_stopped = False
        self._is_hurried = self._is_woken = self._is_changed = False
        self._tell: Callable[[], object] | None = None
        self._forwarder = forwarder
        self._lock = DrainerLock(forwarder.file.path)
        forwarder.wake = self.wake

    def wake(self, *, hurry: bool = False, stop: bool = False) -> None:
        """Says that something was spooled, that it must try again at once even after a failure, or that it must end."""
        self.is_stopped |= stop
        self._is_hurried |= hurry
        self._is_woken = self._is_changed = True
        if (tell := self._tell) is not None:
            tell()

    def run(self, carry_out: Perform) -> None:
        try:
            while run(self._turn(), carry_out):
                pass
        finally:
            self._lock.give_back()

    async def run_async(self, carry_out: AsyncPerform) -> None:
        try:
            while await run_async(self._turn(), carry_out):
                pass
        finally:
            self._lock.give_back()

    def _turn(self) -> Work[bool]:
        """A turn, and the pause after it; returns False if the drainer must end."""
        seconds, eager = yield from self._forwarder.turn(self._lock)
        until = time.monotonic() + seconds
        while not (self.is_stopped or self._is_hurried or (eager and self._is_woken)):
            left = until - time.monotonic()
            if left <= 0:
                break
            yield Wait(left, self._told)
        self._is_hurried = self._is_woken = False
        return not self.is_stopped

    @contextmanager
    def _told(self, tell: Callable[[], object]) -> Iterator[None]:
        self._tell = tell
        if self._is_changed:
            tell()
        try:
            yield
        finally:
            self._tell, self._is_changed = None, False


class Drainer:
    """A thread that drains a spool. It ends when `owner`, the session, is garbage-collected."""

    def __init__(self, forwarder: Forwarder, carry_out: Perform, owner: object) -> None:
        self._draining = _Draining(forwarder)
        self._finalizer = weakref.finalize(owner, self._draining.wake, stop=True)
        self._finalizer.atexit = False
        self._thread = threading.Thread(target=self._draining.run, args=(carry_out,), name="tsmodel-drainer", daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Tries again at once after a failure."""
        self._draining.wake(hurry=True)

    def stop(self, seconds: float) -> None:
        """Ends the drainer, and waits up to some seconds for it. A request in progress is completed first."""
        self._finalizer.detach()
        self._draining.wake(stop=True)
        if threading.current_thread() is not self._thread:
            self._thread.join(seconds)


class AsyncDrainer:
    """A task that drains a spool; see `Drainer`."""

    def __init__(self, forwarder: Forwarder, carry_out: AsyncPerform, owner: object) -> None:
        import asyncio

        self._draining = _Draining(forwarder)
        # Any thread may collect the owner, and must not touch the loop: the task looks at the flag after its pause.
        self._finalizer = weakref.finalize(owner, setattr, self._draining, "is_stopped", True)
        self._finalizer.atexit = False
        self._task = asyncio.create_task(self._draining.run_async(carry_out), name="tsmodel-drainer")

    def hurry(self) -> None:
        """See `Drainer.hurry`."""
        self._draining.wake(hurry=True)

    async def stop(self, seconds: float) -> None:
        """See `Drainer.stop`. A request still in progress after that time is cancelled."""
        import asyncio

        self._finalizer.detach()
        self._draining.wake(stop=True)
        await asyncio.wait([self._task], timeout=seconds)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
