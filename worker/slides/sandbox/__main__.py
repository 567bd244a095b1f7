"""Fork a decoder process for each slide that a worker opens.

    python -m worker.slides.sandbox CONTROL_FD

This process, the server of the decoder processes, has loaded every reader of slides once. It has no
torch, no Redis, no secrets and no threads. It opens no slide, and ends when the other end of
CONTROL_FD closes.
"""

import signal
import socket
import sys


def ignore_signals() -> None:
    """Ignore the signals that end a worker: it may still finish its slides.

    Such a signal often reaches all processes. This one and those that it forks end with the worker.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)


def main(control_fd: int) -> None:
    """Serve the worker at the other end of the descriptor until it closes that."""
    from worker.slides.sandbox.fork_server import ForkServer

    ForkServer(socket.socket(fileno=control_fd)).run()


if __name__ == "__main__":
    ignore_signals()  # before the imports, which take half a second
    main(int(sys.argv[1]))
