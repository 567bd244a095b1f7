"""The address of Redis: one URL, from which our client and Celery each get what they need.

    redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]
    rediss://…                                          the same over TLS
    sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/SERVICE[/DATABASE]

The query may hold `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs` and
`ssl_check_hostname` (with `sentinel://` they switch TLS on), and for Sentinels their own
`sentinel_password`. This module opens no connection and puts no password into a message.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from broker.settings.config import BrokerSettings
from broker.settings.section import ConfigError

URL_FILE = Path("redis") / "url"
"""Where the embedded Redis writes its URL, below the data folder."""

_PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379}
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_CERT_REQS = ("required", "optional", "none")
_SENTINEL_CONNECT_S = 1.0
_SENTINEL_READ_S = 1.0


@dataclass(frozen=True, slots=True, repr=False)
class SentinelLogin:
    """The Sentinels' password as a redis-py credential provider.

    Celery shows its options to Flower, where this prints as stars.
    """

    password: str

    def get_credentials(self) -> tuple[str]:
        """Return the arguments of `AUTH`."""
        return (self.password,)

    def __json__(self) -> str:
        return "**"


@dataclass(frozen=True, slots=True, repr=False)
class RedisUrl:
    """One Redis and two of its databases.

    Celery's messages are in `database`, which may be flushed: lost messages are sent again. The
    record of the orders is in the database after it.
    """

    hosts: tuple[tuple[str, int], ...]
    """The server; with a `service`, the Sentinels that know which server it is."""
    database: int = 0
    username: str | None = None
    password: str | None = None
    service: str = ""
    tls: Mapping[str, str | bool] = field(default_factory=dict)
    """Options of TLS, by redis-py's names; empty = no TLS."""
    sentinel_login: SentinelLogin | None = None

    @classmethod
    def of(cls, settings: BrokerSettings) -> Self:
        """Return the Redis of the settings.

        Raise `ConfigError`, also when it is the embedded one and that was never started.
        """
        url = settings.redis_url
        if url == "embedded":
            url = embedded_url(settings.data)
        return cls.at(url)

    @classmethod
    def at(cls, url: str) -> Self:
        """Return the Redis of one URL. Raise `ConfigError` for a URL of none of the forms."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise _invalid("it cannot be read") from None
        is_sentinel = parts.scheme == "sentinel"
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        service, _, database = parts.path.strip("/").rpartition("/")
        sentinel_login = None
        if is_sentinel:
            if not service:
                service = database
                database = ""
            sentinel_password = query.pop("sentinel_password", "")
            if sentinel_password:
                sentinel_login = SentinelLogin(sentinel_password)
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        address = cls(
            hosts=tuple(_host(host, _PORTS[parts.scheme]) for host in hosts.split(",")),
            database=_database(database),
            username=unquote(user) or None,
            password=unquote(password) or None,
            service=unquote(service),
            tls=_tls(parts, query),
            sentinel_login=sentinel_login,
        )
        has_several_servers = len(address.hosts) > 1 and not is_sentinel
        if bool(service) != is_sentinel or has_several_servers:
            raise _invalid(
                "it reads HOST/DATABASE for one server, HOST,HOST/SERVICE/DATABASE for Sentinels"
            )
        return address

    @property
    def login(self) -> dict[str, Any]:
        """The keywords of redis-py for a connection to the server, without its host and port."""
        login = {"username": self.username, "password": self.password}
        return login | self._tls_options

    @property
    def sentinel_options(self) -> dict[str, Any]:
        """The keywords of redis-py for a connection to a Sentinel.

        The time limits are short: one that does not answer must not hold up the next.
        """
        options: dict[str, Any] = {
            "socket_timeout": _SENTINEL_READ_S,
            "socket_connect_timeout": _SENTINEL_CONNECT_S,
            "retry": None,
        }
        if self.sentinel_login:
            options["credential_provider"] = self.sentinel_login
        return options | self._tls_options

    @property
    def broker_url(self) -> str:
        """Celery's broker URL, or several with `;` between them, one for each Sentinel.

        The options of TLS are given apart, as `broker_use_ssl`.
        """
        scheme = "redis"
        if self.service:
            scheme = "sentinel"
        elif self.tls:
            scheme = "rediss"
        login = ""
        if self.password:
            login = f"{quote(self.username or '', '')}:{quote(self.password, '')}@"
        urls = []
        for host, port in self.hosts:
            name = host
            if ":" in host:
                name = f"[{host}]"
            urls.append(f"{scheme}://{login}{name}:{port}/{self.database}")
        return ";".join(urls)

    @property
    def broker_options(self) -> dict[str, Any]:
        """The transport options with which Celery finds the server through Sentinels."""
        if not self.service:
            return {}
        return {"master_name": self.service, "sentinel_kwargs": self.sentinel_options}

    @property
    def _tls_options(self) -> dict[str, Any]:
        if not self.tls:
            return {}
        return {"ssl": True, **self.tls}


def embedded_url(data: Path) -> str:
    """Return the URL that the embedded Redis wrote when it was started. Raise `ConfigError`."""
    try:
        return (data / URL_FILE).read_text().strip()
    except FileNotFoundError:
        raise ConfigError(
            f"broker.redis_url is `embedded`, but none was started for {data}; run `make serve`, "
            "or name a Redis by URL"
        ) from None


def _invalid(reason: str) -> ConfigError:
    return ConfigError(f"broker.redis_url: {reason}; docs/redis.md shows the forms")


def _host(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host = parts.hostname
        port = parts.port
    except ValueError:
        # the text may be a part of an unencoded password: it is not repeated
        raise _invalid(
            "a host or port cannot be read "
            "(`/`, `?`, `#` and `@` in a password are percent-encoded)"
        ) from None
    if not host:
        raise _invalid("a host is missing")
    if port is None:
        port = default_port
    return host, port


def _database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise _invalid("the database must be a number")
    return int(text)


def _tls(parts: SplitResult, query: Mapping[str, str]) -> dict[str, str | bool]:
    if not set(query) <= set(_TLS):
        # the query may be a part of an unencoded password: it is not repeated
        raise _invalid(
            f"behind `?` may stand {', '.join(_TLS)}, and with sentinel:// sentinel_password"
        )
    if query and parts.scheme == "redis":
        raise _invalid("options of TLS need rediss://")
    if not query and parts.scheme != "rediss":
        return {}
    # Celery takes a missing `ssl_cert_reqs` for `none`; here certificates are checked by default
    options: dict[str, str | bool] = {"ssl_cert_reqs": "required", **query}
    requirement = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if requirement not in _CERT_REQS:
        raise _invalid(f"ssl_cert_reqs is one of {', '.join(_CERT_REQS)}")
    options["ssl_cert_reqs"] = requirement
    if "ssl_check_hostname" in query:
        negative = {"false", "no", "0"}
        options["ssl_check_hostname"] = query["ssl_check_hostname"].lower() not in negative
    return options
