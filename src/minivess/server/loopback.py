"""Is this address one that only this machine can reach?"""

from __future__ import annotations

import ipaddress


def is_loopback(name: str) -> bool:
    """Tell whether a host name or address is loopback."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
