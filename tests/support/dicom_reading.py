"""Reads DICOM files for tests: their pixels, or the error."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from broker.errors import OrderError
from worker.geometry.frame import Pixels
from worker.slides.dicom.reader import open_dicom


def whole(path: Path, level: int = 0) -> Pixels:
    """Return a level of a file in RGB. Fail unless it is opaque."""
    reader = open_dicom(path)
    region = np.asarray(reader.read_region((0, 0), level, reader.level_dimensions[level]))
    reader.close()
    assert (region[..., 3] == 255).all()
    return region[..., :3]


def grey(path: Path) -> NDArray[Any]:
    """Return one channel of an image. Fail unless it is grey."""
    pixels = whole(path)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].astype(int)


def refusal(path: Path) -> OrderError:
    """Return the error of opening a file."""
    with pytest.raises(OrderError) as caught:
        open_dicom(path)
    assert caught.value.code == "slide_unreadable"
    assert caught.value.hint
    return caught.value
