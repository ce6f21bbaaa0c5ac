"""The label server: MONAI Label's own, started with our app on a loopback address."""

from minivess.server.serve import LabelServer, server_command

__all__ = ["LabelServer", "server_command"]
