"""The measuring scripts run; what they measure depends on the machine."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import PROJECT, draw_picture, encode
from drawn_fields import grid_of_red_cells, smear
from openpyxl import Workbook
from PIL import Image
from small_model import make_small_model

from bloodcell_batch.model.file import open_model, save_model
from bloodcell_batch.training.data.labelled import short_digest
from bloodcell_batch.training.data.seen import SAME_PICTURE_DISTANCE, Seen

MEASUREMENTS = PROJECT / "tests" / "measurements"


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few images of two of the example slides, one of them damaged: what is repeated often should be small."""
    folder = tmp_path_factory.mktemp("slides")
    for name in ("drawn-normal", "drawn-left-shift"):
        (folder / name).mkdir()
        images = sorted((PROJECT / "examples" / "slides" / name).glob("*.jpg"))
        for path in (*images[:6], images[-1]):
            shutil.copy(path, folder / name)
    return folder


def _lines(script: str, *arguments: str) -> list[str]:
    command = [sys.executable, str(MEASUREMENTS / script), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_duplicate_search_finds_every_copy() -> None:
    lines = _lines("duplicate_search.py", "--slide", "400", "--hashes", "4000", "--distance", "20")
    assert len(lines) == 6
    assert all("4 found of 4 copies" in line for line in lines[:3])
    assert all("40 found of 40 copies" in line for line in lines[3:])


def test_cells_to_name_compares_three_choices(toy_cells: Path) -> None:
    lines = _lines("cells_to_name.py", str(toy_cells), "--cells", "10", "--repeats", "2")
    assert [line.split(", ")[1].split(":")[0] for line in lines] == ["random", "least certain", "for adaptation"]
    assert all(line.endswith("%") for line in lines)


def test_decode_parts_measures_every_part(tmp_path: Path) -> None:
    for seed in range(3):
        (tmp_path / f"{seed}.jpg").write_bytes(encode(draw_picture(seed)))
    lines = _lines("decode_parts.py", str(tmp_path), "--rounds", "1")
    assert lines[0].startswith("read")
    assert lines[-1].startswith("everything")
    assert all(line.endswith("/s") for line in lines)


def test_killed_runs_are_completed_by_the_same_command(slides: Path) -> None:
    lines = _lines("kill_runs.py", str(slides), "--kills", "4", "--seed", "1")
    assert lines[-1].startswith("4 of 4 as if undisturbed")


def test_runs_in_a_loop_leave_nothing_behind(slides: Path) -> None:
    lines = _lines("soak.py", str(slides), "--runs", "3")
    assert lines[-1] == "nothing was left behind, nothing grew"


def test_more_files_are_measured() -> None:
    lines = _lines("scale.py", "names", "--files", "50", "100")
    assert [line.split(" files:")[0].strip() for line in lines] == ["50", "100"]
    (line,) = _lines("scale.py", "empty", "--files", "100")
    assert line.startswith("      100 files:")
    assert "exit code" not in line


def test_the_choice_of_arithmetic_is_measured() -> None:
    *lines, last = _lines("fastest_setting.py", "--choices", "1", "--seconds", "0.05")
    assert [line.split(", ")[0].split()[-1] for line in lines].count("f32") >= 1
    assert lines[-1].startswith("chosen: ")
    assert last.startswith("smallest share of 1 choices: ")


def test_decoding_and_network_run_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(encode(draw_picture(1)))
    alone, both = _lines("side_by_side.py", str(tmp_path), "--seconds", "0.5")
    assert alone.startswith("decoding alone ")
    assert both.endswith("% of what each is alone")


def test_fuzzing_finds_nothing_in_a_hundred_cases() -> None:
    *lines, last = _lines("fuzz.py", "--cases", "100", "--seed", "7")
    assert last.startswith("seed 7: 100 cases in ")
    assert last.endswith(" 0 findings")
    assert sum(int(line.split()[-2].replace(",", "")) for line in lines) == 100


def _recording(folder: Path, failed: int, seconds: float) -> Path:
    folder.mkdir()
    (folder / "outcomes.json").write_text("[]", encoding="utf-8")
    day = f"2026-01-0{int(seconds)}"
    record = {"started": day, "counts": {"failed": failed}, "timings_seconds": {"total": seconds}}
    (folder / "r.run.json").write_text(json.dumps(record), encoding="utf-8")
    book = Workbook()
    for line in ({"failed": failed}, {"timings_seconds.total": seconds}):
        for row in line.items():
            book.active.append(row)
    book.save(folder / "r.xlsx")
    shard = pa.table({"path": [str(failed)]}, metadata={"started": f"{day}T00:00:00+00:00"})
    pq.write_table(shard, folder / "r.shard.parquet")
    return folder


def test_recordings_are_the_same_but_for_their_times(tmp_path: Path) -> None:
    first, later = _recording(tmp_path / "a", 1, 2.5), _recording(tmp_path / "b", 1, 3.5)
    assert _lines("same_results.py", "compare", str(first), str(later)) == ["the same"]


def test_what_differs_in_recordings_is_told_with_its_place(tmp_path: Path) -> None:
    first, later = _recording(tmp_path / "a", 1, 2.5), _recording(tmp_path / "b", 3, 2.5)
    command = [sys.executable, str(MEASUREMENTS / "same_results.py"), "compare", str(first), str(later)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "r.run.json: counts.failed: 1 -> 3",
        "r.shard.parquet: path[0]: '1' -> '3'",
        "r.xlsx: Sheet[0][1]: '1' -> '3'",
    ]


def test_limits_cover_what_is_left_out() -> None:
    lines = _lines("abstention.py", "simulate", "--slides", "20", "--cells", "60")
    assert len(lines) == 2 + 7 * 8 + 1
    assert lines[-1].startswith("lowest coverage")


def test_a_model_file_gets_the_pictures_it_was_trained_on(tmp_path: Path) -> None:
    place = tmp_path / "cells" / "ig"
    place.mkdir(parents=True)
    for seed in range(3):
        (place / f"{seed}.jpg").write_bytes(encode(draw_picture(seed)))
    model = make_small_model(tmp_path)
    digests = [short_digest(hashlib.sha256(path.read_bytes()).hexdigest()) for path in sorted(place.iterdir())]
    old = {"seen.train": np.array(sorted([*digests[:2], 7]), dtype=np.uint64), "seen.validation": np.array(digests[2:])}
    before = save_model(tmp_path / "old.safetensors", model.header, model.load_tensors("") | old)
    outs = [tmp_path / "new.safetensors", tmp_path / "again.safetensors"]
    for start, out in zip((before.path, outs[0]), outs, strict=True):
        lines = _lines("remember_pictures.py", str(start), str(tmp_path / "cells"), str(out))
        assert lines[:2] == [
            "3 files, the pictures of 1 of them not known",
            "1 files, the pictures of 0 of them not known",
        ]
        assert lines[2].endswith(f"SHA-256 {hashlib.sha256(out.read_bytes()).hexdigest()}")
    assert outs[0].read_bytes() == outs[1].read_bytes()
    after = open_model(outs[0])
    assert after.header == before.header
    tensors, hashes = after.load_tensors(""), Seen.by(after).train.hashes
    assert [bool(row.any()) for row in hashes] == [int(digest) != 7 for digest in old["seen.train"]]
    for name, value in before.load_tensors("").items():
        np.testing.assert_array_equal(tensors[name], value)


def test_copies_are_nearer_than_other_pictures(tmp_path: Path) -> None:
    for seed in range(12):
        (tmp_path / f"{seed}.jpg").write_bytes(encode(draw_picture(seed, 180, 182)))
    lines = _lines("same_picture.py", str(tmp_path), "--copies", "3")
    assert lines[0].split()[:2] == ["3", "copies"]
    copies = {line[:28].strip(): int(line[28:].split()[1]) for line in lines[1:-2]}
    assert copies.pop("middle, 28 pixels, nearest") <= 60
    assert max(copies.values()) <= SAME_PICTURE_DISTANCE < int(lines[-1].split()[-1])


def test_a_season_is_watched(tmp_path: Path) -> None:
    for number, name in enumerate(("neutrophil", "lymphocyte")):
        (tmp_path / name).mkdir()
        for seed in range(4):
            picture = encode(draw_picture(10 * number + seed, 64))
            (tmp_path / name / f"{seed}.jpg").write_bytes(picture)
    lines = _lines("season.py", str(tmp_path), *["--seasons", "1", "--slides", "2", "--images", "20", "--rates", "30"])
    assert lines[0] == "8 different cells at 12 steps; 2 slides of 20 images a night"
    assert lines[2].startswith("undisturbed: ")
    assert lines[-1] == "  by night 45 in 1 of 1 seasons"


def test_a_season_without_images_is_skipped(tmp_path: Path) -> None:
    assert _lines("season.py", str(tmp_path / "none")) == [f"skipped: there is no folder {tmp_path / 'none'}"]


def test_large_fields_are_measured_against_their_truth(tmp_path: Path) -> None:
    white = [(200.0, 200.0, 140.0)]
    picture = smear(800, 600, grid_of_red_cells(800, 600, 80, but_not_at=white), white)
    Image.fromarray(picture).save(tmp_path / "field_0.jpg")
    (tmp_path / "field_0.txt").write_text("0 0.25 0.3333 0.175 0.2333\n", encoding="utf-8")
    lines = _lines("crowded_field.py", "measure", str(tmp_path), "--times", "2")
    assert "2 looks at 1 fields" in lines[0]
    assert lines[1].startswith("by centre: 1 labelled")
    assert lines[-1].startswith("peak memory")
    lines = _lines("field_speed.py", str(tmp_path), "--images", "1")
    assert "1 images" in lines[0]
    lines = _lines("unfit_fields.py", str(tmp_path), "--blur", "0.1")
    assert "blur 0.00: 1 fields" in lines[0]
    assert "blur 0.10: 1 fields" in lines[1]


def test_pictures_of_no_single_cell_are_drawn_and_refused(tmp_path: Path) -> None:
    for number in range(3):
        white = [(70.0, 70.0 + number, 44.0)]
        picture = smear(140, 140, grid_of_red_cells(140, 140, 28, but_not_at=white), white)
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    first, *drawn = _lines("single_cells.py", str(tmp_path), "--drawn", "1")
    assert ": 3 pictures, " in first
    assert len(drawn) == 5
    assert "empty ground: 1 pictures, 1 to the finder (100.0%), 1 refused" in drawn[-1]


def test_pictures_without_a_cell_are_in_no_count(tmp_path: Path) -> None:
    cells, fields = tmp_path / "cells", tmp_path / "fields"
    cells.mkdir()
    fields.mkdir()
    for path in sorted((PROJECT / "examples" / "slides" / "drawn-normal").glob("drawn_*.jpg"))[:4]:
        shutil.copy(path, cells)
    ground = np.random.default_rng(0).normal(225, 4, (240, 320, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(ground).save(fields / "field.png")
    lines = _lines("not_cells.py", str(cells), str(fields), "--each", "2")
    assert len(lines) == 6
    assert all(": 2 pictures, 0 counted (none); " in line for line in lines)
