"""Receipts: what a flush stored, and how to wait until it is fully committed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs

from tsmodel.backend import PutId
from tsmodel.errors import CommitTimeoutError, SessionError
from tsmodel.html import html_table
from tsmodel.io.effects import LastAcq, Pause, Work
from tsmodel.io.retry import seconds_of
from tsmodel.io.runners import run
from tsmodel.keys import KeyRange
from tsmodel.timestamps import DurationLike, to_iso

if TYPE_CHECKING:
    from tsmodel.io.fetching import OnBackend

__all__ = ["Receipt", "committed"]

_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.5


def _unbound() -> OnBackend:
    raise SessionError("this receipt does not come from a session's flush: there is no database to ask")


def _awaited() -> OnBackend:
    raise SessionError("this receipt comes from an asynchronous session: use `await session.wait_committed(receipt)`")


@attrs.frozen
class Receipt:
    """The result of a flush: what is stored durably.

    Attributes:
        count: number of records stored since the last receipt, including those stored earlier because a batch was full.
        acq_min: their least acquisition time, ns since 2001; -1 when there are none.
        acq_max: their greatest acquisition time, ns since 2001; -1 when there are none.
        bytes: their size in a put, including size fields.
        seconds: time spent encoding and storing them.
        skipped: number of records left out because they were stored already; see `unless_stored` of `Session.add_all`.
        puts: the puts that stored them, for `Session.undo`; empty on a server.
        spooled: number of records that are durable in the session's spool, but not in the database yet. Until they are
            sent they have no acq and queries do not see them. `bytes` and `seconds` include them, `count` does not.
    """

    count: int = 0
    acq_min: int = -1
    acq_max: int = -1
    bytes: int = 0
    seconds: float = 0.0
    skipped: int = 0
    puts: tuple[PutId, ...] = attrs.field(default=(), repr=False, eq=False)
    _cids: range = attrs.field(alias="cids", default=range(0), repr=False, eq=False)
    _on_backend: Callable[[], OnBackend] = attrs.field(alias="on_backend", default=_unbound, repr=False, eq=False)
    spooled: int = attrs.field(default=0, kw_only=True)

    def __add__(self, other: Receipt) -> Receipt:
        """The receipt for both."""
        filled = [receipt for receipt in (self, other) if receipt.count]
        cids = [receipt._cids for receipt in filled if receipt._cids]  # noqa: SLF001 - its own class
        return attrs.evolve(
            self,
            count=self.count + other.count,
            acq_min=min((receipt.acq_min for receipt in filled), default=-1),
            acq_max=max((receipt.acq_max for receipt in filled), default=-1),
            bytes=self.bytes + other.bytes,
            seconds=self.seconds + other.seconds,
            skipped=self.skipped + other.skipped,
            spooled=self.spooled + other.spooled,
            puts=self.puts + other.puts,
            cids=range(min(each.start for each in cids), max(each.stop for each in cids)) if cids else range(0),
        )

    def _repr_html_(self) -> str:
        """A table for notebooks, with times as ISO 8601 text."""
        times = [to_iso(acq) if acq >= 0 else "" for acq in (self.acq_min, self.acq_max)]
        row = [f"{self.count:,}", *times, f"{self.bytes:,}", f"{self.seconds:.3f}", f"{self.skipped:,}"]
        names = ["count", "acq_min", "acq_max", "bytes", "seconds", "skipped"]
        if self.spooled:
            names, row = [*names, "spooled"], [*row, f"{self.spooled:,}"]
        return html_table("Receipt", names, [row])

    def of(self, on_backend: Callable[[], OnBackend]) -> Receipt:
        """The same receipt, bound to a session that carries out effects through `on_backend`."""
        return attrs.evolve(self, on_backend=on_backend)

    def of_async(self) -> Receipt:
        """The same receipt, for an asynchronous session, which waits with `AsyncSession.wait_committed`."""
        return attrs.evolve(self, on_backend=_awaited)

    def wait_committed(self, timeout: DurationLike | None = None) -> int:
        """Waits until these records are fully committed: no new record can appear at or below `acq_max` any more.

        With an asynchronous session, use `await session.wait_committed(receipt, timeout)`.

        Args:
            timeout: how long to wait, as "5s"; None for no limit.

        Returns:
            The last full-commit acq of the records' cids, ns since 2001. It is greater than `acq_max`.

        Raises:
            CommitTimeoutError: when the records are not committed in time. They are stored all the same.
            SessionError: when the receipt is empty, or the session is closed.
            TransportError, ServerError: when asking the database failed.
        """
        return run(self.waiting(timeout), self._on_backend())

    def waiting(self, timeout: DurationLike | None) -> Work[int]:
        """The work of `wait_committed`, for a session to run."""
        if not self.count and self.spooled:
            raise SessionError(
                f"the {self.spooled} records of this receipt are in the spool and have no acq yet: session.drain() waits "
                "until they are sent"
            )
        if not self.count:
            raise SessionError("this receipt has no stored records, so there is no commit to wait for")
        box = KeyRange.of(cid=(self._cids.start, self._cids.stop)) if self._cids else KeyRange()
        return committed(box, self.acq_max, timeout)


def committed(box: KeyRange, acq: int, timeout: DurationLike | None) -> Work[int]:
    """Waits until the last full-commit acq of a range is greater than `acq`, and returns it.

    Raises:
        CommitTimeoutError: when that takes longer than `timeout`.
    """
    limit = None if timeout is None else time.monotonic() + seconds_of(timeout, "timeout")
    pause = _FIRST_PAUSE
    while True:
        answer: int = yield LastAcq(box)
        if answer > acq:
            return answer
        left = _LONGEST_PAUSE if limit is None else limit - time.monotonic()
        if left <= 0:
            raise CommitTimeoutError(
                f"after {timeout}, the last full-commit acq is {answer}; it must exceed {acq}", acq=answer, wanted=acq
            )
        yield Pause(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
