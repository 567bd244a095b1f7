"""`python -m worker.programs.isolation CONTROL RING`: the supervisor of one run.

The arguments are descriptors: the connection to the worker, from which the request is read, and the
ring for what the program prints.
"""

import json
import os
import signal
import socket
import sys
from typing import Final

from worker.programs.isolation.request import Request
from worker.programs.isolation.supervisor import Supervisor
from worker.stop_signals import ignore_stop_signals

_READ_BYTES: Final = 65536


def main() -> None:
    """Run what the worker asks for; the signals that stop a worker do not stop its programs."""
    ignore_stop_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    descriptors = [int(argument) for argument in sys.argv[1:]]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    control = socket.socket(fileno=descriptors[0])
    line = b""
    while not line.endswith(b"\n"):
        received = control.recv(_READ_BYTES)
        if not received:
            return
        line += received
    try:
        Supervisor(Request.of_line(line), control, descriptors[1]).run()
    except OSError as error:
        control.setblocking(True)
        control.sendall(json.dumps({"failed": f"its supervisor: {error}"}).encode() + b"\n")


if __name__ == "__main__":
    main()
