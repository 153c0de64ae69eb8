"""Where the values of each member come from when many objects are made at once.

Rules kept here:

* Work goes by columns: a column of data becomes a column of values, and the columns become objects. Only a column with a
  fault in it is converted value by value.
* A record with a fault in any column becomes None. Its faults are reported under its index.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import starmap
from typing import Any

from tsmodel.errors import ConversionFault
from tsmodel.interop.structures import Member, Structure
from tsmodel.types.text_facet import ConversionFaults, joined

__all__ = [
    "CellSource",
    "ConstantSource",
    "DataSource",
    "DefaultSource",
    "Faults",
    "NestedSource",
    "ValueSource",
    "objects",
]

Faults = dict[int, tuple[ConversionFault, ...]]
"""Faults by the index of the record."""

Columns = Mapping[Any, Sequence[Any]]


class ValueSource(ABC):
    """The values of one member."""

    @abstractmethod
    def values(self, columns: Columns, count: int) -> tuple[list[Any], Faults]:
        """One value per record, and the faults.

        Args:
            columns: the data by column: number or name.
            count: how many records there are.
        """

    @property
    def used(self) -> list[Any]:
        """The columns that it reads."""
        return []


class DefaultSource(ValueSource):
    """The default of the member."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def values(self, columns: Columns, count: int) -> tuple[list[Any], Faults]:
        return self._member.defaults(count), {}


class ConstantSource(ValueSource):
    """The same data in each record."""

    def __init__(self, member: Member, data: Any) -> None:
        self._member = member
        self._data = data

    def values(self, columns: Columns, count: int) -> tuple[list[Any], Faults]:
        load = self._member.conversion.load
        if self._member.conversion.shareable:
            return [load(self._data)] * count, {}
        return [load(self._data) for _ in range(count)], {}


class DataSource(ValueSource):
    """A column of plain data."""

    def __init__(self, member: Member, column: str) -> None:
        self._member = member
        self._column = column

    def values(self, columns: Columns, count: int) -> tuple[list[Any], Faults]:
        conversion = self._member.conversion
        return self._member.values(columns[self._column], conversion.load, conversion.load_column)

    @property
    def used(self) -> list[Any]:
        return [self._column]


class CellSource(ValueSource):
    """A column of cells.

    Args:
        member: what they are values of.
        at: number of the column.
        column: the file's name for it.
        nulls: the cells that stand for null.
        reader: translates a cell into the spelling that the field accepts; None if it needs no translation.
    """

    def __init__(
        self, member: Member, at: int, column: str | None, nulls: frozenset[str], reader: Callable[[str], str] | None = None
    ) -> None:
        self._member = member
        self._at = at
        self._column = column
        self._nulls = nulls
        self._reader = reader

    @property
    def used(self) -> list[Any]:
        return [self._at]

    def values(self, columns: Columns, count: int) -> tuple[list[Any], Faults]:
        cells, conversion = columns[self._at], self._member.conversion
        if conversion.nullable and not self._nulls.isdisjoint(cells):
            return self._without_null([conversion.absent] * count, cells)
        return self._converted(cells)

    def _without_null(self, values: list[Any], cells: Sequence[str]) -> tuple[list[Any], Faults]:
        """`values` where a cell stands for null; elsewhere what the cells are."""
        places = [place for place, cell in enumerate(cells) if cell not in self._nulls]
        found, faults = self._converted([cells[place] for place in places])
        for place, value in zip(places, found, strict=True):
            values[place] = value
        return values, {places[at]: each for at, each in faults.items()}

    def _converted(self, cells: Sequence[str]) -> tuple[list[Any], Faults]:
        conversion = self._member.conversion
        if len(cells) > 1 and conversion.shareable and cells.count(cells[0]) == len(cells):
            value, faults = self._converted(cells[:1])  # a column that does not change, as ids often do not
            return value * len(cells), {place: each for each in faults.values() for place in range(len(cells))}
        parse, parse_column, reader = conversion.parse, conversion.parse_column, self._reader
        if reader is not None:
            values, faults = self._member.values(
                cells, lambda text: parse(reader(text)), lambda texts: parse_column(list(map(reader, texts)))
            )
        else:
            values, faults = self._member.values(cells, parse, parse_column)
        return values, {place: tuple(map(self._located, each)) for place, each in faults.items()}

    def _located(self, fault: ConversionFault) -> ConversionFault:
        why = fault.why
        if fault.value == "":
            why = "the cell is empty, and the field must have a value; a default is for columns that are not there"
        return fault._replace(why=why, column=self._column)


class NestedSource(ValueSource):
    """Columns of the fields of a structure.

    Args:
        member: the structure in the model.
        structure: its fields.
        sources: their sources, in order.
        nulls: the cells that stand for null. A nullable structure is null if all of its cells are.
    """

    def __init__(self, member: Member, structure: Structure, sources: Sequence[ValueSource], nulls: frozenset[str]) -> None:
        self._member = member
        self._structure = structure
        self._sources = sources
        self._nulls = nulls

    @property
    def used(self) -> list[Any]:
        return [column for source in self._sources for column in source.used]

    def values(self, columns: Columns, count: int) -> tuple[list[Any], Faults]:
        used = self.used
        if not self._member.conversion.nullable or not used:
            return self._present({each: columns[each] for each in used}, count)
        cells = zip(*(columns[each] for each in used), strict=True)
        places = [place for place, row in enumerate(cells) if not self._nulls.issuperset(row)]
        part = {each: [columns[each][place] for place in places] for each in used}
        found, faults = self._present(part, len(places))
        values: list[Any] = [None] * count
        for place, value in zip(places, found, strict=True):
            values[place] = value
        return values, {places[at]: each for at, each in faults.items()}

    def _present(self, columns: Columns, count: int) -> tuple[list[Any], Faults]:
        values, faults = objects(self._structure, self._sources, columns, count)
        name = self._member.name
        faults = {
            place: tuple(fault._replace(path=joined(name, fault.path)) for fault in each) for place, each in faults.items()
        }
        for place, value in enumerate(values):
            if place not in faults:
                try:
                    self._member.check(value)
                except ConversionFaults as error:
                    faults[place] = error.faults
        return values, faults


def objects(structure: Structure, sources: Sequence[ValueSource], columns: Columns, count: int) -> tuple[list[Any], Faults]:
    """Makes objects of a model: None for each one with a fault, and the faults by index.

    Args:
        structure: the model.
        sources: one for each member, in order.
        columns: the data.
        count: how many records there are.
    """
    values, faults = [], Faults()
    for source in sources:
        column, found = source.values(columns, count)
        values.append(column)
        for place, each in found.items():
            faults[place] = faults.get(place, ()) + each
    rows = zip(*values, strict=True) if values else iter([()] * count)
    if not faults and structure.makes_freely:
        return list(starmap(structure.model, rows)), faults
    made: list[Any] = []
    for place, row in enumerate(rows):
        try:
            made.append(None if place in faults else structure.made(row))
        except ConversionFaults as error:
            made.append(None)
            faults[place] = error.faults
    return made, faults
