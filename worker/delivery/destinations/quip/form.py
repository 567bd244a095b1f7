"""The multipart forms that the loader takes: a zip, or a mask.

Source: camicroscope/uAIMDataLoader, `routes/index.js`, `POST /submitZipOrder` and
`POST /submitMaskOrder`.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from urllib3.filepost import encode_multipart_formdata

from broker.errors import OrderError
from worker.delivery.destinations.quip import archive
from worker.delivery.destinations.quip.archive import Names
from worker.delivery.payload import Payload
from worker.results.result import FailedScan, Result


def write_zip(
    results: Sequence[Result], names: Names, path: Path, failed: Sequence[FailedScan]
) -> Payload:
    """Write the form with the case and one zip of all scans."""
    with tempfile.TemporaryFile(dir=path.parent) as zip_file:
        archive.write(results, names, zip_file, failed)
        fields = {"case_id": names.case_id}
        return _write(fields, ("zip", "output.zip", "application/zip"), zip_file, path)


def write_mask(results: Sequence[Result], names: Names, path: Path) -> Payload:
    """Write the form with the mask of the only scan, 255 in objects and 0 outside.

    The importer finds outlines in it, moves them by `x` and `y` and divides them by `width` and
    `height`: those of the slide. Raise `OrderError` for several scans and for an area that is too
    large for a mask of full resolution.
    """
    if len(results) != 1:
        raise _impossible(f"a mask is of one region, and the order has {len(results)} scans")
    (result,) = results
    area = result.findings.area
    if area.width * area.height > archive.MASK_MAX_PX:
        raise _impossible(
            f"the area has {area.width} x {area.height} pixels, "
            f"and a mask at most {archive.MASK_MAX_PX}"
        )
    frame = result.findings.frame
    fields = {
        "case_id": names.case_id,
        "execution_id": names.analysis_of(result),
        "width": str(frame.width),
        "height": str(frame.height),
        "x": str(area.x),
        "y": str(area.y),
    }
    with tempfile.TemporaryFile(dir=path.parent) as mask_file:
        mask_file.write(archive.mask(result.findings))
        return _write(fields, ("mask", "mask.png", "image/png"), mask_file, path)


def _impossible(detail: str) -> OrderError:
    return OrderError(
        "parcel_invalid",
        detail,
        hint="order a smaller region, one for each order, or use the loader's /submitZipOrder",
        blame="input",
    )


def _write(
    fields: Mapping[str, str], upload: tuple[str, str, str], content: BinaryIO, path: Path
) -> Payload:
    """Write the fields and one file, given as its field, name and media type, as a form."""
    content.seek(0)
    # The digest is the boundary, so that the same content gives the same form.
    boundary = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
    # The form is encoded with the boundary in place of the content, and split there: the content
    # may be too large for memory.
    field, name, media_type = upload
    all_fields: dict[str, Any] = {**fields, field: (name, boundary, media_type)}
    form, content_type = encode_multipart_formdata(all_fields, boundary)
    before, _, after = form.rpartition(boundary.encode() + b"\r\n--")
    content.seek(0)
    with path.open("wb") as file:
        file.write(before)
        shutil.copyfileobj(content, file)
        file.write(b"\r\n--" + after)
    return Payload(content_type, path)
