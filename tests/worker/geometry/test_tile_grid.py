"""How an area is divided into tiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from worker.geometry.frame import Area, Frame
from worker.geometry.tile_grid import MAX_TILES, tile_grid


def a_card(mpp: float | None = 0.5, tile_px: int = 100, halo_px: int = 16) -> AlgorithmCard:
    """A card that works at `mpp`."""
    return AlgorithmCard(
        name="eye",
        version="1",
        digest="0",
        title="Eye",
        description="",
        output="objects",
        classes=(),
        parameters={},
        mpp=mpp,
        tile_px=tile_px,
        halo_px=halo_px,
    )


def a_frame(mpp_x: float | None = 0.25, mpp_y: float | None = None, width: int = 10_000) -> Frame:
    """A square slide."""
    return Frame(width, width, mpp_x, mpp_y or mpp_x, "none" if mpp_x is None else "order")


def test_tiles_run_row_by_row_from_the_area_s_corner() -> None:
    """The first tile starts where the area starts; a tile of 100 px at twice the mpp covers 200
    level-0 pixels."""
    grid = tile_grid(Area(30, 50, 401, 200), a_frame(), a_card())
    assert [(tile.index, tile.x, tile.y) for tile in grid.tiles] == [
        (0, 30, 50),
        (1, 230, 50),
        (2, 430, 50),
    ]
    assert (grid.downsample_x, grid.downsample_y, grid.read_px) == (2, 2, 132)


def test_each_axis_has_its_own_downsample() -> None:
    """Where pixels are not square neither are the steps."""
    grid = tile_grid(Area(0, 0, 200, 200), a_frame(0.25, 0.5), a_card())
    assert (grid.downsample_x, grid.downsample_y) == (2, 1)
    assert [(tile.x, tile.y) for tile in grid.tiles] == [(0, 0), (0, 100)]


def test_fractions_stay_exact() -> None:
    """Tile corners are not rounded: the hundredth tile lies a hundred exact steps along."""
    grid = tile_grid(Area(0, 0, 10_000, 1), a_frame(0.2527, width=10_000), a_card(tile_px=37))
    assert grid.tiles[100].x == pytest.approx(100 * 37 * 0.5 / 0.2527, abs=1e-9)


@given(
    st.builds(
        Area,
        st.integers(0, 10**5),
        st.integers(0, 10**5),
        st.integers(1, 5000),
        st.integers(1, 5000),
    ),
    st.floats(0.05, 1.0),
    st.floats(0.05, 1.0),
    st.integers(50, 2000),
)
def test_the_tiles_cover_the_area_and_no_tile_lies_beside_it(
    area: Area, mpp_x: float, mpp_y: float, tile_px: int
) -> None:
    """For any area, spacing and tile: the last tile reaches the far edge, and begins before it."""
    grid = tile_grid(area, a_frame(mpp_x, mpp_y), a_card(tile_px=tile_px))
    last = grid.tiles[-1]
    for start, far, step in (
        (last.x, area.x + area.width, tile_px * grid.downsample_x),
        (last.y, area.y + area.height, tile_px * grid.downsample_y),
    ):
        assert start < far <= start + step + 1e-3
    assert [tile.index for tile in grid.tiles] == list(range(len(grid.tiles)))


def test_a_slide_too_coarse_is_refused_with_both_resolutions() -> None:
    """Twice as coarse as the card's mpp is read, anything coarser is not."""
    assert tile_grid(Area(0, 0, 100, 100), a_frame(1.0), a_card()).downsample_x == 0.5
    with pytest.raises(OrderError, match=r"1\.01 x 1\.01 .* order .* eye works at 0\.5") as caught:
        tile_grid(Area(0, 0, 100, 100), a_frame(1.01), a_card())
    assert caught.value.code == "mpp_unfit"


def test_without_mpp_the_order_is_asked_for_it() -> None:
    """Neither the slide nor the order states it."""
    with pytest.raises(OrderError, match="Nothing believable") as caught:
        tile_grid(Area(0, 0, 100, 100), a_frame(None), a_card())
    assert (caught.value.code, caught.value.field) == ("mpp_missing", "mpp")


def test_an_absurd_number_of_tiles_is_refused_before_it_is_made() -> None:
    """A slide that claims two thousand million pixels a side makes no list of tiles."""
    with pytest.raises(OrderError, match=str(MAX_TILES)) as caught:
        tile_grid(Area(0, 0, 2**31 - 1, 2**31 - 1), a_frame(width=2**31 - 1), a_card())
    assert caught.value.code == "input_too_large"
