"""The log of a store: its puts and removals. No engine, no files.

Rules kept here:

* Each entry is stored with a checksum over its data, number and kind.
* The state of the store holds the sum of the checksums of each kind, updated with every change. It reveals entries that are
  damaged, lost or outdated.
* Numbers count up from 1 and are never reused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

import msgspec
from xxhash import xxh3_64_intdigest

from tsmodel.backend import PutInfo, Removal
from tsmodel.errors import StoreCorruptError

__all__ = ["PUTS", "REMOVALS", "Kind"]

T = TypeVar("T", PutInfo, Removal)

_CHECKSUM = struct.Struct("<Q")
_SALT = struct.Struct("<q")
_SUM: Final = 2**64


class Kind(msgspec.Struct, Generic[T], frozen=True):
    """A kind of log entry.

    Attributes:
        table: name of the table that holds them.
        one: name of a single entry, for messages.
        type: the class of the entries.
    """

    table: str
    one: str
    type: type[T]

    def to_bytes(self, entry: T) -> bytes:
        """Encodes an entry."""
        data = msgspec.msgpack.encode(entry)
        return data + _CHECKSUM.pack(self._checksum(data, entry.number))

    def from_bytes(self, data: object, number: object) -> T:
        """Decodes the entry stored under a number.

        Raises:
            StoreCorruptError: if it is damaged.
        """
        if not isinstance(data, bytes) or not isinstance(number, int) or len(data) < _CHECKSUM.size:
            raise StoreCorruptError(f"{self.one} {number} is none")
        if self._checksum(data[: -_CHECKSUM.size], number) != self.checksum(data):
            raise StoreCorruptError(f"{self.one} {number} does not have its checksum")
        try:
            entry = msgspec.msgpack.decode(data[: -_CHECKSUM.size], type=self.type)
        except msgspec.DecodeError as error:
            raise StoreCorruptError(f"{self.one} {number} is of a kind that this version does not know: {error}") from error
        if entry.number != number:
            raise StoreCorruptError(f"{self.one} {number} is {self.one} {entry.number}")
        return entry

    def read(self, rows: Iterable[Any], digest: int) -> Iterator[T]:
        """Decodes the entries of a whole table: rows of number and stored bytes, ascending.

        Raises:
            StoreCorruptError: if an entry is damaged; after the last one, if the entries do not match `digest`.
        """
        total = 0
        for number, data in rows:
            entry = self.from_bytes(data, number)
            total += self.checksum(data)
            yield entry
        if total % _SUM != digest:
            raise StoreCorruptError(f"the {self.table} are not those that the file's state says")

    @staticmethod
    def checksum(data: bytes) -> int:
        """The checksum of a stored entry."""
        return int(_CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)[0])

    def changed(self, digest: int, added: bytes, removed: bytes | None = None) -> int:
        """The sum after an entry is added, optionally replacing another."""
        return (digest + self.checksum(added) - (0 if removed is None else self.checksum(removed))) % _SUM

    def _checksum(self, data: bytes, number: int) -> int:
        return xxh3_64_intdigest(self.table.encode() + _SALT.pack(number) + data)


PUTS: Final = Kind("puts", "put", PutInfo)
REMOVALS: Final = Kind("removals", "removal", Removal)
