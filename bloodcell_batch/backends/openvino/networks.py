"""A model file as a network in OpenVINO's own format."""

import hashlib
import importlib.metadata
import struct
import tempfile
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import openvino
import openvino.opset13 as opset
from numpy.typing import NDArray

from bloodcell_batch.backends.openvino.cache import recall, store
from bloodcell_batch.backends.openvino.packaged import recall_packaged
from bloodcell_batch.errors import BackendError
from bloodcell_batch.model.file import ModelFile

_EXAMPLES = 16
_GROUPED = 5  # dimensions: groups, channels out, channels in, height, width
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Network:
    """The two files of OpenVINO's format: the graph and the weights."""

    xml: bytes
    weights: bytes

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the two files' SHA-256."""
        return hashlib.sha256(hashlib.sha256(self.xml).digest() + hashlib.sha256(self.weights).digest()).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Network":
        """What `to_bytes` made."""
        (length,) = _LENGTH.unpack_from(data)
        start = _LENGTH.size
        return cls(data[start : start + length], data[start + length :])

    def to_bytes(self) -> bytes:
        """Both files as one."""
        return _LENGTH.pack(len(self.xml)) + self.xml + self.weights

    def read(self, core: openvino.Core | None = None) -> openvino.Model:
        """The network as OpenVINO's object.

        Raises:
            RuntimeError: it is not a network.
        """
        return (core or openvino.Core()).read_model(
            self.xml, openvino.Tensor(np.frombuffer(self.weights, dtype=np.uint8))
        )


def convolutions(network: openvino.Model) -> list[str]:
    """The names of a network's convolutions, in the order in which they run."""
    kinds = {"Convolution", "GroupConvolution"}
    return [node.get_friendly_name() for node in network.get_ordered_ops() if node.get_type_name() in kinds]


def summed_weights(network: openvino.Model) -> list[NDArray[np.int8]]:
    """The int8 weights of a network that are summed over channels: all but those of depthwise convolutions, whose
    groups, the first of five dimensions, have one input channel each."""
    constants = [node for node in network.get_ordered_ops() if node.get_type_name() == "Constant"]
    weights = [node.get_data() for node in constants if node.get_element_type() == openvino.Type.i8]
    return [values for values in weights if values.ndim < _GROUPED or values.shape[2] > 1]


def with_features_moved(network: Network, distance: NDArray[np.float32]) -> Network:
    """A network whose features, the second output and what the classifier reads, are larger by `distance` (D,)."""
    graph = network.read()
    features = graph.outputs[1].get_node().input_value(0)
    readers = features.get_target_inputs()
    moved = opset.add(features, opset.constant(distance[np.newaxis]))
    for reader in readers:
        reader.replace_source_output(moved.output(0))
    graph.validate_nodes_and_infer_types()
    return serialised(graph)


def serialised(network: openvino.Model, *, half: bool = False) -> Network:
    """What OpenVINO writes, with weights in float16 if `half`."""
    with tempfile.TemporaryDirectory(prefix="bloodcell-batch-") as folder:
        path = Path(folder) / "network.xml"
        openvino.save_model(network, path, compress_to_fp16=half)
        return Network(path.read_bytes(), path.with_suffix(".bin").read_bytes())


def convert(model: ModelFile, *, half: bool) -> Network:
    """The network for any batch, with weights in float16 if `half`."""
    network = _convert_from_pytorch(model)
    side = model.header.preprocessing.input_size
    network.reshape([-1, side, side, 3])
    return serialised(network, half=half)


def converted(model: ModelFile) -> Network:
    """The network in float32: the one that comes with the package, or converted once per model and version of OpenVINO,
    then read from the cache.

    Conversion imports PyTorch, which takes longer than classifying a small folder. Also the first run uses what was
    written: fresh from the converter, the same network is compiled in another way, and the first run's numbers would
    differ in the last digits from those of all later ones.
    """
    packaged = recall_packaged(model, "network")
    if packaged is not None:
        return Network.from_bytes(packaged)
    name = f"{model.sha256}-{importlib.metadata.version('openvino')}.network"
    cached = recall(name)
    if cached is not None:
        return Network.from_bytes(cached)
    network = converted_anew(model)
    store(name, network.to_bytes())
    return network


def converted_anew(model: ModelFile) -> Network:
    """The network in float32, converted now; imports PyTorch.

    Raises:
        BackendError: PyTorch is not installed.
    """
    return serialised(_convert_from_pytorch(model))


def _convert_from_pytorch(model: ModelFile) -> openvino.Model:
    try:
        import torch  # noqa: PLC0415 - only the first run of a model needs it

        from bloodcell_batch.model.network import load_inference_module  # noqa: PLC0415 - imports torch
    except ModuleNotFoundError as error:
        hint = "Install torch, torchvision and timm: a model that is not the package's own is converted once."
        raise BackendError(f"{model.path} can't be converted without {error.name}.", hint=hint) from error

    side = model.header.preprocessing.input_size
    example = torch.zeros((_EXAMPLES, side, side, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        # OpenVINO's converter traces with torch.jit, which PyTorch deprecates; the user can do nothing about it.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return openvino.convert_model(load_inference_module(model), example_input=example)
