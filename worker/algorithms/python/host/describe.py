"""`python -m worker.algorithms.python.host.describe ENTRY PARENT`: say as JSON what an entry names.

The process ends with its parent. The answer is the last line of stdout; what the code prints goes
nowhere.
"""

import json
import os
import signal
import sys
from dataclasses import asdict
from typing import Any

from broker.orders.report_type import check_report
from slidelane.algorithms import CardError
from worker.algorithms.python.api_card import algorithm_card, output_settings
from worker.algorithms.python.host.site_code import EntryError, digest, import_entry
from worker.linux import end_with_parent


def main() -> None:
    """Write the answer and end at once, whatever threads the code has started."""
    entry, parent_id = sys.argv[1:]
    end_with_parent(int(parent_id), signal.SIGKILL)
    answers = os.dup(1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.write(answers, b"\n" + json.dumps(_described(entry)).encode())
    os._exit(0)


def _described(entry: str) -> dict[str, Any]:
    try:
        code = import_entry(entry)
        card = code.card
        output_settings(card)
        check_report(card.report, card.output, [entry.name for entry in card.classes])
        # also checks what only the card that is announced has rules for
        algorithm_card("checked", card, "")
        return {
            "card": json.loads(json.dumps(asdict(card), allow_nan=False)),
            "has_card": code.has_card,
            "is_tile_model": code.is_tile_model,
            "threads": max(1, min(64, code.threads)),
            "digest": digest(code.files),
            "files": [str(file) for file in code.files],
        }
    except EntryError as error:
        return {"refused": str(error)}
    except CardError as error:
        return {"refused": f"card.{error}"}
    except (TypeError, ValueError) as error:
        return {"refused": f"card: {' '.join(str(error).split())[:300]}"}


if __name__ == "__main__":
    main()
