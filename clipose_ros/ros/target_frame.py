"""Poses in another frame than the camera's: by TF, at the time of the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from std_msgs.msg import Header

from clipose_ros.core.types import PoseEstimate, Rejection
from clipose_ros.core.uncertainty import turned_covariance
from clipose_ros.core.workspace import CameraPlace
from clipose_ros.pipeline import FrameResult
from clipose_ros.ros.camera_transforms import CameraTransforms, NoTransform, camera_of, rotation_matrix
from clipose_ros.ros.settings import TARGET_FRAME


class TargetFrame:
    """Looks up where the camera was when an image was taken. Called by the worker, while the executor hears TF.

    Parameters
    ----------
    transforms : CameraTransforms
        Of the node.
    name : str
        Of the frame.
    timeout_s : float
        A transform may be so late [s].
    """

    def __init__(self, transforms: CameraTransforms, name: str, timeout_s: float) -> None:
        self._transforms = transforms
        self._name = name
        self._timeout_s = timeout_s

    def place(self, result: FrameResult, header: Header) -> tuple[FrameResult, Header]:
        """Turn a frame's result into the target frame.

        Parameters
        ----------
        result : FrameResult
            In the camera frame.
        header : Header
            Of the depth image.

        Returns
        -------
        FrameResult, Header
            In the target frame.

        Raises
        ------
        ValueError
            When there is no transform at the stamp: neither another time's nor identity could take its place.
        """
        camera = self.camera(header)
        moved = placed(result, camera.rotation, camera.translation, self._name)
        return moved, Header(stamp=header.stamp, frame_id=self._name)

    def camera(self, header: Header) -> CameraPlace:
        """Look up where the camera was.

        Parameters
        ----------
        header : Header
            Of the depth image.

        Returns
        -------
        CameraPlace
            In the target frame.

        Raises
        ------
        ValueError
            When there is no transform at the stamp: neither another time's nor identity could take its place.
        """
        camera = camera_of(header, TARGET_FRAME)
        try:
            found = self._transforms.look_up(self._name, camera, header.stamp, self._timeout_s).transform
        except NoTransform as error:
            expected = f"a transform from {camera} to {self._name} at the image's stamp within {self._timeout_s:g} s"
            raise ValueError(f"{TARGET_FRAME}: expected {expected}, got none: {error}") from error
        t = found.translation
        return CameraPlace(rotation_matrix(found.rotation), np.array([t.x, t.y, t.z]))


def placed(result: FrameResult, rotation: np.ndarray, translation: np.ndarray, frame_id: str) -> FrameResult:
    """Turn a frame's result into another frame.

    Parameters
    ----------
    result : FrameResult
        In the camera frame.
    rotation : (3, 3) float
        R_frame_camera.
    translation : (3,) float
        Of the camera in the frame [m].
    frame_id : str
        Name of the frame.

    Returns
    -------
    FrameResult
        With all poses in that frame.
    """

    def moved(answer: PoseEstimate | Rejection) -> PoseEstimate | Rejection:
        return answer if isinstance(answer, Rejection) else moved_pose(answer, rotation, translation)

    results = tuple((instance, moved(answer)) for instance, answer in result.results)
    return replace(
        result,
        frame_id=frame_id,
        results=results,
        coasting=tuple((instance, moved(pose)) for instance, pose in result.coasting),
    )


def moved_pose(pose: PoseEstimate, rotation: np.ndarray, translation: np.ndarray) -> PoseEstimate:
    """Move a pose, with its covariance.

    Parameters
    ----------
    pose : PoseEstimate
        Tracked or not.
    rotation : (3, 3) float
        About the origin, first.
    translation : (3,) float
        Then [m].

    Returns
    -------
    PoseEstimate
        Of the same kind.
    """
    covariance = pose.covariance
    return replace(
        pose,
        rotation=rotation @ pose.rotation,
        translation=rotation @ pose.translation + translation,
        # position and turns are about the axes of the same frame
        covariance=None if covariance is None else turned_covariance(covariance, rotation, rotation),
    )
