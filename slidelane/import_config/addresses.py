"""Addresses in config.json of DynamicServices: host, port and path there, a URL with us."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from slidelane.import_config.old_file import OldSettings

_HOST: Final = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]{2,45}\]"
)
_HIGHEST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, and its host with the port where one is written."""

    url: str
    host: str


def of_parts(settings: OldSettings, section: str, problems: list[str]) -> Address | None:
    """Return the address of a section with `host`, `port` and `path`, or None without the section.

    What is wrong with it is added to `problems`.
    """
    keys = [f"{section}.{name}" for name in ("host", "port", "path")]
    host, port, path = map(settings.get, keys)
    if not host and not port and not path:
        return None
    faults = []
    if not _HOST.fullmatch(host):
        faults.append(f"{keys[0]} must be the name or address of a host, and nothing else")
    if port and not _is_port(port):
        faults.append(f"{keys[1]} must be a port, 1 to {_HIGHEST_PORT}")
    if not path.startswith("/") or "?" in path or "#" in path:
        faults.append(f"{keys[2]} must be a path that begins with / and has no ? or # in it")
    problems += faults
    if faults:
        return None
    written = host
    if port:
        written = f"{host}:{int(port)}"
    return Address(f"http://{written}{quote(path, safe='/%:;=,+~')}", written)


def of_image_server(settings: OldSettings, problems: list[str]) -> Address | None:
    """Return the address that the location of a slide is appended to, or None without one.

    What is wrong with it is added to `problems`.
    """
    key = "images.imageServer.url"
    text = settings.get(key)
    if not text:
        return None
    url = text
    if "://" not in text:
        url = f"http://{text}"
    try:
        parts = urlsplit(url)
        host = parts.netloc
        port = parts.port
    except ValueError:
        host = ""
        port = None
    is_plain = not _has_more_than_a_path(url) and url.isascii() and " " not in url
    name = host
    if port is not None:
        name = host.rpartition(":")[0]
    if not is_plain or not _HOST.fullmatch(name) or not url.startswith(("http://", "https://")):
        problems.append(
            f"{key} must be like oss:5000: a host, with a port and a path where there are some, "
            "without a login and without ? or #"
        )
        return None
    return Address(url, host)


def _has_more_than_a_path(url: str) -> bool:
    """Return whether a URL has a query, a fragment, or braces, which stand for values with us."""
    return any(character in url for character in "?#{}")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535
