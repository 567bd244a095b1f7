import datetime as dt
import logging
import ssl
import time
from collections.abc import Iterator
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests

from broker.errors import OrderError
from broker.settings.worker import HttpSettings
from tests.support.certificates import certificate_for_localhost
from tests.support.slide_server import Handler, SlideServer, drip
from worker.http_session import read_capped, retry_after_s, session

SECRET = "X-Amz-Signature=5ecre7"


@pytest.fixture
def origin() -> Iterator[SlideServer]:
    with SlideServer() as server:
        server.answers["/ok"] = lambda h: h.answer(200, b"fine", Set_Cookie="a=b", ETag='"1"')
        yield server


def guarded(
    *allow_hosts: str, read_timeout_s: float = 5, ca_file: Path | None = None
) -> requests.Session:
    return session(
        allow_hosts,
        connect_timeout_s=2,
        read_timeout_s=read_timeout_s,
        http=HttpSettings(ca_file=ca_file),
    )


def redirect(to: str, status: int = 302) -> object:
    return lambda h: h.answer(status, b"", Location=to)


def refused(http: requests.Session, url: str) -> OrderError:
    with pytest.raises(OrderError) as caught:
        http.get(url, stream=True)
    assert caught.value.code == "host_not_allowed"
    assert "5ecre7" not in str(caught.value.problem) + repr(caught.value) + repr(
        caught.value.__context__
    )
    return caught.value


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
def test_a_private_host_is_not_connected_to(origin: SlideServer, host: str) -> None:
    """With an empty list no request reaches a loopback server, under whatever name."""
    refused(guarded(), origin.url(f"/ok?{SECRET}", host))
    assert origin.asked == []


@pytest.mark.parametrize("entry", ["localhost", "127.0.0.1", "127.0.0.0/8"])
def test_a_listed_host_is_connected_to_under_its_own_name(origin: SlideServer, entry: str) -> None:
    """The Host header is the name that was asked for, not the address that was checked."""
    assert guarded(entry).get(origin.url("/ok", "localhost")).content == b"fine"
    assert origin.asked[0][1]["Host"] == f"localhost:{origin.server_port}"


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.2:1/", "http://169.254.169.254/latest", "http://[::1]/", "file:///etc/passwd"],
)
def test_a_redirect_leads_nowhere_that_is_not_allowed(origin: SlideServer, target: str) -> None:
    """A redirect to a private address or another scheme is refused like the address itself."""
    origin.answers["/away"] = redirect(f"{target}?{SECRET}")
    refused(guarded("127.0.0.1"), origin.url("/away"))


def test_redirects_end(origin: SlideServer) -> None:
    """After five redirects the session gives up."""
    origin.answers["/round"] = redirect("/round")
    with pytest.raises(requests.TooManyRedirects):
        guarded("127.0.0.1").get(origin.url("/round"))
    assert len(origin.asked) == 6


def test_a_token_does_not_follow_to_another_host(origin: SlideServer) -> None:
    """Authorization is dropped when a redirect leaves the host."""
    origin.answers["/away"] = redirect(origin.url("/ok", "localhost"))
    guarded("127.0.0.1", "localhost").get(
        origin.url("/away"), headers={"Authorization": "Bearer t"}
    )
    assert ["Authorization" in headers for _, headers in origin.asked] == [True, False]


def test_the_endless_body_of_a_redirect_is_not_read(origin: SlideServer) -> None:
    """A redirect is followed at once although its body never ends."""
    origin.answers["/drip"] = drip(
        b"HTTP/1.1 302 Found\r\nLocation: /ok\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n"
    )
    assert guarded("127.0.0.1").get(origin.url("/drip")).content == b"fine"


def test_headers_that_drip_for_ever_are_cut(origin: SlideServer) -> None:
    """Bytes that keep coming do not extend the time allowed for an answer's headers."""
    origin.answers["/drip"] = drip(b"HTTP/1.1 200 OK\r\nX: ")
    began = time.monotonic()
    with pytest.raises((requests.Timeout, requests.ConnectionError)):
        guarded("127.0.0.1", read_timeout_s=0.2).get(origin.url("/drip"))
    assert time.monotonic() - began < 3


def test_a_silent_server_is_left(origin: SlideServer) -> None:
    """The session's time limit holds where the caller gives none."""
    origin.answers["/silent"] = lambda h: origin.closing.wait(20)
    with pytest.raises(requests.ReadTimeout):
        guarded("127.0.0.1", read_timeout_s=0.1).get(origin.url("/silent"))


def test_the_environment_and_earlier_answers_leave_no_mark(
    origin: SlideServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy is not used for this machine, cookies are not kept, compression is not asked for."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    http = guarded("127.0.0.1")
    for _ in range(2):
        http.get(origin.url("/ok"))
    headers = origin.asked[-1][1]
    assert ("Cookie" in headers, headers["Accept-Encoding"]) == (False, "identity")
    assert headers["User-Agent"].startswith("slidelane/")


def test_a_presigned_query_is_in_no_log(
    origin: SlideServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is logged of a URL, at any level, even when its answer is malformed."""
    caplog.set_level(logging.DEBUG)
    origin.answers["/odd"] = lambda h: h.answer(200, b"", **{"Bad Header": "x"})
    for path in ("/ok", "/odd"):
        guarded("127.0.0.1").get(origin.url(f"{path}?{SECRET}"))
    assert "5ecre7" not in caplog.text


def test_a_reply_is_read_up_to_its_limit(origin: SlideServer) -> None:
    """No more than the limit is handed out, however large the reply."""
    origin.answers["/large"] = lambda h: h.answer(200, b"x" * 100_000)
    with guarded("127.0.0.1").get(origin.url("/large"), stream=True) as response:
        assert read_capped(response, 1000, 5) == b"x" * 1000


@pytest.mark.parametrize(
    "framing", ["Connection: close\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1;"]
)
def test_a_reply_that_drips_is_read_until_the_deadline(origin: SlideServer, framing: str) -> None:
    """A body, or a chunk's length, that comes byte by byte for ever is left after the deadline."""
    origin.answers["/drip"] = drip(f"HTTP/1.1 200 OK\r\n{framing}".encode())
    began = time.monotonic()
    with guarded("127.0.0.1").get(origin.url("/drip"), stream=True) as response:
        assert len(read_capped(response, 1_000_000, 0.3)) < 1000
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        ("7", 7),
        ("99999999999999999999", 86400),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("²", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_a_day(
    origin: SlideServer, said: str, wait_s: float | None
) -> None:
    """What cannot be read counts as not said."""
    origin.answers["/later"] = lambda h: h.answer(503, b"", Retry_After=said)
    assert retry_after_s(guarded("127.0.0.1").get(origin.url("/later"))) == wait_s


def test_retry_after_as_a_date_to_come_is_the_time_until_then(origin: SlideServer) -> None:
    """A date one minute ahead is a wait of about a minute."""
    when = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1), usegmt=True)
    origin.answers["/later"] = lambda h: h.answer(429, b"", Retry_After=when)
    assert retry_after_s(guarded("127.0.0.1").get(origin.url("/later"))) == pytest.approx(60, abs=5)


def test_tls_proves_the_name_and_not_the_address(tmp_path: Path) -> None:
    """A certificate for `localhost` serves https://localhost, and not https://127.0.0.1 behind the
    same address."""
    pem = certificate_for_localhost(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with SlideServer(tls=context) as server:
        server.answers["/ok"] = lambda h: Handler.answer(h, 200, b"fine")
        http = guarded("127.0.0.1", ca_file=pem)
        assert http.get(server.url("/ok", "localhost", "https")).content == b"fine"
        with pytest.raises(requests.exceptions.SSLError):
            http.get(server.url("/ok", "127.0.0.1", "https"))
        with pytest.raises(requests.exceptions.SSLError):
            guarded("127.0.0.1").get(server.url("/ok", "localhost", "https"))
        with pytest.raises(OrderError):
            guarded(ca_file=pem).get(server.url("/ok", "localhost", "https"))
