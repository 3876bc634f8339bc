import csv
import os
import pty
import re
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from finished_run import Run
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.differential.reference_ranges import Position, Range

RANGES = """
name = "test laboratory"
[neutrophil]
low = 60.0
high = 75.0
[lymphocyte]
low = 1.0
high = 2.0
[monocyte]
low = 2
high = 10
[nrbc_per_100_wbc]
low = 0
high = 1
"""


def _call(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["differential", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def _fail(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["differential", *map(str, arguments)])
    assert result.exit_code in {1, 2}
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


def _on_a_terminal(width: int, *arguments: str | Path) -> str:
    """What a person sees of both streams."""
    terminal, end = pty.openpty()
    termios.tcsetwinsize(terminal, (50, width))
    command = [sys.executable, "-m", "bloodcell_batch", "differential", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=environment) as process:
        os.close(end)
        seen = b""
        with suppress(OSError):  # the terminal is gone when the program is
            while part := os.read(terminal, 65536):
                seen += part
        os.close(terminal)
    assert process.returncode == 0, seen
    return re.sub(r"\x1b\[[0-9;]*m", "", seen.decode())


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


class TestForPeople:
    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_a_terminal_shows_a_table(self, run: Run, tmp_path: Path, width: int) -> None:
        (tmp_path / "ranges.toml").write_text(RANGES, encoding="utf-8")
        options = ["--min-wbc", "100", "--reference-ranges", str(tmp_path / "ranges.toml")]
        lines = _on_a_terminal(width, run.table, *options).splitlines()
        assert max(map(len, lines)) <= width
        words = " ".join(lines).split()
        assert {"007", "1-2", "2E5", "=A1", "NEU", "54.5"} <= set(words)
        assert "slide 007: 44 leukocytes, fewer than the 100 asked for" in " ".join(words)
        assert "slide 007: neutrophil possibly below 60-75" in " ".join(words)

    def test_a_file_is_told(self, run: Run, tmp_path: Path) -> None:
        out = tmp_path / "d.csv"
        said = CliRunner().invoke(app, ["differential", str(run.table), "--out", str(out)])
        assert said.stdout == ""
        assert "slide 007: 44 leukocytes" in said.stderr
        assert f"written to {out}" in said.stderr
        quiet = CliRunner().invoke(app, ["differential", str(run.table), "--out", str(out), "--overwrite", "--quiet"])
        assert all(line.startswith("warning: ") for line in quiet.stderr.splitlines())

    def test_a_pipe_gets_csv_and_nothing_else(self, run: Run) -> None:
        piped = CliRunner().invoke(app, ["differential", str(run.table)])
        assert piped.stderr == ""
        assert piped.stdout == _call(run.table, "--out", "-")


class TestOptions:
    def test_the_plain_table_is_the_one_of_classify(self, run: Run) -> None:
        rows = _rows(_call(run.table))
        assert [row["slide_id"] for row in rows] == ["007", "1-2", "2E5", "=A1"]
        assert rows[0]["neutrophil_percent"] == "54.5455"
        assert not any("range" in name or "min_wbc" in name for name in rows[0])

    @pytest.mark.parametrize(("target", "reached"), [("100", "false"), ("400", "false")])
    def test_min_wbc(self, run: Run, target: str, reached: str) -> None:
        row = _rows(_call(run.table, "--min-wbc", target))[0]
        assert (row["min_wbc"], row["min_wbc_reached"], row["wbc_counted"]) == (target, reached, "44")

    def test_min_wbc_knows_three_targets(self, run: Run) -> None:
        assert "--min-wbc can't be" in _fail(run.table, "--min-wbc", "150")

    def test_reference_ranges(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "ranges.toml").write_text(RANGES, encoding="utf-8")
        row = _rows(_call(run.table, "--reference-ranges", tmp_path / "ranges.toml"))[0]
        # 24 of 44 are 54.5 %: below 60, but the limits of 24 to 30 of 50 reach into the range
        assert row["neutrophil_range"] == "possibly below"
        assert row["lymphocyte_range"] == "above"
        assert row["monocyte_range"] == "within"
        assert row["nrbc_per_100_wbc_range"] == "within"
        assert "basophil_range" not in row

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[blast]\nlow=1\nhigh=2", "unknown name 'blast'"),
            ("[neutrophil]\nlow=3\nhigh=2", "wrong at neutrophil"),
            ("[neutrophil]\nlow=3", "neutrophil.high"),
            ("name = 'empty'", "no ranges"),
            ("[neutrophil", "not valid TOML"),
        ],
    )
    def test_bad_ranges(self, run: Run, tmp_path: Path, text: str, words: str) -> None:
        (tmp_path / "ranges.toml").write_text(text, encoding="utf-8")
        assert words in _fail(run.table, "--reference-ranges", tmp_path / "ranges.toml")

    def test_output_files_and_overwrite(self, run: Run, tmp_path: Path) -> None:
        out = tmp_path / "d.csv"
        _call(run.table, "--out", out, "--csv-dialect", "excel")
        assert "\n'=A1," in out.read_text(encoding="utf-8")
        assert "exists already" in _fail(run.table, "--out", out)
        _call(run.table, "--out", out, "--overwrite")
        assert _rows(out.read_text(encoding="utf-8")) == _rows(_call(run.table))
        assert [path.name for path in tmp_path.iterdir()] == ["d.csv"]

    def test_pseudonyms(self, run: Run, tmp_path: Path, key_file: Path) -> None:
        text = _call(run.table, "--pseudonymize", key_file)
        assert "=A1" not in text
        assert all(row["slide_id"].startswith("S-") for row in _rows(text))
        (tmp_path / "key").write_bytes(b"short")
        assert "fewer than 16" in _fail(run.table, "--pseudonymize", tmp_path / "key")
        (tmp_path / "key").write_bytes(b"x" * 32)
        words = _fail(run.table, "--pseudonymize", tmp_path / "key", "--out", tmp_path / "d.csv")
        assert "lies in the folder of the output" in words


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (50.0, 40.0, 60.0, Position.WITHIN),
        (39.9, 30.0, 39.95, Position.BELOW),
        (39.9, 30.0, 45.0, Position.POSSIBLY_BELOW),
        (80.0, 76.0, 90.0, Position.ABOVE),
        (80.0, 70.0, 90.0, Position.POSSIBLY_ABOVE),
        (40.0, None, None, Position.WITHIN),
        (75.1, None, None, Position.ABOVE),
    ],
)
def test_position(value: float, low: float | None, high: float | None, expected: Position) -> None:
    assert Range(low=40, high=75).position(value, low, high) is expected
