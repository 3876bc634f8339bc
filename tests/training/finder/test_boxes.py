"""Boxes in VOC and YOLO files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bloodcell_batch.errors import InputError
from bloodcell_batch.training.finder.boxes import LabelledBox, voc_boxes, yolo_boxes

VOC = """<annotation><object><name>WBC</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>50</xmax><ymax>80</ymax>
</bndbox></object></annotation>"""


def test_voc_objects_are_centres_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(VOC, encoding="utf-8")
    assert voc_boxes(tmp_path / "a.xml") == [LabelledBox("WBC", 30, 50, 40, 60)]


@pytest.mark.parametrize(
    "text", ["", "<annotation>", VOC.replace("<xmin>10</xmin>", ""), VOC.replace("WBC", ""), VOC.replace("10", "ten")]
)
def test_what_is_no_voc_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.xml"):
        voc_boxes(tmp_path / "a.xml")


def test_yolo_lines_are_shares_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("2 0.5 0.25 0.1 0.2\n\n", encoding="utf-8")
    assert yolo_boxes(tmp_path / "a.txt", 200, 100) == [LabelledBox("2", 100, 25, 20, 20)]


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.1", "0 0.5 0.5 0.1 x", "0 1 2 3 4 5"])
def test_a_line_that_is_no_box_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.txt").write_text(f"1 0.5 0.5 0.1 0.1\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        yolo_boxes(tmp_path / "a.txt", 10, 10)


@pytest.mark.parametrize("read", [voc_boxes, lambda path: yolo_boxes(path, 1, 1)])
def test_missing_boxes_are_an_error_and_not_an_empty_field(
    tmp_path: Path, read: Callable[[Path], list[LabelledBox]]
) -> None:
    with pytest.raises(InputError, match="Can't read"):
        read(tmp_path / "none.xml")
