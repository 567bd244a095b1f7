"""Encrypts the requests of orders in Redis, when `broker.secret_key` is set."""

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from broker.settings.section import ConfigError

_PREFIX = "sealed:"
"""What an encrypted text begins with in Redis."""


class RequestEncryption:
    """Encrypts and decrypts with one Fernet key; without a key it returns the text unchanged."""

    def __init__(self, key: SecretStr | None) -> None:
        self._fernet: Fernet | None = None
        if key is None or not key.get_secret_value():
            return
        try:
            self._fernet = Fernet(key.get_secret_value())
        except ValueError:
            raise ConfigError(
                "broker.secret_key: not a Fernet key; make one with `python -c 'from "
                "cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`"
            ) from None

    def encrypt(self, text: str) -> str:
        """Return the text as it is stored."""
        if self._fernet is None:
            return text
        return _PREFIX + self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, stored: str) -> str:
        """Return the text of what was stored.

        Raise `ConfigError` when it was encrypted with another key.
        """
        if not stored.startswith(_PREFIX):
            return stored
        try:
            if self._fernet is None:
                raise InvalidToken
            return self._fernet.decrypt(stored.removeprefix(_PREFIX)).decode()
        except InvalidToken:
            raise ConfigError(
                "broker.secret_key: orders in this store were encrypted with another key"
            ) from None
