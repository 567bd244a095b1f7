"""What every stand-in receiver is: a real HTTP server in a thread that keeps a ledger and fails when it is told to.

It judges what is sent to it, so it knows nothing of the sender: no import of `broker`, `services` or `worker`.
Every receiver answers `GET /_ledger` and `PUT /_faults` besides its own addresses.
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
    """One accepted body. `at` is seconds since 1970; `note` is what the receiver understood of it."""

    at: float
    path: str
    sha256: str
    bytes: int
    note: dict[str, Any]


class RefusedError(Exception):
    """The receiver does not take this; the answer says why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.answer = Answer(status, {"error": reason})


class Receiver:
    """A server for as long as the context lasts, on loopback unless `host` says otherwise; `port=0` takes a free one.

    `ledger` lists what was accepted, `faults` what is to go wrong; both may be used while requests come in.
    """

    def __init__(self, port: int = 0, host: str = LOOPBACK) -> None:
        self.ledger: list[Entry] = []
        self.faults = Faults()
        self._one_at_a_time = threading.Lock()
        self._server = Server(host, port, self._respond, self.faults)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}
        )

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._thread.join()

    def answer(self, request: Request) -> Answer:
        """Answer one request of the receiver's own protocol. Raises `RefusedError`, or `ValueError` for a 400."""
        raise NotImplementedError

    def accept(self, request: Request, note: dict[str, Any]) -> None:
        """Write an accepted body into the ledger."""
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
            with self._one_at_a_time:
                return self.answer(request)
        except RefusedError as refusal:
            return refusal.answer
        except (ValueError, RecursionError) as error:
            return Answer(400, {"error": str(error)})


def serve_alone(start: Callable[[int, str], Receiver], shown: tuple[str, ...]) -> None:
    """Serve in a process of its own until SIGINT or SIGTERM; the line printed first is JSON with `shown` attributes."""
    parser = argparse.ArgumentParser(description=serve_alone.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        help="the address to listen on, where others than this machine come",
    )
    given = parser.parse_args()
    stops = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(
        signal.SIG_BLOCK, stops
    )  # before any thread starts, so that only `sigwait` sees them
    with start(given.port, given.host) as receiver:
        print(json.dumps({name: getattr(receiver, name) for name in shown}), flush=True)
        signal.sigwait(stops)
