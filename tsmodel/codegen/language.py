"""How a language writes things: names, statements, and the reading and writing of each kind of value."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

from tsmodel.errors import SchemaError
from tsmodel.model.meta import schema_of
from tsmodel.types.kinds import BitField, Choice, FieldStep, Items, Kind, Number, Octets, Structure, Text
from tsmodel.types.scalars import SCALARS, Scalar

__all__ = ["OCTET", "Language", "Lines", "Names", "bare", "in_one_line", "indented", "number_of"]

Lines = list[str]

OCTET: Final = Number(SCALARS["UInt8"], "little")


def indented(lines: Iterable[str]) -> Lines:
    """Lines moved in by one level."""
    return [f"    {line}" if line else line for line in lines]


def in_one_line(text: str) -> str:
    """Text as a comment can hold it: no line ends, nothing that cannot be printed."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def bare(name: str) -> str:
    """A name with the underscores that it begins with moved to its end: in front, languages give them a meaning."""
    stripped = name.lstrip("_")
    moved = stripped + "_" * (len(name) - len(stripped))
    return moved if stripped and not stripped[0].isdigit() else f"x{moved}"


class Names:
    """The names of one scope: each is given once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def give(self, name: str, *others: Callable[[str], str]) -> str:
        """A name that is not taken yet, with underscores behind it as far as it takes; and those made of it by `others`."""
        while any(each in self._taken for each in (name, *(other(name) for other in others))):
            name += "_"
        self._taken.update((name, *(other(name) for other in others)))
        return name


class Language(ABC):
    """A language, for one model.

    Args:
        model: the model.
        structure: its payload.
        namespace: where the code goes, for languages that have such a thing.

    Raises:
        SchemaError: when the language cannot express it.
    """

    language: ClassVar[str]
    keywords: ClassVar[frozenset[str]]
    """Names that a language keeps for itself, and those of everything that the code made here uses."""
    ascii_only: ClassVar[bool] = False
    comment: ClassVar[str] = "//"
    statement_end: ClassVar[str] = ";"
    suffix: ClassVar[str]
    _counter = 0

    def __init__(self, model: type[Any], structure: Structure, namespace: tuple[str, ...] = ()) -> None:
        self.model = model
        self.structure = structure
        self.structures = [*structure.within(), structure]
        self.namespace = namespace
        self._names: dict[str, dict[str, str]] = {}
        self._check_types()
        self.types = Names(self.keywords)
        self._types: dict[str, str] = {}
        for each in (structure, *self.structures[:-1]):
            self._types[each.name] = self.types.give(self._wanted_type(each.name), *self.made_of(each))
        for choice in structure.choices():
            self._types[choice.kind.__name__] = self.types.give(self._wanted_type(choice.kind.__name__))

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
        return [self.commented(line) for line in text]

    def commented(self, line: str) -> str:
        """A line of comment, whatever is in it."""
        text = "".join(each if each.isprintable() else " " for each in line).rstrip()
        if text.endswith(("\\", "??/")):  # would join the next line to it, in C and C++
            text += " ."
        return f"{self.comment} {text}".rstrip()

    def described(self, step: FieldStep | BitField, declaration: str) -> Lines:
        """The declaration of a field, with what is known of it as comments."""
        doc = [self.commented(in_one_line(line)) for line in (step.doc or "").splitlines() if in_one_line(line)]
        note = f"{step.bits} bits" if isinstance(step, BitField) else getattr(step.kind, "note", "")
        notes = [in_one_line(each) for each in (note, step.unit or "") if in_one_line(each)]
        gap = "  " if self.comment == "#" else " "
        return [*doc, declaration + (gap + self.commented(", ".join(notes)) if notes else "")]

    def checked_name(self, name: str, what: str, field: str | None = None) -> str:
        """A name, when the language can have it for an identifier.

        Raises:
            SchemaError: when it cannot.
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise self.refused(field, f"{what} {name!r} is no identifier; rename it")
        if self.ascii_only and not name.isascii():
            raise self.refused(field, f"{what} {name!r} is not ASCII; rename it")
        if unicodedata.normalize("NFKC", name) != name or not all(self.is_letter(each) for each in name):
            raise self.refused(field, f"{what} {name!r} has characters that not all compilers take; rename it")
        return bare(name)

    def is_letter(self, character: str) -> bool:
        """Whether a character of a Python identifier may be one in an identifier of the language, too."""
        return character.isascii() or (ord(character) < 0x10000 and unicodedata.category(character)[0] == "L")

    def safe(self, name: str) -> str:
        """The name of a member, with an underscore behind it when the language, or a header, has it already."""
        return f"{name}_" if name in self.keywords else name

    def _wanted_type(self, name: str) -> str:
        wanted = self.checked_name(name, "the name")
        return self.safe(wanted) if wanted[0].isupper() or not wanted.isascii() else f"{wanted}_"

    def made_of(self, structure: Structure) -> list[Callable[[str], str]]:
        """The names in the same scope that are made of a structure's."""
        return []

    def type_name(self, name: str) -> str:
        """The name of a structure or an enumeration: its own, with an underscore behind it where that is taken."""
        return self._types[name]

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
            names = Names(self._types.values())
            for step in structure.fields:
                found[step.name] = names.give(
                    self.safe(self.checked_name(step.name, "the name", self._path(structure, step.name)))
                )
            for step in structure.fields:
                found[f"has {step.name}"] = names.give(self.safe(f"has_{bare(step.name)}"))
        return found

    def member_names(self, kind: Choice, names: Names | None = None) -> list[tuple[str, int]]:
        """The members of an enumeration under names that the language can have, with their values."""
        names = names or Names()
        what = f"{kind.kind.__name__} has a member, and its name"
        return [(names.give(self.safe(self.checked_name(name, what))), value) for name, value in kind.members]

    def _path(self, structure: Structure, field: str) -> str:
        return field if structure is self.structure else f"{structure.name}.{field}"

    def refused(self, field: str | None, why: str) -> SchemaError:
        """The error for what the language cannot express."""
        model = self.model.__name__
        what = f"{model}.{field}" if field else model
        return SchemaError(f"{what} cannot be expressed in {self.language}: {why}", model=model, field=field)

    def _check_types(self) -> None:
        kinds: dict[str, object] = {}
        named = [(each.name, each) for each in self.structures]
        for name, kind in [*named, *((choice.kind.__name__, choice.kind) for choice in self.structure.choices())]:
            if kinds.setdefault(name, kind) is not kind and kinds[name] != kind:
                raise self.refused(None, f"two types are called {name}; rename one")
        for structure in self.structures:
            for step in structure.steps:
                if isinstance(step, FieldStep):
                    field = self._path(structure, step.name)
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
    def refusal(self, field: str, why: str, *, too_long: bool = False) -> str:
        """Ends writing because of a field's value; a statement."""

    @abstractmethod
    def is_unknown(self, kind: Choice, value: str) -> str:
        """Whether a member, or a set of flags, is one that readers refuse; an expression, empty when it cannot be."""

    def check_set(self, kind: Kind, value: str, field: str) -> Lines:
        """Refuses a value that was never given, where the language has such a thing."""
        return []

    def as_stored(self, number: Number, value: str) -> str:
        """A number as it will be read back; an expression."""
        return value

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
