"""The table of faults in the documentation:

python -m clipose_ros.ros.lab.fault_table > docs/faults.md
"""

from __future__ import annotations

from clipose_ros.bench.latency import spheres_on_table
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.ros.lab.faults import FAULTS, PERIOD_NS
from clipose_ros.ros.lab.refusals import REFUSALS
from clipose_ros.ros.lab.shots import Case, expected_growth, good_shot

HEAD = """# Faults, and what the node makes of them

Written by `python -m clipose_ros.ros.lab.fault_table > docs/faults.md` from the catalogue that \
`test/ros/test_faults.py` and `python -m clipose_ros.ros.lab.soak` inject
over DDS: here on a frame of 640x480 with five objects. After each of them the next good frame is answered as if \
nothing had been.

A frame that fails is answered, too: every instance is rejected with the reason, and `/diagnostics` have it as the \
last error. `frames` counts the frames
that were estimated, `failures` those that were not; the other counters are named in the table.

| fault | what is sent | answer | grows in `/diagnostics` |
|---|---|---|---|
"""
MIDDLE = """
These end the node before it is ready, with exit status 1 and a message:

| fault | what it is started with | the message has |
|---|---|---|
"""
FOOT = """
Beside: before the first calibration the newest frame waits for it, and the others are counted (`dropped: frame \
without camera_info`); of a burst of 200
images the newest is answered and every other one counted (`dropped: frame replaced by a newer one`, `lost on the \
way: …`); a publisher that is killed and
comes back is heard again; with `use_sim_time` the node answers with and without `/clock`.
"""


def table() -> str:
    """Write what the catalogue expects, on a frame with five objects.

    Returns
    -------
    str
        Content of docs/faults.md.
    """
    scene = spheres_on_table(5, CATEGORIES)
    lines = [HEAD]
    for fault in FAULTS.values():
        case = fault.damage(*(good_shot(scene, NS_PER_S * 1000 + i * PERIOD_NS) for i in range(fault.images)))
        lines.append(f"| {fault.name} | {fault.text} | {_answer_text(case)} | {_growth_text(case)} |\n")
    lines += [
        MIDDLE,
        *(f"| {refused.name} | {refused.text} | {refused.message} |\n" for refused in REFUSALS.values()),
        FOOT,
    ]
    return "".join(lines)


def _answer_text(case: Case) -> str:
    if not case.answers:
        return "none"
    first = next(iter(case.answers.values()))
    times = f"{len(case.answers)} x " if len(case.answers) > 1 else ""
    return f"{times}{first.poses} poses" + (f", {first.rejections} rejected" if first.rejections else "")


def _growth_text(case: Case) -> str:
    growth = {key: number for key, number in expected_growth(case).items() if key not in ("frames", "failures")}
    return "<br>".join(f"`{key}` +{number}" for key, number in sorted(growth.items())) or "-"


if __name__ == "__main__":
    print(table(), end="")
