"""A decoder that crashes, in a real worker: it costs its own order, and nothing else."""

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.gate import Gate
from tests.support.stack import Stack

ROI = {"x": 1001, "y": 999, "width": 1500, "height": 1200}


def processes_of(ancestor: int) -> dict[int, str]:
    """This process and every one that it has started, directly or not, with its command line; the
    dead have none."""
    found, parents = {ancestor}, dict(_parents())
    while new := {child for child, parent in parents.items() if parent in found} - found:
        found |= new
    return {number: _read(number, "cmdline").replace("\0", " ") for number in found}


def _parents() -> list[tuple[int, int]]:
    numbers = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal()]
    stats = [(number, _read(number, "stat").rpartition(")")[2].split()) for number in numbers]
    return [(number, int(fields[1])) for number, fields in stats if fields]


def _read(process_id: int, name: str) -> str:
    try:
        return Path(f"/proc/{process_id}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def pool_processes(stack: Stack) -> set[int]:
    """The worker and its child that classifies."""
    running = processes_of(stack.processes["worker"].pid)
    return {
        number
        for number, command in running.items()
        if command and "worker.slides.sandbox" not in command
    }


def crash_decoders(stack: Stack, until: threading.Event) -> None:
    """Send SIGSEGV to every process that reads for the worker, again and again.

    A scan that came as far as the gate is let through once its reader has been sent the signal.
    """
    while not until.wait(0.02):
        held = stack.gate.held()
        for number in decoders(stack):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGSEGV)
        if held:
            stack.gate.open()


def decoders(stack: Stack) -> set[int]:
    """The processes that read a slide: those that the server of the decoder processes has forked."""
    running = processes_of(stack.processes["worker"].pid)
    servers = {number for number, command in running.items() if "worker.slides.sandbox" in command}
    return {child for child, parent in _parents() if parent in servers}


def order(stack: Stack, slide: Path) -> Any:
    scans = [{"id": "1", "source": {"type": "path", "path": str(slide)}, "roi": ROI}]
    return stack.wait_until(
        stack.order(algorithm="ki67", scans=scans), "failed", "delivered", "undelivered"
    )


def test_a_decoder_that_crashes_costs_its_own_order_only(
    gate: Gate, stack: Stack, slide: Path
) -> None:
    """The scan fails and its file is blamed; the same worker process classifies the next one."""
    gate.close()
    ended = threading.Event()
    crashing = threading.Thread(target=crash_decoders, args=(stack, ended))
    crashing.start()
    crashed = order(stack, slide)
    ended.set()
    crashing.join()
    gate.open()
    assert crashed["state"] == "failed"
    error = crashed["scans"][0]["error"]
    assert (error["code"], error["blame"]) == ("slide_unreadable", "input")
    assert "SIGSEGV" in error["detail"]
    survivors = pool_processes(stack)
    assert order(stack, slide)["state"] == "delivered"
    assert pool_processes(stack) == survivors
