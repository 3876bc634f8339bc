"""What a name costs when there are very many: images/s and peak memory. `benchmark --growth` does it with images.

    python tests/measurements/scale.py names --files 1000000                   # tiny pictures, --dedup exact
    python tests/measurements/scale.py empty --files 1000000                   # empty files

Nearly all of `names` are copies within their slide, which are scanned, read, decoded, compared, journalled and
published, but not classified. `empty` has files without a byte, which all end as failed rows, named once more in the
run record: the most that a name can cost. The rate is that of the run without the start of Python and of the backend.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from classify_child import Done, classify, link_many, record

from bloodcell_batch.benchmark.drawn_images import draw_slides

_PER_SLIDE = 400
_TINY, _TINY_PICTURES = (48, 48), 200
_MOST_LINKS = 50_000  # of one file; ext4 allows 65,000
_OPTIONS = {
    "names": ("--dedup", "exact"),
    "empty": ("--allow-failed", "1000000000"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(_OPTIONS))
    parser.add_argument("--files", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--place", type=Path, help="folder for the images")
    options = parser.parse_args(arguments)
    for count in options.files:
        with tempfile.TemporaryDirectory(dir=options.place) as name:
            folder, out = Path(name) / "slides", Path(name) / "r.parquet"
            folder.mkdir()
            _fill(folder, options.kind, count)
            _tell(count, classify(folder, out, *_OPTIONS[options.kind]), out)
    return 0


def _fill(folder: Path, kind: str, count: int) -> None:
    if kind == "empty":
        originals = [folder.parent / f"empty{i}.jpg" for i in range(1 + count // _MOST_LINKS)]
        for path in originals:
            path.touch()
    else:
        source = folder.with_name("pictures")
        source.mkdir()
        draw_slides(source, _TINY_PICTURES, _TINY)
        originals = sorted(source.rglob("*.jpg"))
    link_many(originals, folder, count, _PER_SLIDE)


def _tell(count: int, done: Done, out: Path) -> None:
    if done.code:
        sys.stdout.write(f"{count:>9,} files: exit code {done.code}\n{done.told}")
        return
    found = record(out)
    times = found["timings_seconds"]
    busy = times["total"] - times["load"]
    sys.stdout.write(
        f"{count:>9,} files: {count / busy:7,.0f} images/s ({busy:.1f} s, of these {times['scan']:.1f} s scan and "
        f"{times['total'] - times['classify'] - times['load'] - times['scan']:.1f} s cross-slide and publishing), "
        f"{done.seconds:.1f} s in all, {done.processor_s:.1f} s of processor, peak {done.peak_mb:,.0f} MB\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
