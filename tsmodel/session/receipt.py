"""What a flush stored."""

from __future__ import annotations

import attrs

__all__ = ["Receipt"]


@attrs.frozen
class Receipt:
    """Records that are stored durably.

    Attributes:
        count: how many, since the last receipt; those that left earlier because the batch size was reached included.
        acq_min: least acquisition time they were given, ns since 2001; -1 when there are none.
        acq_max: greatest one; -1 when there are none.
        bytes: what they take in PUT form, size fields included.
        seconds: time spent encoding and storing them.
    """

    count: int = 0
    acq_min: int = -1
    acq_max: int = -1
    bytes: int = 0
    seconds: float = 0.0

    def __add__(self, other: Receipt) -> Receipt:
        """Both together."""
        filled = [receipt for receipt in (self, other) if receipt.count]
        return Receipt(
            self.count + other.count,
            min((receipt.acq_min for receipt in filled), default=-1),
            max((receipt.acq_max for receipt in filled), default=-1),
            self.bytes + other.bytes,
            self.seconds + other.seconds,
        )
