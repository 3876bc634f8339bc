"""Duration and memory of `diff` on two tables of many rows, and its counts against pandas.

    python tests/measurements/diff_rows.py FOLDER [ROWS]

Writes two tables of ROWS rows (a million) in slides of 200 to FOLDER, of which the second has other labels, statuses
and confidences in places, in another order; runs `diff` on them in a process of its own; and counts again with pandas.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from default_tables import IMAGE_SCHEMA
from finished_run import write_run
from many_rows import counts_by_pandas, tables

from bloodcell_batch.results.formats import write_parquet


def make(folder: Path, rows: int) -> None:
    """Write the two tables and their run records."""
    for path, table in zip(_paths(folder), tables(rows), strict=True):
        write_run(folder, (), path)  # the run record
        write_parquet(path, IMAGE_SCHEMA, table.to_batches(max_chunksize=10_000))


def _paths(folder: Path) -> tuple[Path, Path]:
    return folder / "a.parquet", folder / "b.parquet"


def main() -> None:
    folder, rows = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    folder.mkdir(parents=True, exist_ok=True)
    # In a process of its own: a program's peak is at least the memory of the one that starts it.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(make, folder, rows).result()
    command = [sys.executable, "-m", "bloodcell_batch", "diff", *map(str, _paths(folder)), "--overwrite"]
    command += ["--out", str(folder / "d.html"), "--out", str(folder / "d.parquet")]
    began = time.perf_counter()
    with (folder / "said.txt").open("w", encoding="utf-8") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    sys.stdout.write((folder / "said.txt").read_text(encoding="utf-8"))
    sys.stdout.write(f"exit code {os.waitstatus_to_exitcode(status)}; {seconds:.1f} s, ")
    sys.stdout.write(f"processor {used.ru_utime + used.ru_stime:.1f} s; peak memory {used.ru_maxrss / 1024:.0f} MB\n")
    sys.stdout.write(f"pandas: {counts_by_pandas(*_paths(folder))}\n")


if __name__ == "__main__":
    main()
