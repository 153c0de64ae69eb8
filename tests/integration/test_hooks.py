"""Hooks see every request and its outcome: blocking and asynchronous, embedded and over a server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from support.sessions import target_on

from tsmodel import Int32, TSModel, WriteError, connect
from tsmodel.errors import MissingLibraryError, SessionError, TransportError
from tsmodel.server import serve_in_thread
from tsmodel.session import OpenTelemetry, Request, Response


class Reading(TSModel):
    n: Int32


def rows(count: int) -> list[Reading]:
    return [Reading(cid=1, mid=mid, moid=1, cap=mid, n=mid) for mid in range(count)]


@pytest.fixture(params=["memory", "tcp"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with target_on(request.param, tmp_path) as target:
        yield target


def test_hooks_see_each_request_and_outcome(target: str, opened: Callable[..., Any]) -> None:
    requests: list[Request] = []
    responses: list[Response] = []
    with opened(target, on_request=requests.append, on_response=responses.append) as session:
        session.add_all(rows(1000))
        receipt = session.flush()
        query = session.query(Reading).cid(1)
        assert query.count() == 1000
        query.first()
        query.last_acq()
    assert [each.operation for each in requests] == ["PUT", "GET", "GET", "GETACQ"]
    assert [response.request for response in responses] == requests
    put, whole, first, last = responses
    assert (put.records, put.bytes, put.complete) == (1000, 1000 * 28, True)
    assert put.acq == (receipt.acq_min, receipt.acq_max)
    assert (whole.records, whole.bytes, whole.complete, whole.error) == (1000, 1000 * 40, True, None)
    assert first.records > 0
    assert first.error is None
    assert last.acq == whole.acq
    assert all(response.seconds > 0 for response in responses)
    assert requests[1].box is not None
    assert requests[1].target == target


def test_request_refused_by_a_hook_is_not_sent(target: str, opened: Callable[..., Any]) -> None:
    allowed = [False]
    responses: list[Response] = []

    def refuse(request: Request) -> None:
        if request.operation == "PUT" and not allowed[0]:
            raise TransportError("not now")

    with opened(target, on_request=refuse, on_response=responses.append) as session:
        session.add_all(rows(3))
        with pytest.raises((WriteError, TransportError)):
            session.flush()
        assert not session.in_doubt
        assert len(session.pending) == 3
        assert responses == []
        allowed[0] = True
        assert session.flush().count == 3
        assert session.query(Reading).count() == 3


def test_failing_outcome_hook_does_not_change_the_result(
    target: str, opened: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(response: Response) -> None:
        raise ValueError(response.request.operation)

    with opened(target, on_response=fail) as session:
        session.add_all(rows(3))
        assert session.flush().count == 3
        assert session.query(Reading).count() == 3
    assert "on_response failed for a PUT of" in caplog.text
    assert "ValueError: GET" in caplog.text


def test_hooks_see_failures(opened: Callable[..., Any]) -> None:
    responses: list[Response] = []
    with serve_in_thread() as (host, port):
        session = opened(f"tstorage://{host}:{port}?timeout=5", on_response=responses.append)
        session.query(Reading).count()
    with pytest.raises(TransportError) as raised:
        session.query(Reading).count()
    session.close()
    assert responses[0].error is None
    assert responses[-1].error is raised.value
    assert not responses[-1].complete


def test_query_left_early_is_not_a_failure(target: str, opened: Callable[..., Any]) -> None:
    responses: list[Response] = []
    with opened(target, on_response=responses.append) as session:
        for first in range(0, 200_000, 50_000):
            session.add_columns(Reading, cid=1, mid=range(first, first + 50_000), moid=1, cap=0, n=0)
        session.flush()
        responses.clear()
        assert session.query(Reading).first() is not None
    assert [(each.complete, each.error) for each in responses] == [(False, None)]


def test_spans_and_metrics(target: str, opened: Callable[..., Any]) -> None:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = OpenTelemetry(provider, MeterProvider([reader]))
    with opened(target, telemetry=telemetry) as session:
        session.add_all(rows(10))
        session.flush()
        with provider.get_tracer("mine").start_as_current_span("report") as mine:
            session.query(Reading).mid(1, 3, 5).all()
            mine_id = mine.get_span_context().span_id
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["PUT", "GET", "GET", "GET", "report"]
    put, *gets, _ = spans
    assert put.kind is SpanKind.CLIENT
    assert put.attributes is not None
    assert put.attributes["db.system.name"] == "tstorage"
    assert put.attributes["db.namespace"] == target.partition("?")[0]
    assert put.attributes["tsmodel.records"] == 10
    assert {get.parent.span_id for get in gets if get.parent} == {mine_id}
    data = reader.get_metrics_data()
    assert data is not None
    metrics = {each.name: each.data for each in data.resource_metrics[0].scope_metrics[0].metrics}
    assert set(metrics) == {"db.client.operation.duration", "tsmodel.client.records", "tsmodel.client.bytes"}
    counted = {point.attributes["db.operation.name"]: point for point in metrics["tsmodel.client.records"].data_points}
    assert (counted["PUT"].value, counted["GET"].value) == (10, 3)


def test_span_of_a_failure() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with serve_in_thread() as (host, port):
        session = connect(f"tstorage://{host}:{port}?timeout=5", telemetry=OpenTelemetry(provider))
    with pytest.raises(TransportError):
        session.query(Reading).count()
    session.close()
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert str(span.attributes["error.type"]).endswith("Error")


def test_telemetry_with_global_providers(opened: Callable[..., Any]) -> None:
    with opened("memory:", telemetry=True) as session:
        session.add_all(rows(2))
        assert session.flush().count == 2


def test_invalid_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hook(_: Request) -> None: ...

    with pytest.raises(SessionError, match="on_request takes a function, in asynchronous sessions too"):
        connect("memory:", on_request=hook)
    with pytest.raises(SessionError, match="on_response takes a function"):
        connect("memory:", on_response=3)  # type: ignore[arg-type]
    with pytest.raises(SessionError, match="telemetry takes True or an OpenTelemetry"):
        connect("memory:", telemetry="yes")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'tstorage-model\[opentelemetry\]'"):
        connect("memory:", telemetry=True)
