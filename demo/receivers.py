"""The base of every stand-in receiver: an HTTP server with a ledger and faults on request.

A receiver must not import `broker`, `services` or `worker`, because it checks what they send. It
answers `GET /_ledger` and `PUT /_faults` besides its own addresses.
"""

import argparse
import hashlib
import json
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Self

from demo.faults import Faults, parse_faults
from demo.http_server import Answer, Request, Server

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted body. `at` is in seconds since 1970; `note` is what the receiver read in it."""

    at: float
    path: str
    sha256: str
    bytes: int
    note: dict[str, Any]


class RefusedError(Exception):
    """The receiver does not accept a request; the answer says why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.answer = Answer(status, {"error": reason})


class Receiver:
    """A server that runs while the context is open; `port=0` takes a free port.

    `ledger` lists what was accepted, `faults` what is to go wrong. Both may be used while requests
    are served.
    """

    def __init__(self, port: int = 0, host: str = LOOPBACK) -> None:
        self.ledger: list[Entry] = []
        self.faults = Faults()
        self._lock = threading.Lock()
        self._server = Server(host, port, self._respond, self.faults)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}
        )

    @property
    def url(self) -> str:
        """The base URL on loopback, without a slash at the end."""
        return f"http://{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._thread.join()

    def answer(self, request: Request) -> Answer:
        """Answer one request of the receiver's own protocol.

        Raise `RefusedError`, or `ValueError` for a 400.
        """
        raise NotImplementedError

    def accept(self, request: Request, note: dict[str, Any]) -> None:
        """Add an accepted body to the ledger."""
        digest = hashlib.sha256(request.body).hexdigest()
        self.ledger.append(Entry(time.time(), request.path, digest, len(request.body), note))

    def _respond(self, request: Request) -> Answer:
        try:
            match request.method, request.path:
                case "GET", "/_ledger":
                    return Answer(200, [asdict(entry) for entry in self.ledger])
                case "PUT", "/_faults":
                    self.faults.replace(parse_faults(request.body))
                    return Answer(204)
            with self._lock:
                return self.answer(request)
        except RefusedError as refusal:
            return refusal.answer
        except (ValueError, RecursionError) as error:
            return Answer(400, {"error": str(error)})


def serve_alone(start: Callable[[int, str], Receiver], shown: tuple[str, ...]) -> None:
    """Serve in a process of its own until SIGINT or SIGTERM.

    The first line that is printed is JSON with the receiver's attributes named in `shown`.
    """
    parser = argparse.ArgumentParser(description=serve_alone.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        help="the address to listen on, where others than this machine come",
    )
    arguments = parser.parse_args()
    stops = {signal.SIGINT, signal.SIGTERM}
    # Before any thread starts, so that no thread but this one gets them, in `sigwait`.
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    with start(arguments.port, arguments.host) as receiver:
        print(json.dumps({name: getattr(receiver, name) for name in shown}), flush=True)
        signal.sigwait(stops)
