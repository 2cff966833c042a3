"""Embeddings of views by their rotation: the views, the crops, the loss and the run."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from clipose_ros.objects.view_templates import GROWTH
from training.data.turned_crops import (
    CropVariation,
    camera_views,
    clean_views,
    turned_crops,
    turned_rotations,
    upright_turns,
)
from training.networks.retrieval import RetrievalNetwork
from training.optimisation.checkpoint import read_checkpoint
from training.retrieval import (
    HeldObjects,
    RetrievalTrainConfig,
    angles_deg,
    load_retrieval,
    retrieval_losses,
    seen_batch,
    train,
)
from training.turned_views import GROUPS, PICTURE_PX, SPREAD_DEG, VIEWS, draw_shard, drawn_rotations


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of two shards of two objects."""
    folder = tmp_path_factory.mktemp("turned")
    for seed in (1, 2):
        np.savez(folder / f"turned_{seed:06d}.npz", **draw_shard(seed, 2))
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    objects = HeldObjects(sorted(folder.glob("turned_*.npz")))
    return objects.drawn(torch.arange(len(objects)))


@pytest.fixture(scope="module")
def config(folder):
    return RetrievalTrainConfig(folder, folder / "run", steps=2, batch=2, warm_up=1, log_every=1)


def test_views_of_a_group_are_as_near_as_they_should_be():
    rotations = drawn_rotations(np.random.default_rng(3)).reshape(GROUPS, len(SPREAD_DEG), 3, 3)
    for group in rotations:
        for one, (least, most) in zip(group, SPREAD_DEG, strict=True):
            angle = np.rad2deg(Rotation.from_matrix(group[0].T @ one).magnitude())
            assert least - 1e-6 <= angle <= most + 1e-6


def test_pictures_show_the_object_whole_and_with_the_light_of_each_view(rows):
    picture = rows["picture"]
    assert picture.shape == (4, VIEWS, PICTURE_PX, PICTURE_PX, 4)
    mask = picture[..., 3] > 0
    border = mask.clone()
    border[:, :, 1:-1, 1:-1] = False
    assert not border.any() and (mask.sum((2, 3)) > 100).all()
    bright = (picture[..., :3].float().mean(-1) * mask).sum((2, 3)) / mask.sum((2, 3))
    assert (bright.std(1) > 3).all()


def test_a_crop_follows_the_mask_and_a_turn_turns_what_it_shows():
    """A bar to the right of a square's middle: turned by 90 deg it is above or below it, as its rotation says."""
    colour, mask = torch.full((2, 3, 60, 60), 0.5), torch.zeros(2, 1, 60, 60)
    mask[:, :, 20:40, 10:30] = 1
    mask[:, :, 28:32, 30:40] = 1
    turn = torch.tensor([0.0, math.pi / 2])
    crops = turned_crops(colour, mask, turn, 48)
    area = crops[:, 3].sum((1, 2)) * (GROWTH / 48) ** 2
    torch.testing.assert_close(area, torch.ones(2), atol=0.03, rtol=0)  # the side is GROWTH times the root of the area
    torch.testing.assert_close(crops[0].rot90(-3, (1, 2)), crops[1], atol=0.2, rtol=0)
    # the bar points along x of the camera, and where it points then is what the turned rotation says
    along = turned_rotations(torch.eye(3).expand(2, 3, 3), turn)[:, :, 0]
    for crop, direction in zip(crops, along):
        ys, xs = torch.meshgrid(*[torch.arange(48.0) - 23.5] * 2, indexing="ij")
        reach = (xs * direction[0] + ys * direction[1])[crop[3] > 0.5]
        assert reach.max() > 1.3 * -reach.min()


def test_upright_views_have_their_direction_up():
    rotation = torch.from_numpy(Rotation.random(20, random_state=1).as_matrix()).float()
    up = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    seen = (turned_rotations(rotation, upright_turns(rotation, up)) @ up[..., None])[..., 0]
    torch.testing.assert_close(seen[:, 0], torch.zeros(20), atol=1e-5, rtol=0)
    assert (seen[:, 1] <= 1e-5).all()


def test_a_camera_hides_no_more_than_it_may(rows):
    picture = rows["picture"].flatten(0, 1)
    _, whole = clean_views(picture)
    variation = CropVariation(hidden=1.0, torn=0.0)
    colour, mask = camera_views(picture, torch.Generator().manual_seed(0), variation)
    left = mask.sum((1, 2, 3)) / whole.sum((1, 2, 3))
    assert left.min() > 0.8 * variation.least_seen and (left < 0.9).float().mean() > 0.2
    assert colour.min() >= 0 and colour.max() <= 1


def test_angles_are_those_of_the_rotations_and_turns_about_a_symmetry_do_not_count():
    one = torch.eye(3).expand(2, 1, 3, 3)
    other = (
        torch.from_numpy(Rotation.from_euler("y", [[30], [90]], degrees=True).as_matrix()).float().expand(2, 2, 3, 3)
    )
    angles = angles_deg(one, other, torch.tensor([False, True]))
    torch.testing.assert_close(angles[0], torch.tensor([[30.0, 90.0]]), atol=1e-2, rtol=0)
    assert angles[1].max() < 0.1


def test_the_loss_is_least_where_the_near_is_the_alike(config, rows):
    queries, templates, angle = seen_batch(rows, 48, torch.Generator().manual_seed(0), CropVariation())
    batch, views, count = angle.shape
    assert (batch, views, count) == (4, VIEWS, 2 * VIEWS) and queries.shape == (batch * views, 4, 48, 48)
    assert templates.shape == (batch * count, 4, 48, 48)
    assert angle[:, range(VIEWS), range(VIEWS)].isinf().all() and angle.isinf().sum() == batch * views
    # one object of two templates
    near = torch.tensor([[[5.0, 90.0]]])
    query, right = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    good = retrieval_losses(query, right, near, config)
    bad = retrieval_losses(query, right.flip(0), near, config)
    assert good["total"] < 1e-3 < 1 < bad["total"] and good["within_15"] == 1 and bad["within_15"] == 0
    assert torch.isnan(retrieval_losses(query, right, near + 60, config)["within_15"])


def test_a_run_goes_on_where_it_stopped(folder, config):
    path = train(config)
    whole, _ = load_retrieval(path)
    half = replace(config, output=folder / "again", steps=1)
    train(half)
    again, saved = load_retrieval(train(replace(half, steps=2)))
    assert saved["step"] == 2
    for one, other in zip(whole.parameters(), again.parameters()):
        torch.testing.assert_close(one, other)
    averaged, _ = load_retrieval(path.with_name("averaged.pt"))
    torch.testing.assert_close(averaged.embedding.weight, whole.embedding.weight)
    with pytest.raises(ValueError, match="expected the settings that the run was begun with, got others: batch 3"):
        train(replace(half, batch=3))


def test_a_run_learns_from_shards_that_are_still_written(folder, config):
    growing = replace(config, output=folder / "growing", growing=2)
    assert read_checkpoint(train(growing))["step"] == 2


def test_embeddings_are_of_length_one_and_wrong_sides_are_refused():
    network = RetrievalNetwork().eval()
    with torch.no_grad():
        embedded = network(torch.rand(3, 4, 48, 48))
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(3))
    with pytest.raises(ValueError, match=r"network.side: expected a multiple of 16, got 40"):
        type(network.config)(side=40)
    with pytest.raises(ValueError, match="data: expected more than 1 turned_"):
        train(RetrievalTrainConfig(Path("/nonexistent"), Path("/nonexistent")))
