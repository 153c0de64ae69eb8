"""The languages: their types, their constants, the names that they keep for themselves, and what they cannot express.

How their files look is in the templates.
"""

from __future__ import annotations

import keyword
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, TypeAlias

import attrs

from tsmodel.types.kinds import Bytes, Choice, Items, Kind, Number, Text
from tsmodel.types.scalars import Scalar

__all__ = ["LANGUAGES", "Language", "Role"]

Role: TypeAlias = Literal["payload", "structure", "enumeration"]
"""What a type is."""


def _plain_letter(character: str) -> bool:
    return character.isascii() or (ord(character) < 0x10000 and unicodedata.category(character)[0] == "L")


@attrs.frozen(eq=False)
class Language:
    """A language.

    Attributes:
        name: its name, as messages say it.
        template: the file of its template.
        suffix: of files.
        keywords: names that the language keeps for itself, and those of everything that the code made here uses.
        types: the types of scalars, by the scalar's name.
        constant: a number as the source says it, given the scalar that it is compared with, or assigned to.
        refuses: why the language cannot express a kind of field; None when it can.
        reserved: other names that it keeps for itself.
        derived: the names in the same scope that the template derives from that of a type.
        comment: what begins a comment that goes up to the end of its line.
        ascii_only: whether names are ASCII.
        takes_letter: whether a character of a Python identifier may be one of the language's, too.
        reads_escapes_in_comments: whether a backslash means something in a comment.
        finished: what is to be done with the whole text.
    """

    name: str
    template: str
    suffix: str
    keywords: frozenset[str]
    types: Mapping[str, str]
    constant: Callable[[int | float, Scalar], str]
    refuses: Callable[[Kind], str | None] = lambda _: None
    reserved: Callable[[str], bool] = lambda _: False
    derived: Callable[[str, Role], Iterable[str]] = lambda _, __: ()
    comment: str = "//"
    ascii_only: bool = False
    takes_letter: Callable[[str], bool] = _plain_letter
    reads_escapes_in_comments: bool = False
    finished: Callable[[str], str] = lambda text: text

    def safe(self, name: str) -> str:
        """A name with an underscore behind it if the language, or a header, has it already."""
        return f"{name}_" if name in self.keywords or self.reserved(name) else name


def _no_half(kind: Kind) -> str | None:
    if isinstance(kind, Number) and kind.scalar.name == "Float16":
        return "it has no 16-bit float; store a Float32, or a Scaled integer"
    return None


# --- C and C++ ---

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
_OURS: Final = re.compile("(tsclient|tsmodel)(_.*)?", re.IGNORECASE)

_INTEGERS: Final = {f"{sign}Int{bits}": f"{sign.lower()}int{bits}_t" for sign in ("", "U") for bits in (8, 16, 32, 64)}
_C_TYPES: Final = {**_INTEGERS, "Timestamp": "int64_t", "Bool": "bool", "Float32": "float", "Float64": "double"}
_CPP_TYPES: Final = {name: f"std::{each}" if each.endswith("_t") else each for name, each in _C_TYPES.items()}
_INFINITIES: Final = {4: "0x7f800000U", 8: "0x7ff0000000000000ULL"}
_NANS: Final = {4: "0x7fc00000U", 8: "0x7ff8000000000000ULL"}

_C_KEYWORDS: Final = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof".split()
)
_CPP_KEYWORDS: Final = _C_KEYWORDS | frozenset(
    "alignas alignof and and_eq bitand bitor bool catch char16_t char32_t class compl concept const_cast constexpr "
    "decltype delete dynamic_cast explicit export false friend mutable namespace new noexcept not not_eq "
    "nullptr operator or or_eq "
    "private protected public reinterpret_cast requires static_assert static_cast template this thread_local throw true "
    "try typeid typename using virtual wchar_t xor xor_eq std tstorage char8_t consteval constinit co_await co_return "
    "co_yield".split()
)


def _is_macro(name: str) -> bool:
    return bool(_OURS.fullmatch(name) or _MACROS.fullmatch(name))


def _c_constant(value: int | float, scalar: Scalar, runtime: str = "tsmodel_") -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            bits = _NANS[scalar.size] if math.isnan(value) else _INFINITIES[scalar.size]
            return f"{'-' if value < 0 else ''}{runtime}float{8 * scalar.size}_of({bits})"
        return repr(value) + ("f" if scalar.size == 4 else "")
    if value == -(2**63):
        return "(-9223372036854775807LL - 1)"
    return f"{value}{'ULL' if scalar.name == 'UInt64' else 'LL' if scalar.size == 8 else ''}"


def _cpp_constant(value: int | float, scalar: Scalar) -> str:
    return _c_constant(value, scalar, "tsmodel_runtime::")


def _refused_by_c(kind: Kind) -> str | None:
    if isinstance(kind, (Text, Bytes)) and kind.size is None:
        return "it has a variable length, and C has no owner for the memory; give it a size="
    if isinstance(kind, Items) and kind.length is None:
        return "it has a variable length, and C has no owner for the memory; give it a length="
    if isinstance(kind, Choice) and kind.is_closed and not all(-(2**31) <= value < 2**31 for value in kind.values):
        return "an enumerator of C must fit int; say unknown='keep' for a plain integer"
    return _no_half(kind)


def _derived_in_c(name: str, role: Role) -> list[str]:
    ends = [] if role == "enumeration" else ["_read", "_write"]
    if role == "payload":
        ends += ["Record", "_refused", "_toBytes", "_fromBytes", "_payloadType"]
    return [f"{name}{end}" for end in ends]


def _derived_in_cpp(name: str, role: Role) -> list[str]:
    alias = ["PayloadTypeValue"] if name == "PayloadType" else []
    return [*alias, f"{name}PayloadType"] if role == "payload" else alias


# --- Java ---

_JAVA_TYPES: Final = {
    "Bool": "boolean",
    "Int8": "byte",
    "Int16": "short",
    "Int32": "int",
    "Int64": "long",
    "UInt8": "int",
    "UInt16": "int",
    "UInt32": "long",
    "UInt64": "long",
    "Timestamp": "long",
    "Float32": "float",
    "Float64": "double",
}
_JAVA_LANG: Final = (
    "Appendable AutoCloseable CharSequence Cloneable Comparable Iterable ProcessHandle Readable Runnable StringTemplate "
    "Boolean Byte Character Class ClassLoader ClassValue Compiler Double Enum Float IO InheritableThreadLocal Integer Long "
    "Math Module ModuleLayer Number Object Package Process ProcessBuilder Record Runtime RuntimePermission ScopedValue "
    "SecurityManager Short StackTraceElement StackWalker StrictMath String StringBuffer StringBuilder System Thread "
    "ThreadGroup ThreadLocal Throwable Void ArithmeticException ArrayIndexOutOfBoundsException ArrayStoreException "
    "ClassCastException ClassNotFoundException CloneNotSupportedException EnumConstantNotPresentException Exception "
    "IllegalAccessException IllegalArgumentException IllegalCallerException IllegalMonitorStateException "
    "IllegalStateException IllegalThreadStateException IndexOutOfBoundsException InstantiationException "
    "InterruptedException LayerInstantiationException MatchException NegativeArraySizeException NoSuchFieldException "
    "NoSuchMethodException NullPointerException NumberFormatException ReflectiveOperationException RuntimeException "
    "SecurityException StringIndexOutOfBoundsException TypeNotPresentException UnsupportedOperationException "
    "WrongThreadException AbstractMethodError AssertionError BootstrapMethodError ClassCircularityError ClassFormatError "
    "Error ExceptionInInitializerError IllegalAccessError IncompatibleClassChangeError InstantiationError InternalError "
    "LinkageError NoClassDefFoundError NoSuchFieldError NoSuchMethodError OutOfMemoryError StackOverflowError ThreadDeath "
    "UnknownError UnsatisfiedLinkError UnsupportedClassVersionError VerifyError VirtualMachineError Deprecated "
    "FunctionalInterface Override SafeVarargs SuppressWarnings".split()
)
"""What every file of Java imports: a class of this name would take its place for all files beside it."""
_JAVA_KEYWORDS: Final = frozenset(
    "abstract assert boolean break byte case catch char class const continue default do double else enum extends false "
    "final finally float for goto if implements import instanceof int interface long native new null package private "
    "protected public return short static strictfp super switch synchronized this throw throws transient true try void "
    "volatile while _ java industries In Out PayloadType".split()
)
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")


def _java_constant(value: int | float, scalar: Scalar) -> str:
    if isinstance(value, float):
        kind = "Float" if scalar.size == 4 else "Double"
        if math.isnan(value):
            return f"{kind}.NaN"
        if math.isinf(value):
            return f"{kind}.{'POSITIVE' if value > 0 else 'NEGATIVE'}_INFINITY"
        return repr(value) + ("f" if kind == "Float" else "")
    if _JAVA_TYPES[scalar.name] == "long":
        return f"{value}L" if value < 2**63 else f"{hex(value)}L"
    return repr(value)


def _in_ascii(text: str) -> str:
    """What is not ASCII as escapes: javac takes the encoding of the machine for that of the file."""

    def escaped(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be")
        return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

    return _NOT_ASCII.sub(escaped, text)


# --- C# ---

_CSHARP_TYPES: Final = {
    "Bool": "bool",
    "Int8": "sbyte",
    "Int16": "short",
    "Int32": "int",
    "Int64": "long",
    "UInt8": "byte",
    "UInt16": "ushort",
    "UInt32": "uint",
    "UInt64": "ulong",
    "Timestamp": "long",
    "Float16": "Half",
    "Float32": "float",
    "Float64": "double",
}
_CSHARP_KEYWORDS: Final = frozenset(
    "abstract as base bool break byte case catch char checked class const continue decimal default delegate do double "
    "else enum event explicit extern false finally fixed float for foreach goto if implicit in int interface "
    "internal is "
    "lock long namespace new null object operator out override params private protected public readonly ref "
    "return sbyte "
    "sealed short sizeof stackalloc static string struct switch this throw true try typeof uint ulong unchecked unsafe "
    "ushort using virtual void volatile while Input Output Utf8 TStorage System Half Array Equals GetHashCode GetType "
    "ToString MemberwiseClone Finalize ReferenceEquals ArgumentException BitConverter DecoderFallbackException "
    "Exception Flags FlagsAttribute FormatException MemoryStream ReadOnlySpan UTF8Encoding value__".split()
)
_CSHARP_SUFFIXES: Final = {"uint": "u", "long": "L", "ulong": "UL"}


def _csharp_constant(value: int | float, scalar: Scalar) -> str:
    kind = _CSHARP_TYPES[scalar.name]
    if isinstance(value, float):
        if math.isnan(value):
            return f"{kind}.NaN"
        if math.isinf(value):
            return f"{kind}.{'Positive' if value > 0 else 'Negative'}Infinity"
        return {"float": f"{value!r}f", "double": repr(value), "Half": f"(Half){value!r}"}[kind]
    return f"{value}{_CSHARP_SUFFIXES.get(kind, '')}"


# --- Python ---

_PYTHON_KEYWORDS: Final = frozenset(keyword.kwlist) | frozenset(
    "IntEnum IntFlag PayloadType TypeError ValueError OverflowError "
    "AttributeError In Out int float list struct dataclass".split()
)


def _python_constant(value: int | float, _: Scalar) -> str:
    return f'float("{value}")' if isinstance(value, float) and not math.isfinite(value) else repr(value)


def _derived_payload_type(name: str, role: Role) -> list[str]:
    return [f"{name}PayloadType"] if role == "payload" else []


LANGUAGES: Final = {
    "c": Language(
        name="C",
        template="c.h.jinja",
        suffix="h",
        keywords=_C_KEYWORDS,
        types=_C_TYPES,
        constant=_c_constant,
        refuses=_refused_by_c,
        reserved=_is_macro,
        derived=_derived_in_c,
        ascii_only=True,
    ),
    "c++": Language(
        name="C++",
        template="cpp.hpp.jinja",
        suffix="hpp",
        keywords=_CPP_KEYWORDS,
        types=_CPP_TYPES,
        constant=_cpp_constant,
        refuses=_no_half,
        reserved=_is_macro,
        derived=_derived_in_cpp,
        ascii_only=True,
    ),
    "java": Language(
        name="Java",
        template="java.java.jinja",
        suffix="java",
        keywords=_JAVA_KEYWORDS | frozenset(_JAVA_LANG),
        types=_JAVA_TYPES,
        constant=_java_constant,
        refuses=_no_half,
        reads_escapes_in_comments=True,
        finished=_in_ascii,
    ),
    "c#": Language(
        name="C#",
        template="csharp.cs.jinja",
        suffix="cs",
        keywords=_CSHARP_KEYWORDS,
        types=_CSHARP_TYPES,
        constant=_csharp_constant,
        derived=_derived_payload_type,
    ),
    "python": Language(
        name="Python",
        template="python.py.jinja",
        suffix="py",
        keywords=_PYTHON_KEYWORDS,
        types={},
        constant=_python_constant,
        derived=_derived_payload_type,
        comment="#",
        takes_letter=lambda _: True,
    ),
}
"""The languages, by the names that `render` takes."""
