"""Fit the scores of objects found by tokens: of the findings with score s, a share s shall show the object.

    python -m training.token_scores references/* [--every 2] [--backbone FOLDER]

Learns the objects from every n-th of their views, and looks for them in pictures that are put together of the others,
without depth: in other sizes and light, before and behind each other, once with all objects, once without one that is
there. Weights that are fitted on half of the findings are judged on the other half; those of all are printed. They are
in the card of `models/segmenter-objects`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro

from clipose_ros.formats.reference_views import ReferenceView, read_reference_views
from clipose_ros.inference.card import DEFAULT_BACKBONE, find_model
from clipose_ros.inference.image_tokens import ImageTokens
from clipose_ros.objects.learning import learn
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.rendering.cpu import CpuRasterizer
from clipose_ros.segmenters.colour_recognition import SEARCH, ColourRecogniser
from clipose_ros.segmenters.recognition import Recogniser
from clipose_ros.segmenters.token_finder import TokenFinder, TokenObject
from training.recognition_scores import CHANNEL_LIGHT, LIGHT, fitted

MATCH = 0.5  # intersection over union of a finding with the object
SIGNS = (1, 1, 1, 1, 1, -1, 1, 1, -1, -1, -1)  # whether each feature speaks for an object or against it
TOGETHER = 4  # objects in a picture
SIZES = 0.6, 1.6  # of the others, by those in their views
APART = 0.3  # from the middle of the image, by its sides
TIMES_WRONG = 1.0  # what it costs to find an object that is not there, by what it costs to overlook one


def judged_findings(
    folders: tuple[Path, ...], every: int, backbone: ImageTokens, rng: np.random.Generator, pictures: int
) -> Iterator[tuple[np.ndarray, bool]]:
    """Look for all objects, and for all but one that is there, in pictures of views that they were not learned from.

    Parameters
    ----------
    folders : tuple of Path
        Of the objects' reference views; at least two.
    every : int
        They are learned from every so manieth.
    backbone : ImageTokens
        What makes tokens.
    rng : numpy.random.Generator
        What chance decides.
    pictures : int
        That are looked at.

    Yields
    ------
    (F,) float, bool
        Features of a finding, and whether the object is there.
    """
    with tempfile.TemporaryDirectory() as library:
        for folder in folders:
            learned = learn(
                folder.name, read_reference_views(folder, every), CpuRasterizer(), backbone=backbone
            ).learned
            ObjectLibrary(Path(library)).add(learned)
        recogniser = Recogniser(Path(library))
        poses = recogniser.poses(SEARCH)
        objects = [
            TokenObject(name, tokens, recogniser.histograms(name))
            for name in recogniser.names
            if (tokens := recogniser.tokens(name)) is not None
        ]
        all_views = {folder.name: read_reference_views(folder) for folder in folders}
        learned_from = {folder.name: {v.name for v in read_reference_views(folder, every).views} for folder in folders}
        unknown = {
            name: [view for view in references.views if view.name not in learned_from[name]]
            for name, references in all_views.items()
        }
        for _ in range(pictures):
            names = [str(name) for name in rng.choice(sorted(unknown), TOGETHER)]
            colour, labels = composed([unknown[name][rng.integers(len(unknown[name]))] for name in names], rng)
            for missing in ("", names[-1]):
                known = TokenFinder(backbone, [one for one in objects if one.name != missing])
                finder = ColourRecogniser(known, recogniser, poses)
                for found in finder.found(colour, all_views[names[0]].intrinsics):
                    yield found.features, any(_is_same(found.mask, labels == k) for k in _numbers(names, found.name))


def composed(views: list[ReferenceView], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Put the objects of several views into the picture of the first one, in other sizes, places and light.

    Parameters
    ----------
    views : list of ReferenceView
        Of images of one size.
    rng : numpy.random.Generator
        What chance decides.

    Returns
    -------
    colour : (H, W, 3) uint8
        RGB.
    labels : (H, W) uint8
        Which view's object a pixel shows, from 1 on; 0 for what is around the first one.
    """
    colour, labels = views[0].colour.copy(), views[0].mask.astype(np.uint8)
    height, width = labels.shape
    for number, view in enumerate(views[1:], start=2):
        left, top, across, down = cv2.boundingRect(view.mask.astype(np.uint8))
        scale = np.exp(rng.uniform(*np.log(SIZES)))
        middle = scale * np.array([left + across / 2, top + down / 2])
        place = np.array([width, height]) * (0.5 + rng.uniform(-APART, APART, 2))
        moved = np.array([[scale, 0, place[0] - middle[0]], [0, scale, place[1] - middle[1]]])
        share = cv2.warpAffine(view.mask.astype(np.float32), moved, (width, height), flags=cv2.INTER_LINEAR)[..., None]
        paint = cv2.warpAffine(view.colour, moved, (width, height), flags=cv2.INTER_LINEAR) * np.exp(
            rng.normal(scale=LIGHT)
        )
        colour = np.clip(share * paint + (1 - share) * colour, 0, 255).astype(np.uint8)
        labels[share[..., 0] > 0.5] = number
    gains = np.exp(rng.normal(scale=LIGHT) + rng.normal(scale=CHANNEL_LIGHT, size=3))
    return np.clip(colour * gains, 0, 255).astype(np.uint8), labels


def _numbers(names: list[str], name: str) -> list[int]:
    return [number for number, one in enumerate(names, start=1) if one == name]


def _is_same(mask: np.ndarray, other: np.ndarray) -> bool:
    return np.count_nonzero(mask & other) >= MATCH * max(np.count_nonzero(mask | other), 1)


def main(
    references: Annotated[tuple[Path, ...], tyro.conf.Positional],
    every: int = 2,
    pictures: int = 28,
    backbone: Path | None = None,
    seed: int = 0,
) -> None:
    """Fit and print.

    Parameters
    ----------
    references
        Folders of reference views, one for each object.
    every
        Objects are learned from every so manieth view.
    pictures
        That are looked at, with several objects each.
    backbone
        Folder of the image backbone; the usual one without.
    seed
        Of what chance decides.
    """
    if len(references) < 2:
        raise ValueError(f"references: expected two objects or more, got {len(references)}")
    rng = np.random.default_rng(seed)
    tokens = ImageTokens(backbone or find_model(DEFAULT_BACKBONE))
    findings = list(judged_findings(references, every, tokens, rng, pictures))
    features, right = np.array([one for one, _ in findings]), np.array([is_there for _, is_there in findings])
    weights = fitted(features[::2], right[::2], SIGNS, TIMES_WRONG)
    scores = 1 / (1 + np.exp(-(weights[0] + features[1::2] @ weights[1:])))
    there = right[1::2]
    weights = fitted(features, right, SIGNS, TIMES_WRONG)
    print(f"weights: [{', '.join(f'{weight:.3f}' for weight in weights)}]")
    print(
        f"  {len(right)} findings, {right.sum()} of them right; other half: Brier {((scores - there) ** 2).mean():.3f}"
    )
    print(
        f"  of {there.sum()} objects {(scores[there] >= 0.5).sum()} found; of {(~there).sum()} others "
        f"{(scores[~there] >= 0.5).sum()}"
    )


if __name__ == "__main__":
    tyro.cli(main)
