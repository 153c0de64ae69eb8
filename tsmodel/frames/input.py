"""Input of `add_columns`, `add_frame` and `load_parquet`: checked against a model, and converted to columns to store.

Rules kept here:

* Every column of the model must be given, unless it has a default. A column that the model does not have is an error.
* All columns have one length. A single value stands for all rows.
* A frame is anything that is, or converts to, an Arrow stream. It is read batch by batch, in bounded memory.
* Values mean what they say: the integer 3 in a decimal field is the number 3, not three units. A time needs a time zone.
* In columns of text, values of fields that are not text are parsed like cells of a CSV file.
* A missing value is an error unless the field is Nullable. pandas marks missing floats by NaN: in a field that is not
  Nullable they stay NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.errors import EncodeError, SessionError
from tsmodel.frames import library
from tsmodel.layout.column_input import Given
from tsmodel.model.meta import schema_of
from tsmodel.types.codec import FieldCodec
from tsmodel.types.field_faults import RowFault
from tsmodel.types.text_facet import Spelling, faults_of

__all__ = ["frame_columns", "given_columns", "parquet_reader", "with_defaults"]


def names_in(model: type[Any]) -> dict[str, str]:
    """Maps each name that a column may be given under to its name in storage."""
    return {name: column.info.name for name, column in schema_of(model).columns.items()}


def given_columns(model: type[Any], columns: Mapping[str, Any]) -> tuple[dict[str, Given], int]:
    """Returns the columns by their names in storage, and the number of rows.

    Raises:
        SessionError: when the model does not have a column, or one is given twice.
        EncodeError: when columns differ in length.
    """
    known = names_in(model)
    check_names(model, columns)
    infos = {name: schema_of(model).columns[name].info for name in columns}
    arrays = {name: _array(values, infos[name].codec) for name, values in columns.items()}
    lengths = {name: len(array) for name, array in arrays.items() if not isinstance(array, _Single)}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise EncodeError(f"columns of {model.__name__} differ in length: {shown}")
    count = next(iter(lengths.values()), 1)
    return {known[name]: Given.of(name, _repeated(array, count)) for name, array in arrays.items()}, count


def check_names(model: type[Any], names: Iterable[str]) -> None:
    """Raises `SessionError` if a name is not a column of the model, or if two names mean the same column."""
    known = names_in(model)
    seen: dict[str, str] = {}
    for name in names:
        if name not in known:
            raise SessionError(
                f"{name!r} is not a column of {model.__name__}, which has {', '.join(dict.fromkeys(known))}; leave it out, "
                "or map it to a column by columns="
            )
        if known[name] in seen:
            raise SessionError(f"{name!r} and {seen[known[name]]!r} are the same column of {model.__name__}")
        seen[known[name]] = name


def with_defaults(model: type[Any], columns: Mapping[str, Given], count: int, *, with_acq: bool) -> dict[str, Given]:
    """Adds the missing columns that have a fixed value or a default.

    Raises:
        SessionError: when others are missing.
    """
    whole = dict(columns)
    missing = []
    for member in schema_of(model).members.values():
        name, options = member.component or member.name, member.options
        if name in whole or (name == "acq" and not with_acq):
            continue
        if member.fixed is not None:
            whole[name] = Given(name, np.full(count, member.fixed))
        elif options.factory is not None and (name != "acq" or options.default != -1):
            whole[name] = Given.of(name, _objects([options.factory() for _ in range(count)]))
        else:
            missing.append(member.name)
    if missing:
        raise SessionError(f"columns of {model.__name__} are missing: {', '.join(missing)}")
    return whole


class _Single:
    """A value that stands for all rows."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _array(values: Any, codec: Any) -> Any:
    if isinstance(values, np.ndarray) and values.ndim:
        return values
    if isinstance(values, (list, tuple, range)):
        return _of_list(values, codec)
    if hasattr(values, "isna") and not isinstance(getattr(values, "dtype", np.dtype("O")), np.dtype):
        return _of_pandas(values)
    if hasattr(values, "null_count") and (array := _with_nulls(values, codec)) is not None:
        return array
    if hasattr(values, "__array__") and len(getattr(values, "shape", ())) > 0:
        return np.asarray(values)
    return _Single(values)


def _of_pandas(values: Any) -> Any:
    """A column of a pandas extension type, which has its own marker for missing values."""
    absent = np.asarray(values.isna(), np.bool_)
    numbers = getattr(values.dtype, "numpy_dtype", np.dtype("O"))
    if numbers.kind in "iufb":
        return np.ma.MaskedArray(values.to_numpy(numbers, na_value=numbers.type(0)), absent)
    array = np.asarray(values)
    if array.dtype.kind == "O" and absent.any():
        array = array.copy()
        array[absent] = None
    return array


def _with_nulls(values: Any, codec: Any) -> Any:
    """A polars series or Arrow array with nulls, which NumPy would convert to floats; None if it has no nulls."""
    count = values.null_count
    if not (count() if callable(count) else count):
        return None
    array = np.asarray(values)
    if array.dtype.kind in "mM":
        return np.ma.MaskedArray(array, np.asarray(values.is_null(), np.bool_))
    return _of_list(values.to_list() if hasattr(values, "to_list") else values.to_pylist(), codec)


def _of_list(values: Any, codec: Any) -> Any:
    """Objects, as the model's constructor takes them. Python numbers become NumPy numbers if the field stores those."""
    if codec.present.is_plain:
        kinds = {int} if isinstance(values, range) else set(map(type, values))
        if kinds in ({int}, {float}):
            array = np.array(values)
            if array.dtype.kind in "iuf" and (array.dtype.kind == "f") is (kinds == {float}):
                return array
    return _objects(values)


def _repeated(array: Any, count: int) -> Any:
    return np.broadcast_to(_objects([array.value]), (count,)) if isinstance(array, _Single) else array


Nans: TypeAlias = Literal["values", "items"]

_ROWS: Final = 65_536
"""Most rows that are converted at once."""


def frame_columns(
    model: type[Any], frame: Any, mapping: Mapping[str, str] | None
) -> Iterator[tuple[int, dict[str, Given], int]]:
    """Yields the parts of a frame: the number of the first row, the columns by their names in storage, the number of rows.

    Args:
        model: the model.
        frame: a pandas or polars frame, an Arrow table, batch or reader, an object with `__arrow_c_stream__` or
            `__dataframe__`, or an iterable of Arrow batches.
        mapping: the frame's column for columns of the model whose name differs in the frame.

    Raises:
        SessionError: when it is not a frame, or its columns are not those of the model.
        EncodeError: when a column cannot be converted to its field.
        MissingLibraryError: when pyarrow is not installed.
    """
    pa = library("pyarrow", "add_frame()")
    nans = _nan_columns(frame)
    first = 0
    for source in _batches_of(pa, frame):
        for start in range(0, source.num_rows, _ROWS):
            batch = source.slice(start, _ROWS)
            yield first + start, _columns(model, batch, mapping or {}, nans, first + start), batch.num_rows
        first += source.num_rows


def parquet_reader(path: Any, batch_size: int) -> Iterator[Any]:
    """Yields the record batches of a Parquet file, in bounded memory.

    Raises:
        SessionError: when it is not one, or is damaged.
    """
    pa, parquet = library("pyarrow", "load_parquet()"), library("pyarrow.parquet", "load_parquet()")
    try:
        with parquet.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=batch_size)
    except pa.ArrowInvalid as error:
        raise SessionError(f"{path} cannot be read as Parquet: {error}") from error


def _batches_of(pa: Any, frame: Any) -> Iterator[Any]:
    try:
        return _batches(pa, frame)
    except (pa.ArrowException, OverflowError, NotImplementedError) as error:
        raise SessionError(f"Arrow cannot convert the frame: {error}") from error


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
        return iter(_of_pandas_frame(pa, frame, named).to_batches())
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
        f"add_frame takes a pandas or polars frame, an Arrow table or batches, or an object with __arrow_c_stream__ or "
        f"__dataframe__, not {type(frame).__name__}; add_columns takes arrays"
    )


def _of_pandas_frame(pa: Any, frame: Any, named: bool) -> Any:
    """Converts a pandas frame to a table. Times in object columns keep their nanoseconds, which pyarrow would cut off."""
    try:
        guessed = pa.Schema.from_pandas(frame, preserve_index=named)
    except pa.ArrowException as error:
        raise SessionError(f"Arrow cannot convert the frame: {_blamed(pa, frame)}{error}") from error
    fields = [field if field.name not in frame.columns else _finer(pa, field, frame[field.name]) for field in guessed]
    return pa.Table.from_pandas(frame, pa.schema(fields, guessed.metadata), preserve_index=named)


def _blamed(pa: Any, frame: Any) -> str:
    """The first column of a pandas frame that Arrow refuses: its errors about a whole frame do not name it."""
    for name, column in frame.items():
        try:
            pa.array(column, from_pandas=True)
        except pa.ArrowException:
            return f"column {name!r}: "
    return ""


def _finer(pa: Any, field: Any, column: Any) -> Any:
    """The field of an inferred schema. In a column of objects, times are in nanoseconds, if all of them fit, and those of
    NumPy arrays are in UTC."""
    if str(getattr(column, "dtype", "")) != "object":
        return field
    kind = _in_nanoseconds(pa, field.type)
    item = kind.value_type if pa.types.is_list(kind) else kind
    is_naive = item != kind and pa.types.is_timestamp(item) and item.tz is None
    if is_naive and not any(isinstance(each, (list, tuple)) for each in column):
        kind = pa.list_(pa.timestamp(item.unit, "UTC"))  # what to_pandas() makes of an array of times
    if kind == field.type:
        return field
    try:
        pa.array(column, kind, from_pandas=True)
    except (pa.ArrowException, OverflowError):
        return field  # a time is after 2262
    return field.with_type(kind)


def _in_nanoseconds(pa: Any, kind: Any) -> Any:
    """An Arrow type with times in nanoseconds instead of microseconds, also within lists and structures."""
    if pa.types.is_timestamp(kind) and kind.unit == "us":
        return pa.timestamp("ns", kind.tz)
    if pa.types.is_duration(kind) and kind.unit == "us":
        return pa.duration("ns")
    if pa.types.is_list(kind):
        return pa.list_(_in_nanoseconds(pa, kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_in_nanoseconds(pa, field.type)) for field in kind])
    return kind


def _narrowed(frame: Any) -> Any:
    """A polars frame with its 128-bit integers cast to 64 bits: Arrow does not have longer ones.

    Raises:
        EncodeError: when a value needs more than 64 bits.
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
                f"row {row}: column {name!r}: {value} needs more than 64 bits", record=row, field=name, value=value
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


def _nan_columns(frame: Any) -> dict[str, Nans]:
    """Columns of a pandas frame in which NaN may be a number, as a value or in lists. Arrow converts NaN to null."""
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
        except RowFault as fault:
            row = None if fault.row is None else first + fault.row
            where = "" if row is None else f"row {row}: "
            label = "" if theirs == name else f" (column {theirs!r})"
            what = f"{where}{model.__name__}.{name}{label}: {fault.why}"
            faults.append(EncodeError(what, record=row, field=info.name, value=fault.value))
    if len(faults) == 1:
        raise faults[0]
    if faults:
        listed = "".join(f"\n  {fault}" for fault in faults)
        first_of = faults[0]
        raise EncodeError(
            f"{len(faults)} columns cannot be stored:{listed}",
            record=first_of.record,
            field=first_of.field,
            value=first_of.value,
        )
    return given


def _given(pa: Any, name: str, codec: FieldCodec, array: Any, nans: Nans | None) -> Given:
    """Converts an Arrow array to a column of a field.

    Args:
        pa: pyarrow.
        name: the column's name.
        codec: the field's codec.
        array: the values.
        nans: whether missing values, or missing items of lists, mean NaN if the field is not Nullable.

    Raises:
        RowFault: when a value, or the array's type, does not fit the field.
    """
    if _is_text(pa, array) and not _takes_text(pa, codec, array):
        return _parsed(name, codec, array)
    item = codec.present
    if codec.is_nullable and array.null_count == len(array):  # whatever the column's type
        return Given(name, np.empty(len(array), object), np.zeros(len(array), np.bool_))
    if nans == "values" and array.null_count and not codec.is_nullable:
        return Given(name, array.to_numpy(zero_copy_only=False))  # NaN for nulls
    if nans == "items":
        array = item.with_nans(pa, array)
    present = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
    if item.as_fixed is not None:
        return Given(name, item.as_fixed.from_arrow(pa, array), present)
    return Given(name, _objects(item.objects_from_arrow(pa, array)), present)


def _is_text(pa: Any, array: Any) -> bool:
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _takes_text(pa: Any, codec: FieldCodec, array: Any) -> bool:
    """Whether a field takes text as it is, such as text itself or the names of an enum."""
    item = codec.present
    empty = array.slice(0, 0)
    try:
        if item.as_fixed is not None:
            item.as_fixed.from_arrow(pa, empty)
        else:
            item.objects_from_arrow(pa, empty)
    except RowFault:
        return False
    return True


def _parsed(name: str, codec: FieldCodec, array: Any) -> Given:
    """Parses a column of text.

    Raises:
        RowFault: names the first text that is not a value of the field.
    """
    conversion = codec.conversion(Spelling())
    present = array.is_valid().to_numpy(zero_copy_only=False)
    texts = array.drop_null().to_pylist()
    try:
        values = conversion.parse_column(texts)
    except Exception:  # noqa: BLE001 - parsed again one by one, which finds the value at fault
        values = []
        for row, text in zip(np.flatnonzero(present).tolist(), texts, strict=True):
            if faults := faults_of(conversion, "", text, lambda text: values.append(conversion.parse(text))):
                raise RowFault(row, faults[0].why, text) from None
    objects = np.empty(len(array), object)
    objects[present] = _objects(values)
    return Given.of(name, objects)


def _objects(values: Sequence[Any]) -> npt.NDArray[Any]:
    """An object array, also of sequences."""
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects
