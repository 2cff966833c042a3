"""What can be wrong with the node's inputs, told from messages that were heard: publishers, rates, stamps, calibration,
depth, masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CameraInfo, Image

from clipose_ros.core.backprojection import DepthRange, metres
from clipose_ros.core.object_sizes import ObjectSizes, unit_warning
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.doctor.findings import Finding, fail, ok, warn
from clipose_ros.formats.camera_info import (
    camera_info_shape,
    distortion_warning,
    geometry_warning,
    intrinsics_from,
    is_distorted,
)
from clipose_ros.formats.image_messages import depth_view, label_view
from clipose_ros.formats.message_definitions import COMPRESSED_IMAGE
from clipose_ros.joining.stamp_evidence import sufficient_tolerance_s
from clipose_ros.msg import InstanceArray
from clipose_ros.ros.transforms import frame_id_warning

# more lost messages than this are worth a warning; of fewer stamps no period can be told
LOST_SHARE, LEAST_STAMPS = 0.1, 5
OLD_S, FUTURE_S, OTHER_EPOCH_S = 1.0, 0.05, 30 * 24 * 3600.0
LEAST_VALID = 0.1  # of all pixels
# of those of objects: less, and the mask lies beside the object, or the depth is not registered
LEAST_VALID_MASKED = 0.5
MOST_METRES, LEAST_MILLIMETRES = 20.0, 100.0  # no camera of a table sees further, or nearer
LATE_S = 1.0  # a node keeps two seconds of depth at 30 Hz
REGISTER = "let the camera driver align depth to colour, and segment that colour image"
# What to do about a topic of another type.
TYPE_CURES = {
    COMPRESSED_IMAGE: "give the raw topic's name, the node image_transport:=compressed and clipose doctor "
    "--image-transport compressed, or republish it raw (image_transport)",
    "sensor_msgs/msg/PointCloud2": "give the depth image that the cloud is made of",
    "stereo_msgs/msg/DisparityImage": "give depth instead, as stereo_image_proc makes it",
    "sensor_msgs/msg/Image": "ros2 run clipose_ros mask_adapter or label_adapter makes instances of masks",
    "vision_msgs/msg/Detection2DArray": "ros2 run clipose_ros label_adapter makes instances of them and a label image",
    "yolo_msgs/msg/DetectionArray": "ros2 run clipose_ros yolo_adapter makes instances of them",
}


def publisher_finding(subject: str, kind: str, publishers: Sequence[TopicEndpointInfo], qos: QoSProfile) -> Finding:
    """Judge who publishes, and whether the node hears it.

    Parameters
    ----------
    subject : str
        What the finding is about.
    kind : str
        Type of the topic, `package/msg/Name`.
    publishers : sequence of TopicEndpointInfo
        Of the topic.
    qos : QoSProfile
        Of the node's subscription.

    Returns
    -------
    Finding
        The judgement.
    """
    if not publishers:
        return fail(
            subject,
            "nobody publishes",
            "start it, or say its name, as ros2 topic list has it: --depth …, --camera-info …, --instances …",
        )
    others = sorted({publisher.topic_type for publisher in publishers} - {kind})
    if others:
        return fail(
            subject,
            f"expected {kind}, got {', '.join(others)}",
            next((TYPE_CURES[other] for other in others if other in TYPE_CURES), "choose the topic of that type"),
        )
    judged = [qos_check_compatible(publisher.qos_profile, qos) for publisher in publishers]
    refused = [reason for level, reason in judged if level == QoSCompatibility.ERROR]
    if refused:
        return fail(
            subject,
            f"incompatible QoS: {refused[0].strip()}",
            "let the publisher be reliable, or set the node's reliable_inputs to false",
        )
    # The name of a node comes by a topic of its own, at times later than its publishers.
    names = (
        ", ".join(
            sorted(f"{p.node_namespace.rstrip('/')}/{p.node_name}" for p in publishers if "UNKNOWN" not in p.node_name)
        )
        or "found"
    )
    if len(publishers) > 1:
        return warn(
            subject,
            f"{len(publishers)} publishers, {names}: their messages will be mixed",
            "stop all but one, or remap the others",
        )
    return ok(subject, f"{names}, {publishers[0].qos_profile.reliability.name.lower().replace('_', ' ')}")


def rate_finding(
    subject: str, stamps_ns: Sequence[int], arrivals_s: Sequence[float], seconds: float, kept: bool = False
) -> Finding:
    """Judge the rate of what came, and how much of it was lost: stamps tell the period of what was sent.

    Parameters
    ----------
    subject : str
        What the finding is about.
    stamps_ns : sequence of int
        Of all messages [ns].
    arrivals_s : sequence of float
        When they came [s].
    seconds : float
        How long was listened [s].
    kept : bool
        Whether publishers keep a message for whoever comes later (transient local).

    Returns
    -------
    Finding
        The judgement.
    """
    if not arrivals_s:
        cure = (
            "is the publisher paused, or did it send once, and not transient local? Else start it with the Fast DDS "
            "profile, and compare ROS_DOMAIN_ID on both sides"
        )
        return fail(subject, f"published, but nothing came in {seconds:g} s", cure)
    if kept and len(arrivals_s) == 1:
        return ok(subject, "sent once, and kept for whoever comes later")
    # a busy machine hears in bursts; stamps are steady
    span_s = (max(stamps_ns) - min(stamps_ns)) / NS_PER_S or arrivals_s[-1] - arrivals_s[0]
    rate = (len(arrivals_s) - 1) / span_s if span_s else 0.0
    if (lost := lost_share(stamps_ns)) > LOST_SHARE:
        cure = (
            "start the publisher with the Fast DDS profile (FASTRTPS_DEFAULT_PROFILES_FILE); is the machine overloaded?"
        )
        return warn(subject, f"{rate:.1f} Hz come, about {lost:.0%} are lost", cure)
    return ok(subject, f"{rate:.1f} Hz" if len(arrivals_s) > 1 else f"one message in {seconds:g} s")


def lost_share(stamps_ns: Sequence[int]) -> float:
    """Estimate how much was lost, if it was sent at a steady rate.

    Parameters
    ----------
    stamps_ns : sequence of int
        Of the messages that came [ns].

    Returns
    -------
    float
        Share of those between the first and the last that are missing; 0 where that cannot be told.
    """
    steps = np.diff(np.unique(np.asarray(stamps_ns, dtype=np.int64)))
    if len(steps) + 1 < LEAST_STAMPS:
        return 0.0
    # the lower quartile: where every second one is lost, most steps are double
    sent = steps.sum() / np.quantile(steps, 0.25, method="lower") + 1
    return max(0.0, 1.0 - (len(steps) + 1) / float(sent))


def stamp_finding(subject: str, stamps_ns: Sequence[int], ages_s: Sequence[float]) -> Finding:
    """Judge whether stamps are of this clock.

    Parameters
    ----------
    subject : str
        What the finding is about.
    stamps_ns : sequence of int
        Of the messages [ns].
    ages_s : sequence of float
        Of each message when it came, against the clock of this machine [s].

    Returns
    -------
    Finding
        The judgement.
    """
    age_s = float(np.median(ages_s))
    if not all(stamps_ns):
        return fail(
            subject,
            "stamp is zero: it is by their stamps that depth and masks are joined",
            "let the publisher stamp with the time of exposure",
        )
    if abs(age_s) > OTHER_EPOCH_S:
        text = f"stamped {stamps_ns[-1] / NS_PER_S:.1f} s: a simulated clock, or time since the camera's start"
        return warn(subject, text, "use_sim_time:=true, for a simulation or a bag")
    if age_s < -FUTURE_S:
        return warn(subject, f"{-age_s:.2f} s in the future", "synchronise the clocks of the machines (chrony)")
    if age_s > OLD_S:
        cure = (
            "a bag: play it with --clock and set use_sim_time; two machines: synchronise their clocks; "
            "else something queues"
        )
        return warn(subject, f"{age_s:.1f} s old", cure)
    return ok(subject, f"{age_s * 1e3:.0f} ms old when they come")


def frame_finding(subject: str, frame_id: str) -> Finding:
    """Judge the name of a camera's frame.

    Parameters
    ----------
    subject : str
        What the finding is about.
    frame_id : str
        Of the depth image.

    Returns
    -------
    Finding
        The judgement.
    """
    warning = frame_id_warning(frame_id)
    return ok(subject, frame_id) if warning is None else warn(subject, *warning)


def same_frame_finding(subject: str, frame_id: str, of_depth: str) -> Finding:
    """Judge whether a message is of the camera of the depth image.

    Parameters
    ----------
    subject : str
        What the finding is about.
    frame_id : str
        Of the message.
    of_depth : str
        Of the depth image.

    Returns
    -------
    Finding
        The judgement.
    """
    if frame_id == of_depth:
        return ok(subject, "that of the depth image")
    return warn(subject, f"frame_id: expected {of_depth!r} as the depth image, got {frame_id!r}", REGISTER)


def lens_finding(subject: str, info: CameraInfo, topic: str, rectified: bool = True) -> Finding:
    """Judge whether the distortion of a calibration is taken care of.

    Parameters
    ----------
    subject : str
        What the finding is about.
    info : CameraInfo
        Of the camera.
    topic : str
        Name of the depth image.
    rectified : bool
        As the parameter of the node.

    Returns
    -------
    Finding
        The judgement.
    """
    warning = distortion_warning(info, topic, rectified)
    if warning is not None:
        return warn(subject, *warning)
    if not is_distorted(info):
        return ok(subject, "no distortion")
    how = "the image is called rectified" if rectified else "the node undistorts it (rectified: false)"
    return ok(subject, f"{info.distortion_model}: {how}")


def camera_info_finding(subject: str, info: CameraInfo, depth: Image | None, rectified: bool = True) -> Finding:
    """Judge whether the calibration can be that of the depth image.

    Parameters
    ----------
    subject : str
        What the finding is about.
    info : CameraInfo
        Of the camera.
    depth : Image, optional
        A depth image, where one came.
    rectified : bool
        As the parameter of the node.

    Returns
    -------
    Finding
        The judgement.
    """
    cure = "give the calibration of the image that the depth is registered to"
    shape = camera_info_shape(info)
    try:
        intrinsics = intrinsics_from(info, (depth.height, depth.width) if depth else shape, rectified)
    except ValueError as error:
        whole = depth is not None and (info.height, info.width) == (depth.height, depth.width) != shape
        uncut = "the image is neither binned nor cut: let the driver say so in binning and roi of camera_info, too"
        return fail(subject, str(error), uncut if whole else cure)
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    text = f"{shape[1]}x{shape[0]}, fx {fx:.1f}, fy {fy:.1f}, cx {cx:.1f}, cy {cy:.1f}"
    if not (0 < cx < shape[1] and 0 < cy < shape[0]):
        return fail(subject, f"{text}: the principal point lies outside of the image", cure)
    view_deg = float(np.degrees(2 * np.arctan(shape[1] / (2 * fx))))
    if warning := geometry_warning(info, rectified):
        return warn(subject, warning[0], cure)
    return ok(subject, f"{text}: {view_deg:.0f}° wide")


def depth_finding(
    subject: str, image: Image, limits: DepthRange = DepthRange(), unit_m: float | None = None
) -> Finding:
    """Judge encoding, unit and share of valid pixels.

    Parameters
    ----------
    subject : str
        What the finding is about.
    image : Image
        Of depth.
    limits : DepthRange
        Valid depths.
    unit_m : float, optional
        What 1 in the image means [m]; None: as its encoding says.

    Returns
    -------
    Finding
        The judgement.
    """
    try:
        pixels = depth_view(image)
    except ValueError as error:
        return fail(subject, str(error), "give the uncompressed depth image, 16UC1 [mm] or 32FC1 [m]")
    seen = pixels[np.isfinite(pixels) & (pixels > 0)]
    text = f"{image.width}x{image.height} {image.encoding}"
    if len(seen) == 0:
        return fail(subject, f"{text}: no pixel has a depth", "is the camera covered, too near, or its projector off?")
    if unit_m is None and (other := _other_unit(image.encoding, seen)):
        typical, looks_like, is_read_as, cure = other
        return fail(
            subject, f"{text}: values like {typical:.3g} look like {looks_like}, it is read as {is_read_as}", cure
        )
    depth_m = metres(seen, unit_m)
    valid = float(np.count_nonzero((depth_m >= limits.minimum) & (depth_m <= limits.maximum)) / pixels.size)
    between = f"{valid:.0%} of the pixels between {limits.minimum:g} and {limits.maximum:g} m"
    text = f"{text}: {between}, median {np.median(depth_m):.2f} m"
    if valid < LEAST_VALID:
        return warn(subject, text, "look at the depth image; min_depth_m and max_depth_m say what is valid")
    return ok(subject, text)


def unit_finding(subject: str, sizes: ObjectSizes, unit_m: float) -> Finding:
    """Judge the unit of depth by how large objects look.

    Parameters
    ----------
    subject : str
        What the finding is about.
    sizes : ObjectSizes
        Of the objects that were seen.
    unit_m : float
        Unit in which their depth was read [m].

    Returns
    -------
    Finding
        The judgement.
    """
    factor = sizes.suspicion()
    if factor is not None:
        return warn(subject, *unit_warning(factor, unit_m))
    return ok(subject, f"{len(sizes)} objects are as large as such objects may be")


def masks_finding(
    subject: str,
    instances: InstanceArray,
    depth: Image,
    names: Sequence[str],
    limits: DepthRange = DepthRange(),
    unit_m: float | None = None,
) -> Finding:
    """Judge whether instances and depth image of one stamp fit together: sizes, labels, names, depth where masks are.

    Parameters
    ----------
    subject : str
        What the finding is about.
    instances : InstanceArray
        Of the image.
    depth : Image
        Depth.
    names : sequence of str
        That the node answers; empty where that is not known.
    limits : DepthRange
        Valid depths.
    unit_m : float, optional
        As of `depth_finding`.

    Returns
    -------
    Finding
        The judgement.
    """
    if not instances.instances:
        return warn(subject, "no objects in the image", "put one in view; is the segmenter's threshold too high?")
    try:
        labels, pixels = label_view(instances.label_image), depth_view(depth)
    except ValueError as error:
        return fail(subject, str(error), "16UC1 or mono8 label image, beside 16UC1 or 32FC1 depth")
    if labels.shape != pixels.shape:
        expected, got = (f"{width}x{height}" for height, width in (pixels.shape, labels.shape))
        return fail(subject, f"label image: expected {expected} as the depth image, got {got}", REGISTER)
    missing = [instance.label for instance in instances.instances if not (labels == instance.label).any()]
    if missing:
        text = f"labels {', '.join(map(str, missing))}: expected pixels in the label image, got none"
        return warn(subject, text, "let label and pixels be of the same instance")
    unknown = sorted({instance.category for instance in instances.instances} - set(names)) if names else []
    if unknown:
        text = f"category: expected one of {', '.join(names)}, got {', '.join(unknown)}: these will be rejected"
        return warn(subject, text, "rename them in the segmenter or in an adapter, or give the node a model for them")
    depth_m = metres(pixels[labels > 0], unit_m)
    valid = float(np.mean((depth_m >= limits.minimum) & (depth_m <= limits.maximum)))
    if valid < LEAST_VALID_MASKED:
        return warn(
            subject,
            f"{valid:.0%} of the objects' pixels have a depth",
            f"shiny or transparent objects? Else {REGISTER}",
        )
    return ok(subject, f"{len(instances.instances)} objects, {valid:.0%} of their pixels have a depth")


def match_finding(
    subject: str,
    depth_s: Mapping[int, float],
    instances_s: Mapping[int, float],
    max_difference_s: float = 0.0,
) -> Finding:
    """Judge whether masks carry the stamps of depth images, and how late they come.

    Parameters
    ----------
    subject : str
        What the finding is about.
    depth_s, instances_s : mapping of int to float
        When messages came [s], by their stamps [ns].
    max_difference_s : float
        By which the stamps of what belongs together may differ, as the node's `max_stamp_difference_s` [s].

    Returns
    -------
    Finding
        The judgement.
    """
    comparable = [stamp for stamp in instances_s if depth_s and min(depth_s) <= stamp <= max(depth_s)]
    if not comparable:
        return warn(subject, "no masks from the time in which depth was heard", "listen longer: --seconds 10")
    stamps = np.fromiter(depth_s, dtype=np.int64)
    nearest = {stamp: int(stamps[np.abs(stamps - stamp).argmin()]) for stamp in comparable}
    matched = {mask: image for mask, image in nearest.items() if abs(mask - image) <= max_difference_s * NS_PER_S}
    if not matched:
        apart_s = np.array([abs(mask - image) for mask, image in nearest.items()]) / NS_PER_S
        text = f"no mask has the stamp of a depth image; the nearest is {np.median(apart_s) * 1e3:.1f} ms away"
        cure = (
            "stamp the masks with the stamp of their image, and let the driver synchronise colour and depth "
            "(RealSense: enable_sync:=true)"
        )
        step_s = float(np.median(np.diff(np.unique(stamps)))) / NS_PER_S if len(stamps) > 1 else np.inf
        enough_s = sufficient_tolerance_s(float(apart_s.max()), step_s)
        joined = "" if enough_s is None else f"; or join the nearest: max_stamp_difference_s:={enough_s:g}"
        return fail(subject, text, cure + joined)
    late_s = float(np.median([instances_s[mask] - depth_s[image] for mask, image in matched.items()]))
    share = f"{len(matched)} of {len(comparable)} masks have the stamp of a depth image"
    text = f"{share} and come {late_s * 1e3:.0f} ms after it"
    if len(matched) < (1 - LOST_SHARE) * len(comparable):
        cure = "let the driver synchronise colour and depth, or set max_stamp_difference_s; are depth images lost?"
        return warn(subject, text, cure)
    if late_s > LATE_S:
        return warn(subject, text, "a quicker segmenter, or a larger buffer_size of the node")
    return ok(subject, text)


def _other_unit(encoding: str, seen: np.ndarray) -> tuple[float, str, str, str] | None:
    """A typical value, the unit it looks to be in, the unit it is read in, and what to do; None where they are one."""
    typical = float(np.median(seen))
    if encoding != "32FC1" and np.quantile(seen, 0.95) <= MOST_METRES:
        return typical, "metres", "millimetres", "publish millimetres, or 32FC1; or depth_scale_m:=1"
    if encoding == "32FC1" and typical >= LEAST_MILLIMETRES:
        return typical, "millimetres", "metres", "publish metres, or 16UC1; or depth_scale_m:=0.001"
    return None
