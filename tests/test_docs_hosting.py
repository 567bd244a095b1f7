"""Compare docs/images-and-classes.md with the settings, the answers and the command."""

import json
import re
from typing import get_args

import pytest

from broker.orders.hosting import ImageStatus
from broker.settings.config import Config
from services.responses.jobs import JobView
from tests.support.command_line import slidelane
from tests.support.pages import blocks, read, table

PAGE = read("docs/images-and-classes.md")
EXAMPLES = [json.loads(block) for block in blocks(PAGE, "json")]
SETTINGS = [example for example in EXAMPLES if "worker" in example]


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_every_example_of_settings_can_be_loaded(number: int) -> None:
    """As it stands, with every class that it names."""
    worker = Config.model_validate(SETTINGS[number]).worker
    assert set(worker.classes) == set(SETTINGS[number]["worker"].get("classes", {}))


def test_the_example_of_a_job_is_one() -> None:
    """Every field that a job without an error has."""
    (job,) = (example for example in EXAMPLES if "order" in example)
    assert set(job) == set(JobView.model_validate(job).model_fields_set)
    assert set(JobView.model_fields) - set(job) == {"error"}


def test_every_status_and_every_command_is_in_a_table() -> None:
    """Those of the code, in its spelling."""
    rows = table(PAGE)
    assert set(get_args(ImageStatus)) <= set(rows)
    commands = {row.split()[2] for row in rows if row.startswith("slidelane image ")}
    usage = slidelane("image", "-h").stdout
    found = re.search(r"\{([a-z,]+)\}", usage)
    assert found
    assert set(found[1].split(",")) == commands
