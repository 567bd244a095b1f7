"""Answers the worker's requests with a site's code, in the process that runs it."""

import ctypes
import gc
import mmap
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from math import prod
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidelane.algorithms import AnswerError, Stop, check_answer
from slidelane.algorithms.check import array_of, check_figures
from worker.algorithms.python.found import objects_of_found, packed
from worker.algorithms.python.host.global_state import (
    State,
    changes,
    global_state,
    thread_state,
)
from worker.algorithms.python.host.image_answer import ImageAnswer
from worker.algorithms.python.host.remote_context import RemoteContext
from worker.algorithms.python.host.return_line import ReturnLine
from worker.algorithms.python.host.site_code import (
    EntryError,
    SiteCode,
    digest,
    import_entry,
    own_lines,
    where_raised,
)
from worker.algorithms.python.messages import receive, send
from worker.results.objects import Objects, joined

Reply = tuple[dict[str, Any], Mapping[str, NDArray[Any]]]
DONE: Reply = ({"done": True}, {})


def serve(entry: str, connections: list[socket.socket]) -> None:
    """Import the code and answer requests until the worker closes the first connection.

    The other connections are answered by a thread each.
    """
    main, *others = connections
    try:
        code = import_entry(entry)
    except EntryError as error:
        receive(main)
        send(main, _error("algorithm_raised", str(error)))
        return
    process = _Process(code)
    for connection in others:
        Thread(target=process.answer_all, args=(connection,), daemon=True).start()
    process.answer_all(main)


class _Process:
    """The code and the scan that it works on."""

    def __init__(self, code: SiteCode) -> None:
        self._code = code
        self._digest = digest(code.files)
        self._context: RemoteContext | None = None
        self._pixels: mmap.mmap | None = None
        self._before: State = {}
        self._changed_in_threads: set[str] = set()

    def answer_all(self, connection: socket.socket) -> None:
        """Answer one request after another."""
        with suppress(OSError):
            while True:
                fields, arrays = receive(connection)
                reply, answered = self._answer(connection, fields, arrays)
                send(connection, reply, answered)

    def _answer(
        self, connection: socket.socket, fields: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Reply:
        before = thread_state()
        try:
            reply = self._call(connection, fields, arrays)
        except Stop:
            return {"error": {"code": "stopped", "detail": ""}}, {}
        except AnswerError as error:
            return _error("algorithm_answer_invalid", str(error)), {}
        except BaseException as error:  # noqa: BLE001 - whatever the code raises ends its own scan
            traceback.print_exc()
            return self._raised(error), {}
        self._changed_in_threads.update(changes(before, thread_state()))
        return reply

    def _call(
        self, connection: socket.socket, fields: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Reply:
        method = fields["do"]
        if method == "load":
            return self._load(fields["device"])
        if method == "begin":
            return self._begin(connection, fields, arrays)
        if method == "classify":
            return self._classify(self._pixels_of(fields, arrays), fields["batch_tiles"])
        if method == "summarise":
            return self._summarise(fields["counts"])
        if method == "process":
            return self._process_image(fields["path"])
        return self._finish()

    def _raised(self, error: BaseException) -> dict[str, Any]:
        """Return what an exception of the code is answered with."""
        file = self._code.source_file
        fields = _error("algorithm_raised", where_raised(error, file))
        fields["error"]["lines"] = own_lines(error, file)
        return fields

    def _load(self, device: str) -> Reply:
        load = getattr(self._code.target, "load", None)
        if self._code.is_tile_model and load is not None:
            load(device)
        # what is loaded stays: to look through all of it after each scan took a tenth of a second
        gc.freeze()
        self._before = global_state()
        return {"digest": self._digest}, {}

    def _begin(
        self, connection: socket.socket, fields: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Reply:
        if fields["pixels_bytes"]:
            _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
            self._pixels = mmap.mmap(descriptors[0], fields["pixels_bytes"])
            os.close(descriptors[0])
        self._context = RemoteContext(connection, fields["scan"], arrays["samples"])
        prepare = getattr(self._code.target, "prepare", None)
        if self._code.is_tile_model and prepare is not None:
            prepare(self._context)
        return DONE

    def _pixels_of(
        self, fields: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> NDArray[np.uint8]:
        """Return the pixels of the tiles: they were sent, or lie in memory that is shared."""
        if "pixels" in arrays:
            return arrays["pixels"]
        if self._pixels is None:
            raise RuntimeError("no pixels are shared")
        shape = fields["shape"]
        return np.frombuffer(self._pixels, np.uint8, prod(shape), fields["offset"]).reshape(shape)

    def _classify(self, pixels: NDArray[np.uint8], batch_tiles: int) -> Reply:
        """Return the answers for all tiles, which the code is given batch by batch."""
        card = self._code.card
        values: list[NDArray[Any]] = []
        tiles: list[Objects] = []
        for start in range(0, len(pixels), batch_tiles):
            answer, line = self._answer_of(pixels[start : start + batch_tiles])
            if card.output == "objects":
                tiles += self._objects_of(answer)
                continue
            values.append(_compact(array_of(answer), card.output))
            try:
                _check_alike(values[0], values[-1])
            except AnswerError as error:
                raise _with_line(error, line) from None
        if len(values) == 1:
            return {"done": True}, {"values": values[0]}
        if values:
            return {"done": True}, {"values": np.concatenate(values)}
        counts = np.array([len(tile) for tile in tiles], np.int64)
        return {"done": True}, {"counts": counts, **packed(joined(tiles))}

    def _answer_of(self, batch: NDArray[np.uint8]) -> tuple[Any, ReturnLine]:
        """Return what the code answers for one batch, once it is checked, and where."""
        line = ReturnLine(self._code.target.classify)
        with line:
            answer = self._code.target.classify(batch)
        try:
            check_answer(self._code.card, answer, len(batch))
        except AnswerError as error:
            raise _with_line(error, line) from None
        return answer, line

    def _objects_of(self, answer: Any) -> list[Objects]:
        card = self._code.card
        names = [entry.name for entry in card.classes]
        half_px = card.post.get("object_um", 12.5) / 2 / (card.mpp or 1)
        half = np.array([half_px, half_px])
        return [objects_of_found(found, names, card.measurements, half) for found in answer]

    def _summarise(self, counts: Mapping[str, int]) -> Reply:
        summarise = getattr(self._code.target, "summarise", None)
        if summarise is None:
            return {"summary": None, "headline": ""}, {}
        answer = summarise(counts, self._context)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise AnswerError("summarise", "a pair is required: figures, and a headline")
        summary, headline = answer
        check_figures(summary, "summarise")
        return {"summary": dict(summary), "headline": str(headline)}, {}

    def _process_image(self, path: str) -> Reply:
        if self._context is None:
            raise RuntimeError("no scan was begun")
        line = ReturnLine(self._code.target)
        with line:
            answer = self._code.target(path, self._context)
        made = ImageAnswer(self._code.card, self._context)
        try:
            objects = made.take(answer)
        except AnswerError as error:
            raise _with_line(error, line) from None
        return made.fields(), packed(objects)

    def _finish(self) -> Reply:
        """Forget the scan; return what it changed for the whole process."""
        if self._context is not None:
            self._context.close()
        self._context = None
        self._pixels = None
        gc.collect()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        ctypes.CDLL(None).fflush(None)
        changed = set(changes(self._before, global_state())) | self._changed_in_threads
        return {"changed": sorted(changed)}, {}


def _with_line(error: AnswerError, line: ReturnLine) -> AnswerError:
    """Return the error with the line of the author's file that returned the answer."""
    if not str(line):
        return error
    return AnswerError(error.place, f"{error.detail} ({line})")


def _error(code: str, detail: str) -> dict[str, Any]:
    return {"error": {"code": code, "detail": detail}}


def _check_alike(first: NDArray[Any], other: NDArray[Any]) -> None:
    """Raise AnswerError where the answers for two batches cannot be joined."""
    if (first.shape[1:], first.dtype) != (other.shape[1:], other.dtype):
        raise AnswerError(
            "answer",
            f"its shape is {other.shape} and its type {other.dtype}; for a batch before they were "
            f"{first.shape} and {first.dtype}",
        )


def _compact(values: NDArray[Any], output: str) -> NDArray[Any]:
    """Return the numbers in as few bytes as hold them."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind in "iu":
        return values.astype(np.uint16)
    if output == "tiles":
        return values.astype(np.float64)
    return values.astype(np.float32)
