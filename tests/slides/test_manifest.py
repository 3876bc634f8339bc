from pathlib import Path

import openpyxl
import pytest

from bloodcell_batch.errors import InputError
from bloodcell_batch.slides.manifest import ManifestRule


class TestManifest:
    @staticmethod
    def _write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
        path = folder / "manifest.csv"
        path.write_text(text, encoding=encoding, newline="")
        return path

    def test_paths_get_their_slides(self, tmp_path: Path) -> None:
        rule = ManifestRule(self._write(tmp_path, 'path,slide_id\na/1.jpg,S1\n"b, c/2.jpg",S 2\n3.jpg,007\n'))
        assert [rule(path) for path in ("a/1.jpg", "b, c/2.jpg", "3.jpg")] == ["S1", "S 2", "007"]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_spreadsheet_exports_are_read(self, tmp_path: Path, encoding: str, end: str) -> None:
        text = end.join(["path,note,slide_id", "ä/1.jpg,x,S1", r".\b\2.jpg,y,S2", ""])
        rule = ManifestRule(self._write(tmp_path, text, encoding))
        assert rule("ä/1.jpg") == "S1"
        assert rule("b/2.jpg") == "S2"

    def test_a_line_may_be_repeated(self, tmp_path: Path) -> None:
        assert ManifestRule(self._write(tmp_path, "path,slide_id\na,S\na,S\n"))("a") == "S"

    def test_one_image_in_two_slides_is_an_error(self, tmp_path: Path) -> None:
        manifest = self._write(tmp_path, "path,slide_id\na,S\nb,S\na,T\n")
        with pytest.raises(InputError, match=r"line 4, puts a into a second slide"):
            ManifestRule(manifest)

    @pytest.mark.parametrize(
        ("text", "missing"),
        [
            ("path\na\n", "slide_id"),
            ("file;slide\n", "path, slide_id"),
            ("", "path, slide_id"),
            ("Path,slide_id\n", "path"),
        ],
    )
    def test_missing_columns_are_named(self, tmp_path: Path, text: str, missing: str) -> None:
        with pytest.raises(InputError, match=f"lacks the column {missing}"):
            ManifestRule(self._write(tmp_path, text))

    @pytest.mark.parametrize("text", ["path,slide_id\nb,S\n", "path,slide_id\na,\n", "path,slide_id\na\n"])
    def test_an_image_without_a_slide_is_an_error(self, tmp_path: Path, text: str) -> None:
        rule = ManifestRule(self._write(tmp_path, text))
        with pytest.raises(InputError, match="no slide for the image a"):
            rule("a")

    def test_unreadable_manifests(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="There is no file"):
            ManifestRule(tmp_path / "none.csv")
        with pytest.raises(InputError, match="Is a directory"):
            ManifestRule(tmp_path)
        binary = tmp_path / "binary.csv"
        binary.write_bytes(b"path,slide_id\n\xff\xfe,S\n")
        with pytest.raises(InputError, match=r"Can't read"):
            ManifestRule(binary)

    def test_two_columns_of_one_name_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="two columns named 'slide_id'"):
            ManifestRule(self._write(tmp_path, "path,slide_id,slide_id\na,A,B\n"))

    @pytest.mark.parametrize("text", ["path;slide_id\na/1.jpg;S\n", "path\tslide_id\n./a//1.jpg\tS\n"])
    def test_other_separators_and_ways_to_write_a_path(self, tmp_path: Path, text: str) -> None:
        assert ManifestRule(self._write(tmp_path, text))("a/1.jpg") == "S"

    def test_workbooks(self, tmp_path: Path) -> None:
        book = openpyxl.Workbook()
        for line in (["path", "slide_id"], ["a.jpg", "007"], ["b.jpg", 7]):
            book.worksheets[0].append(line)
        book.save(tmp_path / "m.xlsx")
        rule = ManifestRule(tmp_path / "m.xlsx")
        assert [rule("a.jpg"), rule("b.jpg")] == ["007", "7"]

    def test_a_name_that_only_looks_the_same_is_told(self, tmp_path: Path) -> None:
        rule = ManifestRule(self._write(tmp_path, "path,slide_id\nM\u00fcller.jpg,S\n"))
        with pytest.raises(InputError) as caught:
            rule("Mu\u0308ller.jpg")
        assert "looks the same but is written otherwise" in caught.value.hint
