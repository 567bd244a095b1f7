"""Says once when the service that `slidelane serve` starts is ready, and where it is."""

import json
import time
from typing import Any

from broker.settings.config import Config
from slidelane.http_probe import NoAnswerError, get
from slidelane.viewer_probe import ask_viewer

_ASK_EVERY_S = 1.0
_TIMEOUT_S = 1.0
_REMIND_EVERY_S = 60.0


class Readiness:
    """Asks `/readyz`, Flower and the viewer until all answer well, for three seconds at most."""

    def __init__(self, config: Config, api_url: str, flower_url: str) -> None:
        self._config = config
        self._api_url = api_url
        self._flower_url = flower_url
        self._is_ready = False
        self._ask_at = 0.0
        self._remind_at = time.monotonic() + _REMIND_EVERY_S

    def news(self) -> list[str]:
        """Return the lines to be printed now: that it is ready, or, each minute, what is missing.

        Asks at most once a second, and no more once it was ready.
        """
        now = time.monotonic()
        if self._is_ready or now < self._ask_at:
            return []
        self._ask_at = now + _ASK_EVERY_S
        missing, answer = self._ask()
        if not missing:
            self._is_ready = True
            return self._ready_lines(answer)
        if now < self._remind_at:
            return []
        self._remind_at = now + _REMIND_EVERY_S
        return [f"not ready yet: {missing}"]

    def _ask(self) -> tuple[str, dict[str, Any]]:
        """Return what is missing, empty when it is ready, and the answer of `/readyz`."""
        try:
            status, body = get(f"{self._api_url}/readyz", _TIMEOUT_S)
            # Where Flower has a password, 401 is an answer too.
            get(f"{self._flower_url}/healthcheck", _TIMEOUT_S)
            ask_viewer(self._config, _TIMEOUT_S)
            answer = json.loads(body)
        except (NoAnswerError, ValueError) as error:
            return str(error), {}
        if status != 200:
            return str(answer.get("detail", status)), {}
        return "", answer

    def _ready_lines(self, answer: dict[str, Any]) -> list[str]:
        unavailable = [
            f"the algorithm {one['algorithm']} is unavailable: {one['reason']}"
            for one in answer.get("unavailable", ())
        ]
        return [
            "ready",
            f"page   {self._api_url}/",
            f"API    {self._api_url}",
            f"docs   {self._api_url}/docs",
            f"Flower {self._flower_url}",
            *unavailable,
        ]
