"""A site's own certificate authority, for sources and for destinations."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.settings.config import HttpSettings
from broker.settings.section import ConfigError
from tests.support.certificates import Authority
from tests.support.destinations import PAYLOAD, a_techcyte
from tests.support.receivers import PathReceiver
from worker.http_session import session
from worker.http_transport.certificates import VARIABLES, TrustedCertificates
from worker.sources.errors import InputUnreachableError
from worker.sources.http.retrying_get import open_get

RESULTS = "/api/v3/external/results/185714"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def house(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def server(house: Authority) -> Iterator[PathReceiver]:
    with PathReceiver(house.server("localhost"), "localhost") as receiver:
        receiver.answers["/slide"] = (200, b"slide")
        receiver.answers[RESULTS] = (201, b"null")
        yield receiver


def fetched(url: str, ca_file: Path | None = None) -> bytes:
    """Return what a source gets from the URL."""
    http = HttpSettings(ca_file=ca_file)
    with session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=5, http=http) as guarded:
        return bytes(open_get(guarded, url, {}).content)


def test_a_slide_comes_from_behind_the_authority_that_the_setting_names(
    house: Authority, server: PathReceiver
) -> None:
    """`worker.http.ca_file` is enough."""
    assert fetched(server.url("/slide"), house.pem) == b"slide"


def test_results_go_where_the_setting_trusts(house: Authority, server: PathReceiver) -> None:
    """The same setting holds for destinations."""
    receipt = a_techcyte(server.url(""), http=HttpSettings(ca_file=house.pem)).post(PAYLOAD)
    assert receipt.outcome == "accepted"


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_of_the_usual_variables_is_enough(
    variable: str, house: Authority, server: PathReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the slide and for the results."""
    monkeypatch.setenv(variable, str(house.pem))
    assert fetched(server.url("/slide")) == b"slide"
    assert a_techcyte(server.url("")).post(PAYLOAD).outcome == "accepted"


def test_the_site_is_trusted_beside_the_public_authorities(house: Authority) -> None:
    """One order may fetch from a public bucket and deliver inside the site."""
    public = {cert["serialNumber"] for cert in TrustedCertificates(None).context.get_ca_certs()}
    both = {cert["serialNumber"] for cert in TrustedCertificates(house.pem).context.get_ca_certs()}
    assert len(public) > 50
    assert public < both


def test_a_source_that_is_not_trusted_is_told_as_such(server: PathReceiver) -> None:
    """With what to do about it. Nothing was asked of the server."""
    with pytest.raises(InputUnreachableError) as caught:
        fetched(server.url("/slide?sig=5ecret"))
    assert "certificate that is not trusted" in caught.value.detail
    assert "worker.http.ca_file" in caught.value.hint
    assert "5ecret" not in str(caught.value.problem.as_dict())
    assert server.requests == []


def test_a_destination_that_is_not_trusted_did_not_get_the_results(server: PathReceiver) -> None:
    """It is tried again, without asking whether they arrived, and says what to do."""
    receipt = a_techcyte(server.url("")).post(PAYLOAD)
    assert (receipt.outcome, receipt.status) == ("later", None)
    assert "certificate that is not trusted" in receipt.detail
    assert "worker.http.ca_file" in receipt.detail
    assert server.requests == []


def test_a_certificate_for_another_name_is_refused(tmp_path: Path, house: Authority) -> None:
    """The authority is trusted; the server is not the one that was asked for."""
    with PathReceiver(house.server("other.example"), "localhost") as receiver:
        receipt = a_techcyte(receiver.url(""), http=HttpSettings(ca_file=house.pem)).post(PAYLOAD)
    assert receipt.outcome == "later"
    assert "certificate that is not trusted" in receipt.detail


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_certificates_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    """The message names the setting and the file."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"worker\.http\.ca_file.*ca\.pem"):
        TrustedCertificates(file)


def test_a_variable_that_names_nothing_is_left_out_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is set for other programs too, so it does not stop this one."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    with caplog.at_level(logging.WARNING):
        assert TrustedCertificates(None).context.get_ca_certs()
    assert "REQUESTS_CA_BUNDLE" in caplog.text
