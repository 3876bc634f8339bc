"""Options of `merge`."""

from bloodcell_batch.config.base import CommandConfig
from bloodcell_batch.config.fields import AllowFailedOption, CsvDialectOption, OverwriteOption


class MergeConfig(CommandConfig):
    """Options of `merge`."""

    csv_dialect: CsvDialectOption = "plain"
    overwrite: OverwriteOption = False
    allow_failed: AllowFailedOption = 0
