import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bloodcell_batch as bb
from bloodcell_batch.api import models, runs

EXAMPLES = Path(__file__).parents[2] / "examples" / "slides"


def test_every_public_name_exists_and_is_documented() -> None:
    for name in set(bb.__all__) - {"__version__", "DEFAULT_CLASSES.classes"}:
        assert inspect.getdoc(getattr(bb, name)), name
    assert set(bb.__all__) == {"__version__", *bb._HOME_OF}
    assert set(bb.__all__) <= set(dir(bb))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bb.nothing  # noqa: B018


@pytest.mark.parametrize("module", [models, runs])
def test_all_is_complete(module: object) -> None:
    """Every function of the API is exported, and every class of ours that it takes or returns."""
    for name, value in vars(module).items():
        if not inspect.isfunction(value) or value.__module__ != module.__name__ or name.startswith("_"):  # type: ignore[attr-defined]
            continue
        assert getattr(bb, name) is value
        for annotation in inspect.get_annotations(value, eval_str=True).values():
            for part in (annotation, *getattr(annotation, "__args__", ())):
                if inspect.isclass(part) and part.__module__.startswith("bloodcell_batch"):
                    assert getattr(bb, part.__name__) is part, part


def test_importing_costs_nothing() -> None:
    heavy = "{'torch', 'numpy', 'pyarrow', 'typer', 'rich', 'pydantic', 'PIL', 'openvino', 'lightning'}"
    code = f"import sys, bloodcell_batch; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_works_without_the_libraries_of_the_command_line(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['typer'] = sys.modules['rich'] = None\n"
        "import bloodcell_batch as bb\n"
        f"result = bb.classify({str(EXAMPLES)!r}, {str(tmp_path / 'r.parquet')!r})\n"
        f"assert len(bb.read_results({str(tmp_path / 'r.parquet')!r}).slides) == len(result.slides) == 3\n"
        "bb.merge, bb.train, bb.evaluate, bb.open_model, bb.open_backend\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_results_are_read_as_tables(tmp_path: Path) -> None:
    done = bb.classify(EXAMPLES, tmp_path / "r.csv", bb.ClassifyConfig(dedup="exact"))
    results = bb.read_results(tmp_path / "r.csv")
    assert done.counts.found == len(results.images) + done.counts.ignored
    assert results.slide_table.column("slide_id").to_pylist() == [slide.slide_id for slide in done.slides]
    assert results.slide_table.column("wbc_counted").to_pylist() == [slide.wbc_counted for slide in results.slides]
    assert results.record.config["dedup"] == "exact"


def test_warnings_reach_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    slides = tmp_path / "slides"
    shutil.copytree(EXAMPLES, slides)
    picture = next(slides.rglob("*.jpg"))
    (slides / picture.name).write_bytes(picture.read_bytes())
    bb.classify(slides, tmp_path / "r.csv")
    assert [(entry.name, entry.levelname) for entry in caplog.records] == [("bloodcell_batch", "WARNING")]
    assert "images that lie beside the slide folders" in caplog.text
    caplog.clear()
    bb.classify(slides, tmp_path / "s.csv", None, bb.NullObserver())
    assert not caplog.records
    labelled = tmp_path / "labelled" / "neutrophil"
    labelled.mkdir(parents=True)
    (labelled / "1.jpg").write_bytes(picture.read_bytes())
    (labelled / "broken.jpg").write_bytes(b"no image")
    bb.evaluate(labelled.parent)
    assert "left out neutrophil/broken.jpg" in caplog.text


def test_a_backend_runs_a_model() -> None:
    model = bb.open_model()
    cell = np.full((90, 80, 3), 200, dtype=np.uint8)
    batch = bb.resize_to_input(cell, model.header.preprocessing)[None]
    with bb.open_backend(model, "openvino") as backend:
        probabilities, features = backend.infer(batch)
    assert probabilities.shape == (1, len(model.header.classes))
    assert probabilities.sum() == pytest.approx(1, abs=1e-3)
    assert features.dtype == np.float32


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(bb.BloodcellBatchError) as caught:
        bb.classify(tmp_path / "none", tmp_path / "r.csv")
    assert caught.value.hint
    with pytest.raises(bb.BloodcellBatchError):
        bb.merge([tmp_path / "none.parquet"], tmp_path / "r.parquet")
    with pytest.raises(bb.BloodcellBatchError):
        bb.train(tmp_path / "none", tmp_path / "m.safetensors")
    with pytest.raises(bb.BloodcellBatchError):
        bb.evaluate(tmp_path / "none")
