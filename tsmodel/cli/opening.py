"""Opens the targets of commands, and builds the queries that their options describe.

Rules kept here:

* A path must exist, except for commands that create it.
* Commands that only read do not write to a file, unless a process died and left a journal to recover.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from tsmodel.backend import Backend, Scan, Sharded
from tsmodel.cli.failures import UsageError, in_words
from tsmodel.cli.models import model_of
from tsmodel.cli.ranges import ids, span
from tsmodel.cli.where import condition
from tsmodel.errors import SessionError, StoreError, StoreRecoveryError, TSModelError
from tsmodel.keys import KeyRange
from tsmodel.model.meta import schema_of
from tsmodel.query import Query
from tsmodel.query.grids import zone_of
from tsmodel.session import Session, connect
from tsmodel.session.target import Database, StoreFile, Target, parse
from tsmodel.wire.chunk import Chunk

__all__ = ["Told", "file_of", "note_for", "query_of", "reading", "store_of", "target_of", "writing", "zone"]


def reading(target: str | None) -> Session:
    """A session that reads.

    Raises:
        StoreError: when there is no such file.
    """
    parsed = target_of(target)
    if isinstance(parsed, Database):
        session = connect(target, read_only=True)
        if not isinstance(session.backend, Sharded) or parsed.read_only:
            return session
        session.close()  # what follows a set of shards advances those that are behind
        return connect(target, create=False)
    if not isinstance(parsed, StoreFile) or parsed.path is None:
        return connect(target)
    _must_exist(parsed.path)
    try:
        return connect(target, read_only=True)
    except StoreRecoveryError:
        # Only a process that may write can recover the journal that a dead process left.
        if not os.access(parsed.path, os.W_OK):
            raise
        return connect(target, read_only=False, create=False)


def writing(target: str | None, *, create: bool, **options: Any) -> Session:
    """A session that writes; with `create`, a file that does not exist is created."""
    parsed = target_of(target)
    if isinstance(parsed, Database) or (isinstance(parsed, StoreFile) and parsed.path is not None):
        if parsed.read_only:
            name = target if isinstance(parsed, StoreFile) else parsed
            raise UsageError(f"{name} says read_only, and this command writes")
        if not create and isinstance(parsed, StoreFile) and parsed.path is not None:
            _must_exist(parsed.path)
        return connect(target, create=create, **options)
    return connect(target, **options)


def target_of(target: str | None) -> Target:
    """The parsed target.

    Raises:
        UsageError: when it is missing or malformed.
        TransportError: when a file that its TLS options name cannot be used.
    """
    try:
        return parse(target)
    except SessionError as error:
        raise UsageError(in_words(str(error))) from error


def file_of(target: str | None, command: str) -> str:
    """The path of a target that must be an embedded file.

    Raises:
        UsageError: when it is a server, or memory.
        StoreError: when there is no such file.
    """
    parsed = target_of(target)
    if isinstance(parsed, Database):
        raise UsageError(
            f"{command} is for files; PostgreSQL has its own tools, such as pg_dump, and `tsmodel copy` copies to a file"
        )
    if not isinstance(parsed, StoreFile) or parsed.path is None:
        raise UsageError(
            f"{command} is for files, and {target} is not a file; `tsmodel copy {target} copy.tsdb` copies it to one"
        )
    _must_exist(parsed.path)
    return parsed.path


def store_of(target: str | None, command: str) -> None:
    """Makes sure that a target is an embedded file or a store in PostgreSQL.

    Raises:
        UsageError: when it is a server, or memory.
        StoreError: when there is no such file.
    """
    parsed = target_of(target)
    if isinstance(parsed, Database):
        return
    if not isinstance(parsed, StoreFile) or parsed.path is None:
        raise UsageError(
            f"{command} works on files and PostgreSQL, and {target} is neither; `tsmodel copy {target} copy.tsdb` makes a "
            "file of it"
        )
    _must_exist(parsed.path)


def note_for(target: str | None, text: str) -> str | None:
    """A note for a put; None if the target keeps no notes."""
    return f"tsmodel {text}" if isinstance(target_of(target), (StoreFile, Database)) else None


def zone(name: str) -> dt.tzinfo:
    """The time zone with this name; `local` is this machine's.

    Raises:
        UsageError: when there is no such time zone.
    """
    if name == "local":
        found = dt.datetime.now().astimezone().tzinfo
        assert found is not None
        return _local_zone() or found
    try:
        return zone_of(name)
    except TSModelError as error:
        raise UsageError(f"--tz: {error}") from None


def query_of(
    session: Session,
    model: str | None,
    *,
    cid: list[str] | None = None,
    mid: list[str] | None = None,
    moid: list[str] | None = None,
    cap: str | None = None,
    acq: str | None = None,
    where: list[str] | None = None,
    on_error: str = "raise",
    tz: str = "UTC",
) -> Query[Any]:
    """The query that a command's options describe.

    Raises:
        UsageError: when an option is not valid.
        SchemaError: when there is no such model.
    """
    kind: Any = model_of(model)
    clocks = zone(tz)
    query = session.query(kind).on_error(on_error)  # type: ignore[arg-type]
    columns: Any = schema_of(kind).columns
    for name, texts in (("cid", cid), ("mid", mid), ("moid", moid)):
        if not texts:
            continue
        values, ranges = ids(",".join(texts), name)
        parts = [columns[name].between(low, high) for low, high in ranges]
        parts += [columns[name].is_in(values)] if values else []
        either = parts[0]
        for part in parts[1:]:
            either = either | part
        query = query.where(either)
    for name, text in (("cap", cap), ("acq", acq)):
        if text is None:
            continue
        try:
            start, end = span(text, clocks)
        except UsageError as error:
            raise UsageError(f"--{name} {error}") from None
        query = query.where(*([columns[name] >= start] if start is not None else []))
        query = query.where(*([columns[name] < end] if end is not None else []))
    for text in where or []:
        query = query.where(condition(text, kind, clocks))
    return query


class Told:
    """A backend that reports how many records were read from it.

    Args:
        backend: the backend to read.
        told: called with the number of records so far.
    """

    def __init__(self, backend: Backend, told: Callable[[int, int | None], object]) -> None:
        self._backend = backend
        self._told = told
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def scan(self, box: KeyRange) -> Scan:
        """See `Backend.scan`."""
        return Scan(self._chunks(box))

    def _chunks(self, box: KeyRange) -> Generator[Chunk, None, int]:
        with self._backend.scan(box) as scan:
            for chunk in scan:
                self._count += len(chunk)
                self._told(self._count, None)
                yield chunk
            return scan.acq


def _must_exist(path: str) -> None:
    if not Path(path).exists():
        near = sorted(each.name for each in Path(path).parent.glob("*.tsdb"))[:3] if Path(path).parent.is_dir() else []
        there = f"; there is {', '.join(near)}" if near else ""
        raise StoreError(f"{path} does not exist{there}; `tsmodel put` and `tsmodel import` create files", path=path)


def _local_zone() -> dt.tzinfo | None:
    """This machine's time zone, if the system knows its name."""
    for name in (os.environ.get("TZ", "").lstrip(":"), _linked("/etc/localtime")):
        if name:
            try:
                return zone_of(name)
            except TSModelError:
                continue
    return None


def _linked(path: str) -> str:
    return os.path.realpath(path).partition("zoneinfo/")[2]
