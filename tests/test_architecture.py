"""The rules of the layout: imports flow one way, heavy libraries stay in their files, modules stay small."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bloodcell_batch"

# Top to bottom; a module may import only what stands below it, or beside it in the same folder where that is allowed.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("console", "diagnosis"),
    ("benchmarking",),
    ("merge",),
    ("pipeline", "model_card"),
    ("merged_record", "ray_cluster", "remote_output"),
    ("run_record", "verification"),
    ("ray_worker",),
    ("classification", "shard_file"),
    ("export",),
    ("training", "reports"),
    ("stages",),
    ("journal",),
    ("stored_rows", "results_id"),
    ("table_files",),
    ("tables", "formats"),
    ("workbook",),
    ("backends",),
    ("network", "outlier"),
    ("architectures",),
    ("model_file",),
    ("gpu_jpeg",),
    ("preprocessing", "hash_index"),
    ("hamming",),
    ("perceptual_hash",),
    ("resampling",),
    ("recipe", "comparison_config", "results_config", "benchmark_config", "export_config"),
    ("audit_log",),
    ("config",),
    ("storage",),
    ("slide_rules", "differential", "progress", "cpus", "publishing", "ahead", "blocks", "seals", "sharding", "remote"),
    ("distribution",),
    ("image_guards", "paths", "archives", "toml_files", "file_list"),
    ("records",),
    ("labels",),
    ("errors",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
SIBLINGS_ALLOWED = {"commands", "training", "backends", "export", "reports", "benchmarking", "verification"}
ONLY_IN = {
    "rich": {"console"},
    "typer": {"cli", "commands"},
    "openvino": {"backends.openvino"},
    "nncf": {"export.int8"},
    "tensorrt": {"backends.tensorrt", "export.trt"},
    "onnxruntime": {"export.onnx"},
    "xlsxwriter": {"workbook", "reports"},
    "openpyxl": {"table_files"},
    "jinja2": {"reports", "training.comparison_report"},
    "lightning": {"training"},
    "simplejpeg": {"preprocessing", "gpu_jpeg"},
    "segmentation_models_pytorch": {"architectures"},
    "sklearn": {"training.classical"},
    "skimage": {"training.classical_features"},
    "imblearn": {"training.oversampling"},
    "imagehash": {"benchmarking.plain"},
    "optuna": {"training.tuning"},
    "ray": {"ray_cluster"},
    "fsspec": {"remote"},
}
BANNED_NAMES = {"utils", "helpers", "common", "manager", "engine"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layers"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_imports_flow_one_way(path: Path) -> None:
    name = dotted(path)
    own = name.split(".")[0]
    if not own:
        return
    for target in imported(ast.parse(path.read_text(encoding="utf-8"))):
        head, _, rest = target.partition(".")
        if head != "bloodcell_batch" or not rest:
            continue
        other = rest.split(".")[0]
        if other == "__version__":
            continue
        if other == own:
            assert own in SIBLINGS_ALLOWED or rest.startswith(name), f"{name} imports its sibling {rest}"
        else:
            assert RANK[own] < RANK[other], f"{name} (layer {RANK[own]}) imports {other} (layer {RANK[other]})"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_libraries_stay_in_their_files(path: Path) -> None:
    name = dotted(path)
    for target in imported(ast.parse(path.read_text(encoding="utf-8"))):
        library = target.split(".")[0]
        if library in ONLY_IN:
            places = ONLY_IN[library]
            assert any(name == place or name.startswith(f"{place}.") for place in places), f"{name} imports {library}"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    assert not BANNED_NAMES & set(dotted(path).split("."))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
        assert not isinstance(node, ast.Assert), "asserts vanish under -O"


def test_every_module_has_a_layer() -> None:
    assert {dotted(path).split(".")[0] for path in modules()} - {""} == set(RANK)


def test_help_leaves_heavy_libraries_alone() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from bloodcell_batch.cli import app\n"
        "for command in ('', 'classify', 'merge', 'train', 'evaluate', 'compare', 'tune', 'doctor', 'benchmark', "
        "'model-card', 'export-trt', 'export-onnx', 'export-openvino', 'differential', 'report', 'review', "
        "'review export', 'review import', 'concordance', 'export-fhir', 'pseudonymize', 'verify'):\n"
        "    result = CliRunner().invoke(app, [*command.split(), '--help'])\n"
        "    assert result.exit_code == 0, result.output\n"
        "heavy = {'torch', 'torchvision', 'timm', 'pandas', 'lightning', 'openvino', 'pyarrow', 'scipy', 'numpy'}\n"
        "heavy |= {'optuna', 'sklearn', 'jinja2', 'PIL', 'simplejpeg', 'xxhash', 'safetensors', 'matplotlib'}\n"
        "heavy |= {'filelock', 'platformdirs'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_has_no_side_effects() -> None:
    code = "import sys, bloodcell_batch; assert not {'torch', 'rich', 'numpy', 'typer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
