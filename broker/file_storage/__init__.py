"""Where results and payloads are kept, for every machine of the service: a folder or an S3 bucket."""

from pathlib import Path

from broker.file_storage.folder import FolderStorage
from broker.file_storage.interface import Storage
from broker.settings.config import BrokerSettings, ConfigError


def open_storage(settings: BrokerSettings) -> Storage:
    """The storage of the settings. Raises `ConfigError` where it cannot be one; asks no server."""
    named = settings.storage
    if named is None:
        return FolderStorage(settings.data, mounted=False)
    if "://" in named:
        from broker.file_storage.s3 import S3Storage

        return S3Storage(named, settings.data / "unsent")
    if not Path(named).is_dir():
        raise ConfigError(f"broker.storage: there is no folder {named}; make or mount it first")
    return FolderStorage(Path(named), mounted=True)
