"""Writes rows as a table, CSV, JSON Lines or Arrow, with selected columns in a given order."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

from tsmodel.cli.failures import UsageError
from tsmodel.cli.options import Format
from tsmodel.cli.output import Table, counted, note
from tsmodel.errors import QueryError
from tsmodel.frames import library
from tsmodel.frames.frame import names_of
from tsmodel.interop.files import csv_reader
from tsmodel.query import Query

__all__ = ["columns_of", "format_of", "opened", "order_of", "printer", "skipped_of", "to_arrow"]

_SUFFIXES: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".txt": "table",
}


def format_of(form: Format | None, output: str | None, as_json: bool) -> Format:
    if as_json:
        if form not in (None, "jsonl"):
            raise UsageError(f"--json and --format {form} exclude each other")
        return "jsonl"
    if form is not None:
        return form
    if output is None or output == "-":
        return "table"
    suffix = os.path.splitext(output)[1].lower()  # noqa: PTH122 - of what was typed
    if suffix not in _SUFFIXES:
        raise UsageError(
            f"{output}: the format is not clear from its name; give --format, or a suffix such as {', '.join(_SUFFIXES)}"
        )
    return _SUFFIXES[suffix]


def columns_of(query: Query[Any], text: str | None) -> list[str]:
    """The columns to print."""
    known = names_of(query.spec.model)
    if text is None:
        return known
    names = [each.strip() for each in text.split(",") if each.strip()]
    _check_known(names, known, "--columns")
    return names


def order_of(query: Query[Any], text: str) -> list[Any]:
    known = names_of(query.spec.model)
    parts = [each.strip() for each in text.split(",") if each.strip()]
    _check_known([part.lstrip("-") for part in parts], known, "--order-by")
    columns = [getattr(query.spec.model, part.lstrip("-")) for part in parts]
    if not columns:
        raise UsageError(f"--order-by takes names of columns: {', '.join(known)}")
    return [column.desc() if part.startswith("-") else column for part, column in zip(parts, columns, strict=True)]


def _check_known(names: list[str], known: list[str], option: str) -> None:
    for name in names:
        if name not in known:
            raise UsageError(f"{option}: {name} is not a column; there are {', '.join(known)}")
    if len(set(names)) < len(names):
        raise UsageError(f"{option} names a column twice")


def printer(model: Any, names: list[str], form: Format, file: IO[str]) -> Callable[[Iterable[Any]], int]:
    """A function that writes rows as text and returns their number; call it again for more rows."""
    if form == "table":
        table = Table(names, file)
        return lambda rows: table.print(_rows_of(rows, names))
    is_whole = names_of(model) == names
    if form == "jsonl":
        return lambda rows: int(model.dump_jsonl(rows, file)) if is_whole else _narrowed_json(rows, names, file)
    header, places = _csv_columns(model, names)
    csv.writer(file, _Lines).writerow([header[at] for at in places])
    target = file if is_whole else _Narrowing(csv.writer(file, _Lines), places)
    return lambda rows: int(model.dump_csv(rows, target, header=False, dialect=_Lines))


def _rows_of(rows: Iterable[Any], names: list[str]) -> Iterator[list[object]]:
    for row in rows:
        data = json.loads(row.to_json())
        yield [_flat(data[name]) for name in names]


def _flat(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _narrowed_json(rows: Iterable[Any], names: list[str], file: IO[str]) -> int:
    count = 0
    for row in rows:
        data = json.loads(row.to_json())
        file.write(json.dumps({name: data[name] for name in names}, ensure_ascii=False, separators=(",", ":")) + "\n")
        count += 1
    return count


class _Lines(csv.excel):
    """CSV with this machine's line ends."""

    lineterminator = "\n"


def _csv_columns(model: Any, names: list[str]) -> tuple[list[str], list[int]]:
    """The model's CSV columns, and the positions of the selected ones; a structure selects all of its columns."""
    whole = io.StringIO(newline="")
    model.dump_csv([], whole)
    header = next(csv.reader([whole.getvalue()]))
    return header, [at for name in names for at, column in enumerate(header) if column.partition(".")[0] == name]


class _Narrowing:
    """A file that keeps only the selected cells of each CSV line."""

    def __init__(self, writer: Any, places: list[int]) -> None:
        self._writer = writer
        self._places = places

    def write(self, text: str) -> int:
        """Takes whole lines."""
        for line in csv_reader(io.StringIO(text, newline="")):
            self._writer.writerow([line[at] for at in self._places])
        return len(text)


def to_arrow(query: Query[Any], names: list[str], path: Any) -> int:
    pa = library("pyarrow", "--format arrow")
    if path is None and sys.stdout.isatty():
        raise UsageError("Arrow is binary: give -o FILE, or send the output to another program")
    reader = query.to_reader(*names)
    count = 0
    sink = pa.PythonFile(sys.stdout.buffer, "w") if path is None else pa.OSFile(str(path), "wb")
    with sink, pa.ipc.new_stream(sink, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


@contextmanager
def opened(path: Any) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        yield file


def skipped_of(query: Query[Any]) -> int:
    """Prints how many records were left out because they do not match the model."""
    if query.spec.on_error != "skip":
        return 0
    try:
        skipped = query.stats.skipped
    except QueryError:  # it was not run
        return 0
    if skipped:
        note(f"left out {counted(skipped)} that do not match the model")
    return skipped
