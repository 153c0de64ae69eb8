"""Renders templates: a model's layout becomes a description of what to read and write, and then source text.

Rules kept here:

* A template looks like the file it produces. A macro that returns whole lines has its own line, and its result is indented
  like that line. A line with only an empty result is dropped.
* Text from a model only goes into comments, and is escaped here. Names are checked identifiers (`Identifiers`).
* The result depends on the model alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tsmodel.codegen.languages import Identifiers, Language
from tsmodel.errors import SchemaError
from tsmodel.frames import library
from tsmodel.layout import Layout, LayoutField
from tsmodel.layout.message_layout import MessageLayout
from tsmodel.layout.placing import Slot
from tsmodel.model.meta import schema_of
from tsmodel.model.model_schema import SchemaMember
from tsmodel.types.kinds import (
    BitField,
    Bitmap,
    BitUnit,
    Bytes,
    Choice,
    FieldStep,
    Gap,
    Items,
    Number,
    Step,
    Structure,
    Text,
    Version,
)
from tsmodel.types.scalars import SCALARS, Scalar

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["described", "source_of"]


Members: TypeAlias = Mapping[str, SchemaMember]


def described(model: type[Any]) -> Structure:
    """Describes what to read and write for the payload of a model.

    Raises:
        SchemaError: if the model is abstract, or the payload is a message.
    """
    schema = schema_of(model)
    if schema.abstract:
        raise SchemaError(f"{schema.model} is abstract: render a subclass", model=schema.model)
    layout = schema.layout
    if isinstance(layout, MessageLayout):
        raise SchemaError(
            f"{model.__name__} is stored as {layout.encoding}, which libraries of any language read; code is generated for "
            "byte layouts only",
            model=model.__name__,
        )
    return _structure(model.__name__, layout, model)


def _structure(name: str, layout: Layout, kind: type[Any]) -> Structure:
    members = schema_of(kind).members
    steps: list[Step] = [] if layout.version is None else [Version(layout.version)]
    fields = {field.slot: field for field in layout.fields}
    for part in layout.parts:
        if isinstance(part, Slot):
            if part.gap:
                steps.append(Gap(part.gap))
            if part.codec is None:
                steps.append(Bitmap(layout.bitmap, sum(field.bit is not None for field in layout.fields)))
            elif part.codec.bits is not None:
                steps.append(_unit([field for field in layout.fields if field.slot == part.name], members))
            else:
                steps.append(_field(name, fields[part.name], members))
        else:
            steps.append(_field(name, part, members))
    if layout.tail:
        steps.append(Gap(layout.tail))
    return Structure(name, tuple(steps), layout.size)


def _unit(fields: list[LayoutField], members: Members) -> BitUnit:
    parts = []
    for field in fields:
        options = members[field.name].options
        parts.append(BitField(field.name, field.fixed.bits or 0, field.fixed.shift, options.unit, options.doc))
    unit = fields[0].fixed.declared(_struct)
    assert isinstance(unit, Number)
    return BitUnit(unit.scalar, unit.byte_order, tuple(parts))


def _field(model: str, field: LayoutField, members: Members) -> FieldStep:
    item, null = field.item, None
    kind = item.declared(_struct)
    if item.is_nullable:
        if not isinstance(kind, (Number, Choice)) or item.as_fixed is None:
            raise SchemaError(
                f"{model}.{field.name}: null= is supported only for numbers",
                model=model,
                field=field.name,
            )
        zero: Any = item.as_fixed.zero  # as it is read: rounded to the width of the float
        null = int(zero) if isinstance(zero, bool) else zero
    options = members[field.name].options
    return FieldStep(field.name, kind, item.size, field.bit, null, options.unit, options.doc)


def _struct(kind: type[Any]) -> Structure:
    return _structure(kind.__name__, schema_of(kind).layout, kind)


_BLOCK: Final = re.compile(r"^( *)\x02\n([^\x02\x03]*)\x03\n", re.MULTILINE)
_EMPTY: Final = re.compile(r"^ *\x00[ \x00]*\n|\x00", re.MULTILINE)
_TESTS: Final = {
    "version": Version,
    "gap": Gap,
    "bitmap": Bitmap,
    "bit_unit": BitUnit,
    "bit_field": BitField,
    "number": Number,
    "choice": Choice,
    "structure": Structure,
    "items": Items,
    "text": Text,
    "bytes": Bytes,
}


def source_of(model: type[Any], payload: Structure, language: Language, namespace: tuple[str, ...] = ()) -> str:
    """Renders the source of a model's payload type.

    Args:
        model: the model.
        payload: the structure of its payload.
        language: the language.
        namespace: namespace of the code, for languages with namespaces.

    Raises:
        SchemaError: if the language cannot express it.
        MissingLibraryError: if Jinja2 is not installed.
    """
    names = Identifiers(language, model, payload)
    counter = _Counter()

    def once(name: str, suffix: str = "", *, caller: Callable[[], str]) -> str:
        """Guards a definition that several headers may contain. Equal ones are compiled once; different ones clash."""
        body = _expanded(caller())
        text = "\n".join([*namespace, body.removesuffix("\n")])
        digest = hashlib.sha256(text.encode()).hexdigest()[:8].upper()
        guard = f"TSMODEL_{name.replace('::', '_')}_{digest}{suffix}"
        return f"#ifndef {guard}\n#define {guard}\n{body}#endif\n"

    template = _environment().get_template(language.template)
    text = template.render(
        model=model.__name__,
        payload=payload,
        structures=[*payload.within(), payload],
        choices=payload.choices(),
        namespace=namespace,
        names=names,
        type_name=names.type_name,
        header=lambda: _header(model, language),
        docs=lambda step: _docs(step, language),
        note=lambda step: _note(step, language),
        type=lambda kind: language.types[(kind if isinstance(kind, Scalar) else kind.scalar).name],
        constant=lambda value, kind: language.constant(value, kind if isinstance(kind, Scalar) else kind.scalar),
        byte=Number(SCALARS["UInt8"], "little"),
        integer_for=_integer_for,
        once=once,
        local=counter.fresh,
        restart=counter.restart,
    )
    return language.finished(_expanded(text))


def _integer_for(value: int, least: str = "Int32") -> Scalar:
    """The smallest of Int32, Int64 and UInt64 that holds a value, but at least `least`."""
    sizes = ("Int32", "Int64", "UInt64")
    fitting = [SCALARS[size] for size in sizes[sizes.index(least) :]]
    return next(each for each in fitting if each.limits and each.limits[0] <= value <= each.limits[1])


class _Counter:
    """Numbers the local variables of a function."""

    def __init__(self) -> None:
        self._last = 0

    def restart(self) -> None:
        self._last = 0

    def fresh(self, stem: str) -> str:
        self._last += 1
        return f"{stem}{self._last}"


@cache
def _environment() -> Environment:
    jinja2 = library("jinja2", "code in other languages")
    environment: Environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        extensions=["jinja2.ext.do"],
        undefined=jinja2.StrictUndefined,
        finalize=_marked,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.tests.update({name: lambda value, kind=kind: isinstance(value, kind) for name, kind in _TESTS.items()})
    return environment


def _template(name: str) -> str:
    return (files("tsmodel.codegen") / "templates" / name).read_text(encoding="utf-8")


def _marked(value: Any) -> Any:
    """Marks results of template expressions that are whole lines or empty."""
    if value == "":
        return "\0"
    return f"\x02\n{value}\x03" if isinstance(value, str) and value.endswith("\n") else value


def _expanded(text: str) -> str:
    """Indents results that are marked as whole lines, innermost first, and drops empty ones."""
    count = 1
    while count:
        text, count = _BLOCK.subn(_moved_in, text)
    text = _EMPTY.sub("", text)
    assert "\x02" not in text, "a macro that returns lines must have its own line"
    return text


def _moved_in(block: re.Match[str]) -> str:
    margin, lines = block.groups()
    return "".join(margin + line if line != "\n" else line for line in lines.splitlines(keepends=True))


def _header(model: type[Any], language: Language) -> str:
    """The header comment: title, layout table, fingerprint."""
    lines = [
        f"The payload of {model.__name__} records. Made by tsmodel: change the model, not this.",
        "",
        *str(schema_of(model).layout).splitlines(),
        "",
        f"fingerprint {model.fingerprint}",
    ]
    return "".join(f"{_commented(line, language)}\n" for line in lines)


def _docs(step: FieldStep | BitField, language: Language) -> list[str]:
    """The documentation of a field, as comment lines."""
    return [_commented(text, language) for line in (step.doc or "").splitlines() if (text := _in_one_line(line))]


def _note(step: FieldStep | BitField, language: Language) -> str:
    """The note after the declaration of a field, as a comment."""
    note = f"{step.bits} bits" if isinstance(step, BitField) else getattr(step.kind, "note", "")
    notes = [text for each in (note, step.unit or "") if (text := _in_one_line(each))]
    gap = "  " if language.comment == "#" else " "
    return gap + _commented(", ".join(notes), language) if notes else ""


def _in_one_line(text: str) -> str:
    return " ".join(_printable(text).split())


def _commented(line: str, language: Language) -> str:
    """Makes any text a comment line."""
    text = _printable(line).rstrip()
    if language.reads_escapes_in_comments:
        text = text.replace("\\", "\\\\")
    if text.endswith(("\\", "??/")):  # would continue the comment on the next line, in C and C++
        text += " ."
    return f"{language.comment} {text}".rstrip()


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)
