"""Columns and schemas of the tables of a run that reports the packaged model's classes."""

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.results.tables import image_columns, image_schema, reviewed_schema, slide_columns, slide_schema

IMAGE_COLUMNS = image_columns(DEFAULT_CLASSES)
SLIDE_COLUMNS = slide_columns(DEFAULT_CLASSES)
IMAGE_SCHEMA = image_schema(DEFAULT_CLASSES)
SLIDE_SCHEMA = slide_schema(DEFAULT_CLASSES)
REVIEWED_SCHEMA = reviewed_schema(DEFAULT_CLASSES)
