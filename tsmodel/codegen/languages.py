"""The languages: types, constants, reserved words, and what they cannot express; and the names in generated code.

The templates define what files look like.

Rules kept here:

* A name is an identifier of the language, or the model is rejected. So no name can be code.
* Each scope has each name once. A name that is taken gets a trailing underscore, in the order of the model.
"""

from __future__ import annotations

import keyword
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

from tsmodel.errors import SchemaError
from tsmodel.types.kinds import BitField, Bytes, Choice, FieldStep, Items, Kind, Number, Structure, Text
from tsmodel.types.scalars import Scalar

__all__ = ["LANGUAGES", "Enumerator", "Identifiers", "Language", "Role"]


Role: TypeAlias = Literal["payload", "structure", "enumeration"]
"""The role of a type."""


def _plain_letter(character: str) -> bool:
    return character.isascii() or (ord(character) < 0x10000 and unicodedata.category(character)[0] == "L")


@attrs.frozen(eq=False)
class Language:
    """A target language.

    Attributes:
        name: its name, for messages.
        template: file name of its template.
        suffix: suffix of files.
        keywords: reserved words, and the names that generated code uses.
        types: types of scalars, by name of the scalar.
        constant: formats a number, given the scalar that it is compared with or assigned to.
        refuses: why the language cannot express a kind of field; None if it can.
        reserved: whether a name is reserved in another way.
        derived: names that the template derives from the name of a type, in the same scope.
        comment: what starts a line comment.
        ascii_only: whether names must be ASCII.
        takes_letter: whether the language allows a character of a Python identifier in names.
        reads_escapes_in_comments: whether a backslash in a comment has a meaning.
        finished: converts the finished text.
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
        """The name, with a trailing underscore if it is reserved."""
        return f"{name}_" if name in self.keywords or self.reserved(name) else name


_SCALARS: Final = [
    line.split()
    for line in """
        Bool       bool      boolean  bool
        Int8       int8_t    byte     sbyte
        Int16      int16_t   short    short
        Int32      int32_t   int      int
        Int64      int64_t   long     long
        UInt8      uint8_t   int      byte
        UInt16     uint16_t  int      ushort
        UInt32     uint32_t  long     uint
        UInt64     uint64_t  long     ulong
        Timestamp  int64_t   long     long
        Float16    -         -        Half
        Float32    float     float    float
        Float64    double    double   double
    """.strip().splitlines()
]
"""The types of scalars in C, Java and C#; - where there is none."""
_C_TYPES, _JAVA_TYPES, _CSHARP_TYPES = ({row[0]: row[at] for row in _SCALARS if row[at] != "-"} for at in (1, 2, 3))
_CPP_TYPES: Final = {name: f"std::{each}" if each.endswith("_t") else each for name, each in _C_TYPES.items()}


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
"""Names that headers of C, C++ and POSIX define as macros, other than names in capitals. None ends with an underscore."""
_OURS: Final = re.compile("(tsclient|tsmodel)(_.*)?", re.IGNORECASE)

_INFINITIES: Final = {4: "0x7f800000U", 8: "0x7ff0000000000000ULL"}
_NANS: Final = {4: "0x7fc00000U", 8: "0x7ff8000000000000ULL"}

_C_KEYWORDS: Final = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof".split()
)
_CPP_KEYWORDS: Final = _C_KEYWORDS | frozenset(
    "alignas alignof and and_eq bitand bitor bool catch char16_t char32_t class compl concept const_cast constexpr "
    "decltype delete dynamic_cast explicit export false friend mutable namespace new noexcept not not_eq nullptr "
    "operator or or_eq private protected public reinterpret_cast requires static_assert static_cast template this "
    "thread_local throw true try typeid typename using virtual wchar_t xor xor_eq std tstorage char8_t consteval "
    "constinit co_await co_return co_yield".split()
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
        return "it has a variable length, and generated C does not allocate memory; give it a size="
    if isinstance(kind, Items) and kind.length is None:
        return "it has a variable length, and generated C does not allocate memory; give it a length="
    if isinstance(kind, Choice) and kind.is_closed and not all(-(2**31) <= value < 2**31 for value in kind.values):
        return "an enumerator in C must fit into int; unknown='keep' makes it a plain integer"
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
"""Names that every Java file imports. A class with such a name would shadow them in its whole package."""
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
    """Escapes characters outside ASCII, because javac reads files in the encoding of the machine."""

    def escaped(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be")
        return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

    return _NOT_ASCII.sub(escaped, text)


# --- C# ---

_CSHARP_KEYWORDS: Final = frozenset(
    "abstract as base bool break byte case catch char checked class const continue decimal default delegate do double "
    "else enum event explicit extern false finally fixed float for foreach goto if implicit in int interface internal "
    "is lock long namespace new null object operator out override params private protected public readonly ref return "
    "sbyte sealed short sizeof stackalloc static string struct switch this throw true try typeof uint ulong unchecked "
    "unsafe ushort using virtual void volatile while Input Output Utf8 TStorage System Half Array Equals GetHashCode "
    "GetType ToString MemberwiseClone Finalize ReferenceEquals ArgumentException BitConverter DecoderFallbackException "
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
"""The languages, by name for `render`."""


@attrs.frozen
class Enumerator:
    """A member of an enumeration in generated code.

    Attributes:
        name: its name.
        value: its value.
        alias: another name, for C++, where a header may define the first one as a macro; None if there is none.
    """

    name: str
    value: int
    alias: str | None = None


class _Names:
    """The names of one scope."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def give(self, name: str, derived: Callable[[str], Iterable[str]] = lambda _: ()) -> str:
        """Reserves a free name whose derived names are free as well; appends underscores as needed."""
        while not self._taken.isdisjoint((name, *derived(name))):
            name += "_"
        self._taken.update((name, *derived(name)))
        return name


class Identifiers:
    """The names in the code of one model in one language.

    Args:
        language: the language.
        model: the model.
        payload: the structure of its payload.

    Raises:
        SchemaError: if the language cannot express a name.
    """

    def __init__(self, language: Language, model: type[Any], payload: Structure) -> None:
        self._language = language
        self._model = model
        self._payload = payload
        self._fields: dict[str, dict[str, str]] = {}
        self._check_types()
        self._scope = _Names(language.keywords)
        self._types: dict[str, str] = {}
        for structure in (payload, *payload.within()):
            self._give_type(structure.name, "payload" if structure is payload else "structure")
        for choice in payload.choices():
            self._give_type(choice.name, "enumeration")

    def type_name(self, name: str) -> str:
        """The type name of a structure or enumeration."""
        return self._types[name]

    def has_type(self, name: str) -> bool:
        """Whether a structure, or an enumeration other than flags, has this name."""
        structures = [each.name for each in (self._payload, *self._payload.within())]
        choices = [choice.name for choice in self._payload.choices() if not choice.is_set]
        return any(self._types[each] == name for each in (*structures, *choices))

    def field(self, structure: Structure, name: str) -> str:
        """The name of a field."""
        return self._of(structure)[name]

    def flag(self, structure: Structure, name: str) -> str:
        """The name of the member that tells whether an optional field has a value."""
        return self._of(structure)[f"has {name}"]

    def members(self, choice: Choice, taken: Iterable[str] = ()) -> list[Enumerator]:
        """The members of an enumeration with its own scope, in which some names are `taken`."""
        names = _Names(taken)
        pairs = [(self._member(choice, name), value) for name, value in choice.members]
        return [Enumerator(names.give(self._language.safe(name)), value) for name, value in pairs]

    def prefixed_members(self, choice: Choice) -> list[Enumerator]:
        """The members of an enumeration in the scope of types; they are prefixed with its name."""
        for name, _ in choice.members:
            self._member(choice, name)
        pairs = [(self._language.safe(_bare(f"{choice.name}_{name}")), value) for name, value in choice.members]
        return [Enumerator(self._scope.give(name), value) for name, value in pairs]

    def members_beside_macros(self, choice: Choice) -> list[Enumerator]:
        """As `members`, for C++: a name in capitals gets an alias in case a header defines it as a macro."""
        names, members = _Names(), []
        for name, value in [(names.give(self._member(choice, name)), value) for name, value in choice.members]:
            if name.upper() == name:
                members.append(Enumerator(name, value, names.give(f"{name}_")))
            else:
                safe = self._language.safe(name)
                members.append(Enumerator(name if safe == name else names.give(safe), value))
        return members

    def _member(self, choice: Choice, name: str) -> str:
        return self._checked(name, f"{choice.name} has a member, and its name")

    def _give_type(self, name: str, role: Role) -> None:
        wanted = self._checked(name, "the name")
        # Types begin with a capital: other names may be those of types or functions in a header.
        wanted = self._language.safe(wanted) if wanted[0].isupper() or not wanted.isascii() else f"{wanted}_"
        self._types[name] = self._scope.give(wanted, lambda name: self._language.derived(name, role))

    def _of(self, structure: Structure) -> dict[str, str]:
        found = self._fields.get(structure.name)
        if found is None:
            found = self._fields[structure.name] = {}
            # In some languages, a field must not have the name of a type.
            names, safe = _Names(self._types.values()), self._language.safe
            for step in structure.fields:
                found[step.name] = names.give(safe(self._checked(step.name, "the name", self._path(structure, step))))
            for step in structure.fields:
                found[f"has {step.name}"] = names.give(safe(f"has_{_bare(step.name)}"))
        return found

    def _path(self, structure: Structure, step: FieldStep | BitField) -> str:
        return step.name if structure is self._payload else f"{structure.name}.{step.name}"

    def _checked(self, name: str, what: str, field: str | None = None) -> str:
        """Checks that a name is an identifier, and moves leading underscores to its end."""
        language = self._language
        if not isinstance(name, str) or not name.isidentifier():
            raise self._refused(field, f"{what} {name!r} is not an identifier; rename it")
        if language.ascii_only and not name.isascii():
            raise self._refused(field, f"{what} {name!r} is not ASCII; rename it")
        if unicodedata.normalize("NFKC", name) != name or not all(map(language.takes_letter, name)):
            raise self._refused(field, f"{what} {name!r} has characters that some compilers reject; rename it")
        return _bare(name)

    def _check_types(self) -> None:
        types: dict[str, object] = {}
        for structure in (*self._payload.within(), self._payload):
            if types.setdefault(structure.name, structure) != structure:
                raise self._refused(None, f"two types are named {structure.name}; rename one")
        for choice in self._payload.choices():
            if types.setdefault(choice.name, choice.kind) is not choice.kind:
                raise self._refused(None, f"two types are named {choice.name}; rename one")
        for structure in (*self._payload.within(), self._payload):
            for step in structure.steps:
                if isinstance(step, FieldStep):
                    self._check_kind(step.kind, self._path(structure, step))

    def _check_kind(self, kind: Kind, field: str) -> None:
        if why := self._language.refuses(kind):
            raise self._refused(field, why)
        if isinstance(kind, Items):
            self._check_kind(kind.item, field)

    def _refused(self, field: str | None, why: str) -> SchemaError:
        model = self._model.__name__
        what = f"{model}.{field}" if field else model
        return SchemaError(f"{what} cannot be expressed in {self._language.name}: {why}", model=model, field=field)


def _bare(name: str) -> str:
    """Moves leading underscores to the end of a name, because languages give them a meaning."""
    stripped = name.lstrip("_")
    moved = stripped + "_" * (len(name) - len(stripped))
    return moved if stripped and not stripped[0].isdigit() else f"x{moved}"
