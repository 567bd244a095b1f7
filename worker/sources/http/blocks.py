"""Which bytes of a download are still missing, in blocks that several connections share."""

from collections import deque
from dataclasses import dataclass
from threading import Lock
from typing import Final

_MAX_BLOCKS: Final = 64
_MIN_BLOCK_BYTES: Final = 2**22
_MAX_BLOCK_BYTES: Final = 2**25


@dataclass(eq=False, slots=True)
class Block:
    """A half-open range of the file. `next_byte` is the first that is missing.

    `requested_by`: the connection that has requested it. `claimed_by`: the one that receives it.
    """

    next_byte: int
    end: int
    requested_by: object = None
    claimed_by: object = None


class Blocks:
    """The blocks of a file from `start` to `end`, or of one that is at most `end` bytes long.

    A connection whose answer continues into the next block may claim that block although another
    connection has requested it: bytes that arrive count more than bytes that are expected. A block
    whose bytes already arrive is never taken from its connection.
    """

    def __init__(self, end: int, start: int = 0) -> None:
        size_bytes = min(max(end // _MAX_BLOCKS, _MIN_BLOCK_BYTES), _MAX_BLOCK_BYTES)
        starts = range(start, end, size_bytes)
        self._missing = deque(Block(first, min(first + size_bytes, end)) for first in starts)
        self._end = end
        self._lock = Lock()

    @property
    def front(self) -> int:
        """The number of bytes at the start of the file that were received without a gap."""
        with self._lock:
            while self._missing and self._missing[0].next_byte == self._missing[0].end:
                self._missing.popleft()
            if not self._missing:
                return self._end
            return self._missing[0].next_byte

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.front == self._end

    def set_end(self, end: int) -> None:
        """Note that the file ends at `end`, where nothing is missing."""
        with self._lock:
            self._missing.clear()
            self._end = end

    def claim_next(self, first_byte: int, connection: object) -> Block | None:
        """Claim the block that is missing from `first_byte` on.

        None if another receives it or nothing is missing.
        """
        with self._lock:
            for block in self._missing:
                if block.next_byte == first_byte < block.end and not block.claimed_by:
                    block.claimed_by = connection
                    return block
        return None

    def take_request(self, connection: object) -> Block | None:
        """Return the first block that no connection has requested or claimed, marked as requested.

        None at the end.
        """
        with self._lock:
            for block in self._missing:
                if block.next_byte < block.end and not block.claimed_by and not block.requested_by:
                    block.requested_by = connection
                    return block
        return None

    def claim(self, block: Block, first_byte: int, connection: object) -> bool:
        """Claim a block whose bytes from `first_byte` on have arrived.

        Return False if another received them.
        """
        with self._lock:
            if block.claimed_by not in (None, connection) or block.next_byte != first_byte:
                return False
            block.claimed_by = connection
            return True

    def release(self, connection: object) -> None:
        """Free every block that the connection requested or claimed."""
        with self._lock:
            for block in self._missing:
                if block.requested_by is connection:
                    block.requested_by = None
                if block.claimed_by is connection:
                    block.claimed_by = None
