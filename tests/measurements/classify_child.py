"""Runs of the program as a child process, with what they cost, for the measurements beside this file."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Done:
    """A finished run: exit code, seconds from start to end, seconds of processor, peak memory in MB, stderr."""

    code: int
    seconds: float
    processor_s: float
    peak_mb: float
    told: str


def command(folder: Path, out: Path, *options: str) -> list[str]:
    """The command line of a run."""
    return [sys.executable, "-m", "bloodcell_batch", "classify", str(folder), "--out", str(out), *options]


def classify(folder: Path, out: Path, *options: str) -> Done:
    """Classify `folder` into `out` and wait for it."""
    log = out.with_name(f"{out.name}.log")
    start = time.perf_counter()
    with log.open("wb") as stream, subprocess.Popen(command(folder, out, *options), stderr=stream) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    told = log.read_text(encoding="utf-8")
    log.unlink()
    seconds = time.perf_counter() - start
    return Done(child.returncode, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, told)


def record(out: Path) -> dict[str, Any]:
    """The run record beside `out`."""
    found: dict[str, Any] = json.loads(out.with_name(f"{out.stem}.run.json").read_text(encoding="utf-8"))
    return found


def tables(out: Path) -> tuple[bytes, bytes]:
    """The bytes of the image table and of the slide table."""
    return out.read_bytes(), out.with_name(f"{out.stem}.slides{out.suffix}").read_bytes()


def link_many(sources: list[Path], folder: Path, count: int, per_slide: int) -> None:
    """Hard links to `sources`, by turns, under `count` names in slide folders."""
    for start in range(0, count, per_slide):
        slide = folder / f"slide-{start // per_slide:06}"
        slide.mkdir(parents=True)
        for number in range(start, min(start + per_slide, count)):
            source = sources[number % len(sources)]
            os.link(source, slide / f"{number:08}{source.suffix}")
