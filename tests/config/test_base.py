from typing import Annotated

import pytest
from pydantic import Field

from bloodcell_batch.config.base import CommandConfig, Effect, Option, fields_with, flag_of, not_compared, stated
from bloodcell_batch.config.benchmark import BenchmarkConfig
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.comparison import CompareConfig, TuneConfig
from bloodcell_batch.config.doctor import DoctorConfig
from bloodcell_batch.config.evaluate import EvaluateConfig
from bloodcell_batch.config.export import ExportConfig, ExportOpenVinoConfig, ExportTrtConfig
from bloodcell_batch.config.merge import MergeConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.results import (
    ConcordanceConfig,
    DifferentialConfig,
    FhirConfig,
    PseudonymizeConfig,
    ReportConfig,
    ReviewAgreeConfig,
    ReviewExportConfig,
    ReviewImportConfig,
    VerifyConfig,
)

CONFIGURATIONS: tuple[type[CommandConfig], ...] = (
    *(BenchmarkConfig, ClassifyConfig, CompareConfig, ConcordanceConfig, DifferentialConfig, DoctorConfig),
    *(EvaluateConfig, ExportConfig, ExportOpenVinoConfig, ExportTrtConfig, FhirConfig, MergeConfig),
    *(PseudonymizeConfig, ReportConfig, ReviewAgreeConfig, ReviewExportConfig, ReviewImportConfig),
    *(TuneConfig, VerifyConfig),
)
"""All but the recipes, of which `train` gives some keys as options and the others by --set."""

Side = Annotated[int, Field(ge=1, description="Side"), Option("PIXELS"), Effect.NOTHING]


class Sample(CommandConfig):
    shared: Side = 3
    said_again: Annotated[Side, Option("MM", flags=("-m", "--mm")), Effect.MACHINE] = Field(4, le=9)
    plain: int = 0


@pytest.mark.parametrize("name", ClassifyConfig.model_fields)
def test_every_option_of_classify_states_what_it_can_change(name: str) -> None:
    """A resumed run, --update and merge take results as this run's own if they agree in what can change rows."""
    assert stated(ClassifyConfig.model_fields[name], Effect) is not None


def test_what_makes_two_runs_different() -> None:
    compared = set(ClassifyConfig.model_fields) - not_compared(ClassifyConfig)
    assert compared == {
        *("precision", "batch_size", "views", "slide_by", "slide_regex", "dedup", "dedup_distance", "jpeg_decoder"),
        *("max_megapixels", "images", "red_cell_pixels", "max_unclassified", "subclasses"),
    }
    assert not_compared(TrainConfig) == {"workers", "cache", "tensorboard", "images"}
    assert fields_with(TrainConfig, Effect.MACHINE) == {"workers", "cache", "images"}
    assert not_compared(CompareConfig) == {"skip", "throughput_floor", "workers"}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_every_field_is_described_and_given_on_the_command_line(kind: type[CommandConfig]) -> None:
    for name, field in kind.model_fields.items():
        assert field.description, name
        assert stated(field, Option) is not None, name


def test_a_model_may_say_again_what_a_shared_field_says() -> None:
    shared, again, plain = (Sample.model_fields[name] for name in ("shared", "said_again", "plain"))
    assert stated(shared, Option) == Option("PIXELS")
    assert stated(again, Option) == Option("MM", flags=("-m", "--mm"))
    assert stated(plain, Option) is None
    assert again.description == "Side"
    assert fields_with(Sample, Effect.RESULT) == {"plain"}
    assert not_compared(Sample) == {"shared", "said_again"}
    assert [flag_of(name, Sample.model_fields[name]) for name in Sample.model_fields] == ["--shared", "--mm", "--plain"]
