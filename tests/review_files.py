"""Review files in tests: exported, filled in and read back."""

import csv
from pathlib import Path

from finished_run import Run
from program_commands import app
from typer.testing import CliRunner

Record = dict[str, str]


def call(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["review", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["review", *map(str, arguments)])
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    return " ".join(result.stderr.split())


def read(path: Path) -> list[Record]:
    with path.open(newline="", encoding="utf-8-sig") as handle:
        return list(csv.DictReader(handle))


def write(path: Path, rows: list[Record]) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def filled(run: Run, folder: Path, cells: str = "flagged", by: str = "A. Reviewer") -> tuple[Path, list[Record]]:
    """A review in which every cell is confirmed as suggested."""
    path = folder / "review.csv"
    call("export", run.table, "--out", path, "--cells", cells)
    rows = read(path)
    for row in rows:
        row["verified_label"], row["verified_by"] = row["suggestion"], by
    write(path, rows)
    return path, rows
