import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from broker.errors import OrderError
from broker.orders.request import ScanRequest
from broker.settings.config import SlidesSettings, WorkerSettings
from tests.support.mirax import a_mirax
from tests.support.slide_server import Listener
from tests.support.slides import a_picture
from worker.http_session import session
from worker.slide_cache.cache import SlideCache
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import SlideFetcher
from worker.sources.path import find_slide


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "slides" / "case").mkdir(parents=True)
    (tmp_path / "slides" / "case" / "a.svs").write_bytes(b"II*\0slide")
    (tmp_path / "secret.svs").write_bytes(b"II*\0other")
    return tmp_path / "slides"


def code(path: Path | str, *roots: Path) -> str:
    with pytest.raises(OrderError) as caught:
        find_slide(str(path), roots)
    return caught.value.code


def test_a_slide_below_a_root_is_used_where_it_lies(root: Path, tmp_path: Path) -> None:
    """Nothing is copied, and the copy's digest says that it stands for path, size and time."""
    source = {"type": "path", "path": str(root / "case" / "a.svs")}
    http = session((), connect_timeout_s=1, read_timeout_s=1)
    settings = WorkerSettings(slides=SlidesSettings(roots=(root,)))
    fetcher = SlideFetcher(SlideCache(tmp_path / "cache", 100), http, Sandbox(threads=1), settings)
    scan = ScanRequest.model_validate({"id": "1", "source": source})
    with fetcher.fetch(scan, None, Listener()) as copy:
        assert (copy.path, copy.bytes) == (root / "case" / "a.svs", 9)
        assert copy.digest.startswith("stat:")
    assert list((tmp_path / "cache").glob("??/*")) == []


def test_the_digest_changes_with_the_file(root: Path) -> None:
    """The same file has the same digest; another time or size gives another."""
    slide = root / "case" / "a.svs"
    first = find_slide(str(slide), [root]).digest
    assert find_slide(str(slide), [root]).digest == first
    os.utime(slide, ns=(1, 1))
    second = find_slide(str(slide), [root]).digest
    slide.write_bytes(b"II*\0longer")
    os.utime(slide, ns=(1, 1))
    assert len({first, second, find_slide(str(slide), [root]).digest}) == 3


def test_links_are_followed_within_the_roots(root: Path, tmp_path: Path) -> None:
    """A root may be a link itself, and a link below it may lead to another root."""
    (tmp_path / "alias").symlink_to(root)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.svs").write_bytes(b"b")
    (root / "b.svs").symlink_to(tmp_path / "more" / "b.svs")
    assert (
        find_slide(str(tmp_path / "alias" / "case" / "a.svs"), [tmp_path / "alias"]).path
        == root / "case" / "a.svs"
    )
    assert (
        find_slide(str(root / "b.svs"), [root, tmp_path / "more"]).path
        == tmp_path / "more" / "b.svs"
    )


def test_nothing_outside_the_roots_is_reachable(root: Path, tmp_path: Path) -> None:
    """Neither dots, nor links, nor relative paths, nor a root's name as a prefix lead out."""
    (root / "out").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    (tmp_path / "slides-of-others").mkdir()
    (tmp_path / "slides-of-others" / "c.svs").write_bytes(b"c")
    away = [
        tmp_path / "secret.svs", f"{root}/../secret.svs", root / "out" / "secret.svs", "slides/case/a.svs",
        tmp_path / "slides-of-others" / "c.svs", root / "loop" / "x.svs", f"{root}/out/../secret.svs",
    ]  # fmt: skip
    assert {code(path, root) for path in away} == {"path_not_allowed"}
    assert code(root / "case" / "a.svs") == "path_not_allowed"


def test_nobody_learns_what_exists_outside(root: Path, tmp_path: Path) -> None:
    """The answer for a file out there is the same whether it exists or not."""
    (root / "there").symlink_to(tmp_path / "secret.svs")
    (root / "gone").symlink_to(tmp_path / "none.svs")
    for exists, missing in (
        (tmp_path / "secret.svs", tmp_path / "none.svs"),
        (root / "there", root / "gone"),
    ):
        details = []
        for path in (exists, missing):
            with pytest.raises(OrderError) as caught:
                find_slide(str(path), [root])
            details.append((caught.value.code, caught.value.detail.replace(str(path), "")))
        assert details[0] == details[1]


def test_what_is_no_readable_file_is_named(root: Path) -> None:
    """A missing file, a folder and a pipe each get their own answer, and none of them blocks."""
    os.mkfifo(root / "pipe")
    assert code(root / "none.svs", root) == "input_not_found"
    assert code(root / "case" / "a.svs" / "x", root) == "input_not_found"
    assert code(root / "case", root) == "not_a_slide"
    assert code(root / "pipe", root) == "not_a_slide"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said_to_be_so(root: Path) -> None:
    """Missing permission is not mistaken for a missing file."""
    (root / "case" / "a.svs").chmod(0)
    assert code(root / "case" / "a.svs", root) == "slide_unreadable"


def test_the_other_files_of_a_slide_lie_below_a_root_too(root: Path, tmp_path: Path) -> None:
    """A link among them to elsewhere, and a text that names a file above its
    folder, are refused.
    """
    main = a_mirax(root, a_picture(32, 32))
    assert find_slide(str(main), [root]).bytes > main.stat().st_size
    data = root / "slide" / "Data0000.dat"
    data.rename(tmp_path / "Data0000.dat")
    data.symlink_to(tmp_path / "Data0000.dat")
    assert code(main, root) == "path_not_allowed"
    data.unlink()
    index = root / "slide" / "Slidedat.ini"
    index.write_text(index.read_text().replace("Data0000.dat", "../../Data0000.dat"))
    assert code(main, root) == "not_a_slide"


def test_the_digest_changes_with_any_file_of_the_slide(root: Path) -> None:
    """The pixels of a MIRAX slide are in its data files."""
    main = a_mirax(root, a_picture(32, 32))
    first = find_slide(str(main), [root]).digest
    with (root / "slide" / "Data0000.dat").open("ab") as file:
        file.write(b"more")
    assert find_slide(str(main), [root]).digest != first


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def is_found(ordered: Path | str, stored: Path, *roots: Path) -> bool:
    return find_slide(str(ordered), roots).path == stored


@pytest.mark.parametrize("name", ["Größe é.svs", "がん.svs", "한국.svs", "ệ.svs"])
@pytest.mark.parametrize(("stored", "ordered"), [(nfd, nfc), (nfc, nfd)])
def test_a_name_is_found_however_its_letters_are_encoded(
    root: Path, name: str, stored: Any, ordered: Any
) -> None:
    """A Mac stores folders and files in NFD and people type NFC, or the other way round; the
    digest is that of the one file."""
    folder = root / stored("Müller")
    folder.mkdir()
    slide = folder / stored(name)
    slide.write_bytes(b"II*\0slide")
    mixed = root / stored("Müller") / ordered(name)
    other_way = root / ordered("Müller") / stored(name)
    both = root / ordered("Müller") / ordered(name)
    assert str(both) != str(slide)
    for path in (slide, mixed, other_way, both):
        assert is_found(path, slide, root)
    assert find_slide(str(both), [root]).digest == find_slide(str(slide), [root]).digest


def test_the_exact_name_wins_and_two_alike_are_not_guessed_at(root: Path) -> None:
    """Both forms may be stored: each is found by its own name, and a third form names both."""
    composed, decomposed = root / nfc("ệ.svs"), root / nfd("ệ.svs")
    composed.write_bytes(b"II*\0one")
    decomposed.write_bytes(b"II*\0other")
    assert is_found(composed, composed, root)
    assert is_found(decomposed, decomposed, root)
    between = root / "\u00ea\u0323.svs"
    with pytest.raises(OrderError, match=r"2 names in .* have the same letters") as refused:
        find_slide(str(between), [root])
    assert refused.value.code == "input_not_found"
    assert r"'\u1ec7.svs'" in refused.value.detail
    assert r"'e\u0323\u0302.svs'" in refused.value.detail


def test_other_letters_are_another_file(root: Path) -> None:
    """Neither case, nor a missing accent, nor a compatible character is the same name."""
    (root / nfd("é1.svs")).write_bytes(b"II*\0slide")
    for name in ("e1.svs", "É1.svs", "é¹.svs"):
        assert code(root / name, root) == "input_not_found"


def test_the_letters_of_a_root_are_its_own(tmp_path: Path) -> None:
    """The settings may write a root in the one form and the order in the other."""
    root = tmp_path / nfd("Präparate")
    root.mkdir()
    slide = root / nfd("ä.svs")
    slide.write_bytes(b"II*\0slide")
    assert is_found(tmp_path / nfc("Präparate") / nfc("ä.svs"), slide, root)


def test_no_way_of_writing_leads_out_of_the_roots(root: Path, tmp_path: Path) -> None:
    """A link whose name is found by its letters is followed as far as any other."""
    (root / nfd("é")).symlink_to(tmp_path)
    assert code(root / nfc("é") / "secret.svs", root) == "path_not_allowed"
    assert code(root / nfc("é") / "none.svs", root) == "path_not_allowed"
    assert code(f"{root}/{nfc('é')}/../../secret.svs", root) == "path_not_allowed"
