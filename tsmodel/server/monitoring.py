"""Monitoring a server: counters for Prometheus, logging, and notifications to systemd."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from tsmodel.errors import MissingLibraryError, TransportError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["LEVELS", "Counts", "notify_systemd", "serve_metrics", "start_logging"]

_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Counts:
    """Counters of a server. Thread-safe.

    Attributes:
        values: counters without labels, by name.
        refusals: refused requests, by status.
    """

    def __init__(self) -> None:
        self.values: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self._seconds: dict[str, tuple[list[int], list[float]]] = {}
        self._lock = threading.Lock()

    def add(self, **counts: int) -> None:
        """Adds to counters without labels."""
        with self._lock:
            self.values.update(counts)

    def refused(self, status: str) -> None:
        """Counts a refusal."""
        with self._lock:
            self.refusals[status] += 1

    def answered(self, kind: str, seconds: float) -> None:
        """Counts an answered request and the seconds from its complete arrival to its answer."""
        with self._lock:
            counts, total = self._seconds.setdefault(kind, ([0] * (len(_SECONDS) + 1), [0.0]))
            counts[bisect_left(_SECONDS, seconds)] += 1
            total[0] += seconds

    def seconds(self) -> dict[str, tuple[list[tuple[str, int]], float]]:
        """For each kind of request: the cumulative count for each histogram bound, and the sum of seconds."""
        limits = [*map(str, _SECONDS), "+Inf"]
        with self._lock:
            found = {kind: (list(accumulate(counts)), total[0]) for kind, (counts, total) in self._seconds.items()}
        return {kind: (list(zip(limits, counts, strict=True)), total) for kind, (counts, total) in found.items()}


_HELP: Final = {
    "connections_accepted": "Connections accepted.",
    "connections_refused": "Connections closed at once: too many, no thread available, or no accepted certificate.",
    "connections_timed_out": "Connections closed by a timeout.",
    "received_bytes": "Bytes received.",
    "sent_bytes": "Bytes sent.",
    "records_stored": "Records stored.",
}


def serve_metrics(host: str, port: int, counts: Counts, gauges: dict[str, tuple[str, Callable[[], float]]]) -> Any:
    """Serves metrics in Prometheus' format, in background threads.

    Args:
        host: address to listen on.
        port: port to listen on; 0 picks a free one.
        counts: the counters.
        gauges: values measured on each scrape: by name, the help text and a function that returns the value.

    Returns:
        The HTTP server; `server_port` is its port, `shutdown` and `server_close` stop it.

    Raises:
        MissingLibraryError: if prometheus-client is not installed.
        TransportError: if it cannot listen on the address.
    """
    try:
        from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    except ImportError as error:
        raise MissingLibraryError(
            "metrics need prometheus-client: pip install 'tstorage-model[metrics]'", library="prometheus_client"
        ) from error

    class Collector:
        def collect(self) -> Iterator[Metric]:
            for name, text in _HELP.items():
                yield CounterMetricFamily(f"tsmodel_{name}", text, counts.values[name])
            refusals = CounterMetricFamily("tsmodel_refusals", "Requests refused.", labels=["status"])
            for status, count in list(counts.refusals.items()):
                refusals.add_metric([status], count)
            yield refusals
            seconds = HistogramMetricFamily(
                "tsmodel_request_seconds", "Seconds from the end of a request to the end of its answer.", labels=["kind"]
            )
            for kind, (buckets, total) in counts.seconds().items():
                seconds.add_metric([kind], buckets, total)
            yield seconds
            for name, (text, measure) in gauges.items():
                yield GaugeMetricFamily(f"tsmodel_{name}", text, measure())

    registry = CollectorRegistry()
    registry.register(Collector())
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    try:
        return start_http_server(port, host, registry)[0]
    except OSError as error:
        raise TransportError(f"cannot listen on {host}:{port} for metrics: {error.strerror or error}") from error


LEVELS: Final = ("debug", "info", "warning", "error")


class _Lines(logging.Formatter):
    """Formats each event as one line of text, with an indented traceback.

    Escapes unprintable characters. Parts of a message, such as names in certificates, come from peers, who could otherwise
    forge log lines or send commands to the terminal.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        record.message = _escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        return "\n".join(f"    {_escaped(line)}" for line in super().formatException(ei).splitlines())


class _JSONLines(_Lines):
    """Formats each event as a JSON object: time (UTC), level, logger, message and, after an exception, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _escaped(record.getMessage()),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def _escaped(text: str) -> str:
    """The text with unprintable characters escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def start_logging(level: str, form: str) -> None:
    """Logs to stderr.

    Args:
        level: one of `LEVELS`.
        form: "text" or "json".
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_JSONLines() if form == "json" else _Lines())
    logging.basicConfig(handlers=[handler], level=level.upper())


def notify_systemd(state: str) -> None:
    """Sends a state such as READY=1 to systemd, if it started this process with a notification socket (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):  # an abstract socket
        address = f"\0{address[1:]}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(state.encode(), address)
