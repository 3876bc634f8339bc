"""Workbooks, arrays, tables, manifests and options that somebody made to do harm: one clear error each, at once."""

import contextlib
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter
from conftest import draw_picture, encode

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.differential.reference_ranges import load_reference_ranges
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.files.paths import leaves_folder
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.results.table_reading import read_parquet, read_records
from bloodcell_batch.slides.manifest import ManifestRule
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.sources import open_source


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        page = book.add_worksheet("Cells")
        page.write_row(0, 0, ["slide_id", "label"])
        page.write_row(1, 0, ["s", "ig"])
    return path


def edit(path: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change one member of a ZIP file."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members[name] = change(members[name])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, body in members.items():
            archive.writestr(member, body)


class TestWorkbook:
    SHEET = "xl/worksheets/sheet1.xml"

    def test_a_sound_one_is_read(self, workbook: Path) -> None:
        assert read_records(workbook) == [{"slide_id": "s", "label": "ig"}]

    @pytest.mark.parametrize("member", ["xl/workbook.xml", "xl/sharedStrings.xml", SHEET, "_rels/.rels"])
    @pytest.mark.parametrize("padding", [b"", b"<!--" + b"x" * 5000 + b"-->", b" " * 5000])
    def test_entities_that_grow(self, workbook: Path, member: str, padding: bytes) -> None:
        entities = b"".join(b'<!ENTITY e%d "%s">' % (i, b"&e%d;" % (i - 1) * 10) for i in range(1, 12))
        doctype = padding + b'<!DOCTYPE x [<!ENTITY e0 "lol">' + entities + b"]>"
        edit(workbook, member, lambda xml: xml.replace(b"?>", b"?>" + doctype, 1))
        with pytest.raises(InputError, match="begins with a declaration"):
            read_records(workbook)

    def test_a_sheet_that_unpacks_to_gigabytes(self, workbook: Path) -> None:
        edit(workbook, self.SHEET, lambda xml: xml + bytes(40_000_000))
        with pytest.raises(InputError, match="unpacks to 40,000"):
            read_records(workbook)

    @pytest.mark.parametrize("place", ["A999999999", "XFD2", "ZZZZZZ9"])
    def test_cells_that_claim_to_stand_anywhere(self, workbook: Path, place: str) -> None:
        number = place.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

        def move(xml: bytes) -> bytes:
            moved = xml.replace(b'<row r="2"', f'<row r="{number}"'.encode())
            return moved.replace(b'r="A2"', f'r="{place}"'.encode()).replace(b"A1:B2", f"A1:{place}".encode())

        edit(workbook, self.SHEET, move)
        with contextlib.suppress(InputError):
            assert len(read_records(workbook)) <= 1

    def test_xml_that_is_none(self, workbook: Path) -> None:
        edit(workbook, self.SHEET, lambda xml: xml[:-20])
        with pytest.raises(InputError, match="Can't read"):
            read_records(workbook)


class TestParquet:
    def test_a_few_bytes_that_claim_millions_of_rows(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"path": pa.array(["a"] * 3_000_000).dictionary_encode()}), path)
        assert path.stat().st_size < 20_000
        with pytest.raises(ValueError, match="claims 3,000,000 rows"):
            read_parquet(path)

    def test_texts_that_are_no_utf8(self, tmp_path: Path) -> None:
        """Found by fuzzing: Arrow gives such texts to nobody, but only when they are looked at."""
        offsets, data = pa.py_buffer(np.array([0, 3], np.int32).tobytes()), pa.py_buffer(b"a\xffb")
        texts = pa.StringArray.from_buffers(1, offsets, data)
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"path": texts, "label": ["ig"]}), path)
        with pytest.raises(ValueError, match="UTF8"):
            read_parquet(path)
        with pytest.raises(InputError, match="Can't read the manifest"):
            open_source(path, ClassNames(DEFAULT_CLASSES), NullObserver())


class TestArrays:
    @pytest.fixture
    def arrays(self, tmp_path: Path) -> Path:
        path = tmp_path / "m.npz"
        parts = ("train", "val", "test")
        content: dict[str, Any] = {f"{part}_images": np.zeros((8, 28, 28, 3), np.uint8) for part in parts}
        content |= {f"{part}_labels": np.arange(8, dtype=np.uint8)[:, None] for part in parts}
        np.savez(path, **content)
        return path

    def refused(self, path: Path, said: str) -> None:
        with pytest.raises(InputError, match=said):
            open_source(path, ClassNames(DEFAULT_CLASSES), NullObserver())

    def test_sound_ones_are_read(self, arrays: Path) -> None:
        assert len(open_source(arrays, ClassNames(DEFAULT_CLASSES), NullObserver()).entries) == 24

    def test_a_header_that_claims_terabytes(self, arrays: Path) -> None:
        edit(arrays, "val_images.npy", lambda data: data.replace(b"(8, 28, 28, 3)", b"(9999999, 9999, 9, 3)"))
        self.refused(arrays, "of another size|Can't read")

    def test_a_member_that_is_no_array(self, arrays: Path) -> None:
        edit(arrays, "val_images.npy", lambda _: b"bytes")
        self.refused(arrays, "Can't read")

    def test_python_objects_are_never_loaded(self, arrays: Path) -> None:
        class Harm:
            def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
                return os.system, ("touch harm",)

        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        edit(arrays, "val_images.npy", lambda _: stream.getvalue() + pickle.dumps(Harm()))
        self.refused(arrays, "Python objects")


class TestManifests:
    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    @pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "{outside}/secret.jpg", ".."])
    def test_paths_that_lead_out_of_the_folder(self, tmp_path: Path, name: str, kind: str) -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        (tmp_path / "secret.jpg").write_bytes(encode(draw_picture(0)))
        path = folder / f"m.{kind}"
        given = name.format(outside=tmp_path)
        if kind == "csv":
            path.write_text(f"path,label\n{given},ig\n", encoding="utf-8")
        else:
            pq.write_table(pa.table({"path": [given], "label": ["ig"]}), path)
        with pytest.raises(InputError, match="outside of its folder") as raised:
            open_source(path, ClassNames(DEFAULT_CLASSES), NullObserver())
        assert "folder above all its images" in raised.value.hint

    def test_absolute_paths_inside_of_it(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(encode(draw_picture(0)))
        (tmp_path / "m.csv").write_text(f"path,label\n{tmp_path}/a.jpg,ig\n", encoding="utf-8")
        source = open_source(tmp_path / "m.csv", ClassNames(DEFAULT_CLASSES), NullObserver())
        assert source.read(source.entries[0].file)[1].shape == (96, 96, 3)

    def test_pipes_and_names_that_no_file_has(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.jpg")
        (tmp_path / "m.csv").write_text("path,label\na.jpg,ig\n", encoding="utf-8")
        (entry,) = open_source(tmp_path / "m.csv", ClassNames(DEFAULT_CLASSES), NullObserver()).entries
        assert not entry.file.is_regular
        (tmp_path / "m.csv").write_bytes(b"path,label\na\0.jpg,ig\n")
        with pytest.raises(InputError):
            open_source(tmp_path / "m.csv", ClassNames(DEFAULT_CLASSES), NullObserver())

    def test_the_slide_manifest_only_names_files_that_were_scanned(self, tmp_path: Path) -> None:
        (tmp_path / "m.csv").write_text("path,slide_id\n../../etc/passwd,../x\ns/a.jpg,=1+1\n", encoding="utf-8")
        assert ManifestRule(tmp_path / "m.csv")("s/a.jpg") == "=1+1"

    @pytest.mark.parametrize(
        ("path", "out"),
        [("a/b.jpg", False), ("a/../b", False), ("..a/b", False), ("..", True), ("../a", True), ("/a", True)],
    )
    def test_leads_out(self, path: str, out: bool) -> None:  # noqa: FBT001
        assert leaves_folder(path) is out


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, "a" + ".a" * 50_000 + " = 1", "\x00"])
class TestToml:
    def test_options_and_recipes(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "c.toml"
        path.write_text(text, encoding="utf-8")
        for kind in (ClassifyConfig, TrainConfig):
            with pytest.raises(UsageError):
                resolve(kind, {}, path)

    def test_ranges(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "r.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError):
            load_reference_ranges(path, DEFAULT_CLASSES)
