"""`Follow`, `AsyncFollow`: each new record of a query once, also across restarts.

Rules kept here:

* Records are read in windows of acquisition time. A window ends at the last full-commit acq at most. No record appears
  below it any more, so a window that was read once never changes, and a position in it means the same records in every run.
* A window is read whole before any of it is handed over: after a lost connection it is read again.
* A window holds about `MOST` records. A larger one is cut, unless all of its records have the same acq.
* Records that were read may be removed later, where the backend can: the reader is told, once for each removal.
* A record counts as taken when the next one is asked for, or when `commit` is called; a `with` block that ends without an
  exception commits.
* The position is in memory after every record. It is in the checkpoint after every `checkpoint_every`-th record, when there
  is nothing new, and at the end. Records that the file says were taken were taken.
* The checkpoint file appears whole or not at all: it is written beside its place, synced, and moved there.
* A checkpoint of another query, model or target is refused: resuming from it would skip or repeat records.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import attrs
import msgspec
import numpy as np
from typing_extensions import Self

from tsmodel.backend import Removal
from tsmodel.errors import CheckpointError, QueryError, RemovedWarning
from tsmodel.io.effects import Emit, Pause, Removals, Work, scanned
from tsmodel.io.retry import ONCE, Retry, again, seconds_of
from tsmodel.io.runners import advance, advance_async, run, run_async
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.model.meta import schema_of
from tsmodel.model.model_schema import fingerprint_of
from tsmodel.model.unions import models_of
from tsmodel.query.executor import Execution, last_acq
from tsmodel.query.sinks import Selection
from tsmodel.query.spec import QuerySpec, at_least
from tsmodel.timestamps import DurationLike, TimeLike, to_ns
from tsmodel.wire.chunk import Chunk, keys_of
from tsmodel.wire.sorting import order_of, run_starts

__all__ = [
    "MOST",
    "AsyncFollow",
    "Checkpoint",
    "Collected",
    "Follow",
    "Position",
    "Removed",
    "cut_to",
    "follow_plan",
    "identity_of",
    "place_of",
    "tried",
]

_VERSION = 1


@attrs.frozen
class Position:
    """How far a reader came: it has all records with an acq below `acq`, and the first `taken` of those that have it, in
    the order of their keys.

    Attributes:
        acq: ns since 2001.
        taken: number of records.
    """

    acq: int
    taken: int = 0


class _File(msgspec.Struct, forbid_unknown_fields=True):
    tsmodel_checkpoint: int
    of: dict[str, str]
    acq: int
    taken: int
    removal: int | tuple[int, ...] = 0


def identity_of(spec: QuerySpec[Any], source: Any) -> dict[str, str]:
    """What a checkpoint says it is of. A target's options, such as its timeout, are no part of it."""
    models = models_of(spec.model)
    return {
        "target": place_of(str(getattr(source, "name", type(source).__name__))),
        "model": " | ".join(f"{each.__name__} {fingerprint_of(schema_of(each))}" for each in models),
        "query": " & ".join(map(str, spec.all_conditions)) or "all records",
    }


class Checkpoint:
    """A file that keeps a position.

    Args:
        path: the file; its directory exists.
        of: what the position belongs to, such as query and target: a file of anything else is refused.

    Attributes:
        removal: number of the last removal that was told, which is kept with the position; see `Removals.told`.
    """

    def __init__(self, path: str | os.PathLike[str], of: dict[str, str]) -> None:
        self._path = Path(path).absolute()
        self._of = of
        self.removal: tuple[int, ...] = ()

    def load(self) -> Position | None:
        """The position that was kept; None when there is no file.

        Raises:
            CheckpointError: when the file is of something else, is damaged, or cannot be read.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CheckpointError(f"the checkpoint {self._path} cannot be read: {error}") from error
        try:
            kept = msgspec.json.decode(content, type=_File)
        except (msgspec.DecodeError, RecursionError) as error:
            raise CheckpointError(f"{self._path} is not a checkpoint: {error}; nothing was changed") from error
        if kept.tsmodel_checkpoint != _VERSION:
            raise CheckpointError(
                f"{self._path} has version {kept.tsmodel_checkpoint}; this tsmodel knows version {_VERSION}"
            )
        for name in {**kept.of, **self._of}:
            theirs, ours = kept.of.get(name), self._of.get(name)
            if theirs != ours:
                raise CheckpointError(
                    f"the checkpoint {self._path} is of another {name}: it has {theirs!r}, this is {ours!r}; name another "
                    "file, or remove this one to begin anew"
                )
        limits = LIMITS["acq"]
        if not limits.least <= kept.acq <= limits.bound or kept.taken < 0:
            raise CheckpointError(
                f"{self._path} is damaged: no record has acq {kept.acq}, or {kept.taken} of them were taken; restore a "
                "copy, or remove the file to begin anew"
            )
        self.removal = (kept.removal,) if isinstance(kept.removal, int) else kept.removal
        return Position(kept.acq, kept.taken)

    def save(self, position: Position) -> None:
        """Keeps a position, durably.

        Raises:
            CheckpointError: when the file cannot be written; the one that was there stays.
        """
        removal = self.removal if len(self.removal) > 1 else sum(self.removal)
        content = msgspec.json.encode(_File(_VERSION, self._of, position.acq, position.taken, removal))
        scratch = self._path.with_name(self._path.name + ".new")
        try:
            with scratch.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self._path)
            _sync_directory(self._path.parent)
        except OSError as error:
            raise CheckpointError(f"the checkpoint {self._path} cannot be written: {error}") from error


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(PermissionError):  # directories cannot be opened everywhere
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


R = TypeVar("R")

MOST = 65_536
"""Records of a window before it is cut."""

_WINDOW_ORDER = ("acq", "cid", "mid", "moid", "cap")
_log = logging.getLogger("tsmodel.follow")


class Collected:
    """The selected records of a window, as objects.

    Args:
        selection: picks them.
        most: number of records after which the window is cut; None for no limit.
    """

    def __init__(self, selection: Selection[Any], most: int | None) -> None:
        self._selection = selection
        self._most = most
        self._rows: list[Any] = []
        self._keys: list[np.ndarray[Any, Any]] = []

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk; returns whether there are too many."""
        records = self._selection.of(chunk)
        self._keys.append(keys_of(records))
        self._rows.extend(self._selection.codec.rows(records))
        return self.is_full

    @property
    def is_full(self) -> bool:
        """Whether there are too many."""
        return self._most is not None and len(self._rows) > self._most

    def acq_in_the_middle(self) -> int:
        """An acq with about as many of the records below as above it."""
        return int(np.median(np.concatenate(self._keys)["acq"]))

    def ordered(self) -> tuple[list[int], list[Any]]:
        """The acq of each record, and the records, by acq and then by key."""
        if not self._rows:
            return [], []
        keys = np.concatenate(self._keys)
        rows = self._rows
        order = order_of([keys[name] for name in _WINDOW_ORDER])
        if order is not None:
            keys = keys[order]
            rows = [rows[at] for at in order.tolist()]
        starts = run_starts([keys[name] for name in _WINDOW_ORDER])
        if len(starts) < len(rows):  # a full key more than once: any order that is always the same will do
            edges = pairwise([*starts.tolist(), len(rows)])
            rows = [row for start, end in edges for row in sorted(rows[start:end], key=repr)]
        return keys["acq"].tolist(), rows


def cut_to(boxes: Sequence[KeyRange], start: int, end: int) -> list[KeyRange]:
    """What of some boxes has `start <= acq < end`; empty ones left out."""
    low, high = ({"acq": max(each, LIMITS["acq"].least)} for each in (start, end))
    cut = (
        box.intersect(
            KeyRange(
                msgspec.structs.replace(KeyRange().min, **low),
                msgspec.structs.replace(KeyRange().max, **high),
            )
        )
        for box in boxes
    )
    return [box for box in cut if not box.is_empty]


def tried(work: Callable[[], Work[R]], retry: Retry, of: str) -> Work[R]:
    """What `work` comes to, begun anew after failures that may pass, which are logged."""

    def failed(error: Exception, pause: float | None) -> None:
        if pause is not None:
            _log.warning("reading %s failed, next attempt in %.3g s: %s", of, pause, error)

    return again(work, retry, failed)


class Removed:
    """Warns, once, of removals of records that were already read.

    Args:
        boxes: key ranges that are read, of any acq.
        what: what was done with the records, for the warning.
        told: number of the last removal that was reported, as in `Removals`; None when reading begins: earlier removals do
            not matter.
    """

    def __init__(self, boxes: Sequence[KeyRange], what: str, told: tuple[int, ...] | None) -> None:
        self._boxes = boxes
        self._what = what
        self._told = told

    @property
    def told(self) -> tuple[int, ...]:
        """Number of the last removal that was told."""
        return self._told or ()

    def tell(self, acq: int) -> Work[bool]:
        """Asks for new removals, and warns of removals of records below `acq`; the result is whether there are new ones.

        Raises:
            RemovedWarning: when a filter makes it an error; then no removal counts as reported.
        """
        removals: list[Removal]
        removals, told = yield Removals(self.told, self._boxes)
        if not removals:
            self._told = told
            return False
        concern = [
            removal
            for removal in (removals if self._told is not None else ())
            if removal.least[4] < acq and any(not removal.box.intersect(box).is_empty for box in self._boxes)
        ]
        if concern:
            count = sum(removal.count for removal in concern)
            numbers = ", ".join(f"{removal.number} ({removal.kind}: {removal.what})" for removal in concern)
            warnings.warn(
                RemovedWarning(
                    f"up to {count} records that {self._what} were removed from the store since: removal {numbers}; "
                    "session.removals() says which",
                    removals=concern,
                ),
                stacklevel=2,
            )
        self._told = told
        return True


M = TypeVar("M")


@attrs.frozen(eq=False)
class Given:
    """A record for the consumer, and where the reader stands when it is taken."""

    row: Any
    position: Position


@attrs.frozen(kw_only=True, eq=False)
class FollowPlan:
    """What to follow, and how.

    Attributes:
        boxes: key ranges to read.
        selection: gives a new selection of the query's records.
        source: the session that is read.
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
    source: Any
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
        source=source,
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
        self._work: Work[None] | None = None
        self._width: int | None = None
        self._ended = False

    @property
    def position(self) -> Position:
        """The position: what was taken. The record in hand is not counted yet."""
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
        """Keeps the position; the record in hand, if there is one, will be given again."""
        work, self._work, self._in_hand, self._ended = self._work, None, None, True
        if work is not None:
            work.close()
        self._save()

    def _begun(self) -> Work[None]:
        """The work, started again from the position if it was interrupted."""
        self._take()
        if self._work is None:
            self._work = self._steps()
        return self._work

    def _held(self, given: Given) -> M:
        """The record that is given, which is in the consumer's hand from here on."""
        self._in_hand = given.position
        row: M = given.row
        return row

    @property
    def _below(self) -> int:
        """The acq below which all records were taken, and perhaps some that have it."""
        return self._position.acq + (self._position.taken > 0)

    def _lag(self) -> Work[int]:
        last: int = yield from self._last()
        return max(last - self._position.acq, 0) if self._position.acq > LIMITS["acq"].least else last

    def _last(self) -> Work[int]:
        return (yield from tried(lambda: last_acq(self._plan.boxes), self._plan.retry, self._plan.of["target"]))

    def _steps(self) -> Work[None]:
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

    def _window(self, last: int) -> Work[None]:
        start = self._position.acq
        end, acqs, rows = yield from tried(lambda: self._read(start, last), self._plan.retry, self._plan.of["target"])
        taken = 0
        previous = start
        for acq, row in zip(acqs, rows, strict=True):
            taken, previous = (taken + 1 if acq == previous else 1), acq
            if acq > start or taken > self._position.taken:
                yield Emit(Given(row, Position(acq, taken)))
        self._position = Position(end)

    def _read(self, start: int, last: int) -> Work[tuple[int, list[int], list[Any]]]:
        """The end of the next window, and its records."""
        end = last if self._width is None else min(last, start + self._width)
        while True:
            collected = Collected(self._plan.selection(), MOST if end > start + 1 else None)
            for box in cut_to(self._plan.boxes, start, end):
                yield from scanned(box, collected.feed)
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
        on_backend = self._plan.source.on_backend()
        try:
            is_given, given = advance(self._begun(), on_backend)
        except BaseException:
            self._work = None
            on_backend.release()
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
        return run(self._lag(), self._plan.source.on_backend())

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
        on_backend = self._plan.source.on_backend()
        try:
            is_given, given = await advance_async(self._begun(), on_backend)
        except BaseException:
            self._work = None
            await on_backend.release()
            raise
        if not is_given:
            self._end()
            raise StopAsyncIteration
        return self._held(given)

    async def lag(self) -> int:
        """See `Follow.lag`."""
        return await run_async(self._lag(), self._plan.source.on_backend())

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


def place_of(target: str) -> str:
    """A target as checkpoints know it: without options, but for the schema of a database, in which there may be several."""
    return target if target.startswith("postgres") else target.partition("?")[0]
