"""`tsmodel serve`: a TStorage server on this machine."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from collections.abc import Sequence

from tsmodel.server import Listener
from tsmodel.server.listener import DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_PUT
from tsmodel.server.tls import server_context
from tsmodel.session.target import DEFAULT_PORT
from tsmodel.store import DEFAULT_CACHE, open_store

__all__ = ["parser", "run"]


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="tsmodel serve",
        description="Serves the TStorage protocol, for the official clients in any language and for tsmodel, from an "
        "embedded store. Stops on SIGTERM, SIGINT or SIGHUP.",
        epilog="Example: tsmodel serve --data readings.tsdb --port 2025",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", metavar="PATH", default="tsmodel.tsdb", help="file of the store (default: %(default)s)")
    where.add_argument("--memory", action="store_true", help="keep records in memory only")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port; 0 for a free one (default: %(default)s)")
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate chain (PEM): serve TLS")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key (PEM); default: in the same file")
    parser.add_argument("--tls-client-ca", metavar="FILE", help="let in only clients with a certificate of this authority")
    parser.add_argument("--max-connections", type=_positive, default=DEFAULT_MAX_CONNECTIONS, metavar="N", help="at once")
    parser.add_argument(
        "--idle-timeout", type=_seconds, metavar="SECONDS", help="close connections that let us wait longer"
    )
    parser.add_argument(
        "--max-put",
        type=_positive,
        default=DEFAULT_MAX_PUT,
        metavar="N",
        help="most bytes that one put may take while it arrives; larger ones are refused (default: %(default)s)",
    )
    parser.add_argument(
        "--cache-bytes",
        type=_natural,
        default=DEFAULT_CACHE,
        metavar="N",
        help="most bytes of what was read from the file that are kept in memory; 0 for none (default: %(default)s)",
    )
    return parser


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.INFO)
    context = server_context(options.tls_cert, options.tls_key, options.tls_client_ca)
    store = open_store(None if options.memory else options.data, options.cache_bytes)
    try:
        listener = Listener(
            store,
            options.host,
            options.port,
            ssl_context=context,
            max_connections=options.max_connections,
            idle_timeout=options.idle_timeout,
            max_put=options.max_put,
        )
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):  # the last is not on Windows
            if number := getattr(signal, name, None):
                signal.signal(number, lambda *_: listener.stop())
        host, port = listener.address
        what = "memory" if options.memory else options.data
        print(f"serving {what} at {host}:{port}{' (TLS)' if context else ''}", flush=True)
        listener.serve()
    finally:
        store.close()
    return 0


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
