"""What Java and C# have in common: classes, exceptions, and references that may be null."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from tsmodel.codegen.emitting import Emitter
from tsmodel.codegen.language import Lines, indented
from tsmodel.types.kinds import BitField, Choice, FieldStep, Items, Kind, Number, Octets, Structure, Text
from tsmodel.types.scalars import Scalar

__all__ = ["ManagedEmitter"]


class ManagedEmitter(Emitter):
    """See `Emitter`."""

    length: ClassVar[str]
    """What the length of an array is called."""

    @abstractmethod
    def number_type(self, scalar: Scalar) -> str:
        """The type of a number."""

    @abstractmethod
    def is_number(self, kind: Choice) -> bool:
        """Whether a field of an enumeration is a plain number."""

    def is_reference(self, kind: Choice) -> bool:
        """Whether a field of an enumeration may be null."""
        return not self.is_number(kind)

    @abstractmethod
    def error(self, message: str) -> str:
        """Throws an error; a statement. `message` is an expression."""

    @abstractmethod
    def text_type(self) -> str:
        """The type of text."""

    def kind_type(self, kind: Kind) -> str:
        """The type of a field."""
        if isinstance(kind, Number):
            return self.number_type(kind.scalar)
        if isinstance(kind, Choice):
            return self.number_type(kind.scalar) if self.is_number(kind) else self.type_name(kind.kind.__name__)
        if isinstance(kind, Structure):
            return self.type_name(kind.name)
        if isinstance(kind, Text):
            return self.text_type()
        return f"{self.octet_type()}[]" if isinstance(kind, Octets) else f"{self.kind_type(kind.item)}[]"

    @abstractmethod
    def octet_type(self) -> str:
        """The type of a byte among others."""

    def bit_type(self, structure: Structure, field: BitField) -> str:
        """The type of a bit-field."""
        return self.number_type(next(unit.scalar for unit in structure.units if field in unit.fields))

    def fields(self, structure: Structure) -> Lines:
        """Declares all fields of a structure."""
        lines = []
        for step in structure.fields:
            name = self.identifier(structure, step.name)
            if isinstance(step, BitField):
                lines += self.described(step, f"public {self.bit_type(structure, step)} {name};")
            else:
                lines += self.described(step, f"public {self.declared(step)} {name}{self.initial(step)};")
        return lines

    @abstractmethod
    def declared(self, step: FieldStep) -> str:
        """The type of a field, which may be absent."""

    def initial(self, step: FieldStep) -> str:
        """What a field is set to when an object is made."""
        kind = step.kind
        if step.is_optional or isinstance(kind, (Number, Choice)):
            return ""
        if isinstance(kind, Text):
            return ' = ""'
        if isinstance(kind, Structure):
            return f" = new {self.type_name(kind.name)}()"
        length = (kind.size if isinstance(kind, Octets) else kind.length) or 0
        return f" = {self.new_array(kind, str(length))}"

    def new_array(self, kind: Octets | Items, count: str) -> str:
        """A new array; an expression."""
        item = self.octet_type() if isinstance(kind, Octets) else self.kind_type(kind.item)
        bare = item.rstrip("[]")
        return f"new {bare}[{count}]{item[len(bare) :]}"

    def fail(self) -> str:
        """See `Emitter.fail`."""
        return self.error(f'"these are not the bytes of a {self.structure.name}"')

    def write_octets(self, kind: Text | Octets, value: str, field: str) -> Lines:
        """See `Emitter.write_octets`."""
        what = "Text" if isinstance(kind, Text) else "Octets"
        if kind.size is not None:
            fills = isinstance(kind, Text) or kind.fills
            return [f'{self.method(f"give{what}")}({value}, {kind.size}, {"true" if fills else "false"}, "{field}");']
        size = kind.prefix.size if kind.prefix else 0
        big = "true" if kind.byte_order == "big" else "false"
        return [f'{self.method(f"giveCounted{what}")}({value}, {size}, {big}, "{field}");']

    def read_octets(self, kind: Text | Octets, count: str, target: str) -> Lines:
        """See `Emitter.read_octets`."""
        if isinstance(kind, Text):
            padded = "true" if kind.size is not None else "false"
            return [self.assign(target, f"{self.taking('takeText')}({count}, {padded})")]
        return [self.assign(target, f"{self.taking('takeOctets')}({count})")]

    @abstractmethod
    def method(self, name: str) -> str:
        """A method of what is written to."""

    @abstractmethod
    def taking(self, name: str) -> str:
        """A method of what is read from."""

    def skip(self, size: int, *, zero: bool) -> Lines:
        """See `Emitter.skip`."""
        return [f"{self.taking('takeZeros' if zero else 'skip')}({size});"]

    def pad(self, size: int) -> str:
        """See `Emitter.pad`."""
        return f"{self.method('giveZeros')}({size});"

    def local(self, number: Number, name: str, value: str) -> str:
        """See `Emitter.local`."""
        return f"{self.number_type(number.scalar)} {name} = {value};"

    def count_local(self, name: str, value: str, scalar: Scalar | None) -> str:
        """See `Emitter.count_local`."""
        is_long = scalar is not None and scalar.size >= 4
        return f"int {name} = {'(int) ' if is_long else ''}{value};"

    def make_items(self, kind: Items, count: str, target: str) -> Lines:
        """See `Emitter.make_items`."""
        return [self.assign(target, self.new_array(kind, count))]

    def count_items(self, kind: Items, value: str, field: str) -> tuple[Lines, str]:
        """See `Emitter.count_items`."""
        count = f"{value}.{self.length}"
        if kind.length is not None:
            return self.block(f"{count} != {kind.length}", [self.error(f'"{field} takes {kind.length} items"')]), count
        if kind.prefix is None or kind.prefix.size >= 4:
            return [], count
        most = 2 ** (8 * kind.prefix.size) - 1
        return self.block(f"{count} > {most}", [self.error(f'"{field} takes at most {most} items"')]), count

    def refusal(self, field: str, why: str, *, too_long: bool = False) -> str:
        """See `Emitter.refusal`."""
        return self.error(f'"{field} {why}"')

    def check_set(self, kind: Kind, value: str, field: str) -> Lines:
        """See `Emitter.check_set`."""
        if isinstance(kind, Number) or (isinstance(kind, Choice) and not self.is_reference(kind)):
            return []
        return self.refuse(f"{value} == null", field, "is not set")

    def loop(self, index: str, count: str, body: Lines) -> Lines:
        """See `Emitter.loop`."""
        return [f"for (int {index} = 0; {index} < {count}; {index}++) {{", *indented(body), "}"]

    def is_there(self, structure: Structure, step: FieldStep, value: str) -> str:
        """See `Emitter.is_there`."""
        return f"{value} != null"

    def said(self, structure: Structure, step: FieldStep, there: bool) -> Lines:
        """See `Emitter.said`."""
        if there:
            return []
        return [self.assign(f"value.{self.identifier(structure, step.name)}", "null")]
