"""What each kind of answer, and no answer, means at any destination."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.support.destinations import PAYLOAD, TOKEN, a_destination, a_techcyte, post_to_loader
from tests.support.receivers import PathReceiver
from tests.support.results import a_result


@pytest.fixture
def receiver() -> Iterator[PathReceiver]:
    with PathReceiver() as server:
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
        self, receiver: PathReceiver, status: int, outcome: str
    ) -> None:
        """Refusals are final, overload and failure are retried, a lost answer is unknown."""
        receipt = post_to_loader(receiver.url(f"/status/{status}"))
        assert (receipt.outcome, receipt.status) == (outcome, status)
        assert receipt.detail == f"answered {status}: so it is"

    def test_a_redirect_is_not_followed(self, receiver: PathReceiver) -> None:
        """Results go where the order says, and nowhere else."""
        assert post_to_loader(receiver.url("/redirect")).outcome == "refused"
        assert len(receiver.requests) == 1

    def test_retry_after_is_honoured_up_to_a_day(self, receiver: PathReceiver) -> None:
        """Seconds and dates count, other text does not, and a day is the longest wait."""
        in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
        waits = []
        for value in ("7", "0", in_an_hour, "999999999", "soon"):
            receiver.headers = {"Retry-After": value}
            waits.append(post_to_loader(receiver.url("/status/429")).retry_after_s)
        assert waits == [7, 0, pytest.approx(3600, abs=60), 86400, None]

    def test_a_refusal_carries_no_wait(self, receiver: PathReceiver) -> None:
        """Only a `later` has a time."""
        receiver.headers = {"Retry-After": "7"}
        assert post_to_loader(receiver.url("/status/403")).retry_after_s is None

    def test_what_the_other_side_says_is_short_and_on_one_line(
        self, receiver: PathReceiver
    ) -> None:
        """A page of any size, with any characters, becomes at most 300 printable ones."""
        receiver.answers["/big"] = (400, b"first\r\nsecond\x1b[31m\x00\xff" + b"long " * 200_000)
        detail = post_to_loader(receiver.url("/big")).detail
        assert detail.startswith("answered 400: first second [31m")
        assert len(detail) <= 320
        assert detail.isprintable()


class TestSilence:
    """Without an answer it matters whether the results can have arrived."""

    @pytest.mark.parametrize("path", ["/silent", "/cut/before", "/cut/after"])
    def test_a_lost_answer_is_unknown(self, receiver: PathReceiver, path: str) -> None:
        """The request was sent, so only the destination knows what became of it."""
        receipt = post_to_loader(receiver.url(path))
        assert (receipt.outcome, receipt.status) == ("unknown", None)
        assert "127.0.0.1" in receipt.detail

    def test_a_closed_port_is_tried_again(self) -> None:
        """Nothing was sent, so trying again cannot double anything."""
        with PathReceiver() as gone:
            url = gone.url("/")
        assert post_to_loader(url).outcome == "later"

    def test_a_name_without_address_is_tried_again(self) -> None:
        """DNS may be down for a while; nothing was sent."""
        assert post_to_loader("http://nowhere.invalid/").outcome == "later"

    def test_a_forbidden_host_is_refused(self) -> None:
        """The reason of the guarded session is in the receipt."""
        receipt = post_to_loader("http://127.0.0.1:1/", "elsewhere.example")
        assert receipt.outcome == "refused"
        assert "127.0.0.1" in receipt.detail

    def test_an_endless_reply_is_cut(self, receiver: PathReceiver) -> None:
        """A slow endless body takes no longer than the read timeout; it confirms nothing."""
        began = time.monotonic()
        assert a_techcyte(receiver.url("/drip")).post(PAYLOAD).outcome == "unknown"
        assert time.monotonic() - began < 5

    def test_a_loaders_reply_that_is_cut_off_is_unknown(self, receiver: PathReceiver) -> None:
        """Its 200 alone does not say that it queued the job."""
        assert post_to_loader(receiver.url("/cut/reply")).outcome == "unknown"


class TestSecrets:
    """No secret is shown in a receipt."""

    def test_a_server_that_repeats_everything_gives_nothing_away(
        self, receiver: PathReceiver
    ) -> None:
        """Token, query and session are not in the receipt, though the answer held them."""
        loader = post_to_loader(receiver.url("/echo/400/a;jsessionid=5e55ion") + "?sig=5ecret")
        token = a_techcyte(receiver.url("/echo/400"), jwt_token="plain-token-77").post(PAYLOAD)
        assert receiver.requests[1][2]["Authorization"] == "Bearer plain-token-77"
        assert "sig=5ecret" in receiver.requests[0][1]
        for receipt in (loader, token):
            assert receipt.status == 400
            for secret in ("5ecret", "5e55ion", "plain-token-77"):
                assert secret not in repr(receipt)

    def test_a_login_in_the_address_is_refused(self, receiver: PathReceiver) -> None:
        """It would replace the token. Nothing is sent, and it is not shown."""
        base = receiver.url("").replace("http://", "http://user:pa55word@")
        for receipt in (a_techcyte(base).post(PAYLOAD), post_to_loader(f"{base}/zip")):
            assert receipt.outcome == "refused"
            assert "login" in receipt.detail
            assert "pa55word" not in repr(receipt)
            assert base64.b64encode(b"user:pa55word").decode() not in repr(receipt)
        assert receiver.requests == []

    @pytest.mark.parametrize(
        "repeated",
        [
            base64.b64encode(b"user:5ecret-value/7").decode(),
            f"Basic {base64.b64encode(b'user:5ecret-value/7').decode()}",
            "5ECRET-VALUE/7",
            b"5ecret-value/7".hex(),
            "5ECRET-VALUE%2F7",
            "5ecret-value\\/7",
            base64.b64encode(b'{"sig":"5ecret-value/7"}').decode(),
        ],
    )
    def test_a_secret_in_another_form_is_not_given_away(
        self, receiver: PathReceiver, repeated: str
    ) -> None:
        """Neither in the receipt of a refusal, nor in the job id of what was accepted."""
        receiver.answers["/refuses"] = (400, f"wrong credentials: {repeated}".encode())
        job = {"Job": {"id": repeated}}
        receiver.answers["/takes"] = (200, json.dumps(job).encode())
        for path in ("/refuses", "/takes"):
            receipt = post_to_loader(f"{receiver.url(path)}?sig=5ecret-value%2F7")
            assert receipt.status in (200, 400)
            assert repeated.removeprefix("Basic ") not in repr(receipt)
            assert "…" in receipt.detail + receipt.remote_id

    def test_a_fault_on_the_way_does_not_tell_the_address(self) -> None:
        """Many exceptions of the HTTP library hold the URL with its query; no receipt does."""
        with PathReceiver() as gone:
            url = gone.url("/hidden/path?sig=5ecret")
        receipt = repr(post_to_loader(url))
        assert "5ecret" not in receipt
        assert "hidden" not in receipt

    def test_a_token_that_no_header_can_carry_is_refused(self, receiver: PathReceiver) -> None:
        """A line break in a token is the caller's mistake, not a second header and not a crash."""
        receipt = a_techcyte(receiver.url(""), jwt_token="abc\r\nX-Evil: 1").post(PAYLOAD)
        assert receipt.outcome == "refused"
        assert "abc" not in receipt.detail
        assert receiver.requests == []

    def test_a_destination_shows_no_secret(self) -> None:
        """Not even to a debugger."""
        assert TOKEN not in repr(a_techcyte("https://ci.techcyte.example"))


def test_results_for_pick_up_go_nowhere(tmp_path: Path) -> None:
    """The payload lists every scan's results.json, and delivering it is done at once."""
    destination = a_destination(type="none")
    scans = json.loads(
        destination.build_payload(
            [a_result(), a_result(scan_id="2")], tmp_path / "payload"
        ).path.read_bytes()
    )["scans"]
    assert [scan["scan"] for scan in scans] == ["8946136", "2"]
    assert destination.has_received("ord-1") is False
    assert destination.post(PAYLOAD).outcome == "accepted"
