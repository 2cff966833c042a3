import os
import threading

import pytest

from clipose_ros.inference.cores import Cores


def test_results_come_in_the_order_of_the_calls_and_the_caller_makes_the_first():
    cores = Cores(3)
    assert cores.run([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]
    first, second = cores.run([threading.get_ident, threading.get_ident])
    assert first == threading.get_ident() != second


def test_what_a_call_raises_is_raised():
    with pytest.raises(ValueError, match="of the second"):
        Cores(2).run([lambda: 1, lambda: int("of the second")])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core only")
def test_others_are_kept_off_one_core_which_is_that_of_the_caller():
    cores, all_cores = Cores(2), os.sched_getaffinity(0)

    def allowed_to_the_other():
        return cores.run([lambda: None, lambda: os.sched_getaffinity(0)])[1]

    assert len(all_cores - allowed_to_the_other()) == 1
    try:
        for own in sorted(all_cores)[:2]:
            os.sched_setaffinity(0, {own})
            assert allowed_to_the_other() == {own}  # what is forbidden to the caller is not taken either
    finally:
        os.sched_setaffinity(0, all_cores)
