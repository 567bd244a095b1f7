"""What every section of the settings has in common, and the error for settings that cannot work."""

from pydantic import BaseModel, ConfigDict


class ConfigError(Exception):
    """The settings cannot work; the message names the key and what is wrong with it."""


class Section(BaseModel):
    """A part of the settings: frozen, without unknown keys, silent about values in its errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )
