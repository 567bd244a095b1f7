"""What every kind of answer and silence means, at any destination."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.support.destinations import PARCEL, TOKEN, posted, to, to_techcyte
from tests.support.receivers import Receiving
from tests.support.results import a_result


@pytest.fixture
def receiving() -> Iterator[Receiving]:
    with Receiving() as server:
        yield server


class TestAnswers:
    """What a status means is the same for every destination."""

    @pytest.mark.parametrize(
        ("status", "outcome"),
        [
            *((status, "refused") for status in (301, 400, 401, 403, 404, 409, 410, 413, 422)),
            *((status, "later") for status in (408, 425, 429, 500, 503)),
            *((status, "unknown") for status in (502, 504, 520)),
        ],
    )
    def test_a_status_says_whether_to_try_again(
        self, receiving: Receiving, status: int, outcome: str
    ) -> None:
        """Refusals are final, pressure and failure come again, a gateway that lost the answer is asked about."""
        receipt = posted(receiving.url(f"/status/{status}"))
        assert (receipt.outcome, receipt.status) == (outcome, status)
        assert receipt.detail == f"answered {status}: so it is"

    def test_a_redirect_is_not_followed(self, receiving: Receiving) -> None:
        """Results go where the order says, and nowhere else."""
        assert posted(receiving.url("/redirect")).outcome == "refused"
        assert len(receiving.got) == 1

    def test_retry_after_is_honoured_up_to_a_day(self, receiving: Receiving) -> None:
        """Seconds and dates count, nonsense does not, and nobody makes an order wait for a year."""
        in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
        waits = []
        for value in ("7", "0", in_a_minute, "999999999", "soon"):
            receiving.headers = {"Retry-After": value}
            waits.append(posted(receiving.url("/status/429")).retry_after_s)
        assert waits == [7, 0, pytest.approx(60, abs=3), 86400, None]

    def test_a_refusal_carries_no_wait(self, receiving: Receiving) -> None:
        """Only what comes again has a time."""
        receiving.headers = {"Retry-After": "7"}
        assert posted(receiving.url("/status/403")).retry_after_s is None

    def test_what_the_other_side_says_is_short_and_on_one_line(self, receiving: Receiving) -> None:
        """A page of any size, with any characters, becomes at most 300 printable ones."""
        receiving.answers["/big"] = (400, b"first\r\nsecond\x1b[31m\x00\xff" + b"long " * 200_000)
        detail = posted(receiving.url("/big")).detail
        assert detail.startswith("answered 400: first second [31m")
        assert len(detail) <= 320
        assert detail.isprintable()


class TestSilence:
    """Without an answer the only question is whether the results can have arrived."""

    @pytest.mark.parametrize("path", ["/silent", "/cut/before", "/cut/after"])
    def test_a_lost_answer_is_unknown(self, receiving: Receiving, path: str) -> None:
        """The request was sent, so nobody here can say what became of it."""
        receipt = posted(receiving.url(path))
        assert (receipt.outcome, receipt.status) == ("unknown", None)
        assert "127.0.0.1" in receipt.detail

    def test_a_closed_port_is_tried_again(self) -> None:
        """Nothing was sent, so trying again cannot double anything."""
        with Receiving() as gone:
            url = gone.url("/")
        assert posted(url).outcome == "later"

    def test_a_name_without_address_is_tried_again(self) -> None:
        """DNS may be down for a while; nothing was sent."""
        assert posted("http://nowhere.invalid/").outcome == "later"

    def test_a_forbidden_host_is_refused(self) -> None:
        """The guard's own words reach the receipt."""
        receipt = posted("http://127.0.0.1:1/", "elsewhere.example")
        assert receipt.outcome == "refused"
        assert "127.0.0.1" in receipt.detail

    def test_an_endless_reply_is_cut(self, receiving: Receiving) -> None:
        """A server that drips holds a courier no longer than the time for reading; its 201 stands."""
        began = time.monotonic()
        assert to_techcyte(receiving.url("/drip")).post(PARCEL).outcome == "accepted"
        assert time.monotonic() - began < 5

    def test_a_loaders_reply_that_is_cut_off_is_unknown(self, receiving: Receiving) -> None:
        """Its 200 alone does not say that it queued the job."""
        assert posted(receiving.url("/cut/reply")).outcome == "unknown"


class TestSecrets:
    """Nothing that opens a door is told."""

    def test_a_server_that_repeats_everything_gives_nothing_away(
        self, receiving: Receiving
    ) -> None:
        """Token, query and password are absent from what is kept, though the answer held them."""
        base = receiving.url("/echo/400").replace("http://", "http://user:pa55word@")
        loader = posted(base + "?sig=5ecret")
        token = to_techcyte(receiving.url("/echo/400"), jwt_token="plain-token-77").post(PARCEL)
        assert receiving.got[1][2]["Authorization"] == "Bearer plain-token-77"
        assert "sig=5ecret" in receiving.got[0][1]
        for receipt in (loader, token):
            assert receipt.status == 400
            for secret in (
                "5ecret",
                "pa55word",
                "plain-token-77",
                base64.b64encode(b"user:pa55word").decode(),
            ):
                assert secret not in repr(receipt)

    def test_a_fault_on_the_way_does_not_tell_the_address(self) -> None:
        """A URL with its query is in many exceptions of the HTTP library, and in none of our words."""
        with Receiving() as gone:
            url = gone.url("/hidden/path?sig=5ecret")
        told = repr(posted(url))
        assert "5ecret" not in told
        assert "hidden" not in told

    def test_a_token_that_no_header_can_carry_is_refused(self, receiving: Receiving) -> None:
        """A line break in a token is the caller's mistake, not a second header and not a crash."""
        receipt = to_techcyte(receiving.url(""), jwt_token="abc\r\nX-Evil: 1").post(PARCEL)
        assert receipt.outcome == "refused"
        assert "abc" not in receipt.detail
        assert receiving.got == []

    def test_a_destination_shows_no_secret(self) -> None:
        """Not even to a debugger."""
        assert TOKEN not in repr(to_techcyte("https://ci.techcyte.example"))


def test_results_for_pick_up_go_nowhere(tmp_path: Path) -> None:
    """The parcel lists every scan's results.json, and delivering it is done at once."""
    there = to(type="none")
    scans = json.loads(
        there.pack([a_result(), a_result(scan_id="2")], tmp_path / "parcel").path.read_bytes()
    )["scans"]
    assert [scan["scan"] for scan in scans] == ["8946136", "2"]
    assert there.arrived("ord-1") is False
    assert there.post(PARCEL).outcome == "accepted"
