"""The images that cover a region, put into the slide cache with a manifest."""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Final

from worker.disk import DISK_FULL_ERRNOS
from worker.geometry.frame import Area
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.errors import DiskFullError
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.partial import manifest
from worker.sources.errors import InputTooLargeError
from worker.sources.image_server import image_headers, tile_plan
from worker.sources.image_server.client import MAX_REQUESTS, ImageRequest, ImageServerClient
from worker.sources.image_server.image_info import Image

_MAX_WAITING: Final = MAX_REQUESTS + 2  # answers that may wait for their turn
_MAX_WAITING_BYTES: Final = 2**27
_RESERVE_STEP_BYTES: Final = 2**24
_BLOCK_BYTES: Final = 4096  # of disk, which even a small file takes


def assemble(
    image: Image,
    area: Area,
    client: ImageServerClient,
    cache: SlideCache,
    pins: ExitStack,
    limit_bytes: int,
) -> LocalSlide:
    """Put images that cover `area` into the cache as one slide, pinned until `pins` closes.

    A server that answers with smaller images of the right shape has shown the largest that it
    gives; the area is then requested once more, in boxes of that size. Raise `InputTooLargeError`,
    and what `tile_plan.boxes`, `ImageServerClient.result` and `image_headers.checked_suffix` raise.
    """
    boxes = tile_plan.boxes(image, area)
    try:
        with cache.file_set() as file_set:
            digest = _download(boxes, image, area, client, file_set, limit_bytes)
            return pins.enter_context(cache.put_file_set(file_set, manifest.NAME, digest))
    except image_headers.SmallerImageError as smaller:
        if image.tiling.fixed:
            raise
        # The first box may be long and thin. Boxes are not square: so a server that answers every
        # box with one and the same small image is found out.
        edge_px = max(smaller.size_px)
        boxes = tile_plan.boxes(image, area, (edge_px, max(1, edge_px // 2)))
    with cache.file_set() as file_set:
        digest = _download(boxes, image, area, client, file_set, limit_bytes)
        return pins.enter_context(cache.put_file_set(file_set, manifest.NAME, digest))


def _download(
    boxes: Sequence[Area],
    image: Image,
    area: Area,
    client: ImageServerClient,
    file_set: FileSet,
    limit_bytes: int,
) -> str:
    """Write the images of the boxes and their manifest into the file set, and return its digest."""
    writer = _Writer(file_set, limit_bytes)
    pieces = []
    for number, (box, data) in enumerate(_answers(boxes, image, client)):
        suffix = image_headers.checked_suffix(data, box)
        name = f"p{number:05}{suffix}"
        writer.write(name, data)
        pieces.append(manifest.Piece(file=name, box=box))
    listing = manifest.Pieces(
        width=image.width,
        height=image.height,
        mpp_x=image.mpp_x,
        mpp_y=image.mpp_y,
        within=area,
        pieces=tuple(pieces),
        server=image.server,
    )
    writer.write(manifest.NAME, manifest.dumped(listing))
    return writer.digest


def _answers(
    boxes: Sequence[Area], image: Image, client: ImageServerClient
) -> Iterator[tuple[Area, bytes]]:
    """Yield each box with the answer for it, in order, while the next ones are being requested."""
    largest_bytes = max(image_headers.max_bytes(box) for box in boxes)
    max_waiting = max(1, min(_MAX_WAITING, _MAX_WAITING_BYTES // largest_bytes))
    remaining = iter(boxes)
    waiting: deque[tuple[Area, Future[bytes]]] = deque()
    while True:
        while len(waiting) < max_waiting:
            box = next(remaining, None)
            if box is None:
                break
            request = ImageRequest(image.url(box), image_headers.max_bytes(box), expects_image=True)
            waiting.append((box, client.begin(request)))
        if not waiting:
            return
        box, answer = waiting.popleft()
        yield box, client.result(answer)


class _Writer:
    """Writes files into a file set, within a limit, and hashes them."""

    def __init__(self, file_set: FileSet, limit_bytes: int) -> None:
        self._file_set = file_set
        self._limit_bytes = limit_bytes
        self._disk_bytes = 0
        self._reserved_bytes = 0
        self._digests: list[bytes] = []

    @property
    def digest(self) -> str:
        """SHA-256 in hex over the digests of the files, in the order in which they were written."""
        return hashlib.sha256(b"".join(self._digests)).hexdigest()

    def write(self, name: str, data: bytes) -> None:
        """Write one file. Raise `InputTooLargeError`, and `TemporaryError` for a full disk."""
        self._reserve(-(-len(data) // _BLOCK_BYTES) * _BLOCK_BYTES)
        folder = self._file_set.folder
        try:
            (folder / name).write_bytes(data)
        except OSError as error:
            if error.errno in DISK_FULL_ERRNOS:
                raise DiskFullError(folder) from None
            raise
        self._digests.append(hashlib.sha256(data).digest())

    def _reserve(self, more_bytes: int) -> None:
        self._disk_bytes += more_bytes
        if self._disk_bytes > self._limit_bytes:
            raise InputTooLargeError(
                f"the region's pictures have at least {self._disk_bytes} bytes; "
                f"at most {self._limit_bytes} are fetched"
            )
        if self._disk_bytes > self._reserved_bytes:
            self._reserved_bytes = min(self._disk_bytes + _RESERVE_STEP_BYTES, self._limit_bytes)
            self._file_set.reserve(self._reserved_bytes)
