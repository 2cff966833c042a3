"""What can be wrong with the node's inputs, and what it must make of that.

The tests and the soak inject it; docs/faults.md is written from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clipose_ros.core.admission import MAX_INSTANCES
from clipose_ros.core.backprojection import metres
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.estimators.clipose import MINIMUM_POINTS
from clipose_ros.formats.image_messages import depth_view, label_view
from clipose_ros.msg import InstanceArray, ObjectInstance
from clipose_ros.ros.conversions import image_message, stamp_message
from clipose_ros.ros.lab.shots import Answer, Case, Shot, good_answer, stamp_of
from clipose_ros.ros.topics import CAMERA_INFO, DEPTH

PERIOD_NS = NS_PER_S // 30  # of the camera
LATE_IMAGES = 15  # by which masks come late: half a second
# by which a recording jumps back; no whole number of images, so that no stamp comes twice
LOOP_NS = 10 * NS_PER_S + 1_000_000

FEW_POINTS = f"points: expected at least {MINIMUM_POINTS}"
TOO_MUCH = "mask: expected one object"
NO_FOCAL_LENGTH = "intrinsics: expected finite values with fx, fy > 0"


@dataclass(frozen=True)
class Fault:
    """A way to damage good images that follow each other.

    Parameters
    ----------
    name, text : str
        What it is called, and what is sent.
    images : int
        How many good images it takes.
    everywhere : bool
        Cheap, and the same for every model, so that the soak can inject it.
    damage : callable
        Gets the good shots and gives the case.
    """

    name: str
    text: str
    images: int
    everywhere: bool
    damage: Callable[..., Case]


FAULTS: dict[str, Fault] = {}


def fault(images: int = 1, everywhere: bool = True) -> Callable:
    """Put a function into the catalogue; its name and docstring are those of the fault.

    Parameters
    ----------
    images, everywhere
        As of `Fault`.

    Returns
    -------
    callable
        The decorator.
    """

    def register(damage: Callable[..., Case]) -> Callable[..., Case]:
        name = damage.__name__.strip("_").replace("_", " ")
        FAULTS[name] = Fault(name, damage.__doc__, images, everywhere, damage)
        return damage

    return register


# What the answers are built of


def _answered(shot: Shot, rejected: Mapping[str, int] | None = None, counted: Mapping[str, int] | None = None) -> Case:
    """A pose for every instance that is not rejected. counted: beside."""
    rejected = rejected or {}
    rejections = sum(rejected.values())
    causes = {f"rejected: {cause}": number for cause, number in rejected.items()}
    return Case(
        (shot,),
        {stamp_of(shot): Answer(len(shot.instances.instances) - rejections, rejections, {"frames": 1} | causes)},
        counted or {},
    )


def _failed(shot: Shot, cause: str) -> Case:
    """Every instance is rejected for what makes the frame fail."""
    return Case(
        (shot,), {stamp_of(shot): Answer(0, len(shot.instances.instances), {"failures": 1, f"failed: {cause}": 1})}
    )


def _unanswered(*sent: Shot, **counted: int) -> Case:
    return Case(sent, {}, {f"dropped: {cause.replace('_', ' ')}": number for cause, number in counted.items()})


def _changed(message: object, **changes: object) -> object:
    """A copy of a message with other values in some fields; the values of the others are shared."""
    fields = {name: getattr(message, name) for name in message.get_fields_and_field_types()}
    return type(message)(**(fields | changes))


def _with_depth(shot: Shot, **changes: object) -> Shot:
    return replace(shot, depth=_changed(shot.depth, **changes))


def _with_labels(shot: Shot, **changes: object) -> Shot:
    return replace(
        shot, instances=_changed(shot.instances, label_image=_changed(shot.instances.label_image, **changes))
    )


def _with_label_pixels(shot: Shot, labels: np.ndarray) -> Shot:
    image = shot.instances.label_image
    return replace(
        shot, instances=_changed(shot.instances, label_image=image_message(labels, image.encoding, image.header))
    )


def _with_instances(shot: Shot, instances: list[ObjectInstance]) -> Shot:
    return replace(shot, instances=_changed(shot.instances, instances=instances))


def _with_first(shot: Shot, **changes: object) -> Shot:
    """With other values in the first instance."""
    first, *others = shot.instances.instances
    return _with_instances(shot, [_changed(first, **changes), *others])


def _first_mask(shot: Shot) -> np.ndarray:
    """(H, W) pixels of the first instance."""
    return label_view(shot.instances.label_image) == shot.instances.instances[0].label


def _first_object_at(shot: Shot, depth_m: float) -> Case:
    """Without a valid depth the first object has no points; the others are not concerned."""
    depth = np.array(metres(depth_view(shot.depth)))
    depth[_first_mask(shot)] = depth_m
    return _answered(replace(shot, depth=image_message(depth, "32FC1", shot.depth.header)), {FEW_POINTS: 1})


def _moved(shot: Shot, by_ns: int) -> Shot:
    """With another stamp."""
    header = Header(stamp=stamp_message(stamp_of(shot) + by_ns), frame_id=shot.depth.header.frame_id)
    return Shot(*(_changed(message, header=header) for message in (shot.camera_info, shot.depth, shot.instances)))


# Depth


@fault()
def _depth_is_NaN(shot: Shot) -> Case:
    """32FC1, NaN on an object"""
    return _first_object_at(shot, np.nan)


@fault()
def _depth_is_infinite(shot: Shot) -> Case:
    """32FC1, infinity on an object"""
    return _first_object_at(shot, np.inf)


@fault()
def _depth_is_zero(shot: Shot) -> Case:
    """32FC1, 0 on an object"""
    return _first_object_at(shot, 0.0)


@fault()
def _depth_is_negative(shot: Shot) -> Case:
    """32FC1, -1 m on an object"""
    return _first_object_at(shot, -1.0)


@fault()
def _depth_is_out_of_range(shot: Shot) -> Case:
    """32FC1, 60 m on an object, further than `max_depth_m`"""
    return _first_object_at(shot, 60.0)


@fault()
def _depth_has_holes(shot: Shot) -> Case:
    """32FC1, NaN in every other row"""
    depth = np.array(metres(depth_view(shot.depth)))
    depth[::2] = np.nan
    return _answered(replace(shot, depth=image_message(depth, "32FC1", shot.depth.header)))


@fault()
def _rows_are_padded(shot: Shot) -> Case:
    """`step` of depth and labels is larger than the row; what fills it is not zero"""

    def padded(image: Image, pixels: np.ndarray) -> Image:
        wide = np.full((pixels.shape[0], pixels.shape[1] + 8), 1, pixels.dtype)
        wide[:, : pixels.shape[1]] = pixels
        return _changed(image_message(wide, image.encoding, image.header), width=image.width)

    labels = shot.instances.label_image
    damaged = replace(shot, depth=padded(shot.depth, depth_view(shot.depth)))
    return _answered(
        replace(damaged, instances=_changed(shot.instances, label_image=padded(labels, label_view(labels))))
    )


@fault()
def _bytes_are_big_endian(shot: Shot) -> Case:
    """depth in the other order of bytes, and said so"""
    pixels = depth_view(shot.depth)
    other = image_message(pixels.byteswap(), shot.depth.encoding, shot.depth.header)
    return _answered(replace(shot, depth=_changed(other, is_bigendian=1 - other.is_bigendian)))


@fault()
def _depth_is_colour(shot: Shot) -> Case:
    """depth with the encoding rgb8"""
    return _failed(_with_depth(shot, encoding="rgb8"), "depth encoding: expected 16UC1 or 32FC1 or mono16")


@fault()
def _depth_is_compressed(shot: Shot) -> Case:
    """depth with the encoding of compressed_depth_image_transport"""
    return _failed(
        _with_depth(shot, encoding="16UC1; compressedDepth png"), "depth encoding: expected 16UC1 or 32FC1 or mono16"
    )


@fault()
def _depth_is_cut_short(shot: Shot) -> Case:
    """half of the bytes are missing"""
    image = shot.depth
    cause = f"depth data: expected {image.step * image.height} bytes for {image.height} rows"
    return _failed(_with_depth(shot, data=image.data[: len(image.data) // 2]), cause)


@fault()
def _depth_has_short_rows(shot: Shot) -> Case:
    """`step` is smaller than the row"""
    image = shot.depth
    return _failed(
        _with_depth(shot, step=image.width),
        f"depth step: expected at least {2 * image.width} bytes for {image.width} px of 16UC1",
    )


@fault()
def _depth_has_no_pixels(shot: Shot) -> Case:
    """0x0 pixels"""
    return _failed(_with_depth(shot, height=0, width=0, step=0, data=b""), "depth: expected pixels")


@fault()
def _depth_claims_an_absurd_size(shot: Shot) -> Case:
    """2^30 x 2^31 pixels in a few bytes: no memory is taken for them"""
    height, width = 2**31, 2**30
    cause = f"depth data: expected {2 * width * height} bytes for {height} rows"
    return _failed(_with_depth(shot, height=height, width=width, step=2 * width), cause)


@fault()
def _depth_has_another_size(shot: Shot) -> Case:
    """half as wide and high as calibration and labels"""
    half = image_message(depth_view(shot.depth)[::2, ::2], "16UC1", shot.depth.header)
    return _failed(
        replace(shot, depth=half), f"camera_info: expected the size of the depth image, {half.width}x{half.height}"
    )


# Calibration


@fault()
def _camera_info_is_missing(shot: Shot) -> Case:
    """not sent; the one before it holds"""
    return _answered(replace(shot, camera_info=None))


@fault()
def _camera_info_has_another_size(shot: Shot) -> Case:
    """of images twice as wide"""
    info = shot.camera_info
    k, p = ([*matrix[:2], matrix[2] + info.width / 2, *matrix[3:]] for matrix in (info.k, info.p))
    damaged = replace(shot, camera_info=_changed(info, width=2 * info.width, k=k, p=p))
    return _failed(
        damaged, f"camera_info: expected the size of the depth image, {shot.depth.width}x{shot.depth.height}"
    )


@fault()
def _camera_info_has_no_size(shot: Shot) -> Case:
    """0x0 pixels; the one before it holds"""
    damaged = replace(shot, camera_info=_changed(shot.camera_info, width=0, height=0))
    return _answered(damaged, counted={"refused: camera_info: expected the size of an image": 1})


@fault()
def _camera_is_not_calibrated(shot: Shot) -> Case:
    """K and P are zero; the calibration before it holds"""
    damaged = replace(shot, camera_info=_changed(shot.camera_info, k=[0.0] * 9, p=[0.0] * 12))
    return _answered(damaged, counted={f"refused: {NO_FOCAL_LENGTH}": 1})


@fault()
def _calibration_is_NaN(shot: Shot) -> Case:
    """K and P are NaN; the calibration before it holds"""
    damaged = replace(shot, camera_info=_changed(shot.camera_info, k=[np.nan] * 9, p=[np.nan] * 12))
    return _answered(damaged, counted={f"refused: {NO_FOCAL_LENGTH}": 1})


@fault()
def _calibration_is_of_another_frame(shot: Shot) -> Case:
    """its frame_id is another than the depth image's; a warning names both"""
    header = Header(stamp=shot.depth.header.stamp, frame_id="another_frame")
    warning = f"warned: {CAMERA_INFO} frame_id: expected {shot.depth.header.frame_id!r} as {DEPTH}"
    return _answered(replace(shot, camera_info=_changed(shot.camera_info, header=header)), counted={warning: 1})


# Label image


@fault()
def _labels_have_another_size(shot: Shot) -> Case:
    """half as wide and high as the depth"""
    damaged = _with_label_pixels(shot, label_view(shot.instances.label_image)[::2, ::2])
    return _failed(damaged, f"labels: expected {(shot.depth.height, shot.depth.width)} as depth")


@fault()
def _labels_are_missing(shot: Shot) -> Case:
    """instances, but no label image"""
    damaged = replace(shot, instances=_changed(shot.instances, label_image=Image()))
    return _failed(damaged, "label_image encoding: expected mono8 or 8UC1 or mono16 or 16UC1")


@fault()
def _labels_are_numbers_of_another_kind(shot: Shot) -> Case:
    """the encoding 32SC1"""
    return _failed(
        _with_labels(shot, encoding="32SC1"), "label_image encoding: expected mono8 or 8UC1 or mono16 or 16UC1"
    )


@fault()
def _labels_are_cut_short(shot: Shot) -> Case:
    """half of the bytes are missing"""
    image = shot.instances.label_image
    cause = f"label_image data: expected {image.step * image.height} bytes for {image.height} rows"
    return _failed(_with_labels(shot, data=image.data[: len(image.data) // 2]), cause)


@fault()
def _labels_claim_an_absurd_size(shot: Shot) -> Case:
    """2^30 x 2^31 pixels in a few bytes: no memory is taken for them"""
    height, width = 2**31, 2**30
    cause = f"label_image data: expected {2 * width * height} bytes for {height} rows"
    return _failed(_with_labels(shot, encoding="16UC1", height=height, width=width, step=2 * width), cause)


@fault()
def _frames_differ(shot: Shot) -> Case:
    """the masks' frame_id is another than the depth image's; a warning asks whether the depth is registered"""
    header = Header(stamp=shot.depth.header.stamp, frame_id="another_frame")
    case = _answered(replace(shot, instances=_changed(shot.instances, header=header)))
    ((stamp, answer),) = case.answers.items()
    warning = {f"warned: instances frame_id: expected {shot.depth.header.frame_id!r} as {DEPTH}": 1}
    return replace(case, answers={stamp: replace(answer, counted=answer.counted | warning)})


@fault()
def _frame_has_no_name(shot: Shot) -> Case:
    """an empty frame_id in every message: answered, but not on TF"""
    return _named(shot, "", "the name of the camera's optical frame")


@fault()
def _frame_begins_with_a_slash(shot: Shot) -> Case:
    """a frame_id as ROS 1 had them, /camera, in every message: answered, and on TF without the slash"""
    return _named(shot, "/camera", "a name without / in front, as tf2 has it")


def _named(shot: Shot, frame_id: str, expected: str) -> Case:
    """Another name of the frame, which is warned of."""
    header = Header(stamp=shot.depth.header.stamp, frame_id=frame_id)
    messages = (_changed(message, header=header) for message in (shot.camera_info, shot.depth, shot.instances))
    case = _answered(Shot(*messages))
    ((stamp, answer),) = case.answers.items()
    warning = {f"warned: {DEPTH} frame_id: expected {expected}": 1}
    return replace(case, answers={stamp: replace(answer, counted=answer.counted | warning)})


# Masks


@fault()
def _mask_is_empty(shot: Shot) -> Case:
    """an instance whose label no pixel has"""
    ghost = ObjectInstance(label=60_000, category=CATEGORIES[0], score=0.9, id="ghost")
    return _answered(_with_instances(shot, [*shot.instances.instances, ghost]), {FEW_POINTS: 1})


@fault()
def _mask_is_tiny(shot: Shot) -> Case:
    """five pixels are left of an object's mask"""
    labels = np.array(label_view(shot.instances.label_image))
    rows, columns = np.nonzero(_first_mask(shot))
    labels[rows[5:], columns[5:]] = 0
    return _answered(_with_label_pixels(shot, labels), {FEW_POINTS: 1})


@fault()
def _mask_covers_everything(shot: Shot) -> Case:
    """all pixels have the label of one instance, none that of the others"""
    labels = np.full_like(label_view(shot.instances.label_image), shot.instances.instances[0].label)
    return _answered(_with_label_pixels(shot, labels), {TOO_MUCH: 1, FEW_POINTS: len(shot.instances.instances) - 1})


@fault()
def _mask_has_no_instance(shot: Shot) -> Case:
    """a label in the image that no instance has: background"""
    return _answered(_with_instances(shot, shot.instances.instances[1:]))


@fault()
def _masks_overlap(shot: Shot) -> Case:
    """two instances with the same label: the higher score has the pixels"""
    first, *others = shot.instances.instances
    twin = _changed(first, score=first.score / 2, id="twin")
    return _answered(_with_instances(shot, [twin, first, *others]), {"label: expected one instance for each": 1})


@fault()
def _label_is_the_background(shot: Shot) -> Case:
    """an instance with label 0"""
    return _answered(_with_first(shot, label=0), {"label: expected another one than that of the background": 1})


# Instances


@fault()
def _class_is_unknown(shot: Shot) -> Case:
    """a shoe"""
    return _answered(_with_first(shot, category="shoe"), {f"category: expected one of {', '.join(CATEGORIES)}": 1})


@fault()
def _class_is_empty(shot: Shot) -> Case:
    """no class name"""
    return _answered(_with_first(shot, category=""), {f"category: expected one of {', '.join(CATEGORIES)}": 1})


@fault()
def _score_is_NaN(shot: Shot) -> Case:
    """a detector that computed nonsense"""
    return _answered(_with_first(shot, score=float("nan")), {"score: expected a finite number": 1})


@fault()
def _nothing_was_detected(shot: Shot) -> Case:
    """no instances, and no label image either: an empty answer"""
    return _answered(replace(shot, instances=InstanceArray(header=shot.instances.header)))


@fault()
def _one_instance(shot: Shot) -> Case:
    """no fault"""
    return _answered(_with_instances(shot, shot.instances.instances[:1]))


@fault(everywhere=False)
def _as_many_instances_as_allowed(shot: Shot) -> Case:
    """`max_instances` masks; no fault"""
    return _answered(_tiled(shot, MAX_INSTANCES))


@fault(everywhere=False)
def _one_instance_too_many(shot: Shot) -> Case:
    """`max_instances` + 1 masks: the lowest score is rejected"""
    return _answered(_tiled(shot, MAX_INSTANCES + 1), {f"instances: expected at most {MAX_INSTANCES}": 1})


@fault()
def _many_bad_instances_before_the_good(shot: Shot) -> Case:
    """1000 instances with empty masks and low scores come first in the list"""
    many, good = 1000, shot.instances.instances
    noise = [ObjectInstance(label=60_000 + i, category=CATEGORIES[0], score=0.01, id=f"noise_{i}") for i in range(many)]
    estimated = MAX_INSTANCES - len(good)
    return _answered(
        _with_instances(shot, noise + list(good)),
        {FEW_POINTS: estimated, f"instances: expected at most {MAX_INSTANCES}": many - estimated},
    )


def _tiled(shot: Shot, count: int) -> Shot:
    """The image cut into so many masks, with falling scores."""
    columns = int(np.ceil(np.sqrt(count)))
    height, width = depth_view(shot.depth).shape
    row, column = np.arange(height) * columns // height, np.arange(width) * columns // width
    tiles = (row[:, None] * columns + column).astype(label_view(shot.instances.label_image).dtype) + 1
    instances = [
        ObjectInstance(label=i + 1, category=CATEGORIES[i % len(CATEGORIES)], score=1 - i / 1000, id=str(i + 1))
        for i in range(count)
    ]
    return _with_instances(_with_label_pixels(shot, tiles), instances)


# Order and time


@fault()
def _instances_come_first(shot: Shot) -> Case:
    """masks before the depth image"""
    case = _answered(shot)
    return replace(case, sent=(Shot(instances=shot.instances), replace(shot, instances=None)))


@fault(images=LATE_IMAGES + 1)
def _masks_come_late(*shots: Shot) -> Case:
    """the masks of an image 500 ms after it, with newer images in between: joined to their own"""
    answers = {stamp_of(shot): good_answer(shot) for shot in shots}
    return Case(
        (*(replace(shot, instances=None) for shot in shots), *(Shot(instances=shot.instances) for shot in shots)),
        answers,
    )


@fault()
def _instances_are_missing(shot: Shot) -> Case:
    """a depth image without masks"""
    return _unanswered(replace(shot, instances=None), depth_without_partners=1)


@fault()
def _depth_is_missing(shot: Shot) -> Case:
    """masks without a depth image"""
    return _unanswered(replace(shot, depth=None), instances_without_partners=1)


@fault()
def _stamps_differ(shot: Shot) -> Case:
    """the masks' stamp is a nanosecond off: no image is taken for another"""
    later = replace(shot, instances=_moved(shot, 1).instances)
    return _unanswered(later, depth_without_partners=1, instances_without_partners=1)


@fault()
def _messages_come_twice(shot: Shot) -> Case:
    """everything is sent two times"""
    case = _answered(shot, counted={"dropped: depth twice": 1, "dropped: instances twice": 1})
    return replace(case, sent=(shot, shot))


@fault(images=2)
def _images_change_places(first: Shot, second: Shot) -> Case:
    """the older image after the newer one"""
    case = _answered(
        second, counted={"dropped: depth after a newer frame": 1, "dropped: instances after a newer frame": 1}
    )
    return replace(case, sent=(second, first))


@fault(images=2)
def _recording_starts_again(*shots: Shot) -> Case:
    """the clock goes back by ten seconds, and forward again: answered, with new tracks"""
    moved = tuple(_moved(shot, -LOOP_NS) for shot in shots)
    resets = {"tracking: reset: clock went back": 1, "tracking: reset: gap in time": 1}
    return Case(moved, {stamp_of(shot): good_answer(shot) for shot in moved}, resets)


@fault()
def _stamp_is_in_the_future(shot: Shot) -> Case:
    """one depth image an hour ahead: what follows is answered"""
    return _unanswered(Shot(depth=_moved(shot, 3600 * NS_PER_S).depth), clock_went_back=1)
