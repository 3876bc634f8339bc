"""What an image costs when there are more of them: images/s and peak memory for growing folders.

    python tests/measurements/scale.py links DIR --files 1000 10000 100000     # hard links, --dedup off
    python tests/measurements/scale.py drawn --files 1000 10000 100000         # distinct pictures, --dedup near
    python tests/measurements/scale.py update DIR --files 100000               # then --update with nothing to do
    python tests/measurements/scale.py names --files 1000000                   # tiny pictures, --dedup exact
    python tests/measurements/scale.py empty --files 1000000                   # empty files

DIR has image files, in any sub-folders. `names` is about the number of files: nearly all are copies within their slide,
which are scanned, read, decoded, compared, journalled and published, but not classified. `empty` has files without a
byte, which all end as failed rows, named once more in the run record: the most that a name can cost. The rate is that
of the run without the start of Python and of the backend.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from classify_child import Done, classify, link_many, record

from bloodcell_batch.benchmarking.pictures import draw_slides
from bloodcell_batch.preprocessing import IMAGE_SUFFIXES

_PER_SLIDE = 400
_SIZE = (360, 363)
_TINY, _TINY_PICTURES = (48, 48), 200
_MOST_LINKS = 50_000  # of one file; ext4 allows 65,000
_OPTIONS = {
    "links": ("--dedup", "off"),
    "drawn": ("--dedup", "near"),
    "update": ("--dedup", "off"),
    "names": ("--dedup", "exact"),
    "empty": ("--allow-failed", "1000000000"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(_OPTIONS))
    parser.add_argument("dir", type=Path, nargs="?")
    parser.add_argument("--files", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--place", type=Path, help="folder for the images; hard links need the disk of DIR")
    options = parser.parse_args(arguments)
    if options.kind in {"links", "update"} and options.dir is None:
        parser.error("give DIR")
    for count in options.files:
        with tempfile.TemporaryDirectory(dir=options.place) as name:
            folder, out = Path(name) / "slides", Path(name) / "r.parquet"
            folder.mkdir()
            _fill(folder, options.kind, options.dir, count)
            _tell(count, classify(folder, out, *_OPTIONS[options.kind]), out)
            if options.kind == "update":
                _tell(count, classify(folder, out, *_OPTIONS[options.kind], "--update"), out)
    return 0


def _fill(folder: Path, kind: str, source: Path | None, count: int) -> None:
    if kind == "drawn":
        draw_slides(folder, count, _SIZE)
        return
    if kind == "empty":
        empty = [folder.parent / f"empty{i}.jpg" for i in range(1 + count // _MOST_LINKS)]
        for path in empty:
            path.touch()
        link_many(empty, folder, count, _PER_SLIDE)
        return
    if source is None:
        source = folder.with_name("pictures")
        source.mkdir()
        draw_slides(source, _TINY_PICTURES, _TINY)
    originals = sorted(path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    # On one disk first: links can't cross to another.
    pool = folder.with_name("originals")
    pool.mkdir()
    originals = originals[:: max(1, len(originals) // count)][:count]
    copies = [pool / f"{number:06}{path.suffix}" for number, path in enumerate(originals)]
    for path, copy in zip(originals, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    link_many(copies, folder, count, _PER_SLIDE)


def _tell(count: int, done: Done, out: Path) -> None:
    if done.code:
        sys.stdout.write(f"{count:>9,} files: exit code {done.code}\n{done.told}")
        return
    found = record(out)
    times = found["timings_seconds"]
    busy = times["total"] - times["load"]
    kept = f", {found['kept_from_earlier_result']:,} kept" if found["kept_from_earlier_result"] else ""
    sys.stdout.write(
        f"{count:>9,} files: {count / busy:7,.0f} images/s ({busy:.1f} s, of these {times['scan']:.1f} s scan and "
        f"{times['total'] - times['classify'] - times['load'] - times['scan']:.1f} s cross-slide and publishing), "
        f"{done.seconds:.1f} s in all, {done.processor_s:.1f} s of processor, peak {done.peak_mb:,.0f} MB{kept}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
