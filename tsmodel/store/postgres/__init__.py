"""A store in PostgreSQL: the same blocks as in the embedded file, for many writers on many machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.store.postgres.database import Database
    from tsmodel.store.postgres.shards import ShardedStore, init_shards
    from tsmodel.store.postgres.store import PostgresStore
else:
    __getattr__, __dir__ = lazily(
        __name__, {"database": "Database", "shards": "ShardedStore init_shards", "store": "PostgresStore"}
    )

__all__ = ["Database", "PostgresStore", "ShardedStore", "init_shards"]
