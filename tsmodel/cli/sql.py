"""`tsmodel sql`: runs SQL over records with DuckDB."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from tsmodel.cli import arguments as of
from tsmodel.cli.arguments import argument, option
from tsmodel.cli.failures import UsageError
from tsmodel.cli.output import Table, counted, note, written
from tsmodel.errors import MissingLibraryError

__all__ = ["sql_"]

_ROWS: Final = 10_000
_MODEL: Final = "The model; its class name is the table's name. Default: a table Record."


def sql_(
    statement: Annotated[str, argument("SELECT", "The query, in DuckDB's SQL.")],
    target: of.Target = None,
    model: Annotated[list[str] | None, option("--model -m", "MODEL", _MODEL)] = None,
    selection: Annotated[of.Selection, of.Without(("model", "where"))] = of.EVERYTHING,
    form: Annotated[
        Literal["table", "csv", "jsonl", "parquet"], option("--format -f", "table|csv|jsonl|parquet", "Output format.")
    ] = "table",
    output: of.Output = None,
    as_json: of.JsonLines = False,
) -> None:
    """Run SQL over records. DuckDB reads all records that --cid, --mid, --moid, --cap and --acq select.

    Needs the extra sql: pip install 'tstorage-model[sql]'.

    Example:
      tsmodel sql 'select mid, max(volts) from Reading group by mid' readings.tsdb -m meters:Reading --cap today
    """
    from tsmodel.cli.models import models_of
    from tsmodel.cli.opening import query_of, reading

    try:
        import duckdb
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingLibraryError(
            f"tsmodel sql needs {error.name}: pip install 'tstorage-model[sql]'", library=error.name
        ) from error
    chosen = "jsonl" if as_json else "parquet" if output is not None and output.endswith(".parquet") else form
    if chosen == "parquet" and output is None:
        raise UsageError("a Parquet file needs a name: give -o FILE")
    names: list[tuple[str | None, str]] = [
        (each, found.__name__) for each in model or [] for found in models_of([each])
    ] or [(None, "Record")]
    with reading(target) as session, duckdb.connect() as connection:
        for name, table in names:
            single = name if name is None or ":" in name or name.endswith(".toml") else f"{name}:{table}"
            connection.register(table, query_of(session, selection._replace(model=single)))
        try:
            relation = connection.sql(statement)
            if relation is None:
                raise UsageError("the statement returns no rows; write a SELECT")
            # Newer versions of DuckDB use another name.
            read = relation.to_arrow_reader if hasattr(relation, "to_arrow_reader") else relation.fetch_arrow_reader
            reader = read(_ROWS)
        except duckdb.InterruptException:
            raise KeyboardInterrupt from None
        except RuntimeError as error:
            if str(error) != "Query interrupted":  # how DuckDB reports Ctrl-C while it runs a query
                raise
            raise KeyboardInterrupt from None
        except duckdb.Error as error:
            raise UsageError(f"{str(error).splitlines()[0]} (tables: {', '.join(table for _, table in names)})") from None
        with written(output) as path:
            if chosen == "parquet":
                count = 0
                with pq.ParquetWriter(path, reader.schema) as writer:
                    for batch in reader:
                        writer.write_batch(batch)
                        count += batch.num_rows
            elif path is None:
                count = _print(pa, reader, chosen, sys.stdout)
            else:
                with path.open("w", encoding="utf-8", newline="") as file:
                    count = _print(pa, reader, chosen, file)
    if output not in (None, "-"):
        note(f"wrote {counted(count, 'row')} to {output}")


def _print(pa: Any, reader: Any, form: str, file: Any) -> int:
    header = reader.schema.names
    if form == "table":
        return Table(header, file).print(_rows(pa, reader))
    count = 0
    if form == "csv":
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for count, row in enumerate(_rows(pa, reader), 1):  # noqa: B007 - it is what is returned
            writer.writerow(["" if cell is None else cell for cell in row])
        return count
    for count, row in enumerate(_rows(pa, reader), 1):  # noqa: B007
        file.write(json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False, default=str) + "\n")
    return count


def _rows(pa: Any, reader: Any) -> Iterator[list[Any]]:
    for batch in reader:
        yield from map(list, zip(*(_cells(pa, column) for column in batch.columns), strict=True))


def _cells(pa: Any, column: Any) -> list[Any]:
    """The values of a column; times as ISO text, bytes in hex, whole numbers as ints."""
    from tsmodel.timestamps import EPOCH_UNIX_NS, to_iso

    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        stamps = column.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_pylist()
        return [None if stamp is None else to_iso(stamp - EPOCH_UNIX_NS) for stamp in stamps]
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [None if each is None else each.hex() for each in column.to_pylist()]
    if pa.types.is_timestamp(column.type) or pa.types.is_duration(column.type) or pa.types.is_time(column.type):
        return column.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_decimal(column.type) and column.type.scale == 0:  # DuckDB's HUGEINT, the sum of integers
        return [None if each is None else int(each) for each in column.to_pylist()]
    return column.to_pylist()  # type: ignore[no-any-return]
