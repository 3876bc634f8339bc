"""A stand-in for the tensorrt module, on the CPU: the plan is the ONNX file, and onnxruntime executes it in the very
memory whose addresses were set. The environment variable FAULT makes it fail in one of the ways of the real thing."""

import base64
import ctypes
import enum
import json
import os
import signal
from typing import Any

import numpy as np

__version__ = os.environ.get("STAND_IN_VERSION", "11.4.0.106")
FAULT = os.environ.get("FAULT", "")


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2

    def __init__(self) -> None: ...


class IProgressMonitor:
    def __init__(self) -> None: ...


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    UINT8 = 2


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class ProfilingVerbosity(enum.Enum):
    DETAILED = 0


class LayerInformationFormat(enum.Enum):
    JSON = 0


class ITimingCache:
    def serialize(self) -> bytes:
        return b"timings"


class IBuilderConfig:
    progress_monitor: Any = None

    def __init__(self) -> None:
        self.profiles: list[Any] = []

    def set_memory_pool_limit(self, *_: object) -> None: ...

    def create_timing_cache(self, data: bytes) -> ITimingCache:
        del data
        return ITimingCache()

    def set_timing_cache(self, *_: object) -> None: ...

    def get_timing_cache(self) -> ITimingCache:
        return ITimingCache()

    def add_optimization_profile(self, profile: Any) -> None:  # noqa: ANN401
        self.profiles.append(profile.shapes)


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.shapes[name] = shapes


class _Error:
    def desc(self) -> str:
        return "unsupported operator"


class OnnxParser:
    num_errors = 1

    def __init__(self, network: dict[str, bytes], logger: ILogger) -> None:
        del logger
        self._network = network

    def parse(self, data: bytes) -> bool:
        self._network["onnx"] = data
        return FAULT != "parse"

    def get_error(self, index: int) -> _Error:
        del index
        return _Error()


class Builder:
    def __init__(self, logger: Any) -> None:  # noqa: ANN401
        self._logger = logger

    def create_network(self, flags: int) -> dict[str, bytes]:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return {}

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: dict[str, bytes], config: IBuilderConfig) -> bytes | None:
        config.progress_monitor.phase_start("Building", None, 2)
        for step in range(2):
            assert config.progress_monitor.step_complete("Building", step)
        config.progress_monitor.phase_finish("Building")
        if FAULT == "build":
            self._logger.log(ILogger.Severity.ERROR, "no implementation found")
            return None
        profile = config.profiles[0]["images"]
        document = {"onnx": base64.b64encode(network["onnx"]).decode(), "profile": profile}
        return json.dumps(document).encode()


class Runtime:
    def __init__(self, logger: Any) -> None:  # noqa: ANN401
        self._logger = logger

    def deserialize_cuda_engine(self, data: bytes) -> "ICudaEngine | None":
        if FAULT == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if FAULT == "null":
            self._logger.log(ILogger.Severity.ERROR, "magicTag does not match")
            return None
        return ICudaEngine(json.loads(data))


class ICudaEngine:
    num_io_tensors = 3

    def __init__(self, document: dict[str, Any]) -> None:
        import onnxruntime  # noqa: PLC0415

        self.session = onnxruntime.InferenceSession(
            base64.b64decode(document["onnx"]), providers=["CPUExecutionProvider"]
        )
        self.profile = document["profile"]

    def get_tensor_name(self, index: int) -> str:
        return ("images", "probabilities", "features")[index]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.UINT8 if name == "images" else DataType.FLOAT

    def get_tensor_shape(self, name: str) -> list[int]:
        found = {node.name: node.shape for node in (*self.session.get_inputs(), *self.session.get_outputs())}[name]
        return [-1, *found[1:]]

    def get_tensor_profile_shape(self, name: str, index: int) -> Any:  # noqa: ANN401
        assert name == "images"
        assert index == 0
        return self.profile

    def create_execution_context(self) -> "IExecutionContext | None":
        return None if FAULT == "memory" else IExecutionContext(self)

    def create_engine_inspector(self) -> "ICudaEngine":
        return self

    def get_engine_information(self, kind: LayerInformationFormat) -> str:
        assert kind is LayerInformationFormat.JSON
        datatype = "Float" if FAULT == "float" else "Half"
        return json.dumps({"Layers": [{"Name": "conv", "Outputs": [{"Format/Datatype": datatype}]}]})


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "images"
        self._shape = shape
        return shape[0] <= self._engine.profile[2][0]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 0
        count = int(np.prod(self._shape))
        images = np.frombuffer((ctypes.c_uint8 * count).from_address(self._addresses["images"]), dtype=np.uint8)
        found = self._engine.session.run(["probabilities", "features"], {"images": images.reshape(self._shape)})
        if FAULT == "wrong":
            found[0] = np.roll(found[0], 1, axis=1)
        for name, value in zip(("probabilities", "features"), found, strict=True):
            ctypes.memmove(self._addresses[name], np.ascontiguousarray(value).ctypes.data, value.nbytes)
        return True
