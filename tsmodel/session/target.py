"""The arguments of `connect`: options, and the target: a path, a `file:` URL, `memory:`, a `tstorage://` or
`postgresql://` URL, or None for the environment variable TSMODEL_URL."""

from __future__ import annotations

import inspect
import os
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from urllib.parse import unquote

import attrs
import msgspec

from tsmodel.errors import SessionError
from tsmodel.io.pool import Address, PoolOptions
from tsmodel.io.retry import Retry, valid_count, valid_duration
from tsmodel.io.urls import UrlOptions
from tsmodel.store.postgres.database import Database, database_of
from tsmodel.timestamps import DurationLike

if TYPE_CHECKING:
    from ssl import SSLContext

    from tsmodel.session.observing import Hooks, OnRequest, OnResponse
    from tsmodel.store.spool_file import SpoolFile, WhenFull

__all__ = [
    "DEFAULT_PORT",
    "ConnectOptions",
    "Database",
    "SessionOptions",
    "SpoolOptions",
    "SpooledServer",
    "StoreFile",
    "Target",
    "TargetLike",
    "is_stored",
    "name_of",
    "parse",
]

TargetLike: TypeAlias = "str | os.PathLike[str] | None"
"""A target as users write it."""

DEFAULT_PORT: Final = 2025

_MEMORY: Final = "memory:"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_SERVER: Final = re.compile(r"tstorage://([^/?#]*)/?(?:\?(.*)|(.*))", re.DOTALL)
_SERVER_EXAMPLE: Final = "tstorage://host:2025?timeout=5"
_HOST: Final = re.compile(r"([^\[\]:@\s]+|\[[0-9A-Fa-f:.%]+\])(?::([0-9]{1,6}))?")
_SERVER_OPTIONS: Final = ("timeout", "pool", "pool_timeout", "tls", "ca", "cert", "key")
_SPOOL_OPTIONS: Final = ("spool", "spool_bytes", "spool_full", "spool_wait")
_SPOOLED_TIMEOUT: Final = 10.0
"""Default timeout with a spool, in seconds."""


class StoreFile(msgspec.Struct, frozen=True):
    """An embedded store.

    Attributes:
        path: its file, or None for memory.
        read_only: whether it is only read.
        create: whether to create a file that does not exist.
    """

    path: str | None
    read_only: bool = False
    create: bool = True


class SpoolOptions(msgspec.Struct, frozen=True):
    """The spool of a session, which holds puts while the server is away.

    Attributes:
        path: the file.
        most: size limit in stored bytes; None for the default.
        when_full: "refuse" or "drop_oldest".
        wait: how long closing waits for the spool to drain, in seconds, while the server can be reached.
    """

    path: str
    most: int | None = None
    when_full: WhenFull = "refuse"
    wait: float = 5.0

    def file(self) -> SpoolFile:
        """The spool file, not opened yet."""
        from tsmodel.store.spool_file import DEFAULT_SPOOL_BYTES, SpoolFile

        most = DEFAULT_SPOOL_BYTES if self.most is None else self.most
        return SpoolFile(self.path, most=most, when_full=self.when_full)


@attrs.frozen(kw_only=True)
class SpooledServer(PoolOptions):
    """A server with a spool in front of it."""

    spool: SpoolOptions

    def __str__(self) -> str:
        return super().__str__()


Target: TypeAlias = StoreFile | PoolOptions | Database


def parse(target: TargetLike) -> Target:
    """Parses a target.

    Raises:
        SessionError: when it is not valid.
        TransportError: when a file named by a TLS option cannot be used.
    """
    if target is None:
        target = os.environ.get("TSMODEL_URL")
        if not target:
            raise SessionError("connect() without a target reads the environment variable TSMODEL_URL, which is not set")
    text = os.fspath(target) if isinstance(target, (str, os.PathLike)) else ""
    if not isinstance(text, str) or not text:
        raise SessionError(f"a target is a path, {_MEMORY!r}, a tstorage:// or a postgresql:// URL, not {target!r}")
    if "\0" in text:
        raise SessionError(f"{text!r} contains a NUL character, which paths and URLs cannot")
    if text.startswith("tstorage://"):
        return _server(text)
    if text.startswith(("postgresql://", "postgres://")):
        return database_of(text)
    if not isinstance(target, str):
        return StoreFile(text)
    if text in (_MEMORY, ":memory:"):
        return StoreFile(None)
    if text.startswith("file:"):
        return _file(text)
    if scheme := _SCHEME.match(text):
        raise SessionError(
            f"{text!r}: unknown target {scheme[1]}:; known are paths, file:, {_MEMORY!r}, tstorage://host:port and "
            f"postgresql://host/database. For a file with this name, pass pathlib.Path({text!r})"
        )
    return StoreFile(text)


def _valid_retry(_instance: object, _attribute: object, value: Any) -> None:
    if value is not None and not isinstance(value, Retry):
        raise SessionError(f"retry takes a Retry, not {value!r}")


def _valid_hook(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (not callable(value) or inspect.iscoroutinefunction(value)):
        raise SessionError(f"{attribute.name} takes a function, in asynchronous sessions too, not {value!r}")


def _valid_telemetry(_instance: object, _attribute: object, value: Any) -> None:
    if not isinstance(value, bool) and not hasattr(value, "on_response"):
        raise SessionError(f"telemetry takes True or an OpenTelemetry, not {value!r}")


def _valid_cache(_instance: object, _attribute: object, value: Any) -> None:
    if value is not None and (type(value) is not int or value < 0):
        raise SessionError(f"cache_bytes takes an int from 0, not {value!r}")


def _valid_flag(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and type(value) is not bool:
        raise SessionError(f"{attribute.name} takes a bool, not {value!r}")


@attrs.frozen(kw_only=True)
class SessionOptions:
    """How a session writes and what it calls; see `connect` for each option."""

    batch_size: int = attrs.field(default=100_000, validator=valid_count)
    batch_bytes: int | None = attrs.field(default=None, validator=valid_count)
    batch_age: DurationLike | None = attrs.field(default=None, validator=valid_duration)
    flush_every: DurationLike | None = attrs.field(default=None, validator=valid_duration)
    retry: Retry | None = attrs.field(default=None, validator=_valid_retry)
    allow_full_scan: bool = True
    on_request: OnRequest | None = attrs.field(default=None, validator=_valid_hook)
    on_response: OnResponse | None = attrs.field(default=None, validator=_valid_hook)
    telemetry: Hooks | bool = attrs.field(default=False, validator=_valid_telemetry)


@attrs.frozen
class ConnectOptions(SessionOptions):
    """The arguments of `connect` and `connect_async`; see `connect`."""

    target: TargetLike = None
    cache_bytes: int | None = attrs.field(default=None, kw_only=True, validator=_valid_cache)
    read_only: bool | None = attrs.field(default=None, kw_only=True, validator=_valid_flag)
    create: bool | None = attrs.field(default=None, kw_only=True, validator=_valid_flag)

    def parsed(self) -> Target:
        """The target, with `read_only` and `create`, which override those of a URL.

        Raises:
            SessionError: when it is not valid, or an option is not for targets of its kind.
        """
        target: Any = parse(self.target)
        given = {name: value for name in ("read_only", "create") if (value := getattr(self, name)) is not None}
        if not is_stored(target):
            for name in given:
                raise SessionError(f"{name} is for embedded files and PostgreSQL")
            if self.cache_bytes is not None:
                raise SessionError("cache_bytes is for embedded files and PostgreSQL: other targets have no cache")
        parsed: Target = msgspec.structs.replace(target, **given) if given else target
        return parsed


def is_stored(target: Target) -> bool:
    """Whether the target stores blocks in a file or in a database."""
    return isinstance(target, Database) or (isinstance(target, StoreFile) and target.path is not None)


def name_of(target: TargetLike, parsed: Target) -> str:
    """The name of a target in messages."""
    if isinstance(parsed, Database):
        return parsed.name  # without a password
    if target is not None:
        return str(target)
    return parsed.path or _MEMORY if isinstance(parsed, StoreFile) else str(parsed)


def _file(url: str) -> StoreFile:
    path, _, query = url.removeprefix("file:").partition("?")
    if path.startswith("//"):
        host, slash, path = path[2:].partition("/")
        if host not in ("", "localhost") or not slash:
            raise SessionError(f"{url!r} names a host; write file:relative/path or file:///absolute/path")
        path = f"/{path}"
    path = unquote(path)
    if not path or "\0" in path:
        raise SessionError(f"{url!r} names no file")
    options = UrlOptions(url, query, ("read_only", "create"), "file:readings.tsdb?read_only=1")
    return StoreFile(path, options.flag("read_only", False), options.flag("create", True))


def _server(url: str) -> PoolOptions:
    hosts, query, rest = _SERVER.fullmatch(url).groups()  # type: ignore[union-attr]
    try:
        if rest:
            raise ValueError(f"unexpected {rest!r} after the hosts")
        addresses = tuple(map(_address, hosts.split(",")))
    except ValueError as error:
        raise SessionError(f"{url!r} is not a URL such as {_SERVER_EXAMPLE}: {error}") from error
    if len(set(addresses)) < len(addresses):
        raise SessionError(f"{url!r} names a connector twice")
    options = UrlOptions(url, query or "", (*_SERVER_OPTIONS, *_SPOOL_OPTIONS), _SERVER_EXAMPLE)
    spool = _spool(url, options)
    given: dict[str, Any] = {
        "addresses": addresses,
        "timeout": options.seconds("timeout", None if spool is None else _SPOOLED_TIMEOUT),
        "ssl_context": _tls(url, options),
        "size": options.count("pool", 16),
        "wait": options.seconds("pool_timeout", 30.0),
    }
    return PoolOptions(**given) if spool is None else SpooledServer(**given, resets=True, spool=spool)


def _spool(url: str, options: UrlOptions) -> SpoolOptions | None:
    """The spool that the options of a URL describe."""
    given = options.given(_SPOOL_OPTIONS)
    if "spool" not in given:
        if given:
            raise SessionError(f"{url!r}: {', '.join(given)} needs a spool: add spool=PATH")
        return None
    if not given["spool"]:
        raise SessionError(f"{url!r}: spool= names no file")
    when_full = options.text("spool_full", "refuse")
    if when_full not in ("refuse", "drop_oldest"):
        raise options.refused("spool_full", " must be refuse or drop_oldest")
    wait = options.seconds("spool_wait", 5.0, or_0=True)
    return SpoolOptions(given["spool"], options.size("spool_bytes"), cast("WhenFull", when_full), wait)


def _address(text: str) -> Address:
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not host or host:port")
    port = DEFAULT_PORT if found[2] is None else int(found[2])
    if not 0 < port < 2**16:
        raise ValueError(f"{port} is not a port")
    host = found[1].strip("[]")
    try:
        is_name = len(host.encode("idna")) <= 253
    except UnicodeError:  # a label that is empty, longer than 63 characters, or has invalid characters
        is_name = False
    if not is_name:
        raise ValueError(f"{text!r} is not a valid host name")
    return Address(host, port)


def _tls(url: str, options: UrlOptions) -> SSLContext | None:
    files = options.given(("ca", "cert", "key"))
    if options.flag("tls", False):
        from tsmodel.io.connections import client_context  # late: imports sockets and TLS

        return client_context(**files)
    if files:
        raise SessionError(f"{url!r}: {', '.join(files)} are for TLS: add tls=1")
    return None
