"""Versions of a model: what the class keywords `replaces`, `versioned`, `version` and `since` say, and what follows.

Rules kept here:

* Records of a version must be told from those of every older one: by the version byte, by the payload's size, or by their
  capture time. A class whose records cannot be told apart is not made; nothing is guessed when reading.
* An upgraded record keeps its key, so all versions fix the same key components, or the newer one fixes more.
* Versions form a chain that is complete when the class is made. The newer version knows the older one; the older one is not
  changed, and reads and writes as if the newer one did not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from tsmodel.errors import SchemaError, TimestampError
from tsmodel.keys import LIMITS
from tsmodel.layout import RowCodec
from tsmodel.layout.matching import Discriminator, payload_sizes
from tsmodel.layout.versions import EvolvingRowCodec, before
from tsmodel.model.model_schema import SCHEMA, Schema
from tsmodel.timestamps import TimeLike, to_iso, to_ns

__all__ = ["Evolution", "chain_of", "read_evolution", "upgrading", "with_versions"]

F = TypeVar("F", bound=Callable[..., Any])


class Evolution(msgspec.Struct, frozen=True):
    """The place of a model among its versions.

    Attributes:
        replaces: schema of the version before; None for the first.
        versioned: whether payloads begin with a version byte.
        number: the version: 1 for the first, one more for each that replaces another, unless the class says it.
        since: capture time from which on records are of this version; None when nothing is said.
    """

    replaces: Schema | None = None
    versioned: bool = False
    number: int = 1
    since: int | None = None


def read_evolution(
    name: str,
    inherited: Evolution | None,
    *,
    plain: bool,
    replaces: type | None,
    versioned: bool | None,
    version: int | None,
    since: TimeLike | None,
) -> Evolution:
    """What class keywords say; `plain` for an abstract class or a structure, of which there are no versions.

    Raises:
        SchemaError: when a keyword is not valid, or goes without another.
    """
    given = [("replaces", replaces), ("version", version), ("since", since)]
    wrong = [option for option, value in given if value is not None]
    if plain and wrong:
        raise SchemaError(f"class {name}: {wrong[0]}= is for models with records of their own", model=name)
    old = getattr(replaces, SCHEMA, None) if isinstance(replaces, type) else None
    if replaces is not None and (not isinstance(old, Schema) or old.codec is None):
        raise SchemaError(f"class {name}: replaces={replaces!r} is not a model with records", model=name)
    if versioned not in (None, True, False):
        raise SchemaError(
            f"class {name}: versioned={versioned!r}; it is True for a version byte. Write version={versioned!r} to say "
            "which value it has",
            model=name,
        )
    if version is not None and (type(version) is not int or not 0 <= version <= 255):
        raise SchemaError(f"class {name}: version={version!r} is not an int from 0 to 255", model=name)
    if version is not None and versioned is False:
        raise SchemaError(
            f"class {name}: version={version} is the value of the byte that versioned=False denies", model=name
        )
    if since is not None and old is None:
        raise SchemaError(
            f"class {name}: since= is the capture time from which on records are of this version rather than of an older "
            "one: say which by replaces=",
            model=name,
        )
    earlier = evolution_of(old) if old is not None else None
    if versioned is None:
        versioned = version is not None or any(each is not None and each.versioned for each in (earlier, inherited))
    number = version if version is not None else earlier.number + 1 if earlier else 1
    if versioned and number > 255:
        raise SchemaError(
            f"class {name}: a version byte ends at 255; say version=, with a value no longer in use", model=name
        )
    return Evolution(old, versioned, number, None if since is None else _time(name, since))


def _time(name: str, since: TimeLike) -> int:
    try:
        cap = to_ns(since)
    except TimestampError as error:
        raise SchemaError(f"class {name}: since={since!r}: {error}", model=name) from error
    if not LIMITS["cap"].least < cap < LIMITS["cap"].bound:
        raise SchemaError(f"class {name}: since={since!r}: no record has such a capture time", model=name)
    return cap


def evolution_of(schema: Schema) -> Evolution:
    """A schema's place among its versions."""
    return schema.evolution or Evolution()


def chain_of(schema: Schema) -> Iterator[Schema]:
    """A schema and those that it replaces, the newest first."""
    current: Schema | None = schema
    while current is not None:
        yield current
        current = evolution_of(current).replaces


def with_versions(schema: Schema, codec: RowCodec[Any], cls: type) -> RowCodec[Any]:
    """The codec of a model that has records of older versions to read, as well as its own; the same when it has none.

    Raises:
        SchemaError: when its records cannot be told from those of an older version.
    """
    evolution = evolution_of(schema)
    least, most = payload_sizes(schema.layout)
    own = Discriminator(schema.model, least, most, schema.layout.version, schema.fixed, evolution.since)
    codec.discriminators = (own,)
    old = evolution.replaces
    if old is None:
        return codec
    assert old.codec is not None
    _check_fixed(schema, old)
    if evolution.since is not None:
        for each in chain_of(old):
            cap = evolution_of(each).since
            if cap is not None and cap >= evolution.since:
                raise SchemaError(
                    f"class {schema.model}: since= is {to_iso(evolution.since)}, yet records of {each.model} begin at "
                    f"{to_iso(cap)}; a newer version begins later",
                    model=schema.model,
                )
    for discriminator in before(old.codec.discriminators, evolution.since):
        if not own.is_disjoint(discriminator):
            raise SchemaError(_ambiguous(schema, own, old, discriminator), model=schema.model)
    if evolution.since is not None:
        codec.caps = (evolution.since, LIMITS["cap"].bound)
    return EvolvingRowCodec(codec, old.codec, cls)


def _check_fixed(schema: Schema, old: Schema) -> None:
    for name, value in old.fixed.items():
        if schema.fixed.get(name) != value:
            says = f"fixes {name} as {schema.fixed[name]}" if name in schema.fixed else f"does not fix {name}"
            raise SchemaError(
                f"class {schema.model}: it {says}, and {old.model}, which it replaces, fixes {name} as {value}; an "
                f"upgraded record keeps its key: write {name}={value} here, too",
                model=schema.model,
                field=name,
            )


def _ambiguous(schema: Schema, own: Discriminator, old: Schema, discriminator: Discriminator) -> str:
    name, head = schema.model, f"class {schema.model}(TSModel, replaces={old.model}"
    same = f"both take {own.size}" if own.size == discriminator.size else f"{own}, and {discriminator}"
    mends = []
    longer = msgspec.structs.replace(
        own,
        least=own.least + (own.version is None),
        most=None if own.most is None else own.most + (own.version is None),
        version=1 if discriminator.version is None else discriminator.version + 1,
    )
    if longer.is_disjoint(discriminator):
        mends.append(
            f"give it a version byte by {head}, versioned=True)"
            if own.version is None
            else f"say another version by {head}, version={longer.version})"
        )
    mends.append(f'say from which capture time on records are of {name}, by {head}, since="2026-01-01T00:00:00Z")')
    mend = f"Either {mends[0]}, or {mends[1]}" if len(mends) > 1 else f"{mends[0][0].upper()}{mends[0][1:]}"
    return f"class {name}: its records cannot be told from those of {discriminator.model}: {same}. {mend}"


def upgrading(schema: Schema, old: type) -> Callable[[F], F]:
    """What registers the function under `@New.upgrade_from(Old)`.

    Raises:
        SchemaError: when the model replaces nothing, or another model.
    """
    codec, name = schema.codec, schema.model
    asked = getattr(old, SCHEMA, None)
    if not isinstance(codec, EvolvingRowCodec):
        raise SchemaError(f"{name} replaces no model: write class {name}(TSModel, replaces={_named(old)})", model=name)
    replaced = evolution_of(schema).replaces
    assert replaced is not None
    if asked is not replaced:
        known = [each.model for each in chain_of(schema) if each is asked]
        through = f"; records of {known[0]} become {replaced.model} first, by its own upgrade" if known else ""
        raise SchemaError(f"{name} replaces {replaced.model}, not {_named(old)}{through}", model=name)

    def register(function: F) -> F:
        if not callable(function):
            raise SchemaError(f"{name}.upgrade_from({replaced.model}) decorates a function, not {function!r}", model=name)
        codec.upgrade = function
        return function

    return register


def _named(model: object) -> str:
    return model.__name__ if isinstance(model, type) else repr(model)
