"""Writes responses as JSON, CSV, Arrow and Parquet.

Rules kept here:

* JSON survives programs that read all numbers as doubles: integers beyond 2^53 and times are text.
* Files are written while they are sent, with one slice in memory.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from itertools import islice
from typing import Any, Final, Literal

import numpy as np

from tsmodel.frames import library
from tsmodel.interop.csv_writing import write_csv
from tsmodel.interop.structures import structure_of
from tsmodel.model import TSModel
from tsmodel.timestamps import to_iso, to_ns
from tsmodel.types.text_facet import Spelling
from tsmodel.web.describing import Stream

__all__ = ["CONTENT_TYPES", "Times", "as_text", "exact", "numbers", "records_stream", "row_data", "table_stream"]

Times = Literal["iso", "ns"]
CONTENT_TYPES: Final = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
"""Content types of the file formats."""

_EXACT: Final = 2**53
_TEXTS: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}
_NUMBERS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def as_text(ns: int, times: Times) -> str:
    """A time, ns since 2001, as in responses."""
    return to_iso(ns) if times == "iso" else str(ns)


def exact(value: Any) -> Any:
    """Plain data with integers beyond 2^53 as text."""
    if isinstance(value, int):
        return value if -_EXACT <= value <= _EXACT else str(value)
    if isinstance(value, list):
        return [exact(each) for each in value]
    if isinstance(value, dict):
        return {name: exact(each) for name, each in value.items()}
    return value


def numbers(values: Any, valid: Any, digits: int | None) -> list[Any]:
    """A column of numbers for JSON: None where absent; decimals as floats where these are exact, or else as text."""
    listed: list[Any] = values.tolist()
    if isinstance(values, np.ndarray) and values.dtype.kind == "f" and values.dtype.itemsize < 8:
        listed = [float(str(each)) for each in values]  # the shortest number that gives the same bytes
    if digits is not None:
        listed = [_decimal(each, digits) for each in listed]
    elif values.dtype.kind == "f":
        if not np.isfinite(values).all():
            listed = [each if math.isfinite(each) else _TEXTS.get(each, "NaN") for each in listed]
    elif values.dtype.kind in "iu" and len(listed) and max(abs(int(values.min())), abs(int(values.max()))) > _EXACT:
        listed = list(map(exact, listed))
    if valid is None or valid.all():
        return listed
    return [each if there else None for each, there in zip(listed, valid.tolist(), strict=True)]


def _decimal(value: Any, digits: int) -> float | str:
    if isinstance(value, float):  # of a mean
        return float(value / 10**digits)
    made = Decimal(value).scaleb(-digits)
    return float(made) if abs(value) <= _EXACT else str(made)


def row_data(row: Any, times: Times) -> dict[str, Any]:
    """A record for JSON: its key, and its fields as in `to_json`; without a model, the payload in hex."""
    data = json.loads(row.to_json())
    if times == "ns":
        data = {
            name: str(to_ns(each)) if name in ("cap", "acq") and each is not None else each for name, each in data.items()
        }
    made: dict[str, Any] = exact(data)
    return made


def records_stream(form: str, model: type[TSModel], slices: Iterable[Any], names: Sequence[str], file_name: str) -> Stream:
    """A file with these columns of the records of consecutive queries; `file_name` is without its suffix."""
    writers = {"csv": _csv_parts, "jsonl": _jsonl_parts, "arrow": _arrow_parts, "parquet": _parquet_parts}
    if form in ("arrow", "parquet"):
        library("pyarrow", f"format {form}")  # fails before the file begins if it is missing
    return Stream(CONTENT_TYPES[form], f"{file_name}.{form}", writers[form](model, slices, names))


def table_stream(form: str, columns: Mapping[str, Any], file_name: str) -> Stream:
    """A CSV or Arrow file of columns in memory: lists of equal length, or arrays of datetime64."""
    if form == "csv":
        parts = _csv_rows(columns)
    else:
        pa = library("pyarrow", f"format {form}")
        table = pa.table({name: _arrow_column(pa, each) for name, each in columns.items()})
        parts = _ipc(pa, table.schema, table.to_batches())
    return Stream(CONTENT_TYPES[form], f"{file_name}.{form}", parts)


def _csv_rows(columns: Mapping[str, Any]) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    listed = [each if isinstance(each, list) else [to_iso(to_ns(time)) for time in each] for each in columns.values()]
    rows = zip(*listed, strict=True)
    while batch := list(islice(rows, 4096)):
        writer.writerows(batch)
        yield _drained(text)
    yield _drained(text)


def _arrow_column(pa: Any, values: Any) -> Any:
    """A column as Arrow has it: numbers that JSON has as text are numbers again, as text only beside those that no type of
    Arrow holds together with them."""
    if isinstance(values, np.ndarray):
        return pa.array(values)
    plain = [_NUMBERS.get(each, each) if isinstance(each, str) else each for each in values]
    kinds = {type(each) for each in plain} - {type(None)}
    if len(kinds) < 2 and str not in kinds:
        return pa.array(plain)
    if float not in kinds:
        with suppress(ValueError, OverflowError, pa.ArrowInvalid):
            return pa.array([None if each is None else int(each) for each in plain])
    if str in kinds:
        return pa.array([None if each is None else str(each) for each in values])
    return pa.array([None if each is None else float(each) for each in plain])


def _csv_parts(model: Any, slices: Iterable[Any], names: Sequence[str]) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    structure = structure_of(model, Spelling(shortest=True)).narrowed(names)
    write_csv(structure, [], text, {})
    for query in slices:
        for rows in query.batches(4096):
            write_csv(structure, rows, text, {}, header=False)
            yield _drained(text)
    yield _drained(text)


def _jsonl_parts(model: Any, slices: Iterable[Any], names: Sequence[str]) -> Iterator[bytes]:  # noqa: ARG001
    wanted = set(names)
    for query in slices:
        for rows in query.batches(4096):
            data = ({name: each for name, each in row_data(row, "iso").items() if name in wanted} for row in rows)
            yield "".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) + "\n" for each in data).encode()


def _arrow_parts(model: Any, slices: Iterable[Any], names: Sequence[str]) -> Iterator[bytes]:
    pa = library("pyarrow", "format arrow")
    return _ipc(pa, _schema(model, names), (batch for query in slices for batch in query.to_reader(*names)))


def _ipc(pa: Any, schema: Any, batches: Iterable[Any]) -> Iterator[bytes]:
    held = _Held()
    with pa.ipc.new_stream(pa.PythonFile(held, "w"), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield held.drained()
    yield held.drained()


def _parquet_parts(model: Any, slices: Iterable[Any], names: Sequence[str]) -> Iterator[bytes]:
    pa, parquet = library("pyarrow", "format parquet"), library("pyarrow.parquet", "format parquet")
    held, schema = _Held(), _schema(model, names)
    with parquet.ParquetWriter(pa.PythonFile(held, "w"), schema, compression="zstd") as writer:
        for query in slices:
            table = query.to_arrow(*names)
            if table.num_rows:
                writer.write_table(table)
                yield held.drained()
    yield held.drained()


def _schema(model: Any, names: Sequence[str]) -> Any:
    from tsmodel.frames.frame import ArrowFrame

    return ArrowFrame(model, list(names)).schema


class _Held(io.RawIOBase):
    """A file that holds what was written until it is drained."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._at += len(part)
        return len(part)

    def tell(self) -> int:
        return self._at

    def drained(self) -> bytes:
        """What was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _drained(text: io.StringIO) -> bytes:
    made = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return made
