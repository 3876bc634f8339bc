"""Names that some library takes for something else: `--out` and folders as people and schedulers name them."""

from pathlib import Path

import pytest
from conftest import draw_picture, encode
from typer.testing import CliRunner

from bloodcell_batch.cli.app import app


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
