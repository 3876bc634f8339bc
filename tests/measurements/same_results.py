"""Do two versions of the program give the same results? For changes that must change nothing.

    python tests/measurements/same_results.py record CHECKOUT OUT --slides MADE [MADE ...] [--labelled FOLDER]
    python tests/measurements/same_results.py compare OUT_BEFORE OUT_AFTER

`record` runs classify (Parquet, CSV, workbook, shards and merge), verify, differential, report, review, concordance
and evaluate of the checkout on every MADE folder (each holds a folder `slides`) and on the checkout's own examples, and
keeps what they wrote, their exit codes and their stdout. `compare` compares tables byte for byte; reviewed tables and
shard files, which hold times, value by value; workbooks, pages and run records after removing the times, the speeds and
the folder of the recording. It prints what differs, and where in the file, and exits with 1 if anything does.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from openpyxl import load_workbook

# What two runs of one program differ in: times, speeds, and the digests of files that hold times.
VOLATILE = {
    *("started", "finished", "merged", "imported", "issued", "timestamp", "command", "timings", "timings_seconds"),
    *("seconds", "images_per_second", "throughput", "peak_memory", "run_sha256", "record_sha256", "tables_sha256"),
}
TIMED_COLUMN = "verified_at"
NAMED = 10  # differences of one file that are told


def commands(made: Path, name: str) -> list[tuple[str, ...]]:
    """The commands that are recorded for one folder, in order; each may use what those before it wrote."""
    slides = str(made / "slides")
    out = f"{name}/r"
    return [
        ("classify", slides, "--out", f"{out}.parquet"),
        ("classify", slides, "--out", f"{out}.parquet"),
        ("classify", slides, "--out", f"{name}/allowed.csv", "--allow-failed", "100", "--min-confidence", "0.9"),
        ("classify", slides, "--out", f"{name}/excel.csv", "--csv-dialect", "excel", "--slide-by", "top"),
        ("classify", slides, "--out", f"{name}/book.xlsx", "--dedup", "exact", "--workers", "1", "--batch-size", "7"),
        ("classify", slides, "--out", "-"),
        ("classify", slides, "--out", f"{name}/shard-0.parquet", "--shard", "0/2"),
        ("classify", slides, "--out", f"{name}/shard-1.parquet", "--shard", "1/2"),
        ("merge", f"{name}/shard-0.parquet", f"{name}/shard-1.parquet", "--out", f"{name}/merged.parquet"),
        ("verify", f"{out}.parquet", "--images", slides),
        ("differential", f"{out}.parquet"),
        ("report", f"{out}.parquet", "--out", f"{name}/report.html", "--images", slides),
        ("review", "export", f"{out}.parquet", "--out", f"{name}/review.html", "--images", slides),
        ("review", "export", f"{out}.parquet", "--out", f"{name}/review.csv", "--cells", "all", "--images", slides),
        ("review", "import", f"{out}.parquet", f"{name}/review.csv", "--by", "A", "--partial"),
        ("export-fhir", f"{name}/r.verified.parquet", "--out", f"{name}/fhir.json"),
        ("classify", slides, "--out", f"{name}/r.pdf"),
        ("classify", f"{slides}-missing", "--out", f"{name}/missing.parquet"),
        ("report", f"{name}/none.parquet", "--out", f"{name}/none.html"),
    ]


def record(checkout: Path, out: Path, made: list[Path], labelled: Path | None) -> None:
    """Run everything and keep the exit codes and stdout in `out/outcomes.json`."""
    out.mkdir(parents=True)
    outcomes: list[dict[str, Any]] = []
    folders = [(folder.name, folder) for folder in made] + [("examples", checkout / "examples")]
    work = [command for name, folder in folders for command in commands(folder.resolve(), name)]
    if labelled:
        work.append(("evaluate", str(labelled.resolve()), "--out", "evaluation.json", "--part", "validation"))
    for name, _ in folders:
        (out / name).mkdir()
    for command in work:
        run = subprocess.run(
            [sys.executable, "-m", "bloodcell_batch", *command],
            cwd=out,
            env={"PYTHONPATH": str(checkout.resolve()), "PATH": "/usr/bin:/bin", "HOME": str(out.resolve())},
            capture_output=True,
            check=False,
        )
        outcomes.append(
            {
                "command": [word.replace(str(checkout.resolve()), "CHECKOUT") for word in command],
                "code": run.returncode,
                "stdout": run.stdout.decode("utf-8", "replace"),
                "stderr": run.stderr.decode("utf-8", "replace"),
            }
        )
        sys.stdout.write(f"{run.returncode} {' '.join(command)}\n")
    (out / "outcomes.json").write_text(json.dumps(outcomes, indent=1), encoding="utf-8")


def plain(text: str) -> str:
    """Text without times and without the folders that differ between two recordings."""
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?([+-]\d\d:\d\d|Z| UTC)?", "TIME", text)
    text = re.sub(r"\b[0-9,.]+ ?(/s|s|seconds|images/s|MB|KB|kB|min)\b", "N", text)
    return re.sub(r"/[^\s\"'<>]*/(slides|examples)\b", r"\1", text)


def stable(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """A JSON value without what differs from run to run."""
    if isinstance(value, dict):
        return {key: stable(inner) for key, inner in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [stable(inner) for inner in value]
    return plain(value) if isinstance(value, str) else value


def readable(path: Path) -> Any:  # noqa: ANN401 - whatever is compared
    """The content of a file in the form in which it is compared."""
    if path.suffix == ".xlsx":
        book = load_workbook(path)
        return {sheet.title: [plain_row(row) for row in sheet.values if not is_volatile(row[0])] for sheet in book}
    if path.suffix == ".parquet":
        return readable_parquet(path)
    if path.suffix == ".json":
        return stable(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".html":
        return plain(path.read_text(encoding="utf-8"))
    return path.read_bytes()


def is_volatile(key: object) -> bool:
    """Whether a line of the sheet Run, such as `timings_seconds.total`, differs from run to run."""
    return not VOLATILE.isdisjoint(str(key).split("."))


def plain_row(row: Iterable[object]) -> list[str]:
    """A row of a sheet as texts."""
    return [plain(str(cell)) for cell in row]


def readable_parquet(path: Path) -> Any:  # noqa: ANN401 - whatever is compared
    """The bytes, or the values where a file holds the time of its run."""
    schema = pq.read_schema(path)
    if TIMED_COLUMN not in schema.names and not path.name.endswith(".shard.parquet"):
        return path.read_bytes()
    table = pq.read_table(path)
    columns = {name: table.column(name).to_pylist() for name in table.schema.names}
    if TIMED_COLUMN in columns:
        columns[TIMED_COLUMN] = [value and plain(value) for value in columns[TIMED_COLUMN]]
    types = {field.name: f"{field.type} {field.nullable} {field.metadata}" for field in table.schema}
    metadata = {key.decode(): plain(value.decode()) for key, value in (table.schema.metadata or {}).items()}
    return {"types": types, "metadata": metadata, **columns}


def places(one: Any, other: Any, where: str = "") -> Iterator[str]:  # noqa: ANN401 - whatever is compared
    """Where two contents differ, as dotted keys with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        if list(one) != list(other) and one.keys() == other.keys():
            yield f"{where or 'the file'}: the keys are in another order"
        for key in [*one, *(key for key in other if key not in one)]:
            inner = f"{where}.{key}" if where else str(key)
            if key not in one or key not in other:
                yield f"{inner}: only in one recording"
            else:
                yield from places(one[key], other[key], inner)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from places(left, right, f"{where}[{number}]")
    elif type(one) is not type(other) or one != other:
        told = "" if isinstance(one, bytes) else f" {shortened(one)} -> {shortened(other)}"
        yield f"{where or 'the file'}:{told or ' other bytes'}"


def shortened(value: object) -> str:
    """A value for people."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def differences(before: Path, after: Path) -> list[str]:
    """One line for every file that is missing or differs, and for every command that ended otherwise."""
    found = []
    names = {
        path.relative_to(root)
        for root in (before, after)
        for path in root.rglob("*")
        if path.is_file() and path.name != "outcomes.json" and not path.relative_to(root).parts[0].startswith(".")
    }
    for name in sorted(names):
        if not (before / name).exists() or not (after / name).exists():
            found.append(f"{name}: only in one recording")
        else:
            differ = list(places(readable(before / name), readable(after / name)))
            found += [f"{name}: {place}" for place in differ[:NAMED]]
            found += [f"{name}: and {len(differ) - NAMED} more"] if len(differ) > NAMED else []
    first, second = (json.loads((root / "outcomes.json").read_text(encoding="utf-8")) for root in (before, after))
    for one, other in zip(first, second, strict=True):
        found += [
            f"{' '.join(one['command'])}: {key}\n- {one[key]!r}\n+ {other[key]!r}"
            for key in ("code", "stdout", "stderr")
            if plain(str(one[key])) != plain(str(other[key]))
        ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    recording = parts.add_parser("record")
    recording.add_argument("checkout", type=Path)
    recording.add_argument("out", type=Path)
    recording.add_argument("--slides", type=Path, nargs="+", default=[])
    recording.add_argument("--labelled", type=Path)
    comparing = parts.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.part == "record":
        record(given.checkout, given.out, given.slides, given.labelled)
        return 0
    found = differences(given.before, given.after)
    sys.stdout.write("\n".join(found or ["the same"]) + "\n")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
