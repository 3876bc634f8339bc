import sys
import threading
from pathlib import Path

import pytest

from bloodcell_batch.parallel.importing import importing


def _module(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    return name


def test_the_module_is_there_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = _module(tmp_path, "imported_beside", "import threading\nTHREAD = threading.current_thread()\n", monkeypatch)
    with importing(name):
        pass
    assert sys.modules.pop(name).THREAD is not threading.current_thread()


def test_what_needs_one_meanwhile_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = _module(tmp_path, "slowly_imported", "import time\ntime.sleep(0.2)\nWHOLE = True\n", monkeypatch)
    with importing(name):
        module = __import__(name)
        assert module.WHOLE
    del sys.modules[name]


def test_what_can_t_be_imported_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), importing("no_such_module"):
        pass


def test_an_error_meanwhile_is_the_one_that_is_told() -> None:
    with pytest.raises(ValueError, match="the work"), importing("no_such_module"):
        raise ValueError("the work")
