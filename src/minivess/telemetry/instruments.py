"""Metrics and traces of requests, jobs and model steps. No names of users, images or files are recorded."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest

import minivess
from minivess.jobs import Job

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
_COLLECTOR_S = 3.0  # time limit for a request to the collector
#: Bucket boundaries of all histograms, in seconds.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)


class Telemetry:
    """Counters and durations of the server.

    They are readable by Prometheus, and are sent to an OpenTelemetry collector when ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set.
    """

    def __init__(self) -> None:
        """Create the instruments, and the exporters when an endpoint is configured."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        readers: list[MetricReader] = [PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)]
        resource = Resource.create({"service.name": "minivess", "service.version": minivess.__version__})
        self._traces = TracerProvider(resource=resource)
        if any(os.environ.get(name) for name in _ENDPOINTS):
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            _log_once()
            readers.append(PeriodicExportingMetricReader(OTLPMetricExporter(timeout=_COLLECTOR_S)))
            self._traces.add_span_processor(
                BatchSpanProcessor(OTLPSpanExporter(timeout=_COLLECTOR_S))
            )  # its queue is bounded: further spans are dropped
        self._metrics = MeterProvider(readers, resource)
        self._tracer = self._traces.get_tracer("minivess")
        meter = self._metrics.get_meter("minivess")
        self._meter = meter

        def timer(name: str, description: str) -> Callable[[float, Mapping[str, str | int]], None]:
            histogram = meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS)
            return histogram.record

        self._request_s = timer("http.server.request.duration", "Duration of a request")
        self._job_s = timer("minivess.job.duration", "Time from the request of a job to its end, including waiting")
        self._step_s = timer("minivess.step.duration", "Duration of a model step: pre, infer, post, write")

    def watch(self, name: str, description: str, read: Callable[[], Mapping[tuple[tuple[str, str], ...], float]]) -> None:
        """Register a gauge whose values are read when metrics are collected.

        Args:
            name: Name of the gauge.
            description: Description of the gauge.
            read: Function that returns the value for each tuple of attributes, given as (name, value) pairs.
        """

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, dict(attributes)) for attributes, value in read().items()]

        self._meter.create_observable_gauge(name, [observe], description=description)

    @contextmanager
    def request_span(self, method: str) -> Iterator[Span]:
        """Trace a request; the spans of its jobs become child spans."""
        # The message of an exception may contain a file name, and thus a patient's name.
        no_messages = {"record_exception": False, "set_status_on_exception": False}
        with self._tracer.start_as_current_span(method, kind=SpanKind.SERVER, **no_messages) as span:  # type: ignore[arg-type]
            yield span

    def requested(self, span: Span, *, method: str, route: str, status: int, seconds: float, request_id: str) -> None:
        """Record a completed request.

        Args:
            span: Span from :meth:`request_span`.
            method: HTTP method.
            route: Template of the path, never the path itself, which may contain the name of an image.
            status: HTTP status code.
            seconds: Duration of the request.
            request_id: Identifier of the request in the log.
        """
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
        }
        self._request_s(seconds, attributes)
        span.update_name(f"{method} {route}")
        span.set_attributes({**attributes, "minivess.request_id": request_id})
        if status >= 500:
            span.set_status(StatusCode.ERROR)

    def job_ended(self, job: Job) -> None:
        """Record a job that has ended, with its steps."""
        attributes = {"kind": job.kind, "subject": job.public_subject, "state": job.state}
        ended = job.ended or job.created
        self._job_s(ended - job.created, attributes)
        span = self._tracer.start_span(f"job {job.kind}", start_time=int(job.created * 1e9), attributes=attributes)
        for step in job.steps:
            self._step_s(step.seconds, {"step": step.name, "kind": job.kind, "subject": job.public_subject})
            span.add_event(step.name, {"seconds": step.seconds}, timestamp=step.start_ns)
        if job.state == "failed":
            span.set_status(StatusCode.ERROR)
        span.end(int(ended * 1e9))

    def exposition(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Send the remaining data; the time is limited to a few seconds."""
        for provider in (self._traces, self._metrics):
            thread = threading.Thread(target=provider.shutdown, daemon=True)
            thread.start()
            thread.join(_COLLECTOR_S)


def _log_once() -> None:
    """Log the failure of a collector once, not with every batch."""
    logged: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        key = f"{record.name}:{record.msg}"
        if key in logged:
            return False
        logged.add(key)
        return True

    for name in ("metric_exporter", "trace_exporter"):
        logging.getLogger(f"opentelemetry.exporter.otlp.proto.http.{name}").addFilter(is_new)
    for name in ("opentelemetry.sdk.metrics._internal.export", "opentelemetry.sdk._shared_internal"):
        logging.getLogger(name).addFilter(is_new)
