"""Copies records from one backend to another, with their keys and acqs, without decoding payloads.

Rules kept here:

* Only records below the last full-commit acq are copied, so the source does not change during the copy.
* The copy proceeds in windows of acq. Each window is one put, and the checkpoint is saved after it: everything below the
  checkpoint is durable at the target.
* A source with several shards is copied one shard after the other, because each shard has its own acqs. The checkpoint is
  the least position.
* Records removed at the source after they were copied stay at the target, with a `RemovedWarning`.
* A copy that resumes from a checkpoint first reads the target's keys from there on, so a put whose answer was lost is not
  repeated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError, SessionError, TSModelError, check_type
from tsmodel.io.effects import Append, Sent, ShardsOf, Work, scanned
from tsmodel.io.retry import Retry
from tsmodel.keys import KEY_DTYPE, LIMITS, KeyRange
from tsmodel.layout.fixed_rows import batches_by_cid
from tsmodel.query.executor import last_acq
from tsmodel.query.following import Checkpoint, Position, Removed, cut_to, identity_of, place_of, tried
from tsmodel.query.plan import Plan, plan_of
from tsmodel.query.query import QueryBuilder
from tsmodel.query.spec import QuerySpec
from tsmodel.session.target import Database, StoreFile, parse
from tsmodel.wire.chunk import Batch, Chunk, joined, keys_of
from tsmodel.wire.records import GET_FORM, PUTA_FORM

__all__ = ["Copied", "Copying", "OnCopied", "check_apart"]

WINDOW_BYTES: Final = 32 * 2**20
"""Size limit of a window, in bytes."""

_HEADER: Final = GET_FORM.header.itemsize


@attrs.frozen
class Copied:
    """The progress of a copy.

    Attributes:
        records: number of records stored at the target.
        bytes: size of the records read.
        acq: everything below this acq is copied.
        end: the acq at which the copy ends.
    """

    records: int
    bytes: int
    acq: int
    end: int


OnCopied: TypeAlias = Callable[[Copied], object]
"""Called after each window."""


class Collected:
    """The records of a window that a plan selects, grouped by size; `most` limits their bytes."""

    def __init__(self, plan: Plan | None, most: int | None) -> None:
        self._plan = plan
        self._most = most
        self._parts: dict[int, list[Chunk]] = {}
        self.bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether the window exceeds its limit."""
        return self._most is not None and self.bytes > self._most

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk; returns whether the window exceeds its limit."""
        mask = None if self._plan is None else self._plan.key_mask(chunk.keys())
        if mask is not None:
            chunk = chunk.take(mask)
        for size in [chunk.record_size] if chunk.record_size else np.unique(chunk.sizes()).tolist():
            part = chunk if chunk.record_size else chunk.take(chunk.sizes() == size)
            self.bytes += part.nbytes
            self._parts.setdefault(size, []).append(part.kept())
        return self.is_full

    def acq_in_the_middle(self) -> int:
        """The median acq."""
        return int(np.median(np.concatenate([part.key("acq") for parts in self._parts.values() for part in parts])))

    def batches(self, there: npt.NDArray[Any] | None) -> list[Batch]:
        """The records in PUTA form, without those whose keys are `there`."""
        batches: list[Batch] = []
        for size, parts in self._parts.items():
            chunk = joined(parts)
            if there is not None and len(there):
                chunk = chunk.take(~np.isin(identities(chunk), there))
            payload = np.dtype(f"V{size - _HEADER}")
            moved = np.empty(len(chunk), PUTA_FORM.dtype(payload))
            moved["n"] = PUTA_FORM.least + payload.itemsize
            for name in PUTA_FORM.key_fields:
                moved[name] = chunk.key(name)
            if payload.itemsize:
                moved["payload"] = chunk.column(0, payload)
            batches += batches_by_cid(chunk.key("cid"), moved)
        return batches


def check_apart(source: Any, target: Any, kind: type) -> None:
    """Checks that two sessions are of a kind, and not on the same file or server.

    Raises:
        SessionError: when they are: it would then hold every record twice.
    """
    check_type(target, kind, f"copy(..., to=...) takes an open {kind.__name__} as its target")
    places = [_place(each.name) for each in (source, target)]
    if source is target or (places[0] is not None and places[0] == places[1]):
        raise SessionError(
            f"copy() needs another file or server as its target: {target.name} would hold every record twice"
        )


def _place(name: str) -> object:
    """Identifies a file or server: equal for two names of the same one; None if unknown."""
    try:
        parsed = parse(name)
    except TSModelError:  # a custom backend
        return None
    if isinstance(parsed, StoreFile):
        path = None if parsed.path is None else Path(parsed.path)
        return path.resolve() if path is not None and path.exists() else None
    if isinstance(parsed, Database):
        return parsed.conninfo.partition("?")[0], parsed.schema
    return frozenset(parsed.addresses)


def identities(chunk: Chunk) -> npt.NDArray[Any]:
    """The full keys of records, each as one opaque value, shape (n,)."""
    keys: npt.NDArray[Any] = keys_of(chunk.keys()).view(f"V{KEY_DTYPE.itemsize}")
    return keys


class Copying:
    """One copy, as work that reads from the source and appends to the target; see `Session.copy`.

    Raises:
        QueryError: when the query has a limit or conditions on fields.
        CheckpointError: when the file belongs to another copy, or is damaged.
    """

    def __init__(
        self,
        what: QueryBuilder[Any] | QuerySpec[Any] | KeyRange,
        source: Any,
        target: str,
        retry: Retry,
        checkpoint: str | os.PathLike[str] | None,
        progress: OnCopied | None,
    ) -> None:
        self._plan: Plan | None = None
        boxes: tuple[KeyRange, ...]
        if isinstance(what, KeyRange):
            boxes = (what,)
            of = {"target": place_of(source.name), "model": "any", "query": str(what)}
        else:
            check_type(what, (QueryBuilder, QuerySpec), "copy() takes a query, its spec or a KeyRange first")
            spec = what if isinstance(what, QuerySpec) else what.spec
            self._plan = _checked_plan(spec)
            boxes, of = self._plan.boxes, identity_of(spec, source)
        self._boxes = [box for box in boxes if not box.is_empty]
        self._retry = retry
        self._name = source.name
        self._progress = progress
        self._file = None if checkpoint is None else Checkpoint(checkpoint, {**of, "copy to": place_of(target)})
        kept = self._file.load() if self._file else None
        start = min((box.min.acq for box in self._boxes), default=LIMITS["acq"].least)
        self._resumed = kept is not None
        full = [_of_any_acq(box) for box in self._boxes]
        self._removed = Removed(full, "are copied", self._file.removal if kept and self._file else None)
        self._acq = kept.acq if kept else start
        self._positions: dict[int | None, int] = {}
        self._records = self._bytes = 0
        self._width: int | None = None

    def keys_there(self) -> Work[npt.NDArray[Any] | None]:
        """The keys that the target holds from the checkpoint on; None unless resuming. Runs on the target."""
        if not self._resumed:
            return None
        parts: list[npt.NDArray[Any]] = []

        def look(chunk: Chunk) -> None:
            parts.append(identities(chunk))

        for box in cut_to(self._boxes, self._acq, LIMITS["acq"].bound):
            yield from scanned(box, look)
        return np.concatenate(parts) if parts else None

    def steps(self, there: npt.NDArray[Any] | None) -> Work[Copied]:
        """Copies the records. `there` is the result of `keys_there`."""
        yield from self._tell()
        if self._file and not self._resumed:
            self._file.save(Position(self._acq))
        full = [_of_any_acq(box) for box in self._boxes]
        most = max((box.max.acq for box in self._boxes), default=self._acq)
        shards: Sequence[int | None] = (yield ShardsOf(full)) if full else ()
        if len(shards) > 1:
            yield from tried(lambda: last_acq(full), self._retry, self._name)  # advances those behind
        ends: dict[int | None, int] = {}
        for shard in shards:
            last = yield from tried(lambda shard=shard: last_acq(full, shard), self._retry, self._name)  # type: ignore[misc]
            ends[shard] = min(last, most)
        self._positions = dict.fromkeys(shards, self._acq)
        end = min(ends.values(), default=self._acq)
        for shard in shards:
            while self._positions[shard] < ends[shard]:
                yield from self._window(shard, ends[shard], there, end)
        yield from self._tell()
        return Copied(self._records, self._bytes, self._acq, end)

    def _window(self, shard: int | None, last: int, there: npt.NDArray[Any] | None, end: int) -> Work[None]:
        """Copies the next window of a store; `end` is what is told of where the copy ends."""
        until, collected = yield from tried(lambda: self._read(shard, last), self._retry, self._name)
        batches = collected.batches(there)
        if batches:
            yield Append(Sent(batches), with_acq=True)
        self._positions[shard] = until
        self._acq = min(self._positions.values())
        self._records += sum(batch.count for batch in batches)
        self._bytes += collected.bytes
        if self._file:
            self._file.save(Position(self._acq))
        if self._progress:
            self._progress(Copied(self._records, self._bytes, self._acq, end))

    def _tell(self) -> Generator[Any, Any, None]:
        """Warns if records that are already copied were removed at the source."""
        if (yield from self._removed.tell(max(self._positions.values(), default=self._acq))) and self._file:
            self._file.removal = self._removed.told
            self._file.save(Position(self._acq))

    def _read(self, shard: int | None, end: int) -> Generator[Any, Any, tuple[int, Collected]]:
        start = self._positions[shard]
        until = end if self._width is None else min(end, start + self._width)
        while True:
            collected = Collected(self._plan, WINDOW_BYTES if until > start + 1 else None)
            for box in cut_to(self._boxes, start, until):
                yield from scanned(box, collected.feed, shard)
                if collected.is_full:
                    break
            if not collected.is_full:
                if self._width is not None:
                    self._width = min(2 * self._width, 2**63)
                return until, collected
            until = min(max(collected.acq_in_the_middle(), start + 1), until - 1)
            self._width = until - start


def _checked_plan(spec: QuerySpec[Any]) -> Plan:
    spec.require_streaming("copy()")
    plan = plan_of(spec)
    if spec.limit is not None or plan.residual:
        raise QueryError("copy() does not decode payloads: remove the limit and the conditions on fields from the query")
    return plan


def _of_any_acq(box: KeyRange) -> KeyRange:
    limits = LIMITS["acq"]
    low = msgspec.structs.replace(box.min, acq=limits.least)
    return KeyRange(low, msgspec.structs.replace(box.max, acq=limits.bound))
