"""What C and C++ have in common: numbers, constants, enumerations."""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod

from tsmodel.codec import Scalar
from tsmodel.codec.scalars import SCALARS
from tsmodel.codegen.emitting import Emitter
from tsmodel.codegen.language import Lines
from tsmodel.codegen.plan import Choice, Kind, Number, Structure

__all__ = ["C_KEYWORDS", "CFamilyEmitter"]

C_KEYWORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool true false "
    "asm typeof NULL INFINITY NAN errno linux unix".split()
)


def _fits(value: int, scalar: Scalar) -> bool:
    return scalar.limits is not None and scalar.limits[0] <= value <= scalar.limits[1]


class CFamilyEmitter(Emitter):
    """See `Emitter`."""

    prefix = ""
    """What names of the standard library begin with."""

    def check(self, kind: Kind, field: str) -> None:
        """See `Emitter.check`."""
        if isinstance(kind, Number) and kind.scalar.name == "Float16":
            raise self.refused(field, "it has no 16-bit float; store a Float32, or a Scaled integer")

    def identifier(self, structure: Structure, field: str) -> str:
        """See `Emitter.identifier`."""
        if not field.isascii():
            raise self.refused(field, "its name is not ASCII; rename it")
        return super().identifier(structure, field)

    def number_type(self, scalar: Scalar) -> str:
        """The type of a number."""
        if scalar.kind == "bool":
            return "bool"
        if scalar.kind == "float":
            return "float" if scalar.size == 4 else "double"
        signed = scalar.limits is not None and scalar.limits[0] < 0
        return f"{self.prefix}{'' if signed else 'u'}int{scalar.size * 8}_t"

    def once(self, name: str, lines: Lines) -> Lines:
        """A definition that several headers may bring along: the same one counts once, another one is a clash."""
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8].upper()
        guard = f"TSMODEL_{name.upper()}_{digest}"
        return [f"#ifndef {guard}", f"#define {guard}", *lines, "#endif"]

    @abstractmethod
    def taken(self, number: Number) -> str:
        """Takes the bytes of a number as an unsigned integer; an expression."""

    @abstractmethod
    def given(self, number: Number, value: str) -> str:
        """Gives the bytes of an unsigned integer; a statement."""

    @abstractmethod
    def runtime(self, name: str) -> str:
        """The name of a helper function."""

    def get(self, number: Number) -> str:
        """See `Emitter.get`."""
        scalar = number.scalar
        if scalar.kind == "float":
            bits = self.unsigned_cast(scalar.size * 8, self.taken(number))
            return f"{self.runtime(f'float{scalar.size * 8}_of')}({bits})"
        return self.cast(scalar, self.taken(number))

    def put(self, number: Number, value: str) -> str:
        """See `Emitter.put`."""
        scalar = number.scalar
        if scalar.kind == "float":
            return self.given(number, f"{self.runtime(f'bits_of_float{scalar.size * 8}')}({value})")
        return self.given(number, self.unsigned_cast(64, value))

    @abstractmethod
    def unsigned_cast(self, bits: int, value: str) -> str:
        """An expression as an unsigned integer of so many bits."""

    def local(self, number: Number, name: str, value: str) -> str:
        """See `Emitter.local`."""
        return f"const {self.number_type(number.scalar)} {name} = {value};"

    def constant(self, value: int | float, number: Number) -> str:
        """See `Emitter.constant`."""
        if isinstance(value, float):
            if math.isnan(value):
                return "NAN"
            if math.isinf(value):
                return "INFINITY" if value > 0 else "-INFINITY"
            return repr(value) + ("f" if number.scalar.size == 4 else "")
        if value == -(2**63):
            return "(-9223372036854775807LL - 1)"
        suffix = "ULL" if number.scalar.name == "UInt64" else "LL" if number.scalar.size == 8 else ""
        return f"{value}{suffix}"

    def members(self, kind: Choice) -> list[tuple[str, str]]:
        """Names of members with their values, which look the same whatever the members are stored in."""
        members = []
        for name, value in kind.members:
            fitting = [size for size in ("Int32", "Int64", "UInt64") if _fits(value, SCALARS[size])]
            members.append((name, self.constant(value, Number(SCALARS[fitting[0]], "little"))))
        return members

    def read_choice(self, kind: Choice, stored: str, target: str) -> Lines:
        """See `Emitter.read_choice`."""
        lines: Lines = []
        if not kind.keep:
            number = Number(kind.scalar, kind.byte_order)
            if kind.is_set:
                unknown = f"({stored} & ~({self.unsigned_known(kind)})) != 0"
                lines = self.block(unknown, [self.fail()])
            else:
                cases = " ".join(f"case {self.constant(value, number)}:" for value in kind.values)
                lines = [f"switch ({stored}) {{", f"    {cases} break;", f"    default: {self.fail()}", "}"]
        return [*lines, self.assign(target, self.choice_of(kind, stored))]

    def unsigned_known(self, kind: Choice) -> str:
        """All bits that have a name, as a constant."""
        return self.cast(kind.scalar, self.constant(kind.known, Number(kind.scalar, kind.byte_order)))

    @abstractmethod
    def choice_of(self, kind: Choice, stored: str) -> str:
        """A stored number as the type of the field; an expression."""

    def choice_number(self, kind: Choice, value: str) -> str:
        """See `Emitter.choice_number`."""
        return self.cast(kind.scalar, value)
