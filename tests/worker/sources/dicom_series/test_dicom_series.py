import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.support.multi_file_slides import MultiFileFetcher, a_series, fetcher
from tests.support.paths import ROOT, SLIDES
from tests.support.slide_server import File, Listener
from tests.support.slides import a_picture
from worker.progress import StopWork
from worker.slides.slide import Slide

__all__ = ["fetcher"]
PIXELS = a_picture(96, 64)
REAL = SLIDES / "synth-he-8k-dicom"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return a_series(tmp_path_factory.mktemp("made") / "series", PIXELS)


def test_the_files_of_a_series_are_one_slide(
    fetcher: MultiFileFetcher, files: dict[str, bytes]
) -> None:
    """Its levels lie in files of their own; opened by the finest, all are there, and every pixel
    is.
    """
    with fetcher.series(fetcher.serve(files)) as copy, Slide.open(copy.path) as slide:
        assert sorted(path.name for path in copy.path.parent.iterdir()) == [
            "0000.dcm",
            "0001.dcm",
            "0002.dcm",
        ]
        assert copy.path.read_bytes() == files["fine.dcm"]
        assert (slide.frame.width, slide.frame.height) == (96, 64)
        assert np.array_equal(slide.read(0, 0, 96, 64, 1, 1), PIXELS)


@pytest.mark.skipif(not REAL.exists(), reason="the shared slides are not here")
def test_a_real_series_is_one_slide(fetcher: MultiFileFetcher) -> None:
    """Two volumes and a thumbnail, as an archive exports them."""
    urls = fetcher.serve({path.name: path.read_bytes() for path in REAL.iterdir()})
    with fetcher.series(urls) as copy, Slide.open(copy.path) as slide:
        assert (slide.frame.width, slide.frame.height) == (8192, 8192)
        assert copy.path.read_bytes() == (REAL / "volume-8192.dcm").read_bytes()


def test_one_series_is_one_entry_however_it_comes(
    fetcher: MultiFileFetcher, files: dict[str, bytes]
) -> None:
    """In another order, from other URLs, twice over or zipped: the slide cache holds it once."""
    urls = fetcher.serve(files)
    with fetcher.series(urls) as copy:
        digest = copy.digest
    with fetcher.series([*reversed(urls), urls[0]]) as copy:
        assert copy.digest == digest
    assert len(fetcher.headers("If-None-Match")) == 2 * len(files)
    assert fetcher.headers("If-None-Match").count(None) == len(files)
    moved = fetcher.serve({f"moved/{name}": content for name, content in files.items()})
    with fetcher.series(moved) as copy:
        assert copy.digest == digest
    with fetcher.series([*moved, *urls]) as copy:
        assert copy.digest == digest
    with fetcher.archive(fetcher.zip(files)) as copy:
        assert copy.digest == digest
    assert fetcher.entries() == [digest]


def test_a_changed_file_brings_the_whole_series_anew(
    fetcher: MultiFileFetcher, files: dict[str, bytes], tmp_path: Path
) -> None:
    """The files that did not change are fetched as well, for the old slide stays as it was."""
    urls = fetcher.serve(files)
    with fetcher.series(urls) as copy:
        digest = copy.digest
    changed = a_series(tmp_path / "changed", a_picture(96, 64, seed=1))
    fetcher.serve({"fine.dcm": changed["fine.dcm"]})
    with fetcher.series(urls) as copy, Slide.open(copy.path) as slide:
        assert copy.digest != digest
        assert np.array_equal(slide.read(0, 0, 96, 64, 1, 1), a_picture(96, 64, seed=1))
    assert len(fetcher.asked()) == 3 + 3 + 2


def test_without_validators_a_series_is_fetched_again(
    fetcher: MultiFileFetcher, files: dict[str, bytes]
) -> None:
    """One file without a strong ETag is enough: nothing proves that it is still the same."""
    urls = fetcher.serve(files)
    fetcher.serve({"label.dcm": files["label.dcm"]}, etag='W/"weak"')
    for _ in range(2):
        with fetcher.series(urls):
            pass
    assert fetcher.headers("If-None-Match") == [None] * 6


def test_two_orders_for_one_series_download_it_once(
    fetcher: MultiFileFetcher, files: dict[str, bytes]
) -> None:
    """The second waits, says so, and takes what the first brought."""
    gate = threading.Event()
    urls = fetcher.serve(files, gate=gate)
    fine, waiting = fetcher.origin.answers["/fine.dcm"], Listener()
    assert isinstance(fine, File)

    def fetch(progress: Listener) -> str:
        with fetcher.series(urls, progress) as copy:
            return copy.digest

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fetch, Listener())
        assert fine.half_sent.wait(60)
        second = pool.submit(fetch, waiting)
        assert waiting.called.wait(60)
        gate.set()
        assert first.result() == second.result()
    assert waiting.heard[0][0] == "waiting"
    assert sorted(fetcher.asked()) == ["/coarse.dcm", "/fine.dcm", "/label.dcm"]


def test_the_url_that_expires_first_is_asked_first(
    fetcher: MultiFileFetcher, files: dict[str, bytes]
) -> None:
    """Signatures run out while other files come; which order the URLs were given in
    says nothing.
    """
    fetcher.serve(
        {f"{number}.dcm": content for number, content in enumerate([*files.values()] * 4)}
    )
    signed = "Signature=a&AWSAccessKeyId=b&Expires={}"
    urls = [fetcher.origin.url(f"/{n}.dcm?{signed.format(4000000000 - n)}") for n in range(11)]
    with fetcher.series([*urls, fetcher.origin.url("/11.dcm")]):
        pass
    order = [int(path.strip("/").removesuffix(".dcm")) for path in fetcher.asked()]
    assert set(order[:4]) <= {10, 9, 8, 7, 6, 5}
    assert order.index(11) >= 8


def test_who_stops_leaves_nothing(fetcher: MultiFileFetcher, files: dict[str, bytes]) -> None:
    """A cancelled order ends while its files come, and no thread goes on."""
    urls = fetcher.serve(files, until=lambda: False)
    with pytest.raises(StopWork), fetcher.series(urls, Listener(lambda done: done > 0)):
        pytest.fail("it was stopped")
    assert fetcher.bytes() == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("series")]


FETCH = """
import sys, pathlib
from tests.support.multi_file_slides import MultiFileFetcher
with MultiFileFetcher(None, pathlib.Path(sys.argv[1])).series(sys.argv[2:]) as copy:
    print("near", flush=True)
"""


def test_killed_in_the_middle_nothing_counts(
    fetcher: MultiFileFetcher, files: dict[str, bytes]
) -> None:
    """A process that dies with half a series leaves no slide; who asks next gets it whole and
    cleans up.
    """
    gate = threading.Event()
    urls = fetcher.serve(files, gate=gate)
    fine = fetcher.origin.answers["/fine.dcm"]
    assert isinstance(fine, File)
    command = [sys.executable, "-c", FETCH, str(fetcher.folder), *urls]
    with subprocess.Popen(command, env={"PYTHONPATH": str(ROOT)}) as process:
        assert fine.half_sent.wait(60)
        process.kill()
    assert fetcher.entries() == []
    gate.set()
    with fetcher.series(urls) as copy:
        assert copy.path.read_bytes() == files["fine.dcm"]
    assert list((fetcher.folder / "parts").iterdir()) == []
