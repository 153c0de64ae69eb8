"""Writes rows as a table, CSV, JSON Lines or Arrow, with selected columns in a given order."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

from tsmodel.cli.arguments import Format
from tsmodel.cli.failures import UsageError
from tsmodel.cli.output import Table, counted, note
from tsmodel.errors import QueryError
from tsmodel.frames import library
from tsmodel.frames.frame import names_of
from tsmodel.interop.csv_writing import write_csv
from tsmodel.interop.json_lines import write_jsonl
from tsmodel.interop.structures import structure_of
from tsmodel.query import Query
from tsmodel.types.text_facet import Spelling

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
    return known if text is None else _checked(_parts(text), known, "--columns")


def order_of(query: Query[Any], text: str) -> list[Any]:
    """The columns to sort by; `-` before a name is for descending order."""
    parts = _parts(text)
    names = _checked([part.lstrip("-") for part in parts], names_of(query.spec.model), "--order-by")
    columns = [getattr(query.spec.model, name) for name in names]
    return [column.desc() if part.startswith("-") else column for part, column in zip(parts, columns, strict=True)]


def _parts(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _checked(names: list[str], known: list[str], option: str) -> list[str]:
    if not names:
        raise UsageError(f"{option} takes names of columns: {', '.join(known)}")
    for name in names:
        if name not in known:
            raise UsageError(f"{option}: {name} is not a column; there are {', '.join(known)}")
    if len(set(names)) < len(names):
        raise UsageError(f"{option} names a column twice")
    return names


def printer(model: Any, names: list[str], form: Format, file: IO[str]) -> Callable[[Iterable[Any]], int]:
    """A function that writes rows as text and returns their number; call it again for more rows."""
    if form == "table":
        table = Table(names, file)
        return lambda rows: table.print(_cells(rows, names))
    structure = structure_of(model, Spelling(shortest=True)).narrowed(names)
    if form == "jsonl":
        return lambda rows: write_jsonl(structure, rows, file)
    lines = {"lineterminator": "\n"}
    write_csv(structure, [], file, lines)
    return lambda rows: write_csv(structure, rows, file, lines, header=False)


def _cells(rows: Iterable[Any], names: list[str]) -> Iterator[list[object]]:
    for row in rows:
        data = json.loads(row.to_json())
        cells = [data[name] for name in names]
        yield [json.dumps(each, ensure_ascii=False) if isinstance(each, (dict, list)) else each for each in cells]


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
