"""`tsmodel info`, `series`, `get` and `follow`: show stored records on a terminal or save them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from tsmodel.cli import options as of
from tsmodel.cli.failures import UsageError
from tsmodel.cli.output import Table, counted, iso, note, print_json, progress, size, written

if TYPE_CHECKING:
    from tsmodel.query import Query
    from tsmodel.store.maintenance import Info

__all__ = ["follow_", "get_", "info_", "series_"]

_AT_ONCE: Final = 4096


def info_(
    target: of.Target = None,
    as_json: of.Json = False,
) -> None:
    """Show the number of records and series, the times, and the size, for each client.

    A file knows these without reading its records. On a server, all records are read; use `tsmodel series` for a range.

    Example:
      tsmodel info readings.tsdb
    """
    from tsmodel.cli.opening import reading, target_of
    from tsmodel.session.target import Database, StoreFile
    from tsmodel.store.capabilities import Caretaker
    from tsmodel.store.maintenance import info

    parsed = target_of(target)
    if isinstance(parsed, StoreFile) and parsed.path is not None:
        with reading(target):
            pass  # says what is wrong with it in terms of the command line
        found = _of_file(info(parsed.path))
    elif isinstance(parsed, Database):
        with reading(target) as session:
            assert isinstance(session.backend, Caretaker)
            found = _of_file(session.backend.info())
    else:
        found = _of_server(target)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if name != "cids":
            print(f"{name.replace('_', ' '):<17} {_shown(name, value)}")
    if found["cids"]:
        print()
        rows = ([cid, *each.values()] for cid, each in found["cids"].items())
        Table(["cid", *(name.replace("_", " ") for name in next(iter(found["cids"].values())))]).print(rows)


def series_(
    target: of.Target = None,
    cid: of.Cid = None,
    mid: of.Mid = None,
    moid: of.Moid = None,
    cap: of.Cap = None,
    acq: of.Acq = None,
    where: of.Where = None,
    model: of.Model = None,
    on_error: of.Errors = "raise",
    tz: of.Zone = "UTC",
    as_json: of.Json = False,
) -> None:
    """List the series (client, meter, meter object) with their number of records and first and last time.

    Example:
      tsmodel series readings.tsdb --cid 1 --cap 2026-11-01..2026-12-01
    """
    from tsmodel.cli.opening import reading
    from tsmodel.cli.rows import skipped_of

    with reading(target) as session:
        query = _asked(session, model, cid, mid, moid, cap, acq, where, on_error, tz)
        found = query.series()
        skipped_of(query)
    rows = [
        {
            "cid": each.cid,
            "mid": each.mid,
            "moid": each.moid,
            "records": each.count,
            "first": iso(each.cap_min),
            "last": iso(each.cap_max),
        }
        for each in found
    ]
    if as_json:
        print_json(rows)
        return
    Table(["cid", "mid", "moid", "records", "first", "last"]).print([*each.values()] for each in rows)


def get_(
    target: of.Target = None,
    model: of.Model = None,
    cid: of.Cid = None,
    mid: of.Mid = None,
    moid: of.Moid = None,
    cap: of.Cap = None,
    acq: of.Acq = None,
    where: of.Where = None,
    columns: Annotated[str | None, typer.Option("--columns", metavar="A,B", help="Print only these columns.")] = None,
    order_by: Annotated[
        str | None, typer.Option("--order-by", metavar="A,-B", help="Sort by these columns; prefix - for descending.")
    ] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Only the newest version of each record.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=0, help="Maximum number of records.")] = None,
    form: Annotated[
        of.Format | None,
        typer.Option(
            "--format",
            "-f",
            metavar="table|csv|jsonl|parquet|arrow",
            help="Output format. Default: from the suffix of the output file, or else a table.",
        ),
    ] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="File to write.")] = None,
    on_error: of.Errors = "raise",
    tz: of.Zone = "UTC",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
) -> int:
    """Print records, or save them to a file. Without --order-by they come in no particular order.

    Example:
      tsmodel get readings.tsdb --cap today --where 'volts > 240' -m meters:Reading
    """
    from tsmodel.cli.opening import reading
    from tsmodel.cli.rows import columns_of, format_of, opened, order_of, printer, skipped_of, to_arrow

    chosen = format_of(form, output, as_json)
    with reading(target) as session:
        query = _asked(session, model, cid, mid, moid, cap, acq, where, on_error, tz)
        if latest:
            query = query.latest()
        if order_by is not None:
            query = query.order_by(*order_of(query, order_by))
        if limit is not None:
            query = query.limit(limit)
        names = columns_of(query, columns)
        # A progress bar would disturb rows on the same screen.
        with written(output) as path, progress("reading", is_quiet=output in (None, "-")) as done:
            if chosen == "parquet":
                if path is None:
                    raise UsageError("a Parquet file needs a name: give -o FILE")
                count = query.dump_parquet(path, *names)
            elif chosen == "arrow":
                count = to_arrow(query, names, path)
            else:
                with opened(path) as file:
                    count = printer(query.spec.model, names, chosen, file)(_told(query, done))
        skipped = skipped_of(query)
    if output not in (None, "-"):
        note(f"wrote {counted(count)} to {output}")
    elif chosen == "table" and not count:
        note("no records")
    return 3 if skipped else 0


def follow_(
    target: of.Target = None,
    model: of.Model = None,
    cid: of.Cid = None,
    mid: of.Mid = None,
    moid: of.Moid = None,
    cap: of.Cap = None,
    where: of.Where = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Start with records acquired at this time: a time, -15m, or `beginning`. Default: now.",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="FILE", help="File that keeps the position; the next run resumes there."),
    ] = None,
    poll: Annotated[str, typer.Option("--poll", metavar="DURATION", help="How often to ask for new records.")] = "1s",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for new records, or end when there are none.")
    ] = True,
    form: Annotated[
        Literal["table", "csv", "jsonl"],
        typer.Option("--format", "-f", metavar="table|csv|jsonl", help="Output format."),
    ] = "table",
    on_error: of.Errors = "raise",
    tz: of.Zone = "UTC",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
) -> None:
    """Print each new record as it arrives, like `tail -f`, until Ctrl-C.

    With a checkpoint and without --since, it starts at the first stored record. After a run that was killed rather than
    stopped with Ctrl-C, the next one may print a few thousand records again.

    Example:
      tsmodel follow tstorage://host:2025 --model meters:Reading --mid 4711 --json
    """
    from tsmodel.cli.opening import reading, zone
    from tsmodel.cli.ranges import point
    from tsmodel.cli.rows import columns_of, printer, skipped_of

    with reading(target) as session:
        query = _asked(session, model, cid, mid, moid, cap, None, where, on_error, tz)
        start: int | None = None
        if since is not None and since != "beginning":
            start = point(since, zone(tz))
        elif since is None and checkpoint is None:
            start = query.last_acq()
        names = columns_of(query, None)
        printed = printer(query.spec.model, names, "jsonl" if as_json else form, sys.stdout)
        following = query.follow(start, poll, checkpoint, checkpoint_every=_AT_ONCE, wait=wait)
        with following as new, _held_interrupts() as interrupts:
            while (row := interrupts.interruptible(lambda: next(new, None))) is not None:
                printed([row])
                sys.stdout.flush()
                if interrupts.pending:
                    new.commit()
                    raise KeyboardInterrupt
        skipped_of(query)


def _told(rows: Iterable[Any], done: Any) -> Iterator[Any]:
    for count, row in enumerate(rows, 1):
        yield row
        if count % _AT_ONCE == 0:
            done(count, None)


class _Interrupts:
    """Defers Ctrl-C while a record is printed, so that exactly the printed records count as taken.

    Attributes:
        pending: whether Ctrl-C was pressed meanwhile.
    """

    def __init__(self) -> None:
        self.pending = False
        self._may_raise = False

    def handle(self, *_: object) -> None:
        """The signal's handler."""
        if self._may_raise:
            raise KeyboardInterrupt
        self.pending = True

    def interruptible(self, wait: Callable[[], Any]) -> Any:
        """The result of `wait`, which Ctrl-C interrupts."""
        self._may_raise = True
        try:
            return wait()
        finally:
            self._may_raise = False


@contextmanager
def _held_interrupts() -> Iterator[_Interrupts]:
    interrupts = _Interrupts()
    before = signal.signal(signal.SIGINT, interrupts.handle)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


def _asked(
    session: Any,
    model: str | None,
    cid: list[str] | None,
    mid: list[str] | None,
    moid: list[str] | None,
    cap: str | None,
    acq: str | None,
    where: list[str] | None,
    on_error: str,
    tz: str,
) -> Query[Any]:
    from tsmodel.cli.opening import query_of

    return query_of(session, model, cid=cid, mid=mid, moid=moid, cap=cap, acq=acq, where=where, on_error=on_error, tz=tz)


def _of_file(found: Info) -> dict[str, Any]:
    return {
        "target": found.path,
        "records": found.records,
        "series": found.series,
        "first_cap": iso(found.cap[0]) if found.cap else None,
        "last_cap": iso(found.cap[1]) if found.cap else None,
        "last_acq": iso(found.acq[1]) if found.acq else None,
        "file_bytes": found.file_bytes,
        "free_bytes": found.free_bytes,
        "bytes_per_record": round(found.bytes_per_record, 2),
        "runs": found.runs,
        "blocks": found.blocks,
        "cids": {
            cid: {
                "records": each.records,
                "series": each.series,
                "first_cap": iso(each.cap[0]),
                "last_cap": iso(each.cap[1]),
                "bytes": each.stored,
            }
            for cid, each in found.cids.items()
        },
    }


def _of_server(target: str | None) -> dict[str, Any]:
    from tsmodel.cli.models import Record
    from tsmodel.cli.opening import Told, reading
    from tsmodel.session import Session
    from tsmodel.timestamps import now_ns

    with reading(target) as session, progress("reading all records") as done:
        name = session.name
        backend: Any = Told(session.backend, done)
        with Session(backend, name=name) as told:
            query = told.query(Record)
            last, now = query.last_acq(), now_ns()
            found = query.series()
    cids: dict[int, dict[str, Any]] = {}
    for each in found:
        of_cid = cids.setdefault(each.cid, {"records": 0, "series": 0, "first_cap": each.cap_min, "last_cap": each.cap_max})
        of_cid["records"] += each.count
        of_cid["series"] += 1
        of_cid["first_cap"] = min(of_cid["first_cap"], each.cap_min)
        of_cid["last_cap"] = max(of_cid["last_cap"], each.cap_max)
    return {
        "target": name,
        "records": sum(each.count for each in found),
        "series": len(found),
        "first_cap": iso(min((each.cap_min for each in found), default=None)),
        "last_cap": iso(max((each.cap_max for each in found), default=None)),
        "last_full_commit": iso(last) if last > 0 else None,
        "behind_seconds": round((now - last) / 10**9, 3) if last > 0 else None,
        "cids": {
            cid: {**each, "first_cap": iso(each["first_cap"]), "last_cap": iso(each["last_cap"])}
            for cid, each in cids.items()
        },
    }


def _shown(name: str, value: object) -> str:
    if value is None:
        return "none"
    if name.endswith("_bytes") and isinstance(value, int):
        return size(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
