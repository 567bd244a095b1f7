"""Asks the viewer of this machine whether it answers, on its socket or its port."""

import socket
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from broker.settings.config import Config
from broker.settings.viewer import viewer_socket
from slidelane.http_probe import NoAnswerError, base_url, get

_ADDRESS = "/healthz"  # answered without the secret
_TIMEOUT_S = 5.0


def ask_viewer(config: Config, timeout_s: float = _TIMEOUT_S) -> str:
    """Return one sentence that says where it answers. Raise `NoAnswerError`."""
    if config.worker.viewer.bind:
        url = base_url(*config.worker.viewer.host_and_port)
    else:
        url = config.broker.viewer.url
    if url:
        where = f"{url}{_ADDRESS}"
        status, _ = get(where, timeout_s)
    else:
        path = viewer_socket(config.broker.data)
        where = f"the viewer at {path}"
        status = _status_at(path, timeout_s)
    if status != HTTPStatus.OK:
        raise NoAnswerError(f"{where} does not answer as it should: {status}")
    return f"{where} answers {status}"


class _Connection(HTTPConnection):
    """An HTTP connection to a socket in a folder."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("viewer", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Connect. Raise `OSError`."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(str(self._path))


def _status_at(path: Path, timeout_s: float) -> int:
    connection = _Connection(path, timeout_s)
    try:
        connection.request("GET", _ADDRESS)
        return connection.getresponse().status
    except (OSError, HTTPException) as error:
        raise NoAnswerError(f"the viewer at {path} does not answer: {error}") from None
    finally:
        connection.close()
