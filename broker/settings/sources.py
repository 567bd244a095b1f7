"""The environment and config.json as sources of settings, by today's names or by older ones."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, JsonConfigSettingsSource

from broker.settings.old_names import with_new_names
from broker.settings.section import ConfigError
from broker.settings.worker import WorkerSettings

PREFIX = "SLIDELANE_"
CONFIG_VARIABLE = "SLIDELANE_CONFIG"
_ALGORITHMS = f"{PREFIX}WORKER__ALGORITHMS__"
_PROGRAM_VARIABLE = re.compile(rf"{_ALGORITHMS}(?P<algorithm>.+?)__ENV__(?P<name>.+)")
CALLER_KEY_VARIABLE = "SLIDELANE_KEY"
"""The API key with which `slidelane order` calls the service; with `_FILE` behind it a file of it.

It may stand in any environment: it is no setting."""


class Environment(EnvSettingsSource):
    """The environment, where NAME_FILE stands for the content of the file that it names.

    Variables of a program (`…__ALGORITHMS__NAME__ENV__VARIABLE`) keep their capitals and are text
    whatever they look like.
    """

    _program_variables: Mapping[tuple[str, str], str]

    def __call__(self) -> dict[str, Any]:
        """Return the settings by section. Raise `ConfigError`."""
        return with_new_names(self.given())

    def given(self) -> dict[str, Any]:
        """Return the settings as they are given, old names included. Raise `ConfigError`."""
        given = super().__call__()
        worker = given.get("worker")
        if isinstance(worker, dict) and isinstance(worker.get("lanes"), str):
            # only fields that exist are decoded from JSON, and `lanes` is none any more
            queues = WorkerSettings.model_fields["queues"]
            worker["lanes"] = self.decode_complex_value("lanes", queues, worker["lanes"])
        for (algorithm, name), value in self._program_variables.items():
            entries = given.setdefault("worker", {}).setdefault("algorithms", {})
            entries.setdefault(algorithm, {}).setdefault("env", {})[name] = value
        return given

    def _load_env_vars(self) -> Mapping[str, str | None]:
        given = {}
        for name, value in os.environ.items():
            if name.upper().startswith(PREFIX):
                given[name.upper()] = value
        for variable in (CONFIG_VARIABLE, CALLER_KEY_VARIABLE, f"{CALLER_KEY_VARIABLE}_FILE"):
            given.pop(variable, None)
        for name in [name for name in given if name.endswith("_FILE")]:
            if self._is_a_setting(name):
                continue
            given[name.removesuffix("_FILE")] = Path(given.pop(name)).read_text().strip()
        self._program_variables = _taken_program_variables(given)
        sections = tuple(PREFIX + name.upper() + "__" for name in self.settings_cls.model_fields)
        for name in given:
            if not name.startswith(sections):
                raise ConfigError(
                    f"{name}: no such setting; names look like {sections[0]}REDIS_URL"
                )
        return {name.lower(): value for name, value in given.items()}

    def _is_a_setting(self, variable: str) -> bool:
        """Return whether a setting itself has this name, such as `services.keys_file`."""
        model: Any = self.settings_cls
        for name in variable.removeprefix(PREFIX).lower().split("__"):
            fields = getattr(model, "model_fields", {})
            if name not in fields:
                return False
            model = fields[name].annotation
        return True

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return a list or an object that is given as JSON. Raise `ConfigError`."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            # the original message would quote the value, which may be a secret
            variables = [name.upper() for name, given in self.env_vars.items() if given == value]
            names = ", ".join(variables) or field_name
            raise ConfigError(f'{names} must be JSON, like ["a", "b"]') from None


def _taken_program_variables(given: dict[str, str]) -> dict[tuple[str, str], str]:
    """Take the variables of programs out of `given`; return them by algorithm and name."""
    taken = {}
    for name in list(given):
        found = _PROGRAM_VARIABLE.fullmatch(name)
        if found:
            taken[found["algorithm"].lower(), found["name"]] = given.pop(name)
    return taken


class ConfigFile(JsonConfigSettingsSource):
    """config.json in the working folder, or the file that SLIDELANE_CONFIG names."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        path = os.environ.get(CONFIG_VARIABLE, "config.json")
        super().__init__(settings_cls, json_file=path)

    def __call__(self) -> dict[str, Any]:
        """Return the settings by section. Raise `ConfigError`."""
        return with_new_names(self.given())

    def given(self) -> dict[str, Any]:
        """Return the settings as they are given, old names included."""
        return super().__call__()
