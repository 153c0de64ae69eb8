"""`Reading | Event`: queries over several models.

Rules kept here:

* Fixed key components, a version byte or the payload size must distinguish the records of any two models, in all their
  versions. A union for which that is impossible is rejected before any data is read.
* The models of a union share only the key. A condition on a column of one model matches no record of the others.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec

from tsmodel.errors import QueryError
from tsmodel.layout.row_codecs import Discriminator
from tsmodel.layout.versions import UnionRowCodec
from tsmodel.model.model_schema import SCHEMA, Schema

__all__ = ["ModelUnion", "models_of", "queried"]


class ModelUnion:
    """Several models, used in place of a single one.

    Attributes:
        models: the classes.
    """

    def __init__(self, models: tuple[type, ...]) -> None:
        schemas = [_schema(model) for model in models]
        self.models: Final = models
        self.__name__ = " | ".join(schema.model for schema in schemas)
        members = [(schema.model, schema.codec) for schema in schemas if schema.codec is not None]
        for (one, first), (other, second) in combinations(members, 2):
            for discriminator in first.discriminators:
                for against in second.discriminators:
                    if not discriminator.is_disjoint(against):
                        raise QueryError(_ambiguous(one, discriminator, other, against))
        schema = Schema(self.__name__, (), _common(schemas), "little", False, codec=UnionRowCodec(self.__name__, members))
        setattr(self, SCHEMA, schema)

    def __eq__(self, other: object) -> bool:
        return self.models == other.models if isinstance(other, ModelUnion) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.models)

    def __reduce__(self) -> tuple[Any, ...]:
        return _union, (self.models,)

    def __repr__(self) -> str:
        return self.__name__


def queried(model: Any) -> Any:
    """Returns what to query: a model class unchanged, or a `ModelUnion` for `Reading | Event`.

    Raises:
        QueryError: if a member of a union is not a model, or the records of two members cannot be distinguished.
    """
    return _union(get_args(model)) if get_origin(model) in (Union, UnionType) else model


def models_of(model: Any) -> tuple[type, ...]:
    """The model classes of a query."""
    return model.models if isinstance(model, ModelUnion) else (model,)


@lru_cache(maxsize=128)
def _union(models: tuple[type, ...]) -> ModelUnion:
    return ModelUnion(models)


def _schema(model: Any) -> Schema:
    schema = getattr(model, SCHEMA, None) if isinstance(model, type) else None
    if not isinstance(schema, Schema) or schema.codec is None:
        raise QueryError(f"{getattr(model, '__name__', model)} in a union is not a model with records")
    return schema


def _common(schemas: list[Schema]) -> dict[str, int]:
    first, *others = (schema.fixed for schema in schemas)
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _ambiguous(one: str, discriminator: Discriminator, other: str, against: Discriminator) -> str:
    if msgspec.structs.replace(discriminator, until=None) == msgspec.structs.replace(against, until=None):
        return f"{one} | {other}: both read records of {discriminator.model}; leave out the older version of the two"
    return (
        f"{one} | {other}: their records cannot be told apart: {discriminator}, and {against}. Fix a key component in "
        f"each, as in class {one}(TSModel, moid=7) and class {other}(TSModel, moid=8), or give each a version byte of its "
        f"own, as in class {one}(TSModel, version=1) and class {other}(TSModel, version=2)"
    )
