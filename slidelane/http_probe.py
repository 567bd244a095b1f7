"""Asks servers on this machine whether and what they answer, past any proxy."""

from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

_TIMEOUT_S = 5.0
_MOST_BYTES = 1_000_000
# Where to ask a server that listens on all addresses.
_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound


class NoAnswerError(Exception):
    """Nobody answers at an address; the message says how that was seen."""


def base_url(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a server that listens on host and port."""
    host = _LOOPBACK_OF.get(host, host)
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{port}"


def get(url: str, timeout_s: float = _TIMEOUT_S) -> tuple[int, bytes]:
    """Return the status and the body of an answer, whatever its status. Raise `NoAnswerError`."""
    # No proxy of the environment: it cannot reach loopback.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            return answer.status, answer.read(_MOST_BYTES)
    except HTTPError as error:
        with error:
            return error.code, error.read(_MOST_BYTES)
    except (URLError, OSError, ValueError) as error:
        raise NoAnswerError(f"{url} does not answer: {error}") from None
