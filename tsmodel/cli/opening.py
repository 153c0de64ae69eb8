"""Opens the targets of commands, and builds the queries that their options describe.

Rules kept here:

* A path must exist, except for commands that create it.
* Commands that only read do not write to a file, unless a process died and left a journal to recover.
"""

from __future__ import annotations

import datetime as dt
import os
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsmodel.backend import Sharded
from tsmodel.cli.failures import UsageError, in_words
from tsmodel.cli.models import model_of
from tsmodel.cli.ranges import ids, span
from tsmodel.cli.where import condition
from tsmodel.errors import SessionError, StoreError, StoreRecoveryError, TSModelError
from tsmodel.model.meta import schema_of
from tsmodel.query import Query
from tsmodel.query.grids import zone_of
from tsmodel.session import Session, connect
from tsmodel.session.target import Database, StoreFile, Target, parse

if TYPE_CHECKING:
    from tsmodel.cli.arguments import Selection

__all__ = ["note_for", "query_of", "reading", "store_of", "target_of", "writing", "zone"]


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


def store_of(target: str | None, command: str, *, databases: bool = True) -> str | None:
    """The path of the file that a command works on; None for PostgreSQL.

    Raises:
        UsageError: when it is a server, memory, or without `databases` PostgreSQL.
        StoreError: when there is no such file.
    """
    parsed = target_of(target)
    if isinstance(parsed, StoreFile) and parsed.path is not None:
        _must_exist(parsed.path)
        return parsed.path
    if not isinstance(parsed, Database):
        kinds = f"files and PostgreSQL, and {target} is neither" if databases else f"files, and {target} is not a file"
        raise UsageError(f"{command} is for {kinds}; `tsmodel copy {target} copy.tsdb` copies it to a file")
    if not databases:
        raise UsageError(
            f"{command} is for files; PostgreSQL has its own tools, such as pg_dump, and `tsmodel copy` copies to a file"
        )
    return None


def note_for(target: str | None, text: str) -> str | None:
    """A note for a put; None if the target keeps no notes."""
    return f"tsmodel {text}" if isinstance(target_of(target), (StoreFile, Database)) else None


def zone(name: str) -> dt.tzinfo:
    """The time zone with this name; `local` is this machine's."""
    if name == "local":
        found = dt.datetime.now().astimezone().tzinfo
        assert found is not None
        return _local_zone() or found
    try:
        return zone_of(name)
    except TSModelError as error:
        raise UsageError(f"--tz: {error}") from None


def query_of(session: Session, selection: Selection) -> Query[Any]:
    """The query that a command's options describe.

    Raises:
        UsageError: when an option is not valid.
        SchemaError: when there is no such model.
    """
    kind: Any = model_of(selection.model)
    clocks = zone(selection.tz)
    query = session.query(kind).on_error(selection.on_error)
    columns: Any = schema_of(kind).columns
    for name in ("cid", "mid", "moid"):
        if texts := getattr(selection, name):
            values, ranges = ids(",".join(texts), name)
            parts = [columns[name].between(low, high) for low, high in ranges]
            query = query.where(reduce(or_, [*parts, *([columns[name].is_in(values)] if values else [])]))
    for name in ("cap", "acq"):
        if text := getattr(selection, name):
            try:
                start, end = span(text, clocks)
            except UsageError as error:
                raise UsageError(f"--{name} {error}") from None
            query = query.where(*([columns[name] >= start] if start is not None else []))
            query = query.where(*([columns[name] < end] if end is not None else []))
    for text in selection.where or []:
        query = query.where(condition(text, kind, clocks))
    return query


def _must_exist(path: str) -> None:
    if not Path(path).exists():
        near = sorted(each.name for each in Path(path).parent.glob("*.tsdb"))[:3] if Path(path).parent.is_dir() else []
        there = f"; there is {', '.join(near)}" if near else ""
        raise StoreError(f"{path} does not exist{there}; `tsmodel put` and `tsmodel import` create files", path=path)


def _local_zone() -> dt.tzinfo | None:
    """This machine's time zone, if the system knows its name."""
    linked = os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    for name in (os.environ.get("TZ", "").lstrip(":"), linked):
        if name:
            try:
                return zone_of(name)
            except TSModelError:
                continue
    return None
