"""What of a slide is still to come, in blocks that several connections take in order.

Must not know the network or the file.
"""

from collections import deque
from dataclasses import dataclass
from threading import Lock
from typing import Final

_BLOCKS: Final = 64
_LEAST_BYTES, _MOST_BYTES = 2**22, 2**25


@dataclass(eq=False, slots=True)
class Block:
    """A stretch of the slide, half-open; `at` is its next byte to come. `asker` hopes to bring it, `holder` does."""

    at: int
    end: int
    asker: object = None
    holder: object = None


class Blocks:
    """The blocks of a slide of `end` bytes, or of at most so many; what lies before `start` is here.

    A connection whose answer goes on takes the next block even where another has asked for it: an answer that is here
    is worth more than one that is hoped for. Nobody takes a block whose bytes already come.
    """

    def __init__(self, end: int, start: int = 0) -> None:
        size = min(max(end // _BLOCKS, _LEAST_BYTES), _MOST_BYTES)
        self._left = deque(Block(at, min(at + size, end)) for at in range(start, end, size))
        self._lock, self._end = Lock(), end

    @property
    def front(self) -> int:
        """Every byte before this one is here."""
        with self._lock:
            while self._left and self._left[0].at == self._left[0].end:
                self._left.popleft()
            return self._left[0].at if self._left else self._end

    @property
    def whole(self) -> bool:
        """Whether nothing is left to come."""
        return self.front == self._end

    def end_at(self, end: int) -> None:
        """The slide turns out to end here."""
        with self._lock:
            self._left.clear()
            self._end = end

    def go_on(self, at: int, who: object) -> Block | None:
        """The block that comes next at `at`, now held by `who`; None where another holds it or nothing is left."""
        with self._lock:
            for block in self._left:
                if block.at == at < block.end and not block.holder:
                    block.holder = who
                    return block
        return None

    def ask(self, who: object) -> Block | None:
        """The first block that nobody holds or asks for, now asked for by `who`."""
        with self._lock:
            for block in self._left:
                if block.at < block.end and not block.holder and not block.asker:
                    block.asker = who
                    return block
        return None

    def hold(self, block: Block, at: int, who: object) -> bool:
        """Let `who`, who has the block's bytes from `at` on, hold it; False when it was taken meanwhile."""
        with self._lock:
            free = block.holder in (None, who) and block.at == at
            if free:
                block.holder = who
            return free

    def leave(self, who: object) -> None:
        """`who` holds and asks for nothing any longer."""
        with self._lock:
            for block in self._left:
                block.asker = None if block.asker is who else block.asker
                block.holder = None if block.holder is who else block.holder
