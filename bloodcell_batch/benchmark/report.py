"""The figures of a benchmark as text, as JSON, and as a picture."""

import io
import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bloodcell_batch import __version__
from bloodcell_batch.benchmark.growth import GrownRun
from bloodcell_batch.benchmark.measure import Benchmark
from bloodcell_batch.benchmark.parts import MEANINGS
from bloodcell_batch.errors import OutputError
from bloodcell_batch.files.names import printable
from bloodcell_batch.files.writing import writing
from bloodcell_batch.progress import counted
from bloodcell_batch.runs.run_facts import versions

JSON_NAME, PLOT_NAME = "benchmark.json", "benchmark.png"
_BLUE, _RED, _GREY, _GREEN = "#2f6fab", "#a61b1b", "#8796a5", "#2d7d46"
_PART_COLOURS = ("#e6eff6", "#cfe0ee", "#9cc1de", "#6ba1cb", "#3f7fb5", "#1f5a8c", "#b45309")


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Create the folder for the results before the minutes of measuring.

    Raises:
        OutputError: it can't be created, or has the results of an earlier benchmark and `overwrite` is off.
    """
    there = [name for name in (JSON_NAME, PLOT_NAME) if (folder / name).exists()]
    if there and not overwrite:
        hint = "Choose another folder, or add --overwrite to replace it."
        raise OutputError(f"{folder / there[0]} exists already.", hint=hint)
    _written(lambda: folder.mkdir(parents=True, exist_ok=True), folder)


def write_report(found: Benchmark, folder: Path) -> None:
    """Write the JSON document and the plot into `folder`.

    Raises:
        OutputError: that fails.
    """
    stream = io.BytesIO()
    plot(found).savefig(stream, format="png", dpi=130)
    _written(lambda: (folder / PLOT_NAME).write_bytes(stream.getvalue()), folder)
    text = json.dumps(as_dict(found), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _written(lambda: (folder / JSON_NAME).write_text(text, encoding="utf-8"), folder)


def as_text(found: Benchmark) -> str:
    """The figures for the terminal."""
    run, plain = found.run, found.plain
    files = f"{counted(found.files, 'file')} ({printable(found.source)}), {found.mean_bytes / 1000:.1f} kB on average"
    lines = [
        f"{files}; {found.cpus} CPUs ({processor()})",
        "",
        "parts alone, images/s on one core",
        *(f"  {part.name:<13} {part.images_per_second:>9,.0f}   {MEANINGS[part.name]}" for part in found.parts),
        "backends alone, images/s on all cores or the device",
    ]
    for speed in found.backends:
        if speed.skipped:
            lines.append(f"  {speed.name:<13} {'-':>9}   {speed.skipped}")
        else:
            where = f"batches of {speed.batch:>5}: {speed.description}"
            lines.append(f"  {speed.name:<13} {speed.images_per_second:>9,.0f}   {where}")
    laps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in run.laps.items() if name != "total")
    files = counted(run.images, "file")
    lines += [
        "together, images/s",
        f"  {'classify':<10} {run.images_per_second:>9,.0f}   {files} in {run.seconds:.2f} s: {laps}",
        f"  {'ceiling':<10} {found.ceiling:>9,.0f}   what the parts allow on {found.cpus} CPUs with {found.used.name}",
    ]
    if found.int8_ceiling is not None:
        lines.append(f"  {'with int8':<10} {found.int8_ceiling:>9,.0f}   what they would allow with --precision int8")
    if plain:
        files = counted(plain.images, "file")
        text = f"{files}: duplicates {plain.hash_seconds:.2f} s, DataLoader and eager float32 PyTorch"
        lines.append(f"  {'plain':<10} {plain.images_per_second:>9,.0f}   {text} {plain.classify_seconds:.2f} s")
        text = f"the loop of timm's inference.py, no duplicates looked for: {counted(plain.classified, 'file')}"
        lines.append(f"  {'timm':<10} {plain.timm_images_per_second:>9,.0f}   {text} in {plain.timm_seconds:.2f} s")
    if found.growth:
        lines += [
            "more images, images/s and largest memory; then --update with nothing to do",
            *map(_grown, found.growth),
        ]
    lines += ["", limit(found), f"classify reaches {found.share:.0%} of the ceiling"]
    if found.ratio is not None:
        lines.append(f"classify is {found.ratio:.1f} times as fast as the plain PyTorch script")
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines)


def limit(found: Benchmark) -> str:
    """What limits this machine, in a sentence."""
    network, seconds = "the network", 1 / found.used.images_per_second
    costs = {part.name: 1 / part.images_per_second / found.cpus for part in found.parts}
    if found.used.device != "cpu" and seconds >= sum(costs.values()):
        return f"{network} limits this machine: the processors wait for the {found.used.device} device"
    costs |= {network: seconds} if found.used.device == "cpu" else {}
    first, second = sorted(costs, key=lambda name: -costs[name])[:2]
    of = {name: f"{cost / sum(costs.values()):.0%}" for name, cost in costs.items()}
    waits = "" if found.used.device == "cpu" else f"; the {found.used.device} device waits for them"
    return (
        f"{first} limits this machine: {of[first]} of the processors' time for an image, {second} {of[second]}{waits}"
    )


def _grown(run: GrownRun) -> str:
    return (
        f"  {run.files:>10,} {run.images_per_second:>9,.0f}   {run.peak_bytes / 1e6:,.0f} MB; "
        f"{run.update_seconds:.1f} s, {run.update_peak_bytes / 1e6:,.0f} MB (--dedup {run.dedup})"
    )


def as_dict(found: Benchmark) -> dict[str, Any]:
    """Plain values; rates in images per second."""
    run, plain = found.run, found.plain
    return {
        "bloodcell_batch": __version__,
        "finished": datetime.now(UTC).isoformat(),
        "machine": {"processor": processor(), "cpus": found.cpus},
        "versions": versions(),
        "config": found.config.model_dump(mode="json"),
        "model": {"name": found.model.header.name, "sha256": found.model.sha256},
        "files": {"source": printable(found.source), "count": found.files, "mean_bytes": round(found.mean_bytes, 1)},
        "parts_per_core": {part.name: round(part.images_per_second, 1) for part in found.parts},
        "backends": [
            {"name": speed.name, "skipped": speed.skipped}
            if speed.skipped
            else {
                "name": speed.name,
                "device": speed.device,
                "description": speed.description,
                "batch": speed.batch,
                "images_per_second": round(speed.images_per_second, 1),
            }
            for speed in found.backends
        ],
        "classify": {
            "backend": found.used.name,
            "images": run.images,
            "seconds": round(run.seconds, 3),
            "timings_seconds": run.laps,
            "images_per_second": round(run.images_per_second, 1),
        },
        "ceiling_images_per_second": round(found.ceiling, 1),
        "ceiling_images_per_second_int8": None if found.int8_ceiling is None else round(found.int8_ceiling, 1),
        "limit": limit(found),
        "share_of_ceiling": round(found.share, 4),
        "plain": plain
        and {
            "images": plain.images,
            "failed": plain.failed,
            "hash_seconds": round(plain.hash_seconds, 3),
            "classify_seconds": round(plain.classify_seconds, 3),
            "images_per_second": round(plain.images_per_second, 1),
        },
        "timm": plain
        and {
            "images": plain.classified,
            "seconds": round(plain.timm_seconds, 3),
            "images_per_second": round(plain.timm_images_per_second, 1),
        },
        "times_plain": None if found.ratio is None else round(found.ratio, 2),
        "growth": [asdict(run) | {"images_per_second": round(run.images_per_second, 1)} for run in found.growth],
        "notes": list(found.notes),
    }


def plot(found: Benchmark) -> Figure:
    """The runs beside the ceiling, the cost of each part, and the backends by batch size."""
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 0.8))
    _runs(figure.add_subplot(grid[0, 0]), found)
    _backends(figure.add_subplot(grid[0, 1]), found)
    _costs(figure.add_subplot(grid[1, :]), found)
    figure.suptitle(f"{counted(found.files, 'file')}, {counted(found.cpus, 'CPU')} ({processor()})", fontweight="bold")
    return figure


def processor() -> str:
    """Name of the processor, as far as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # no Linux
    return platform.processor() or platform.machine()


def _runs(axes: Axes, found: Benchmark) -> None:
    bars = [("ceiling", found.ceiling, _GREY), ("classify", found.run.images_per_second, _BLUE)]
    if found.plain:
        bars.append(("plain PyTorch", found.plain.images_per_second, _RED))
    names, rates, colours = zip(*reversed(bars), strict=True)
    drawn = axes.barh(names, rates, color=colours)
    axes.bar_label(drawn, fmt="{:,.0f}", padding=3)
    axes.set(xlabel="images/s", xlim=(0, 1.18 * max(rates)))
    ratio = "" if found.ratio is None else f", {found.ratio:.1f} times plain PyTorch"
    axes.set_title(f"{found.share:.0%} of the ceiling{ratio}")
    axes.spines[["top", "right"]].set_visible(False)


def _backends(axes: Axes, found: Benchmark) -> None:
    colours = (_GREEN, _BLUE, _RED, _GREY)
    for name, colour in zip(dict.fromkeys(speed.name for speed in found.backends), colours, strict=False):
        points = [(s.batch, s.images_per_second) for s in found.backends if s.name == name and not s.skipped]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=name)
    ticks = sorted({speed.batch for speed in found.backends if not speed.skipped})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylim(bottom=0)
    axes.set(xlabel="images per call", ylabel="images/s", title="backends alone")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _costs(axes: Axes, found: Benchmark) -> None:
    """Where the time of an image goes: one bar of the parts, stacked."""
    costs = [(part.name, 1e6 / part.images_per_second / found.cpus) for part in found.parts]
    network = f"network ({found.used.name})"
    costs.append((network, 1e6 / found.used.images_per_second))
    left = 0.0
    for (name, cost), colour in zip(costs, _PART_COLOURS, strict=True):
        axes.barh(["parts"], [cost], left=left, color=colour, label=f"{name} {cost:,.0f}")
        left += cost
    axes.barh(["classify"], [1e6 / found.run.images_per_second], color=_BLUE)
    axes.invert_yaxis()
    axes.set(xlabel="microseconds an image, all CPUs together", title="where the time goes")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(costs), loc="upper center", bbox_to_anchor=(0.5, -0.28))


def _written(write: Callable[[], object], folder: Path) -> None:
    with writing(f"to {folder}", "Choose another place for --out."):
        write()
