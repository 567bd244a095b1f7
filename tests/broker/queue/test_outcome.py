"""What is said of the end of an attempt: short, on one line, without a secret, and true."""

from typing import Any

import pytest

from broker.errors import Problem
from broker.orders.order import Order, OrderState, Scan, ScanState
from broker.orders.request import OrderRequest
from broker.queue.outcome import Outcome, failed, given_back, recorded

ERROR = {"code": "not_a_slide", "detail": "it is a page", "hint": "look", "blame": "input"}
SIGNED = "https://bucket.example/a.svs?X-Amz-Signature=f00dfeed"


def an_order(state: OrderState, scan: ScanState, **more: Any) -> Order:
    asked = {"id": "a", "source": {"type": "path", "path": "/a.svs"}}
    error = ERROR if scan == ScanState.FAILED else None
    return Order(
        id="o",
        state=state,
        request=OrderRequest.model_validate({"algorithm": "grid", "scans": [asked]}, strict=False),
        queue="gpu",
        created_at=0,
        updated_at=0,
        expires_at=0,
        scans=(Scan(index=0, id="a", state=scan, error=error),),
        **more,
    )


def test_a_sentence_is_short_and_on_one_line() -> None:
    """With the quotes that Celery adds, a result has at most 200 characters."""
    line = Outcome("done", "classified\n" + 300 * "x").line
    assert len(repr(line)) <= 200
    assert line.startswith("classified xxx")
    assert line.endswith("…")


@pytest.mark.parametrize(
    "secret", [SIGNED, "Bearer abcdefghij", "redis://user:f00dfeed@host/0", "eyJhbGciOi.eyJz.sig-1"]
)
def test_no_secret_is_said(secret: str) -> None:
    """Whatever a far server put into its message."""
    for outcome in (
        Outcome("done", f"fetched {secret}"),
        failed(Problem("input_expired", f"{secret} answered 403")),
        given_back(f"input_unreachable: {secret}", delay_s=20),
    ):
        assert secret not in outcome.line
        assert "f00dfeed" not in outcome.line


def test_each_end_is_said_in_its_way() -> None:
    """A failure as CODE: detail, given-back work with its next try."""
    assert failed(Problem("not_a_slide", "it is a page")).line == "not_a_slide: it is a page"
    again = given_back("input_unreachable: HTTP 503", delay_s=20.2)
    assert again.line == "given back: input_unreachable: HTTP 503; next try in 20 s"


@pytest.mark.parametrize(
    ("order", "work", "expected"),
    [
        (
            an_order(OrderState.FAILED, ScanState.FAILED),
            "o.0",
            ("failed", "not_a_slide: it is a page"),
        ),
        (an_order(OrderState.DELIVERING, ScanState.CLASSIFIED), "o.0", ("done", "classified")),
        (
            an_order(OrderState.CANCELLED, ScanState.CANCELLED),
            "o.0",
            ("done", "stopped: the order is cancelled"),
        ),
        (
            an_order(OrderState.RUNNING, ScanState.STAGED),
            "o.0",
            ("given_back", "given back: signal 9"),
        ),
        (
            an_order(OrderState.UNDELIVERED, ScanState.CLASSIFIED, error=ERROR),
            "o",
            ("failed", "not_a_slide: it is a page"),
        ),
        (
            an_order(OrderState.CANCELLED, ScanState.CLASSIFIED, error=ERROR),
            "o",
            ("done", "stopped: the order is cancelled"),
        ),
        (
            an_order(OrderState.DELIVERING, ScanState.CLASSIFIED),
            "o",
            ("given_back", "given back: signal 9"),
        ),
    ],
)
def test_what_ended_elsewhere_is_told_from_the_record(
    order: Order, work: str, expected: tuple[str, str]
) -> None:
    """For a process that was lost, a thread that was given up, a lease that ran out."""
    outcome = recorded(order, work, "signal 9")
    assert (outcome.end, outcome.line) == expected
