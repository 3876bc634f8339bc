"""Which cells are chosen to be named for adaptation."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from finished_run import Run, cell, write_run
from program_commands import app
from review_files import call, read, refused, write
from small_model import make_small_model
from typer.testing import CliRunner

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.results import ReviewExportConfig
from bloodcell_batch.errors import InputError
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.reports.review.adaptation import cells_for_adaptation
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.runs.pipeline import classify_slides
from bloodcell_batch.statistics.representatives import representatives


def clusters(sizes: list[int], spread: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Points around random directions, and the cluster of each."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(len(sizes), 40))
    members = np.repeat(np.arange(len(sizes)), sizes)
    return centres[members] + spread * rng.normal(size=(len(members), 40)), members


class TestRepresentatives:
    def test_every_cluster_gives_one_however_small(self) -> None:
        points, members = clusters([400, 200, 40, 10, 3, 2, 2, 1])
        nothing, certain = np.zeros(len(points), dtype=bool), np.zeros(len(points))
        chosen = representatives(points, certain, 12, nothing, 0)
        assert len(set(chosen)) == 12
        assert set(members[chosen]) == set(range(8))
        assert chosen == representatives(points, certain, 12, nothing, 0)
        rng = np.random.default_rng(0)
        random = [len(set(members[rng.permutation(len(points))[:12]])) for _ in range(200)]
        assert np.mean(random) < 4

    def test_of_alike_points_the_uncertain_one_comes_in(self) -> None:
        points, _ = clusters([100, 100], spread=0.2)
        uncertainty = np.zeros(200)
        uncertainty[[17, 140]] = 1
        chosen = representatives(points, uncertainty, 10, np.zeros(200, dtype=bool), 0)
        assert {17, 140} <= set(chosen)

    def test_clusters_with_a_point_that_is_taken_are_left(self) -> None:
        points, members = clusters([50, 50, 50, 50])
        taken = np.zeros(200, dtype=bool)
        taken[[3, 60]] = True
        chosen = representatives(points, np.zeros(200), 2, taken, 0)
        assert set(members[chosen]) == {2, 3}

    def test_few_points_are_all_chosen(self) -> None:
        points, _ = clusters([3])
        taken = np.array([False, True, False])
        assert representatives(points, np.ones(3), 5, taken, 0) == [0, 2]

    def test_equal_points_are_chosen_once_each(self) -> None:
        chosen = representatives(np.ones((30, 8)), np.ones(30), 20, np.zeros(30, dtype=bool), 0)
        assert len(set(chosen)) == 20


def exported(table: Path, out: Path, *options: str) -> list[str]:
    call("export", table, *options, "--out", out, "--overwrite")
    return [row["path"].removeprefix("'") for row in read(out)]


@pytest.fixture
def with_copies(run: Run, tmp_path: Path) -> Path:
    """The run with a fifth slide of ten cells that are pictures of the first slide again."""
    images = tmp_path / "slides"
    for file in (run.images).rglob("*.jpg"):
        target = images / file.relative_to(run.images)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    (images / "again").mkdir()
    copies = []
    for number in range(10, 20):
        (images / "again" / f"{number}.jpg").write_bytes((images / "007" / f"cell {number}.jpg").read_bytes())
        copies.append(cell(images, f"again/{number}.jpg", "monocyte", 0.9))
    return write_run(images, (*run.outcomes, *copies), tmp_path / "copies.parquet")


class TestExport:
    def test_no_picture_twice_and_none_that_is_named(self, with_copies: Path, tmp_path: Path) -> None:
        out = tmp_path / "a.csv"
        paths = exported(with_copies, out, "--for-adaptation", "200")
        digests = {row.file: row.sha256 for row in load_results(with_copies).rows}
        assert len({digests[path] for path in paths}) == 200
        assert "has 200 different cells" in refused(
            "export", with_copies, "--for-adaptation", "201", "--out", tmp_path / "more.csv"
        )
        rows = [row for row in read(out) if row["path"].startswith("007/")]
        write(out, [row | {"verified_label": "ig", "verified_by": "A"} for row in rows])
        call("import", with_copies, out, "--partial", "--out", tmp_path / "v.parquet")
        named = {row["sha256"] for row in rows}
        assert len(named) >= 40
        left = exported(tmp_path / "v.parquet", tmp_path / "b.csv", "--for-adaptation", str(200 - len(named)))
        assert not {digests[path] for path in left} & named

    def test_the_same_command_chooses_the_same_cells(self, run: Run, tmp_path: Path) -> None:
        paths = exported(run.table, tmp_path / "a.csv", "--for-adaptation", "20")
        assert len(paths) == 20
        assert paths == exported(run.table, tmp_path / "b.csv", "--for-adaptation", "20")
        blind = exported(run.table, tmp_path / "c.csv", "--for-adaptation", "20", "--blind")
        assert sorted(blind) == sorted(paths)

    def test_it_is_imported_whole_or_on_demand(self, run: Run, tmp_path: Path) -> None:
        out = tmp_path / "a.csv"
        exported(run.table, out, "--for-adaptation", "20")
        rows = [row | {"verified_label": "ig", "verified_by": "A"} for row in read(out)]
        write(out, rows[:17])
        assert "3 of 20 cells are missing" in refused("import", run.table, out, "--out", tmp_path / "v.parquet")
        said = call("import", run.table, out, "--partial", "--out", tmp_path / "v.parquet")
        assert "17 cells verified, 3 still open" in said
        write(out, rows)
        assert "20 cells verified, 0 still open" in call("import", run.table, out, "--out", tmp_path / "w.parquet")
        assert load_results(tmp_path / "w.parquet").reviews[0].scope == "adaptation 20"

    def test_changed_and_missing_images_are_not_chosen(self, with_copies: Path, tmp_path: Path) -> None:
        images = tmp_path / "slides"
        (images / "007" / "cell 20.jpg").write_bytes((images / "2E5" / "cell 20.jpg").read_bytes())
        (images / "007" / "cell 21.jpg").unlink()
        result = CliRunner().invoke(
            app, ["review", "export", str(with_copies), "--for-adaptation", "198", "--out", str(tmp_path / "a.csv")]
        )
        assert result.exit_code == 0, result.output
        assert "2 cells can't be chosen: their files are missing or changed" in result.stderr
        assert "12 are copies of others" not in result.stderr
        paths = {row["path"] for row in read(tmp_path / "a.csv")}
        assert not {"007/cell 20.jpg", "007/cell 21.jpg"} & paths

    def test_no_images_and_another_model_are_refused(self, run: Run, tmp_path: Path) -> None:
        out = tmp_path / "a.csv"
        said = refused("export", run.table, "--for-adaptation", "5", "--images", tmp_path / "nowhere", "--out", out)
        assert "chosen by their images, which are not there" in said
        make_small_model(tmp_path)
        model = tmp_path / "m.safetensors"
        said = refused("export", run.table, "--for-adaptation", "5", "--model", model, "--out", out)
        assert "was made by the model" in said
        assert "Name the file of that model with --model" in said

    def test_fields_of_view_are_refused(self, run: Run) -> None:
        results = load_results(run.table)
        cell = dataclasses.replace(next(row for row in results.rows if row.is_cell), cell=1, box=(0, 0, 9, 9))
        twice = dataclasses.replace(results, rows=(*results.rows, cell))
        with pytest.raises(InputError, match="fields of view"):
            cells_for_adaptation(twice, 5, run.images, ReviewExportConfig(for_adaptation=5), NullObserver())

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (("--for-adaptation", "5", "--sample", "5"), "--for-adaptation and --sample exclude each other"),
            (("--for-adaptation", "5", "--cells", "all"), "--cells and --for-adaptation exclude each other"),
            (("--model", "m.safetensors"), "--model is for --for-adaptation"),
        ],
    )
    def test_options_that_do_not_go_together(self, run: Run, options: tuple[str, ...], told: str) -> None:
        result = CliRunner().invoke(app, ["review", "export", str(run.table), "--out", "x.csv", *options])
        assert result.exit_code == 2
        assert told in " ".join(result.output.split())


def test_rare_classes_are_among_few_chosen_real_cells(pbc: Path, tmp_path: Path) -> None:
    counts = {"neutrophil": 90, "lymphocyte": 45, "monocyte": 10}
    for name in DEFAULT_CLASSES.names:
        for place, file in enumerate(sorted((pbc / name).iterdir())[: counts.get(name, 3)]):
            target = tmp_path / "slides" / "one" / f"{name} {place}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    classify_slides(str(tmp_path / "slides"), str(tmp_path / "r.parquet"), ClassifyConfig())
    paths = exported(tmp_path / "r.parquet", tmp_path / "a.csv", "--for-adaptation", "24")
    assert {path.split("/")[1].split()[0] for path in paths} == set(DEFAULT_CLASSES.names)
    random = exported(tmp_path / "r.parquet", tmp_path / "b.csv", "--sample", "24")
    assert len({path.split("/")[1].split()[0] for path in random}) < len(DEFAULT_CLASSES.names)
