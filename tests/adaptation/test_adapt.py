"""`adapt` on drawn cells and a small network with random weights, which knows nothing before."""

import functools
import hashlib
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from program_commands import app
from small_model import make_small_model
from typer.testing import CliRunner, Result

from bloodcell_batch.adaptation import adapt as adapting
from bloodcell_batch.adaptation import validation
from bloodcell_batch.adaptation.figures import Judgement
from bloodcell_batch.adaptation.rehearsal import ASSET, Rehearsal, load_rehearsal
from bloodcell_batch.adaptation.trainings import Answers
from bloodcell_batch.cell_classes import DEFAULT_CLASSES, CellClass, ClassList, Role
from bloodcell_batch.config.adapt import AdaptConfig
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import ModelFile, open_model, save_model
from bloodcell_batch.model.network import load_inference_module
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.data.labelled_files import FREE, TRAIN
from bloodcell_batch.training.data.seen import Seen, SeenPart
from bloodcell_batch.training.fit.calibration import predict

FIVE = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")


class Listener(NullObserver):
    def __init__(self) -> None:
        self.warned: list[str] = []
        self.noted: list[str] = []
        self.done: list[int] = []

    def note(self, text: str, **fields: object) -> None:
        self.noted.append(text)

    def warn(self, text: str, **fields: object) -> None:
        self.warned.append(text)

    def advanced(self, done: int, counts: object = None) -> None:
        self.done.append(done)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return make_small_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def five(toy_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cells of each of five classes."""
    folder = tmp_path_factory.mktemp("five")
    for name in FIVE:
        (folder / name).mkdir()
        for file in sorted((toy_cells / name).iterdir())[:5]:
            shutil.copy(file, folder / name)
    return folder


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "FOLDS", 2)
    monkeypatch.setattr("bloodcell_batch.adaptation.trainings._MOST_VIEWS", 3)
    monkeypatch.setattr("bloodcell_batch.adaptation.trainings._FEWEST_STEPS", 6)
    monkeypatch.setattr("bloodcell_batch.adaptation.trainings._STEPS_PER_ROOT", 0.5)


@functools.cache
def few_rehearsed(classes: ClassList, preprocessing: Preprocessing) -> Rehearsal:
    """Every twentieth cell of the package."""
    whole = load_rehearsal(classes, preprocessing)
    learned, control = (np.arange(0, len(cells), 20) for cells in (whole.learned, whole.control))
    return Rehearsal(whole.learned.take(learned), whole.control.take(control), whole.held_out, whole.attribution)


@pytest.fixture(autouse=True)
def small_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapting, "load_rehearsal", few_rehearsed)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the model of `ours` is, once a test has asked for it."""
    return tmp_path_factory.mktemp("ours") / "ours.safetensors"


@pytest.fixture
def ours(base: ModelFile, five: Path, made: Path) -> Path:
    """The model adapted to `five` with the seed 0; nobody changes it. Made once, though its settings are patched for
    each test."""
    if not made.exists():
        adapting.adapt(config_of(base), five, made)
    return made


def config_of(base: ModelFile, **more: object) -> AdaptConfig:
    return AdaptConfig.model_validate({"model": base.path, "workers": 0, **more})


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["adapt", *map(str, arguments)])


def test_five_cells_of_five_classes_make_a_better_model(base: ModelFile, five: Path, tmp_path: Path) -> None:
    out, seen = tmp_path / "ours.safetensors", Listener()
    found = adapting.adapt(config_of(base, attribution="drawn"), five, out, seen)
    assert found.model is not None
    assert found.change.is_better
    assert found.change.after.accuracy > found.change.before.accuracy + 0.3
    header = open_model(out).header
    assert header.class_list == DEFAULT_CLASSES
    assert header.training["adaptation"]["is_better"] is True
    assert header.training["adapted_from"]["sha256"] == base.sha256
    assert list(found.counts) == list(found.change.per_class) == [*DEFAULT_CLASSES.leukocytes[:5]]
    assert "drawn" in header.attribution
    assert "Acevedo" not in base.header.attribution
    assert seen.done == sorted(seen.done) or seen.done
    assert not (tmp_path / "ours.adaptation").exists()
    text = found.as_text()
    for said in ("accuracy", "left for review", "95 % limits", "McNemar", "control cells", "25 cells"):
        assert said in text, said


def test_the_written_model_classifies_what_it_learned(base: ModelFile, ours: Path, toy_cells: Path) -> None:
    card = CliRunner().invoke(app, ["model-card", str(ours)]).output
    assert f"Adapted from small (SHA-256 `{base.sha256}`) to 25 cells" in " ".join(card.split())
    assert "Figures on the laboratory's cells" in card
    result = CliRunner().invoke(
        app, ["evaluate", str(ours), str(toy_cells), "--backend", "pytorch", "--bootstrap", "0"]
    )
    assert result.exit_code == 0, result.output


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(
    base: ModelFile, five: Path, ours: Path, tmp_path: Path
) -> None:
    again, other = tmp_path / "again.safetensors", tmp_path / "other.safetensors"
    adapting.adapt(config_of(base), five, again)
    adapting.adapt(config_of(base, seed=1), five, other)
    assert again.read_bytes() == ours.read_bytes()
    assert other.read_bytes() != ours.read_bytes()


def test_an_interrupted_adaptation_goes_on_and_ends_with_the_same_bytes(
    base: ModelFile, five: Path, ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "cut.safetensors"
    write = validation.KeptAnswers.write
    stopped = threading.Event()

    def broken(self: validation.KeptAnswers, name: str, answers: Answers) -> None:
        if name in {"stages-3", "stages-4"}:  # they may end before the interruption is heard of
            assert stopped.wait(60)
            raise KeyboardInterrupt
        write(self, name, answers)
        if name == "stages-2":
            stopped.set()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(validation.KeptAnswers, "write", broken)
        with pytest.raises(KeyboardInterrupt):
            adapting.adapt(config_of(base), five, cut)
    kept = {path.stem for path in (tmp_path / "cut.adaptation").glob("*.safetensors")}
    assert "stages-2" in kept
    assert len(kept) < 2 * validation.FOLDS * validation.REPEATS
    seen = Listener()
    adapting.adapt(config_of(base), five, cut, seen)
    assert any(note.startswith(f"going on after {len(kept)} trainings") for note in seen.noted)
    assert cut.read_bytes() == ours.read_bytes()


def test_answers_of_another_adaptation_are_not_used(base: ModelFile, five: Path, tmp_path: Path) -> None:
    kept = validation.KeptAnswers(tmp_path / "ours.adaptation", "another")
    kept.begin()
    kept.write("stages-1", Answers(np.zeros((1, 1, 8), np.float32), np.zeros(1, np.float32)))
    seen = Listener()
    adapting.adapt(config_of(base), five, tmp_path / "ours.safetensors", seen)
    assert not [note for note in seen.noted if note.startswith("going on")]


def test_a_model_that_is_not_better_is_not_written(base: ModelFile, five: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    # A model that is right about every cell and leaves none for review can't be bettered.
    perfect = Judgement(np.ones(25, dtype=bool), np.ones(25, dtype=bool))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapting, "_judged_before", lambda *_: perfect)
        seen = Listener()
        found = adapting.adapt(config_of(base), five, good, seen)
        assert found.model is None
        assert not good.exists()
        assert seen.warned[-1] == "the new model is not better than before: no model was written"
        result = command(five, "--model", base.path, "--out", good)
        assert result.exit_code == 1
        found = adapting.adapt(config_of(base, force=True), five, good, seen)
    assert found.model is not None
    assert found.model.header.training["adaptation"]["is_better"] is False
    assert "written nevertheless" in seen.warned[-1]


def test_missing_classes_are_kept_and_new_ones_are_added(
    base: ModelFile, five: Path, toy_cells: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(five, data)
    for name, source in (("Blasten", "ig"), ("BNE", "erythroblast"), ("Plasmazelle", "platelet")):
        (data / name).mkdir()
        for file in sorted((toy_cells / source).iterdir())[: 4 if name == "Plasmazelle" else 6]:
            shutil.copy(file, data / name)
    seen, out = Listener(), tmp_path / "ours.safetensors"
    found = adapting.adapt(config_of(base), data, out, seen)
    classes = open_model(out).header.class_list
    assert classes.names == (*DEFAULT_CLASSES.names, "band_neutrophil", "blast")
    assert classes.by_name["band_neutrophil"].parent == "neutrophil"
    assert found.counts["blast"] == 6
    assert any("4 cells of plasma_cell are left out" in text for text in seen.warned)
    module = load_inference_module(open_model(out))
    assert predict(module, np.zeros((1, 32, 32, 3), dtype=np.uint8))[0].shape == (1, 10)


def test_declared_classes_join_those_of_the_model(base: ModelFile, five: Path, toy_cells: Path, tmp_path: Path) -> None:
    data, recipe = tmp_path / "data", tmp_path / "ours.toml"
    shutil.copytree(five, data)
    shutil.copytree(toy_cells / "ig", data / "hairy_cell")
    recipe.write_text('[classes]\nhairy_cell = "leukocyte"\n', encoding="utf-8")
    out = tmp_path / "ours.safetensors"
    result = command(data, "--model", base.path, "--config", recipe, "--out", out)
    assert result.exit_code == 0, result.output
    assert open_model(out).header.classes[-1].name == "hairy_cell"
    recipe.write_text('[classes]\nneutrophil = "outside"\n', encoding="utf-8")
    result = command(data, "--model", base.path, "--config", recipe, "--out", out, "--overwrite")
    assert result.exit_code == 2
    assert "'neutrophil' is another one in the model" in result.output


def test_one_class_is_not_enough(base: ModelFile, five: Path, tmp_path: Path) -> None:
    shutil.copytree(five / "monocyte", tmp_path / "data" / "monocyte")
    with pytest.raises(TrainingError, match="at least 5 cells of each of 2 classes; usable are monocyte 5"):
        adapting.adapt(config_of(base), tmp_path / "data", tmp_path / "o.safetensors")
    assert not (tmp_path / "o.adaptation").exists()


def test_contradictory_labels_are_listed(base: ModelFile, five: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(five, data)
    shutil.copy(data / "monocyte" / "00.jpg", data / "neutrophil" / "copy.jpg")
    with pytest.raises(TrainingError, match=r"copies of each other under different labels: monocyte/00.jpg"):
        adapting.adapt(config_of(base), data, tmp_path / "o.safetensors")


def test_unreadable_files_are_told(base: ModelFile, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("monocyte", "neutrophil"):
        (data / name).mkdir(parents=True)
        for i in range(6):
            (data / name / f"{i}.jpg").write_bytes(b"\xff\xd8\xff no picture")
    seen = Listener()
    with pytest.raises(TrainingError, match="usable are none; 12 files can't be read"):
        adapting.adapt(config_of(base), data, tmp_path / "o.safetensors", seen)
    assert sum("left out monocyte" in text for text in seen.warned) == 6


def test_cells_that_the_model_knows_or_is_tested_on_are_left_out(base: ModelFile, five: Path, tmp_path: Path) -> None:
    def digest(path: Path) -> int:
        return int(hashlib.sha256(path.read_bytes()).hexdigest()[:16], 16)

    seen_cells = np.sort(np.array([digest(path) for path in (five / "basophil").iterdir()], dtype=np.uint64))
    tensors = {
        f"{part}.{name}": value
        for part in ("network", "outlier")
        for name, value in base.load_tensors(f"{part}.").items()
    }
    trained = save_model(tmp_path / "trained.safetensors", base.header, tensors | {"seen.train": seen_cells})
    tested = np.sort(np.array([digest(path) for path in (five / "eosinophil").iterdir()], dtype=np.uint64))
    unknown = np.zeros((5, 2, 4), dtype=np.uint64)
    few = few_rehearsed(DEFAULT_CLASSES, Preprocessing(input_size=32))
    seen = Listener()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            adapting, "load_rehearsal", lambda *_: Rehearsal(few.learned, few.control, SeenPart(tested, unknown), "")
        )
        found = adapting.adapt(config_of(trained), five, tmp_path / "o.safetensors", seen)
    assert set(found.counts) == {"lymphocyte", "monocyte", "neutrophil"}
    assert any("left out 5 cells that the model was trained or calibrated on" in text for text in seen.warned)
    assert any("left out 5 cells of the test part" in text for text in seen.warned)


def test_cells_of_one_slide_stay_together(base: ModelFile, toy_cells: Path, tmp_path: Path) -> None:
    rows = ["path,label,slide_id"]
    for name in ("monocyte", "neutrophil"):
        (tmp_path / name).mkdir()
        for i, file in enumerate(sorted((toy_cells / name).iterdir())[:10]):
            shutil.copy(file, tmp_path / name)
            rows.append(f"{name}/{file.name},{name},slide {i % 5}")
    (tmp_path / "cells.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    found = adapting.adapt(config_of(base), tmp_path / "cells.csv", tmp_path / "o.safetensors")
    assert found.slides == 5
    assert "20 cells of 5 slides" in found.as_text()


def test_the_command_writes_the_model_and_an_audit_line(base: ModelFile, five: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "ours.safetensors", tmp_path / "audit.jsonl"
    result = command(five, "--model", base.path, "--out", out, "--audit-log", log)
    assert result.exit_code == 0, result.output
    assert str(out) in result.output
    assert json.loads(log.read_text(encoding="utf-8"))["exit_code"] == 0
    result = command(five, "--model", base.path, "--out", out)
    assert result.exit_code == 1
    assert "exists already" in result.output


def test_the_rehearsal_cells_are_small_and_known_to_the_packaged_model() -> None:
    packaged = open_model()
    found = load_rehearsal(DEFAULT_CLASSES, Preprocessing(input_size=32))
    seen = Seen.by(packaged)
    assert (seen.recognise(found.learned.digests, found.learned.hashes).parts == TRAIN).all()
    assert (seen.recognise(found.control.digests, found.control.hashes).parts == FREE).all()
    assert np.isin(found.control.digests, found.held_out.digests).all()
    assert np.bincount(found.learned.labels).tolist() == [100] * 8
    assert np.bincount(found.control.labels).tolist() == [50] * 8
    assert (Path(adapting.__file__).parents[1] / "assets" / ASSET).stat().st_size < 6_000_000
    assert "CC BY 4.0" in (Path(adapting.__file__).parents[1] / "assets" / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_kinds_of_cells_are_found_in_the_packaged_cells() -> None:
    kinds = ClassList(
        (
            CellClass("band_neutrophil", Role.LEUKOCYTE, "neutrophil"),
            CellClass("segmented_neutrophil", Role.LEUKOCYTE, "neutrophil"),
        )
    )
    found = load_rehearsal(kinds, Preprocessing(input_size=32))
    assert 0 < len(found.learned) <= 100
    assert set(found.learned.labels.tolist()) == {0, 1}
