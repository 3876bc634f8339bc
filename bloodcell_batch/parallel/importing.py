"""A module imported while other work lets the interpreter go."""

import importlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def importing(module: str) -> Iterator[None]:
    """Import a module on a thread while the context lasts; at its end it is there.

    It helps where what is done meanwhile waits for files or computes outside the interpreter.

    Raises:
        ImportError: it can't be imported.
    """
    with ThreadPoolExecutor(1) as thread:
        imported = thread.submit(importlib.import_module, module)
        yield
        imported.result()
