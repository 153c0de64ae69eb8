"""`RecordsSet`: some records. A plain list does; the name is for annotations."""

from __future__ import annotations

from typing import TypeVar

from tsmodel.client.record import Record

__all__ = ["RecordsSet"]

T = TypeVar("T")

RecordsSet = list[Record[T]]
