"""Frames as columns to be stored: whatever is an Arrow stream, or can be made one.

Rules kept here:

* A frame is taken batch by batch: a reader of any length is read in bounded memory.
* Values mean what they say: an integer for a decimal field is that number. A time has a zone; without one it is refused.
* Text is read as the cells of a CSV file are, where the field's own values are none.
* What is missing is absent; it is an error where the field is not Nullable. pandas marks missing floats by NaN: these stay
  NaN where the field is not Nullable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.errors import EncodeError, SessionError
from tsmodel.frames.giving import check_names, names_in
from tsmodel.frames.libraries import library
from tsmodel.layout.column_input import Given
from tsmodel.model.meta import schema_of
from tsmodel.types.codec import FieldCodec
from tsmodel.types.column_facet import Unfit
from tsmodel.types.text_facet import Spelling, faults_of

__all__ = ["frame_columns", "parquet_reader"]

Nans: TypeAlias = Literal["values", "items"]

_ROWS: Final = 65_536
"""Most rows taken at once."""


def frame_columns(
    model: type[Any], frame: Any, mapping: Mapping[str, str] | None
) -> Iterator[tuple[int, dict[str, Given], int]]:
    """The columns of a frame, part by part: number of the part's first row, columns by their name in storage, rows.

    Args:
        model: the model.
        frame: a pandas or polars frame, an Arrow table, batch or reader, an object with `__arrow_c_stream__` or
            `__dataframe__`, or an iterable of Arrow batches.
        mapping: for columns of the model, the name of the frame's column; others have the same name in both.

    Raises:
        SessionError: when it is no frame, or its columns are not those of the model.
        EncodeError: when a column's type has no values of its field.
        MissingLibraryError: when pyarrow is not installed.
    """
    pa = library("pyarrow", "add_frame()")
    nans = _has_nans(frame)
    first = 0
    for source in _taken(pa, frame):
        for start in range(0, source.num_rows, _ROWS):
            batch = source.slice(start, _ROWS)
            yield first + start, _columns(model, batch, mapping or {}, nans, first + start), batch.num_rows
        first += source.num_rows


def parquet_reader(path: Any, batch_size: int) -> Iterator[Any]:
    """The record batches of a Parquet file, in bounded memory."""
    parquet = library("pyarrow.parquet", "load_parquet()")
    with parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=batch_size)


def _taken(pa: Any, frame: Any) -> Iterator[Any]:
    """The batches of a frame.

    Raises:
        SessionError: when Arrow does not take it.
    """
    try:
        batches = _batches(pa, frame)
    except (pa.ArrowException, OverflowError, NotImplementedError) as error:
        raise SessionError(f"Arrow does not take the frame: {error}") from error
    return batches


def _batches(pa: Any, frame: Any) -> Iterator[Any]:
    if isinstance(frame, pa.RecordBatch):
        return iter([frame])
    if isinstance(frame, pa.Table):
        return iter(frame.to_batches())
    if isinstance(frame, pa.RecordBatchReader):
        return iter(frame)
    module = type(frame).__module__.partition(".")[0]
    if module == "pandas" and hasattr(frame, "columns"):
        named = any(frame.index.names)
        return iter(pa.Table.from_pandas(frame, preserve_index=named).to_batches())
    if module == "polars" and hasattr(frame, "collect"):
        frame = frame.collect()
    if module == "polars" and hasattr(frame, "to_arrow") and hasattr(frame, "columns"):
        return iter(_narrowed(frame).to_arrow().to_batches())
    if hasattr(frame, "__arrow_c_stream__"):
        return iter(pa.RecordBatchReader.from_stream(frame))
    if hasattr(frame, "__arrow_c_array__"):
        return iter([pa.record_batch(frame)])
    if hasattr(frame, "__dataframe__"):
        return iter(library("pyarrow.interchange", "add_frame()").from_dataframe(frame).to_batches())
    if hasattr(frame, "__iter__") and not isinstance(frame, (str, bytes, Mapping)):
        return _checked(pa, frame)
    raise SessionError(
        f"add_frame takes a pandas or polars frame, an Arrow table, batches of one, or what has __arrow_c_stream__ or "
        f"__dataframe__, not {type(frame).__name__}; add_columns takes arrays"
    )


def _narrowed(frame: Any) -> Any:
    """A polars frame without integers of 128 bits, which Arrow does not have and no field holds all of.

    Raises:
        EncodeError: when one has more than 64 bits.
    """
    polars = library("polars", "add_frame()")
    narrow = {}
    for name, dtype in frame.schema.items():
        if str(dtype) not in ("Int128", "UInt128"):
            continue
        column = frame[name]
        fits = polars.UInt64 if (column.max() or 0) >= 2**63 else polars.Int64
        least, greatest = (0, 2**64 - 1) if fits == polars.UInt64 else (-(2**63), 2**63 - 1)
        beyond = ((column < least) | (column > greatest)).fill_null(False)
        if beyond.any():
            row = int(beyond.arg_max())
            value = column[row]
            raise EncodeError(
                f"row {row}: column {name!r}: {value} has more than 64 bits", record=row, field=name, value=value
            )
        narrow[name] = fits
    return frame.cast(narrow) if narrow else frame


def _checked(pa: Any, batches: Any) -> Iterator[Any]:
    for batch in batches:
        if isinstance(batch, pa.Table):
            yield from batch.to_batches()
        elif isinstance(batch, pa.RecordBatch):
            yield batch
        else:
            raise SessionError(f"add_frame takes Arrow batches, not {type(batch).__name__}")


def _has_nans(frame: Any) -> dict[str, Nans]:
    """Columns of a pandas frame in which NaN may be a number as well as nothing, as values or as items of lists.

    Arrow makes null of NaN.
    """
    if type(frame).__module__.partition(".")[0] != "pandas" or not hasattr(frame, "dtypes"):
        return {}
    nans: dict[str, Nans] = {}
    for name, dtype in frame.dtypes.items():
        if str(dtype) in ("float16", "float32", "float64"):
            nans[str(name)] = "values"
        elif str(dtype) == "object" and not any(None in each for each in frame[name] if isinstance(each, (list, tuple))):
            nans[str(name)] = "items"
    return nans


def _columns(
    model: type[Any], batch: Any, mapping: Mapping[str, str], nans: Mapping[str, Nans], first: int
) -> dict[str, Given]:
    pa = library("pyarrow", "add_frame()")
    columns = schema_of(model).columns
    renamed = {theirs: ours for ours, theirs in mapping.items()}
    there: list[str] = batch.schema.names
    if absent := renamed.keys() - set(there):
        raise SessionError(f"columns= names {min(absent)!r}, which the frame does not have: {', '.join(there)}")
    names = [renamed.get(theirs, theirs) for theirs in there]
    check_names(model, names)
    stored = names_in(model)
    given = {}
    faults = []
    for name, theirs, array in zip(names, there, batch.columns, strict=True):
        info = columns[name].info
        try:
            given[stored[name]] = _given(pa, theirs, info.codec, array, nans.get(theirs))
        except Unfit as unfit:
            row = None if unfit.row is None else first + unfit.row
            where = "" if row is None else f"row {row}: "
            label = "" if theirs == name else f" (column {theirs!r})"
            what = f"{where}{model.__name__}.{name}{label}: {unfit}"
            faults.append(EncodeError(what, record=row, field=info.name, value=unfit.value))
    if len(faults) == 1:
        raise faults[0]
    if faults:
        listed = "".join(f"\n  {fault}" for fault in faults)
        fault = faults[0]
        raise EncodeError(
            f"{len(faults)} columns cannot be stored:{listed}", record=fault.record, field=fault.field, value=fault.value
        )
    return given


def _given(pa: Any, name: str, codec: FieldCodec, array: Any, nans: Nans | None) -> Given:
    """An Arrow array as a column of a field.

    Args:
        pa: pyarrow.
        name: what the column is called.
        codec: of the field.
        array: the values.
        nans: whether missing values, or missing items of lists, are NaN where there must be one.

    Raises:
        Unfit: when the array's type has no values of the field.
    """
    if _is_text(pa, array) and not _takes_text(pa, codec, array):
        return _parsed(name, codec, array)
    item = codec.present
    if codec.is_nullable and array.null_count == len(array):  # of whatever type the column is
        return Given(name, np.empty(len(array), object), np.zeros(len(array), np.bool_))
    if nans == "values" and array.null_count and not codec.is_nullable:
        return Given(name, array.to_numpy(zero_copy_only=False))  # which gives NaN for nulls
    if nans == "items":
        array = item.with_nans(pa, array)
    present = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
    if item.as_fixed is not None:
        return Given(name, item.as_fixed.from_arrow(pa, array), present)
    objects = np.empty(len(array), object)
    objects[:] = item.objects_from_arrow(pa, array)
    return Given(name, objects, present)


def _is_text(pa: Any, array: Any) -> bool:
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _takes_text(pa: Any, codec: FieldCodec, array: Any) -> bool:
    """Whether a field has values for a column of text, such as a text or the name of an enumeration."""
    item = codec.present
    none = array.slice(0, 0)
    try:
        if item.as_fixed is not None:
            item.as_fixed.from_arrow(pa, none)
        else:
            item.objects_from_arrow(pa, none)
    except Unfit:
        return False
    return True


def _parsed(name: str, codec: FieldCodec, array: Any) -> Given:
    """A column of text as values of a field.

    Raises:
        Unfit: with the first text that is none.
    """
    conversion = codec.conversion(Spelling())
    present = array.is_valid().to_numpy(zero_copy_only=False)
    texts = array.drop_null().to_pylist()
    try:
        values = conversion.parse_column(texts)
    except Exception:  # noqa: BLE001 - a column may fail where its values do not
        values = []
        for row, text in zip(np.flatnonzero(present).tolist(), texts, strict=True):
            if faults := faults_of(conversion, "", text, lambda text: values.append(conversion.parse(text))):
                raise Unfit(faults[0].why, row, text) from None
    objects = np.empty(len(array), object)
    objects[present] = _objects(values)
    return Given.of(name, objects)


def _objects(values: Sequence[Any]) -> npt.NDArray[Any]:
    """An array of objects, sequences among them."""
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects
