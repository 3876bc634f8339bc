"""Networks as OpenVINO compiled them, from the cache where possible: the second start skips the compilation."""

import functools
import hashlib
import importlib.metadata
import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import openvino

from bloodcell_batch.backends.openvino.cache import recall, store
from bloodcell_batch.backends.openvino.networks import Network

_log = logging.getLogger(__name__)


def compiled(
    network: Network, shape: tuple[int, ...], settings: Mapping[str, Any]
) -> tuple[openvino.CompiledModel, Callable[[], None]]:
    """The network compiled for the CPU and for inputs of `shape`, and what puts it into the cache if it is not there.

    Raises:
        RuntimeError: OpenVINO refuses it.
    """
    core = openvino.Core()
    name = f"{compilation_key(core, network, shape, settings)}.compiled"
    cached = recall(name)
    if cached is not None:
        try:
            return core.import_model(cached, "CPU", dict(settings)), lambda: None
        except RuntimeError as error:
            _log.warning("OpenVINO refuses the compiled network %s, which is made again", name)
            _log.debug("%s", error)  # many lines
    graph = network.read(core)
    graph.reshape(list(shape))
    made = core.compile_model(graph, "CPU", dict(settings))

    def keep() -> None:
        stream = io.BytesIO()
        made.export_model(stream)
        store(name, stream.getvalue())

    return made, keep


def compilation_key(core: openvino.Core, network: Network, shape: tuple[int, ...], settings: Mapping[str, Any]) -> str:
    """Everything that the compiled network depends on."""
    digest = hashlib.sha256(network.digest)
    parts = [
        importlib.metadata.version("openvino"),
        core.get_property("CPU", "FULL_DEVICE_NAME"),
        sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        _instructions(),
        shape,
        sorted(settings.items()),
    ]
    digest.update(json.dumps(parts).encode())
    return digest.hexdigest()


@functools.cache
def _instructions() -> str:
    """The processor's instruction sets, where Linux tells: nodes that share a home folder may have different ones."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
