"""The ports of `slidelane serve`, looked at before anything is started: a child could only fail on them for ever."""

import os
import socket
import time

from broker.settings.config import Config, ConfigError

FLOWER_HOST = "127.0.0.1"
_VARIABLE = "FLOWER_PORT"
_DEFAULT = "5555"
_LET_GO_S = 3.0
_POLL_S = 0.1


def flower_port() -> int:
    """The port for Flower, from the environment. Raises `ConfigError`."""
    given = os.environ.get(_VARIABLE, _DEFAULT)
    if not (given.isascii() and given.isdecimal() and 0 < int(given[:6]) < 65536):
        raise ConfigError(f"{_VARIABLE} must be a port from 1 to 65535, not {given[:32]!r}")
    return int(given)


def check_ports(config: Config, flower: int) -> None:
    """Raises `ConfigError` that names the port which is taken, or may not be had, and its setting."""
    api = config.services
    if api.port == flower:
        raise ConfigError(
            f"PORT (services.port) and {_VARIABLE} are both {flower}; each needs its own"
        )
    _check(api.host, api.port, "PORT (services.port)")
    _check(FLOWER_HOST, flower, _VARIABLE)


def _check(host: str, port: int, setting: str) -> None:
    # the children of a service that was killed a moment ago need a moment to let go
    deadline = time.monotonic() + _LET_GO_S
    while (fault := _fault(host, port)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if fault:
        raise ConfigError(
            f"nothing can listen on {host}:{port} ({fault}); end what does, or choose another {setting}"
        )


def _fault(host: str, port: int) -> str:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the API itself does
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or type(error).__name__
    return ""
