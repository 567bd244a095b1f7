"""The environment as a source of settings. Knows names and their spelling, no single setting."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

PREFIX = "SLIDELANE_"
CONFIG_VARIABLE = "SLIDELANE_CONFIG"


class ConfigError(Exception):
    """The settings cannot work; the message names the key and what is wrong with it."""


class Environment(EnvSettingsSource):
    """The environment, where NAME_FILE stands for the content of that file."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        given = {k.upper(): v for k, v in os.environ.items() if k.upper().startswith(PREFIX)}
        given.pop(CONFIG_VARIABLE, None)
        for key in [k for k in given if k.endswith("_FILE")]:
            given[key.removesuffix("_FILE")] = Path(given.pop(key)).read_text().strip()
        sections = tuple(PREFIX + name.upper() + "__" for name in self.settings_cls.model_fields)
        for key in given:
            if not key.startswith(sections):
                raise ConfigError(f"{key}: no such setting; names look like {sections[0]}REDIS_URL")
        return {k.lower(): v for k, v in given.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """A list or an object, given as JSON. Raises `ConfigError`."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:  # its own words would quote the value, which may be a secret
            names = (
                ", ".join(name.upper() for name, given in self.env_vars.items() if given == value)
                or field_name
            )
            raise ConfigError(f'{names} must be JSON, like ["a", "b"]') from None
