from pathlib import Path

import pytest

from bloodcell_batch.errors import ExitCode, InputError, UsageError
from bloodcell_batch.slides.rules import by_manifest, by_parent, by_regex, by_top, slide_rule


@pytest.mark.parametrize(
    ("path", "parent", "top"),
    [
        ("a.jpg", ".", "."),
        ("s1/a.jpg", "s1", "s1"),
        ("p/s1/a.jpg", "p/s1", "p"),
        ("p/q/r/a.jpg", "p/q/r", "p"),
        ("s 1/ä b.jpg", "s 1", "s 1"),
    ],
)
def test_parent_and_top(path: str, parent: str, top: str) -> None:
    assert by_parent(path) == parent
    assert by_top(path) == top


class TestRegex:
    def test_the_named_group_wins_over_the_first(self) -> None:
        assert by_regex(r"(x)?(?P<slide>S\d+)")("run/S12_003.jpg") == "S12"

    def test_the_first_group_without_a_name(self) -> None:
        assert by_regex(r"(S\d+)_(\d+)")("run/S12_003.jpg") == "S12"

    def test_the_whole_relative_path_is_searched(self) -> None:
        assert by_regex(r"^([^/]+)/[^/]+/")("patient/7/a.jpg") == "patient"

    @pytest.mark.parametrize("path", ["run/other.jpg", "run/S_1.jpg"])
    def test_an_image_without_a_match_is_an_error(self, path: str) -> None:
        with pytest.raises(InputError, match=path) as caught:
            by_regex(r"(S\d+)")(path)
        assert caught.value.hint

    def test_an_empty_match_is_an_error(self) -> None:
        with pytest.raises(InputError):
            by_regex(r"(S?)_")("a/b_1.jpg")

    @pytest.mark.parametrize(
        ("pattern", "what"), [("(", "no regular expression"), (r"S\d+", "no group"), ("", "no group")]
    )
    def test_bad_patterns_are_usage_errors(self, pattern: str, what: str) -> None:
        with pytest.raises(UsageError, match=what) as caught:
            by_regex(pattern)
        assert caught.value.exit_code == ExitCode.USAGE


class TestManifest:
    @staticmethod
    def _write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
        path = folder / "manifest.csv"
        path.write_text(text, encoding=encoding, newline="")
        return path

    def test_paths_get_their_slides(self, tmp_path: Path) -> None:
        rule = by_manifest(self._write(tmp_path, 'path,slide_id\na/1.jpg,S1\n"b, c/2.jpg",S 2\n3.jpg,007\n'))
        assert [rule(path) for path in ("a/1.jpg", "b, c/2.jpg", "3.jpg")] == ["S1", "S 2", "007"]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_spreadsheet_exports_are_read(self, tmp_path: Path, encoding: str, end: str) -> None:
        text = end.join(["path,note,slide_id", "ä/1.jpg,x,S1", r".\b\2.jpg,y,S2", ""])
        rule = by_manifest(self._write(tmp_path, text, encoding))
        assert rule("ä/1.jpg") == "S1"
        assert rule("b/2.jpg") == "S2"

    def test_a_line_may_be_repeated(self, tmp_path: Path) -> None:
        assert by_manifest(self._write(tmp_path, "path,slide_id\na,S\na,S\n"))("a") == "S"

    def test_one_image_in_two_slides_is_an_error(self, tmp_path: Path) -> None:
        manifest = self._write(tmp_path, "path,slide_id\na,S\nb,S\na,T\n")
        with pytest.raises(InputError, match=r"line 4, puts a into a second slide"):
            by_manifest(manifest)

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
            by_manifest(self._write(tmp_path, text))

    @pytest.mark.parametrize("text", ["path,slide_id\nb,S\n", "path,slide_id\na,\n", "path,slide_id\na\n"])
    def test_an_image_without_a_slide_is_an_error(self, tmp_path: Path, text: str) -> None:
        rule = by_manifest(self._write(tmp_path, text))
        with pytest.raises(InputError, match="no slide for the image a"):
            rule("a")

    def test_unreadable_manifests(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="No such file"):
            by_manifest(tmp_path / "none.csv")
        with pytest.raises(InputError, match="Is a directory"):
            by_manifest(tmp_path)
        binary = tmp_path / "binary.csv"
        binary.write_bytes(b"path,slide_id\n\xff\xfe,S\n")
        with pytest.raises(InputError, match="no UTF-8 CSV"):
            by_manifest(binary)


def test_slide_rule_chooses_by_kind(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,slide_id\np/s/a.jpg,M\n", encoding="utf-8")
    path = "p/s/a.jpg"
    assert slide_rule("parent")(path) == "p/s"
    assert slide_rule("top")(path) == "p"
    assert slide_rule("regex", regex="/(.)/")(path) == "s"
    assert slide_rule("manifest", manifest=manifest)(path) == "M"
