"""Makes what the package has of its model files for OpenVINO, anew whenever one of those changes:

python -m bloodcell_batch.export.packaged_networks [INT8.xml]

It converts both networks to `assets/*.network`. INT8.xml is what `export-openvino --precision int8` wrote for the
packaged model; it becomes `assets/default_model.int8`, from which `auto` may run it on every machine.
"""

import sys
from pathlib import Path

from bloodcell_batch.backends.openvino.int8 import read_int8, record_path
from bloodcell_batch.backends.openvino.networks import converted_anew
from bloodcell_batch.backends.openvino.packaged import PACKAGED, as_packaged, packaged_place
from bloodcell_batch.errors import BackendError
from bloodcell_batch.files.publishing import bytes_writer, publish_files
from bloodcell_batch.model.file import DEFAULT_MODEL, open_model, open_network

MAX_LOSS = 0.001
"""What nobody who leaves the choice to the program may lose by it, as a share of labelled cells."""


def main(arguments: list[str]) -> None:
    """Write the files beside their model files.

    Raises:
        BackendError: the int8 network is not of the packaged model, was not compared with labels, or costs too much.
    """
    made = {}
    for path in PACKAGED:
        network = open_network(path)
        made[packaged_place(path, "network")] = as_packaged(network, converted_anew(network).to_bytes())
    if arguments:
        made[packaged_place(DEFAULT_MODEL, "int8")] = _int8(Path(arguments[0]))
    publish_files({place: bytes_writer(data) for place, data in made.items()})
    for place, data in made.items():
        sys.stdout.write(f"{place}: {len(data):,} bytes\n")


def _int8(path: Path) -> bytes:
    model = open_model()
    found = read_int8(path, model)
    check = found.record.int8
    if check.int8 is None:
        raise BackendError(f"{path} was not compared on labelled images.")
    if check.loss > MAX_LOSS:
        raise BackendError(f"{path} costs {check.loss:.2%}, more than {MAX_LOSS:.2%}.")
    return as_packaged(model, found.to_bytes(record_path(path).read_bytes()))


if __name__ == "__main__":
    main(sys.argv[1:])
