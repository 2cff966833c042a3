"""ROS messages to and from the types of the core; how the pixels of images are read is in `formats.image_messages`."""

from __future__ import annotations

import array
import sys
from collections.abc import Callable

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from clipose_ros.core.distortion import Distortion, FisheyeDistortion
from clipose_ros.core.rotation import quaternion
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics, PoseEstimate, Rejection, TrackedPose
from clipose_ros.core.validation import expect
from clipose_ros.formats import image_messages
from clipose_ros.formats.camera_info import intrinsics_from
from clipose_ros.formats.colour_encodings import COLOUR_ENCODINGS
from clipose_ros.formats.compressed_images import inflate_colour, inflate_depth
from clipose_ros.formats.image_messages import depth_view, stamp_ns
from clipose_ros.msg import InstanceArray, ObjectInstance, ObjectPose, ObjectPoseArray, ObjectRejection
from clipose_ros.ros.optional_packages import optional_package

NO_COVARIANCE = np.zeros(36)  # unknown


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


def camera_info_message(intrinsics: Intrinsics, shape: tuple[int, int], header: Header) -> CameraInfo:
    """Make the message of a calibration.

    Parameters
    ----------
    intrinsics : Intrinsics
        Of the image. A raw image has a distortion.
    shape : (int, int)
        Height and width [px].
    header : Header
        Of the image.

    Returns
    -------
    CameraInfo
        K and P are the same.
    """
    fx, fy, cx, cy = (float(value) for value in (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy))
    model, d = _model_and_numbers(intrinsics.distortion)
    info = CameraInfo(header=header, height=shape[0], width=shape[1], distortion_model=model, d=d)
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
        Depth, calibration and instances. A unit of depth other than the encoding's is not in the messages.
    """
    encoding = "16UC1" if frame.depth.dtype == np.uint16 else "32FC1"
    info = camera_info_message(frame.intrinsics, frame.depth.shape, header)
    return image_message(frame.depth, encoding, header), info, instance_array_message(detections, header)


def colour_view(image: Image | CompressedImage) -> np.ndarray:
    """Read a colour image.

    Parameters
    ----------
    image : Image or CompressedImage
        In an encoding of `COLOUR_ENCODINGS`, or any that cv_bridge knows where it is installed; or a JPEG or PNG.

    Returns
    -------
    (H, W, 3) uint8
        RGB; of rgb8 and bgr8 a view of the message.

    Raises
    ------
    ValueError
        For another encoding, and as `image_messages.image_view`.
    """
    if _is_compressed(image):
        return inflate_colour(image)
    return image_messages.colour_view(image) if image.encoding in COLOUR_ENCODINGS else _by_cv_bridge(image)


def frame_from(
    depth: Image | CompressedImage,
    info: CameraInfo,
    colour: Image | CompressedImage | None = None,
    rectified: bool = True,
    depth_unit_m: float | None = None,
) -> Frame:
    """Read what the camera saw, with the stamp and frame of the depth image.

    Parameters
    ----------
    depth : Image or CompressedImage
        Depth, registered to colour.
    info : CameraInfo
        Calibration of the image that depth is registered to.
    colour : Image or CompressedImage, optional
        Colour, where somebody needs it.
    rectified : bool
        As of `intrinsics_from`.
    depth_unit_m : float, optional
        As of `Frame`.

    Returns
    -------
    Frame
        Views of the messages' pixels, where these are not compressed; colour is converted where it is not RGB.

    Raises
    ------
    ValueError
        For encodings and sizes that do not fit.
    """
    pixels = inflate_depth(depth) if _is_compressed(depth) else depth_view(depth)
    return Frame(
        stamp_ns=stamp_ns(depth.header.stamp),
        frame_id=depth.header.frame_id,
        depth=pixels,
        intrinsics=intrinsics_from(info, pixels.shape, rectified),
        colour=None if colour is None else colour_view(colour),
        depth_unit_m=depth_unit_m,
    )


def raw_depth(depth: Image | CompressedImage) -> Image:
    """Give a depth image as it was before it was compressed.

    Parameters
    ----------
    depth : Image or CompressedImage
        Either; an Image is given back.

    Returns
    -------
    Image
        16UC1 or 32FC1.

    Raises
    ------
    ValueError
        For a compressed image that is no depth, or does not decompress.
    """
    if not _is_compressed(depth):
        return depth
    pixels = inflate_depth(depth)
    return image_message(pixels, "32FC1" if pixels.dtype == np.float32 else "16UC1", depth.header)


def _is_compressed(image: Image | CompressedImage) -> bool:
    """Tell the two by their fields: they may be what was read from bytes, or messages of ROS."""
    return hasattr(image, "format")


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


def _model_and_numbers(distortion: Distortion | None) -> tuple[str, list[float]]:
    if distortion is None:
        return "plumb_bob", [0.0] * 5
    numbers = list(distortion.coefficients)
    if isinstance(distortion, FisheyeDistortion):
        return "equidistant", numbers
    return ("plumb_bob", [*numbers, 0.0][:5]) if len(numbers) <= 5 else ("rational_polynomial", numbers)
