"""Runs that are interrupted, repeated and updated, through the whole pipeline."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import draw_picture, encode
from messy_slides import quick_backend
from stopping import Killed, Stopping

from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import InputError, OutputError
from bloodcell_batch.files import publishing
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.records import ImageFile, LoadedImage, Rejection
from bloodcell_batch.results import journal as journals
from bloodcell_batch.runs import local as classification
from bloodcell_batch.runs.pipeline import RunResult, classify_slides
from bloodcell_batch.stages import write
from bloodcell_batch.stages.decode import Loader, make_loader

TABLES = ("r.parquet", "r.slides.parquet")
SETTINGS = {"batch_size": 3, "workers": 2}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(journals, "ROWS_PER_PART", 4)
    with quick_backend():  # there are a hundred runs here, and which classes they find is all the same
        yield


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    """Three slides with copies within and across them, and a broken file each."""
    folder = tmp_path / "slides"
    for slide in range(3):
        (folder / f"s{slide}").mkdir(parents=True)
        for i in range(5):
            (folder / f"s{slide}" / f"{i}.jpg").write_bytes(encode(draw_picture(10 * slide + i)))
        picture = draw_picture(10 * slide + 1)
        (folder / f"s{slide}" / "copy.png").write_bytes(encode(picture, "PNG"))
        (folder / f"s{slide}" / "again.png").write_bytes(encode(picture, "PNG"))
        (folder / f"s{slide}" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    shutil.copy(folder / "s0" / "2.jpg", folder / "s2" / "from s0.jpg")
    return folder


Run = Callable[..., RunResult]


@pytest.fixture
def run(slides: Path) -> Run:
    def classify(out: Path, observer: NullObserver | None = None, **settings: object) -> RunResult:
        out.mkdir(exist_ok=True)
        config = ClassifyConfig.model_validate(SETTINGS | settings)
        return classify_slides(slides, str(out / "r.parquet"), config, observer)

    return classify


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("after", [1, 5, 8, 14, 20, 25])
def test_the_same_command_goes_on_where_it_stopped(run: Run, tmp_path: Path, after: int) -> None:
    whole = run(tmp_path / "whole")
    for _ in range(2):  # interrupted twice
        with pytest.raises(Killed):
            run(tmp_path / "cut", Stopping(after))
        assert not (tmp_path / "cut" / "r.parquet").exists()
    observer = Stopping()
    again = run(tmp_path / "cut", observer)
    assert tables(tmp_path / "cut") == tables(tmp_path / "whole")
    assert (again.counts, again.slides) == (whole.counts, whole.slides)
    assert any(text.startswith("going on after") for text in observer.told)
    assert names(tmp_path / "cut") == names(tmp_path / "whole")


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_killed_while_publishing_is_repeated(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, *, replaced: bool
) -> None:
    run(tmp_path / "whole")
    settings = {"overwrite": True} if replaced else {}
    if replaced:
        run(tmp_path / "cut", dedup="off")
    real = Path.replace
    renamed: list[Path] = []

    def replace(path: Path, target: Path) -> Path:
        if path.name.startswith("final-"):
            if len(renamed) == step:
                raise Killed
            renamed.append(path)
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(Killed):
            run(tmp_path / "cut", **settings)
    run(tmp_path / "cut", **settings)
    assert tables(tmp_path / "cut") == tables(tmp_path / "whole")
    assert names(tmp_path / "cut") == names(tmp_path / "whole")


def test_another_command_does_not_replace_what_was_half_published(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = publishing.sync

    def killed(path: Path) -> None:
        real(path)
        if path == tmp_path / "cut":  # all is renamed
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(write, "sync", killed)
        with pytest.raises(Killed):
            run(tmp_path / "cut")
    before = tables(tmp_path / "cut")
    with pytest.raises(OutputError, match="exists already"):
        run(tmp_path / "cut", dedup="off")
    assert tables(tmp_path / "cut") == before


def test_files_that_came_or_changed_meanwhile_are_classified(run: Run, slides: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path / "cut", Stopping(20))
    (slides / "s1" / "0.jpg").write_bytes(encode(draw_picture(77)))
    (slides / "s2" / "zz.jpg").write_bytes(encode(draw_picture(78)))
    observer = Stopping()
    run(tmp_path / "cut", observer)
    run(tmp_path / "whole")
    assert tables(tmp_path / "cut") == tables(tmp_path / "whole")
    assert any("from s1/0.jpg on, files are new, gone or changed" in text for text in observer.told)


def test_other_options_start_over_and_say_so(run: Run, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path / "cut", Stopping(20))
    observer = Stopping()
    run(tmp_path / "cut", observer, min_confidence=0.9)
    run(tmp_path / "whole", min_confidence=0.9)
    assert tables(tmp_path / "cut") == tables(tmp_path / "whole")
    assert any("the threshold of the confidence was" in text and "now is '0.9'" in text for text in observer.told)


class TestUpdate:
    def _decoded(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Paths of the files that are decoded from now on."""
        decoded: list[str] = []

        def noting(*arguments: Any) -> Loader:  # noqa: ANN401 - passed on
            decode = make_loader(*arguments)

            def decode_and_note(file: ImageFile) -> LoadedImage | Rejection:
                decoded.append(file.path)
                return decode(file)

            return decode_and_note

        monkeypatch.setattr(classification, "make_loader", noting)
        return decoded

    def test_nothing_changed(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run(tmp_path / "out", update=True)  # there is nothing to update yet
        before = tables(tmp_path / "out")
        decoded = self._decoded(monkeypatch)
        observer = Stopping()
        run(tmp_path / "out", observer, update=True)
        assert tables(tmp_path / "out") == before
        assert sorted(decoded) == [f"s{slide}/broken.jpg" for slide in range(3)]
        assert "22 files have not changed since the earlier result" in observer.told

    def test_new_changed_and_removed_files(
        self, run: Run, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(tmp_path / "out")
        (slides / "s0" / "1.jpg").unlink()  # copy.png was its duplicate, and never was predicted
        (slides / "s1" / "0.jpg").write_bytes(encode(draw_picture(77)))
        (slides / "s1" / "new.jpg").write_bytes(encode(draw_picture(78)))
        shutil.rmtree(slides / "s2")
        (slides / "s3").mkdir()
        (slides / "s3" / "a.jpg").write_bytes(encode(draw_picture(79)))
        run(tmp_path / "whole")
        decoded = self._decoded(monkeypatch)
        run(tmp_path / "out", update=True)
        assert tables(tmp_path / "out") == tables(tmp_path / "whole")
        expected = {"s0/again.png", "s0/broken.jpg", "s1/0.jpg", "s1/broken.jpg", "s1/new.jpg", "s3/a.jpg"}
        assert set(decoded) == expected

    def test_other_options_classify_everything_anew(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(tmp_path / "out")
        run(tmp_path / "whole", dedup="exact")
        decoded = self._decoded(monkeypatch)
        run(tmp_path / "out", update=True, dedup="exact")
        assert len(decoded) == 25
        assert tables(tmp_path / "out") == tables(tmp_path / "whole")

    def test_an_update_killed_while_publishing_is_repeated(
        self, run: Run, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(tmp_path / "out")
        (slides / "s0" / "new.jpg").write_bytes(encode(draw_picture(78)))
        real = Path.replace

        def replace(path: Path, target: Path) -> Path:
            if path.name == "final-r.parquet":  # the record is the new run's already, the table still the old one's
                raise Killed
            return real(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            with pytest.raises(Killed):
                run(tmp_path / "out", update=True)
        (slides / "s1" / "0.jpg").write_bytes(encode(draw_picture(77)))  # the journal holds as far as here only
        run(tmp_path / "out", update=True)
        run(tmp_path / "whole")
        assert tables(tmp_path / "out") == tables(tmp_path / "whole")

    def test_rows_that_were_changed_are_not_kept(self, run: Run, tmp_path: Path) -> None:
        run(tmp_path / "out")
        table = tmp_path / "out" / "r.parquet"
        pq.write_table(pq.read_table(table), table, compression="none")
        with pytest.raises(InputError, match="was changed after it was written") as caught:
            run(tmp_path / "out", update=True)
        assert "--overwrite" in caught.value.hint

    def test_an_interrupted_update_goes_on(self, run: Run, slides: Path, tmp_path: Path) -> None:
        run(tmp_path / "out")
        before = tables(tmp_path / "out")
        (slides / "s0" / "new.jpg").write_bytes(encode(draw_picture(78)))
        with pytest.raises(Killed):
            run(tmp_path / "out", Stopping(12), update=True)
        assert tables(tmp_path / "out") == before
        run(tmp_path / "out", update=True)
        run(tmp_path / "whole")
        assert tables(tmp_path / "out") == tables(tmp_path / "whole")
