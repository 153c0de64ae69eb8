"""Serving the page: the socket, the server, and the URL that is printed."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tsmodel.errors import TransportError
from tsmodel.io.connections import listen_error, server_context
from tsmodel.web.app import application
from tsmodel.web.guard import Guard, is_loopback
from tsmodel.web.source import Source

__all__ = ["address_of", "check_certificate", "listening", "needs_token", "serve", "serving"]


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        TransportError: when it cannot; says why, and what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=128)
    except OSError as error:
        raise listen_error(host, port, error) from error
    except OverflowError as error:
        raise TransportError(f"{port} is no port: a port is 0 to 65535") from error


def address_of(listener: socket.socket, host: str, *, is_secure: bool = False) -> str:
    """The URL of what listens at a host, as it is reached from this machine."""
    port = listener.getsockname()[1]
    shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http{'s' if is_secure else ''}://{shown}:{port}/"


def serve(app: Guard, listener: socket.socket, *, certificate: str | None = None, key: str | None = None) -> None:
    """Serves until it is told to stop, by Ctrl-C or a signal."""
    _server(app, certificate, key).run(sockets=[listener])


@contextmanager
def serving(source: Source, *, token: str | None = None, **options: Any) -> Iterator[str]:
    """Serves a source in a thread of its own, at a free port of this machine; gives the URL."""
    listener = listening("127.0.0.1", 0)
    server = _server(application(source, token=token, **options), None, None)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="tsmodel-ui", daemon=True)
    thread.start()
    try:
        yield address_of(listener, "127.0.0.1")
    finally:
        server.should_exit = True
        thread.join()


def needs_token(host: str) -> bool:
    """Whether others can reach what listens at a host."""
    return not is_loopback(host)


def check_certificate(certificate: str, key: str | None) -> None:
    """Reads a certificate and its key.

    Raises:
        TransportError: when that cannot be.
    """
    server_context(certificate, key, None)


def _server(app: Guard, certificate: str | None, key: str | None) -> uvicorn.Server:
    return _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=30,
            limit_concurrency=256,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
    )


class _Server(uvicorn.Server):
    """A server that tells the application when it is about to end: who follows new records would hold it up. A signal to
    end is no failure."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        known = [found for name in ("SIGINT", "SIGTERM", "SIGHUP") if (found := getattr(signal, name, None))]
        before = {each: signal.signal(each, self.handle_exit) for each in known}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app: Any = self.config.app
        app.end()
        await super().shutdown(sockets)
