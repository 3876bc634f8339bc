"""Silence for libraries that print their steps and warn of their own deprecations; what goes wrong they raise."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Nothing on stdout, no warnings, and only errors from these loggers."""
    silenced = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in silenced]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        for category in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        for logger in silenced:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(silenced, levels, strict=True):
                logger.setLevel(level)
