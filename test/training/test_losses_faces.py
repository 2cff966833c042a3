"""Box-face terms against hand-computed values, numpy's least squares and numerical gradients."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.autograd import gradcheck

from training.losses import faces

# y+, x+, z+, x-, z-, y-
NORMALS = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1], [-1, 0, 0], [0, 0, -1], [0, -1, 0]], float)
ALL = torch.ones(1, 6, dtype=torch.float64)
UNIT = torch.ones(1, dtype=torch.float64)
CAMERA = torch.tensor([[0.5, 0.0, -4.0]], dtype=torch.float64)


def tensor(array):
    return torch.from_numpy(np.array(array, float))  # a copy: some tests move planes


def pose(seed=0, count=2):
    rotation = Rotation.random(count, random_state=seed).as_matrix()
    return tensor(rotation), tensor(np.random.default_rng(seed).normal(size=(count, 3)))


def votes(seed, count=2, points=12):
    """Points, unit normals, distances and confidences without any order."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(count, points, 6, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    cloud, distances, confidences = (
        rng.normal(size=(count, points, 3)),
        rng.normal(size=(count, points, 6)),
        rng.uniform(size=(count, points, 6)),
    )
    return tensor(cloud), tensor(normals), tensor(distances), tensor(confidences)


def perfect_votes(rotation, offset, half_size, points):
    planes = faces.box_planes(faces.face_normals(rotation), offset, half_size)
    normals = planes.normal[:, None].expand(-1, points.shape[1], -1, -1)
    return planes, normals, faces.face_distances(points, planes)


def upright_planes(**moved):
    """Planes of a box of half extents 1, 2, 3 about the origin, some distances moved: y_plus=0.5, ..."""
    planes = faces.box_planes(tensor(NORMALS)[None], torch.zeros(1, 3, dtype=torch.float64), tensor([[1, 2, 3]]))
    names = ["y_plus", "x_plus", "z_plus", "x_minus", "z_minus", "y_minus"]
    for name, by in moved.items():
        planes.distance[0, names.index(name)] += by
    return planes


def test_normals_of_an_upright_box_come_in_the_order_of_the_faces():
    np.testing.assert_array_equal(faces.face_normals(torch.eye(3, dtype=torch.float64)[None])[0], NORMALS)


def test_distances_of_a_point_in_a_box_by_hand():
    """Half extents 1, 2, 3 about (10, 0, 0); a point 0.5 from the centre along each axis."""
    planes = faces.box_planes(tensor(NORMALS)[None], tensor([[10, 0, 0]]), tensor([[1, 2, 3]]))
    distances = faces.face_distances(tensor([[[10.5, 0.5, 0.5]]]), planes)
    np.testing.assert_allclose(distances[0, 0], [1.5, 0.5, 2.5, 1.5, 3.5, 2.5])


def test_distances_lead_each_point_onto_the_plane():
    rotation, offset = pose(1)
    points = votes(1)[0]
    planes, normals, distances = perfect_votes(rotation, offset, tensor([[0.2, 0.3, 0.4]]).expand(2, -1), points)
    on_face = (points[:, :, None] + normals * distances[..., None] - offset[:, None, None]) @ rotation[:, None]
    expected = NORMALS.sum(1) * np.array([0.3, 0.2, 0.4, 0.2, 0.4, 0.3])
    along = np.take_along_axis(on_face.numpy(), np.broadcast_to(np.array(faces.AXES)[:, None], (2, 12, 6, 1)), -1)[
        ..., 0
    ]
    np.testing.assert_allclose(along, np.broadcast_to(expected, (2, 12, 6)), atol=1e-12)


def test_only_y_faces_of_axis_symmetric_objects_count():
    np.testing.assert_allclose(
        faces.face_weights(torch.tensor([0.0, 0.25])), [[1, 0, 0, 0, 0, 1], [1, 0.25, 0.25, 0.25, 0.25, 1]]
    )


def test_normal_loss_of_one_face_turned_by_60_degrees_is_a_half_over_six():
    planes = upright_planes()
    voted = tensor(NORMALS)[None, None].clone()
    voted[0, 0, 1] = tensor([math.cos(math.pi / 3), math.sin(math.pi / 3), 0])
    assert faces.normal_loss(voted, planes, ALL).item() == pytest.approx(0.5 / 6)
    assert faces.normal_loss(voted, planes, faces.face_weights(torch.zeros(1))).item() == 0


def test_distance_loss_is_in_metres():
    voted = torch.zeros(1, 4, 6, dtype=torch.float64)
    true = voted.clone()
    true[:, :, 0] = 0.3  # units of 0.2 m
    assert faces.distance_loss(voted, true, 0.2 * UNIT, ALL).item() == pytest.approx(0.06 / 6)


def test_confidence_target_is_in_metres():
    """The vote overshoots by 0.25 units of 0.2 m: 5 cm."""
    planes = upright_planes()
    normals, true = tensor(NORMALS)[None, None], torch.ones(1, 1, 6, dtype=torch.float64)
    assert faces.face_confidence_target(normals, true, planes, true, 0.2 * UNIT).tolist() == [[[1.0] * 6]]
    target = faces.face_confidence_target(normals, true + 0.25, planes, true, 0.2 * UNIT)
    np.testing.assert_allclose(target, math.exp(-303.5 * 0.05**2))


def test_confidence_target_counts_the_direction_of_the_vote():
    """A vote of the right length the other way misses by twice the distance."""
    planes = upright_planes()
    true = torch.full((1, 1, 6), 0.03, dtype=torch.float64)
    target = faces.face_confidence_target(-tensor(NORMALS)[None, None], true, planes, true, UNIT)
    np.testing.assert_allclose(target, math.exp(-303.5 * 0.06**2))


def test_confidence_loss_by_hand():
    loss = faces.face_confidence_loss(
        torch.full((1, 3, 6), 0.25), torch.ones(1, 3, 6), torch.tensor([[1.0, 0, 0, 0, 0, 1]])
    )
    assert loss.item() == pytest.approx(0.75 * 2 / 6)


@pytest.mark.parametrize("seed", range(3))
def test_planes_through_perfect_votes_are_the_box(seed):
    rotation, offset = pose(seed)
    points, _, _, confidences = votes(seed)
    planes, normals, distances = perfect_votes(rotation, offset, tensor([[0.2, 0.3, 0.4]]).expand(2, -1), points)
    fitted = faces.fitted_planes(points, normals, distances, confidences, rotation, offset)
    np.testing.assert_allclose(fitted.normal, planes.normal, atol=1e-9)
    np.testing.assert_allclose(fitted.distance, planes.distance, atol=1e-9)


def test_planes_are_numpys_weighted_least_squares():
    rotation, offset = pose(4)
    points, normals, distances, confidences = votes(4)
    fitted = faces.fitted_planes(points, normals, distances, confidences, rotation, offset)
    for b in range(2):
        for f, axis in enumerate(faces.AXES):
            vote = (points[b] + normals[b, :, f] * distances[b, :, f, None] - offset[b]).numpy() @ rotation[b].numpy()
            across = [i for i in range(3) if i != axis]
            root = np.sqrt(confidences[b, :, f].numpy())[:, None]
            design = np.column_stack([vote[:, across], np.ones(len(vote))])
            slope = np.linalg.lstsq(root * design, root[:, 0] * vote[:, axis], rcond=None)[0]
            normal = np.zeros(3)
            normal[axis], normal[across] = 1, -slope[:2]
            normal *= NORMALS[f].sum() / np.linalg.norm(normal)
            point = np.zeros(3)
            point[axis] = slope[2]  # where the plane cuts the axis of its face
            normal_network = rotation[b].numpy() @ normal
            np.testing.assert_allclose(fitted.normal[b, f], normal_network, atol=1e-4)
            np.testing.assert_allclose(
                fitted.distance[b, f], normal_network @ (rotation[b].numpy() @ point + offset[b].numpy()), atol=1e-4
            )


def test_a_vote_without_confidence_does_not_move_the_plane():
    rotation, offset = pose(5)
    points, _, _, confidences = votes(5)
    planes, normals, distances = perfect_votes(rotation, offset, torch.ones(2, 3, dtype=torch.float64), points)
    distances, confidences = distances.clone(), confidences.clone()
    distances[:, 0] += 1
    moved = faces.fitted_planes(points, normals, distances, confidences, rotation, offset)
    confidences[:, 0] = 0
    kept = faces.fitted_planes(points, normals, distances, confidences, rotation, offset)
    assert (moved.distance - planes.distance).abs().min() > 1e-3
    np.testing.assert_allclose(kept.distance, planes.distance, atol=1e-4)


def test_no_gradient_leads_into_the_confidences_of_a_fit():
    rotation, offset = pose(6)
    points, normals, distances, confidences = votes(6)
    distances.requires_grad_()
    confidences.requires_grad_()
    faces.fitted_planes(points, normals, distances, confidences, rotation, offset).distance.sum().backward()
    assert confidences.grad is None
    assert distances.grad.abs().max() > 0


@pytest.mark.parametrize("collapsed", ["point", "line", "no confidence", "far away"])
def test_votes_without_a_plane_keep_values_and_gradients_finite(collapsed):
    rotation, offset = (t.float() for t in pose(7))
    points, normals, distances, confidences = (t.float() for t in votes(7))
    normals, distances = normals.clone(), torch.zeros_like(distances)  # the votes are the points
    if collapsed == "point":
        points = torch.zeros_like(points)
    if collapsed == "line":
        points = points[:, :, :1].expand(-1, -1, 3).contiguous()
    if collapsed == "no confidence":
        confidences = torch.zeros_like(confidences)
    if collapsed == "far away":
        points = 1000 * points[:, :, :1].expand(-1, -1, 3)
    distances.requires_grad_()
    normals.requires_grad_()
    fitted = faces.fitted_planes(points, normals, distances, confidences, rotation, offset)
    (fitted.normal.sum() + fitted.distance.sum()).backward()
    for value in (fitted.normal, fitted.distance, distances.grad, normals.grad):
        assert torch.isfinite(value).all()


def test_vote_terms_of_a_right_box_are_zero():
    planes, centre, size = upright_planes(), torch.zeros(1, 3, dtype=torch.float64), tensor([[2, 4, 6]])
    assert faces.vote_plane_loss(planes, upright_planes(), CAMERA, UNIT, ALL).item() == 0
    assert faces.vote_rotation_loss(planes, torch.eye(3, dtype=torch.float64)[None], ALL).item() == 0
    assert faces.vote_offset_loss(planes, centre, UNIT, ALL).item() == 0
    assert faces.vote_size_loss(planes, centre, size, UNIT, ALL).item() == 0
    assert faces.vote_self_loss(planes, ALL).item() == 0


def test_vote_terms_of_one_moved_face_by_hand():
    """The x+ face stands 0.3 units of 0.5 m too far out."""
    planes, centre, scale = upright_planes(x_plus=0.3), torch.zeros(1, 3, dtype=torch.float64), 0.5 * UNIT
    assert faces.vote_plane_loss(planes, upright_planes(), CAMERA, scale, ALL).item() == pytest.approx(0.15 / 3 / 6)
    assert faces.vote_offset_loss(planes, centre, scale, ALL).item() == pytest.approx(0.15 / 6)
    assert faces.vote_size_loss(planes, centre, tensor([[1, 2, 3]]), scale, ALL).item() == pytest.approx(0.15 / 6)
    hidden = faces.face_weights(torch.zeros(1, dtype=torch.float64))
    assert faces.vote_plane_loss(planes, upright_planes(), CAMERA, scale, hidden).item() == 0
    assert faces.vote_offset_loss(planes, centre, scale, hidden).item() == 0
    assert faces.vote_size_loss(planes, centre, tensor([[1, 2, 3]]), scale, hidden).item() == 0


def test_the_feet_of_a_vote_are_those_of_the_camera():
    """The z+ face at z = 3 turned by 30° about x, through (0, 0, 3): 7 from the camera, cos 30° of it now."""
    cosine, sine = math.cos(math.pi / 6), math.sin(math.pi / 6)
    planes = upright_planes()
    planes.normal[0, 2], planes.distance[0, 2] = tensor([0, sine, cosine]), 3 * cosine
    feet = 7 * cosine * np.array([0, sine, cosine]) - np.array([0, 0, 7])
    loss = faces.vote_plane_loss(planes, upright_planes(), CAMERA, UNIT, ALL).item()
    assert loss == pytest.approx(np.abs(feet).mean() / 6)
    nearer = faces.vote_plane_loss(planes, upright_planes(), tensor([[0, 0, 2]]), UNIT, ALL).item()
    assert nearer == pytest.approx(loss / 7)


def test_vote_offset_sees_a_centre_off_the_middle():
    """0.2 off along y: one face 0.2 nearer, the other 0.2 farther."""
    assert faces.vote_offset_loss(upright_planes(), tensor([[0, 0.2, 0]]), UNIT, ALL).item() == pytest.approx(0.4 / 6)


def test_vote_size_does_not_take_a_centre_outside_the_box_for_one_inside():
    """A centre 4 beyond the middle of faces at y = ±2 is 2 from one of them, as the true one: the sign tells."""
    assert faces.vote_size_loss(
        upright_planes(), tensor([[0, 4, 0]]), tensor([[2, 4, 6]]), UNIT, ALL
    ).item() == pytest.approx((4 + 4) / 6)


def test_vote_rotation_and_self_of_a_turned_axis_by_hand():
    """The x faces turned by 30° about z: n = (cos, sin, 0), and its opposite."""
    cosine, sine = math.cos(math.pi / 6), math.sin(math.pi / 6)
    planes = upright_planes()
    planes.normal[0, 1], planes.normal[0, 3] = tensor([cosine, sine, 0]), tensor([-cosine, -sine, 0])
    difference = (1 - cosine + sine) / 3
    assert faces.vote_rotation_loss(planes, torch.eye(3, dtype=torch.float64)[None], ALL).item() == pytest.approx(
        2 * difference / 6
    )
    assert faces.vote_self_loss(planes, ALL).item() == pytest.approx(2 * sine / 6)
    planes.normal[0, 3] = tensor([-1, 0, 0])
    assert faces.vote_self_loss(planes, ALL).item() == pytest.approx((difference + sine) / 6)


def test_gradients_of_the_vote_terms_are_the_numerical_ones():
    rotation, offset = pose(8)
    points, normals, distances, confidences = votes(8, points=5)
    true = faces.box_planes(faces.face_normals(rotation), offset, tensor([[0.2, 0.3, 0.4]]).expand(2, -1))
    weights, scale = faces.face_weights(tensor([1, 0.2])), tensor([0.3, 0.5])
    other = pose(9)[0]

    def terms(normals, distances, centre, size):
        fitted = faces.fitted_planes(points, normals, distances, confidences, rotation, offset)
        return (
            faces.normal_loss(normals, true, weights),
            faces.distance_loss(distances, faces.face_distances(points, true), scale, weights),
            faces.vote_plane_loss(fitted, true, CAMERA.expand(2, 3), scale, weights),
            faces.vote_rotation_loss(fitted, other, weights),
            faces.vote_offset_loss(fitted, centre, scale, weights),
            faces.vote_size_loss(fitted, centre, size, scale, weights),
            faces.vote_self_loss(fitted, weights),
        )

    inputs = [
        t.clone().requires_grad_() for t in (normals, distances, offset + 0.1, tensor([[0.3, 0.2, 0.1]]).expand(2, -1))
    ]
    assert gradcheck(terms, inputs)
