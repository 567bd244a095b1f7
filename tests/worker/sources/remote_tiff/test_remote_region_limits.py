"""Where a region is not fetched in parts: servers, files and orders for which the whole is the
better way, or none.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tifffile

from broker.errors import OrderError, TemporaryError
from broker.orders.roi import Rectangle
from tests.support.range_server import Bend, Reply, from_number, set_to
from tests.support.remote_regions import CARD, ROI, RegionFetcher, Slides, noise_slide
from tests.support.slides import a_picture


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[RegionFetcher]:
    with RegionFetcher.open(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Slides:
    folder = tmp_path_factory.mktemp("slides")
    return {name: noise_slide(folder, name) for name in ("aperio", "generic", "without mpp")}


def left_behind(folder: Path) -> list[Path]:
    """Slides and parts in the slide cache."""
    return list(folder.rglob("slide.*"))


def alternating(number: int, reply: Reply) -> None:
    """Another version with every answer."""
    set_to(headers={"ETag": f'"v{number}"'})(reply)


@pytest.mark.parametrize(
    "bend",
    [
        from_number(0, set_to(status=200)),
        from_number(0, set_to(headers={"ETag": 'W/"v1"'})),
        from_number(2, set_to(headers={"Content-Range": "bytes 0-99/100"})),
        alternating,
    ],
    ids=["no ranges", "weak etag", "wrong range", "never the same"],
)
def test_a_server_that_cannot_be_trusted_with_ranges_gives_the_whole(
    fetcher: RegionFetcher, slides: Slides, tmp_path: Path, bend: Bend
) -> None:
    """No copy is made of what may be of two versions, and nothing is left in the slide cache."""
    assert fetcher.fetch(fetcher.serve(slides["aperio"].read_bytes(), bend)) is None
    assert left_behind(tmp_path) == []


def test_a_slide_that_changes_in_the_middle_is_fetched_once_more(
    fetcher: RegionFetcher, slides: Slides
) -> None:
    """After one change all ranges are of the new version."""

    def change(number: int, _reply: object) -> None:
        if number == 4:
            fetcher.served.etag = '"v2"'
            fetcher.served.content = slides["generic"].read_bytes()

    copy = fetcher.fetch(fetcher.serve(slides["aperio"].read_bytes(), change))
    assert copy
    part = copy.path.with_name("slide.tif").read_bytes()
    new = slides["generic"].read_bytes()
    assert len(part) == len(new)
    assert all(mine in (0, theirs) for mine, theirs in zip(part[::997], new[::997], strict=True))


def test_files_of_other_kinds_come_whole(
    fetcher: RegionFetcher, slides: Slides, tmp_path: Path
) -> None:
    """A small slide, a striped TIFF and anything that is no TIFF are left to the download after a
    few requests.
    """
    tifffile.imwrite(
        tmp_path / "striped.tif", a_picture(2000, 1700), photometric="rgb", rowsperstrip=16
    )
    for content in (
        slides["aperio"].read_bytes()[:1_000_000],
        (tmp_path / "striped.tif").read_bytes(),
        b"\x89PNG\r\n\x1a\n" + bytes(9_000_000),
        b"II*\0" + bytes(9_000_000),
    ):
        assert fetcher.fetch(fetcher.serve(content)) is None
        assert len(fetcher.served.asked) <= 3


def test_a_region_of_most_of_the_slide_comes_whole(fetcher: RegionFetcher, slides: Slides) -> None:
    """Where reading takes more than 60 % of the file it is fetched whole, before any of its tiles
    but one.
    """
    fetcher.roi = Rectangle(x=0, y=0, width=1900, height=1500)
    assert fetcher.fetch(fetcher.serve(slides["aperio"].read_bytes())) is None
    assert fetcher.served.sent_bytes < 200_000


def test_without_region_or_card_nothing_is_asked(fetcher: RegionFetcher, slides: Slides) -> None:
    """A whole slide, and one whose algorithm nobody has announced, are left to the download at
    once.
    """
    source = fetcher.serve(slides["aperio"].read_bytes())
    fetcher.roi = None
    assert fetcher.fetch(source) is None
    fetcher.roi, fetcher.card = ROI, None
    assert fetcher.fetch(source) is None
    fetcher.card = CARD.model_copy(update={"whole_file": True})  # it wants the file itself
    assert fetcher.fetch(source) is None
    assert fetcher.served.asked == []


def test_a_slide_in_the_slide_cache_is_not_fetched_in_parts(
    fetcher: RegionFetcher, slides: Slides
) -> None:
    """Where the whole stands in the slide cache an order for a region of it is
    served from there.
    """
    source = fetcher.serve(slides["aperio"].read_bytes())
    fetcher.fetch_whole(source)
    fetcher.served.asked.clear()
    assert fetcher.fetch(source) is None
    assert fetcher.served.asked == []


def test_a_region_is_fetched_once_for_all_who_want_it(
    fetcher: RegionFetcher, slides: Slides
) -> None:
    """Of two at once one fetches; a later one, with another signature, only asks whether the slide
    is the same.
    """
    source = fetcher.serve(slides["aperio"].read_bytes())
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(fetcher.fetch, [source, source])
    sent, asked = fetcher.served.sent_bytes, len(fetcher.served.asked)
    assert one == other == fetcher.fetch(source.replace("5ecre7", "another"))
    assert fetcher.served.sent_bytes == sent
    assert len(fetcher.served.asked) == asked + 1
    fetcher.roi = ROI.model_copy(update={"x": 0})
    assert fetcher.fetch(source) != one


@pytest.mark.parametrize(
    ("name", "roi", "code"),
    [
        ("aperio", Rectangle(x=5000, y=5000, width=9, height=9), "roi_outside_slide"),
        ("without mpp", ROI, "mpp_missing"),
    ],
)
def test_what_is_wrong_with_the_order_is_found_before_its_tiles_come(
    fetcher: RegionFetcher, slides: Slides, name: str, roi: Rectangle, code: str
) -> None:
    """The directory is enough to tell a region beyond the slide, and a slide that does not say its
    resolution.
    """
    fetcher.roi = roi
    with pytest.raises(OrderError) as caught:
        fetcher.fetch(fetcher.serve(slides[name].read_bytes()))
    assert caught.value.code == code
    assert fetcher.served.sent_bytes < 200_000


@pytest.mark.parametrize(
    ("status", "kind"), [(403, OrderError), (503, TemporaryError)], ids=["expired", "overloaded"]
)
def test_a_url_that_expires_in_the_middle_leaves_nothing(
    fetcher: RegionFetcher, slides: Slides, tmp_path: Path, status: int, kind: type[Exception]
) -> None:
    """The error is the one that a download would end in, without the signature, and the slide cache
    holds no part.
    """
    source = fetcher.serve(
        slides["aperio"].read_bytes(), from_number(5, set_to(status=status, body=b""))
    )
    with pytest.raises(kind) as caught:
        fetcher.fetch(source)
    assert "5ecre7" not in f"{caught.value} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert left_behind(tmp_path) == []
