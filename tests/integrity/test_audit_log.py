"""The audit log: what a line says, that lines are never torn, and that a change in the past is visible."""

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_picture, encode
from processes import started
from program_commands import app
from typer.testing import CliRunner, Result

from bloodcell_batch.errors import ExitCode, OutputError
from bloodcell_batch.integrity import audit_log
from bloodcell_batch.integrity.audit_log import FIRST, append, check_appendable, check_chain
from bloodcell_batch.integrity.digests import file_sha256, listing_digest

FAST = ("--workers", "0", "--backend", "openvino", "--precision", "fp32")


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    folder = tmp_path / "slides" / "s"
    folder.mkdir(parents=True)
    for seed in range(3):
        (folder / f"{seed}.jpg").write_bytes(encode(draw_picture(seed)))
    return folder.parent


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="ascii").splitlines()]


def write_three(log: Path) -> None:
    for number in range(3):
        append(log, {"number": number, "outputs": {"r.csv": f"{number}" * 64}})


class TestLine:
    def test_it_tells_who_what_when_and_with_which_files(self, slides: Path, tmp_path: Path) -> None:
        log, out = tmp_path / "audit.jsonl", tmp_path / "r.csv"
        (slides / "s" / "bad.jpg").write_bytes(b"\xff\xd8\xff")
        assert call("classify", slides, "--out", out, "--audit-log", log, *FAST).exit_code == 3
        (line,) = lines(log)
        record = json.loads((tmp_path / "r.run.json").read_text(encoding="utf-8"))
        assert line["previous"] == FIRST
        assert line["exit_code"] == 3
        assert line["error"] is None
        assert line["counts"] == record["counts"]
        assert line["model_sha256"] == record["model"]["sha256"]
        assert line["input_sha256"] == record["input_sha256"]
        sizes = [(f"s/{path.name}", path.stat().st_size) for path in (slides / "s").iterdir()]
        assert line["input_sha256"] == listing_digest(sizes)
        paths = [tmp_path / name for name in ("r.csv", "r.slides.csv", "r.run.json")]
        assert line["outputs"] == {str(path): file_sha256(path) for path in paths}
        assert line["backend"] == "openvino"
        assert line["started"] < line["finished"]
        assert {"user", "host", "command", "config_sha256", "program"} <= line.keys()

    def test_the_options_make_the_configuration_not_the_log(self, slides: Path, tmp_path: Path) -> None:
        digests = []
        for number, extra in enumerate([(), (), ("--dedup", "off")]):
            log = tmp_path / f"{number}.jsonl"
            call("classify", slides, "--out", tmp_path / f"{number}.csv", "--audit-log", log, *FAST, *extra)
            digests.append(lines(log)[0]["config_sha256"])
        assert digests[0] == digests[1] != digests[2]

    def test_refused_and_failed_runs_are_there_too(self, slides: Path, tmp_path: Path) -> None:
        log, out = tmp_path / "audit.jsonl", tmp_path / "r.csv"
        config = tmp_path / "c.toml"
        config.write_text(f'audit_log = "{log}"\nbatch_size = 0\n', encoding="utf-8")
        cases: tuple[tuple[ExitCode, list[str | Path]], ...] = (
            (ExitCode.USAGE, ["--audit-log", log, "--batch-size", "0"]),
            (ExitCode.USAGE, ["--config", config]),
            (ExitCode.BACKEND_REFUSED, ["--audit-log", log, "--require-model-sha256", "0" * 64]),
            (ExitCode.ERROR, ["--audit-log", log, "--model", tmp_path / "none"]),
        )
        for expected, arguments in cases:
            assert call("classify", slides, "--out", out, *arguments).exit_code == expected
        found = lines(log)
        assert [line["exit_code"] for line in found] == [2, 2, 4, 1]
        assert "--batch-size" in found[0]["error"]
        assert "required is" in found[2]["error"]
        assert all(line.get("outputs") == {} for line in found)
        assert check_chain(log).faults == ()

    def test_an_unexpected_error_is_there_too(
        self, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from bloodcell_batch.runs import pipeline  # noqa: PLC0415 - imports the runtimes

        def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(pipeline, "classify_slides", broken)
        call("classify", slides, "--out", tmp_path / "r.csv", "--audit-log", tmp_path / "log")
        (line,) = lines(tmp_path / "log")
        assert (line["exit_code"], line["error"]) == (1, "ZeroDivisionError: a bug")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_runs_are_there_too(self, tmp_path: Path, number: int) -> None:
        folder = tmp_path / "slides" / "s"
        folder.mkdir(parents=True)
        picture = encode(draw_picture(0, 400))
        for number_of_file in range(500):
            (folder / f"{number_of_file}.jpg").write_bytes(picture)
        log = tmp_path / "log"
        command = [sys.executable, "-m", "bloodcell_batch", "classify", str(folder.parent), "--log-format", "json"]
        options = [
            "--out",
            str(tmp_path / "r.csv"),
            "--audit-log",
            str(log),
            "--batch-size",
            "1",
            "--dedup",
            "off",
            *FAST,
        ]
        with started(
            [*command, *options],
            stderr=subprocess.PIPE,
            text=True,
            # A shell that starts jobs in the background lets them ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            assert process.stderr is not None
            for text in process.stderr:
                if "model_sha256" in json.loads(text):
                    break
            time.sleep(0.1)
            process.send_signal(number)
            process.communicate()
        (line,) = lines(log)
        assert line["exit_code"] == process.returncode == 128 + number
        assert line["error"] == ("interrupted" if number == signal.SIGINT else "terminated")
        assert line["outputs"] == {}
        assert line["model_sha256"]

    def test_other_commands_write_one_too(self, slides: Path, tmp_path: Path, key_file: Path) -> None:
        log, table = tmp_path / "log", tmp_path / "r.parquet"
        call("classify", slides, "--out", table, "--audit-log", log, *FAST)
        review = tmp_path / "review.csv"
        calls: list[tuple[str | Path, ...]] = [
            ("review", "export", table, "--out", review, "--cells", "all"),
            ("review", "import", table, review, "--partial", "--by", "A"),
            ("differential", table, "--out", tmp_path / "d.csv"),
            ("report", table, "--out", tmp_path / "r.html"),
            ("export-fhir", table, "--out", tmp_path / "r.json"),
            ("pseudonymize", table, "--key", key_file, "--out", tmp_path / "shared.csv"),
        ]
        for arguments in calls:
            done = call(*arguments, "--audit-log", log)
            assert done.exit_code == 0, done.output
        found = lines(log)[1:]
        assert len(found) == len(calls)
        for line in found:
            assert line["inputs"][str(table)] == file_sha256(table)
            assert line["outputs"]
            assert None not in line["outputs"].values()


class TestWriting:
    def test_a_log_that_cant_be_written_stops_the_run_before_it_starts(self, slides: Path, tmp_path: Path) -> None:
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        for log in (tmp_path, tmp_path / "none" / "log", fifo):
            result = call("classify", slides, "--out", tmp_path / "r.csv", "--audit-log", log, *FAST)
            assert result.exit_code == ExitCode.ERROR
            assert f"audit log {log}" in result.stderr
        assert not (tmp_path / "r.csv").exists()

    @pytest.mark.parametrize("content", [b"PAR1", b'{\n  "bloodcell_batch": "1"\n}\n', b"path,slide_id\n", b"\n"])
    def test_another_file_is_no_log(self, tmp_path: Path, content: bytes) -> None:
        other = tmp_path / "r.csv"
        other.write_bytes(content)
        with pytest.raises(OutputError, match="is not an audit log"):
            check_appendable(other)
        assert other.read_bytes() == content
        assert list(tmp_path.iterdir()) == [other]

    @pytest.mark.parametrize("content", [b"", b'{"prev', b'{"previous": "00'])
    def test_an_empty_log_and_one_that_was_cut_off_are_taken(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "log").write_bytes(content)
        check_appendable(tmp_path / "log")

    def test_a_torn_line_stays_visible_and_harms_no_other(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        write_three(log)
        with log.open("ab") as handle:
            handle.write(b'{"previous": "12')
        append(log, {"number": 4})
        assert len(log.read_bytes().splitlines()) == 5
        assert check_chain(log).faults == ((4, "it is not a JSON object"),)

    def test_many_writers(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        processes = [multiprocessing.get_context("fork").Process(target=_write_many, args=(log,)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        chain = check_chain(log)
        assert (chain.lines, chain.faults) == (100, ())

    def test_a_lock_that_is_never_released(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audit_log, "_LOCK_SECONDS", 0.05)
        with audit_log._locked(tmp_path / "log"), pytest.raises(OutputError, match="Can't write the audit log"):
            append(tmp_path / "log", {})

    def test_a_full_disk_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "write", lambda _log, data: len(data) - 1)
        with pytest.raises(OutputError, match="took only a part"):
            append(tmp_path / "log", {})

    def test_long_lines(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        for _ in range(3):
            append(log, {"text": "x" * 200_000})
        assert check_chain(log).faults == ()


def _write_many(log: Path) -> None:
    for _ in range(25):
        append(log, {"process": os.getpid(), "padding": "x" * 3000})


class TestChain:
    def test_a_whole_chain(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        write_three(log)
        chain = check_chain(log)
        assert (chain.lines, chain.faults) == (3, ())
        assert chain.head == hashlib.sha256(log.read_bytes().splitlines()[-1]).hexdigest()

    @pytest.mark.parametrize(
        ("change", "line"),
        [
            (lambda x: [x[0].replace(b'"number": 0', b'"number": 9'), x[1], x[2]], 2),
            (lambda x: [x[0], x[2]], 2),
            (lambda x: [x[1], x[2]], 1),
            (lambda x: [x[1], x[0], x[2]], 1),
            (lambda x: [x[0], x[0], x[1], x[2]], 2),
            (lambda x: [x[0], b"\n", x[1], x[2]], 2),
            (lambda x: [x[0], x[1], x[2].rstrip(b"\n")], 3),
            (lambda x: [x[0], b"[" * 100_000 + b"\n", x[1], x[2]], 2),
        ],
    )
    def test_every_change_of_the_past_is_visible(self, tmp_path: Path, change: Any, line: int) -> None:  # noqa: ANN401
        log = tmp_path / "log"
        write_three(log)
        log.write_bytes(b"".join(change(log.read_bytes().splitlines(keepends=True))))
        assert check_chain(log).faults[0][0] == line
        result = call("verify", "--audit-log", log)
        assert result.exit_code == ExitCode.ERROR
        assert f"line {line}: " in result.stdout

    def test_lines_removed_at_the_end_need_the_digest_of_the_last_one(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        write_three(log)
        head = check_chain(log).head
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
        assert check_chain(log).faults == ()
        assert check_chain(log).head != head
        assert head not in call("verify", "--audit-log", log).stdout

    def test_verify_finds_results_whose_digests_were_made_again(self, slides: Path, tmp_path: Path) -> None:
        log, out = tmp_path / "log", tmp_path / "r.csv"
        call("classify", slides, "--out", out, "--audit-log", log, *FAST)
        result = call("verify", out, "--audit-log", log)
        assert result.exit_code == 0, result.output
        assert f"the audit log: 1 line, the last one with the SHA-256 {check_chain(log).head}" in result.stdout
        record = tmp_path / "r.run.json"
        record.write_text(record.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        assert call("verify", out).exit_code == 0
        result = call("verify", out, "--audit-log", log)
        assert result.exit_code == ExitCode.ERROR
        assert "no run in it published" in result.stdout

    def test_nothing_to_check(self, tmp_path: Path) -> None:
        assert call("verify").exit_code == ExitCode.USAGE
        assert call("verify", "--audit-log", tmp_path / "none").exit_code == ExitCode.ERROR
