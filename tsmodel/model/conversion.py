"""Methods of models for dicts, JSON and CSV. `tsmodel.interop` implements them and is imported on the first call."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from typing_extensions import Self

from tsmodel.model.members import DataclassFields, DataclassParams

if TYPE_CHECKING:
    import csv
    import datetime as dt

    from tsmodel.interop.csv_reading import ColumnNames
    from tsmodel.interop.csv_times import Ambiguous
    from tsmodel.interop.files import ErrorHandling, Source, Target
    from tsmodel.types.text_facet import Binary, Times, Unknown

__all__ = ["FileConversions", "ObjectConversions"]


def __getattr__(name: str) -> Any:
    if name in ("format_exception", "register"):  # their location up to 0.1
        from tsmodel.interop import adapters

        return getattr(adapters, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


Decimal = Literal[".", ","]
Dialect: TypeAlias = "str | csv.Dialect | type[csv.Dialect]"


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
        from tsmodel.interop import from_dict

        return from_dict(cls, data, binary=binary, unknown=unknown)

    def to_dict(self, *, times: Times = "iso", binary: Binary = "hex") -> dict[str, Any]:
        """Returns the object as plain data, like `to_json`, except that floats keep all their digits.

        Args:
            times: `iso` for ISO 8601 text, `ns` for int nanoseconds since 2001-01-01T00:00:00Z. An acq that is not assigned
                yet is None (`iso`) or -1 (`ns`).
            binary: encoding of bytes: `hex` or `base64`.

        Raises:
            EncodeError: if a field cannot store its value.
        """
        from tsmodel.interop import to_dict

        return to_dict(self, times=times, binary=binary)

    @classmethod
    def from_json(
        cls, text: str | bytes | bytearray | memoryview, *, binary: Binary = "hex", unknown: Unknown = "error"
    ) -> Self:
        """Makes an object from JSON; see `from_dict`.

        Raises:
            ConversionError: if the text is not JSON or does not match the model.
        """
        from tsmodel.interop import from_json

        return from_json(cls, text, binary=binary, unknown=unknown)

    def to_json(self, *, times: Times = "iso", binary: Binary = "hex") -> str:
        """Returns the object as JSON without line breaks; see `to_dict`.

        Float32 and Float16 values have the fewest digits that read back as the same stored value: 231.7, not
        231.6999969482422.

        Raises:
            EncodeError: if a field cannot store its value.
        """
        from tsmodel.interop import to_json

        return to_json(self, times=times, binary=binary)

    @classmethod
    def json_schema(cls, *, times: Times = "iso", binary: Binary = "hex", unknown: Unknown = "error") -> dict[str, Any]:
        """Returns the JSON Schema (2020-12) of what `to_json` writes.

        `from_json` also accepts other spellings. A field's `doc=` becomes `description`, and its `unit=` becomes `x-unit`.
        """
        from tsmodel.interop import json_schema

        return json_schema(cls, times=times, binary=binary, unknown=unknown)

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
        from tsmodel.interop import from_row

        return from_row(cls, row, names=names, columns=columns, decimal=decimal, null=null, binary=binary, unknown=unknown)

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
        from tsmodel.interop import load_csv

        return load_csv(
            cls,
            source,
            columns=columns,
            constants=constants,
            names=names,
            delimiter=delimiter,
            dialect=dialect,
            decimal=decimal,
            null=null,
            encoding=encoding,
            binary=binary,
            unknown=unknown,
            errors=errors,
            max_errors=max_errors,
            tz=tz,
            ambiguous=ambiguous,
            time_format=time_format,
            join=join,
            skip_lines=skip_lines,
        )

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
        from tsmodel.interop import dump_csv

        return dump_csv(
            cls,
            objects,
            target,
            columns=columns,
            header=header,
            delimiter=delimiter,
            dialect=dialect,
            decimal=decimal,
            null=null,
            encoding=encoding,
            times=times,
            binary=binary,
        )

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
        from tsmodel.interop import load_jsonl

        return load_jsonl(
            cls, source, encoding=encoding, binary=binary, unknown=unknown, errors=errors, max_errors=max_errors
        )

    @classmethod
    def dump_jsonl(cls, objects: Iterable[Self], target: Target, *, times: Times = "iso", binary: Binary = "hex") -> int:
        """Writes objects to a JSON Lines file in UTF-8, one per line, and returns their number.

        Args:
            objects, target, times, binary: as for `dump_csv`.

        Raises:
            EncodeError: if an object cannot be written; earlier objects may already be in the file.
            ValueError: if an argument is invalid.
        """
        from tsmodel.interop import dump_jsonl

        return dump_jsonl(cls, objects, target, times=times, binary=binary)
