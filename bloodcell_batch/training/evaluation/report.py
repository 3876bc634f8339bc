"""The report of an evaluation: JSON for programs, Markdown and pictures for people."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bloodcell_batch.files.writing import writing
from bloodcell_batch.progress import counted
from bloodcell_batch.training.evaluation.corruption_suite import CorruptionReport
from bloodcell_batch.training.evaluation.corruptions import SEVERITIES
from bloodcell_batch.training.evaluation.evaluate import Report, describe
from bloodcell_batch.training.evaluation.figures_text import as_text, percent, share_of
from bloodcell_batch.training.evaluation.uncertainty import COVERAGES

_HINT = "Choose another place for --out or --report."
_NAMED = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "ece": "expected calibration error",
}


def write_json(report: Report, out: Path) -> None:
    """Write the figures as JSON; OutputError if that fails."""
    write_content(report.as_dict(), out)


def write_content(content: Mapping[str, Any], out: Path) -> None:
    """Write plain values as JSON; OutputError if that fails."""
    _write(out, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_report(report: Report, folder: Path) -> None:
    """Write `evaluation.json`, `evaluation.md` and its pictures into `folder`; OutputError if that fails."""
    with writing(f"to {folder}", _HINT):
        folder.mkdir(parents=True, exist_ok=True)
    pictures = {name: draw(report) for name, draw in _PICTURES.items()}
    if report.corruptions is not None:
        pictures["corruptions.png"] = _corruptions(report.corruptions)
    for name, picture in pictures.items():
        stream = io.BytesIO()
        picture.savefig(stream, format="png", dpi=130)
        _write(folder / name, stream.getvalue())
    write_json(report, folder / "evaluation.json")
    _write(folder / "evaluation.md", as_markdown(report).encode())


def summary(report: Report) -> str:
    """The figures as plain text for the terminal."""
    lines = [as_text(report.metrics, report.classes, report.intervals), "accuracy of the surest images"]
    lines += [f"{share:<22.0%}{_of_the_surest(report, share)}" for share in COVERAGES[1:]]
    if report.images_left_out:
        lines.append(f"left out: {describe(report.left_out)}")
    suite = report.corruptions
    if suite is not None:
        name, severity, value = suite.worst
        images = counted(suite.images, "image")
        lines += [
            "",
            f"corrupted images ({images}, uncorrupted {suite.clean:.2%}): mean accuracy {suite.mean:.2%}",
            f"{'severity':<16}" + "".join(f"{severity:>8}" for severity in SEVERITIES),
            *(f"{name:<16}" + "".join(f"{value:>8.1%}" for value in row) for name, row in suite.accuracy.items()),
            f"worst: {name}, severity {severity}, {value:.2%}",
        ]
    return "\n".join(lines) + "\n"


def _of_the_surest(report: Report, share: float) -> str:
    curve = report.risk_coverage
    return share_of(curve.accuracy_at(share), curve.images_at(share))


def as_markdown(report: Report) -> str:
    """The report as a lab would read it."""
    figures = report.metrics
    lines = [
        f"# Evaluation of {report.model_name}",
        "",
        "For Research Use Only. Not for use in diagnostic procedures.",
        "",
        f"- Model SHA-256: `{report.model_sha256}`",
        f"- Backend: {report.backend}",
        (
            f"- Data: `{report.data}`, {counted(figures.images, 'image')}, part `{report.part}` "
            f"(left out: {describe(report.left_out)})"
        ),
        f"- Files that could not be read: {len(report.failed)}",
        "",
        "| figure | value | 95 % interval (bootstrap over duplicate groups) |",
        "|---|---|---|",
    ]
    for key, name in _NAMED.items():
        interval = report.intervals.get(key)
        limits = f"{interval[0]:.2%} - {interval[1]:.2%}" if interval else "-"
        lines.append(f"| {name} | {getattr(figures, key):.2%} | {limits} |")
    lines += [
        f"| AUROC (each class against the others) | {percent(figures.auroc, '.4f')} | - |",
        f"| negative log-likelihood | {figures.negative_log_likelihood:.4f} | - |",
        f"| Brier score | {figures.brier:.4f} | - |",
        "",
        *_class_lines(report),
    ]
    rest = figures.images - round(figures.review_share * figures.images)
    lines += ["", "![Confusion matrix](confusion.png)", "", "## When the model is sure", ""]
    lines += [
        (
            f"With its own thresholds the model leaves {share_of(figures.review_share, figures.images)} for review, "
            f"as outliers {share_of(figures.outlier_share, figures.images)}; of the rest "
            f"{share_of(figures.selective_accuracy, rest)} are right."
        ),
        "",
        "| surest share of the images | accuracy |",
        "|---|---|",
        *(f"| {share:.0%} | {_of_the_surest(report, share)} |" for share in COVERAGES),
        "",
        "![Reliability](reliability.png)",
        "",
        "![Risk and coverage](risk_coverage.png)",
    ]
    if report.corruptions is not None:
        lines += _corruption_lines(report.corruptions)
    return "\n".join(lines) + "\n"


def _class_lines(report: Report) -> list[str]:
    per_class = report.metrics.per_class
    lines = [
        "## Classes",
        "",
        "| class | images | precision | recall | exact 95 % limits | F1 | AUROC |",
        "|---|---|---|---|---|---|---|",
    ]
    absent = [name for name in report.classes.reading_order if not per_class[name].images]
    for name in report.classes.reading_order:
        row = per_class[name]
        if row.images:
            lines.append(
                f"| {name} | {row.images} | {percent(row.precision)} | {row.recall:.2%} | {row.recall_low:.1%} - "
                f"{row.recall_high:.1%} | {row.f1:.2%} | {percent(row.auroc, '.4f')} |"
            )
    return [*lines, "", f"No images of {', '.join(absent)}: outside the averages."] if absent else lines


def _corruption_lines(suite: CorruptionReport) -> list[str]:
    name, severity, value = suite.worst
    images = counted(suite.images, "image")
    size = f"{images}, each under {len(suite.accuracy)} corruptions at {len(SEVERITIES)} severities"
    means = f"mean accuracy {suite.mean:.2%} (uncorrupted {suite.clean:.2%})"
    lines = [
        "",
        "## Corrupted images",
        "",
        f"{size}: {means}. Worst: {name}, severity {severity}, {value:.2%}.",
        "",
        "| corruption | " + " | ".join(str(severity) for severity in SEVERITIES) + " | mean |",
        "|---|" + "---|" * (len(SEVERITIES) + 1),
    ]
    for name, row in suite.accuracy.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.1%}" for value in row) + f" | {np.mean(row):.1%} |")
    return [*lines, "", "![Corruptions](corruptions.png)"]


def _confusion(report: Report) -> Figure:
    names = report.classes.reading_order
    places = [list(report.metrics.per_class).index(name) for name in names]
    counts = np.array(report.metrics.confusion)[np.ix_(places, places)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6.6, 5.8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{counted(report.metrics.images, 'image')}, accuracy {report.metrics.accuracy:.2%}")
    return figure


def _reliability(report: Report) -> Figure:
    figure = Figure(figsize=(5.4, 5.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfectly calibrated")
    sizes = [20 + 180 * row.images / report.metrics.images for row in report.reliability]
    confidence = [row.confidence for row in report.reliability]
    accuracy = [row.accuracy for row in report.reliability]
    axes.plot(confidence, accuracy, color="tab:blue", alpha=0.5)
    axes.scatter(confidence, accuracy, s=sizes, color="tab:blue", label="bin (area: number of images)")
    axes.set(xlabel="top probability", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.set_title(f"expected calibration error {report.metrics.ece:.2%}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left", markerscale=0.6)
    return figure


def _risk_coverage(report: Report) -> Figure:
    curve = report.risk_coverage
    figure = Figure(figsize=(6.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.coverage, curve.risk, color="tab:blue", label="by top probability")
    if not np.isnan(report.metrics.selective_accuracy):
        covered, error = 1 - report.metrics.review_share, 1 - report.metrics.selective_accuracy
        axes.plot(covered, error, "o", color="tab:orange", label="the model's own thresholds")
    axes.set(xlabel="share of the images that are classified", ylabel="error rate among them", xlim=(0, 1.01))
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:.0%}")
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:.1%}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _corruptions(suite: CorruptionReport) -> Figure:
    names = list(suite.accuracy)
    values = np.array([suite.accuracy[name] for name in names])
    figure = Figure(figsize=(5.6, 5.8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, cmap="viridis", vmin=0.5, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "black" if value > 0.8 else "white"
        axes.text(column, row, f"{value:.1%}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(SEVERITIES)), [str(severity) for severity in SEVERITIES])
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("severity")
    axes.set_title(f"accuracy, mean {suite.mean:.2%}")
    return figure


_PICTURES: dict[str, Callable[[Report], Figure]] = {
    "confusion.png": _confusion,
    "reliability.png": _reliability,
    "risk_coverage.png": _risk_coverage,
}


def _write(path: Path, data: bytes) -> None:
    with writing(path, _HINT):
        path.write_bytes(data)
