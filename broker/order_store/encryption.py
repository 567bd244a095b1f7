"""Seals an order's request at rest, when `broker.secret_key` is set."""

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from broker.settings.config import ConfigError

_SEALED = "sealed:"


class RequestEncryption:
    """Encrypts and decrypts with one Fernet key; without a key it hands text through."""

    def __init__(self, key: SecretStr | None) -> None:
        try:
            self._fernet = Fernet(key.get_secret_value()) if key else None
        except ValueError:
            raise ConfigError(
                "broker.secret_key: not a Fernet key; make one with "
                "`python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`"
            ) from None

    def close(self, text: str) -> str:
        """The text as it is kept."""
        return _SEALED + self._fernet.encrypt(text.encode()).decode() if self._fernet else text

    def open(self, kept: str) -> str:
        """The text again. Raises `ConfigError` when it was sealed with another key."""
        if not kept.startswith(_SEALED):
            return kept
        try:
            if self._fernet is None:
                raise InvalidToken
            return self._fernet.decrypt(kept.removeprefix(_SEALED)).decode()
        except InvalidToken:
            raise ConfigError(
                "broker.secret_key: orders in this store were sealed with another key"
            ) from None
