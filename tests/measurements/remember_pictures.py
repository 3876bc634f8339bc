"""Give a model file of an earlier release the pictures of the images it was trained on.

    python tests/measurements/remember_pictures.py MODEL DATA OUT

MODEL knows the files it was trained and calibrated on by their digests; DATA are labelled images, those among them (a
folder, a manifest or a MedMNIST file, as for `train`). OUT is MODEL with the perceptual hashes of these pictures beside
the digests, and nothing else changed, so that `evaluate` recognises them in other files. Run again, it writes the same
bytes. The model file has another SHA-256 then, which is printed.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from bloodcell_batch.model.file import SEEN_PREFIX, open_model, save_model
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.labelled import load_labelled
from bloodcell_batch.training.data.seen import Seen, SeenPart


def main() -> None:
    """Read, hash, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT")
    arguments = parser.parse_args()

    model = open_model(arguments.model)
    names = ClassNames(model.header.class_list)
    images, _ = load_labelled(arguments.data, model.header.preprocessing, 2, NullObserver(), names=names)
    before = Seen.by(model)
    after = []
    for part in (before.train, before.validation):
        known = np.isin(images.digests, part.digests)
        digests = np.concatenate([part.digests, images.digests[known]])
        after.append(SeenPart.of(digests, np.concatenate([part.hashes, images.hashes[known]])))
        only_files = after[-1].known_by_file_only
        sys.stdout.write(f"{len(part.digests):,} files, the pictures of {only_files:,} of them not known\n")
    seen = {SEEN_PREFIX + name: value for name, value in Seen(*after).tensors().items()}
    written = save_model(arguments.out, model.header, model.load_tensors("") | seen)
    sys.stdout.write(f"{arguments.out.stat().st_size:,} bytes, SHA-256 {written.sha256}\n")


if __name__ == "__main__":
    main()
