"""Checks the ports of `slidelane serve` before any process is started.

A process whose port is taken would fail and be started again for ever.
"""

import os
import socket
import time

from broker.settings.config import Config, ConfigError

FLOWER_HOST = "127.0.0.1"
_VARIABLE = "FLOWER_PORT"
_DEFAULT = "5555"
_RELEASE_S = 3.0
_POLL_S = 0.1


def flower_port() -> int:
    """Return the port for Flower, from the environment. Raise `ConfigError`."""
    text = os.environ.get(_VARIABLE, _DEFAULT)
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 65536):
        raise ConfigError(f"{_VARIABLE} must be a port from 1 to 65535, not {text[:32]!r}")
    return int(text)


def check_ports(config: Config, flower: int) -> None:
    """Raise `ConfigError` with the port that cannot be listened on, and its setting."""
    api = config.services
    if api.port == flower:
        raise ConfigError(
            f"PORT (services.port) and {_VARIABLE} are both {flower}; each needs its own"
        )
    _check(api.host, api.port, "PORT (services.port)")
    _check(FLOWER_HOST, flower, _VARIABLE)


def _check(host: str, port: int, setting: str) -> None:
    # The processes of a service that was killed a moment ago release their ports a little later.
    deadline = time.monotonic() + _RELEASE_S
    fault = _fault(host, port)
    while fault and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        fault = _fault(host, port)
    if fault:
        raise ConfigError(
            f"nothing can listen on {host}:{port} ({fault}); "
            f"end what does, or choose another {setting}"
        )


def _fault(host: str, port: int) -> str:
    """Return why nothing can listen there, or an empty string."""
    family = socket.AF_INET
    if ":" in host:
        family = socket.AF_INET6
    with socket.socket(family) as probe:
        # The API sets this option too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or type(error).__name__
    return ""
