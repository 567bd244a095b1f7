"""Makes the card of an algorithm from its model folder. Loads no torch."""

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel

from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings
from worker.algorithms.builtin.cards import schema
from worker.algorithms.model_folder.digest import (
    check_network_sha256,
    check_unchanged,
    digests,
)
from worker.algorithms.model_folder.errors import ENTRY, algorithm_error
from worker.algorithms.model_folder.geometry import halo_px
from worker.algorithms.model_folder.model_file import (
    AnyModel,
    EmbeddingsModel,
    EncoderName,
    SlideModel,
    TileModel,
)
from worker.algorithms.model_folder.parameters import parameters_model
from worker.algorithms.model_folder.reading import ModelFolder, encoder_folder, read_folder
from worker.algorithms.model_folder.roles import roles_of
from worker.algorithms.own_classes import class_cards

# Distinct for colour-blind people: Okabe and Ito, "Color Universal Design" (2008). Then darker
# ones.
_COLORS: Final = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#f0e442",
    "#5b3a8c",
    "#8c3a3a",
)
_DESCRIPTIONS: Final = {
    "tiles": "Says for every tile of {um:g} um how likely each class is.",
    "mask": "Outlines the areas of each class, at {mpp:g} um per pixel.",
    "objects": "Finds single objects, at {mpp:g} um per pixel.",
    "embeddings": "Describes every tile of {um:g} um by a vector.",
    "slide": "Says how likely each class is for the whole slide.",
}
_CASE_DESCRIPTION: Final = "Says how likely each class is for all slides of an order together."


def weights_card(name: str, entry: AlgorithmSettings) -> AlgorithmCard:
    """Return the card of the network in `entry.folder`. Raises ConfigError.

    Where `halo_px` is left to the network, only loading it tells the true tile and halo.
    """
    if entry.folder is None:
        raise algorithm_error(name, ENTRY, "folder: there is none")
    folder = read_folder(name, entry.folder, entry.encoders)
    if entry.compile and folder.network.suffix != ".pt2":
        raise algorithm_error(
            name, ENTRY, f"compile: only .pt2 files can be compiled, not {folder.network.name}"
        )
    found = digests(name, folder)
    check_network_sha256(name, folder, entry.sha256, found.network)
    check_unchanged(name, folder, found.algorithm)
    card = folder_card(name, folder, found.algorithm)
    parameters = schema(_parameters(folder.model, entry))
    return card.model_copy(update={"tolerance": entry.tolerance, "parameters": parameters})


def weights_parameters(name: str, entry: AlgorithmSettings) -> type[BaseModel]:
    """Return what an order may set. Raises ConfigError."""
    if entry.folder is None:
        raise algorithm_error(name, ENTRY, "folder: there is none")
    return _parameters(read_folder(name, entry.folder).model, entry)


def folder_card(name: str, folder: ModelFolder, digest: str) -> AlgorithmCard:
    """Return the card of a folder as it describes itself, without the settings of a site."""
    model = folder.model
    pixels = _pixel_model(name, folder)
    halo = halo_px(pixels)
    names = ", ".join(entry.name for entry in model.classes)
    description = _DESCRIPTIONS[model.output]
    if _scope(model) == "case":
        description = _CASE_DESCRIPTION
    return AlgorithmCard(
        name=name,
        version=model.version or digest[:12],
        digest=digest,
        title=model.title or f"{model.architecture or 'network'}: {names}"[:200].rstrip(": "),
        description=model.description
        or description.format(um=pixels.mpp * (pixels.input_px - 2 * halo), mpp=pixels.mpp),
        output=model.output,
        mpp=pixels.mpp,
        mpp_tolerance=pixels.mpp_tolerance,
        tile_px=pixels.input_px - 2 * halo,
        halo_px=halo,
        overlap_px=pixels.overlap_px,
        tissue_only=pixels.tissue_only,
        stains=model.stains,
        classes=tuple(class_cards(model.classes, _COLORS)),
        measurements=_measurements(model),
        parameters={},
        ruo=model.ruo,
        report=model.report,
        time_limit_s=model.time_limit_s,
        stall_limit_s=model.stall_limit_s,
        encoder=_encoder_name(folder),
        scope=_scope(model),
        license=model.license,
        citation=model.citation,
        url=model.url,
        authors=model.authors,
    )


def _measurements(model: AnyModel) -> tuple[str, ...]:
    if isinstance(model, SlideModel) and "attention" in roles_of(model):
        return ("attention", "attention_rank")
    return ()


def _scope(model: AnyModel) -> Literal["scan", "case"]:
    if isinstance(model, SlideModel):
        return model.scope
    return "scan"


def _pixel_model(name: str, folder: ModelFolder) -> TileModel:
    """Return what says which pixels are read: the model, or that of a slide's encoder."""
    if not isinstance(folder.model, SlideModel):
        return folder.model
    encoder = read_folder(name, encoder_folder(folder) or Path())
    if not isinstance(encoder.model, EmbeddingsModel):
        raise algorithm_error(name, folder.described_in, "encoder: its output must be embeddings")
    return encoder.model


def _encoder_name(folder: ModelFolder) -> str:
    encoder = encoder_folder(folder)
    if encoder is None:
        return ""
    if isinstance(folder.model, SlideModel) and isinstance(folder.model.encoder, EncoderName):
        return folder.model.encoder.algorithm
    return encoder.name


def _parameters(model: AnyModel, entry: AlgorithmSettings) -> type[BaseModel]:
    stains: Any = entry.stains
    if stains is None:
        stains = model.stains
    return parameters_model(model, has_stains=bool(stains))
