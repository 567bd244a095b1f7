"""Programs that do everything wrong, in what this machine grants of isolation, on a slide."""

import time
from pathlib import Path

import pytest

from tests.support.program_runs import Lines
from tests.support.program_scans import a_program, entry, run
from tests.support.python_scans import Recorder, dotted, results
from tests.worker.inference.programs.test_program_scans import program
from worker.inference.programs.problems import ProgramFailedError
from worker.inference.programs.run_on_scan import ProgramSite
from worker.programs.interface import MAX_OUTPUT_BYTES, Isolation
from worker.programs.isolations import isolation_for
from worker.progress import StopWork


@pytest.fixture(scope="module")
def isolation() -> Isolation:
    """What runs commands on this machine."""
    return isolation_for("", "")


def test_a_gigabyte_of_print_costs_eight_megabytes(tmp_path: Path, isolation: Isolation) -> None:
    """The post counts, the log of the order stays short, and the file is bounded."""
    lines = Lines()
    code = """
        line = "x" * (2**20 - 1)
        for _ in range(1024):
            print(line)
        post(results={"summary": "done"})
        print("the end")
    """
    site = ProgramSite(tmp_path / "scratch", lines)
    algorithm = a_program(entry(program(code), time_limit_s=170), isolation)
    folder = run(algorithm, dotted(tmp_path), tmp_path, site)
    assert results(folder)["headline"] == "done"
    assert (folder / "output.log").stat().st_size < MAX_OUTPUT_BYTES + 1000
    assert (folder / "output.log").read_text().rstrip().endswith("the end")
    assert len(lines.lines) <= 201
    assert max(map(len, lines.lines)) <= 500


def test_other_hosts_are_out_of_reach(tmp_path: Path, isolation: Isolation) -> None:
    """A program that wants to go elsewhere is refused by the proxy, and that is a warning."""
    code = """
        try:
            urllib.request.urlopen("https://example.org/")
        except OSError as error:
            print("refused:", error)
        post()
    """
    folder = run(a_program(entry(program(code)), isolation), dotted(tmp_path), tmp_path)
    (warning,) = results(folder)["warnings"]
    assert warning["code"] == "program_host_refused"
    assert "example.org:443" in warning["detail"]
    assert "refused: " in (folder / "output.log").read_text()


def test_a_program_that_hangs_ends_at_its_limit_with_all_that_it_started(
    tmp_path: Path, isolation: Isolation
) -> None:
    """Children that left its session end as well: nothing keeps the scratch folder."""
    code = """
        import signal, subprocess
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen(["setsid", "sleep", "600"])
        print("hanging", flush=True)
        time.sleep(600)
    """
    algorithm = a_program(entry(program(code), time_limit_s=3), isolation)
    with pytest.raises(ProgramFailedError) as failed:
        run(algorithm, dotted(tmp_path), tmp_path)
    assert failed.value.code == "time_limit"
    assert "hanging" in failed.value.files["output.log"].read_text()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_lost_lease_ends_the_program(tmp_path: Path, isolation: Isolation) -> None:
    """Whatever the reason to stop is, the program ends and the reason goes on."""
    began_at = time.monotonic()

    class Losing(Recorder):
        def report(self, step: str, done: int, total: int) -> None:
            super().report(step, done, total)
            if step == "running" and done >= 1:
                raise StopWork("lost")

    progress = Losing()
    with pytest.raises(StopWork, match="lost"):
        run(
            a_program(entry(program("time.sleep(600)")), isolation),
            dotted(tmp_path),
            tmp_path,
            progress=progress,
        )
    assert time.monotonic() - began_at < 100
    assert list((tmp_path / "scratch").iterdir()) == []
