"""Targets of `connect`: a path, a `file:` URL, `memory:`, a `tstorage://` or `postgresql://` URL, or None for the
environment variable TSMODEL_URL."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import msgspec

from tsmodel.errors import SessionError
from tsmodel.io.pool import Address, PoolOptions
from tsmodel.store.postgres.options import Database, database_of

if TYPE_CHECKING:
    from ssl import SSLContext

    from tsmodel.session.forwarding import Forwarder
    from tsmodel.store.spool_file import SpoolFile, WhenFull

__all__ = [
    "DEFAULT_PORT",
    "Database",
    "SpoolOptions",
    "SpooledServer",
    "StoreFile",
    "Target",
    "TargetLike",
    "check_cache",
    "is_stored",
    "name_of",
    "parse",
    "with_options",
]

TargetLike: TypeAlias = "str | os.PathLike[str] | None"
"""A target as users write it."""

DEFAULT_PORT = 2025

_MEMORY = "memory:"
_MEMORY_NAMES = (_MEMORY, ":memory:")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_EXAMPLE = "tstorage://host:2025?timeout=5"
_HOST = re.compile(r"([^\[\]:@\s]+|\[[0-9A-Fa-f:.%]+\])(?::([0-9]{1,6}))?")
_OPTIONS = ("timeout", "pool", "pool_timeout", "tls", "ca", "cert", "key")
_SPOOL_OPTIONS = ("spool", "spool_bytes", "spool_full", "spool_wait")
_SPOOLED_TIMEOUT = 10.0
"""Default timeout with a spool, in seconds."""
_FILE_OPTIONS = ("read_only", "create")


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

    def forwarder(self, name: str, settle: float) -> Forwarder:
        """A forwarder to this spool.

        Args:
            name: name of the session's target in messages.
            settle: how long an interrupted put may still be in flight, in seconds.
        """
        from tsmodel.session.forwarding import Forwarder

        return Forwarder(self.file(), name, settle)

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
    text = os.fspath(target)
    if not isinstance(text, str) or not text:
        raise SessionError(f"a target is a path, {_MEMORY!r}, a tstorage:// or a postgresql:// URL, not {target!r}")
    if "\0" in text:
        raise SessionError(f"{text!r} contains a NUL character, which paths and URLs cannot")
    if text in _MEMORY_NAMES and isinstance(target, str):
        return StoreFile(None)
    if text.startswith("file:") and isinstance(target, str):
        return _file(text)
    if text.startswith("tstorage://"):
        return _server(text)
    if text.startswith(("postgresql://", "postgres://")):
        return database_of(text)
    if isinstance(target, str) and (scheme := _SCHEME.match(text)):
        raise SessionError(
            f"{text!r}: unknown target {scheme[1]}:; known are paths, file:, {_MEMORY!r}, tstorage://host:port and "
            f"postgresql://host/database. For a file with this name, pass pathlib.Path({text!r})"
        )
    return StoreFile(text)


def _file(url: str) -> StoreFile:
    from urllib.parse import parse_qs, unquote

    path, _, rest = url.removeprefix("file:").partition("?")
    if path.startswith("//"):
        host, slash, path = path[2:].partition("/")
        if host not in ("", "localhost") or not slash:
            raise SessionError(f"{url!r} names a host; write file:relative/path or file:///absolute/path")
        path = f"/{path}"
    if not path:
        raise SessionError(f"{url!r} names no file")
    try:
        found = parse_qs(rest, keep_blank_values=True, strict_parsing=bool(rest))
    except ValueError as error:
        raise SessionError(f"{url!r} is not a URL such as file:readings.tsdb?read_only=1: {error}") from error
    given: dict[str, bool] = {}
    for name, values in found.items():
        if name not in _FILE_OPTIONS or len(values) > 1:
            raise SessionError(f"{url!r}: unknown or repeated option {name!r}; known are {', '.join(_FILE_OPTIONS)}")
        if values[0] not in ("0", "1"):
            raise SessionError(f"{url!r}: {name}={values[0]!r}; it is 1 for yes, 0 for no")
        given[name] = values[0] == "1"
    return StoreFile(unquote(path), **given)


def _server(url: str) -> PoolOptions:
    from urllib.parse import parse_qs

    hosts, separator, rest = re.match(r"tstorage://([^/?#]*)(/?\??)(.*)", url, re.DOTALL).groups()  # type: ignore[union-attr]
    try:
        if rest and not separator.endswith("?"):
            raise ValueError(f"unexpected {rest!r} after the hosts")
        addresses = tuple(_address(each) for each in hosts.split(","))
        found = parse_qs(rest, keep_blank_values=True, strict_parsing=bool(rest))
    except ValueError as error:
        raise SessionError(f"{url!r} is not a URL such as {_EXAMPLE}: {error}") from error
    if len(set(addresses)) < len(addresses):
        raise SessionError(f"{url!r} names a connector twice")
    if any("\0" in value for values in found.values() for value in values):
        raise SessionError(f"{url!r}: an option contains a NUL character")
    for name, values in found.items():
        if name not in (*_OPTIONS, *_SPOOL_OPTIONS) or len(values) > 1:
            known = ", ".join((*_OPTIONS, *_SPOOL_OPTIONS))
            raise SessionError(f"{url!r}: unknown or repeated option {name!r}; known are {known}")
    options: dict[str, Any] = {name: values[0] for name, values in found.items()}
    given: dict[str, Any] = {}
    if "timeout" in options:
        given["timeout"] = _seconds(url, "timeout", options["timeout"])
    if "pool_timeout" in options:
        given["wait"] = _seconds(url, "pool_timeout", options["pool_timeout"])
    if "pool" in options:
        given["size"] = _count(url, "pool", options["pool"])
    spool = _spool(url, options)
    if spool is None:
        return PoolOptions(addresses=addresses, ssl_context=_tls(url, options), **given)
    given.setdefault("timeout", _SPOOLED_TIMEOUT)
    return SpooledServer(addresses=addresses, ssl_context=_tls(url, options), resets=True, spool=spool, **given)


def _spool(url: str, options: dict[str, str]) -> SpoolOptions | None:
    """The spool that the options of a URL describe."""
    given: dict[str, Any] = {name.removeprefix("spool_"): options[name] for name in _SPOOL_OPTIONS if name in options}
    path = given.pop("spool", None)
    if path is None:
        if given:
            raise SessionError(f"{url!r}: {', '.join(f'spool_{name}' for name in given)} needs a spool: add spool=PATH")
        return None
    if not path:
        raise SessionError(f"{url!r}: spool= names no file")
    if "bytes" in given:
        given["most"] = _bytes(url, "spool_bytes", given.pop("bytes"))
    if "full" in given:
        given["when_full"] = given.pop("full")
        if given["when_full"] not in ("refuse", "drop_oldest"):
            raise SessionError(f"{url!r}: spool_full={given['when_full']!r} must be refuse or drop_oldest")
    if given.get("wait") in ("0", "0.0"):
        given["wait"] = 0.0
    elif "wait" in given:
        given["wait"] = _seconds(url, "spool_wait", given["wait"])
    return SpoolOptions(path, **given)


def _bytes(url: str, name: str, text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,17})([kMGT]?)B?", text)
    if found is None:
        raise SessionError(f"{url!r}: {name}={text!r} is not a number of bytes such as 64MB or 1000000")
    return int(found[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}[found[2]]


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


def _count(url: str, name: str, text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise SessionError(f"{url!r}: {name}={text!r} is not a number of connections from 1")
    return int(text)


def _seconds(url: str, name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise SessionError(f"{url!r}: {name}={text!r} is not a number of seconds above 0")
    return seconds


def _tls(url: str, options: dict[str, str]) -> SSLContext | None:
    wanted = options.get("tls", "0")
    if wanted not in ("0", "1"):
        raise SessionError(f"{url!r}: tls={wanted!r}; it is 1 for TLS, 0 for none")
    files = {name: options[name] for name in ("ca", "cert", "key") if name in options}
    if wanted == "1":
        from tsmodel.io.connections import client_context  # late: imports sockets and TLS

        return client_context(**files)
    if files:
        raise SessionError(f"{url!r}: {', '.join(files)} are for TLS: add tls=1")
    return None


def with_options(target: Target, read_only: bool | None, create: bool | None) -> Target:
    """A target with the options given as arguments, which override those of a URL."""
    given = {name: value for name, value in (("read_only", read_only), ("create", create)) if value is not None}
    for name, value in given.items():
        if type(value) is not bool:
            raise SessionError(f"{name} takes a bool, not {value!r}")
        if not is_stored(target):
            raise SessionError(f"{name} is for embedded files and PostgreSQL")
    if not given or not isinstance(target, (StoreFile, Database)):
        return target
    return msgspec.structs.replace(
        target, read_only=given.get("read_only", target.read_only), create=given.get("create", target.create)
    )


def check_cache(target: Target, cache_bytes: int | None) -> None:
    if cache_bytes is None:
        return
    if type(cache_bytes) is not int or cache_bytes < 0:
        raise SessionError(f"cache_bytes takes an int from 0, not {cache_bytes!r}")
    if not is_stored(target):
        raise SessionError("cache_bytes is for embedded files and PostgreSQL: other targets have no cache")


def is_stored(target: Target) -> bool:
    """Whether the target stores blocks in a file or in a database."""
    return isinstance(target, Database) or (isinstance(target, StoreFile) and target.path is not None)


def name_of(target: TargetLike, parsed: Target) -> str:
    if isinstance(parsed, Database):
        return parsed.name  # without a password
    if target is not None:
        return str(target)
    return str(parsed) if not isinstance(parsed, StoreFile) else parsed.path or "memory:"
