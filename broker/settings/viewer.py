"""The settings of the viewer process, which shows slides as IIIF images.

`ViewerAddress` is what the API and the viewer share, `ViewerSettings` is the viewer's own.
"""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from broker.settings.section import Section

_SOCKET_NAME: Final = "viewer.sock"
# The kernel takes 108 bytes, macOS 104; a few are for the name while the socket is being made.
_MOST_SOCKET_BYTES: Final = 90
_HTTP_URL: Final = re.compile(r"http://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d+)/?")
_HOST_PORT: Final = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d+)")
_LEAST_SECRET_CHARS: Final = 16


class ViewerAddress(Section):
    """Where the API finds the viewer."""

    url: str = Field(
        "", description='http://HOST:PORT of the viewer; "" = the socket viewer.sock in broker.data'
    )
    secret: SecretStr | None = Field(
        None, description="what the API and a viewer at `url` prove themselves with"
    )

    @field_validator("url")
    @classmethod
    def _is_an_http_url(cls, url: str) -> str:
        if url and not _is_address(_HTTP_URL.fullmatch(url)):
            raise ValueError('is http://HOST:PORT, or "" for the socket in broker.data')
        return url.removesuffix("/")

    @field_validator("secret")
    @classmethod
    def _is_long(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is None:
            return None
        value = secret.get_secret_value()
        if len(value) < _LEAST_SECRET_CHARS or not value.isascii() or not value.isprintable():
            raise ValueError(
                f"has at least {_LEAST_SECRET_CHARS} characters of ASCII; openssl rand -hex 24"
            )
        return secret

    @model_validator(mode="after")
    def _url_needs_the_secret(self) -> Self:
        if self.url and self.secret is None:
            raise ValueError("broker.viewer.url needs broker.viewer.secret: openssl rand -hex 24")
        return self


class ViewerSettings(Section):
    """The settings of the viewer process."""

    open_slides: int = Field(
        8, ge=1, le=256, description="slides that are open at a time, each in a process of its own"
    )
    idle_s: float = Field(
        120, gt=0, description="a slide that nobody looked at for so long is closed"
    )
    tile_cache_bytes: int = Field(
        64 * 2**20, ge=0, description="memory for tiles that were encoded already"
    )
    bind: str = Field(
        "", description='HOST:PORT to listen on; "" = the socket viewer.sock in broker.data'
    )

    @field_validator("bind")
    @classmethod
    def _is_host_and_port(cls, bind: str) -> str:
        if bind and not _is_address(_HOST_PORT.fullmatch(bind)):
            raise ValueError('is HOST:PORT, or "" for the socket in broker.data')
        return bind

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Return `bind` in parts. Raise `ValueError` where it is empty."""
        host, _, port = self.bind.rpartition(":")
        return host.strip("[]"), int(port)


def viewer_socket(data: Path) -> Path:
    """Return where the viewer of the data folder listens unless it has a URL.

    A socket's path may have about a hundred bytes. Where the one in the data folder is longer, the
    socket is in a folder of this user below the system's temporary one, named by the data folder.
    """
    folder = data.resolve()
    path = folder / _SOCKET_NAME
    if len(os.fsencode(path)) <= _MOST_SOCKET_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"slidelane-{os.getuid()}-{digest}", _SOCKET_NAME)


def _is_address(match: re.Match[str] | None) -> bool:
    return match is not None and 0 < int(match["port"][:6]) < 65536
