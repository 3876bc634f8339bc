from pathlib import Path

import pytest

from bloodcell_batch.errors import ExitCode, InputError, UsageError
from bloodcell_batch.slides.rules import by_parent, by_regex, by_top, slide_rule


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
        ("pattern", "what"), [("(", "not a regular expression"), (r"S\d+", "no group"), ("", "no group")]
    )
    def test_bad_patterns_are_usage_errors(self, pattern: str, what: str) -> None:
        with pytest.raises(UsageError, match=what) as caught:
            by_regex(pattern)
        assert caught.value.exit_code == ExitCode.USAGE


def test_slide_rule_chooses_by_kind(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,slide_id\np/s/a.jpg,M\n", encoding="utf-8")
    path = "p/s/a.jpg"
    assert slide_rule("parent")(path) == "p/s"
    assert slide_rule("top")(path) == "p"
    assert slide_rule("regex", regex="/(.)/")(path) == "s"
    assert slide_rule("manifest", manifest=manifest)(path) == "M"
