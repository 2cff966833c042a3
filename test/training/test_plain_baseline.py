"""The baseline of `clipose bench` runs where the other models run."""

import numpy as np

from clipose_ros.bench.latency import measure, spheres_on_table
from clipose_ros.estimators.clipose import Clipose
from clipose_ros.pipeline import Pipeline
from training.networks import PatchTransformerConfig
from training.plain_baseline import write_baseline


def test_the_baseline_is_a_model_folder_that_is_measured_like_the_others(tmp_path):
    # Not the paper's network, whose export takes minutes.
    write_baseline(
        tmp_path / "paper", PatchTransformerConfig(points=128, patches=16, neighbours=8, width=16, layers=1, heads=2)
    )
    estimator = Clipose.load(str(tmp_path / "paper"))
    card = estimator.session.card
    assert (card.name, card.points, card.draws, card.passes) == ("paper", 128, 1, 1)
    outputs = estimator.session.run(
        {"points": np.random.default_rng(0).normal(size=(3, 128, 3)).astype(np.float32), "category": np.arange(3)}
    )
    assert all(np.isfinite(value).all() for value in outputs.values())
    ((row,),) = measure([Pipeline(estimator)], instances=(2,), frames=2, rounds=1)
    assert (
        len(spheres_on_table(2, estimator.categories).instances) == row["instances"] == 2
        and row["stages"]["network"] > 0
    )
