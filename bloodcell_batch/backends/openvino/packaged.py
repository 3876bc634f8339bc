"""Networks that come with the package, converted already: where they are, nobody needs PyTorch to classify.

`assets/NAME.network` belongs to `assets/NAME.safetensors`, and so does `assets/NAME.int8`, where there is one: the int8
network with its record. Each begins with the SHA-256 of that model file and of the rest; a network of another model, or
a damaged one, is as good as none. `export.packaged_networks` makes them.
"""

import hashlib
import logging
from pathlib import Path
from typing import Literal

from bloodcell_batch.model.file import DEFAULT_FINDER, DEFAULT_MODEL, ModelFile

_log = logging.getLogger(__name__)
_DIGEST_BYTES = 32

PACKAGED = (DEFAULT_MODEL, DEFAULT_FINDER)
"""The model files whose networks come with the package."""


Kind = Literal["network", "int8"]


def packaged_place(model_file: Path, kind: Kind) -> Path:
    """`NAME.safetensors` -> `NAME.network`, or `NAME.int8`."""
    return model_file.with_suffix(f".{kind}")


def recall_packaged(model: ModelFile, kind: Kind) -> bytes | None:
    """The converted network of a model in the package, as `Network.to_bytes` made it, or its int8 network, as
    `int8.Int8Network.to_bytes` did; None if there is none of it.

    What the model file holds decides, not where it lies: a copy of the packaged model has the same network.
    """
    wanted = bytes.fromhex(model.sha256)
    for place in (packaged_place(path, kind) for path in PACKAGED):
        try:
            with place.open("rb") as stream:
                if stream.read(_DIGEST_BYTES) != wanted:
                    continue
                digest, content = stream.read(_DIGEST_BYTES), stream.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            _log.info("no converted network in the package: %s", error)
            continue
        if hashlib.sha256(content).digest() == digest:
            return content
        _log.warning("%s is damaged and is not used; install the package again", place)
    return None


def as_packaged(model: ModelFile, content: bytes) -> bytes:
    """The bytes of the file that `recall_packaged` reads."""
    return bytes.fromhex(model.sha256) + hashlib.sha256(content).digest() + content
