"""Versions of a model: the class keywords `replaces`, `versioned`, `version` and `since`.

Rules kept here:

* The version byte, the payload size or the capture time must distinguish the records of a version from those of every
  older one. Otherwise the class is rejected when it is created; reading never guesses.
* An upgraded record keeps its key, so a newer version must fix at least the key components that the older one fixes.
* Versions form a chain that is complete when the class is created. The newer version knows the older one. The older one
  does not change, and reads and writes as if the newer one did not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from tsmodel.errors import SchemaError, TimestampError
from tsmodel.keys import LIMITS
from tsmodel.layout import RowCodec
from tsmodel.layout.row_codecs import Discriminator
from tsmodel.layout.versions import EvolvingRowCodec, before
from tsmodel.model.model_schema import SCHEMA, Evolution, Schema
from tsmodel.timestamps import TimeLike, to_iso, to_ns

__all__ = ["chain_of", "read_evolution", "upgrading", "with_versions"]

F = TypeVar("F", bound=Callable[..., Any])


def read_evolution(
    name: str,
    inherited: Evolution,
    *,
    plain: bool,
    replaces: type | None,
    versioned: bool | None,
    version: int | None,
    since: TimeLike | None,
) -> Evolution:
    """Reads the class keywords. `plain` marks an abstract class or a structure, which has no versions.

    Raises:
        SchemaError: if a keyword is invalid, or requires another that is missing.
    """
    given = [("replaces", replaces), ("version", version), ("since", since)]
    wrong = [option for option, value in given if value is not None]
    if plain and wrong:
        raise SchemaError(f"class {name}: {wrong[0]}= applies only to models with records", model=name)
    old = getattr(replaces, SCHEMA, None) if isinstance(replaces, type) else None
    if replaces is not None and (not isinstance(old, Schema) or old.codec is None):
        raise SchemaError(f"class {name}: replaces={replaces!r} is not a model with records", model=name)
    if versioned not in (None, True, False):
        raise SchemaError(
            f"class {name}: versioned={versioned!r} is not True or False. To set the value of the version byte, write "
            f"version={versioned!r}",
            model=name,
        )
    if version is not None and (type(version) is not int or not 0 <= version <= 255):
        raise SchemaError(f"class {name}: version={version!r} is not an int from 0 to 255", model=name)
    if version is not None and versioned is False:
        raise SchemaError(
            f"class {name}: version={version} sets a version byte, but versioned=False says there is none", model=name
        )
    if since is not None and old is None:
        raise SchemaError(
            f"class {name}: since= is the capture time at which this version starts, so it needs an older version: name "
            "it with replaces=",
            model=name,
        )
    earlier = old.evolution if old is not None else None
    if versioned is None:
        versioned = version is not None or inherited.versioned or (earlier is not None and earlier.versioned)
    number = version if version is not None else earlier.number + 1 if earlier else 1
    if versioned and number > 255:
        raise SchemaError(
            f"class {name}: a version byte is at most 255; give version= a value that is no longer in use", model=name
        )
    return Evolution(old, bool(versioned), number, None if since is None else _time(name, since))


def _time(name: str, since: TimeLike) -> int:
    try:
        cap = to_ns(since)
    except TimestampError as error:
        raise SchemaError(f"class {name}: since={since!r}: {error}", model=name) from error
    if not LIMITS["cap"].least < cap < LIMITS["cap"].bound:
        raise SchemaError(f"class {name}: since={since!r}: no record has such a capture time", model=name)
    return cap


def chain_of(schema: Schema) -> Iterator[Schema]:
    """Yields a schema and those that it replaces, newest first."""
    current: Schema | None = schema
    while current is not None:
        yield current
        current = current.evolution.replaces


def with_versions(schema: Schema, codec: RowCodec[Any], cls: type) -> RowCodec[Any]:
    """Returns a codec that also reads records of older versions; `codec` itself if there are none.

    Raises:
        SchemaError: if the records cannot be distinguished from those of an older version.
    """
    evolution = schema.evolution
    least, most = schema.layout.least_size, schema.layout.size
    own = Discriminator(schema.model, least, most, schema.layout.version, schema.fixed, evolution.since)
    codec.discriminators = (own,)
    old = evolution.replaces
    if old is None:
        return codec
    assert old.codec is not None
    _check_fixed(schema, old)
    if evolution.since is not None:
        for each in chain_of(old):
            cap = each.evolution.since
            if cap is not None and cap >= evolution.since:
                raise SchemaError(
                    f"class {schema.model}: since= is {to_iso(evolution.since)}, but records of {each.model} start at "
                    f"{to_iso(cap)}; a newer version must start later",
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
                f"class {schema.model}: it {says}, but {old.model}, which it replaces, fixes {name} as {value}; an "
                f"upgraded record keeps its key: write {name}={value} here as well",
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
            f"give it a version byte with {head}, versioned=True)"
            if own.version is None
            else f"choose another version with {head}, version={longer.version})"
        )
    mends.append(f'give the capture time at which {name} starts with {head}, since="2026-01-01T00:00:00Z")')
    mend = f"Either {mends[0]}, or {mends[1]}" if len(mends) > 1 else f"{mends[0][0].upper()}{mends[0][1:]}"
    return f"class {name}: its records cannot be distinguished from those of {discriminator.model}: {same}. {mend}"


def upgrading(schema: Schema, old: type) -> Callable[[F], F]:
    """Returns the decorator `@New.upgrade_from(Old)`, which registers a function.

    Raises:
        SchemaError: if the model does not replace `old`.
    """
    codec, name = schema.codec, schema.model
    asked = getattr(old, SCHEMA, None)
    if not isinstance(codec, EvolvingRowCodec):
        raise SchemaError(f"{name} replaces no model: write class {name}(TSModel, replaces={_named(old)})", model=name)
    replaced = schema.evolution.replaces
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
