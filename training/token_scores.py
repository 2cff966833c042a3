"""Fit the scores of objects found by tokens: of the findings with score s, a share s shall show the object.

    python -m training.token_scores references/* [--every 2] [--backbone FOLDER]

Learns the objects from every n-th of their views, and looks for them in the others as in frames without depth, with
occluders and other light: once with all objects, once without the one that is there. The weights are fitted on half of
the findings and printed; the other half says how good they are. They are in the card of `models/segmenter-objects`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from clipose_ros.formats.reference_views import read_reference_views
from clipose_ros.inference.card import DEFAULT_BACKBONE, find_model
from clipose_ros.inference.image_tokens import ImageTokens
from clipose_ros.objects.learning import learn
from clipose_ros.objects.view_colours import view_histograms
from clipose_ros.rendering.cpu import CpuRasterizer
from clipose_ros.segmenters.token_finder import TokenFinder, TokenObject
from training.novel_scores import disturbed
from training.recognition_scores import CHANNEL_LIGHT, LIGHT, fitted

MATCH = 0.5  # intersection over union of a finding with the object
SIGNS = (1, 1, 1, 1, 1)  # each feature speaks for an object
TIMES_WRONG = 1.0  # what it costs to find an object that is not there, by what it costs to overlook one


def judged_findings(
    folders: tuple[Path, ...], every: int, backbone: ImageTokens, rng: np.random.Generator, views: int
) -> Iterator[tuple[np.ndarray, bool]]:
    """Look for all objects, and for all but the one that is there, in views that they were not learned from.

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
    views : int
        Of each object, that are looked at.

    Yields
    ------
    (F,) float, bool
        Features of a finding, and whether the object is there.
    """
    objects = []
    for folder in folders:
        references = read_reference_views(folder, every)
        learned = learn(folder.name, references, CpuRasterizer(), backbone=backbone).learned
        assert learned.tokens is not None
        objects.append(TokenObject(folder.name, learned.tokens, view_histograms(learned)))
    everything = TokenFinder(backbone, objects)
    for folder in folders:
        others = TokenFinder(backbone, [one for one in objects if one.name != folder.name])
        known = {view.name for view in read_reference_views(folder, every).views}
        unknown = [view for view in read_reference_views(folder).views if view.name not in known]
        for i in rng.permutation(len(unknown))[:views]:
            colour, _, mask = disturbed(unknown[i], rng)
            gains = np.exp(rng.normal(scale=LIGHT) + rng.normal(scale=CHANNEL_LIGHT, size=3))
            colour = np.clip(colour * gains, 0, 255).astype(np.uint8)
            for finder in (everything, others):
                for found in finder.found(colour):
                    share = np.count_nonzero(found.mask & mask) / max(np.count_nonzero(found.mask | mask), 1)
                    yield found.features, found.name == folder.name and share >= MATCH


def main(
    references: Annotated[tuple[Path, ...], tyro.conf.Positional],
    every: int = 2,
    views: int = 16,
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
    views
        Of each object, that are looked at.
    backbone
        Folder of the image backbone; the usual one without.
    seed
        Of what chance decides.
    """
    if len(references) < 2:
        raise ValueError(f"references: expected two objects or more, got {len(references)}")
    rng = np.random.default_rng(seed)
    tokens = ImageTokens(backbone or find_model(DEFAULT_BACKBONE))
    findings = list(judged_findings(references, every, tokens, rng, views))
    features, right = np.array([one for one, _ in findings]), np.array([is_there for _, is_there in findings])
    weights = fitted(features[::2], right[::2], SIGNS, TIMES_WRONG)
    scores = 1 / (1 + np.exp(-(weights[0] + features[1::2] @ weights[1:])))
    there = right[1::2]
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
