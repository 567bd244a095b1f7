"""`slidelane import-config OLD.json`: prints our config.json for that of DynamicServices."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from broker.settings.alone import check_alone
from slidelane.import_config.errors import ImportProblemsError
from slidelane.import_config.old_file import read
from slidelane.import_config.translation import translate


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "import-config", help="print the config.json for that of DynamicServices"
    )
    parser.add_argument(
        "old", type=Path, metavar="OLD.json", help="the config.json of DynamicServices"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Print the settings on stdout and remarks on stderr; return 1 where none can be printed.

    Raise `ConfigError` for settings that could not be loaded.
    """
    try:
        translation = translate(read(arguments.old))
    except ImportProblemsError as error:
        for problem in error.problems:
            print(f"slidelane import-config: {problem}", file=sys.stderr)
        return 1
    check_alone(translation.config)
    for remark in translation.remarks:
        print(remark, file=sys.stderr)
    print(json.dumps(translation.config, indent=2))
    return 0
