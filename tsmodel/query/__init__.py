"""Queries: conditions become key ranges and a residual filter, and their records rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.query.explain import Explanation, RunStats
    from tsmodel.query.plan import Plan
    from tsmodel.query.query import Query
    from tsmodel.query.query_async import AsyncQuery
    from tsmodel.query.spec import QuerySpec
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "explain": "Explanation RunStats",
            "plan": "Plan",
            "query": "Query",
            "query_async": "AsyncQuery",
            "spec": "QuerySpec",
        },
    )

__all__ = ["AsyncQuery", "Explanation", "Plan", "Query", "QuerySpec", "RunStats"]
