"""The order of rows: slide, then path."""

from bloodcell_batch.records import ImageFile


def table_order(file: ImageFile) -> tuple[str, bool, str]:
    """What the rows of the image table are sorted by: slide, then path.

    Of two equal pictures the first is kept, and a name that starts with `~` marks a backup or temporary copy by long
    convention: it comes after its original also where that is named in another script.
    """
    return file.slide_id, file.path.rpartition("/")[2].startswith("~"), file.path
