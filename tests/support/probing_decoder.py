"""`python -m tests.support.probing_decoder CONTROL_FD`: the ordinary server of decoder processes,
whose processes also run what a test sends them, as a decoder would that a slide has taken over.
"""

import socket
import sys
from typing import Any

from worker.slides.sandbox.client import Sandbox, SandboxedSlide
from worker.slides.sandbox.decoder import Answer, RequestHandler
from worker.slides.sandbox.server import DecoderServer
from worker.stop_signals import ignore_stop_signals


class ProbingServer(DecoderServer):
    module = "tests.support.probing_decoder"


class ProbingSandbox(Sandbox):
    """Opens slides in processes that run what a test sends them."""

    server_class = ProbingServer


def run_inside(slide: SandboxedSlide, source: str) -> str:
    """What the Python source does in the slide's process: its `result`, or the name of its error."""
    return slide._process.ask({"method": "run", "source": source}).reader


class ProbingHandler(RequestHandler):
    def call(self, method: str, arguments: dict[str, Any]) -> Answer:
        if method != "run":
            return super().call(method, arguments)
        names: dict[str, Any] = {}
        try:
            exec(arguments["source"], names)  # noqa: S102 - that is what it is for
        except OSError as error:
            return {"reader": type(error).__name__ + f" {error.errno}"}, None
        return {"reader": str(names.get("result", "done"))[:400]}, None


def main(control_fd: int) -> None:
    from worker.slides.sandbox.fork_server import ForkServer

    class ProbingForkServer(ForkServer):
        handler_class = ProbingHandler

    ProbingForkServer(socket.socket(fileno=control_fd)).run()


if __name__ == "__main__":
    ignore_stop_signals()
    main(int(sys.argv[1]))
