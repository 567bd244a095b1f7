"""Which hosts may be spoken to: public ones, and those in private address space that the site lists.

Owns that one rule, for the desk (names as written) and the bench (addresses really connected to) alike. Asks no DNS and
opens no connection.
"""

import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from broker.errors import OrderError

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the IPv4 address is the last 32 bits
_PLATFORM = IPv4Address(
    "168.63.129.16"
)  # Azure's host agent: a public address that only a virtual machine can reach
# What some releases of Python call global: protocol assignments (with Oracle's metadata service), site-local addresses.
_CLOSED = (ip_network("192.0.0.0/24"), ip_network("fec0::/10"))
_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_NUMBERS = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}")


def allowed(host: str, address: Address, allow_hosts: Sequence[str]) -> bool:
    """Whether `address`, which `host` stands for, may be connected to.

    An entry of `allow_hosts` is a host name, an address or a network (CIDR); a port behind it is ignored.
    """
    real = _real(address)
    return _public(real) or any(_covers(entry, _tidy(host), real) for entry in allow_hosts)


def check_literal(url_or_host: str, allow_hosts: Sequence[str], field: str) -> None:
    """Refuse a host that is private as it is written: an address in any notation, or `localhost`.

    Raises `OrderError("host_not_allowed")`. Other names pass: only a connection shows where they lead.
    """
    host = _host(url_or_host)
    addresses = _LOOPBACK if _is_localhost(host) else _literal(host)
    if addresses and not any(allowed(host, address, allow_hosts) for address in addresses):
        raise refusal(host, field)


def refusal(host: str, field: str = "") -> OrderError:
    """The error for a host that may not be spoken to."""
    hint = "name a public host, or have the operator list this one in broker.allow_hosts"
    return OrderError(
        "host_not_allowed", f"{host} lies in private address space", hint=hint, field=field
    )


def _real(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one (mapped, 6to4, NAT64), or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _public(address: Address) -> bool:
    if address == _PLATFORM or any(address in network for network in _CLOSED):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _covers(entry: str, host: str, address: Address) -> bool:
    with suppress(ValueError):
        return address in ip_network(entry.strip(), strict=False)
    named = _host(entry.strip())
    return bool(named) and (named == host or address in _literal(named))


def _host(text: str) -> str:
    """The host in a URL, in `host:port`, or alone."""
    with suppress(ValueError):
        return str(ip_address(text))
    try:
        return _tidy(urlsplit(text if "://" in text else f"//{text}").hostname or "")
    except ValueError:
        return ""


def _tidy(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _literal(host: str) -> tuple[Address, ...]:
    """The address a host is written as: none for a name; decimal, octal, hexadecimal and short forms count."""
    with suppress(ValueError):
        return (ip_address(host),)
    if _NUMBERS.fullmatch(host):
        with suppress(OSError):
            return (IPv4Address(socket.inet_aton(host)),)
    return ()
