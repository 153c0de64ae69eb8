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
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Final

import attrs
import numpy as np

from tsmodel.errors import ConversionFault
from tsmodel.interop.csv_times import CellReaders
from tsmodel.interop.files import Collector, conversion_error, csv_reader, lines_of, opened, reason_of
from tsmodel.interop.files import Source as File
from tsmodel.interop.structures import Columns, Faults, Member, Source, Structure, spread
from tsmodel.types.scalars import shown
from tsmodel.types.text_facet import ConversionFaults, joined

__all__ = ["ColumnNames", "csv_form", "csv_names", "read_csv", "row_object"]


_LINES: Final = 512
"""Lines per batch: enough to make the cost of a batch negligible, few enough to stay in the cache."""

_BLOCK: Final = 32_768
"""Characters per block; about as many."""


def csv_form(delimiter: str | None, dialect: str | csv.Dialect | type[csv.Dialect]) -> dict[str, Any]:
    """Returns arguments for the csv module; `delimiter` of None is that of the dialect. Misplaced quotes are errors.

    Raises:
        ValueError: if the csv module does not accept the format.
    """
    form: dict[str, Any] = {"dialect": dialect, "strict": True}
    if delimiter is not None:
        form["delimiter"] = delimiter
    try:
        csv_reader((), **form)
    except (TypeError, csv.Error) as error:
        raise ValueError(f"delimiter={delimiter!r}, dialect={dialect!r}: {error}") from error
    return form


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

    def numbered(self) -> Iterator[tuple[int, list[str]]]:
        """The number and cells of each line; the number of the first line if cells contain line breaks."""
        number = self.before + 1
        for cells in self.lines if self.lines is not None else map(list, zip(*self.columns, strict=True)):
            yield number, cells
            number += 1 + sum(cell.count("\n") + cell.count("\r") - cell.count("\r\n") for cell in cells)


class Cells:
    """Reads the cells of a file: first the `header`, if there is one, then `batches`.

    Args:
        file: an open file, or lines.
        form: arguments for the csv module.
    """

    def __init__(self, file: Iterable[str], form: Mapping[str, Any]) -> None:
        self._lines = lines_of(file)
        self._read_text: Callable[[int], str] | None = getattr(file, "read", None)
        self._form = form
        self._base = 0
        self._reader: Any = csv_reader(self._lines, **form)

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
            self._base = sum(1 for _ in islice(self._lines, count))
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
        cut = None if self._read_text is None else _cutter(self._reader.dialect, width)
        while cut is not None:
            try:
                block = self._block()
            except UnicodeError as error:
                raise self._unreadable(error) from error
            if not block:
                return
            before = self.line
            if (columns := cut(block)) is not None:
                self._base += len(columns[0])
                yield LineBatch(columns, len(columns[0]), before)
                continue
            rest: Iterable[str] = io.StringIO(block, newline="")
            if self._reader.dialect.quotechar in block:
                cut = None  # a quoted cell may continue in the next block
                rest = chain(rest, self._lines)
            self._base, self._reader = before, csv_reader(rest, **self._form)
            yield from self._read(width)
        yield from self._read(width)

    def _block(self) -> str:
        """The next whole lines, about `_BLOCK` characters."""
        assert self._read_text is not None
        block = next(self._lines, "") + self._read_text(_BLOCK)
        return block if block.endswith("\n") else block + next(self._lines, "")

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
                self._base, self._reader = self.line, csv_reader((), **self._form)
                return
        raise self._unreadable(failure) from failure

    def _unreadable(self, error: Exception) -> Unreadable:
        if isinstance(error, UnicodeError):
            named = error.encoding if isinstance(error, UnicodeDecodeError) else "in its encoding"
            why = f"from about here on, the file is not {named} ({reason_of(error)}): give encoding=, such as 'cp1252'"
            return Unreadable(why, self.line + 1)
        return Unreadable(f"it is not CSV: {error}", max(self.line, 1))


def _cutter(dialect: Any, width: int) -> Callable[[str], list[list[str]] | None] | None:
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


def leaves(structure: Structure, prefix: str = "") -> Iterator[tuple[str, Member]]:
    """The fields that become columns, with their paths."""
    for member in structure.members:
        path, inner = joined(prefix, member.name), member.conversion.structure
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
        also = joined(head, member.declared.component or last)
        names.append(own.pop(path, own.pop(also, path)))
    if own:
        raise ValueError(f"columns={{…: {next(iter(own))!r}}} is not a column of {structure.name}")
    return names


@attrs.frozen
class CellSource:
    """A column of cells.

    Attributes:
        member: the member.
        at: number of the column.
        column: name of the column in the file.
        nulls: cells that mean null.
        reader: translates a cell into the spelling that the field accepts; None if it needs no translation.
    """

    member: Member
    at: int
    column: str
    nulls: frozenset[str]
    reader: Callable[[str], str] | None = None

    def __call__(self, columns: Columns, count: int) -> tuple[list[Any], Faults]:
        """See `Source`."""
        cells, conversion = columns[self.at], self.member.conversion
        if not conversion.nullable or self.nulls.isdisjoint(cells):
            return self._converted(cells)
        places = [place for place, cell in enumerate(cells) if cell not in self.nulls]
        found, faults = self._converted([cells[place] for place in places])
        return spread(found, places, count, conversion.absent), {places[at]: each for at, each in faults.items()}

    def _converted(self, cells: Sequence[str]) -> tuple[list[Any], Faults]:
        conversion = self.member.conversion
        if len(cells) > 1 and conversion.shareable and cells.count(cells[0]) == len(cells):
            value, faults = self._converted(cells[:1])  # a constant column, as ids often are
            return value * len(cells), {place: each for each in faults.values() for place in range(len(cells))}
        parse, parse_column, reader = conversion.parse, conversion.parse_column, self.reader
        if reader is not None:
            values, faults = self.member.values(
                cells, lambda text: parse(reader(text)), lambda texts: parse_column(list(map(reader, texts)))
            )
        else:
            values, faults = self.member.values(cells, parse, parse_column)
        return values, {place: tuple(map(self._located, each)) for place, each in faults.items()}

    def _located(self, fault: ConversionFault) -> ConversionFault:
        why = fault.why
        if fault.value == "":
            why = "the cell is empty, but the field requires a value; a default applies only if the column is missing"
        return fault._replace(why=why, column=self.column)


@attrs.frozen
class NestedSource:
    """Columns for the fields of a structure.

    Attributes:
        member: the structure in the model.
        structure: its fields and their conversions.
        sources: their sources, in order.
        used: numbers of the columns.
        nulls: cells that mean null. A nullable structure is null if all of its cells are.
    """

    member: Member
    structure: Structure
    sources: Sequence[Source]
    used: Sequence[int]
    nulls: frozenset[str]

    def __call__(self, columns: Columns, count: int) -> tuple[list[Any], Faults]:
        """See `Source`."""
        if not self.member.conversion.nullable or not self.used:
            return self._present(columns, count)
        cells = zip(*(columns[each] for each in self.used), strict=True)
        places = [place for place, row in enumerate(cells) if not self.nulls.issuperset(row)]
        part = {each: [columns[each][place] for place in places] for each in self.used}
        found, faults = self._present(part, len(places))
        return spread(found, places, count, None), {places[at]: each for at, each in faults.items()}

    def _present(self, columns: Columns, count: int) -> tuple[list[Any], Faults]:
        values, faults = self.structure.objects(self.sources, columns, count)
        for place, value in enumerate(values):
            if place in faults:
                faults[place] = tuple(each._replace(path=joined(self.member.name, each.path)) for each in faults[place])
                continue
            try:
                self.member.check(value)
            except ConversionFaults as error:
                faults[place] = error.faults
        return values, faults


class Plan:
    """How the cells of a line become an object: `sources` has one source per member, in order.

    Args:
        structure: the model.
        header: names of the columns.
        columns: paths of fields for columns with other names; None for columns to ignore.
        constants: data for fields without a column, by path.
        null: the cell or cells that mean null.
        readers: translate cells.

    Raises:
        ConversionFaults: with all faults.
    """

    def __init__(
        self,
        structure: Structure,
        header: Sequence[str],
        *,
        columns: ColumnNames | None = None,
        constants: Mapping[str, object] | None = None,
        null: str | Collection[str] = "",
        readers: CellReaders | None = None,
    ) -> None:
        self.structure = structure
        self.header = header
        self._nulls = frozenset([null] if isinstance(null, str) else null)
        self._readers = readers or CellReaders()
        self._faults: list[ConversionFault] = []
        self._given: dict[str, int | None] = {}  # number of the column by path; None for a constant
        self._constants: dict[str, object] = {}
        columns = columns or {}
        named = {name: target for name, target in columns.items() if target is not None}
        for name, path_of in {**dict.fromkeys(self._readers.columns, ""), **named}.items():
            if name not in header:
                why = f"the file does not have this column; its columns are {', '.join(map(repr, header))}"
                self._fault(why, path_of, name)
        for at, name in enumerate(header):
            target = columns.get(name, name)
            if target is not None and (path := self._path(target, name)) is not None:
                self._give(path, at, name)
        for target, data in (constants or {}).items():
            if (path := self._path(target, None)) is not None:
                self._give(path, None, None)
                self._constants[path] = data
        self.sources = self._sources(structure, "")
        if self._faults:
            raise ConversionFaults(self._faults)

    def _fault(self, why: str, path: str, column: str | None) -> None:
        self._faults.append(ConversionFault(why, path, None, None, column))

    def _path(self, target: str, column: str | None) -> str | None:
        """The path in terms of the model's own names."""
        structure: Structure | None = self.structure
        path = ""
        for name in target.split("."):
            member = structure.by_name.get(name) if structure is not None else None
            if member is None:
                if column is None or self.structure.spelling.unknown == "error" or target != column:
                    why = structure.unknown_name(name, path) if structure else f"{path} has no fields"
                    self._fault(why, "" if target == column else target, column)
                return None
            path = joined(path, member.name)
            structure = member.conversion.structure
        return path

    def _give(self, path: str, at: int | None, column: str | None) -> None:
        if path in self._given:
            known = self._given[path]
            first = "a constant" if known is None else f"column {self.header[known]!r}"
            self._fault(f"is given twice: by {first} already", path, column)
        self._given[path] = at

    def _sources(self, structure: Structure, prefix: str) -> list[Source]:
        """Makes a source for each member; a member without one is a fault."""
        return [source for member in structure.members if (source := self._source(member, prefix)) is not None]

    def _source(self, member: Member, prefix: str) -> Source | None:
        path, inner = joined(prefix, member.name), member.conversion.structure
        within = [given for given in self._given if given.startswith(f"{path}.")]
        if path in self._given:
            for other in within:
                self._fault(f"is given twice: {path} is also given as a whole", other, None)
            at = self._given[path]
            if at is None:
                return self._constant(member, path)
            reader = self._readers.of(self.header[at], member.conversion)
            return CellSource(member, at, self.header[at], self._nulls, reader)
        if inner is not None and within:
            used = [at for each in within if (at := self._given[each]) is not None]
            return NestedSource(member, inner, self._sources(inner, path), used, self._nulls)
        if member.has_default:
            return lambda _, count: (member.defaults(count), {})
        names = path if inner is None else f"{path}, or columns {', '.join(each for each, _ in leaves(inner, path))}"
        self._fault(f"there is no column {names}, and it has no default", path, None)
        return None

    def _constant(self, member: Member, path: str) -> Source | None:
        data, load = self._constants[path], member.conversion.load
        try:
            value = member.value(data, load)
        except ConversionFaults as error:
            head = path.rpartition(".")[0]
            self._faults += [fault._replace(path=joined(head, fault.path)) for fault in error.faults]
            return None
        if member.conversion.shareable:
            return lambda _, count: ([value] * count, {})
        return lambda _, count: ([load(data) for _ in range(count)], {})


def read_csv(
    structure: Structure,
    file: File,
    form: Mapping[str, Any],
    collector: Collector,
    readers: CellReaders,
    *,
    columns: ColumnNames | None,
    constants: Mapping[str, object] | None,
    names: Sequence[str] | None,
    null: str | Collection[str],
    encoding: str,
    join: Mapping[str, Sequence[str]],
    skip_lines: int,
) -> Iterator[Iterable[Any]]:
    """Yields the objects of a CSV file in batches.

    Args:
        structure: the model.
        file: the file.
        form: arguments for the csv module.
        collector: collects the faults.
        readers: translate cells.
        columns, constants, names, null, encoding, join, skip_lines: as for `TSModel.load_csv`.

    Raises:
        ConversionError: at once if the header does not match the model; otherwise see `Collector`.
    """
    with opened(file, "r", encoding) as text:
        cells = Cells(text, form)
        header = _header(cells, structure, skip_lines, names)
        try:
            parts = _parts(header, join)
            left_out = dict.fromkeys(chain.from_iterable(join.values()))
            plan = Plan(
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
    taken, missing = "is a column of the file, and join= makes another one with this name", []
    for name, parts in join.items():
        missing += [(name, taken)] if name in names else []
        missing += [(part, "join= names it, but the file does not have this column") for part in parts if part not in names]
    if missing:
        raise ConversionFaults([ConversionFault(why, "", None, None, name) for name, why in missing])
    return {name: [names.index(part) for part in parts] for name, parts in join.items()}


def _objects(plan: Plan, cells: Cells, collector: Collector, parts: list[list[int]]) -> Iterator[Iterable[Any]]:
    width = len(plan.header) - len(parts)
    for batch in cells.batches(width):
        columns = dict(enumerate(batch.columns))
        for at, places in enumerate(parts, width):
            columns[at] = list(map(" ".join, zip(*(columns[place] for place in places), strict=True)))
        made, faults = plan.structure.objects(plan.sources, columns, batch.count)
        if faults or batch.lines is not None:
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


@lru_cache(maxsize=64)
def _row_plan(
    structure: Structure, header: tuple[str, ...], columns: tuple[tuple[str, str | None], ...], null: str
) -> Plan:
    return Plan(structure, header, columns=dict(columns), null=null)


def row_object(
    structure: Structure,
    row: Mapping[str, str] | Sequence[str],
    *,
    names: Sequence[str] | None,
    columns: ColumnNames | None,
    null: str,
) -> Any:
    """Makes the object of one line; see `TSModel.from_row`."""
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
        (made,), faults = structure.objects(plan.sources, {at: (cell,) for at, cell in enumerate(cells)}, 1)
    except ConversionFaults as error:
        raise conversion_error(structure.name, error.faults, record=row) from None
    if faults:
        raise conversion_error(structure.name, faults[0], record=row)
    return made
