"""Every error a user can meet, and the exit code each one ends with.

```
BloodcellBatchError            1
├── UsageError                 2   an option or a configuration file is wrong
├── InputError                 1   a folder, manifest or table given as input can't be used
├── OutputError                1   the results can't be written where asked
├── ModelFileError             1   the model file can't be read or is not one of ours
│   └── ModelRefusedError      4   it is not the one that was required, or no better than chance
├── BackendError               4   a backend named on the command line can't run here
├── LockedError                5   another run is writing the same output
├── TrainingError              1   the data or the run can't give a usable model
└── ConservationError          1   files went missing between two stages: a bug, never published
```

A bad image is not an error: it is a `Rejection` and becomes a row of the table.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes; the meaning of each is part of the command-line contract."""

    COMPLETE = 0
    ERROR = 1
    USAGE = 2
    COMPLETE_WITH_FAILED_FILES = 3
    OUT_OF_CONTROL = 3
    DIFFERENT = 3
    BACKEND_REFUSED = 4
    LOCKED = 5
    INTERRUPTED = 130
    TERMINATED = 143


class BloodcellBatchError(Exception):
    """Root of all expected errors: `message` says what and where, `hint` says what to do."""

    exit_code = ExitCode.ERROR

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'near'?` for the end of a message, where a known word is close; otherwise nothing."""
    found = get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


class UsageError(BloodcellBatchError):
    """An option, or a key of a configuration file, is unknown or has an impossible value."""

    exit_code = ExitCode.USAGE


class InputError(BloodcellBatchError):
    """A folder, manifest or table given as input is missing, unreadable or has the wrong shape."""


class OutputError(BloodcellBatchError):
    """The results can't be written where the user asked."""


class ModelFileError(BloodcellBatchError):
    """The model file is broken, foreign, or of a version this release can't read."""


class ModelRefusedError(ModelFileError):
    """The model file has another SHA-256 than the user requires, or its own figures say that it is no use."""

    exit_code = ExitCode.BACKEND_REFUSED


class BackendError(BloodcellBatchError):
    """A backend that was named explicitly can't run on this machine."""

    exit_code = ExitCode.BACKEND_REFUSED


class LockedError(BloodcellBatchError):
    """Another run is writing the same output right now."""

    exit_code = ExitCode.LOCKED


class TrainingError(BloodcellBatchError):
    """The training data or the training run can't give a usable model."""


class ConservationError(BloodcellBatchError):
    """The outcome counts don't add up to the files found, so nothing is published."""
