"""`Follow` and `AsyncFollow`: each new record of a query exactly once, also across restarts.

Rules kept here:

* Records are read in windows of acquisition time. A window ends at or before the last full-commit acq. No record can appear
  below it any more, so a window never changes, and a position in it means the same records in every run.
* A window is read completely before its first record is returned. After a lost connection it is read again.
* A window has about `MOST` records. A larger one is cut, unless all of its records have the same acq.
* Backends may remove records that were read before. Readers get a warning, once for each removal.
* A record counts as taken when the next one is requested, or when `commit` is called. A `with` block that ends without an
  exception commits.
* The position is updated in memory after every record. It is saved in the checkpoint after every `checkpoint_every`-th
  record, when there is nothing new, and at the end. So the file never claims a record that was not taken.
* The checkpoint file appears complete or not at all: it is written under another name, synced, and renamed.
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
    "identity_of",
    "place_of",
    "tried",
]

_VERSION = 1


@attrs.frozen
class Position:
    """How far a reader has come.

    Attributes:
        acq: all records with a lower acq were taken; ns since 2001.
        taken: so many records with exactly this acq were taken, in the order of their keys.
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
    """Identifies what a checkpoint belongs to: target, model and query. Options of the target, such as its timeout, do not
    count."""
    models = models_of(spec.model)
    return {
        "target": place_of(str(getattr(source, "name", type(source).__name__))),
        "model": " | ".join(f"{each.__name__} {fingerprint_of(schema_of(each))}" for each in models),
        "query": " & ".join(map(str, spec.all_conditions)) or "all records",
    }


class Checkpoint:
    """A file that keeps a position.

    Args:
        path: the file. Its directory must exist.
        of: what the position belongs to; see `identity_of`. A file of anything else is refused.

    Attributes:
        removal: the number of the last removal that was reported; it is saved with the position. See `Removals.told`.
    """

    def __init__(self, path: str | os.PathLike[str], of: dict[str, str]) -> None:
        self._path = Path(path).absolute()
        self._of = of
        self.removal: tuple[int, ...] = ()

    def load(self) -> Position | None:
        """Reads the position; None when there is no file.

        Raises:
            CheckpointError: when the file belongs to something else, is damaged, or cannot be read.
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
                f"{self._path} has version {kept.tsmodel_checkpoint}, and this tsmodel reads version {_VERSION}"
            )
        for name in {**kept.of, **self._of}:
            theirs, ours = kept.of.get(name), self._of.get(name)
            if theirs != ours:
                raise CheckpointError(
                    f"the checkpoint {self._path} belongs to another {name}: {theirs!r}, not {ours!r}; use another file, "
                    "or remove this one to start over"
                )
        limits = LIMITS["acq"]
        if not limits.least <= kept.acq <= limits.bound or kept.taken < 0:
            raise CheckpointError(
                f"{self._path} is damaged: acq {kept.acq} with {kept.taken} records taken is impossible; restore a copy, "
                "or remove the file to start over"
            )
        self.removal = (kept.removal,) if isinstance(kept.removal, int) else kept.removal
        return Position(kept.acq, kept.taken)

    def save(self, position: Position) -> None:
        """Saves a position durably.

        Raises:
            CheckpointError: when the file cannot be written; the old one stays.
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
    """The sink for a window: its records as objects.

    Args:
        selection: selects the records.
        most: most records before the window is cut; None for no limit.
    """

    def __init__(self, selection: Selection[Any], most: int | None) -> None:
        self._selection = selection
        self._most = most
        self._rows: list[Any] = []
        self._keys: list[np.ndarray[Any, Any]] = []

    def feed(self, chunk: Chunk) -> bool:
        """Consumes a chunk; returns whether there are too many records."""
        records = self._selection.of(chunk)
        self._keys.append(keys_of(records))
        self._rows.extend(self._selection.codec.rows(records))
        return self.is_full

    @property
    def is_full(self) -> bool:
        """Whether there are too many records."""
        return self._most is not None and len(self._rows) > self._most

    def acq_in_the_middle(self) -> int:
        """The median acq of the records."""
        return int(np.median(np.concatenate(self._keys)["acq"]))

    def ordered(self) -> tuple[list[int], list[Any]]:
        """The acqs and the records, sorted by acq, then by key."""
        if not self._rows:
            return [], []
        keys = np.concatenate(self._keys)
        rows = self._rows
        order = order_of([keys[name] for name in _WINDOW_ORDER])
        if order is not None:
            keys = keys[order]
            rows = [rows[at] for at in order.tolist()]
        starts = run_starts([keys[name] for name in _WINDOW_ORDER])
        if len(starts) < len(rows):  # equal keys: any order will do, as long as it is the same in every run
            edges = pairwise([*starts.tolist(), len(rows)])
            rows = [row for start, end in edges for row in sorted(rows[start:end], key=repr)]
        return keys["acq"].tolist(), rows


def cut_to(boxes: Sequence[KeyRange], start: int, end: int) -> list[KeyRange]:
    """The parts of boxes with `start <= acq < end`, without empty ones."""
    least = LIMITS["acq"].least
    acqs = KeyRange.of(acq=(max(start, least), max(end, least)))
    return [cut for box in boxes if not (cut := box.intersect(acqs)).is_empty]


def tried(work: Callable[[], Work[R]], retry: Retry, of: str) -> Work[R]:
    """The result of `work`, which is started again after temporary failures. They are logged."""

    def failed(error: Exception, pause: float | None) -> None:
        if pause is not None:
            _log.warning("reading %s failed, next attempt in %.3g s: %s", of, pause, error)

    return again(work, retry, failed)


class Removed:
    """Warns, once, of removals of records that were already read.

    Args:
        boxes: the key ranges that are read, unbounded in acq.
        what: what was done with the records, for the warning.
        told: the number of the last removal that was reported, as in `Removals`; None when reading begins, so earlier
            removals do not matter.
    """

    def __init__(self, boxes: Sequence[KeyRange], what: str, told: tuple[int, ...] | None) -> None:
        self._boxes = boxes
        self._what = what
        self._told = told

    @property
    def told(self) -> tuple[int, ...]:
        """The number of the last removal that was reported; see `Removals`."""
        return self._told or ()

    def tell(self, acq: int) -> Work[bool]:
        """Asks for new removals, and warns if they concern records below `acq`. The result is whether there are new ones.

        Raises:
            RemovedWarning: if a warning filter turns it into an error; then no removal counts as reported.
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
                    f"up to {count} records that {self._what} were removed from the store since then: removal {numbers}; "
                    "session.removals() lists them",
                    removals=concern,
                ),
                stacklevel=2,
            )
        self._told = told
        return True


M = TypeVar("M")


class _Following(Generic[M]):
    """The position of a follow, and its work. For the arguments see `Query.follow`."""

    def __init__(
        self,
        execution: Execution[Any],
        since: TimeLike | None,
        poll: DurationLike,
        checkpoint: str | os.PathLike[str] | None,
        every: int,
        *,
        wait: bool,
    ) -> None:
        spec, self._boxes = execution.spec, execution.plan.boxes
        spec.require_streaming("follow()")
        if spec.limit is not None:
            raise QueryError("follow() returns every record: remove the limit from the query, and stop iterating instead")
        whole = (LIMITS["acq"].least, LIMITS["acq"].bound)
        if any((box.min.acq, box.max.acq) != whole for box in self._boxes):
            raise QueryError("follow() reads in order of acq: use since=... instead of a condition on acq")
        self._selection = execution.selection
        self._source = execution.reading
        self._retry: Retry = getattr(self._source, "retries", ONCE)
        self._poll = seconds_of(poll, "poll")
        self._every = at_least(1, every, "checkpoint_every")
        self._wait = wait
        of = identity_of(spec, self._source)
        self._target = of["target"]
        start = LIMITS["acq"].least if since is None else to_ns(since)
        self._file = None if checkpoint is None else Checkpoint(checkpoint, of)
        kept = self._file.load() if self._file else None
        self._removed = Removed(self._boxes, "follow() has returned", self._file.removal if kept and self._file else None)
        self._position = self._saved = kept or Position(start)
        self._since_saved = 0
        self._in_hand: Position | None = None
        self._work: Work[None] | None = None
        self._width: int | None = None
        self._ended = False

    @property
    def position(self) -> Position:
        """What was taken. The record in hand does not count yet."""
        return self._position

    def commit(self) -> None:
        """Counts the record in hand as taken and writes the checkpoint, without waiting for the next request.

        Raises:
            CheckpointError: when the file cannot be written.
        """
        self._take()
        self._save()

    def _take(self) -> None:
        if self._in_hand is not None:
            self._position, self._in_hand = self._in_hand, None
            self._since_saved += 1
            if self._since_saved >= self._every:
                self._save()

    def _save(self) -> None:
        if self._file is not None and (self._saved != self._position or self._file.removal != self._removed.told):
            self._file.removal = self._removed.told
            self._file.save(self._position)
            self._saved = self._position
        self._since_saved = 0

    def _end(self) -> None:
        """Saves the position. The record in hand, if any, is returned again by the next run."""
        work, self._work, self._in_hand, self._ended = self._work, None, None, True
        if work is not None:
            work.close()
        self._save()

    def _begun(self) -> Work[None]:
        """The work, restarted from the position if it was interrupted."""
        self._take()
        if self._work is None:
            self._work = self._steps()
        return self._work

    def _hand_over(self, emitted: tuple[M, Position]) -> M:
        """Returns the record, which is in the consumer's hand from now on."""
        row, self._in_hand = emitted
        return row

    @property
    def _below(self) -> int:
        """An acq above that of every record that was taken."""
        return self._position.acq + (self._position.taken > 0)

    def _lag(self) -> Work[int]:
        last: int = yield from self._last()
        return max(last - self._position.acq, 0) if self._position.acq > LIMITS["acq"].least else last

    def _last(self) -> Work[int]:
        return (yield from tried(lambda: last_acq(self._boxes), self._retry, self._target))

    def _steps(self) -> Work[None]:
        while True:
            last: int = (yield from self._last()) if self._boxes else self._position.acq
            if (yield from self._removed.tell(self._below)):
                self._save()
            while self._position.acq < last:
                yield from self._window(last)
            if self._since_saved:
                self._save()
            if not self._wait:
                return
            yield Pause(self._poll)

    def _window(self, last: int) -> Work[None]:
        start = self._position.acq
        end, acqs, rows = yield from tried(lambda: self._read(start, last), self._retry, self._target)
        taken = 0
        previous = start
        for acq, row in zip(acqs, rows, strict=True):
            taken, previous = (taken + 1 if acq == previous else 1), acq
            if acq > start or taken > self._position.taken:
                yield Emit((row, Position(acq, taken)))
        self._position = Position(end)

    def _read(self, start: int, last: int) -> Work[tuple[int, list[int], list[Any]]]:
        """The end of the next window, and its records."""
        end = last if self._width is None else min(last, start + self._width)
        while True:
            selection = self._selection()
            collected = Collected(selection, MOST if end > start + 1 else None)
            for box in cut_to(self._boxes, start, end):
                selection.stats.range_begun()
                yield from scanned(box, collected.feed)
                selection.stats.tick()
                if collected.is_full:
                    break
            if not collected.is_full:
                if self._width is not None:
                    self._width = min(2 * self._width, 2**63)
                return (end, *collected.ordered())
            end = min(max(collected.acq_in_the_middle(), start + 1), end - 1)
            self._width = end - start


class Follow(_Following[M], Iterator[M]):
    """The new records of a query, once they are fully committed; see `Query.follow`.

    Iterating waits for the next record. Use it in a `with` block: leaving it writes the checkpoint.
    """

    def __next__(self) -> M:
        if self._ended:
            raise StopIteration
        on_backend = self._source.on_backend()
        try:
            is_emitted, emitted = advance(self._begun(), on_backend)
        except BaseException:
            self._work = None
            on_backend.release()
            raise
        if not is_emitted:
            self._end()
            raise StopIteration
        return self._hand_over(emitted)

    def lag(self) -> int:
        """How far the reader is behind: ns of acquisition time between its position and the last full-commit acq.

        It is 0 when all fully committed records were taken. Without `since`, before anything was read, it is the last
        full-commit acq itself.
        """
        return run(self._lag(), self._source.on_backend())

    def close(self) -> None:
        """Ends the iteration and writes the checkpoint. The record in hand does not count as taken: call `commit` first if
        it should."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self._take()
        self._end()


class AsyncFollow(_Following[M], AsyncIterator[M]):
    """Like `Follow`, awaited. Cancelling a wait loses nothing: the next one continues where it stopped."""

    async def __anext__(self) -> M:
        if self._ended:
            raise StopAsyncIteration
        on_backend = self._source.on_backend()
        try:
            is_emitted, emitted = await advance_async(self._begun(), on_backend)
        except BaseException:
            self._work = None
            await on_backend.release()
            raise
        if not is_emitted:
            self._end()
            raise StopAsyncIteration
        return self._hand_over(emitted)

    async def lag(self) -> int:
        """See `Follow.lag`."""
        return await run_async(self._lag(), self._source.on_backend())

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
    """The target in checkpoints: without options, except for PostgreSQL, whose options include the schema."""
    return target if target.startswith("postgres") else target.partition("?")[0]
