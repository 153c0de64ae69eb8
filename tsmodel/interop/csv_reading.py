"""Reads models from CSV: text becomes columns of cells, then columns of values, then objects.

Rules kept here:

* Lines are read in batches of some hundred. No Python code runs per line unless its batch has a fault.
* The csv module defines CSV. A block of text without quotes, whose lines all have the same number of cells, can be split at
  the delimiters instead. Most files consist of such blocks, and one call splits them, three times as fast.
* Lines are numbered from 1 as in editors: the header counts, and so does a line break within a cell.
* A field of a structure has its own column, named by its path: `phase.volts`. A structure, an array or a message can also
  be JSON in one column.
* The header is checked before any line is read, and all its faults are reported at once: unknown columns, duplicate
  columns, and fields without a column or a default.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Final, TypeVar

import attrs
import numpy as np

from tsmodel.errors import ConversionFault
from tsmodel.interop.csv_times import Ambiguous, CellReaders, Mark
from tsmodel.interop.files import (
    Collector,
    ErrorHandling,
    Source,
    TextSource,
    conversion_error,
    csv_reader,
    reason_of,
    text_source,
)
from tsmodel.interop.structures import (
    CellSource,
    ConstantSource,
    DefaultSource,
    Faults,
    Member,
    NestedSource,
    Structure,
    ValueSource,
    objects,
    structure_of,
    unknown_name,
)
from tsmodel.types.scalars import shown
from tsmodel.types.text_facet import Binary, Conversion, ConversionFaults, Spelling, Unknown, joined

__all__ = ["ColumnNames", "CsvFormat", "csv_names", "from_row", "load_csv", "nested_structure"]

T = TypeVar("T")


_LINES: Final = 512
"""Lines per batch: enough to make the cost of a batch negligible, few enough to stay in the cache."""

_BLOCK: Final = 32_768
"""Characters per block; about as many."""


@attrs.frozen
class CsvFormat:
    """The format of a CSV file.

    Attributes:
        delimiter: delimiter of cells; None for that of the dialect.
        dialect: a dialect of the csv module.
        null: the cell that means null.
        encoding: encoding of the file.

    Raises:
        ValueError: if the csv module does not accept the format.
    """

    delimiter: str | None = None
    dialect: str | csv.Dialect | type[csv.Dialect] = "excel"
    null: str = ""
    encoding: str = "utf-8"

    def __attrs_post_init__(self) -> None:
        try:
            csv_reader((), **self.arguments)
        except (TypeError, csv.Error) as error:
            raise ValueError(f"delimiter={self.delimiter!r}, dialect={self.dialect!r}: {error}") from error

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments for the csv module. Misplaced quotes are errors."""
        given = {} if self.delimiter is None else {"delimiter": self.delimiter}
        return {"dialect": self.dialect, "strict": True, **given}


class Unreadable(ValueError):  # noqa: N818 - it becomes an error
    """From some line on, a file is not CSV, or not in its encoding.

    Attributes:
        line: the line.
    """

    def __init__(self, why: str, line: int) -> None:
        super().__init__(why)
        self.line = line


@attrs.frozen
class LineBatch:
    """A batch of lines.

    Attributes:
        columns: the columns of cells of the lines that have as many cells as the header.
        count: number of such lines.
        before: number of the line before the first one.
        lines: the cells of all lines, if some lines have more or fewer cells, or none; otherwise None.
    """

    columns: Sequence[Sequence[str]]
    count: int
    before: int
    lines: list[list[str]] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all lines have as many cells as the header."""
        return self.lines is None

    def numbered(self) -> Iterator[tuple[int, list[str]]]:
        """The number and cells of each line; the number of the first line if cells contain line breaks."""
        number = self.before + 1
        for cells in self.lines if self.lines is not None else map(list, zip(*self.columns, strict=True)):
            yield number, cells
            number += 1 + sum(cell.count("\n") + cell.count("\r") - cell.count("\r\n") for cell in cells)


class Cells:
    """Reads the cells of a file: first the `header`, if there is one, then `batches`.

    Args:
        source: text of the file.
        form: format of the file.
    """

    def __init__(self, source: TextSource, form: CsvFormat) -> None:
        self._source = source
        self._form = form
        self._base = 0
        self._reader: Any = csv_reader(source.lines(), **form.arguments)

    @property
    def line(self) -> int:
        """Number of the last line read."""
        return self._base + int(self._reader.line_num)

    def skip(self, count: int) -> None:
        """Skips lines before anything else is read.

        Raises:
            Unreadable: if they are not in the encoding of the file.
        """
        try:
            self._base = sum(1 for _ in islice(self._source.lines(), count))
        except UnicodeError as error:
            raise self._unreadable(error) from error

    def header(self) -> list[str] | None:
        """The cells of the first line that is not empty; None if there is none.

        Raises:
            Unreadable: if it is not CSV.
        """
        try:
            return next((row for row in self._reader if row), None)
        except (csv.Error, UnicodeError) as error:
            raise self._unreadable(error) from error

    def batches(self, width: int) -> Iterator[LineBatch]:
        """Yields the remaining lines in batches.

        Args:
            width: number of cells per line.

        Raises:
            Unreadable: after the last readable line.
        """
        cut = _cutter(self._reader.dialect, width) if self._source.has_blocks else None
        while cut is not None:
            try:
                block = self._source.block(_BLOCK)
            except UnicodeError as error:
                raise self._unreadable(error) from error
            if not block:
                return
            before = self.line
            columns = cut(block)
            if columns is not None:
                count = len(columns[0])
                self._base += count
                yield LineBatch(columns, count, before)
                continue
            rest: Iterable[str] = io.StringIO(block, newline="")
            if self._reader.dialect.quotechar in block:
                cut = None  # a quoted cell may continue in the next block
                rest = chain(rest, self._source.lines())
            self._base = before
            self._reader = csv_reader(rest, **self._form.arguments)
            yield from self._read(width)
        yield from self._read(width)

    def _read(self, width: int) -> Iterator[LineBatch]:
        """Reads the rest with the csv module."""
        rows: list[list[str]] = []
        failure: Exception | None = None
        while failure is None:
            before = self.line
            rows = []
            try:
                rows.extend(islice(self._reader, _LINES))  # keeps the lines before an error
            except (csv.Error, UnicodeError) as error:
                failure = error
            if rows:
                is_whole = set(map(len, rows)) == {width}
                fit = rows if is_whole else [row for row in rows if len(row) == width]
                yield LineBatch(list(zip(*fit, strict=True)) or [()] * width, len(fit), before, None if is_whole else rows)
            elif failure is None:
                self._base, self._reader = self.line, csv_reader((), **self._form.arguments)
                return
        raise self._unreadable(failure) from failure

    def _unreadable(self, error: Exception) -> Unreadable:
        if isinstance(error, UnicodeError):
            named = error.encoding if isinstance(error, UnicodeDecodeError) else "in its encoding"
            why = f"from about here on, the file is not {named} ({reason_of(error)}): give encoding=, such as 'cp1252'"
            return Unreadable(why, self.line + 1)
        return Unreadable(f"it is not CSV: {error}", max(self.line, 1))


def _cutter(dialect: Any, width: int) -> Any:
    """Returns a function that splits a block of whole lines into columns, or returns None if they are irregular; returns
    None for a dialect that needs the csv module."""
    delimiter: str = dialect.delimiter
    ordinary = delimiter.isascii() and delimiter not in "\r\n" and dialect.escapechar is None and width > 1
    if not ordinary or dialect.skipinitialspace or dialect.quoting in (csv.QUOTE_NONNUMERIC, csv.QUOTE_NONE):
        return None
    quote: str = dialect.quotechar
    cell_end, line_end = ord(delimiter), ord("\n")

    def cut(block: str) -> list[list[str]] | None:
        if quote in block:
            return None
        if "\r" in block:
            block = block.replace("\r\n", "\n")
            if "\r" in block:
                return None
        if not block.endswith("\n"):
            block += "\n"
        raw = np.frombuffer(block.encode("utf-8", "surrogatepass"), np.uint8)
        ends = raw[(raw == cell_end) | (raw == line_end)]
        if ends.size % width:
            return None
        ends = ends.reshape(-1, width)
        if (ends[:, -1] != line_end).any() or (ends[:, :-1] != cell_end).any():
            return None
        cells = block.replace("\n", delimiter).split(delimiter)
        return [cells[at:-1:width] for at in range(width)]

    return cut


ColumnNames = Mapping[str, str | None]


def nested_structure(conversion: Conversion) -> Structure | None:
    """The structure of a nested field; None for any other field."""
    return conversion.structure


def leaves(structure: Structure, prefix: str = "") -> Iterator[tuple[str, Member]]:
    """The fields that become columns, with their paths."""
    for member in structure.members:
        inner = nested_structure(member.conversion)
        path = joined(prefix, member.name)
        if inner is None:
            yield path, member
        else:
            yield from leaves(inner, path)


def csv_names(structure: Structure, columns: ColumnNames | None = None) -> list[str]:
    """Names of the columns to write, in order.

    Args:
        columns: names in the file, each with the path of its field.

    Raises:
        ValueError: if a path is not that of a column.
    """
    own = {path: name for name, path in (columns or {}).items() if path is not None}
    names = []
    for path, member in leaves(structure):
        head, _, last = path.rpartition(".")
        also = joined(head, member.component or last)
        names.append(own.pop(path, own.pop(also, path)))
    if own:
        raise ValueError(f"columns={{…: {next(iter(own))!r}}} is not a column of {structure.name}")
    return names


@attrs.frozen
class Plan:
    """How cells of a line become an object.

    Attributes:
        structure: the model.
        header: names of the columns.
        sources: one per member, in order.
    """

    structure: Structure
    header: tuple[str, ...]
    sources: tuple[ValueSource, ...]

    @classmethod
    def of(
        cls,
        structure: Structure,
        header: Sequence[str],
        *,
        columns: ColumnNames | None = None,
        constants: Mapping[str, object] | None = None,
        null: str | Collection[str] = "",
        readers: CellReaders | None = None,
    ) -> Plan:
        """Makes the plan for a header.

        Args:
            structure: the model.
            header: the names of the columns.
            columns: paths of fields for columns with other names; None for columns to ignore.
            constants: data for fields without a column, by path.
            null: the cell or cells that mean null.
            readers: translate cells.

        Raises:
            ConversionFaults: with all faults.
        """
        nulls = frozenset([null] if isinstance(null, str) else null)
        planner = _Planner(structure, header, columns or {}, constants or {}, nulls, readers or CellReaders())
        sources = planner.sources(structure, "")
        if planner.faults:
            raise ConversionFaults(planner.faults)
        return cls(structure, tuple(header), tuple(sources))


class _Planner:
    def __init__(
        self,
        structure: Structure,
        header: Sequence[str],
        columns: ColumnNames,
        constants: Mapping[str, object],
        nulls: frozenset[str],
        readers: CellReaders,
    ) -> None:
        self.faults: list[ConversionFault] = []
        self._structure = structure
        self._header = header
        self._nulls = nulls
        self._readers = readers
        self._given: dict[str, int | None] = {}  # number of the column by path; None for a constant
        self._constants: dict[str, object] = {}
        named = {name: target for name, target in columns.items() if target is not None}
        for name, path_of in {**dict.fromkeys(readers.columns, ""), **named}.items():
            if name not in header:
                self._fault(
                    f"the file does not have this column; its columns are {', '.join(map(repr, header))}", path_of, name
                )
        for at, name in enumerate(header):
            target = columns.get(name, name)
            if target is not None and (path := self._path(target, name)) is not None:
                self._give(path, at, name)
        for target, data in constants.items():
            if (path := self._path(target, None)) is not None:
                self._give(path, None, None)
                self._constants[path] = data

    def _fault(self, why: str, path: str, column: str | None) -> None:
        self.faults.append(ConversionFault(why, path, None, None, column))

    def _path(self, target: str, column: str | None) -> str | None:
        """The path in terms of the model's own names."""
        structure: Structure | None = self._structure
        path = ""
        for name in target.split("."):
            member = structure.by_name.get(name) if structure is not None else None
            if member is None:
                if column is None or self._structure.spelling.unknown == "error" or target != column:
                    why = unknown_name(name, structure, path) if structure else f"{path} has no fields"
                    self._fault(why, "" if target == column else target, column)
                return None
            path = joined(path, member.name)
            structure = nested_structure(member.conversion)
        return path

    def _give(self, path: str, at: int | None, column: str | None) -> None:
        if path in self._given:
            known = self._given[path]
            first = "a constant" if known is None else f"column {self._header[known]!r}"
            self._fault(f"is given twice: by {first} already", path, column)
        self._given[path] = at

    def sources(self, structure: Structure, prefix: str) -> list[ValueSource]:
        """Makes a source for each member; a member without one is a fault."""
        return [source for member in structure.members if (source := self._source(member, prefix)) is not None]

    def _source(self, member: Member, prefix: str) -> ValueSource | None:
        path = joined(prefix, member.name)
        within = [given for given in self._given if given.startswith(f"{path}.")]
        if path in self._given:
            for other in within:
                self._fault(f"is given twice: {path} is also given as a whole", other, None)
            at = self._given[path]
            if at is None:
                return self._constant(member, path)
            reader = self._readers.of(self._header[at], member.conversion)
            return CellSource(member, at, self._header[at], self._nulls, reader)
        inner = nested_structure(member.conversion)
        if inner is not None and within:
            sources = self.sources(inner, path)
            return NestedSource(member, inner, sources, self._nulls)
        if member.has_default:
            return DefaultSource(member)
        names = path if inner is None else f"{path}, or columns {', '.join(each for each, _ in leaves(inner, path))}"
        self._fault(f"there is no column {names}, and it has no default", path, None)
        return None

    def _constant(self, member: Member, path: str) -> ValueSource | None:
        data: Any = self._constants[path]
        try:
            member.value(data, member.conversion.load)
        except ConversionFaults as error:
            head = path.rpartition(".")[0]
            self.faults += [fault._replace(path=joined(head, fault.path)) for fault in error.faults]
            return None
        return ConstantSource(member, data)


def read_csv(
    structure: Structure,
    source: Source,
    form: CsvFormat,
    collector: Collector,
    *,
    columns: ColumnNames | None = None,
    constants: Mapping[str, object] | None = None,
    names: Sequence[str] | None = None,
    null: str | Collection[str] = "",
    readers: CellReaders | None = None,
    join: Mapping[str, Sequence[str]] | None = None,
    skip_lines: int = 0,
) -> Iterator[Iterable[Any]]:
    """Yields the objects of a CSV file in batches.

    Args:
        structure: the model.
        source: the file.
        form: format of the file.
        collector: collects the faults.
        columns, constants: see `Plan.of`.
        names: names of the columns of a file without a header.
        null, readers: see `Plan.of`.
        join: columns that are made by joining others with a space.
        skip_lines: number of lines to skip before the header.

    Raises:
        ConversionError: at once if the header does not match the model; otherwise see `Collector`.
    """
    with text_source(source, form.encoding) as text:
        cells = Cells(text, form)
        header = _header(cells, structure, skip_lines, names)
        try:
            parts = _parts(header, join or {})
            left_out = dict.fromkeys((part for each in (join or {}).values() for part in each), None)
            plan = Plan.of(
                structure,
                [*header, *parts],
                columns={**left_out, **(columns or {})},
                constants=constants,
                null=null,
                readers=readers,
            )
        except ConversionFaults as error:
            faults = tuple(fault._replace(line=cells.line or None) for fault in error.faults)
            raise conversion_error(f"{structure.name}: the columns do not match", faults) from None
        try:
            yield from _objects(plan, cells, collector, list(parts.values()))
        except Unreadable as error:
            collector.give_up(str(error), error.line)
    collector.end()


def _header(cells: Cells, structure: Structure, skip_lines: int, names: Sequence[str] | None) -> Sequence[str]:
    """The names of the columns."""
    try:
        cells.skip(skip_lines)
        header = cells.header() if names is None else names
    except Unreadable as error:
        raise conversion_error(structure.name, (ConversionFault(str(error), line=error.line),)) from error
    if header is None:
        fault = ConversionFault("the file is empty and has no header; give names= for a file without a header")
        raise conversion_error(structure.name, (fault,))
    return header


def _parts(names: Sequence[str], join: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Indexes of the columns that are joined, by the name of the new column.

    Raises:
        ConversionFaults: if a column is missing, or the new name is taken.
    """
    faults = []
    for name, parts in join.items():
        if name in names:
            faults.append(
                ConversionFault("is a column of the file, and join= makes another one with this name", "", None, None, name)
            )
        faults += [
            ConversionFault("join= names it, but the file does not have this column", "", None, None, part)
            for part in parts
            if part not in names
        ]
    if faults:
        raise ConversionFaults(faults)
    return {name: [names.index(part) for part in parts] for name, parts in join.items()}


def _objects(plan: Plan, cells: Cells, collector: Collector, parts: list[list[int]]) -> Iterator[Iterable[Any]]:
    width = len(plan.header) - len(parts)
    for batch in cells.batches(width):
        columns = dict(enumerate(batch.columns))
        for at, places in enumerate(parts, width):
            columns[at] = list(map(" ".join, zip(*(columns[place] for place in places), strict=True)))
        made, faults = objects(plan.structure, plan.sources, columns, batch.count)
        if faults or not batch.is_whole:
            yield _left(plan.header[:width], batch, made, faults, collector)
        elif not collector.has_ended:
            yield made


def _left(
    header: Sequence[str], batch: LineBatch, made: Sequence[Any], faults: Faults, collector: Collector
) -> Iterator[Any]:
    """Yields the objects of a batch with faults."""
    width, place = len(header), 0
    for line, row in batch.numbered():
        if not row:
            continue  # an empty line
        if len(row) != width:
            why = f"{len(row)} cells, but the header has {width}"
            collector.take((ConversionFault(why, "", row),), line, row)
            continue
        if place in faults:
            collector.take(faults[place], line, dict(zip(header, row, strict=True)))
        elif not collector.has_ended:
            yield made[place]
        place += 1


def load_csv(
    model: type[T],
    source: Source,
    *,
    columns: ColumnNames | None,
    constants: Mapping[str, object] | None,
    names: Sequence[str] | None,
    delimiter: str | None,
    dialect: str | csv.Dialect | type[csv.Dialect],
    decimal: Mark | Mapping[str, Mark],
    null: str | Collection[str],
    encoding: str,
    binary: Binary,
    unknown: Unknown,
    errors: ErrorHandling,
    max_errors: int | None,
    tz: str | dt.tzinfo | None,
    ambiguous: Ambiguous,
    time_format: str | Mapping[str, str] | None,
    join: Mapping[str, Sequence[str]] | None,
    skip_lines: int,
) -> Iterator[T]:
    """See `TSModel.load_csv`."""
    by_column = decimal if isinstance(decimal, Mapping) else None
    readers = CellReaders(tz, ambiguous, time_format, by_column)
    mark: Mark = "." if isinstance(decimal, Mapping) else decimal
    structure = structure_of(model, Spelling(binary=binary, decimal=mark, unknown=unknown))
    if type(skip_lines) is not int or skip_lines < 0:
        raise ValueError(f"skip_lines={skip_lines!r}; expected a non-negative int")
    batches = read_csv(
        structure,
        source,
        CsvFormat(delimiter, dialect, encoding=encoding),
        Collector(model.__name__, errors, max_errors),
        columns=columns,
        constants=constants,
        names=names,
        null=null,
        readers=readers,
        join=join,
        skip_lines=skip_lines,
    )
    return chain.from_iterable(batches)


def from_row(
    model: type[T],
    row: Mapping[str, str] | Sequence[str],
    *,
    names: Sequence[str] | None,
    columns: ColumnNames | None,
    decimal: Mark,
    null: str,
    binary: Binary,
    unknown: Unknown,
) -> T:
    """See `TSModel.from_row`."""
    structure = structure_of(model, Spelling(binary=binary, decimal=decimal, unknown=unknown))
    made: T = row_object(structure, row, names=names, columns=columns, null=null)
    return made


@lru_cache(maxsize=64)
def _row_plan(
    structure: Structure, header: tuple[str, ...], columns: tuple[tuple[str, str | None], ...], null: str
) -> Plan:
    return Plan.of(structure, header, columns=dict(columns), null=null)


def row_object(
    structure: Structure,
    row: Mapping[str, str] | Sequence[str],
    *,
    names: Sequence[str] | None = None,
    columns: ColumnNames | None = None,
    null: str = "",
) -> Any:
    """Makes the object of one line.

    Args:
        structure: the model.
        row: its cells by column, or in order.
        names: names of the columns, for cells in order; by default those that `dump_csv` writes.
        columns, null: see `Plan.of`.

    Raises:
        ConversionError: if the line does not match the model.
    """
    if isinstance(row, Mapping):
        header, cells = list(row), list[object](row.values())
    else:
        header, cells = list(names if names is not None else csv_names(structure, columns)), list[object](row)
    try:
        if len(header) != len(cells) or None in header:
            raise ConversionFaults(
                [ConversionFault(f"the number of cells differs from that of the {len(header)} columns", "", row)]
            )
        for name, cell in zip(header, cells, strict=True):
            if not isinstance(cell, str):  # csv.DictReader returns None for a missing cell
                what = f"{shown(cell)} ({type(cell).__name__}) is not the text of a cell"
                raise ConversionFaults([ConversionFault(what, name, cell)])
        plan = _row_plan(structure, tuple(header), tuple((columns or {}).items()), null)
        (made,), faults = objects(structure, plan.sources, {at: (cell,) for at, cell in enumerate(cells)}, 1)
    except ConversionFaults as error:
        raise conversion_error(structure.name, error.faults, record=row) from None
    if faults:
        raise conversion_error(structure.name, faults[0], record=row)
    return made
