"""Finds the line of the `return` that gave an answer, for the message about a wrong one."""

import inspect
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self


class ReturnLine:
    """Notes where a function returns while the context is entered, in this thread.

    A frame knows its last line also after it has returned, so its first call is all that is traced:
    to trace any longer made pure Python code several times as slow.
    """

    def __init__(self, function: Any) -> None:
        """`function` may also be a method, or an object that can be called."""
        self._code = _code_of(function)
        self._frame: FrameType | None = None
        self._line = 0

    def __enter__(self) -> Self:
        if self._code is not None:
            sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        if self._frame is None:
            sys.settrace(None)
            return
        self._line = self._frame.f_lineno or 0
        self._frame = None  # it holds everything that the function had

    def __str__(self) -> str:
        """`file.py:LINE`, or an empty text where it is not known."""
        if self._code is None or not self._line:
            return ""
        return f"{Path(self._code.co_filename).name}:{self._line}"

    def _called(self, frame: FrameType, _event: str, _value: object) -> None:
        """Keep the frame of the function. Called for each function until that one is called."""
        if frame.f_code is self._code:
            self._frame = frame
            sys.settrace(None)


def _code_of(function: Any) -> CodeType | None:
    if not inspect.isfunction(function) and not inspect.ismethod(function):
        function = vars(type(function)).get("__call__")
    if function is None:
        return None
    code = getattr(inspect.unwrap(function), "__code__", None)
    if isinstance(code, CodeType):
        return code
    return None
