import os
from pathlib import Path

import pytest

from bloodcell_batch.errors import InputError
from bloodcell_batch.images.file_formats import IMAGE_SUFFIXES
from bloodcell_batch.records import ImageFile
from bloodcell_batch.slides.found import ScanResult
from bloodcell_batch.slides.rules import by_regex, by_top
from bloodcell_batch.stages.scan import left_out, scan


def _make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")


def _paths(result: ScanResult) -> list[str]:
    return [file.path for file in result.files]


def _ignored(result: ScanResult) -> dict[str, str]:
    return {file.path: file.why for file in result.ignored}


class TestOrder:
    def test_files_are_sorted_by_slide_then_path(self, tmp_path: Path) -> None:
        _make(tmp_path, "b/2.jpg", "b/10.jpg", "a/z.jpg", "a/b/1.jpg", "top.jpg", "a-b/1.jpg", "B/1.jpg")
        result = scan(tmp_path)
        assert [(file.slide_id, file.path) for file in result.files] == [
            (".", "top.jpg"),
            ("B", "B/1.jpg"),
            ("a", "a/z.jpg"),
            ("a-b", "a-b/1.jpg"),
            ("a/b", "a/b/1.jpg"),
            ("b", "b/10.jpg"),
            ("b", "b/2.jpg"),
        ]
        assert result.root == str(tmp_path)

    def test_slides_are_grouped_whatever_the_rule(self, tmp_path: Path) -> None:
        _make(tmp_path, "p/x/1_S2.jpg", "p/x/2_S1.jpg", "p/y/3_S2.jpg", "q/1_S1.jpg")
        tops = [file.slide_id for file in scan(tmp_path, by_top).files]
        assert tops == ["p", "p", "p", "q"]
        by_name = scan(tmp_path, by_regex(r"_(S\d)"))
        assert [file.slide_id for file in by_name.files] == ["S1", "S1", "S2", "S2"]
        assert _paths(by_name) == ["p/x/2_S1.jpg", "q/1_S1.jpg", "p/x/1_S2.jpg", "p/y/3_S2.jpg"]

    def test_size_and_time_are_as_found(self, tmp_path: Path) -> None:
        _make(tmp_path, "s/a.jpg")
        os.utime(tmp_path / "s/a.jpg", ns=(1, 1_234_567_000))
        assert list(scan(tmp_path).files) == [ImageFile("s/a.jpg", "s", 5, 1_234_567_000)]

    def test_a_relative_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        _make(tmp_path, "data/s/a.jpg")
        monkeypatch.chdir(tmp_path)
        assert _paths(scan(Path("data"))) == ["s/a.jpg"]
        monkeypatch.chdir(tmp_path / "data")
        assert _paths(scan(Path())) == ["s/a.jpg"]


class TestIgnored:
    @pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".JPG", ".Png", ".TIF"])
    def test_image_suffixes_in_any_case_are_images(self, tmp_path: Path, suffix: str) -> None:
        _make(tmp_path, f"s/a{suffix}")
        assert _paths(scan(tmp_path)) == [f"s/a{suffix}"]

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("s/notes.txt", "suffix '.txt'"),
            ("s/a.jpg.bak", "suffix '.bak'"),
            ("s/report.html", "suffix '.html'"),
            ("s/README", "no suffix"),
            ("s/jpg", "no suffix"),
            ("s/Thumbs.db", "system file"),
            ("s/DESKTOP.INI", "system file"),
            ("s/.a.jpg", "hidden"),
            ("s/._a.jpg", "hidden"),
            (".cache/a.jpg", "hidden"),
            ("s/.thumbs/deep/a.jpg", "hidden"),
            ("s/.jpg", "hidden"),
        ],
    )
    def test_other_files_are_listed_with_the_reason(self, tmp_path: Path, name: str, why: str) -> None:
        _make(tmp_path, name, "s/b.jpg")
        result = scan(tmp_path)
        assert _ignored(result) == {name: why}
        assert _paths(result) == ["s/b.jpg"]
        assert result.found == 2

    @pytest.mark.parametrize("name", ["s/@eaDir/a.jpg", "#recycle/a.jpg", "$RECYCLE.BIN/a.jpg", "s/thumbs/a.jpg"])
    def test_images_in_system_folders_are_ignored_with_a_warning(self, tmp_path: Path, name: str) -> None:
        _make(tmp_path, name, "s/b.jpg")
        result = scan(tmp_path)
        assert _paths(result) == ["s/b.jpg"]
        assert list(_ignored(result)) == [name]
        (line,) = left_out(result.ignored)
        assert name in line
        assert "--include-hidden" in line

    def test_no_warning_of_what_is_no_image_or_was_hidden(self, tmp_path: Path) -> None:
        _make(tmp_path, "s/@eaDir/notes.txt", "s/._a.jpg", "s/Thumbs.db", "s/b.jpg")
        assert not list(left_out(scan(tmp_path).ignored))

    def test_hidden_images_can_be_taken_in(self, tmp_path: Path) -> None:
        names = ["#recycle/a.jpg", ".h/a.jpg", "s/.a.jpg", "s/@eaDir/a.jpg", "s/b.jpg", "s/curves.png"]
        _make(tmp_path, *names, "s/notes.txt", "s/Thumbs.db")
        result = scan(tmp_path, include_hidden=True)
        assert sorted(_paths(result)) == names
        assert _ignored(result) == {"s/notes.txt": "suffix '.txt'", "s/Thumbs.db": "suffix '.db'"}

    @pytest.mark.parametrize("name", ["s/a.svs", "s/a.NEF", "s/a.psd", "s/a.jxl"])
    def test_pictures_of_formats_that_are_not_read_have_a_row(self, tmp_path: Path, name: str) -> None:
        _make(tmp_path, name)
        assert _paths(scan(tmp_path)) == [name]

    def test_ignored_files_are_sorted(self, tmp_path: Path) -> None:
        _make(tmp_path, "z/a.txt", "a/z.txt", "m.txt", ".h/x.jpg")
        assert list(_ignored(scan(tmp_path))) == [".h/x.jpg", "a/z.txt", "m.txt", "z/a.txt"]

    def test_a_hidden_root_is_no_reason(self, tmp_path: Path) -> None:
        _make(tmp_path, ".work/s/a.jpg")
        assert _paths(scan(tmp_path / ".work")) == ["s/a.jpg"]

    def test_an_ignored_file_needs_no_slide(self, tmp_path: Path) -> None:
        _make(tmp_path, "S1/a.jpg", "notes.txt", ".hidden/b.jpg")
        result = scan(tmp_path, by_regex(r"(S\d)"))
        assert (len(result.files), len(result.ignored)) == (1, 2)

    def test_a_folder_named_like_an_image_is_a_folder(self, tmp_path: Path) -> None:
        _make(tmp_path, "s.jpg/a.jpg")
        (tmp_path / "empty.png").mkdir()
        assert _paths(scan(tmp_path)) == ["s.jpg/a.jpg"]

    def test_empty_folders_are_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        result = scan(tmp_path)
        assert (list(result.files), result.ignored, result.unreadable_folders) == ([], (), ())


class TestLinks:
    def test_a_link_to_an_image_is_an_image(self, tmp_path: Path) -> None:
        _make(tmp_path, "out/a.jpg", "in/s/b.jpg")
        (tmp_path / "in/s/link.jpg").symlink_to(tmp_path / "out/a.jpg")
        files = scan(tmp_path / "in").files
        assert [(file.path, file.size_bytes, file.is_regular) for file in files] == [
            ("s/b.jpg", 5, True),
            ("s/link.jpg", 5, True),
        ]

    def test_a_link_to_a_folder_outside_is_followed(self, tmp_path: Path) -> None:
        _make(tmp_path, "out/a.jpg")
        (tmp_path / "in").mkdir()
        (tmp_path / "in/s").symlink_to(tmp_path / "out")
        assert _paths(scan(tmp_path / "in")) == ["s/a.jpg"]

    def test_the_root_may_be_a_link(self, tmp_path: Path) -> None:
        _make(tmp_path, "real/s/a.jpg")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert _paths(scan(tmp_path / "link")) == ["s/a.jpg"]

    def test_a_circle_ends(self, tmp_path: Path) -> None:
        _make(tmp_path, "s/a.jpg", "s/t/b.jpg")
        (tmp_path / "s/t/up").symlink_to(tmp_path)
        (tmp_path / "s/self").symlink_to(".")
        assert _paths(scan(tmp_path)) == ["s/a.jpg", "s/t/b.jpg"]

    @pytest.mark.parametrize("link", ["a_link", "z_link", "m/link"])
    def test_a_folder_reached_twice_counts_once_under_its_own_name(self, tmp_path: Path, link: str) -> None:
        _make(tmp_path, "k_real/1.jpg", "m/2.jpg")
        (tmp_path / link).symlink_to(tmp_path / "k_real")
        assert _paths(scan(tmp_path)) == ["k_real/1.jpg", "m/2.jpg"]

    def test_a_dangling_link_has_a_row(self, tmp_path: Path) -> None:
        (tmp_path / "s").mkdir()
        (tmp_path / "s/a.jpg").symlink_to("nowhere")
        (tmp_path / "s/notes").symlink_to("nowhere")
        result = scan(tmp_path)
        assert list(result.files) == [ImageFile("s/a.jpg", "s", 0, 0)]
        assert _ignored(result) == {"s/notes": "no suffix"}

    @pytest.mark.parametrize(
        "target",
        ["a.jpg", "b.jpg/inside", "n" * 300, "./" * 1000 + "x"],
        ids=["itself", "below a file", "name too long", "long path"],
    )
    def test_a_link_that_cannot_be_followed_has_a_row(self, tmp_path: Path, target: str) -> None:
        _make(tmp_path, "s/b.jpg")
        (tmp_path / "s/a.jpg").symlink_to(target)
        assert _paths(scan(tmp_path)) == ["s/a.jpg", "s/b.jpg"]


class TestOddFiles:
    def test_a_fifo_is_marked_and_not_opened(self, tmp_path: Path) -> None:
        (tmp_path / "s").mkdir()
        os.mkfifo(tmp_path / "s/a.jpg")
        (file,) = scan(tmp_path).files
        assert (file.path, file.is_regular) == ("s/a.jpg", False)

    def test_names_that_are_no_utf_8(self, tmp_path: Path) -> None:
        folder = os.fsencode(tmp_path) + b"/s\xff"
        os.mkdir(folder)  # noqa: PTH102 - bytes
        with open(folder + b"/a\xe9.jpg", "wb") as handle:
            handle.write(b"123")
        (file,) = scan(tmp_path).files
        assert os.fsencode(file.path) == b"s\xff/a\xe9.jpg"
        assert os.fsencode(file.slide_id) == b"s\xff"
        assert file.size_bytes == 3

    @pytest.mark.parametrize("name", ["a\nb.jpg", "a\\b.jpg", "ü 日本.jpg", "a'b\".jpg", "-x.jpg", "%00.jpg", " .jpg"])
    def test_odd_names(self, tmp_path: Path, name: str) -> None:
        _make(tmp_path, f"s/{name}")
        assert _paths(scan(tmp_path)) == [f"s/{name}"]

    def test_deep_folders(self, tmp_path: Path) -> None:
        name = "/".join(["d"] * 100) + "/a.jpg"
        _make(tmp_path, name)
        assert _paths(scan(tmp_path)) == [name]


class TestErrors:
    def test_a_missing_root(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="There is no folder") as caught:
            scan(tmp_path / "none")
        assert caught.value.hint

    def test_a_file_as_root(self, tmp_path: Path) -> None:
        _make(tmp_path, "a.jpg")
        with pytest.raises(InputError, match="is a file, not a folder") as caught:
            scan(tmp_path / "a.jpg")
        assert caught.value.hint

    def test_an_unreadable_folder_is_reported_and_the_rest_is_found(self, tmp_path: Path) -> None:
        _make(tmp_path, "a/1.jpg", "b/1.jpg", "c/1.jpg")
        (tmp_path / "b").chmod(0)
        try:
            if os.access(tmp_path / "b", os.R_OK):
                pytest.skip("this user may read everything")
            result = scan(tmp_path)
        finally:
            (tmp_path / "b").chmod(0o700)
        assert _paths(result) == ["a/1.jpg", "c/1.jpg"]
        assert result.unreadable_folders == ("b",)

    def test_an_image_without_a_slide_stops_the_run(self, tmp_path: Path) -> None:
        _make(tmp_path, "s/a.jpg")
        with pytest.raises(InputError, match=r"s/a\.jpg"):
            scan(tmp_path, by_regex("(S1)"))


def test_backup_copies_come_after_originals_in_any_script(tmp_path: Path) -> None:
    names = ["~copy.jpg", "細胞.jpg", "a.jpg", "Z.jpg", "ä.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert [file.path for file in scan(tmp_path).files] == ["Z.jpg", "a.jpg", "ä.jpg", "細胞.jpg", "~copy.jpg"]


@pytest.mark.parametrize("given", ["S-1", "./S-1/", "S-1/../S-1", "."])
def test_a_flat_folder_is_one_slide_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    folder = tmp_path / "S-1"
    folder.mkdir()
    for name in ("b.jpg", "a.png"):
        (folder / name).write_bytes(b"x")
    monkeypatch.chdir(folder if given == "." else tmp_path)
    assert [(file.path, file.slide_id) for file in scan(given).files] == [("a.png", "S-1"), ("b.jpg", "S-1")]
    (folder / "sub").mkdir()
    (folder / "sub" / "c.jpg").write_bytes(b"x")
    assert {file.slide_id for file in scan(given).files} == {".", "sub"}
