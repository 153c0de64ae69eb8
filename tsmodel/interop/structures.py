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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property, lru_cache, partial
from itertools import starmap
from typing import Any, TypeAlias, TypeVar

import msgspec

from tsmodel.errors import ConversionFault, EncodeError, QueryError, SchemaError
from tsmodel.interop.files import conversion_error
from tsmodel.keys import LIMITS
from tsmodel.layout import Constraints
from tsmodel.layout.message_layout import MessageLayout
from tsmodel.model.model_schema import SchemaMember
from tsmodel.types import SCHEMA
from tsmodel.types.field_faults import UNSUITABLE, FieldFault
from tsmodel.types.integers import IntConversion
from tsmodel.types.scalars import shown
from tsmodel.types.text_facet import Conversion, ConversionFaults, Spelling, faults_of, joined, json_decoder, with_floats
from tsmodel.types.times import TimeConversion

__all__ = [
    "Columns",
    "Faults",
    "Member",
    "Refused",
    "Source",
    "Structure",
    "converted",
    "spread",
    "structure_of",
    "written",
]

Faults: TypeAlias = dict[int, tuple[ConversionFault, ...]]
"""Faults by the index of the record."""

Columns: TypeAlias = Mapping[Any, Sequence[Any]]
"""Columns of data, by number or name."""

Source: TypeAlias = Callable[[Columns, int], tuple[list[Any], Faults]]
"""Given columns and the number of records, returns the values of one member, one per record, and the faults."""


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
        declared: its declaration.
        conversion: the text forms of its values.
        fault: another check of converted values; returns what is wrong, or None.
    """

    def __init__(
        self, declared: SchemaMember, conversion: Conversion, fault: Callable[[Any], FieldFault | None] | None = None
    ) -> None:
        self.name = declared.name
        self.declared = declared
        self.conversion = conversion
        self.has_default = declared.options.factory is not None
        self._fixed = declared.fixed
        self._fault = fault
        self._constraints = declared.constraints or None
        codec = conversion.codec
        self._bounds = self._constraints.bounds(codec) if self._constraints and codec.is_plain else None

    def defaults(self, count: int) -> list[Any]:
        """Returns `count` defaults; separate objects if they are mutable."""
        options = self.declared.options
        assert options.factory is not None
        if options.default_factory is None and self.conversion.shareable:
            return [options.default] * count
        return [options.factory() for _ in range(count)]

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
        return self._constraints.violation(value) if self._constraints is not None else None

    def values(
        self, column: Sequence[Any], how: Callable[[Any], Any], all_at_once: Callable[[Sequence[Any]], list[Any]]
    ) -> tuple[list[Any], Faults]:
        """Converts a column of data. Returns the values, with None for invalid ones, and the faults by index.

        Args:
            column: the data.
            how: `load` or `parse` of the conversion.
            all_at_once: converts a whole column.
        """
        try:
            values = all_at_once(column)
            if self._all_meet(values):
                return values, {}
        except UNSUITABLE:
            pass  # the loop below finds the value
        values, faults = [], Faults()
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
        if self._bounds is not None:
            return self._bounds.hold(values)
        return self._constraints is None or not any(map(self._constraints.violation, values))

    def check(self, value: Any) -> None:
        """Raises if a value violates a constraint; see `value`."""
        if why := self._violation(value):
            raise ConversionFaults([ConversionFault(why, self.name, value)])

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """The JSON Schema of the member."""
        schema: dict[str, Any] = _constrained(self.conversion.schema(definitions), self.declared.constraints)
        options = self.declared.options
        if self._fixed is not None:
            schema = {"const": self._fixed}
        if options.doc:
            schema["description"] = options.doc
        if options.unit:
            schema["x-unit"] = options.unit
        if self.has_default and options.default_factory is None:
            schema["default"] = self.conversion.dump(options.default)
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
        wanted = {"minLength": constraints.min_length, "maxLength": constraints.max_length, "pattern": constraints.pattern}
    elif schema.get("type") == "array":
        wanted = {"minItems": constraints.min_length, "maxItems": constraints.max_length}
    return {**schema, **{name: limit for name, limit in wanted.items() if limit is not None}}


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
        components = {name: member for member in self.members if (name := member.declared.component) is not None}
        return {**components, **{member.name: member for member in self.members}}

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
                    faults.append(ConversionFault(self.unknown_name(name), str(name), each))
            elif member.name in found:
                why = f"is given twice, as {member.name} and {member.declared.component}"
                faults.append(ConversionFault(why, member.name, each))
            else:
                found[member.name] = each
        values = []
        for member in self.members:
            if member.name in found:
                try:
                    values.append(member.value(found[member.name], member.conversion.load))
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

    def objects(self, sources: Iterable[Source], columns: Columns, count: int) -> tuple[list[Any], Faults]:
        """Makes many objects. Returns them, with None for each record with a fault, and the faults.

        Args:
            sources: one per member, in order.
            columns: the data.
            count: number of records.
        """
        values, faults = [], Faults()
        for source in sources:
            column, found = source(columns, count)
            values.append(column)
            for place, each in found.items():
                faults[place] = faults.get(place, ()) + each
        rows = zip(*values, strict=True) if values else iter([()] * count)
        if not faults and not hasattr(self.model, "__post_init__"):  # no user code runs, so nothing can fail
            return list(starmap(self.model, rows)), faults
        made: list[Any] = []
        for place, row in enumerate(rows):
            try:
                made.append(None if place in faults else self.made(row))
            except ConversionFaults as error:
                made.append(None)
                faults[place] = error.faults
        return made, faults

    def converted(self, load: Callable[[Any], Any], data: Any) -> Any:
        """Returns `load(data)`, where `load` is a method of this class; its faults become a `ConversionError`."""
        try:
            return load(data)
        except ConversionFaults as error:
            raise conversion_error(self.name, error.faults, record=data) from None

    def load_json(self, text: Any) -> Any:
        """Makes an object from JSON.

        Raises:
            ConversionFaults: if it is not JSON, or does not match the model.
        """
        try:
            data = self.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ConversionFaults([ConversionFault(f"it is not JSON: {error}", "", shown(text))]) from None
        return self.load(data)

    @cached_property
    def decode(self) -> Callable[[Any], Any]:
        """Decodes JSON to plain data."""
        return json_decoder(self.has_decimals, self.plain)

    @cached_property
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

    def to_plain(self, value: Any) -> dict[str, Any]:
        """Like `dump`, but raises an `EncodeError`."""
        try:
            return self.dump(value)
        except FieldFault as fault:
            name = fault.field.partition(".")[0]
            raise EncodeError(f"{self.name}.{fault.field}: {fault.why}", field=name, value=getattr(value, name)) from None

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

    def unknown_name(self, name: object, prefix: str = "") -> str:
        """Explains that a name is unknown, and suggests the most similar known name."""
        import difflib

        known = [joined(prefix, member.name) for member in self.members]
        close = difflib.get_close_matches(joined(prefix, str(name)), known, n=1)
        mend = f"did you mean {close[0]}?" if close else f"its fields are {', '.join(known)}"
        return f'is not a field of {self.name}; {mend} (unknown="ignore" leaves out such names)'


@lru_cache(maxsize=256)
def structure_of(model: Any, spelling: Spelling) -> Structure:
    """Returns the `Structure` of a model or structure class.

    Raises:
        SchemaError: if the class is abstract.
        QueryError: if it is neither a model nor a structure.
    """
    schema = getattr(model, SCHEMA, None) if isinstance(model, type) else None
    if schema is None:
        raise QueryError(f"{model!r} is not a model: give a subclass of TSModel")
    if schema.abstract:
        raise SchemaError(f"{schema.model} is abstract: convert to a class derived from it", model=schema.model)
    layout = schema.layout
    of_fields = spelling
    if isinstance(layout, MessageLayout):  # a message has no widths: floats keep all their digits
        of_fields = msgspec.structs.replace(spelling, shortest=False)
    members = []
    for declared in schema.members.values():
        fault, component = None, declared.component
        if component is None:
            conversion = declared.codec.conversion(of_fields)
            if isinstance(layout, MessageLayout) and layout.encoding == "json":
                fault = partial(layout.fault, declared.field)
        else:
            limits = LIMITS[component].least, LIMITS[component].bound - 1
            kind = {"acq": AcqConversion, "cap": TimeConversion}.get(component, IntConversion)
            conversion = kind(declared.codec, spelling, limits)
        members.append(Member(declared, conversion, fault))
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


def spread(values: Sequence[Any], places: Sequence[int], count: int, absent: Any) -> list[Any]:
    """Puts values at their places in a column of `count`, in which the others are `absent`."""
    column = [absent] * count
    for place, value in zip(places, values, strict=True):
        column[place] = value
    return column


T = TypeVar("T")


def written(
    structure: Structure, rows: Sequence[Any], first: int, convert: Callable[[Member, list[Any]], T]
) -> Iterator[T]:
    """Converts the values of each member.

    Args:
        structure: the model.
        rows: the objects.
        first: number of the first one, for messages.
        convert: converts the values of one member; may raise `Refused`.

    Raises:
        EncodeError: if a row is not an object of the model, or a value cannot be written.
    """
    for number, row in enumerate(rows, first):
        if not isinstance(row, structure.model):
            raise EncodeError(
                f"record {number}: {shown(row)} is a {type(row).__name__}, not a {structure.name}", record=number, value=row
            )
    for member in structure.members:
        try:
            yield convert(member, [getattr(row, member.name) for row in rows])
        except Refused as refused:
            path = refused.fault.within(member.name).field
            number = first + refused.place
            raise EncodeError(
                f"record {number}: {structure.name}.{path}: {refused.fault.why}",
                record=number,
                field=member.name,
                value=refused.value,
            ) from None
