"""The errors of an algorithm's settings and of its model folder: file, key, what is wrong."""

from pydantic import ValidationError

from broker.settings.config import ConfigError

ENTRY = "config"
"""How reasons name the settings, beside `model.json` and `config.json`."""


class KeyedError(ValueError):
    """A key of a model file cannot work; `key` is its name."""

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(f"{key}: {detail}")
        self.key = key
        self.detail = detail


def algorithm_error(name: str, file: str, detail: str) -> ConfigError:
    """Return the error of the algorithm `name`.

    `file` is `model.json`, `config.json`, the file of the network, or `ENTRY` for the settings.
    """
    return ConfigError(f"worker.algorithms.{name}: {file}: {detail}")


def first_problem(error: ValidationError) -> str:
    """Return the first wrong key and what is wrong with it, without the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    # parts that begin with ~ are no keys, but the variants of one
    parts = [str(part) for part in first["loc"] if not str(part).startswith("~")]
    key = ".".join(parts)
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return message
    if first["type"] == "extra_forbidden":
        return f"{key}: there is no such key"
    return f"{key}: {message}"
