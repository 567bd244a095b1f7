"""Host and port of a request and of an origin, as browsers write them."""

from typing import Final
from urllib.parse import urlsplit

from broker.settings.config import LOOPBACK

_PORTS: Final = {"http": 80, "https": 443}


def is_loopback(netloc: str) -> bool:
    """Return whether a Host header names this machine."""
    try:
        return urlsplit(f"//{netloc}").hostname in LOOPBACK
    except ValueError:
        return False


def host_and_port(origin: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an origin, and None for any other text."""
    try:
        parts = urlsplit(origin.strip())
        host = parts.hostname
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    if port is None or not host:
        return None
    if parts.path or parts.query or parts.fragment or parts.username is not None:
        return None
    return parts.scheme, host, port
