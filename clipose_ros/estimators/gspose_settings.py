"""What a card's `settings` hold for GS-Pose."""

from __future__ import annotations

from dataclasses import dataclass

from clipose_ros.core.validation import expect


@dataclass(frozen=True)
class GsPoseSettings:
    """What a card's `settings` hold for GS-Pose.

    Parameters
    ----------
    rotations : int
        Rotations that are tried, evenly spread.
    kept : int
        Those that are judged again on more points.
    hypotheses : int
        Those that are aligned to the surface, all different.
    refined : int
        Those that are refined on the image.
    half_turned : int
        Those of which half turns about the axes of their boxes are tried, too.
    apart_deg : float
        Between two hypotheses, at least [deg].
    coarse_points, fine_points, surface_points : int
        Points of the object in the three stages.
    surface_steps, image_steps : int
        Steps of the two refinements.
    crop_px : int
        Side of the crop that renders are compared with [px].
    facing_weight, colour_weight, outline_weight, texture_weight : float
        Of what is wrong with a pose, beside the distance of the points.
    right_at, wrong_by, margin_weight : float
        The score is 1 / (1 + exp((wrongness - right_at - margin_weight * margin) / wrong_by)), with the margin to the
        best pose that is really another. From `python -m training.novel_scores`.
    blind_right_at, blind_wrong_by, blind_margin_weight : float
        The same for objects without depth.
    tracking_steps : int
        Steps of the refinement on the image from a track's prior.
    tracked_right_at, tracked_wrong_by : float
        The score of a pose that was refined from a track's prior, with no other pose beside it, is
        1 / (1 + exp((wrongness - tracked_right_at) / tracked_wrong_by)). From `training.novel_scores --priors`.
    blind_tracked_right_at, blind_tracked_wrong_by : float
        The same for objects without depth.
    prior_score : float
        A pose that was found near the track's prior with at least this score is not sought elsewhere.
    retrieval : bool
        Whether objects without depth are sought by embeddings of views, too. The card has the network then.
    blind_hypotheses : int
        Those that are refined on a small crop where there is no depth.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    rotations: int = 3000
    kept: int = 300
    hypotheses: int = 20
    refined: int = 5
    half_turned: int = 3
    apart_deg: float = 22.0
    coarse_points: int = 80
    fine_points: int = 220
    surface_points: int = 400
    surface_steps: int = 10
    image_steps: int = 5
    crop_px: int = 64
    facing_weight: float = 0.5
    colour_weight: float = 4.0
    outline_weight: float = 1.0
    texture_weight: float = 1.0
    right_at: float = 0.71
    wrong_by: float = 0.337
    margin_weight: float = 3.89
    blind_right_at: float = 0.1
    blind_wrong_by: float = 0.111
    blind_margin_weight: float = 2.432
    tracking_steps: int = 2
    tracked_right_at: float = 1.149
    tracked_wrong_by: float = 0.096
    blind_tracked_right_at: float = 0.458
    blind_tracked_wrong_by: float = 0.143
    prior_score: float = 0.5
    retrieval: bool = False
    blind_hypotheses: int = 20

    def __post_init__(self) -> None:
        for key, most in (("rotations", 100_000), ("kept", 10_000), ("hypotheses", 200), ("refined", 200)):
            expect(key, type(value := getattr(self, key)) is int and 1 <= value <= most, f"1 to {most}", value)
        value = self.blind_hypotheses
        expect("blind_hypotheses", type(value) is int and 1 <= value <= 200, "1 to 200", value)
        whole = type(self.half_turned) is int and 0 <= self.half_turned <= 200
        expect("half_turned", whole, "0 to 200", self.half_turned)
        for key in ("coarse_points", "fine_points", "surface_points"):
            expect(key, type(value := getattr(self, key)) is int and 20 <= value <= 4096, "20 to 4096", value)
        for key in ("surface_steps", "image_steps", "tracking_steps"):
            expect(key, type(value := getattr(self, key)) is int and 1 <= value <= 100, "1 to 100", value)
        expect("crop_px", type(self.crop_px) is int and 16 <= self.crop_px <= 256, "16 to 256", self.crop_px)
        expect("retrieval", type(self.retrieval) is bool, "true or false", self.retrieval)
        for key in ("wrong_by", "blind_wrong_by", "tracked_wrong_by", "blind_tracked_wrong_by"):
            expect(key, getattr(self, key) > 0, "more than 0", getattr(self, key))
