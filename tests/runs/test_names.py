"""Names that some library takes for something else: `--out` and folders as people and schedulers name them."""

import os
import shutil
from pathlib import Path

import pytest
from conftest import draw_picture, encode
from default_tables import IMAGE_SCHEMA
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.model.file import DEFAULT_MODEL
from bloodcell_batch.results.formats import read_table


@pytest.fixture
def slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "in" / "s").mkdir(parents=True)
    (tmp_path / "in" / "s" / "1.png").write_bytes(encode(draw_picture(1), "PNG"))
    monkeypatch.chdir(tmp_path)
    return "in"


@pytest.mark.parametrize(
    "out",
    ["run-10:30.parquet", "10:30.csv", "a:b.xlsx", "lab:7/r.parquet", "s3:/r.parquet", "C:r.csv", "file:x.csv"],
)
def test_a_colon_in_the_output_name(slides: str, tmp_path: Path, out: str) -> None:
    (tmp_path / out).parent.mkdir(exist_ok=True)
    done = CliRunner().invoke(app, ["classify", slides, "--out", out])
    assert done.exit_code == 0, done.output
    checked = CliRunner().invoke(app, ["verify", out, "--images", slides])
    assert checked.exit_code == 0, checked.output
    assert CliRunner().invoke(app, ["differential", out]).exit_code == 0
    again = CliRunner().invoke(app, ["classify", slides, "--out", out, "--update"])
    assert again.exit_code == 0, again.output


ODD = os.fsdecode(b"\xe4")
"""A byte that is not UTF-8, as old cameras and file servers leave it in names."""


def test_bytes_that_are_not_utf_8_in_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    slide = tmp_path / f"in{ODD}" / f"Tr{ODD}ger"
    slide.mkdir(parents=True)
    (tmp_path / f"out{ODD}").mkdir()
    (slide / f"1{ODD}.png").write_bytes(encode(draw_picture(1), "PNG"))
    shutil.copy(DEFAULT_MODEL, tmp_path / f"m{ODD}.safetensors")
    options = ["--model", f"m{ODD}.safetensors", "--audit-log", f"a{ODD}.jsonl"]
    regex = ["--slide-by", "regex", "--slide-regex", f"(Tr{ODD}ger)"]
    for name in ("r.parquet", "c.csv", "x.xlsx"):
        table = f"out{ODD}/{ODD}{name}"
        commands = (
            ["classify", f"in{ODD}", "--out", table, *options, *regex],
            ["classify", f"in{ODD}", "--out", table, *options, *regex, "--update"],
            ["verify", table, "--images", f"in{ODD}", "--model", f"m{ODD}.safetensors"],
            ["report", table, "--out", f"{table}.html"],
            ["differential", table, "--out", f"{table}.d.csv"],
            ["review", "export", table, "--out", f"{table}.review.csv", "--cells", "all"],
            ["export-fhir", table, "--out", f"{table}.json"],
        )
        for command in commands:
            done = CliRunner().invoke(app, command)
            assert done.exit_code == 0, (command, done.output, done.exception)
    paths = read_table(Path(f"out{ODD}/{ODD}r.parquet"), IMAGE_SCHEMA).column("path").to_pylist()
    assert paths == ["Tr\\xe4ger/1\\xe4.png"]


@pytest.mark.parametrize(
    "command",
    [
        ["classify", f"none{ODD}", "--out", "r.csv"],
        ["classify", "in", "--out", f"r{ODD}.pdf"],
        ["classify", "in", "--out", "r.csv", "--slide-by", "manifest", "--slide-manifest", f"m{ODD}.csv"],
        ["classify", "in", "--out", "r.csv", "--config", f"c{ODD}.toml"],
        ["classify", "in", "--out", "r.csv", "--model", f"m{ODD}.safetensors"],
        ["verify", f"r{ODD}.parquet"],
        ["evaluate", f"in{ODD}"],
    ],
)
def test_names_that_are_refused_are_refused_in_words(slides: str, command: list[str]) -> None:
    del slides
    done = CliRunner().invoke(app, command)
    assert done.exit_code in {1, 2, 4}
    assert isinstance(done.exception, SystemExit)
