"""Writes the files that hold every object, in one pass: outlines are turned into rings once."""

import gzip
import shutil
from itertools import islice
from pathlib import Path
from typing import Final

from broker.orders.result_files import FEATURES, FEATURES_GZ, OBJECTS_CSV
from worker.results.files.geojson import BATCH, FeatureWriter
from worker.results.files.object_table import TableWriter
from worker.results.polygons import rings
from worker.results.result import Result

_FASTEST: Final = 1


def write(folder: Path, result: Result) -> None:
    """Write features.geojson, features.geojson.gz and objects.csv into the folder.

    Tiles with embeddings stand in objects.csv, and in features.geojson unless the algorithm says
    otherwise.

    Raises ValueError where a number of an object is not finite.
    """
    with (folder / FEATURES).open("wb") as features, (folder / OBJECTS_CSV).open("wb") as rows:
        feature_writer = FeatureWriter(result, features)
        table_writer = TableWriter(result, rows)
        found = rings(result.findings)
        embeddings = result.findings.embeddings
        has_features = embeddings is None or embeddings.shows_squares
        while batch := list(islice(found, BATCH)):
            if has_features:
                feature_writer.add(batch)
            table_writer.add(batch)
        feature_writer.end()
    _compress(folder / FEATURES, folder / FEATURES_GZ)


def _compress(source: Path, target: Path) -> None:
    """Write the gzip file of `source`; its header holds no time and no name."""
    with (
        source.open("rb") as plain,
        target.open("wb") as compressed,
        gzip.GzipFile("", "wb", _FASTEST, compressed, mtime=0) as packer,
    ):
        shutil.copyfileobj(plain, packer, 2**20)
