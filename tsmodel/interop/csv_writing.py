"""Writes models as CSV.

Rules kept here:

* What is written is read back as equal objects. If CSV cannot distinguish a value from null (such as an empty text, if the
  empty cell means null), the value is an error and is not written.
"""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final, Literal, TypeVar

from tsmodel.errors import EncodeError
from tsmodel.interop.csv_reading import ColumnNames, CsvFormat, csv_names, nested_structure
from tsmodel.interop.files import Target, text_target
from tsmodel.interop.structures import Member, Refused, Structure, converted, members_of, refusal, structure_of
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.scalars import shown
from tsmodel.types.text_facet import Binary, Spelling, Times

__all__ = ["dump_csv"]

T = TypeVar("T")

_BATCH: Final = 512

Cells = list[Sequence[Any]]


class _Writer(ABC):
    """Writes the values of one member."""

    @abstractmethod
    def cells(self, values: Sequence[Any]) -> Cells:
        """Returns one or more columns of cells; raises `Refused`."""


class _Leaf(_Writer):
    def __init__(self, member: Member, null: str) -> None:
        self._conversion = member.conversion
        self._null = null

    def cells(self, values: Sequence[Any]) -> Cells:
        conversion = self._conversion
        column = converted(conversion, values, conversion.show_column, conversion.show)
        if not conversion.nullable:
            return [column]
        for place, cell in enumerate(column):
            if cell is not None and str(cell) == self._null:
                why = f"{shown(self._null)} would be read as null: give null= a text that is not a value"
                raise Refused(place, FieldFault(why), values[place])
        return [[self._null if cell is None else cell for cell in column]]


class _Nested(_Writer):
    def __init__(self, member: Member, structure: Structure, null: str) -> None:
        self._conversion = member.conversion
        self._structure = structure
        self._writers = [(each, _writer(each, null)) for each in structure.members]
        self._null = null

    def cells(self, values: Sequence[Any]) -> Cells:
        for place, value in enumerate(values):
            if not isinstance(value, self._structure.model) and not (self._conversion.nullable and value is None):
                raise Refused(place, self._conversion.codec.fault(value) or self._conversion.refused(value), value)
        places = [place for place, value in enumerate(values) if value is not None]
        present = [values[place] for place in places]
        columns: Cells = []
        for member, writer in self._writers:
            try:
                columns += writer.cells([getattr(value, member.name) for value in present])
            except Refused as refused:
                refused.place = places[refused.place]
                refused.fault = refused.fault.within(member.name)
                raise
        if not self._conversion.nullable:
            return columns
        for place, row in zip(places, zip(*columns, strict=True), strict=True):
            if all(str(cell) == self._null for cell in row):
                why = "all of its cells are null, so it would be read as null itself: give null= another text"
                raise Refused(place, FieldFault(why), values[place])
        spread: Cells = []
        for column in columns:
            cells: list[Any] = [self._null] * len(values)
            for place, cell in zip(places, column, strict=True):
                cells[place] = cell
            spread.append(cells)
        return spread


def _writer(member: Member, null: str) -> _Writer:
    inner = nested_structure(member.conversion)
    return _Leaf(member, null) if inner is None else _Nested(member, inner, null)


def write_csv(
    structure: Structure,
    rows: Iterable[Any],
    target: Target,
    form: CsvFormat,
    *,
    columns: ColumnNames | None = None,
    header: bool = True,
) -> int:
    """Writes objects as lines of a CSV file; returns their number.

    Args:
        structure: the model.
        rows: the objects.
        target: the file.
        form: format of the file.
        columns: names in the file, each with the path of its field.
        header: whether the first line names the columns.

    Raises:
        EncodeError: if a value cannot be written; records before its batch are already written.
        ValueError: if a path in `columns` is not that of a column.
    """
    names = csv_names(structure, columns)
    writers = {member.name: _writer(member, form.null) for member in structure.members}
    rows, count = iter(rows), 0
    with text_target(target, form.encoding) as file:
        writer = csv.writer(file, **form.arguments)
        if header:
            writer.writerow(names)
        while batch := list(islice(rows, _BATCH)):
            cells: Cells = []
            for member, values in members_of(structure, batch, count):
                try:
                    cells += writers[member.name].cells(values)
                except Refused as refused:
                    raise refusal(structure, member, refused, count) from None
            try:
                writer.writerows(zip(*cells, strict=True))
            except UnicodeEncodeError as error:
                last = count + len(batch) - 1
                raise EncodeError(f"records {count} to {last} have text that is not in {form.encoding}: {error}") from error
            count += len(batch)
    return count


def dump_csv(
    model: type[T],
    objects: Iterable[T],
    target: Target,
    *,
    columns: ColumnNames | None,
    header: bool,
    delimiter: str | None,
    dialect: str | csv.Dialect | type[csv.Dialect],
    decimal: Literal[".", ","],
    null: str,
    encoding: str,
    times: Times,
    binary: Binary,
) -> int:
    """See `TSModel.dump_csv`."""
    structure = structure_of(model, Spelling(times, binary, decimal, shortest=True))
    form = CsvFormat(delimiter, dialect, null, encoding)
    return write_csv(structure, objects, target, form, columns=columns, header=header)
