"""Time and memory of the duplicate search: one large slide, and the hashes of many slides against each other.

    python tests/measurements/duplicate_search.py                                     # 100,000 and 1,000,000 hashes
    python tests/measurements/duplicate_search.py --slide 20000 --hashes 200000 --distance 32

The hashes are drawn at random (`random`), around 10,000 centres as different cells are (`cells`), and around a single
centre, which is the hardest case (`alike`). One in a hundred is a near copy of an earlier one, and the number of copies
that must be found is checked. Memory is what is allocated on top of the hashes, measured in a second pass.
"""

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.images.hamming import as_words, pairs_within
from bloodcell_batch.records import DecodedImage, ImageFacts, ImageFile, Quality, Rejection
from bloodcell_batch.stages.dedup import DuplicateFilter

Hashes = NDArray[np.uint8]
"""Shape (N, 32)."""

_PIXELS = np.empty((0, 0, 3), dtype=np.uint8)
_QUALITY = Quality(brightness=128.0, contrast=40.0, sharpness=100.0)
_COPIES = 100  # one hash in so many is a copy


def draw_hashes(kind: str, count: int, distance: int, seed: int = 0) -> Hashes:
    """Hashes of one kind, the last hundredth of them copies of others at 0 to `distance` bits."""
    rng = np.random.default_rng(seed)
    copies = count // _COPIES
    originals = rng.integers(0, 256, (count - copies, 32), dtype=np.uint8)
    if kind != "random":
        centres = originals[: 10_000 if kind == "cells" else 1].copy()
        flips = 0.25 if kind == "cells" else 0.2  # of a centre's bits: two of its hashes are 80 or more bits apart
        for start in range(0, len(originals), 10_000):
            stop = min(start + 10_000, len(originals))
            noise = np.packbits(rng.random((stop - start, 256), dtype=np.float32) < flips, axis=1)
            originals[start:stop] = centres[rng.integers(len(centres), size=stop - start)] ^ noise
    flags = np.zeros((copies, 256), dtype=np.uint8)
    for row, gap in zip(flags, rng.integers(0, distance + 1, copies), strict=True):
        row[rng.choice(256, gap, replace=False)] = 1
    origins = rng.choice(len(originals), copies, replace=False)
    return np.concatenate([originals, originals[origins] ^ np.packbits(flags, axis=1)])


def filter_slide(hashes: Hashes, distance: int) -> int:
    """Pass the hashes as images of one slide through the filter; the number of near duplicates."""
    images = (
        DecodedImage(ImageFile(f"slide/{i}", "slide", 0, 0), _facts(row, i), _PIXELS) for i, row in enumerate(hashes)
    )
    unique = DuplicateFilter("near", distance)
    return sum(isinstance(outcome, Rejection) for outcome in unique(images))


def match_slides(hashes: Hashes, distance: int) -> int:
    """Compare the hashes with one another; the number of near pairs."""
    return sum(1 for _ in pairs_within(as_words(hashes.tobytes()), distance))


def measure(job: Callable[[Hashes, int], int], hashes: Hashes, distance: int) -> tuple[int, float, float, float]:
    """What a job returns, its seconds by the clock and of processor time, and its memory in MB."""
    start, busy = time.perf_counter(), time.process_time()
    found = job(hashes, distance)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    tracemalloc.start()
    job(hashes, distance)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return found, seconds, busy, peak


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a copy was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--slide", type=int, default=100_000, help="images of the one slide (default: %(default)s)")
    parser.add_argument("--hashes", type=int, default=1_000_000, help="hashes of all slides (default: %(default)s)")
    parser.add_argument("--distance", type=int, default=16, help="bits, 0 to 32 (default: %(default)s)")
    options = parser.parse_args(arguments)
    missed = 0
    for name, job, count in (("one slide", filter_slide, options.slide), ("all slides", match_slides, options.hashes)):
        for kind in ("random", "cells", "alike"):
            hashes = draw_hashes(kind, count, options.distance)
            found, seconds, busy, peak = measure(job, hashes, options.distance)
            missed += max(0, count // _COPIES - found)
            sys.stdout.write(
                f"{name}: {count:>9,} hashes, {kind:>6}, at most {options.distance} bits: {seconds:6.1f} s "
                f"({busy:.1f} s of processor), {peak:5.0f} MB, {found:,} found of {count // _COPIES:,} copies\n"
            )
            sys.stdout.flush()
    return 1 if missed else 0


def _facts(row: NDArray[np.uint8], number: int) -> ImageFacts:
    return ImageFacts("", row.tobytes(), 360, 363, _QUALITY, pixel_digest=number.to_bytes(16, "big"))


if __name__ == "__main__":
    sys.exit(main())
