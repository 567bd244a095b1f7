"""Checks settings by themselves, whatever the environment and config.json of this shell say."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from broker.settings.config import Config, cannot_work


class _Alone(Config):
    """Settings that come from one place only."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is given
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not read
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not read
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return what is given as the only source."""
        return (init_settings,)


def check_alone(settings: Mapping[str, Any]) -> Config:
    """Return the settings by section as they would be loaded. Raise `ConfigError`."""
    try:
        return _Alone(**settings)
    except ValidationError as error:
        raise cannot_work(error) from None
