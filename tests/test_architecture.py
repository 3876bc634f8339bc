"""The rules of the layout: imports flow one way, heavy libraries stay in their files, modules stay small."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bloodcell_batch"

# Top to bottom. A module may import its own room, and rooms that stand lower; rooms on one line leave each other alone.
# A module belongs to the longest name that fits; "" is the package itself, its public API.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("benchmark", "api"),
    (
        "runs",
        "verification",
        "export",
        "adaptation",
        "monitoring",
        "comparing",
        "training.comparison",
        "reports.review",
        "reports.concordance",
        "training.finder",
    ),
    ("training.fit",),
    ("reports",),
    ("training.evaluation",),
    ("training.augmentation",),
    ("training.data",),
    ("stages",),
    ("results",),
    ("integrity",),
    ("backends",),
    ("differential",),
    ("fields",),
    ("model",),
    ("images",),
    ("config",),
    ("slides",),
    ("files", "parallel", "statistics", "labels"),
    ("errors", "records", "cell_classes", "progress"),
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
VOCABULARY = set(LAYERS[-1])  # these few import each other, and nothing else
ONLY_IN = {
    "rich": {"cli.live_display", "cli.slide_table"},
    "typer": {"cli"},
    "openvino": {"backends.openvino"},
    "nncf": {"export.int8"},
    "tensorrt": {"backends.tensorrt", "export.tensorrt"},
    "onnxruntime": {"export.onnx"},
    "xlsxwriter": {"results.workbook", "reports"},
    "openpyxl": {"results.table_reading", "files.sheets"},
    "jinja2": {"reports", "training.comparison.report"},
    "lightning": {"training"},
    "simplejpeg": {"images"},
    "tifffile": {"images.tiff"},
    "imagecodecs": {"images"},
    "pillow_heif": {"images.decoding"},
    "pydicom": {"images.dicom"},
    "segmentation_models_pytorch": {"model.architectures"},
    "sklearn": {"training.comparison.classical"},
    "skimage": {"training.comparison.classical_features"},
    "imblearn": {"training.augmentation.oversampling"},
    "imagehash": {"benchmark.baseline_script"},
    "optuna": {"training.fit.tuning"},
    "ray": {"runs.ray_cluster"},
    "fsspec": {"files.remote"},
}
BANNED_NAMES = {"utils", "helpers", "common", "manager", "engine"}


def modules(package: Path = PACKAGE) -> list[Path]:
    return sorted(package.rglob("*.py"))


def dotted(path: Path, package: Path = PACKAGE) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layers"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str:
    """The room of a module or of something in it: the longest name of LAYERS that it begins with."""
    parts = name.split(".")
    rooms = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((room for room in rooms if room in RANK), "")


def own_imports(path: Path, package: Path) -> set[str]:
    """Dotted names, without the package's own, of what a module imports from the package; inside functions too."""
    found = set()
    for target in imported(ast.parse(path.read_text(encoding="utf-8"))):
        head, _, rest = target.partition(".")
        if head == "bloodcell_batch" and rest and rest != "__version__":
            found.add(rest)
    return found - {dotted(path, package)}


def wrong_ways(package: Path) -> list[str]:
    """Every import that leads upwards or into a room of the same line, and every module outside all rooms."""
    wrong = []
    for path in modules(package):
        name = dotted(path, package)
        if not name:
            continue
        room = room_of(name)
        if not room and name != "training":
            wrong.append(f"{name} is in no room of LAYERS")
            continue
        for target in sorted(own_imports(path, package)):
            other = room_of(target)
            inside = other == room or {room, other} <= VOCABULARY
            if not inside and RANK.get(other, -1) <= RANK.get(room, -1):
                wrong.append(f"{name} ({room}) imports {target} ({other or 'no room'})")
    return wrong


def circle(package: Path) -> list[str]:
    """Some modules that import each other in a circle, first and last the same; empty if there is none."""
    names = {dotted(path, package): path for path in modules(package)}
    arrows = {
        name: {target if target in names else target.rpartition(".")[0] for target in own_imports(path, package)}
        for name, path in names.items()
    }
    try:
        TopologicalSorter({name: targets & set(names) - {name} for name, targets in arrows.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_imports_flow_one_way() -> None:
    assert wrong_ways(PACKAGE) == []


def test_no_module_is_part_of_a_circle() -> None:
    assert circle(PACKAGE) == []


@pytest.mark.parametrize(
    ("module", "room", "told"),
    [
        ("runs/merge.py", "images/merge.py", "images.merge (images) imports"),
        ("images/hamming.py", "runs/hamming.py", "imports runs.hamming (runs)"),
        ("files/toml.py", "toml.py", "toml is in no room of LAYERS"),
    ],
)
def test_a_module_in_the_wrong_room_is_found(module: str, room: str, told: str, tmp_path: Path) -> None:
    copy = tmp_path / "bloodcell_batch"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    old, new = (f"bloodcell_batch.{name.removesuffix('.py').replace('/', '.')}" for name in (module, room))
    (copy / module).rename(copy / room)
    for path in copy.rglob("*.py"):
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert any(told in line for line in wrong_ways(copy)), wrong_ways(copy)


def test_a_circle_is_found(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one"), ("three", "one")):
        (tmp_path / f"{name}.py").write_text(f"import bloodcell_batch.{other}\n", encoding="utf-8")
    assert set(circle(tmp_path)) == {"one", "two"}


def test_rooms_stay_small() -> None:
    """Someone who lists a room sees what is in it; the package's own level holds the vocabulary only."""
    for folder in {path.parent for path in modules()}:
        count = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        assert count <= (6 if folder == PACKAGE else 16) or folder.name == "commands", f"{folder}: {count} modules"


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


def test_help_leaves_heavy_libraries_alone() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from bloodcell_batch.cli.app import program\n"
        "app = program()\n"
        "for command in ('', 'classify', 'merge', 'train', 'adapt', 'evaluate', 'compare', 'tune', 'doctor', "
        "'benchmark', 'model-card', 'export-trt', 'export-onnx', 'export-openvino', 'differential', 'report', "
        "'review', 'review export', 'review import', 'review agree', 'concordance', 'monitor', 'diff', 'sort', "
        "'export-fhir', 'pseudonymize', 'verify'):\n"
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
