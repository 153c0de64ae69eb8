"""The outcome of a put that was sent and never answered, once its copies in the database are counted."""

from __future__ import annotations

import msgspec

from tsmodel.session.puts import Put
from tsmodel.session.receipt import Receipt
from tsmodel.wire.stored import Copies

__all__ = ["Found", "found_of"]


class Found(msgspec.Struct, frozen=True):
    """The outcome of a reconciliation.

    Attributes:
        stored: for each object of the put's segment, whether it is stored.
        receipt: of those that are.
    """

    stored: list[bool]
    receipt: Receipt


def found_of(put: Put, copies: Copies) -> Found:
    """Which objects of a put are stored.

    Args:
        put: what was sent.
        copies: counts of its slices' records.
    """
    stored = [False] * len(put.segment.rows)
    cids = set()
    for part, masks in zip(put.slices, copies.stored(), strict=True):
        positions: dict[int, list[int]] = {}
        for position, cid in enumerate(part.cids, part.at):
            positions.setdefault(cid, []).append(position)
        left = {cid: iter(each) for cid, each in positions.items()}
        for batch, mask in zip(part.batches, masks, strict=True):
            for is_stored, position in zip(mask.tolist(), left[batch.cid], strict=False):
                stored[position] = is_stored
            if mask.any():
                cids.add(batch.cid)
    if copies.acq_min is None or copies.acq_max is None:
        return Found(stored, Receipt())
    span = range(min(cids), max(cids) + 1)
    return Found(stored, Receipt(sum(stored), copies.acq_min, copies.acq_max, copies.size, cids=span))
