"""Models from and to dicts and JSON: single objects, and files of one JSON object per line; their JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Final, TypeVar

import msgspec

from tsmodel.errors import ConversionFault, EncodeError
from tsmodel.interop.files import (
    Collector,
    ErrorHandling,
    Source,
    Target,
    conversion_error,
    reason_of,
    text_source,
    text_target,
)
from tsmodel.interop.structures import (
    DataSource,
    DefaultSource,
    Faults,
    Refused,
    Structure,
    ValueSource,
    converted,
    members_of,
    objects,
    refusal,
    structure_of,
)
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.scalars import shown
from tsmodel.types.text_facet import Binary, ConversionFaults, Spelling, Times, Unknown, json_decoder

__all__ = ["dump_jsonl", "from_dict", "from_json", "json_schema", "load_jsonl", "of_json", "to_dict", "to_json"]


T = TypeVar("T")

_BATCH: Final = 512

_encoder = msgspec.json.Encoder()


def _decoded(decode: Callable[[Any], Any], text: str | bytes | bytearray | memoryview) -> Any:
    """Decodes JSON to plain data.

    Raises:
        ConversionFaults: if it is not JSON.
    """
    try:
        return decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ConversionFaults([ConversionFault(f"it is not JSON: {error}", "", shown(text))]) from None


def _decoder(structure: Structure) -> Callable[[Any], Any]:
    return json_decoder(structure.has_decimals, structure.plain)


def of_json(structure: Structure, text: str | bytes | bytearray | memoryview) -> Any:
    """Makes an object from JSON text.

    Raises:
        ConversionError: if the text does not match the model.
    """
    try:
        return structure.load(_decoded(_decoder(structure), text))
    except ConversionFaults as error:
        raise conversion_error(structure.name, error.faults, record=text) from None


def read_jsonl(structure: Structure, source: Source, encoding: str, collector: Collector) -> Iterator[Iterable[Any]]:
    """Yields the objects of a JSON Lines file in batches; skips empty lines.

    Raises:
        ConversionError: see `Collector`.
    """
    with text_source(source, encoding) as text:
        lines, number = text.lines(), 0
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
                collector.give_up(
                    f"from here on, the file is not {encoding} ({reason_of(failure)}): give encoding=", number + 1
                )
            if len(batch) < _BATCH:
                break
    collector.end()


def load_jsonl(
    model: type[T],
    source: Source,
    *,
    encoding: str,
    binary: Binary,
    unknown: Unknown,
    errors: ErrorHandling,
    max_errors: int | None,
) -> Iterator[T]:
    """See `TSModel.load_jsonl`."""
    structure = structure_of(model, Spelling(binary=binary, unknown=unknown))
    return chain.from_iterable(read_jsonl(structure, source, encoding, Collector(model.__name__, errors, max_errors)))


def dump_jsonl(model: type[T], objects: Iterable[T], target: Target, *, times: Times, binary: Binary) -> int:
    """See `TSModel.dump_jsonl`."""
    return write_jsonl(structure_of(model, Spelling(times, binary, shortest=True)), objects, target)


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
        found = list(map(_decoder(structure), lines))
        sources = _sources(structure, found)
        columns = {name: list(map(itemgetter(name), found)) for source in sources for name in source.used}
    except (msgspec.MsgspecError, ValueError, RecursionError, TypeError, LookupError):
        return _one_by_one(structure, lines)  # not all lines have the same names
    return objects(structure, sources, columns, len(lines))


def _sources(structure: Structure, found: Sequence[Any]) -> list[ValueSource]:
    """Sources of the members' values, for objects with the same names.

    Raises:
        LookupError: if a name is unknown, or missing without a default.
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
    with text_target(target, "utf-8") as file:
        while batch := list(islice(rows, _BATCH)):
            columns = []
            for member, values in members_of(structure, batch, count):
                conversion = member.conversion
                try:
                    columns.append(converted(conversion, values, conversion.dump_column, conversion.dump))
                except Refused as refused:
                    raise refusal(structure, member, refused, count) from None
            data = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
            file.write(_encoder.encode_lines(data).decode())
            count += len(batch)
    return count


def from_dict(model: type[T], data: Mapping[str, object], *, binary: Binary, unknown: Unknown) -> T:
    """See `TSModel.from_dict`."""
    try:
        made: T = structure_of(model, Spelling(binary=binary, unknown=unknown)).load(data)
    except ConversionFaults as error:
        raise conversion_error(model.__name__, error.faults, record=data) from None
    return made


def to_dict(value: object, *, times: Times, binary: Binary) -> dict[str, Any]:
    """See `TSModel.to_dict`."""
    return _dumped(value, Spelling(times, binary))


def from_json(model: type[T], text: str | bytes | bytearray | memoryview, *, binary: Binary, unknown: Unknown) -> T:
    """See `TSModel.from_json`."""
    made: T = of_json(structure_of(model, Spelling(binary=binary, unknown=unknown)), text)
    return made


def to_json(value: object, *, times: Times, binary: Binary) -> str:
    """See `TSModel.to_json`."""
    return msgspec.json.encode(_dumped(value, Spelling(times, binary, shortest=True))).decode()


def json_schema(model: type[Any], *, times: Times, binary: Binary, unknown: Unknown) -> dict[str, Any]:
    """See `TSModel.json_schema`."""
    definitions: dict[str, Any] = {}
    schema = structure_of(model, Spelling(times, binary, unknown=unknown)).schema(definitions)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return {**schema, "$defs": definitions} if definitions else schema


def _dumped(value: object, spelling: Spelling) -> dict[str, Any]:
    try:
        return structure_of(type(value), spelling).dump(value)
    except FieldFault as fault:
        name = fault.field.partition(".")[0]
        raise EncodeError(
            f"{type(value).__name__}.{fault.field}: {fault.why}", field=name, value=getattr(value, name)
        ) from None
