"""How a language writes things: names, statements, and the reading and writing of each kind of value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from tsmodel.codec import Scalar
from tsmodel.codec.scalars import SCALARS
from tsmodel.codegen.plan import (
    BitField,
    Choice,
    FieldStep,
    Items,
    Kind,
    Number,
    Octets,
    Structure,
    Text,
)
from tsmodel.errors import SchemaError
from tsmodel.model.meta import schema_of

__all__ = ["OCTET", "Language", "Lines", "indented", "number_of"]

Lines = list[str]

OCTET: Final = Number(SCALARS["UInt8"], "little")


def indented(lines: Iterable[str]) -> Lines:
    """Lines moved in by one level."""
    return [f"    {line}" if line else line for line in lines]


class Language(ABC):
    """A language, for one model.

    Args:
        model: the model.
        structure: its payload.

    Raises:
        SchemaError: when the language cannot express it.
    """

    language: ClassVar[str]
    keywords: ClassVar[frozenset[str]]
    comment: ClassVar[str] = "//"
    statement_end: ClassVar[str] = ";"
    _counter = 0

    def __init__(self, model: type[Any], structure: Structure) -> None:
        self.model = model
        self.structure = structure
        self.structures = [*structure.within(), structure]
        self._names: dict[str, dict[str, str]] = {}
        self._check_types()

    @abstractmethod
    def source(self) -> str:
        """The whole source."""

    # --- names ---

    def header(self) -> Lines:
        """A comment: what this is, the layout table, the fingerprint."""
        text = [
            f"The payload of {self.model.__name__} records. Made by tsmodel: change the model, not this.",
            "",
            *str(schema_of(self.model).layout).splitlines(),
            "",
            f"fingerprint {self.model.fingerprint}",
        ]
        return [f"{self.comment} {line}".rstrip() for line in text]

    def type_name(self, name: str) -> str:
        """The name of a structure or an enumeration."""
        return f"{name}_" if name in self.keywords else name

    def identifier(self, structure: Structure, field: str) -> str:
        """A field's name in the language: its own, with an underscore behind it where that is taken."""
        return self._identifiers(structure)[field]

    def flag(self, structure: Structure, field: str) -> str:
        """The name of what says whether a field is there."""
        return self._identifiers(structure)[f"has {field}"]

    def _identifiers(self, structure: Structure) -> dict[str, str]:
        found = self._names.get(structure.name)
        if found is None:
            found = self._names[structure.name] = {}
            # A field may not be called like a type beside it, in some languages.
            taken = {self.type_name(each.name) for each in self.structures}
            taken |= {self.type_name(choice.kind.__name__) for choice in self.structure.choices()}
            wanted = [(step.name, step.name) for step in structure.fields]
            wanted += [(f"has {step.name}", f"has_{step.name}") for step in structure.fields]
            for key, name in wanted:
                while name in self.keywords or name in taken:
                    name += "_"
                taken.add(name)
                found[key] = name
        return found

    def refused(self, field: str | None, why: str) -> SchemaError:
        """The error for what the language cannot express."""
        model = self.model.__name__
        what = f"{model}.{field}" if field else model
        return SchemaError(f"{what} cannot be expressed in {self.language}: {why}", model=model, field=field)

    def _check_types(self) -> None:
        kinds: dict[str, object] = {}
        named = [(each.name, each) for each in self.structures]
        for name, kind in [*named, *((choice.kind.__name__, choice.kind) for choice in self.structure.choices())]:
            if kinds.setdefault(self.type_name(name), kind) is not kind and kinds[self.type_name(name)] != kind:
                raise self.refused(None, f"two types are called {name}; rename one")
        for structure in self.structures:
            for step in structure.steps:
                if isinstance(step, FieldStep):
                    field = step.name if structure is self.structure else f"{structure.name}.{step.name}"
                    self.check(step.kind, field)
                    if isinstance(step.kind, Items):
                        self.check(step.kind.item, field)

    def check(self, kind: Kind, field: str) -> None:  # noqa: B027 - some refuse nothing
        """Refuses what the language cannot express."""

    def fresh(self, stem: str) -> str:
        """The name of a local variable that was not used yet."""
        self._counter += 1
        return f"{stem}{self._counter}"

    # --- how the language writes things ---

    @abstractmethod
    def fail(self) -> str:
        """Ends reading with a failure; a statement."""

    @abstractmethod
    def get(self, number: Number) -> str:
        """Reads a number; an expression of its type. A Bool is read as UInt8."""

    @abstractmethod
    def put(self, number: Number, value: str) -> str:
        """Writes a number; a statement. A Bool is written as UInt8."""

    @abstractmethod
    def local(self, number: Number, name: str, value: str) -> str:
        """Declares a local variable of a number; a statement."""

    @abstractmethod
    def skip(self, size: int, *, zero: bool) -> Lines:
        """Passes over bytes; `zero` fails where one of them is not zero."""

    @abstractmethod
    def pad(self, size: int) -> str:
        """Writes zeros; a statement."""

    @abstractmethod
    def remaining(self) -> str:
        """How many bytes are left to read; an expression."""

    @abstractmethod
    def read_choice(self, kind: Choice, stored: str, target: str) -> Lines:
        """A member, or a set of flags, of a stored number: checked, unless others are kept."""

    @abstractmethod
    def choice_number(self, kind: Choice, value: str) -> str:
        """The stored number of a member or a set of flags; an expression."""

    @abstractmethod
    def read_octets(self, kind: Text | Octets, count: str, target: str) -> Lines:
        """Reads text or bytes; that they are there was checked, unless the size is fixed."""

    @abstractmethod
    def write_octets(self, kind: Text | Octets, value: str, field: str) -> Lines:
        """Writes text or bytes, their length included."""

    @abstractmethod
    def read_structure(self, kind: Structure, target: str) -> Lines:
        """Reads a structure."""

    @abstractmethod
    def write_structure(self, kind: Structure, value: str) -> Lines:
        """Writes a structure."""

    @abstractmethod
    def make_items(self, kind: Items, count: str, target: str) -> Lines:
        """Makes room for so many items."""

    @abstractmethod
    def count_items(self, kind: Items, value: str, field: str) -> tuple[Lines, str]:
        """Checks how many items there are to write; and an expression for it."""

    @abstractmethod
    def loop(self, index: str, count: str, body: Lines) -> Lines:
        """Runs a body for each index from 0."""

    @abstractmethod
    def is_there(self, structure: Structure, step: FieldStep, value: str) -> str:
        """Whether an optional field has a value; an expression."""

    @abstractmethod
    def said(self, structure: Structure, step: FieldStep, there: bool) -> Lines:
        """Says after reading whether an optional field has a value."""

    def present(self, step: FieldStep, value: str) -> str:
        """The value of an optional field that has one; an expression."""
        return value

    def assign(self, target: str, value: str) -> str:
        """A statement."""
        return f"{target} = {value}{self.statement_end}"

    def block(self, condition: str, then: Lines, otherwise: Lines | None = None) -> Lines:
        """`if`."""
        lines = [f"if ({condition}) {{", *indented(then), "}"]
        if otherwise:
            lines[-1:] = ["} else {", *indented(otherwise), "}"]
        return lines

    def either(self, condition: str, one: str, other: str) -> str:
        """One of two expressions."""
        return f"({condition} ? {one} : {other})"

    def item(self, sequence: str, index: str) -> str:
        """An item of a sequence."""
        return f"{sequence}[{index}]"

    def constant(self, value: int | float, number: Number) -> str:
        """A number in the source."""
        return repr(value)

    def cast(self, scalar: Scalar, value: str) -> str:
        """An expression as a number of a type."""
        return value

    def check_bits(self, value: str, most: str, field: BitField) -> Lines:
        """Refuses a value that has more bits, where the language can refuse."""
        return []

    def divided(self, value: str, by: int) -> str:
        """A whole number by another; an expression."""
        return value if by == 1 else f"{value} / {by}"

    def unsigned(self, value: str) -> str:
        """A length as a number that can be compared with `remaining`."""
        return value

    @abstractmethod
    def count_local(self, name: str, value: str, scalar: Scalar | None) -> str:
        """Declares a local variable that counts, from a number of a type, or from `remaining`; a statement."""


def number_of(kind: Number | Choice) -> Number:
    """The number that is stored; UInt8 for a Bool."""
    if isinstance(kind, Choice):
        return Number(kind.scalar, kind.byte_order)
    return Number(OCTET.scalar, kind.byte_order) if kind.scalar.kind == "bool" else kind
