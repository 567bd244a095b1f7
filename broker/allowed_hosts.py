"""Which hosts may be connected to: public ones, and private ones that the site lists.

The API checks names as they are written in an order; the worker checks the address of each
connection. Through a proxy only the name can be checked, because the proxy resolves it. This module
makes no DNS query and opens no connection.

An entry of `broker.allow_hosts` is a host name, an address or a network (CIDR). A name or an
address may have a port, and then stands for that port only.
"""

import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

from broker.errors import OrderError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the IPv4 address is in the last 32 bits."""

_AZURE_HOST_AGENT = IPv4Address("168.63.129.16")
"""A public address that only a virtual machine on Azure can reach."""

# Some releases of Python call these global: protocol assignments (Oracle's metadata service is one
# of them), and site-local addresses.
_PRIVATE = (ip_network("192.0.0.0/24"), ip_network("fec0::/10"))
_ONLY_BY_ITSELF: tuple[Network, ...] = (
    ip_network("169.254.0.0/16"),
    ip_network("fe80::/10"),
    ip_network("fd00:ec2::254/128"),
    ip_network("100.100.100.200/32"),
    ip_network("192.0.0.192/32"),
    ip_network(_AZURE_HOST_AGENT),
)
"""Link-local addresses and the metadata services of clouds, which give credentials to who asks.

A wider network in the list does not include them.
"""

_PRIVATE_SUFFIXES = (".local", ".internal", ".localhost", ".home.arpa", ".lan")
"""Names that are never public (RFC 6762, 6761, 8375; `.internal` is reserved by ICANN)."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_NUMBERS = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}")


def is_allowed(host: str, address: Address, port: int, allow_hosts: Sequence[str]) -> bool:
    """Return whether `address`, to which `host` resolves, may be connected to at `port`."""
    return _is_public(_embedded(address)) or is_listed(host, address, port, allow_hosts)


def is_listed(host: str, address: Address, port: int, allow_hosts: Sequence[str]) -> bool:
    """Return whether `allow_hosts` has an entry for the host, its address and port."""
    name = _normalized(host)
    embedded = _embedded(address)
    return any(_covers(entry, name, embedded, port) for entry in allow_hosts)


def is_allowed_by_name(host: str, port: int, allow_hosts: Sequence[str]) -> bool:
    """Return whether a proxy, which resolves the name itself, may be asked for the host.

    A name that can only be private (without a dot, or with a suffix as `.local`) must be listed.
    """
    name = _normalized(host)
    addresses = _addresses_written(name)
    if addresses:
        return any(is_allowed(name, address, port, allow_hosts) for address in addresses)
    if "." in name and not name.endswith(_PRIVATE_SUFFIXES):
        return True
    return is_listed_by_name(name, port, allow_hosts)


def is_listed_by_name(host: str, port: int, allow_hosts: Sequence[str]) -> bool:
    """Return whether `allow_hosts` has an entry for the host as it is written."""
    name = _normalized(host)
    addresses = _addresses_written(name)
    if addresses:
        return any(is_listed(name, address, port, allow_hosts) for address in addresses)
    return any(_names(entry, name, port) for entry in allow_hosts)


def check_literal(url_or_host: str, allow_hosts: Sequence[str], field: str) -> None:
    """Refuse a host that is private as it is written: an address in any notation, or `localhost`.

    Raise `OrderError("host_not_allowed")`. Other names pass, because only a connection shows
    their addresses.
    """
    host, port = host_and_port(url_or_host)
    addresses = _addresses_written(host)
    if addresses and not any(is_allowed(host, address, port, allow_hosts) for address in addresses):
        raise refusal(host, field)


def check_destination(url_or_host: str, allow_hosts: Sequence[str], field: str) -> None:
    """Refuse an address to which results must not be sent, as far as its text shows it.

    Raise `OrderError`: `host_not_allowed` as `check_literal` does, `request_invalid` for a login in
    the URL, `destination_not_encrypted` for a public host behind `http://`.
    """
    check_literal(url_or_host, allow_hosts, field)
    check_no_login(url_or_host, field)
    if not url_or_host.lower().startswith("http://"):
        return
    host, port = host_and_port(url_or_host)
    if is_listed_by_name(host, port, allow_hosts):
        return
    if not _addresses_written(host) and any(_may_cover_names(entry) for entry in allow_hosts):
        return  # it may resolve to a listed address: the worker sees that
    raise not_encrypted(host, field)


def check_no_login(url: str, field: str = "") -> None:
    """Raise `OrderError("request_invalid")` for a URL with a login (`https://user:pass@host`)."""
    if "@" in urlsplit(url).netloc:
        where = "the URL"
        if field:
            where = field
        raise OrderError(
            "request_invalid",
            f"{where} holds a login, which would be sent in place of the token",
            hint="take everything up to the @ out of the URL",
            field=field,
        )


def not_encrypted(host: str, field: str = "") -> OrderError:
    """Return the error for a public destination behind `http://`."""
    return OrderError(
        "destination_not_encrypted",
        f"the results and their credentials would go to {host} in plain text, over http",
        hint="give an https URL, or have the operator list this host in broker.allow_hosts",
        field=field,
    )


def refusal(host: str, field: str = "") -> OrderError:
    """Return the error for a host that may not be connected to."""
    hint = "name a public host, or have the operator list this one in broker.allow_hosts"
    return OrderError(
        "host_not_allowed", f"{host} lies in private address space", hint=hint, field=field
    )


def _embedded(address: Address) -> Address:
    """Return the IPv4 address inside an IPv6 one (mapped, 6to4, NAT64), or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Address) -> bool:
    if address == _AZURE_HOST_AGENT or any(address in network for network in _PRIVATE):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def host_and_port(text: str) -> tuple[str, int]:
    """Return host and port of a URL, of `host:port` or of a host alone; "" where there is none.

    Without a port it is that of the scheme; that of https where there is no scheme either.
    """
    host, port = _written_host_and_port(text)
    scheme = "https"
    if "://" in text:
        scheme = text.partition("://")[0].lower()
    return host, port or _DEFAULT_PORTS.get(scheme, 0)


def _covers(entry: str, host: str, address: Address, port: int) -> bool:
    network = _network(entry)
    if network is not None:
        return _includes(network, address)
    if _names(entry, host, port):
        return True
    named, named_port = _written_host_and_port(entry.strip())
    return named_port in (None, port) and address in _literal(named)


def _includes(network: Network, address: Address) -> bool:
    """Return whether a listed network stands for the address."""
    if address not in network:
        return False
    guarded = [zone for zone in _ONLY_BY_ITSELF if address in zone]
    return all(_is_inside(network, zone) for zone in guarded)


def _is_inside(network: Network, zone: Network) -> bool:
    if isinstance(network, IPv4Network) and isinstance(zone, IPv4Network):
        return network.subnet_of(zone)
    if isinstance(network, IPv6Network) and isinstance(zone, IPv6Network):
        return network.subnet_of(zone)
    return False


def _names(entry: str, host: str, port: int) -> bool:
    """Return whether the entry is the name of the host, with this port or without one."""
    named, named_port = _written_host_and_port(entry.strip())
    return bool(named) and named == host and named_port in (None, port)


def _may_cover_names(entry: str) -> bool:
    """Return whether a name that is not listed may resolve to an address that the entry covers."""
    network = _network(entry)
    if network is not None:
        return not network.is_loopback
    addresses = _literal(_written_host_and_port(entry.strip())[0])
    return any(not address.is_loopback for address in addresses)


def _network(entry: str) -> Network | None:
    with suppress(ValueError):
        return ip_network(entry.strip(), strict=False)
    return None


def _written_host_and_port(text: str) -> tuple[str, int | None]:
    """Return the host of a URL, of `host:port` or of a host alone, and the port if it has one."""
    with suppress(ValueError):
        return str(ip_address(text)), None
    url = text
    if "://" not in text:
        url = f"//{text}"
    try:
        parts = urlsplit(url)
        return _normalized(parts.hostname or ""), parts.port
    except ValueError:
        return "", None


def _normalized(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _addresses_written(host: str) -> Sequence[Address]:
    """Return the addresses that are known from the host's text alone."""
    if _is_localhost(host):
        return _LOOPBACK
    return _literal(host)


def is_loopback(host: str) -> bool:
    """Return whether the host, as it is written, is this machine."""
    return any(address.is_loopback for address in _addresses_written(_normalized(host)))


def _literal(host: str) -> tuple[Address, ...]:
    """Return the address that a host is written as, or nothing for a name.

    Decimal, octal, hexadecimal and short forms of IPv4 addresses are addresses too.
    """
    with suppress(ValueError):
        return (ip_address(host),)
    if _NUMBERS.fullmatch(host):
        with suppress(OSError):
            return (IPv4Address(socket.inet_aton(host)),)
    return ()
