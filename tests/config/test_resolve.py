from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT
from pydantic import ValidationError

from bloodcell_batch.config.base import CommandConfig
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.evaluate import EvaluateConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.errors import ExitCode, UsageError


def _toml(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _refusal(kind: type[CommandConfig], flags: dict[str, Any], file: Path | None = None) -> UsageError:
    with pytest.raises(UsageError) as caught:
        resolve(kind, flags, file)
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.hint
    return caught.value


class TestPrecedence:
    def test_defaults_without_anything(self) -> None:
        assert resolve(ClassifyConfig, {}) == ClassifyConfig()

    def test_the_file_wins_over_the_defaults(self, tmp_path: Path) -> None:
        config = resolve(ClassifyConfig, {}, _toml(tmp_path, 'batch_size = 8\ndedup = "off"\n'))
        assert (config.batch_size, config.dedup, config.backend) == (8, "off", "auto")

    def test_a_flag_wins_over_the_file(self, tmp_path: Path) -> None:
        file = _toml(tmp_path, "batch_size = 8\nworkers = 3\n")
        config = resolve(ClassifyConfig, {"batch_size": 9, "workers": None}, file)
        assert (config.batch_size, config.workers) == (9, 3)

    @pytest.mark.parametrize(("key", "value"), [("workers", 0), ("overwrite", False), ("min_confidence", 0.0)])
    def test_a_false_or_zero_flag_counts_as_given(self, tmp_path: Path, key: str, value: object) -> None:
        file = _toml(tmp_path, "workers = 3\noverwrite = true\nmin_confidence = 0.5\n")
        assert getattr(resolve(ClassifyConfig, {key: value}, file), key) == value

    def test_paths_in_a_file_are_paths(self, tmp_path: Path) -> None:
        assert resolve(ClassifyConfig, {}, _toml(tmp_path, 'model = "m.safetensors"')).model == Path("m.safetensors")

    def test_nested_tables(self, tmp_path: Path) -> None:
        config = resolve(TrainConfig, {"epochs": 2}, _toml(tmp_path, "[augmentation]\nblur = 0\n"))
        assert config.augmentation.blur == 0
        assert config.augmentation.zoom_in == TrainConfig().augmentation.zoom_in
        assert config.epochs == 2

    def test_an_empty_file_changes_nothing(self, tmp_path: Path) -> None:
        assert resolve(EvaluateConfig, {}, _toml(tmp_path, "")) == EvaluateConfig()


class TestRefusals:
    def test_an_unknown_key_lists_the_known_ones(self, tmp_path: Path) -> None:
        file = _toml(tmp_path, "batchsize = 8\n")
        message = _refusal(ClassifyConfig, {}, file).message
        assert "Unknown key 'batchsize'" in message
        assert str(file) in message
        assert "batch_size" in message

    def test_an_unknown_nested_key_lists_the_keys_of_its_table(self, tmp_path: Path) -> None:
        message = _refusal(TrainConfig, {}, _toml(tmp_path, "[augmentation]\nblurr = 1\n")).message
        assert "augmentation.blurr" in message
        assert "blur_factor" in message

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            ({"batch_size": 0}, "--batch-size can't be 0: input should be greater than or equal to 1"),
            ({"batch_size": "many"}, "--batch-size can't be 'many'"),
            ({"batch_size": 1.5}, "--batch-size can't be 1.5"),
            ({"workers": -1}, "--workers can't be -1"),
            ({"dedup": "fuzzy"}, "--dedup can't be 'fuzzy'"),
            ({"dedup_distance": 33}, "--dedup-distance can't be 33"),
            ({"slide_by": "folder"}, "--slide-by can't be 'folder'"),
            ({"min_confidence": 1.01}, "--min-confidence can't be 1.01"),
            ({"min_confidence": float("nan")}, "--min-confidence can't be nan"),
            ({"outlier_threshold": 0}, "--outlier-threshold can't be 0"),
            ({"outlier_threshold": float("nan")}, "--outlier-threshold can't be nan"),
            ({"max_megapixels": float("inf")}, "--max-megapixels can't be inf"),
            ({"allow_failed": -1}, "--allow-failed can't be -1"),
        ],
        ids=str,
    )
    def test_a_bad_value_names_the_flag(self, flags: dict[str, Any], words: str) -> None:
        assert words in _refusal(ClassifyConfig, flags).message

    def test_a_bad_value_in_a_file_names_the_file(self, tmp_path: Path) -> None:
        file = _toml(tmp_path, "batch_size = -5\n")
        message = _refusal(ClassifyConfig, {}, file).message
        assert "-5" in message
        assert str(file) in message

    @pytest.mark.parametrize("text", ["batch_size = ", "= 3", "[x", "batch_size = 1\nbatch_size = 2"])
    def test_bad_toml(self, tmp_path: Path, text: str) -> None:
        assert "is not valid TOML" in _refusal(ClassifyConfig, {}, _toml(tmp_path, text)).message

    def test_a_binary_file(self, tmp_path: Path) -> None:
        path = tmp_path / "config.toml"
        path.write_bytes(b"\xff\xfe\x00")
        assert "is not valid TOML" in _refusal(ClassifyConfig, {}, path).message

    def test_a_missing_file_and_a_folder(self, tmp_path: Path) -> None:
        assert "No such file" in _refusal(ClassifyConfig, {}, tmp_path / "none.toml").message
        assert "Is a directory" in _refusal(ClassifyConfig, {}, tmp_path).message

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            ({"slide_by": "regex"}, "--slide-by regex and --slide-regex go together"),
            ({"slide_regex": "(a)"}, "--slide-by regex and --slide-regex go together"),
            ({"slide_by": "manifest"}, "--slide-by manifest and --slide-manifest go together"),
            ({"slide_manifest": Path("m.csv")}, "--slide-by manifest and --slide-manifest go together"),
            ({"slide_by": "regex", "slide_manifest": Path("m.csv")}, "go together"),
            ({"slide_by": "regex", "slide_regex": "(a)", "slide_manifest": Path("m.csv")}, "--slide-manifest"),
        ],
        ids=str,
    )
    def test_slide_options_that_do_not_fit(self, flags: dict[str, Any], words: str) -> None:
        message = _refusal(ClassifyConfig, flags).message
        assert words in message
        assert "Value error" not in message

    @pytest.mark.parametrize(
        "flags", [{"slide_by": "regex", "slide_regex": "(a)"}, {"slide_by": "manifest", "slide_manifest": Path("m")}]
    )
    def test_slide_options_that_fit(self, flags: dict[str, Any]) -> None:
        assert resolve(ClassifyConfig, flags).slide_by == flags["slide_by"]

    def test_two_starts_of_a_training(self) -> None:
        flags = {"pretrained": True, "init_weights": Path("w.safetensors")}
        assert "exclude each other" in _refusal(TrainConfig, flags).message


@pytest.mark.parametrize("kind", [ClassifyConfig, TrainConfig, EvaluateConfig])
def test_configurations_are_frozen_and_described(kind: type[CommandConfig]) -> None:
    config = kind()
    name = next(iter(kind.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, name, getattr(config, name))
    undescribed = [name for name, field in kind.model_fields.items() if not field.description]
    assert undescribed in ([], ["augmentation"])


def test_the_recipe_of_the_default_model_is_valid() -> None:
    config = resolve(TrainConfig, {}, PROJECT / "configs" / "default.toml")
    assert config.name == "bloodcell-default"
    assert config.architecture == "mobilenetv2_100"


def test_a_setting_reaches_every_key_and_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text("epochs = 3\n[augmentation]\nblur = 0.4\nnoise = 0.01\n", encoding="utf-8")
    settings = ["epochs=7", "augmentation.blur = 0.1", "optimiser=sgd", 'loss="focal"', "class_weights=true"]
    recipe = resolve(TrainConfig, {"seed": 5}, file, [*settings, "seed=1"])
    assert (recipe.epochs, recipe.optimiser, recipe.loss, recipe.class_weights, recipe.seed) == (
        7,
        "sgd",
        "focal",
        True,
        5,
    )
    assert (recipe.augmentation.blur, recipe.augmentation.noise) == (0.1, 0.01)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("epochs", "is not KEY=VALUE"),
        ("=3", "is not KEY=VALUE"),
        ("epochs.many=3", "epochs is not a table"),
        ("epoch=3", "Unknown key 'epoch'"),
        ("augmentation.blurr=3", "Unknown key 'augmentation.blurr'"),
        ("epochs=many", "--epochs can't be 'many'"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text("epochs = 3\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        resolve(TrainConfig, {}, file, [setting])
    assert said in str(caught.value)


class TestRequiredModel:
    @pytest.mark.parametrize("kind", [ClassifyConfig, EvaluateConfig])
    def test_a_digest_from_the_file_in_either_case(self, kind: type[CommandConfig], tmp_path: Path) -> None:
        config = resolve(kind, {}, _toml(tmp_path, f'require_model_sha256 = "{"aB" * 32}"\n'))
        assert config.model_dump()["require_model_sha256"] == "ab" * 32

    @pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 32 + "\n", "xy" * 32, "ab" * 33])
    def test_anything_shorter_or_longer_is_refused(self, text: str) -> None:
        error = _refusal(ClassifyConfig, {"require_model_sha256": text})
        assert "--require-model-sha256" in error.message
        assert "a SHA-256 has 64 hexadecimal digits" in error.message
