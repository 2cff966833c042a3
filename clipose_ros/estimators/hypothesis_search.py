"""Hypotheses from nothing: from all rotations on the points, or from small renders where there is no depth."""

from __future__ import annotations

import numpy as np

from clipose_ros.core.types import InstanceView
from clipose_ros.estimators.hypotheses import Hypothesis, different
from clipose_ros.estimators.pose_refinement import REACH_M, PoseRefiner
from clipose_ros.estimators.render_comparison import OCCLUDER_M
from clipose_ros.estimators.sightings import Crop, Seen, depth_of
from clipose_ros.estimators.surface_alignment import align_shifts, judge_outlines
from clipose_ros.objects.surface_tables import SurfaceTables, rotation_grid
from clipose_ros.objects.view_templates import Embedder, ViewTemplates, embedding_distances, poses_by_templates

OUTLINE_DISCS = 150  # by which the outlines of hypotheses are judged
ONE_STEP = 4  # shifts in the cascade's first two stages together
# Without depth: rotations and hypotheses by those with depth, and between hypotheses.
BLIND_KEPT, BLIND_APART_DEG = 3, 13.0
PIXEL_WEIGHT = 0.5  # of how pixels differ, beside how embeddings do: these alone err on plain, strong colours


class HypothesisSearch:
    """Finds hypotheses.

    Parameters
    ----------
    refiner : PoseRefiner
        Judges them; its settings say how many there are.
    """

    def __init__(self, refiner: PoseRefiner) -> None:
        self._refiner = refiner
        self._rotations = rotation_grid(refiner.settings.rotations)

    def on_points(self, tables: SurfaceTables, seen: Seen, view: InstanceView) -> list[Hypothesis]:
        """Search all rotations, each shifted onto the points.

        Parameters
        ----------
        tables : SurfaceTables
            Of the object.
        seen : Seen
            Its points.
        view : InstanceView
            What it was seen in.

        Returns
        -------
        list of Hypothesis
            The best first, all different.
        """
        settings, middle = self._refiner.settings, seen.points.mean(axis=0)
        towards = -middle / np.linalg.norm(middle)
        from_where = np.argmax(self._rotations.transpose(0, 2, 1) @ towards @ tables.directions.T, axis=1)
        shifts = middle - np.einsum("kij,kj->ki", self._rotations, tables.middles[from_where])
        rotations, given = self._rotations, view.frame.intrinsics
        camera, depth_m = np.array([given.fx, given.fy, given.cx, given.cy]), depth_of(view)
        spread = np.linspace(0, len(tables.discs) - 1, OUTLINE_DISCS).astype(int)
        discs, facings = tables.discs[spread], tables.facings[spread]
        for count, points in ((settings.kept, settings.coarse_points), (None, settings.fine_points)):
            judged = np.zeros((len(rotations), 4))
            align_shifts(
                rotations, shifts, *seen.thinned(points), *tables.surface, tables.seen, REACH_M, ONE_STEP // 2, judged
            )
            outside = np.zeros(len(rotations))
            judge_outlines(rotations, shifts, discs, facings, camera, view.mask, depth_m, OCCLUDER_M, outside)
            wrongness = self._refiner.wrongness(judged.T) + settings.outline_weight * outside
            order = np.argsort(wrongness, kind="stable")[:count]
            rotations, shifts = np.ascontiguousarray(rotations[order]), np.ascontiguousarray(shifts[order])
        ranked = [Hypothesis(r, t, float(w)) for r, t, w in zip(rotations, shifts, wrongness[order])]
        return different(ranked, settings.hypotheses, settings.apart_deg)

    def by_templates(
        self,
        tables: SurfaceTables,
        templates: ViewTemplates,
        view: InstanceView,
        small: Crop,
        embedder: Embedder | None = None,
    ) -> list[Hypothesis]:
        """Search small renders, where there is no depth.

        Parameters
        ----------
        tables : SurfaceTables
            Of the object.
        templates : ViewTemplates
            Of the object.
        view : InstanceView
            With a mask that is as exact as can be.
        small : Crop
            By which the first ones are judged.
        embedder : Embedder, optional
            The one that embedded the templates: its embeddings are compared, too.

        Returns
        -------
        list of Hypothesis
            All different; half of them the best by the crop, half the best by their templates: either finds what the
            other does not.
        """
        settings = self._refiner.settings
        rotations, translations, wrongness = poses_by_templates(
            templates, view.frame.colour, view.mask, view.frame.intrinsics
        )
        if embedder is not None:
            distances = embedding_distances(templates, embedder, view.frame.colour, view.mask)
            wrongness = distances + PIXEL_WEIGHT * wrongness
        order = np.argsort(wrongness, kind="stable")[: BLIND_KEPT * settings.kept]
        ranked = [Hypothesis(rotations[i], translations[i], float(wrongness[i])) for i in order]
        starts = different(ranked, BLIND_KEPT * settings.hypotheses, BLIND_APART_DEG)
        judged = [self._refiner.judged(tables, one, None, small) for one in starts]
        judged.sort(key=lambda one: one.wrongness)
        most = settings.blind_hypotheses
        half = most // 2
        return different([*judged[:half], *starts[: most - half]], most, 1.0)
