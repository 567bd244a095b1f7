import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.slide_server import SlideServer, drip
from worker.http_session import session
from worker.slide_cache.cache import SlideCache
from worker.sources.http.blocks import Blocks
from worker.sources.http.connections import Connection
from worker.sources.http.remote_file import RemoteFile, Version

TOTAL = 30_000_000


class Bringer:
    """A connection as the blocks see it: it asks, brings some bytes, and may be cut at any time."""

    def __init__(self, blocks: Blocks, here: bytearray) -> None:
        self.blocks, self.here = blocks, here
        self.cut()

    def cut(self) -> None:
        self.blocks.release(self)
        self.block, self.at = None, -1

    def follow(self) -> None:
        """Go on with an answer that begins at the front."""
        self.cut()
        self.block = self.blocks.claim_next(at := self.blocks.front, self)
        self.at = at if self.block else -1

    def ask(self) -> None:
        self.cut()
        self.block = self.blocks.take_request(self)
        self.at = self.block.next_byte if self.block else -1

    def bring(self, megabytes: int) -> None:
        if self.block and self.at < self.block.end and self.blocks.claim(self.block, self.at, self):
            stop = min(self.at + megabytes * 10**6, self.block.end)
            assert not any(self.here[self.at : stop : 100_000])
            self.here[self.at : stop] = b"\1" * (stop - self.at)
            self.block.next_byte = self.at = stop


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["follow", "ask", "bring", "bring", "cut"])),
        max_size=60,
    )
)
def test_every_byte_comes_once_whoever_brings_it(steps: list[tuple[int, str]]) -> None:
    """In whatever order three connections ask, bring and are cut, no byte is brought twice and none
    is forgotten.
    """
    here = bytearray(TOTAL)
    blocks = Blocks(TOTAL)
    bringers = [Bringer(blocks, here) for _ in range(3)]
    for number, step in steps:
        getattr(bringers[number], step)(*([3] if step == "bring" else []))
        assert not blocks.complete or all(here[::100_000])
        assert all(here[: blocks.front : 100_000])
    for bringer in bringers:
        bringer.cut()
    while not blocks.complete:
        bringers[0].ask()
        bringers[0].bring(100)
    assert all(here[::100_000])


@pytest.mark.parametrize("late_s", [0, 61])
def test_a_connection_that_drips_is_ended_after_a_minute(tmp_path: Path, late_s: float) -> None:
    """A hundred bytes a second keep no connection alive, though each of them comes in time."""
    with (
        SlideServer() as origin,
        SlideCache(tmp_path, 10**9).partial_file() as part,
        ThreadPoolExecutor(1) as pool,
    ):
        origin.answers["/slide.svs"] = drip(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\nII*\0"
        )
        with session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=20) as http:
            remote = RemoteFile(http, origin.url("/slide.svs"))
            answer = remote.get({})
            connection = Connection(
                remote, Version.from_response(answer), Blocks(2_000_000), part, 10**9
            )
            ended = pool.submit(connection.run, answer)
            while part.bytes < 10:
                threading.Event().wait(0.01)
            connection.check_pace(time.monotonic() + late_s)
            if not late_s:
                connection.end("as it was told")
            assert ended.result(10) == ("sends next to nothing" if late_s else "as it was told")


def test_pieces_in_any_order_have_the_digest_of_the_whole(tmp_path: Path) -> None:
    """A part that is written from several places is hashed as if it had come in one piece, and
    hashed once.
    """
    content = random.Random(5).randbytes(3_000_000)
    pieces = [(at, content[at : at + 70_000]) for at in range(0, len(content), 70_000)]
    with (
        SlideCache(tmp_path, 10**9).partial_file() as whole,
        SlideCache(tmp_path, 10**9).partial_file() as part,
    ):
        whole.write(content)
        part.restart("md5")
        for at, piece in random.Random(6).sample(pieces, len(pieces)):
            part.write(piece, at)
        assert (part.bytes, part.first_bytes()) == (len(content), content[:1024])
        assert part.hash_up_to(1_000_000)
        assert not part.hash_up_to(1_000_000)
        assert part.digest == whole.digest
        assert len(part.hexdigest_of("md5")) == 32
