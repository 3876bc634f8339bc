import numpy as np

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.training.data.labelled import LabelledImages
from bloodcell_batch.training.fit.fine_labels import fine_labels


def images(paths: list[str]) -> LabelledImages:
    labels = np.array([DEFAULT_CLASSES.names.index(path.split("/")[0]) for path in paths])
    nothing = np.zeros(len(paths), dtype=np.int64)
    pixels = np.zeros((len(paths), 2, 2, 3), dtype=np.uint8)
    return LabelledImages(
        tuple(paths),
        pixels,
        labels,
        nothing.astype(np.uint64),
        np.zeros((len(paths), 2, 4), dtype=np.uint64),
        nothing,
        nothing.astype(np.int8),
        nothing.astype(str),
        nothing.astype(str),
        DEFAULT_CLASSES,
    )


def test_prefixes_of_file_names_are_finer_classes() -> None:
    paths = ["neutrophil/BNE_1.jpg", "neutrophil/SNE_2.jpg", "neutrophil/bne-3.jpg", "ig/MY_1.jpg", "ig/0815.jpg"]
    labels, names = fine_labels(images(paths))
    assert names == ("ig", "ig/MY", "neutrophil/BNE", "neutrophil/SNE")
    assert labels.tolist() == [2, 3, 2, 1, 0]


def test_one_prefix_in_two_classes_is_two_classes() -> None:
    labels, names = fine_labels(images(["ig/A_1.jpg", "monocyte/A_1.jpg"]))
    assert names == ("ig/A", "monocyte/A")
    assert labels.tolist() == [0, 1]
