"""`tsmodel backup`, `init`, `verify`, `recover` and `compact`: maintaining a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tsmodel.cli import options as of
from tsmodel.cli.failures import UsageError
from tsmodel.cli.output import counted, note, print_json, progress, size

if TYPE_CHECKING:
    from tsmodel.store.care import Fault

__all__ = ["backup_", "compact_", "init_", "recover_", "verify_"]


def backup_(
    target: Annotated[str, typer.Argument(metavar="FILE", help="The file.")],
    copy: Annotated[str, typer.Argument(metavar="COPY", help="The file to create; it must not exist.")],
    as_json: of.Json = False,
) -> None:
    """Copy a file in its current state, while others read and write it, and verify the copy.

    Example:
      tsmodel backup readings.tsdb /backups/readings-2026-11-24.tsdb
    """
    from tsmodel.cli.opening import file_of, reading

    file_of(target, "backup")
    with reading(target) as session, progress("copying", "bytes") as done:
        found = session.backup(copy, done)
    if as_json:
        print_json({"copy": found.path, "records": found.records, "is_whole": found.is_whole})
    else:
        print(f"copied {counted(found.records)} to {copy}; the copy is whole")


def init_(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A postgresql:// URL, or the path of a file.")],
    shards: Annotated[
        list[str] | None,
        typer.Option(
            "--shards",
            metavar="URL",
            help="Spread the records over this server; repeat it for each. TARGET then holds the list of shards.",
        ),
    ] = None,
    as_json: of.Json = False,
) -> None:
    """Create a store: the schema and its tables in a PostgreSQL database, or a file. An existing store is left as it is.

    Run it once as a user who may create tables; other users then need fewer privileges. With --shards, the records are
    spread over several servers by their cid; their number cannot change later. Give the same shards again to finish what
    was interrupted, or to store new addresses.

    Example:
      tsmodel init 'postgresql://admin@host/db?schema=tsmodel'
      tsmodel init postgresql://admin@host/db --shards postgresql://host1/db1 --shards postgresql://host2/db2
    """
    from tsmodel.cli.opening import writing
    from tsmodel.session.target import Database, parse

    parsed = parse(target)
    if shards:
        from tsmodel.store.postgres import init_shards

        if not isinstance(parsed, Database):
            raise UsageError(f"--shards is for PostgreSQL, and {target} is not a postgresql:// URL")
        init_shards(target, shards)
    with writing(target, create=True):
        pass
    name = str(parsed) if isinstance(parsed, Database) else target
    if as_json:
        print_json({"target": name})
    else:
        print(f"{name} is ready")


def verify_(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A file, or a postgresql:// URL. Never written.")],
    as_json: of.Json = False,
) -> int:
    """Check everything in a file: all blocks, directories, and SQLite's own structures. Lists all faults.

    In PostgreSQL, checks everything except the database's own structures.

    The exit status is 1 if there are faults.

    Example:
      tsmodel verify readings.tsdb
    """
    from tsmodel.cli.opening import file_of, reading
    from tsmodel.session.target import Database, parse
    from tsmodel.store.capabilities import Caretaker
    from tsmodel.store.care import verify

    if isinstance(parse(target), Database):
        with reading(target) as session, progress("reading", "bytes") as done:
            assert isinstance(session.backend, Caretaker)
            found = session.backend.verify(done)
    else:
        path = file_of(target, "verify")
        with progress("reading", "bytes") as done:
            found = verify(path, done)
    if as_json:
        print_json(
            {
                "file": found.path,
                "is_whole": found.is_whole,
                "records": found.records,
                "blocks": found.blocks,
                "runs": found.runs,
                "ahead": found.ahead,
                "faults": _faults(found.faults),
            }
        )
    else:
        print(found)
        if found.ahead:
            note(
                f"{counted(found.ahead)} have an acquisition time in the future: they were stored with an acq of their own"
            )
        if not found.is_whole:
            note(
                "restore a backup"
                if isinstance(parse(target), Database)
                else f"`tsmodel recover {target} saved.tsdb` saves what is intact"
            )
    return int(not found.is_whole)


def recover_(
    target: Annotated[str, typer.Argument(metavar="FILE", help="The damaged file; never written.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The file to create; it must not exist.")],
    as_json: of.Json = False,
) -> int:
    """Save every intact block of a damaged file to a new one.

    The exit status is 1 if the file was damaged.

    Example:
      tsmodel recover damaged.tsdb saved.tsdb
    """
    from tsmodel.cli.opening import file_of
    from tsmodel.store.care import recover

    path = file_of(target, "recover")
    with progress("reading", "bytes") as done:
        found = recover(path, new, done)
    if as_json:
        print_json({"file": found.path, "records": found.records, "lost": found.lost, "faults": _faults(found.faults)})
    else:
        print(found)
    return int(bool(found.faults))


def compact_(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A file, or a postgresql:// URL.")],
    as_json: of.Json = False,
) -> None:
    """Make a file, or a store in PostgreSQL, smaller and faster to read, while others read and write it.

    A file needs as much free space as its own size.

    Example:
      tsmodel compact readings.tsdb
    """
    from tsmodel.cli.opening import file_of, writing
    from tsmodel.session.target import Database, parse

    if not isinstance(parse(target), Database):
        file_of(target, "compact")
    with writing(target, create=False) as session, progress("merging", "bytes") as done:
        found = session.compact(done)
    if as_json:
        print_json(
            {
                "bytes_before": found.bytes_before,
                "bytes_after": found.bytes_after,
                "runs_before": found.runs_before,
                "runs_after": found.runs_after,
            }
        )
    else:
        print(f"{size(found.bytes_before)} in {counted(found.runs_before, 'run')} before")
        print(f"{size(found.bytes_after)} in {counted(found.runs_after, 'run')} now")


def _faults(faults: tuple[Fault, ...]) -> list[dict[str, Any]]:
    return [{"where": fault.where, "what": fault.what, "records": fault.records} for fault in faults]
