"""The local server of one run: the slide by ranges and as a zip, and Techcyte's results API."""

import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.program_runs import IDENTITY, SLIDE_BYTES, TOKEN, a_slide_file
from worker.programs.results_receiver.certificates import RunCertificates
from worker.programs.results_receiver.received import Received
from worker.programs.results_receiver.receiver import ResultsReceiver, listen
from worker.programs.results_receiver.run_server import RunServer
from worker.programs.results_receiver.slide_files import SlideFiles

API = "https://api.ci.techcyte.com/api/v3"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
RESULTS = f"{API}/external/results"


class Caller:
    """What a program sees: a server with its address, and a session that trusts and uses it."""

    def __init__(self, server: RunServer, port: int) -> None:
        self.server = server
        self.received = server.received
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(server.certificates.bundle)
        self.session.proxies = {"https": self.url, "http": self.url}

    def direct(self, path: str, **headers: str) -> requests.Response:
        """Get something without the proxy."""
        no_proxy: dict[str, Any] = {"http": "", "https": ""}
        return self.session.get(self.url + path, headers=headers, proxies=no_proxy, timeout=30)

    def post(self, body: Any, task: str = "185714", **headers: str) -> requests.Response:
        """Post results."""
        given = {**BEARER, **headers}
        return self.session.post(f"{RESULTS}/{task}", json=body, headers=given, timeout=30)


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    """A server for one run, and its caller."""
    folder = tmp_path / "received"
    folder.mkdir()
    slide = a_slide_file(tmp_path)
    other = tmp_path / "other.dcm"
    other.write_bytes(b"other")
    server = RunServer(
        identity=IDENTITY,
        certificates=RunCertificates(folder, IDENTITY.api_host),
        received=Received(IDENTITY, folder),
        slide=SlideFiles(slide.main, {**slide.files, "sub/other.dcm": other}),
        folder=folder,
        allowed_hosts=frozenset({"127.0.0.1"}),
        max_post_bytes=100_000,
        max_debug_bytes=1000,
    )
    plain = listen("127.0.0.1")
    with ResultsReceiver(server, [plain]):
        one = Caller(server, plain.getsockname()[1])
        with one.session:
            yield one


def results(scan: str = IDENTITY.scan_id, **fields: Any) -> dict[str, Any]:
    """Results of one scan."""
    return {"scanResults": [{"scanId": scan, **fields}]}


def test_the_slide_is_served_whole_and_by_ranges(caller: Caller) -> None:
    """A GET of all bytes, of some, of the last ones, and of none that there are."""
    content = caller.server.slide.main.read_bytes()
    path = caller.server.slide_path
    whole = caller.direct(path)
    assert whole.status_code == 200
    assert whole.content == content
    part = caller.direct(path, Range="bytes=100-199")
    assert part.status_code == 206
    assert part.content == content[100:200]
    assert part.headers["Content-Range"] == f"bytes 100-199/{SLIDE_BYTES}"
    assert caller.direct(path, Range="bytes=-50").content == content[-50:]
    assert caller.direct(path, Range="bytes=69990-").content == content[-10:]
    assert caller.direct(path, Range="bytes=70000-").status_code == 416
    assert caller.direct(path, Range="bytes=0-1,5-6").content == content


def test_all_files_of_a_slide_come_as_one_zip(caller: Caller) -> None:
    """The archive is made while it is sent."""
    answer = caller.direct(caller.server.zip_path)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["slide one.svs", "sub/other.dcm"]
        assert archive.read("sub/other.dcm") == b"other"


def test_nothing_is_served_without_the_secret_of_the_path(caller: Caller) -> None:
    """Other programs of the machine can connect, too."""
    for path in ("/", "/slides/x/slide%20one.svs", "/../etc/passwd", "/debug/x"):
        assert caller.direct(path).status_code == 404


def test_results_are_taken_byte_by_byte(caller: Caller) -> None:
    """The answer is Techcyte's: 201 and null. The task may be a number or base64."""
    body = b'{ "scanResults": [ {"scanId":"8946136","results":{"n":1.50}} ] }'
    headers = {**BEARER, "Content-Type": "application/json"}
    for task in ("185714", "dGFzazoxODU3MTQ%3D"):
        answer = caller.session.post(f"{RESULTS}/{task}", body, headers=headers, timeout=30)
        assert (answer.status_code, answer.text) == (201, "null")
    assert caller.received.posted
    assert caller.received.posted.read_bytes() == body
    assert caller.received.posts == 2


def test_the_first_valid_results_count(caller: Caller) -> None:
    """A second post is taken as Techcyte would, and is no second delivery."""
    assert caller.post(results(qcFailReasons=[])).status_code == 201
    assert caller.post(results(results={"summary": "other"})).status_code == 201
    assert caller.received.posted
    assert b"qcFailReasons" in caller.received.posted.read_bytes()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "scanResults: Field required"),
        ({"scanResults": []}, "scanResults: List should have at least 1 item"),
        (results("other"), "the scan 'other' does not belong to this run"),
        (results(results={"summary": 1}), "scanResults[0].results.summary: Input should be"),
        (results(workflow={"report": {"type": "X"}}), "'X' is no report type"),
        (results(geojson={"type": "FeatureCollection"}), "geojson.features: Field required"),
    ],
    ids=["empty", "no scans", "other scan", "summary", "report", "features"],
)
def test_results_that_techcyte_would_refuse_are_refused(
    caller: Caller, body: Any, reason: str
) -> None:
    """The author learns from the answer what is wrong; the reason is kept as well."""
    answer = caller.post(body)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    assert caller.received.posted is None
    assert reason in caller.received.refusals[-1]


def test_another_task_or_token_is_refused(caller: Caller) -> None:
    """Only this run's own are known."""
    assert caller.post(results(), task="7").status_code == 404
    assert caller.post(results(), Authorization="Bearer other").status_code == 401
    assert caller.received.posted is None
    assert len(caller.received.refusals) == 2


def test_a_body_that_is_no_json_or_too_large_is_refused(caller: Caller) -> None:
    """Neither is held in memory first."""
    url = f"{RESULTS}/185714"
    garbage = caller.session.post(url, b"\x00{", headers=BEARER, timeout=30)
    assert garbage.status_code == 400
    assert "no JSON" in garbage.json()["error"]
    pieces = iter([b" " * 60_000, b" " * 60_000])
    assert caller.session.post(url, pieces, headers=BEARER, timeout=30).status_code == 413
    large = b" " * 500_000
    assert caller.session.post(url, large, headers=BEARER, timeout=30).status_code == 413
    nested = b"[" * 90_000
    assert caller.session.post(url, nested, headers=BEARER, timeout=30).status_code == 400


def test_chunked_results_are_taken(caller: Caller) -> None:
    """A client that streams its body sends no length."""
    body = iter([b'{"scanResults": [{"scan', b'Id": "8946136"}]}'])
    answer = caller.session.post(f"{RESULTS}/185714", body, headers=BEARER, timeout=30)
    assert answer.status_code == 201
    assert caller.received.posted


def test_the_rest_of_the_api_answers_as_techcyte_does(caller: Caller) -> None:
    """Token, evaluations, triage; anything else is not there."""
    session = caller.session
    token = session.post(f"{API}/token", {"grant_type": "client_credentials"}, timeout=30)
    assert token.json()["access_token"] == TOKEN
    evaluations = session.get(f"{API}/external/case_evaluations/185714", headers=BEARER, timeout=30)
    assert (evaluations.status_code, evaluations.json()) == (200, [])
    case = f"{API}/external/case/185714"
    triage = {"triage_category": "High", "triage_score": 0.5}
    assert session.patch(case, json=triage, headers=BEARER, timeout=30).status_code == 204
    assert session.patch(case, json={"other": 1}, headers=BEARER, timeout=30).status_code == 400
    assert caller.received.triage == triage
    assert session.get(f"{API}/other", headers=BEARER, timeout=30).status_code == 404


def test_a_debug_file_is_kept_up_to_its_limit(caller: Caller) -> None:
    """The answer to a good one is 200 exactly, as of a bucket."""
    url = caller.url + caller.server.debug_path
    no_proxy: dict[str, Any] = {"http": "", "https": ""}
    assert caller.session.put(url, b"zip", proxies=no_proxy, timeout=30).status_code == 200
    assert caller.session.put(url, b"z" * 2000, proxies=no_proxy, timeout=30).status_code == 413
    assert caller.received.debug
    assert caller.received.debug.read_bytes() == b"zip"


def test_other_hosts_are_not_reached_through_the_proxy(caller: Caller) -> None:
    """Neither by CONNECT nor by a plain request; what was wanted is noted."""
    with pytest.raises(requests.exceptions.ProxyError):
        caller.session.get("https://example.org/", timeout=30)
    assert caller.session.get("http://example.org/x", timeout=30).status_code == 404
    assert caller.received.unreachable == {"example.org:443", "example.org"}


def test_a_host_that_is_allowed_is_reached_through_the_proxy(caller: Caller) -> None:
    """Bytes go both ways, untouched."""
    with socket.create_server(("127.0.0.1", 0)) as far:
        thread = threading.Thread(target=_echo_once, args=(far,))
        thread.start()
        with socket.create_connection(("127.0.0.1", caller.port), timeout=30) as near:
            near.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % far.getsockname()[1])
            assert near.recv(1000).startswith(b"HTTP/1.1 200 ")
            near.sendall(b"hello")
            assert near.recv(1000) == b"hello"
        thread.join(30)


def _echo_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(connection.recv(1000))


def test_a_connection_that_says_nothing_sensible_ends_alone(caller: Caller) -> None:
    """The server goes on with the others."""
    for first in (b"\x16\x03\x01 no http", b"CONNECT api.ci.techcyte.com:443 HTTP/1.1\r\n\r\nx"):
        with socket.create_connection(("127.0.0.1", caller.port), timeout=30) as one:
            one.sendall(first)
            one.shutdown(socket.SHUT_WR)
            while one.recv(1000):
                pass
    assert caller.post(results()).status_code == 201
