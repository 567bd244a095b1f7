"""Which proxy a URL is requested through."""

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from pydantic import SecretStr

from broker.allowed_hosts import host_and_port, is_loopback
from broker.settings.section import ConfigError


@dataclass(frozen=True, slots=True, repr=False)
class Proxies:
    """The proxies of a site: one URL for each scheme, empty where there is none.

    `no_proxy` lists what is reached directly, as in the environment variable: hosts, domains,
    `host:port`, networks, or `*`.
    """

    http: str
    https: str
    no_proxy: str

    @classmethod
    def from_settings(cls, proxy: SecretStr | None) -> Self:
        """Return the proxy of the setting for both schemes, else those of the environment.

        The environment's are HTTP_PROXY, HTTPS_PROXY and ALL_PROXY; NO_PROXY holds for both. Raise
        `ConfigError` for a variable that names another kind of proxy.
        """
        environment = getproxies_environment()
        no_proxy = environment.get("no", "")
        if proxy is not None:
            return cls(proxy.get_secret_value(), proxy.get_secret_value(), no_proxy)
        return cls(
            http=_from_environment(environment, "http"),
            https=_from_environment(environment, "https"),
            no_proxy=no_proxy,
        )

    def for_url(self, url: str) -> str:
        """Return the proxy for the URL; empty where it is requested directly.

        This machine itself is never requested through a proxy, which would look for it on its own.
        """
        proxy = self.http
        if urlsplit(url).scheme.lower() == "https":
            proxy = self.https
        host, port = host_and_port(url)
        if not proxy or is_loopback(host) or self._is_excepted(host, port):
            return ""
        return proxy

    def _is_excepted(self, host: str, port: int) -> bool:
        entries = [entry.strip().lower() for entry in self.no_proxy.split(",")]
        return any(_excepts(entry, host, port) for entry in entries)


def _excepts(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY stands for the host: `*`, a network, a name or a domain.

    A name or an address may have a port. A name stands for all names below it too.
    """
    if entry == "*":
        return True
    with suppress(ValueError):
        return ip_address(host) in ip_network(entry, strict=False)
    name, _, entry_port = entry.partition(":")
    if entry_port not in ("", str(port)):
        return False
    domain = name.removeprefix("*").removeprefix(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _from_environment(environment: dict[str, str], scheme: str) -> str:
    """Return the proxy for a scheme. Raise `ConfigError` for one that is not spoken to."""
    proxy = environment.get(scheme) or environment.get("all", "")
    if not proxy:
        return ""
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        parts = urlsplit(proxy)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises `ValueError` for an impossible port
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigError(
            f"{scheme.upper()}_PROXY or ALL_PROXY: a proxy is http://HOST:PORT or "
            "https://HOST:PORT; unset the variable, or set worker.http.proxy"
        )
    return proxy
