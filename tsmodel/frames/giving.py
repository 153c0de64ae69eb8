"""Columns that are given to be stored: arrays, lists and single values, checked against a model's columns.

Rules kept here:

* A column is given for everything that a record has, unless the model has a default for it. One that the model does not
  have is an error, not ignored.
* All columns have one length; single values stand for all rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tsmodel.errors import EncodeError, SessionError
from tsmodel.keys import KEY_FIELDS
from tsmodel.layout.column_input import Given
from tsmodel.model.meta import schema_of

__all__ = ["given_columns", "with_defaults"]


def names_in(model: type[Any]) -> dict[str, str]:
    """The name of each column of a model in storage, by each name that it may be given under."""
    return {name: column.info.name for name, column in schema_of(model).columns.items()}


def given_columns(model: type[Any], columns: Mapping[str, Any]) -> tuple[dict[str, Given], int]:
    """Columns by their name in storage, and how many rows they have.

    Raises:
        SessionError: when the model has no such column, or one is given twice.
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
    """Raises a `SessionError` when one of some names is no column of a model, or two are the same column."""
    known = names_in(model)
    seen: dict[str, str] = {}
    for name in names:
        if name not in known:
            raise SessionError(
                f"{name!r} is not a column of {model.__name__}, which has {', '.join(dict.fromkeys(known))}; leave it out, "
                "or say by columns= which column it is"
            )
        if known[name] in seen:
            raise SessionError(f"{name!r} and {seen[known[name]]!r} are the same column of {model.__name__}")
        seen[known[name]] = name


def with_defaults(model: type[Any], columns: Mapping[str, Given], count: int, *, with_acq: bool) -> dict[str, Given]:
    """The same columns, and those that the model has defaults for.

    Raises:
        SessionError: when one is missing.
    """
    schema = schema_of(model)
    specs = {spec.name: spec.options for spec in schema.specs}
    whole = dict(columns)
    missing = []
    wanted = [*(name for name in KEY_FIELDS if name != "acq" or with_acq), *schema.layout.names]
    for name in wanted:
        if name in whole:
            continue
        options = schema.key_defaults.get(name) or specs.get(name)
        if name in schema.fixed:
            whole[name] = Given(name, np.full(count, schema.fixed[name]))
        elif options is not None and options.factory is not None:
            objects = np.empty(count, object)
            objects[:] = [options.factory() for _ in range(count)]
            whole[name] = Given.of(name, objects)
        else:
            missing.append(schema.aliases.get(name, name))
    if missing:
        raise SessionError(f"{model.__name__} needs columns that are not given: {', '.join(missing)}")
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
    """A column of one of pandas' own types, which have a mark of their own for what is missing."""
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
    """A polars series or an Arrow array that lacks values, which NumPy would make floats of; None when it lacks none."""
    count = values.null_count
    if not (count() if callable(count) else count):
        return None
    array = np.asarray(values)
    if array.dtype.kind in "mM":
        return np.ma.MaskedArray(array, np.asarray(values.is_null(), np.bool_))
    return _of_list(values.to_list() if hasattr(values, "to_list") else values.to_pylist(), codec)


def _of_list(values: Any, codec: Any) -> Any:
    """Objects, which mean what the constructor takes; as numbers where they are stored as they are."""
    if codec.present.is_plain:
        kinds = {int} if isinstance(values, range) else set(map(type, values))
        if kinds in ({int}, {float}):
            array = np.array(values)
            if array.dtype.kind in "iuf" and (array.dtype.kind == "f") is (kinds == {float}):
                return array
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects


def _repeated(array: Any, count: int) -> Any:
    if not isinstance(array, _Single):
        return array
    single = np.empty(1, object)
    single[0] = array.value
    return np.broadcast_to(single, (count,))
