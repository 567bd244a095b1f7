"""Places orders over HTTP, follows them, and downloads their results."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

ENDED = frozenset({"delivered", "failed", "undelivered", "cancelled", "expired"})
POLL_S = 0.1
TIMEOUT_S = 30
CHUNK_BYTES = 2**20


class FollowError(Exception):
    """An order could not be placed or came to no end; the message says which and why."""


@dataclass
class Followed:
    """An order as it was last seen.

    `states` holds how many seconds after it was placed each state was first seen.
    """

    title: str
    order: dict[str, Any]
    placed_at: float = field(default_factory=time.monotonic)
    states: dict[str, float] = field(default_factory=dict)

    def see(self, order: dict[str, Any]) -> None:
        """Take over how the order is now."""
        self.order = order
        self.states.setdefault(order["state"], time.monotonic() - self.placed_at)

    @property
    def scan(self) -> dict[str, Any]:
        """The order's first scan."""
        return dict(self.order["scans"][0])

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.order["state"] in ENDED


class Orders:
    """The order API at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = requests.Session()
        # A proxy of the environment cannot reach loopback.
        self._http.trust_env = False

    def place(self, title: str, request: dict[str, Any]) -> Followed:
        """Place one order. Raise `FollowError` with the answer when it is not accepted."""
        answer = self._http.post(f"{self._url}/v1/orders", json=request, timeout=TIMEOUT_S)
        if answer.status_code != 202:
            raise FollowError(
                f"the order {title!r} was answered {answer.status_code}: {answer.text[:2000]}"
            )
        followed = Followed(title, {})
        followed.see(answer.json())
        return followed

    def follow(self, orders: Sequence[Followed], within_s: float) -> Iterator[None]:
        """Poll the orders until all have ended, and yield after each time.

        Raise `FollowError` when it takes too long.
        """
        deadline = time.monotonic() + within_s
        waiting = [order for order in orders if not order.ended]
        while waiting:
            if time.monotonic() > deadline:
                states = ", ".join(f"{order.title} is {order.order['state']}" for order in waiting)
                raise FollowError(f"not done within {within_s:g} s: {states}")
            for order in waiting:
                order.see(self._get(order))
            yield
            time.sleep(POLL_S)
            waiting = [order for order in orders if not order.ended]

    def download(self, order: Followed, name: str, folder: Path) -> Path:
        """Download one result of the order's first scan into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        url = f"{self._url}/v1/orders/{order.order['id']}/scans/{order.scan['id']}/{name}"
        with (
            self._http.get(url, stream=True, timeout=TIMEOUT_S) as answer,
            (folder / name).open("wb") as file,
        ):
            answer.raise_for_status()
            for chunk in answer.iter_content(CHUNK_BYTES):
                file.write(chunk)
        return folder / name

    def _get(self, order: Followed) -> dict[str, Any]:
        try:
            answer = self._http.get(f"{self._url}/v1/orders/{order.order['id']}", timeout=TIMEOUT_S)
        except requests.ConnectionError:
            # The API is being started again; the order is stored.
            return order.order
        answer.raise_for_status()
        return dict(answer.json())
