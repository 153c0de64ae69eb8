"""Methods of models for dicts, JSON and CSV. They are implemented in `tsmodel.interop`, imported on the first call."""

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
    if name in ("format_exception", "register"):  # their place until 0.1
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
            data: numbers, texts and so on by field name; key components also by their own names, such as `mid`.
                Times as ISO 8601 text or int ns since 2001, enumerations by name or value, decimals as text or number.
                Missing fields take their default.
            binary: how bytes are written: `hex` or `base64`.
            unknown: whether names that the model does not have are an `error`, or left out (`ignore`).

        Raises:
            ConversionError: with every fault and its path.
        """
        from tsmodel.interop import from_dict

        return from_dict(cls, data, binary=binary, unknown=unknown)

    def to_dict(self, *, times: Times = "iso", binary: Binary = "hex") -> dict[str, Any]:
        """Returns the object as plain data, as `to_json` writes it, except that floats keep all their digits.

        Args:
            times: `iso` for ISO 8601 text, `ns` for int nanoseconds since 2001. An acq not assigned yet is None, or -1.
            binary: how bytes are written: `hex` or `base64`.

        Raises:
            EncodeError: when a field cannot store its value.
        """
        from tsmodel.interop import to_dict

        return to_dict(self, times=times, binary=binary)

    @classmethod
    def from_json(
        cls, text: str | bytes | bytearray | memoryview, *, binary: Binary = "hex", unknown: Unknown = "error"
    ) -> Self:
        """Makes an object from JSON; see `from_dict`.

        Raises:
            ConversionError: when the text is not JSON, or does not fit this model.
        """
        from tsmodel.interop import from_json

        return from_json(cls, text, binary=binary, unknown=unknown)

    def to_json(self, *, times: Times = "iso", binary: Binary = "hex") -> str:
        """Returns the object as JSON without line breaks; see `to_dict`.

        Float32 and Float16 values have as few digits as it takes to read the stored value back: 231.7, not
        231.6999969482422.

        Raises:
            EncodeError: when a field cannot store its value.
        """
        from tsmodel.interop import to_json

        return to_json(self, times=times, binary=binary)

    @classmethod
    def json_schema(cls, *, times: Times = "iso", binary: Binary = "hex", unknown: Unknown = "error") -> dict[str, Any]:
        """Returns the JSON Schema (2020-12) of what `to_json` writes.

        `from_json` accepts other spellings as well. A field's `doc=` becomes its description, its `unit=` becomes `x-unit`.
        """
        from tsmodel.interop import json_schema

        return json_schema(cls, times=times, binary=binary, unknown=unknown)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """For pydantic: read as by `from_dict`, written as by `to_json`."""
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
        """Makes an object from one CSV line, as the csv module reads it.

        Args:
            row: cells by column (`csv.DictReader`) or in order (`csv.reader`).
            names: names of the columns, for cells in order; by default those that `dump_csv` writes.
            columns, decimal, null, binary, unknown: as for `load_csv`.

        Raises:
            ConversionError: with every fault and its column.
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

        The file is opened for the first object, and closed after the last. Fields of a structure are columns such as
        `phase.volts`; arrays and messages are JSON. Fields without a column take their default.

        Args:
            source: a path, an open file (of text, opened with `newline=""`, or of bytes), or lines of text.
            columns: the fields of columns with other names: `{"Zaehler": "mid"}`; None leaves a column out.
            constants: values of fields that have no column in the file: `{"cid": 1}`.
            names: names of the columns of a file without a header.
            delimiter: between cells; a comma, or what the dialect says.
            dialect: a dialect of the csv module.
            decimal: the decimal point of numbers, "." or ",": for all columns, or by column name.
            null: the cell, or cells, that stand for None.
            encoding: of the file, if it is a path or opened for bytes.
            binary: how bytes are written: `hex` or `base64`.
            unknown: whether columns that the model does not have are an `error`, or left out (`ignore`).
            errors: `raise` gives no object behind the first faulty line, but reads on for further faults, and raises them
                all; `collect` leaves faulty lines out, and raises their faults behind the last object; a function leaves
                them out, too, and is called with the ConversionError of each: its `line`, its `record` (cells by column),
                its `faults`.
            max_errors: number of faulty lines after which `raise` and `collect` stop; None for no limit.
            tz: time zone of times that say no offset, such as "Europe/Vienna"; without it they are errors. A time that its
                clocks skip is an error.
            ambiguous: which of two times is meant that the clocks show twice when they are put back: "earlier" or "later";
                "raise" makes it an error.
            time_format: how times are written, as for `datetime.strptime`, or "unix", "unix_ms", "unix_us" or "unix_ns" for
                time since 1970: in all time fields, or by the file's names of columns.
            join: columns made of others, whose cells are joined by a space: `{"when": ["date", "time"]}`. Those others are
                then left out, unless `columns` says otherwise.
            skip_lines: number of lines to skip before the header, or before the data of a file without one.

        Raises:
            ConversionError: from the iteration, with the line, the column, the value, and the reason.
            ValueError: when an argument is not valid.
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
        """Writes objects to a CSV file that `load_csv` reads, and returns their number. Floats are written as by `to_json`.

        Args:
            objects: the objects; a query works, too.
            target: a path, or an open file.
            columns: other names for columns, as for `load_csv`.
            header: whether to write a first line with the names of the columns.
            times: `iso` for ISO 8601 text, `ns` for int nanoseconds since 2001.
            delimiter, dialect, decimal, null, encoding, binary: as for `load_csv`.

        Raises:
            EncodeError: when an object cannot be written; earlier ones may already have been.
            ValueError: when an argument is not valid.
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
        """Yields the objects of a JSON Lines file: one object per line, as for `from_json`.

        Args:
            source, encoding, binary, unknown, errors, max_errors: as for `load_csv`; an error's `record` is its line.

        Raises:
            ConversionError: from the iteration, with the line, the path in the object, the value, and the reason.
            ValueError: when an argument is not valid.
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
            EncodeError: when an object cannot be written; earlier ones may already have been.
            ValueError: when an argument is not valid.
        """
        from tsmodel.interop import dump_jsonl

        return dump_jsonl(cls, objects, target, times=times, binary=binary)
