"""A task of Techcyte, pasted from its notes, becomes its order on the page."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import running
from tests.support.browser import Site, WatchedPage

Watch = Callable[..., WatchedPage]
WEBHOOK = {
    "secret": "5" * 32,
    "host": "ci.techcyte.com",
    "algorithms": {"*": {"algorithm": "grid"}},
}
TASK = {
    "task_id": "dGFzazoxODU3MTQ=",
    "model_id": "ki67-lab",
    "jwt_token": "canary-token",
    "scans": {"8946136": "https://bucket.example.org/a.svs?X-Amz-Signature=canary"},
}


@pytest.fixture
def techcyte_site(redis_url: str, tmp_path: Path, slides: Path) -> Iterator[Site]:
    with running(redis_url, tmp_path, slides, techcyte={"webhooks": [WEBHOOK]}) as site:
        yield site


def test_a_pasted_task_is_ordered_and_its_token_is_kept_nowhere(
    techcyte_site: Site, watch: Watch
) -> None:
    """What is no task is said; a task opens its order; pasted again, it is the same order."""
    page = watch(techcyte_site).open("#/jobs")
    page.get_by_text("Order a task of Techcyte").click()
    notes = page.get_by_label("Task, as the notes of a debug request show it")
    notes.fill("Dear colleague, the task is")
    page.get_by_role("button", name="Order the task").click()
    expect(page.get_by_text("The text is not JSON")).to_be_visible()
    notes.fill(json.dumps(TASK, indent=2))
    page.get_by_role("button", name="Order the task").click()
    page.wait_for_url("**/#/orders/**")
    first = page.url
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage]) + document.body.innerHTML")
    assert "canary" not in kept
    page.get_by_role("link", name="Jobs and logs", exact=True).click()
    page.get_by_text("Order a task of Techcyte").click()
    page.get_by_label("Task, as the notes of a debug request show it").fill(json.dumps(TASK))
    page.get_by_role("button", name="Order the task").click()
    page.wait_for_url("**/#/orders/**")
    assert page.url.partition("?")[0] == first.partition("?")[0]
