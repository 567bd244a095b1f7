"""Those who call the API during a run: clients that order until they hear a 202, and one who watches all orders."""

import queue
import threading
from collections.abc import Iterable
from random import Random
from typing import Any

import requests

from tests.faults.ledger import Book
from tests.faults.plan import Wanted

TIMEOUT_S = (2.0, 8.0)
IMPATIENT_S = (2.0, 0.001)
"""Hangs up before the answer can be there: the order was placed, and its caller does not know."""
IMPATIENT, REPEATS = 0.02, 0.03
AGAIN = {0, 429, 503}


def call(
    http: requests.Session,
    method: str,
    url: str,
    timeout_s: tuple[float, float] = TIMEOUT_S,
    **more: Any,
) -> tuple[int, Any]:
    """Status and JSON of the answer; status 0 when none came."""
    try:
        with http.request(method, url, timeout=timeout_s, **more) as answer:
            return answer.status_code, answer.json()
    except (requests.RequestException, ValueError):
        return 0, None


def session() -> requests.Session:
    """Straight to the API, past any proxy of the surroundings."""
    http = requests.Session()
    http.trust_env = False
    return http


class Clients:
    """Threads that place the wanted orders, `per_s` a second in all, each until it is promised or refused."""

    def __init__(
        self, url: str, wanted: Iterable[Wanted], book: Book, seed: int, per_s: float
    ) -> None:
        self._url, self._book, self._pause_s = f"{url}/v1/orders", book, 1 / per_s
        self._waiting: queue.SimpleQueue[Wanted] = queue.SimpleQueue()
        for one in wanted:
            self._waiting.put(one)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(Random(seed + n),), name="client")
            for n in range(4)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def calm(self) -> None:
        """Give up what is left."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, rng: Random) -> None:
        with session() as http:
            while not self._stop.wait(self._pause_s * len(self._threads) * rng.uniform(0.5, 1.5)):
                try:
                    wanted = self._waiting.get_nowait()
                except queue.Empty:
                    return
                self._place(http, wanted, rng)
                if rng.random() < REPEATS:
                    self._place(http, wanted, rng)

    def _place(self, http: requests.Session, wanted: Wanted, rng: Random) -> None:
        headers = {"Idempotency-Key": wanted.key}
        while not self._stop.is_set():
            patience_s = IMPATIENT_S if rng.random() < IMPATIENT else TIMEOUT_S
            status, answer = call(
                http, "POST", self._url, patience_s, json=wanted.body, headers=headers
            )
            if status == 202:
                return self._book.promised(wanted, answer["id"])
            if status not in AGAIN:
                return self._book.refuse(wanted, status, answer)
            self._book.ask_again()
            self._stop.wait(rng.uniform(0.1, 0.6))
        return None


class Watcher:
    """One thread that looks at all orders again and again, in one order of time."""

    def __init__(self, url: str, book: Book) -> None:
        self._url, self._book = f"{url}/v1/orders", book
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def calm(self) -> None:
        """End it after the look that is under way."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with session() as http:
            while not self._stop.wait(0.3):
                self._look_at_all(http)

    def _look_at_all(self, http: requests.Session) -> None:
        asked: dict[str, str | int] = {"limit": 100}
        while not self._stop.is_set():
            status, page = call(http, "GET", self._url, params=asked)
            if status != 200:
                return
            for view in page["orders"]:
                self._book.see(view)
            if not page["next"]:
                return
            asked["cursor"] = page["next"]
