import dataclasses
import subprocess
import sys

import pyarrow as pa
import pytest
from default_tables import IMAGE_COLUMNS, IMAGE_SCHEMA, SLIDE_COLUMNS, SLIDE_SCHEMA

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.differential.arithmetic import leukocyte_shares
from bloodcell_batch.files.names import printable
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.records import ImageFacts, ImageFile, Outcome, Prediction, Quality, Reason, Rejection, Status
from bloodcell_batch.results.tables import SCHEMA_VERSION, mark_for_review, to_batch

FACTS = ImageFacts("ab" * 32, bytes(range(32)), 360, 363, Quality(120.13, 30.0, 100.0), bytes(range(16)))
FILE = ImageFile("s/a.jpg", "s", 1234, 5)
SHARES = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.98765432, 0.01234568)
CELL = Prediction(FILE, FACTS, Status.CLASSIFIED, None, "neutrophil", 0.98765432, SHARES, 1.234567, ())
UNSURE = dataclasses.replace(
    CELL, status=Status.UNCLASSIFIED, reason=Reason.OUTLIER, label="", review_reasons=("outlier",)
)
FAILED = Rejection(FILE, Status.FAILED, Reason.TRUNCATED, "cut")
COPY = Rejection(FILE, Status.NEAR_DUPLICATE, facts=FACTS, duplicate_of="s/0.jpg", duplicate_distance=3)


def _row(outcome: Prediction | Rejection) -> dict[str, object]:
    rows: list[dict[str, object]] = to_batch([outcome], IMAGE_COLUMNS, IMAGE_SCHEMA).to_pylist()
    return rows[0]


def _slide(**changes: object) -> SlideDifferential:
    counts = {"neutrophil": 2, "lymphocyte": 1}
    slide = SlideDifferential(
        "s",
        4,
        3,
        0,
        1,
        0,
        3,
        leukocyte_shares(counts, DEFAULT_CLASSES.leukocytes),
        1,
        {"erythroblast": 1, "platelet": 5, "other": 2, "not_a_cell": 3},
        100 / 3,
        5,
        "<100",
        ("one", "two"),
    )
    return dataclasses.replace(slide, **changes)  # type: ignore[arg-type]


class TestSchema:
    def test_columns_of_the_image_table(self) -> None:
        names = [
            *["path", "slide_id", "status", "reason", "label", "confidence", "group", "group_confidence"],
            *["review", "review_reason"],
            *[f"p_{name}" for name in DEFAULT_CLASSES.names],
            *["outlier_score", "duplicate_of", "duplicate_of_cell", "duplicate_distance", "sha256", "phash"],
            *["width", "height", "size_bytes", "brightness", "contrast", "sharpness", "pixel_hash"],
            *["cell", "x", "y", "cell_phash", "finder_score", "field_width", "field_height"],
            *["red_cell_pixels", "red_cells", "platelets"],
        ]
        assert names == IMAGE_SCHEMA.names

    def test_columns_of_the_slide_table(self) -> None:
        fields = ("count", "percent", "percent_low", "percent_high")
        names = [
            *["slide_id", "found", "fields", "classified", "duplicates", "failed", "unclassified", "cut_off"],
            *[
                "seen_before",
                "red_cells",
                "platelets",
                "wbc_counted",
                "withheld",
                "mononuclear_unclassified",
                "granulocyte_unclassified",
            ],
            *[f"{name}_{field}" for name in DEFAULT_CLASSES.leukocytes for field in fields],
            *["erythroblast_count", "nrbc_per_100_wbc", "nrbc_per_100_wbc_low", "nrbc_per_100_wbc_high"],
            *["platelet_images", "other_count", "not_a_cell_count", "not_excluded", "adequacy", "alerts"],
        ]
        assert names == SLIDE_SCHEMA.names

    @pytest.mark.parametrize("schema", [IMAGE_SCHEMA, SLIDE_SCHEMA])
    def test_the_version_and_the_meanings_travel_with_the_table(self, schema: pa.Schema) -> None:
        assert schema.metadata == {b"bloodcell_batch.schema_version": SCHEMA_VERSION.encode()}
        assert all(field.metadata[b"meaning"] for field in schema)
        assert len(set(schema.names)) == len(schema.names)

    def test_types(self) -> None:
        types = {name: str(IMAGE_SCHEMA.field(name).type) for name in IMAGE_SCHEMA.names}
        assert {types[f"p_{name}"] for name in DEFAULT_CLASSES.names} == {"double"}
        assert types["path"] == types["label"] == types["sha256"] == "string"
        assert types["review"] == "bool"
        assert types["duplicate_distance"] == types["size_bytes"] == "int64"
        assert str(SLIDE_SCHEMA.field("neutrophil_count").type) == "int64"
        assert str(SLIDE_SCHEMA.field("neutrophil_percent_low").type) == "double"


class TestImageRows:
    def test_a_classified_cell(self) -> None:
        row = _row(CELL)
        assert row["path"] == "s/a.jpg"
        assert row["slide_id"] == "s"
        assert row["status"] == "classified"
        assert row["reason"] is None
        assert row["label"] == "neutrophil"
        assert row["confidence"] == 0.987654
        assert row["review"] is False
        assert row["review_reason"] is None
        assert row["p_neutrophil"] == 0.987654
        assert row["p_platelet"] == 0.012346
        assert row["outlier_score"] == 1.2346
        assert row["duplicate_of"] is None
        assert row["sha256"] == "ab" * 32
        assert row["phash"] == bytes(range(32)).hex()
        assert (row["width"], row["height"], row["size_bytes"]) == (360, 363, 1234)
        assert (row["brightness"], row["contrast"], row["sharpness"]) == (120.13, 30.0, 100.0)

    def test_an_unclassified_cell_has_probabilities_but_no_label(self) -> None:
        row = _row(UNSURE)
        assert (row["status"], row["reason"], row["label"]) == ("unclassified", "outlier", None)
        assert (row["review"], row["review_reason"]) == (True, "outlier")
        assert row["p_neutrophil"] == 0.987654

    def test_a_group_that_is_sure_is_said_beside_no_class(self) -> None:
        row = _row(dataclasses.replace(UNSURE, group="granulocyte", group_confidence=0.98765432))
        assert (row["label"], row["group"], row["group_confidence"]) == (None, "granulocyte", 0.987654)
        assert (_row(CELL)["group"], _row(CELL)["group_confidence"]) == (None, None)

    def test_a_failed_file_has_only_its_name_and_reason(self) -> None:
        row = _row(FAILED)
        filled = {name: value for name, value in row.items() if value is not None}
        expected = {"path": "s/a.jpg", "slide_id": "s", "status": "failed", "reason": "truncated", "size_bytes": 1234}
        assert filled == expected

    def test_a_duplicate_names_the_kept_picture(self) -> None:
        row = _row(COPY)
        assert (row["status"], row["duplicate_of"], row["duplicate_distance"]) == ("near_duplicate", "s/0.jpg", 3)
        assert row["width"] == 360
        assert row["confidence"] is None
        assert row["review"] is None

    def test_columns_without_values_keep_their_types(self) -> None:
        batch = to_batch([FAILED, FAILED], IMAGE_COLUMNS, IMAGE_SCHEMA)
        assert batch.schema.equals(IMAGE_SCHEMA, check_metadata=True)
        assert batch.column("p_ig").null_count == 2
        assert to_batch([], IMAGE_COLUMNS, IMAGE_SCHEMA).num_rows == 0

    def test_names_that_are_no_text_become_printable(self) -> None:
        file = ImageFile("s\udcff/\udc80.jpg", "s\udcff", 0, 0)
        row = _row(Rejection(file, Status.EXACT_DUPLICATE, duplicate_of="s\udcff/a.jpg", duplicate_distance=0))
        assert row["path"] == r"s\xff/\x80.jpg"
        assert row["slide_id"] == r"s\xff"
        assert row["duplicate_of"] == r"s\xff/a.jpg"


class TestSlideRows:
    def test_a_slide(self) -> None:
        (row,) = to_batch([_slide()], SLIDE_COLUMNS, SLIDE_SCHEMA).to_pylist()
        assert row["slide_id"] == "s"
        assert (row["found"], row["classified"], row["duplicates"], row["wbc_counted"]) == (4, 3, 1, 3)
        assert (row["neutrophil_count"], row["neutrophil_percent"]) == (2, 66.6667)
        assert row["neutrophil_percent_low"] < 66.6667 < row["neutrophil_percent_high"]
        assert (row["ig_count"], row["ig_percent"]) == (0, 0.0)
        assert row["nrbc_per_100_wbc"] == 33.3333
        assert row["platelet_images"] == 5
        assert row["alerts"] == "one; two"

    def test_a_slide_without_leukocytes_has_no_percentages(self) -> None:
        slide = _slide(
            wbc_counted=0, shares=leukocyte_shares({}, DEFAULT_CLASSES.leukocytes), nrbc_per_100_wbc=None, alerts=()
        )
        batch = to_batch([slide], SLIDE_COLUMNS, SLIDE_SCHEMA)
        (row,) = batch.to_pylist()
        assert row["neutrophil_percent"] is row["neutrophil_percent_low"] is row["nrbc_per_100_wbc"] is None
        assert row["neutrophil_count"] == 0
        assert row["alerts"] is None
        assert batch.schema.equals(SLIDE_SCHEMA, check_metadata=True)


class TestMarkForReview:
    def test_marks_the_named_rows_and_keeps_their_reasons(self) -> None:
        files = [ImageFile(name, "s", 1, 0) for name in ("a", "b", "c")]
        rows = [dataclasses.replace(cell, file=file) for cell, file in zip([CELL, UNSURE, CELL], files, strict=True)]
        batch = to_batch(rows, IMAGE_COLUMNS, IMAGE_SCHEMA)
        marked = mark_for_review(batch, {"a": "x", "b": "y", "elsewhere": "z"})
        assert marked.column("review").to_pylist() == [True, True, False]
        expected = ["cross_slide_duplicate", "outlier; cross_slide_duplicate", None]
        assert marked.column("review_reason").to_pylist() == expected
        assert marked.schema.equals(IMAGE_SCHEMA, check_metadata=True)
        others = [name for name in IMAGE_SCHEMA.names if not name.startswith("review")]
        assert marked.select(others).equals(batch.select(others))

    @pytest.mark.parametrize("partners", [{}, {"elsewhere": "x"}])
    def test_other_batches_stay_as_they_are(self, partners: dict[str, str]) -> None:
        rows: list[Outcome] = [CELL, FAILED]
        batch = to_batch(rows, IMAGE_COLUMNS, IMAGE_SCHEMA)
        assert mark_for_review(batch, partners).equals(batch)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("ü/日本.jpg", "ü/日本.jpg"),
        ("\udcff\udcfe", r"\xff\xfe"),
        ("a\udce9b", r"a\xe9b"),
        ("", ""),
    ],
)
def test_printable(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_arrow_does_without_pandas_and_nobody_else_has_to() -> None:
    code = """
import sys
from bloodcell_batch.results.tables import import_arrow_without_pandas
import_arrow_without_pandas()
import pyarrow
assert pyarrow.array(["a", None]).to_pylist() == ["a", None]
assert "pandas" not in sys.modules
import pandas
assert pandas.DataFrame({"a": [1]}).a.sum() == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)  # a process in which pyarrow has not looked yet
