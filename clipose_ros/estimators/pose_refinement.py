"""The two refinements of a hypothesis: by shape and colour on the points, and by Levenberg-Marquardt on the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clipose_ros.estimators import shading
from clipose_ros.estimators.gspose_settings import GsPoseSettings
from clipose_ros.estimators.hypotheses import LARGEST_MARGIN, Hypothesis, different, doubt_of, is_other
from clipose_ros.estimators.render_comparison import LACK, SPARE, TEXTURE, compare, refine
from clipose_ros.estimators.shading import compare_shaded
from clipose_ros.estimators.sightings import Crop, Seen
from clipose_ros.estimators.surface_alignment import COLOUR, DISTANCE, FACING, align_to_surface
from clipose_ros.objects.learned_object import LearnedObject
from clipose_ros.objects.surface_tables import SurfaceTables

REACH_M, LAST_REACH_M = 0.02, 0.01  # of points to their discs: further is an outlier
NOISE_M, NOISE_COLOUR = 0.003, 0.06
# What pixels count without depth where the object's colour is not known, and how much more by the spread of the image.
UNKNOWN_TEXTURE, UNEVEN_WEIGHT = 0.15, 0.5
REFINED_APART_DEG = 10.0  # between hypotheses that are refined: nearer ones become one
HOPELESS = 0.4  # a hypothesis that is worse by so much than one that is refined already is not


class PoseRefiner:
    """Improves hypotheses and says how wrong they are.

    Parameters
    ----------
    settings : GsPoseSettings
        Weights, points and steps.
    """

    def __init__(self, settings: GsPoseSettings) -> None:
        self.settings = settings

    def aligned(self, tables: SurfaceTables, seen: Seen, start: Hypothesis) -> Hypothesis:
        """Align a hypothesis to the surface.

        Parameters
        ----------
        tables : SurfaceTables
            Of the object.
        seen : Seen
            Its points.
        start : Hypothesis
            Where to begin.

        Returns
        -------
        Hypothesis
            Judged by the points alone.
        """
        judged = np.zeros(4)
        rotation, translation = align_to_surface(
            np.ascontiguousarray(start.rotation, np.float64),
            np.ascontiguousarray(start.translation, np.float64),
            *seen.thinned(self.settings.surface_points),
            *tables.surface,
            tables.slopes,
            tables.seen,
            REACH_M,
            LAST_REACH_M,
            self.settings.surface_steps,
            NOISE_M,
            NOISE_COLOUR,
            judged,
        )
        return Hypothesis(rotation, translation, float(self.wrongness(judged)))

    def judged(self, tables: SurfaceTables, one: Hypothesis, seen: Seen | None, crop: Crop) -> Hypothesis:
        """Say how wrong points, where there are some, and image find a hypothesis.

        Parameters
        ----------
        tables : SurfaceTables
            Of the object.
        one : Hypothesis
            The pose.
        seen : Seen or None
            Its points; None without depth.
        crop : Crop
            The image.

        Returns
        -------
        Hypothesis
            The same pose.
        """
        if seen is None:
            return replace(one, wrongness=self._wrongness_by_colour(tables, one, crop), blind=True)
        judged, found = np.zeros(4), np.zeros(8)
        compare(
            _solid(tables),
            tables.gaussians.features,
            one.rotation,
            one.translation,
            crop.camera,
            crop.colour,
            crop.mask,
            crop.depth_m,
            found,
        )
        wrongness = self.settings.outline_weight * (found[SPARE] + found[LACK])
        wrongness += self.settings.texture_weight * found[TEXTURE]
        align_to_surface(
            one.rotation,
            one.translation,
            *seen.thinned(self.settings.surface_points),
            *tables.surface,
            tables.slopes,
            tables.seen,
            REACH_M,
            LAST_REACH_M,
            0,
            NOISE_M,
            NOISE_COLOUR,
            judged,
        )
        return replace(one, wrongness=float(wrongness + self.wrongness(judged)), blind=False)

    def _wrongness_by_colour(self, tables: SurfaceTables, one: Hypothesis, crop: Crop) -> float:
        found = np.zeros(5)
        compare_shaded(
            _solid(tables), tables.shaded, one.rotation, one.translation, crop.camera, crop.colour, crop.mask, found
        )
        unknown = UNKNOWN_TEXTURE + UNEVEN_WEIGHT * found[shading.UNEVEN]
        texture = found[shading.KNOWN] * found[shading.SHADED] + (1 - found[shading.KNOWN]) * unknown
        outline = found[shading.SPARE] + found[shading.LACK]
        return float(self.settings.outline_weight * outline + self.settings.texture_weight * texture)

    def refined(self, tables: SurfaceTables, one: Hypothesis, seen: Seen | None, crop: Crop, steps: int) -> Hypothesis:
        """Refine a hypothesis on the image, and judge it.

        Parameters
        ----------
        tables, one, seen, crop
            As `judged` takes them.
        steps : int
            The most steps.

        Returns
        -------
        Hypothesis
            Improved.
        """
        information = np.zeros((6, 6))
        rotation, translation = refine(
            _solid(tables),
            tables.gaussians.features,
            one.rotation,
            one.translation,
            crop.camera,
            crop.colour,
            crop.mask,
            crop.depth_m,
            steps,
            information,
            seen is None,
        )
        return self.judged(tables, Hypothesis(rotation, translation, math.inf, information), seen, crop)

    def best_refined(
        self,
        tables: SurfaceTables,
        aligned: Sequence[Hypothesis],
        seen: Seen | None,
        crop: Crop,
        learned: LearnedObject,
        steps: int,
    ) -> Hypothesis:
        """Refine the first hypotheses, and choose the best.

        Parameters
        ----------
        tables : SurfaceTables
            Of the object.
        aligned : sequence of Hypothesis
            The best first.
        seen : Seen or None
            Its points; None without depth.
        crop : Crop
            The image.
        learned : LearnedObject
            The object, of which symmetries do not count as other poses.
        steps : int
            The most steps for each.

        Returns
        -------
        Hypothesis
            With its margin.
        """
        refined: list[Hypothesis] = []
        for one in different(aligned, self.settings.refined, REFINED_APART_DEG):
            if refined and one.wrongness > min(other.wrongness for other in refined) + HOPELESS:
                break
            refined.append(self.refined(tables, one, seen, crop, steps))
        best = min(refined, key=doubt_of)
        others = [one for one in (*refined, *aligned) if is_other(one.rotation, best.rotation, learned)]
        rival = min((one.wrongness for one in others), default=math.inf)
        return replace(best, margin=float(np.clip(rival - best.wrongness, 0, LARGEST_MARGIN)))

    def wrongness(self, judged: np.ndarray) -> np.ndarray:
        """Say how wrong points find poses.

        Parameters
        ----------
        judged : (4, ...) float64
            As the alignment writes it.

        Returns
        -------
        (...) float64
            0 where all is as it should be.
        """
        wrong = judged[DISTANCE] + self.settings.facing_weight * (1 - judged[FACING])
        return wrong + self.settings.colour_weight * judged[COLOUR]


def _solid(tables: SurfaceTables) -> tuple:
    gaussians = tables.gaussians
    return gaussians.means, gaussians.covariances, gaussians.normals, gaussians.opacities
