"""The pictures of a region on their way to the shelf: asked for, checked, written, counted.

Owns the bundle's files. Must not know a protocol's words.
"""

import errno
import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from broker.errors import OrderError, TemporaryError
from worker.geometry.frame import Area
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.partial import manifest
from worker.sources.image_server import image_headers, tile_plan
from worker.sources.image_server.client import AT_A_TIME, ImageRequest, ImageServerClient
from worker.sources.image_server.image_info import Image
from worker.sources.request import FetchRequest

_AHEAD: Final = AT_A_TIME + 2  # answers that may wait for their turn
_AHEAD_BYTES: Final = 2**27  # and have so many bytes in all
_RESERVED_BYTES: Final = 2**24
_BLOCK_BYTES: Final = 4096  # of disk, which even a small file takes


def gather(
    image: Image, within: Area, errand: FetchRequest, dialogue: ImageServerClient
) -> LocalSlide:
    """Pictures that cover `within`, on the shelf.

    A server that answers smaller pictures of the right shape has told the largest it gives; it is asked once more, for
    no more than that. Raises what `plan.cut`, `ImageServerClient.result` and `pictures.checked` raise, and `input_too_large`.
    """
    try:
        return _gather(tile_plan.cut(image, within), image, within, errand, dialogue)
    except image_headers.SmallerError as answer:
        if image.tiling.fixed:
            raise
        # The first box may be thin, and no square, or what answers every box with one small picture would pass.
        edge_px = max(answer.largest_px)
        boxes = tile_plan.cut(image, within, (edge_px, max(1, edge_px // 2)))
    return _gather(boxes, image, within, errand, dialogue)


def _gather(
    boxes: Sequence[Area],
    image: Image,
    within: Area,
    errand: FetchRequest,
    dialogue: ImageServerClient,
) -> LocalSlide:
    shelf = errand.means.shelf
    with shelf.bundle() as bundle:
        writer = _Writer(bundle, errand.means.limit_bytes)
        pieces = []
        for number, (box, data) in enumerate(_answers(boxes, image, dialogue)):
            name = f"p{number:05}{image_headers.checked(data, box)}"
            writer.write(name, data)
            pieces.append(manifest.Piece(file=name, box=box))
        listing = manifest.Pieces(
            width=image.width,
            height=image.height,
            mpp_x=image.mpp_x,
            mpp_y=image.mpp_y,
            within=within,
            pieces=tuple(pieces),
            server=image.server,
        )
        writer.write(manifest.NAME, manifest.dumped(listing))
        return errand.pins.enter_context(shelf.put_bundle(bundle, manifest.NAME, writer.digest))


def _answers(
    boxes: Sequence[Area], image: Image, dialogue: ImageServerClient
) -> Iterator[tuple[Area, bytes]]:
    """Each box with the answer for it, in order."""
    most_bytes = max(map(image_headers.most_bytes, boxes))
    left = (
        (
            box,
            ImageRequest(
                image.url(box),
                image_headers.most_bytes(box),
                image_headers.whole,
                image_headers.judge,
            ),
        )
        for box in boxes
    )
    at_once = max(1, min(_AHEAD, _AHEAD_BYTES // most_bytes))
    ahead = deque((box, dialogue.begin(question)) for box, question in islice(left, at_once))
    while ahead:
        box, answer = ahead.popleft()
        yield box, dialogue.result(answer)
        ahead.extend((box, dialogue.begin(question)) for box, question in islice(left, 1))


class _Writer:
    """Files into a bundle, within a limit and hashed as they come."""

    def __init__(self, bundle: FileSet, limit_bytes: int) -> None:
        self._bundle, self._limit_bytes = bundle, limit_bytes
        self._bytes = self._reserved = 0
        self._digests: list[bytes] = []

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of what was written, in order: content, wherever it came from."""
        return hashlib.sha256(b"".join(self._digests)).hexdigest()

    def write(self, name: str, data: bytes) -> None:
        """Raises `OrderError("input_too_large")`, `TemporaryError("shelf_full")`."""
        self._make_room(-(-len(data) // _BLOCK_BYTES) * _BLOCK_BYTES)
        try:
            (self._bundle.folder / name).write_bytes(data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise TemporaryError(
                    "shelf_full", f"the disk with {self._bundle.folder} is full"
                ) from None
            raise
        self._digests.append(hashlib.sha256(data).digest())

    def _make_room(self, size_bytes: int) -> None:
        self._bytes += size_bytes
        if self._bytes > self._limit_bytes:
            detail = f"the region's pictures have at least {self._bytes} bytes; at most {self._limit_bytes} are fetched"
            raise OrderError(
                "input_too_large", detail, hint="the operator sets worker.slides.max_slide_bytes"
            )
        if self._bytes > self._reserved:
            self._reserved = min(self._bytes + _RESERVED_BYTES, self._limit_bytes)
            self._bundle.reserve(self._reserved)
