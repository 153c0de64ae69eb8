"""Parquet files, written batch by batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tsmodel.frames.libraries import library

__all__ = ["write_parquet"]


def write_parquet(reader: Any, path: str | Path, *, compression: str) -> int:
    """Writes a Parquet file, a row group for each batch of a `pyarrow.RecordBatchReader`; returns how many rows it has.

    The file appears whole or not at all: it is written beside its place, and then moved there.
    """
    parquet = library("pyarrow.parquet", "dump_parquet()")
    whole = Path(path)
    partial = whole.with_name(f"{whole.name}.{os.getpid()}.partial")
    count = 0
    try:
        with parquet.ParquetWriter(partial, reader.schema, compression=compression) as writer:
            for batch in reader:
                writer.write_batch(batch)
                count += batch.num_rows
        partial.replace(whole)
    finally:
        partial.unlink(missing_ok=True)
    return count
