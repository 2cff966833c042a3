"""What holds for every node of this package."""

import subprocess
import sys

PILE_UP = """
import threading
import psutil
from clipose_ros.ros.spinning import give_back_large_memory

give_back_large_memory()
kept = []

def pile_up(images):
    waiting = []
    for _ in range(images):
        waiting.append(b"x" * 614_448)
        kept.append(b"y" * 40_000)  # lives on, between them

def run():
    for _ in range(20):
        pile_up(3)
    before = psutil.Process().memory_info().rss
    pile_up(40)
    print(psutil.Process().memory_info().rss - before)

thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def test_images_that_piled_up_leave_no_holes_behind():
    """Where the heap keeps them, it is 24 MB."""
    grown = int(
        subprocess.run([sys.executable, "-c", PILE_UP], capture_output=True, text=True, check=True, timeout=60).stdout
    )
    assert grown < 8e6


UNREADABLE = """
import sys
from clipose_ros.ros.spinning import run

def make_node():
    raise PermissionError(13, "Permission denied", "/models/card.yaml")

sys.exit(run(make_node))
"""


def test_a_file_that_cannot_be_read_ends_a_node_with_one_sentence():
    process = subprocess.run([sys.executable, "-c", UNREADABLE], capture_output=True, text=True, timeout=60)
    assert process.returncode == 1 and "Traceback" not in process.stderr
    assert "Permission denied: '/models/card.yaml'" in process.stdout + process.stderr
