"""Where slides are on this machine's disk, where the viewer opens them without a fetch."""

from typing import Final

from broker.orders.source import PathSource, Source, UploadSource
from broker.settings.config import Config
from broker.uploads import Uploads

_ZIP: Final = b"PK\x03\x04"


def path_on_disk(source: Source, config: Config) -> str | None:
    """Return the path of a slide that lies below a root or was sent in, None for any other.

    A zip archive that was sent in is unpacked by a fetch. Raise `OrderError` for an upload that is
    not there or not whole.
    """
    if isinstance(source, PathSource):
        return source.path
    if not isinstance(source, UploadSource):
        return None
    path = Uploads(config.broker.uploads_folder).slide_path(source.upload)
    with path.open("rb") as file:
        if file.read(len(_ZIP)) == _ZIP:
            return None
    return str(path)
