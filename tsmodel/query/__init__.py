"""Queries: conditions become key ranges and a residual filter, and their records rows."""

from tsmodel.query.explain import Explanation
from tsmodel.query.planning import Plan
from tsmodel.query.query import Query
from tsmodel.query.query_async import AsyncQuery
from tsmodel.query.spec import QuerySpec
from tsmodel.query.stats import RunStats

__all__ = ["AsyncQuery", "Explanation", "Plan", "Query", "QuerySpec", "RunStats"]
