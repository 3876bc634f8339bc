"""What a command imports decides how fast it starts."""

import subprocess
import sys
from pathlib import Path

from conftest import draw_picture, encode

from bloodcell_batch.cli.app import COMMANDS
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.runs.pipeline import classify_slides

TRAINING_ONLY = {"torch", "torchvision", "timm", "lightning", "torchmetrics", "matplotlib", "jinja2", "tensorboard"}
PULLED_IN = {"pandas"}  # by pyarrow, where it is installed
OTHER_OUTPUTS = {"openpyxl", "xlsxwriter"}
SLOW_PARTS = {"scipy.ndimage", "scipy.spatial", "scipy.stats", "rich"}
OTHER_COMMANDS = {f"bloodcell_batch.cli.commands.{module}" for module, _ in COMMANDS.values()} - {
    "bloodcell_batch.cli.commands.classify"
}
CLASSIFY = """
import sys
from bloodcell_batch.cli.app import main
try:
    main()
except SystemExit as end:
    assert not end.code
print(*sys.modules)
"""


def test_a_second_classify_imports_only_what_runs(tmp_path: Path) -> None:
    """The first run of a model converts it, which takes PyTorch; no later run may load it."""
    (tmp_path / "slide").mkdir()
    for seed in range(3):
        (tmp_path / "slide" / f"{seed}.jpg").write_bytes(encode(draw_picture(seed)))
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    classify_slides(tmp_path / "slide", str(first), ClassifyConfig(backend="openvino"))
    command = [sys.executable, "-c", CLASSIFY, "classify", str(tmp_path / "slide"), "--out", str(second)]
    run = subprocess.run([*command, "--backend", "openvino"], check=True, capture_output=True, text=True)
    loaded = run.stdout.split()
    assert second.read_bytes() == first.read_bytes()
    assert {"openvino", "pyarrow", "simplejpeg", "bloodcell_batch.runs.pipeline"} <= set(loaded)
    assert not {name for name in loaded if name.partition(".")[0] in TRAINING_ONLY | PULLED_IN | OTHER_OUTPUTS}
    assert not (SLOW_PARTS | OTHER_COMMANDS) & set(loaded)
    assert "openvino.tools.ovc" not in loaded
    assert not {name for name in loaded if name.startswith("bloodcell_batch.training")}
