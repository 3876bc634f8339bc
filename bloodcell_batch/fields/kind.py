"""Whether an image shows one cell or a field of cells."""

from collections.abc import Sequence

from bloodcell_batch.fields.cells import Cell, ImageKind

_FIELD_LENGTH, _FIELD_AREA = 5.6, 24.5  # in red cells, from which on an image is a field
_SINGLE_LENGTH = 5.3  # longest side of an image of one cell, in red cells
_CENTRAL = 0.15  # share of the sides by which a single cell may lie beside the centre
_LARGE = 0.08  # share of the image that a single cell takes at least, where no red cell tells the scale


def kind_of(
    width: int, height: int, leukocytes: Sequence[Cell], platelets: Sequence[Cell], red_cell_pixels: float | None
) -> ImageKind:
    """What an image of `width` x `height` pixels looks like, by its size in red cells and by what is in its middle.

    A field has room for more red cells than any laboratory leaves around a cell that it cuts out. A single cell lies
    in the middle of a small image. Everything else is unclear: an image without red cells, a small one with nothing in
    its middle.
    """
    central = [
        cell
        for cell in (*leukocytes, *platelets)
        if abs(cell.x / width - 0.5) < _CENTRAL and abs(cell.y / height - 0.5) < _CENTRAL
    ]
    if red_cell_pixels is None:
        large = any(cell.width * cell.height > _LARGE * width * height for cell in central)
        return ImageKind.SINGLE if large and len(leukocytes) <= 2 else ImageKind.UNCLEAR
    if is_field(width, height, red_cell_pixels):
        return ImageKind.FIELD
    longest = max(width, height) / red_cell_pixels
    return ImageKind.SINGLE if longest <= _SINGLE_LENGTH and central else ImageKind.UNCLEAR


def is_field(width: int, height: int, red_cell_pixels: float) -> bool:
    """Whether an image of `width` x `height` pixels is larger than any laboratory cuts out around a cell."""
    longest = max(width, height) / red_cell_pixels
    return longest >= _FIELD_LENGTH and width * height / red_cell_pixels**2 >= _FIELD_AREA
