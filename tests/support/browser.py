"""A browser over the page, and what must not happen on it."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Page, Request, expect

from broker.file_storage.interface import Storage
from broker.order_store import OrderStore
from broker.settings.config import Config
from services.app import create_app
from services.server import ApiServer

WAIT_S = 60.0
_STATUS = re.compile(r"responded with a status of (\d{3})")
_TELL_VIOLATIONS = """
addEventListener('securitypolicyviolation', (event) => {
  console.error(`the policy refused ${event.violatedDirective}: ${event.blockedURI}`);
});
"""


@dataclass(frozen=True)
class Site:
    """A running API with its page, and the record and files behind it."""

    url: str
    store: OrderStore
    storage: Storage
    slides: Path
    uploads: Path


@contextmanager
def running_api(config: Config, store: OrderStore) -> Iterator[str]:
    """Serve the API in a thread of this process; the value is its address."""
    server = ApiServer(create_app(config, store), config.services)
    listener = server.listen()
    thread = threading.Thread(target=server.run, args=([listener],), name="api")
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(WAIT_S)
        assert not thread.is_alive()


@dataclass
class WatchedPage:
    """A page of a browser. `faults` fills with errors, refusals of the policy, foreign requests.

    `expected` are the statuses of answers that a test provokes: a browser logs them as errors.
    """

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin to watch."""
        self.page.add_init_script(_TELL_VIOLATIONS)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"thrown: {error}"))
        self.page.on("request", self._request)

    def open(self, address: str = "") -> Page:
        """Open an address of the page, like `#/jobs`, and wait until it has its heading."""
        self.page.goto(f"{self.url}/{address}")
        heading = self.page.get_by_role("heading", level=1)
        expect(heading).to_have_count(1)
        expect(heading).not_to_have_text("One moment …")
        return self.page

    def _console(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        status = _STATUS.search(message.text)
        if status and int(status.group(1)) in self.expected:
            return
        self.faults.append(f"console: {message.text} {message.location.get('url', '')}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "blob:", "data:")):
            self.faults.append(f"foreign: {request.url}")
