"""One URL, read alike for the records and for Celery; wrong ones are refused without repeating
them."""

import json

import pytest
from kombu import Connection
from kombu.utils.json import dumps

from broker.order_store.redis_url import RedisUrl
from broker.settings.config import ConfigError

SENTINELS = "sentinel://app:p%2Fw@s1:26380,s2,[::1]:7/lab/3?sentinel_password=word"


def celery(address: RedisUrl) -> Connection:
    return Connection(
        address.broker_url, ssl=dict(address.tls) or False, transport_options=address.broker_options
    )


def test_a_plain_url_names_server_database_and_login() -> None:
    """Ports and database have Redis' defaults; what is percent-encoded in the URL is decoded."""
    address = RedisUrl.at("redis://app:p%2Fw%3B@cache.example/2")
    assert (address.hosts, address.database) == ((("cache.example", 6379),), 2)
    assert address.login == {"username": "app", "password": "p/w;"}
    assert RedisUrl.at("redis://h").database == 0


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://:p%2F%3Bw@h:1/2", "redis://u:%40@[::1]:7/15"]
)
def test_celery_reads_the_same_server_and_login(url: str) -> None:
    """Its own parser gets back host, port, database, user and password."""
    address = RedisUrl.at(url)
    known = celery(address)
    assert ((known.hostname, known.port),) == address.hosts
    assert int(known.virtual_host) == address.database
    assert (known.userid, known.password) == (address.username, address.password)


def test_tls_checks_the_certificate_unless_told_otherwise() -> None:
    """Celery alone would take `rediss://` without options for unchecked."""
    assert RedisUrl.at("rediss://h").login["ssl_cert_reqs"] == "required"
    assert celery(RedisUrl.at("rediss://h")).ssl == {"ssl_cert_reqs": "required"}


@pytest.mark.parametrize("written", ["none", "CERT_NONE", "cert_none"])
def test_tls_options_mean_the_same_to_both_clients(written: str) -> None:
    """Celery's names and redis-py's are both understood."""
    address = RedisUrl.at(
        f"rediss://h?ssl_ca_certs=/ca.pem&ssl_cert_reqs={written}&ssl_check_hostname=False"
    )
    tls = {"ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": "none", "ssl_check_hostname": False}
    assert address.login == {"username": None, "password": None, "ssl": True, **tls}
    assert celery(address).ssl == tls


def test_sentinels_stand_before_the_service_and_its_database() -> None:
    """The login is the server's; the Sentinels have a password of their own."""
    address = RedisUrl.at(SENTINELS)
    assert address.hosts == (("s1", 26380), ("s2", 26379), ("::1", 7))
    assert (address.service, address.database) == ("lab", 3)
    assert address.login == {"username": "app", "password": "p/w"}
    assert address.sentinel_options["credential_provider"].get_credentials() == ("word",)
    assert RedisUrl.at("sentinel://s1/lab").database == 0


def test_tls_behind_sentinels_covers_the_sentinels_too() -> None:
    """Any option of TLS switches it on for both."""
    address = RedisUrl.at("sentinel://s/lab?ssl_ca_certs=/ca.pem")
    assert address.login["ssl"] is address.sentinel_options["ssl"] is True
    assert address.sentinel_options["ssl_cert_reqs"] == "required"


def test_what_celery_tells_flower_holds_no_sentinel_password() -> None:
    """`inspect stats` shows the transport options as JSON."""
    shown = dumps(celery(RedisUrl.at(SENTINELS)).info()["transport_options"])
    assert json.loads(shown)["sentinel_kwargs"]["credential_provider"] == "**"
    assert "word" not in shown.replace("credential", "")


def test_an_address_prints_no_password() -> None:
    """Neither it nor the Sentinels' login."""
    address = RedisUrl.at(SENTINELS)
    assert "p/w" not in f"{address!r}"
    assert "word" not in repr(address.sentinel_login)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:top/secret@h/0", "percent-encoded"),
        ("redis://:7?secret@h/0", "host"),
        ("redis://u:7?secret@h/0", "behind `\\?` may stand"),
        ("redis://[secret", "cannot be read"),
        ("redis://h:secret/0", "percent-encoded"),
        ("redis://h/secret", "must be a number"),
        ("redis:///0", "host is missing"),
        ("redis://h?secret=1", "behind `\\?` may stand"),
        ("redis://h?ssl_ca_certs=secret", "rediss://"),
        ("rediss://h?ssl_cert_reqs=secret", "one of required"),
        ("redis://a,secret/0", "one server"),
        ("redis://a/secret/0", "one server"),
        ("sentinel://secret", "Sentinels"),
        ("sentinel://secret/lab/x", "must be a number"),
    ],
)
def test_a_url_that_cannot_work_is_refused_without_repeating_it(url: str, says: str) -> None:
    """The message names the setting and what to do; a password may stand anywhere in a wrong
    URL."""
    with pytest.raises(ConfigError, match=says) as refused:
        RedisUrl.at(url)
    assert "broker.redis_url" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
