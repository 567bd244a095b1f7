"""A destination that does not answer costs a courier little."""

import pytest

from broker.errors import TemporaryError
from worker.delivery.circuit_breaker import FAILURES_TO_OPEN, CircuitBreakers
from worker.delivery.payload import Receipt

NO_ANSWER = Receipt("later", detail="no connection")


def fail(breakers: CircuitBreakers, times: int = FAILURES_TO_OPEN) -> None:
    for _ in range(times):
        with breakers.acquire("h"):
            breakers.record("h", NO_ANSWER)


def test_a_host_that_is_silent_again_and_again_is_left_alone() -> None:
    """The refusal says for how long, and makes no connection."""
    breakers = CircuitBreakers(max_concurrent=8)
    fail(breakers)
    with pytest.raises(TemporaryError, match="left alone") as caught, breakers.acquire("h"):
        pass
    assert caught.value.retry_after_s


def test_other_hosts_go_on() -> None:
    """Each host has a breaker of its own."""
    breakers = CircuitBreakers(max_concurrent=8)
    fail(breakers)
    with breakers.acquire("other"):
        pass


def test_any_answer_ends_the_silence() -> None:
    """A refusal is an answer too."""
    breakers = CircuitBreakers(max_concurrent=8)
    fail(breakers, FAILURES_TO_OPEN - 1)
    with breakers.acquire("h"):
        breakers.record("h", Receipt("refused", 400))
    fail(breakers, FAILURES_TO_OPEN - 1)
    with breakers.acquire("h"):
        pass


def test_a_question_that_found_nobody_counts_as_silence() -> None:
    """Asking and sending reach the same host."""
    breakers = CircuitBreakers(max_concurrent=8)
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(TemporaryError), breakers.acquire("h"):
            raise TemporaryError("destination_unreachable", "silence")
    with pytest.raises(TemporaryError, match="left alone"), breakers.acquire("h"):
        pass


def test_one_host_gets_its_share_of_threads_and_no_more() -> None:
    """The next one gets a `TemporaryError` with a short wait."""
    breakers = CircuitBreakers(max_concurrent=2)
    with breakers.acquire("h"), breakers.acquire("h"):
        with pytest.raises(TemporaryError) as caught, breakers.acquire("h"):
            pass
        assert caught.value.code == "destination_busy"
    with breakers.acquire("h"):
        pass


def test_no_host_needs_no_circuit() -> None:
    """Results that stay in storage need no breaker."""
    breakers = CircuitBreakers(max_concurrent=1)
    with breakers.acquire(""), breakers.acquire(""):
        pass
