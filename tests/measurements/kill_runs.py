"""Kill runs at random moments; the same command afterwards must give the tables of a run that nobody disturbed.

    python tests/measurements/kill_runs.py FOLDER --kills 20 --seed 0

FOLDER has slide folders or class folders. A quarter of the kills wait for the moment of publishing. Exits with 1 if any
table differs, or anything is left behind.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from classify_child import classify, command, tables

_ODD_KILLS = 4  # one kill in so many is timed by the files of publishing instead of the clock
_PUBLISHING_S = 0.02
_TOO_LATE = "after it had published"


def kill_once(folder: Path, out: Path, seconds: float, *, while_publishing: bool) -> str:
    """Start a run and kill it after `seconds`, or as soon as it publishes; when it was killed, in words."""
    with subprocess.Popen(command(folder, out, "--quiet"), stderr=subprocess.DEVNULL) as child:
        start = time.perf_counter()
        place = out.with_name(f"{out.name}.partial")
        while child.poll() is None:
            if while_publishing and list(place.glob("final-*")):
                time.sleep(random.uniform(0, _PUBLISHING_S))
                break
            if not while_publishing and time.perf_counter() - start >= seconds:
                break
            time.sleep(0.001)
        child.kill()
    if out.exists() and not place.exists():
        return _TOO_LATE
    parts = len(list(place.glob("part-*")))
    return f"after {time.perf_counter() - start:5.1f} s, {parts} parts" + (", publishing" if while_publishing else "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line per kill; 1 if a table differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    random.seed(options.seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "r.parquet"
        whole = classify(options.folder, out, "--quiet")
        expected, names = tables(out), sorted(path.name for path in Path(name).iterdir())
        for number in range(options.kills):
            for path in Path(name).iterdir():
                path.unlink()
            moment = random.uniform(0, whole.seconds)
            when = kill_once(options.folder, out, moment, while_publishing=number % _ODD_KILLS == 3)
            again = classify(options.folder, out, "--overwrite" if when == _TOO_LATE else "--quiet")
            same = tables(out) == expected and again.code == whole.code
            clean = sorted(path.name for path in Path(name).iterdir()) == names
            wrong += not (same and clean)
            verdict = ("same tables" if same else "DIFFERENT") + ("" if clean else ", LEFT SOMETHING BEHIND")
            sys.stdout.write(f"kill {number + 1:>3}: {when}; then {again.seconds:5.1f} s: {verdict}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{options.kills - wrong} of {options.kills} as if undisturbed ({whole.seconds:.1f} s each)\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
