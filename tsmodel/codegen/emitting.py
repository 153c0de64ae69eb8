"""What is read and written, and when: the same in all languages.

Rules kept here:

* What is read is checked as Python checks it: sizes, bools, members, bits that stand for nothing, absent values that are
  not zero, and that nothing follows. What fails a check is the failure that the official client of the language knows.
* What no reader takes is not written: one such record would spoil every query that finds it.
* Byte order is written out, whatever the machine's.
"""

from __future__ import annotations

from typing import Any

from tsmodel.codegen.language import OCTET, Language, Lines, number_of
from tsmodel.types.kinds import BitField, Bitmap, BitUnit, Choice, FieldStep, Gap, Items, Kind, Number, Structure, Version
from tsmodel.types.scalars import Scalar

__all__ = ["Emitter"]


class Emitter(Language):
    """Makes the source of a model's payload type in one language."""

    def reading(self, structure: Structure, value: str) -> Lines:
        """Reads all fields of a structure into `value`."""
        self._counter = 0
        lines: Lines = []
        for step in structure.steps:
            if isinstance(step, Version):
                lines += self.block(f"{self.get(OCTET)} != {step.value}", [self.fail()])
            elif isinstance(step, Gap):
                lines += self.skip(step.size, zero=False)
            elif isinstance(step, Bitmap):
                lines += self._read_bitmap(step)
            elif isinstance(step, BitUnit):
                lines += self._read_unit(structure, step, value)
            else:
                lines += self._read_field(structure, step, self._member(structure, step, value))
        return lines

    def writing(self, structure: Structure, value: str) -> Lines:
        """Writes all fields of a structure from `value`."""
        self._counter = 0
        lines: Lines = []
        for step in structure.steps:
            if isinstance(step, Version):
                lines.append(self.put(OCTET, str(step.value)))
            elif isinstance(step, Gap):
                lines.append(self.pad(step.size))
            elif isinstance(step, Bitmap):
                lines += self._write_bitmap(structure, step, value)
            elif isinstance(step, BitUnit):
                lines += self._write_unit(structure, step, value)
            else:
                lines += self._write_field(structure, step, self._member(structure, step, value))
        return lines

    def _member(self, structure: Structure, step: FieldStep | BitField, value: str) -> str:
        return f"{value}.{self.identifier(structure, step.name)}"

    def _read_bitmap(self, bitmap: Bitmap) -> Lines:
        lines = [self.local(OCTET, f"present{at}", self.get(OCTET)) for at in range(bitmap.size)]
        if spare := bitmap.used % 8:
            lines += self.block(f"(present{bitmap.size - 1} >> {spare}) != 0", [self.fail()])
        return lines

    def _write_bitmap(self, structure: Structure, bitmap: Bitmap, value: str) -> Lines:
        lines = []
        for at in range(bitmap.size):
            terms = [
                self.either(
                    self.is_there(structure, step, self._member(structure, step, value)), str(1 << step.bit % 8), "0"
                )
                for step in structure.steps
                if isinstance(step, FieldStep) and step.bit is not None and step.bit // 8 == at
            ]
            lines.append(self.put(OCTET, self.cast(OCTET.scalar, f"({' | '.join(terms)})")))
        return lines

    def _read_unit(self, structure: Structure, unit: BitUnit, value: str) -> Lines:
        stored, number = self.fresh("unit"), Number(unit.scalar, unit.byte_order)
        lines = [self.local(number, stored, self.get(number))]
        for each in unit.fields:
            bits = f"({stored} >> {each.shift}) & {self.constant(2**each.bits - 1, number)}"
            lines.append(self.assign(self._member(structure, each, value), self.cast(unit.scalar, f"({bits})")))
        return lines

    def _write_unit(self, structure: Structure, unit: BitUnit, value: str) -> Lines:
        number = Number(unit.scalar, unit.byte_order)
        lines: Lines = []
        terms = []
        for each in unit.fields:
            member, most = self._member(structure, each, value), self.constant(2**each.bits - 1, number)
            if each.bits < 8 * unit.scalar.size:
                lines += self.refuse(f"({member} & ~{most}) != 0", each.name, f"has {each.bits} bits", too_long=True)
            part = f"({member} & {most})"
            terms.append(f"({part} << {each.shift})" if each.shift else part)
        return [*lines, self.put(number, self.cast(unit.scalar, f"({' | '.join(terms)})"))]

    def _read_field(self, structure: Structure, step: FieldStep, target: str) -> Lines:
        if step.bit is not None:
            there = [*self.read_value(step.kind, target, step.name), *self.said(structure, step, True)]
            absent = [*(self.skip(step.size, zero=True) if step.size else []), *self.said(structure, step, False)]
            return self.block(f"(present{step.bit // 8} & {1 << step.bit % 8}) != 0", there, absent)
        if step.null is None:
            return self.read_value(step.kind, target, step.name)
        assert isinstance(step.kind, (Number, Choice))
        stored, number = self.fresh("stored"), number_of(step.kind)
        there = [*self._of_stored(step.kind, stored, target), *self.said(structure, step, True)]
        return [
            self.local(number, stored, self.get(number)),
            *self.block(self._is_null(step, stored), self.said(structure, step, False), there),
        ]

    def _is_null(self, step: FieldStep, stored: str) -> str:
        assert isinstance(step.kind, (Number, Choice))
        assert step.null is not None
        if step.null != step.null:
            return f"{stored} != {stored}"
        return f"{stored} == {self.constant(step.null, number_of(step.kind))}"

    def _write_field(self, structure: Structure, step: FieldStep, value: str) -> Lines:
        if not step.is_optional:
            return self.write_value(step.kind, value, step.name)
        there = self.write_value(step.kind, self.present(step, value), step.name, is_set=True)
        absent = [self.pad(step.size)] if step.size else []
        if step.null is not None:
            assert isinstance(step.kind, (Number, Choice))
            number, stored = number_of(step.kind), self.fresh("stored")
            absent = [self.put(number, self.constant(step.null, number))]
            given = self.present(step, value)
            there = [
                *self.checked(step.kind, given, step.name, is_set=True),
                self.local(number, stored, self.as_stored(number, self.number_value(step.kind, given))),
                *self.refuse(self._is_null(step, stored), step.name, "has the value that stands for none"),
                self.put(number, stored),
            ]
        return self.block(self.is_there(structure, step, value), there, absent)

    def read_value(self, kind: Kind, target: str, field: str) -> Lines:
        """Reads a value of any kind."""
        if isinstance(kind, (Number, Choice)):
            number = number_of(kind)
            if isinstance(kind, Number) and kind.scalar.kind != "bool":
                return [self.assign(target, self.get(number))]
            stored = self.fresh("stored")
            return [self.local(number, stored, self.get(number)), *self._of_stored(kind, stored, target)]
        if isinstance(kind, Structure):
            return self.read_structure(kind, target)
        if isinstance(kind, Items):
            lines, count = self._counted(kind.length, kind.item_size, kind.prefix, kind.byte_order)
            index = self.fresh("i")
            item = self.read_value(kind.item, self.item(target, index), field)
            return [*lines, *self.make_items(kind, count, target), *self.loop(index, count, item)]
        lines, count = self._counted(kind.size, 1, kind.prefix, kind.byte_order)
        return [*lines, *self.read_octets(kind, count, target)]

    def write_value(self, kind: Kind, value: str, field: str, *, is_set: bool = False) -> Lines:
        """Writes a value of any kind; `is_set` when it is known that there is one."""
        checks = self.checked(kind, value, field, is_set=is_set)
        if isinstance(kind, (Choice, Number)):
            return [*checks, self.put(number_of(kind), self.number_value(kind, value))]
        if isinstance(kind, Structure):
            return [*checks, *self.write_structure(kind, value)]
        if isinstance(kind, Items):
            lines, count = self.count_items(kind, value, field)
            index = self.fresh("i")
            item = self.write_value(kind.item, self.item(value, index), field)
            prefix = [self.put(Number(kind.prefix, kind.byte_order), self.cast(kind.prefix, count))] if kind.prefix else []
            return [*checks, *lines, *prefix, *self.loop(index, count, item)]
        return [*checks, *self.write_octets(kind, value, field)]

    def checked(self, kind: Kind, value: str, field: str, *, is_set: bool = False) -> Lines:
        """Refuses a value that was never given, and members or flags that readers refuse."""
        lines = [] if is_set else self.check_set(kind, value, field)
        if isinstance(kind, Choice) and (unknown := self.is_unknown(kind, value)):
            what = "has bits that stand for nothing" if kind.is_set else f"is no member of {kind.kind.__name__}"
            lines += self.refuse(unknown, field, what)
        return lines

    def number_value(self, kind: Number | Choice, value: str) -> str:
        """The number that is stored for a value; an expression."""
        if isinstance(kind, Choice):
            return self.choice_number(kind, value)
        return self.cast(OCTET.scalar, self.either(value, "1", "0")) if kind.scalar.kind == "bool" else value

    def refuse(self, condition: str, field: str, why: str, *, too_long: bool = False) -> Lines:
        """Ends writing when a condition holds."""
        return self.block(condition, [self.refusal(field, why, too_long=too_long)])

    def _of_stored(self, kind: Number | Choice, stored: str, target: str) -> Lines:
        if isinstance(kind, Choice):
            return self.read_choice(kind, stored, target)
        if kind.scalar.kind == "bool":
            return [*self.block(f"{stored} > 1", [self.fail()]), self.assign(target, f"{stored} != 0")]
        return [self.assign(target, stored)]

    def _counted(self, fixed: int | None, size: int, prefix: Scalar | None, byte_order: Any) -> tuple[Lines, str]:
        """How many items, or bytes, there are to read; checked, unless it is fixed."""
        if fixed is not None:
            return [], str(fixed)
        count = self.fresh("count")
        if prefix is None:
            whole = self.block(f"{self.remaining()} % {size} != 0", [self.fail()]) if size > 1 else []
            return [*whole, self.count_local(count, self.divided(self.remaining(), size), None)], count
        stored, number = self.fresh("stored"), Number(prefix, byte_order)
        most = self.divided(self.remaining(), size)
        check = self.block(f"{self.unsigned(stored)} > {most}", [self.fail()])
        return [self.local(number, stored, self.get(number)), *check, self.count_local(count, stored, prefix)], count
