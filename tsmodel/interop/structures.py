"""Conversion of models and nested structures to and from plain data: dicts of their fields by name.

Rules kept here:

* All faults of an object are found before any is raised. An unknown name is a fault unless `unknown="ignore"` is given.
* A missing field takes its default. Constraints apply to every value that comes from outside.
* Each model and structure has one `Structure` per spelling, made on first use.
* Many objects are made by columns: a column of data becomes a column of values, and the columns become objects. Only a
  column with a fault in it is converted value by value.
* A record with a fault in any column becomes None. Its faults are reported under its index.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cached_property, lru_cache, partial
from itertools import starmap
from typing import Any

import msgspec

from tsmodel.errors import ConversionFault, EncodeError, QueryError, SchemaError
from tsmodel.keys import LIMITS
from tsmodel.layout import KEY_CODECS, Constraints
from tsmodel.layout.constraints import Bounds
from tsmodel.layout.message_layout import MessageLayout
from tsmodel.model.field import FieldOptions
from tsmodel.types import SCHEMA
from tsmodel.types.field_faults import UNSUITABLE, FieldFault
from tsmodel.types.integers import IntConversion
from tsmodel.types.scalars import shown
from tsmodel.types.text_facet import Conversion, ConversionFaults, Spelling, faults_of, joined, with_floats
from tsmodel.types.times import TimeConversion

__all__ = [
    "MISSING",
    "CellSource",
    "ConstantSource",
    "DataSource",
    "DefaultSource",
    "Faults",
    "Member",
    "NestedSource",
    "Refused",
    "Structure",
    "ValueSource",
    "converted",
    "members_of",
    "objects",
    "refusal",
    "structure_of",
    "unknown_name",
]


MISSING: Any = type("Missing", (), {"__repr__": lambda _: "nothing"})()
"""Marks missing data."""


class AcqConversion(TimeConversion):
    """The acquisition time. It is -1 until the database assigns it: null in plain data, an empty cell in CSV."""

    nullable = True
    absent = -1

    def load(self, data: Any) -> Any:
        return -1 if data is None else super().load(data)

    def dump(self, value: Any) -> Any:
        return None if value == -1 and self.spelling.times == "iso" else super().dump(value)

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        if self.spelling.times == "iso" and -1 in values:
            return [self.dump(value) for value in values]
        return super().dump_column(values)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        time = super().schema(definitions)
        return {"anyOf": [time, {"type": "null"}]} if self.spelling.times == "iso" else time


class Member:
    """A member of a model: a key component or a field.

    Args:
        name: its name in the model.
        conversion: the text forms of its values.
        default: its options, which include the default.
        constraints: the constraints on its values.
        fixed: the only value that it may have; None for any.
        component: name of the key component; None for a field.
        fault: another check of converted values; returns what is wrong, or None.
        doc, unit: description and unit of measure.
    """

    def __init__(
        self,
        name: str,
        conversion: Conversion,
        default: FieldOptions,
        constraints: Constraints,
        *,
        fixed: int | None = None,
        component: str | None = None,
        fault: Callable[[Any], FieldFault | None] | None = None,
    ) -> None:
        self.name = name
        self.conversion = conversion
        self.constraints = constraints
        self.component = component
        self.doc, self.unit = default.doc, default.unit
        self._fixed = fixed
        self._fault = fault
        self._default = default
        codec = conversion.codec
        self._bounds: Bounds | None = constraints.bounds(codec) if constraints and codec.is_plain else None

    @property
    def has_default(self) -> bool:
        """Whether it may be missing from the data."""
        return self._default.factory is not None

    def defaults(self, count: int) -> list[Any]:
        """Returns `count` defaults; separate objects if they are mutable."""
        factory = self._default.factory
        assert factory is not None
        if self._default.default_factory is None and self.conversion.shareable:
            return [self._default.default] * count
        return [factory() for _ in range(count)]

    def value(self, data: Any, how: Callable[[Any], Any]) -> Any:
        """Converts data to a value; `how` is `load` or `parse` of the conversion.

        Raises:
            ConversionFaults: with paths that begin at the model.
        """
        try:
            value = how(data)
        except UNSUITABLE:
            raise ConversionFaults(faults_of(self.conversion, self.name, data, how)) from None
        if why := self._violation(value):
            raise ConversionFaults([ConversionFault(why, self.name, data)])
        return value

    def _violation(self, value: Any) -> str | None:
        if self._fixed is not None and value != self._fixed:
            return f"{value} is not {self._fixed}, which the class fixes"
        if self._fault is not None and (fault := self._fault(value)):
            return fault.why
        return self.constraints.violation(value) if self.constraints else None

    def values(
        self, column: Sequence[Any], how: Callable[[Any], Any], all_at_once: Callable[[Sequence[Any]], list[Any]]
    ) -> tuple[list[Any], dict[int, tuple[ConversionFault, ...]]]:
        """Converts a column of data. Returns the values, with None for invalid ones, and the faults by index.

        Args:
            column: the data.
            how: `load` or `parse` of the conversion.
            all_at_once: converts a whole column.
        """
        try:
            values = all_at_once(column)
        except UNSUITABLE:
            pass  # the loop below finds the value
        else:
            if self._all_meet(values):
                return values, {}
        values = []
        faults: dict[int, tuple[ConversionFault, ...]] = {}
        for place, data in enumerate(column):
            try:
                values.append(self.value(data, how))
            except ConversionFaults as error:
                values.append(None)
                faults[place] = error.faults
        return values, faults

    def _all_meet(self, values: list[Any]) -> bool:
        if self._fixed is not None and values.count(self._fixed) != len(values):
            return False
        if self._fault is not None and any(map(self._fault, values)):
            return False
        if not self.constraints:
            return True
        if self._bounds is not None:
            return self._bounds.hold(values)
        return not any(map(self.constraints.violation, values))

    def check(self, value: Any) -> None:
        """Raises if a value violates a constraint; see `value`."""
        if why := self._violation(value):
            raise ConversionFaults([ConversionFault(why, self.name, value)])

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """The JSON Schema of the member."""
        schema: dict[str, Any] = _constrained(self.conversion.schema(definitions), self.constraints)
        if self._fixed is not None:
            schema = {"const": self._fixed}
        if self.doc:
            schema["description"] = self.doc
        if self.unit:
            schema["x-unit"] = self.unit
        if self.has_default and self._default.default_factory is None:
            schema["default"] = self.conversion.dump(self._default.default)
        return schema


def _constrained(schema: dict[str, Any], constraints: Constraints) -> dict[str, Any]:
    """Adds the constraints that JSON Schema can express to the schema of a text or number."""
    if "anyOf" in schema:
        choices = [_constrained(choice, constraints) for choice in schema["anyOf"]]
        return {**schema, "anyOf": [choice for choice in choices if choice.get("enum") != []]}
    wanted: dict[str, Any] = {}
    if schema.get("type") in ("integer", "number"):
        limits = {
            "minimum": constraints.ge,
            "maximum": constraints.le,
            "exclusiveMinimum": constraints.gt,
            "exclusiveMaximum": constraints.lt,
            "multipleOf": constraints.multiple_of,
        }
        wanted = {name: constraints.shown(limit) for name, limit in limits.items() if type(limit) in (int, float)}
        if {"minimum", "maximum"} <= schema.keys():
            wanted["minimum"] = max(schema["minimum"], wanted.get("minimum", schema["minimum"]))
            wanted["maximum"] = min(schema["maximum"], wanted.get("maximum", schema["maximum"]))
    elif "NaN" in schema.get("enum", ()):
        wanted["enum"] = [text for text in schema["enum"] if not constraints.violation(float(text))]
    elif schema.keys() <= {"type", "maxLength", "minLength"} and schema.get("type") == "string":
        lengths = {"minLength": constraints.min_length, "maxLength": constraints.max_length, "pattern": constraints.pattern}
        wanted = {name: limit for name, limit in lengths.items() if limit is not None}
    elif schema.get("type") == "array":
        lengths = {"minItems": constraints.min_length, "maxItems": constraints.max_length}
        wanted = {name: limit for name, limit in lengths.items() if limit is not None}
    return {**schema, **wanted}


class Structure(msgspec.Struct, frozen=True, eq=False, dict=True):
    """A model or structure and its members, in order.

    Attributes:
        model: class of the model or structure.
        members: the members, in the order of constructor arguments.
        spelling: how values are spelled.
    """

    model: type
    members: tuple[Member, ...]
    spelling: Spelling

    @cached_property
    def by_name(self) -> Mapping[str, Member]:
        """Members by name; those of the key also by component."""
        named = {member.name: member for member in self.members}
        components = {member.component: member for member in self.members if member.component is not None}
        return {**components, **named}

    @property
    def name(self) -> str:
        """The name of the class."""
        return self.model.__name__

    def narrowed(self, names: Iterable[str]) -> Structure:
        """The same with only some members, in this order, to write them."""
        return msgspec.structs.replace(self, members=tuple(self.by_name[name] for name in names))

    def load(self, data: Any) -> Any:
        """Makes an object from a mapping of plain data.

        Raises:
            ConversionFaults: with every fault.
        """
        if not isinstance(data, Mapping):
            what = f"{shown(data)} ({type(data).__name__}) is not an object with the fields of {self.name}"
            raise ConversionFaults([ConversionFault(what, "", data)])
        found: dict[str, Any] = {}
        faults: list[ConversionFault] = []
        for name, each in data.items():
            member = self.by_name.get(name)
            if member is None:
                if self.spelling.unknown == "error":
                    faults.append(ConversionFault(unknown_name(name, self), str(name), each))
            elif member.name in found:
                faults.append(
                    ConversionFault(f"is given twice, as {member.name} and {member.component}", member.name, each)
                )
            else:
                found[member.name] = each
        values = []
        for member in self.members:
            given = found.get(member.name, MISSING)
            if given is not MISSING:
                try:
                    values.append(member.value(given, member.conversion.load))
                except ConversionFaults as error:
                    faults += error.faults
            elif member.has_default:
                values += member.defaults(1)
            else:
                faults.append(ConversionFault("is missing, and has no default", member.name))
        if faults:
            raise ConversionFaults(faults)
        return self.made(values)

    def made(self, values: Iterable[Any]) -> Any:
        """Makes an object from the values of its members.

        Raises:
            ConversionFaults: if `__post_init__` of the class raises a ValueError.
        """
        try:
            return self.model(*values)
        except ValueError as error:
            raise ConversionFaults([ConversionFault(str(error) or type(error).__name__)]) from error

    @property
    def has_decimals(self) -> bool:
        """See `Conversion.has_decimals`."""
        return any(member.conversion.has_decimals for member in self.members)

    def plain(self, data: Any) -> Any:
        """See `Conversion.plain`."""
        if not isinstance(data, dict):
            return with_floats(data)
        for name, each in data.items():
            if type(each) in (Decimal, list, dict):
                member = self.by_name.get(name)
                data[name] = with_floats(each) if member is None else member.conversion.plain(each)
        return data

    @property
    def makes_freely(self) -> bool:
        """Whether making an object from valid values runs no user code, so it cannot fail."""
        return not hasattr(self.model, "__post_init__")

    def dump(self, value: Any) -> dict[str, Any]:
        """Converts an object to a dict of plain data.

        Raises:
            FieldFault: if a field cannot hold its value.
        """
        data = {}
        for member in self.members:
            each = getattr(value, member.name)
            try:
                data[member.name] = member.conversion.dump(each)
            except FieldFault as fault:
                raise fault.within(member.name) from None
            except UNSUITABLE:
                raise member.conversion.refused(each).within(member.name) from None
        return data

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """The JSON Schema of the class."""
        schema: dict[str, Any] = {"title": self.name, "type": "object"}
        schema["properties"] = {member.name: member.schema(definitions) for member in self.members}
        schema["required"] = [member.name for member in self.members if not member.has_default]
        schema["additionalProperties"] = self.spelling.unknown == "ignore"
        return schema

    def reference(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """Adds the schema of the class to `definitions` and returns a reference to it."""
        schema, name = self.schema(definitions), self.name
        while definitions.setdefault(name, schema) != schema:  # another class has this name
            name += "_"
        return {"$ref": f"#/$defs/{name}"}


def unknown_name(name: object, structure: Structure, prefix: str = "") -> str:
    """Explains that a name is unknown, and suggests the most similar known name."""
    import difflib

    known = [joined(prefix, member.name) for member in structure.members]
    close = difflib.get_close_matches(joined(prefix, str(name)), known, n=1)
    mend = f"did you mean {close[0]}?" if close else f"its fields are {', '.join(known)}"
    return f'is not a field of {structure.name}; {mend} (unknown="ignore" leaves out such names)'


def structure_of(model: Any, spelling: Spelling) -> Structure:
    """Returns the `Structure` of a model or structure class.

    Raises:
        SchemaError: if the class is abstract.
        QueryError: if it is neither a model nor a structure.
    """
    return _structure_of(model, spelling)


@lru_cache(maxsize=256)
def _structure_of(model: Any, spelling: Spelling) -> Structure:
    schema = getattr(model, SCHEMA, None) if isinstance(model, type) else None
    if schema is None:
        raise QueryError(f"{model!r} is not a model: give a subclass of TSModel")
    if schema.abstract:
        raise SchemaError(f"{schema.model} is abstract: convert to a class derived from it", model=schema.model)
    members = []
    for component, codec in KEY_CODECS.items() if schema.has_key else ():
        limits = LIMITS[component].least, LIMITS[component].bound - 1
        conversion: Conversion
        if component == "acq":
            conversion = AcqConversion(codec, spelling, limits)
        elif component == "cap":
            conversion = TimeConversion(codec, spelling, limits)
        else:
            conversion = IntConversion(codec, spelling, limits)
        given = schema.key_defaults.get(component, FieldOptions(msgspec.NODEFAULT))
        fixed = schema.fixed.get(component)
        if fixed is not None:
            given = msgspec.structs.replace(given, default=fixed, default_factory=None)
        elif component == "acq" and given.factory is None:
            given = msgspec.structs.replace(given, default=-1)
        name = schema.aliases.get(component, component)
        constraints = given.constraints.of(KEY_CODECS[component])
        members.append(Member(name, conversion, given, constraints, fixed=fixed, component=component))
    if isinstance(schema.layout, MessageLayout):  # a message has no widths: floats keep all their digits
        spelling = msgspec.structs.replace(spelling, shortest=False)
    options = {spec.name: spec.options for spec in schema.specs}
    for field in schema.layout.fields:
        known = options[field.name]
        constraints = known.constraints.of(field.codec)
        is_json = isinstance(schema.layout, MessageLayout) and schema.layout.encoding == "json"
        fault = partial(schema.layout.fault, field) if is_json else None
        members.append(Member(field.name, field.codec.conversion(spelling), known, constraints, fault=fault))
    return Structure(model, tuple(members), spelling)


class Refused(Exception):  # noqa: N818 - it becomes an error
    """A value that cannot be written.

    Attributes:
        place: index of the record.
        fault: what is wrong.
        value: the value.
    """

    def __init__(self, place: int, fault: FieldFault, value: object) -> None:
        super().__init__(fault.why)
        self.place = place
        self.fault = fault
        self.value = value


def converted(conversion: Conversion, values: Sequence[Any], all_at_once: Any, one: Any) -> Sequence[Any]:
    """Converts a column of values to plain data or cells.

    Raises:
        Refused: for the first value that the field cannot hold.
    """
    try:
        column: Sequence[Any] = all_at_once(values)
    except UNSUITABLE:
        column = []
        for place, value in enumerate(values):
            try:
                column.append(one(value))
            except FieldFault as fault:
                raise Refused(place, fault, value) from None
            except UNSUITABLE:
                raise Refused(place, conversion.refused(value), value) from None
    return column


def members_of(structure: Structure, rows: Sequence[Any], first: int) -> list[tuple[Member, list[Any]]]:
    """The values of each member.

    Raises:
        EncodeError: if a row is not an object of the model.
    """
    for number, row in enumerate(rows, first):
        if not isinstance(row, structure.model):
            raise EncodeError(
                f"record {number}: {shown(row)} is a {type(row).__name__}, not a {structure.name}", record=number, value=row
            )
    return [(member, [getattr(row, member.name) for row in rows]) for member in structure.members]


def refusal(structure: Structure, member: Member, refused: Refused, first: int) -> EncodeError:
    """Makes the error for a value that cannot be written."""
    path = refused.fault.within(member.name).field
    number = first + refused.place
    return EncodeError(
        f"record {number}: {structure.name}.{path}: {refused.fault.why}",
        record=number,
        field=member.name,
        value=refused.value,
    )


Faults = dict[int, tuple[ConversionFault, ...]]
"""Faults by the index of the record."""

Columns = Mapping[Any, Sequence[Any]]


class ValueSource(ABC):
    """Source of the values of one member."""

    @abstractmethod
    def values(self, columns: Columns, count: int) -> tuple[list[Any], Faults]:
        """Returns one value per record, and the faults.

        Args:
            columns: the data by number or name of the column.
            count: number of records.
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
        member: the member.
        at: number of the column.
        column: name of the column in the file.
        nulls: cells that mean null.
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
        """Converts the cells that do not mean null, and puts their values into `values`."""
        places = [place for place, cell in enumerate(cells) if cell not in self._nulls]
        found, faults = self._converted([cells[place] for place in places])
        for place, value in zip(places, found, strict=True):
            values[place] = value
        return values, {places[at]: each for at, each in faults.items()}

    def _converted(self, cells: Sequence[str]) -> tuple[list[Any], Faults]:
        conversion = self._member.conversion
        if len(cells) > 1 and conversion.shareable and cells.count(cells[0]) == len(cells):
            value, faults = self._converted(cells[:1])  # a constant column, as ids often are
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
            why = "the cell is empty, but the field requires a value; a default applies only if the column is missing"
        return fault._replace(why=why, column=self._column)


class NestedSource(ValueSource):
    """Columns for the fields of a structure.

    Args:
        member: the structure in the model.
        structure: its fields and their conversions.
        sources: their sources, in order.
        nulls: cells that mean null. A nullable structure is null if all of its cells are.
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
    """Makes objects of a model. Returns them, with None for each record with a fault, and the faults by index.

    Args:
        structure: the model.
        sources: one per member, in order.
        columns: the data.
        count: number of records.
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
