"""Whether `auto` takes the fastest way to run the network on the CPU: its choice, made anew, against long measurements.

    python tests/measurements/fastest_setting.py --choices 10 --seconds 5

First every arithmetic in one stream and in several, by turns, for so many seconds each; then the choice as a first
start makes it, with nothing remembered, so many times. A choice's share is its rate in the long measurement against
that of the fastest whose results are right. With --model, of another model than the one in the package.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from bloodcell_batch.backends.openvino import fastest
from bloodcell_batch.backends.openvino.backend import settings_measured
from bloodcell_batch.backends.openvino.fastest import Measured, chosen
from bloodcell_batch.model.file import ModelFile, open_model


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each setting, one for each choice, and the smallest share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--choices", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0, help="that each setting runs for")
    options = parser.parse_args(arguments)
    model = open_model(options.model)
    with patch.object(fastest, "_SECONDS", options.seconds), patch.object(fastest, "_BEATEN", float("inf")):
        long = _measured_anew(model)
    rates = {entry.setting: entry.rate for entry in long}
    best = max(entry.rate for entry in long if not entry.wrong)
    for entry in long:
        sys.stdout.write(f"{entry.setting.as_text():22} {entry.rate:7,.0f} images/s  {entry.wrong}\n")
    shares = []
    for _ in range(options.choices):
        setting = chosen(_measured_anew(model))
        shares.append(rates[setting] / best)
        sys.stdout.write(f"chosen: {setting.as_text()}, {shares[-1]:.1%} of the fastest\n")
        sys.stdout.flush()
    sys.stdout.write(f"smallest share of {len(shares)} choices: {min(shares):.1%}\n")
    return 0


def _measured_anew(model: ModelFile) -> tuple[Measured, ...]:
    with _nothing_remembered():
        return settings_measured(model)


@contextmanager
def _nothing_remembered() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, {"XDG_CACHE_HOME": name}):
        yield


if __name__ == "__main__":
    sys.exit(main())
