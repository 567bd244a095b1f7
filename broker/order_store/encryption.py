"""Encrypts what orders hold in Redis with Fernet keys, the newest of which encrypts."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from broker.errors import OrderError
from broker.orders.request import Destination, shown_destination, whole_destination
from broker.settings.config import BrokerSettings
from broker.settings.section import ConfigError

KEY_FILE = "secret_key"
"""The key that the embedded Redis makes for itself, in the data folder."""
_PREFIX = "sealed:"
"""What an encrypted text begins with in Redis."""


class SealedError(OrderError):
    """An order was encrypted with a key that is not known here. Code: `sealed_with_another_key`."""

    def __init__(self) -> None:
        super().__init__(
            "sealed_with_another_key",
            "the order was encrypted with a key that is not among broker.secret_key and "
            "broker.old_secret_keys",
            hint="add the key it was encrypted with to broker.old_secret_keys of every process",
        )


class RequestEncryption:
    """Encrypts with the newest key and decrypts with any; without keys texts stay as they are.

    The key in the data folder decrypts wherever it is found, because a worker on another machine
    may reach the embedded Redis by its URL. It encrypts only where that Redis is embedded.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._newest: Fernet | None = None
        self._known: MultiFernet | None = None
        keys = [_fernet(name, key) for name, key in _stated_keys(settings)]
        newest = keys[:1]
        made = _made_key(settings)
        if made is not None:
            keys.append(made)
            if not newest and settings.redis_url == "embedded":
                newest = [made]
        if keys:
            self._known = MultiFernet(keys)
        if newest:
            self._newest = newest[0]

    def encrypt(self, text: str) -> str:
        """Return the text as it is stored."""
        if self._newest is None:
            return text
        return _PREFIX + self._newest.encrypt(text.encode()).decode()

    def decrypt(self, stored: str) -> str:
        """Return the text of what was stored.

        Raise `SealedError` when it was encrypted with a key that is not known here.
        """
        if not stored.startswith(_PREFIX):
            return stored
        if self._known is None:
            raise SealedError
        try:
            return self._known.decrypt(stored.removeprefix(_PREFIX)).decode()
        except InvalidToken:
            raise SealedError from None

    def destination_fields(self, destination: Destination) -> dict[str, str]:
        """Return the fields of a record that hold a destination.

        `destination` has its credentials and is deleted when the order is delivered;
        `shown_destination` stays.
        """
        return {
            "destination": self.encrypt(whole_destination(destination)),
            "shown_destination": self.encrypt(json.dumps(shown_destination(destination))),
        }


def make_key_file(data: Path) -> None:
    """Write a new key into the data folder, unless there is one; only this user may read it."""
    path = data / KEY_FILE
    if path.exists():
        return
    new = data / f".{KEY_FILE}.{os.getpid()}"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a Path opens no descriptor
        file.write(Fernet.generate_key() + b"\n")
        file.flush()
        os.fsync(descriptor)
    # A link, unlike a rename, never replaces a key that another process wrote meanwhile.
    with suppress(FileExistsError):
        path.hardlink_to(new)
    new.unlink()


def _stated_keys(settings: BrokerSettings) -> Iterator[tuple[str, str]]:
    """Yield the keys of the settings, the newest first, each with its name in messages."""
    if settings.secret_key and settings.secret_key.get_secret_value():
        yield "broker.secret_key", settings.secret_key.get_secret_value()
    for number, key in enumerate(settings.old_secret_keys):
        yield f"broker.old_secret_keys[{number}]", key.get_secret_value()


def _made_key(settings: BrokerSettings) -> Fernet | None:
    """Return the key that the embedded Redis made for itself; None where it is not."""
    path = settings.data / KEY_FILE
    try:
        return _fernet(str(path), _key_in(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _key_in(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__})") from None


def _fernet(name: str, key: str) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise ConfigError(
            f"{name}: not a Fernet key; make one with `python -c 'from "
            "cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`"
        ) from None
