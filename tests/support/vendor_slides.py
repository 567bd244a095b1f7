"""Tiny slides in the layouts of several scanners, which OpenSlide recognizes and reads.

Each function takes a path without suffix and an (H, W, 3) image, and returns the path to open.
Layouts follow https://openslide.org/formats/. The pixels are lossless where the format allows it.
"""

import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from tests.support.slides import LOSSLESS, a_slide, a_tiled_tiff, shrunk
from worker.geometry.frame import Pixels

_TILE = (64, 64)


def aperio(path: Path, pixels: Pixels) -> Path:
    """Write an SVS with two levels and a thumbnail."""
    return a_slide(path.with_suffix(".svs"), pixels)


def generic(path: Path, pixels: Pixels) -> Path:
    """Write a tiled TIFF that names no vendor."""
    return a_tiled_tiff(path.with_suffix(".tif"), pixels, (20000, 20000))


def leica(path: Path, pixels: Pixels, stored: Mapping[str, Any] = LOSSLESS) -> Path:
    """Write an SCN, whose image begins at (64, 32) of its canvas.

    It is a BigTIFF with an XML that states the place of each page in nanometres.
    """
    path = path.with_suffix(".scn")
    height, width = pixels.shape[:2]
    small, nm = shrunk(pixels, 4), 500
    canvas = f'sizeX="{2 * width * nm}" sizeY="{2 * height * nm}"'
    main = _scn_image(
        [(pixels, 0), (small, 1)],
        20,
        f'sizeX="{width * nm}" sizeY="{height * nm}"',
        (64 * nm, 32 * nm),
    )
    macro = _scn_image([(small, 2)], 1, canvas, (0, 0))
    xml = (
        '<?xml version="1.0"?>'
        '<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" version="1">'
        f'<collection {canvas} name="c"><barcode>none</barcode>{macro}{main}</collection></scn>'
    )
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for picture in (pixels, small, small):
            tiff.write(
                picture,
                tile=_TILE,
                metadata=None,
                software=None,
                description=xml,
                resolution=(10**7 / nm, 10**7 / nm),
                resolutionunit="CENTIMETER",
                **stored,
            )
    return path


def _scn_image(
    levels: list[tuple[Pixels, int]], objective: int, size: str, offset: tuple[int, int]
) -> str:
    sizes = [f'sizeX="{picture.shape[1]}" sizeY="{picture.shape[0]}"' for picture, _ in levels]
    dimensions = "".join(
        f'<dimension {sizes[r]} r="{r}" ifd="{ifd}"/>' for r, (_, ifd) in enumerate(levels)
    )
    return (
        '<image name="i"><creationDate>2020</creationDate><device model="m" version="1"/>'
        f"<pixels {sizes[0]}>{dimensions}</pixels>"
        f'<view {size} offsetX="{offset[0]}" offsetY="{offset[1]}"/>'
        "<scanSettings>"
        f"<objectiveSettings><objective>{objective}</objective></objectiveSettings>"
        "<illuminationSettings><illuminationSource>brightfield</illuminationSource>"
        "</illuminationSettings></scanSettings></image>"
    )


def philips(
    path: Path,
    pixels: Pixels,
    stored: Mapping[str, Any] = LOSSLESS,
    coarser: Sequence[Pixels] = (),
) -> Path:
    """Write a Philips TIFF, with DICOM-like XML in the first page's description.

    `coarser` are the levels of 1, 2, ... microns per pixel, as they are stored.
    """
    path = path.with_suffix(".tiff")
    pictures = [pixels, *(coarser or [shrunk(pixels, 2)])]

    def attribute(name: str, value: str, kind: str = "IString") -> str:
        names = f'Name="{name}" Group="0x0028" Element="0x0030" PMSVR="{kind}"'
        return f"<Attribute {names}>{value}</Attribute>"

    def level(number: int, mpp: float, picture: Pixels) -> str:
        spacing = f"&quot;{mpp / 1000:.6f}&quot; &quot;{mpp / 1000:.6f}&quot;"
        return (
            '<DataObject ObjectType="PixelDataRepresentation">'
            + attribute("DICOM_PIXEL_SPACING", spacing, "IDoubleArray")
            + attribute("PIIM_PIXEL_DATA_REPRESENTATION_NUMBER", str(number), "IUInt16")
            + attribute("PIIM_PIXEL_DATA_REPRESENTATION_COLUMNS", str(picture.shape[1]), "IUInt32")
            + attribute("PIIM_PIXEL_DATA_REPRESENTATION_ROWS", str(picture.shape[0]), "IUInt32")
            + "</DataObject>"
        )

    levels = "".join(level(number, 0.5 * 2**number, each) for number, each in enumerate(pictures))
    xml = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        + attribute("DICOM_MANUFACTURER", "PHILIPS")
        + '<Attribute Name="PIM_DP_SCANNED_IMAGES" Group="0x301D" Element="0x1003" '
        + 'PMSVR="IDataObjectArray"><Array>'
        + '<DataObject ObjectType="DPScannedImage">'
        + attribute("PIM_DP_IMAGE_TYPE", "WSI")
        + attribute(
            "DICOM_PIXEL_SPACING", "&quot;0.000500&quot; &quot;0.000500&quot;", "IDoubleArray"
        )
        + '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" Group="0x1001" '
        + 'Element="0x8B01" '
        + f'PMSVR="IDataObjectArray"><Array>{levels}</Array></Attribute></DataObject>'
        + "</Array></Attribute></DataObject>"
    )
    with tifffile.TiffWriter(path) as tiff:
        for number, picture in enumerate(pictures):
            tiff.write(
                picture,
                tile=_TILE,
                metadata=None,
                software="Philips DP v1.0",
                description=xml if number == 0 else "level=1 mag=10 quality=80",
                subfiletype=int(number > 0),
                **stored,
            )
    return path


def trestle(path: Path, pixels: Pixels, stored: Mapping[str, Any] = LOSSLESS) -> Path:
    """Write a Trestle TIFF by MedScan, whose tiles do not overlap."""
    path = path.with_suffix(".tif")
    with tifffile.TiffWriter(path) as tiff:
        for factor, picture in ((1, pixels), (2, shrunk(pixels, 2))):
            tiff.write(
                picture,
                tile=_TILE,
                metadata=None,
                software="MedScan",
                resolution=(0.5 * factor, 0.5 * factor),
                description="Objective Power=20;Background Color=ffffff;OverlapsXY= 0 0 0 0;",
                **stored,
            )
    return path


def ventana(path: Path, pixels: Pixels, across: str = "RIGHT", up: str = "UP") -> Path:
    """Write a Ventana BIF of 2 x 2 tiles without overlap, joined in the directions given; lossy.

    `pixels` has an even number of 16 px units along each axis.
    """
    path = path.with_suffix(".bif")
    height, width = pixels.shape[:2]
    tile_width, tile_height = width // 2, height // 2
    # Tiles are numbered from the lower left one, to and fro.
    joints = [(1, 2, across), (4, 3, across), (1, 4, up), (2, 3, up)]
    listed = "".join(
        f'<TileJointInfo FlagJoined="1" Confidence="100" Direction="{direction}" '
        f'Tile1="{first}" Tile2="{second}" OverlapX="0" OverlapY="0"/>'
        for first, second, direction in joints
    )
    tile = f'Width="{tile_width}" Height="{tile_height}"'
    xml = (
        f'<EncodeInfo Ver="2"><SlideInfo><AoiInfo XIMAGESIZE="{width}" YIMAGESIZE="{height}" '
        'Pos-X="0" Pos-Y="0"/></SlideInfo><SlideStitchInfo>'
        f'<ImageInfo AOIScanned="1" AOIIndex="0" {tile} NumRows="2" NumCols="2" Pos-X="0" '
        f'Pos-Y="0">{listed}</ImageInfo></SlideStitchInfo>'
        '<AoiOrigin><AOI0 OriginX="0" OriginY="0"/></AoiOrigin></EncodeInfo>'
    ).encode()
    scan = b'<iScan Magnification="20" ScanRes="0.5" UnitNumber="x"/>'
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        tiff.write(
            shrunk(pixels, 4),
            photometric="rgb",
            description="Label Image",
            metadata=None,
            extratags=[(700, 1, len(scan), scan, True)],
        )
        tiff.write(
            np.asarray(Image.fromarray(pixels).convert("YCbCr")),
            tile=(tile_height, tile_width),
            photometric="ycbcr",
            subsampling=(2, 2),
            compression="jpeg",
            compressionargs={"level": 98},
            description="level=0 mag=20 quality=98",
            metadata=None,
            extratags=[(700, 1, len(xml), xml, True)],
        )
    return path


def ndpi(path: Path, pixels: Pixels) -> Path:
    """Write a Hamamatsu NDPI: a TIFF with 8-byte offsets and one JPEG for each level; lossy."""
    path = path.with_suffix(".ndpi")
    levels = [(pixels, 20.0), (shrunk(pixels, 4), 5.0)]
    data, directories = bytearray(b"II*\0" + bytes(8)), []
    for picture, lens in levels:
        jpeg = _jpeg(picture)
        directories.append(_ndpi_tags(picture, lens, len(data), len(jpeg)))
        data += jpeg
    pointer = 4
    for tags in directories:
        data[pointer : pointer + 8] = struct.pack("<Q", len(data))
        pointer = len(data) + 2 + 12 * len(tags)
        data += struct.pack("<H", len(tags)) + b"".join(tags) + bytes(8)
    path.write_bytes(data)
    return path


def _ndpi_tags(picture: Pixels, lens: float, offset: int, count: int) -> list[bytes]:
    """Return the entries of one directory, with inline values: tag, type, count, value."""
    height, width = picture.shape[:2]
    per_cm = int(20000 * lens / 20)
    longs = {
        256: width,
        257: height,
        259: 7,
        262: 6,
        273: offset,
        277: 3,
        278: height,
        279: count,
        296: 3,
        65420: 1,
        65424: 0,
    }
    floats = {282: per_cm, 283: per_cm, 65421: lens}
    entries = {
        tag: struct.pack("<HHII", tag, 9 if tag == 65424 else 4, 1, value)
        for tag, value in longs.items()
    }
    entries |= {tag: struct.pack("<HHIf", tag, 11, 1, value) for tag, value in floats.items()}
    return [entries[tag] for tag in sorted(entries)]


def vms(path: Path, pixels: Pixels) -> Path:
    """Write a Hamamatsu VMS: an ini file that names JPEGs beside it; lossy."""
    path = path.with_suffix(".vms")
    height, width = pixels.shape[:2]
    for name, picture in (
        (f"{path.stem}-main.jpg", pixels),
        (f"{path.stem}-map.jpg", shrunk(pixels, 4)),
    ):
        path.with_name(name).write_bytes(_jpeg(picture))
    lines = [
        "[Virtual Microscope Specimen]",
        "NoLayers=1",
        "NoJpegColumns=1",
        "NoJpegRows=1",
        f"ImageFile={path.stem}-main.jpg",
        f"MapFile={path.stem}-map.jpg",
        f"MacroImage={path.stem}-map.jpg",
        f"PhysicalWidth={width * 500}",
        f"PhysicalHeight={height * 500}",
        "SourceLens=20",
    ]
    path.write_text("\r\n".join([*lines, ""]))
    return path


def _jpeg(picture: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, subsampling=0, restart_marker_rows=1)
    return file.getvalue()
