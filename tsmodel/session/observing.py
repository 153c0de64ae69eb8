"""Hooks, called for each request of a session to its backend: before it is sent, and once its outcome is known.

Rules kept here:

* `on_request` is called before anything is sent. An exception from it stops the request, and nothing is stored.
* `on_response` is called when the outcome is known. An exception from it is logged and changes nothing.
* A watch does not read the batches of a put before the backend does: a session relies on that to know what was sent.
* OpenTelemetry names follow the semantic conventions for database client calls: the span is named after the operation, and
  the histogram `db.client.operation.duration` is in seconds. Records and bytes are counted as well.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import attrs
import msgspec

from tsmodel.backend import AcqInterval, Batch
from tsmodel.frames import library
from tsmodel.io.effects import Append, Close, LastAcq, Next, Open
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk

if TYPE_CHECKING:
    from tsmodel.session.target import SessionOptions

__all__ = ["Hooks", "OnRequest", "OnResponse", "OpenTelemetry", "Request", "Response", "Watch", "hooks_of"]

_log = logging.getLogger("tsmodel.hooks")


@attrs.frozen(eq=False)
class Request:
    """A request that a session is about to make to its backend.

    Attributes:
        operation: the request's name in the protocol. A query makes one `GET` for each key range.
        target: name of the session's target.
        box: the key range of a GET or GETACQ.
        notes: free for hooks, to pass values from the request to its response.
    """

    operation: Literal["GET", "GETACQ", "PUT", "PUTA"]
    target: str
    box: KeyRange | None = None
    notes: dict[str, Any] = attrs.field(factory=dict, repr=False)


class Response(msgspec.Struct, eq=False):
    """The outcome of a request.

    Attributes:
        request: the request.
        seconds: how long it took; for a GET, until its last chunk was taken.
        records: number of records received, or passed to the backend.
        bytes: their size in the protocol's form.
        complete: whether it was completed. A GET may be stopped early.
        acq: for a PUT or PUTA, the acqs of its records; for a GET or GETACQ, the acq below which nothing changes any more;
            None if unknown.
        error: why it failed; None on success.
    """

    request: Request
    seconds: float = 0.0
    records: int = 0
    bytes: int = 0
    complete: bool = False
    acq: AcqInterval | int | None = None
    error: BaseException | None = None


OnRequest: TypeAlias = Callable[[Request], object]
OnResponse: TypeAlias = Callable[[Response], object]


class Hooks(Protocol):
    """Called around requests. If `on_request` raises, `on_response` is not called."""

    def on_request(self, request: Request, /) -> object:
        """Called before a request is sent."""
        ...

    def on_response(self, response: Response, /) -> object:
        """Called when a request was completed, failed, or was stopped early."""
        ...


class Watch:
    """Calls hooks for the requests behind effects: in order for requests, and in reverse order for responses."""

    def __init__(self, hooks: Sequence[Hooks], target: str) -> None:
        self._hooks = hooks
        self._target = target
        self._gets: dict[int, tuple[AbstractContextManager[Response], Response]] = {}

    @contextmanager
    def around(self, effect: Any) -> Iterator[Callable[[Any], object]]:
        """Surrounds an effect; yields a function that takes its answer."""
        kind = type(effect)
        if kind is Open:
            opened: AbstractContextManager[Response] = self._over("GET", effect.box)
            response = opened.__enter__()
            with self._ended_by_failure(opened):
                yield lambda scan: self._gets.__setitem__(id(scan), (opened, response))
        elif kind is Next and id(effect.scan) in self._gets:
            get, response = self._gets[id(effect.scan)]
            with self._ended_by_failure(get, effect.scan):
                yield partial(self._received, effect.scan)
        elif kind is Close and id(effect.scan) in self._gets:
            get, _ = self._gets.pop(id(effect.scan))
            try:
                yield _ignored
            finally:
                get.__exit__(None, None, None)
        elif kind is LastAcq:
            with self._over("GETACQ", effect.box) as response:
                yield partial(_answered, response)
        elif kind is Append:
            with self._over("PUTA" if effect.with_acq else "PUT") as response:
                effect.batches.tell = partial(_count, response)
                yield partial(_answered, response)
        else:
            yield _ignored

    @contextmanager
    def _over(self, operation: Literal["GET", "GETACQ", "PUT", "PUTA"], box: KeyRange | None = None) -> Iterator[Response]:
        """Surrounds a request; the block fills in the response."""
        request = Request(operation, self._target, box)
        response = Response(request)
        told: list[Hooks] = []
        started = time.perf_counter()
        try:
            for hook in self._hooks:
                hook.on_request(request)
                told.insert(0, hook)
            started = time.perf_counter()
            yield response
        except BaseException as error:
            response.error = error
            raise
        finally:
            response.seconds = time.perf_counter() - started
            for hook in told:
                self._tell(hook, response)

    @contextmanager
    def _ended_by_failure(self, get: AbstractContextManager[Response], scan: object = None) -> Iterator[None]:
        """Ends a GET if the block fails."""
        try:
            yield
        except BaseException as error:
            self._gets.pop(id(scan), None)
            get.__exit__(type(error), error, error.__traceback__)
            raise

    def _received(self, scan: Any, chunk: Chunk | None) -> None:
        get, response = self._gets[id(scan)]
        if chunk is not None:
            response.records += len(chunk)
            response.bytes += chunk.nbytes
            return
        del self._gets[id(scan)]
        _answered(response, scan.acq)
        get.__exit__(None, None, None)

    @staticmethod
    def _tell(hook: Hooks, response: Response) -> None:
        try:
            hook.on_response(response)
        except Exception:  # noqa: BLE001 - the outcome of the request stands
            _log.exception("on_response failed for a %s of %s", response.request.operation, response.request.target)


def _answered(response: Response, acq: AcqInterval | int) -> None:
    response.acq = acq
    response.complete = True


def _count(response: Response, batch: Batch) -> None:
    response.records += batch.count
    response.bytes += len(batch.records)


def _ignored(_value: object) -> None:
    """Does nothing."""


@attrs.frozen(eq=False)
class FunctionHooks:
    """Hooks made from functions."""

    on_request: OnRequest
    on_response: OnResponse


def hooks_of(options: SessionOptions) -> list[Hooks]:
    """The hooks that the options of a session name.

    Raises:
        MissingLibraryError: when `telemetry` is set and opentelemetry-api is not installed.
    """
    hooks: list[Hooks] = []
    if options.telemetry:
        hooks.append(OpenTelemetry() if options.telemetry is True else options.telemetry)
    if options.on_request is not None or options.on_response is not None:
        hooks.append(FunctionHooks(options.on_request or _ignored, options.on_response or _ignored))
    return hooks


_SYSTEM: Final = "tstorage"


class OpenTelemetry:
    """Hooks that create a client span for each request, and metrics. Pass it as `connect(..., telemetry=...)`.

    Args:
        tracer_provider: creates the spans; None for the global provider.
        meter_provider: creates the metrics; None for the global provider.

    Raises:
        MissingLibraryError: when opentelemetry-api is not installed.
    """

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        self._trace = library("opentelemetry.trace", "telemetry")
        metrics = library("opentelemetry.metrics", "telemetry")
        self._tracer = self._trace.get_tracer("tsmodel", tracer_provider=tracer_provider)
        meter = metrics.get_meter("tsmodel", meter_provider=meter_provider)
        self._duration = meter.create_histogram("db.client.operation.duration", "s", "Duration of requests")
        self._records = meter.create_counter("tsmodel.client.records", "{record}", "Records received and sent")
        self._bytes = meter.create_counter("tsmodel.client.bytes", "By", "Bytes of these records")

    def on_request(self, request: Request) -> None:
        """Begins a span, as a child of the current one."""
        kind = self._trace.SpanKind.CLIENT
        request.notes["span"] = self._tracer.start_span(request.operation, kind=kind, attributes=_attributes(request))

    def on_response(self, response: Response) -> None:
        """Ends the span, and records the metrics."""
        request = response.request
        attributes = _attributes(request)
        span = request.notes.pop("span")
        if response.error is not None:
            error_type = type(response.error).__qualname__
            attributes["error.type"] = error_type
            span.set_attribute("error.type", error_type)
            span.record_exception(response.error)
            span.set_status(self._trace.StatusCode.ERROR, str(response.error))
        span.set_attribute("tsmodel.records", response.records)
        span.set_attribute("tsmodel.bytes", response.bytes)
        span.set_attribute("tsmodel.complete", response.complete)
        span.end()
        self._duration.record(response.seconds, attributes)
        self._records.add(response.records, attributes)
        self._bytes.add(response.bytes, attributes)


def _attributes(request: Request) -> dict[str, str]:
    # Without the options after "?", which name certificate files.
    namespace = request.target.partition("?")[0]
    return {"db.system.name": _SYSTEM, "db.operation.name": request.operation, "db.namespace": namespace}
