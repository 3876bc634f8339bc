"""The command line as a user meets it: wrong input, exit codes, signals, streams."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import draw_picture, encode
from processes import PATIENCE_S, started, wait_until
from program_commands import app
from safetensors.numpy import save_file
from typer.testing import CliRunner

from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import ExitCode
from bloodcell_batch.model.file import DEFAULT_MODEL
from bloodcell_batch.runs import pipeline

COMMANDS = (
    "classify",
    "merge",
    "differential",
    "report",
    "review",
    "concordance",
    "export-fhir",
    "train",
    "evaluate",
    "compare",
    "tune",
    *("export-trt", "export-onnx", "export-openvino"),
    "model-card",
    *("pseudonymize", "verify", "doctor", "benchmark"),
)


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    """Two slides of three images each."""
    folder = tmp_path / "slides"
    for seed in range(6):
        path = folder / f"s{seed % 2}" / f"{seed}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(draw_picture(seed)))
    return folder


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def program(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bloodcell_batch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def code_of(*arguments: str | Path) -> int:
    """The exit code of the same in this process, which has imported everything; what it says is not looked at."""
    return CliRunner().invoke(app, [*map(str, arguments)]).exit_code


def one_clear_sentence(stderr: str) -> None:
    assert "Traceback" not in stderr
    assert stderr.startswith("error: ") or "Usage:" in stderr, stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_defaults_and_units(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert result.exit_code == 0
    if command == "classify":
        text = re.sub(r"[│\s]+", " ", result.output)
        for words in ("Default: 256.", "bits of 256", "megapixels", "openvino|pytorch", "off|exact|near", "NAME.csv"):
            assert words in text


ARGV = [
    pytest.param([], {}, id="defaults"),
    pytest.param(["--batch-size", "7"], {"batch_size": 7}, id="batch-size"),
    pytest.param(["--include-hidden"], {"include_hidden": True}, id="include-hidden"),
    pytest.param(["--red-cell-pixels", "38.5"], {"red_cell_pixels": 38.5}, id="red-cell-pixels"),
    pytest.param(["--max-unclassified", "0.2"], {"max_unclassified": 0.2}, id="max-unclassified"),
    pytest.param(["--views", "8"], {"views": 8}, id="views"),
    pytest.param(["--workers", "0"], {"workers": 0}, id="workers"),
    pytest.param(["--dedup", "exact"], {"dedup": "exact"}, id="dedup"),
    pytest.param(["--dedup-distance", "3"], {"dedup_distance": 3}, id="dedup-distance"),
    pytest.param(["--slide-by", "top"], {"slide_by": "top"}, id="slide-by"),
    pytest.param(
        ["--slide-by", "regex", "--slide-regex", "(a)"], {"slide_by": "regex", "slide_regex": "(a)"}, id="slide-regex"
    ),
    pytest.param(
        ["--slide-by", "manifest", "--slide-manifest", "m.csv"],
        {"slide_by": "manifest", "slide_manifest": Path("m.csv")},
        id="slide-manifest",
    ),
    pytest.param(["--max-megapixels", "2.5"], {"max_megapixels": 2.5}, id="max-megapixels"),
    pytest.param(["--min-confidence", "0.9"], {"min_confidence": 0.9}, id="min-confidence"),
    pytest.param(["--outlier-threshold", "9"], {"outlier_threshold": 9.0}, id="outlier-threshold"),
    pytest.param(["--csv-dialect", "excel-comma"], {"csv_dialect": "excel-comma"}, id="csv-dialect"),
    pytest.param(["--require-model-sha256", "AB" * 32], {"require_model_sha256": "ab" * 32}, id="require-model-sha256"),
    pytest.param(["--audit-log", "audit.jsonl"], {"audit_log": Path("audit.jsonl")}, id="audit-log"),
    pytest.param(["--overwrite"], {"overwrite": True}, id="overwrite"),
    pytest.param(["--force"], {"force": True}, id="force"),
    pytest.param(["--update"], {"update": True}, id="update"),
    pytest.param(["--file-timeout", "5"], {"file_timeout": 5.0}, id="file-timeout"),
    pytest.param(["--allow-failed", "4"], {"allow_failed": 4}, id="allow-failed"),
    pytest.param(["--precision", "fp32"], {"precision": "fp32"}, id="precision"),
    pytest.param(["--plan", "m.plan"], {"plan": Path("m.plan")}, id="plan"),
    pytest.param(["--jpeg-decoder", "gpu"], {"jpeg_decoder": "gpu"}, id="jpeg-decoder"),
    pytest.param(["--embeddings", "e.parquet"], {"embeddings": "e.parquet"}, id="embeddings"),
    pytest.param(["--backend", "pytorch"], {"backend": "pytorch"}, id="backend"),
    pytest.param(["--images", "cells"], {"images": "cells"}, id="images"),
    pytest.param(["--subclasses"], {"subclasses": True}, id="subclasses"),
    pytest.param(["--shard", "1/3"], {"shard": "1/3"}, id="shard"),
    pytest.param(["--engine", "ray"], {"engine": "ray"}, id="engine"),
    pytest.param(
        ["--engine", "ray", "--ray-address", "auto"], {"engine": "ray", "ray_address": "auto"}, id="ray-address"
    ),
    pytest.param(["--model", "m.safetensors"], {"model": Path("m.safetensors")}, id="model"),
]


@pytest.mark.parametrize(("flags", "expected"), ARGV)
def test_every_flag_reaches_the_pipeline(
    flags: list[str], expected: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[ClassifyConfig] = []

    def stop(_root: str, _out: str, settings: ClassifyConfig, *_rest: object, **_more: object) -> None:
        seen.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "classify_slides", stop)
    result = CliRunner().invoke(app, ["classify", "folder", "--out", "r.csv", *flags])
    assert result.exit_code == ExitCode.INTERRUPTED
    assert seen == [ClassifyConfig(**expected)]


def test_every_option_of_the_configuration_has_a_flag() -> None:
    covered = {key for case in ARGV for key in case.values[1]}  # type: ignore[union-attr]
    assert covered == set(ClassifyConfig.model_fields)


BAD = [
    pytest.param(["{tmp}/nowhere", "--out", "{tmp}/r.csv"], "There is no folder", 1, id="no such folder"),
    pytest.param(["{tmp}/empty", "--out", "{tmp}/r.csv"], "No images under", 1, id="empty folder"),
    pytest.param(["{tmp}/texts", "--out", "{tmp}/r.csv"], "1 file, and no image by name", 1, id="no images"),
    pytest.param(["{tmp}/texts/notes.txt", "--out", "{tmp}/r.csv"], "is a file, not a folder", 1, id="a file"),
    pytest.param(["{slides}", "--out", "{tmp}/there.csv"], "exists already", 1, id="existing output"),
    pytest.param(["{slides}", "--out", "{tmp}/no/r.csv"], "There is no folder", 1, id="no output folder"),
    pytest.param(["{slides}", "--out", "{tmp}/empty"], "has no suffix", 2, id="output without suffix"),
    pytest.param(["{slides}", "--out", "{tmp}/r.docx"], "ends in '.docx'", 2, id="unknown suffix"),
    pytest.param(["{slides}", "--out", "{tmp}/r.csv", "--backend", "cray"], "no backend 'cray'", 2, id="backend"),
    pytest.param(["{slides}", "--out", "{tmp}/r.csv", "--dedup", "maybe"], "--dedup can't be 'maybe'", 2, id="choice"),
    pytest.param(
        ["{slides}", "--out", "{tmp}/r.csv", "--dedup-distance", "99"], "--dedup-distance can't", 2, id="range"
    ),
    pytest.param(["{slides}", "--out", "{tmp}/r.csv", "--shard", "3/3"], "counted from 0", 2, id="no such shard"),
    pytest.param(
        ["{slides}", "--out", "-", "--shard", "0/3"], "--shard can't write to stdout", 2, id="shard to stdout"
    ),
    pytest.param(["{slides}", "--out", "{tmp}/r.csv", "--slide-by", "regex"], "go together", 2, id="half a rule"),
    pytest.param(
        ["{slides}", "--out", "{tmp}/r.csv", "--config", "{tmp}/odd.toml"], "Unknown key 'batchsize'", 2, id="key"
    ),
    pytest.param(
        ["{slides}", "--out", "{tmp}/r.csv", "--config", "{tmp}/no.toml"], "Can't read the conf", 2, id="no toml"
    ),
    pytest.param(
        ["{slides}", "--out", "{tmp}/r.csv", "--model", "{tmp}/no.st"], "Can't read the model", 1, id="no model"
    ),
    pytest.param(["{slides}", "--out", "{tmp}/r.csv", "--model", "{tmp}/m.pt"], "is a pickle", 1, id="pickle"),
    pytest.param(["{slides}", "--out", "{tmp}/r.csv", "--model", "{tmp}/m.st"], "another program's", 1, id="foreign"),
    pytest.param(
        ["{slides}", "--out", "{tmp}/r.csv", "--model", "{tmp}/texts/notes.txt"], "not a safetensors", 1, id="text"
    ),
]


@pytest.mark.parametrize(("arguments", "words", "code"), BAD)
def test_bad_input_gets_one_clear_sentence(
    arguments: list[str], words: str, code: int, slides: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("stained in May", encoding="utf-8")
    (tmp_path / "there.csv").write_text("mine", encoding="utf-8")
    (tmp_path / "odd.toml").write_text("batchsize = 3\n", encoding="utf-8")
    torch.save({"a": torch.zeros(2)}, tmp_path / "m.pt")
    save_file({"a": torch.zeros(2).numpy()}, tmp_path / "m.st")
    before = listing(tmp_path)
    result = CliRunner().invoke(
        app, ["classify", *(argument.format(tmp=tmp_path, slides=slides) for argument in arguments)]
    )
    assert words in result.stderr
    assert result.exit_code == code
    assert result.stdout == ""
    one_clear_sentence(result.stderr)
    assert listing(tmp_path) == before
    assert (tmp_path / "there.csv").read_text(encoding="utf-8") == "mine"


def test_overwrite_replaces_all_three_files(slides: Path, tmp_path: Path) -> None:
    for name in ("r.csv", "r.slides.csv", "r.run.json"):
        (tmp_path / name).write_text("old", encoding="utf-8")
    assert code_of("classify", slides, "--out", tmp_path / "r.csv", "--overwrite") == 0
    for name in ("r.csv", "r.slides.csv", "r.run.json"):
        assert (tmp_path / name).read_text(encoding="utf-8") != "old"


def test_allowed_failures_still_count_as_success(slides: Path, tmp_path: Path) -> None:
    (slides / "s0" / "broken.jpg").write_bytes(b"")
    assert code_of("classify", slides, "--out", tmp_path / "a.csv") == 3
    assert code_of("classify", slides, "--out", tmp_path / "b.csv", "--allow-failed", "1") == 0


def test_messages_off_a_terminal_have_no_control_characters(slides: Path, tmp_path: Path) -> None:
    done = program("classify", slides, "--out", tmp_path / "r.csv")
    assert done.stdout == ""
    assert "classifying: 6/6" in done.stderr
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stderr)
    quiet = program("classify", slides, "--out", "-", "--quiet")
    assert quiet.stdout.startswith("path,slide_id,status,")
    assert "classifying" not in quiet.stderr


def test_a_closed_pipe_ends_without_a_traceback(slides: Path) -> None:
    command = f"'{sys.executable}' -m bloodcell_batch classify '{slides}' --out - --quiet | true"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_full_disk_behind_stdout_is_a_clear_error(slides: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    command = f"'{sys.executable}' -m bloodcell_batch classify '{slides}' --out - --quiet > /dev/full"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Can't write to stdout")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_publishes_nothing_and_keeps_what_is_done(
    slides: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    for copy in range(3000):
        os.link(slides / "s0" / "0.jpg", slides / "s1" / f"copy{copy}.jpg")
    arguments = ["classify", slides, "--out", tmp_path / "r.csv", "--dedup", "off", "--backend", "openvino"]
    with started(
        [sys.executable, "-m", "bloodcell_batch", *map(str, arguments), "--batch-size", "16"],
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs deaf to Ctrl-C, and the tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        assert running.stderr is not None
        wait_until(lambda: bool(list((tmp_path / "r.csv.partial").glob("part-*.parquet"))), running)
        running.send_signal(number)
        rest = running.stderr.read()
        assert running.wait(timeout=PATIENCE_S) == code, rest
    assert "Traceback" not in rest
    assert "nothing was published" in rest
    assert "Run the same command again" in rest
    kept = {path for path in listing(tmp_path) if not path.startswith("slides/")}
    assert {"slides", "r.csv.partial", "r.csv.partial/key.json", "r.csv.partial/part-000000000.parquet"} <= kept
    assert not [path for path in kept if path.startswith(("r.csv.partial/.", "r.run", "r.slides"))]


def test_one_line_of_json_on_request(slides: Path, tmp_path: Path) -> None:
    (slides / "s1" / "broken.jpg").write_bytes(b"no image")
    done = program("classify", slides, "--out", tmp_path / "r.csv", "--json-summary", "--progress", "none")
    assert done.returncode == ExitCode.COMPLETE_WITH_FAILED_FILES
    summary = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert (summary["exit_code"], summary["found"], summary["failed"], summary["slides"]) == (3, 7, 1, 2)
    assert "to do" not in done.stderr
    done = program("classify", slides, "--out", "-", "--json-summary")
    assert done.returncode == ExitCode.USAGE
    one_clear_sentence(done.stderr)


def test_colours_and_bars_only_where_they_are_asked_for(slides: Path, tmp_path: Path) -> None:
    plain = program("classify", slides, "--out", tmp_path / "a.csv", "--progress", "plain")
    assert "\x1b" not in plain.stderr
    assert "classifying: 6 to do" in plain.stderr
    rich = program("classify", slides, "--out", tmp_path / "b.csv", "--progress", "rich")
    assert "\x1b" in rich.stderr


def test_doctor_explains_the_ladder_and_the_model() -> None:
    done = program("doctor")
    assert done.returncode == 0, done.stderr
    assert re.search(r"sha256 +[0-9a-f]{64}", done.stdout)
    assert "auto uses " in done.stdout
    if not torch.cuda.is_available():
        assert "skipped pytorch on cuda: " in done.stdout
    assert done.stdout.count("writable") >= 3


def test_model_card_states_data_licence_figures_and_limits() -> None:
    card = program("model-card").stdout
    for words in ("CC BY 4.0", "Acevedo", "accuracy", "ECE", "For Research Use Only", "## Limits"):
        assert words in card
    shipped = DEFAULT_MODEL.parent / "MODEL_CARD.md"
    assert shipped.read_text(encoding="utf-8") == card


@pytest.mark.parametrize("command", ["classify", "evaluate"])
def test_another_model_than_the_required_one_is_refused_first(tmp_path: Path, command: str) -> None:
    arguments = [command, str(tmp_path / "no such folder"), "--require-model-sha256", "0" * 64]
    arguments += ["--out", str(tmp_path / "r.csv")] if command == "classify" else []
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == ExitCode.BACKEND_REFUSED
    assert f"required is {'0' * 64}" in result.stderr
    assert listing(tmp_path) == set()


def test_a_full_memory_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pipeline, "classify_slides", full)
    result = CliRunner().invoke(app, ["classify", str(tmp_path), "--out", str(tmp_path / "r.csv")])
    assert result.exit_code == ExitCode.ERROR
    assert "Memory is full" in result.stderr
    assert "--max-megapixels" in result.stderr
