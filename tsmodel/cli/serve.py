"""`tsmodel serve`: runs a TStorage server on this machine."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from tsmodel.cli.failures import UsageError
from tsmodel.cli.opening import target_of
from tsmodel.cli.plain import Parser
from tsmodel.io.connections import server_context
from tsmodel.server import Listener
from tsmodel.server.listener import (
    DEFAULT_MAX_CONNECTIONS,
    DEFAULT_MAX_MEMORY,
    DEFAULT_MAX_PUT,
    DEFAULT_REQUEST_TIMEOUT,
    DEFAULT_STALL_TIMEOUT,
)
from tsmodel.server.monitoring import LEVELS, notify_systemd, serve_metrics, start_logging
from tsmodel.session.connecting import open_backend
from tsmodel.session.target import DEFAULT_PORT
from tsmodel.store import DEFAULT_CACHE

__all__ = ["parser", "run"]

_LIMITS: Final = ("max_connections", "max_put", "max_memory", "idle_timeout", "stall_timeout", "request_timeout")


def parser() -> argparse.ArgumentParser:
    """The parser for the command's arguments."""
    parser = Parser(
        prog="tsmodel serve",
        description="Serves the TStorage protocol, for the official clients in any language and for tsmodel, from an "
        "embedded store, or in front of a cluster. Stops on SIGTERM, SIGINT or SIGHUP.",
        epilog="Example: tsmodel serve --data readings.tsdb --port 2025",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--data",
        metavar="TARGET",
        default="tsmodel.tsdb",
        help="file of the store, or another target, such as tstorage://host:2025 for a proxy (default: %(default)s)",
    )
    where.add_argument("--memory", action="store_true", help="keep records in memory only")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help="port; 0 for a free one (default: %(default)s)")
    parser.add_argument("--read-only", action="store_true", help="refuse puts, and open a file without writing to it")
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate chain (PEM): serve TLS")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key (PEM); default: in the same file")
    parser.add_argument(
        "--tls-client-ca", metavar="FILE", help="accept only clients with a certificate from this authority"
    )
    parser.add_argument(
        "--tls-client-name",
        action="append",
        metavar="NAME",
        help="of these, accept only clients whose certificate has this name; may be repeated",
    )
    parser.add_argument("--max-connections", type=_positive, default=DEFAULT_MAX_CONNECTIONS, metavar="N", help="at once")
    parser.add_argument(
        "--idle-timeout", type=_seconds, metavar="SECONDS", help="close connections that are idle for longer"
    )
    parser.add_argument(
        "--stall-timeout",
        type=_seconds,
        default=DEFAULT_STALL_TIMEOUT,
        metavar="SECONDS",
        help="close connections that stall for longer within a request or response (default: %(default)g)",
    )
    parser.add_argument(
        "--request-timeout",
        type=_seconds,
        default=DEFAULT_REQUEST_TIMEOUT,
        metavar="SECONDS",
        help="close connections whose request and response together take longer (default: %(default)g)",
    )
    parser.add_argument(
        "--max-put",
        type=_positive,
        default=DEFAULT_MAX_PUT,
        metavar="N",
        help="maximum bytes of records in one put; larger puts are refused (default: %(default)s)",
    )
    parser.add_argument(
        "--max-memory",
        type=_positive,
        default=DEFAULT_MAX_MEMORY,
        metavar="N",
        help="maximum bytes of incoming puts that all connections hold together; more is refused (default: %(default)s)",
    )
    parser.add_argument(
        "--cache-bytes",
        type=_natural,
        default=DEFAULT_CACHE,
        metavar="N",
        help="memory for caching blocks of the file, in bytes; 0 for no cache (default: %(default)s)",
    )
    parser.add_argument(
        "--metrics",
        type=_address,
        metavar="[HOST:]PORT",
        help="serve Prometheus metrics over HTTP (needs the extra metrics)",
    )
    parser.add_argument(
        "--log-level", choices=LEVELS, default="info", help="minimum level of log messages (default: %(default)s)"
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="format of log lines")
    return parser


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    options = parser().parse_args(arguments)
    start_logging(options.log_level, options.log_format)
    context = server_context(options.tls_cert, options.tls_key, options.tls_client_ca)
    if options.tls_client_name and not options.tls_client_ca:
        raise UsageError("client names are checked against certificates: give --tls-client-ca as well")
    target = "memory:" if options.memory else options.data
    target_of(target)  # a usage error if it is malformed
    backend = open_backend(target, cache_bytes=options.cache_bytes, read_only=options.read_only)
    try:
        listener = Listener(
            backend,
            options.host,
            options.port,
            ssl_context=context,
            client_names=options.tls_client_name,
            read_only=options.read_only,
            **{name: getattr(options, name) for name in _LIMITS},
        )
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):  # the last is not on Windows
            if number := getattr(signal, name, None):
                signal.signal(number, lambda *_: listener.stop())
        with _metrics(options.metrics, listener):
            host, port = listener.address
            what = f"{'memory' if options.memory else options.data}{', read only,' if options.read_only else ''}"
            print(f"serving {what} at {host}:{port}{' (TLS)' if context else ''}", flush=True)
            notify_systemd("READY=1")
            listener.serve()
    finally:
        notify_systemd("STOPPING=1")
        backend.close()
    return 0


@contextmanager
def _metrics(address: tuple[str, int] | None, listener: Listener) -> Iterator[None]:
    if address is None:
        yield
        return
    server = serve_metrics(
        *address,
        listener.counts,
        {
            "connections": ("Connections that are open.", lambda: listener.connections),
            "memory_bytes": ("Bytes held of what arrives of puts.", lambda: listener.memory.used),
            "memory_limit_bytes": ("Most bytes that may be held of what arrives of puts.", lambda: listener.memory.most),
        },
    )
    try:
        logging.getLogger("tsmodel.server").info("metrics at http://%s:%d/metrics", address[0], server.server_port)
        yield
    finally:
        server.shutdown()
        server.server_close()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, or host:port")
    return host.strip("[]") or "127.0.0.1", int(port)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _positive(text: str) -> int:
    return _from(1, text)


def _natural(text: str) -> int:
    return _from(0, text)


def _from(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}; write 64 MB as 64000000, say")
    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0; leave it out for no limit")
    return seconds
