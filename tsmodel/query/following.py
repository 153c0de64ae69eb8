"""`Follow`, `AsyncFollow`: each new record of a query once, also across restarts.

Rules kept here:

* A record counts as taken when the next one is asked for, or when `commit` says so; a `with` block that ends well commits.
* The position is in memory after every record, and in the checkpoint after every `checkpoint_every`-th, and whenever all
  there is has been taken, and at the end. What the file says was taken was taken.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Generic, TypeAlias, TypeVar

import attrs
from typing_extensions import Self

from tsmodel.client.retry import ONCE, Retry, seconds_of
from tsmodel.errors import QueryError
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.query.checkpoint import Checkpoint, Position, identity_of
from tsmodel.query.executor import Execution
from tsmodel.query.sinks import Selection
from tsmodel.query.spec import at_least
from tsmodel.query.steps import Look, Pause, ReadStep, advanced, advanced_async
from tsmodel.query.windows import MOST, Collected, Removed, cut_to, last_acq, tried
from tsmodel.timestamps import DurationLike, TimeLike, to_ns

__all__ = ["AsyncFollow", "Follow", "follow_plan"]

M = TypeVar("M")


@attrs.frozen(eq=False)
class Given:
    """A record for the consumer, and where the reader stands when it is taken."""

    row: Any
    position: Position


FollowSteps: TypeAlias = Generator["ReadStep | Given", Any, None]


@attrs.frozen(kw_only=True, eq=False)
class FollowPlan:
    """What to follow, and how.

    Attributes:
        boxes: key ranges to read.
        selection: gives a new selection of the query's records.
        backend: gives the backend, or raises.
        retry: the session's policy.
        of: what the checkpoint is of: query, model and target.
        start: acq to begin at when no checkpoint says otherwise.
        poll: seconds to wait when there is nothing new.
        checkpoint: the file; None for none.
        every: records between two writes of the file.
        wait: whether to wait for more once all there is was given.
    """

    boxes: tuple[KeyRange, ...]
    selection: Callable[[], Selection[Any]]
    backend: Callable[[], Any]
    retry: Retry
    of: dict[str, str]
    start: int | None
    poll: float
    checkpoint: str | os.PathLike[str] | None
    every: int
    wait: bool


def follow_plan(
    execution: Execution[Any],
    since: TimeLike | None,
    poll: DurationLike,
    checkpoint: str | os.PathLike[str] | None,
    every: int,
    *,
    wait: bool,
) -> FollowPlan:
    """The plan for following what an executor reads; see `Query.follow`."""
    spec, boxes = execution.spec, execution.plan.boxes
    spec.require_streaming("follow()")
    if spec.limit is not None:
        raise QueryError("follow() gives every record: take the limit off the query, and stop iterating instead")
    whole = (LIMITS["acq"].least, LIMITS["acq"].bound)
    if any((box.min.acq, box.max.acq) != whole for box in boxes):
        raise QueryError("follow() goes along acq itself: instead of a condition on acq, say since=...")
    source = execution.reading
    return FollowPlan(
        boxes=boxes,
        selection=execution.selection,
        backend=lambda: source.backend,
        retry=getattr(source, "retries", ONCE),
        of=identity_of(spec, source),
        start=None if since is None else to_ns(since),
        poll=seconds_of(poll, "poll"),
        checkpoint=checkpoint,
        every=at_least(1, every, "checkpoint_every"),
        wait=wait,
    )


class _Following(Generic[M]):
    """What both kinds share: where they stand, and the steps."""

    def __init__(self, plan: FollowPlan) -> None:
        self._plan = plan
        self._file = None if plan.checkpoint is None else Checkpoint(plan.checkpoint, plan.of)
        kept = self._file.load() if self._file else None
        self._removed = Removed(plan.boxes, "follow() has given", self._file.removal if kept and self._file else None)
        start = LIMITS["acq"].least if plan.start is None else plan.start
        self._position = kept or Position(start)
        self._saved = self._position
        self._since_saved = 0
        self._in_hand: Position | None = None
        self._work: FollowSteps | None = None
        self._width: int | None = None
        self._ended = False

    @property
    def position(self) -> Position:
        """Where it stands: what was taken. The record in hand is not counted yet."""
        return self._position

    def commit(self) -> None:
        """Counts the record in hand as taken and writes the checkpoint, now and not when the next one is asked for.

        Raises:
            CheckpointError: when the file cannot be written.
        """
        self._take()
        self._save()

    def _take(self) -> None:
        if self._in_hand is not None:
            self._position, self._in_hand = self._in_hand, None
            self._since_saved += 1
            if self._since_saved >= self._plan.every:
                self._save()

    def _save(self) -> None:
        if self._file is not None and (self._saved != self._position or self._file.removal != self._removed.told):
            self._file.removal = self._removed.told
            self._file.save(self._position)
            self._saved = self._position
        self._since_saved = 0

    def _end(self) -> None:
        """Keeps where it stands; the record in hand, if there is one, will be given again."""
        work, self._work, self._in_hand, self._ended = self._work, None, None, True
        if work is not None:
            work.close()
        self._save()

    def _begun(self) -> FollowSteps:
        """The work, begun anew from the position when it was broken off."""
        self._take()
        if self._work is None:
            self._work = self._steps()
        return self._work

    def _held(self, given: Given) -> M:
        """The record of what is given, which is in the consumer's hand from here on."""
        self._in_hand = given.position
        row: M = given.row
        return row

    @property
    def _below(self) -> int:
        """The acq below which all records were taken, and perhaps some that have it."""
        return self._position.acq + (self._position.taken > 0)

    def _lag(self) -> Generator[ReadStep, Any, int]:
        last: int = yield from self._last()
        return max(last - self._position.acq, 0) if self._position.acq > LIMITS["acq"].least else last

    def _last(self) -> Generator[ReadStep, Any, int]:
        return (yield from tried(lambda: last_acq(self._plan.boxes), self._plan.retry, self._plan.of["target"]))

    def _steps(self) -> FollowSteps:
        while True:
            last: int = (yield from self._last()) if self._plan.boxes else self._position.acq
            if (yield from self._removed.tell(self._below)):
                self._save()
            while self._position.acq < last:
                yield from self._window(last)
            if self._since_saved:
                self._save()
            if not self._plan.wait:
                return
            yield Pause(self._plan.poll)

    def _window(self, last: int) -> FollowSteps:
        start = self._position.acq
        end, acqs, rows = yield from tried(lambda: self._read(start, last), self._plan.retry, self._plan.of["target"])
        taken = 0
        previous = start
        for acq, row in zip(acqs, rows, strict=True):
            taken, previous = (taken + 1 if acq == previous else 1), acq
            if acq > start or taken > self._position.taken:
                yield Given(row, Position(acq, taken))
        self._position = Position(end)

    def _read(self, start: int, last: int) -> Generator[ReadStep, Any, tuple[int, list[int], list[Any]]]:
        """The end of the next window, and its records."""
        end = last if self._width is None else min(last, start + self._width)
        while True:
            collected = Collected(self._plan.selection(), MOST if end > start + 1 else None)
            for box in cut_to(self._plan.boxes, start, end):
                yield Look(box, collected.feed)
                if collected.is_full:
                    break
            if not collected.is_full:
                if self._width is not None:
                    self._width = min(2 * self._width, 2**63)
                return (end, *collected.ordered())
            end = min(max(collected.acq_in_the_middle(), start + 1), end - 1)
            self._width = end - start


class Follow(_Following[M], Iterator[M]):
    """The new records of a query, as they are fully committed, each once; see `Query.follow`.

    Iterating waits for the next one. Use it in a `with` block: leaving it writes the checkpoint.
    """

    def __next__(self) -> M:
        if self._ended:
            raise StopIteration
        try:
            is_given, given = advanced(self._begun(), self._plan.backend)
        except BaseException:
            self._work = None
            raise
        if not is_given:
            self._end()
            raise StopIteration
        return self._held(given)

    def lag(self) -> int:
        """How far behind it is: nanoseconds of acquisition time between what was taken and what is fully committed.

        0 when everything that was fully committed was taken. Before anything was read, without `since`, it is the last
        full-commit acq itself.
        """
        _, lag = advanced(self._lag(), self._plan.backend)
        return int(lag)

    def close(self) -> None:
        """Ends it and writes the checkpoint. The record in hand does not count as taken: `commit` first if it is."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self._take()
        self._end()


class AsyncFollow(_Following[M], AsyncIterator[M]):
    """As `Follow`, awaiting. Cancelling a wait loses nothing: the next one goes on where it stood."""

    async def __anext__(self) -> M:
        if self._ended:
            raise StopAsyncIteration
        try:
            is_given, given = await advanced_async(self._begun(), self._plan.backend)
        except BaseException:
            self._work = None
            raise
        if not is_given:
            self._end()
            raise StopAsyncIteration
        return self._held(given)

    async def lag(self) -> int:
        """See `Follow.lag`."""
        _, lag = await advanced_async(self._lag(), self._plan.backend)
        return int(lag)

    async def close(self) -> None:
        """See `Follow.close`."""
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._take()
        self._end()
