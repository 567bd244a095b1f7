"""A forward proxy as the only way out, for sources and for destinations."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from broker.errors import OrderError
from broker.settings.config import HttpSettings
from broker.settings.section import ConfigError
from tests.support.certificates import Authority
from tests.support.destinations import PAYLOAD, a_techcyte
from tests.support.forward_proxy import ForwardProxy
from tests.support.receivers import PathReceiver
from worker.delivery.payload import Receipt
from worker.http_session import session
from worker.http_transport.proxies import Proxies
from worker.sources.errors import InputUnreachableError
from worker.sources.http.retrying_get import open_get

RESULTS = "/api/v3/external/results/185714"
LOGIN = "proxyuser:pr0xy-pa55"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def plain() -> Iterator[PathReceiver]:
    with PathReceiver() as receiver:
        receiver.answers["/slide"] = (200, b"slide")
        receiver.answers[RESULTS] = (201, b"null")
        yield receiver


@pytest.fixture
def house(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def secure(house: Authority) -> Iterator[PathReceiver]:
    with PathReceiver(house.server("lab.example.com")) as receiver:
        receiver.answers["/slide"] = (200, b"slide")
        receiver.answers[RESULTS] = (201, b"null")
        yield receiver


@pytest.fixture
def proxy(plain: PathReceiver, secure: PathReceiver) -> Iterator[ForwardProxy]:
    hosts = {"slides.example.com": plain.server_port, "lab.example.com": secure.server_port}
    with ForwardProxy(hosts | {"127.0.0.1": plain.server_port}, login=LOGIN) as running:
        yield running


def through(proxy: ForwardProxy, house: Authority, login: str = LOGIN) -> HttpSettings:
    return HttpSettings(proxy=SecretStr(f"http://{login}@{proxy.address}"), ca_file=house.pem)


def fetched(url: str, http: HttpSettings, *allow_hosts: str) -> bytes:
    """Return what a source gets from the URL."""
    with session(allow_hosts, connect_timeout_s=2, read_timeout_s=5, http=http) as guarded:
        return bytes(open_get(guarded, url, {}).content)


def delivered(url: str, http: HttpSettings, *allow_hosts: str) -> Receipt:
    """Make one attempt at the Techcyte at the URL."""
    return a_techcyte(url, *(allow_hosts or ("unused.example",)), http=http).post(PAYLOAD)


def test_slides_and_results_go_through_the_proxy_of_the_setting(
    proxy: ForwardProxy, house: Authority, plain: PathReceiver, secure: PathReceiver
) -> None:
    """http with the whole URL, https through CONNECT. The login is for the proxy alone."""
    http = through(proxy, house)
    assert fetched("http://slides.example.com/slide", http) == b"slide"
    assert fetched("https://lab.example.com/slide", http) == b"slide"
    assert delivered("https://lab.example.com", http).outcome == "accepted"
    assert set(proxy.asked) == {"slides.example.com", "lab.example.com:443"}
    for _, _, headers, _ in plain.requests + secure.requests:
        assert "Proxy-Authorization" not in headers


def test_the_proxies_of_the_environment_are_used(
    proxy: ForwardProxy, house: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every other program does; also written without a scheme."""
    monkeypatch.setenv("HTTP_PROXY", f"{LOGIN}@{proxy.address}")
    monkeypatch.setenv("HTTPS_PROXY", f"http://{LOGIN}@{proxy.address}")
    http = HttpSettings(ca_file=house.pem)
    assert fetched("http://slides.example.com/slide", http) == b"slide"
    assert fetched("https://lab.example.com/slide", http) == b"slide"
    assert len(proxy.asked) == 2


def test_this_machine_and_what_no_proxy_names_are_reached_directly(
    proxy: ForwardProxy, house: Authority, plain: PathReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is not asked for them."""
    http = through(proxy, house)
    assert fetched(plain.url("/slide"), http, "127.0.0.1") == b"slide"
    monkeypatch.setenv("NO_PROXY", "lab.example.com")
    assert delivered("https://lab.example.com", http).outcome == "later"
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("", "http://pacs.example/x", False),
        ("pacs.example", "http://pacs.example/x", True),
        ("pacs.example", "https://a.pacs.example/x", True),
        (".example, other", "https://pacs.example/x", True),
        ("*.example", "https://pacs.example/x", True),
        ("acs.example", "https://pacs.example/x", False),
        ("pacs.example:8080", "http://pacs.example:8080/x", True),
        ("pacs.example:8080", "http://pacs.example/x", False),
        ("10.0.0.0/8", "http://10.1.2.3/x", True),
        ("10.0.0.0/8", "http://11.1.2.3/x", False),
        ("*", "https://pacs.example/x", True),
        ("", "http://localhost:80/x", True),
        ("", "http://[::1]/x", True),
    ],
)
def test_no_proxy_is_read_as_elsewhere(no_proxy: str, url: str, is_direct: bool) -> None:
    """Names with all below them, ports, networks, everything; this machine without being named."""
    proxies = Proxies("http://proxy.example:3128", "http://proxy.example:3128", no_proxy)
    assert (proxies.for_url(url) == "") is is_direct


@pytest.mark.parametrize(
    "url", ["http://intranet/x", "http://10.1.2.3/x", "http://metadata.google.internal/x"]
)
def test_a_private_name_is_not_asked_of_the_proxy(
    proxy: ForwardProxy, house: Authority, url: str
) -> None:
    """The proxy could reach it. It must be listed, as without a proxy."""
    with pytest.raises(OrderError) as caught:
        fetched(url, through(proxy, house))
    assert caught.value.code == "host_not_allowed"
    assert proxy.asked == []


def test_results_do_not_go_to_a_public_name_in_plain_text(
    proxy: ForwardProxy, house: Authority, plain: PathReceiver
) -> None:
    """Unless the name is listed."""
    http = through(proxy, house)
    receipt = delivered("http://slides.example.com", http)
    assert receipt.outcome == "refused"
    assert "plain text" in receipt.detail
    assert plain.requests == []
    assert delivered("http://slides.example.com", http, "slides.example.com").outcome == "accepted"


@pytest.mark.parametrize("url", ["https://lab.example.com", "http://slides.example.com"])
def test_a_refusal_of_the_proxy_is_told_and_tried_again(
    proxy: ForwardProxy, house: Authority, url: str
) -> None:
    """Nothing was sent. The login of the proxy is in no text."""
    http = through(proxy, house, login="proxyuser:wr0ng-pa55")
    receipt = delivered(url, http, "slides.example.com")
    assert receipt.outcome == "later"
    assert "407" in receipt.detail
    assert "pa55" not in repr(receipt)
    with pytest.raises(InputUnreachableError) as caught:
        fetched("https://lab.example.com/slide?sig=5ecret", http)
    assert "407" in caught.value.detail
    assert "worker.http.proxy" in caught.value.hint
    for secret in ("pa55", "5ecret"):
        assert secret not in str(caught.value.problem.as_dict()) + repr(caught.value)


def test_a_proxy_that_is_away_is_told(house: Authority) -> None:
    """Nothing was sent."""
    with ForwardProxy({}) as gone:
        http = through(gone, house)
    receipt = delivered("https://lab.example.com", http)
    assert receipt.outcome == "later"
    assert "proxy to lab.example.com cannot be reached" in receipt.detail
    assert "pa55" not in repr(receipt)


def test_a_host_that_the_proxy_cannot_reach_is_tried_again(
    proxy: ForwardProxy, house: Authority
) -> None:
    """CONNECT was answered 502: no byte of the results has left."""
    receipt = delivered("https://nowhere.example.com", through(proxy, house))
    assert receipt.outcome == "later"
    assert "the proxy answered 502" in receipt.detail


@pytest.mark.parametrize(
    "value", ["proxy:3128", "socks5://u:5ecret@p:1080", "http://", "http://:x"]
)
def test_a_setting_that_is_no_proxy_is_refused(value: str) -> None:
    """The value, which may hold a password, is not repeated in our own words."""
    with pytest.raises(ValidationError, match="is http://HOST:PORT") as caught:
        HttpSettings(proxy=SecretStr(value))
    assert "5ecret" not in str(caught.value.errors(include_input=False)[0]["msg"])


def test_a_variable_that_names_another_kind_of_proxy_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Going around it would be worse."""
    monkeypatch.setenv("ALL_PROXY", "socks5://u:5ecret@proxy.example:1080")
    with pytest.raises(ConfigError, match="ALL_PROXY") as caught:
        Proxies.from_settings(None)
    assert "5ecret" not in str(caught.value)


def test_proxies_show_no_login() -> None:
    """Not even to a debugger."""
    proxies = Proxies("http://u:5ecret@p:1", "http://u:5ecret@p:1", "")
    assert "5ecret" not in repr(proxies)
