"""`tsmodel info`, `series`, `get` and `follow`: show stored records on a terminal or save them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from tsmodel.cli import arguments as of
from tsmodel.cli.arguments import option
from tsmodel.cli.failures import UsageError
from tsmodel.cli.output import Table, counted, iso, note, print_json, progress, size, written

if TYPE_CHECKING:
    from tsmodel.query.sinks import Series
    from tsmodel.session import Session
    from tsmodel.store.maintenance import Info
    from tsmodel.wire.chunk import Chunk

__all__ = ["follow_", "get_", "info_", "series_"]

_AT_ONCE: Final = 4096
_FORMAT: Final = "Output format. Default: from the suffix of the output file, or else a table."
_SINCE: Final = "Start with records acquired at this time: a time, -15m, or `beginning`. Default: now."
_CHECKPOINT: Final = "File that keeps the position; the next run resumes there."


def info_(
    target: of.Target = None,
    as_json: of.Json = False,
) -> None:
    """Show the number of records and series, the times, and the size, for each client.

    A file knows these without reading its records. On a server, all records are read; use `tsmodel series` for a range.

    Example:
      tsmodel info readings.tsdb
    """
    from tsmodel.cli.opening import reading
    from tsmodel.store.capabilities import Caretaker

    with reading(target) as session:
        backend = session.backend if session.name != "memory:" else None
        found = _of_store(backend.info()) if isinstance(backend, Caretaker) else _of_server(session)
    if as_json:
        print_json(found)
        return
    cids = found.pop("cids")
    for name, value in found.items():
        print(f"{name.replace('_', ' '):<17} {_shown(name, value)}")
    if cids:
        print()
        header = [name.replace("_", " ") for name in next(iter(cids.values()))]
        Table(["cid", *header]).print([cid, *each.values()] for cid, each in cids.items())


def series_(target: of.Target = None, selection: of.Selection = of.EVERYTHING, as_json: of.Json = False) -> None:
    """List the series (client, meter, meter object) with their number of records and first and last time.

    Example:
      tsmodel series readings.tsdb --cid 1 --cap 2026-11-01..2026-12-01
    """
    from tsmodel.cli.opening import query_of, reading
    from tsmodel.cli.rows import skipped_of

    with reading(target) as session:
        query = query_of(session, selection)
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
    else:
        Table(["cid", "mid", "moid", "records", "first", "last"]).print([*each.values()] for each in rows)


def get_(
    target: of.Target = None,
    selection: of.Selection = of.EVERYTHING,
    columns: Annotated[str | None, option("--columns", "A,B", "Print only these columns.")] = None,
    order_by: Annotated[str | None, option("--order-by", "A,-B", "Sort by these columns; prefix - for descending.")] = None,
    latest: Annotated[bool, option("--latest", None, "Only the newest version of each record.")] = False,
    limit: Annotated[int | None, option("--limit -n", "N", "Maximum number of records.", min=0)] = None,
    form: Annotated[of.Format | None, option("--format -f", "table|csv|jsonl|parquet|arrow", _FORMAT)] = None,
    output: of.Output = None,
    as_json: of.JsonLines = False,
) -> int:
    """Print records, or save them to a file. Without --order-by they come in no particular order.

    Example:
      tsmodel get readings.tsdb --cap today --where 'volts > 240' -m meters:Reading
    """
    from tsmodel.cli.opening import query_of, reading
    from tsmodel.cli.rows import columns_of, format_of, opened, order_of, printer, skipped_of, to_arrow

    chosen = format_of(form, output, as_json)
    with reading(target) as session:
        query = query_of(session, selection)
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
    selection: Annotated[of.Selection, of.Without(("acq",))] = of.EVERYTHING,
    since: Annotated[str | None, option("--since", "TIME", _SINCE)] = None,
    checkpoint: Annotated[str | None, option("--checkpoint", "FILE", _CHECKPOINT)] = None,
    poll: Annotated[str, option("--poll", "DURATION", "How often to ask for new records.")] = "1s",
    wait: Annotated[bool, option("--wait/--no-wait", None, "Wait for new records, or end when there are none.")] = True,
    form: Annotated[Literal["table", "csv", "jsonl"], option("--format -f", "table|csv|jsonl", "Output format.")] = "table",
    as_json: of.JsonLines = False,
) -> None:
    """Print each new record as it arrives, like `tail -f`, until Ctrl-C.

    With a checkpoint and without --since, it starts at the first stored record. After a run that was killed rather than
    stopped with Ctrl-C, the next one may print a few thousand records again.

    Example:
      tsmodel follow tstorage://host:2025 --model meters:Reading --mid 4711 --json
    """
    from tsmodel.cli.opening import query_of, reading, zone
    from tsmodel.cli.ranges import point
    from tsmodel.cli.rows import columns_of, printer, skipped_of

    with reading(target) as session:
        query = query_of(session, selection)
        start: int | None = None
        if since is not None and since != "beginning":
            start = point(since, zone(selection.tz))
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


def _of_store(found: Info) -> dict[str, Any]:
    return {
        "target": found.path,
        **_counts(found.records, found.series, *(found.cap or (None, None))),
        "last_acq": iso(found.acq[1]) if found.acq else None,
        "file_bytes": found.file_bytes,
        "free_bytes": found.free_bytes,
        "bytes_per_record": round(found.bytes_per_record, 2),
        "runs": found.runs,
        "blocks": found.blocks,
        "cids": {
            cid: {**_counts(each.records, each.series, *each.cap), "bytes": each.stored} for cid, each in found.cids.items()
        },
    }


def _of_server(session: Session) -> dict[str, Any]:
    """Reads all records."""
    from tsmodel.cli.models import Record
    from tsmodel.query.executor import Executor
    from tsmodel.query.sinks import SeriesFound
    from tsmodel.timestamps import now_ns

    class Told(SeriesFound):
        count = 0

        def feed(self, chunk: Chunk) -> bool:
            self.count += len(chunk)
            done(self.count, None)
            return super().feed(chunk)

    query = session.query(Record)
    last, now = query.last_acq(), now_ns()
    executor = Executor(query.spec, session)
    with progress("reading all records") as done:
        found: list[Series] = executor.run(executor.running(Told))
    cids: dict[int, list[Series]] = {}
    for each in found:
        cids.setdefault(each.cid, []).append(each)
    return {
        "target": session.name,
        **_summed(found),
        "last_full_commit": iso(last) if last > 0 else None,
        "behind_seconds": round((now - last) / 10**9, 3) if last > 0 else None,
        "cids": {cid: _summed(series) for cid, series in cids.items()},
    }


def _summed(series: list[Series]) -> dict[str, Any]:
    first = min((each.cap_min for each in series), default=None)
    last = max((each.cap_max for each in series), default=None)
    return _counts(sum(each.count for each in series), len(series), first, last)


def _counts(records: int, series: int, first: int | None, last: int | None) -> dict[str, Any]:
    return {"records": records, "series": series, "first_cap": iso(first), "last_cap": iso(last)}


def _shown(name: str, value: object) -> str:
    if value is None:
        return "none"
    if name.endswith("_bytes") and isinstance(value, int):
        return size(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
