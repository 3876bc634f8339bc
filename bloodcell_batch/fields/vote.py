"""What the images of a slide show, cells or whole fields, by the vote of a few of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bloodcell_batch.fields.cells import FieldCells, ImageKind
from bloodcell_batch.fields.scale import CropScale, crop_scale, slide_scale

SMALLEST_FIELD = 112
"""Longest side, in pixels, from which on an image can be a field at all: below it, red cells have under 20 pixels."""

LARGEST_CELL = 512
"""Longest side, in pixels, up to which an image that tells nothing is taken for a single cell: programs that cut cells
out make them 360 or 400 pixels wide, cameras start at 640x480."""

_MAJORITY = 0.65  # share of the votes that decides

SampledImages = Literal["cells", "fields"]


@dataclass(frozen=True, slots=True)
class Sampled:
    """An image that was looked at for the vote: its longest side in pixels, and what was found; None where it is too
    small to be a field."""

    side: int
    found: FieldCells | None

    @property
    def kind(self) -> ImageKind:
        """What it looks like."""
        return ImageKind.SINGLE if self.found is None else self.found.kind


@dataclass(frozen=True, slots=True)
class SlideView:
    """What the images of a slide are taken for.

    Attributes:
        images: cells or fields.
        red_cell_pixels: diameter of a red cell in most of the images, in pixels; None where nothing tells.
        longest: of cells, the longest side in pixels up to which an image is one without being looked at, as those
            were that voted; 0 for fields.
        single, field, unclear: votes.
        looked_at: of cells, the pixels of a red cell at which the finder sees them best; None where nobody knows.
    """

    images: SampledImages
    red_cell_pixels: float | None
    longest: int
    single: int
    field: int
    unclear: int
    looked_at: float | None = None

    @property
    def mark(self) -> str:
        """What rows depend on: with equal marks, an image has the same rows."""
        told = f"{self.images}, red cells of {self.red_cell_pixels} pixels, {self.longest} pixels"
        return f"{told}, fields: {self.has_fields}, single cells: {self.single > 0}, looked at: {self.looked_at}"

    @property
    def has_fields(self) -> bool:
        """Whether some image of those that were looked at is a field."""
        return self.field > 0

    @property
    def crop_scale(self) -> CropScale | None:
        """Of cells, the scale at which each is looked at; None where it is not."""
        return None if self.looked_at is None else CropScale(self.looked_at, self.red_cell_pixels)

    def why_not_one_cell(self, seen: FieldCells, side: int) -> Literal["several_cells", "no_cell"] | None:
        """Why an image is no single cell, although those of its slide are taken for such; None if it may be one.

        Where fields are about, what measures as a single cell by its own red cells is believed only of an image that is
        no larger than single cells are, and only where there are some.

        Args:
            seen: what was found in it.
            side: its longest side, in pixels.
        """
        small = side <= LARGEST_CELL
        if seen.kind is ImageKind.SINGLE:
            fine = not self.has_fields or (small and self.single > 0)
        else:
            fine = seen.kind is ImageKind.UNCLEAR and small and (self.single > 0 or not self.has_fields)
        if fine:
            return None
        return "several_cells" if seen.leukocytes else "no_cell"


def view_of(sampled: Sequence[Sampled], asked: SampledImages | None) -> SlideView | None:
    """The decision on a slide.

    An image that looks like neither abstains. Where all abstain, small images are cells: pictures of single cells are
    cut tightly, so that often no red cell tells their scale.

    Args:
        sampled: the images that were looked at, without those that show nothing or can't be read.
        asked: what somebody says that the images show.

    Returns:
        None where the votes decide nothing.
    """
    votes = Counter(image.kind for image in sampled)
    single, field, unclear = votes[ImageKind.SINGLE], votes[ImageKind.FIELD], votes[ImageKind.UNCLEAR]
    said = asked or _majority(sampled, single, field)
    if said is None:
        return None
    if said == "fields":
        scale = slide_scale([image.found for image in sampled if image.found is not None])
        return SlideView(said, None if scale is None else round(scale, 2), 0, single, field, unclear)
    # What looks like neither vouches for no other image where some are fields.
    sure = [
        image.side
        for image in sampled
        if image.kind is ImageKind.SINGLE
        or (image.kind is ImageKind.UNCLEAR and not field and image.side <= LARGEST_CELL)
    ]
    seen = [image.found for image in sampled if image.found is not None and image.kind is not ImageKind.FIELD]
    longest, of_crops = max(sure, default=SMALLEST_FIELD), crop_scale(seen)
    if of_crops is None:
        return SlideView(said, None, longest, single, field, unclear)
    measured = None if of_crops.red_cell_pixels is None else round(of_crops.red_cell_pixels, 2)
    return SlideView(said, measured, longest, single, field, unclear, round(of_crops.looked_at, 2))


def _majority(sampled: Sequence[Sampled], single: int, field: int) -> SampledImages | None:
    if single + field == 0:
        return "cells" if all(image.side <= LARGEST_CELL for image in sampled) else None
    if single >= _MAJORITY * (single + field):
        return "cells"
    return "fields" if field >= _MAJORITY * (single + field) else None
