"""How large the tiles of a network are without their halo, and by how much they overlap."""

from typing import Final

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.model_folder.errors import KeyedError
from worker.algorithms.model_folder.model_file import TileModel

_OBJECTS_HALO_PX: Final = 80
"""QuPath raised its own from 40, for large objects were cut (qupath-extension-instanseg)."""
_HALO_STEP_PX: Final = 8


def halo_px(model: TileModel, crop_px: int = 0) -> int:
    """Return the rim of a tile whose answers are left out.

    `crop_px` is the rim that the network itself leaves out, as its answer to a blank tile shows.
    """
    if model.halo_px is not None:
        return model.halo_px
    if crop_px:
        return max(crop_px, _least_halo_px(model))
    if model.output == "mask":
        return model.input_px // 8 // _HALO_STEP_PX * _HALO_STEP_PX
    return _least_halo_px(model)


def check_geometry(model: TileModel, crop_px: int = 0) -> None:
    """Raise KeyedError where halo, overlap and input leave no core."""
    halo = halo_px(model, crop_px)
    if halo < crop_px:
        raise KeyedError(
            "halo_px", f"{halo} is less than the {crop_px} px that the network's answer lacks"
        )
    core_px = model.input_px - 2 * halo
    if core_px < 1:
        raise KeyedError(
            "halo_px", f"twice {halo} px leave nothing of the {model.input_px} px of the input"
        )
    if model.overlap_px >= core_px:
        raise KeyedError("overlap_px", f"it must be less than the core of {core_px} px")
    if model.overlap_px and model.output == "objects":
        raise KeyedError("overlap_px", "it must be 0 for objects, which are not blended")


def with_crop(card: AlgorithmCard, model: TileModel, crop_px: int) -> AlgorithmCard:
    """Return the card with the tile and halo of a network whose answer lacks `crop_px` of rim.

    Raises KeyedError where they contradict `halo_px` or `overlap_px`.
    """
    check_geometry(model, crop_px)
    halo = halo_px(model, crop_px)
    return card.model_copy(update={"halo_px": halo, "tile_px": model.input_px - 2 * halo})


def _least_halo_px(model: TileModel) -> int:
    if model.output == "objects":
        return _OBJECTS_HALO_PX
    return 0
