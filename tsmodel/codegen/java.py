"""Java 17: a class with the fields, and within it the payload type that the official Java client calls."""

from __future__ import annotations

import math
import re
from typing import Final

from tsmodel.codegen.language import Lines, Names, indented
from tsmodel.codegen.managed import ManagedEmitter
from tsmodel.codegen.runtime import runtime
from tsmodel.types.kinds import Choice, FieldStep, Kind, Number, Structure
from tsmodel.types.scalars import Scalar

__all__ = ["JavaEmitter"]

_TYPES: Final = {
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
_WIDENED: Final = ("UInt8", "UInt16", "UInt32")
_BOXED: Final = {"int": "Integer"}

_LANG: Final = (
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

_RUNTIME: Final = runtime("runtime.java.txt")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")


def _escaped(found: re.Match[str]) -> str:
    octets = found[0].encode("utf-16-be")
    return "".join(f"\\u{octets[at : at + 2].hex()}" for at in range(0, len(octets), 2))


class JavaEmitter(ManagedEmitter):
    """See `Emitter`."""

    language = "Java"
    length = "length"
    suffix = "java"
    keywords = frozenset(
        "abstract assert boolean break byte case catch char class const continue default do double else enum extends false "
        "final finally float for goto if implements import instanceof int interface long native new null package private "
        "protected public return short static strictfp super switch synchronized this throw throws transient true try void "
        "volatile while _ java industries In Out PayloadType".split()
    ) | frozenset(_LANG)

    def check(self, kind: Kind, field: str) -> None:
        """See `Emitter.check`."""
        if isinstance(kind, Number) and kind.scalar.name == "Float16":
            raise self.refused(field, "it has no 16-bit float; store a Float32, or a Scaled integer")

    def source(self) -> str:
        """See `Emitter.source`."""
        name = self.type_name(self.structure.name)
        inside: Lines = []
        for choice in self.structure.choices():
            inside += [*self._choice(choice), ""]
        for structure in self.structures[:-1]:
            inside += [f"public static final class {self.type_name(structure.name)} {{"]
            inside += [*indented(self.fields(structure)), "}", ""]
        inside += [*self.fields(self.structure), "", *self._payload_type(name), ""]
        lines = [*self.header(), "", f"public final class {name} {{", *indented(inside), *_RUNTIME, "}"]
        # javac takes the encoding of the machine for that of the file.
        return _NOT_ASCII.sub(_escaped, "\n".join(lines) + "\n")

    def commented(self, line: str) -> str:
        """See `Language.commented`; Java looks for \\uXXXX in comments, too, though not behind another backslash."""
        return super().commented(line.replace("\\", "\\\\"))

    def _payload_type(self, name: str) -> Lines:
        inside: Lines = []
        for structure in self.structures:
            inside += ["", *self._functions(structure)]
        return [
            f"/** Makes a {name} of the bytes of a payload, and the bytes of a {name}. */",
            f"public static final class PayloadType implements industries.atende.ts.driver.PayloadType<{name}> {{",
            "    /** Throws IllegalArgumentException when a field cannot hold its value. */",
            "    @Override",
            f"    public byte[] toBytes({name} value) {{",
            "        if (value == null) {",
            f"            {self.refusal('value', 'is null')}",
            "        }",
            "        Out out = new Out();",
            f"        write{name}(out, value);",
            "        return out.octets.toByteArray();",
            "    }",
            "",
            f"    /** Empty when the bytes are not those of a {name}. */",
            "    @Override",
            f"    public java.util.Optional<{name}> fromBytes(byte[] buffer) {{",
            "        try {",
            "            In in = new In(buffer);",
            f"            {name} value = read{name}(in);",
            "            in.end();",
            "            return java.util.Optional.of(value);",
            "        } catch (IllegalArgumentException error) {",
            "            return java.util.Optional.empty();",
            "        }",
            "    }",
            *indented(inside),
            "}",
        ]

    def _functions(self, structure: Structure) -> Lines:
        name = self.type_name(structure.name)
        return [
            f"private static {name} read{name}(In in) {{",
            f"    {name} value = new {name}();",
            *indented(self.reading(structure, "value")),
            "    return value;",
            "}",
            "",
            f"private static void write{name}(Out out, {name} value) {{",
            *indented(self.writing(structure, "value")),
            "}",
        ]

    def _choice(self, kind: Choice) -> Lines:
        name, number = self.type_name(kind.kind.__name__), Number(kind.scalar, kind.byte_order)
        pairs = self.member_names(kind, Names(["number"]))
        members = [(member, self.constant(value, number), value) for member, value in pairs]
        if self.is_number(kind):  # wherever it is a field
            constants = [
                f"    public static final {self.number_type(kind.scalar)} {each} = {shown};" for each, shown, _ in members
            ]
            return [f"public static final class {name} {{", *constants, "", f"    private {name}() {{", "    }", "}"]
        own: dict[int, str] = {}
        aliases = []
        for each, _, value in members:
            if value in own:
                aliases.append(f"    public static final {name} {each} = {own[value]};")
            own.setdefault(value, each)
        shown_members = ", ".join(f"{each}({self.constant(value, _LONG)})" for value, each in own.items())
        return [
            f"public enum {name} {{",
            f"    {shown_members};",
            "",
            *([*aliases, ""] if aliases else []),
            "    public final long number;",
            "",
            f"    {name}(long number) {{",
            "        this.number = number;",
            "    }",
            "",
            f"    static {name} of(long number) {{",
            f"        for ({name} each : values()) {{",
            "            if (each.number == number) {",
            "                return each;",
            "            }",
            "        }",
            f'        throw new IllegalArgumentException(number + " is no {name}");',
            "    }",
            "}",
        ]

    def is_number(self, kind: Choice) -> bool:
        """See `ManagedEmitter.is_number`."""
        return kind.keep or kind.is_set

    def number_type(self, scalar: Scalar) -> str:
        """See `ManagedEmitter.number_type`."""
        return _TYPES[scalar.name]

    def octet_type(self) -> str:
        """See `ManagedEmitter.octet_type`."""
        return "byte"

    def text_type(self) -> str:
        """See `ManagedEmitter.text_type`."""
        return "String"

    def declared(self, step: FieldStep) -> str:
        """See `ManagedEmitter.declared`."""
        kind = self.kind_type(step.kind)
        is_primitive = kind in _TYPES.values()
        return _BOXED.get(kind, kind.capitalize()) if step.is_optional and is_primitive else kind

    def error(self, message: str) -> str:
        """See `ManagedEmitter.error`."""
        return f"throw new IllegalArgumentException({message});"

    def method(self, name: str) -> str:
        """See `ManagedEmitter.method`."""
        return f"out.{name}"

    def taking(self, name: str) -> str:
        """See `ManagedEmitter.taking`."""
        return f"in.{name}"

    def remaining(self) -> str:
        """See `Emitter.remaining`."""
        return "in.remaining()"

    def get(self, number: Number) -> str:
        """See `Emitter.get`."""
        big = "true" if number.byte_order == "big" else "false"
        taken = f"in.take({number.scalar.size}, {big})"
        kind = self.number_type(number.scalar)
        if kind == "float":
            return f"Float.intBitsToFloat((int) {taken})"
        if kind == "double":
            return f"Double.longBitsToDouble({taken})"
        return taken if kind == "long" else f"({kind}) {taken}"

    def put(self, number: Number, value: str) -> str:
        """See `Emitter.put`."""
        scalar = number.scalar
        rest = f"{scalar.size}, {'true' if number.byte_order == 'big' else 'false'});"
        if scalar.kind == "float":
            bits = "Float.floatToRawIntBits" if scalar.size == 4 else "Double.doubleToRawLongBits"
            return f"out.give({bits}({value}), {rest}"
        return f"out.{'giveUnsigned' if scalar.name in _WIDENED else 'give'}({value}, {rest}"

    def cast(self, scalar: Scalar, value: str) -> str:
        """See `Emitter.cast`."""
        kind = self.number_type(scalar)
        return f"({kind}) {value}" if kind in ("byte", "short") else value

    def constant(self, value: int | float, number: Number) -> str:
        """See `Emitter.constant`."""
        if isinstance(value, float):
            kind = "Float" if number.scalar.size == 4 else "Double"
            if math.isnan(value):
                return f"{kind}.NaN"
            if math.isinf(value):
                return f"{kind}.{'POSITIVE' if value > 0 else 'NEGATIVE'}_INFINITY"
            return repr(value) + ("f" if kind == "Float" else "")
        if self.number_type(number.scalar) == "long":
            return f"{value}L" if value < 2**63 else f"{hex(value)}L"
        return repr(value)

    def read_choice(self, kind: Choice, stored: str, target: str) -> Lines:
        """See `Emitter.read_choice`."""
        if not self.is_number(kind):
            return [self.assign(target, f"{self.type_name(kind.kind.__name__)}.of({stored})")]
        lines: Lines = []
        if not kind.keep:
            known = self.constant(kind.known, Number(kind.scalar, kind.byte_order))
            lines = self.block(f"({stored} & ~{known}) != 0", [self.fail()])
        return [*lines, self.assign(target, stored)]

    def choice_number(self, kind: Choice, value: str) -> str:
        """See `Emitter.choice_number`."""
        if self.is_number(kind):
            return value
        stored = self.number_type(kind.scalar)
        return f"{value}.number" if stored == "long" else f"({stored}) {value}.number"

    def is_unknown(self, kind: Choice, value: str) -> str:
        """See `Emitter.is_unknown`; of an enum there are no other values."""
        if kind.keep or not kind.is_set:
            return ""
        number = Number(kind.scalar, kind.byte_order)
        if kind.scalar.name in _WIDENED:  # writing it refuses what is above
            return f"({value} & {self.constant(2 ** (8 * kind.scalar.size) - 1 & ~kind.known, number)}) != 0"
        return f"({value} & ~{self.constant(kind.known, number)}) != 0"

    def read_structure(self, kind: Structure, target: str) -> Lines:
        """See `Emitter.read_structure`."""
        return [self.assign(target, f"read{self.type_name(kind.name)}(in)")]

    def write_structure(self, kind: Structure, value: str) -> Lines:
        """See `Emitter.write_structure`."""
        return [f"write{self.type_name(kind.name)}(out, {value});"]


_LONG: Final = Number(Scalar("Int64", "q", "i8", "int"), "little")
