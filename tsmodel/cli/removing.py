"""`tsmodel undo` and `prune`: taking records out of a file or a store in PostgreSQL."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tsmodel.cli import options as of
from tsmodel.cli.failures import UsageError
from tsmodel.cli.output import Table, counted, iso, print_json

__all__ = ["prune_", "undo_"]


def undo_(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A file, or a postgresql:// URL.")],
    puts: Annotated[
        list[int] | None, typer.Argument(metavar="PUT...", help="Numbers of puts, as --list shows them.")
    ] = None,
    as_list: Annotated[bool, typer.Option("--list", help="List what was stored: number, time, records, note.")] = False,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Is kept with the removal.")] = None,
    as_json: of.Json = False,
) -> None:
    """Take back what was stored: the records of some puts, all of them or none. Other records stay.

    `import` and `put` say in the list what they stored.

    Example:
      tsmodel undo readings.tsdb --list
      tsmodel undo readings.tsdb 17 18
    """
    from tsmodel.cli.opening import store_of, writing

    store_of(target, "undo")
    if as_list:
        if puts:
            raise UsageError("--list takes no numbers of puts")
        _list(target, as_json)
        return
    if not puts:
        raise UsageError("undo takes the numbers of puts; `tsmodel undo TARGET --list` shows them")
    with writing(target, create=False) as session:
        known = {each.number: each for each in session.puts()}
        for number in puts:
            if number not in known:
                raise UsageError(
                    f"there is no put {number} in {session.name}; `tsmodel undo TARGET --list` shows those that there are"
                )
        count = session.undo([known[number] for number in dict.fromkeys(puts)], note)
    if as_json:
        print_json({"removed": count})
    else:
        print(f"removed {counted(count)}")


def prune_(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A file, or a postgresql:// URL.")],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="The model, which says how long its records are kept.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Is kept with the removal.")] = None,
    as_json: of.Json = False,
) -> None:
    """Remove records that are older than the retention of their model: class Reading(TSModel, retention="400d").

    Example:
      tsmodel prune readings.tsdb --model meters:Reading --dry-run
    """
    from tsmodel.cli.models import model_of
    from tsmodel.cli.opening import reading, store_of, writing

    store_of(target, "prune")
    kind: Any = model_of(model)
    with reading(target) if dry_run else writing(target, create=False) as session:
        count = session.prune(kind, dry_run, note=note)
    if as_json:
        print_json({"would_remove" if dry_run else "removed": count})
    else:
        print(f"{'would remove' if dry_run else 'removed'} {counted(count)}")


def _list(target: str, as_json: bool) -> None:
    from tsmodel.cli.opening import reading

    with reading(target) as session:
        found = session.puts()
    rows = [
        {
            "put": each.number,
            "stored": iso(each.time),
            "records": each.count,
            "cids": ",".join(map(str, each.cids)),
            "undone": iso(each.undone),
            "note": each.note,
        }
        for each in found
    ]
    if as_json:
        print_json(rows)
    else:
        Table(["put", "stored", "records", "cids", "undone", "note"]).print([*row.values()] for row in rows)
