"""The storage for results and payloads of all machines: a folder or an S3 bucket."""

from pathlib import Path

from broker.file_storage.folder import FolderStorage
from broker.file_storage.interface import Storage
from broker.settings.config import BrokerSettings
from broker.settings.section import ConfigError


def open_storage(settings: BrokerSettings) -> Storage:
    """Return the storage of the settings; connects to no server.

    Raise `ConfigError` where the settings name none that can work.
    """
    location = settings.storage
    if location is None:
        return FolderStorage(settings.data, is_mounted=False)
    if "://" in location:
        # s3fs is an optional dependency, needed for a bucket only
        from broker.file_storage.s3 import S3Storage

        return S3Storage(location, settings.data / "unsent")
    if not Path(location).is_dir():
        raise ConfigError(f"broker.storage: there is no folder {location}; make or mount it first")
    return FolderStorage(Path(location), is_mounted=True)
