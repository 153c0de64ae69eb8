"""Models from CSV.

Rules kept here:

* A stretch of lines at a time: columns of cells become columns of values, and those objects. No Python code runs for each
  line, unless something is wrong in its stretch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tsmodel.errors import ConversionFault
from tsmodel.model.conversion.collecting import Collector, conversion_error
from tsmodel.model.conversion.columns import ColumnNames, Plan, csv_names
from tsmodel.model.conversion.csv_cells import Cells, CsvFormat, Stretch, Unreadable
from tsmodel.model.conversion.files import Source, text_source
from tsmodel.model.conversion.sources import Faults, objects
from tsmodel.model.conversion.structures import Structure
from tsmodel.types.conversion import Misfits
from tsmodel.types.scalars import shown

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
) -> Iterator[Iterable[Any]]:
    """Objects of the lines of a CSV file, a stretch at a time.

    Args:
        structure: the model.
        source: the file.
        form: how it is written.
        collector: takes what is wrong.
        columns, constants: see `Plan.of`.
        names: names of the columns of a file that has no header.

    Raises:
        ConversionError: when the header is not what the model takes, at once; else as the collector does.
    """
    with text_source(source, form.encoding) as text:
        cells = Cells(text, form)
        if names is None:
            names = _header(cells, structure)
        try:
            plan = Plan.of(structure, names, columns=columns, constants=constants, null=form.null)
        except Misfits as misfits:
            faults = tuple(fault._replace(line=cells.line or None) for fault in misfits.faults)
            raise conversion_error(f"{structure.name}: the columns do not fit", faults) from None
        try:
            yield from _objects(plan, cells, collector)
        except Unreadable as error:
            collector.give_up(str(error), error.line)
    collector.end()


def _header(cells: Cells, structure: Structure) -> list[str]:
    """The names of the columns."""
    try:
        header = cells.header()
    except Unreadable as error:
        raise conversion_error(structure.name, (ConversionFault(str(error), line=error.line),)) from error
    if header is None:
        fault = ConversionFault("the file is empty: it has not even a header; give names= for a file without one")
        raise conversion_error(structure.name, (fault,))
    return header


def _objects(plan: Plan, cells: Cells, collector: Collector) -> Iterator[Iterable[Any]]:
    for stretch in cells.stretches(len(plan.header)):
        made, faults = objects(plan.structure, plan.sources, dict(enumerate(stretch.columns)), stretch.count)
        if faults or not stretch.is_whole:
            yield _left(plan, stretch, made, faults, collector)
        elif not collector.has_ended:
            yield made


def _left(plan: Plan, stretch: Stretch, made: Sequence[Any], faults: Faults, collector: Collector) -> Iterator[Any]:
    """The objects of a stretch in which something is wrong."""
    width, place = len(plan.header), 0
    for line, row in stretch.numbered():
        if not row:
            continue  # an empty line
        if len(row) != width:
            why = f"{len(row)} cells, where the header has {width}"
            collector.take((ConversionFault(why, "", row),), line, row)
            continue
        if place in faults:
            collector.take(faults[place], line, dict(zip(plan.header, row, strict=True)))
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
