"""What a command can see and reach, where the machine grants namespaces."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker.errors import OrderError
from tests.support.programs import command_run, printed, processes_with, python_run
from worker.programs.interface import Address, Mount, RunLimits
from worker.programs.isolation.commands import CommandIsolation
from worker.programs.isolation.grants import offered


@pytest.fixture
def isolation(tmp_path: Path) -> CommandIsolation:
    if not offered().own_network:
        pytest.skip(f"not all namespaces are granted: {offered()}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret.json").write_text("{}")
    return CommandIsolation(hidden=(tmp_path / "data",))


def test_each_program_has_a_tmp_of_its_own(isolation: CommandIsolation, tmp_path: Path) -> None:
    """Two programs at a time write the same file, as all of Techcyte's template do."""
    code = """
        import os, sys, time
        path = "/tmp/downloaded_image.svs"
        assert not os.path.exists(path), os.listdir("/tmp")
        open(path, "w").write(sys.argv[1])
        while not os.path.exists("/tmp/go"):
            time.sleep(0.05)
        print(open(path).read(), os.getcwd())
    """
    names = ("one", "two")
    programs = [isolation.start(python_run(tmp_path / name, code, name)) for name in names]
    for name in names:
        (tmp_path / name / "tmp" / "go").touch()
    assert [printed(program) for program in programs] == ["one /tmp\n", "two /tmp\n"]
    assert (tmp_path / "two" / "tmp" / "downloaded_image.svs").read_text() == "two"
    assert not Path("/tmp/go").exists()


def test_a_program_changes_and_sees_nothing_of_the_worker(
    isolation: CommandIsolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are read-only, what is private is empty, other processes are not there."""
    settings = Path(__file__).parents[4] / "config.json"
    monkeypatch.setenv("SLIDELANE_CONFIG", str(settings))
    code = """
        import json, os, sys
        found = {}
        for path in ("/etc/x", os.path.expanduser("~root/x"), "/dev/x", "/proc/sys/kernel/domainname"):
            try:
                open(path, "w").write("x")
            except OSError as error:
                found[path] = error.errno
        found["settings"] = open(sys.argv[1]).read()
        found["data"] = os.path.exists(sys.argv[2])
        found["processes"] = [name for name in os.listdir("/proc") if name.isdigit()]
        found["disks"] = [name for name in os.listdir("/dev") if name.startswith(("vd", "sd"))]
        for line in open("/proc/self/status"):
            name, _, value = line.partition(":")
            if name in ("CapEff", "CapPrm", "NoNewPrivs"):
                found[name] = int(value, 16)
        print(json.dumps(found))
    """
    run = python_run(tmp_path / "run", code, str(settings), str(tmp_path / "data" / "secret.json"))
    found = json.loads(printed(isolation.start(run)))
    refused = [value for name, value in found.items() if name.startswith("/")]
    assert len(refused) == 4
    assert found["settings"] == ""
    assert found["data"] is False
    assert len(found["processes"]) == 2
    assert found["disks"] == []
    assert (found["CapEff"], found["CapPrm"], found["NoNewPrivs"]) == (0, 0, 1)


def test_mounts_and_names_are_shown(isolation: CommandIsolation, tmp_path: Path) -> None:
    """A certificate is in place of the machine's, also below what is hidden, and read-only."""
    bundle = tmp_path / "data" / "bundle.pem"
    bundle.write_text("ours")
    output = tmp_path / "output"
    output.mkdir()
    code = """
        import socket, sys
        for path in sys.argv[1:]:
            print(open(path).read())
        try:
            open(sys.argv[1], "w")
        except OSError as error:
            print(error.strerror)
        print(socket.gethostbyname("api.ci.techcyte.com"), socket.gethostbyname("localhost"))
        open("/tmp/output/result.png", "w").write("picture")
    """
    run = python_run(
        tmp_path / "run",
        code,
        "/etc/hostname",
        str(bundle),
        mounts=(
            Mount(bundle, "/etc/hostname"),
            Mount(bundle, str(bundle)),
            Mount(output, "/tmp/output", writable=True),
            Mount(output, "/no/such/place"),
        ),
        hosts={"api.ci.techcyte.com": "127.66.0.17"},
    )
    text = printed(isolation.start(run))
    assert text == "ours\nours\nRead-only file system\n127.66.0.17 127.0.0.1\n"
    assert (output / "result.png").read_text() == "picture"
    assert Path("/etc/hostname").read_text() != "ours"


@pytest.fixture
def listening() -> Iterator[int]:
    """A port of this machine on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_program_reaches_only_what_listens_for_it(
    isolation: CommandIsolation, tmp_path: Path, listening: int
) -> None:
    """Sockets of its own network, two programs on the same port 443; nothing of the machine's."""
    code = """
        import socket, sys
        for host, port in (("127.0.0.1", int(sys.argv[1])), ("192.0.2.1", 80), ("127.66.0.17", 443)):
            try:
                with socket.create_connection((host, port), timeout=30) as connection:
                    print(connection.recv(100).decode())
            except OSError as error:
                print(error.strerror)
    """
    programs = []
    for name in ("one", "two"):
        run = python_run(
            tmp_path / name, code, str(listening), listen=(Address("127.66.0.17", 443),)
        )
        programs.append(isolation.start(run))
    for number, program in enumerate(programs):
        (listener,) = program.listeners
        with listener, closing(listener.accept()[0]) as connection:
            connection.sendall(f"caught {number}".encode())
    for number, program in enumerate(programs):
        assert printed(program).splitlines() == [
            "Connection refused",
            "Network is unreachable",
            f"caught {number}",
        ]


def test_processors_and_gpus_are_those_of_the_class(
    isolation: CommandIsolation, tmp_path: Path
) -> None:
    """A program with half a core runs on one; without a GPU there is no device of one."""
    code = """
        import os, time
        print(*os.sched_getaffinity(0), repr(os.environ["CUDA_VISIBLE_DEVICES"]), flush=True)
        print([name for name in os.listdir("/dev") if "nvidia" in name])
        while not os.path.exists("/tmp/go"):
            time.sleep(0.05)
    """
    limits = RunLimits(cpus=0.5, gpus=())
    programs = [
        isolation.start(python_run(tmp_path / name, code, limits=limits)) for name in ("a", "b")
    ]
    for name in ("a", "b"):
        (tmp_path / name / "tmp" / "go").touch()
    lines = [printed(program).splitlines() for program in programs]
    assert all(line[1] == "[]" for line in lines)
    cores = [line[0].split() for line in lines]
    assert [words[1:] for words in cores] == [["''"], ["''"]]


def test_a_killed_supervisor_takes_everything_with_it(
    isolation: CommandIsolation, tmp_path: Path
) -> None:
    """The kernel ends the first process, and with it daemons that left every session."""
    marker = f"sleeper-{os.getpid()}-of-a-supervisor"
    code = """
        import os, sys, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(600)
        time.sleep(600)
    """
    program = isolation.start(python_run(tmp_path / "run", code, marker))
    assert processes_with(marker)
    program._supervisor.kill()
    assert program.wait(60) == -9
    gone = threading.Event()
    for _ in range(600):
        if not processes_with(marker):
            break
        gone.wait(0.1)
    assert processes_with(marker) == []


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        pytest.param(["/no/such/program"], "there is no program", id="absent"),
        pytest.param(["/proc/version"], "there is no program", id="not-executable"),
        pytest.param([], "is empty", id="empty"),
    ],
)
def test_a_command_that_cannot_be_started_is_refused(
    isolation: CommandIsolation, tmp_path: Path, argv: list[str], reason: str
) -> None:
    """The error names what the settings have to correct."""
    with pytest.raises(OrderError, match=reason) as caught:
        isolation.start(command_run(tmp_path / "run", argv))
    assert caught.value.code == "algorithm_unavailable"


def test_a_script_without_an_interpreter_is_refused(
    isolation: CommandIsolation, tmp_path: Path
) -> None:
    """Only the attempt to execute it tells; the reason arrives all the same."""
    script = tmp_path / "scripts" / "run.sh"
    script.parent.mkdir()
    script.write_text("echo unreached\n")
    script.chmod(0o755)
    with pytest.raises(OrderError, match="a script begins with #!"):
        isolation.start(command_run(tmp_path / "run", [str(script)]))
    script.write_text("#!/bin/sh\necho reached\n")
    assert printed(isolation.start(command_run(tmp_path / "again", [str(script)]))) == "reached\n"
