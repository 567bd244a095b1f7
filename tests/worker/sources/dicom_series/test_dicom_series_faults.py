from pathlib import Path

import pytest
from pydicom import uid

from tests.support.dicom_files import a_dicom_picture, a_dicom_slide
from tests.support.multi_file_slides import MultiFileFetcher, a_series, fetcher
from tests.support.slides import a_picture

__all__ = ["fetcher"]
PIXELS = a_picture(96, 64)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return a_series(tmp_path_factory.mktemp("made") / "series", PIXELS)


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (b"<html>no</html>" * 100, "not_a_slide", "an HTML page"),
        (b"II*\0" + b"x" * 2000, "not_a_slide", "no DICOM file"),
        (b"\0" * 128 + b"DICM" + b"x" * 2000, "slide_unreadable", "cannot be read"),
    ],
    ids=["a page", "a TIFF", "a broken DICOM"],
)
def test_the_file_at_fault_is_named(
    fetcher: MultiFileFetcher, files: dict[str, bytes], content: bytes, code: str, says: str
) -> None:
    """By its place among the URLs, and without the signature."""
    error = fetcher.refusal_of(*fetcher.serve({"fine.dcm": files["fine.dcm"], "odd": content}))
    assert error.code == code
    assert error.detail.startswith("urls[1]")
    assert says in error.detail


def test_a_url_that_fails_fails_the_series(
    fetcher: MultiFileFetcher, files: dict[str, bytes]
) -> None:
    """A series without one of its files may lack a level or half the slide."""
    urls = fetcher.serve(files)
    fetcher.origin.answers["/label.dcm"] = lambda handler: handler.answer(403)
    error = fetcher.refusal_of(*urls)
    assert (error.code, error.field) == ("input_expired", "source.urls[2]")
    fetcher.origin.answers["/label.dcm"] = lambda handler: handler.answer(503, Retry_After="7")
    error = fetcher.refusal_of(*urls)
    assert error.code == "input_unreachable"
    assert error.detail.startswith("urls[2]: ")
    assert getattr(error, "retry_after_s", None) == 7


def test_several_series_are_refused(
    fetcher: MultiFileFetcher, files: dict[str, bytes], tmp_path: Path
) -> None:
    """Which of them the order means is not ours to guess; the series' own names are
    not repeated.
    """
    other = a_dicom_slide(
        tmp_path / "other", PIXELS, uid.ExplicitVRLittleEndian, 32, SeriesInstanceUID="1.2.3.5"
    )
    error = fetcher.refusal_of(*fetcher.serve(files | {"other.dcm": other.read_bytes()}))
    assert (error.code, error.detail) == (
        "not_a_slide",
        "the DICOM files are of 2 series, with 3, 1 images",
    )


def test_several_pictures_are_no_slide(fetcher: MultiFileFetcher, tmp_path: Path) -> None:
    """A series without a volume is opened where it is one picture; of several, none is the one that
    was meant.
    """
    kind = ["ORIGINAL", "PRIMARY"]
    for name in ("a", "b"):
        a_dicom_picture(
            tmp_path / name,
            a_picture(9, 9, ord(name)),
            "RGB",
            SeriesInstanceUID="1.2.3",
            ImageType=kind,
        )
    one, two = fetcher.serve({name: (tmp_path / name).read_bytes() for name in ("a", "b")})
    assert "none of the 2 DICOM images is a VOLUME" in fetcher.refusal_of(one, two).detail
    with fetcher.series([one]) as copy:
        assert copy.path.read_bytes() == (tmp_path / "a").read_bytes()


def test_what_has_no_pixels_is_left_out(
    fetcher: MultiFileFetcher, files: dict[str, bytes], tmp_path: Path
) -> None:
    """Annotations and reports come along in series of their own; alone they are no slide."""
    note = a_dicom_slide(
        tmp_path / "note", PIXELS, uid.ExplicitVRLittleEndian, SeriesInstanceUID="1.2.9", Rows=None
    )
    urls = fetcher.serve({"note.dcm": note.read_bytes()} | files)
    assert fetcher.refusal_of(urls[0]).code == "not_a_slide"
    with fetcher.series(urls) as copy:
        assert len(list(copy.path.parent.iterdir())) == 3


@pytest.mark.parametrize("chunked", [False, True])
def test_the_limit_holds_for_all_files_together(
    fetcher: MultiFileFetcher, files: dict[str, bytes], chunked: bool
) -> None:
    """Each would do alone."""
    fetcher.limit_bytes = 40_000 if not chunked else 19_500
    error = fetcher.refusal_of(*fetcher.serve(files, chunked=chunked))
    assert error.code == "input_too_large"
