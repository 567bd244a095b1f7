"""A site with its own certificate authority and a proxy, through real processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.forward_proxy import ForwardProxy
from tests.support.receivers import PathReceiver
from tests.support.slide_server import File, SlideServer
from tests.support.stack import Stack, wait_for

RESULTS = "/api/v3/external/results/185714"
EVALUATIONS = "/api/v3/external/case_evaluations/185714"


@contextmanager
def courier_with(stack: Stack, **variables: str) -> Iterator[None]:
    """Run the courier with these variables in its environment."""
    stack.kill("courier", SIGTERM)
    stack.start("courier", **variables)
    stack.wait_ready()
    try:
        yield
    finally:
        stack.kill("courier", SIGTERM)
        stack.start("courier")


@pytest.fixture
def house(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def slides(house: Authority, slide: Path) -> Iterator[SlideServer]:
    with SlideServer(tls=house.server("localhost")) as server:
        server.answers["/slide.svs"] = File(slide.read_bytes())
        yield server


@pytest.fixture
def lab(house: Authority) -> Iterator[PathReceiver]:
    with PathReceiver(house.server("localhost", "lab.example.com"), "localhost") as receiver:
        receiver.answers[RESULTS] = (201, b"null")
        receiver.answers[EVALUATIONS] = (200, b"[]")
        yield receiver


def ordered(stack: Stack, url: str, base_url: str) -> str:
    """Place an order of a small region and return its id."""
    roi = {"x": 1000, "y": 1000, "width": 300, "height": 200}
    scan: dict[str, Any] = {"id": "1", "source": {"type": "url", "url": url}, "roi": roi}
    destination = {"type": "techcyte", "base_url": base_url, "task_id": "185714", "jwt_token": "t"}
    return stack.order(algorithm="grid", scans=[scan], destination=destination)


def log(stack: Stack, order_id: str) -> str:
    return str(stack.call("GET", f"/v1/orders/{order_id}/log")[1].decode())


def test_slide_and_results_travel_under_the_authority_of_the_house(
    stack: Stack, house: Authority, slides: SlideServer, lab: PathReceiver
) -> None:
    """One of the usual variables is enough for both."""
    with courier_with(stack, REQUESTS_CA_BUNDLE=str(house.pem)):
        order_id = ordered(stack, slides.url("/slide.svs", "localhost", "https"), lab.url(""))
        order = stack.wait_until(order_id, "delivered", "failed", "undelivered")
    assert order["state"] == "delivered", order


def test_without_the_authority_the_order_says_what_to_do(
    stack: Stack, slides: SlideServer, lab: PathReceiver
) -> None:
    """It names the certificate and the setting, and goes on by itself."""
    order_id = ordered(stack, slides.url("/slide.svs", "localhost", "https"), lab.url(""))
    wait_for(
        lambda: "certificate that is not trusted" in log(stack, order_id),
        what="the refused certificate",
    )
    stack.call("POST", f"/v1/orders/{order_id}/cancel")
    assert lab.requests == []


def test_slide_and_results_go_through_the_proxy_of_the_house(
    stack: Stack, house: Authority, slide: Path, lab: PathReceiver
) -> None:
    """The public names are the proxy's to resolve; this machine knows none of them."""
    with SlideServer() as plain:
        plain.answers["/slide.svs"] = File(slide.read_bytes())
        hosts = {"slides.example.com": plain.server_port, "lab.example.com": lab.server_port}
        with ForwardProxy(hosts, login="user:pr0xy-pa55") as proxy:
            address = f"http://user:pr0xy-pa55@{proxy.address}"
            variables = {"HTTP_PROXY": address, "HTTPS_PROXY": address}
            with courier_with(stack, SSL_CERT_FILE=str(house.pem), **variables):
                order_id = ordered(
                    stack, "http://slides.example.com/slide.svs", "https://lab.example.com"
                )
                order = stack.wait_until(order_id, "delivered", "failed", "undelivered")
    assert order["state"] == "delivered", order
    assert {"slides.example.com", "lab.example.com:443"} <= set(proxy.asked)
    assert "pr0xy-pa55" not in log(stack, order_id)
    assert "pr0xy-pa55" not in (stack.data / "courier.log").read_text()
