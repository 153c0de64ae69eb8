"""C99: a header with the payload struct, the record struct, and the function pair that the official C client calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tsmodel.codegen.c_family import C_KEYWORDS, CFamilyEmitter
from tsmodel.codegen.language import Lines, indented
from tsmodel.codegen.runtime import runtime
from tsmodel.types.kinds import BitField, Choice, FieldStep, Items, Kind, Number, Octets, Structure, Text
from tsmodel.types.scalars import Scalar

__all__ = ["CEmitter"]

_RUNTIME: Final = runtime("runtime.h")


class CEmitter(CFamilyEmitter):
    """See `Emitter`."""

    language = "C"
    keywords = C_KEYWORDS
    suffix = "h"
    _within: Structure

    def check(self, kind: Kind, field: str) -> None:
        """See `Emitter.check`."""
        super().check(kind, field)
        if isinstance(kind, (Text, Octets)) and kind.size is None:
            raise self.refused(field, "it has a variable length, and C has no owner for the memory; give it a size=")
        if isinstance(kind, Items) and kind.length is None:
            raise self.refused(field, "it has a variable length, and C has no owner for the memory; give it a length=")
        if isinstance(kind, Choice) and self._is_enum(kind) and not all(-(2**31) <= value < 2**31 for value in kind.values):
            raise self.refused(field, "an enumerator of C must fit int; say unknown='keep' for a plain integer")

    def source(self) -> str:
        """See `Emitter.source`."""
        name = self.type_name(self.structure.name)
        lines = ["", "#include <stdbool.h>", "#include <stddef.h>", "#include <stdint.h>", "#include <string.h>", ""]
        lines += ["#include <tstorage-client/client.h>", "", *self.once("RUNTIME_C", _RUNTIME), ""]
        for choice in self.structure.choices():
            lines += [*self.once(choice.kind.__name__, self._choice(choice)), ""]
        for structure in self.structures:
            definitions = [*self._struct(structure), "", *self._functions(structure)]
            lines += [*self.once(structure.name, definitions), ""]
        lines += [*self._pair(name), ""]
        return "\n".join([*self.header(), *self.guarded(name, "_H", lines)]) + "\n"

    def made_of(self, structure: Structure) -> list[Callable[[str], str]]:
        """See `Language.made_of`."""
        ends = ["_read", "_write"]
        if structure is self.structure:
            ends += ["Record", "_refused", "_toBytes", "_fromBytes", "_payloadType"]
        return [f"{{}}{end}".format for end in ends]

    def _pair(self, name: str) -> Lines:
        return [
            "// A record of the official client: what its functions fill and take.",
            "typedef struct {",
            "    TSCLIENT_Record record;",
            f"    {name} payload;",
            f"}} {name}Record;",
            "",
            "// The name of a field whose value cannot be stored, because no reader would take it; NULL when all can.",
            f"static inline const char* {name}_refused(const {name}* value) {{",
            "    tsmodel_out out = {NULL, 0, 0};",
            f"    return {name}_write(&out, value);",
            "}",
            "",
            "// The bytes of a payload; returns how many it takes, and writes no more than size. When a value cannot be",
            "// stored it returns TSMODEL_REFUSED: no channel has room for as much, so that its put fails.",
            f"static inline size_t {name}_toBytes(const void* restrict val, void* restrict buffer, size_t size) {{",
            "    tsmodel_out out = {(uint8_t*)buffer, size, 0};",
            f"    return {name}_write(&out, (const {name}*)val) != NULL ? TSMODEL_REFUSED : out.needed;",
            "}",
            "",
            f"// The payload of some bytes; returns 0, or -1 when they are not those of a {name}.",
            f"static inline int {name}_fromBytes(void* restrict val, const void* restrict buffer, size_t size) {{",
            "    static const uint8_t nothing = 0;",
            "    const uint8_t* at = buffer != NULL ? (const uint8_t*)buffer : &nothing;",
            "    tsmodel_in in = {at, at + size, true};",
            f"    memset(val, 0, sizeof({name}));",
            f"    if ({name}_read(&in, ({name}*)val) != 0) return -1;",
            "    return in.ok && in.at == in.end ? 0 : -1;",
            "}",
            "",
            f"static const TSCLIENT_PayloadType {name}_payloadType = {{",
            f"    sizeof({name}Record), offsetof({name}Record, payload), {name}_toBytes, {name}_fromBytes}};",
        ]

    def _struct(self, structure: Structure) -> Lines:
        lines = ["typedef struct {"]
        for step in structure.fields:
            lines += indented(self._declared(structure, step))
        if not structure.fields:
            lines.append("    char nothing; // C has no empty structs")
        return [*lines, f"}} {self.type_name(structure.name)};"]

    def _declared(self, structure: Structure, step: FieldStep | BitField) -> Lines:
        name = self.identifier(structure, step.name)
        if isinstance(step, BitField):
            return self.described(step, f"{self.number_type(self._unit_of(structure, step))} {name};")
        has = [f"bool {self.flag(structure, step.name)};"] if step.is_optional else []
        return [*has, *self.described(step, f"{self._declaration(step.kind, name)};")]

    def _unit_of(self, structure: Structure, field: BitField) -> Scalar:
        return next(unit.scalar for unit in structure.units if field in unit.fields)

    def _declaration(self, kind: Kind, name: str) -> str:
        if isinstance(kind, Number):
            return f"{self.number_type(kind.scalar)} {name}"
        if isinstance(kind, Choice):
            return f"{self.type_name(kind.kind.__name__) if self._is_enum(kind) else self.number_type(kind.scalar)} {name}"
        if isinstance(kind, Structure):
            return f"{self.type_name(kind.name)} {name}"
        if isinstance(kind, Text):
            return f"char {name}[{(kind.size or 0) + 1}]"
        if isinstance(kind, Octets):
            return f"uint8_t {name}[{kind.size}]"
        return self._declaration(kind.item, f"{name}[{kind.length}]")

    @staticmethod
    def _is_enum(kind: Choice) -> bool:
        return not kind.keep and not kind.is_set

    def _choice(self, kind: Choice) -> Lines:
        type_name = self.type_name(kind.kind.__name__)
        members = self.prefixed(kind)
        if self._is_enum(kind):
            return ["typedef enum {", *(f"    {name} = {value}," for name, value in members), f"}} {type_name};"]
        return [f"#define {name} {value}" for name, value in members]

    def _functions(self, structure: Structure) -> Lines:
        name = self.type_name(structure.name)
        self._within = structure
        reading, writing = self.reading(structure, "value"), self.writing(structure, "value")
        return [
            f"static inline int {name}_read(tsmodel_in* in, {name}* value) {{",
            *indented(reading or ["(void)in;"]),
            *([] if structure.fields else ["    (void)value;"]),
            "    return 0;",
            "}",
            "",
            "// NULL, or the name of a field whose value no reader would take.",
            f"static inline const char* {name}_write(tsmodel_out* out, const {name}* value) {{",
            *indented(writing or ["(void)out;"]),
            *([] if structure.fields else ["    (void)value;"]),
            "    return NULL;",
            "}",
        ]

    def _member(self, structure: Structure, step: FieldStep | BitField, value: str) -> str:
        return f"{value}->{self.identifier(structure, step.name)}"

    def runtime(self, name: str) -> str:
        """See `CFamilyEmitter.runtime`."""
        return f"tsmodel_{name}"

    def taken(self, number: Number) -> str:
        """See `CFamilyEmitter.taken`."""
        return f"tsmodel_take_{number.byte_order[0]}e(in, {number.scalar.size})"

    def given(self, number: Number, value: str) -> str:
        """See `CFamilyEmitter.given`."""
        return f"tsmodel_give_{number.byte_order[0]}e(out, {value}, {number.scalar.size});"

    def unsigned_cast(self, bits: int, value: str) -> str:
        """See `CFamilyEmitter.unsigned_cast`."""
        return f"(uint{bits}_t){value}"

    def cast(self, scalar: Scalar, value: str) -> str:
        """See `Emitter.cast`."""
        return f"({self.number_type(scalar)}){value}"

    def fail(self) -> str:
        """See `Emitter.fail`."""
        return "return -1;"

    def is_unknown(self, kind: Choice, value: str) -> str:
        """See `Emitter.is_unknown`; what keeps other numbers is a number here."""
        return "" if kind.keep else super().is_unknown(kind, value)

    def refusal(self, field: str, why: str, *, too_long: bool = False) -> str:
        """See `Emitter.refusal`."""
        return f'return "{self._within.name}.{field}";'

    def skip(self, size: int, *, zero: bool) -> Lines:
        """See `Emitter.skip`."""
        return [f"if (!tsmodel_zeros(in, {size})) return -1;" if zero else f"(void)tsmodel_next(in, {size});"]

    def pad(self, size: int) -> str:
        """See `Emitter.pad`."""
        return f"tsmodel_give_zeros(out, {size});"

    def remaining(self) -> str:
        """See `Emitter.remaining`."""
        return "(size_t)(in->end - in->at)"

    def choice_of(self, kind: Choice, stored: str) -> str:
        """See `CFamilyEmitter.choice_of`."""
        return f"({self.type_name(kind.kind.__name__)}){stored}" if self._is_enum(kind) else stored

    def read_octets(self, kind: Text | Octets, count: str, target: str) -> Lines:
        """See `Emitter.read_octets`."""
        if isinstance(kind, Text):
            return [f"if (!tsmodel_take_text(in, {target}, {count})) return -1;"]
        return [f"tsmodel_take_bytes(in, {target}, {count});"]

    def write_octets(self, kind: Text | Octets, value: str, field: str) -> Lines:
        """See `Emitter.write_octets`."""
        if isinstance(kind, Text):
            return [f"if (!tsmodel_give_text(out, {value}, {kind.size})) {self.refusal(field, '')}"]
        return [f"tsmodel_give(out, {value}, {kind.size});"]

    def read_structure(self, kind: Structure, target: str) -> Lines:
        """See `Emitter.read_structure`."""
        return [f"if ({self.type_name(kind.name)}_read(in, &{target}) != 0) return -1;"]

    def write_structure(self, kind: Structure, value: str) -> Lines:
        """See `Emitter.write_structure`."""
        refused = self.fresh("refused")
        return [
            f"const char* const {refused} = {self.type_name(kind.name)}_write(out, &{value});",
            f"if ({refused} != NULL) return {refused};",
        ]

    def make_items(self, kind: Items, count: str, target: str) -> Lines:
        """See `Emitter.make_items`."""
        return []

    def count_items(self, kind: Items, value: str, field: str) -> tuple[Lines, str]:
        """See `Emitter.count_items`."""
        return [], str(kind.length)

    def count_local(self, name: str, value: str, scalar: Scalar | None) -> str:
        """See `Emitter.count_local`."""
        return f"const size_t {name} = {value};"

    def loop(self, index: str, count: str, body: Lines) -> Lines:
        """See `Emitter.loop`."""
        return [f"for (size_t {index} = 0; {index} < {count}; {index}++) {{", *indented(body), "}"]

    def is_there(self, structure: Structure, step: FieldStep, value: str) -> str:
        """See `Emitter.is_there`."""
        return f"value->{self.flag(structure, step.name)}"

    def said(self, structure: Structure, step: FieldStep, there: bool) -> Lines:
        """See `Emitter.said`."""
        return [f"value->{self.flag(structure, step.name)} = {'true' if there else 'false'};"]
