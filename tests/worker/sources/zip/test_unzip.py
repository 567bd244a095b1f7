import io
import random
import stat
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress

import pytest

from broker.errors import SlidelaneError
from tests.support.multi_file_slides import MB, MultiFileFetcher, fetcher, zipped
from tests.support.slide_server import Listener

__all__ = ["fetcher"]
SLIDE = b"II*\0" + random.Random(1).randbytes(20_000)


def member(
    name: str, mode: int = 0, flags: int = 0, times: int = 1, method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """A zip with one slide of that name, `times` over."""
    info = zipfile.ZipInfo("placeholder")
    info.external_attr, info.compress_type = mode << 16, method
    info.filename = info.orig_filename = name
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for _ in range(times):
            made.writestr(info, SLIDE)
    return patched(file.getvalue(), b"PK\x01\x02", 8, "<H", flags) if flags else file.getvalue()


def patched(content: bytes, record: bytes, offset: int, layout: str, *values: int) -> bytes:
    """The zip with other values at `offset` of its last `record`."""
    place = content.rindex(record) + offset
    return (
        content[:place] + struct.pack(layout, *values) + content[place + struct.calcsize(layout) :]
    )


def refusal(fetcher: MultiFileFetcher, content: bytes) -> SlidelaneError:
    return fetcher.refusal_of(zip_url=fetcher.serve({"slide.zip": content})[0])


@pytest.mark.parametrize(
    "name",
    ["../a.tif", "/a.tif", "a/../../b.tif", "C:\\a.tif", "c:a.tif", "..\\a.tif", "\\a.tif", "a\0.tif", "a\n.tif", ".",
     "/".join("a" * 40), "x" * 256],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(fetcher: MultiFileFetcher, name: str) -> None:
    """Absolute, upwards, on a drive, with control characters, too deep or too long."""
    error = refusal(fetcher, member(name))
    assert error.code == "not_a_slide"
    assert "is no name for a file in it" in error.detail


@pytest.mark.parametrize(
    "name", ["./a/./b.tif", "a\\b.tif", "a//b.tif", "ä…\u202eb.tif", "..a/b...tif"]
)
def test_odd_but_honest_names_are_taken(fetcher: MultiFileFetcher, name: str) -> None:
    """Windows' slashes, dots and other people's letters."""
    with fetcher.archive(fetcher.serve({"slide.zip": member(name)})[0]) as copy:
        assert copy.path.read_bytes() == SLIDE


@pytest.mark.parametrize(
    "names", [("a.tif", "./a.tif"), ("b/a.tif", "b\\a.tif"), ("a\u0308", "\xe4"), ("a", "a/b")]
)
def test_two_files_of_one_name_are_refused(
    fetcher: MultiFileFetcher, names: tuple[str, str]
) -> None:
    """Which of them would be read depends on who unpacks."""
    assert refusal(fetcher, zipped(dict.fromkeys(names, SLIDE))).code == "not_a_slide"


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK]
)
def test_links_and_devices_are_refused(fetcher: MultiFileFetcher, kind: int) -> None:
    """None of them is a slide."""
    assert "is a link or a device" in refusal(fetcher, member("a.tif", kind | 0o777)).detail


@pytest.mark.parametrize("flags", [0x1, 0x40, 0x2000])
def test_encrypted_files_are_refused(fetcher: MultiFileFetcher, flags: int) -> None:
    """Nobody has told the password."""
    assert "is encrypted" in refusal(fetcher, member("a.tif", flags=flags)).detail


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_bounds_are_refused(fetcher: MultiFileFetcher, method: int) -> None:
    """They unpack a few kilobytes to gigabytes in one go."""
    assert "not stored or by deflate" in refusal(fetcher, member("a.tif", method=method)).detail


def test_too_many_files_are_refused(fetcher: MultiFileFetcher) -> None:
    """5,000 are taken, one more is not."""
    files = {f"{number}.txt": b"" for number in range(4999)}
    with fetcher.archive(fetcher.zip(files | {"a.tif": SLIDE})) as copy:
        assert copy.bytes == len(SLIDE)
    error = fetcher_of_two(fetcher).refusal_of(
        zip_url=fetcher.zip(files | {"a.tif": SLIDE, "b.txt": b""}, "more.zip")
    )
    assert "it holds 5001 files" in error.detail


def fetcher_of_two(fetcher: MultiFileFetcher) -> MultiFileFetcher:
    """The same origin with an empty slide cache."""
    return MultiFileFetcher(fetcher.origin, fetcher.folder.with_name("other"), fetcher.limit_bytes)


def a_flat_bomb() -> bytes:
    """Sixty megabytes of nothing in sixty kilobytes."""
    return zipped({"a.tif": SLIDE[:100] + bytes(60 * MB)})


def a_lying_bomb() -> bytes:
    """The same, said to be a slide of 9 MB."""
    return patched(a_flat_bomb(), b"PK\x01\x02", 24, "<I", 9 * MB)


def a_quoted_bomb() -> bytes:
    """Fifty names for one and the same megabytes, each within every ratio."""
    content = zipped(
        {"a/Slidedat.ini": b"x", "a.mrxs": SLIDE[4:] + bytes(4 * MB)}, zipfile.ZIP_STORED
    )
    start, end = content.index(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    entry = content[content.rindex(b"PK\x01\x02") : end]
    entries = content[start:end] + entry * 49
    return (
        content[:start]
        + entries
        + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 51, 51, len(entries), start, 0)
    )


def a_long_directory() -> bytes:
    """A directory that would be read into memory whole."""
    content = zipped({"a.tif": SLIDE})
    end = content.rindex(b"PK\x05\x06")
    return patched(
        content[:end] + bytes(5 * MB) + content[end:], b"PK\x05\x06", 12, "<I", 5 * MB + 51
    )


@pytest.mark.parametrize(
    ("bomb", "code", "limit_bytes"),
    [
        (a_flat_bomb, "input_too_large", 50 * MB),
        (a_flat_bomb, "not_a_slide", 90 * MB),
        (a_lying_bomb, "slide_unreadable", 50 * MB),
        (a_quoted_bomb, "not_a_slide", 500 * MB),
        (a_long_directory, "slide_unreadable", 50 * MB),
    ],
    ids=["too large", "ratio", "lie", "quoted", "directory"],
)
def test_bombs_take_no_disk(
    fetcher: MultiFileFetcher, bomb: Callable[[], bytes], code: str, limit_bytes: int
) -> None:
    """Each is refused with no more on the disk than the zip itself and what it may unpack to by its
    own word.
    """
    fetcher.limit_bytes, fetcher.max_bytes, content = limit_bytes, 2 * limit_bytes, bomb()
    (zip_url,) = fetcher.serve({"slide.zip": content})
    most = [0]

    def look(done: int) -> bool:
        most[0] = max(most[0], fetcher.bytes())
        return False

    with suppress(SlidelaneError), fetcher.archive(zip_url, progress=Listener(look)):
        pytest.fail("it is a bomb")
    assert 0 < most[0] <= len(content) + 9 * MB + MB
    assert fetcher.refusal_of(zip_url=zip_url).code == code


def test_zip64_is_taken(fetcher: MultiFileFetcher) -> None:
    """Whole slides are larger than four gigabytes; the records for that stand in small ones as
    well.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made, made.open("a.tif", "w", force_zip64=True) as into:
        into.write(SLIDE)
    with fetcher.archive(fetcher.serve({"slide.zip": file.getvalue()})[0]) as copy:
        assert copy.path.read_bytes() == SLIDE


@pytest.mark.parametrize("stop", [10, 3000, -1, -30, -60])
def test_a_cut_zip_is_refused(fetcher: MultiFileFetcher, stop: int) -> None:
    """Its directory is at the end, and is not there."""
    assert refusal(fetcher, member("a.tif")[:stop]).code == "slide_unreadable"


def test_damage_within_is_found(fetcher: MultiFileFetcher) -> None:
    """The zip's own checksum does not match; nothing of it is kept."""
    content = bytearray(member("a.tif", method=zipfile.ZIP_STORED))
    content[9000] ^= 1
    assert refusal(fetcher, bytes(content)).code == "slide_unreadable"


def test_whatever_is_wrong_ends_in_a_problem(fetcher: MultiFileFetcher) -> None:
    """Two hundred zips with flipped bytes in their headers: each is a slide or a clear problem."""
    dice, content = (
        random.Random(4),
        zipped({"a/Slidedat.ini": b"x" * 100, "a.mrxs": SLIDE[4:300], "a/b": SLIDE[:300]}),
    )
    ends = {"slide": 0}
    for turn in range(200):
        broken = bytearray(content)
        for _ in range(dice.choice([1, 2, 8])):
            broken[dice.choice([dice.randrange(60), -dice.randrange(1, 220)])] = dice.choice(
                [0, 1, 0x7F, 0xFF]
            )
        (zip_url,) = fetcher.serve({f"{turn}.zip": bytes(broken)})
        try:
            with fetcher.archive(zip_url):
                ends["slide"] += 1
        except SlidelaneError as error:
            ends[error.code] = ends.get(error.code, 0) + 1
    assert sum(ends.values()) == 200
    assert set(ends) <= {"slide", "not_a_slide", "slide_unreadable", "input_too_large"}
