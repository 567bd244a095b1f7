"""Who may call `/kue`: no key can be sent by the old viewers, so the caller's address decides."""

from ipaddress import ip_address, ip_network
from typing import Annotated, Final

from fastapi import Depends, Request

from broker.errors import OrderError
from broker.settings.config import LOOPBACK, Config
from services.auth import PROXY_HEADERS
from services.dependencies import Settings
from services.kue.answers import ClosedError
from services.requests.hosts import is_loopback
from services.requests.origin_check import foreign_origin

_HINT: Final = "services.kue.networks lists the addresses of other callers that are answered"


async def reader(request: Request, config: Settings) -> Config:
    """Return the settings where the door is open to the caller. Raise `OrderError`."""
    if not config.services.kue.types:
        raise ClosedError
    networks = config.services.kue.networks
    if networks:
        _check_network(request, networks)
    else:
        _check_this_machine(request)
    return config


async def writer(request: Request, config: Annotated[Config, Depends(reader)]) -> Config:
    """Return the settings where the caller may change something. Raise `OrderError`.

    Browsers send requests for the pages of others; the viewers' servers, which come here, do not
    say that they are browsers.
    """
    why = foreign_origin(request.headers)
    if why:
        raise OrderError(
            "foreign_origin",
            f"only programs change anything here; {why}",
            hint="send it from a program",
        )
    return config


Reader = Annotated[Config, Depends(reader)]
Writer = Annotated[Config, Depends(writer)]


def _check_network(request: Request, networks: tuple[str, ...]) -> None:
    """Raise `OrderError` for a caller whose connection comes from no network of the settings."""
    caller = ""
    if request.client is not None:
        caller = request.client.host
    try:
        address = ip_address(caller.partition("%")[0])
    except ValueError:
        raise OrderError("loopback_only", "the caller has no address", hint=_HINT) from None
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        address = mapped
    if any(address in ip_network(network) for network in networks):
        return
    raise OrderError("loopback_only", f"the address {address} is not answered", hint=_HINT)


def _check_this_machine(request: Request) -> None:
    """Raise `OrderError` for a caller that is not on this machine, as the API without keys does."""
    host = request.headers.get("host", "")
    if not is_loopback(host):
        raise OrderError(
            "loopback_only",
            f"only this machine is answered, and the request names the host {host[:100]!r}",
            hint=_HINT,
        )
    for name in PROXY_HEADERS:
        if name in request.headers:
            raise OrderError(
                "loopback_only",
                "only callers on this machine are answered, and the request came through a proxy, "
                f"as its header {name} says",
                hint=_HINT,
            )
    if request.client is None or request.client.host not in LOOPBACK:
        raise OrderError("loopback_only", "only callers on this machine are answered", hint=_HINT)
