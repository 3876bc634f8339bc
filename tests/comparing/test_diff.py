import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from browser import Browser
from finished_run import Run, cell, write_run
from many_rows import counts_by_pandas, tables
from program_commands import app
from review_files import read, write
from scipy.stats import binomtest
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.comparing.changes import Change
from bloodcell_batch.comparing.difference import Difference, compare
from bloodcell_batch.comparing.slides import differentials
from bloodcell_batch.errors import InputError
from bloodcell_batch.records import CellBox, Outcome, Prediction, Reason, Status
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.results.pseudonyms import load_pseudonyms

KEY = ["slide_id", "path"]


def _call(*arguments: str | Path, code: int) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["diff", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout, " ".join(result.stderr.split())


def _relabelled(run: Run, seed: int) -> tuple[Outcome, ...]:
    """Cells of the run with other labels, other confidences and no label in places."""
    rng = np.random.default_rng(seed)

    def judged(old: Outcome) -> Outcome:
        if not isinstance(old, Prediction) or rng.random() < 0.5:
            return old
        if rng.random() < 0.2:
            return replace(old, status=Status.UNCLASSIFIED, label="", reason=Reason.LOW_CONFIDENCE)
        label = str(rng.choice(DEFAULT_CLASSES.names)) if rng.random() < 0.5 else old.label
        confidence = float(np.clip(old.confidence + rng.normal(0, 0.2), 0.2, 1))
        return replace(old, status=Status.CLASSIFIED, reason=None, label=label or "monocyte", confidence=confidence)

    return tuple(judged(old) for old in run.outcomes)


@pytest.fixture(scope="module")
def other(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images, judged otherwise."""
    return write_run(run.images, _relabelled(run, 1), tmp_path_factory.mktemp("other") / "other.parquet")


@pytest.fixture(scope="module")
def found(run: Run, other: Path) -> Difference:
    return compare(run.table, other, 0.1)


def _both(one: Path, other: Path) -> Any:  # noqa: ANN401 - a frame whose columns are attributes
    columns = [*KEY, "status", "label", "confidence"]
    tables = [pd.read_parquet(path, columns=columns) for path in (one, other)]
    return tables[0].merge(tables[1], on=KEY, suffixes=("_a", "_b"), validate="1:1")


class TestAgainstPandas:
    """Everything that is counted, counted again in another way."""

    def test_the_changed_cells(self, run: Run, other: Path, found: Difference) -> None:
        both = _both(run.table, other)
        status = both.status_a != both.status_b
        label = ~status & (both.label_a.fillna("") != both.label_b.fillna(""))
        moved = ~status & ~label & ((both.confidence_a - both.confidence_b).abs().round(6) > 0.1)
        assert found.compared == len(both)
        expected = {Change.STATUS: status.sum(), Change.LABEL: label.sum(), Change.CONFIDENCE: moved.sum()}
        assert min(expected.values()) > 3
        assert found.changes.counts == expected
        assert found.changed == (status | label | moved).sum()
        table = found.changes.table.to_pandas()
        changed = both[status | label | moved]
        assert table.path.tolist() == changed.path.tolist()
        assert table.confidence_b.fillna(-1).tolist() == changed.confidence_b.fillna(-1).tolist()

    def test_the_paired_tests(self, run: Run, other: Path, found: Difference) -> None:
        both = _both(run.table, other)
        lines = []
        for slide, cells in both.groupby("slide_id"):
            for name in (*DEFAULT_CLASSES.leukocytes, *DEFAULT_CLASSES.nrbc):
                only_a = int(((cells.label_a == name) & (cells.label_b != name)).sum())
                only_b = int(((cells.label_b == name) & (cells.label_a != name)).sum())
                p = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else None
                lines.append((slide, name, only_a, only_b, p))
        tested = sorted(p for *_, p in lines if p is not None)
        assert found.slides.tests == len(tested)
        # Holm: the smallest of m p values times m, the next times m - 1, ..., never below the one before it.
        least = 0.0
        corrected: dict[float, float] = {}
        for place, p in enumerate(tested):
            least = max(least, min(1.0, p * (len(tested) - place)))
            corrected[p] = max(corrected.get(p, 0.0), least)
        expected = {(slide, name): (a, b, 1.0 if p is None else corrected[p]) for slide, name, a, b, p in lines}
        for slide in found.slides.slides:
            for test in slide.tests:
                only_a, only_b, p = expected[slide.slide_id, test.name]
                assert (test.only_one, test.only_other) == (only_a, only_b)
                assert test.p == pytest.approx(p)

    def test_the_differentials_are_those_of_the_results(self, run: Run, found: Difference) -> None:
        expected = {slide.slide_id: slide for slide in load_results(run.table).slides}
        for slide, one in differentials(found.one).items():
            assert one == replace(expected[slide], alerts=one.alerts, group_counts=one.group_counts)

    def test_three_thousand_cells_in_another_order(self, tmp_path: Path) -> None:
        paths = tmp_path / "a.parquet", tmp_path / "b.parquet"
        for path, table in zip(paths, tables(3000), strict=True):
            write_run(tmp_path, (), path)
            pq.write_table(table, path)
        difference = compare(*paths, 0.1)
        counts = {change.value: number for change, number in difference.changes.counts.items()}
        assert {"cells": difference.compared, **counts} == counts_by_pandas(*paths)
        assert len(difference.slides.slides) == 15


class TestPairs:
    def test_a_result_does_not_differ_from_itself(self, run: Run) -> None:
        said, _ = _call(run.table, run.copy(run.table.parent / "copy.csv"), code=0)
        assert "212 cells compared: 212 unchanged" in said
        assert "0 of 4 slides" in said

    def test_rows_without_a_partner_are_told(self, run: Run, tmp_path: Path) -> None:
        few = write_run(run.images, run.outcomes[5:], tmp_path / "few.parquet")
        said, _ = _call(run.table, few, code=3)
        assert "not compared: 5 rows only in A, 0 only in B" in said
        assert "0 only in A" not in said
        said, _ = _call(few, run.table, code=3)
        assert "not compared: 0 rows only in A, 5 only in B" in said

    def test_other_bytes_are_not_compared(self, run: Run, tmp_path: Path) -> None:
        first = next(outcome for outcome in run.outcomes if isinstance(outcome, Prediction))
        changed = replace(first, facts=replace(first.facts, sha256="0" * 64))
        outcomes = tuple(changed if outcome is first else outcome for outcome in run.outcomes)
        said, _ = _call(run.table, write_run(run.images, outcomes, tmp_path / "o.parquet"), code=3)
        assert "not compared: 1 cell of images with other bytes" in said

    def test_results_of_other_images_are_refused(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "a.jpg").write_bytes((run.images / "007" / "cell 00.jpg").read_bytes())
        table = write_run(tmp_path, (cell(tmp_path, "x/a.jpg", "monocyte", 0.9),), tmp_path / "r.parquet")
        with pytest.raises(InputError, match=r"No cell of .* is in"):
            compare(run.table, table, 0.1)

    def test_a_review_counts(self, run: Run, tmp_path: Path) -> None:
        review = tmp_path / "review.csv"
        result = CliRunner().invoke(app, ["review", "export", str(run.table), "--out", str(review)])
        assert result.exit_code == 0, result.output
        cells = [row | {"verified_label": "basophil", "verified_by": "me"} for row in read(review)]
        write(review, cells)
        arguments = ["review", "import", str(run.table), str(review), "--out", str(tmp_path / "v.parquet")]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        said, _ = _call(run.table, tmp_path / "v.parquet", code=3)
        assert f"0 with another label, {len(cells)} with another status" in said


class TestOutputs:
    def test_the_table_of_changed_cells(self, run: Run, other: Path, found: Difference, tmp_path: Path) -> None:
        _, told = _call(run.table, other, "--out", tmp_path / "d.csv", "--out", tmp_path / "d.parquet", code=3)
        assert "written to" in told
        cells = pd.read_csv(tmp_path / "d.csv", dtype={"slide_id": str})
        assert len(cells) == found.changed == pq.read_table(tmp_path / "d.parquet").num_rows
        assert cells.columns.tolist()[:4] == ["slide_id", "path", "cell", "change"]

    def test_the_page(self, run: Run, other: Path, found: Difference, tmp_path: Path) -> None:
        page = tmp_path / "d.html"
        _call(run.table, other, "--out", page, "--confidence-change", "0.1", code=3)
        text = page.read_text(encoding="utf-8")
        assert text.count("data:image/webp;base64,") > 20
        assert f'<b>{found.changes.counts[Change.LABEL]}</b><span class="muted">another label</span>' in text
        assert str(run.images) not in text
        assert "<img src=x" not in text
        _, told = _call(run.table, other, "--out", page, "--overwrite", "--images", tmp_path / "moved", code=3)
        assert "no thumbnails" in told
        assert "data:image" not in page.read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("outs", "told"),
        [(["d.pdf"], "neither a page nor a table"), (["d.csv", "d.csv"], "is there twice")],
    )
    def test_other_outputs_are_refused(
        self, run: Run, other: Path, tmp_path: Path, outs: Sequence[str], told: str
    ) -> None:
        given = [argument for out in outs for argument in ("--out", tmp_path / out)]
        assert told in _call(run.table, other, *given, code=2)[1]

    def test_the_results_themselves_stay(self, run: Run, other: Path) -> None:
        for table in (run.table, other):
            _, told = _call(run.table, other, "--out", table, "--overwrite", code=1)
            assert "is one of the files of the results" in told

    def test_in_the_browser(self, run: Run, other: Path, tmp_path: Path, browser: Browser) -> None:
        _call(run.table, other, "--out", tmp_path / "d.html", code=3)
        browser.open(tmp_path / "d.html")
        loaded = "return [...document.images].every(i => i.complete && i.naturalWidth > 0) && document.images.length"
        assert browser.driver.execute_script(loaded) > 20
        fits = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert browser.driver.execute_script(fits)
        browser.is_quiet()


def test_what_the_runs_were_made_with(run: Run, other: Path, tmp_path: Path) -> None:
    record = json.loads(other.with_suffix(".run.json").read_text(encoding="utf-8"))
    record["backend"]["description"] = "OpenVINO int8"
    copy = tmp_path / "other.parquet"
    copy.write_bytes(other.read_bytes())
    copy.with_suffix(".run.json").write_text(json.dumps(record), encoding="utf-8")
    _call(run.table, copy, "--out", tmp_path / "d.html", code=3)
    text = (tmp_path / "d.html").read_text(encoding="utf-8")
    assert '<th scope="row">backend</th><td>PyTorch on cpu</td><td>OpenVINO int8</td>' in text


class TestPseudonyms:
    def test_nothing_names_a_slide_or_a_file(self, run: Run, other: Path, tmp_path: Path, key_file: Path) -> None:
        record = json.loads(other.with_suffix(".run.json").read_text(encoding="utf-8"))
        record["config"] |= {"slide_regex": "dr-house", "dedup": "exact"}
        copy = tmp_path / "ward-7.parquet"
        copy.write_bytes(other.read_bytes())
        copy.with_suffix(".run.json").write_text(json.dumps(record), encoding="utf-8")
        outs = ("--out", tmp_path / "d.html", "--out", tmp_path / "d.csv")
        _, told = _call(run.table, copy, *outs, "--pseudonymize", key_file, code=3)
        page = (tmp_path / "d.html").read_text(encoding="utf-8")
        table = (tmp_path / "d.csv").read_text(encoding="utf-8")
        rows = load_results(run.table).rows
        for text in (page, table, told.partition("written to")[0]):
            assert not [row.file for row in rows if row.file in text]
            assert "dr-house" not in text
            assert "ward-7" not in text
            assert not [slide for slide in ("007", "2E5", "1-2") if re.search(rf"(?<![\w.-]){slide}(?![\w.-])", text)]
        assert "--dedup" in page  # an option of few words is told
        assert page.count("data:image/webp;base64,") > 20

    def test_they_are_those_of_pseudonymize(self, run: Run, other: Path, tmp_path: Path, key_file: Path) -> None:
        _call(run.table, other, "--out", tmp_path / "d.parquet", "--pseudonymize", key_file, code=3)
        _call(run.table, other, "--out", tmp_path / "plain.parquet", code=3)
        hidden, plain = (pq.read_table(tmp_path / name) for name in ("d.parquet", "plain.parquet"))
        shared = load_results(run.table).pseudonymised(load_pseudonyms(key_file))
        real = {(row.slide_id, row.path): row.file for row in shared.rows}
        told = [real[row["slide_id"], row["path"]] for row in hidden.to_pylist()]
        assert sorted(told) == sorted(plain["path"].to_pylist())
        assert hidden["path"].to_pylist() == sorted(hidden["path"].to_pylist())
        of_b = dict(zip(plain["path"].to_pylist(), plain["label_b"].to_pylist(), strict=True))
        assert [of_b[path] for path in told] == hidden["label_b"].to_pylist()

    def test_the_key_lies_elsewhere(self, run: Run, other: Path, tmp_path: Path) -> None:
        (tmp_path / "key").write_bytes(bytes(range(40, 72)))
        out = ("--out", tmp_path / "d.html", "--pseudonymize", tmp_path / "key")
        _, told = _call(run.table, other, *out, code=2)
        assert "lies in the folder of the output" in told
        assert not (tmp_path / "d.html").exists()


class TestFieldsOfView:
    """Another finder, or the same one in another arithmetic, sees the cells of a field a little elsewhere."""

    @staticmethod
    def run_with(run: Run, tmp_path: Path, name: str, cells: Sequence[tuple[int, int, int, str]]) -> Path:
        """Cells of two fields: field, left and upper end, label; 40 pixels wide and high."""
        numbers: dict[int, int] = {}
        rows = []
        for field, x, y, label in cells:
            numbers[field] = numbers.get(field, 0) + 1
            one = cell(run.images, f"007/cell 0{field}.jpg", label, 0.9)
            rows.append(replace(one, cell=CellBox(numbers[field], x, y, 40, 40, 0.8)))
        return write_run(run.images, tuple(rows), tmp_path / name)

    def test_shifted_boxes_are_the_same_cells(self, run: Run, tmp_path: Path) -> None:
        one = self.run_with(
            run,
            tmp_path,
            "a.parquet",
            [(0, 10, 10, "monocyte"), (0, 100, 10, "ig"), (1, 10, 10, "basophil"), (1, 200, 200, "ig")],
        )
        other = self.run_with(
            run,
            tmp_path,
            "b.parquet",
            # A new cell first, so that all numbers differ; then shifted ones, and one that is too far off.
            [
                (0, 300, 300, "ig"),
                (0, 13, 8, "monocyte"),
                (0, 97, 12, "neutrophil"),
                (1, 10, 10, "basophil"),
                (1, 230, 200, "ig"),
            ],
        )
        found = compare(one, other, 0.1)
        assert found.compared == 3
        assert (found.pairs.only_one, found.pairs.only_other) == (1, 2)
        assert [(row["path"], row["cell"]) for row in found.changes.table.to_pylist()] == [("007/cell 00.jpg", 2)]
        assert found.pairs.one["label"].to_pylist() == ["monocyte", "ig", "basophil"]
        assert found.pairs.other["label"].to_pylist() == ["monocyte", "neutrophil", "basophil"]

    def test_of_two_that_share_enough_the_nearer_one_is_the_partner(self, run: Run, tmp_path: Path) -> None:
        one = self.run_with(run, tmp_path, "a.parquet", [(0, 10, 10, "ig"), (0, 20, 10, "monocyte")])
        other = self.run_with(run, tmp_path, "b.parquet", [(0, 21, 10, "monocyte"), (0, 11, 10, "ig")])
        found = compare(one, other, 0.1)
        assert found.compared == 2
        assert not len(found.changes.table)

    def test_an_empty_field_is_no_cell(self, run: Run, tmp_path: Path) -> None:
        one = self.run_with(run, tmp_path, "a.parquet", [(0, 0, 0, "ig"), (1, 0, 0, "ig")])
        empty = replace(
            cell(run.images, "007/cell 00.jpg", "ig", 0.9, Reason.NO_CELL), cell=CellBox(0, 0, 0, 41, 41, 0.0)
        )
        still = replace(cell(run.images, "007/cell 01.jpg", "ig", 0.9), cell=CellBox(1, 0, 0, 40, 40, 0.8))
        other = write_run(run.images, (empty, still), tmp_path / "b.parquet")
        found = compare(one, other, 0.1)
        assert (found.compared, found.pairs.only_one, found.pairs.only_other) == (1, 1, 1)
