"""What the server does, in numbers and traces, by OpenTelemetry; nothing leaves the machine unless an endpoint is configured."""

from minivess.telemetry.instruments import Telemetry

__all__ = ["Telemetry"]
