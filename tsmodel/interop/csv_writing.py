"""Writes models as CSV.

Rules kept here:

* What is written is read back as equal objects. If CSV cannot distinguish a value from null (such as an empty text, if the
  empty cell means null), the value is an error and is not written.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any, Final

from tsmodel.errors import EncodeError
from tsmodel.interop.csv_reading import ColumnNames, csv_names
from tsmodel.interop.files import Target, opened
from tsmodel.interop.structures import Member, Refused, Structure, converted, spread, written
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.scalars import shown

__all__ = ["write_csv"]

_BATCH: Final = 512

Cells = list[Sequence[Any]]
"""Columns of cells."""


def write_csv(
    structure: Structure,
    rows: Iterable[Any],
    target: Target,
    form: dict[str, Any],
    *,
    columns: ColumnNames | None = None,
    header: bool = True,
    null: str = "",
    encoding: str = "utf-8",
) -> int:
    """Writes objects as lines of a CSV file; returns their number.

    Args:
        structure: the model.
        rows: the objects.
        target: the file.
        form: arguments for the csv module.
        columns, header, null, encoding: as for `TSModel.dump_csv`.

    Raises:
        EncodeError: if a value cannot be written; records before its batch are already written.
        ValueError: if a path in `columns` is not that of a column.
    """
    names = csv_names(structure, columns)
    rows, count = iter(rows), 0
    with opened(target, "w", encoding) as file:
        writer = csv.writer(file, **form)
        if header:
            writer.writerow(names)
        while batch := list(islice(rows, _BATCH)):
            cells = chain.from_iterable(
                written(structure, batch, count, lambda member, values: _cells(member, values, null))
            )
            try:
                writer.writerows(zip(*cells, strict=True))
            except UnicodeEncodeError as error:
                last = count + len(batch) - 1
                raise EncodeError(f"records {count} to {last} have text that is not in {encoding}: {error}") from error
            count += len(batch)
    return count


def _cells(member: Member, values: Sequence[Any], null: str) -> Cells:
    """The cells of one member: a column, or one for each field of a structure.

    Raises:
        Refused: for a value that cannot be written.
    """
    conversion = member.conversion
    if conversion.structure is not None:
        return _cells_of_structure(member, conversion.structure, values, null)
    column = converted(conversion, values, conversion.show_column, conversion.show)
    if not conversion.nullable:
        return [column]
    for place, cell in enumerate(column):
        if cell is not None and str(cell) == null:
            why = f"{shown(null)} would be read as null: give null= a text that is not a value"
            raise Refused(place, FieldFault(why), values[place])
    return [[null if cell is None else cell for cell in column]]


def _cells_of_structure(member: Member, structure: Structure, values: Sequence[Any], null: str) -> Cells:
    conversion = member.conversion
    for place, value in enumerate(values):
        if not isinstance(value, structure.model) and not (conversion.nullable and value is None):
            raise Refused(place, conversion.codec.fault(value) or conversion.refused(value), value)
    places = [place for place, value in enumerate(values) if value is not None]
    columns: Cells = []
    for each in structure.members:
        try:
            columns += _cells(each, [getattr(values[place], each.name) for place in places], null)
        except Refused as refused:
            raise Refused(places[refused.place], refused.fault.within(each.name), refused.value) from None
    if not conversion.nullable:
        return columns
    for place, row in zip(places, zip(*columns, strict=True), strict=True):
        if all(str(cell) == null for cell in row):
            why = "all of its cells are null, so it would be read as null itself: give null= another text"
            raise Refused(place, FieldFault(why), values[place])
    return [spread(column, places, len(values), null) for column in columns]
