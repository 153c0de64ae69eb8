"""Serializers in other languages: a model's payload for the official clients in C, C++, Java, C# and Python.

A model's layout becomes a description of what to read and write (`tsmodel.types.kinds`), the same for all languages. A
language defines types and names (`languages`); its template is the file to generate, with gaps for the fields (`templates`,
`rendering`).
"""

from __future__ import annotations

import re
from typing import Final

from tsmodel.codegen.languages import LANGUAGES as _LANGUAGES
from tsmodel.codegen.languages import Identifiers, Language
from tsmodel.codegen.rendering import described, source_of
from tsmodel.errors import SchemaError
from tsmodel.model import TSModel

__all__ = ["LANGUAGES", "file_name", "render"]

_ALIASES: Final = {"cpp": "c++", "cxx": "c++", "csharp": "c#", "cs": "c#", "py": "python"}
_NAMESPACE: Final = re.compile("[A-Za-z][A-Za-z0-9_]*")

LANGUAGES: Final = tuple(_LANGUAGES)
"""Names of the languages."""


def render(model: type[TSModel], language: str, *, namespace: str | None = None) -> str:
    """Renders the source of a payload struct and its serializer, in the form that the official client of a language
    expects.

    The text depends on the model alone, so it can be kept under version control and compared in a test. Code for C and C++
    is a header; for Java and C#, it is a class with the fields, named like the model. `file_name` returns the file name.

    Args:
        model: the model; an abstract one has no payload of its own.
        language: `c` (C99), `c++` (C++14, also `cpp`), `java`, `c#` (also `csharp`), or `python` (for the official client).
        namespace: namespace of C++ code, such as `acme::meters`; by default the global one.

    Raises:
        SchemaError: if the language cannot express the model, or `language` is unknown.
        MissingLibraryError: if Jinja2 is not installed; the extra `codegen` installs it.
    """
    found = _language(language)
    return source_of(model, described(model), found, _namespace(namespace, found))


def file_name(model: type[TSModel], language: str) -> str:
    """Returns the file name for the source of a model.

    It is the name of the class in that language, which Java requires: a model named `String` becomes the class `String_` in
    `String_.java`.

    Raises:
        SchemaError: as for `render`.
    """
    found, payload = _language(language), described(model)
    return f"{Identifiers(found, model, payload).type_name(payload.name)}.{found.suffix}"


def _language(language: str) -> Language:
    name = language.lower() if isinstance(language, str) else language
    found = _LANGUAGES.get(_ALIASES.get(name, name))
    if found is None:
        raise SchemaError(f"no code is generated for {language!r}; languages are {', '.join(LANGUAGES)}")
    return found


def _namespace(namespace: str | None, language: Language) -> tuple[str, ...]:
    if namespace is None:
        return ()
    if language.name != "C++":
        raise SchemaError(f"namespace={namespace!r} is only for C++, not for {language.name}")
    names = tuple(namespace.split("::"))
    for name in names:
        if not _NAMESPACE.fullmatch(name) or language.safe(name) != name or name in ("std", "tstorage", "tsmodel_runtime"):
            raise SchemaError(f"{name!r} cannot be a namespace of generated C++; give names such as acme::meters")
    return names
