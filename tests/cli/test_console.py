import io
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.cli import console
from bloodcell_batch.cli.console import (
    JsonObserver,
    PlainObserver,
    QuietObserver,
    describe_counts,
    report_error,
)
from bloodcell_batch.cli.live_display import LiveObserver
from bloodcell_batch.cli.observers import make_observer
from bloodcell_batch.cli.slide_table import SlideTable
from bloodcell_batch.cli.streams import write_text
from bloodcell_batch.differential.arithmetic import leukocyte_shares
from bloodcell_batch.differential.not_excluded import BLASTS_NOT_EXCLUDED
from bloodcell_batch.errors import BloodcellBatchError, UsageError
from bloodcell_batch.progress import NullObserver, Observer, RunCounts, SlideDifferential, Withheld
from bloodcell_batch.records import Status

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
NASTY = "a\x1b[31m\x07\r\tb\x9b"


def _counts(classified: int, failed: int = 0) -> RunCounts:
    counts = RunCounts(found=classified + failed)
    counts.by_status[Status.CLASSIFIED] = classified
    counts.by_status[Status.FAILED] = failed
    return counts


def _slide(slide_id: str, alerts: tuple[str, ...] = (), neutrophils: int = 2) -> SlideDifferential:
    shares = leukocyte_shares({"neutrophil": neutrophils, "lymphocyte": neutrophils}, DEFAULT_CLASSES.leukocytes)
    wbc = 2 * neutrophils
    rate = 0.0 if wbc else None
    return SlideDifferential(
        slide_id, 5, wbc, 0, 0, 1, wbc, shares, 0, {"erythroblast": 0, "platelet": 3}, rate, 3, "<100", alerts
    )


def _live() -> tuple[LiveObserver, io.StringIO]:
    text = io.StringIO()
    return LiveObserver(Console(file=text, width=200, force_terminal=False, color_system=None)), text


def _run(observer: Observer, slides: Sequence[SlideDifferential] = ()) -> None:
    observer.note("model m on PyTorch", backend="pytorch")
    observer.warn("the folder x can't be read", folder="x")
    observer.started("classifying", 1200)
    for done in range(0, 1200, 100):
        observer.advanced(done, _counts(done))
    observer.advanced(1200, _counts(1190, 10))
    observer.finished()
    observer.slides(slides)


class TestPlain:
    def test_a_run_in_a_log(self, capsys: pytest.CaptureFixture[str]) -> None:
        _run(PlainObserver(), [_slide("s1")])
        out, err = capsys.readouterr()
        assert out == ""
        lines = err.splitlines()
        assert lines[:3] == ["model m on PyTorch", "warning: the folder x can't be read", "classifying: 1,200 to do"]
        assert re.fullmatch(
            r"classifying: 1,200/1,200, [\d,]+/s; 1,190 classified, 0 unclassified, 0 duplicates, 10 failed", lines[3]
        )
        assert lines[4].startswith("slide s1: 4 leukocytes (<100); ")
        assert "neutrophil 50.0%" in lines[4]
        assert "basophil none seen (at most 60.2%)" in lines[4]
        assert lines[5] == BLASTS_NOT_EXCLUDED
        assert len(lines) == 6
        assert not CONTROL.search(err)

    def test_a_line_every_interval(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        observer = PlainObserver()
        observer.started("classifying", 10)
        now = time.monotonic()
        for done in range(1, 11):
            monkeypatch.setattr(time, "monotonic", lambda done=done: now + 4 * done)
            observer.advanced(done)
        lines = capsys.readouterr().err.splitlines()[1:]
        assert [line.split(",")[0] for line in lines] == ["classifying: 3/10", "classifying: 6/10", "classifying: 9/10"]
        assert "s left" in lines[0]

    def test_an_interrupted_task_still_closes(self, capsys: pytest.CaptureFixture[str]) -> None:
        observer = PlainObserver()
        observer.started("classifying", 10)
        observer.finished()
        assert capsys.readouterr().err.splitlines()[-1].startswith("classifying: 0/10")

    @pytest.mark.parametrize(
        ("done", "seconds", "told"),
        [
            (0, 50, "classifying: 0/10"),
            (5, 100, "classifying: 5/10, 0.05/s, 100 s left"),
            (10, 4, "classifying: 10/10, 2.5/s"),
        ],
    )
    def test_slow_tasks_have_a_rate_too(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, done: int, seconds: float, told: str
    ) -> None:
        observer = PlainObserver()
        observer.started("classifying", 10)
        observer.advanced(done)
        now = time.monotonic()
        monkeypatch.setattr(observer, "_began", now)
        monkeypatch.setattr(time, "monotonic", lambda: now + seconds)
        observer.finished()
        assert capsys.readouterr().err.splitlines()[-1] == told

    @pytest.mark.parametrize("total", [0, 1])
    def test_tiny_tasks(self, capsys: pytest.CaptureFixture[str], total: int) -> None:
        observer = PlainObserver()
        observer.started("classifying", total)
        observer.advanced(total)
        observer.finished()
        assert f"classifying: {total}/{total}" in capsys.readouterr().err

    def test_many_slides_are_cut_short(self, capsys: pytest.CaptureFixture[str]) -> None:
        PlainObserver().slides([_slide(f"s{number}") for number in range(45)])
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 42
        assert lines[-2] == "and 5 more slides in the slide table"

    def test_names_cannot_steer_the_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        observer = PlainObserver()
        observer.warn(f"the folder {NASTY} can't be read")
        observer.slides([_slide(NASTY, (f"first: {NASTY}",))])
        err = capsys.readouterr().err
        assert "leukocytes" in err
        assert not CONTROL.search(err)

    def test_names_cannot_break_a_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        PlainObserver().slides([_slide("a\nerror: forged")])
        assert len(capsys.readouterr().err.splitlines()) == 2  # and that blasts can't be excluded

    def test_names_that_are_no_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        observer = PlainObserver()
        observer.slides([_slide("s\udcff")])
        observer.note("folder \udcff")
        assert capsys.readouterr().err.count(r"\xff") == 2


class TestQuiet:
    def test_only_warnings(self, capsys: pytest.CaptureFixture[str]) -> None:
        _run(QuietObserver(), [_slide("s1")])
        out, err = capsys.readouterr()
        assert (out, err) == ("", "warning: the folder x can't be read\n")

    def test_the_null_observer_is_silent(self, capsys: pytest.CaptureFixture[str]) -> None:
        _run(NullObserver(), [_slide("s1")])
        assert capsys.readouterr() == ("", "")


class TestJson:
    @staticmethod
    def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
        out, err = capsys.readouterr()
        assert out == ""
        assert not CONTROL.search(err)
        return [json.loads(line) for line in err.splitlines()]

    def test_every_line_is_an_object(self, capsys: pytest.CaptureFixture[str]) -> None:
        _run(JsonObserver(quiet=False), [_slide("s1")])
        lines = self._lines(capsys)
        assert all({"time", "event", "text"} <= line.keys() for line in lines)
        assert [line["event"] for line in lines] == ["note", "warning", "note", "note", "note"]
        assert lines[0]["backend"] == "pytorch"
        assert lines[1]["folder"] == "x"
        assert lines[2]["total"] == 1200
        finished, slide = lines[3:]
        assert (finished["done"], finished["classified"], finished["failed"]) == (1200, 1190, 10)
        assert (slide["slide_id"], slide["wbc_counted"], slide["neutrophil_percent"]) == ("s1", 4, 50.0)
        told = slide["not_excluded"]
        assert isinstance(told, list)
        assert told[0] == "monocyte 0 of 4: at most 60.2 %"

    def test_quiet_keeps_the_warnings(self, capsys: pytest.CaptureFixture[str]) -> None:
        _run(JsonObserver(quiet=True), [_slide("s1")])
        assert [line["event"] for line in self._lines(capsys)] == ["warning"]

    def test_odd_names_and_values_stay_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        observer = JsonObserver(quiet=False)
        observer.slides([_slide('a"b\n[red]', neutrophils=0), _slide(NASTY)])
        observer.note("path", path=console.__file__, when=Status.FAILED)
        lines = self._lines(capsys)
        assert [line.get("slide_id") for line in lines] == ['a"b\n[red]', NASTY, None]
        assert lines[0]["neutrophil_percent"] is None

    def test_fields_that_are_no_text(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # stderr replaces what it can't encode; the line must still be JSON.
        written = io.BytesIO()
        stream = io.TextIOWrapper(written, encoding="utf-8", errors="backslashreplace")
        monkeypatch.setattr(sys, "stderr", stream)
        JsonObserver(quiet=False).warn("the folder s\udcff can't be read", folder="s\udcff")
        stream.flush()
        line = json.loads(written.getvalue())
        assert line["text"] == r"the folder s\xff can't be read"
        assert line["folder"].encode("utf-8", "surrogateescape") in (b"s\xff", rb"s\xff")


class TestLive:
    def test_markup_in_names_is_shown_as_it_is(self) -> None:
        observer, text = _live()
        observer.note("folder [bold]x[/bold]")
        observer.warn("folder [/red]")
        observer.slides([_slide("[red]slide[/red]")])
        shown = text.getvalue()
        assert "folder [bold]x[/bold]" in shown
        assert "warning: folder [/red]" in shown
        assert "[red]slide[/red]" in shown

    def test_the_last_state_is_shown(self) -> None:
        observer, text = _live()
        _run(observer)
        assert "1200/1200" in text.getvalue()
        assert "1,190 classified, 0 unclassified, 0 duplicates, 10 failed" in text.getvalue()

    def test_the_closing_table_says_what_it_is_not(self) -> None:
        observer, text = _live()
        observer.slides([_slide("s1")])
        assert "Preclassification. For Research Use Only." in " ".join(text.getvalue().split())

    def test_names_cannot_steer_the_terminal(self) -> None:
        observer, text = _live()
        observer.note(f"folder {NASTY}")
        observer.warn(f"folder {NASTY}")
        observer.slides([_slide(NASTY, (f"first: {NASTY}",))])
        assert not CONTROL.search(text.getvalue())

    def test_finishing_twice_or_without_a_start_is_allowed(self) -> None:
        observer, _ = _live()
        observer.finished()
        observer.started("a", 2)
        observer.finished()
        observer.finished()
        observer.advanced(1)
        observer.started("b", 2)
        observer.finished()

    def test_many_slides_are_cut_short(self) -> None:
        observer, text = _live()
        observer.slides([_slide(f"s{number:02d}") for number in range(45)])
        assert "s39" in text.getvalue()
        assert "s40" not in text.getvalue()
        assert "and 5 more slides" in text.getvalue()


class TestSlideTable:
    def test_percentages_and_counts(self) -> None:
        text = io.StringIO()
        Console(file=text, width=200).print(SlideTable([_slide("s1"), _slide("empty", neutrophils=0)]))
        shown = text.getvalue()
        first = next(line for line in shown.splitlines() if "s1" in line)
        assert first.split()[:2] == ["s1", "4"]
        assert first.count("50.0") == 2
        empty = next(line for line in shown.splitlines() if "empty" in line)
        assert "50.0" not in empty
        assert empty.count(" - ") >= 7
        assert shown.count("≤60") == 4
        assert "none was seen" in shown
        assert BLASTS_NOT_EXCLUDED in shown

    @staticmethod
    def _shown(width: int, *slides: SlideDifferential) -> list[str]:
        text = io.StringIO()
        Console(file=text, width=width).print(SlideTable(slides))
        lines = text.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        return lines

    @pytest.mark.parametrize("width", [30, 60, 80, 120])
    def test_no_name_is_cut_and_no_number_is_broken(self, width: int) -> None:
        names = [f"S-2026-11-26-haematology-ward-{number:010}" for number in (1, 22)]
        lines = self._shown(width, *(_slide(name, neutrophils=1_000) for name in names))
        words = " ".join(lines).split()
        assert all(words.count(name) == 1 for name in names) or width == 30
        assert "".join(words).count("".join(names[1].split())) == 1
        assert words.count("2000") == 2
        assert words.count("50.0") == words.count("48-52") == 4
        assert {"WBC", "NEU", "LYM", "MON", "EOS", "BAS", "IG", "PLT", "uncl", "dupl", "fail"} <= set(words)

    def test_a_short_name_stands_beside_its_figures_in_80_columns(self) -> None:
        lines = self._shown(80, _slide("S-2026-001"))
        assert len(next(line for line in lines if "S-2026-001" in line).split()) == 13

    def test_many_classes_are_told_in_several_lines(self) -> None:
        shares = leukocyte_shares({"kind_1": 5}, tuple(f"kind_{number}" for number in range(20)))
        lines = self._shown(60, replace(_slide("many"), shares=shares))
        assert " ".join(lines).split().count("100.0") == 1

    def test_names_of_wide_letters(self) -> None:
        lines = self._shown(80, _slide("\u8840\u6db2" * 10))
        assert any("\u8840\u6db2" * 10 in line for line in lines)

    def test_it_says_what_stands_out(self) -> None:
        withheld = replace(_slide("w"), withheld=Withheld.TOO_MANY_UNCLASSIFIED)
        said = " ".join(self._shown(100, withheld))
        assert "-: no percentage, because" in said
        assert "yellow: fewer than 100" in said
        assert "yellow" not in " ".join(self._shown(100, _slide("enough", neutrophils=100)))

    def test_an_empty_table(self) -> None:
        text = io.StringIO()
        Console(file=text, width=200).print(SlideTable([]))
        assert "WBC" in text.getvalue()


class TestReportError:
    ERROR = UsageError("There is no backend 'x'.", hint="Choose one.")

    def test_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        report_error(self.ERROR, "text")
        assert capsys.readouterr() == ("", "error: There is no backend 'x'.\n       Choose one.\n")

    def test_text_without_a_hint(self, capsys: pytest.CaptureFixture[str]) -> None:
        report_error(BloodcellBatchError("Broken \udcff."), "text")
        assert capsys.readouterr().err == "error: Broken \\xff.\n"

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        report_error(self.ERROR, "json")
        (line,) = capsys.readouterr().err.splitlines()
        document = json.loads(line)
        assert document.pop("time")
        expected = {"event": "error", "text": "There is no backend 'x'.", "hint": "Choose one.", "exit_code": 2}
        assert document == expected


@pytest.mark.parametrize(
    ("quiet", "log_format", "terminal", "kind"),
    [
        (False, "text", False, PlainObserver),
        (False, "text", True, LiveObserver),
        (True, "text", True, QuietObserver),
        (True, "text", False, QuietObserver),
        (False, "json", True, JsonObserver),
        (True, "json", False, JsonObserver),
    ],
)
def test_make_observer(
    monkeypatch: pytest.MonkeyPatch, log_format: str, kind: type[Observer], *, quiet: bool, terminal: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert type(make_observer(quiet=quiet, log_format=log_format)) is kind


@pytest.mark.parametrize("text", ["line", "line\n"])
def test_write_text_ends_the_line_once(capsys: pytest.CaptureFixture[str], text: str) -> None:
    write_text(text)
    assert capsys.readouterr() == ("line\n", "")


def test_describe_counts() -> None:
    counts = _counts(12_345, 1)
    counts.by_status[Status.EXACT_DUPLICATE], counts.by_status[Status.NEAR_DUPLICATE] = 2, 3
    assert describe_counts(counts) == "12,345 classified, 0 unclassified, 5 duplicates, 1 failed"


@pytest.mark.parametrize(
    ("state", "colour"), [("rejected", "\x1b[1;31m"), ("not in control", "\x1b[1;31m"), ("in control", "\x1b[32m")]
)
def test_a_terminal_shows_the_state_in_colour(state: str, colour: str) -> None:
    text = io.StringIO()
    live = LiveObserver(Console(file=text, width=200, force_terminal=True, color_system="standard"))
    live.note("14 runs: judged", state=state)
    live.warn("brightness left", state=state)
    note, warning = text.getvalue().splitlines()
    assert note.startswith(f"{colour}14 runs")
    assert warning.startswith(f"{colour}warning:")
    plain, quiet = _live()
    plain.note("14 runs: judged", state=state)
    assert quiet.getvalue() == "14 runs: judged\n"
