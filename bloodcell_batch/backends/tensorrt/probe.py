"""Trying a plan in a child process, because a plan that does not fit this machine may crash the process that loads it.

Run as `python -m bloodcell_batch.backends.tensorrt.probe PLAN DEVICE`; the last line printed is the finding as JSON.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from bloodcell_batch.errors import BackendError

_TIMEOUT_S = 120


def probe(plan: Path, device: str) -> str:
    """What went wrong when a child process loaded and ran the plan, in words; empty if all went well."""
    command = [sys.executable, "-m", __name__, str(plan), device]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"a trial of the plan hung for {_TIMEOUT_S} s"
    except OSError as error:
        return f"no child process could be started to try the plan: {error.strerror}"
    if done.returncode < 0:
        return f"a trial of the plan crashed (signal {-done.returncode})"
    try:
        finding = json.loads(done.stdout.strip().splitlines()[-1])
        return str(finding["wrong"])
    except (ValueError, LookupError, TypeError):
        said = done.stderr.strip().splitlines()
        return f"a trial of the plan failed (exit code {done.returncode}): {said[-1] if said else 'no message'}"


def _try(plan: Path, device: str) -> str:
    from bloodcell_batch.backends.device_batches import DeviceBatches  # noqa: PLC0415 - only the child needs them
    from bloodcell_batch.backends.tensorrt.runtime import Plan  # noqa: PLC0415

    try:
        where = torch.device(device)
        opened = Plan(plan.read_bytes(), where)
        shape = (opened.side, opened.side, 3)
        batches = DeviceBatches(
            where, opened.profile[1], shape, opened.widths, opened.launch, pad=False, graph=where.type == "cuda"
        )
        probabilities, _ = batches(np.zeros((opened.profile[1] + 1, *shape), dtype=np.uint8))
    except torch.OutOfMemoryError:
        return "not enough GPU memory for the plan"
    except (BackendError, OSError, RuntimeError, TypeError) as error:
        return str(error)
    return "" if np.isfinite(probabilities).all() else "the plan returns no numbers"


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps({"wrong": _try(Path(sys.argv[1]), sys.argv[2])}) + "\n")
