"""Models from CSV.

Rules kept here:

* A stretch of lines at a time: columns of cells become columns of values, and those objects. No Python code runs for each
  line, unless something is wrong in its stretch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tsmodel.errors import ConversionFault
from tsmodel.interop.csv_cells import Cells, CsvFormat, Stretch, Unreadable
from tsmodel.interop.csv_columns import ColumnNames, Plan, csv_names
from tsmodel.interop.csv_times import CellReaders
from tsmodel.interop.files import Collector, Source, conversion_error, text_source
from tsmodel.interop.sources import Faults, objects
from tsmodel.interop.structures import Structure
from tsmodel.types.scalars import shown
from tsmodel.types.text_facet import Misfits

__all__ = ["read_csv", "row_object"]


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
    """Objects of the lines of a CSV file, a stretch at a time.

    Args:
        structure: the model.
        source: the file.
        form: how it is written.
        collector: takes what is wrong.
        columns, constants: see `Plan.of`.
        names: names of the columns of a file that has no header.
        null, readers: see `Plan.of`.
        join: columns that are made of others, which are joined by a space.
        skip_lines: lines in front of the header that are not read.

    Raises:
        ConversionError: when the header is not what the model takes, at once; else as the collector does.
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
        except Misfits as misfits:
            faults = tuple(fault._replace(line=cells.line or None) for fault in misfits.faults)
            raise conversion_error(f"{structure.name}: the columns do not fit", faults) from None
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
        fault = ConversionFault("the file is empty: it has not even a header; give names= for a file without one")
        raise conversion_error(structure.name, (fault,))
    return header


def _parts(names: Sequence[str], join: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """The places of the columns that others are made of.

    Raises:
        Misfits: when there is no such column, or one of the new name.
    """
    faults = []
    for name, parts in join.items():
        if name in names:
            faults.append(
                ConversionFault("is a column of the file, and join= makes one of this name", "", None, None, name)
            )
        faults += [
            ConversionFault("the file has no such column, which join= names", "", None, None, part)
            for part in parts
            if part not in names
        ]
    if faults:
        raise Misfits(faults)
    return {name: [names.index(part) for part in parts] for name, parts in join.items()}


def _objects(plan: Plan, cells: Cells, collector: Collector, parts: list[list[int]]) -> Iterator[Iterable[Any]]:
    width = len(plan.header) - len(parts)
    for stretch in cells.stretches(width):
        columns = dict(enumerate(stretch.columns))
        for at, places in enumerate(parts, width):
            columns[at] = list(map(" ".join, zip(*(columns[place] for place in places), strict=True)))
        made, faults = objects(plan.structure, plan.sources, columns, stretch.count)
        if faults or not stretch.is_whole:
            yield _left(plan.header[:width], stretch, made, faults, collector)
        elif not collector.has_ended:
            yield made


def _left(
    header: Sequence[str], stretch: Stretch, made: Sequence[Any], faults: Faults, collector: Collector
) -> Iterator[Any]:
    """The objects of a stretch in which something is wrong."""
    width, place = len(header), 0
    for line, row in stretch.numbered():
        if not row:
            continue  # an empty line
        if len(row) != width:
            why = f"{len(row)} cells, where the header has {width}"
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
    return Plan.of(structure, header, columns=dict(columns), null=null)


def row_object(
    structure: Structure,
    row: Mapping[str, str] | Sequence[str],
    *,
    names: Sequence[str] | None = None,
    columns: ColumnNames | None = None,
    null: str = "",
) -> Any:
    """The object of one line.

    Args:
        structure: the model.
        row: its cells by column, or in order.
        names: names of the columns, for cells in order; when there are none, those that are written.
        columns, null: see `Plan.of`.

    Raises:
        ConversionError: when it is none.
    """
    if isinstance(row, Mapping):
        header, cells = list(row), list[object](row.values())
    else:
        header, cells = list(names if names is not None else csv_names(structure, columns)), list[object](row)
    try:
        if len(header) != len(cells) or None in header:
            raise Misfits([ConversionFault(f"there are more or fewer cells than the {len(header)} columns", "", row)])
        for name, cell in zip(header, cells, strict=True):
            if not isinstance(cell, str):  # csv.DictReader gives None for a cell that is not there
                what = f"{shown(cell)} ({type(cell).__name__}) is not the text of a cell"
                raise Misfits([ConversionFault(what, name, cell)])
        plan = _row_plan(structure, tuple(header), tuple((columns or {}).items()), null)
        (made,), faults = objects(structure, plan.sources, {at: (cell,) for at, cell in enumerate(cells)}, 1)
    except Misfits as misfits:
        raise conversion_error(structure.name, misfits.faults, record=row) from None
    if faults:
        raise conversion_error(structure.name, faults[0], record=row)
    return made
