"""Deleting the records of a query: key ranges and a predicate for a backend that can remove records.

Rules kept here:

* A query removes what it counts: records that meet its conditions and match its model. Records that do not match stay,
  unless they are asked for; then only key components decide.
* Each record is judged in its place. A codec may reorder records and leave out mismatches, so records are found again by
  their keys; records with equal keys are read separately.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.backend import Predicate
from tsmodel.errors import QueryError
from tsmodel.keys import KEY_FIELDS, KeyRange
from tsmodel.model.unions import models_of
from tsmodel.query.explain import RunStats
from tsmodel.query.plan import Plan
from tsmodel.query.sinks import Selection
from tsmodel.query.spec import QuerySpec, has_one_layout
from tsmodel.wire.chunk import Chunk, keys_of

__all__ = ["Removing", "removing"]


@attrs.frozen(eq=False)
class Removing:
    """The records to remove.

    Attributes:
        boxes: disjoint key ranges.
        predicate: which of their records.
        what: the query in words.
    """

    boxes: tuple[KeyRange, ...]
    predicate: Predicate
    what: str


def removing(spec: QuerySpec[Any], plan: Plan, *, undecodable: bool) -> Removing:
    """The records that a query removes.

    Args:
        spec: the query.
        plan: its plan.
        undecodable: whether records that do not fit the model are removed too.

    Raises:
        QueryError: when it says which records by more than conditions, or none that can be decided for all records.
    """
    if spec.limit is not None or spec.in_memory:
        asks = "; ".join(filter(None, [spec.in_memory, "" if spec.limit is None else f"limit {spec.limit}"]))
        raise QueryError(f"delete() removes every record that meets the conditions: take {asks} off the query")
    what = f"{spec.model.__name__}: {spec}"
    if not undecodable:
        return Removing(plan.boxes, _Meeting(spec, plan), what)
    if plan.residual or len(models_of(spec.model)) > 1:
        raise QueryError(
            "undecodable=True removes whatever lies in the query's key range, which takes one model, and conditions on key "
            "components only"
        )
    return Removing(plan.boxes, lambda chunk: plan.key_mask(chunk.keys()), f"{what}, undecodable records included")


class _Meeting:
    """The predicate for the records that a query counts.

    Args:
        spec: the query.
        plan: its plan.
    """

    def __init__(self, spec: QuerySpec[Any], plan: Plan) -> None:
        # Mismatches are left out; a failing upgrade is raised nevertheless.
        self._spec = spec.replaced(on_error="skip")
        self._plan = plan
        self._keeps_order = has_one_layout(spec.model)

    def __call__(self, chunk: Chunk) -> npt.NDArray[np.bool_]:
        if self._keeps_order:
            mask = self._in_order(chunk)
            if mask is not None:
                return mask
        mask = np.zeros(len(chunk), np.bool_)
        for places in _apart(chunk):
            part = chunk if len(places) == len(chunk) else chunk.take(places)
            mask[places] = _found(part, self._counted(part))
        return mask

    def _in_order(self, chunk: Chunk) -> npt.NDArray[np.bool_] | None:
        """The mask where every record fits; otherwise None."""
        codec = Selection(self._spec, self._plan, RunStats()).codec
        fit = codec.fit_columns(chunk) if self._plan.residual else codec.fit_keys(chunk)
        if fit.mismatches:
            return None
        mask = self._plan.mask(fit.records)
        return np.ones(len(chunk), np.bool_) if mask is None else mask

    def _counted(self, chunk: Chunk) -> npt.NDArray[Any]:
        """The keys of the records that are counted."""
        return keys_of(Selection(self._spec, self._plan, RunStats()).of(chunk, keys_only=True))


def _apart(chunk: Chunk) -> list[npt.NDArray[np.intp]]:
    """The places of the records, in groups within each of which no two have the same key."""
    columns = [chunk.key(name) for name in KEY_FIELDS]
    order = np.lexsort(columns)
    same = np.ones(max(len(chunk) - 1, 0), np.bool_)
    for column in columns:
        ordered = column[order]
        same &= ordered[1:] == ordered[:-1]
    if not same.any():
        return [np.arange(len(chunk))]
    starts = np.flatnonzero(np.append(True, ~same))
    rank = np.arange(len(chunk)) - np.repeat(starts, np.diff(starts, append=len(chunk)))
    return [np.sort(order[rank == each]) for each in range(int(rank.max()) + 1)]


def _found(chunk: Chunk, keys: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which records of a chunk, no two of which have the same key, have one of some keys, which are theirs."""
    if len(keys) in (0, len(chunk)):
        return np.full(len(chunk), len(keys) > 0)
    columns = [np.concatenate([chunk.key(name), keys[name]]) for name in KEY_FIELDS]
    order = np.lexsort(columns)  # stable: a record stands ahead of the key that is its own
    same = np.ones(len(order) - 1, np.bool_)
    for column in columns:
        ordered = column[order]
        same &= ordered[1:] == ordered[:-1]
    mask = np.zeros(len(chunk), np.bool_)
    mask[order[:-1][same]] = True
    return mask
