"""Fuzzing of everything that reads files: damages sound files at random and looks for what must never happen.

    python tests/measurements/fuzz.py --cases 200000 --seed 1              # as many cases, spread over all readers
    python tests/measurements/fuzz.py --cases 200000 --seed 1 --minutes 30 # but no longer
    python tests/measurements/fuzz.py --seed 1 --case 4711 --keep DIR      # one case again, its file kept

Images (JPEG, PNG, TIFF, BMP, WebP) are made from examples/slides. Model files, slide and label manifests, MedMNIST
files, recipes and options, reference ranges, manual counts, result tables with their run records, reviews and audit
logs are made here. A case is a function of the seed and its number. Cases run in a child process with bounded address
space; found are

* crashes: the child ended by a signal;
* wrong errors: anything but a `BloodcellBatchError` or `UndecodableImageError`;
* hangs: a case of more than `--seconds`;
* memory: a case that lets the process grow by more than `--megabytes`.

Each is printed with its number and what the last call was; equal ones are counted. Exit code 1 if there is any.
"""

import argparse
import random
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parent.parent))

from fuzz_targets import EXPECTED, Target, make_seeds, make_targets

_ADDRESS_SPACE = 6_000_000_000
_CASES_A_CHILD = 5000


class _TooSlowError(BaseException):
    """A case took too long; no reader catches it."""


def case_of(targets: Sequence[Target], seed: int, number: int) -> tuple[Target, bytes]:
    """The target and the damaged file of a case."""
    rng = random.Random(f"{seed}/{number}")
    target = rng.choices(targets, [target.weight for target in targets])[0]
    return target, target.case(rng)


def run_case(target: Target, data: bytes, folder: Path, seconds: float, megabytes: float) -> str:
    """Read one damaged file; what must not happen, in one line, or nothing."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_REAL, seconds)
    found = ""
    try:
        target.read(data, folder)
    except EXPECTED:
        pass
    except _TooSlowError:
        found = f"hang: {_place()}"
    except Exception as error:  # noqa: BLE001 - the point of it
        found = f"wrong error: {type(error).__name__}: {str(error)[:100]} {_place()}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if not found and grown > megabytes:
        found = f"memory: grew by {grown:.0f} MB"
    return found.replace("\n", " ").replace("\t", " ")


def _place() -> str:
    _, _, where = sys.exc_info()
    frames = traceback.extract_tb(where)
    ours = next((frame for frame in reversed(frames) if "bloodcell_batch" in frame.filename), frames[-1])
    return f"in {Path(ours.filename).name}:{ours.lineno} {ours.name}"


def child(options: argparse.Namespace, start: int, stop: int) -> int:
    """Run the cases from `start` to `stop`, telling the parent of each."""
    warnings.simplefilter("ignore")
    targets = make_targets(options.seeds)
    signal.signal(signal.SIGALRM, _too_slow)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    folder = Path(tempfile.mkdtemp(dir=options.seeds)) / "case"
    for number in range(start, stop):
        target, data = case_of(targets, options.seed, number)
        _tell(f"begin\t{number}\t{target.name}")
        found = run_case(target, data, folder, options.seconds, options.megabytes)
        if found:
            _tell(f"found\t{number}\t{target.name}\t{found}")
            if found.startswith("memory"):
                _tell(f"again\t{number + 1}")  # the largest size of this process can't be measured any more
                return 0
    _tell("done")
    return 0


def _too_slow(_signal: int, _frame: FrameType | None) -> None:
    raise _TooSlowError


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _lines(process: subprocess.Popen[str], seconds: float) -> Iterator[list[str]]:
    """Lines of the child; an empty one when it has been silent for too long."""
    if process.stdout is None:
        return
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        rest = ""
        while True:
            if not selector.select(seconds):
                yield []
                return
            piece = process.stdout.buffer.raw.read(1 << 16).decode()  # type: ignore[attr-defined]
            if not piece:
                return
            *whole, rest = (rest + piece).split("\n")
            yield from (line.split("\t") for line in whole)


def campaign(options: argparse.Namespace) -> int:
    """Run all cases in children and print what was found."""
    end = time.monotonic() + 60 * options.minutes
    per_target: Counter[str] = Counter()
    findings: Counter[str] = Counter()
    first: dict[str, int] = {}
    number = 0
    began = time.monotonic()
    while number < options.cases and time.monotonic() < end:
        stop = min(number + _CASES_A_CHILD, options.cases)
        command = [sys.executable, __file__, "--seeds", str(options.seeds), "--child", f"{number}:{stop}"]
        command += ["--seed", str(options.seed), "--seconds", str(options.seconds)]
        command += ["--megabytes", str(options.megabytes)]
        current, name, over, begun = number, "", False, number
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in _lines(process, 60 + 2 * options.seconds):
                if not line:
                    process.kill()
                    what = f"{name}: hang outside of Python"
                elif line[0] == "begin":
                    current, name = int(line[1]), line[2]
                    begun = current + 1
                    per_target[name] += 1
                    continue
                elif line[0] == "found":
                    what = f"{line[2]}: {line[3]}"
                else:
                    over = True
                    continue
                findings[what] += 1
                first.setdefault(what, current)
        if not over and process.returncode:
            what = f"{name}: child ended with {process.returncode}"
            findings[what] += 1
            first.setdefault(what, current)
            begun = max(begun, number + 1)
        number = begun
    cases = sum(per_target.values())
    for name, count in sorted(per_target.items()):
        sys.stdout.write(f"{name:<28}{count:>9,} cases\n")
    for what, count in findings.most_common():
        sys.stdout.write(f"{count:>7,} x {what} (first: --case {first[what]})\n")
    minutes = (time.monotonic() - began) / 60
    sys.stdout.write(f"seed {options.seed}: {cases:,} cases in {minutes:.1f} minutes, {findings.total():,} findings\n")
    return 1 if findings else 0


def one_case(options: argparse.Namespace) -> int:
    """Run a single case here, with its traceback, and keep its file."""
    target, data = case_of(make_targets(options.seeds), options.seed, options.case)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        (options.keep / f"case-{options.case}").write_bytes(data)
    sys.stdout.write(f"{target.name}, {len(data)} bytes\n")
    folder = options.seeds / "one"
    folder.mkdir()
    try:
        target.read(data, folder)
    except EXPECTED as error:
        sys.stdout.write(f"{type(error).__name__}: {error}\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--seconds", type=float, default=5.0, help="per case (default: %(default)s)")
    parser.add_argument("--megabytes", type=float, default=400.0, help="growth per case (default: %(default)s)")
    parser.add_argument("--case", type=int, help="run only this one")
    parser.add_argument("--keep", type=Path, help="folder for its file")
    parser.add_argument("--seeds", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        start, stop = options.child.split(":")
        return child(options, int(start), int(stop))
    with tempfile.TemporaryDirectory(prefix="bloodcell-batch-fuzz-") as folder:
        options.seeds = Path(folder)
        make_seeds(options.seeds)
        return campaign(options) if options.case is None else one_case(options)


if __name__ == "__main__":
    sys.exit(main())
