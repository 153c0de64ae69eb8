"""C# (.NET 8): a class with the fields, and the payload type that the official C# client calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from tsmodel.codegen.language import Lines, indented
from tsmodel.codegen.managed import ManagedEmitter
from tsmodel.codegen.runtime import runtime
from tsmodel.types.kinds import Choice, FieldStep, Number, Structure
from tsmodel.types.scalars import Scalar

__all__ = ["CSharpEmitter"]

_TYPES: Final = {
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
_BITS: Final = {"Half": ("Half", "UInt16"), "float": ("Single", "UInt32"), "double": ("Double", "UInt64")}
_UNSIGNED: Final = {"Half": "ushort", "float": "uint", "double": "ulong"}

_RUNTIME: Final = runtime("runtime.cs.txt")


class CSharpEmitter(ManagedEmitter):
    """See `Emitter`."""

    language = "C#"
    length = "Length"
    suffix = "cs"
    keywords = frozenset(
        "abstract as base bool break byte case catch char checked class const continue decimal default delegate do double "
        "else enum event explicit extern false finally fixed float for foreach goto if implicit in int interface "
        "internal is "
        "lock long namespace new null object operator out override params private protected public readonly ref "
        "return sbyte "
        "sealed short sizeof stackalloc static string struct switch this throw true try typeof uint ulong unchecked unsafe "
        "ushort using virtual void volatile while Input Output Utf8 TStorage System Half Array Equals GetHashCode GetType "
        "ToString MemberwiseClone Finalize ReferenceEquals ArgumentException BitConverter DecoderFallbackException "
        "Exception Flags FlagsAttribute FormatException MemoryStream ReadOnlySpan UTF8Encoding".split()
    )

    def made_of(self, structure: Structure) -> list[Callable[[str], str]]:
        """See `Language.made_of`."""
        return ["{}PayloadType".format] if structure is self.structure else []

    def source(self) -> str:
        """See `Emitter.source`."""
        name = self.type_name(self.structure.name)
        inside: Lines = []
        for choice in self.structure.choices():
            inside += [*self._choice(choice), ""]
        for structure in self.structures[:-1]:
            inside += [f"public sealed class {self.type_name(structure.name)}", "{"]
            inside += [*indented(self.fields(structure)), "}", ""]
        inside += self.fields(self.structure)
        lines = [*self.header(), "", "#nullable enable", "", "using System;", "using System.IO;", "using System.Text;", ""]
        lines += [f"public sealed class {name}", "{", *indented(inside), "}", "", *self._payload_type(name)]
        return "\n".join(lines) + "\n"

    def _payload_type(self, name: str) -> Lines:
        inside: Lines = []
        for structure in self.structures:
            inside += ["", *self._functions(structure)]
        return [
            f"/// <summary>Makes a {name} of the bytes of a payload, and the bytes of a {name}.</summary>",
            f"public sealed class {name}PayloadType : TStorage.Interfaces.IPayloadType<{name}>",
            "{",
            "    /// <summary>Throws ArgumentException when a field cannot hold its value.</summary>",
            f"    public byte[] ToBytes({name} value)",
            "    {",
            "        if (value is null)",
            "        {",
            f"            {self.refusal('value', 'is null')}",
            "        }",
            "        Output output = new();",
            f"        Write{name}(output, value);",
            "        return output.ToArray();",
            "    }",
            "",
            f"    /// <summary>Null when the bytes are not those of a {name}.</summary>",
            f"    public {name}? FromBytes(byte[] bytes)",
            "    {",
            "        try",
            "        {",
            "            Input input = new(bytes);",
            f"            {name} value = Read{name}(input);",
            "            input.End();",
            "            return value;",
            "        }",
            "        catch (Exception error) when (error is FormatException or DecoderFallbackException)",
            "        {",
            "            return null;",
            "        }",
            "    }",
            *indented(inside),
            "",
            *_RUNTIME,
            "}",
        ]

    def _functions(self, structure: Structure) -> Lines:
        name = self._full(structure.name)
        short = self.type_name(structure.name)
        return [
            f"private static {name} Read{short}(Input input)",
            "{",
            f"    {name} value = new();",
            *indented(self.reading(structure, "value")),
            "    return value;",
            "}",
            "",
            f"private static void Write{short}(Output output, {name} value)",
            "{",
            *indented(self.writing(structure, "value")),
            "}",
        ]

    def _full(self, name: str) -> str:
        """A type's name as the payload type says it."""
        outer = self.type_name(self.structure.name)
        return outer if name == self.structure.name else f"{outer}.{self.type_name(name)}"

    def _choice(self, kind: Choice) -> Lines:
        number = Number(kind.scalar, kind.byte_order)
        members = [f"    {member} = {self.constant(value, number)}," for member, value in self.member_names(kind)]
        flags = ["[Flags]"] if kind.is_set else []
        return [
            *flags,
            f"public enum {self.type_name(kind.kind.__name__)} : {self.number_type(kind.scalar)}",
            "{",
            *members,
            "}",
        ]

    def block(self, condition: str, then: Lines, otherwise: Lines | None = None) -> Lines:
        """See `Emitter.block`."""
        if not then and otherwise:
            return self.block(f"!({condition})", otherwise)
        lines = [f"if ({condition})", "{", *indented(then), "}"]
        return [*lines, "else", "{", *indented(otherwise), "}"] if otherwise else lines

    def loop(self, index: str, count: str, body: Lines) -> Lines:
        """See `Emitter.loop`."""
        return [f"for (int {index} = 0; {index} < {count}; {index}++)", "{", *indented(body), "}"]

    def is_number(self, kind: Choice) -> bool:
        """See `ManagedEmitter.is_number`."""
        return False

    def is_reference(self, kind: Choice) -> bool:
        """See `ManagedEmitter.is_reference`."""
        return False

    def number_type(self, scalar: Scalar) -> str:
        """See `ManagedEmitter.number_type`."""
        return _TYPES[scalar.name]

    def octet_type(self) -> str:
        """See `ManagedEmitter.octet_type`."""
        return "byte"

    def text_type(self) -> str:
        """See `ManagedEmitter.text_type`."""
        return "string"

    def declared(self, step: FieldStep) -> str:
        """See `ManagedEmitter.declared`."""
        return self.kind_type(step.kind) + ("?" if step.is_optional else "")

    def present(self, step: FieldStep, value: str) -> str:
        """See `Emitter.present`."""
        is_value = isinstance(step.kind, (Number, Choice))
        return f"{value}.Value" if is_value else value

    def new_array(self, kind: object, count: str) -> str:
        """See `ManagedEmitter.new_array`."""
        made = super().new_array(kind, count)  # type: ignore[arg-type]
        for structure in self.structures[:-1]:
            name = self.type_name(structure.name)
            made = made.replace(f"new {name}[", f"new {self._full(structure.name)}[")
        for choice in self.structure.choices():
            name = self.type_name(choice.kind.__name__)
            made = made.replace(f"new {name}[", f"new {self._full(choice.kind.__name__)}[")
        return made

    def error(self, message: str) -> str:
        """See `ManagedEmitter.error`."""
        return f"throw new ArgumentException({message});"

    def fail(self) -> str:
        """See `Emitter.fail`."""
        return f'throw new FormatException("these are not the bytes of a {self.structure.name}");'

    def method(self, name: str) -> str:
        """See `ManagedEmitter.method`."""
        return f"output.{name[0].upper()}{name[1:]}"

    def taking(self, name: str) -> str:
        """See `ManagedEmitter.taking`."""
        return f"input.{name[0].upper()}{name[1:]}"

    def remaining(self) -> str:
        """See `Emitter.remaining`."""
        return "input.Remaining"

    def get(self, number: Number) -> str:
        """See `Emitter.get`."""
        big = "true" if number.byte_order == "big" else "false"
        taken, kind = f"input.Take({number.scalar.size}, {big})", self.number_type(number.scalar)
        if kind in _BITS:
            value, bits = _BITS[kind]
            return f"BitConverter.{bits}BitsTo{value}(({_UNSIGNED[kind]}){taken})"
        return taken if kind == "ulong" else f"({kind}){taken}"

    def put(self, number: Number, value: str) -> str:
        """See `Emitter.put`."""
        kind = self.number_type(number.scalar)
        rest = f"{number.scalar.size}, {'true' if number.byte_order == 'big' else 'false'});"
        if kind in _BITS:
            of, bits = _BITS[kind]
            return f"output.Give(BitConverter.{of}To{bits}Bits({value}), {rest}"
        return (
            f"output.Give({'' if kind == 'ulong' else 'unchecked((ulong)'}{value}{'' if kind == 'ulong' else ')'}, {rest}"
        )

    def cast(self, scalar: Scalar, value: str) -> str:
        """See `Emitter.cast`."""
        return f"({self.number_type(scalar)}){value}"

    def constant(self, value: int | float, number: Number) -> str:
        """See `Emitter.constant`."""
        kind = self.number_type(number.scalar)
        if isinstance(value, float):
            if math.isnan(value):
                return f"{kind}.NaN"
            if math.isinf(value):
                return f"{kind}.{'Positive' if value > 0 else 'Negative'}Infinity"
            return {"float": f"{value!r}f", "double": repr(value), "Half": f"(Half){value!r}"}[kind]
        return f"{value}{ {'uint': 'u', 'long': 'L', 'ulong': 'UL'}.get(kind, '') }"

    def read_choice(self, kind: Choice, stored: str, target: str) -> Lines:
        """See `Emitter.read_choice`."""
        number = Number(kind.scalar, kind.byte_order)
        lines: Lines = []
        if not kind.keep and kind.is_set:
            lines = self.block(f"({stored} & ~{self.constant(kind.known, number)}) != 0", [self.fail()])
        elif not kind.keep:
            values = " or ".join(self.constant(value, number) for value in kind.values)
            lines = self.block(f"{stored} is not ({values})", [self.fail()])
        return [*lines, self.assign(target, f"({self._full(kind.kind.__name__)}){stored}")]

    def is_unknown(self, kind: Choice, value: str) -> str:
        """See `Emitter.is_unknown`."""
        whole = next(each for each in self.structure.choices() if each.kind is kind.kind)
        number = Number(whole.scalar, kind.byte_order)
        given = f"({self.number_type(whole.scalar)}){value}"
        if kind.keep:
            assert kind.scalar.limits is not None
            least, most = (self.constant(limit, number) for limit in kind.scalar.limits)
            return "" if whole.scalar.size == kind.scalar.size else f"{given} is < {least} or > {most}"
        if kind.is_set:
            return f"({given} & ~{self.constant(kind.known, number)}) != 0"
        return f"{given} is not ({' or '.join(self.constant(value, number) for value in kind.values)})"

    def choice_number(self, kind: Choice, value: str) -> str:
        """See `Emitter.choice_number`."""
        return self.cast(kind.scalar, value)

    def read_structure(self, kind: Structure, target: str) -> Lines:
        """See `Emitter.read_structure`."""
        return [self.assign(target, f"Read{self.type_name(kind.name)}(input)")]

    def write_structure(self, kind: Structure, value: str) -> Lines:
        """See `Emitter.write_structure`."""
        return [f"Write{self.type_name(kind.name)}(output, {value});"]
