"""Models from JSON and as JSON: single objects, and files of one object a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, Final

import msgspec

from tsmodel.errors import ConversionFault
from tsmodel.interop.csv_writing import Refused, converted, members_of, refusal
from tsmodel.interop.files import Collector, Source, Target, conversion_error, text_source, text_target
from tsmodel.interop.sources import DataSource, DefaultSource, Faults, objects
from tsmodel.interop.sources import Source as ValueSource
from tsmodel.interop.structures import Structure
from tsmodel.types.scalars import shown
from tsmodel.types.text_facet import Misfits, json_decoder

__all__ = ["of_json", "read_jsonl", "write_jsonl"]

_STRETCH: Final = 512

_encoder = msgspec.json.Encoder()


def _decoded(decode: Callable[[Any], Any], text: str | bytes | bytearray | memoryview) -> Any:
    """Plain data of JSON.

    Raises:
        Misfits: when it is not JSON.
    """
    try:
        return decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Misfits([ConversionFault(f"it is not JSON: {error}", "", shown(text))]) from None


def _decoder(structure: Structure) -> Callable[[Any], Any]:
    return json_decoder(structure.has_decimals, structure.plain)


def of_json(structure: Structure, text: str | bytes | bytearray | memoryview) -> Any:
    """The object of a JSON text.

    Raises:
        ConversionError: when it is none.
    """
    try:
        return structure.load(_decoded(_decoder(structure), text))
    except Misfits as misfits:
        raise conversion_error(structure.name, misfits.faults, record=text) from None


def read_jsonl(structure: Structure, source: Source, encoding: str, collector: Collector) -> Iterator[Iterable[Any]]:
    """Objects of the lines of a JSON Lines file, a stretch at a time; empty lines are passed over.

    Raises:
        ConversionError: as the collector does.
    """
    with text_source(source, encoding) as text:
        lines, number = text.lines(), 0
        while True:
            stretch: list[str] = []
            failure: UnicodeDecodeError | None = None
            try:
                stretch.extend(islice(lines, _STRETCH))  # keeps those before an error
            except UnicodeDecodeError as error:
                failure = error
            made, faults = _made(structure, stretch)
            if faults or len(made) < len(stretch):
                yield _left(iter(made), faults, stretch, number, collector)
            elif not collector.has_ended:
                yield made
            number += len(stretch)
            if failure is not None:
                collector.give_up(f"from here on it is not {encoding} ({failure.reason}): give encoding=", number + 1)
            if len(stretch) < _STRETCH:
                break
    collector.end()


def _left(made: Iterator[Any], faults: Faults, lines: Sequence[str], before: int, collector: Collector) -> Iterator[Any]:
    """The objects of a stretch in which something is wrong, or a line empty."""
    for place, line in enumerate(lines):
        if line.isspace():
            continue
        value = next(made)
        if place in faults:
            collector.take(faults[place], before + place + 1, line)
        elif not collector.has_ended:
            yield value


def _made(structure: Structure, lines: Sequence[str]) -> tuple[list[Any], Faults]:
    """The object of each line that is not empty, None for one with a fault; faults by the place of the line."""
    try:
        found = list(map(_decoder(structure), lines))
        sources = _sources(structure, found)
        columns = {name: list(map(itemgetter(name), found)) for source in sources for name in source.used}
    except (msgspec.MsgspecError, ValueError, RecursionError, TypeError, LookupError):
        return _one_by_one(structure, lines)  # not all lines are objects of the same names
    return objects(structure, sources, columns, len(lines))


def _sources(structure: Structure, found: Sequence[Any]) -> list[ValueSource]:
    """Where each member's values are in objects of the same names.

    Raises:
        LookupError: when they have others than the model, or lack one.
    """
    names = set().union(*map(dict.keys, found))
    if structure.spelling.unknown == "error" and not names <= structure.by_name.keys():
        raise LookupError
    sources: list[ValueSource] = []
    for member in structure.members:
        given = [name for name in {member.name, member.component} if name in names]
        if len(given) > 1 or not (given or member.has_default):
            raise LookupError
        sources.append(DataSource(member, given[0]) if given else DefaultSource(member))  # type: ignore[arg-type]
    return sources


def _one_by_one(structure: Structure, lines: Sequence[str]) -> tuple[list[Any], Faults]:
    decode = _decoder(structure)
    made: list[Any] = []
    faults = Faults()
    for place, line in enumerate(lines):
        if line.isspace():
            continue
        try:
            made.append(structure.load(_decoded(decode, line)))
        except Misfits as misfits:
            made.append(None)
            faults[place] = misfits.faults
    return made, faults


def write_jsonl(structure: Structure, rows: Iterable[Any], target: Target) -> int:
    """Writes objects as JSON, one a line, in UTF-8; returns how many.

    Raises:
        EncodeError: when a value cannot be written; records before its stretch are written by then.
    """
    rows, count = iter(rows), 0
    names = [member.name for member in structure.members]
    with text_target(target, "utf-8") as file:
        while stretch := list(islice(rows, _STRETCH)):
            columns = []
            for member, values in members_of(structure, stretch, count):
                conversion = member.conversion
                try:
                    columns.append(converted(conversion, values, conversion.dump_column, conversion.dump))
                except Refused as refused:
                    raise refusal(structure, member, refused, count) from None
            data = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
            file.write(_encoder.encode_lines(data).decode())
            count += len(stretch)
    return count
