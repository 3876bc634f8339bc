"""Makes `assets/*.network`, the converted networks of the packaged model files, anew whenever one of those changes:

python -m bloodcell_batch.export.packaged_networks
"""

import sys

from bloodcell_batch.backends.openvino.networks import converted_anew
from bloodcell_batch.backends.openvino.packaged import PACKAGED, as_packaged, packaged_place
from bloodcell_batch.files.publishing import bytes_writer, publish_files
from bloodcell_batch.model.file import open_network


def main() -> None:
    """Convert both and write them beside their model files."""
    for path in PACKAGED:
        model = open_network(path)
        data = as_packaged(model, converted_anew(model).to_bytes())
        publish_files({packaged_place(path): bytes_writer(data)})
        sys.stdout.write(f"{packaged_place(path)}: {len(data):,} bytes, of model {model.sha256[:12]}\n")


if __name__ == "__main__":
    main()
