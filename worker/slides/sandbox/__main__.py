"""Fork a decoder process for each slide that a worker opens.

    python -m worker.slides.sandbox CONTROL_FD

This process, the server of the decoder processes, has loaded every reader of slides once. It has no
torch, no Redis, no secrets and no threads. It opens no slide but a small one of its own, and ends
when the other end of CONTROL_FD closes.
"""

import socket
import sys

from worker.stop_signals import ignore_stop_signals


def main(control_fd: int) -> None:
    """Serve the worker at the other end of the descriptor until it closes that."""
    from worker.slides.sandbox.fork_server import ForkServer

    ForkServer(socket.socket(fileno=control_fd)).run()


if __name__ == "__main__":
    # The worker may still finish its slides; this process and those that it forks end with it.
    ignore_stop_signals()  # before the imports, which take half a second
    main(int(sys.argv[1]))
