"""Meshes beside the generated shapes, from the command line down to the shard."""

import numpy as np
import pytest
import trimesh

from training.data.meshes import MeshConfig
from training.data.row_format import VIEW_ARRAYS
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
        assert set(shard) == {*VIEW_ARRAYS, "surface"} and len(shard["category"]) == 24
    assert "broken.obj: left out:" in capsys.readouterr().out


def test_a_shard_that_was_cut_off_is_named_and_not_kept(tmp_path):
    generate(tmp_path, views=4, shard_views=4, workers=1)
    shard = tmp_path / "shard_100000.npz"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:3000])
    with pytest.raises(
        ValueError, match=r"shard_100000.npz: expected a shard, got one that is cut off after 3000 bytes"
    ):
        generate(tmp_path, views=4, shard_views=4, workers=1)
    shard.unlink()  # as the message says
    generate(tmp_path, views=4, shard_views=4, workers=1)
    assert shard.read_bytes() == whole and list(tmp_path.iterdir()) == [shard]
