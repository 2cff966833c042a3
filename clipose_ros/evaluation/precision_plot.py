"""Average precision against the thresholds of IoU, rotation and translation, as papers plot it."""

from __future__ import annotations

from pathlib import Path

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.evaluation.nocs_protocol import (
    IOU_THRESHOLDS,
    ROTATION_CURVE_DEG,
    TRANSLATION_CURVE_CM,
    NocsProtocol,
    Precision,
    rotation_curve,
    translation_curve,
)
from clipose_ros.formats.plot_files import new_figure, write_figure


def plot_precision(precision: Precision, protocol: NocsProtocol, path: Path) -> None:
    """Write a picture: a line per category and their mean, and the mean of the ungated pose precision, dashed.

    Parameters
    ----------
    precision : Precision
        What to draw.
    protocol : NocsProtocol
        How it was scored, for the title.
    path : Path
        PNG, PDF or SVG by its name.

    Raises
    ------
    RuntimeError
        Where matplotlib is not installed.
    ValueError
        For a format that it cannot write.
    """
    figure = new_figure(path, 13, 4)
    figure.suptitle(protocol.describe(), fontsize="small")
    panels = (
        ("IoU", IOU_THRESHOLDS, precision.iou, None),
        ("rotation [deg]", ROTATION_CURVE_DEG, rotation_curve(precision.pose), rotation_curve(precision.pose_ungated)),
        (
            "translation [cm]",
            TRANSLATION_CURVE_CM,
            translation_curve(precision.pose),
            translation_curve(precision.pose_ungated),
        ),
    )
    for axes, (label, thresholds, table, ungated) in zip(figure.subplots(1, 3), panels):
        for category, curve in zip(CATEGORIES, table):
            axes.plot(thresholds, 100 * curve, label=category)
        axes.plot(thresholds, 100 * table[-1], "k", label="mean")
        if ungated is not None:
            axes.plot(thresholds, 100 * ungated[-1], "k--", label="mean, ungated")
        axes.set(xlabel=label, ylabel="average precision [%]", xlim=(thresholds[0], thresholds[-1]), ylim=(0, 100))
        axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    write_figure(figure, path)
