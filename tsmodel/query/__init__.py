"""Queries: conditions become key ranges and a residual filter, and their records rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.query.plan import Explanation, Plan
    from tsmodel.query.query import AsyncQuery, Query
    from tsmodel.query.sinks import RunStats
    from tsmodel.query.spec import QuerySpec
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "plan": "Explanation Plan",
            "query": "AsyncQuery Query",
            "sinks": "RunStats",
            "spec": "QuerySpec",
        },
    )

__all__ = ["AsyncQuery", "Explanation", "Plan", "Query", "QuerySpec", "RunStats"]
