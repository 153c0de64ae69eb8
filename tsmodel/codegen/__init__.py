"""Serializers in other languages: a model's payload for the official clients in C, C++, Java, C# and Python.

Imports here point downward: `plan` and `planning` (a layout as steps), `language` (how a language writes
things), `emitting` (what is read and written, in all of them), `c_family` and `managed`, languages.
"""

from __future__ import annotations

from typing import Final

from tsmodel.codegen.c import CEmitter
from tsmodel.codegen.cpp import CppEmitter
from tsmodel.codegen.csharp import CSharpEmitter
from tsmodel.codegen.emitting import Emitter
from tsmodel.codegen.java import JavaEmitter
from tsmodel.codegen.planning import planned
from tsmodel.codegen.python import PythonEmitter
from tsmodel.errors import SchemaError
from tsmodel.model import TSModel
from tsmodel.model.meta import schema_of

__all__ = ["LANGUAGES", "file_name", "render"]

_EMITTERS: Final[dict[str, type[Emitter]]] = {
    "c": CEmitter,
    "c++": CppEmitter,
    "java": JavaEmitter,
    "c#": CSharpEmitter,
    "python": PythonEmitter,
}
_ALIASES: Final = {"cpp": "c++", "cxx": "c++", "csharp": "c#", "cs": "c#", "py": "python"}

LANGUAGES: Final = tuple(_EMITTERS)
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
    """
    return _emitter(model, language, namespace).source()


def file_name(model: type[TSModel], language: str) -> str:
    """The name of the file that the source of a model goes into.

    It is that of the class as the language can have it, and Java asks for just this one: a model named `String` is the
    class `String_` there, and its file is `String_.java`.

    Raises:
        SchemaError: as for `render`.
    """
    emitter = _emitter(model, language, None)
    return f"{emitter.type_name(emitter.structure.name)}.{emitter.suffix}"


def _emitter(model: type[TSModel], language: str, namespace: str | None) -> Emitter:
    name = language.lower() if isinstance(language, str) else language
    name = _ALIASES.get(name, name)
    emitter = _EMITTERS.get(name)
    if emitter is None:
        raise SchemaError(f"no code is made for {language!r}; languages are {', '.join(LANGUAGES)}")
    if namespace is not None and name != "c++":
        raise SchemaError(f"namespace={namespace!r} is for C++, and not for {language}")
    schema = schema_of(model)
    if schema.abstract:
        raise SchemaError(f"{schema.model} is abstract: render a class derived from it", model=schema.model)
    return emitter(model, planned(model), () if namespace is None else tuple(namespace.split("::")))
