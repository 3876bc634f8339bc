"""A process that runs one command after another and keeps what each writes to stdout and stderr.

Whatever a library or a child process prints is caught too: the streams themselves are files here. One process for all,
because each would first import the same libraries for seconds.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

from bloodcell_batch.adaptation import adapt, trainings, validation
from bloodcell_batch.adaptation.rehearsal import Rehearsal, load_rehearsal
from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.cli.app import main
from bloodcell_batch.images.preprocessing import Preprocessing


def run(words: list[str], folder: Path) -> int:
    """The exit code of one command, whose streams become `stdout` and `stderr` in `folder`."""
    folder.mkdir()
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["bloodcell-batch", *words]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def session(plan: Path, out: Path) -> None:
    """Run what `plan` lists, as JSON: name -> words."""
    commands: dict[str, list[str]] = json.loads(plan.read_text(encoding="utf-8"))
    codes: dict[str, int] = {}
    for name, words in commands.items():
        codes[name] = run(words, out / name)
        (out / "codes.json").write_text(json.dumps(codes), encoding="utf-8")


def few_rehearsed(classes: ClassList, preprocessing: Preprocessing) -> Rehearsal:
    """Every twentieth cell of the package."""
    whole = load_rehearsal(classes, preprocessing)
    learned, control = (cells.take(np.arange(0, len(cells), 20)) for cells in (whole.learned, whole.control))
    return Rehearsal(learned, control, whole.held_out, whole.attribution)


if __name__ == "__main__":
    # What `adapt` says is looked at, not its figures.
    trainings._FEWEST_STEPS, trainings._STEPS_PER_ROOT, trainings._MOST_VIEWS, validation.FOLDS = 6, 0.5, 3, 2
    adapt.load_rehearsal = few_rehearsed  # type: ignore[attr-defined]
    session(Path(sys.argv[1]), Path(sys.argv[2]))
