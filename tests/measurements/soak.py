"""Many runs one after the other, as a scheduler starts them: nothing may be left behind, and nothing may grow.

    python tests/measurements/soak.py examples/slides --runs 50

Each run is a process of its own, with the same output (`--update` and `--overwrite` by turns) and a temporary folder of
its own; afterwards as many runs follow in one process. Exits with 1 if a file is left behind, a lock is stale, a table
differs, or the memory of the process grows by more than 2 % from the tenth run to the last.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from classify_child import classify, tables

from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.runs.pipeline import classify_slides

_GROWTH = 1.02
_WARM_UP = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what the runs cost; 1 if something was left behind or grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=50)
    options = parser.parse_args(arguments)
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        out, temporary = Path(name) / "out" / "r.parquet", Path(name) / "tmp"
        out.parent.mkdir()
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        tempfile.tempdir = None
        first = classify(options.folder, out)
        expected, names = tables(out), _names(out.parent)
        runs = [first]
        for number in range(1, options.runs):
            runs.append(classify(options.folder, out, ("--overwrite", "--update")[number % 2]))
            if runs[-1].code != first.code or tables(out) != expected:
                wrong.append(f"run {number + 1} gave another result")
            if _names(out.parent) != names or list(temporary.iterdir()):
                wrong.append(f"run {number + 1} left something behind")
        peaks = [run.peak_mb for run in runs]
        sys.stdout.write(
            f"{len(runs)} processes: {min(run.seconds for run in runs):.1f}-{max(run.seconds for run in runs):.1f} s, "
            f"peak memory {min(peaks):.0f}-{max(peaks):.0f} MB\n"
        )
        resident = []
        for _ in range(options.runs):
            classify_slides(options.folder, str(out), ClassifyConfig(overwrite=True))
            resident.append(_resident_mb())
        sys.stdout.write(
            f"one process: {resident[0]:.0f} MB after the first run, {resident[-1]:.0f} MB after the last\n"
        )
        if resident[-1] > _GROWTH * resident[min(_WARM_UP, options.runs) - 1]:
            wrong.append("the memory of one process grows")
        if _names(out.parent) != names or list(temporary.iterdir()):
            wrong.append("the runs in one process left something behind")
    sys.stdout.write("".join(f"{line}\n" for line in wrong or ["nothing was left behind, nothing grew"]))
    return 1 if wrong else 0


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())
