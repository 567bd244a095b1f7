"""One dead destination costs the courier little."""

import pytest

from broker.errors import TemporaryError
from worker.delivery.circuit_breaker import SILENT_TIMES, CircuitBreakers
from worker.delivery.payload import Receipt

SILENCE = Receipt("later", detail="no connection")


def silent(circuits: CircuitBreakers, times: int = SILENT_TIMES) -> None:
    for _ in range(times):
        with circuits.through("h"):
            circuits.hear("h", SILENCE)


def test_a_host_that_is_silent_again_and_again_is_left_alone() -> None:
    """The refusal says for how long, and costs no connection."""
    circuits = CircuitBreakers(at_once=8)
    silent(circuits)
    with pytest.raises(TemporaryError, match="left alone") as caught, circuits.through("h"):
        pass
    assert caught.value.retry_after_s


def test_other_hosts_go_on() -> None:
    """A circuit is one host's."""
    circuits = CircuitBreakers(at_once=8)
    silent(circuits)
    with circuits.through("other"):
        pass


def test_any_answer_ends_the_silence() -> None:
    """A refusal is an answer too."""
    circuits = CircuitBreakers(at_once=8)
    silent(circuits, SILENT_TIMES - 1)
    with circuits.through("h"):
        circuits.hear("h", Receipt("refused", 400))
    silent(circuits, SILENT_TIMES - 1)
    with circuits.through("h"):
        pass


def test_a_question_that_found_nobody_counts_as_silence() -> None:
    """Reading back and sending knock at the same door."""
    circuits = CircuitBreakers(at_once=8)
    for _ in range(SILENT_TIMES):
        with pytest.raises(TemporaryError), circuits.through("h"):
            raise TemporaryError("destination_unreachable", "silence")
    with pytest.raises(TemporaryError, match="left alone"), circuits.through("h"):
        pass


def test_one_host_gets_its_share_of_threads_and_no_more() -> None:
    """The next one is told to come back in a moment."""
    circuits = CircuitBreakers(at_once=2)
    with circuits.through("h"), circuits.through("h"):
        with pytest.raises(TemporaryError) as caught, circuits.through("h"):
            pass
        assert caught.value.code == "destination_busy"
    with circuits.through("h"):
        pass


def test_no_host_needs_no_circuit() -> None:
    """Results that are kept for pick-up wait for nobody."""
    circuits = CircuitBreakers(at_once=1)
    with circuits.through(""), circuits.through(""):
        pass
