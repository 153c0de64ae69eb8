"""Byte layouts, and the row codecs compiled from them. No I/O, no models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from tsmodel.layout.constraints import Constraints
from tsmodel.layout.fixed_rows import FixedRowCodec
from tsmodel.layout.placing import Align, Layout, LayoutError, LayoutField, laid_out, packed
from tsmodel.layout.row_codecs import KEY_CODECS, Fit, Mismatch, RowCodec
from tsmodel.layout.variable_rows import SpanRecords, VariableRecords, VariableRowCodec

__all__ = [
    "KEY_CODECS",
    "Align",
    "Constraints",
    "Fit",
    "Layout",
    "LayoutError",
    "LayoutField",
    "Mismatch",
    "RowCodec",
    "SpanRecords",
    "VariableRecords",
    "laid_out",
    "packed",
    "row_codec",
]

RowT = TypeVar("RowT")


def row_codec(
    layout: Layout,
    make: Callable[..., RowT],
    fixed: Mapping[str, int] | None = None,
    tuples: Callable[[Iterable[RowT]], Iterable[tuple[Any, ...]]] | None = None,
    constraints: Mapping[str, Constraints] | None = None,
    *,
    strict_read: bool = False,
) -> RowCodec[RowT]:
    """Returns the codec for rows of a layout; see `RowCodec` for the arguments."""
    kind: type[RowCodec[RowT]] = VariableRowCodec if layout.size is None else FixedRowCodec
    return kind(layout, make, fixed, tuples, constraints, strict_read=strict_read)
