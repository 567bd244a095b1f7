"""`python -m worker.algorithms.python.host`: the process that runs a site's code.

It forks: the parent becomes the guard, the child imports the code and answers the worker. The child
has one connection for what concerns a scan and one for each thread that may classify.
"""

import gc
import json
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import Any, Final, NoReturn

from worker.algorithms.python.host.guard import Guard
from worker.linux import adopt_orphans, end_with_parent
from worker.process.freed_memory import keep_freed
from worker.stop_signals import STOP_SIGNALS, ignore_stop_signals

_MOST_KEPT_BYTES: Final = 128 * 2**20
_KEPT_PART: Final = 32
"""Of the memory that the code may take, a heap keeps at most one such part when it is freed."""


def main() -> None:
    """Fork, and be the guard or the process that is watched.

    The argument is JSON: `entry`, `control` and `connections`, which are descriptors, and
    `memory_bytes`.
    """
    request = json.loads(sys.argv[1])
    ignore_stop_signals()
    adopt_orphans()
    gc.freeze()
    output, printed = os.pipe()
    guard_id = os.getpid()
    process_id = os.fork()
    if process_id == 0:
        os.close(output)
        os.close(request["control"])
        _be_watched(request, printed, guard_id)
    os.close(printed)
    for descriptor in request["connections"]:
        os.close(descriptor)
    control = socket.socket(fileno=request["control"])
    Guard(process_id, control, output, request["memory_bytes"]).run()


def _be_watched(request: dict[str, Any], printed: int, guard_id: int) -> NoReturn:
    """Answer the worker until its connections are closed; never return to the guard's code."""
    try:
        end_with_parent(guard_id, signal.SIGKILL)
        _reset_signals()
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.close(printed)
        _be_killed_first()
        keep_freed(min(_MOST_KEPT_BYTES, request["memory_bytes"] // _KEPT_PART))
        from worker.algorithms.python.host.serve import serve

        serve(request["entry"], [socket.socket(fileno=fd) for fd in request["connections"]])
    except BaseException:  # noqa: BLE001 - it is printed, and the process ends
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(os.EX_SOFTWARE)


def _reset_signals() -> None:
    """Let the code and the programs that it starts be stopped as everywhere else."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _be_killed_first() -> None:
    """Have the kernel choose this process where memory is short: it, not a worker, takes it."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write("1000")


if __name__ == "__main__":
    main()
