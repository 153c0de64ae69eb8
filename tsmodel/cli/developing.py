"""`tsmodel serve`, `schema` and `codegen`: commands that need only tsmodel, without the extra `cli`.

Their arguments are parsed by argparse. What a command needs is imported when it runs, not for its help.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from tsmodel.cli.failures import UsageError
from tsmodel.server.monitoring import LEVELS, notify_systemd, serve_metrics, start_logging

if TYPE_CHECKING:
    from tsmodel.server import Listener

__all__ = ["codegen_", "schema_", "serve_"]

_UNKNOWN: Final = "unrecognized arguments: "
_DEFAULT_LOCK: Final = "schema.lock"


class _Parser(argparse.ArgumentParser):
    """Raises `UsageError` where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for arguments that are not valid."""
        if message.startswith(_UNKNOWN):
            message = self._unknown(message.removeprefix(_UNKNOWN))
        raise UsageError(f"{message} ({self.prog} --help shows the arguments)")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(each) for each in action.choices]
            raise argparse.ArgumentError(
                action, f"{value!r} is not one of {', '.join(choices)}{_hint(str(value), choices)}"
            )

    def _unknown(self, arguments: str) -> str:
        first = arguments.split()[0]
        if not first.startswith("-"):
            return f"unexpected arguments: {arguments}"
        name = first.partition("=")[0]
        return f"there is no option {name}{_hint(name, self._options())}"

    def _options(self) -> list[str]:
        """Options of this command and of its actions."""
        found = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action.choices, dict):
                found += [name for each in action.choices.values() for name in each._option_string_actions]
        return found


def serve_(arguments: Sequence[str]) -> int:
    """Runs a TStorage server on this machine until it is told to stop."""
    options = _serve_parser().parse_args(arguments)
    from tsmodel.cli.opening import target_of
    from tsmodel.io.connections import server_context
    from tsmodel.server import Listener
    from tsmodel.session.connecting import open_backend

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
            **{name: value for name, *_ in _LIMITS if (value := getattr(options, name)) is not None},
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


def _serve_parser() -> _Parser:
    parser = _Parser(
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
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=_port, default=2025, help="port; 0 for a free one (default: %(default)s)")
    add("--read-only", action="store_true", help="refuse puts, and open a file without writing to it")
    add("--tls-cert", metavar="FILE", help="certificate chain (PEM): serve TLS")
    add("--tls-key", metavar="FILE", help="its private key (PEM); default: in the same file")
    add("--tls-client-ca", metavar="FILE", help="accept only clients with a certificate from this authority")
    name = "of these, accept only clients whose certificate has this name; may be repeated"
    add("--tls-client-name", action="append", metavar="NAME", help=name)
    for limit, kind, metavar, text in _LIMITS:
        add(f"--{limit.replace('_', '-')}", type=kind, metavar=metavar, help=text)
    cache = "memory for caching blocks of the file, in bytes; 0 for no cache (default: 67108864)"
    add("--cache-bytes", type=partial(_from, 0), metavar="N", help=cache)
    metrics = "serve Prometheus metrics over HTTP (needs the extra metrics)"
    add("--metrics", type=_address, metavar="[HOST:]PORT", help=metrics)
    add("--log-level", choices=LEVELS, default="info", help="minimum level of log messages (default: %(default)s)")
    add("--log-format", choices=("text", "json"), default="text", help="format of log lines")
    return parser


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


_LIMITS: Final = (
    ("max_connections", partial(_from, 1), "N", "at once (default: 1000)"),
    ("idle_timeout", _seconds, "SECONDS", "close connections that are idle for longer"),
    (
        "stall_timeout",
        _seconds,
        "SECONDS",
        "close connections that stall for longer within a request or response (default: 60)",
    ),
    (
        "request_timeout",
        _seconds,
        "SECONDS",
        "close connections whose request and response together take longer (default: 3600)",
    ),
    (
        "max_put",
        partial(_from, 1),
        "N",
        "maximum bytes of records in one put; larger puts are refused (default: 1073741824)",
    ),
    (
        "max_memory",
        partial(_from, 1),
        "N",
        "maximum bytes of incoming puts that all connections hold together; more is refused (default: 2147483648)",
    ),
)
"""Options of `serve` that are arguments of the listener of the same name."""


def schema_(arguments: Sequence[str]) -> int:
    """Maintains the lock file of models."""
    options = _schema_parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _schema_parser() -> _Parser:
    parser = _Parser(
        prog="tsmodel schema",
        description="Keeps a lock file with the binary layout of models, and reports what a changed model means for stored "
        "records.",
        epilog="Example: tsmodel schema freeze meters:Reading --lock schema.lock",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for name, run, text in (
        ("freeze", _freeze, "write the lock file"),
        ("check", _check, "report changes; the exit status is 1 if one is not allowed"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        action.add_argument(
            "models", nargs="+", metavar="MODULE[:MODEL]", help="a model, or all models that a module defines"
        )
        action.add_argument("--lock", metavar="PATH", default=_DEFAULT_LOCK, help="the lock file (default: %(default)s)")
        action.set_defaults(run=run)
        if name == "check":
            action.add_argument(
                "--allow",
                choices=["nothing", "compatible", "readable-with-upgrade"],
                default="nothing",
                help="allow changes up to this level (default: %(default)s)",
            )
    return parser


def _freeze(options: argparse.Namespace) -> int:
    from tsmodel.cli.models import models_of
    from tsmodel.schema import freeze

    models = models_of(options.models)
    freeze(models, options.lock)
    print(f"froze {', '.join(model.__name__ for model in models)} to {options.lock}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from tsmodel.cli.models import models_of
    from tsmodel.schema import check

    models = models_of(options.models)
    if not Path(options.lock).exists():
        again = f"tsmodel schema freeze {' '.join(options.models)} --lock {options.lock}"
        raise UsageError(f"there is no lock file {options.lock}; `{again}` writes it")
    changes = check(models, options.lock)
    print(changes)
    return int(bool(changes if options.allow == "nothing" else changes.above(options.allow)))


def codegen_(arguments: Sequence[str]) -> int:
    """Writes the serializer of a model in another language."""
    options = _codegen_parser().parse_args(arguments)
    from tsmodel.cli.models import models_of
    from tsmodel.codegen import file_name, render

    found = models_of([options.model])
    if len(found) > 1:
        names = ", ".join(f"{options.model}:{model.__name__}" for model in found)
        raise UsageError(f"{options.model} defines several models; choose one of {names}")
    source = render(found[0], options.language, namespace=options.namespace)
    if options.output is None:
        sys.stdout.write(source)
        return 0
    path = Path(options.output)
    if path.is_dir():
        path /= file_name(found[0], options.language)
    try:
        path.write_text(source, encoding="utf-8", newline="\n")
    except OSError as error:
        print(f"tsmodel: {path} cannot be written: {error}", file=sys.stderr)
        return 1
    return 0


def _codegen_parser() -> _Parser:
    parser = _Parser(
        prog="tsmodel codegen",
        description="Writes a model's payload type for the official client of another language.",
        epilog="Example: tsmodel codegen meters:Reading java -o src/",
    )
    parser.add_argument("model", metavar="MODULE:MODEL", help="the model")
    parser.add_argument("language", metavar="LANGUAGE", type=_language, help="c, c++, java, c# or python")
    parser.add_argument(
        "-o", "--output", metavar="PATH", help="the file to write, or a directory for it (default: standard output)"
    )
    parser.add_argument("--namespace", metavar="NAME", help="the namespace of C++ code, such as acme::meters")
    return parser


def _language(text: str) -> str:
    from tsmodel.codegen import LANGUAGES

    if text not in LANGUAGES:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(LANGUAGES)}{_hint(text, LANGUAGES)}")
    return text


def _hint(word: str, known: Iterable[str]) -> str:
    found = get_close_matches(word, list(known), 1)
    return f"; did you mean {found[0]}?" if found else ""
