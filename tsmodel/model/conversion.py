"""Methods of models for dicts, JSON and CSV. `tsmodel.interop` does the work and is imported on the first call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import msgspec
from typing_extensions import Self

from tsmodel.model.dataclass_like import DataclassFields, DataclassParams
from tsmodel.types.text_facet import Spelling

if TYPE_CHECKING:
    import csv
    import datetime as dt

    from tsmodel.interop.csv_reading import ColumnNames
    from tsmodel.interop.csv_times import Ambiguous
    from tsmodel.interop.files import ErrorHandling, Source, Target
    from tsmodel.interop.structures import Structure
    from tsmodel.types.text_facet import Binary, Times, Unknown

__all__ = ["FileConversions", "ObjectConversions"]


def __getattr__(name: str) -> Any:
    if name in ("format_exception", "register"):  # their location up to 0.1
        from tsmodel.interop import adapters

        return getattr(adapters, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


Decimal = Literal[".", ","]
Dialect: TypeAlias = "str | csv.Dialect | type[csv.Dialect]"


def _made(model: type, **spelling: Any) -> Structure:
    from tsmodel.interop.structures import structure_of

    return structure_of(model, Spelling(**spelling))


_structure: Callable[..., Structure] = lru_cache(maxsize=256)(_made)


class ObjectConversions:
    """Conversions of single objects, for models and structures."""

    __slots__ = ()
    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]
    else:
        __dataclass_fields__ = DataclassFields()
        __dataclass_params__ = DataclassParams

    @classmethod
    def from_dict(cls, data: Mapping[str, object], *, binary: Binary = "hex", unknown: Unknown = "error") -> Self:
        """Makes an object from a mapping of field names to plain data or values.

        Args:
            data: values by field name. Key components may also appear under their own names, such as `mid`. Times are
                ISO 8601 text or int ns since 2001-01-01T00:00:00Z, enum members are names or values, and decimals are
                text or numbers. Missing fields get their defaults.
            binary: encoding of bytes: `hex` or `base64`.
            unknown: what to do with names that the model does not have: raise an `error`, or `ignore` them.

        Raises:
            ConversionError: if the data does not match the model; lists every fault with its path.
        """
        structure = _structure(cls, binary=binary, unknown=unknown)
        return structure.converted(structure.load, data)  # type: ignore[no-any-return]

    def to_dict(self, *, times: Times = "iso", binary: Binary = "hex") -> dict[str, Any]:
        """Returns the object as plain data, like `to_json`, except that floats keep all their digits.

        Args:
            times: `iso` for ISO 8601 text, `ns` for int nanoseconds since 2001-01-01T00:00:00Z. An acq that is not assigned
                yet is None (`iso`) or -1 (`ns`).
            binary: encoding of bytes: `hex` or `base64`.

        Raises:
            EncodeError: if a field cannot store its value.
        """
        return _structure(type(self), times=times, binary=binary).to_plain(self)

    @classmethod
    def from_json(
        cls, text: str | bytes | bytearray | memoryview, *, binary: Binary = "hex", unknown: Unknown = "error"
    ) -> Self:
        """Makes an object from JSON; see `from_dict`.

        Raises:
            ConversionError: if the text is not JSON or does not match the model.
        """
        structure = _structure(cls, binary=binary, unknown=unknown)
        return structure.converted(structure.load_json, text)  # type: ignore[no-any-return]

    def to_json(self, *, times: Times = "iso", binary: Binary = "hex") -> str:
        """Returns the object as JSON without line breaks; see `to_dict`.

        Float32 and Float16 values have the fewest digits that read back as the same stored value: 231.7, not
        231.6999969482422.

        Raises:
            EncodeError: if a field cannot store its value.
        """
        plain = _structure(type(self), times=times, binary=binary, shortest=True).to_plain(self)
        return msgspec.json.encode(plain).decode()

    @classmethod
    def json_schema(cls, *, times: Times = "iso", binary: Binary = "hex", unknown: Unknown = "error") -> dict[str, Any]:
        """Returns the JSON Schema (2020-12) of what `to_json` writes.

        `from_json` also accepts other spellings. A field's `doc=` becomes `description`, and its `unit=` becomes `x-unit`.
        """
        definitions: dict[str, Any] = {}
        schema = _structure(cls, times=times, binary=binary, unknown=unknown).schema(definitions)
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        return {**schema, "$defs": definitions} if definitions else schema

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Supports pydantic: validates like `from_dict` and serializes like `to_json`."""
        from tsmodel.interop.adapters import core_schema_of

        return core_schema_of(cls)


class FileConversions(ObjectConversions):
    """Conversions of files and their lines, for models."""

    __slots__ = ()

    @classmethod
    def from_row(
        cls,
        row: Mapping[str, str] | Sequence[str],
        *,
        names: Sequence[str] | None = None,
        columns: ColumnNames | None = None,
        decimal: Decimal = ".",
        null: str = "",
        binary: Binary = "hex",
        unknown: Unknown = "error",
    ) -> Self:
        """Makes an object from one row of the csv module.

        Args:
            row: a mapping from column to cell (`csv.DictReader`), or a sequence of cells (`csv.reader`).
            names: column names for a sequence of cells; by default those that `dump_csv` writes.
            columns, decimal, null, binary, unknown: as for `load_csv`.

        Raises:
            ConversionError: if the row does not match the model; lists every fault with its column.
        """
        from tsmodel.interop.csv_reading import row_object

        structure = _structure(cls, binary=binary, decimal=decimal, unknown=unknown)
        return row_object(structure, row, names=names, columns=columns, null=null)  # type: ignore[no-any-return]

    @classmethod
    def load_csv(
        cls,
        source: Source,
        *,
        columns: ColumnNames | None = None,
        constants: Mapping[str, object] | None = None,
        names: Sequence[str] | None = None,
        delimiter: str | None = None,
        dialect: Dialect = "excel",
        decimal: Decimal | Mapping[str, Decimal] = ".",
        null: str | Collection[str] = "",
        encoding: str = "utf-8",
        binary: Binary = "hex",
        unknown: Unknown = "error",
        errors: ErrorHandling = "raise",
        max_errors: int | None = 100,
        tz: str | dt.tzinfo | None = None,
        ambiguous: Ambiguous = "raise",
        time_format: str | Mapping[str, str] | None = None,
        join: Mapping[str, Sequence[str]] | None = None,
        skip_lines: int = 0,
    ) -> Iterator[Self]:
        """Yields the objects of a CSV file: `session.add_all(Reading.load_csv("readings.csv"))`.

        The file is opened for the first object and closed after the last. A field of a structure has a column such as
        `phase.volts`. Arrays and messages are JSON. Fields without a column get their defaults.

        Args:
            source: a path, an open file (text opened with `newline=""`, or binary), or lines of text.
            columns: maps column names to field names, such as `{"Zaehler": "mid"}`; None skips a column.
            constants: values of fields that have no column, such as `{"cid": 1}`.
            names: column names, for a file without a header.
            delimiter: separator between cells; by default that of the dialect.
            dialect: a dialect of the csv module.
            decimal: decimal point of numbers, "." or ",": for all columns, or by column name.
            null: one or more cell texts that mean None.
            encoding: encoding of the file, if `source` is a path or a binary file.
            binary: encoding of bytes: `hex` or `base64`.
            unknown: what to do with columns that the model does not have: raise an `error`, or `ignore` them.
            errors: `raise` stops yielding at the first faulty line, reads on to find further faults, and raises them all.
                `collect` skips faulty lines and raises their faults after the last object. A function also skips faulty
                lines; it is called with a ConversionError for each, which has `line`, `record` (cells by column) and
                `faults`.
            max_errors: number of faulty lines after which `raise` and `collect` stop; None for no limit.
            tz: time zone of times without an offset, such as "Europe/Vienna". Without `tz`, such times are errors. A time
                that the zone's clocks skip is always an error.
            ambiguous: how to read a time that occurs twice because clocks were set back: as the "earlier" or the "later"
                one; "raise" makes it an error.
            time_format: format of times: a `datetime.strptime` format, or "unix", "unix_ms", "unix_us" or "unix_ns" for
                time since 1970-01-01T00:00:00Z. Applies to all time fields, or by column name of the file.
            join: new columns whose cells are those of other columns, joined by a space: `{"when": ["date", "time"]}`. The
                other columns are then skipped, unless `columns` maps them.
            skip_lines: number of lines to skip before the header, or before the data of a file without one.

        Raises:
            ConversionError: during iteration; lists the line, column, value and reason of each fault.
            ValueError: if an argument is invalid.
        """
        from tsmodel.interop.csv_reading import csv_form, read_csv
        from tsmodel.interop.csv_times import CellReaders
        from tsmodel.interop.files import Collector

        mark, marks = (".", decimal) if isinstance(decimal, Mapping) else (decimal, {})
        for name, given in (("columns", columns), ("constants", constants), ("join", join)):
            if given is not None and not isinstance(given, Mapping):
                raise ValueError(f"{name}={given!r}; expected a dict")
        if type(skip_lines) is not int or skip_lines < 0:
            raise ValueError(f"skip_lines={skip_lines!r}; expected a non-negative int")
        batches = read_csv(
            _structure(cls, binary=binary, decimal=mark, unknown=unknown),
            source,
            csv_form(delimiter, dialect),
            Collector(cls.__name__, errors, max_errors),
            CellReaders(tz, ambiguous, time_format, marks),
            columns=columns,
            constants=constants,
            names=names,
            null=null,
            encoding=encoding,
            join=join or {},
            skip_lines=skip_lines,
        )
        return chain.from_iterable(batches)

    @classmethod
    def dump_csv(
        cls,
        objects: Iterable[Self],
        target: Target,
        *,
        columns: ColumnNames | None = None,
        header: bool = True,
        delimiter: str | None = None,
        dialect: Dialect = "excel",
        decimal: Decimal = ".",
        null: str = "",
        encoding: str = "utf-8",
        times: Times = "iso",
        binary: Binary = "hex",
    ) -> int:
        """Writes objects to a CSV file that `load_csv` can read, and returns their number. Floats look as in `to_json`.

        Args:
            objects: the objects; may be a query.
            target: a path or an open file.
            columns: maps column names to field names, as for `load_csv`.
            header: whether to write a header line with the column names.
            times: `iso` for ISO 8601 text, `ns` for int nanoseconds since 2001-01-01T00:00:00Z.
            delimiter, dialect, decimal, null, encoding, binary: as for `load_csv`.

        Raises:
            EncodeError: if an object cannot be written; earlier objects may already be in the file.
            ValueError: if an argument is invalid.
        """
        from tsmodel.interop.csv_reading import csv_form
        from tsmodel.interop.csv_writing import write_csv

        structure = _structure(cls, times=times, binary=binary, decimal=decimal, shortest=True)
        form = csv_form(delimiter, dialect)
        return write_csv(structure, objects, target, form, columns=columns, header=header, null=null, encoding=encoding)

    @classmethod
    def load_jsonl(
        cls,
        source: Source,
        *,
        encoding: str = "utf-8",
        binary: Binary = "hex",
        unknown: Unknown = "error",
        errors: ErrorHandling = "raise",
        max_errors: int | None = 100,
    ) -> Iterator[Self]:
        """Yields the objects of a JSON Lines file, which has one `from_json` object per line.

        Args:
            source, encoding, binary, unknown, errors, max_errors: as for `load_csv`; an error's `record` is its line.

        Raises:
            ConversionError: during iteration; lists the line, path, value and reason of each fault.
            ValueError: if an argument is invalid.
        """
        from tsmodel.interop.files import Collector
        from tsmodel.interop.json_lines import read_jsonl

        structure = _structure(cls, binary=binary, unknown=unknown)
        batches = read_jsonl(structure, source, encoding, Collector(cls.__name__, errors, max_errors))
        return chain.from_iterable(batches)

    @classmethod
    def dump_jsonl(cls, objects: Iterable[Self], target: Target, *, times: Times = "iso", binary: Binary = "hex") -> int:
        """Writes objects to a JSON Lines file in UTF-8, one per line, and returns their number.

        Args:
            objects, target, times, binary: as for `dump_csv`.

        Raises:
            EncodeError: if an object cannot be written; earlier objects may already be in the file.
            ValueError: if an argument is invalid.
        """
        from tsmodel.interop.json_lines import write_jsonl

        return write_jsonl(_structure(cls, times=times, binary=binary, shortest=True), objects, target)
