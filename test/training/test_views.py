"""Meshes beside the generated shapes, from the command line down to the shard."""

import numpy as np
import trimesh

from training.meshes import MeshConfig
from training.row_format import VIEW_ARRAYS
from training.views import generate


def test_a_folder_of_meshes_gives_views_and_what_cannot_be_used_is_named(tmp_path, capsys):
    folder = tmp_path / "meshes" / "can"
    folder.mkdir(parents=True)
    trimesh.creation.cylinder(
        radius=0.03, height=0.12, transform=trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0))
    ).export(folder / "can.obj")
    (folder / "broken.obj").write_text("no mesh")
    generate(tmp_path / "views", views=24, shard_views=24, workers=1, meshes=MeshConfig(folder.parent, share=1.0))
    with np.load(tmp_path / "views" / "shard_100000.npz", allow_pickle=False) as shard:
        assert set(shard) == set(VIEW_ARRAYS) and len(shard["category"]) == 24
    assert "broken.obj: left out:" in capsys.readouterr().out
