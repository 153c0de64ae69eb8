"""`Record`: a key and a value."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from tsmodel.keys import Key

__all__ = ["Key", "Record"]

T = TypeVar("T")


# A value hardly ever refers back to its record, and the collector would look at every record of a large answer again and
# again: half of the time of reading one.
class Record(msgspec.Struct, Generic[T], gc=False):
    """A key bound to a value of the channel's payload type.

    Attributes:
        key: where the record lies.
        value: what it holds.
    """

    key: Key
    value: T
