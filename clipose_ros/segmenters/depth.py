"""Finds objects and what they are in a depth image alone: `models/segmenter-depth`, trained here.

The steps: resample, find the surface that things stand on, call the first network, gather the votes for centres,
sharpen the masks, and call the second network once for all objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clipose_ros.core.calibration import Calibration
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics
from clipose_ros.core.validation import expect, expect_shares
from clipose_ros.inference.card import ModelCard, NetworkFile, record_from, settings_from
from clipose_ros.inference.session import Session, SessionConfig
from clipose_ros.segmenters.centre_votes import VoteSettings, cells_z, instances_of, sharpened, without_surface
from clipose_ros.segmenters.depth_channels import DepthGrid, depth_grid, image_channels, object_crops

MASKS, NAMES = "masks", "names"  # keys of the networks in the card
INT8 = "_int8"  # behind a key: the same network in 8 bits, for the CPU
LEAST_SLOPE = 0.3  # of up in the image, from which on it tells how the camera is rolled: 17 degrees from straight above
MULTIPLE = 16  # the sides of what the first network sees are multiples of this


@dataclass(frozen=True)
class DepthSegmenterSettings:
    """What a card's `settings` hold for the depth segmenter.

    Parameters
    ----------
    least_score : float
        Objects below are left out, by the calibrated score where there is a calibration.
    least_something : float
        Probability of being an object at all from which on a crop is one.
    low_heights : bool
        Whether the first network sees heights near the surface in a channel of their own, see `image_channels`. Cards
        that do not say so are of networks that do not.
    votes : VoteSettings
        How votes become instances.
    calibration : Calibration, optional
        From what the networks say to the probability that mask (IoU of at least 0.5) and category are right.

    Raises
    ------
    ValueError
        For settings that are none.
    """

    least_score: float = 0.0
    least_something: float = 0.5
    low_heights: bool = False
    calibration: Calibration | None = None
    votes: VoteSettings = field(default_factory=VoteSettings)

    def __post_init__(self) -> None:
        expect_shares(self, "least_score", "least_something")
        expect("low_heights", isinstance(self.low_heights, bool), "true or false", self.low_heights)
        if isinstance(self.votes, Mapping):
            object.__setattr__(self, "votes", record_from(VoteSettings, self.votes))
        if isinstance(self.calibration, Mapping):
            knots = {key: tuple(v) if isinstance(v, list) else v for key, v in self.calibration.items()}
            object.__setattr__(self, "calibration", record_from(Calibration, knots))
        expect("votes", isinstance(self.votes, VoteSettings), "a mapping", self.votes)

    def as_mapping(self) -> dict[str, Any]:
        """Give the settings as a card holds them.

        Returns
        -------
        dict of str to object
            Plain numbers and mappings.
        """
        mapping = {**vars(self), "votes": dict(vars(self.votes))}
        if self.calibration is None:
            del mapping["calibration"]
        else:
            mapping["calibration"] = {key: list(values) for key, values in vars(self.calibration).items()}
        return mapping


def quarters_to_upright(grid: DepthGrid) -> int:
    """Count the quarter turns after which a camera's image is nearest to upright.

    Parameters
    ----------
    grid : DepthGrid
        With the surface that things stand on.

    Returns
    -------
    int
        0 to 3, against the clock; 0 where no surface is known, or it is seen from straight above.
    """
    x, y, _ = grid.up
    if not np.isfinite(grid.offset) or np.hypot(x, y) < LEAST_SLOPE:
        return 0
    return round(float(np.arctan2(x, -y)) / (np.pi / 2)) % 4


def turned_frame(frame: Frame, quarters: int) -> Frame:
    """Turn a frame as if its camera had been rolled.

    Parameters
    ----------
    frame : Frame
        Whose lens does not distort.
    quarters : int
        Turns of the image against the clock.

    Returns
    -------
    Frame
        Its depth and intrinsics; without colour.
    """
    seen, height, width = frame.intrinsics, *frame.depth.shape
    for _ in range(quarters):
        seen = Intrinsics(seen.fy, seen.fx, seen.cy, width - 1 - seen.cx)
        height, width = width, height
    depth = np.ascontiguousarray(np.rot90(frame.depth, quarters))
    return replace(frame, depth=depth, intrinsics=seen, colour=None)


class DepthSegmenter:
    """Finds objects in the depth image of a frame, of any size.

    Parameters
    ----------
    folder : Path
        Of the model.
    card : ModelCard
        Its card: the names are what its second network tells apart, without the last, which is nothing.
    config : SessionConfig
        Where and how the networks run.

    Raises
    ------
    ValueError
        If card and networks do not fit.
    RuntimeError
        If the provider cannot be had.
    """

    def __init__(self, folder: Path, card: ModelCard, config: SessionConfig = SessionConfig()) -> None:
        self.names, self.settings = card.names, settings_from(DepthSegmenterSettings, card)
        self._name = card.name
        masks, names = (_network_for(config, card, key) for key in (MASKS, NAMES))
        self._masks = Session(folder, masks, config, together=True)
        self._crops = Session(folder, names, config)
        answers = self._crops.network.outputs["name"][-1]
        expect("names", answers == len(self.names) + 1, f"{answers} - 1, as the network says", len(self.names))

    def facts(self) -> dict[str, str]:
        """Say what runs, for diagnostics.

        Returns
        -------
        dict of str to str
            By name.
        """
        session = self._masks
        return {
            "segmenter": self._name,
            "segmenter provider": session.provider,
            "segmenter precision": session.precision,
        }

    def warm_up(self) -> None:
        """Run both networks once, so that the first frame is as fast as the others."""
        z = np.full((480, 640), 1.0, np.float32)
        z[180:300, 260:380] = 0.9
        frame = Frame(0, "", z, Intrinsics(600.0, 600.0, 319.5, 239.5))
        self.segment(frame)
        mask = np.zeros((240, 320), bool)
        mask[90:150, 130:190] = True
        self._named(depth_grid(frame), [mask])

    def segment(self, frame: Frame) -> Detections:
        """Find the objects.

        Parameters
        ----------
        frame : Frame
            What the camera saw; only its depth is looked at.

        Returns
        -------
        Detections
            Instances numbered from 1 on, the surest first, and their label image. A name that is none of an
            estimator's categories, such as `other`, is an object of no category.
        """
        if not frame.depth.size:
            return Detections((), np.zeros(frame.depth.shape, np.uint8))
        grid = depth_grid(frame)
        if not grid.z.any():
            return Detections((), np.zeros(frame.depth.shape, np.uint8))
        # the networks know cameras that are about level
        quarters = quarters_to_upright(grid)
        if quarters == 0 or frame.intrinsics.distortion is not None:
            return self._found(frame, grid)
        upright = turned_frame(frame, quarters)
        found = self._found(upright, depth_grid(upright))
        return Detections(found.instances, np.ascontiguousarray(np.rot90(found.masks, -quarters)))

    def _found(self, frame: Frame, grid: DepthGrid) -> Detections:
        """The objects of a frame whose camera is about level."""
        cells, certainty = instances_of(self.answer(grid), self.settings.votes)
        labels = without_surface(sharpened(cells, cells_z(grid), frame), grid, frame)
        on_grid = np.ascontiguousarray(grid.sampled(labels))
        masks = [on_grid == number for number in range(1, len(certainty) + 1)]
        chances = self._named(grid, masks)
        found = []
        for number, (sure, chance) in enumerate(zip(certainty, chances), start=1):
            something = 1 - float(chance[-1])
            best = int(chance[:-1].argmax())
            score = sure * float(chance[best])
            if self.settings.calibration is not None:
                score = self.settings.calibration(score)
            if something >= self.settings.least_something and score >= self.settings.least_score:
                found.append((score, number, self.names[best]))
        found.sort(key=lambda one: (-one[0], one[1]))
        renumbered = np.zeros(256, np.uint8)
        for place, (_, number, _) in enumerate(found, start=1):
            renumbered[number] = place
        instances = tuple(
            Instance(place, name, round(score, 4), str(place)) for place, (score, _, name) in enumerate(found, start=1)
        )
        left, top, width, height = cv2.boundingRect(labels)
        if width:
            shown = labels[top : top + height, left : left + width]
            shown[:] = cv2.LUT(shown, renumbered)
        return Detections(instances, labels)

    def answer(self, grid: DepthGrid) -> np.ndarray:
        """Ask the first network.

        Parameters
        ----------
        grid : DepthGrid
            Of the frame.

        Returns
        -------
        (4, ceil(h / 2), ceil(w / 2)) float32
            See `centre_votes.instances_of`.
        """
        h, w = grid.z.shape
        channels = image_channels(grid, self.settings.low_heights)
        below, right = -h % MULTIPLE, -w % MULTIPLE
        if below or right:
            channels = np.pad(channels, ((0, 0), (0, below), (0, right)))
        return self._masks.run({"channels": channels[None]})["answer"][0][:, : -(-h // 2), : -(-w // 2)]

    def _named(self, grid: DepthGrid, masks: list[np.ndarray]) -> np.ndarray:
        """Probabilities (K, names + 1) of what each mask shows."""
        boxed = [(mask, box_of(mask)) for mask in masks]
        shown = [i for i, (_, box) in enumerate(boxed) if box is not None]
        chances = np.zeros((len(masks), len(self.names) + 1), np.float32)
        chances[:, -1] = 1
        if shown:
            logits = self._crops.run({"crops": object_crops(grid, [boxed[i] for i in shown])})["name"]
            logits = np.nan_to_num(logits.astype(np.float64))
            power = np.exp(logits - logits.max(axis=1, keepdims=True))
            chances[shown] = power / power.sum(axis=1, keepdims=True)
        return chances


def _network_for(config: SessionConfig, card: ModelCard, key: str) -> NetworkFile:
    """The network with this key, in 8 bits on the CPU, where the card has it."""
    in_8_bits = key + INT8
    return card.network(in_8_bits if config.provider == "cpu" and in_8_bits in card.networks else key)


def box_of(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Find the box around a mask.

    Parameters
    ----------
    mask : (h, w) bool
        Of an object.

    Returns
    -------
    (int, int, int, int) or None
        Top, bottom, left and right, the last row and column left out; None for an empty mask.
    """
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (top, top + height, left, left + width) if width and height else None
