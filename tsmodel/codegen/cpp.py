"""C++14: a header with the payload struct, and the subclass of `tstorage::PayloadType` that the official client calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from tsmodel.codegen.c_family import C_KEYWORDS, CFamilyEmitter
from tsmodel.codegen.language import Lines, Names, indented
from tsmodel.codegen.runtime import runtime
from tsmodel.errors import SchemaError
from tsmodel.types.kinds import BitField, Choice, FieldStep, Items, Kind, Number, Octets, Structure, Text
from tsmodel.types.scalars import Scalar

__all__ = ["CppEmitter"]

_KEYWORDS: Final = C_KEYWORDS | frozenset(
    "alignas alignof and and_eq bitand bitor bool catch char16_t char32_t class compl concept const_cast constexpr "
    "decltype delete dynamic_cast explicit export false friend mutable namespace new noexcept not not_eq "
    "nullptr operator or or_eq "
    "private protected public reinterpret_cast requires static_assert static_cast template this thread_local throw true "
    "try typeid typename using virtual wchar_t xor xor_eq std tstorage char8_t consteval constinit co_await co_return "
    "co_yield".split()
)

_RUNTIME: Final = runtime("runtime.hpp")
_NAME: Final = re.compile("[A-Za-z][A-Za-z0-9_]*")
_BASE: Final = "PayloadType"


class CppEmitter(CFamilyEmitter):
    """See `Emitter`."""

    language = "C++"
    keywords = _KEYWORDS
    prefix = "std::"
    suffix = "hpp"

    def source(self) -> str:
        """See `Emitter.source`."""
        name = self.type_name(self.structure.name)
        for each in self.namespace:
            if not _NAME.fullmatch(each) or self.safe(each) != each or each in ("std", "tstorage", "tsmodel_runtime"):
                raise SchemaError(f"{each!r} cannot be a namespace of generated C++; give names such as acme::meters")
        included = ("array", "cstddef", "cstdint", "cstring", "stdexcept", "string", "vector")
        lines = ["", *(f"#include <{each}>" for each in included), "", "#include <tstorageclient++/PayloadType.h>", ""]
        lines += [*self.once("RUNTIME_CPP", _RUNTIME), ""]
        if self.namespace:
            lines += [" ".join(f"namespace {each} {{" for each in self.namespace), ""]
        for choice in self.structure.choices():
            lines += [*self.once(choice.kind.__name__, self._choice(choice)), ""]
        for structure in self.structures:
            lines += [*self.once(structure.name, self._struct(structure)), ""]
        lines += [*self._class(name), ""]
        if self.namespace:
            lines += [f"{'}' * len(self.namespace)}  // namespace {'::'.join(self.namespace)}", ""]
        return "\n".join([*self.header(), *self.guarded(name, "_HPP", lines)]) + "\n"

    def made_of(self, structure: Structure) -> list[Callable[[str], str]]:
        """See `Language.made_of`."""
        ends = ["PayloadType"] if structure is self.structure else []
        return [f"{{}}{end}".format for end in [*ends, *(["Value"] if structure.name == _BASE else [])]]

    def _inside(self, name: str) -> str:
        """A type as its payload type says it, which has the name of its own base class for that."""
        return f"{name}Value" if name == _BASE else name

    def _class(self, name: str) -> Lines:
        inside: Lines = []
        for structure in self.structures:
            inside += ["", *self._functions(structure)]
        value = self._inside(name)
        alias = (
            [f"using {_BASE}Value = {_BASE};", ""]
            if _BASE in map(self.type_name, (each.name for each in self.structures))
            else []
        )
        return [
            *alias,
            f"// Makes a {name} of the bytes of a payload, and the bytes of a {name}.",
            f"class {name}PayloadType : public tstorage::PayloadType<{name}> {{",
            "public:",
            "    // How many bytes a value takes; they are written when they fit. Throws std::length_error for a text, a",
            "    // sequence or a bit-field that is too large, and std::invalid_argument for others that no reader takes.",
            f"    std::size_t toBytes(const {value}& val, void* buffer, std::size_t size) override {{",
            "        tsmodel_runtime::Out out{static_cast<std::uint8_t*>(buffer), size, 0};",
            "        write(out, val);",
            "        return out.needed;",
            "    }",
            "",
            f"    // False when the bytes are not those of a {name}.",
            f"    bool fromBytes({value}& out, const void* buffer, std::size_t size) override {{",
            "        static const std::uint8_t nothing = 0;",
            "        const std::uint8_t* at = buffer != nullptr ? static_cast<const std::uint8_t*>(buffer) : &nothing;",
            "        tsmodel_runtime::In in{at, at + size, true};",
            f"        out = {value}{{}};",
            "        return read(in, out) && in.ok && in.at == in.end;",
            "    }",
            "",
            "private:",
            *indented(inside[1:]),
            "};",
        ]

    def _struct(self, structure: Structure) -> Lines:
        lines = [f"struct {self.type_name(structure.name)} {{"]
        for step in structure.fields:
            name = self.identifier(structure, step.name)
            if isinstance(step, BitField):
                unit = next(unit.scalar for unit in structure.units if step in unit.fields)
                lines += indented(self.described(step, f"{self.number_type(unit)} {name}{{}};"))
                continue
            if step.is_optional:
                lines.append(f"    bool {self.flag(structure, step.name)}{{}};")
            lines += indented(self.described(step, f"{self.kind_type(step.kind)} {name}{{}};"))
        return [*lines, "};"]

    def kind_type(self, kind: Kind) -> str:
        """The type of a field."""
        if isinstance(kind, Number):
            return self.number_type(kind.scalar)
        if isinstance(kind, Choice):
            return self.number_type(kind.scalar) if kind.is_set else self.type_name(kind.kind.__name__)
        if isinstance(kind, Structure):
            return self.type_name(kind.name)
        if isinstance(kind, Text):
            return "std::string"
        if isinstance(kind, Octets):
            return "std::vector<std::uint8_t>" if kind.size is None else f"std::array<std::uint8_t, {kind.size}>"
        item = self.kind_type(kind.item)
        # std::vector<bool> has no references to its items.
        item = "std::uint8_t" if item == "bool" else item
        return f"std::vector<{item}>" if kind.length is None else f"std::array<{item}, {kind.length}>"

    def _choice(self, kind: Choice) -> Lines:
        name = self.type_name(kind.kind.__name__)
        if kind.is_set:
            lines = [f"    {member} = {value}," for member, value in self.prefixed(kind)]
            return [f"enum {name} {{", *lines, "};"]
        # As wide whatever it is stored in: headers of several models may define it.
        lines, what = [], f"{kind.kind.__name__} has a member, and its name"
        names = Names()
        pairs = [(names.give(self.checked_name(member, what)), value) for member, value in kind.members]
        for plain, value in pairs:
            ((_, number),) = self.shown([(plain, value)])
            if plain.upper() == plain:
                lines += [
                    f"#ifndef {plain}",
                    f"    {plain} = {number},",
                    "#endif",
                    f"    {names.give(plain + '_')} = {number},",
                ]
            else:
                lines.append(f"    {plain if self.safe(plain) == plain else names.give(self.safe(plain))} = {number},")
        if "#endif" in lines:
            lines.insert(
                0,
                "    // A header may make a macro of a name in capitals: that with an underscore is always there.",
            )
        return [f"enum class {name} : {self.number_type(self.whole(kind))} {{", *lines, "};"]

    def _functions(self, structure: Structure) -> Lines:
        name = self._inside(self.type_name(structure.name))
        reading, writing = self.reading(structure, "value"), self.writing(structure, "value")
        unused = [] if structure.fields else ["    (void)value;"]
        return [
            f"static bool read(tsmodel_runtime::In& in, {name}& value) {{",
            *indented(reading or ["(void)in;"]),
            *unused,
            "    return true;",
            "}",
            "",
            f"static void write(tsmodel_runtime::Out& out, const {name}& value) {{",
            *indented(writing or ["(void)out;"]),
            *unused,
            "}",
        ]

    def runtime(self, name: str) -> str:
        """See `CFamilyEmitter.runtime`."""
        return f"tsmodel_runtime::{name}"

    def taken(self, number: Number) -> str:
        """See `CFamilyEmitter.taken`."""
        return f"in.take_{number.byte_order[0]}e({number.scalar.size})"

    def given(self, number: Number, value: str) -> str:
        """See `CFamilyEmitter.given`."""
        return f"out.give_{number.byte_order[0]}e({value}, {number.scalar.size});"

    def unsigned_cast(self, bits: int, value: str) -> str:
        """See `CFamilyEmitter.unsigned_cast`."""
        return f"static_cast<std::uint{bits}_t>({value})"

    def cast(self, scalar: Scalar, value: str) -> str:
        """See `Emitter.cast`."""
        return f"static_cast<{self.number_type(scalar)}>({value})"

    def refusal(self, field: str, why: str, *, too_long: bool = False) -> str:
        """See `Emitter.refusal`."""
        return f'throw std::{"length_error" if too_long else "invalid_argument"}("{field} {why}");'

    def fail(self) -> str:
        """See `Emitter.fail`."""
        return "return false;"

    def skip(self, size: int, *, zero: bool) -> Lines:
        """See `Emitter.skip`."""
        return [f"if (!in.zeros({size})) return false;" if zero else f"in.next({size});"]

    def pad(self, size: int) -> str:
        """See `Emitter.pad`."""
        return f"out.give_zeros({size});"

    def remaining(self) -> str:
        """See `Emitter.remaining`."""
        return "in.remaining()"

    def choice_of(self, kind: Choice, stored: str) -> str:
        """See `CFamilyEmitter.choice_of`."""
        return stored if kind.is_set else f"static_cast<{self.type_name(kind.kind.__name__)}>({stored})"

    def read_octets(self, kind: Text | Octets, count: str, target: str) -> Lines:
        """See `Emitter.read_octets`."""
        if isinstance(kind, Text):
            padded = "true" if kind.size is not None else "false"
            return [f"if (!in.take_text({target}, {count}, {padded})) return false;"]
        room = [f"{target}.resize({count});"] if kind.size is None else []
        return [*room, f"in.take_bytes({target}.data(), {count});"]

    def write_octets(self, kind: Text | Octets, value: str, field: str) -> Lines:
        """See `Emitter.write_octets`."""
        if kind.size is not None:
            if isinstance(kind, Octets):
                return [f"out.give({value}.data(), {kind.size});"]
            return [
                f'tsmodel_runtime::check_text({value}, {kind.size}, "{field}");',
                f"out.give_text({value}, {kind.size});",
            ]
        lines = [f'tsmodel_runtime::check_utf8({value}, "{field}");'] if isinstance(kind, Text) else []
        if kind.prefix is not None:
            count = f'tsmodel_runtime::at_most({value}.size(), {2 ** (8 * kind.prefix.size) - 1}ULL, "{field}")'
            lines.append(self.put(Number(kind.prefix, kind.byte_order), count))
        return [*lines, f"out.give({value}.data(), {value}.size());"]

    def read_structure(self, kind: Structure, target: str) -> Lines:
        """See `Emitter.read_structure`."""
        return [f"if (!read(in, {target})) return false;"]

    def write_structure(self, kind: Structure, value: str) -> Lines:
        """See `Emitter.write_structure`."""
        return [f"write(out, {value});"]

    def make_items(self, kind: Items, count: str, target: str) -> Lines:
        """See `Emitter.make_items`."""
        return [f"{target}.resize({count});"] if kind.length is None else []

    def count_items(self, kind: Items, value: str, field: str) -> tuple[Lines, str]:
        """See `Emitter.count_items`."""
        if kind.length is not None:
            return [], str(kind.length)
        most = 2 ** (8 * kind.prefix.size) - 1 if kind.prefix else 2**63
        count = self.fresh("count")
        return [
            f'const std::size_t {count} = tsmodel_runtime::at_most({value}.size(), {most}ULL, "{field}");',
        ], count

    def count_local(self, name: str, value: str, scalar: Scalar | None) -> str:
        """See `Emitter.count_local`."""
        return f"const std::size_t {name} = {value};"

    def loop(self, index: str, count: str, body: Lines) -> Lines:
        """See `Emitter.loop`."""
        return [f"for (std::size_t {index} = 0; {index} < {count}; {index}++) {{", *indented(body), "}"]

    def is_there(self, structure: Structure, step: FieldStep, value: str) -> str:
        """See `Emitter.is_there`."""
        return f"value.{self.flag(structure, step.name)}"

    def said(self, structure: Structure, step: FieldStep, there: bool) -> Lines:
        """See `Emitter.said`."""
        return [f"value.{self.flag(structure, step.name)} = {'true' if there else 'false'};"]
