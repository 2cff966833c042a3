"""Fit the scores of `segmenter: objects`: of the parts with score s that look like an object, a share s shall show it.

    python -m training.recognition_scores references/* [--every 2 4]

Learns the objects from every n-th of their views, and looks for each in the others, of its own and of all objects, with
masks that are too large or too small, depth that is off, occluders, and other light. The weights are fitted on half of
the pairs and printed; the other half says how good they are. They are in the card of `models/segmenter-objects`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from scipy.optimize import minimize

from clipose_ros.core.types import Frame
from clipose_ros.formats.reference_views import read_reference_views
from clipose_ros.objects.learning import learn
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.rendering.cpu import CpuRasterizer
from clipose_ros.segmenters.likeness import sight_of
from clipose_ros.segmenters.recognition import Recogniser, RecognitionSettings
from training.novel_scores import disturbed

PENALTY = 1e-3  # of weights, by the spread of what they weigh
LIGHT, CHANNEL_LIGHT = 0.25, 0.12  # spread of the logarithm of the gains of all channels, and of each
SIGNS = (-1, 1, -1, 1, -1, -1, -1, 1)  # what speaks for an object, and what against it: chance shall not turn that
TIMES_WRONG = 2.0  # what it costs to find an object that is not there, by what it costs to overlook one


def judged_pairs(
    folders: tuple[Path, ...], every: int, rng: np.random.Generator, coloured: bool, views: int
) -> Iterator[tuple[np.ndarray, bool]]:
    """Look for every object in the views of all that they were not learned from.

    Parameters
    ----------
    folders : tuple of Path
        Of the objects' reference views.
    every : int
        They are learned from every so manieth.
    rng : numpy.random.Generator
        What chance decides.
    coloured : bool
        Whether frames have colour.
    views : int
        Of each object, that are looked at.

    Yields
    ------
    (F,) float, bool
        What the score is made of, and whether the object is there.
    """
    with tempfile.TemporaryDirectory() as library:
        for folder in folders:
            learned = learn(folder.name, read_reference_views(folder, every), CpuRasterizer()).learned
            ObjectLibrary(Path(library)).add(learned)
        recogniser = Recogniser(Path(library), RecognitionSettings(candidates=1000, least_alike=0.0, less_alike=1.0))
        for folder in folders:
            known = {view.name for view in read_reference_views(folder, every).views}
            references = read_reference_views(folder)
            others = [view for view in references.views if view.name not in known]
            for i in rng.permutation(len(others))[:views]:
                colour, depth_m, mask = disturbed(others[i], rng)
                gains = np.exp(rng.normal(scale=LIGHT) + rng.normal(scale=CHANNEL_LIGHT, size=3))
                colour = np.clip(colour * gains, 0, 255).astype(np.uint8)
                frame = Frame(0, "", depth_m, references.intrinsics, colour if coloured else None)
                sight = sight_of(frame)
                for name, similar in recogniser.candidates(sight, mask):
                    found = recogniser.recognised(frame, sight, mask, name, similar)
                    if found is not None:
                        yield found.features, name == folder.name


def fitted(
    features: np.ndarray, right: np.ndarray, signs: tuple[int, ...] = SIGNS, times_wrong: float = TIMES_WRONG
) -> np.ndarray:
    """Fit the weights of a logistic regression.

    Parameters
    ----------
    features : (N, F) float
        What the score is made of.
    right : (N,) bool
        Whether the object is there.
    signs : tuple of int
        1 for a feature that speaks for an object, -1 for one that speaks against it.
    times_wrong : float
        What it costs to find an object that is not there, by what it costs to overlook one.

    Returns
    -------
    (1 + F,) float
        The constant, and a weight for each feature.
    """
    middle, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    levelled = (features - middle) / spread
    costs = np.where(right, 1.0, times_wrong)

    def cost(x: np.ndarray) -> float:
        logit = x[0] + levelled @ x[1:]
        return float((costs * np.logaddexp(0, np.where(right, -logit, logit))).mean() + PENALTY * (x[1:] ** 2).sum())

    bounds = [(None, None), *((0, None) if sign > 0 else (None, 0) for sign in signs[: features.shape[1]])]
    found = minimize(cost, np.zeros(1 + features.shape[1]), method="L-BFGS-B", bounds=bounds).x
    weights = found[1:] / spread
    return np.array([found[0] - weights @ middle, *weights])


def main(
    references: Annotated[tuple[Path, ...], tyro.conf.Positional],
    every: tuple[int, ...] = (2, 4),
    views: int = 16,
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
        Of each object, that are looked at, for each of these.
    seed
        Of what chance decides.
    """
    rng = np.random.default_rng(seed)
    for key, coloured in (("weights", True), ("shape_weights", False)):
        pairs = [pair for step in every for pair in judged_pairs(references, step, rng, coloured, views)]
        features, right = np.array([one for one, _ in pairs]), np.array([is_there for _, is_there in pairs])
        weights = fitted(features[::2], right[::2])
        scores = 1 / (1 + np.exp(-(weights[0] + features[1::2] @ weights[1:])))
        there = right[1::2]
        print(f"{key}: [{', '.join(f'{weight:.3f}' for weight in weights)}]")
        print(
            f"  {len(pairs)} pairs, {right.sum()} of them right; other half: Brier {((scores - there) ** 2).mean():.3f}"
        )
        print(
            f"  of {there.sum()} objects {(scores[there] >= 0.5).sum()} found; of {(~there).sum()} others "
            f"{(scores[~there] >= 0.5).sum()}"
        )


if __name__ == "__main__":
    tyro.cli(main)
