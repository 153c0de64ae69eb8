"""Which column of a CSV file is which field.

Rules kept here:

* A field within a structure is a column of its own, by its path: `phase.volts`. A structure, an array or a message can be
  JSON in one column as well.
* The header is settled before any line is read, and all that is wrong with it is told at once: a column that the model does
  not have, one that is there twice, a field that is neither there nor has a default.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import attrs

from tsmodel.errors import ConversionFault
from tsmodel.interop.csv_times import CellReaders
from tsmodel.interop.sources import CellSource, ConstantSource, DefaultSource, NestedSource, Source
from tsmodel.interop.structures import Member, Structure, unknown_name
from tsmodel.types.text_facet import Conversion, Misfits, joined

__all__ = ["Plan", "csv_names", "leaves", "nested_structure"]

ColumnNames = Mapping[str, str | None]


def nested_structure(conversion: Conversion) -> Structure | None:
    """The structure that a field is, if it is one."""
    return conversion.structure


def leaves(structure: Structure, prefix: str = "") -> Iterator[tuple[str, Member]]:
    """The fields that are columns, by path."""
    for member in structure.members:
        inner = nested_structure(member.conversion)
        path = joined(prefix, member.name)
        if inner is None:
            yield path, member
        else:
            yield from leaves(inner, path)


def csv_names(structure: Structure, columns: ColumnNames | None = None) -> list[str]:
    """The names of the columns that are written, in order.

    Args:
        columns: the file's own names, each with the path of its field.

    Raises:
        ValueError: when one of them names no column.
    """
    own = {path: name for name, path in (columns or {}).items() if path is not None}
    names = []
    for path, member in leaves(structure):
        head, _, last = path.rpartition(".")
        also = joined(head, member.component or last)
        names.append(own.pop(path, own.pop(also, path)))
    if own:
        raise ValueError(f"columns={{…: {next(iter(own))!r}}} is no column of {structure.name}")
    return names


@attrs.frozen
class Plan:
    """How the cells of a line become an object.

    Attributes:
        structure: the model.
        header: names of the columns.
        sources: one for each member, in order.
    """

    structure: Structure
    header: tuple[str, ...]
    sources: tuple[Source, ...]

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
        """The plan for a header.

        Args:
            structure: the model.
            header: the names of the columns.
            columns: paths of fields for names that differ; None for columns to be left out.
            constants: data of fields that the file lacks, by path.
            null: the cell, or the cells, that stand for null.
            readers: what makes of cells what fields take.

        Raises:
            Misfits: with all that is wrong.
        """
        nulls = frozenset([null] if isinstance(null, str) else null)
        planner = _Planner(structure, header, columns or {}, constants or {}, nulls, readers or CellReaders())
        sources = planner.sources(structure, "")
        if planner.faults:
            raise Misfits(planner.faults)
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
                self._fault(f"the file has no such column; its columns are {', '.join(map(repr, header))}", path_of, name)
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
        """The path that is meant, by the model's own names."""
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

    def sources(self, structure: Structure, prefix: str) -> list[Source]:
        """A source for each member; where there is none, a fault."""
        return [source for member in structure.members if (source := self._source(member, prefix)) is not None]

    def _source(self, member: Member, prefix: str) -> Source | None:
        path = joined(prefix, member.name)
        within = [given for given in self._given if given.startswith(f"{path}.")]
        if path in self._given:
            for other in within:
                self._fault(f"is given twice: {path} as a whole is given, too", other, None)
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

    def _constant(self, member: Member, path: str) -> Source | None:
        data: Any = self._constants[path]
        try:
            member.value(data, member.conversion.load)
        except Misfits as misfits:
            head = path.rpartition(".")[0]
            self.faults += [fault._replace(path=joined(head, fault.path)) for fault in misfits.faults]
            return None
        return ConstantSource(member, data)
