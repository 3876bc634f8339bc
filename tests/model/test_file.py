import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, rolled_up
from bloodcell_batch.errors import ExitCode, ModelFileError, ModelRefusedError, OutputError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import (
    DEFAULT_MODEL,
    METADATA_KEY,
    ModelFile,
    ModelHeader,
    OutlierRule,
    class_entries,
    open_model,
    save_model,
)

TENSORS: dict[str, NDArray[Any]] = {
    "network.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "network.steps": np.array([7], dtype=np.int64),
    "outlier.mean": np.zeros(4, dtype=np.float32),
    "seen.hashes": np.arange(64, dtype=np.uint8).reshape(2, 32),
}

Document = dict[str, Any]


def _header(**changes: Any) -> ModelHeader:  # noqa: ANN401 - fields of the header
    values: dict[str, Any] = {
        "name": "test",
        "architecture": "mobilenetv2_100",
        "classes": class_entries(),
        "preprocessing": Preprocessing(input_size=32, crop=0.9),
        "temperature": 1.25,
        "review_threshold": 0.8,
        "outlier": OutlierRule(threshold=2.5, description="a test"),
        "training": {"images": 10, "nested": {"seed": 0}},
        "metrics": {"accuracy": 0.99},
        "licence": "CC0",
        "attribution": "nobody",
    }
    return ModelHeader(**(values | changes))


def _document(**changes: object) -> Document:
    document: Document = json.loads(_header().model_dump_json())
    return document | changes


def _write(path: Path, text: str, key: str = METADATA_KEY) -> Path:
    path.write_bytes(safetensors.numpy.save(TENSORS, metadata={key: text}))
    return path


def _refusal(path: Path) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        open_model(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == ExitCode.ERROR
    return caught.value


class TestRoundTrip:
    def test_what_was_saved_is_opened(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        saved = save_model(path, _header(), TENSORS)
        opened = open_model(path)
        assert opened == saved
        assert opened.header == _header()
        assert opened.path == path

    def test_the_identity_is_the_sha256_of_the_file(self, tmp_path: Path) -> None:
        import hashlib  # noqa: PLC0415

        path = tmp_path / "model.safetensors"
        assert save_model(path, _header(), TENSORS).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_equal_models_are_equal_files(self, tmp_path: Path) -> None:
        one = save_model(tmp_path / "one.safetensors", _header(), TENSORS)
        two = save_model(tmp_path / "two.safetensors", _header(), dict(reversed(TENSORS.items())))
        assert one.sha256 == two.sha256
        assert save_model(tmp_path / "three.safetensors", _header(name="x"), TENSORS).sha256 != one.sha256

    @pytest.mark.parametrize("prefix", ["network.", "outlier.", "seen."])
    def test_tensors_are_loaded_by_prefix(self, tmp_path: Path, prefix: str) -> None:
        model = save_model(tmp_path / "model.safetensors", _header(), TENSORS)
        loaded = model.load_tensors(prefix)
        expected = {name.removeprefix(prefix): value for name, value in TENSORS.items() if name.startswith(prefix)}
        assert loaded.keys() == expected.keys()
        for name, value in loaded.items():
            assert value.dtype == expected[name].dtype
            assert np.array_equal(value, expected[name])

    def test_an_unknown_prefix_has_no_tensors(self, tmp_path: Path) -> None:
        assert save_model(tmp_path / "model.safetensors", _header(), TENSORS).load_tensors("other.") == {}

    def test_transposed_arrays_are_saved_as_they_look(self, tmp_path: Path) -> None:
        array = np.arange(6, dtype=np.float32).reshape(2, 3).T
        model = save_model(tmp_path / "model.safetensors", _header(), {"network.w": array})
        assert np.array_equal(model.load_tensors("network.")["w"], array)

    def test_any_header_length_is_read(self, tmp_path: Path) -> None:
        # The file starts with the header's length; some lengths look like the first bytes of a pickle.
        path = tmp_path / "model.safetensors"
        save_model(path, _header(name=""), TENSORS)
        (shortest,) = struct.unpack("<Q", path.read_bytes()[:8])
        for length in range(shortest, shortest + 600, 8):
            name = "n" * (length - shortest)
            assert save_model(path, _header(name=name), TENSORS).header.name == name

    def test_the_default_model_opens_where_it_is_shipped(self) -> None:
        if not DEFAULT_MODEL.is_file():
            pytest.skip("no default model yet")
        assert tuple(entry.name for entry in open_model().header.classes) == DEFAULT_CLASSES.names

    def test_class_entries_are_the_labels(self) -> None:
        assert [(entry.name, entry.role) for entry in class_entries()] == [
            (c.name, c.role) for c in DEFAULT_CLASSES.classes
        ]


class TestSave:
    def test_folders_are_made_and_no_partial_file_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "folder" / "model.safetensors"
        save_model(path, _header(), TENSORS)
        assert list(path.parent.iterdir()) == [path]

    def test_an_existing_file_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(b"old")
        save_model(path, _header(), TENSORS)
        assert open_model(path).header.name == "test"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_failed_save_leaves_no_partial_file(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        path.mkdir()
        with pytest.raises(OutputError, match="Can't write the model file"):
            save_model(path, _header(), TENSORS)
        assert list(tmp_path.iterdir()) == [path]

    def test_a_failed_write_keeps_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "model.safetensors"
        before = save_model(path, _header(), TENSORS)

        def full_disk(self: Path, data: bytes) -> int:
            with self.open("wb") as handle:
                handle.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(OutputError, match="Can't write the model file"):
            save_model(path, _header(name="second"), TENSORS)
        assert open_model(path) == before
        assert list(tmp_path.iterdir()) == [path]


class TestRefusals:
    def test_missing_file(self, tmp_path: Path) -> None:
        error = _refusal(tmp_path / "none.safetensors")
        assert "No such file" in error.message
        assert "--model" in error.hint

    def test_folder(self, tmp_path: Path) -> None:
        assert "Is a directory" in _refusal(tmp_path).message

    def test_empty_file(self, tmp_path: Path) -> None:
        path = tmp_path / "m.safetensors"
        path.touch()
        assert "too short" in _refusal(path).message

    @pytest.mark.parametrize("zipped", [True, False])
    def test_a_pytorch_pickle_is_never_loaded(self, tmp_path: Path, *, zipped: bool) -> None:
        path = tmp_path / "model.pt"
        torch.save({"w": torch.zeros(2)}, path, _use_new_zipfile_serialization=zipped)
        error = _refusal(path)
        assert "pickle" in error.message
        assert "safetensors" in error.hint

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_a_pickle_is_never_loaded(self, tmp_path: Path, protocol: int) -> None:
        path = tmp_path / "model.pkl"
        witness = tmp_path / "witness"
        path.write_bytes(pickle.dumps(_Bomb(str(witness)), protocol))
        error = _refusal(path)
        assert not witness.exists()
        if protocol >= 2:
            assert "pickle" in error.message

    def test_truncated_file_is_refused_wherever_it_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        data = save_model(path, _header(), TENSORS).path.read_bytes()
        for cut in [*range(1, 24), *range(24, len(data), 97), len(data) - 1]:
            path.write_bytes(data[:cut])
            message = _refusal(path).message
            assert "not a safetensors file, or it is damaged" in message or "pickle" in message

    def test_surplus_bytes_are_damage(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        data = save_model(path, _header(), TENSORS).path.read_bytes()
        path.write_bytes(data + b"\0")
        assert "damaged" in _refusal(path).message

    @pytest.mark.parametrize("seed", range(20))
    def test_garbage(self, tmp_path: Path, seed: int) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(np.random.default_rng(seed).bytes(2000))
        assert "not a safetensors file" in _refusal(path).message

    @pytest.mark.parametrize("length", [3000, 2**40, 2**63, 2**64 - 1])
    def test_a_header_that_claims_to_be_huge(self, tmp_path: Path, length: int) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(struct.pack("<Q", length) + b"{}" + b" " * 1000)
        assert f"its header claims {length} bytes" in _refusal(path).message

    @pytest.mark.parametrize("text", ["{}", "[]", "null", "1", '{"__metadata__": null}', '{"__metadata__": {}}', "{"])
    def test_safetensors_headers_without_metadata(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(struct.pack("<Q", 64) + text.encode().ljust(64))
        assert "safetensors file" in _refusal(path).message

    def test_another_programs_weights(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(safetensors.numpy.save(TENSORS))
        error = _refusal(path)
        assert "another program's" in error.message
        assert "--init-weights" in error.hint
        assert "another program's" in _refusal(_write(path, "{}", key="format")).message

    @pytest.mark.parametrize("version", [0, 2, "1", None, [1], 1.5])
    def test_another_format_version(self, tmp_path: Path, version: object) -> None:
        path = _write(tmp_path / "m.safetensors", json.dumps(_document(format_version=version)))
        message = _refusal(path).message
        assert f"version {version!r}" in message
        assert "reads version 1" in message

    @pytest.mark.parametrize("text", ["null", "[]", "[1]", "3", '"text"', "true", "{}"])
    def test_json_of_another_shape(self, tmp_path: Path, text: str) -> None:
        assert "version None" in _refusal(_write(tmp_path / "m.safetensors", text)).message

    @pytest.mark.parametrize("text", ["", "{", "not json", "{'a': 1}", '{"format_version": 1'])
    def test_a_header_that_is_no_json(self, tmp_path: Path, text: str) -> None:
        assert "is not JSON" in _refusal(_write(tmp_path / "m.safetensors", text)).message

    @pytest.mark.parametrize("text", ["[" * 100_000, '{"format_version": ' + "1" * 5000 + "}"], ids=["deep", "long"])
    def test_json_that_python_refuses_to_parse(self, tmp_path: Path, text: str) -> None:
        _refusal(_write(tmp_path / "m.safetensors", text))

    @pytest.mark.parametrize(
        "change",
        [
            lambda classes: [{**classes[0], "name": "Basophil"}, *classes[1:]],
            lambda classes: [{**classes[0], "name": "not_a_cell"}, *classes[1:]],
            lambda classes: [{**classes[0], "role": "granulocyte"}, *classes[1:]],
            lambda classes: [{**classes[0], "parent": "platelet"}, *classes[1:]],
            lambda classes: [{**classes[0], "parent": "ig"}, *classes[1:3], {**classes[3], "parent": "x"}],
            lambda classes: [*classes, classes[0]],
            lambda classes: classes[:1],
            lambda _: [],
        ],
        ids=["signs", "reserved", "role", "role of the parent", "grandparent", "twice", "one", "none"],
    )
    def test_classes_that_make_no_list(
        self, tmp_path: Path, change: Callable[[list[Document]], list[Document]]
    ) -> None:
        document = _document(classes=change(_document()["classes"]))
        assert "is wrong at " in _refusal(_write(tmp_path / "m", json.dumps(document))).message

    def test_a_laboratorys_own_classes(self, tmp_path: Path) -> None:
        entries = [
            {"name": "smudge_cell", "role": "outside"},
            {"name": "band_neutrophil", "role": "leukocyte", "parent": "neutrophil"},
        ]
        classes = open_model(_write(tmp_path / "m", json.dumps(_document(classes=entries)))).header.class_list
        assert classes.names == ("smudge_cell", "band_neutrophil")
        assert rolled_up(classes).reported.leukocytes == ("neutrophil",)

    @pytest.mark.parametrize(
        ("change", "where"),
        [
            ({"colour": "blue"}, "colour"),
            ({"temperature": 0}, "temperature"),
            ({"temperature": "hot"}, "temperature"),
            ({"temperature": float("nan")}, "temperature"),
            ({"review_threshold": 1.1}, "review_threshold"),
            ({"outlier": {"threshold": -1, "description": ""}}, "outlier.threshold"),
            ({"preprocessing": {"input_size": 128, "resize": "fancy"}}, "preprocessing.resize"),
            ({"preprocessing": {"input_size": 8}}, "preprocessing.input_size"),
            ({"preprocessing": {"std": [0.2, 0.2]}}, "preprocessing.std"),
            ({"preprocessing": {"std": [0.2, 0.0, 0.2]}}, "preprocessing.std"),
            ({"preprocessing": {"mean": [float("nan"), 0.0, 0.2]}}, "preprocessing.mean"),
            ({"classes": "eight"}, "classes"),
            ({"training": None}, "training"),
        ],
        ids=str,
    )
    def test_wrong_values_are_named(self, tmp_path: Path, change: Document, where: str) -> None:
        path = _write(tmp_path / "m.safetensors", json.dumps(_document(**change)))
        assert f"is wrong at {where}" in _refusal(path).message

    @pytest.mark.parametrize(
        "key", [key for key in _document() if key not in {"format_version", "finder", "second_look"}]
    )
    def test_missing_keys_are_named(self, tmp_path: Path, key: str) -> None:
        document = _document()
        del document[key]
        assert f"is wrong at {key}" in _refusal(_write(tmp_path / "m.safetensors", json.dumps(document))).message

    def test_random_damage_raises_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        data = save_model(path, _header(), TENSORS).path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        rng = np.random.default_rng(1)
        refused = 0
        for _ in range(400):
            damaged = bytearray(data)
            for place in rng.integers(0, 8 + length, 3):
                damaged[place] = int(rng.integers(256))
            path.write_bytes(damaged)
            try:
                assert isinstance(open_model(path), ModelFile)
            except ModelFileError:
                refused += 1
        assert refused > 300


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str, str], object], tuple[str, str]]:
        return open, (self.path, "w")


class TestRequired:
    def test_the_required_model_opens(self, tmp_path: Path) -> None:
        saved = save_model(tmp_path / "model.safetensors", _header(), TENSORS)
        for digest in (saved.sha256, saved.sha256.upper()):
            assert open_model(saved.path, digest) == saved

    def test_another_model_is_refused_before_it_is_parsed(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(b"not even safetensors")
        with pytest.raises(ModelRefusedError, match=f"required is {'0' * 64}") as raised:
            open_model(path, "0" * 64)
        assert raised.value.exit_code == 4

    def test_a_file_that_was_replaced_after_it_was_opened_is_not_used(self, tmp_path: Path) -> None:
        opened = save_model(tmp_path / "model.safetensors", _header(), TENSORS)
        save_model(opened.path, _header().model_copy(update={"name": "other"}), TENSORS)
        with pytest.raises(ModelFileError, match="was changed while it was in use"):
            opened.load_tensors("network.")

    def test_tensors_may_be_written_to(self, tmp_path: Path) -> None:
        saved = save_model(tmp_path / "model.safetensors", _header(), TENSORS)
        assert all(array.flags.writeable for array in saved.load_tensors("network.").values())

    def test_a_pipe_is_no_model_file(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        os.mkfifo(path)  # reading it would wait for ever
        with pytest.raises(ModelFileError, match="not a regular file"):
            open_model(path)

    def test_tensors_of_a_type_that_numpy_lacks(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        tensors = {"network.w": torch.zeros(2, dtype=torch.float8_e4m3fn)}
        metadata = {METADATA_KEY: _header().model_dump_json()}
        path.write_bytes(safetensors.torch.save(tensors, metadata=metadata))
        with pytest.raises(ModelFileError, match="Can't read the tensors"):
            open_model(path).load_tensors("network.")
