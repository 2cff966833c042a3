"""A network that a test can understand: every output of an object is a simple function of its own points and category.

How hypothesis searches.
"""

import hashlib
import importlib.util
from dataclasses import fields, replace
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.spatial.transform import Rotation

from clipose_ros.bench.latency import TABLE_NORMAL, spheres_on_table
from clipose_ros.core.categories import CATEGORIES, MEAN_SIZES, nocs_symmetry
from clipose_ros.core.resting import Rest
from clipose_ros.estimators.clipose import NETWORK, CliposeSettings
from clipose_ros.inference.card import ModelCard, NetworkFile, write_card
from clipose_ros.segmenters.centre_votes import VoteSettings
from clipose_ros.segmenters.depth import DepthSegmenterSettings
from clipose_ros.segmenters.depth_channels import CHANNELS, CROP, CROP_CHANNELS
from clipose_ros.segmenters.mask_rcnn import MaskRcnnSettings

POINTS = 1024

# The same examples in every run; no time limit, because the machine may be busy.
hypothesis.settings.register_profile(
    "suite",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("suite")


GROUND_SHAPE = ("batch", 4)


SEEN_SIDE = 8  # of the pictures that the tiny model with colour sees [px]
SEEN_SHAPES = {"image_map": ("batch", 1, 1, 1), "places": ("batch", POINTS, 2)}


def tiny_network(y_axis, x_axis, confidence, size_factor, ground=False, colour=False):
    """offset = mean of the points, size = size_factor * mean size of the category, the rest constant: the ONNX contract
    of CLIPose. With `ground` it takes that, too. With `colour` the mean brightness moves the object to the right.
    """
    told = ({"ground": GROUND_SHAPE} if ground else {}) | (SEEN_SHAPES if colour else {})
    constants = {"shift": np.array([0.1, 0.0, 0.0])} if colour else {}
    constants |= {
        "zero": np.zeros(1),
        "y": np.array(y_axis),
        "x": np.array(x_axis),
        "c": np.array(confidence),
        "sizes": np.stack([MEAN_SIZES[category] for category in CATEGORIES]) * size_factor,
    }
    nodes = [
        helper.make_node("ReduceMean", ["points"], ["middle" if colour else "offset"], axes=[1], keepdims=0),
        *(
            [
                helper.make_node("Flatten", ["image_map"], ["brightness"], axis=1),
                helper.make_node("Mul", ["brightness", "shift"], ["shifted"]),
                helper.make_node("Add", ["middle", "shifted"], ["offset"]),
            ]
            if colour
            else []
        ),
        helper.make_node("Mul", ["offset", "zero"], ["zeros3"]),
        helper.make_node("ReduceMean", ["zeros3"], ["zeros1"], axes=[1], keepdims=1),
        helper.make_node("Add", ["zeros3", "y"], ["y_axis"]),
        helper.make_node("Add", ["zeros3", "x"], ["x_axis"]),
        helper.make_node("Add", ["zeros1", "c"], ["confidence"]),
        helper.make_node("Gather", ["sizes", "category"], ["size"], axis=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("points", TensorProto.FLOAT, ["batch", POINTS, 3]),
            helper.make_tensor_value_info("category", TensorProto.INT64, ["batch"]),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in told.items()),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n]) for name, n in OUTPUT_WIDTHS.items()],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def tiny_backbone():
    """The mean brightness of a picture: the ONNX contract of an image backbone."""
    shapes = {"picture": ["batch", 3, SEEN_SIDE, SEEN_SIDE], "image_map": SEEN_SHAPES["image_map"]}
    nodes = [helper.make_node("ReduceMean", ["picture"], ["image_map"], axes=[1, 2, 3], keepdims=1)]
    seen, said = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    graph = helper.make_graph(nodes, "tiny", [seen], [said])
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


OUTPUT_WIDTHS = {"y_axis": 3, "x_axis": 3, "confidence": 2, "offset": 3, "size": 3}


def write_tiny(
    folder,
    y_axis=(0.0, -1.0, 0.0),
    x_axis=(1.0, 0.0, 0.0),
    confidence=(0.81, 0.25),
    size_factor=1.0,
    ground=False,
    colour=False,
    **changes,
):
    """Model folder of a tiny network; `changes` override fields of the card, its network file or its settings."""
    folder.mkdir(parents=True, exist_ok=True)
    content = tiny_network(y_axis, x_axis, confidence, size_factor, ground, colour).SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    network = NetworkFile(
        file="model.onnx",
        sha256=hashlib.sha256(content).hexdigest(),
        inputs={"points": ("batch", POINTS, 3), "category": ("batch",)}
        | ({"ground": GROUND_SHAPE} if ground else {})
        | (SEEN_SHAPES if colour else {}),
        outputs={name: ("batch", n) for name, n in OUTPUT_WIDTHS.items()},
    )
    settings = CliposeSettings(scale=dict.fromkeys(CATEGORIES, 0.2), outlier_radius=0.8)
    settings, network = (with_changes(of, changes) for of in (settings, network))
    networks = {NETWORK: network}
    if colour:
        content = tiny_backbone().SerializeToString()
        (folder / "image.onnx").write_bytes(content)
        seen = {"picture": ("batch", 3, SEEN_SIDE, SEEN_SIDE)}
        said = {"image_map": SEEN_SHAPES["image_map"]}
        networks["image"] = NetworkFile("image.onnx", hashlib.sha256(content).hexdigest(), seen, said)
    card = ModelCard(
        name="tiny",
        estimator="cleanpose" if colour else "clipose",
        names=CATEGORIES,
        networks=networks,
        symmetry={category: nocs_symmetry(category) for category in CATEGORIES},
        settings=settings.as_mapping(),
    )
    write_card(with_changes(card, changes), folder)
    return folder


def with_changes(record, changes):
    """The record with what the changes say of its fields."""
    return replace(record, **{field.name: changes[field.name] for field in fields(record) if field.name in changes})


@pytest.fixture(scope="session")
def recorded():
    """The module recorded.py beside this file, which makes recordings."""
    spec = importlib.util.spec_from_file_location("recorded", Path(__file__).with_name("recorded.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def write_model(tmp_path):
    """Writes models/tiny under the test's folder and gives its path; takes the arguments of `write_tiny`."""
    return lambda folder="tiny", **arguments: write_tiny(tmp_path / "models" / folder, **arguments)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Path of one tiny model for the whole run, with the defaults of `write_tiny`."""
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_seeing_model(tmp_path_factory):
    """Path of a tiny model of CleanPose whose objects lie the farther to the right the brighter they are."""
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny-seeing", colour=True)


@pytest.fixture(scope="session")
def leaning_model(tmp_path_factory):
    """Path of a tiny model whose cans and mugs lean by 6 degrees on the table of the spheres, where they may stand."""
    y_axis = Rotation.from_euler("z", 6, degrees=True).apply(TABLE_NORMAL)
    rests = dict.fromkeys(("can", "mug"), (Rest.Y,))
    return write_tiny(tmp_path_factory.mktemp("models") / "leaning", y_axis=tuple(y_axis), rests=rests)


def tiny_masks_network():
    """What lies higher than 1.5 cm above the surface is an object, the highest point its centre; every cell votes for
    itself: the ONNX contract of the depth segmenter's first network.
    """
    height = [[0.0] * CHANNELS, [0.0] * CHANNELS, [0.0] * CHANNELS, [0.0] * CHANNELS]
    height[0][1], height[1][1] = 40.0, 8.0
    constants = {
        "weights": np.array(height).reshape(4, CHANNELS, 1, 1),
        "bias": np.array([-0.15 * 40, -0.6 * 8, 0.0, 0.0]),
    }
    nodes = [
        helper.make_node("AveragePool", ["channels"], ["cells"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["cells", "weights", "bias"], ["answer"]),
    ]
    graph = helper.make_graph(
        nodes,
        "masks",
        [helper.make_tensor_value_info("channels", TensorProto.FLOAT, [1, CHANNELS, "height", "width"])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 4, "rows", "columns"])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def tiny_names_network(logits):
    """Always the same answer, but the first name gains with the share of the crop that the mask covers."""
    weights = np.zeros((CROP_CHANNELS, len(logits)))
    weights[0, 0] = 1.0
    constants = {"weights": weights, "bias": np.array(logits)}
    nodes = [
        helper.make_node("ReduceMean", ["crops"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["means", "weights", "bias"], ["name"]),
    ]
    graph = helper.make_graph(
        nodes,
        "names",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["batch", CROP_CHANNELS, CROP, CROP])],
        [helper.make_tensor_value_info("name", TensorProto.FLOAT, ["batch", len(logits)])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def write_tiny_segmenter(folder, surest="can", **changes):
    """Model folder of a tiny depth segmenter that calls everything by one name (`nothing`: all is left out)."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (*CATEGORIES, "other")
    logits = [6.0 if name == surest else 0.0 for name in (*names, "nothing")]
    rows = {
        "masks": (tiny_masks_network(), {"channels": (1, CHANNELS, "height", "width")}, {"answer": (1, 4, "r", "c")}),
        "names": (
            tiny_names_network(logits),
            {"crops": ("batch", CROP_CHANNELS, CROP, CROP)},
            {"name": ("batch", len(logits))},
        ),
    }
    networks = {}
    for key, (network, inputs, outputs) in rows.items():
        content = network.SerializeToString()
        (folder / f"{key}.onnx").write_bytes(content)
        networks[key] = NetworkFile(f"{key}.onnx", hashlib.sha256(content).hexdigest(), inputs, outputs)
    settings = DepthSegmenterSettings(votes=VoteSettings(reach=30.0), **changes).as_mapping()
    write_card(ModelCard("segmenter-depth", "depth-segmenter", names, networks, settings=settings), folder)
    return folder


@pytest.fixture
def write_segmenter(tmp_path):
    """Writes models/segmenter-depth under the test's folder and gives its path."""
    return lambda **arguments: write_tiny_segmenter(tmp_path / "models" / "segmenter-depth", **arguments)


@pytest.fixture(scope="session")
def tiny_segmenter(tmp_path_factory):
    """Path of one tiny depth segmenter for the whole run, which calls everything a can."""
    return write_tiny_segmenter(tmp_path_factory.mktemp("models") / "segmenter-depth")


RCNN_SIZE = (240, 320)  # of the tiny network's image
RCNN_CLASSES = ("person", "cup", "tin")


def tiny_mask_rcnn_network(boxes, labels, scores, masks):
    """Always the same detections, but a darker image makes them less sure: the ONNX contract of Mask R-CNN."""
    constants = {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.array(labels, np.int64),
        "surety": np.array(scores, np.float32),
        "masks": np.array(masks, np.float32).reshape(-1, 1, 28, 28),
    }
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items() if name == "surety"]
    nodes = [
        *(
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
            for name, value in constants.items()
            if name != "surety"
        ),
        helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=0),
        helper.make_node("Mul", ["surety", "brightest"], ["scores"]),
    ]
    many = "detections"
    shapes = {"boxes": [many, 4], "labels": [many], "scores": [many], "masks": [many, 1, 28, 28]}
    graph = helper.make_graph(
        nodes,
        "detections",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *RCNN_SIZE])],
        [
            helper.make_tensor_value_info(name, TensorProto.INT64 if name == "labels" else TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ],
        tensors,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)]), shapes


def boxes_of_spheres():
    """Boxes of the two spheres of `spheres_on_table(2, …)`, in the tiny network's image."""
    _, truth = spheres_on_table(2, ["can"])
    places = [np.nonzero(truth.masks == number) for number in (1, 2)]
    return [(u.min() / 2, v.min() / 2, (u.max() + 1) / 2, (v.max() + 1) / 2) for v, u in places]


def disc():
    """A round mask: what the spheres look like in their boxes."""
    v, u = np.mgrid[:28, :28] - 13.5
    return (u**2 + v**2 < 14**2).astype(np.float32)


def write_tiny_mask_rcnn(folder, boxes=None, labels=(3, 2), scores=(0.9, 0.8), masks=None, **changes):
    """Model folder of a tiny Mask R-CNN; without other boxes it sees a tin and a cup where the two spheres are."""
    folder.mkdir(parents=True, exist_ok=True)
    boxes = boxes_of_spheres() if boxes is None else boxes
    masks = [disc()] * len(boxes) if masks is None else masks
    network, shapes = tiny_mask_rcnn_network(boxes, labels, scores, masks)
    content = network.SerializeToString()
    (folder / "detections.onnx").write_bytes(content)
    entry = NetworkFile(
        "detections.onnx",
        hashlib.sha256(content).hexdigest(),
        {"image": (1, 3, *RCNN_SIZE)},
        {name: tuple(shape) for name, shape in shapes.items()},
    )
    settings = MaskRcnnSettings(RCNN_CLASSES, {"cup": "mug", "tin": "can"})
    settings, entry = (with_changes(of, changes) for of in (settings, entry))
    names = tuple(dict.fromkeys(settings.categories.values()))
    card = ModelCard(folder.name, "mask-rcnn-segmenter", names, {"detections": entry}, settings=settings.as_mapping())
    write_card(card, folder)
    return folder


@pytest.fixture
def write_mask_rcnn(tmp_path):
    """Writes models/segmenter-mask-rcnn under the test's folder and gives its path; see `write_tiny_mask_rcnn`."""
    return lambda name="segmenter-mask-rcnn", **arguments: write_tiny_mask_rcnn(tmp_path / "models" / name, **arguments)


@pytest.fixture(scope="session")
def tiny_mask_rcnn(tmp_path_factory):
    """Path of one tiny Mask R-CNN for the whole run."""
    return write_tiny_mask_rcnn(tmp_path_factory.mktemp("models") / "segmenter-mask-rcnn")
