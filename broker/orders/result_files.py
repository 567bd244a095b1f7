"""The names of the files in a scan's result folder. Storages are full of them: never change one."""

from typing import Final

FEATURES: Final = "features.geojson"
FEATURES_GZ: Final = "features.geojson.gz"
OBJECTS_CSV: Final = "objects.csv"
REGION: Final = "region.geojson"
RESULTS_JSON: Final = "results.json"
OVERLAY: Final = "overlay.png"
EMBEDDINGS_H5: Final = "embeddings.h5"
ATTENTION_CSV: Final = "attention.csv"

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
}
"""The files that can be downloaded of a classified scan, with their media types."""

OPTIONAL: Final = (EMBEDDINGS_H5, ATTENTION_CSV)
"""Those of them that only some algorithms make. The record of a scan names those that it has."""
