import io
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import imagehash
import pytest
from conftest import draw_picture, encode
from PIL import Image
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.backends import BACKENDS
from bloodcell_batch.backends.contract import BackendOptions
from bloodcell_batch.benchmark import measure as measuring
from bloodcell_batch.benchmark import parts
from bloodcell_batch.benchmark.baseline_script import run as run_plain
from bloodcell_batch.benchmark.drawn_images import draw_slides, link_some
from bloodcell_batch.benchmark.growth import measure_growth
from bloodcell_batch.benchmark.measure import Benchmark, PlainRun, WholeRun, measure, with_doubts
from bloodcell_batch.benchmark.parts import BackendSpeed, Part, best_rate
from bloodcell_batch.benchmark.report import as_dict, as_text, check_folder
from bloodcell_batch.config.benchmark import BenchmarkConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import BackendError, BloodcellBatchError, InputError, OutputError, UsageError
from bloodcell_batch.export.parity_images import evenly
from bloodcell_batch.model.file import open_model
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.stages.scan import scan

QUICK = BenchmarkConfig(
    images=10, size="96x80", batch_size=16, batch_sizes=(4,), rounds=1, seconds=0.01, plain_images=0
)


def _benchmark(device: str = "cpu", cpus: int = 2) -> Benchmark:
    return Benchmark(
        model=open_model(),
        config=QUICK,
        cpus=cpus,
        source="made up",
        files=1000,
        mean_bytes=16000.0,
        parts=(Part("decode", 1000.0), Part("hash", 1000.0)),
        backends=(BackendSpeed("tensorrt", skipped="no NVIDIA driver"),),
        used=BackendSpeed("openvino", device, "a runtime", 16, 1000.0),
        run=WholeRun(1000, 2.5, {"classify": 2.4, "total": 2.5}),
        plain=PlainRun(100, 1.0, 1.0, 0, classified=90, timm_seconds=0.5),
        growth=(),
        notes=(),
    )


def test_on_a_cpu_the_network_shares_the_cores() -> None:
    """2 ms of two cores are 1 ms an image, and the network takes another: 500 images/s, of which 400 are reached."""
    found = _benchmark()
    assert found.ceiling == pytest.approx(500)
    assert found.share == pytest.approx(0.8)
    assert found.ratio == pytest.approx(8)
    assert "classify reaches 80% of the ceiling" in as_text(found)
    assert "8.0 times as fast" in as_text(found)


def test_a_gpu_runs_beside_the_cores() -> None:
    assert _benchmark("cuda", cpus=2).ceiling == pytest.approx(1000)
    assert _benchmark("cuda", cpus=1).ceiling == pytest.approx(500)
    assert _benchmark("cuda", cpus=64).ceiling == pytest.approx(1000)


def test_what_int8_would_give_is_told_where_there_is_such_a_network() -> None:
    assert _benchmark().int8_ceiling is None
    int8 = tuple(BackendSpeed("openvino int8", "cpu", "", batch, rate) for batch, rate in ((4, 100.0), (16, 4000.0)))
    found = replace(_benchmark(), backends=int8)
    assert found.int8_ceiling == pytest.approx(800)
    assert "with int8        800 " in as_text(found)
    assert as_dict(found)["ceiling_images_per_second_int8"] == 800
    used = replace(found.used, description="OpenVINO 2026.4, CPU, int8, one stream (accuracy 97 %), 2 threads")
    assert replace(found, used=used).int8_ceiling is None


def test_timms_loop_has_a_row() -> None:
    assert "timm             180   the loop of timm's inference.py" in as_text(_benchmark())
    assert as_dict(_benchmark())["timm"] == {"images": 90, "seconds": 0.5, "images_per_second": 180}


def test_a_sentence_says_what_limits_the_machine() -> None:
    """Each part takes half a millisecond of the two cores, the network one of both."""
    slow, fast = (BackendSpeed("pytorch", "cuda", "a GPU", 16, rate) for rate in (900.0, 5000.0))
    for found, said in (
        (_benchmark(), "the network limits this machine: 50% of the processors' time for an image, decode 25%"),
        (
            replace(_benchmark(), used=fast),
            "decode limits this machine: 50% of the processors' time for an image, hash 50%; the cuda device waits",
        ),
        (replace(_benchmark(), used=slow), "the network limits this machine: the processors wait for the cuda"),
    ):
        assert said in as_text(found)
        assert said in as_dict(found)["limit"]


def test_more_than_the_ceiling_is_doubted() -> None:
    assert with_doubts(_benchmark()).notes == ()
    found = with_doubts(replace(_benchmark(), run=WholeRun(1000, 1.9, {"total": 1.9})))
    assert "measure again" in as_text(found)
    assert "measure again" in as_dict(found)["notes"][0]


def test_without_the_plain_script_there_is_no_ratio() -> None:
    found = replace(_benchmark(), plain=None, notes=("left out",))
    assert found.ratio is None
    assert as_dict(found)["times_plain"] is None
    assert "times as fast" not in as_text(found)
    assert "note: left out" in as_text(found)


def test_more_images_are_measured_and_told(tmp_path: Path) -> None:
    draw_slides(tmp_path, 12, (96, 80))
    config = QUICK.model_copy(update={"growth": (30, 5, 30)})
    few, many = measure_growth(tmp_path, config, open_model(), NullObserver())
    assert (few.files, many.files, few.dedup) == (5, 30, "off")
    assert few.images_per_second > 0
    assert many.update_seconds > 0
    assert min(few.peak_bytes, few.update_peak_bytes) > 50_000_000
    found = replace(_benchmark(), growth=(few, many))
    assert [run["files"] for run in as_dict(found)["growth"]] == [5, 30]
    assert as_text(found).count("(--dedup off)") == 2


def test_growing_folders_of_drawn_images_have_no_duplicates() -> None:
    (run,) = measure_growth(None, QUICK.model_copy(update={"growth": (9,)}), open_model(), NullObserver())
    assert (run.files, run.dedup) == (9, "near")


def test_growth_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No images"):
        list(measure_growth(tmp_path, QUICK.model_copy(update={"growth": (9,)}), open_model(), NullObserver()))


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    draw_slides(tmp_path, 3, (96, 80))
    config = QUICK.model_copy(update={"growth": (3,), "backend": "tensorrt"})
    with pytest.raises(BloodcellBatchError, match="classify failed: "):
        list(measure_growth(tmp_path, config, open_model(), NullObserver()))


def test_the_best_round_counts() -> None:
    counts = iter([1, 1, 1000, 1000, 1, 1])

    def job() -> int:
        return next(counts)

    config = QUICK.model_copy(update={"rounds": 3, "seconds": 1e-9})
    assert best_rate(job, config) > 0
    assert len(list(counts)) == 3


def test_drawn_pictures_have_the_size_and_are_no_duplicates(tmp_path: Path) -> None:
    draw_slides(tmp_path, 40, (360, 363))
    paths = sorted(tmp_path.rglob("*.jpg"))
    assert len(paths) == 40
    assert all(10_000 < path.stat().st_size < 30_000 for path in paths)
    images = [Image.open(io.BytesIO(path.read_bytes())) for path in paths]
    assert {image.size for image in images} == {(360, 363)}
    hashes = [imagehash.phash(image, hash_size=16) for image in images]
    assert min(a - b for i, a in enumerate(hashes) for b in hashes[:i]) > 32


def test_drawn_pictures_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Can't draw"):
        draw_slides(tmp_path / "missing", 8, (32, 32))


def test_command_on_drawn_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    arguments = ["--images", "10", "--size", "96x80", "--batch-size", "8", "--batch-sizes", "4", "--rounds", "1"]
    arguments += ["--seconds", "0.01", "--plain-images", "0", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["benchmark", *arguments])
    assert result.exit_code == 0, result.output
    assert "of the ceiling" in result.output
    document = json.loads((tmp_path / "out" / "benchmark.json").read_text(encoding="utf-8"))
    assert document["files"]["count"] == document["classify"]["images"] == 10
    assert set(document["parts_per_core"]) == {"read", "decode", "screen", "hash", "resize", "write"}
    assert {(speed["name"], speed.get("batch")) for speed in document["backends"]} >= {("pytorch", 4), ("pytorch", 8)}
    assert document["share_of_ceiling"] > 0
    assert document["plain"] is None
    assert "--plain-images 0" in document["notes"][0]
    with Image.open(tmp_path / "out" / "benchmark.png") as plot:
        assert plot.width > 800
    assert not list((tmp_path / "temporary").glob("bloodcell-batch-*"))
    again = CliRunner().invoke(app, ["benchmark", *arguments])
    assert again.exit_code == 1
    assert "exists already" in again.output


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    (folder / "s").mkdir(parents=True)
    for seed in range(6):
        (folder / "s" / f"{seed}.jpg").write_bytes(encode(draw_picture(seed)))
    (folder / "s" / "6.jpg").write_bytes(encode(draw_picture(5)))
    (folder / "s" / "7.jpg").write_bytes(b"\xff\xd8\xff no more")
    return folder


def test_own_pictures_with_the_plain_script(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "measure_backends", lambda *_: iter(()))
    before = sorted(own.rglob("*"))
    found = measure(own, QUICK.model_copy(update={"images": None, "plain_images": 8}))
    assert found.files == found.run.images == 8
    assert found.plain is not None
    assert (found.plain.images, found.plain.failed, found.plain.classified) == (8, 1, 6)
    assert found.plain.timm_images_per_second > 0
    assert found.ratio is not None
    assert found.used.images_per_second > 0
    assert sorted(own.rglob("*")) == before


def test_the_plain_script_leaves_duplicates_out(own: Path) -> None:
    found = run_plain(open_model().path, [str(path) for path in sorted((own / "s").iterdir())], batch=4, workers=0)
    assert (found["classified"], found["failed"]) == (6, 1)


def test_without_imagehash_a_note_says_what_to_install(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "measure_backends", lambda *_: iter(()))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found = measure(own, QUICK.model_copy(update={"images": 8, "plain_images": 8}))
    assert found.plain is None
    assert "bloodcell-batch[benchmark]" in found.notes[0]


def test_a_failing_plain_script_is_an_error() -> None:
    with pytest.raises(BloodcellBatchError, match="plain PyTorch script failed"):
        measuring._run_plain([sys.executable, "-c", "raise SystemExit(3)"], [])


def test_some_of_the_files_are_spread_over_all(own: Path) -> None:
    files = scan(own).files
    assert [file.path for file in evenly(files, 4)] == ["s/0.jpg", "s/2.jpg", "s/4.jpg", "s/6.jpg"]
    assert evenly(files, 100) == list(files)


def test_links_keep_the_slides(own: Path, tmp_path: Path) -> None:
    files = scan(own).files[:3]
    link_some(str(own), files, tmp_path / "links")
    assert [(file.path, file.slide_id) for file in scan(tmp_path / "links").files] == [
        (f.path, f.slide_id) for f in files
    ]
    with pytest.raises(OutputError, match="Can't make links"):
        link_some(str(own), files, tmp_path / "links")


def test_an_int8_network_has_a_row_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.jpg").write_bytes(encode(draw_picture(1)))
    model = open_model()
    sample = parts.take_sample(str(tmp_path), scan(tmp_path).files, model.header.preprocessing)
    asked: list[tuple[str, str]] = []

    def opened(_: object, name: str, options: BackendOptions) -> None:
        asked.append((name, options.precision))
        raise BackendError(f"no {options.precision} here")

    monkeypatch.setattr(parts, "open_backend", opened)
    monkeypatch.setattr(parts, "why_not", lambda *_: "no int8 network")
    *_, last = found = list(parts.measure_backends(model, sample, QUICK))
    assert [speed.name for speed in found] == [*BACKENDS, "openvino int8"]
    assert last.skipped == "no int8 network"
    monkeypatch.setattr(parts, "why_not", lambda *_: "")
    *_, last = parts.measure_backends(model, sample, QUICK)
    assert (last.name, last.skipped) == ("openvino int8", "no int8 here")
    assert asked[-1] == ("openvino", "int8")


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No images"):
        measure(tmp_path, QUICK)
    (tmp_path / "1.jpg").write_bytes(b"nothing")
    with pytest.raises(InputError, match="None of the images"):
        measure(tmp_path, QUICK)


def test_results_that_cannot_be_written_stop_it_before_it_measures(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Can't write"):
        check_folder(tmp_path / "file" / "out", overwrite=False)


@pytest.mark.parametrize("flags", [{"size": "10x"}, {"size": "8x800"}, {"batch_sizes": [0]}, {"images": 0}])
def test_impossible_options_are_usage_errors(flags: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(flags)).replace("_", "-")):
        resolve(BenchmarkConfig, flags)
