"""The clients of a run: some place orders until they get a 202, one watches all orders."""

import queue
import threading
from collections.abc import Iterable
from random import Random
from typing import Any

import requests

from tests.faults.ledger import ClientLedger
from tests.faults.plan import PlannedOrder

TIMEOUT_S = (2.0, 8.0)
IMPATIENT_TIMEOUT_S = (2.0, 0.001)
"""Hangs up before the answer can come: the order was placed, and its client does not know."""
IMPATIENT_SHARE = 0.02
REPEATED_SHARE = 0.03
REPEATABLE_STATUSES = {0, 429, 503}
CLIENTS = 4


def call(
    http: requests.Session,
    method: str,
    url: str,
    timeout_s: tuple[float, float] = TIMEOUT_S,
    **more: Any,
) -> tuple[int, Any]:
    """Return status and JSON of the answer; status 0 when none came."""
    try:
        with http.request(method, url, timeout=timeout_s, **more) as answer:
            return answer.status_code, answer.json()
    except (requests.RequestException, ValueError):
        return 0, None


def session() -> requests.Session:
    """Return a session that ignores any proxy of the environment."""
    http = requests.Session()
    http.trust_env = False
    return http


class Clients:
    """Threads that place orders, `per_s` a second in all, each until accepted or refused."""

    def __init__(
        self,
        url: str,
        orders: Iterable[PlannedOrder],
        ledger: ClientLedger,
        seed: int,
        per_s: float,
    ) -> None:
        self._url = f"{url}/v1/orders"
        self._ledger = ledger
        self._pause_s = CLIENTS / per_s
        self._waiting: queue.SimpleQueue[PlannedOrder] = queue.SimpleQueue()
        for planned in orders:
            self._waiting.put(planned)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(Random(seed + number),), name="client")
            for number in range(CLIENTS)
        ]

    def start(self) -> None:
        """Start placing orders."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop; what was not placed is left."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, rng: Random) -> None:
        with session() as http:
            while not self._stop.wait(self._pause_s * rng.uniform(0.5, 1.5)):
                try:
                    planned = self._waiting.get_nowait()
                except queue.Empty:
                    return
                self._place(http, planned, rng)
                if rng.random() < REPEATED_SHARE:
                    self._place(http, planned, rng)

    def _place(self, http: requests.Session, planned: PlannedOrder, rng: Random) -> None:
        headers = {"Idempotency-Key": planned.key}
        while not self._stop.is_set():
            timeout_s = TIMEOUT_S
            if rng.random() < IMPATIENT_SHARE:
                timeout_s = IMPATIENT_TIMEOUT_S
            status, answer = call(
                http, "POST", self._url, timeout_s, json=planned.body, headers=headers
            )
            if status == 202:
                self._ledger.accept(planned, answer["id"])
                return
            if status not in REPEATABLE_STATUSES:
                self._ledger.refuse(planned, status, answer)
                return
            self._ledger.repeat()
            self._stop.wait(rng.uniform(0.1, 0.6))


class Watcher:
    """One thread that looks at all orders again and again, in one order of time."""

    def __init__(self, url: str, ledger: ClientLedger) -> None:
        self._url = f"{url}/v1/orders"
        self._ledger = ledger
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher")

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the look that is under way."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with session() as http:
            while not self._stop.wait(0.3):
                self._look_at_all(http)

    def _look_at_all(self, http: requests.Session) -> None:
        parameters: dict[str, str | int] = {"limit": 100}
        while not self._stop.is_set():
            status, page = call(http, "GET", self._url, params=parameters)
            if status != 200:
                return
            for view in page["orders"]:
                self._ledger.observe(view)
            if not page["next"]:
                return
            parameters["cursor"] = page["next"]
