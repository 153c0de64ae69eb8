"""The location of a store in PostgreSQL, parsed from a `postgresql://` URL.

Rules kept here:

* Options of tsmodel are removed from the URL. All others are passed to libpq unchanged.
* No password appears in the name of a database, in a message, or in a repr.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from tsmodel.errors import SessionError
from tsmodel.io.urls import UrlOptions

__all__ = ["Database", "database_of", "without_password"]

_OURS: Final = ("schema", "pool", "pool_timeout", "read_only", "create")
_LONGEST_NAME: Final = 63
"""PostgreSQL truncates longer names."""
_NAME: Final = re.compile(r"[\w-]+")
_URL: Final = re.compile(r"(?:postgresql|postgres)://(?:[^/?#@]*@)?[^?#]*(?:\?.*)?", re.DOTALL)
_EXAMPLE: Final = "postgresql://user@host/database?schema=tsmodel"


class Database(msgspec.Struct, frozen=True):
    """A schema of a PostgreSQL database that holds a store.

    Attributes:
        conninfo: the connection string for libpq.
        name: the URL for messages, without a password and with no option except the schema.
        schema: name of the schema.
        pool: maximum number of connections.
        wait: how long to wait for a free connection, in seconds.
        read_only: whether to refuse writing and creating tables.
        create: whether to create the tables if they do not exist.
    """

    conninfo: str
    name: str
    schema: str
    pool: int
    wait: float
    read_only: bool
    create: bool

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Database {self.name}>"


def database_of(url: str, *, schema: str = "tsmodel") -> Database:
    """Parses a URL.

    Args:
        url: the URL.
        schema: the schema if the URL names none.

    Raises:
        SessionError: if it is not a URL, or an option of tsmodel is invalid. libpq checks its own options when it connects.
    """
    name = _masked(url)
    if not _URL.fullmatch(url):
        raise SessionError(f"{name!r} is not a URL such as {_EXAMPLE}")
    start, _, query = url.partition("?")
    pairs = [pair for pair in query.split("&") if pair]
    ours = [pair for pair in pairs if pair.partition("=")[0] in _OURS]
    options = UrlOptions(name, "&".join(ours), _OURS, _EXAMPLE)
    passed = "&".join(pair for pair in pairs if pair not in ours)
    schema = options.text("schema", schema)
    if not _NAME.fullmatch(schema) or len(schema.encode()) > _LONGEST_NAME or schema.startswith("pg_"):
        raise SessionError(
            f"{name!r}: schema={schema!r}; a schema name has up to {_LONGEST_NAME} bytes (letters, digits, _ and -), and "
            "does not begin with pg_"
        )
    return Database(
        conninfo=f"{start}?{passed}" if passed else start,
        name=f"{_masked(start)}?schema={schema}",
        schema=schema,
        pool=options.count("pool", 8),
        wait=options.seconds("pool_timeout", 30.0),
        read_only=options.flag("read_only", False),
        create=options.flag("create", True),
    )


def without_password(url: str) -> str:
    """A URL without passwords, to connect with."""
    url = re.sub(r"(?<=//)([^/?#@:]*):[^/?#]*@", r"\1@", url)
    start, separator, options = url.partition("?")
    kept = [pair for pair in options.split("&") if pair.partition("=")[0] not in ("password", "sslpassword")]
    return start + (separator + "&".join(kept) if any(kept) else "")


def _masked(url: str) -> str:
    """The URL without its passwords."""
    url = re.sub(r"(?<=//)([^/?#@:]*):[^/?#]*@", r"\1@", url)
    return re.sub(r"((?:ssl)?password=)[^&]*", r"\1...", url)
