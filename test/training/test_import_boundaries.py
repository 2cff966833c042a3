"""Dependencies of the trainer point one way: an import runs in a process of its own, which is asked what came along."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RENDERER = {
    "trimesh",
    "embreex",
    "training.data.renderer",
    "training.data.meshes",
    "training.data.shapes",
    "training.views",
}
NETWORK = {"training.networks", "training.losses", "training.alignment", "training.train", "transformers", "accelerate"}


def imported_with(*modules: str) -> set[str]:
    """Modules that importing these brings in."""
    code = f"import sys, json, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", ["training.data.rows", "training.data.dataset", "training.data.row_format"])
def test_reading_shards_loads_neither_a_renderer_nor_a_network(module):
    assert not imported_with(module) & (RENDERER | NETWORK | {"onnxruntime", "rclpy", "cv2"})


def test_training_loads_no_renderer_and_leaves_clip_to_those_who_align():
    assert not imported_with("training.train", "training.optimisation.checkpoint") & (
        RENDERER | {"transformers", "rclpy"}
    )


def test_rows_of_published_data_need_no_renderer():
    assert not imported_with("training.nocs") & RENDERER
