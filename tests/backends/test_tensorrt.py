"""The TensorRT path with a stand-in for the module: every failure ends in its own reason, none in a wrong number."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from program_commands import app
from small_model import make_small_model, small_pictures
from typer.testing import CliRunner

from bloodcell_batch.backends import Rung
from bloodcell_batch.backends import selection as ladder
from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.config.export import ExportTrtConfig
from bloodcell_batch.errors import BackendError
from bloodcell_batch.export.floating_point import Checked, checked_onnx
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.progress import NullObserver

pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")

STAND_IN = Path(__file__).parent / "stand_in"


class Notes(NullObserver):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str, **fields: object) -> None:
        self.notes.append(text)

    def warn(self, text: str, **fields: object) -> None:
        self.warnings.append(text)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """`import tensorrt` finds the stand-in, here and in child processes."""
    monkeypatch.syspath_prepend(str(STAND_IN))
    inherited = [path for path in sys.path if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(STAND_IN), *inherited]))
    _forget()
    yield monkeypatch
    _forget()


def _forget() -> None:
    for name in (
        "tensorrt",
        *(f"bloodcell_batch.backends.tensorrt.{part}" for part in ("runtime", "backend", "build")),
    ):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return make_small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def checked(model: ModelFile) -> Checked:
    """The ONNX network of the model, exported once: that takes seconds."""
    return checked_onnx(model.path, ExportTrtConfig(), NullObserver())


@pytest.fixture
def exported_once(stand_in: pytest.MonkeyPatch, checked: Checked) -> pytest.MonkeyPatch:
    stand_in.setattr("bloodcell_batch.export.tensorrt.checked_onnx", lambda *_: checked)
    return stand_in


@pytest.fixture
def plan(model: ModelFile, tmp_path: Path, exported_once: pytest.MonkeyPatch) -> Path:
    from bloodcell_batch.export.tensorrt import export_trt  # noqa: PLC0415

    path = tmp_path / "m.plan"
    exported_once.delenv("FAULT", raising=False)
    sidecar = export_trt(model.path, path, ExportTrtConfig(batch=4, max_batch=6), NullObserver(), "cpu")
    assert sidecar.profile == (1, 4, 6)
    # The stand-in is no faster than PyTorch; whether it was is what one test below is about.
    _edit(path, timing={**sidecar.timing.model_dump(), "tensorrt": 2.0, "pytorch": 1.0})
    return path


def _edit(plan: Path, **changes: object) -> None:
    sidecar = plan.with_name("m.plan.json")
    document = json.loads(sidecar.read_text(encoding="utf-8"))
    sidecar.write_text(json.dumps({**document, **changes}), encoding="utf-8")


def _machine(plan: Path, **changes: str) -> None:
    sidecar = json.loads(plan.with_name("m.plan.json").read_text(encoding="utf-8"))
    _edit(plan, machine={**sidecar["machine"], **changes})


@pytest.fixture
def rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ladder of a machine whose GPU is the CPU."""
    monkeypatch.setattr(ladder, "AUTO_LADDER", (Rung("tensorrt", "cpu"), Rung("pytorch", "cpu")))


def refused(model: ModelFile, plan: Path) -> str:
    """The one reason why the plan is not used; checks that `auto` goes on visibly and that a named backend does not."""
    from bloodcell_batch.export.parity import reference_outputs  # noqa: PLC0415

    options = BackendOptions(plan=plan)
    choice = ladder.open_backend(model, "auto", options)
    assert choice.name == "pytorch"
    assert len(choice.skipped) == len(choice.refused) == 1
    images = small_pictures(5)
    np.testing.assert_allclose(choice.backend.infer(images)[0], reference_outputs(model, images)[0], atol=1e-5)
    with pytest.raises(BackendError) as caught:
        ladder.open_backend(model, "tensorrt", options)
    assert caught.value.exit_code == 4
    assert "export-trt" in caught.value.hint
    return choice.skipped[0]


@pytest.mark.usefixtures("rungs")
def test_a_good_plan_is_used_and_agrees(model: ModelFile, plan: Path) -> None:
    from bloodcell_batch.export.parity import reference_outputs  # noqa: PLC0415

    choice = ladder.open_backend(model, "auto", BackendOptions(plan=plan))
    assert choice.name == "tensorrt"
    assert choice.skipped == choice.refused == ()
    assert choice.backend.description == "TensorRT 11.4.0.106, CPU, fp16, batches of 4"
    images = small_pictures(11)  # two full batches, one after the other in both slots, and a tail
    probabilities, features = choice.backend.infer(images)
    reference, reference_features = reference_outputs(model, images)
    np.testing.assert_allclose(probabilities, reference, atol=0.02)
    np.testing.assert_allclose(features, reference_features, rtol=0.02, atol=0.02)
    kept = probabilities.copy()
    choice.backend.infer(images[::-1].copy())
    assert np.array_equal(probabilities, kept)
    choice.backend.close()


@pytest.mark.usefixtures("rungs")
@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        ({"tensorrt": "10.16.1.11"}, "the plan was built for TensorRT 10.16.1.11, here is 11.4.0.106"),
        ({"gpu": "NVIDIA T4"}, "the plan was built for the GPU NVIDIA T4, here is CPU"),
        ({"compute_capability": "7.5"}, "the plan was built for compute capability 7.5, here is 0.0"),
        ({"operating_system": "Windows AMD64"}, "the plan was built for the operating system Windows AMD64"),
    ],
)
def test_another_machine(model: ModelFile, plan: Path, machine: dict[str, str], reason: str) -> None:
    _machine(plan, **machine)
    assert reason in refused(model, plan)


@pytest.mark.usefixtures("rungs")
def test_another_driver_is_no_reason(model: ModelFile, plan: Path) -> None:
    _machine(plan, driver_cuda="12.1")
    assert ladder.open_backend(model, "auto", BackendOptions(plan=plan)).name == "tensorrt"


@pytest.mark.usefixtures("rungs")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_sha256": "0" * 64}, "the plan is of another model (000000000000, not"),
        ({"classes": ["a", "b"]}, "the plan was made for other classes"),
        ({"preprocessing": {"input_size": 64}}, "the plan was made for another preprocessing"),
        ({"format_version": 2}, "is wrong at format_version"),
        ({"plan_sha256": "0" * 64}, "the plan was changed after its sidecar was written"),
        (
            {"timing": {"batch": 4, "tensorrt": 90.0, "pytorch": 100.0, "pytorch_description": "p"}},
            "the plan was slower than PyTorch when it was built (90 against 100 images/s)",
        ),
    ],
)
def test_a_sidecar_that_does_not_fit(model: ModelFile, plan: Path, changes: dict[str, object], reason: str) -> None:
    _edit(plan, **changes)
    if "timing" in changes:  # who names the backend gets it
        choice = ladder.open_backend(model, "auto", BackendOptions(plan=plan))
        assert choice.name == "pytorch"
        assert reason in choice.skipped[0]
        assert ladder.open_backend(model, "tensorrt", BackendOptions(plan=plan)).name == "tensorrt"
    else:
        assert reason in refused(model, plan)


@pytest.mark.usefixtures("rungs")
def test_missing_files(model: ModelFile, plan: Path) -> None:
    plan.unlink()
    assert "the plan can't be read: No such file" in refused(model, plan)
    plan.with_name("m.plan.json").unlink()
    assert "m.plan.json can't be read: No such file" in refused(model, plan)


@pytest.mark.usefixtures("rungs")
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("crash", "a trial of the plan crashed (signal 11)"),
        ("null", "TensorRT can't read the plan: magicTag does not match"),
        ("memory", "not enough GPU memory for the plan"),
        ("wrong", "the plan fails on the canary pictures: probabilities differ by up to"),
    ],
)
def test_a_plan_that_fails(model: ModelFile, plan: Path, stand_in: pytest.MonkeyPatch, fault: str, reason: str) -> None:
    stand_in.setenv("FAULT", fault)
    stand_in.setattr("tensorrt.FAULT", "wrong" if fault == "wrong" else "")  # the rest is the child process's business
    assert reason in refused(model, plan)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("parse", "TensorRT can't read the ONNX network: unsupported operator"),
        ("build", "TensorRT could not compile the network: no implementation found"),
        ("null", "TensorRT can't read the plan"),
        ("float", "only 0% of the layers in half precision"),
        ("wrong", "The TensorRT plan is not the same network"),
    ],
)
def test_nothing_is_published_if_the_build_fails(
    model: ModelFile, tmp_path: Path, exported_once: pytest.MonkeyPatch, fault: str, reason: str
) -> None:
    import tensorrt  # noqa: PLC0415, F401 - the fault is set in the module that is loaded

    from bloodcell_batch.export.tensorrt import export_trt  # noqa: PLC0415

    exported_once.setattr("tensorrt.FAULT", fault)
    with pytest.raises(BackendError) as caught:
        export_trt(model.path, tmp_path / "m.plan", ExportTrtConfig(batch=4), NullObserver(), "cpu")
    assert reason in caught.value.message
    assert not list(tmp_path.iterdir())


def test_a_slow_plan_is_published_with_a_warning(
    model: ModelFile, tmp_path: Path, exported_once: pytest.MonkeyPatch
) -> None:
    from bloodcell_batch.export import tensorrt as trt  # noqa: PLC0415

    rates = iter((90.0, 100.0))
    exported_once.setattr(trt, "_rate", lambda *_: next(rates))
    observer = Notes()
    sidecar = trt.export_trt(model.path, tmp_path / "m.plan", ExportTrtConfig(batch=4), observer, "cpu")
    assert sidecar.timing.slower
    assert any("TensorRT 90 images/s, PyTorch 100" in warning for warning in observer.warnings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.plan", "m.plan.json"]


@pytest.mark.usefixtures("rungs")
def test_an_engine_that_stops_working_stops_the_run(model: ModelFile, plan: Path, stand_in: pytest.MonkeyPatch) -> None:
    choice = ladder.open_backend(model, "auto", BackendOptions(plan=plan))
    stand_in.setattr("tensorrt.IExecutionContext.execute_async_v3", lambda *_: False)
    with pytest.raises(BackendError, match="could not run the plan"):
        choice.backend.infer(small_pictures(3))


def test_without_the_extra_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export-trt", "--out", str(tmp_path / "m.plan")])
    assert result.exit_code == 4
    assert "TensorRT, which is not installed" in result.stderr
    assert "pip install 'bloodcell-batch[tensorrt]'" in result.stderr


def test_a_plan_beside_the_model_without_tensorrt_is_no_obstacle(model: ModelFile) -> None:
    plan = model.path.with_suffix(".plan")
    plan.write_bytes(b"plan")
    try:
        choice = ladder.open_backend(model)
        assert choice.name == "openvino"
    finally:
        plan.unlink()


def test_a_plan_that_was_asked_for_is_not_left_aside_in_silence(model: ModelFile, tmp_path: Path) -> None:
    choice = ladder.open_backend(model, "auto", BackendOptions(plan=tmp_path / "m.plan"))
    assert any("m.plan is not used: " in refusal for refusal in choice.refused)


def test_the_default_model_has_its_plan_in_the_cache() -> None:
    from bloodcell_batch.export.tensorrt import usual_place  # noqa: PLC0415

    model = open_model()
    assert usual_place(model).name == f"{model.sha256}.plan"
    assert usual_place(model).is_relative_to(os.environ["XDG_CACHE_HOME"])


RELEASES = ("10.16.1.11", "11.4.0.106")
CHECK = Path(__file__).parents[3] / "shared" / "tools" / "tensorrt_api_check"


@pytest.mark.parametrize("release", RELEASES)
def test_every_name_of_tensorrt_exists_in_the_real_bindings(release: str, tmp_path: Path) -> None:
    if not CHECK.is_dir():
        pytest.skip("the checker is not on this machine")
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    wheel = f"tensorrt-cu13-bindings=={release}"
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), wheel]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the bindings can't be had here: {done.stderr.strip().splitlines()[-1:]}")
    shims = tmp_path / "shims"
    made = subprocess.run([str(CHECK / "make_shim.sh"), str(shims), release.partition(".")[0]], check=False)
    if made.returncode != 0:
        pytest.skip("no C compiler here")
    folder = Path(__file__).parents[2] / "bloodcell_batch" / "backends" / "tensorrt"
    files = [*(str(path) for path in sorted(folder.glob("*.py"))), str(folder.parents[1] / "export" / "tensorrt.py")]
    environment = {"LD_LIBRARY_PATH": str(shims), "PYTHONPATH": str(site)}
    command = [str(python), str(CHECK / "api_check.py"), *files]
    checked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"TensorRT {release}: 0 unknown" in checked.stdout
