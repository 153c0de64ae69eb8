"""The ASGI application, which runs requests in threads, and the server that runs it.

Rules kept here:

* A few threads read; the event loop only waits.
* When a client disconnects, its work ends before the next chunk.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from tsmodel.errors import TransportError
from tsmodel.io.connections import listen_error
from tsmodel.web.api import endpoints, news
from tsmodel.web.describing import Endpoint, Stream, openapi
from tsmodel.web.guard import Guard
from tsmodel.web.refusals import Refused, Stopped, refusal_of
from tsmodel.web.slices import Work
from tsmodel.web.source import Source

__all__ = ["address_of", "application", "listening", "serve", "serving"]

T = TypeVar("T")

_log: Final = logging.getLogger("tsmodel.web")

STATIC: Final = Path(__file__).parent / "static"
_THREADS: Final = 4
_POLL: Final = 1.0
"""Seconds between polls for new records."""
_SIGN: Final = 15
"""Number of polls after which a follower gets a comment, which reveals whether it is still connected."""


def application(
    source: Source,
    *,
    names: tuple[str, ...] = (),
    token: str | None = None,
    is_secure: bool = False,
    poll: float = _POLL,
) -> Guard:
    """The ASGI application for a source; closes the source on shutdown.

    Args:
        source: the target.
        names: host names of this machine, besides localhost and IP addresses.
        token: the token that clients must send; None if none is needed.
        is_secure: whether clients connect over TLS.
        poll: seconds between polls for new records.
    """
    pages = _Pages(source, poll)
    return Guard(pages.app, names, token, is_secure=is_secure, end=pages.end)


class _Pages:
    def __init__(self, source: Source, poll: float) -> None:
        self._source = source
        self._poll = poll
        self._threads = ThreadPoolExecutor(_THREADS, "tsmodel-web")
        self._followers: set[Work] = set()
        listed = endpoints(source)
        document = openapi(listed, source.name)
        routes: list[BaseRoute] = [
            Route(each.path, partial(self._follow if each.work is None else self._answered, each)) for each in listed
        ]
        routes += [
            Route("/api/openapi.json", lambda _: JSONResponse(document)),
            Route("/", lambda _: FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})),
            Mount("/static", _Files(directory=STATIC)),
        ]
        self.app = Starlette(routes=routes, lifespan=self._lifespan, exception_handlers={404: _missing, 405: _missing})

    def end(self) -> None:
        """Ends the streams of followers, which would keep the server running."""
        for work in self._followers:
            work.stop()

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._source.close()

    async def _answered(self, endpoint: Endpoint, request: Request) -> Any:
        work = Work(self._source.limits.records, self._source.limits.seconds)
        try:
            given = endpoint.given(request.query_params.multi_items())
            assert endpoint.work is not None
            made = await self._made(partial(endpoint.work, self._source, given, work), work, request.receive)
        except Stopped:
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001 - becomes a response
            return _refused(error, request)
        if isinstance(made, Stream):
            return _Sent(made.content_type, self._parts(made.parts), work, made.file_name)
        return Response(msgspec.json.encode(made), media_type="application/json")

    async def _follow(self, endpoint: Endpoint, request: Request) -> Any:
        work = Work(seconds=float("inf"))
        try:
            if len(self._followers) >= self._source.limits.followers:
                raise Refused(
                    f"{len(self._followers)} clients follow new records already, which is the limit",
                    remedy="close some pages, or poll /api/records with acq_from=",
                    status=503,
                )
            given = endpoint.given(request.query_params.multi_items())
            last = request.headers.get("last-event-id", "")
            since = int(last) if last.isdecimal() and len(last) < 20 else given["since"]
            first = partial(news, self._source, given, -1 if since is None else since, work)
            begun = await self._made(first, work, request.receive)
        except Stopped:
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001 - becomes a response
            return _refused(error, request)
        return _Sent("text/event-stream", self._events(given, begun, work), work)

    async def _events(self, given: dict[str, Any], begun: tuple[int, Any], work: Work) -> AsyncIterator[bytes]:
        position, found = begun
        self._followers.add(work)
        try:
            yield f"retry: 2000\nid: {position}\nevent: begin\ndata: {{}}\n\n".encode()
            quiet = 0
            while not work.is_stopped:
                if found is not None:
                    yield b"id: %d\nevent: new\ndata: %s\n\n" % (position, msgspec.json.encode(found))
                quiet = 0 if found is not None else quiet + 1
                if quiet % _SIGN == 0 and quiet:
                    yield b": nothing new\n\n"
                await asyncio.sleep(self._poll)
                try:
                    position, found = await self._in_thread(partial(news, self._source, given, position, work))
                except Exception as error:  # noqa: BLE001 - becomes an event
                    body = refusal_of(error, "/api/follow")[1]
                    yield b"event: trouble\ndata: %s\n\n" % msgspec.json.encode(body)
                    return
        finally:
            self._followers.discard(work)

    async def _made(self, make: Callable[[], T], work: Work, receive: Callable[[], Awaitable[Any]]) -> T:
        """The result of `make` in a thread; the work is stopped if the client disconnects."""

        def begun() -> T:
            work.check()
            return make()

        made = self._in_thread(begun)
        gone = asyncio.ensure_future(_gone(receive))
        either: set[asyncio.Future[Any]] = {made, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not made.done():
                work.stop()
            return await made
        finally:
            if not made.done():
                work.stop()
            gone.cancel()

    def _in_thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _parts(self, parts: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                pending = self._in_thread(partial(next, parts, None))
                try:
                    part = await asyncio.shield(pending)
                except asyncio.CancelledError:
                    await asyncio.wait({pending})  # a running generator cannot be closed
                    raise
                if part is None:
                    return
                yield part
        finally:
            await self._in_thread(parts.close)


class _Files(StaticFiles):
    """Files of the page, which browsers revalidate, so that updates show."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


class _Sent(Response):
    """A response that is sent while it is made, until the client disconnects."""

    def __init__(self, content_type: str, parts: AsyncIterator[bytes], work: Work, file_name: str | None = None) -> None:
        super().__init__(status_code=200)
        self._parts = parts
        self._work = work
        self.raw_headers = [(b"content-type", content_type.encode())]
        if file_name is not None:
            self.raw_headers.append((b"content-disposition", f'attachment; filename="{file_name}"'.encode()))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        gone = asyncio.ensure_future(_gone(receive))
        parts: Any = self._parts
        part: asyncio.Future[bytes | None] | None = None
        try:
            while True:
                part = asyncio.ensure_future(anext(parts, None))
                await asyncio.wait({part, gone}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return
                try:
                    data = part.result()
                except Stopped:
                    return
                except Exception as error:  # noqa: BLE001 - the connection is aborted, so that the file does not look complete
                    _log.error("%s broke off: %s", scope["path"], error)
                    return
                if data is None:
                    break
                if data:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._work.stop()
            gone.cancel()
            if part is not None and not part.done():
                part.cancel()
                await asyncio.wait({part})
            await parts.aclose()


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    """Waits until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _refused(error: Exception, request: Request) -> Response:
    status, body = refusal_of(error, request.url.path)
    return JSONResponse(body, status)


async def _missing(request: Request, _: Exception) -> Response:
    refused = Refused(f"there is no {request.url.path}", "the path", "choose a path from /api/openapi.json", 404)
    return _refused(refused, request)


def listening(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        TransportError: if it cannot listen on the address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=128)
    except OSError as error:
        raise listen_error(host, port, error) from error
    except OverflowError as error:
        raise TransportError(f"{port} is not a port from 0 to 65535") from error


def address_of(listener: socket.socket, host: str, *, is_secure: bool = False) -> str:
    """The URL of a listening socket, as seen from this machine."""
    port = listener.getsockname()[1]
    shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http{'s' if is_secure else ''}://{shown}:{port}/"


def serve(app: Guard, listener: socket.socket, *, certificate: str | None = None, key: str | None = None) -> None:
    """Serves until Ctrl-C or a signal."""
    _server(app, certificate, key).run(sockets=[listener])


@contextmanager
def serving(source: Source, *, token: str | None = None, **options: Any) -> Iterator[str]:
    """Serves a source in a thread, on a free local port; yields the URL."""
    listener = listening("127.0.0.1", 0)
    server = _server(application(source, token=token, **options), None, None)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="tsmodel-ui", daemon=True)
    thread.start()
    try:
        yield address_of(listener, "127.0.0.1")
    finally:
        server.should_exit = True
        thread.join()


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
    """A server that ends the application's streams on shutdown, and exits normally after a signal."""

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
