"""What the DICOM reader makes of a file, for tests: its pixels, or why it is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from broker.errors import OrderError
from worker.geometry.frame import Pixels
from worker.slides.dicom.reader import open_dicom


def whole(path: Path, level: int = 0) -> Pixels:
    """A level of a file without its alpha, which must be opaque."""
    pyramid = open_dicom(path)
    region = np.asarray(pyramid.read_region((0, 0), level, pyramid.level_dimensions[level]))
    pyramid.close()
    assert (region[..., 3] == 255).all()
    return region[..., :3]


def grey(path: Path) -> NDArray[Any]:
    """The picture of a file that is grey throughout, one channel of it."""
    pixels = whole(path)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].astype(int)


def refusal(path: Path) -> OrderError:
    """Why a file is not read."""
    with pytest.raises(OrderError) as caught:
        open_dicom(path)
    assert caught.value.code == "slide_unreadable"
    assert caught.value.hint
    return caught.value
