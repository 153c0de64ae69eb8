"""The names of generated code: those of the model, changed where the language or the code itself has another use for them.

Rules kept here:

* A name is an identifier of the language, or the model is refused. So no name can be code.
* Each scope has each name once. A name that is taken gets an underscore behind it, in the order of the model.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from tsmodel.codegen.languages import Language, Role
from tsmodel.errors import SchemaError
from tsmodel.types.kinds import BitField, Choice, FieldStep, Items, Kind, Structure

__all__ = ["Enumerator", "Identifiers"]


@attrs.frozen
class Enumerator:
    """A member of an enumeration as the source declares it.

    Attributes:
        name: its name.
        value: its value.
        alias: another name for it, for C++ where a header may make a macro of the first one; None when there is none.
    """

    name: str
    value: int
    alias: str | None = None


class _Names:
    """The names of one scope."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def give(self, name: str, derived: Callable[[str], Iterable[str]] = lambda _: ()) -> str:
        """A name that is free, as are all names derived from it; with underscores behind it as far as that takes."""
        while not self._taken.isdisjoint((name, *derived(name))):
            name += "_"
        self._taken.update((name, *derived(name)))
        return name


class Identifiers:
    """The names of one model's code in one language.

    Args:
        language: the language.
        model: the model.
        payload: the structure of its payload.

    Raises:
        SchemaError: when the language cannot express a name.
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
        """The name of the type of a structure or an enumeration."""
        return self._types[name]

    def has_type(self, name: str) -> bool:
        """Whether a structure, or an enumeration that is no set of flags, has this name."""
        structures = [each.name for each in (self._payload, *self._payload.within())]
        choices = [choice.name for choice in self._payload.choices() if not choice.is_set]
        return any(self._types[each] == name for each in (*structures, *choices))

    def field(self, structure: Structure, name: str) -> str:
        """The name of a field."""
        return self._of(structure)[name]

    def flag(self, structure: Structure, name: str) -> str:
        """The name of the member that says whether an optional field has a value."""
        return self._of(structure)[f"has {name}"]

    def members(self, choice: Choice, taken: Iterable[str] = ()) -> list[Enumerator]:
        """The members of an enumeration that is a scope of its own, in which some names are taken."""
        names = _Names(taken)
        pairs = [(self._member(choice, name), value) for name, value in choice.members]
        return [Enumerator(names.give(self._language.safe(name)), value) for name, value in pairs]

    def prefixed_members(self, choice: Choice) -> list[Enumerator]:
        """The members of an enumeration whose names are in the scope of the types, so that they begin with its name."""
        members = []
        for name, value in choice.members:
            self._member(choice, name)
            members.append(Enumerator(self._scope.give(self._language.safe(_bare(f"{choice.name}_{name}"))), value))
        return members

    def members_beside_macros(self, choice: Choice) -> list[Enumerator]:
        """As `members`, for C++: a name in capitals stays, and gets an alias in case a header makes a macro of it."""
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
        # Types begin with a capital: what does not may be the name of a type or a function in some header.
        wanted = self._language.safe(wanted) if wanted[0].isupper() or not wanted.isascii() else f"{wanted}_"
        self._types[name] = self._scope.give(wanted, lambda name: self._language.derived(name, role))

    def _of(self, structure: Structure) -> dict[str, str]:
        found = self._fields.get(structure.name)
        if found is None:
            found = self._fields[structure.name] = {}
            # In some languages, a field may not have the name of a type beside it.
            names, safe = _Names(self._types.values()), self._language.safe
            for step in structure.fields:
                found[step.name] = names.give(safe(self._checked(step.name, "the name", self._path(structure, step))))
            for step in structure.fields:
                found[f"has {step.name}"] = names.give(safe(f"has_{_bare(step.name)}"))
        return found

    def _path(self, structure: Structure, step: FieldStep | BitField) -> str:
        return step.name if structure is self._payload else f"{structure.name}.{step.name}"

    def _checked(self, name: str, what: str, field: str | None = None) -> str:
        """A name without leading underscores, if the language can have it for an identifier."""
        language = self._language
        if not isinstance(name, str) or not name.isidentifier():
            raise self._refused(field, f"{what} {name!r} is not an identifier; rename it")
        if language.ascii_only and not name.isascii():
            raise self._refused(field, f"{what} {name!r} is not ASCII; rename it")
        if unicodedata.normalize("NFKC", name) != name or not all(map(language.takes_letter, name)):
            raise self._refused(field, f"{what} {name!r} has characters that not all compilers take; rename it")
        return _bare(name)

    def _check_types(self) -> None:
        types: dict[str, object] = {}
        for structure in (*self._payload.within(), self._payload):
            if types.setdefault(structure.name, structure) != structure:
                raise self._refused(None, f"two types are called {structure.name}; rename one")
        for choice in self._payload.choices():
            if types.setdefault(choice.name, choice.kind) is not choice.kind:
                raise self._refused(None, f"two types are called {choice.name}; rename one")
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
    """A name with its leading underscores moved to its end: languages give them a meaning in front."""
    stripped = name.lstrip("_")
    moved = stripped + "_" * (len(name) - len(stripped))
    return moved if stripped and not stripped[0].isdigit() else f"x{moved}"
