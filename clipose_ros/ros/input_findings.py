"""What can be wrong with the node's inputs, told from messages that were heard: publishers, rates, stamps, calibration,
depth, masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CameraInfo, Image

from clipose_ros.core.backprojection import DepthRange
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.doctor.findings import Finding, fail, ok, warn
from clipose_ros.msg import InstanceArray
from clipose_ros.ros.camera_info import camera_info_shape, intrinsics_from
from clipose_ros.ros.conversions import depth_view, label_view

# more lost messages than this are worth a warning; of fewer stamps no period can be told
LOST_SHARE, LEAST_STAMPS = 0.1, 5
OLD_S, FUTURE_S, OTHER_EPOCH_S = 1.0, 0.05, 30 * 24 * 3600.0
FIELD_OF_VIEW_DEG = (20.0, 150.0)
LEAST_VALID = 0.1  # of all pixels
# of those of objects: less, and the mask lies beside the object, or the depth is not registered
LEAST_VALID_MASKED = 0.5
MOST_METRES, LEAST_MILLIMETRES = 20.0, 100.0  # no camera of a table sees further, or nearer
LATE_S = 1.0  # a node keeps two seconds of depth at 30 Hz
REGISTER = "let the camera driver align depth to colour, and segment that colour image"


def publisher_finding(subject: str, kind: str, publishers: Sequence[TopicEndpointInfo], qos: QoSProfile) -> Finding:
    """Who publishes, and whether the node hears it. kind: type of the topic, `package/msg/Name`; qos: of the node's
    subscription.
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
            "choose the topic of that type; compressed images need a republisher",
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


def rate_finding(subject: str, stamps_ns: Sequence[int], arrivals_s: Sequence[float], seconds: float) -> Finding:
    """Rate of what came in `seconds`, and how much of it was lost: stamps tell the period of what was sent."""
    if not arrivals_s:
        cure = (
            "is the publisher paused? Else start it with the Fast DDS profile, and compare ROS_DOMAIN_ID on both sides"
        )
        return fail(subject, f"published, but nothing came in {seconds:g} s", cure)
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
    """Share of the messages that are missing between the first and the last stamp, if they are sent at a steady rate; 0
    where that cannot be told.
    """
    steps = np.diff(np.unique(np.asarray(stamps_ns, dtype=np.int64)))
    if len(steps) + 1 < LEAST_STAMPS:
        return 0.0
    # the lower quartile: where every second one is lost, most steps are double
    sent = steps.sum() / np.quantile(steps, 0.25, method="lower") + 1
    return max(0.0, 1.0 - (len(steps) + 1) / float(sent))


def stamp_finding(subject: str, stamps_ns: Sequence[int], ages_s: Sequence[float]) -> Finding:
    """Whether stamps are of this clock. ages_s: of each message when it came, against the clock of this machine [s]."""
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
        cure = "a bag: play it with --clock and set use_sim_time; two machines: synchronise their clocks; else something queues"
        return warn(subject, f"{age_s:.1f} s old", cure)
    return ok(subject, f"{age_s * 1e3:.0f} ms old when they come")


def camera_info_finding(subject: str, info: CameraInfo, depth: Image | None) -> Finding:
    """Whether the calibration can be that of the depth image."""
    cure = "give the calibration of the image that the depth is registered to"
    if depth is not None and info.header.frame_id != depth.header.frame_id:
        return warn(
            subject,
            f"frame_id: expected {depth.header.frame_id!r} as the depth image, got {info.header.frame_id!r}",
            REGISTER,
        )
    shape = camera_info_shape(info)
    try:
        intrinsics = intrinsics_from(info, (depth.height, depth.width) if depth else shape)
    except ValueError as error:
        return fail(subject, str(error), cure)
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    text = f"{shape[1]}x{shape[0]}, fx {fx:.1f}, fy {fy:.1f}, cx {cx:.1f}, cy {cy:.1f}"
    if not (0 < cx < shape[1] and 0 < cy < shape[0]):
        return fail(subject, f"{text}: the principal point lies outside of the image", cure)
    view_deg = float(np.degrees(2 * np.arctan(shape[1] / (2 * fx))))
    if not FIELD_OF_VIEW_DEG[0] < view_deg < FIELD_OF_VIEW_DEG[1] or not 0.8 < fx / fy < 1.25:
        return warn(
            subject, f"{text}: a horizontal field of view of {view_deg:.0f}° is unusual, or fx differs from fy", cure
        )
    return ok(subject, f"{text}: {view_deg:.0f}° wide")


def depth_finding(subject: str, image: Image, limits: DepthRange = DepthRange()) -> Finding:
    """Encoding, unit and share of valid pixels."""
    try:
        pixels = depth_view(image)
    except ValueError as error:
        return fail(subject, str(error), "give the uncompressed depth image, 16UC1 [mm] or 32FC1 [m]")
    seen = pixels[np.isfinite(pixels) & (pixels > 0)]
    text = f"{image.width}x{image.height} {image.encoding}"
    if len(seen) == 0:
        return fail(subject, f"{text}: no pixel has a depth", "is the camera covered, too near, or its projector off?")
    typical = float(np.median(seen))
    if image.encoding == "16UC1" and np.quantile(seen, 0.95) <= MOST_METRES:
        return fail(
            subject,
            f"{text}: values like {typical:g} look like metres, 16UC1 is read as millimetres",
            "publish millimetres, or 32FC1",
        )
    if image.encoding == "32FC1" and typical >= LEAST_MILLIMETRES:
        return fail(
            subject,
            f"{text}: values like {typical:.0f} look like millimetres, 32FC1 is read as metres",
            "publish metres, or 16UC1",
        )
    metres = seen / (1000.0 if image.encoding == "16UC1" else 1.0)
    valid = float(np.count_nonzero((metres >= limits.minimum) & (metres <= limits.maximum)) / pixels.size)
    text = f"{text}: {valid:.0%} of the pixels between {limits.minimum:g} and {limits.maximum:g} m, median {np.median(metres):.2f} m"
    if valid < LEAST_VALID:
        return warn(subject, text, "look at the depth image; min_depth_m and max_depth_m say what is valid")
    return ok(subject, text)


def masks_finding(
    subject: str, instances: InstanceArray, depth: Image, categories: Sequence[str], limits: DepthRange = DepthRange()
) -> Finding:
    """Whether instances and depth image of one stamp fit together: sizes, labels, categories, and depth where the masks
    are.
    """
    if not instances.instances:
        return warn(subject, "no objects in the image", "put one in view; is the segmenter's threshold too high?")
    try:
        labels, pixels = label_view(instances.label_image), depth_view(depth)
    except ValueError as error:
        return fail(subject, str(error), "16UC1 or mono8 label image, beside 16UC1 or 32FC1 depth")
    if labels.shape != pixels.shape:
        text = f"label image: expected {depth.width}x{depth.height} as the depth image, got {labels.shape[1]}x{labels.shape[0]}"
        return fail(subject, text, REGISTER)
    missing = [instance.label for instance in instances.instances if not (labels == instance.label).any()]
    if missing:
        text = f"labels {', '.join(map(str, missing))}: expected pixels in the label image, got none"
        return warn(subject, text, "let label and pixels be of the same instance")
    unknown = sorted({instance.category for instance in instances.instances} - set(categories))
    if unknown:
        text = f"category: expected one of {', '.join(categories)}, got {', '.join(unknown)}: these will be rejected"
        return warn(subject, text, "rename them in the segmenter or in an adapter")
    metres = pixels[labels > 0] / (1000.0 if depth.encoding == "16UC1" else 1.0)
    valid = float(np.mean((metres >= limits.minimum) & (metres <= limits.maximum)))
    if valid < LEAST_VALID_MASKED:
        return warn(
            subject,
            f"{valid:.0%} of the objects' pixels have a depth",
            f"shiny or transparent objects? Else {REGISTER}",
        )
    if instances.header.frame_id != depth.header.frame_id:
        return warn(
            subject,
            f"frame_id: expected {depth.header.frame_id!r} as the depth image, got {instances.header.frame_id!r}",
            REGISTER,
        )
    return ok(subject, f"{len(instances.instances)} objects, {valid:.0%} of their pixels have a depth")


def match_finding(subject: str, depth_s: Mapping[int, float], instances_s: Mapping[int, float]) -> Finding:
    """Whether masks carry the stamps of depth images, and how late they come. Arrival [s] by stamp [ns]."""
    comparable = [stamp for stamp in instances_s if depth_s and min(depth_s) <= stamp <= max(depth_s)]
    if not comparable:
        return warn(subject, "no masks from the time in which depth was heard", "listen longer: --seconds 10")
    matched = [stamp for stamp in comparable if stamp in depth_s]
    if not matched:
        stamps = np.fromiter(depth_s, dtype=np.int64)
        apart_ms = float(np.median([np.abs(stamps - stamp).min() for stamp in comparable])) / 1e6
        cure = "stamp the masks with the stamp of their image, and let the driver synchronise colour and depth (RealSense: enable_sync:=true)"
        return fail(subject, f"no mask has the stamp of a depth image; the nearest is {apart_ms:.1f} ms away", cure)
    late_s = float(np.median([instances_s[stamp] - depth_s[stamp] for stamp in matched]))
    text = f"{len(matched)} of {len(comparable)} masks have the stamp of a depth image and come {late_s * 1e3:.0f} ms after it"
    if len(matched) < (1 - LOST_SHARE) * len(comparable):
        return warn(subject, text, "let the driver synchronise colour and depth; are depth images lost?")
    if late_s > LATE_S:
        return warn(subject, text, "a quicker segmenter, or a larger buffer_size of the node")
    return ok(subject, text)
