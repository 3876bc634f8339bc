"""The recipes that come with the program, which a command line names without a path: `--config finetune`."""

from pathlib import Path

import bloodcell_batch

_PACKAGE = Path(bloodcell_batch.__file__).parent
_PLACES = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
"""Where an installation has them (setup.py), and where a checkout has them."""


def shipped() -> dict[str, Path]:
    """Name -> file, such as `finetune` or `models/resnet50`; empty if the folder was taken out."""
    folder = next((place for place in _PLACES if (place / "finetune.toml").is_file()), None)
    if folder is None:
        return {}
    files = sorted(folder.rglob("*.toml"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def located(file: Path) -> Path:
    """The file itself, or the recipe of that name where there is no such file."""
    return file if file.suffix or file.exists() else shipped().get(file.as_posix(), file)
