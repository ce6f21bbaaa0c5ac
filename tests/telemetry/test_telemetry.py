"""Telemetry: shown to who asks, sent only where an endpoint is configured, and never in the way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from minivess.jobs import Job, Jobs, current_job
from minivess.telemetry import Telemetry


def use(telemetry: Telemetry) -> None:
    jobs = Jobs()
    jobs.on_end.append(telemetry.job_ended)

    def work() -> None:
        with current_job().step("infer"):
            pass

    with telemetry.request_span("POST") as span:
        jobs.run(Job("infer", "segresnet"), work)
        telemetry.requested(span, method="POST", route="/infer/{model}", status=200, seconds=0.2, request_id="abc")


@pytest.fixture
def collector() -> Iterator[tuple[str, dict[str, list[bytes]]]]:
    got: dict[str, list[bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.setdefault(self.path, []).append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()


def test_prometheus_sees_requests_jobs_and_steps() -> None:
    telemetry = Telemetry()
    telemetry.watch("minivess.images", "Images", lambda: {(("state", "all"),): 3.0})
    use(telemetry)
    text = telemetry.exposition().decode()
    assert 'http_server_request_duration_seconds_count{http_request_method="POST"' in text
    assert 'http_route="/infer/{model}"' in text
    assert 'minivess_job_duration_seconds_count{kind="infer"' in text
    assert 'minivess_step_duration_seconds_bucket{kind="infer"' in text
    assert 'minivess_images{state="all"} 3.0' in text
    assert "process_resident_memory_bytes" in text
    telemetry.close()


def test_spans_and_numbers_reach_a_collector_that_is_configured(
    collector: tuple[str, dict[str, list[bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, got = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    telemetry = Telemetry()
    use(telemetry)
    telemetry.close()
    trace = ExportTraceServiceRequest.FromString(got["/v1/traces"][0])
    spans = {span.name: span for span in trace.resource_spans[0].scope_spans[0].spans}
    assert set(spans) == {"POST /infer/{model}", "job infer"}
    assert spans["job infer"].parent_span_id == spans["POST /infer/{model}"].span_id
    assert [event.name for event in spans["job infer"].events] == ["infer"]
    numbers = ExportMetricsServiceRequest.FromString(got["/v1/metrics"][0])
    names = {metric.name for scope in numbers.resource_metrics[0].scope_metrics for metric in scope.metrics}
    assert {"http.server.request.duration", "minivess.job.duration", "minivess.step.duration"} <= names


def test_a_dead_collector_is_told_of_once_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    telemetry = Telemetry()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            use(telemetry)
            telemetry._traces.force_flush(1500)
        assert "minivess_job_duration_seconds_count" in telemetry.exposition().decode()
        telemetry.close()
    messages = [(record.name, record.msg) for record in caplog.records]
    assert len(messages) == len(set(messages)), messages


@pytest.mark.parametrize("kind", ["ranking", "prompt", "scoring", "train", "infer", "batch_infer"])
def test_no_measurement_names_an_image(kind: str) -> None:
    telemetry, jobs = Telemetry(), Jobs()
    jobs.on_end.append(telemetry.job_ended)

    def work() -> None:
        with current_job().step("rank"):
            pass

    job = Job(kind, "MUELLER^HANS" if kind in ("ranking", "prompt") else "segresnet")
    jobs.run(job, work)
    text = telemetry.exposition().decode()
    assert f'kind="{kind}"' in text
    assert "MUELLER" not in text
