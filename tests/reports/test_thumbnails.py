import os
from dataclasses import replace
from pathlib import Path

from conftest import draw_picture, encode
from finished_run import Run

from bloodcell_batch.integrity.digests import file_sha256
from bloodcell_batch.reports.thumbnails import NoThumbnail, Thumbnail, make_thumbnails
from bloodcell_batch.results.finished import load_results


def test_only_the_files_that_were_classified_are_shown(run: Run, tmp_path: Path) -> None:
    row = next(row for row in load_results(run.table).rows if row.is_cell)
    assert isinstance(make_thumbnails([row], run.images, 64)[row.file], Thumbnail)
    assert make_thumbnails([replace(row, sha256="")], run.images, 64)[row.file] is NoThumbnail.UNDECODABLE
    folder = tmp_path / "slides"
    folder.mkdir()
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(encode(draw_picture(1)))
    os.mkfifo(folder / "pipe.jpg")
    for name in ("../secret.jpg", str(secret), "pipe.jpg", "a\0.jpg"):
        hostile = replace(row, file=name, sha256=file_sha256(secret))
        assert make_thumbnails([hostile], folder, 64)[name] is NoThumbnail.MISSING
