"""Looks for messages that `frame_from` answers with anything but a frame or a ValueError, guided by the branches that
they take.

`python test/fuzz/fuzz_conversions.py -runs=20000`, or -max_total_time=60; the arguments are libFuzzer's. A find is
written to a file beside, whose name as the only argument repeats it.
"""

import array
import sys

import atheris
import numpy as np

with atheris.instrument_imports(include=["clipose_ros"]):
    from clipose_ros.core.backprojection import backproject
    from clipose_ros.formats import image_messages
    from clipose_ros.ros import conversions

from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest

from clipose_ros.msg import InstanceArray, ObjectInstance

ENCODINGS = (
    *image_messages.DEPTH_ENCODINGS,
    *image_messages.LABEL_ENCODINGS,
    *conversions.COLOUR_ENCODINGS,
    "64FC1",
    "16UC1; compressedDepth",
    "",
)
MODELS = ("plumb_bob", "rational_polynomial", "equidistant", "fov", "")
SIDE = 8
LONGEST_DATA = 600


def pixel_bytes(encoding: str) -> int:
    """Bytes of a pixel."""
    if encoding in conversions.COLOUR_ENCODINGS:
        colour = conversions.COLOUR_ENCODINGS[encoding]
        return colour.channels * (2 if colour.scalar is np.uint16 else 1)
    return 4 if encoding == "32FC1" else 2


def image(data: atheris.FuzzedDataProvider, shape: tuple[int, int], encodings: tuple[str, ...]) -> Image:
    """An image that may be whole, and more or less broken where the input says so."""
    height, width = shape
    encoding = data.PickValueInList(list(encodings if data.ConsumeProbability() < 0.9 else ENCODINGS))
    step = width * pixel_bytes(encoding) + data.ConsumeIntInRange(0, 5)
    length = step * height * 3 // 2  # with the second plane that some encodings have
    if data.ConsumeProbability() > 0.8:
        height, width = data.ConsumeIntInRange(0, 2**32 - 1), data.ConsumeIntInRange(0, 2**32 - 1)
    if data.ConsumeProbability() > 0.8:
        step, length = data.ConsumeIntInRange(0, 2**32 - 1), data.ConsumeIntInRange(0, LONGEST_DATA)
    pixels = array.array("B", data.ConsumeBytes(length).ljust(length, b"\x01"))
    return Image(
        height=height,
        width=width,
        encoding=encoding,
        step=step,
        is_bigendian=data.ConsumeIntInRange(0, 255),
        data=pixels,
    )


def camera_info(data: atheris.FuzzedDataProvider, shape: tuple[int, int]) -> CameraInfo:
    """Intrinsics of the depth image, or any numbers."""
    height, width = shape
    if data.ConsumeBool():
        return CameraInfo(height=height, width=width, k=[9.0, 0.0, 3.5, 0.0, 9.0, 3.5, 0.0, 0.0, 1.0])
    small = [data.ConsumeIntInRange(0, 2 * SIDE) for _ in range(8)]
    roi = RegionOfInterest(x_offset=small[0], y_offset=small[1], width=small[2], height=small[3])
    info = CameraInfo(height=small[4], width=small[5], binning_x=small[6] // 4, binning_y=small[7] // 4, roi=roi)
    info.k, info.p = data.ConsumeFloatListInRange(9, -1e308, 1e308), [data.ConsumeFloat() for _ in range(12)]
    return info


def with_lens(info: CameraInfo, data: atheris.FuzzedDataProvider) -> CameraInfo:
    """The calibration with a likely distortion, or any numbers."""
    info.distortion_model = data.PickValueInList(list(MODELS))
    if data.ConsumeBool():
        info.d = [data.ConsumeFloatInRange(-1, 1) for _ in range(data.PickValueInList([0, 4, 5, 8, 12, 14]))]
    else:
        info.d = [data.ConsumeFloat() for _ in range(data.ConsumeIntInRange(0, 15))]
    return info


def instances(data: atheris.FuzzedDataProvider, shape: tuple[int, int]) -> InstanceArray:
    """A label image, and instances of it or of nothing."""
    listed = [
        ObjectInstance(
            label=data.ConsumeIntInRange(0, 65535),
            category=data.ConsumeUnicodeNoSurrogates(4),
            id=data.ConsumeUnicodeNoSurrogates(2),
        )
        for _ in range(data.ConsumeIntInRange(0, 3))
    ]
    return InstanceArray(label_image=image(data, shape, tuple(image_messages.LABEL_ENCODINGS)), instances=listed)


def answer(raw: bytes) -> None:
    """One frame from bytes; what is accepted must also be usable."""
    data = atheris.FuzzedDataProvider(raw)
    shape = data.ConsumeIntInRange(1, SIDE), data.ConsumeIntInRange(1, SIDE)
    depth, info, masks = (
        image(data, shape, tuple(image_messages.DEPTH_ENCODINGS)),
        camera_info(data, shape),
        instances(data, shape),
    )
    colour = image(data, shape, tuple(conversions.COLOUR_ENCODINGS)) if data.ConsumeBool() else None
    info, unit_m = with_lens(info, data), data.PickValueInList([None, 0.0001, 1.0])
    try:
        frame = conversions.frame_from(depth, info, colour, data.ConsumeBool(), unit_m)
        detections = image_messages.detections_from(masks, frame.depth.shape)
        clouds = backproject(frame, detections)
    except ValueError:
        return
    assert frame.depth.shape == detections.shape == (depth.height, depth.width)
    assert len(clouds) == len(masks.instances)
    assert all(np.isfinite(cloud.points).all() for cloud in clouds)
    assert frame.colour is None or frame.colour.shape == (depth.height, depth.width, 3)


def main() -> None:
    """Runs until the arguments say that it is enough; exit status other than 0 on a find."""
    atheris.Setup(sys.argv, answer)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
