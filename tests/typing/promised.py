"""Stand-ins for names of the typing contract that tsmodel does not have yet, with the types they are to have.

The contract is checked with these in their place: so what is there is held to it, and what is promised is known to be
possible with both checkers. A name that is delivered must go from here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from enum import Enum
from types import TracebackType
from typing import Generic, TypeVar

from typing_extensions import Self

from tsmodel import Receipt, TSModel
from tsmodel.model import FieldType
from tsmodel.query.query import QueryBuilder

M = TypeVar("M", bound=TSModel)
E = TypeVar("E", bound=Enum)


class Enumerated(FieldType[E], Generic[E]): ...


class Text(FieldType[str]): ...


class AsyncQuery(QueryBuilder[M]):
    async def all(self) -> list[M]: ...  # type: ignore[empty-body]
    async def first(self) -> M | None: ...
    def __aiter__(self) -> AsyncIterator[M]: ...  # type: ignore[empty-body]


class AsyncSession:
    async def add_all(self, rows: Iterable[TSModel]) -> None: ...
    async def flush(self) -> Receipt: ...  # type: ignore[empty-body]
    def query(self, model: type[M]) -> AsyncQuery[M]: ...  # type: ignore[empty-body]
    async def __aenter__(self) -> Self: ...  # type: ignore[empty-body]
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def connect_async(target: str) -> AsyncSession: ...  # type: ignore[empty-body]
