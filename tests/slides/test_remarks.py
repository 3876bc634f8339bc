import tracemalloc
from pathlib import Path

import pytest
from conftest import draw_picture, encode
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.records import ImageFile
from bloodcell_batch.slides.file_list import FileList
from bloodcell_batch.slides.manifest import ManifestRule
from bloodcell_batch.slides.remarks import remarks
from bloodcell_batch.slides.rules import by_parent


def _files(*slides: str) -> list[ImageFile]:
    return [ImageFile(f"{number}.jpg", slide, 1, 0) for number, slide in enumerate(slides)]


class TestRemarks:
    @pytest.mark.parametrize(
        ("first", "second"),
        [("A", "A "), ("A 1", "A  1"), ("M\u00fcller", "Mu\u0308ller"), ("A 1", "A\u00a01"), ("1", "\uff11")],
    )
    def test_slides_that_look_the_same(self, first: str, second: str) -> None:
        found = remarks(by_parent, _files(first, second, "B", first))
        assert found == [
            f"the slides {' and '.join(map(ascii, sorted((first, second))))} look the same but are counted apart"
        ]

    def test_other_names_are_no_remark(self) -> None:
        assert remarks(by_parent, _files("A", "a", "A1", "B")) == []

    def test_images_that_the_manifest_names_and_the_folder_lacks(self, tmp_path: Path) -> None:
        (tmp_path / "m.csv").write_text(
            "path,slide_id\n0.jpg,A\n7.jpg,A\n1.jpg,A\n./0.jpg,A\n8.jpg,A\n", encoding="utf-8"
        )
        rule = ManifestRule(tmp_path / "m.csv")
        missing, again = remarks(rule, _files("A", "A"))
        assert again.endswith("names images again in line 5")
        assert "names 2 images that were not found, the first '7.jpg' (lines 3, 6)" in missing

    def test_classify_warns(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "a.jpg").write_bytes(encode(draw_picture(1)))
        (tmp_path / "m.csv").write_text("path,slide_id\ns/a.jpg,A\ns/lost.jpg,A\n", encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        options = ["--slide-by", "manifest", "--slide-manifest", "m.csv", "--quiet"]
        done = CliRunner().invoke(app, ["classify", ".", "--out", "r.csv", *options])
        assert done.exit_code == 0
        assert "warning: the manifest m.csv names 1 image that was not found, the first 's/lost.jpg'" in done.stderr


class TestClassFolders:
    @pytest.mark.parametrize(
        "names",
        [
            ["neutrophil", "lymphocyte", "x"],
            ["1_Segmented Neutrophil", "2_Lymphocyte"],
            ["S1/SNE", "S1/LY", "S2/MO"],
            ["Lymphozyten", "Monozyten"],
        ],
    )
    def test_folders_named_after_cells_are_told(self, names: list[str]) -> None:
        (found,) = remarks(by_parent, _files(*names))
        assert "slides are named after cells" in found
        assert "--slide-by top" in found

    def test_slides_are_not(self) -> None:
        assert remarks(by_parent, _files("S1", "S2", "neutrophilia", "Meyer", "Band 3 patient", "lymphocyte")) == []


class TestMixedNames:
    @staticmethod
    def _named(*names: str) -> list[ImageFile]:
        return [ImageFile(f"s/{name}.jpg", "s", 1, 0) for name in names]

    @pytest.mark.parametrize("pattern", ["P{0}_{1:03}", "S-2026-{0:03}_cell_{1:04}", "{0}-{1}", "2024_{0} ({1})"])
    def test_two_patients_in_one_folder(self, pattern: str) -> None:
        files = self._named(*(pattern.format(patient, cell) for patient in (1, 2) for cell in range(6)))
        (found,) = remarks(by_parent, files)
        assert "the names in slide s fall into 2 groups" in found
        assert pattern.format(2, 0)[:-1].rstrip("0(") in found

    @pytest.mark.parametrize("pattern", ["cell_{1:05}", "P1_{1}", "BNE_{1}", "f{1}_{0}", "{1}_{1}"])
    def test_one_patient(self, pattern: str) -> None:
        files = self._named(*{pattern.format(kind, cell) for kind in (1, 2) for cell in range(20)})
        assert remarks(by_parent, files) == []

    @pytest.mark.parametrize("name", ["P{0}_{1}.jp2", ".P{0}_{1}.jp2", "a.b/P{0} {1}.1"])
    def test_a_number_in_the_suffix_is_not_of_the_name(self, name: str) -> None:
        files = [ImageFile(name.format(patient, cell), "s", 1, 0) for patient in (1, 2) for cell in range(6)]
        (found,) = remarks(by_parent, files)
        assert "fall into 2 groups" in found

    def test_the_memory_does_not_grow_with_the_names(self) -> None:
        files = FileList(ImageFile(f"s/f{number}_c1.jpg", "s", 1, 0) for number in range(5_000))
        tracemalloc.start()
        try:
            assert remarks(by_parent, files) == []
            assert tracemalloc.get_traced_memory()[1] < 50_000
        finally:
            tracemalloc.stop()


def test_images_beside_the_slide_folders_are_told() -> None:
    assert remarks(by_parent, _files(".", "S1")) == [
        "images that lie beside the slide folders are counted as a slide of their own, named '.'"
    ]
