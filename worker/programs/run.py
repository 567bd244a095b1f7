"""Runs one program on one scan: starts it, follows what it prints, and catches what it posts."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final, Protocol

from worker.programs.environment import (
    RunAddresses,
    TrustFiles,
    is_development,
    of_worker,
    run_environment,
)
from worker.programs.interface import (
    EndedBy,
    Isolation,
    Mount,
    ProgramRun,
    RunLimits,
    RunningProgram,
)
from worker.programs.output import LineLog, OutputLines
from worker.programs.results_receiver.certificates import RunCertificates
from worker.programs.results_receiver.received import Received, RunIdentity
from worker.programs.results_receiver.receiver import ResultsReceiver
from worker.programs.results_receiver.run_server import RunServer
from worker.programs.results_receiver.slide_files import SlideFiles
from worker.programs.sockets import RunSockets, open_sockets
from worker.programs.trusted_files import bundle_places, bundle_places_in_image
from worker.progress import StopWork

POLL_S: Final = 0.25
STOP_GRACE_S: Final = 1.0
"""How long a program may tidy up when it is stopped: its device is to be free within 2 s."""
_AUTHORITY: Final = "/tmp/slidelane-authority.pem"  # noqa: S108 - the program's own /tmp
_BUNDLE: Final = "/tmp/slidelane-certificates.pem"  # noqa: S108
"""Where a program with a /tmp of its own sees the certificates: it can be written to everywhere."""
_LEAST_SECRET_CHARS: Final = 6
_SECRET_NAME: Final = re.compile("secret|token|password|passwd|credential|key", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Program:
    """A program as the settings describe it. `variables` are the site's, and secrets."""

    argv: tuple[str, ...]
    time_limit_s: float
    image: str = ""
    engine: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    limits: RunLimits = field(default_factory=RunLimits)
    allowed_hosts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ProgramScan:
    """The scan that a program is run on.

    `variables` are those of the order: its parameters, and where the region is. `secrets` are left
    out of all that is shown.
    """

    identity: RunIdentity
    slide: SlideFiles
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ProgramOutcome:
    """How a run ended, and what came in.

    The files lie in the scratch folder of the run. `secrets` are those that `output` may hold.
    """

    exit_code: int
    ended_by: EndedBy
    output: Path
    last_line: str
    took_s: float
    received: Received
    secrets: frozenset[str] = field(repr=False)
    picture: Path | None = None
    """/output/result.png of an image of the first generation."""


class RunProgress(Protocol):
    """Is told how far a run is."""

    def running(self, elapsed_s: float, told: tuple[int, int] | None, /) -> None:
        """Take how long the program runs, and what it says of its progress, if it does.

        Raise `StopWork` if it must be stopped.
        """


def run_program(
    program: Program,
    scan: ProgramScan,
    isolation: Isolation,
    scratch: Path,
    progress: RunProgress,
    log: LineLog,
) -> ProgramOutcome:
    """Run the program to its end. `scratch` is an empty folder with room for the slide.

    Raise `OrderError` where it cannot be started, and `StopWork`: then nothing of it runs any more.
    """
    received = Received(scan.identity, _made(scratch / "received"))
    hidden = scan.secrets | secret_values(program)
    with ExitStack() as stack:
        sockets = open_sockets(isolation, stack)
        server = _server(program, scan, received, scratch)
        hidden |= {server.secret, scan.identity.token}
        lines = OutputLines(hidden, log)
        began_at = monotonic()
        run = _run(program, scan, server, sockets, isolation, scratch)
        running = isolation.start(run)
        try:
            plain = sockets.plain_sockets(running)
            with ResultsReceiver(server, plain, sockets.encrypted_sockets(running)):
                exit_code = _follow(running, lines, progress, began_at)
        except BaseException:
            running.kill()
            raise
        took_s = monotonic() - began_at
        lines.end()
    return ProgramOutcome(
        exit_code=exit_code,
        ended_by=running.ended_by,
        output=running.output_path,
        last_line=lines.last_line,
        took_s=took_s,
        received=received,
        secrets=hidden,
        picture=_picture(scratch),
    )


def secret_values(program: Program) -> frozenset[str]:
    """Return the values of variables whose names tell that they are secret."""
    return frozenset(
        value
        for name, value in program.variables.items()
        if len(value) >= _LEAST_SECRET_CHARS and _SECRET_NAME.search(name)
    )


def _follow(
    running: RunningProgram, lines: OutputLines, progress: RunProgress, began_at: float
) -> int:
    """Follow the program to its end, and return its exit code."""
    try:
        while True:
            exit_code = running.wait(POLL_S)
            text = running.new_output()
            lines.take(text)
            if exit_code is not None:
                while text:
                    text = running.new_output()
                    lines.take(text)
                return exit_code
            progress.running(monotonic() - began_at, lines.progress)
    except StopWork:
        running.stop(STOP_GRACE_S)
        raise


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _server(program: Program, scan: ProgramScan, received: Received, scratch: Path) -> RunServer:
    return RunServer(
        identity=scan.identity,
        certificates=RunCertificates(_made(scratch / "trust"), scan.identity.api_host),
        received=received,
        slide=scan.slide,
        folder=scratch / "received",
        allowed_hosts=program.allowed_hosts,
    )


def _run(
    program: Program,
    scan: ProgramScan,
    server: RunServer,
    sockets: RunSockets,
    isolation: Isolation,
    scratch: Path,
) -> ProgramRun:
    """Return what the isolation is to start."""
    trust = TrustFiles(server.certificates.authority, server.certificates.bundle)
    mounts: tuple[Mount, ...] = ()
    if isolation.shows_mounts:
        mounts = _trust_mounts(program, trust)
        trust = TrustFiles(Path(_AUTHORITY), Path(_BUNDLE))
    own = {**program.variables, **scan.variables}
    if is_development(own):
        mounts += _development_mounts(scan, scratch)
    environment = run_environment(scan.identity, _addresses(scan, server, sockets), trust, own)
    if not program.image:
        environment = {**of_worker(), **environment}
    if program.limits.gpus is not None:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(program.limits.gpus)
    hosts = {}
    if sockets.api:
        hosts[scan.identity.api_host] = sockets.api
    return ProgramRun(
        argv=program.argv,
        environment=environment,
        scratch=_made(scratch / "run"),
        time_limit_s=program.time_limit_s,
        image=program.image,
        engine=program.engine,
        mounts=mounts,
        hosts=hosts,
        listen=sockets.inside,
        limits=program.limits,
    )


def _addresses(scan: ProgramScan, server: RunServer, sockets: RunSockets) -> RunAddresses:
    """Return the URLs that the program is given."""
    base = f"http://{sockets.plain.host}:{sockets.plain.port}"
    zip_url = ""
    if len(scan.slide.files) > 1:
        zip_url = f"{base}{server.zip_path}"
    return RunAddresses(
        slide=f"{base}{server.slide_path}",
        zip=zip_url,
        debug=f"{base}{server.debug_path}",
        proxy=base,
    )


def _trust_mounts(program: Program, trust: TrustFiles) -> tuple[Mount, ...]:
    """Return the certificates of the run in /tmp, and over those that programs name."""
    places = bundle_places_in_image()
    if not program.image:
        places = bundle_places(program.argv)
    own = (Mount(trust.authority, _AUTHORITY), Mount(trust.bundle, _BUNDLE))
    return (*own, *(Mount(trust.bundle, place) for place in places))


def _development_mounts(scan: ProgramScan, scratch: Path) -> tuple[Mount, ...]:
    """Return what an image of the first generation reads and writes."""
    output = _made(scratch / "output")
    output.chmod(0o777)  # the user in an image may be another one
    return (
        Mount(scan.slide.main, "/input/image.svs"),
        Mount(output, "/output", writable=True),
    )


def _picture(scratch: Path) -> Path | None:
    picture = scratch / "output" / "result.png"
    if picture.is_file() and not picture.is_symlink():
        return picture
    return None
