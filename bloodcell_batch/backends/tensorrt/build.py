"""Compiling an ONNX network into a plan for this machine's GPU."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorrt as trt

from bloodcell_batch.backends.tensorrt.runtime import INPUT, ToLogging
from bloodcell_batch.errors import BackendError

_OPTIMISATION_LEVEL = 3
_WORKSPACE_BYTES = 2 << 30
_HALF = ("half", "fp16")


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What to compile: the ONNX file's bytes, side of the input in pixels, and the batches (smallest is 1)."""

    onnx: bytes
    side: int
    batch: int
    max_batch: int
    timing_cache: Path


class _Progress(trt.IProgressMonitor):  # type: ignore[misc, unused-ignore]
    """Passes on the steps of the build's outermost phase, and stops the build when the listener raises."""

    def __init__(self, report: Callable[[str, int, int], None]) -> None:
        trt.IProgressMonitor.__init__(self)
        self._report = report
        self._total: dict[str, int] = {}
        self.stopped: BaseException | None = None

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Called by TensorRT."""
        if parent_phase is None:
            self._total[phase_name] = num_steps

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Called by TensorRT; False cancels the build."""
        try:
            if phase_name in self._total:
                self._report(phase_name, step + 1, self._total[phase_name])
        except KeyboardInterrupt as stop:  # must not travel through TensorRT's C++
            self.stopped = stop
        return self.stopped is None

    def phase_finish(self, phase_name: str) -> None:
        """Called by TensorRT."""
        self._total.pop(phase_name, None)


def build_plan(request: PlanRequest, report: Callable[[str, int, int], None]) -> bytes:
    """Compile; `report` is told phase, step and number of steps.

    Raises:
        BackendError: TensorRT can't read or compile the network; the text holds its own words.
    """
    logger = ToLogging()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(request.onnx):
        errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise BackendError(f"TensorRT can't read the ONNX network: {errors or logger.last_error}.", hint=_REPORT)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    config.builder_optimization_level = _OPTIMISATION_LEVEL
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector tells precisions only then
    profile = builder.create_optimization_profile()
    shape = (request.side, request.side, 3)
    profile.set_shape(INPUT, (1, *shape), (request.batch, *shape), (request.max_batch, *shape))
    config.add_optimization_profile(profile)
    config.set_timing_cache(_load_timing_cache(config, request.timing_cache), False)
    monitor = _Progress(report)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor.stopped is not None:
        raise monitor.stopped
    if plan is None:
        raise BackendError(f"TensorRT could not compile the network{logger.because()}.", hint=_REPORT)
    _save_timing_cache(config, request.timing_cache)
    return bytes(plan)


_REPORT = "classify works without a plan; please report this with the output of bloodcell-batch doctor."


def half_precision_share(engine: trt.ICudaEngine) -> float:
    """Share of the plan's layers with a half-precision output, 0-1, as the engine's inspector tells it.

    Raises:
        BackendError: the inspector's answer has no layers.
    """
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        layers = [layer for layer in json.loads(text)["Layers"] if isinstance(layer, dict)]
        outputs = [[str(out["Format/Datatype"]).lower() for out in layer["Outputs"]] for layer in layers]
    except (ValueError, LookupError, TypeError) as error:
        raise BackendError("TensorRT's inspector does not tell the precision of the layers.", hint=_REPORT) from error
    if not outputs:
        raise BackendError("TensorRT's inspector names no layers.", hint=_REPORT)
    return sum(any(word in kind for kind in kinds for word in _HALF) for kinds in outputs) / len(outputs)


def _load_timing_cache(config: trt.IBuilderConfig, path: Path) -> trt.ITimingCache:
    """Kernel timings of earlier builds: the second build is several times faster and chooses the same kernels."""
    try:
        return config.create_timing_cache(path.read_bytes())
    except OSError:
        return config.create_timing_cache(b"")


def _save_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    """Keep the timings; without them the next build only takes longer."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(config.get_timing_cache().serialize()))
    except OSError:
        path.unlink(missing_ok=True)
