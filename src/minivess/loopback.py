"""Check whether an address can be reached from this machine only."""

from __future__ import annotations

import ipaddress


def is_loopback(name: str) -> bool:
    """Return whether a host name or address is loopback."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
