"""Record metrics and traces of the server with OpenTelemetry; nothing is sent unless an endpoint is configured."""

from minivess.telemetry.instruments import Telemetry

__all__ = ["Telemetry"]
