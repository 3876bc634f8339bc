"""Pictures that are in two slides."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CrossSlideMatch:
    """The same picture in two slides, both kept: a possible specimen mix-up for a person to look at."""

    path: str
    slide_id: str
    other_path: str
    other_slide_id: str
    distance: int
