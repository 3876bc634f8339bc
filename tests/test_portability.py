"""Windows has no fcntl and no pwd: the program runs without them, as far as that can be shown on another system."""

import json
import subprocess
import sys
from pathlib import Path

from conftest import draw_picture, encode

# None in sys.modules makes an import fail as if there were no such module. The libraries that the program uses ask for
# these modules as well, and do without them.
WITHOUT = "import sys; sys.modules['fcntl'] = sys.modules['pwd'] = None\n"
WITHOUT_RAY = "sys.modules['ray'] = None\n"  # on this system it insists on pwd
EXTRAS = {"ray", "nncf", "tensorrt", "onnx", "onnxruntime", "optuna", "fsspec", "sklearn", "skimage", "imblearn"}


def _run(code: str, *arguments: object) -> str:
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT + code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_module_is_imported_without_them() -> None:
    count = _run(
        WITHOUT_RAY + "import importlib, pkgutil, bloodcell_batch\n"
        "names = [m.name for m in pkgutil.walk_packages(bloodcell_batch.__path__, 'bloodcell_batch.')]\n"
        "for name in names:\n"
        "    if name.endswith('__main__'):\n"
        "        continue\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:\n"
        f"        if error.name not in {EXTRAS!r}:\n"
        "            raise\n"
        "print(len(names))\n"
    )
    assert int(count) > 150


def test_a_run_with_an_audit_log_is_the_same_without_them(tmp_path: Path) -> None:
    for number in range(3):
        picture = tmp_path / "slides" / "s" / f"{number}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(encode(draw_picture(number)))
    call = "from bloodcell_batch.cli.app import main; sys.argv[0] = 'bloodcell-batch'; main()"
    options = ("--workers", "0", "--backend", "openvino")
    without, log = tmp_path / "without.csv", tmp_path / "log"
    _run(call, "classify", tmp_path / "slides", "--out", without, "--audit-log", log, *options)
    command = [sys.executable, "-m", "bloodcell_batch", "classify", str(tmp_path / "slides")]
    subprocess.run([*command, "--out", str(tmp_path / "with.csv"), *options], check=True, capture_output=True)
    assert without.read_bytes() == (tmp_path / "with.csv").read_bytes()
    (line,) = (json.loads(text) for text in log.read_text(encoding="ascii").splitlines())
    assert line["exit_code"] == 0
    assert "user" in line
