"""Sends the files of one slide by tus 1.0.0, and goes on after every interruption."""

import base64
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request

from slidelane.commands.order_api import Answer, NoAnswerError, OrderApi, answer_object
from slidelane.commands.progress_display import ProgressDisplay
from slidelane.commands.upload.pending import PendingUploads
from slidelane.commands.upload.slide_files import LocalFile, SlideUnreadableError, files_of

_PATH: Final = "/v1/uploads"
_CHUNK_BYTES: Final = 64 * 2**20
"""Of one PATCH: after each the service has flushed what came to its disk."""
_READ_BYTES: Final = 2**18
_TIMEOUT_S: Final = 120.0
_PATIENCE_S: Final = 600.0
"""How long nothing may get through."""
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 15.0
_MOST_BYTES: Final = 10**6
_GONE: Final = 404
_PASSING: Final = frozenset({408, 409, 423, 500, 502, 503, 504})
"""Statuses after which the same may succeed."""


class UploadRefusedError(Exception):
    """The service does not take the slide; `answer` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.body.get("detail")))
        self.answer = answer


class UploadClient:
    """Sends slides to the service of an `OrderApi`."""

    def __init__(
        self, api: OrderApi, pending: PendingUploads, patience_s: float = _PATIENCE_S
    ) -> None:
        self._api = api
        self._pending = pending
        self._patience_s = patience_s

    def send(self, slide: Path, title: str) -> str:
        """Send the slide, showing how far it is, and return the id of the upload.

        What an earlier command has sent of the same files is not sent again. Raise
        `UploadRefusedError`, `SlideUnreadableError`, and `NoAnswerError` where nothing gets through
        any more.
        """
        files = files_of(slide)
        total_bytes = sum(file.size_bytes for file in files)
        paths = self._pending.known(self._api.url, files)
        offsets = self._offsets(paths)
        if offsets is None:
            paths = {}
            offsets = {}
        done_bytes = 0
        with ProgressDisplay(title) as display:
            for file in files:
                if file.name not in paths:
                    paths[file.name] = self._create(file, files, paths)
                    self._pending.remember(self._api.url, files, paths)
                sending = _Sending(display, file, done_bytes, total_bytes)
                self._send_file(paths[file.name], offsets.get(file.name, 0), sending)
                done_bytes += file.size_bytes
        return _set_of(paths[files[0].name])

    def _offsets(self, paths: Mapping[str, str]) -> dict[str, int] | None:
        """Return how far the uploads are that were begun, by name; None where one is gone."""
        offsets = {}
        for name, path in paths.items():
            status, headers, body = self._settled("HEAD", path)
            if status == _GONE:
                return None
            offsets[name] = _offset_in(status, headers, body)
        return offsets

    def _send_file(self, path: str, offset: int, sending: "_Sending") -> None:
        """Send one file from `offset` on, again and again while something gets through."""
        patience = _Patience(self._patience_s)
        is_interrupted = False
        while offset < sending.file.size_bytes:
            sending.show(offset)
            before = offset
            try:
                if is_interrupted:
                    offset = self._resumed(path, sending)
                    is_interrupted = False
                length = min(_CHUNK_BYTES, sending.file.size_bytes - offset)
                offset = self._append(path, offset, length, sending)
            except (NoAnswerError, _PassingError) as error:
                if not patience.wait():
                    raise NoAnswerError(str(error)) from None
                is_interrupted = True
            if offset > before:
                patience.begin_anew()

    def _resumed(self, path: str, sending: "_Sending") -> int:
        """Return where to go on after an interruption.

        Nothing is sent while the service still waits for the request that was cut off.
        """
        status, headers, body = self._call("HEAD", path)
        if status in _PASSING:
            raise _PassingError(str(status))
        return self._append(path, _offset_in(status, headers, body), 0, sending)

    def _create(self, file: LocalFile, files: Sequence[LocalFile], paths: Mapping[str, str]) -> str:
        name = base64.b64encode(file.name.encode(errors="replace")).decode()
        headers = {"Upload-Length": str(file.size_bytes), "Upload-Metadata": f"filename {name}"}
        path = _PATH
        first = paths.get(files[0].name)
        if first is not None:
            path += "?" + urlencode({"set": _set_of(first)})
        status, answered, body = self._settled("POST", path, b"", headers)
        _require_success(status, body)
        return answered.get("location", "")

    def _append(self, path: str, offset: int, length: int, sending: "_Sending") -> int:
        """Send `length` bytes from `offset` on, and return the new offset."""
        headers = {
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(length),
        }
        status, answered, body = self._call("PATCH", path, sending.pieces(offset, length), headers)
        if status in _PASSING:
            raise _PassingError(str(body.get("detail", status)))
        return _offset_in(status, answered, body)

    def _settled(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Return what `_call` returns, asking again while another try may have another answer.

        To begin a file twice does no harm: what was begun without an answer expires. Raise
        `NoAnswerError`.
        """
        patience = _Patience(self._patience_s)
        while True:
            try:
                answer = self._call(method, path, body, headers)
            except NoAnswerError:
                if not patience.wait():
                    raise
                continue
            status = answer[0]
            if status not in _PASSING:
                return answer
            if not patience.wait():
                return answer

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Return status, headers by their names in small letters, and the JSON of the answer.

        Raise `NoAnswerError`.
        """
        sent = {**self._api.headers, "Tus-Resumable": "1.0.0", **(headers or {})}
        request = Request(self._api.url + path, body, sent, method=method)  # noqa: S310
        try:
            with self._api.opener.open(request, timeout=_TIMEOUT_S) as answer:
                answer.read(_MOST_BYTES)
                return answer.status, _by_name(answer.headers.items()), {}
        except HTTPError as error:
            with error:
                content = error.read(_MOST_BYTES)
                return error.code, _by_name(error.headers.items()), answer_object(content)
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise NoAnswerError(str(reason) or type(error).__name__) from None


class _PassingError(Exception):
    """The service could not take it just now."""


class _Patience:
    """The waits between tries, each twice as long as the one before, and when they end."""

    def __init__(self, patience_s: float) -> None:
        """`patience_s`: how long nothing may get through."""
        self._patience_s = patience_s
        self.begin_anew()

    def begin_anew(self) -> None:
        """Take note that something got through."""
        self._ends_at = time.monotonic() + self._patience_s
        self._wait_s = _FIRST_WAIT_S

    def wait(self) -> bool:
        """Wait before another try; return False at once where there should be none."""
        if time.monotonic() > self._ends_at:
            return False
        time.sleep(self._wait_s)
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        return True


class _Sending:
    """Reads one file of a slide, and shows how far the slide is."""

    def __init__(
        self, display: ProgressDisplay, file: LocalFile, done_bytes: int, total_bytes: int
    ) -> None:
        """`done_bytes`: of the files before this one."""
        self.file = file
        self._display = display
        self._done_bytes = done_bytes
        self._total_bytes = total_bytes

    def show(self, offset: int) -> None:
        """Show that the file was sent up to `offset`."""
        self._display.show("uploading", self._done_bytes + offset, self._total_bytes)

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """Yield `length` bytes of the file from `offset` on. Raise `SlideUnreadableError`."""
        end = offset + length
        try:
            with self.file.path.open("rb") as opened:
                opened.seek(offset)
                while offset < end:
                    data = opened.read(min(_READ_BYTES, end - offset))
                    if not data:
                        raise SlideUnreadableError(f"{self.file.path} has become shorter")
                    yield data
                    offset += len(data)
                    self.show(offset)
        except OSError as error:
            text = f"{self.file.path} cannot be read ({error.strerror})"
            raise SlideUnreadableError(text) from None


def _set_of(path: str) -> str:
    """Return the id that names all files of the slide of which one has this path."""
    return path.rpartition("/")[2].partition("-")[0]


def _by_name(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}


def _offset_in(status: int, headers: Mapping[str, str], body: dict[str, Any]) -> int:
    """Return the offset in an answer. Raise `UploadRefusedError`."""
    _require_success(status, body)
    return int(headers.get("upload-offset", "0"))


def _require_success(status: int, body: dict[str, Any]) -> None:
    """Raise `UploadRefusedError` for an answer that is no success."""
    if not 200 <= status < 300:
        raise UploadRefusedError(Answer(status, body))
