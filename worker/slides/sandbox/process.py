"""A process that reads one slide, as the worker holds it: its start, a question on each wire, its end.

Owns what its end means. Must not know formats, nor trust an answer: a hostile file may rule it. What it runs is
`worker.slides.sandbox.__main__`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.errors import OrderError, TemporaryError
from worker.geometry.frame import Frame, Pixels
from worker.slides.sandbox.messages import ProtocolError, receive, send
from worker.slides.sandbox.shared_memory import SharedPixels

_ENDS_S: Final = 5.0
_FROM_OUTSIDE: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_OFTEN_SHORT_OF_MEMORY: Final = frozenset(
    {signal.SIGABRT, signal.SIGTRAP}
)  # how C++ and GLib end where there is none
_MORE_MEMORY: Final = "more memory than worker.limits.decode_bytes allows"
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
_SET: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    # Else the memory for pixels goes back to the kernel after every read, and each page is faulted in again.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**27),
}
_HINT: Final = "see that the file opens in a viewer; if it does not, send it or export it again"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Refusal(_Strict):
    """What the process says of the slide."""

    code: Literal["not_a_slide", "slide_unreadable"]
    detail: str = Field(max_length=4000)
    hint: str = Field(max_length=4000)
    field: str = Field(max_length=100)


class Answer(_Strict):
    """What the process may say."""

    frame: Frame | None = None
    reader: str = Field("", max_length=400)
    refusal: Refusal | None = None
    is_short_of_memory: bool = False
    bug: str = Field("", max_length=8000)


class DecoderProcess:
    """The process, and the wires to it: one for every thread, and one by which each knows whether the other is up."""

    def __init__(self, threads: int, max_bytes: int, read_s: float) -> None:
        pairs = [socket.socketpair() for _ in range(threads + 1)]
        self.pixels = SharedPixels(threads)
        """Where it can write what it reads."""
        self._running = _started(max_bytes, self.pixels.number, [theirs for _, theirs in pairs])
        self.pixels.given()
        self._life, *wires = [ours for ours, _ in pairs]
        self._wires: SimpleQueue[socket.socket] = SimpleQueue()
        for wire in wires:
            self._wires.put(wire)
        self.id, self._read_s, self._verdict = self._running.pid, read_s, ""
        self.end = weakref.finalize(self, _end, self._running, [self._life, *wires], self.pixels)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._running.poll() is None

    def ask(self, request: dict[str, Any], into: Pixels | None = None) -> Answer:
        """One question and its answer, with pixels where `into` is given. Threads may ask at the same time.

        Raises `OrderError`: what the process says of the slide, or what its end means; `TemporaryError` where it was
        ended from outside.
        """
        wire = self._wires.get()
        try:
            answer, has_pixels = self._asked(wire, request, into)
        except TimeoutError:
            raise self._condemned(
                f"a part of it took longer than {self._read_s:g} s to decode"
            ) from None
        except (ProtocolError, ValidationError):
            raise self._condemned("its decoder gives impossible answers") from None
        except OSError:
            raise self._fault() from None
        finally:
            self._wires.put(wire)
        _raise_what_is_told(answer)
        if into is not None and not has_pixels:
            raise self._condemned("its decoder gives impossible answers")
        return answer

    def _asked(
        self, wire: socket.socket, request: dict[str, Any], into: Pixels | None
    ) -> tuple[Answer, bool]:
        wire.settimeout(self._read_s)
        send(wire, json.dumps(request).encode())
        told, has_pixels = receive(wire, into, self._read_s)
        return Answer.model_validate_json(told), has_pixels

    def _condemned(self, verdict: str) -> OrderError:
        self._verdict = verdict
        self._running.kill()
        return unreadable(verdict)

    def _fault(self) -> Exception:
        """What the end of the process means."""
        try:
            status = self._running.wait(_ENDS_S)
        except subprocess.TimeoutExpired:
            return self._condemned("its decoder no longer answers")
        if self._verdict:
            return unreadable(self._verdict)
        if status > 0 and not self._was_up():
            seen = f"exit status {status}; try: {sys.executable} -c 'import worker.slides.sandbox.__main__'"
            return RuntimeError(f"the process that reads slides does not start ({seen})")
        if -status in _FROM_OUTSIDE:
            seen = f"the process that reads the slide was ended from outside ({_ending(status)})"
            return TemporaryError(
                "out_of_memory", f"{seen}, as the system does when memory is short"
            )
        perhaps = (
            f", perhaps because it wanted {_MORE_MEMORY}"
            if -status in _OFTEN_SHORT_OF_MEMORY
            else ""
        )
        return unreadable(f"its decoder crashed ({_ending(status)}){perhaps}")

    def _was_up(self) -> bool:
        try:
            return bool(self._life.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
        except OSError:
            return False


def unreadable(detail: str) -> OrderError:
    """The slide is at fault."""
    return OrderError("slide_unreadable", f"The slide cannot be read: {detail}", hint=_HINT)


def _raise_what_is_told(answer: Answer) -> None:
    if answer.refusal:
        raise OrderError(**answer.refusal.model_dump())
    if answer.is_short_of_memory:
        raise unreadable(f"decoding it takes {_MORE_MEMORY}")
    if answer.bug:
        raise RuntimeError(f"the process that reads the slide: {answer.bug}")


def _ending(status: int) -> str:
    names = (known.name for known in signal.Signals if known == -status)
    return f"exit status {status}" if status >= 0 else next(names, f"signal {-status}")


def _started(max_bytes: int, pixels: int, wires: list[socket.socket]) -> subprocess.Popen[bytes]:
    numbers = [pixels, *(wire.fileno() for wire in wires)]
    running = subprocess.Popen(
        [sys.executable, "-m", "worker.slides.sandbox", str(max_bytes), *map(str, numbers)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # decoders quote what they read
        pass_fds=numbers,
        start_new_session=True,
        env=_environment(),
    )
    for wire in wires:
        wire.close()
    return running


def _environment() -> dict[str, str]:
    """What a decoder may know: where its libraries are, and no secret."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    places = (str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", ""))
    return {**kept, **_SET, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def _end(
    running: subprocess.Popen[bytes], wires: list[socket.socket], pixels: SharedPixels
) -> None:
    """No process and no descriptor stays behind."""
    running.kill()
    pixels.close()
    for wire in wires:
        wire.close()
    running.wait()
