"""Settings that had another name in an earlier version and are still read by it.

Each source of settings (command line, environment, file) is renamed by itself, so the precedence
between them is the same whichever name each of them uses.
"""

from collections.abc import Mapping
from typing import Any

from broker.settings.section import ConfigError


def with_new_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of one source with today's names in place of old ones.

    Raise `ConfigError` where a setting is given by both of its names.
    """
    settings = dict(given)
    for old, new in renamed_keys(given).items():
        *path, old_name = old.split(".")
        new_name = new.rpartition(".")[2]
        section = _copied_section(settings, path)
        if new_name in section:
            raise ConfigError(f"{old} is the old name of {new}, and both are given: remove {old}")
        section[new_name] = section.pop(old_name)
    return settings


def renamed_keys(given: Mapping[str, Any]) -> dict[str, str]:
    """Return today's key of each setting of one source that is given by its old name."""
    worker = given.get("worker")
    if not isinstance(worker, Mapping):
        return {}
    renamed = {}
    if "lanes" in worker:
        renamed["worker.lanes"] = "worker.queues"
    algorithms = worker.get("algorithms")
    if isinstance(algorithms, Mapping):
        for name, algorithm in algorithms.items():
            if isinstance(algorithm, Mapping) and "lane" in algorithm and "." not in name:
                path = f"worker.algorithms.{name}"
                renamed[f"{path}.lane"] = f"{path}.queue"
    return renamed


def _copied_section(settings: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """Return the section at `path`, replaced on the way by copies that may be changed."""
    section = settings
    for name in path:
        section[name] = dict(section[name])
        section = section[name]
    return section
