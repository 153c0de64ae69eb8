"""Sets of shards: the list of shards, the place of each shard, and the shard of each cid.

Rules kept here:

* The coordinating schema holds the list of shards and no records. Each shard stores its set and its place there, so that no
  schema is mistaken for another.
* The shard of a cid depends only on the cid and the number of shards. It never changes.
* Numbers of puts and removals contain the shard: 17002 is number 17 of shard 2.
* The list of shards holds no passwords. Parts that the URL of a shard omits are taken from that of the coordinating schema.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec
from xxhash import xxh3_64_intdigest

from tsmodel.errors import SessionError, StoreCorruptError
from tsmodel.keys import KeyRange
from tsmodel.store.postgres.database import Database, database_of

__all__ = [
    "CONTENTS",
    "MOST_SHARDS",
    "Kind",
    "Member",
    "SetFoundError",
    "ShardSet",
    "format_of",
    "kind_of",
    "local_number",
    "numbered",
    "shard_in",
    "shard_of",
    "shards_in",
]

Kind = Literal["store", "set", "shard"]

MOST_SHARDS: Final = 999
_FORMATS: Final[dict[Kind, int]] = {"store": 0, "set": 1000, "shard": 2000}
"""Added to the version of the tables, so that a tsmodel without shards refuses lists of shards, and shards."""
CONTENTS: Final[dict[Kind, str]] = {"store": "a store of its own", "set": "a list of shards", "shard": "a shard"}
"""What schemas hold, in messages."""
_CID: Final = struct.Struct("<q")
_NUMBERS: Final = MOST_SHARDS + 1


class Member(msgspec.Struct, frozen=True):
    """The place of a shard in a set.

    Attributes:
        set_id: identifies the set.
        number: number of the shard, from 1.
        count: number of shards in the set.
        of: name of the coordinating schema when the shard was created, without a password.
    """

    set_id: str
    number: int
    count: int
    of: str

    def is_place_of(self, other: Member) -> bool:
        """Whether both are the same place of the same set."""
        return (self.set_id, self.number, self.count) == (other.set_id, other.number, other.count)

    def __str__(self) -> str:
        return f"shard {self.number} of {self.count}"


class ShardSet(msgspec.Struct, frozen=True):
    """The list of shards that a coordinating schema holds.

    Attributes:
        set_id: identifies the set.
        urls: the shards in order, without passwords.
        is_ready: whether all of them were created.
    """

    set_id: str
    urls: tuple[str, ...]
    is_ready: bool = False

    def to_bytes(self) -> bytes:
        """Encodes it for storage."""
        return msgspec.json.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> ShardSet:
        """Decodes a stored list.

        Raises:
            StoreCorruptError: if it is damaged.
        """
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise StoreCorruptError(f"its list of shards does not decode: {error}") from error

    def members(self, of: str) -> list[Member]:
        """The place of each shard."""
        return [Member(self.set_id, number, len(self.urls), of) for number, _ in enumerate(self.urls, 1)]


class SetFoundError(Exception):
    """A schema holds a list of shards. Internal: never leaves the store.

    Attributes:
        found: the list.
    """

    def __init__(self, found: ShardSet) -> None:
        super().__init__("a set of shards")
        self.found = found


def kind_of(found: int) -> tuple[Kind, int]:
    """The contents of a schema and the version of its tables, from the stored format number."""
    for kind in ("shard", "set"):
        if found > _FORMATS[kind]:
            return kind, found - _FORMATS[kind]
    return "store", found


def format_of(kind: Kind, version: int) -> int:
    """The format number of a schema; see `kind_of`."""
    return _FORMATS[kind] + version


def shard_of(cid: int, count: int) -> int:
    """The shard that keeps a cid, from 0; `count` is the number of shards."""
    return xxh3_64_intdigest(_CID.pack(cid)) % count


def shards_in(boxes: Iterable[KeyRange], count: int) -> list[int]:
    """The shards that may hold records of some key ranges, ascending; all shards if the key ranges are empty."""
    found: set[int] = set()
    for box in boxes:
        for cid in range(box.min.cid, box.max.cid):
            if len(found) == count:
                break
            found.add(shard_of(cid, count))
    return sorted(found or range(count))


def numbered(local: int, shard: int) -> int:
    """The number in the set of a put or removal with number `local` in a shard, from 0."""
    return local * _NUMBERS + shard + 1


def local_number(number: int) -> int:
    """The number of a put or removal in its shard; see `numbered`."""
    return number // _NUMBERS


def shard_in(number: int) -> int:
    """The shard that a put or removal belongs to, from 0; see `numbered`."""
    return number % _NUMBERS - 1


def shard_database(psycopg: Any, coordinator: Database, url: str, label: str) -> Database:
    """The schema of a shard. Parts that its URL omits are taken from the coordinating schema. `label` is for messages.

    Raises:
        SessionError: if the URL is not valid.
    """
    given = database_of(url, schema=coordinator.schema)
    try:
        own, others = (psycopg.conninfo.conninfo_to_dict(each.conninfo) for each in (given, coordinator))
    except psycopg.Error as error:
        raise SessionError(f"{given.name} is not a URL that libpq takes: {' '.join(str(error).split())}") from error
    if own.keys() & {"host", "hostaddr", "service"}:
        others = {name: value for name, value in others.items() if name not in ("host", "hostaddr", "port", "service")}
    return msgspec.structs.replace(
        coordinator,
        conninfo=psycopg.conninfo.make_conninfo(**{**others, **own}),
        name=f"{label}, {given.name}",
        schema=given.schema,
        create=False,
    )
