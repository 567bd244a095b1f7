"""Finds the line of the `return` that gave an answer, for the message about a wrong one."""

import inspect
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self


class ReturnLine:
    """Notes where a function returns while the context is entered, in this thread.

    A trace function is called once for each call of a Python function, not for its lines.
    """

    def __init__(self, function: Any) -> None:
        """`function` may also be a method, or an object that can be called."""
        self._code = _code_of(function)
        self._line = 0

    def __enter__(self) -> Self:
        if self._code is not None:
            sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def __str__(self) -> str:
        """`file.py:LINE`, or an empty text where it is not known."""
        if self._code is None or not self._line:
            return ""
        return f"{Path(self._code.co_filename).name}:{self._line}"

    def _called(self, frame: FrameType, _event: str, _value: object) -> Any:
        if frame.f_code is not self._code:
            return None
        frame.f_trace_lines = False
        return self._happened

    def _happened(self, frame: FrameType, event: str, _value: object) -> Any:
        if event == "return":
            self._line = frame.f_lineno
        return self._happened


def _code_of(function: Any) -> CodeType | None:
    if not inspect.isfunction(function) and not inspect.ismethod(function):
        function = vars(type(function)).get("__call__")
    if function is None:
        return None
    code = getattr(inspect.unwrap(function), "__code__", None)
    if isinstance(code, CodeType):
        return code
    return None
