"""The `Context` of a scan in the process that runs a site's code: it asks the worker."""

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import Any

from numpy.typing import NDArray

from slidelane.algorithms import Stop
from worker.algorithms.python.messages import receive, send
from worker.geometry.frame import Pixels


class RemoteRoi:
    """The area that was ordered."""

    def __init__(self, context: "RemoteContext", fields: Mapping[str, Any]) -> None:
        self._context = context
        left, top, width, height = fields["box"]
        self.box = (left, top, width, height)
        self.polygon: Sequence[tuple[float, float]] = [(x, y) for x, y in fields["polygon"]]
        self.area_px2 = float(fields["area_px2"])

    def contains(self, x: float, y: float) -> bool:
        """Return whether the point lies in the area."""
        left, top, width, height = self.box
        if not (left <= x < left + width and top <= y < top + height):
            return False
        if not self.polygon:
            return True
        return bool(self._context.ask("contains", {"x": float(x), "y": float(y)})[0]["value"])


class RemoteTile:
    """One square that `tiles` yields."""

    def __init__(self, fields: Mapping[str, Any], pixels: Pixels) -> None:
        self.number = int(fields["number"])
        self.count = int(fields["count"])
        self.x = float(fields["x"])
        self.y = float(fields["y"])
        self.pixels = pixels
        self._halo_px = fields["halo_px"]
        self._downsample = fields["downsample"]

    def level0(self, ring: Sequence[tuple[float, float]]) -> list[list[float]]:
        """Return points in pixels of the tile, halo included, as level-0 pixels."""
        across, down = self._downsample
        return [
            [
                self.x + (float(x) - self._halo_px) * across,
                self.y + (float(y) - self._halo_px) * down,
            ]
            for x, y in ring
        ]


class RemoteContext:
    """The scan that a worker has open. Threads may share it."""

    def __init__(
        self, connection: socket.socket, scan: Mapping[str, Any], samples: NDArray[Any]
    ) -> None:
        self._connection: socket.socket | None = connection
        self._lock = RLock()
        self.order_id = str(scan["order_id"])
        self.scan_id = str(scan["scan_id"])
        self.parameters: Mapping[str, Any] = scan["parameters"]
        self.labels: Mapping[str, str] = scan["labels"]
        self.stain = str(scan["stain"])
        self.device = str(scan["device"])
        self.folder = Path(scan["folder"])
        self.width = int(scan["width"])
        self.height = int(scan["height"])
        self.mpp_x: float | None = scan["mpp_x"]
        self.mpp_y: float | None = scan["mpp_y"]
        self.roi = RemoteRoi(self, scan["roi"])
        self.samples: Pixels = samples

    def read(
        self, x: float, y: float, width_px: int, height_px: int, mpp: float | None = None
    ) -> Pixels:
        """Return the pixels from level-0 (x, y) on, uint8 (height_px, width_px, 3)."""
        arguments = {
            "x": float(x),
            "y": float(y),
            "width_px": int(width_px),
            "height_px": int(height_px),
            "mpp": mpp,
        }
        return self.ask("read", arguments)[1]["pixels"]

    def tiles(
        self, mpp: float, size_px: int, *, halo_px: int = 0, tissue_only: bool = True
    ) -> Iterator[RemoteTile]:
        """Yield the squares of the area, row by row."""
        arguments = {
            "mpp": float(mpp),
            "size_px": int(size_px),
            "halo_px": int(halo_px),
            "tissue_only": bool(tissue_only),
        }
        number = self.ask("tiles", arguments)[0]["value"]
        while True:
            fields, arrays = self.ask("next_tile", {"number": number})
            if fields["value"] is None:
                return
            yield RemoteTile(fields["value"], arrays["pixels"])

    def progress(self, done: int, total: int) -> None:
        """Say how far the work is. Raises Stop when the order was cancelled."""
        self.ask("progress", {"done": int(done), "total": int(total)})

    def log(self, line: str) -> None:
        """Write a line to the scan's `output.log`."""
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def warn(self, code: str, detail: str) -> None:
        """Add a warning to the result."""
        self.ask("warn", {"code": str(code), "detail": str(detail)})

    def ask(
        self, method: str, arguments: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Have the worker do it and return what it answers. Raises Stop, and RuntimeError."""
        with self._lock:
            if self._connection is None:
                raise RuntimeError("the scan of this context has ended")
            send(self._connection, {"call": method, "arguments": arguments})
            fields, arrays = receive(self._connection)
        if fields.get("stop"):
            raise Stop
        if "fault" in fields:
            raise RuntimeError(fields["fault"])
        return fields, arrays

    def close(self) -> None:
        """Answer nothing more: threads that the code has left behind have no scan."""
        with self._lock:
            self._connection = None
