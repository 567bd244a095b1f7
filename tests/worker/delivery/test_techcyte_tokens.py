"""Tokens of API keys: kept from one request to the next, and replaced once when refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from broker.orders.request import Destination as DestinationRequest
from demo.techcyte import TechcyteReceiver
from tests.support.destinations import PAYLOAD, SETTINGS, TASK
from tests.support.receivers import PathReceiver
from tests.support.results import a_result
from worker.delivery.destination import Destination, create_destination
from worker.delivery.destinations.techcyte.tokens import TokenCache, cache_key
from worker.http_session import session

SECRET = "s3cr3t-key"


@pytest.fixture
def lab() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver(
        {"185714": {"8946136"}}, api_key_id="me", api_key_secret=SECRET
    ) as server:
        yield server


def with_key(url: str, tokens: TokenCache, **fields: Any) -> Destination:
    """Return task 185714 of the Techcyte at the URL, opened by an API key."""
    key = {"api_key_id": "me", "api_key_secret": SECRET}
    given = {"type": "techcyte", "base_url": url, "task_id": TASK} | key | fields
    request: Any = TypeAdapter(DestinationRequest).validate_python(given)
    http = session(("127.0.0.1",), connect_timeout_s=1, read_timeout_s=0.5, encrypted_only=True)
    return create_destination("ord-1", {}, request, http, SETTINGS, tokens)


def test_one_token_opens_every_request_of_a_key(tmp_path: Path, lab: TechcyteReceiver) -> None:
    """Of several orders too: they share the cache, as those of a courier do."""
    tokens = TokenCache()
    destination = with_key(lab.url, tokens)
    payload = destination.build_payload([a_result()], tmp_path / "payload")
    assert destination.post(payload).outcome == "accepted"
    assert with_key(lab.url, tokens).has_received("ord-1") is True
    assert lab.tokens_made == 1
    other = with_key(lab.url, tokens, api_key_secret="an0ther-key")
    assert other.post(PAYLOAD).status == 401


def test_a_token_that_expired_is_replaced_and_the_post_sent_again(
    tmp_path: Path, lab: TechcyteReceiver
) -> None:
    """A server that refuses the token has taken nothing, so this is no double."""
    tokens = TokenCache()
    destination = with_key(lab.url, tokens)
    assert destination.has_received("ord-1") is False
    lab.expire_tokens()
    payload = destination.build_payload([a_result()], tmp_path / "payload")
    receipt = destination.post(payload)
    assert (receipt.outcome, lab.tokens_made, len(lab.ledger)) == ("accepted", 2, 1)


def test_a_key_is_used_where_the_token_of_the_task_has_expired(
    tmp_path: Path, lab: TechcyteReceiver
) -> None:
    """An order may wait longer than its token lives; with both, the key is the way on."""
    destination = with_key(lab.url, TokenCache(), jwt_token="eyJ0b28.b2xk.eA")
    payload = destination.build_payload([a_result()], tmp_path / "payload")
    assert destination.post(payload).outcome == "accepted"
    assert lab.tokens_made == 1


def test_a_key_without_the_right_is_refused_after_one_replacement() -> None:
    """A refusal is an answer: it is not asked again and again, and shows no token."""
    with PathReceiver() as receiver:
        receiver.answers["/api/v3/token"] = (200, b'{"access_token": "t0ken-of-the-key"}')
        receiver.answers["/api/v3/external/results/185714"] = (401, b"t0ken-of-the-key is no good")
        receipt = with_key(receiver.url(""), TokenCache()).post(PAYLOAD)
        paths = [path for _, path, _, _ in receiver.requests]
    assert (receipt.outcome, receipt.status) == ("refused", 401)
    assert "t0ken" not in receipt.detail
    assert paths.count("/api/v3/external/results/185714") == 2
    assert paths.count("/api/v3/token") == 2


def test_a_token_is_kept_as_long_as_its_answer_says() -> None:
    """One that ends within half a minute would end under way; it is replaced at once."""
    tokens = TokenCache()
    tokens.put("a", "text", 1000)
    tokens.put("b", "short", 20)
    assert (tokens.get("a"), tokens.get("b"), tokens.get("c")) == ("text", "", "")
    tokens.forget("a", "another")
    assert tokens.get("a") == "text"
    tokens.forget("a", "text")
    assert tokens.get("a") == ""
    assert SECRET not in cache_key("https://api.example", "me", SECRET)


def test_the_tokens_that_are_kept_are_bounded() -> None:
    """The one that was used least lately goes first."""
    tokens = TokenCache()
    for number in range(300):
        tokens.put(f"key-{number}", "t", 1000)
        tokens.get("key-0")
    assert tokens.get("key-0") == "t"
    assert tokens.get("key-1") == ""
    assert tokens.get("key-299") == "t"
