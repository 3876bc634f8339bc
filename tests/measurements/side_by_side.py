"""What the processor allows when decoding and network share its cores, as programs of their own that wait for nothing.

    python tests/measurements/side_by_side.py DIR --seconds 10

DIR has JPEG files, at any depth. First decoding alone, one program per core, then the network alone on all cores, then
both at once. No interpreter is shared and nothing is passed on, so what is lost in the last line is lost to caches and
memory; `classify` does more, and can't be faster than the mean of both rates.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.backends.selection import open_backend
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.model.file import open_model
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.records import ImageFile
from bloodcell_batch.stages.decode import make_decoder

_BATCH = 256


def decode_for(seconds: float, folder: Path) -> float:
    """Images per second of one core's decoding."""
    paths = sorted(path for path in folder.rglob("*.jpg") if not path.name.startswith("."))
    paths = paths[:: max(1, len(paths) // 500)]
    files = [ImageFile(str(path.resolve()), "s", path.stat().st_size, 0) for path in paths]
    decode = make_decoder("/", open_model().header.preprocessing, DecodeLimits())
    for file in files[:50]:
        decode(file)
    end = _wait_for_start() + seconds
    done = 0
    while time.perf_counter() < end:
        decode(files[done % len(files)])
        done += 1
    return done / seconds


def infer_for(seconds: float) -> float:
    """Images per second of the network that `classify` would use."""
    model = open_model()
    backend = open_backend(model, "auto", BackendOptions(batch=_BATCH)).backend
    side = model.header.preprocessing.input_size
    images = np.random.default_rng(0).integers(0, 256, (_BATCH, side, side, 3), dtype=np.uint8)
    backend.infer(images)
    start = _wait_for_start()
    done = 0
    while time.perf_counter() < start + seconds:
        backend.infer(images)
        done += len(images)
    return done / (time.perf_counter() - start)


def _wait_for_start() -> float:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    return time.perf_counter()


def together(folder: Path, seconds: float, programs: Sequence[str]) -> list[float]:
    """Start the programs, let them go at once when all are ready, and return their rates."""
    command = [sys.executable, __file__, str(folder), "--seconds", str(seconds), "--work"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen([*command, name], stdin=pipe, stdout=pipe, text=True, env=environment) for name in programs
    ]
    for child in children:
        if child.stdout is None or child.stdout.readline() != "ready\n":
            raise SystemExit("a program did not start; its message is above")
    for child in children:
        if child.stdin is not None:
            child.stdin.write("go\n")
            child.stdin.flush()
    return [float(child.communicate()[0]) for child in children]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--work", choices=["decode", "infer"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work == "decode":
        sys.stdout.write(f"{decode_for(options.seconds, options.folder)}\n")
    elif options.work == "infer":
        sys.stdout.write(f"{infer_for(options.seconds)}\n")
    else:
        decoders = ["decode"] * available_cpus()
        alone = sum(together(options.folder, options.seconds, decoders))
        network = sum(together(options.folder, options.seconds, ["infer"]))
        sys.stdout.write(f"decoding alone {alone:,.0f}/s, network alone {network:,.0f}/s\n")
        *decoding, inferring = together(options.folder, options.seconds, [*decoders, "infer"])
        share = sum(decoding) / alone + inferring / network
        sys.stdout.write(
            f"both at once {sum(decoding):,.0f}/s and {inferring:,.0f}/s: {share:.0%} of what each is alone\n"
        )


if __name__ == "__main__":
    main()
