"""Byte ranges over TLS, where a connection that is cut still has bytes on the line that are none of
the file's.
"""

import random
import ssl
import threading
from pathlib import Path

from broker.settings.worker import HttpSettings
from tests.support.certificates import certificate_for_localhost
from tests.support.range_server import RangedFile
from tests.support.slide_server import Listener, SlideServer
from worker.http_session import session
from worker.sources.http.byte_ranges import FIRST_BYTES, Range, RangedUrl

CONTENT = random.Random(3).randbytes(3_000_000)
WANTED = Range(1_000_000, 2_500_000)


class Sleepy:
    """Takes bytes in, the first ones only after the line was cut behind its back."""

    def __init__(self) -> None:
        self.content = bytearray(len(CONTENT))
        self.slept = False

    def __call__(self, at: int, data: bytes) -> None:
        tick = threading.Event()
        while not self.slept and any(
            isinstance(thread, threading.Timer) for thread in threading.enumerate()
        ):
            tick.wait(0.01)
        self.slept = True
        self.content[at : at + len(data)] = data


def test_what_comes_after_a_cut_is_not_taken_for_the_file(tmp_path: Path) -> None:
    """The rest of a TLS line that was shut down are its records; the range is asked for again from
    where it was.
    """
    pem = certificate_for_localhost(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with (
        SlideServer(tls=context) as origin,
        session(
            ("127.0.0.1",),
            connect_timeout_s=2,
            read_timeout_s=2,
            http=HttpSettings(ca_file=pem),
        ) as http,
    ):
        origin.answers["/slide.svs"] = RangedFile(CONTENT)
        remote = RangedUrl(
            http, origin.url("/slide.svs", "localhost", "https"), Listener(), deadline_s=0.5
        )
        assert remote.begin("", lambda at, data: None)
        take = Sleepy()
        remote.fetch([WANTED], take)
    assert take.slept
    assert bytes(take.content[slice(*WANTED)]) == CONTENT[slice(*WANTED)]
    assert WANTED.start > FIRST_BYTES
