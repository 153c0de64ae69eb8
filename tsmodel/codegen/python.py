"""Python for the official client: dataclasses, and the subclass of `PayloadType` that it calls."""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable
from typing import Final

from tsmodel.codegen.emitting import Emitter
from tsmodel.codegen.language import Lines, indented
from tsmodel.codegen.runtime import runtime
from tsmodel.types.kinds import BitField, Choice, FieldStep, Items, Kind, Number, Octets, Structure, Text
from tsmodel.types.scalars import Scalar

__all__ = ["PythonEmitter"]

_RUNTIME: Final = runtime("runtime.py.txt")

_CODES: Final = {"Timestamp": "q"}


class PythonEmitter(Emitter):
    """See `Emitter`."""

    language = "Python"
    comment = "#"
    statement_end = ""
    suffix = "py"
    keywords = frozenset(keyword.kwlist) | frozenset(
        "IntEnum IntFlag PayloadType TypeError ValueError OverflowError "
        "AttributeError In Out int float list struct dataclass".split()
    )

    def is_letter(self, character: str) -> bool:
        """See `Language.is_letter`."""
        return True

    def made_of(self, structure: Structure) -> list[Callable[[str], str]]:
        """See `Language.made_of`."""
        return ["{}PayloadType".format] if structure is self.structure else []

    def source(self) -> str:
        """See `Emitter.source`."""
        name = self.type_name(self.structure.name)
        lines = [
            *self.header(),
            "",
            "import struct",
            "from dataclasses import dataclass",
            "from enum import IntEnum, IntFlag",
        ]
        lines += ["", "from tstorage_client.payload_type import PayloadType", "", ""]
        for choice in self.structure.choices():
            lines += [*self._choice(choice), "", ""]
        for structure in self.structures:
            lines += [*self._dataclass(structure), "", ""]
        lines += [*self._payload_type(name), "", ""]
        for structure in self.structures:
            lines += [*self._functions(structure), "", ""]
        return "\n".join([*lines, *_RUNTIME]) + "\n"

    def _payload_type(self, name: str) -> Lines:
        return [
            f"class {name}PayloadType(PayloadType[{name}]):",
            f'    """Makes a {name} of the bytes of a payload, and the bytes of a {name}."""',
            "",
            f"    def to_bytes(self, value: {name}) -> bytes:",
            '        """Raises ValueError when a field cannot hold its value."""',
            "        output = _Out()",
            "        try:",
            f"            _write_{name}(output, value)",
            "        except (AttributeError, OverflowError, TypeError, struct.error) as error:",
            f'            raise ValueError(f"this {self.structure.name} cannot be stored: {{error}}") from error',
            '        return b"".join(output.pieces)',
            "",
            f"    def from_bytes(self, buffer: bytes) -> {name} | None:",
            f'        """None when the bytes are not those of a {name}."""',
            "        try:",
            "            input_ = _In(bytes(buffer))",
            f"            value = _read_{name}(input_)",
            "        except (ValueError, struct.error):",
            "            return None",
            "        return value if not input_.remaining() else None",
        ]

    def _dataclass(self, structure: Structure) -> Lines:
        lines = ["@dataclass", f"class {self.type_name(structure.name)}:"]
        for step in structure.fields:
            name = self.identifier(structure, step.name)
            if isinstance(step, BitField):
                lines += indented(self.described(step, f"{name}: int"))
                continue
            absent = " | None" if step.is_optional else ""
            lines += indented(self.described(step, f"{name}: {self._annotation(step.kind)}{absent}"))
        return lines if structure.fields else [*lines, "    pass"]

    def _annotation(self, kind: Kind) -> str:
        if isinstance(kind, Number):
            return {"float": "float", "bool": "bool"}.get(kind.scalar.kind, "int")
        if isinstance(kind, Choice):
            return self.type_name(kind.kind.__name__) + (" | int" if kind.keep else "")
        if isinstance(kind, Structure):
            return self.type_name(kind.name)
        if isinstance(kind, Items):
            return f"list[{self._annotation(kind.item)}]"
        return "str" if isinstance(kind, Text) else "bytes"

    def _choice(self, kind: Choice) -> Lines:
        base = "IntFlag" if kind.is_set else "IntEnum"
        members = [f"    {name} = {value}" for name, value in self.member_names(kind)]
        return [f"class {self.type_name(kind.kind.__name__)}({base}):", *members]

    def _functions(self, structure: Structure) -> Lines:
        name = self.type_name(structure.name)
        return [
            f"def _read_{name}(input_):",
            f"    value = object.__new__({name})",
            *indented(self.reading(structure, "value")),
            "    return value",
            "",
            "",
            f"def _write_{name}(output, value):",
            *indented(self.writing(structure, "value") or ["pass"]),
        ]

    def block(self, condition: str, then: Lines, otherwise: Lines | None = None) -> Lines:
        """See `Emitter.block`."""
        if not then and otherwise:
            return self.block(f"not ({condition})", otherwise)
        lines = [f"if {condition}:", *indented(then or ["pass"])]
        return [*lines, "else:", *indented(otherwise)] if otherwise else lines

    def either(self, condition: str, one: str, other: str) -> str:
        """See `Emitter.either`."""
        return f"({one} if {condition} else {other})"

    def loop(self, index: str, count: str, body: Lines) -> Lines:
        """See `Emitter.loop`."""
        return [f"for {index} in range({count}):", *indented(body)]

    def _code(self, number: Number) -> str:
        return f'"{"<" if number.byte_order == "little" else ">"}{_CODES.get(number.scalar.name, number.scalar.code)}"'

    def get(self, number: Number) -> str:
        """See `Emitter.get`."""
        return f"input_.number({self._code(number)})"

    def put(self, number: Number, value: str) -> str:
        """See `Emitter.put`."""
        return f"output.number({self._code(number)}, {value})"

    def local(self, number: Number, name: str, value: str) -> str:
        """See `Emitter.local`."""
        return f"{name} = {value}"

    def count_local(self, name: str, value: str, scalar: Scalar | None) -> str:
        """See `Emitter.count_local`."""
        return f"{name} = {value}"

    def divided(self, value: str, by: int) -> str:
        """See `Emitter.divided`."""
        return value if by == 1 else f"{value} // {by}"

    def constant(self, value: int | float, number: Number) -> str:
        """See `Emitter.constant`."""
        return f'float("{value}")' if isinstance(value, float) and not math.isfinite(value) else repr(value)

    def _error(self, message: str) -> str:
        return f'raise ValueError("{message}")'

    def fail(self) -> str:
        """See `Emitter.fail`."""
        return self._error(f"these are not the bytes of a {self.structure.name}")

    def skip(self, size: int, *, zero: bool) -> Lines:
        """See `Emitter.skip`."""
        return [f"input_.{'zeros' if zero else 'take'}({size})"]

    def pad(self, size: int) -> str:
        """See `Emitter.pad`."""
        return f"output.zeros({size})"

    def remaining(self) -> str:
        """See `Emitter.remaining`."""
        return "input_.remaining()"

    def refusal(self, field: str, why: str, *, too_long: bool = False) -> str:
        """See `Emitter.refusal`."""
        return self._error(f"{field} {why}")

    def is_unknown(self, kind: Choice, value: str) -> str:
        """See `Emitter.is_unknown`; the enumeration itself refuses what is no member."""
        return f"{value} & ~{kind.known}" if kind.is_set and not kind.keep else ""

    def checked(self, kind: Kind, value: str, field: str, *, is_set: bool = False) -> Lines:
        """See `Emitter.checked`; here, the truth of anything would be taken for a bool."""
        if isinstance(kind, Number) and kind.scalar.kind == "bool":
            return self.refuse(f"{value} not in (False, True)", field, "is no bool")
        return super().checked(kind, value, field, is_set=is_set)

    def as_stored(self, number: Number, value: str) -> str:
        """See `Emitter.as_stored`."""
        return f"_as_stored({self._code(number)}, {value})"

    def read_choice(self, kind: Choice, stored: str, target: str) -> Lines:
        """See `Emitter.read_choice`."""
        name = self.type_name(kind.kind.__name__)
        if kind.is_set:
            unknown = f"{stored} & ~{kind.known}"
            if kind.keep:
                return [self.assign(target, self.either(unknown, stored, f"{name}({stored})"))]
            return [*self.block(unknown, [self.fail()]), self.assign(target, f"{name}({stored})")]
        if kind.keep:
            values = "{" + ", ".join(map(str, kind.values)) + "}"
            return [self.assign(target, self.either(f"{stored} in {values}", f"{name}({stored})", stored))]
        return [self.assign(target, f"{name}({stored})")]

    def choice_number(self, kind: Choice, value: str) -> str:
        """See `Emitter.choice_number`."""
        return value if kind.keep or kind.is_set else f"{self.type_name(kind.kind.__name__)}({value})"

    def read_octets(self, kind: Text | Octets, count: str, target: str) -> Lines:
        """See `Emitter.read_octets`."""
        if isinstance(kind, Text):
            return [self.assign(target, f"input_.text({count}, {kind.size is not None})")]
        return [self.assign(target, f"input_.take({count})")]

    def write_octets(self, kind: Text | Octets, value: str, field: str) -> Lines:
        """See `Emitter.write_octets`."""
        if kind.size is not None:
            name = "text" if isinstance(kind, Text) else "octets"
            fills = isinstance(kind, Text) or kind.fills
            return [f'output.{name}({value}, {kind.size}, {fills}, "{field}")']
        name = "counted_text" if isinstance(kind, Text) else "counted"
        code = self._code(Number(kind.prefix, kind.byte_order)) if kind.prefix else "None"
        return [f'output.{name}({value}, {code}, "{field}")']

    def make_items(self, kind: Items, count: str, target: str) -> Lines:
        """See `Emitter.make_items`."""
        return [self.assign(target, f"[None] * {count}")]

    def count_items(self, kind: Items, value: str, field: str) -> tuple[Lines, str]:
        """See `Emitter.count_items`."""
        count = f"len({value})"
        if kind.length is None:
            return [], count
        return self.block(f"{count} != {kind.length}", [self._error(f"{field} takes {kind.length} items")]), count

    def is_there(self, structure: Structure, step: FieldStep, value: str) -> str:
        """See `Emitter.is_there`."""
        return f"{value} is not None"

    def said(self, structure: Structure, step: FieldStep, there: bool) -> Lines:
        """See `Emitter.said`."""
        return [] if there else [self.assign(f"value.{self.identifier(structure, step.name)}", "None")]

    def read_structure(self, kind: Structure, target: str) -> Lines:
        """See `Emitter.read_structure`."""
        return [self.assign(target, f"_read_{self.type_name(kind.name)}(input_)")]

    def write_structure(self, kind: Structure, value: str) -> Lines:
        """See `Emitter.write_structure`."""
        return [f"_write_{self.type_name(kind.name)}(output, {value})"]
