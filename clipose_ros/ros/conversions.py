"""ROS messages to and from the types of the core. The only place that knows about steps and byte order.

Images become views of the message's bytes: nothing is copied, except to turn big-endian pixels into native ones, and
colour into RGB.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from clipose_ros.core.rotation import quaternion
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Detections, Frame, Instance, PoseEstimate, Rejection, TrackedPose
from clipose_ros.core.validation import expect
from clipose_ros.msg import InstanceArray, ObjectInstance, ObjectPose, ObjectPoseArray, ObjectRejection
from clipose_ros.ros.camera_info import camera_info_message, intrinsics_from
from clipose_ros.ros.colour_encodings import COLOUR_ENCODINGS
from clipose_ros.ros.optional_packages import optional_package

# encoding: (type of a channel, channels)
DEPTH_ENCODINGS = {"16UC1": (np.uint16, 1), "32FC1": (np.float32, 1)}
LABEL_ENCODINGS = {"mono8": (np.uint8, 1), "8UC1": (np.uint8, 1), "mono16": (np.uint16, 1), "16UC1": (np.uint16, 1)}

NO_COVARIANCE = np.zeros(36)  # unknown


def stamp_ns(stamp: Time) -> int:
    """Read the time of a header.

    Parameters
    ----------
    stamp : Time
        Of the header.

    Returns
    -------
    int
        Time [ns].
    """
    return stamp.sec * NS_PER_S + stamp.nanosec


def stamp_message(time_ns: int) -> Time:
    """Make the stamp of a header, the inverse of `stamp_ns`.

    Parameters
    ----------
    time_ns : int
        Time [ns].

    Returns
    -------
    Time
        Stamp.
    """
    return Time(sec=time_ns // NS_PER_S, nanosec=time_ns % NS_PER_S)


def image_view(name: str, image: Image, encodings: dict[str, tuple[type, int]]) -> np.ndarray:
    """Look at the pixels of an image message, in its memory.

    Parameters
    ----------
    name : str
        What errors call the image.
    image : Image
        The message, or what has its fields.
    encodings : dict of str to (type, int)
        Type of a channel and number of channels, of each encoding that is allowed.

    Returns
    -------
    (H, W) or (H, W, C) array
        Pixels.

    Raises
    ------
    ValueError
        For another encoding, and for sizes that contradict each other.
    """
    expect(f"{name} encoding", image.encoding in encodings, " or ".join(encodings), repr(image.encoding))
    return _pixels(name, image, *encodings[image.encoding])


def depth_view(image: Image) -> np.ndarray:
    """Look at the pixels of a depth image.

    Parameters
    ----------
    image : Image
        With an encoding of REP 118, 16UC1 or 32FC1.

    Returns
    -------
    (H, W) uint16 or float32
        Depths, in millimetres or metres unless the camera has another unit.

    Raises
    ------
    ValueError
        As `image_view`.
    """
    return image_view("depth", image, DEPTH_ENCODINGS)


def label_view(image: Image) -> np.ndarray:
    """Look at the pixels of a label image.

    Parameters
    ----------
    image : Image
        Of 8 or 16 bits.

    Returns
    -------
    (H, W) uint8 or uint16
        Labels, 0 is background.

    Raises
    ------
    ValueError
        As `image_view`.
    """
    return image_view("label_image", image, LABEL_ENCODINGS)


def colour_view(image: Image) -> np.ndarray:
    """Read a colour image.

    Parameters
    ----------
    image : Image
        In an encoding of `COLOUR_ENCODINGS`, or any that cv_bridge knows where it is installed.

    Returns
    -------
    (H, W, 3) uint8
        RGB; of rgb8 and bgr8 a view of the message.

    Raises
    ------
    ValueError
        For another encoding, and as `image_view`.
    """
    encoding = COLOUR_ENCODINGS.get(image.encoding)
    if encoding is None:
        return _by_cv_bridge(image)
    encoding.check((image.height, image.width))
    return encoding.to_rgb(_pixels("colour", image, encoding.scalar, encoding.channels, encoding.planes))


def image_message(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    """Make an image message.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C) array
        In this machine's order of bytes.
    encoding : str
        By its name in sensor_msgs.
    header : Header
        Of the image.

    Returns
    -------
    Image
        With a copy of the pixels.
    """
    pixels = np.ascontiguousarray(pixels)
    image = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    image.step = pixels.strides[0]
    image.is_bigendian = int(sys.byteorder == "big")
    data = array.array("B")
    data.frombytes(memoryview(pixels).cast("B"))  # hundreds of times faster than assigning the numpy array
    image.data = data
    return image


def instance_array_message(detections: Detections, header: Header) -> InstanceArray:
    """Make the message of what was found in a frame.

    Parameters
    ----------
    detections : Detections
        Where masks overlap, the one of the higher score is on top: a label image cannot say more.
    header : Header
        Of the image that was segmented.

    Returns
    -------
    InstanceArray
        With a label image of one byte per pixel where the labels fit.
    """
    flat = detections.flat()
    small = flat.masks.size == 0 or flat.masks.max() < 256
    labels, encoding = (flat.masks.astype(np.uint8), "mono8") if small else (flat.masks.astype(np.uint16), "16UC1")
    instances = [
        ObjectInstance(label=i.label, category=i.category, score=float(i.score), id=i.id) for i in flat.instances
    ]
    return InstanceArray(header=header, label_image=image_message(labels, encoding, header), instances=instances)


def frame_messages(frame: Frame, detections: Detections, header: Header) -> tuple[Image, CameraInfo, InstanceArray]:
    """Make the messages of a frame: the inverse of `frame_from` and `detections_from`.

    Parameters
    ----------
    frame : Frame
        What the camera saw.
    detections : Detections
        What is in it.
    header : Header
        Of all messages.

    Returns
    -------
    Image, CameraInfo, InstanceArray
        Depth, calibration and instances. A unit of depth other than the encoding's is not in the messages.
    """
    encoding = "16UC1" if frame.depth.dtype == np.uint16 else "32FC1"
    info = camera_info_message(frame.intrinsics, frame.depth.shape, header)
    return image_message(frame.depth, encoding, header), info, instance_array_message(detections, header)


def instances_from(message: InstanceArray) -> tuple[Instance, ...]:
    """Read the instances of a message.

    Parameters
    ----------
    message : InstanceArray
        Of a frame.

    Returns
    -------
    tuple of Instance
        In order.
    """
    return tuple(Instance(i.label, i.category, i.score, i.id) for i in message.instances)


def detections_from(message: InstanceArray, shape: tuple[int, int]) -> Detections:
    """Read what was found in a frame.

    Parameters
    ----------
    message : InstanceArray
        Of the frame.
    shape : (int, int)
        Height and width of the depth image [px].

    Returns
    -------
    Detections
        Instances and label image. Where nothing was detected there may be no label image.

    Raises
    ------
    ValueError
        For an encoding that is none of labels, and for another size than `shape`.
    """
    instances = instances_from(message)
    labels = label_view(message.label_image) if instances else np.zeros(shape, np.uint8)
    if labels.shape != tuple(shape):
        raise ValueError(f"labels: expected {tuple(shape)} as depth, got {labels.shape}")
    return Detections(instances, labels)


def frame_from(
    depth: Image,
    info: CameraInfo,
    colour: Image | None = None,
    rectified: bool = True,
    depth_unit_m: float | None = None,
) -> Frame:
    """Read what the camera saw, with the stamp and frame of the depth image.

    Parameters
    ----------
    depth : Image
        Depth, registered to colour.
    info : CameraInfo
        Calibration of the image that depth is registered to.
    colour : Image, optional
        Colour, where somebody needs it.
    rectified : bool
        As of `intrinsics_from`.
    depth_unit_m : float, optional
        As of `Frame`.

    Returns
    -------
    Frame
        Views of the messages' pixels; colour is converted where it is not RGB.

    Raises
    ------
    ValueError
        For encodings and sizes that do not fit.
    """
    pixels = depth_view(depth)
    return Frame(
        stamp_ns=stamp_ns(depth.header.stamp),
        frame_id=depth.header.frame_id,
        depth=pixels,
        intrinsics=intrinsics_from(info, pixels.shape, rectified),
        colour=None if colour is None else colour_view(colour),
        depth_unit_m=depth_unit_m,
    )


def pose_message(rotation: np.ndarray, translation: np.ndarray) -> Pose:
    """Make the message of a pose.

    Parameters
    ----------
    rotation : (3, 3) float
        Rotation.
    translation : (3,) float
        Translation [m].

    Returns
    -------
    Pose
        With the rotation as a quaternion.
    """
    message = Pose()
    fill_pose(message, rotation, translation)
    return message


def fill_pose(message: Pose, rotation: np.ndarray, translation: np.ndarray) -> None:
    """Set a pose in place: assigning to the fields of a message takes half the time of making their messages anew.

    Parameters
    ----------
    message : Pose
        To set.
    rotation, translation
        As of `pose_message`.
    """
    position, orientation = message.position, message.orientation
    position.x, position.y, position.z = translation.tolist()
    orientation.x, orientation.y, orientation.z, orientation.w = quaternion(rotation)


def object_pose_message(
    instance: Instance, estimate: PoseEstimate, make: Callable[[], ObjectPose] = ObjectPose
) -> ObjectPose:
    """Make the message of the 9DoF pose of one instance, with what a tracker knows of it.

    Parameters
    ----------
    instance : Instance
        The object.
    estimate : PoseEstimate
        Its pose, tracked or not.
    make : callable
        Gives the message, new or used: all of its fields are set.

    Returns
    -------
    ObjectPose
        The message.
    """
    message = make()
    message.id, message.category, message.score = instance.id, estimate.category, float(estimate.score)
    fill_pose(message.pose, estimate.rotation, estimate.translation)
    message.size.x, message.size.y, message.size.z = estimate.size.tolist()
    tracked = isinstance(estimate, TrackedPose)
    message.covariance = NO_COVARIANCE if estimate.covariance is None else estimate.covariance.ravel()
    message.track, message.tracking = (estimate.track, int(estimate.state)) if tracked else (0, ObjectPose.UNTRACKED)
    message.age_s = estimate.age_ns / NS_PER_S if tracked else 0.0
    return message


def pose_estimate_from(message: ObjectPose) -> PoseEstimate:
    """Read a 9DoF pose, the inverse of `object_pose_message` but for what a tracker knows.

    Parameters
    ----------
    message : ObjectPose
        The message.

    Returns
    -------
    PoseEstimate
        The pose, in the frame of the message that it was in.
    """
    position, q, size = message.pose.position, message.pose.orientation, message.size
    rotation = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    translation = np.array([position.x, position.y, position.z])
    covariance = np.array(message.covariance).reshape(6, 6)
    return PoseEstimate(
        message.category,
        message.score,
        rotation,
        translation,
        np.array([size.x, size.y, size.z]),
        covariance=covariance if covariance.any() else None,
    )


def pose_array_message(
    results: tuple[tuple[Instance, PoseEstimate | Rejection], ...],
    header: Header,
    make: Callable[[], ObjectPose] = ObjectPose,
) -> ObjectPoseArray:
    """Make the message of a frame: every instance, in order, as a pose or as a rejection.

    Parameters
    ----------
    results : tuple of (Instance, PoseEstimate or Rejection)
        Of a frame.
    header : Header
        Of the depth image.
    make : callable
        As of `object_pose_message`.

    Returns
    -------
    ObjectPoseArray
        The message.
    """
    message = ObjectPoseArray(header=header)
    for instance, result in results:
        if isinstance(result, Rejection):
            message.rejections.append(ObjectRejection(id=instance.id, category=instance.category, reason=result.reason))
        else:
            message.poses.append(object_pose_message(instance, result, make))
    return message


def _pixels(name: str, image: Image, scalar: type, channels: int, planes: float = 1.0) -> np.ndarray:
    """Pixels (planes * H, W[, C]) in the memory of the message; only those in the other order of bytes are copied."""
    dtype, rows = np.dtype(scalar), int(image.height * planes)
    row_bytes = image.width * channels * dtype.itemsize
    expect(name, image.height > 0 and image.width > 0, "pixels", f"{image.width}x{image.height}")
    if image.step < row_bytes:
        expected = f"at least {row_bytes} bytes for {image.width} px of {image.encoding}"
        raise ValueError(f"{name} step: expected {expected}, got {image.step}")
    if len(image.data) < image.step * (rows - 1) + row_bytes:
        expected = f"{image.step * rows} bytes for {rows} rows"
        raise ValueError(f"{name} data: expected {expected}, got {len(image.data)}")
    wire = dtype.newbyteorder(">" if image.is_bigendian else "<")
    shape, strides = (rows, image.width, channels), (image.step, channels * dtype.itemsize, dtype.itemsize)
    pixels = np.ndarray(shape, wire, buffer=image.data, strides=strides).astype(dtype, copy=False)
    return pixels[:, :, 0] if channels == 1 else pixels


def _by_cv_bridge(image: Image) -> np.ndarray:
    """RGB of an image in an encoding that only cv_bridge may know."""
    own = f"one of {', '.join(COLOUR_ENCODINGS)}"
    try:
        cv_bridge = optional_package("cv_bridge", f"colour of the encoding {image.encoding!r}")
    except RuntimeError as error:
        raise ValueError(f"colour encoding: expected {own}, got {image.encoding!r}; {error}") from error
    whole = 0 < image.height * image.step <= len(image.data)
    expect("colour data", whole, f"{image.step * image.height} bytes for {image.height} rows", len(image.data))
    try:
        return cv_bridge.CvBridge().imgmsg_to_cv2(image, "rgb8")
    except Exception as error:  # cv_bridge has kinds of its own, beside those of numpy and OpenCV
        raise ValueError(f"colour encoding: expected {own}, got {image.encoding!r}, cv_bridge: {error}") from error
