import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import started, wait_until

SLEEPER = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(900)']); "
SLEEPER += "time.sleep(900)"


def _alive(group: int) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return [
        line for line in listed.splitlines() if line.split()[0] == str(group) and not line.split()[1].startswith("Z")
    ]


def _fail_beside(groups: list[int]) -> None:
    with started([sys.executable, "-c", SLEEPER]) as process:
        groups.append(process.pid)
        wait_until(lambda: len(_alive(process.pid)) == 2, process)
        raise AssertionError("as it would in a test")


def test_nothing_is_left_of_a_program_after_a_failure() -> None:
    groups: list[int] = []
    with pytest.raises(AssertionError, match="as it would in a test"):
        _fail_beside(groups)
    wait_until(lambda: not _alive(groups[0]))


def test_nothing_is_left_after_pytest_stops_at_the_first_failure(tmp_path: Path) -> None:
    (tmp_path / "test_kill.py").write_text(
        "import sys\nfrom processes import started, wait_until\n"
        "def test_kill():\n"
        "    with started([sys.executable, '-c', 'import time; time.sleep(900)']) as process:\n"
        f"        open({str(tmp_path / 'pid')!r}, 'w').write(str(process.pid))\n"
        "        assert process.poll() == 0\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "1 failed" in done.stdout, done.stdout
    assert not _alive(int((tmp_path / "pid").read_text(encoding="utf-8")))


def test_a_program_that_ends_too_early_is_a_failure() -> None:
    with started([sys.executable, "-c", ""]) as process, pytest.raises(AssertionError, match="the program ended"):
        wait_until(lambda: False, process)
