"""The address of an image as the caller has to write it, also behind a proxy that ends TLS."""

from starlette.requests import Request

from services.requests.hosts import host_and_port
from services.session import cookie


def public_url(request: Request, path: str) -> str:
    """Return the absolute URL of `path` under the scheme and host that the caller asked.

    A proxy in front says them in `X-Forwarded-Proto` and `X-Forwarded-Host`; of several the first
    is the one that the caller came to. A host that is none is passed over.
    """
    scheme = "http"
    if cookie.is_https(request):
        scheme = "https"
    forwarded = request.headers.get("x-forwarded-host", "").partition(",")[0].strip()
    for host in (forwarded, request.headers.get("host", "")):
        if _is_host(scheme, host):
            return f"{scheme}://{host}{path}"
    return str(request.url.replace(scheme=scheme, path=path, query="", fragment=""))


def _is_host(scheme: str, host: str) -> bool:
    is_plain = host.isascii() and host.isprintable() and not set(host) & set(" \"'<>\\^`{|}")
    return is_plain and host_and_port(f"{scheme}://{host}") is not None
