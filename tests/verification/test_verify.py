"""Every cell of every published table is changed in turn: `verify` has to notice, and the right part of it."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import PROJECT, draw_picture, encode
from default_tables import IMAGE_SCHEMA, SLIDE_SCHEMA
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.results import PseudonymizeConfig, ReviewImportConfig, VerifyConfig
from bloodcell_batch.errors import ExitCode
from bloodcell_batch.integrity.digests import file_sha256
from bloodcell_batch.integrity.results_id import results_id
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.reports.review.importing import import_review
from bloodcell_batch.reports.sharing import write_shared
from bloodcell_batch.results.formats import read_table
from bloodcell_batch.results.run_record import read_record
from bloodcell_batch.runs.pipeline import classify_slides
from bloodcell_batch.verification.verify import Verification, verify_run

STATUSES = ("classified", "unclassified", "exact_duplicate", "near_duplicate", "failed")
# What no other number of the table depends on: only the digest of the table's bytes shows a change.
ONLY_DIGESTED = {
    "width",
    "height",
    "brightness",
    "contrast",
    "sharpness",
    "sha256",
    "outlier_score",
    "phash",
    "pixel_hash",
}
OPTIONS = {"outlier_threshold": 1e6, "min_confidence": 0.5, "workers": 0, "backend": "openvino", "precision": "fp32"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three slides of drawn cells and of blobs, copies within and across slides, a damaged file and a text."""
    root = tmp_path_factory.mktemp("verify") / "slides"
    cells = iter(sorted((PROJECT / "examples" / "slides").rglob("drawn_*.jpg")))
    for slide in range(3):
        folder = root / f"s{slide}"
        folder.mkdir(parents=True)
        for i in range(10):
            # Cells are classified, blobs are not.
            data = next(cells).read_bytes() if i >= 5 else encode(draw_picture(100 * slide + i))
            (folder / f"{i:02}.jpg").write_bytes(data)
    shutil.copy(root / "s0" / "00.jpg", root / "s0" / "99.jpg")
    shutil.copy(root / "s0" / "01.jpg", root / "s1" / "98.jpg")
    (root / "s0" / "97.jpg").write_bytes(encode(draw_picture(2), quality=80))
    (root / "s2" / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "notes.txt").write_text("no image", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run as Parquet."""
    out = tmp_path_factory.mktemp("finished") / "results.parquet"
    classify_slides(images, str(out), ClassifyConfig.model_validate(OPTIONS))
    found = set(pq.read_table(out).column("status").to_pylist())
    assert found == set(STATUSES)
    return out


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    """A copy of them to change."""
    for path in finished.parent.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path / path.name)
    return tmp_path / finished.name


def check(table: Path, **options: object) -> Verification:
    return verify_run(table, VerifyConfig.model_validate(options), NullObserver())


def slides_of(table: Path) -> Path:
    return table.with_name(f"{table.stem}.slides{table.suffix}")


def record_of(table: Path) -> Path:
    return table.with_name(f"{table.stem}.run.json")


def other(value: object, kind: pa.DataType) -> object:
    """Another value of the same type, as small a change as a person would make."""
    if pa.types.is_string(kind):
        return f"{value or ''}x"
    if pa.types.is_boolean(kind):
        return not value
    return (value or 0) + (1 if pa.types.is_integer(kind) else 0.001)  # type: ignore[operator]


def change_parquet(path: Path, schema: pa.Schema, column: str, row: int) -> None:
    table = pq.read_table(path)
    values = table.column(column).to_pylist()
    values[row] = other(values[row], schema.field(column).type)
    position = table.schema.get_field_index(column)
    changed = table.set_column(position, table.schema.field(column), pa.array(values, schema.field(column).type))
    pq.write_table(changed, path)


def digest_again(table: Path) -> None:
    """What somebody does who knows how the digests are made."""
    record = read_record(table)
    identity = results_id(read_table(table, IMAGE_SCHEMA), record.model.sha256)
    tables = {"images": table, "slides": slides_of(table)}
    record_of(table).write_text(record.with_digests(identity, tables).as_json(), encoding="utf-8")


def texts(found: Verification) -> str:
    return "\n".join(str(finding) for finding in found.findings)


def test_a_run_is_verified(results: Path, images: Path) -> None:
    found = check(results, images=images)
    assert found.verified, texts(found)
    assert found.not_checked == ()
    assert {"34 rows", "3 slides", "the model", "the image files"} <= set(found.checked)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("column", IMAGE_SCHEMA.names)
def test_every_cell_of_the_image_table(results: Path, column: str, status: str) -> None:
    row = pq.read_table(results).column("status").to_pylist().index(status)
    change_parquet(results, IMAGE_SCHEMA, column, row)
    found = check(results)
    assert "its bytes have another SHA-256" in texts(found)
    digest_again(results)
    again = check(results)
    # A changed number that is used nowhere else is hidden by new digests; the audit log or the images show it.
    hidden = column in ONLY_DIGESTED and status != "failed"
    assert again.verified <= hidden, texts(again)
    assert "SHA-256" not in texts(again)


@pytest.mark.parametrize("row", [0, 2])
@pytest.mark.parametrize("column", SLIDE_SCHEMA.names)
def test_every_cell_of_the_slide_table(results: Path, column: str, row: int) -> None:
    change_parquet(slides_of(results), SLIDE_SCHEMA, column, row)
    assert "slides.parquet: was changed after the run" in texts(check(results))
    digest_again(results)
    assert check(results).findings.count >= 1


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("label", "monocyte", "the most probable class is"),
        ("p_monocyte", 0.9, "the probabilities add up to"),
        ("confidence", 0.4, "the top probability is"),
        ("outlier_score", 2e6, "by its numbers and the run's thresholds unclassified (outlier)"),
        ("status", "unclassified", "unclassified"),
        ("slide_id", "s1", "by its path it is 's0'"),
        ("path", "s0/02.jpg", "has this path, too"),
        ("path", "../../etc/passwd.jpg", "leads out of the scanned folder"),
        ("sha256", "0" * 63, "not 64 hexadecimal digits"),
        ("contrast", 1.0, "unclassified (no_contrast)"),
        ("width", 15, "outside the limits"),
        ("label", None, "which is not a class"),
        ("confidence", None, "should not be empty"),
        ("duplicate_of", "s0/00.jpg", "of a file that is not a duplicate"),
        ("status", "eaten", "which is not a status"),
    ],
)
def test_what_is_said_of_a_changed_cell(results: Path, column: str, value: object, said: str) -> None:
    table = pq.read_table(results)
    values = table.column(column).to_pylist()
    labels = table.column("label").to_pylist()
    row = next(i for i, label in enumerate(labels) if label not in {None, "monocyte"} and i > 2)
    values[row] = value
    field = IMAGE_SCHEMA.field(column)
    pq.write_table(table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type)), results)
    assert said in texts(check(results))


@pytest.mark.parametrize(
    ("status", "column", "value", "said"),
    [
        ("exact_duplicate", "duplicate_of", "s9/none.jpg", "which is not a picture that was kept"),
        ("near_duplicate", "duplicate_of", "s2/00.jpg", "a picture of the slide 's2'"),
        ("near_duplicate", "duplicate_distance", 99, "outside 0-16"),
        ("near_duplicate", "phash", "0" * 64, "bits"),
        ("failed", "reason", "outlier", "which is not a reason for that"),
    ],
)
def test_duplicates_and_failures(results: Path, status: str, column: str, value: object, said: str) -> None:
    table = pq.read_table(results)
    row = table.column("status").to_pylist().index(status)
    values = table.column(column).to_pylist()
    values[row] = value
    field = IMAGE_SCHEMA.field(column)
    pq.write_table(table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type)), results)
    assert said in texts(check(results))


def test_a_duplicate_that_was_counted_after_all(results: Path) -> None:
    rows = pq.read_table(results).to_pylist()
    kept = next(row for row in rows if row["path"] == "s0/00.jpg")
    copied = [{**kept, "path": row["path"]} if row["path"] == "s0/99.jpg" else row for row in rows]
    pq.write_table(pa.Table.from_pylist(copied, schema=IMAGE_SCHEMA), results)
    said = texts(check(results))
    assert "same bytes as s0/00.jpg" in said
    assert "0 bits from s0/00.jpg in the same slide" in said


@pytest.mark.parametrize("change", ["drop", "repeat"])
def test_a_row_less_or_more(results: Path, change: str) -> None:
    table = pq.read_table(results)
    changed = table.slice(1) if change == "drop" else pa.concat_tables([table, table.slice(0, 1)])
    pq.write_table(changed, results)
    digest_again(results)
    said = texts(check(results))
    assert "counts: " in said
    assert "input_sha256" in said or change == "repeat"


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("counts", "classified"), 999),
        (("counts", "found"), 1),
        (("counts", "ignored"), 0),
        (("thresholds", "confidence"), 0.9),
        (("model", "name"), "another"),
        (("model", "sha256"), "0" * 64),
        (("failures",), []),
        (("ignored",), []),
        (("cross_slide_duplicates",), []),
        (("config", "min_confidence"), 0.6),
        (("input_sha256",), "0" * 64),
        (("started",), "2020-01-01T00:00:00+00:00"),
        (("backend", "name"), "tensorrt"),
    ],
)
def test_the_run_record(results: Path, keys: tuple[str, ...], value: object) -> None:
    path = record_of(results)
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    place = record
    for key in keys[:-1]:
        place = place[key]
    assert place[keys[-1]] != value
    place[keys[-1]] = value
    path.write_text(json.dumps(record), encoding="utf-8")
    assert "run record: was changed after the run" in texts(check(results))
    digest_again(results)
    unprovable = keys[0] in {"started", "backend"} or keys[-1] == "sha256"
    assert check(results).verified == unprovable


def test_a_record_without_digests_is_not_verified(results: Path) -> None:
    path = record_of(results)
    record = json.loads(path.read_text(encoding="utf-8"))
    del record["record_sha256"], record["tables_sha256"], record["results_id"]
    path.write_text(json.dumps(record), encoding="utf-8")
    said = texts(check(results))
    assert "record_sha256 is missing" in said
    assert "results_id is missing" in said
    assert "no digest of the table results.slides.parquet" in said


@pytest.mark.parametrize("content", ["", "[]", "{", '{"counts": []}', '{"model": 3}', "[" * 100_000, '{"a": NaN'])
def test_a_broken_record_is_a_finding(results: Path, content: str) -> None:
    record_of(results).write_text(content, encoding="utf-8")
    assert "run record" in texts(check(results)) or "run.json" in texts(check(results))


def test_files_that_are_not_there(results: Path) -> None:
    slides_of(results).unlink()
    assert "There is no file" in texts(check(results))
    record_of(results).unlink()
    assert "Can't read the run record" in texts(check(results))


FORMATS: tuple[tuple[str, dict[str, str]], ...] = (
    ("a.csv", {}),
    ("b.csv", {"csv_dialect": "excel"}),
    ("c.xlsx", {}),
    ("d.csv", {"csv_dialect": "excel-comma"}),
)


def test_other_formats(images: Path, tmp_path: Path) -> None:
    for name, extra in FORMATS:
        out = tmp_path / name
        classify_slides(images, str(out), ClassifyConfig.model_validate({**OPTIONS, **extra}))
        assert check(out).verified, (name, texts(check(out)))
    table = tmp_path / "a.csv"
    rows = list(csv.reader(io.StringIO(table.read_text(encoding="utf-8"))))
    rows[3][rows[0].index("label")] = "platelet"
    with table.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator="\n").writerows(rows)
    assert not check(table).verified


@pytest.mark.parametrize(("sheet", "column", "value"), [("Cells", "p_ig", 0.77), ("Slides", "neutrophil_count", 3.7)])
def test_a_cell_of_a_workbook(images: Path, tmp_path: Path, sheet: str, column: str, value: float) -> None:
    out = tmp_path / "results.xlsx"
    classify_slides(images, str(out), ClassifyConfig.model_validate(OPTIONS))
    book = openpyxl.load_workbook(out)
    position = [cell.value for cell in book[sheet][1]].index(column) + 1
    book[sheet].cell(2, position).value = value
    book.save(out)
    said = texts(check(out))
    assert "bytes have another SHA-256" in said
    assert "add up" in said or "3.7" in said


class TestImages:
    def test_changed_missing_and_new_files(self, results: Path, images: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(images, copy)
        data = bytearray((copy / "s0" / "03.jpg").read_bytes())
        data[-3] ^= 1
        (copy / "s0" / "03.jpg").write_bytes(data)
        (copy / "s0" / "04.jpg").write_bytes(b"short")
        (copy / "s0" / "05.jpg").unlink()
        (copy / "s2" / "new.jpg").write_bytes(b"new")
        found = check(results, images=copy)
        said = texts(found)
        assert found.findings.count == 4
        assert "s0/03.jpg: the file was changed: it has another SHA-256" in said
        assert "s0/04.jpg: the file has 5 bytes" in said
        assert "s0/05.jpg: the file is missing" in said
        assert "s2/new.jpg: the file is new" in said

    @pytest.mark.parametrize("include_hidden", [False, True])
    def test_hidden_images_are_no_new_files(self, images: Path, tmp_path: Path, *, include_hidden: bool) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(images, copy)
        (copy / "s0" / "@eaDir").mkdir()
        (copy / "s0" / "@eaDir" / "hidden.jpg").write_bytes(encode(draw_picture(77)))
        out = tmp_path / "r.parquet"
        options = ClassifyConfig.model_validate({**OPTIONS, "include_hidden": include_hidden})
        counts = classify_slides(copy, str(out), options).counts
        assert counts.ignored == 1 + (not include_hidden)
        found = check(out, images=copy)
        assert found.verified, texts(found)

    def test_names_that_are_no_utf8(self, tmp_path: Path) -> None:
        folder = tmp_path / "slides" / "s"
        folder.mkdir(parents=True)
        for seed in range(4):
            (folder / f"{seed}").with_suffix(".jpg").write_bytes(encode(draw_picture(seed)))
        Path(str(folder / "caf\udce9.jpg")).write_bytes(encode(draw_picture(9)))
        out = tmp_path / "results.csv"
        classify_slides(folder.parent, str(out), ClassifyConfig.model_validate(OPTIONS))
        found = check(out, images=folder.parent)
        assert found.verified, texts(found)


class TestModel:
    def test_another_model(self, results: Path, tmp_path: Path) -> None:
        file = tmp_path / "other.safetensors"
        file.write_bytes(b"another model")
        assert "the results were made by" in texts(check(results, model=file))

    def test_a_model_that_is_not_at_hand_is_said_to_be_unchecked(self, results: Path) -> None:
        path = record_of(results)
        record = json.loads(path.read_text(encoding="utf-8"))
        record["model"]["sha256"] = "1" * 64
        path.write_text(json.dumps(record), encoding="utf-8")
        digest_again(results)
        found = check(results)
        assert any("111111111111 is not the one in the package" in text for text in found.not_checked)
        assert "the model" not in found.checked


def test_reviewed_and_shared_results(results: Path, key_file: Path, tmp_path: Path) -> None:
    review = tmp_path / "review.csv"
    runner = CliRunner()
    done = runner.invoke(app, ["review", "export", str(results), "--out", str(review), "--cells", "all", "-q"])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(io.StringIO(review.read_text(encoding="utf-8-sig"))))
    for i, row in enumerate(rows):
        row["verified_label"], row["verified_by"] = ("other", *DEFAULT_CLASSES.names)[i % 9], "A. Person"
    with review.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    verified = tmp_path / "verified.csv"
    import_review(results, review, verified, ReviewImportConfig())
    assert check(verified).verified, texts(check(verified))
    shared = tmp_path / "shared.parquet"
    write_shared(verified, shared, PseudonymizeConfig(key=key_file))
    assert check(shared).verified, texts(check(shared))
    change_parquet(shared, IMAGE_SCHEMA, "p_ig", 3)
    assert not check(shared).verified
    done = runner.invoke(app, ["verify", str(shared), "--images", str(tmp_path)])
    assert done.exit_code == ExitCode.USAGE
    text = verified.read_text(encoding="utf-8").replace("A. Person", "", 1)
    verified.write_text(text, encoding="utf-8")
    assert "only verified_label, verified_at is filled in" in texts(check(verified))


def test_the_command_says_what_and_where(results: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["verify", str(results)])
    assert done.exit_code == 0
    assert done.stdout.endswith(f"{results}: verified\n")
    assert "not checked: the image files" in done.stdout
    for row in range(20):
        change_parquet(results, IMAGE_SCHEMA, "p_platelet", row)
    done = runner.invoke(app, ["verify", str(results), "--max-findings", "5"])
    assert done.exit_code == ExitCode.ERROR
    lines = done.stdout.splitlines()
    assert len(lines) == 5 + 4
    assert lines[5].startswith("... and ")
    assert lines[1].startswith("row 2, s0/00.jpg: ")
    assert "NOT VERIFIED" in lines[-1]
    assert runner.invoke(app, ["verify", str(results) + ".gone"]).exit_code == ExitCode.ERROR


def test_the_digest_is_of_the_published_bytes(results: Path) -> None:
    record = json.loads(record_of(results).read_text(encoding="utf-8"))
    assert record["tables_sha256"] == {"images": file_sha256(results), "slides": file_sha256(slides_of(results))}


def test_a_finding_is_one_line_whatever_a_file_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "slides" / "s"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encode(draw_picture(0)))
    out = tmp_path / "r.parquet"
    classify_slides(folder.parent, str(out), ClassifyConfig.model_validate(OPTIONS))
    (folder / "b\n\x1b[2Jall: verified.jpg").write_bytes(b"new")
    done = CliRunner().invoke(app, ["verify", str(out), "--images", str(folder.parent), "-q"])
    assert done.exit_code == ExitCode.ERROR
    assert len(done.stdout.splitlines()) == 3
    assert "\x1b" not in done.stdout


def test_a_flat_folder_is_one_slide_of_its_name(tmp_path: Path) -> None:
    flat = tmp_path / "S-7"
    flat.mkdir()
    for number in range(3):
        (flat / f"{number}.jpg").write_bytes(encode(draw_picture(number)))
    table = tmp_path / "r.csv"
    classify_slides(flat, str(table), ClassifyConfig.model_validate(OPTIONS))
    assert list(check(table, images=flat).findings) == []
    table.write_text(table.read_text(encoding="utf-8").replace(",S-7,", ",S-8,", 1), encoding="utf-8")
    assert "slide_id is" in texts(check(table))
