"""`python -m worker.algorithms.check`: load one algorithm as a scan would, and say whether it runs.

A process of its own: the parent of a worker stays free of torch, and a network that crashes or
hangs when it is loaded disables only its algorithm. The request is one line of JSON on stdin, the
answer one line of JSON on stdout.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from tempfile import TemporaryFile
from threading import Event
from typing import Any, Final

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings, ConfigError
from worker.algorithms import registry
from worker.algorithms.python.algorithm import PythonAlgorithm

LIMIT_S: Final = 120.0
_POLL_S: Final = 0.2
_TILES: Final = 2
"""The batch of the check: an answer that is the same for every batch is noticed with two tiles."""
_LONGEST_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Checked:
    """What loading an algorithm showed: its card with the true tile and halo, or the fault."""

    card: AlgorithmCard | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class LoadCheck:
    """One algorithm to be loaded on one device."""

    card: AlgorithmCard
    entry: AlgorithmSettings
    device: str

    def run(self, stopped: Event) -> Checked:
        """Return the card of the loaded algorithm, or why it cannot be loaded.

        Waits at most `LIMIT_S`, and ends the check when `stopped` is set.
        """
        command = [sys.executable, "-m", "worker.algorithms.check"]
        # The worker's own scans need the cores.
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with TemporaryFile() as answer:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=answer,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            try:
                _send(process, self._request())
                is_done = _wait(process, stopped)
            finally:
                process.kill()
                process.wait()
            if not is_done:
                return Checked(None, f"{self._setting}: it was not loaded within {LIMIT_S:g} s")
            answer.seek(0)
            return self._answer(process.returncode, answer.read())

    @property
    def _setting(self) -> str:
        return f"worker.algorithms.{self.card.name}"

    def _request(self) -> bytes:
        # A compiled network takes minutes, and computes the same.
        entry = self.entry.model_copy(update={"compile": False})
        request = {
            "name": self.card.name,
            "entry": entry.model_dump(mode="json"),
            "device": self.device,
            "max_batch_bytes": _TILES * 3 * (self.card.tile_px + 2 * self.card.halo_px) ** 2,
        }
        return json.dumps(request).encode()

    def _answer(self, status: int, answer: bytes) -> Checked:
        last_line = answer.strip().rpartition(b"\n")[2]
        try:
            told = json.loads(last_line)
            fault = str(told["reason"])
            if fault:
                return Checked(None, fault)
            geometry = {key: int(told[key]) for key in ("tile_px", "halo_px")}
        except (ValueError, KeyError, TypeError):
            return Checked(
                None, f"{self._setting}: its process ended with {status} while it was loaded"
            )
        return Checked(self.card.model_copy(update=geometry))


def one_line(error: Exception) -> str:
    """Return the message of an error on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:_LONGEST_REASON]


def main() -> None:
    """Load the algorithm of the request and write its tile and halo, or why it fails."""
    request = json.loads(sys.stdin.buffer.read())
    answer = json.dumps(_answer_to(request))
    sys.stdout.write(f"\n{answer}\n")


def _answer_to(request: dict[str, Any]) -> dict[str, Any]:
    name = request["name"]
    try:
        algorithm = registry.load(
            name,
            {name: AlgorithmSettings.model_validate(request["entry"])},
            {},
            request["device"],
            max_batch_bytes=request["max_batch_bytes"],
        )
        if isinstance(algorithm, PythonAlgorithm):
            algorithm.load_once()
    except (ConfigError, OrderError) as error:
        return {"reason": one_line(error)}
    except Exception as error:  # noqa: BLE001 - whatever the network raises, it cannot be used
        return {"reason": f"worker.algorithms.{name}: {type(error).__name__}: {one_line(error)}"}
    card = algorithm.card
    return {"reason": "", "tile_px": card.tile_px, "halo_px": card.halo_px}


def _send(process: "subprocess.Popen[bytes]", request: bytes) -> None:
    if process.stdin is None:
        return
    try:
        process.stdin.write(request)
        process.stdin.close()
    except BrokenPipeError:
        return  # it has ended already; its status says so


def _wait(process: "subprocess.Popen[bytes]", stopped: Event) -> bool:
    """Return whether the process ended by itself in time."""
    deadline = time.monotonic() + LIMIT_S
    while process.poll() is None:
        if time.monotonic() > deadline or stopped.wait(_POLL_S):
            return False
    return True


if __name__ == "__main__":
    main()
