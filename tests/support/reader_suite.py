"""Tests of every `SlideReader`: a subclass makes and opens a file of its kind."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from broker.errors import OrderError
from tests.support.slides import a_picture
from worker.geometry.frame import Pixels
from worker.slides.reader import SlideReader

WIDTH, HEIGHT = 203, 151


class ReaderSuite:
    """Inherit as `class TestSomething(ReaderSuite)`; pytest then runs all tests for that reader."""

    tolerance = 0
    """By how many grey values a pixel may be off: 0 where the made file is lossless."""

    def make(self, folder: Path, pixels: Pixels) -> Path:
        """Write a file whose level 0 shows the (H, W, 3) `pixels`. Return the path to open."""
        raise NotImplementedError

    def open(self, path: Path) -> SlideReader:
        """Return the open reader of the file."""
        raise NotImplementedError

    def test_the_levels_shrink_from_the_picture_s_size(self, tmp_path: Path) -> None:
        """Level 0 has the image's dimensions; downsamples are the mean of both axes' ratios."""
        reader = self.open(self.make(tmp_path, a_picture(WIDTH, HEIGHT)))
        sizes, downsamples = reader.level_dimensions, reader.level_downsamples
        reader.close()
        assert sizes[0] == (WIDTH, HEIGHT)
        assert downsamples == tuple(
            pytest.approx((WIDTH / wide + HEIGHT / high) / 2) for wide, high in sizes
        )
        assert list(downsamples) == sorted(set(downsamples))

    def test_what_it_says_of_itself_is_text(self, tmp_path: Path) -> None:
        """Results state the reader's name. Properties are OpenSlide's names and texts."""
        reader = self.open(self.make(tmp_path, a_picture(WIDTH, HEIGHT)))
        assert reader.name.strip()
        assert all(isinstance(text, str) for item in reader.properties.items() for text in item)
        reader.close()

    @pytest.mark.parametrize(
        "box",
        [
            (0, 0, WIDTH, HEIGHT),
            (0, 0, 1, 1),
            (63, 63, 2, 2),
            (17, 41, 150, 90),
            (WIDTH - 1, HEIGHT - 1, 1, 1),
        ],
    )
    def test_a_region_is_the_picture_s_own_pixels(
        self, tmp_path: Path, box: tuple[int, int, int, int]
    ) -> None:
        """A region of level 0 is opaque and has the pixels written, also across tiles."""
        pixels = a_picture(WIDTH, HEIGHT)
        reader = self.open(self.make(tmp_path, pixels))
        x, y, width, height = box
        region = reader.read_region((x, y), 0, (width, height))
        reader.close()
        assert (region.mode, region.size) == ("RGBA", (width, height))
        self.agree(region, pixels[y : y + height, x : x + width])

    def test_outside_it_is_transparent(self, tmp_path: Path) -> None:
        """A region beyond every edge, from a negative location on, has the image in its place."""
        pixels = a_picture(WIDTH, HEIGHT)
        reader = self.open(self.make(tmp_path, pixels))
        region = reader.read_region((-10, -7), 0, (WIDTH + 30, HEIGHT + 20))
        reader.close()
        self.agree(region.crop((10, 7, 10 + WIDTH, 7 + HEIGHT)), pixels)
        around = np.array(region.getchannel("A"))
        around[7 : 7 + HEIGHT, 10 : 10 + WIDTH] = 0
        assert not around.any()

    @pytest.mark.parametrize(
        "location", [(-500, 0), (0, -500), (WIDTH, 0), (0, HEIGHT), (10**9, 10**9)]
    )
    def test_far_outside_there_is_nothing(self, tmp_path: Path, location: tuple[int, int]) -> None:
        """A region outside of the image is completely transparent."""
        reader = self.open(self.make(tmp_path, a_picture(WIDTH, HEIGHT)))
        region = reader.read_region(location, 0, (64, 64))
        reader.close()
        assert region.getchannel("A").getextrema() == (0, 0)

    def test_threads_read_at_the_same_time(self, tmp_path: Path) -> None:
        """Many regions read by eight threads have the image's pixels."""
        pixels = a_picture(WIDTH, HEIGHT)
        reader = self.open(self.make(tmp_path, pixels))
        corners = [(x, y) for x in range(0, WIDTH - 40, 20) for y in range(0, HEIGHT - 30, 20)]
        with ThreadPoolExecutor(8) as pool:
            regions = list(
                pool.map(lambda corner: reader.read_region(corner, 0, (40, 30)), corners)
            )
        reader.close()
        for region, (x, y) in zip(regions, corners, strict=True):
            self.agree(region, pixels[y : y + 30, x : x + 40])

    def test_closing_lets_go_of_the_file(self, tmp_path: Path) -> None:
        """No file stays open, and the reader can be closed twice."""
        reader = self.open(self.make(tmp_path, a_picture(WIDTH, HEIGHT)))
        reader.read_region((0, 0), 0, (9, 9))
        reader.close()
        reader.close()
        assert not [name for name in _open_files() if name.startswith(str(tmp_path))]

    @pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
    def test_half_a_file_is_an_order_error(self, tmp_path: Path, share: float) -> None:
        """A truncated file raises when it is opened or read, and does not stay open."""
        path = self.make(tmp_path, a_picture(WIDTH, HEIGHT))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(OrderError) as caught:
            self.read_whole(path)
        assert caught.value.code in {"not_a_slide", "slide_unreadable"}
        assert caught.value.detail
        assert str(tmp_path) not in f"{caught.value.detail} {caught.value.hint}"
        assert not [name for name in _open_files() if name.startswith(str(tmp_path))]

    def read_whole(self, path: Path) -> None:
        """Open the file, read every level, and close it, even after an error."""
        reader = self.open(path)
        try:
            for level, size in enumerate(reader.level_dimensions):
                reader.read_region((0, 0), level, size)
        finally:
            reader.close()

    def agree(self, region: Image.Image, pixels: Pixels) -> None:
        """Fail unless the region is opaque and shows the pixels, within the tolerance."""
        shown = np.asarray(region)
        assert (shown[..., 3] == 255).all()
        assert np.abs(shown[..., :3].astype(int) - pixels).max() <= self.tolerance


def _open_files() -> list[str]:
    folder = Path("/proc/self/fd")
    links = list(folder.iterdir()) if folder.is_dir() else []
    return [str(link.readlink()) for link in links if link.is_symlink()]
