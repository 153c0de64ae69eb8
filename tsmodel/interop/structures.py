"""Models and nested structures as plain data: objects of their fields by name.

Rules kept here:

* All faults of an object are found before any is raised. An unknown name is a fault, unless told otherwise.
* A missing field takes its default. Constraints apply to every value that comes from outside.
* Each model and structure has one `Structure` per spelling, made when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

import attrs

from tsmodel.errors import ConversionFault, EncodeError, QueryError, SchemaError
from tsmodel.keys import LIMITS
from tsmodel.layout import KEY_CODECS, Constraints
from tsmodel.layout.constraints import Bounds
from tsmodel.layout.message_layout import MessageLayout
from tsmodel.model.field import FieldOptions
from tsmodel.types import SCHEMA
from tsmodel.types.field_faults import UNSUITABLE, FieldFault
from tsmodel.types.integers import IntConversion
from tsmodel.types.key import AcqConversion
from tsmodel.types.scalars import shown
from tsmodel.types.text_facet import Conversion, ConversionFaults, Spelling, faults_of, joined, with_floats
from tsmodel.types.times import TimeConversion

__all__ = [
    "MISSING",
    "Member",
    "Refused",
    "Structure",
    "converted",
    "members_of",
    "refusal",
    "structure_of",
    "unknown_name",
]


MISSING: Any = type("Missing", (), {"__repr__": lambda _: "nothing"})()
"""Stands for missing data."""


class Member:
    """A member of a model: a component of the key, or a field.

    Args:
        name: its name in the model.
        conversion: the text forms of its values.
        default: its options, with the default.
        constraints: the constraints on its values.
        fixed: the only value that it may have; None for any.
        component: the key component that it is, or None.
        fault: a further check of values that the conversion accepts; returns what is wrong.
        doc, unit: what it means.
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
        """This many defaults; separate objects if they are mutable."""
        factory = self._default.factory
        assert factory is not None
        if self._default.default_factory is None and self.conversion.shareable:
            return [self._default.default] * count
        return [factory() for _ in range(count)]

    def value(self, data: Any, how: Callable[[Any], Any]) -> Any:
        """Converts data to a value; `how` is `load` or `parse` of the conversion.

        Raises:
            ConversionFaults: with paths from the model on.
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
        """Converts a column of data: to values, None where one is not valid, and the faults of those by index.

        Args:
            column: the data.
            how: `load` or `parse` of the conversion.
            all_at_once: the same for a whole column.
        """
        try:
            values = all_at_once(column)
        except UNSUITABLE:
            pass  # below it is found which
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
        """Raises for a value that violates a constraint; see `value`."""
        if why := self._violation(value):
            raise ConversionFaults([ConversionFault(why, self.name, value)])

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """The member as JSON Schema."""
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
    """A schema with those constraints that JSON Schema can express for the text or number of a value."""
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


@attrs.frozen(eq=False)
class Structure:
    """A model or structure with its members, in order.

    Attributes:
        model: the class.
        members: its members, in the order in which its constructor takes them.
        spelling: how their values are spelled.
        by_name: members by name; those of the key also by their component.
    """

    model: type
    members: tuple[Member, ...]
    spelling: Spelling
    by_name: Mapping[str, Member] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        named = {member.name: member for member in self.members}
        components = {member.component: member for member in self.members if member.component is not None}
        object.__setattr__(self, "by_name", {**components, **named})

    @property
    def name(self) -> str:
        """The class' name."""
        return self.model.__name__

    def load(self, data: Any) -> Any:
        """Makes the object of a mapping of plain data.

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
        """Makes an object with these values.

        Raises:
            ConversionFaults: when the class' own `__post_init__` refuses them by a ValueError.
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
        """Whether making an object of valid values runs no code of the class, so that it cannot fail."""
        return not hasattr(self.model, "__post_init__")

    def dump(self, value: Any) -> dict[str, Any]:
        """An object as a dict of plain data.

        Raises:
            FieldFault: when a field cannot hold its value.
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
        """The class as JSON Schema."""
        schema: dict[str, Any] = {"title": self.name, "type": "object"}
        schema["properties"] = {member.name: member.schema(definitions) for member in self.members}
        schema["required"] = [member.name for member in self.members if not member.has_default]
        schema["additionalProperties"] = self.spelling.unknown == "ignore"
        return schema

    def reference(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """A reference to the class among `definitions`, which it is added to."""
        schema, name = self.schema(definitions), self.name
        while definitions.setdefault(name, schema) != schema:  # another class of this name
            name += "_"
        return {"$ref": f"#/$defs/{name}"}


def unknown_name(name: object, structure: Structure, prefix: str = "") -> str:
    """The fault of an unknown name, with the closest one that the model has."""
    import difflib

    known = [joined(prefix, member.name) for member in structure.members]
    close = difflib.get_close_matches(joined(prefix, str(name)), known, n=1)
    mend = f"did you mean {close[0]}?" if close else f"its fields are {', '.join(known)}"
    return f'is not a field of {structure.name}; {mend} (unknown="ignore" leaves out such names)'


def structure_of(model: Any, spelling: Spelling) -> Structure:
    """The `Structure` of a model or structure class.

    Raises:
        SchemaError: when it is abstract.
        QueryError: when it is neither.
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
        given = schema.key_defaults.get(component, FieldOptions(attrs.NOTHING))
        fixed = schema.fixed.get(component)
        if fixed is not None:
            given = attrs.evolve(given, default=fixed, default_factory=None)
        elif component == "acq" and given.factory is None:
            given = attrs.evolve(given, default=-1)
        name = schema.aliases.get(component, component)
        constraints = given.constraints.of(KEY_CODECS[component])
        members.append(Member(name, conversion, given, constraints, fixed=fixed, component=component))
    if isinstance(schema.layout, MessageLayout):  # which has no widths: all floats are stored with all of their digits
        spelling = attrs.evolve(spelling, shortest=False)
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
        place: number of the record.
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
        Refused: for the first that the field cannot hold.
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
        EncodeError: when a row is no object of the model.
    """
    for number, row in enumerate(rows, first):
        if not isinstance(row, structure.model):
            raise EncodeError(
                f"record {number}: {shown(row)} is a {type(row).__name__}, not a {structure.name}", record=number, value=row
            )
    return [(member, [getattr(row, member.name) for row in rows]) for member in structure.members]


def refusal(structure: Structure, member: Member, refused: Refused, first: int) -> EncodeError:
    """The error of a value that cannot be written."""
    path = refused.fault.within(member.name).field
    number = first + refused.place
    return EncodeError(
        f"record {number}: {structure.name}.{path}: {refused.fault.why}",
        record=number,
        field=member.name,
        value=refused.value,
    )
