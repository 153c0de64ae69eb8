"""Serializers in other languages: a model's payload for the official clients in C, C++, Java, C# and Python.

A model's layout becomes a description of what to read and write (`description`, `tsmodel.types.kinds`), the same for all
languages. A language says how types and names look in it (`languages`, `naming`); its template is the file to be made, with
gaps for the fields (`templates`, `rendering`).
"""

from __future__ import annotations

import re
from typing import Final

from tsmodel.codegen.languages import LANGUAGES as _LANGUAGES
from tsmodel.codegen.languages import Identifiers, Language
from tsmodel.codegen.rendering import described, source_of
from tsmodel.errors import SchemaError
from tsmodel.model import TSModel
from tsmodel.model.meta import schema_of

__all__ = ["LANGUAGES", "file_name", "render"]

_ALIASES: Final = {"cpp": "c++", "cxx": "c++", "csharp": "c#", "cs": "c#", "py": "python"}
_NAMESPACE: Final = re.compile("[A-Za-z][A-Za-z0-9_]*")

LANGUAGES: Final = tuple(_LANGUAGES)
"""Names of the languages."""


def render(model: type[TSModel], language: str, *, namespace: str | None = None) -> str:
    """The source of a payload struct and its serializer, in the shape that the official client of a language expects.

    The text depends on the model alone: it may be kept under version control, and compared in a test. Code for C and C++ is
    a header; for Java and C# a class with the fields, named as the model. `file_name` says under which name to save it.

    Args:
        model: the model; an abstract one has no payload of its own.
        language: `c` (C99), `c++` (C++14, also `cpp`), `java`, `c#` (also `csharp`), or `python` (for the official client).
        namespace: of C++, such as `acme::meters`; the global one when nothing is said.

    Raises:
        SchemaError: when the language cannot express the model, or `language` is none of these.
        MissingLibraryError: when Jinja2 is not installed, which the extra `codegen` brings along.
    """
    found = _language(language)
    names = _namespace(namespace, found)
    _check_concrete(model)
    return source_of(model, described(model), found, names)


def file_name(model: type[TSModel], language: str) -> str:
    """The name of the file that the source of a model goes into.

    It is that of the class as the language can have it, and Java asks for just this one: a model named `String` is the
    class `String_` there, and its file is `String_.java`.

    Raises:
        SchemaError: as for `render`.
    """
    found = _language(language)
    _check_concrete(model)
    payload = described(model)
    return f"{Identifiers(found, model, payload).type_name(payload.name)}.{found.suffix}"


def _language(language: str) -> Language:
    name = language.lower() if isinstance(language, str) else language
    found = _LANGUAGES.get(_ALIASES.get(name, name))
    if found is None:
        raise SchemaError(f"no code is made for {language!r}; languages are {', '.join(LANGUAGES)}")
    return found


def _namespace(namespace: str | None, language: Language) -> tuple[str, ...]:
    if namespace is None:
        return ()
    if language.name != "C++":
        raise SchemaError(f"namespace={namespace!r} is for C++, and not for {language.name}")
    names = tuple(namespace.split("::"))
    for name in names:
        if not _NAMESPACE.fullmatch(name) or language.safe(name) != name or name in ("std", "tstorage", "tsmodel_runtime"):
            raise SchemaError(f"{name!r} cannot be a namespace of generated C++; give names such as acme::meters")
    return names


def _check_concrete(model: type[TSModel]) -> None:
    schema = schema_of(model)
    if schema.abstract:
        raise SchemaError(f"{schema.model} is abstract: render a class derived from it", model=schema.model)
