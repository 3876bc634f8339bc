import csv
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from conftest import draw_picture, encode

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.labelled import load_labelled
from bloodcell_batch.training.data.labelled_files import FREE, TEST, TRAIN, VALIDATION
from bloodcell_batch.training.data.sources import open_source

Rows = list[dict[str, str]]


class Listener(NullObserver):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, **_fields: object) -> None:
        self.warnings.append(text)


def manifest(folder: Path, rows: Rows, *, bom: bool = False, name: str = "cells.csv") -> Path:
    for row in rows:
        path = folder / row["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(encode(draw_picture(sum(row["path"].encode()))))
    out = folder / name
    if name.endswith(".parquet"):
        import pandas as pd  # noqa: PLC0415

        pd.DataFrame(rows).to_parquet(out)
        return out
    with out.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out


ROWS: Rows = [
    {"path": "a/é 1.jpg", "label": "basophil", "split": "train"},
    {"path": "b/2.jpg", "label": "platelet", "split": "val"},
    {"path": "b/3.jpg", "label": "platelet", "split": ""},
    {"path": "b/4.jpg", "label": "ig", "split": "Test"},
]


@pytest.mark.parametrize("name", ["cells.csv", "bom.csv", "cells.parquet"])
def test_a_manifest_gives_labels_and_parts(tmp_path: Path, name: str) -> None:
    path = manifest(tmp_path, ROWS, bom=name == "bom.csv", name=name)
    images, rejected = load_labelled(path, Preprocessing(input_size=16), 1, Listener())
    assert images.classes.names == ("basophil", "ig", "platelet")
    assert images.paths == tuple(row["path"] for row in ROWS)
    assert [images.classes.names[label] for label in images.labels] == [row["label"] for row in ROWS]
    assert images.parts.tolist() == [TRAIN, VALIDATION, FREE, TEST]
    assert not rejected


def test_a_manifest_may_name_laboratories(tmp_path: Path) -> None:
    rows = [row | {"laboratory": site} for row, site in zip(ROWS, ["A", " Żory ", "", "A"], strict=True)]
    images, _ = load_labelled(manifest(tmp_path, rows), Preprocessing(input_size=16), 1, Listener())
    assert images.laboratories.tolist() == ["A", "Żory", "", "A"]
    assert images.take(np.array([1, 3])).laboratories.tolist() == ["Żory", "A"]


def test_other_laboratories_labels_are_mapped(tmp_path: Path) -> None:
    rows = [{"path": f"{i}.jpg", "label": label} for i, label in enumerate(["N7", "MYB", "ig", "N7"])]
    path = manifest(tmp_path, rows)
    source = open_source(path, ClassNames(DEFAULT_CLASSES, {"N7": "neutrophil", "MYB": "ignore"}), Listener())
    assert [DEFAULT_CLASSES.names[entry.label] for entry in source.entries] == ["neutrophil", "ig", "neutrophil"]
    with pytest.raises(InputError, match=r"labels that are not classes: 'N7' \(2 rows\)\."):
        open_source(path, ClassNames(DEFAULT_CLASSES), Listener())
    with pytest.raises(UsageError, match="unknown classes: neutro"):
        open_source(path, ClassNames(DEFAULT_CLASSES, {"N7": "neutro"}), Listener())


def test_folders_are_mapped_too(tmp_path: Path) -> None:
    for name in ("SEG", "BAND", "smudge", "blast", "basophil"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(encode(draw_picture(len(name))))
    listener = Listener()
    rules = {"SEG": "neutrophil", "BAND": "neutrophil", "smudge": "ignore"}
    source = open_source(tmp_path, ClassNames(DEFAULT_CLASSES, rules), listener)
    found = {entry.file.path: DEFAULT_CLASSES.names[entry.label] for entry in source.entries}
    assert found == {"BAND/1.jpg": "neutrophil", "SEG/1.jpg": "neutrophil", "basophil/1.jpg": "basophil"}
    assert listener.warnings == ["left out, not named after a class: blast (1 image)"]


def test_folders_that_nearly_name_a_class_are_answered_with_a_map(tmp_path: Path) -> None:
    for name in ("Lymphocites", "basophil"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(encode(draw_picture(len(name))))
    listener = Listener()
    open_source(tmp_path, ClassNames(DEFAULT_CLASSES), listener)
    said = "left out, not named after a class: Lymphocites (1 image). For these: --map Lymphocites=lymphocyte."
    assert listener.warnings == [said]


def test_a_manifest_may_name_slides(tmp_path: Path) -> None:
    rows = [row | {"slide_id": slide} for row, slide in zip(ROWS, ["7", " 8 ", "", "7"], strict=True)]
    images, _ = load_labelled(manifest(tmp_path, rows), Preprocessing(input_size=16), 1, Listener())
    assert images.slides.tolist() == ["7", "8", "", "7"]
    assert images.take(np.array([1, 3])).slides.tolist() == ["8", "7"]


def test_many_unknown_labels_are_listed_at_once(tmp_path: Path) -> None:
    rows = [{"path": f"{i}.jpg", "label": f"kind {i}"} for i in range(42)]
    with pytest.raises(InputError) as caught:
        open_source(manifest(tmp_path, rows), ClassNames(DEFAULT_CLASSES), Listener())
    assert caught.value.message.count("(1 row)") == 40
    assert caught.value.message.endswith(" and 2 others.")


def test_a_folder_level_may_hold_laboratories(tmp_path: Path) -> None:
    for path in ("Basel/SEG/1.jpg", "Basel/ig/x/2.jpg", "Żory/ig/3.jpg", "Żory/blast/4.jpg", "5.jpg", "Żory/6.jpg"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(encode(draw_picture(len(path))))
    listener = Listener()
    source = open_source(tmp_path, ClassNames(DEFAULT_CLASSES, {"SEG": "neutrophil"}), listener)
    found = {entry.file.path: (DEFAULT_CLASSES.names[entry.label], entry.laboratory) for entry in source.entries}
    assert found == {
        "Basel/SEG/1.jpg": ("neutrophil", "Basel"),
        "Basel/ig/x/2.jpg": ("ig", "Basel"),
        "Żory/ig/3.jpg": ("ig", "Żory"),
    }
    assert listener.warnings == ["left out, not named after a class: . (1 image), Żory (1 image), Żory/blast (1 image)"]
    listener.warnings.clear()
    open_source(tmp_path, ClassNames(DEFAULT_CLASSES, {"SEG": "neutrophil", "blast": "ignore"}), listener)
    assert listener.warnings == ["left out, not named after a class: . (1 image), Żory (1 image)"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,label\na.jpg,ig\n", "lacks the column path"),
        ("path,label\n", "lists no images"),
        ("path,label\nnone.jpg,ig\n", "line 2, names 'none.jpg': No such file"),
        ("path,label,split\na.jpg,ig,holdout\n", "line 2: the split 'holdout' is unknown"),
        ("path,label\na.jpg,ig\na.jpg,monocyte\n", "lines 2 and 3 both name 'a.jpg'"),
        ("path,label\na.jpg,ig\n\n./a.jpg,ig\n", "lines 2 and 4 both name 'a.jpg'"),
        ("path;label\r\nx\\..\\a.jpg;ig\r\na.jpg;ig\r\n", "lines 2 and 3 both name 'a.jpg'"),
        ("path,label,label\na.jpg,ig,monocyte\n", "two columns named 'label'"),
        ("path,label\na.jpg,ig,monocyte\n", "line 2: the row has more values"),
    ],
)
def test_a_wrong_manifest_is_explained(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(draw_picture(1)))
    path = tmp_path / "cells.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        open_source(path, ClassNames(DEFAULT_CLASSES), Listener())
    assert said in str(caught.value)
    assert caught.value.hint


def test_other_things_are_no_source(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("", encoding="utf-8")
    (tmp_path / "latin.csv").write_bytes("path,label\né.jpg,ig\n".encode("latin-1"))
    for name, said in (("none", "There is no"), ("x.txt", "not a source of labelled"), ("latin.csv", "Can't read")):
        with pytest.raises(InputError, match=said):
            open_source(tmp_path / name, ClassNames(DEFAULT_CLASSES), Listener())
    with pytest.raises(InputError, match="no folder that is named after a class"):
        open_source(tmp_path, ClassNames(DEFAULT_CLASSES), Listener())


def medmnist(path: Path, side: int = 28, changes: dict[str, object] | None = None) -> Path:
    rng = np.random.default_rng(0)
    content: dict[str, object] = {}
    for part, count in (("train", 16), ("val", 8), ("test", 8)):
        content[f"{part}_images"] = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        content[f"{part}_labels"] = (np.arange(count) % 8).reshape(-1, 1).astype(np.uint8)
    np.savez(path, **(content | (changes or {})))  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("side", [28, 64])
def test_a_medmnist_file_keeps_its_own_split(tmp_path: Path, side: int) -> None:
    path = medmnist(tmp_path / "bloodmnist.npz", side)
    images, rejected = load_labelled(path, Preprocessing(input_size=side), 2, Listener())
    assert len(images) == 32
    assert not rejected
    assert images.parts.tolist() == [TRAIN] * 16 + [VALIDATION] * 8 + [TEST] * 8
    assert images.labels.tolist() == [i % 8 for i in (*range(16), *range(8), *range(8))]
    np.testing.assert_array_equal(images.pixels[:16], np.load(path)["train_images"])
    assert images.paths[9] == "train/eosinophil_00009"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train_images": np.zeros((16, 28, 28), dtype=np.uint8)}, "not 8-bit colour images"),
        ({"val_images": np.zeros((8, 28, 28, 3), dtype=np.float32)}, "not 8-bit colour images"),
        ({"test_labels": np.full((8, 1), 8)}, "test_labels don't fit"),
        ({"train_labels": np.zeros((16, 1), dtype=np.uint8)}, "has 1 class, not the eight"),
        ({"train_labels": (np.arange(16) % 7).reshape(-1, 1)}, "has 7 classes, not the eight of BloodMNIST"),
        ({"train_labels": np.arange(15) % 8}, "train_labels don't fit"),
    ],
)
def test_a_wrong_medmnist_file_is_explained(tmp_path: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_source(medmnist(tmp_path / "m.npz", changes=change), ClassNames(DEFAULT_CLASSES), Listener())


def test_a_broken_medmnist_file_is_explained(tmp_path: Path) -> None:
    path = medmnist(tmp_path / "m.npz")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="Can't read"):
        open_source(path, ClassNames(DEFAULT_CLASSES), Listener())
    np.savez(path, images=np.zeros(3))
    with pytest.raises(InputError, match="train_images"):
        open_source(path, ClassNames(DEFAULT_CLASSES), Listener())


def test_manifests_as_spreadsheets_write_them(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "é 1.jpg").write_bytes(encode(draw_picture(1)))
    (tmp_path / "b.jpg").write_bytes(encode(draw_picture(2)))
    text = 'note;path;label\r\n;a\\é 1.jpg;basophil\r\n"x; y";b.jpg;"ig "\r\n;;\r\n'
    for name, data in (("m.csv", text.encode("utf-8-sig")), ("t.csv", text.replace(";", "\t").encode())):
        (tmp_path / name).write_bytes(data)
        source = open_source(tmp_path / name, ClassNames(DEFAULT_CLASSES), Listener())
        assert [(entry.file.path, DEFAULT_CLASSES.names[entry.label]) for entry in source.entries] == [
            ("a/é 1.jpg", "basophil"),
            ("b.jpg", "ig"),
        ]
    book = openpyxl.Workbook()
    for line in (["path", "label"], ["a/é 1.jpg", "basophil"], [None, None], ["b.jpg", "ig"]):
        book.worksheets[0].append(line)
    book.save(tmp_path / "m.xlsx")
    assert len(open_source(tmp_path / "m.xlsx", ClassNames(DEFAULT_CLASSES), Listener()).entries) == 2


def test_unknown_labels_are_answered_with_how_to_map_them(tmp_path: Path) -> None:
    labels = ["NEU", "1_Segmented Neutrophil", "MMY", "Lymphocite", "S-7", "blast", "my blast"]
    rows = [{"path": f"{i}.jpg", "label": label} for i, label in enumerate(labels)]
    with pytest.raises(InputError) as caught:
        open_source(manifest(tmp_path, rows), ClassNames(DEFAULT_CLASSES), Listener())
    assert "'Lymphocite' (1 row), 'S-7' (1 row), 'blast' (1 row), 'my blast' (1 row)." in caught.value.message
    assert caught.value.hint.endswith("For these: --map Lymphocite=lymphocyte --map blast=ignore.")
