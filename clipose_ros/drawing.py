"""Poses drawn on the colour image: the oriented box, the axes (x red, y green, z blue) and a label.

And why an instance got no pose.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from clipose_ros.core.backprojection import project
from clipose_ros.core.metrics import box_corners
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Detections, Instance, Intrinsics, PoseEstimate, Rejection, TrackedPose, TrackState

# RGB, one per instance in turn: apart from each other and from the axes.
BOX_COLOURS = ((255, 200, 40), (70, 200, 255), (255, 120, 200), (170, 255, 120), (190, 150, 255), (255, 150, 80))
AXIS_COLOURS = ((235, 50, 50), (50, 200, 60), (60, 100, 255))
OUTLINE_COLOUR = (20, 20, 20)  # round the axes and for text: readable on any object
REJECTED_COLOUR = (255, 90, 90)
COASTING_COLOUR = (170, 170, 170)  # of what is predicted
DEPTH_GREYS = (230, 40)  # of the nearest and the farthest depth; invalid is black
EDGES = tuple((a, a | bit) for bit in (1, 2, 4) for a in range(8) if not a & bit)  # corners that differ in one bit
AXIS_LENGTH = 0.6  # of the mean extent
NEAREST_M = 0.01  # what lies nearer or behind the camera is not drawn
SUBPIXEL_BITS = 4
PIECES_OF_A_BENT_LINE = 12
LINE_HEIGHT = 20  # of text [px]


def draw_pose(
    image: np.ndarray,
    pose: PoseEstimate,
    intrinsics: Intrinsics,
    label: str = "",
    colour: tuple[int, int, int] = BOX_COLOURS[0],
) -> None:
    """Draw one pose into an image, in place.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB.
    pose : PoseEstimate
        In the frame of the camera that took the image.
    intrinsics : Intrinsics
        Of the image. With a distortion, straight edges bend as the image does.
    label : str
        Goes above the box; without one it is the category and the score.
    colour : (int, int, int)
        Of the box.
    """
    corners = box_corners(pose)
    # The edges at the far corner are hidden by the object itself: thinner, so that the box reads as a solid.
    far = int(np.argmax(np.linalg.norm(corners, axis=1)))
    for a, b in sorted(EDGES, key=lambda edge: far not in edge):
        _line(image, corners[[a, b]], intrinsics, colour, 1 if far in (a, b) else 2)
    tips = pose.translation + AXIS_LENGTH * pose.size.mean() * pose.rotation.T
    for tip, axis_colour in zip(tips, AXIS_COLOURS):
        shaft = np.stack([pose.translation, tip])
        _line(image, shaft, intrinsics, OUTLINE_COLOUR, 5)
        _line(image, shaft, intrinsics, axis_colour, 3)
    drawn = np.concatenate([corners, tips])
    if (drawn[:, 2] > NEAREST_M).all() and np.isfinite(pixels := project(drawn, intrinsics)).all():
        _label(image, pixels, label or f"{pose.category} {pose.score:.2f}", colour)


def draw_results(
    image: np.ndarray,
    intrinsics: Intrinsics,
    detections: Detections,
    results: Sequence[tuple[Instance, PoseEstimate | Rejection]],
    coasting: Sequence[tuple[Instance, TrackedPose]] = (),
) -> None:
    """Draw what a frame gave into an image, in place.

    Outlined masks with the poses that they led to, red ones that led to none, with the reasons listed below, and in
    grey what is predicted.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB.
    intrinsics : Intrinsics
        As of `draw_pose`.
    detections : Detections
        Of the frame.
    results : sequence of (Instance, PoseEstimate or Rejection)
        As `FrameResult` has them.
    coasting : sequence of (Instance, TrackedPose)
        Likewise.
    """
    reasons = []
    for i, (instance, result) in enumerate(results):
        rejected = isinstance(result, Rejection)
        number = result.track if isinstance(result, TrackedPose) else i  # an object keeps its colour
        colour = REJECTED_COLOUR if rejected else BOX_COLOURS[number % len(BOX_COLOURS)]
        outline = _draw_mask(image, detections.mask(i), colour)
        if not rejected:
            draw_pose(
                image,
                result,
                intrinsics,
                _caption(instance, result),
                COASTING_COLOUR if _is_coasting(result) else colour,
            )
            continue
        reasons.append(f"{_name(instance)}: {result.reason}")
        if len(outline):
            _label(image, outline.mean(axis=0, keepdims=True), _name(instance), colour)
    for instance, pose in coasting:
        draw_pose(image, pose, intrinsics, _caption(instance, pose), COASTING_COLOUR)
    for line, text in enumerate(reversed(reasons)):
        _label(image, np.array([[0, image.shape[0] - LINE_HEIGHT * line]]), text, REJECTED_COLOUR)


def depth_picture(depth: np.ndarray) -> np.ndarray:
    """Show depth as grey.

    Parameters
    ----------
    depth : (H, W) uint16 or float32
        In any unit.

    Returns
    -------
    (H, W, 3) uint8
        Near is light, far is dark, invalid is black.
    """
    valid = np.isfinite(depth) & (depth > 0)
    sample = depth[::4, ::4][valid[::4, ::4]]
    near, far = np.percentile(sample, [2, 98]) if len(sample) else (0, 1)
    grey = np.interp(np.where(valid, depth, 0), [near, max(far, near + 1e-6)], DEPTH_GREYS).astype(np.uint8)
    grey[~valid] = 0
    return np.repeat(grey[:, :, None], 3, axis=2)


def _draw_mask(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Outline of a mask (H, W) bool; its points (N, 2), none of an empty one."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(image, contours, -1, colour, 1, cv2.LINE_AA)
    return np.concatenate(contours)[:, 0] if contours else np.empty((0, 2))


def _name(instance: Instance) -> str:
    return f"{instance.category} {instance.id}".strip()


def _caption(instance: Instance, pose: PoseEstimate) -> str:
    """Category, detector's id, track, and the score; of a predicted pose its age."""
    name = f"{_name(instance)} #{pose.track}" if isinstance(pose, TrackedPose) else _name(instance)
    return f"{name} not seen for {pose.age_ns / NS_PER_S:.1f} s" if _is_coasting(pose) else f"{name} {pose.score:.2f}"


def _is_coasting(pose: PoseEstimate) -> bool:
    return isinstance(pose, TrackedPose) and pose.state is TrackState.COASTING


def _line(
    image: np.ndarray, ends: np.ndarray, intrinsics: Intrinsics, colour: tuple[int, int, int], thickness: int
) -> None:
    """A straight line in space, as far as the camera can show it. ends: (2, 3) [m]."""
    if (ends[:, 2] <= NEAREST_M).any():
        return
    pieces = 1 if intrinsics.distortion is None else PIECES_OF_A_BENT_LINE
    pixels = project(np.linspace(*ends, pieces + 1), intrinsics)
    for piece in zip(pixels, pixels[1:]):
        if not np.abs(piece).max() <= 1e5:  # beyond what OpenCV's fixed point holds, or not to be seen at all
            continue
        (a, b) = np.rint(np.multiply(piece, 1 << SUBPIXEL_BITS)).astype(int).tolist()
        cv2.line(image, a, b, colour, thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def _label(image: np.ndarray, pixels: np.ndarray, text: str, colour: tuple[int, int, int]) -> None:
    """Dark text on a filled tab above the topmost of the drawn pixels (N, 2), kept inside of the image."""
    font, size = cv2.FONT_HERSHEY_DUPLEX, 0.42
    (width, height), baseline = cv2.getTextSize(text, font, size, 1)
    x = int(np.clip(pixels[:, 0].mean() - width / 2, 3, max(3, image.shape[1] - width - 4)))
    y = int(np.clip(pixels[:, 1].min() - 6 - baseline, height + 4, max(height + 4, image.shape[0] - baseline - 4)))
    cv2.rectangle(image, (x - 3, y - height - 3), (x + width + 3, y + baseline), colour, cv2.FILLED)
    cv2.putText(image, text, (x, y), font, size, OUTLINE_COLOUR, 1, cv2.LINE_AA)
