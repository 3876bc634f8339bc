"""Everything that reads files gets damaged ones, a few hundred in all: measurements/fuzz.py does the same at length."""

import contextlib
import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from fuzz_targets import EXPECTED, Target, make_seeds, make_targets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_CASES = 40
_SLOW = 8  # of a workbook


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> list[Target]:
    folder = tmp_path_factory.mktemp("seeds")
    make_seeds(folder)
    return make_targets(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


def test_sound_files_are_read(targets: list[Target], tmp_path: Path) -> None:
    for number, target in enumerate(targets):
        for i, seed in enumerate(target.seeds):
            place = tmp_path / f"{number}-{i}"
            place.mkdir()
            try:
                target.read(seed, place)
            except EXPECTED as error:
                if "CCITT" not in str(error):  # refused for what it is, not for damage
                    raise


@pytest.fixture
def collected() -> Iterator[None]:
    """What a library leaves open of a damaged file is collected here, and not counted against another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.mark.usefixtures("collected")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["image", "workbook", "other"])
@settings(max_examples=_CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random=st.randoms(use_true_random=False))
def test_damaged_files_raise_nothing_else(targets: list[Target], folder: Path, kind: str, random: Random) -> None:
    images = {"jpeg", "png", "tiff", "bmp", "webp"}
    for target in targets:
        own = "image" if target.name in images else "workbook" if target.name.endswith(".xlsx") else "other"
        if own != kind or (kind == "workbook" and random.randrange(_CASES) >= _SLOW):
            continue
        place = folder / str(len(list(folder.iterdir())))
        place.mkdir()
        with warnings.catch_warnings(), contextlib.suppress(*EXPECTED):
            warnings.simplefilter("ignore")
            target.read(target.case(random), place)
