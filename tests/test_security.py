"""What .github/SECURITY.md says of the code as a whole."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT

SOURCES = sorted((PROJECT / "bloodcell_batch").rglob("*.py"))
TEXT = (PROJECT / ".github" / "SECURITY.md").read_text(encoding="utf-8")


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_that_was_read_can_run(path: Path) -> None:
    for name, call in calls(path):
        assert name not in {"eval", "exec", "compile", "os.system", "os.popen", "torch.load", "joblib.load"}, name
        assert not re.fullmatch(r"(pickle|cPickle|dill|marshal|shelve|yaml)\.(load|loads|open|Unpickler)", name), name
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert options.get("shell", "False") == "False"
        assert options.get("allow_pickle", "False") == "False"
        assert options.get("weights_only", "True") == "True"
        if name.endswith("trainer.fit"):
            assert "weights_only" in options


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`((?:\w+/)*test_\w+\.py)`", TEXT))
    assert len(named) > 8
    assert not {name for name in named if not (PROJECT / "tests" / name).is_file()}
    assert (PROJECT / "tests" / "measurements" / "fuzz.py").is_file()


def test_options_that_are_named_exist() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    for option in set(re.findall(r"--([a-z][a-z0-9-]+)", TEXT)) - {"help", "resume", "config"}:
        assert option.replace("-", "_") in sources, option
