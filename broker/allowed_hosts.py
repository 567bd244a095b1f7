"""Which hosts may be connected to: public ones, and private ones that the site lists.

The API checks names as they are written in an order; the worker checks the address of each
connection. This module makes no DNS query and opens no connection.
"""

import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from broker.errors import OrderError

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the IPv4 address is in the last 32 bits."""

_AZURE_HOST_AGENT = IPv4Address("168.63.129.16")
"""A public address that only a virtual machine on Azure can reach."""

# Some releases of Python call these global: protocol assignments (Oracle's metadata service is one
# of them), and site-local addresses.
_PRIVATE = (ip_network("192.0.0.0/24"), ip_network("fec0::/10"))
_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_NUMBERS = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}")


def is_allowed(host: str, address: Address, allow_hosts: Sequence[str]) -> bool:
    """Return whether `address`, to which `host` resolves, may be connected to.

    An entry of `allow_hosts` is a host name, an address or a network (CIDR); a port in it is
    ignored.
    """
    embedded = _embedded(address)
    if _is_public(embedded):
        return True
    return any(_covers(entry, _normalized(host), embedded) for entry in allow_hosts)


def check_literal(url_or_host: str, allow_hosts: Sequence[str], field: str) -> None:
    """Refuse a host that is private as it is written: an address in any notation, or `localhost`.

    Raise `OrderError("host_not_allowed")`. Other names pass, because only a connection shows
    their addresses.
    """
    host = _host(url_or_host)
    if _is_localhost(host):
        addresses: Sequence[Address] = _LOOPBACK
    else:
        addresses = _literal(host)
    if addresses and not any(is_allowed(host, address, allow_hosts) for address in addresses):
        raise refusal(host, field)


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


def _covers(entry: str, host: str, address: Address) -> bool:
    with suppress(ValueError):
        return address in ip_network(entry.strip(), strict=False)
    named = _host(entry.strip())
    if not named:
        return False
    return named == host or address in _literal(named)


def _host(text: str) -> str:
    """Return the host of a URL, of `host:port` or of a host alone; "" where there is none."""
    with suppress(ValueError):
        return str(ip_address(text))
    url = text
    if "://" not in text:
        url = f"//{text}"
    try:
        return _normalized(urlsplit(url).hostname or "")
    except ValueError:
        return ""


def _normalized(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


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
