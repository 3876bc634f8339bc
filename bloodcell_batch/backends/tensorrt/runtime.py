"""Executing a plan: engine, context, and the tensors that PyTorch lends it."""

import logging

import tensorrt as trt
import torch
from torch import Tensor

from bloodcell_batch.errors import BackendError

_log = logging.getLogger(__name__)

INPUT, PROBABILITIES, FEATURES = "images", "probabilities", "features"
TENSORS = (INPUT, PROBABILITIES, FEATURES)


class ToLogging(trt.ILogger):  # type: ignore[misc, unused-ignore]
    """TensorRT's messages in Python's logging; the last error is kept, because calls only return None or False."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.last_error = ""

    def log(self, severity: trt.ILogger.Severity, message: str) -> None:
        """Called by TensorRT, from any thread."""
        if severity in {trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR}:
            self.last_error = message.strip()
            _log.info("TensorRT: %s", message.strip())

    def because(self) -> str:
        """The last error, as the end of a sentence."""
        return f": {self.last_error}" if self.last_error else ""


class Plan:
    """A deserialised plan with one execution context.

    Raises:
        BackendError: TensorRT refuses the plan, or its tensors are not ours.
    """

    def __init__(self, data: bytes, device: torch.device) -> None:
        self._logger = ToLogging()
        self._device = device
        self._runtime = trt.Runtime(self._logger)
        self.engine = self._runtime.deserialize_cuda_engine(data)
        if self.engine is None:
            raise BackendError(f"TensorRT can't read the plan{self._logger.because()}")
        names = tuple(self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors))
        if set(names) != set(TENSORS):
            raise BackendError(f"the plan has the tensors {', '.join(names)}, not {', '.join(TENSORS)}")
        for name in (PROBABILITIES, FEATURES):
            if self.engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
                raise BackendError(f"the plan's {name} are not float32")
        if self.engine.get_tensor_dtype(INPUT) != trt.DataType.UINT8:
            raise BackendError("the plan does not take uint8 images")
        self._context = self.engine.create_execution_context()
        if self._context is None:
            raise BackendError(f"not enough GPU memory for the plan{self._logger.because()}")

    @property
    def profile(self) -> tuple[int, int, int]:
        """Smallest, usual and largest batch."""
        low, usual, high = self.engine.get_tensor_profile_shape(INPUT, 0)
        return int(low[0]), int(usual[0]), int(high[0])

    @property
    def side(self) -> int:
        """Side of the input, in pixels."""
        return int(self.engine.get_tensor_shape(INPUT)[1])

    @property
    def widths(self) -> tuple[int, int]:
        """Number of classes and of features."""
        return tuple(int(self.engine.get_tensor_shape(name)[1]) for name in (PROBABILITIES, FEATURES))  # type: ignore[return-value]

    def launch(self, images: Tensor, probabilities: Tensor, features: Tensor) -> None:
        """Enqueue a batch on the current stream; see `device_batches.Launch`.

        Raises:
            BackendError: TensorRT refused the batch.
        """
        if not self._context.set_input_shape(INPUT, tuple(images.shape)):
            raise BackendError(f"the plan does not take batches of {len(images)}{self._logger.because()}")
        for name, tensor in zip(TENSORS, (images, probabilities, features), strict=True):
            if not self._context.set_tensor_address(name, tensor.data_ptr()):
                raise BackendError(f"TensorRT refused the memory of {name}{self._logger.because()}")
        stream = torch.cuda.current_stream(self._device).cuda_stream if self._device.type == "cuda" else 0
        if not self._context.execute_async_v3(stream):
            raise BackendError(f"TensorRT could not run the plan{self._logger.because()}")
