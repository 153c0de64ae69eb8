"""Reads and writes files of one JSON object per line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, Final

import msgspec

from tsmodel.interop.files import Collector, Source, Target, lines_of, opened, reason_of
from tsmodel.interop.structures import Columns, Faults, Member, Structure, converted, written
from tsmodel.interop.structures import Source as Values
from tsmodel.types.text_facet import ConversionFaults

__all__ = ["read_jsonl", "write_jsonl"]

_BATCH: Final = 512

_encoder = msgspec.json.Encoder()


def read_jsonl(structure: Structure, source: Source, encoding: str, collector: Collector) -> Iterator[Iterable[Any]]:
    """Yields the objects of a JSON Lines file in batches; skips empty lines.

    Raises:
        ConversionError: see `Collector`.
    """
    with opened(source, "r", encoding) as text:
        lines, number = lines_of(text), 0
        while True:
            batch: list[str] = []
            failure: UnicodeError | None = None
            try:
                batch.extend(islice(lines, _BATCH))  # keeps the lines before an error
            except UnicodeError as error:
                failure = error
            made, faults = _made(structure, batch)
            if faults or len(made) < len(batch):
                yield _left(iter(made), faults, batch, number, collector)
            elif not collector.has_ended:
                yield made
            number += len(batch)
            if failure is not None:
                why = f"from here on, the file is not {encoding} ({reason_of(failure)}): give encoding="
                collector.give_up(why, number + 1)
            if len(batch) < _BATCH:
                break
    collector.end()


def _left(made: Iterator[Any], faults: Faults, lines: Sequence[str], before: int, collector: Collector) -> Iterator[Any]:
    """The objects of a batch with faults or empty lines."""
    for place, line in enumerate(lines):
        if line.isspace():
            continue
        value = next(made)
        if place in faults:
            collector.take(faults[place], before + place + 1, line)
        elif not collector.has_ended:
            yield value


def _made(structure: Structure, lines: Sequence[str]) -> tuple[list[Any], Faults]:
    """Makes an object of each line that is not empty, None if it has a fault; returns the faults by index of the line."""
    try:
        found = list(map(structure.decode, lines))
        names = set().union(*map(dict.keys, found))
        if structure.spelling.unknown == "error" and not names <= structure.by_name.keys():
            raise LookupError
        sources = [_source(member, names) for member in structure.members]
        columns = {name: list(map(itemgetter(name), found)) for name in names & structure.by_name.keys()}
    except (msgspec.MsgspecError, ValueError, RecursionError, TypeError, LookupError):
        return _one_by_one(structure, lines)  # not all lines have the same names
    return structure.objects(sources, columns, len(lines))


def _source(member: Member, names: set[str]) -> Values:
    """The source of a member's values, for objects with the same names.

    Raises:
        LookupError: if the names do not have the member once, and it has no default.
    """
    given = [name for name in {member.name, member.declared.component} if name in names]
    if len(given) > 1 or not (given or member.has_default):
        raise LookupError

    def values(columns: Columns, count: int) -> tuple[list[Any], Faults]:
        if not given:
            return member.defaults(count), {}
        return member.values(columns[given[0]], member.conversion.load, member.conversion.load_column)

    return values


def _one_by_one(structure: Structure, lines: Sequence[str]) -> tuple[list[Any], Faults]:
    made: list[Any] = []
    faults = Faults()
    for place, line in enumerate(lines):
        if line.isspace():
            continue
        try:
            made.append(structure.load_json(line))
        except ConversionFaults as error:
            made.append(None)
            faults[place] = error.faults
    return made, faults


def write_jsonl(structure: Structure, rows: Iterable[Any], target: Target) -> int:
    """Writes objects as JSON in UTF-8, one per line; returns their number.

    Raises:
        EncodeError: if a value cannot be written; records before its batch are already written.
    """
    rows, count = iter(rows), 0
    names = [member.name for member in structure.members]
    with opened(target, "w", "utf-8") as file:
        while batch := list(islice(rows, _BATCH)):
            columns = list(written(structure, batch, count, _dumped))
            data = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
            file.write(_encoder.encode_lines(data).decode())
            count += len(batch)
    return count


def _dumped(member: Member, values: Sequence[Any]) -> Sequence[Any]:
    return converted(member.conversion, values, member.conversion.dump_column, member.conversion.dump)
