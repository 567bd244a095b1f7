"""Calls of the order API: the key, redirects, answers that are lost, hostile answers."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from slidelane.commands.order_api import NoAnswerError, OrderApi, caller_key
from slidelane.commands.pending_keys import PendingKeys
from slidelane.commands.worker_process import CommandError

KEY = "a-secret-key-of-a-clerk"


class Service(ThreadingHTTPServer):
    """Answers what a test says, drops the answers to so many POSTs, and keeps the headers."""

    def __init__(self) -> None:
        self.status = 202
        self.content = b'{"id": "a1"}'
        self.headers: dict[str, str] = {}
        self.drop = 0
        self.seen: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(dict(self.headers))
        if self.server.drop:
            self.server.drop -= 1
            self.close_connection = True
            return
        self.do_GET()

    def do_GET(self) -> None:
        self.server.seen.append(dict(self.headers))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def pending(tmp_path: Path) -> PendingKeys:
    return PendingKeys(tmp_path / "state")


def keys(service: Service) -> list[str]:
    return [headers["Idempotency-Key"] for headers in service.seen if "Idempotency-Key" in headers]


def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    service: Service, pending: PendingKeys
) -> None:
    """By itself; and the next order of the same slide is another one."""
    service.drop = 1
    api = OrderApi(service.url, pending)
    assert api.place({"algorithm": "ki67"}).is_success
    assert api.place({"algorithm": "ki67"}).is_success
    first, again, _, other, _ = keys(service)
    assert first == again != other


def test_a_repeated_command_sends_the_same_key(service: Service, tmp_path: Path) -> None:
    """Where no answer came at all; the key is that of this order alone."""
    service.drop = 4
    with pytest.raises(NoAnswerError):
        OrderApi(service.url, PendingKeys(tmp_path / "state")).place({"algorithm": "ki67"})
    repeated = OrderApi(service.url, PendingKeys(tmp_path / "state"))
    assert repeated.place({"algorithm": "grid"}).is_success
    assert repeated.place({"algorithm": "ki67"}).is_success
    sent = keys(service)
    assert len(set(sent[:4])) == 1
    assert sent[4] != sent[0] == sent[-1]
    assert list((tmp_path / "state").iterdir()) == []


def test_without_a_folder_for_keys_orders_are_placed(service: Service, tmp_path: Path) -> None:
    """A damaged key is replaced, and a place that cannot be written is done without."""
    (tmp_path / "file").touch()
    assert OrderApi(service.url, PendingKeys(tmp_path / "file")).place({}).is_success
    pending = PendingKeys(tmp_path / "state")
    key = pending.begin(service.url, b"{}")
    (file,) = (tmp_path / "state").iterdir()
    file.write_text("../../damaged\n")
    assert pending.begin(service.url, b"{}") not in (key, "../../damaged")


def test_the_key_goes_to_the_service_and_to_nobody_else(
    service: Service, pending: PendingKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment or a file; a redirect is not followed."""
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.setenv("SLIDELANE_KEY_FILE", str(tmp_path / "key"))
    OrderApi(service.url, pending).get("a1")
    assert service.seen[-1]["Authorization"] == f"Bearer {KEY}"
    with Service() as other:
        service.status = 307
        service.headers = {"Location": f"{other.url}/v1/orders"}
        answer = OrderApi(service.url, pending).get("a1")
        assert (answer.status, answer.is_success, other.seen) == (307, False, [])


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "ключ"])
def test_a_key_that_is_none_is_not_repeated(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, the value is not."""
    monkeypatch.setenv("SLIDELANE_KEY", key)
    with pytest.raises(CommandError) as refused:
        caller_key()
    assert "SLIDELANE_KEY" in str(refused.value)
    assert key not in str(refused.value)


@pytest.mark.parametrize("content", [b"<html>", b"[" * 100_000, b"[]", b"\xff", b'{"a": 1}'])
def test_an_answer_of_another_server_is_no_order(
    service: Service, pending: PendingKeys, content: bytes
) -> None:
    """Whatever it is, nothing but an order counts as one."""
    service.content = content
    assert not OrderApi(service.url, pending).place({}).is_success


def test_a_dark_port_is_told_with_what_to_do(pending: PendingKeys) -> None:
    """The address, and the settings that say where the service is."""
    with pytest.raises(
        CommandError, match=r"no service answers at http://127.0.0.1:9 .*make serve"
    ):
        OrderApi("http://127.0.0.1:9", pending).check()
