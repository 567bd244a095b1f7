"""Say how programs of a site can be isolated on this machine, and which engines run images."""

import shutil
from collections.abc import Iterator

from broker.diagnostics import Row
from broker.errors import OrderError
from worker.programs.engines.containers import container_isolation
from worker.programs.engines.engine import ENGINES
from worker.programs.interface import Grant
from worker.programs.isolation.grants import offered

_PROGRAMS = "programs"
_ENGINE = "engine"


def check_programs() -> Iterator[Row]:
    """Yield a row for commands, with what is lost where something is not granted, and for engines.

    Everything is found out by running a program, as for an order.
    """
    yield _row(_PROGRAMS, "commands", offered().grants)
    names = [name for name in ENGINES if shutil.which(name) is not None]
    if not names:
        yield Row(_ENGINE, "absent", f"none of {', '.join(ENGINES)}: no image can be run")
    for name in names:
        try:
            isolation = container_isolation(name)
        except OrderError as error:
            yield Row(_ENGINE, "absent", f"{error.detail}; {error.hint}")
            continue
        yield _row(_ENGINE, name, isolation.granted())


def _row(what: str, whose: str, grants: tuple[Grant, ...]) -> Row:
    granted = ", ".join(grant.name for grant in grants if grant.is_granted)
    text = f"{whose}: isolated in {granted or 'nothing'}"
    missing = [f"{grant.name}: {grant.lost}" for grant in grants if not grant.is_granted]
    if not missing:
        return Row(what, "ok", text)
    return Row(what, "absent", "; ".join([text, *missing, "see docs/program-isolation.md"]))
