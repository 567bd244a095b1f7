"""A caller of `/v1/uploads`, by hand: every header is the test's to change."""

import base64
from typing import Any

import httpx2

TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = "application/offset+octet-stream"


def metadata(**values: str) -> str:
    """Return Upload-Metadata with these values."""
    pairs = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())
    return ",".join(pairs)


class TusCaller:
    """Sends requests of tus by an HTTP client, whose base URL is that of the API."""

    def __init__(self, http: httpx2.Client, **headers: str) -> None:
        self._http = http
        self._headers = TUS | headers

    def create(
        self, length: int, filename: str = "slide.svs", set_id: str = "", **headers: str
    ) -> httpx2.Response:
        """Begin an upload."""
        sent = {"Upload-Length": str(length), "Upload-Metadata": metadata(filename=filename)}
        path = "/v1/uploads"
        if set_id:
            path += f"?set={set_id}"
        return self._http.post(path, headers=self._headers | sent | headers)

    def head(self, address: str, **headers: str) -> httpx2.Response:
        """Ask how far it is."""
        return self._http.head(address, headers=self._headers | headers)

    def patch(self, address: str, offset: int, content: Any, **headers: str) -> httpx2.Response:
        """Send bytes."""
        sent = {"Upload-Offset": str(offset), "Content-Type": OCTETS}
        return self._http.patch(address, content=content, headers=self._headers | sent | headers)

    def delete(self, address: str, **headers: str) -> httpx2.Response:
        """Remove it."""
        return self._http.delete(address, headers=self._headers | headers)

    def send(self, content: bytes, filename: str = "slide.svs", set_id: str = "") -> str:
        """Upload a whole file, and return its address."""
        created = self.create(len(content), filename, set_id)
        assert created.status_code == 201, created.text
        address = created.headers["location"]
        if content:
            sent = self.patch(address, 0, content)
            assert sent.status_code == 204, sent.text
        return str(address)

    def offset(self, address: str) -> int:
        """Return how many bytes are there."""
        return int(self.head(address).headers["upload-offset"])


def id_of(address: str) -> str:
    """Return the id of the upload at an address."""
    return address.rpartition("/")[2]
