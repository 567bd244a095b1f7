"""The digests of a model folder's files, computed anew once a file has changed."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from worker.algorithms.model_folder import onnx_file
from worker.algorithms.model_folder.errors import ENTRY, algorithm_error
from worker.algorithms.model_folder.reading import ModelFolder, encoder_folder, read_folder

_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Digests:
    """SHA-256 in hex: of the network's file, and of everything that makes the algorithm."""

    network: str
    algorithm: str


def digests(name: str, folder: ModelFolder) -> Digests:
    """Return the digests of a folder.

    That of the algorithm is the SHA-256 of the description followed by the network; of a network
    for slides, that followed by the digest of its encoder. Raises ConfigError.
    """
    try:
        status = folder.network.stat()
        version = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        found = _digests_of_version(folder.network, version, folder.description)
        if folder.network.suffix == ".onnx":
            found = _with_weights(found, onnx_file.external_files(folder.network))
        encoder = encoder_folder(folder)
    except (OSError, ValueError) as error:
        raise algorithm_error(name, folder.described_in, str(error)) from None
    if encoder is None:
        return found
    own = digests(name, read_folder(name, encoder))
    both = hashlib.sha256(bytes.fromhex(found.algorithm) + bytes.fromhex(own.algorithm))
    return Digests(found.network, both.hexdigest())


def _with_weights(found: Digests, files: tuple[Path, ...]) -> Digests:
    """Return the digests with the files in which an ONNX network has its weights."""
    if not files:
        return found
    algorithm = hashlib.sha256(bytes.fromhex(found.algorithm))
    for file in files:
        with file.open("rb") as content:
            algorithm.update(hashlib.file_digest(content, "sha256").digest())
    return Digests(found.network, algorithm.hexdigest())


def check_network_sha256(name: str, folder: ModelFolder, stated: str | None, actual: str) -> None:
    """Raise ConfigError where settings or description state another SHA-256 than the network's."""
    for where, sha256 in ((ENTRY, stated), (folder.described_in, folder.model.sha256)):
        if sha256 is not None and sha256.lower() != actual:
            raise algorithm_error(
                name,
                where,
                f"sha256: {folder.network.name} has the SHA-256 {actual}, "
                f"and {sha256.lower()} is required",
            )


def check_unchanged(name: str, folder: ModelFolder, digest: str) -> None:
    """Raise ConfigError unless the folder of this network still has the digest of a card.

    Whoever has read the folder calls it afterwards: a card and a network that were read while the
    folder was replaced may be of two versions.
    """
    if digests(name, read_folder(name, folder.path, folder.encoders)).algorithm != digest:
        raise algorithm_error(
            name, folder.described_in, "the files of the folder were changed while they were read"
        )


@lru_cache(maxsize=16)
def _digests_of_version(file: Path, _version: tuple[int, ...], description: bytes) -> Digests:
    network = hashlib.sha256()
    algorithm = hashlib.sha256(description)
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            network.update(chunk)
            algorithm.update(chunk)
    return Digests(network.hexdigest(), algorithm.hexdigest())
