import threading

import pytest

from clipose_ros.joining.synchroniser import Bundle, Synchroniser

MS = 1_000_000


@pytest.fixture
def synchroniser():
    synchroniser = Synchroniser(capacity=5)
    synchroniser.set_camera_info("info")
    return synchroniser


def frame(synchroniser, stamp_ns):
    synchroniser.add_depth(stamp_ns, f"depth {stamp_ns}")
    synchroniser.add_instances(stamp_ns, f"instances {stamp_ns}")


def test_equal_stamps_meet_in_any_order(synchroniser):
    synchroniser.add_instances(1, "i1")
    synchroniser.add_depth(1, "d1")
    assert synchroniser.take(0) == Bundle(1, "d1", "info", "i1")
    synchroniser.add_depth(2, "d2")
    synchroniser.add_instances(2, "i2")
    assert synchroniser.take(0) == Bundle(2, "d2", "info", "i2")


def test_near_is_not_equal(synchroniser):
    synchroniser.add_depth(10, "d")
    synchroniser.add_instances(11, "i")
    assert synchroniser.take(0) is None


def test_late_masks_find_their_depth(synchroniser):
    for stamp in range(5):
        synchroniser.add_depth(stamp, stamp)
    synchroniser.add_instances(1, "late")
    assert synchroniser.take(0) == Bundle(1, 1, "info", "late")
    synchroniser.add_instances(3, "later")
    assert synchroniser.take(0) == Bundle(3, 3, "info", "later")
    assert synchroniser.drops == {"depth without partners": 2}  # 0 and 2


def test_masks_that_are_too_late_find_nothing(synchroniser):
    for stamp in range(7):
        synchroniser.add_depth(stamp, stamp)
    synchroniser.add_instances(1, "too late")
    assert synchroniser.take(0) is None
    assert synchroniser.drops["depth without partners"] == 2


def test_buffers_are_bounded(synchroniser):
    for stamp in range(1000):
        synchroniser.add_depth(stamp, "d")
        synchroniser.add_instances(5000 + stamp, "i")
    assert len(synchroniser) == 10
    assert synchroniser.drops == {"depth without partners": 995, "instances without partners": 995}


def test_newest_complete_frame_wins(synchroniser):
    frame(synchroniser, 1)
    frame(synchroniser, 2)
    assert synchroniser.take(0).stamp_ns == 2
    assert synchroniser.take(0) is None
    assert synchroniser.drops == {"frame replaced by a newer one": 1}


def test_older_than_the_last_frame_is_dropped(synchroniser):
    frame(synchroniser, 10)
    frame(synchroniser, 5)
    assert synchroniser.take(0).stamp_ns == 10
    assert synchroniser.drops == {"depth after a newer frame": 1, "instances after a newer frame": 1}


def test_duplicates_are_counted_and_change_nothing(synchroniser):
    synchroniser.add_depth(1, "first")
    synchroniser.add_depth(1, "second")
    synchroniser.add_instances(1, "i")
    synchroniser.add_instances(1, "again")
    assert synchroniser.take(0) == Bundle(1, "first", "info", "i")
    assert synchroniser.take(0) is None
    assert synchroniser.drops == {"depth twice": 1, "instances twice": 1}


def test_a_clock_that_goes_back_starts_afresh(synchroniser):
    frame(synchroniser, 10_000 * MS)
    assert synchroniser.take(0).stamp_ns == 10_000 * MS
    synchroniser.add_depth(10_033 * MS, "never completed")
    frame(synchroniser, 20 * MS)
    assert synchroniser.take(0).stamp_ns == 20 * MS
    assert synchroniser.drops == {"clock went back": 1}


def test_leftovers_of_a_clock_that_went_back_do_not_push_out_new_messages(synchroniser):
    synchroniser.add_depth(10_000 * MS, "old time")
    synchroniser.add_depth(1 * MS, "new time")
    for stamp in range(10_001, 10_005):
        synchroniser.add_instances(stamp * MS, "masks of the old time")
    for stamp in range(1, 4):
        frame(synchroniser, stamp * MS)
        assert synchroniser.take(0).stamp_ns == stamp * MS


def test_masks_may_come_before_the_image_that_shows_that_the_clock_went_back(synchroniser):
    frame(synchroniser, 10_000 * MS)
    synchroniser.add_instances(20 * MS, "i")
    synchroniser.add_depth(20 * MS, "d")
    assert synchroniser.take(0) == Bundle(20 * MS, "d", "info", "i")
    assert synchroniser.drops == {"frame replaced by a newer one": 1}


def test_one_stamp_in_the_future_costs_no_other_image(synchroniser):
    """Neither the image before, whose masks are not there yet, nor the one after, whose masks come before it."""
    synchroniser.add_depth(0, "before")
    synchroniser.add_depth(3_600_000 * MS, "future")
    synchroniser.add_instances(66 * MS, "after")
    synchroniser.add_depth(66 * MS, "after")
    assert synchroniser.take(0).depth == "after"
    synchroniser.add_depth(3_600_000 * MS, "future")
    synchroniser.add_depth(99 * MS, "next")
    synchroniser.add_depth(3_600_000 * MS, "future")
    synchroniser.add_depth(132 * MS, "after next")
    synchroniser.add_instances(99 * MS, "next")
    assert synchroniser.take(0) == Bundle(99 * MS, "next", "info", "next")
    # the very first, when "after" was complete
    assert synchroniser.drops == {"depth without partners": 1, "clock went back": 3}


def test_masks_far_behind_a_newer_frame_are_counted_when_the_next_is_complete(synchroniser):
    frame(synchroniser, 10_000 * MS)
    synchroniser.add_instances(20 * MS, "very late")
    assert len(synchroniser) == 1
    frame(synchroniser, 10_033 * MS)
    assert synchroniser.drops == {"frame replaced by a newer one": 1, "instances after a newer frame": 1}


def test_the_newest_frame_waits_for_the_first_calibration():
    synchroniser = Synchroniser(capacity=5)
    for stamp in (1, 2):
        frame(synchroniser, stamp)
    assert synchroniser.take(0) is None and len(synchroniser) == 2
    assert synchroniser.drops == {"frame without camera_info": 1}
    synchroniser.set_camera_info("first", 3)
    synchroniser.set_camera_info("second", 4)
    assert synchroniser.take(0) == Bundle(2, "depth 2", "first", "instances 2")
    assert synchroniser.take(0) is None and len(synchroniser) == 0 and synchroniser.drops.total() == 1


def test_colour_is_waited_for_where_it_is_needed():
    synchroniser = Synchroniser(capacity=5, with_colour=True)
    synchroniser.set_camera_info("info")
    frame(synchroniser, 1)
    assert synchroniser.take(0) is None
    synchroniser.add_colour(1, "c")
    assert synchroniser.take(0) == Bundle(1, "depth 1", "info", "instances 1", "c")


def test_close_wakes_the_worker(synchroniser):
    taken = []
    worker = threading.Thread(target=lambda: taken.append(synchroniser.take()))
    worker.start()
    synchroniser.close()
    worker.join(timeout=5)
    assert taken == [None]


def test_capacity_is_checked():
    with pytest.raises(ValueError, match="capacity: expected at least 1, got 0"):
        Synchroniser(capacity=0)


def test_the_calibration_of_an_image_is_its_own_where_it_has_one():
    synchroniser = Synchroniser(capacity=2)
    for stamp in (1, 2):
        synchroniser.set_camera_info(f"info {stamp}", stamp)
    frame(synchroniser, 1)
    assert synchroniser.take(0).camera_info == "info 1"
    frame(synchroniser, 3)
    assert synchroniser.take(0).camera_info == "info 2"


def test_a_complete_frame_survives_a_clock_that_goes_back(synchroniser):
    frame(synchroniser, 10_000 * MS)
    synchroniser.add_depth(20 * MS, "new time")
    assert synchroniser.take(0).stamp_ns == 10_000 * MS
    synchroniser.add_instances(20 * MS, "new time")
    assert synchroniser.take(0).stamp_ns == 20 * MS


def optional(tolerance_ns=0, capacity=5):
    synchroniser = Synchroniser(capacity, tolerance_ns=tolerance_ns, with_instances=False)
    synchroniser.set_camera_info("K")
    return synchroniser


def test_where_masks_are_not_needed_a_frame_waits_for_none():
    synchroniser = optional()
    synchroniser.add_depth(10, "depth")
    bundle = synchroniser.take(0)
    assert (bundle.depth, bundle.instances, bundle.camera_info) == ("depth", None, "K")
    synchroniser.add_instances(10, "late")
    assert synchroniser.drops == {"instances after a newer frame": 1} and len(synchroniser) == 0


@pytest.mark.parametrize("first", ["depth", "instances"])
def test_masks_that_are_not_needed_are_taken_where_they_come_in_time(first):
    synchroniser = optional()
    for kind in (first, *({"depth", "instances"} - {first})):
        getattr(synchroniser, f"add_{kind}")(10, kind)
    assert synchroniser.take(0).instances == "instances" and not synchroniser.drops


def test_masks_that_are_not_needed_are_joined_within_the_tolerance_and_never_pile_up():
    synchroniser = optional(tolerance_ns=3, capacity=4)
    for stamp in range(0, 100, 10):
        synchroniser.add_instances(stamp, stamp)
    assert len(synchroniser) == 4 and synchroniser.drops["instances without partners"] == 6
    synchroniser.add_depth(82, "depth")
    assert synchroniser.take(0).instances == 80
    assert len(synchroniser) == 1  # 90 may still have a frame
    synchroniser.add_depth(99, "depth")
    assert synchroniser.take(0).instances is None
