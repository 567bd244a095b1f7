"""The names of the files in a scan's result folder. Storages are full of them: never change one."""

from collections.abc import Iterable
from typing import Final

FEATURES: Final = "features.geojson"
FEATURES_GZ: Final = "features.geojson.gz"
OBJECTS_CSV: Final = "objects.csv"
REGION: Final = "region.geojson"
RESULTS_JSON: Final = "results.json"
OVERLAY: Final = "overlay.png"
EMBEDDINGS_H5: Final = "embeddings.h5"
ATTENTION_CSV: Final = "attention.csv"
FINDINGS_JSON: Final = "findings.json"
"""What a viewer needs before it reads tiles of `FINDINGS_PMTILES`."""
FINDINGS_PMTILES: Final = "findings.pmtiles"
"""All objects as tiles for a viewer. Results of older versions have neither."""
OUTPUT_LOG: Final = "output.log"
"""What the code of a site printed; absent where it printed nothing."""
POSTED: Final = "posted.json"
"""What a program posted to Techcyte, byte by byte; or what code of the site wrote for it."""
DEBUG_ZIP: Final = "debug.zip"
"""The debug file that a program has put."""
OWN_FILES: Final = "files"
"""The folder with further files that the code of a site made."""

FINDINGS: Final = "findings"
"""The folder with the objects that were found, from which payloads are built."""

ABOUT: Final = "about.json"
"""The file in `FINDINGS` that says what the objects belong to."""

MEDIA_TYPES: Final = {
    FEATURES: "application/geo+json",
    FEATURES_GZ: "application/gzip",
    OBJECTS_CSV: "text/csv",
    REGION: "application/geo+json",
    RESULTS_JSON: "application/json",
    OVERLAY: "image/png",
    EMBEDDINGS_H5: "application/x-hdf5",
    ATTENTION_CSV: "text/csv",
    FINDINGS_JSON: "application/json",
    FINDINGS_PMTILES: "application/vnd.pmtiles",
    OUTPUT_LOG: "text/plain; charset=utf-8",
    POSTED: "application/json",
    DEBUG_ZIP: "application/zip",
}
"""The files that can be downloaded of a classified scan, with their media types."""

OPTIONAL: Final = (
    EMBEDDINGS_H5,
    ATTENTION_CSV,
    FINDINGS_JSON,
    FINDINGS_PMTILES,
    OUTPUT_LOG,
    POSTED,
    DEBUG_ZIP,
)
"""Those of them that only some algorithms or versions make. The record of a scan names those that
it has."""

OF_FAILED: Final = (OUTPUT_LOG, DEBUG_ZIP)
"""What there may be of a scan that failed, because its program gave no results."""

ARCHIVE: Final = "results.zip"
"""All files of the scan in one archive; it is made when it is asked for, and is on no disk."""


def own_files(files: Iterable[str]) -> list[str]:
    """Return those of the files of a scan that code of the site made, as `files/NAME`."""
    return [name for name in files if name.startswith(f"{OWN_FILES}/")]


def downloads(files: Iterable[str]) -> list[str]:
    """Return the names of all files that can be downloaded of a scan, but for the archive.

    `files` are those that only some algorithms make.
    """
    made = tuple(files)
    names = [name for name in MEDIA_TYPES if name not in OPTIONAL or name in made]
    return names + own_files(made)
