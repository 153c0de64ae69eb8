"""What C and C++ have in common: numbers, constants, enumerations."""

from __future__ import annotations

import hashlib
import math
import re
from abc import abstractmethod
from typing import Final

from tsmodel.codegen.emitting import Emitter
from tsmodel.codegen.language import Lines, bare
from tsmodel.types.kinds import Choice, Kind, Number
from tsmodel.types.scalars import SCALARS, Scalar

__all__ = ["C_KEYWORDS", "CFamilyEmitter"]

C_KEYWORDS: Final = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof".split()
)

_MACROS: Final = re.compile(
    r"[A-Z][A-Z0-9_]+|I|(PRI|SCN)\w+|[LP]_(tmp|ctermid|cuserid)\w*|M_[A-Z0-9_]+(f|l|f\d+x?)|(AF|PF)_\w+"
    "|alignas|alignof|and|and_eq|assert|bitand|bitor|bool|compl|complex|errno|false|fpclassify|imaginary"
    "|is(finite|inf|nan|normal|greater|greaterequal|less|lessequal|lessgreater|unordered)|linux|math_errhandling"
    "|noreturn|not|not_eq|offsetof|or|or_eq|setjmp|signbit|static_assert|std(in|out|err)|thread_local|true|unix"
    r"|unreachable|va_(arg|copy|end|start)|xor|xor_eq"
    r"|d_fileno|h_addr|h_errno|s6_\w+|sa_(handler|sigaction)|sched_priority|si_\w+|sigev_notify_\w+|st_[abcm]time\w*"
)
"""Names that headers of C, C++ and POSIX define as macros. Capitals alone make a name of a macro's shape; none ends with an
underscore."""
_RESERVED: Final = re.compile("(tsclient|tsmodel)(_.*)?", re.IGNORECASE)


def _fits(value: int, scalar: Scalar) -> bool:
    return scalar.limits is not None and scalar.limits[0] <= value <= scalar.limits[1]


class CFamilyEmitter(Emitter):
    """See `Emitter`."""

    ascii_only = True
    prefix = ""
    """What names of the standard library begin with."""

    def safe(self, name: str) -> str:
        """See `Language.safe`."""
        if _RESERVED.fullmatch(name) or _MACROS.fullmatch(name):
            return f"{name}_"
        return super().safe(name)

    def guarded(self, name: str, suffix: str, lines: Lines) -> Lines:
        """A header that counts once; another one for a model of this name would be an error, not left out."""
        return self.once("::".join((*self.namespace, name)), lines, suffix)

    def check(self, kind: Kind, field: str) -> None:
        """See `Emitter.check`."""
        if isinstance(kind, Number) and kind.scalar.name == "Float16":
            raise self.refused(field, "it has no 16-bit float; store a Float32, or a Scaled integer")

    def number_type(self, scalar: Scalar) -> str:
        """The type of a number."""
        if scalar.kind == "bool":
            return "bool"
        if scalar.kind == "float":
            return "float" if scalar.size == 4 else "double"
        signed = scalar.limits is not None and scalar.limits[0] < 0
        return f"{self.prefix}{'' if signed else 'u'}int{scalar.size * 8}_t"

    def once(self, name: str, lines: Lines, suffix: str = "") -> Lines:
        """A definition that several headers may bring along: the same one counts once, another one is a clash."""
        digest = hashlib.sha256("\n".join([*self.namespace, *lines]).encode()).hexdigest()[:8].upper()
        guard = f"TSMODEL_{name.replace('::', '_')}_{digest}{suffix}"
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
            if not math.isfinite(value):
                bits = number.scalar.size * 8
                inf, nan = {32: ("0x7f800000U", "0x7fc00000U"), 64: ("0x7ff0000000000000ULL", "0x7ff8000000000000ULL")}[
                    bits
                ]
                pattern = nan if math.isnan(value) else inf
                return f"{'-' if value < 0 else ''}{self.runtime(f'float{bits}_of')}({pattern})"
            return repr(value) + ("f" if number.scalar.size == 4 else "")
        if value == -(2**63):
            return "(-9223372036854775807LL - 1)"
        suffix = "ULL" if number.scalar.name == "UInt64" else "LL" if number.scalar.size == 8 else ""
        return f"{value}{suffix}"

    def shown(self, pairs: list[tuple[str, int]]) -> list[tuple[str, str]]:
        """Members with their values, which look the same whatever the members are stored in."""
        members = []
        for name, value in pairs:
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

    def prefixed(self, kind: Choice) -> list[tuple[str, str]]:
        """Members under names that begin with that of the enumeration, as all of a namespace share them; with values."""
        name = kind.kind.__name__
        pairs = []
        for member, value in kind.members:
            self.checked_name(member, f"{name} has a member, and its name")
            pairs.append((self.types.give(self.safe(bare(f"{name}_{member}"))), value))
        return self.shown(pairs)

    def is_unknown(self, kind: Choice, value: str) -> str:
        """See `Emitter.is_unknown`."""
        if kind.is_set:
            return "" if kind.keep else f"({value} & ~({self.unsigned_known(kind)})) != 0"
        whole = self.whole(kind)
        given = self.cast(whole, value)
        if kind.keep:
            assert kind.scalar.limits is not None
            assert whole.limits is not None
            least, most = (self.constant(limit, Number(whole, "little")) for limit in kind.scalar.limits)
            return "" if kind.scalar.size == whole.size else f"({given} < {least} || {given} > {most})"
        return " && ".join(f"{given} != {self.constant(each, Number(whole, 'little'))}" for each in kind.values)

    def whole(self, kind: Choice) -> Scalar:
        """The number that holds all members of an enumeration, whatever they are stored in."""
        return SCALARS["UInt64" if kind.values[-1] >= 2**63 else "Int64"]

    def choice_number(self, kind: Choice, value: str) -> str:
        """See `Emitter.choice_number`."""
        return self.cast(kind.scalar, value)
