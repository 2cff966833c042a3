"""The baseline of `clipose bench` runs where the other models run."""

import numpy as np

from clipose_ros import estimators
from clipose_ros.bench.latency import measure
from clipose_ros.estimators.clipose import NETWORK
from clipose_ros.inference.card import read_card
from clipose_ros.inference.session import Session
from clipose_ros.pipeline import Pipeline
from training.networks import PatchTransformerConfig
from training.plain_baseline import write_baseline


def test_the_baseline_is_a_model_folder_that_is_measured_like_the_others(tmp_path):
    # Not the paper's network, whose export takes minutes.
    write_baseline(
        tmp_path / "paper", PatchTransformerConfig(points=128, patches=16, neighbours=8, width=16, layers=1, heads=2)
    )
    estimator = estimators.load(str(tmp_path / "paper"))
    settings = estimator.settings
    assert (estimator.facts()["model"], settings.points, settings.draws, settings.passes) == ("paper", 128, 1, 1)
    session = Session(tmp_path / "paper", read_card(tmp_path / "paper").network(NETWORK))
    points = np.random.default_rng(0).normal(size=(3, 128, 3)).astype(np.float32)
    outputs = session.run({"points": points, "category": np.arange(3), "ground": np.zeros((3, 4), np.float32)})
    assert all(np.isfinite(value).all() for value in outputs.values())
    ((row,),) = measure([Pipeline(estimator)], instances=(2,), frames=2, rounds=1)
    assert row["instances"] == 2 and row["stages"]["network"] > 0
