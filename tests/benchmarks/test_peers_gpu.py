"""What `nvidia-smi` says beside a run is read as it is meant. It is played by a script that says
the same lines."""

import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.peers.contestants import Outcome
from benchmarks.peers.summary import lines

SAYS = """
import sys, time
from datetime import datetime
from pathlib import Path
for busy in (0, 40, 60, 80):
    print(datetime.now().strftime("%Y/%m/%d %H:%M:%S.%f")[:-3] + ", " + str(busy), flush=True)
    time.sleep(0.01)
print("2024/01/0", end="", flush=True)
Path(sys.argv[1]).touch()
time.sleep(60)
"""


def test_samples_are_those_said_meanwhile_at_their_times_and_who_says_them_is_ended(
    tmp_path: Path,
) -> None:
    """A line that was cut off when it was ended counts for nothing."""
    script, said, began = tmp_path / "says.py", tmp_path / "said", time.time()
    script.write_text(SAYS)
    with gpu.sampled([sys.executable, str(script), str(said)]) as samples:
        while not said.exists():
            time.sleep(0.01)
    assert [share for _, share in samples] == [0, 0.4, 0.6, 0.8]
    assert all(began - 0.001 <= at <= time.time() for at, _ in samples)
    assert time.time() - began < 60


def test_what_a_card_does_not_say_is_left_out() -> None:
    """Some cards have no such counter; its times are local ones."""
    said = [
        "2026/02/03 04:05:06.789, 50\n",
        "2026/02/03 04:05:07.289, [N/A]\n",
        "No devices were found\n",
    ]
    ((at, share),) = gpu.parsed(iter(said))
    assert share == 0.5
    assert time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(at)) == "2026/02/03 04:05:06"
    assert at % 1 == pytest.approx(0.789, abs=1e-3)


def test_busy_is_the_mean_between_two_times_and_unknown_where_nothing_was_said() -> None:
    """Loading and warming up are before the first, ending is after the other."""
    samples = [(1.0, 0.0), (2.0, 0.5), (3.0, 1.0), (4.0, 0.0)]
    assert gpu.busy(samples, 1.5, 3.5) == 0.75
    assert gpu.busy(samples, 5, 6) is None


def test_nobody_is_asked_about_a_cpu() -> None:
    """No program is started beside the run."""
    assert gpu.command(gpu.name("cpu")) == ()
    with gpu.sampled(()) as samples:
        pass
    assert samples == []


def test_standings_say_how_busy_the_gpu_was_where_it_is_known() -> None:
    """Rounds that do not know it do not count."""
    names = ("decoding alone", "network alone")
    known, unknown = (
        {name: Outcome(name, "1", 9, 1.0, 0, None, busy) for name in names} for busy in (0.25, None)
    )
    assert all("GPU busy 25%" in line for line in lines([known, unknown]))
    assert not any("GPU" in line for line in lines([unknown]))
