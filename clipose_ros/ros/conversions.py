"""ROS messages to and from the types of the core. The only place that knows about encodings, steps and byte order.

Images become views of the message's bytes: nothing is copied, except to turn big-endian pixels into native ones.
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
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics, PoseEstimate, Rejection, TrackedPose
from clipose_ros.msg import InstanceArray, ObjectInstance, ObjectPose, ObjectPoseArray, ObjectRejection

# encoding: (type of a channel, channels)
DEPTH_ENCODINGS = {"16UC1": (np.uint16, 1), "32FC1": (np.float32, 1)}
LABEL_ENCODINGS = {"mono8": (np.uint8, 1), "8UC1": (np.uint8, 1), "mono16": (np.uint16, 1), "16UC1": (np.uint16, 1)}
COLOUR_ENCODINGS = {"rgb8": (np.uint8, 3), "bgr8": (np.uint8, 3)}

NO_COVARIANCE = np.zeros(36)  # unknown


def stamp_ns(stamp: Time) -> int:
    """Time of a header [ns]."""
    return stamp.sec * NS_PER_S + stamp.nanosec


def stamp_message(time_ns: int) -> Time:
    """Inverse of `stamp_ns`."""
    return Time(sec=time_ns // NS_PER_S, nanosec=time_ns % NS_PER_S)


def image_view(name: str, image: Image, encodings: dict[str, tuple[type, int]]) -> np.ndarray:
    """Pixels of an image message, (H, W) or (H, W, C), sharing its memory.

    Raises ValueError, which names the image as `name`, for another encoding than those given, and for sizes that
    contradict each other.
    """
    if image.encoding not in encodings:
        raise ValueError(f"{name} encoding: expected {' or '.join(encodings)}, got {image.encoding!r}")
    scalar, channels = encodings[image.encoding]
    dtype = np.dtype(scalar)
    row_bytes = image.width * channels * dtype.itemsize
    if image.height == 0 or image.width == 0:
        raise ValueError(f"{name}: expected pixels, got {image.width}x{image.height}")
    if image.step < row_bytes:
        raise ValueError(
            f"{name} step: expected at least {row_bytes} bytes for {image.width} px of {image.encoding}, got {image.step}"
        )
    if len(image.data) < image.step * (image.height - 1) + row_bytes:
        raise ValueError(
            f"{name} data: expected {image.step * image.height} bytes for {image.height} rows, got {len(image.data)}"
        )

    wire = dtype.newbyteorder(">" if image.is_bigendian else "<")
    shape, strides = (image.height, image.width, channels), (image.step, channels * dtype.itemsize, dtype.itemsize)
    pixels = np.ndarray(shape, wire, buffer=image.data, strides=strides).astype(dtype, copy=False)
    return pixels[:, :, 0] if channels == 1 else pixels


def depth_view(image: Image) -> np.ndarray:
    """(H, W) uint16 [mm] or float32 [m]: the encoding decides the unit (REP 118)."""
    return image_view("depth", image, DEPTH_ENCODINGS)


def label_view(image: Image) -> np.ndarray:
    """(H, W) uint8 or uint16, 0 is background."""
    return image_view("label_image", image, LABEL_ENCODINGS)


def colour_view(image: Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    pixels = image_view("colour", image, COLOUR_ENCODINGS)
    return pixels[:, :, ::-1] if image.encoding == "bgr8" else pixels


def image_message(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    """Image of (H, W) or (H, W, C) native-endian pixels."""
    pixels = np.ascontiguousarray(pixels)
    image = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    image.step = pixels.strides[0]
    image.is_bigendian = int(sys.byteorder == "big")
    data = array.array("B")
    data.frombytes(memoryview(pixels).cast("B"))  # hundreds of times faster than assigning the numpy array
    image.data = data
    return image


def camera_info_shape(info: CameraInfo) -> tuple[int, int]:
    """(H, W) of the images of a calibration: of its region of interest, binned."""
    return (info.roi.height or info.height) // max(info.binning_y, 1), (info.roi.width or info.width) // max(
        info.binning_x, 1
    )


def check_camera_info(info: CameraInfo) -> None:
    """Raises ValueError for a calibration that fits no image at all: without a size or, as uncalibrated cameras send
    it, without a focal length.
    """
    height, width = camera_info_shape(info)
    if height == 0 or width == 0:
        raise ValueError(f"camera_info: expected the size of an image, got {width}x{height}")
    intrinsics_from(info, (height, width))


def intrinsics_from(info: CameraInfo, shape: tuple[int, int]) -> Intrinsics:
    """Intrinsics of the rectified image of `shape` (H, W): P, or K where P is not filled in, in the pixels of the
    region of interest and binning.

    Raises ValueError when the image has another size than `info` says, and for intrinsics that are no pinhole's.
    """
    bin_x, bin_y = max(info.binning_x, 1), max(info.binning_y, 1)
    roi = info.roi
    height, width = camera_info_shape(info)
    if (height, width) != tuple(shape):
        raise ValueError(
            f"camera_info: expected the size of the depth image, {shape[1]}x{shape[0]}, got {width}x{height}"
        )
    fx, cx, fy, cy = (
        (info.p[0], info.p[2], info.p[5], info.p[6]) if info.p[0] else (info.k[0], info.k[2], info.k[4], info.k[5])
    )
    return Intrinsics(fx / bin_x, fy / bin_y, (cx - roi.x_offset) / bin_x, (cy - roi.y_offset) / bin_y)


def camera_info_message(intrinsics: Intrinsics, shape: tuple[int, int], header: Header) -> CameraInfo:
    """CameraInfo of a rectified image of `shape` (H, W)."""
    fx, fy, cx, cy = (float(value) for value in (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy))
    info = CameraInfo(header=header, height=shape[0], width=shape[1], distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


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
        Depth, calibration and instances.
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


def frame_from(depth: Image, info: CameraInfo, colour: Image | None = None) -> Frame:
    """Read what the camera saw, with the stamp and frame of the depth image.

    Parameters
    ----------
    depth : Image
        Depth, registered to colour.
    info : CameraInfo
        Calibration of the image that depth is registered to.
    colour : Image, optional
        Colour, where somebody needs it.

    Returns
    -------
    Frame
        Views of the messages' pixels.

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
        intrinsics=intrinsics_from(info, pixels.shape),
        colour=None if colour is None else colour_view(colour),
    )


def pose_message(rotation: np.ndarray, translation: np.ndarray) -> Pose:
    """Pose of a rotation (3, 3) and translation (3,) [m]."""
    message = Pose()
    fill_pose(message, rotation, translation)
    return message


def fill_pose(message: Pose, rotation: np.ndarray, translation: np.ndarray) -> None:
    """Set a pose in place: assigning to the fields of a message takes half the time of making their messages anew."""
    position, orientation = message.position, message.orientation
    position.x, position.y, position.z = translation.tolist()
    orientation.x, orientation.y, orientation.z, orientation.w = quaternion(rotation)


def object_pose_message(
    instance: Instance, estimate: PoseEstimate, make: Callable[[], ObjectPose] = ObjectPose
) -> ObjectPose:
    """9DoF pose of one instance, with what a tracker knows of it. make: gives the message, whose fields are all set."""
    message = make()
    message.id, message.category, message.score = instance.id, estimate.category, float(estimate.score)
    fill_pose(message.pose, estimate.rotation, estimate.translation)
    message.size.x, message.size.y, message.size.z = estimate.size.tolist()
    tracked = isinstance(estimate, TrackedPose)
    message.covariance = estimate.covariance.ravel() if tracked else NO_COVARIANCE
    message.track, message.tracking = (estimate.track, int(estimate.state)) if tracked else (0, ObjectPose.UNTRACKED)
    message.age_s = estimate.age_ns / NS_PER_S if tracked else 0.0
    return message


def pose_estimate_from(message: ObjectPose) -> PoseEstimate:
    """Inverse of `object_pose_message`."""
    position, q, size = message.pose.position, message.pose.orientation, message.size
    rotation = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    translation = np.array([position.x, position.y, position.z])
    return PoseEstimate(message.category, message.score, rotation, translation, np.array([size.x, size.y, size.z]))


def pose_array_message(
    results: tuple[tuple[Instance, PoseEstimate | Rejection], ...],
    header: Header,
    make: Callable[[], ObjectPose] = ObjectPose,
) -> ObjectPoseArray:
    """Every instance, in order, as a pose or as a rejection. make: as of `object_pose_message`."""
    message = ObjectPoseArray(header=header)
    for instance, result in results:
        if isinstance(result, Rejection):
            message.rejections.append(ObjectRejection(id=instance.id, category=instance.category, reason=result.reason))
        else:
            message.poses.append(object_pose_message(instance, result, make))
    return message
