"""CleanPose with colour: from the rows through augmentation, network and export to the estimator."""

import dataclasses
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from clipose_ros import estimators
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import ColourCrop, Detections, Frame, Instance, Intrinsics, Observation, PoseEstimate
from clipose_ros.estimators.cleanpose import IMAGE, IMAGE_MAP, PLACES
from clipose_ros.inference.card import read_card, write_card
from clipose_ros.pipeline import Pipeline
from training.calibrate import CalibrationConfig, calibrate, outcomes
from training.data.augmentation import AugmentationConfig
from training.data.dataset import BatchConfig, GroundConfig, make_batch, observed_clouds
from training.data.picture_augmentation import PictureAugmentation, augmented_pictures
from training.data.row_format import GRID, TARGET
from training.data.rows import ViewPool
from training.data.sources import batches_of
from training.export import export, network_card, with_sight
from training.growth import grown
from training.networks import (
    CleanPoseConfig,
    CleanPoseLiteConfig,
    DistilledConfig,
    FrontDoorConfig,
    PointNetConfig,
    make_network,
    network_config,
)
from training.networks.backbone import gathered
from training.onnx_networks import write_onnx
from training.optimisation.checkpoint import load_network
from training.train import TrainConfig, train
from training.views import ViewConfig, draw_shard

FRONT_DOOR = FrontDoorConfig(own_layers=1, cross_layers=1, length=10, drawn=4)
LITE = CleanPoseLiteConfig(
    points=64, patches=8, neighbours=4, width=16, layers=1, heads=2, keypoints=4, front_door=FRONT_DOOR,
    backbone="small",
)  # fmt: skip
PAPERS = CleanPoseConfig(
    encoder=PointNetConfig(points=64, levels=(32, 16, 8, 4), widths=(4, 4, 4, 4), propagation=(8, 8, 8, 8)),
    image_features=8, keypoints=6, detector_layers=1, coordinate_layers=1, hidden=16, neighbours=(4,), bins=8,
    rebuilt=0, front_door=FRONT_DOOR, distilled=DistilledConfig(width=0), backbone="small",
)  # fmt: skip
STILL = PictureAugmentation(
    given=True, dropped=0.0, zoom=(1.0, 1.0), moved=0.0, brightness=0.0, contrast=0.0, saturation=0.0, balance=0.0,
    grey=0.0,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    """Folder of two shards with pictures."""
    folder = tmp_path_factory.mktemp("pictured")
    for seed in (1, 2):
        np.savez(folder / f"shard_{seed:06d}.npz", **draw_shard(seed, 16, ViewConfig(colour_px=32)))
    return folder


@pytest.fixture(scope="module")
def dinos(tmp_path_factory):
    """Folders of two tiny DINOv2s with random weights."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    shape = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=14)
    folders = [tmp_path_factory.mktemp("dino") for _ in range(2)]
    for folder in folders:
        Dinov2Model(shape).save_pretrained(folder)
    return folders


def run_of(folder, output, network, **changed):
    return TrainConfig(
        data=(folder,), output=output, steps=2, batch=6, warm_up=1, log_every=1, checkpoint_every=2,
        optimiser="adamw", network=network, batches=BatchConfig(points=64), **changed,
    )  # fmt: skip


# Pictures and places


def coded_rows(pool):
    """Rows whose pictures say in red the column and in green the row of a crop pixel, in blue 1."""
    rows = pool.rows(torch.arange(16), torch.device("cpu"))
    place = torch.arange(GRID, dtype=torch.float32)
    coded = torch.stack([*torch.meshgrid(place, place, indexing="xy"), torch.full((GRID, GRID), 255.0)], dim=-1)
    return rows | {"colour": (3 * coded).clamp(max=255).to(torch.uint8).expand(16, -1, -1, -1)}


def test_the_place_of_a_point_shows_its_pixel(pictured):
    """Points come from pixels whose rays they lie on: the picture at their places must say the same pixel."""
    config = BatchConfig(
        points=64, simulate=False, scale_jitter=0.0, pictures=STILL, ground=GroundConfig(known=0.0),
        augmentation=AugmentationConfig(mirrored=0.0),
    )  # fmt: skip
    rows = coded_rows(ViewPool([pictured / "shard_000001.npz"]))
    generator = torch.Generator().manual_seed(0)
    points, _, usable, places = observed_clouds(rows, torch.full((16,), 9.0), config, generator)
    rays = rows["rays"][:, None]
    column = (points[..., 0] / points[..., 2] - rays[..., 0]) / rays[..., 1]
    row = (points[..., 1] / points[..., 2] - rays[..., 2]) / rays[..., 3]
    for mirrors in (torch.zeros(16, dtype=torch.bool), torch.ones(16, dtype=torch.bool)):
        moves = replace(STILL, zoom=(0.9, 1.2), moved=0.05)
        for change in (STILL, moves):
            picture, where = augmented_pictures(rows["colour"], places, mirrors, change, generator)
            seen = gathered(picture, where) * 255 / 3
            inside = ((where > 0.03) & (where < 0.97)).all(-1) & usable[:, None]
            assert inside.float().mean() > 0.9
            for truth, channel in ((column, 0), (row, 1)):
                assert (truth - seen[..., channel])[inside].abs().max() < 0.6
    batch = make_batch(rows, 8, config, torch.Generator().manual_seed(0))
    torch.testing.assert_close(batch["places"], places)


def test_mask_and_picture_lie_beside_the_depth_together(pictured):
    """Where the sensor model moves the mask, points behind the object's edge have the colours of the object."""
    rows = ViewPool([pictured / "shard_000001.npz"]).rows(torch.arange(16), torch.device("cpu"))
    rows["colour"] = (255 * (rows["label"] == 1)).to(torch.uint8)[..., None].expand(-1, -1, -1, 3).contiguous()
    batches = BatchConfig(points=256, pictures=STILL, ground=GroundConfig(known=0.0))
    sensor = replace(batches.sensor, shift_px=(12.0, 12.0), boundary_px=0.1, boundary_level=(0.4, 0.5))
    batch = make_batch(rows, 64, replace(batches, sensor=sensor), torch.Generator().manual_seed(0))
    white = gathered(batch["picture"], batch["places"])[..., 0]
    usable = batch["usable"]
    assert (white[usable] > 0.5).float().mean() > 0.95
    assert batch["foreground"][usable].mean() < 0.93


def test_pictures_change_within_bounds_and_none_stays_none():
    generator = torch.Generator().manual_seed(0)
    colour = torch.randint(30, 226, (40, 24, 24, 3), dtype=torch.uint8, generator=generator)
    colour[0] = 0
    config = PictureAugmentation(given=True, dropped=0.25)
    places, mirrors = torch.rand(40, 5, 2), torch.arange(40) % 2 == 0
    picture, _ = augmented_pictures(colour, places, mirrors, config, generator)
    assert picture.shape == (40, 3, 24, 24) and picture.min() >= 0 and picture.max() <= 1
    dark = ~(picture > 0).flatten(1).any(1)
    assert dark[0] and 4 <= dark.sum() <= 18
    means = picture[~dark].mean((2, 3))
    assert means.mean(1).std() > 0.05


def test_a_run_without_colour_draws_the_same_clouds_as_before(pictured):
    rows = ViewPool([pictured / "shard_000001.npz"]).rows(torch.arange(16), torch.device("cpu"))
    plain, seeing = (
        make_batch(rows, 8, replace(BatchConfig(points=64), pictures=replace(STILL, given=given)), generator)
        for given, generator in ((flag, torch.Generator().manual_seed(3)) for flag in (False, True))
    )
    assert set(seeing) - set(plain) == {"picture", "places"}
    for name, value in plain.items():
        torch.testing.assert_close(seeing[name], value, rtol=0, atol=0)


# Networks


@pytest.mark.parametrize("config", [LITE, PAPERS])
def test_no_picture_is_no_say_and_a_picture_is_one(config):
    torch.manual_seed(0)
    network = make_network(config).eval()
    points, category = 0.4 * torch.randn(4, 64, 3), torch.tensor([0, 2, 3, 5])
    if config is LITE:
        torch.nn.init.normal_(network.image[-1].weight)  # it begins as zero
    told = (torch.zeros(4, 4),) if config is LITE else ()
    picture, places = torch.rand(4, 3, 40, 40), torch.rand(4, 64, 2)
    picture[1] = 0
    without, seeing = network(points, category, *told), network(points, category, *told, picture, places)
    same = (without["offset"] == seeing["offset"]).all(1)
    assert same.tolist() == [False, True, False, False]
    assert network_config(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_a_network_that_sees_grows_out_of_one_that_does_not():
    torch.manual_seed(0)
    blind = make_network(replace(LITE, backbone="none")).eval()
    seeing = grown(blind, make_network(LITE)).eval()
    points, category, ground = 0.4 * torch.randn(3, 64, 3), torch.tensor([0, 2, 5]), torch.zeros(3, 4)
    expected = blind(points, category, ground)
    for also in ((), (torch.rand(3, 3, 40, 40), torch.rand(3, 64, 2))):
        torch.testing.assert_close(seeing(points, category, ground, *also), expected)


@pytest.mark.parametrize("network", [LITE, PAPERS], ids=["lite", "paper"])
@pytest.mark.parametrize("backbone", ["small", "dinov2"])
def test_every_backbone_trains_and_goes_on(network, backbone, pictured, dinos, tmp_path):
    network = replace(network, backbone=backbone, backbone_weights=str(dinos[0]))
    config = run_of(pictured, tmp_path, network)
    checkpoint = train(config)
    trained, saved = load_network(checkpoint)
    assert trained.also[-2:] == ("picture", "places") and json.loads(saved["config"])["network"]["backbone"] == backbone
    assert (backbone == "small") == any(name.startswith("sight.") for name, _ in trained.named_parameters())
    train(replace(config, steps=3))
    with pytest.raises(ValueError, match=r"network.backbone none \(begun with"):
        train(replace(config, steps=4, network=replace(network, backbone="none")))


def test_other_weights_of_a_backbone_are_refused(pictured, dinos, tmp_path):
    network = replace(LITE, backbone="dinov2", backbone_weights=str(tmp_path / "dino"))
    weights = tmp_path / "dino" / "model.safetensors"
    (tmp_path / "dino").mkdir()
    for file in dinos[0].iterdir():
        (tmp_path / "dino" / file.name).write_bytes(file.read_bytes())
    checkpoint = train(run_of(pictured, tmp_path / "run", network))
    weights.write_bytes((dinos[1] / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="backbone dinov2: expected the weights with which the network was trained"):
        load_network(checkpoint)


def test_rows_without_pictures_train_the_same_network_and_it_teaches_only_one_that_sees(views, tmp_path):
    teacher = train(run_of(views, tmp_path / "teacher", LITE))
    assert load_network(teacher)[0].sight is not None
    train(run_of(views, tmp_path / "seeing", LITE, teacher=teacher))
    with pytest.raises(ValueError, match="teacher: expected one that goes by points alone beside a network without"):
        train(run_of(views, tmp_path / "blind", replace(LITE, backbone="none"), teacher=teacher))


def test_batches_have_pictures_where_the_network_has_a_backbone(pictured, tmp_path):
    assert batches_of(run_of(pictured, tmp_path, LITE)).pictures.given
    assert not batches_of(run_of(pictured, tmp_path, replace(LITE, backbone="none"))).pictures.given


# Export and estimator


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a model that sees. The paper's network takes longer to export: test_reproduce.py does."""
    torch.manual_seed(0)
    network = make_network(LITE)
    torch.nn.init.normal_(network.image[-1].weight)
    folder = tmp_path_factory.mktemp("model")
    network = network.eval()
    write_onnx(network, folder / "model.onnx")
    card = network_card(network, folder / "model.onnx", outlier_radius=0.8, draws=2)
    write_card(with_sight(card, folder, network), folder)
    return folder, network


def observations(count, coloured=True):
    rng = np.random.default_rng(0)
    seen = []
    for i in range(count):
        pixels = np.stack(np.meshgrid(np.arange(100, 120), np.arange(50 + i, 70 + i)), axis=-1).reshape(-1, 2)
        points = np.column_stack([(pixels - (110, 60 + i)) * 0.004, np.ones(400)]).astype(np.float32)
        points[:, 2] += 0.02 * rng.random(400, np.float32)
        crop = ColourCrop(rng.integers(0, 255, (26, 26, 3)).astype(np.uint8), 97, 47 + i) if coloured else None
        seen.append(Observation(points, ("mug", "can", "laptop")[i % 3], pixels, crop))
    return seen


def test_the_estimator_asks_for_colour_and_uses_it(model):
    folder, _ = model
    estimator = estimators.load(str(folder))
    assert estimator.needs.colour and estimator.needs.pixels and "colour" in estimator.facts()
    seeing, blind = estimator.estimate(observations(3)), estimator.estimate(observations(3, coloured=False))
    assert all(isinstance(pose, PoseEstimate) for pose in seeing + blind)
    assert all((a.translation != b.translation).any() for a, b in zip(seeing, blind, strict=True))


def test_an_object_is_estimated_as_it_is_alone_also_beside_ones_without_colour(model):
    folder, _ = model
    estimator = estimators.load(str(folder))
    mixed = [observations(3)[0], observations(3, coloured=False)[1], observations(3)[2]]
    together = estimator.estimate(mixed)
    for pose, one in zip(together, mixed, strict=True):
        np.testing.assert_allclose(pose.translation, estimator.estimate([one])[0].translation, atol=1e-4)
    assert estimator.estimate([]) == []


def test_the_estimator_gives_what_torch_gives(model):
    """One draw of an object, its map and places made here by hand."""
    folder, network = model
    estimator = estimators.load(str(folder))
    captured = []
    run = estimator._session.run
    estimator._session.run = lambda inputs: captured.append(inputs) or run(inputs)
    (one,) = observations(1)
    estimator.estimate([one])
    inputs = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in captured[0].items()}
    assert inputs[IMAGE_MAP].shape[0] == inputs[PLACES].shape[0] == 2  # two draws
    picture = torch.from_numpy(one.colour.pixels).permute(2, 0, 1)[None].float() / 255
    enlarged = torch.nn.functional.interpolate(picture, (network.sight.side,) * 2, mode="bilinear")
    with torch.no_grad():
        expected = network.sight(enlarged)
    torch.testing.assert_close(inputs[IMAGE_MAP][:1], expected, rtol=1e-2, atol=1e-2)
    assert (inputs[PLACES] > 0.1).all() and (inputs[PLACES] < 0.9).all()


def test_calibration_gives_pictures_and_the_places_of_points_in_them(model, pictured):
    folder, _ = model
    seen, truth = [], ViewPool([pictured / "shard_000002.npz"])

    class Watched:
        def __init__(self, estimator):
            self.estimator, self.needs = estimator, estimator.needs

        def __getattr__(self, name):
            return getattr(self.estimator, name)

        def estimate(self, observations):
            seen.extend(observations)
            return self.estimator.estimate(observations)

    batches = BatchConfig(simulate=False, ground=GroundConfig(known=0.0))
    config = CalibrationConfig(model=folder, data=pictured, draws=1, points=256, batches=batches)
    found = outcomes(Watched(estimators.load(str(folder))), config)
    assert len(found.score) > 8 and len(seen) == len(truth)
    labels = truth.read(np.arange(16))[0]["label"]
    for one, label in zip(seen, labels, strict=True):
        assert one.colour.pixels.shape == (32, 32, 3)
        column, row = ((one.pixels + 0.5) / 32 * GRID - 0.5).round().astype(int).T
        assert (label[row, column] == TARGET).all()


def test_a_model_that_sees_is_calibrated(model, pictured, tmp_path):
    folder = shutil.copytree(model[0], tmp_path / "seeing")
    batches = BatchConfig(simulate=False, ground=GroundConfig(known=0.0))
    calibrate(CalibrationConfig(folder, pictured, draws=1, points=256, batches=batches))
    assert read_card(folder).settings["calibration"] and read_card(folder).settings["uncertainty"]
    assert isinstance(estimators.load(str(folder)).estimate(observations(1))[0], PoseEstimate)


def frame_of_two():
    rng = np.random.default_rng(1)
    labels = np.zeros((120, 160), np.uint8)
    labels[20:60, 20:60], labels[60:100, 90:140] = 1, 2
    depth = np.full(labels.shape, 1000, np.uint16)
    depth[labels > 0] = 900
    colour = rng.integers(0, 255, (*labels.shape, 3)).astype(np.uint8)
    frame = Frame(0, "camera", depth, Intrinsics(200.0, 200.0, 80.0, 60.0), colour)
    return frame, Detections((Instance(1, "mug"), Instance(2, "bottle")), labels)


def test_the_pipeline_gives_crops_and_hides_them_on_request(model):
    folder, _ = model
    estimator = estimators.load(str(folder))
    frame, detections = frame_of_two()
    seen, hidden, none = (
        Pipeline(estimator, colour=colour).process(one, detections).results
        for colour, one in ((True, frame), (False, frame), (True, replace(frame, colour=None)))
    )
    for (_, a), (_, b), (_, c) in zip(seen, hidden, none, strict=True):
        assert (a.translation != b.translation).any() and (b.translation == c.translation).all()


def test_a_card_whose_networks_do_not_fit_is_refused(model, tmp_path):
    folder, _ = model
    card = read_card(folder)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    image = card.network(IMAGE)
    wrong = replace(image, outputs={IMAGE_MAP: ("batch", 7, 12, 12)})
    write_card(replace(card, networks={**card.networks, IMAGE: wrong}), tmp_path)
    with pytest.raises(ValueError, match=r"card inputs image_map: expected \[batch, 7, 12, 12\]|card inputs image_map"):
        estimators.load(str(tmp_path))
    write_card(replace(card, networks={name: file for name, file in card.networks.items() if name != IMAGE}), tmp_path)
    with pytest.raises(ValueError, match="card inputs: expected category, ground, points|card inputs: expected"):
        estimators.load(str(tmp_path))


def test_a_checkpoint_becomes_a_model_with_two_networks(pictured, dinos, tmp_path):
    network = replace(LITE, backbone="dinov2", backbone_weights=str(dinos[0]))
    checkpoint = train(run_of(pictured, tmp_path / "run", network))
    export(checkpoint, tmp_path / "model")
    card = read_card(tmp_path / "model")
    assert set(card.networks) == {"pose", "image"} and card.training["backbone"] == "dinov2"
    assert card.symmetry["can"] is Symmetry.Y
    assert isinstance(estimators.load(str(tmp_path / "model")).estimate(observations(1))[0], PoseEstimate)
