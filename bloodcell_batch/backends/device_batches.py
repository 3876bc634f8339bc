"""Batches on a device: pinned memory, two batches in flight, CUDA graphs. Shared by PyTorch and TensorRT.

While the device computes one batch, the next is copied to it and the results of the one before are copied out. PyTorch
owns all memory and streams. On the CPU, where none of this exists, batches simply run one after the other.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bloodcell_batch.backends.contract import Outputs

Launch = Callable[[Tensor, Tensor, Tensor], None]
"""Enqueues the network on the current stream: uint8 images (n, S, S, 3) in, float32 probabilities (n, C) and features
(n, D) written in place. All three lie on the device, and at the same addresses whenever n is the full batch."""

_SLOTS = 2
_WARM_UPS = 3  # enqueues before a capture: libraries choose their kernels and allocate in the first ones


class DeviceBatches:
    """Runs any number of images through `launch` in batches of `size`.

    Args:
        device: CUDA device or CPU.
        size: images of a full batch.
        shape: of one image, (S, S, 3).
        widths: classes C and features D.
        launch: the network.
        pad: fill the last batch up by repeating its last image, where only the full batch is compiled; otherwise it
            is launched as small as it is.
        graph: record the full batch once as a CUDA graph and replay it.
    """

    def __init__(
        self,
        device: torch.device,
        size: int,
        shape: tuple[int, int, int],
        widths: tuple[int, int],
        launch: Launch,
        *,
        pad: bool,
        graph: bool,
    ) -> None:
        self.size = size
        self._launch, self._pad = launch, pad
        self._cuda = device.type == "cuda"
        self._stream: Any = torch.cuda.Stream(device) if self._cuda else None  # type: ignore[no-untyped-call]
        self._slots = [_Slot(device, size, shape, widths, pinned=self._cuda) for _ in range(_SLOTS)]
        if self._cuda and graph:
            for slot in self._slots:
                slot.graph = self._record(slot)

    def __call__(self, images: NDArray[np.uint8]) -> Outputs:
        """See `Backend.infer`."""
        probabilities = np.empty((len(images), self._slots[0].probabilities.shape[1]), dtype=np.float32)
        features = np.empty((len(images), self._slots[0].features.shape[1]), dtype=np.float32)
        for slot in self._slots:
            slot.count = 0  # what a call that failed half-way left behind belongs to nobody
        starts = range(0, len(images), self.size)
        for number, start in enumerate(starts):
            slot = self._slots[number % _SLOTS]
            slot.collect(probabilities, features)
            slot.start, slot.count = start, min(self.size, len(images) - start)
            self._submit(slot, images[start : start + slot.count])
        for number in range(len(starts), len(starts) + _SLOTS):
            self._slots[number % _SLOTS].collect(probabilities, features)
        return probabilities, features

    def _submit(self, slot: "_Slot", images: NDArray[np.uint8]) -> None:
        count = self.size if self._pad else slot.count
        slot.host_images[: slot.count].numpy()[...] = images
        if count > slot.count:
            slot.host_images[slot.count :] = slot.host_images[slot.count - 1]
        with torch.inference_mode(), torch.cuda.stream(self._stream) if self._cuda else nullcontext():
            slot.images[:count].copy_(slot.host_images[:count], non_blocking=True)
            if slot.graph is not None and count == self.size:
                slot.graph.replay()
            else:
                self._launch(slot.images[:count], slot.probabilities[:count], slot.features[:count])
            slot.host_probabilities[:count].copy_(slot.probabilities[:count], non_blocking=True)
            slot.host_features[:count].copy_(slot.features[:count], non_blocking=True)
            if self._cuda:
                slot.done.record(self._stream)

    def _record(self, slot: "_Slot") -> Any:  # noqa: ANN401 - PyTorch types its graphs as Any
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                self._launch(slot.images, slot.probabilities, slot.features)
            self._stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream):
                self._launch(slot.images, slot.probabilities, slot.features)
        return graph


class _Slot:
    """Memory of one batch in flight, on the host and on the device."""

    def __init__(
        self, device: torch.device, size: int, shape: tuple[int, int, int], widths: tuple[int, int], *, pinned: bool
    ) -> None:
        classes, width = widths
        self.host_images = torch.zeros((size, *shape), dtype=torch.uint8, pin_memory=pinned)
        self.host_probabilities = torch.empty((size, classes), pin_memory=pinned)
        self.host_features = torch.empty((size, width), pin_memory=pinned)
        self.images = torch.zeros((size, *shape), dtype=torch.uint8, device=device)
        self.probabilities = torch.empty((size, classes), device=device)
        self.features = torch.empty((size, width), device=device)
        self.done: Any = torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]
        self.graph: Any = None
        self.start = self.count = 0

    def collect(self, probabilities: NDArray[np.float32], features: NDArray[np.float32]) -> None:
        """Wait for the batch, if there is one, and copy its rows to where they belong."""
        if self.count == 0:
            return
        if self.done is not None:
            self.done.synchronize()
        rows = slice(self.start, self.start + self.count)
        probabilities[rows] = self.host_probabilities[: self.count].numpy()
        features[rows] = self.host_features[: self.count].numpy()
        self.count = 0
