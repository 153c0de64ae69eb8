"""The checks of `tsmodel doctor`, for a file or the connectors of a server."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import attrs

from tsmodel.cli.failures import in_words
from tsmodel.cli.models import Record
from tsmodel.cli.opening import reading, target_of
from tsmodel.cli.output import counted, size
from tsmodel.client.tstorage import TStorageBackend
from tsmodel.errors import TSModelError
from tsmodel.io.pool import Address, PoolOptions
from tsmodel.io.retry import ONCE
from tsmodel.keys import LIMITS, Key, KeyRange
from tsmodel.session import Session
from tsmodel.session.target import Database, parse
from tsmodel.store.maintenance import info
from tsmodel.timestamps import now_ns, to_iso

if TYPE_CHECKING:
    from tsmodel.store.postgres.shards import Shard

__all__ = ["Finding", "checks"]

_TIMES: Final = 7
_TIMEOUT: Final = 10.0
_SKEW_S: Final = 1.0
_BEHIND_S: Final = 60.0
_SLOW_SYNC_MS: Final = 100.0
_EXPIRES_DAYS: Final = 30


class Finding(NamedTuple):
    """The result of a check."""

    check: str
    result: Literal["ok", "warn", "fail"]
    detail: str


def checks(target: str | None) -> Iterator[Finding]:
    """Runs the checks for a target one by one."""
    parsed = target_of(target)
    if isinstance(parsed, PoolOptions):
        return _server(parsed)
    if isinstance(parsed, Database):
        return _database(target)
    if parsed.path is None:
        return iter([Finding("memory", "ok", "a store in memory starts empty and ends with its process")])
    return _file(target, Path(parsed.path))


def _database(target: str | None) -> Iterator[Finding]:
    try:
        with reading(target) as session:
            shards = getattr(session.backend, "shards", ())
            if shards:
                yield Finding("open", "ok", f"{parse(target)} has a list of {counted(len(shards), 'shard')}")
                found = [_shard(shard) for shard in shards]
                yield from found
                if any(each.result == "fail" for each in found):
                    return
            newest = session.backend.last_acq(KeyRange())
            if not shards:
                yield Finding("open", "ok", f"{parse(target)} has tables of tsmodel")
            yield from _clock(newest - 1 if newest > 0 else None, "newest record")
            yield _latency(session)
    except (TSModelError, OSError) as error:
        yield _failed("open", error)


def _failed(check: str, error: Exception, hint: str = "") -> Finding:
    return Finding(check, "fail", in_words(str(error).partition("\n")[0]) + hint)


def _shard(shard: Shard) -> Finding:
    begun = time.perf_counter()
    check = f"shard {shard.member.number}"
    try:
        shard.last_acq(KeyRange())
    except (TSModelError, OSError) as error:
        return _failed(check, error)
    return Finding(check, "ok", f"{shard.name} answers, {_ms(begun):.1f} ms")


def _file(target: str | None, path: Path) -> Iterator[Finding]:
    try:
        with reading(target) as session:
            found = info(path)
            yield Finding("open", "ok", f"{counted(found.records)} in {found.series:,} series")
            yield from _clock(found.acq[1] if found.acq else None, "newest record")
            yield _latency(session)
    except (TSModelError, OSError) as error:
        yield _failed("open", error)
        return
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    yield Finding("writable", "ok" if writable else "warn", "yes" if writable else "no: it can only be read from here")
    free = shutil.disk_usage(path.parent).free
    enough = free > 2 * found.file_bytes + 64 * 2**20
    detail = f"{size(free)} free; the file has {size(found.file_bytes)}"
    yield Finding("disk", "ok" if enough else "warn", detail + ("" if enough else ", and `compact` needs as much again"))
    if writable:
        yield _sync(path.parent)


def _sync(directory: Path) -> Finding:
    """How long a write takes to be durable."""
    with tempfile.TemporaryFile(dir=directory) as file:

        def once() -> None:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())

        median, most = _timed(once)
    detail = f"{median:.1f} ms to make 4 kB durable, at most {most:.1f} ms"
    slow = median > _SLOW_SYNC_MS
    return Finding("fsync", "warn" if slow else "ok", detail + ("; each flush waits for that" if slow else ""))


def _server(options: PoolOptions) -> Iterator[Finding]:
    for address in options.addresses:
        yield from _connector(options, address)


def _connector(options: PoolOptions, address: Address) -> Iterator[Finding]:
    timeout = options.timeout or _TIMEOUT
    begun = time.perf_counter()
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield Finding("name", "fail", f"{address}: {error.strerror or error}: check the name, or the DNS of this machine")
        return
    places = ", ".join(dict.fromkeys(str(each[4][0]) for each in found))
    yield Finding("name", "ok", f"{address} is {places} ({_ms(begun):.1f} ms)")
    begun = time.perf_counter()
    try:
        connected = socket.create_connection((address.host, address.port), timeout)
    except OSError as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or error
        yield Finding(
            "connect", "fail", f"{address}: {why}: is the server running, and does a firewall let this machine in?"
        )
        return
    with connected:
        yield Finding("connect", "ok", f"{_ms(begun):.1f} ms")
        if options.ssl_context is not None:
            finding = _tls(options.ssl_context, connected, address)
            yield finding
            if finding.result == "fail":
                return
    if options.ssl_context is None and address.host not in ("localhost", "127.0.0.1", "::1"):
        yield Finding("tls", "warn", "off: others on the network can read the data; if the server supports TLS, add ?tls=1")
    one = attrs.evolve(options, addresses=(address,), timeout=timeout)
    try:
        with Session(TStorageBackend(one, ONCE), name=str(address)) as session:
            everything = KeyRange(Key.min(), Key(*(LIMITS[name].bound for name in ("cid", "mid", "moid", "cap", "acq"))))
            last = session.backend.last_acq(everything)
            median, most = _timed(lambda: session.backend.last_acq(everything))
            yield Finding("answers", "ok", f"GETACQ in {median:.1f} ms, at most {most:.1f} ms")
            yield from _clock(last, "last full commit")
            yield _latency(session)
    except (TSModelError, OSError) as error:
        hint = "" if options.ssl_context is not None else "; does it expect TLS (?tls=1), or is it not a TStorage server?"
        yield _failed("answers", error, hint)


def _tls(context: ssl.SSLContext, connected: socket.socket, address: Address) -> Finding:
    begun = time.perf_counter()
    try:
        with context.wrap_socket(connected, server_hostname=address.host) as secured:
            took = _ms(begun)
            certificate = secured.getpeercert() or {}
            version = secured.version()
    except ssl.SSLCertVerificationError as error:
        hint = "name the authority with ca=FILE, or connect by the certificate's host name"
        return Finding("tls", "fail", f"{error.verify_message}: {hint}")
    except OSError as error:
        hint = "does the server have TLS, and does it ask for cert=FILE?"
        return Finding("tls", "fail", f"{error.strerror or error}: {hint}")
    ends = str(certificate.get("notAfter", ""))
    if not ends:
        return Finding("tls", "ok", f"{version}, {took:.1f} ms")
    left = (ssl.cert_time_to_seconds(ends) - time.time()) / 86_400
    until = dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), dt.timezone.utc).date()
    result: Literal["ok", "warn"] = "warn" if left < _EXPIRES_DAYS else "ok"
    return Finding("tls", result, f"{version}, {took:.1f} ms; the certificate ends {until}, in {left:.0f} days")


def _clock(acq: int | None, what: str) -> Iterator[Finding]:
    """Compares acquisition times, which come from the server's clock, with the clock of this machine."""
    if acq is None or acq <= 0:
        yield Finding("clock", "ok", "cannot be checked: nothing is stored")
        return
    behind = (now_ns() - acq) / 10**9
    if behind < -_SKEW_S:
        detail = f"the {what} is {to_iso(acq)}, {-behind:.1f} s ahead of this machine: set the clocks of both (NTP)"
        yield Finding("clock", "fail", detail)
    elif what == "last full commit" and behind > _BEHIND_S:
        detail = f"the {what} is {behind:.0f} s behind this machine: the server's clock is slow, or the server is busy"
        yield Finding("clock", "warn", detail)
    else:
        yield Finding("clock", "ok", f"the {what} is {max(behind, 0.0):.1f} s old, by this machine's clock")


def _latency(session: Session) -> Finding:
    """How long an empty read takes."""
    far = LIMITS["cap"].bound - 2
    median, most = _timed(lambda: session.query(Record).cid(0).mid(0).moid(0).cap_between(far, far + 1).count())
    return Finding("read", "ok", f"GET of an empty range in {median:.1f} ms, at most {most:.1f} ms")


def _timed(once: Callable[[], object]) -> tuple[float, float]:
    """Median and maximum duration of some calls, in ms."""
    times = []
    for _ in range(_TIMES):
        begun = time.perf_counter()
        once()
        times.append(_ms(begun))
    return statistics.median(times), max(times)


def _ms(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000
