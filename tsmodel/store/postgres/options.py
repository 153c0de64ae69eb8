"""The location of a store in PostgreSQL, parsed from a `postgresql://` URL.

Rules kept here:

* Options of tsmodel are removed from the URL. All others are passed to libpq unchanged.
* No password appears in the name of a database, in a message, or in a repr.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

import msgspec

from tsmodel.errors import SessionError

__all__ = ["DEFAULT_POOL", "DEFAULT_SCHEMA", "Database", "database_of", "without_password"]

DEFAULT_SCHEMA: Final = "tsmodel"
DEFAULT_POOL: Final = 8
DEFAULT_WAIT: Final = 30.0

_OURS: Final = ("schema", "pool", "pool_timeout", "read_only", "create")
_LONGEST_NAME: Final = 63
"""PostgreSQL truncates longer names."""
_NAME: Final = re.compile(r"[\w-]+")
_URL: Final = r"(?:postgresql|postgres)://(?:(?P<user>[^/?#@]*)@)?(?P<rest>[^?#]*)(?:\?(?P<options>.*))?"


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
    schema: str = DEFAULT_SCHEMA
    pool: int = DEFAULT_POOL
    wait: float = DEFAULT_WAIT
    read_only: bool = False
    create: bool = True

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Database {self.name}>"


def database_of(url: str, *, schema: str = DEFAULT_SCHEMA) -> Database:
    """Parses a URL.

    Args:
        url: the URL.
        schema: the schema if the URL names none.

    Raises:
        SessionError: if it is not a URL, or an option of tsmodel is invalid. libpq checks its own options when it connects.
    """
    found = re.fullmatch(_URL, url, re.DOTALL)
    if found is None:
        raise SessionError(f"{_masked(url)!r} is not a URL such as postgresql://user@host/database?schema=tsmodel")
    given: dict[str, str] = {}
    passed: list[str] = []
    for pair in (found["options"] or "").split("&"):
        name, separator, value = pair.partition("=")
        if name in _OURS:
            if name in given or not separator:
                raise SessionError(f"{_masked(url)!r}: option {name!r} is repeated or has no value")
            given[name] = unquote(value)
        elif pair:
            passed.append(pair)
    schema = given.get("schema", schema)
    start = url.partition("?")[0]
    return Database(
        conninfo=start + ("?" + "&".join(passed) if passed else ""),
        name=f"{_masked(start)}?schema={schema}",
        schema=_schema(url, schema),
        pool=_count(url, given.get("pool")),
        wait=_seconds(url, given.get("pool_timeout")),
        read_only=_flag(url, "read_only", given.get("read_only"), False),
        create=_flag(url, "create", given.get("create"), True),
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


def _schema(url: str, name: str) -> str:
    if not _NAME.fullmatch(name) or len(name.encode()) > _LONGEST_NAME or name.startswith("pg_"):
        raise SessionError(
            f"{_masked(url)!r}: schema={name!r}; a schema name has up to {_LONGEST_NAME} bytes (letters, digits, _ and -), "
            "and does not begin with pg_"
        )
    return name


def _count(url: str, text: str | None) -> int:
    if text is None:
        return DEFAULT_POOL
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text):
        raise SessionError(f"{_masked(url)!r}: pool={text!r} is not a number of connections, at least 1")
    return int(text)


def _seconds(url: str, text: str | None) -> float:
    if text is None:
        return DEFAULT_WAIT
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise SessionError(f"{_masked(url)!r}: pool_timeout={text!r} is not a positive number of seconds")
    return seconds


def _flag(url: str, name: str, text: str | None, default: bool) -> bool:
    if text is None:
        return default
    if text not in ("0", "1"):
        raise SessionError(f"{_masked(url)!r}: {name}={text!r}; use 1 for yes or 0 for no")
    return text == "1"
