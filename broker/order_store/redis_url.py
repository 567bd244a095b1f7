"""Where Redis is: one URL becomes what the record's client and Celery's each need to reach the same server.

    redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]
    rediss://…                                          the same over TLS
    sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/SERVICE[/DATABASE]

Behind `?` may stand `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs`, `ssl_check_hostname` (with
`sentinel://` they switch TLS on), and the Sentinels' own `sentinel_password`. Opens no connection, and puts no password
into a message.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from broker.settings.config import BrokerSettings, ConfigError

URL_FILE = Path("redis") / "url"
_PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379}
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_CERT_REQS = ("required", "optional", "none")
_CONNECT_S, _READ_S = 1.0, 1.0


@dataclass(frozen=True, slots=True, repr=False)
class SentinelLogin:
    """The Sentinels' password, in the shape of a redis-py credential provider. Celery shows its options to Flower."""

    password: str

    def get_credentials(self) -> tuple[str]:
        """What `AUTH` is sent with."""
        return (self.password,)

    def __json__(self) -> str:
        return "**"


@dataclass(frozen=True, slots=True, repr=False)
class RedisUrl:
    """One Redis, two databases: hints in `database`, which may be flushed and heals; records in the one behind it."""

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
        """The Redis of the settings. Raises `ConfigError` when it is ours and does not run."""
        url = settings.redis_url
        return cls.at(embedded_url(settings.data) if url == "embedded" else url)

    @classmethod
    def at(cls, url: str) -> Self:
        """The Redis behind one URL. Raises `ConfigError` where the URL has none of the three forms."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise _wrong("it cannot be read") from None
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        service, _, database = parts.path.strip("/").rpartition("/")
        if parts.scheme == "sentinel" and not service:
            service, database = database, ""
        secret = query.pop("sentinel_password", "") if parts.scheme == "sentinel" else ""
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        address = cls(
            hosts=tuple(_host(host, _PORTS[parts.scheme]) for host in hosts.split(",")),
            database=_database(database),
            username=unquote(user) or None,
            password=unquote(password) or None,
            service=unquote(service),
            tls=_tls(parts, query),
            sentinel_login=SentinelLogin(secret) if secret else None,
        )
        if bool(service) != (parts.scheme == "sentinel") or (
            len(address.hosts) > 1 and not service
        ):
            raise _wrong(
                "it reads HOST/DATABASE for one server, HOST,HOST/SERVICE/DATABASE for Sentinels"
            )
        return address

    @property
    def login(self) -> dict[str, Any]:
        """What each connection to the server is made with, besides its place: redis-py's keywords."""
        return {
            "username": self.username,
            "password": self.password,
            **({"ssl": True, **self.tls} if self.tls else {}),
        }

    @property
    def sentinel_options(self) -> dict[str, Any]:
        """What each connection to a Sentinel is made with; one that does not answer must not hold up the next."""
        secret = {"credential_provider": self.sentinel_login} if self.sentinel_login else {}
        tls = {"ssl": True, **self.tls} if self.tls else {}
        return {
            "socket_timeout": _READ_S,
            "socket_connect_timeout": _CONNECT_S,
            "retry": None,
            **secret,
            **tls,
        }

    @property
    def broker_url(self) -> str:
        """The hints, as Celery names them: one URL for each host. Its TLS options are `broker_use_ssl`."""
        scheme = "sentinel" if self.service else "rediss" if self.tls else "redis"
        login = (
            f"{quote(self.username or '', '')}:{quote(self.password or '', '')}@"
            if self.password
            else ""
        )
        names = ((f"[{host}]" if ":" in host else host, port) for host, port in self.hosts)
        return ";".join(f"{scheme}://{login}{host}:{port}/{self.database}" for host, port in names)

    @property
    def broker_options(self) -> dict[str, Any]:
        """What Celery's transport must know to find the hints behind Sentinels."""
        return (
            {"master_name": self.service, "sentinel_kwargs": self.sentinel_options}
            if self.service
            else {}
        )


def _wrong(why: str) -> ConfigError:
    return ConfigError(f"broker.redis_url: {why}; docs/redis.md shows the forms")


def _host(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        # an unencoded password may have ended up here: the text is not repeated
        raise _wrong(
            "a host or port cannot be read (`/`, `?`, `#` and `@` in a password are percent-encoded)"
        ) from None
    if not host:
        raise _wrong("a host is missing")
    return host, default_port if port is None else port


def _database(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) < 6):
        raise _wrong("the database must be a number")
    return int(text or 0)


def _tls(parts: SplitResult, query: Mapping[str, str]) -> dict[str, str | bool]:
    if not set(query) <= set(_TLS):
        # an unencoded password may have ended up here: what was found is not repeated
        raise _wrong(
            f"behind `?` may stand {', '.join(_TLS)}, and with sentinel:// sentinel_password"
        )
    if query and parts.scheme == "redis":
        raise _wrong("options of TLS need rediss://")
    if not query and parts.scheme != "rediss":
        return {}
    # Celery takes a missing `ssl_cert_reqs` for none; here no certificate goes unchecked unless asked
    options: dict[str, str | bool] = {"ssl_cert_reqs": "required", **query}
    reqs = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if reqs not in _CERT_REQS:
        raise _wrong(f"ssl_cert_reqs is one of {', '.join(_CERT_REQS)}")
    options["ssl_cert_reqs"] = reqs
    if "ssl_check_hostname" in query:
        options["ssl_check_hostname"] = query["ssl_check_hostname"].lower() not in {
            "false",
            "no",
            "0",
        }
    return options


def embedded_url(data: Path) -> str:
    """The address that our own Redis wrote down when it was started."""
    try:
        return (data / URL_FILE).read_text().strip()
    except FileNotFoundError:
        raise ConfigError(
            f"broker.redis_url is `embedded`, but none was started for {data}; run `make serve`, or name a Redis by URL"
        ) from None
