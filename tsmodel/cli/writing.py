"""`tsmodel put` and `copy`: store records from files, and copy them between targets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from tsmodel.cli import arguments as of
from tsmodel.cli.arguments import argument, option
from tsmodel.cli.failures import UsageError, checked_encoding, existing
from tsmodel.cli.output import counted, iso, note, progress, show
from tsmodel.errors import TransportError

if TYPE_CHECKING:
    from tsmodel.query import Query
    from tsmodel.session.copying import Copied

__all__ = ["copy_", "put_"]

_SUFFIXES: Final[dict[str, of.Input]] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_OFFICIAL: Final = {5: ["cid", "mid", "moid", "cap", "payload"], 6: ["cid", "mid", "moid", "cap", "acq", "payload"]}
"""Columns of the official clients' CSV files, which have no header, by number of columns."""

_LOOK: Final = 65_536
"""How many bytes are searched for the first line of a file."""
_FORMAT: Final = "Format of the file. Default: from its suffix."
_CHECKPOINT: Final = "File that keeps the position; the same command resumes there."


def put_(
    file: Annotated[str, argument("FILE", "CSV, JSON Lines or Parquet; - for standard input.")],
    to: of.To = None,
    model: of.PutModel = None,
    form: Annotated[of.Input | None, option("--format -f", "csv|jsonl|parquet", _FORMAT)] = None,
    column: of.Columns = None,
    delimiter: of.Delimiter = None,
    decimal: of.Decimal = None,
    encoding: of.Encoding = None,
    tz: Annotated[str | None, option("--tz", "ZONE", "Time zone of times without an offset.")] = None,
    ambiguous: of.Ambiguous = None,
    time_format: Annotated[
        str | None, option("--time-format", "FORMAT", "Format of times: '%d.%m.%Y %H:%M', or unix.")
    ] = None,
    keep_acq: Annotated[bool, option("--keep-acq", None, "Keep the acquisition times of the file.")] = False,
    unless_stored: of.UnlessStored = False,
    as_json: of.Json = False,
) -> int:
    """Store the records of a file. Rejected lines are saved in a separate file.

    Without a model, a CSV file has the official clients' columns: cid,mid,moid,cap,payload in hex.

    Example:
      tsmodel put new.csv --to readings.tsdb --model meters:Reading
      tsmodel get a.tsdb --json | tsmodel put - -f jsonl --to b.tsdb --keep-acq
    """
    from tsmodel.cli.models import Record, csv_options, model_of
    from tsmodel.cli.opening import note_for, writing, zone
    from tsmodel.cli.storing import store, with_csv_options

    path = None if file == "-" else existing(file, "a file")
    chosen = form or (_SUFFIXES.get(path.suffix.lower()) if path is not None else None)
    if chosen is None:
        raise UsageError(f"{file}: the format is not clear from its name; give --format csv, jsonl or parquet")
    kind: Any = model_of(model)
    given = {
        "delimiter": delimiter,
        "decimal": decimal,
        "encoding": encoding,
        "tz": None if tz is None else zone(tz),
        "ambiguous": ambiguous,
        "time_format": time_format,
    }
    options: dict[str, Any] = {}
    if chosen == "csv":
        options = with_csv_options(csv_options(model), given, column)
        if kind is Record and "names" not in options:
            names = _official(path, options)
            if names is not None:
                options["names"] = names
    else:
        for name, value in {**given, "column": column}.items():
            if value not in (None, []) and not (name == "encoding" and chosen == "jsonl"):
                raise UsageError(f"--{name.replace('_', '-')} is for CSV files, and {file} is {chosen}")
        if encoding is not None:
            options["encoding"] = checked_encoding(encoding)
    with writing(to, create=True) as session:
        done = store(
            session,
            kind,
            path,
            chosen,
            options,
            keep_acq=keep_acq,
            unless_stored=unless_stored,
            note=note_for(to, f"put {file}"),
        )
        target = session.name
    show(as_json, {"target": target, **done.as_dict()}, done.text(target))
    return done.status


def copy_(
    source: Annotated[str, argument("SOURCE", "A file, or tstorage://host:port.")],
    target: Annotated[str, argument("TARGET", "Another file or server. A file is created if it does not exist.")],
    selection: of.Range = of.EVERYTHING,
    checkpoint: Annotated[str | None, option("--checkpoint", "FILE", _CHECKPOINT)] = None,
    as_json: of.Json = False,
) -> None:
    """Copy records of any model with their keys and acquisition times, without decoding payloads.

    Without a checkpoint, repeating a copy stores the same records again, after a warning.

    Example:
      tsmodel copy tstorage://host:2025 copy.tsdb --cid 1 --cap 2026-11.. --checkpoint copy.json
    """
    from tsmodel.cli.opening import query_of, reading, writing

    with reading(source) as session:
        query = query_of(session, selection)
        first = None

        def told(copied: Copied) -> None:
            nonlocal first
            first = copied.acq if first is None else first
            share = (copied.acq - first) / max(copied.end - first, 1)
            done(copied.records, int(copied.records / share) if share > 0 else None)

        with writing(target, create=True) as other, progress("copying") as done:
            if not (checkpoint and Path(checkpoint).exists()):
                _warn_of_repetition(query_of(other, selection), other.name)
            found = session.copy(query, to=other, checkpoint=checkpoint, progress=told)
    data = {"records": found.records, "bytes": found.bytes, "up_to_acq": iso(found.acq)}
    show(as_json, data, f"copied {counted(found.records)} to {target}, all that were acquired before {iso(found.acq)}")


def _warn_of_repetition(there: Query[Any], target: str) -> None:
    """Warns when the target has records of the range that is copied."""
    try:
        is_empty = not there.exists()
    except TransportError:  # the copy reports it
        return
    if not is_empty:
        note(
            f"warning: {target} already has records in this range; those that were copied before are stored a second time. "
            "With --checkpoint FILE from the first copy on, repeating the command resumes where it stopped"
        )


def _official(path: Path | None, options: dict[str, Any]) -> list[str] | None:
    """The columns of an official client's file; None if the file has a header."""
    from tsmodel.interop.files import csv_reader

    encoding = options.get("encoding", "utf-8")
    if path is None:
        head = sys.stdin.buffer.peek(_LOOK).decode(encoding, "replace")  # type: ignore[union-attr]
    else:
        with path.open(encoding=encoding, newline="", errors="replace") as opened:
            head = opened.read(_LOOK)
    lines = csv_reader(head.removeprefix("\ufeff").splitlines(), delimiter=options.get("delimiter", ","))
    first: list[str] = next((row for row in lines if row), [])
    if "payload" in first:
        return None
    names = _OFFICIAL.get(len(first))
    if names is None:
        raise UsageError(
            f"{path or 'it'} has {len(first)} columns; the official clients' files have cid,mid,moid,cap,payload. For "
            "others give --model, or use `tsmodel import`"
        )
    return names
