"""`--engine ray` on a cluster of two nodes on this machine: the same tables, also when a worker is killed."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from messy_slides import draw_messy_slides
from processes import PATIENCE_S, wait_until
from program_commands import app
from typer.testing import CliRunner

from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import BackendError, InputError
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.runs.pipeline import classify_slides

# A cluster of this test's own, with a token of its own. Ray reads these when it is imported.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
pytest.importorskip("ray", reason="the extra [ray] is not installed")

from bloodcell_batch.runs import ray_cluster
from bloodcell_batch.runs.ray_cluster import RayClassifier
from bloodcell_batch.runs.ray_worker import SlideWorker

CONFIG = ClassifyConfig(batch_size=8, backend="openvino")


def test_ray_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_messy_slides(tmp_path / "slides")
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "bloodcell_batch.runs.ray_cluster")
    out = str(tmp_path / "r.csv")
    result = CliRunner().invoke(app, ["classify", str(tmp_path / "slides"), "--out", out, "--engine", "ray"])
    assert result.exit_code == 4
    assert "bloodcell-batch[ray]" in result.stderr


def test_an_address_without_ray_is_refused(tmp_path: Path) -> None:
    words = ["classify", str(tmp_path), "--out", str(tmp_path / "r.csv"), "--ray-address", "auto"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "--ray-address needs --engine ray" in result.stderr


def test_stdout_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["classify", str(tmp_path), "--out", "-", "--engine", "ray"])
    assert result.exit_code == 2
    assert "stdout" in result.stderr


class Watcher(NullObserver):
    """Notes the workers, and what is warned of."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.warnings: list[str] = []

    def note(self, text: str, **fields: object) -> None:
        if isinstance(fields.get("pid"), int):
            self.pids.append(int(str(fields["pid"])))

    def warn(self, text: str, **fields: object) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A head and a second node, each with one processor, each a `ray start` of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    program = Path(sys.executable).with_name("ray")
    port, log = address.rpartition(":")[2], tmp_path_factory.mktemp("ray") / "log"
    head = ["--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false"]
    folder = f"--temp-dir=/tmp/ray-{os.getpid()}"  # the names of its sockets must be short
    starts = [[*head, folder], [f"--address={address}", "--node-ip-address=127.0.0.1"]]
    nodes = []
    with log.open("w") as handle:
        try:
            for arguments in starts:
                command = [str(program), "start", "--block", "--num-cpus=1", *arguments]
                nodes.append(subprocess.Popen(command, stdout=handle, stderr=handle))
                wait_for(log, "Ray runtime started.", len(nodes))
            yield address
        finally:
            for process in nodes[::-1]:
                process.terminate()
                process.wait(PATIENCE_S)


def wait_for(log: Path, words: str, times: int) -> None:
    wait_until(lambda: log.read_text().count(words) >= times)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_messy_slides(tmp_path_factory.mktemp("slides"))


@pytest.fixture(scope="module")
def plain(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "r.parquet"
    classify_slides(slides, str(out), keeping(CONFIG, out))
    return out


@pytest.fixture
def on_cluster(cluster: str) -> ClassifyConfig:
    return CONFIG.model_copy(update={"engine": "ray", "ray_address": cluster})


def keeping(config: ClassifyConfig, out: Path) -> ClassifyConfig:
    return config.model_copy(update={"embeddings": str(out.with_name("e.parquet"))})


def tables(out: Path) -> list[bytes]:
    return [out.with_name(name).read_bytes() for name in (out.name, f"{out.stem}.slides.parquet", "e.parquet")]


@pytest.mark.parametrize("kill", [False, True])
def test_the_tables_are_those_of_the_plain_run(
    slides: Path,
    plain: Path,
    on_cluster: ClassifyConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kill: bool,
) -> None:
    watcher, killed = Watcher(), tmp_path / "killed"

    class Mortal(SlideWorker):
        """The first of all workers that has classified its slides is killed before it can say so."""

        def classify(self, files: Any, views: Any) -> Any:  # noqa: ANN401
            outcomes = super().classify(files, views)
            with suppress(FileExistsError):
                killed.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
            return outcomes

    if kill:
        monkeypatch.setattr(ray_cluster, "SlideWorker", Mortal)
    opened = RayClassifier._open_workers
    # The run begins with the first worker, and may be over before there is a second: here it waits for both.
    monkeypatch.setattr(
        RayClassifier, "_open_workers", lambda self: opened(self) if len(set(watcher.pids)) >= 2 else []
    )
    out = tmp_path / "r.parquet"
    classify_slides(slides, str(out), keeping(on_cluster, out), watcher)
    assert tables(tmp_path / "r.parquet") == tables(plain)
    assert len(set(watcher.pids)) >= 2
    assert killed.exists() == kill
    assert len([warning for warning in watcher.warnings if "done again" in warning]) == kill


def test_slides_that_kill_every_worker_end_the_run(
    slides: Path, on_cluster: ClassifyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deadly(SlideWorker):
        def classify(self, files: Any, views: Any) -> Any:  # noqa: ANN401
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(ray_cluster, "SlideWorker", Deadly)
    with pytest.raises(BackendError, match="lost its worker 3 times"):
        classify_slides(slides, str(tmp_path / "r.parquet"), on_cluster)
    assert not (tmp_path / "r.parquet").exists()


def test_a_node_that_does_not_see_the_images_is_refused(
    slides: Path, on_cluster: ClassifyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ray_cluster._job
    monkeypatch.setattr(ray_cluster, "_job", lambda _root, *rest: job("/nowhere", *rest))
    with pytest.raises(InputError, match="doesn't see"):
        classify_slides(slides, str(tmp_path / "r.parquet"), on_cluster)


def test_a_cluster_that_is_not_there(slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.init", _refuse)
    config = CONFIG.model_copy(update={"engine": "ray", "ray_address": "127.0.0.1:1"})
    with pytest.raises(BackendError, match=r"no Ray cluster at 127\.0\.0\.1:1: timed out"):
        classify_slides(slides, str(tmp_path / "r.parquet"), config)


def _refuse(**_: object) -> None:
    raise ConnectionError("timed out")
