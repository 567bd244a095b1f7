"""Does for code in another process what it calls its `Context` for."""

import socket
from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray

from broker.errors import SlidelaneError
from worker.algorithms.python.messages import MessageError, send
from worker.algorithms.python.open_scan import OpenScan
from worker.progress import StopWork

Reply = tuple[dict[str, Any], dict[str, NDArray[Any]]]
_MOST_PX: Final = 2**28
"""The most pixels that one `read` may ask for."""


def answer_call(
    connection: socket.socket, scan: OpenScan, fields: Mapping[str, Any]
) -> StopWork | None:
    """Do one call and send its answer; return why the work must stop, or None.

    Raises MessageError for what is no call.
    """
    try:
        reply, arrays = _called(scan, fields["call"], fields["arguments"])
    except StopWork as stop:
        send(connection, {"stop": True})
        return stop
    except (SlidelaneError, ValueError) as error:
        send(connection, {"fault": str(error)})
        return None
    except (KeyError, TypeError) as error:
        raise MessageError(f"a call with wrong arguments: {error}") from None
    send(connection, reply, arrays)
    return None


def _called(scan: OpenScan, method: str, given: Mapping[str, Any]) -> Reply:
    if method == "read":
        return {"value": None}, {"pixels": _read(scan, given)}
    if method == "tiles":
        return {"value": scan.begin_tiles(**given)}, {}
    if method == "next_tile":
        return scan.next_tile(given["number"])
    if method == "progress":
        scan.progress(given["done"], given["total"])
        return {"value": None}, {}
    if method == "warn":
        scan.warn(given["code"], given["detail"])
        return {"value": None}, {}
    if method == "contains":
        return {"value": scan.roi.contains(given["x"], given["y"])}, {}
    raise MessageError(f"a call of {str(method)[:40]!r}")


def _read(scan: OpenScan, given: Mapping[str, Any]) -> NDArray[Any]:
    width_px = given["width_px"]
    height_px = given["height_px"]
    if not (width_px > 0 and height_px > 0 and width_px * height_px <= _MOST_PX):
        raise ValueError(f"{width_px} x {height_px} pixels; 1 to {_MOST_PX} are read at a time")
    return scan.read(given["x"], given["y"], width_px, height_px, given["mpp"])
