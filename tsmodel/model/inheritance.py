"""What a model class inherits from its bases, and what it must not inherit.

Every fault is a `SchemaError` that names the class, the field and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tsmodel.errors import SchemaError
from tsmodel.keys import KEY_FIELDS
from tsmodel.layout.message_layout import Encoding
from tsmodel.model.field import FieldOptions
from tsmodel.model.model_schema import SCHEMA, FieldSpec, Schema, read_fixed

__all__ = [
    "check_hidden",
    "check_mixins",
    "check_options",
    "fixed_components",
    "inherited_schema",
    "is_abstract",
    "joined",
    "unimplemented",
]


def inherited_schema(name: str, bases: tuple[type, ...]) -> Schema:
    """Returns the schema that a class inherits from its bases."""
    schemas = [schema for base in bases if isinstance(schema := getattr(base, SCHEMA, None), Schema)]
    for schema in schemas:
        if not schema.abstract:
            raise SchemaError(
                f"class {name}: {schema.model} has records of its own, which a subclass would not match; move "
                f"the shared fields into class Base(TSModel, abstract=True) and derive both from it",
                model=name,
            )
    specs: tuple[FieldSpec, ...] = ()
    aliases: dict[str, str] = {}
    key_defaults: dict[str, FieldOptions] = {}
    for schema in schemas:
        specs = joined(name, specs, schema.specs)
        aliases |= schema.aliases
        key_defaults |= schema.key_defaults
    encodings: list[Encoding] = [schema.encoding for schema in schemas if schema.encoding != "struct"]
    return Schema(
        name,
        specs,
        {},
        "big" if any(schema.byte_order == "big" for schema in schemas) else "little",
        True,
        all(schema.has_key for schema in schemas),
        "c" if any(schema.align == "c" for schema in schemas) else "packed",
        encodings[0] if encodings else "struct",
        aliases,
        any(schema.strict_read for schema in schemas),
        any(schema.frozen for schema in schemas),
        key_defaults,
        next((schema.evolution for schema in schemas if schema.evolution and schema.evolution.versioned), None),
        has_weakref=any(schema.has_weakref for schema in schemas),
        has_dict=any(schema.has_dict for schema in schemas),
        retention=next((schema.retention for schema in schemas if schema.retention is not None), None),
    )


def fixed_components(name: str, bases: tuple[type, ...], options: dict[str, object]) -> dict[str, int]:
    """Returns the key components that the class or one of its bases fixes."""
    own = read_fixed(name, options)
    fixed: dict[str, int] = {}
    for base in bases:
        schema = getattr(base, SCHEMA, None)
        for component, value in schema.fixed.items() if isinstance(schema, Schema) else ():
            if component not in own and fixed.setdefault(component, value) != value:
                raise SchemaError(
                    f"class {name}: its bases fix {component} as {fixed[component]} and as {value}; choose one with class "
                    f"{name}(..., {component}={value})",
                    model=name,
                    field=component,
                )
    return {**fixed, **own}


def check_hidden(name: str, inherited: Schema, namespace: dict[str, Any]) -> None:
    """Rejects assignments in a class body that would hide a field."""
    keys = KEY_FIELDS if inherited.has_key else ()
    for taken in (*keys, *inherited.aliases.values(), *(spec.name for spec in inherited.specs)):
        if taken in namespace:
            mend = f"to fix it write class {name}(TSModel, {taken}=…)" if taken in KEY_FIELDS[:3] else "choose another name"
            raise SchemaError(f"{name}.{taken}: this name is a field already; {mend}", model=name, field=taken)


def check_mixins(name: str, bases: tuple[type, ...], *, has_dict: bool) -> None:
    for base in bases if not has_dict else ():
        if not hasattr(base, "__struct_fields__"):
            for cls in base.__mro__[:-1]:
                if "__slots__" not in vars(cls):
                    raise SchemaError(
                        f"class {name}: its base {cls.__name__} gives objects a __dict__, which those of a model do not "
                        f"have; write __slots__ = () in {cls.__name__}, or class {name}(..., dict=True)",
                        model=name,
                    )


def is_abstract(member: object) -> bool:
    """Whether the member is decorated with `abc.abstractmethod`."""
    return bool(getattr(member, "__isabstractmethod__", False))


def unimplemented(bases: tuple[type, ...], namespace: dict[str, Any], fields: Iterable[str]) -> list[str]:
    """Returns the names of the abstract methods that a class with these bases, namespace and fields does not implement."""
    lineage = list(dict.fromkeys(cls for base in bases for cls in base.__mro__))
    names = [name for name, member in namespace.items() if is_abstract(member)]
    known = {*namespace, *fields}
    for name in dict.fromkeys(name for cls in lineage for name, member in vars(cls).items() if is_abstract(member)):
        owners = [cls for cls in lineage if name in vars(cls)]
        first = next(cls for cls in owners if not any(cls is not each and issubclass(each, cls) for each in owners))
        if name not in known and is_abstract(vars(first)[name]):
            names.append(name)
    return names


def joined(
    name: str, first: tuple[FieldSpec, ...], second: tuple[FieldSpec, ...] | list[FieldSpec]
) -> tuple[FieldSpec, ...]:
    known = {spec.name for spec in first}
    for spec in second:
        if spec.name in known and spec not in first:
            raise SchemaError(
                f"{name}.{spec.name} is already declared by a base class; a layout cannot hold it twice: rename one",
                model=name,
                field=spec.name,
            )
    return (*first, *(spec for spec in second if spec.name not in known))


def check_options(name: str, **options: object) -> None:
    """Checks class keywords that accept only certain values."""
    known = {"byte_order": ("little", "big"), "align": ("packed", "c"), "encoding": ("struct", "msgpack", "json")}
    for option, value in options.items():
        if value is not None and value not in known[option]:
            allowed = " or ".join(map(repr, known[option]))
            raise SchemaError(f"class {name}: {option}={value!r}; expected {allowed}", model=name)
