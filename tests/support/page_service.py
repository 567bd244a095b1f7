"""The whole service behind the page as `slidelane serve` runs it, and slides for it to show."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from demo.slide import make_sample_slide
from demo.stack import Stack
from tests.support.stack import wait_for

WIDTH, HEIGHT = 2048, 1536
SAMPLE = "Canary Smith.svs"
"""A slide whose name could be that of a patient."""
MARKUP = "<img src=x onerror=alert(1)>.svs"
"""A slide whose name would be a script if it became markup."""
HANGING = "hanging.svs"
"""A slide for a test that stops its decoders."""
LETTER = "letter.svs"
"""No slide, but text."""
DECODE_S = 10
"""How long a decoder may take before it is taken for hanging, in seconds."""
_ROLES = {"api": "-m services", "viewer": "-m worker viewer"}


class PageService(Stack):
    """`slidelane serve` with a folder of slides."""

    def __init__(self, data: Path, slides: Path) -> None:
        """`slides`: the one folder that slides may be read from."""
        super().__init__(data, (slides,), {"SLIDELANE_WORKER__LIMITS__DECODE_S": str(DECODE_S)})
        self.slides = slides

    def order(self, **request: Any) -> str:
        """Place an order as a program does, and return its id."""
        answer = requests.post(f"{self.url}/v1/orders", json=request, timeout=60)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def get(self, path: str) -> Any:
        """Return the JSON of an address."""
        answer = requests.get(f"{self.url}{path}", timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def log_of(self, order_id: str) -> str:
        """Return the log of an order as text."""
        address = f"{self.url}/v1/orders/{order_id}/log"
        answer = requests.get(address, headers={"Accept": "text/plain"}, timeout=60)
        assert answer.ok, answer.text
        return answer.text

    def wait_until(self, order_id: str, state: str) -> None:
        """Block until the order is in this state."""
        path = f"/v1/orders/{order_id}"
        wait_for(lambda: self.get(path)["state"] == state, what=f"the order's state {state}")

    def pid(self, role: str) -> int:
        """Return the id of the process of a role: `api` or `viewer`."""
        found = [pid for pid in self.processes() if _command(pid).endswith(_ROLES[role])]
        assert len(found) == 1, (role, found)
        return found[0]

    def kill(self, role: str) -> None:
        """Kill the process of a role; it is started again."""
        os.kill(self.pid(role), signal.SIGKILL)

    def wait_for_viewer(self) -> None:
        """Block until slides can be listed."""
        address = f"{self.url}/v1/slides"
        wait_for(lambda: requests.get(address, timeout=30).ok, what="the viewer")


@contextmanager
def page_service(folder: Path) -> Iterator[PageService]:
    """Run the service with slides that are made below `folder`."""
    slides = folder / "slides"
    slides.mkdir()
    make_sample_slide(slides / SAMPLE, WIDTH, HEIGHT)
    make_sample_slide(slides / MARKUP, WIDTH, HEIGHT, seed=2)
    make_sample_slide(slides / HANGING, WIDTH, HEIGHT, seed=3)
    (slides / LETTER).write_text("Dear colleague")
    with PageService(folder / "data", slides) as service:
        service.wait_ready()
        service.wait_for_viewer()
        yield service


def _command(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # it has ended
        return ""
    return text.replace("\0", " ").strip()
