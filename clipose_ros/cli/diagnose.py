"""`clipose doctor`: what keeps a pose node from working here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from clipose_ros.cli.options import Flag, JsonFlag
from clipose_ros.cli.tables import print_findings, print_json
from clipose_ros.core.validation import expect
from clipose_ros.doctor import environment, machine
from clipose_ros.doctor.findings import Finding, Level, fail, warn, worst
from clipose_ros.inference.providers import Provider
from clipose_ros.inference.session import SessionConfig


def examine(
    provider: Provider = SessionConfig.provider,
    models_dir: Path | None = None,
    depth: str | None = None,
    camera_info: str | None = None,
    instances: str | None = None,
    reliable: Flag = False,
    image_transport: Literal["raw", "compressed"] = "raw",
    seconds: float = 3.0,
    as_json: JsonFlag = False,
) -> None:
    """Look for what keeps a pose node from working here: packages, providers, models, ROS, live topics.

    Exit status 1 when something fails.

    Parameters
    ----------
    provider
        What the node is to run on.
    models_dir
        Where to look for models, instead of the usual places.
    depth
        Topic of the depth image, where it is not the node's own name.
    camera_info
        Topic of the calibration, likewise.
    instances
        Topic of the masks, likewise.
    reliable
        Listen as a node with reliable_inputs does.
    image_transport
        Listen as a node with image_transport does: compressed hears depth on DEPTH/compressedDepth.
    seconds
        To listen for; 0 looks at no topic.
    as_json
        Print JSON instead of lines.
    """
    expect("--seconds", 0 <= seconds <= 3600, "0 to 3600", seconds)
    findings: list[Finding] = []
    topics = {"depth": depth, "camera_info": camera_info, "instances": instances}
    try:
        findings.extend(environment.examine())  # one by one: what is found before an interruption is said
        findings.extend(machine.examine(provider, models_dir))
        if environment.has_started(findings):
            findings.extend(_examine_ros(topics, reliable, image_transport, seconds, models_dir))
    except KeyboardInterrupt:
        findings.append(warn("doctor", "interrupted: not everything was looked at", "let it come to its end"))
    if as_json:
        print_json({"worst": worst(findings).name, "findings": [finding.as_json() for finding in findings]})
    else:
        print_findings(sorted(findings, key=lambda finding: finding.level))  # what is wrong, where the eye is: last
    if worst(findings) == Level.FAIL:
        sys.exit(1)


def _examine_ros(
    names: dict[str, str | None], reliable: bool, image_transport: str, seconds: float, models_dir: Path | None
) -> Iterator[Finding]:
    """What concerns ROS once it has started: with some of what else is wrong, it would end the process."""
    try:
        from clipose_ros.ros import doctor, installation  # all else here works without ROS

        yield from installation.examine()
        given = {key: name for key, name in names.items() if name}
        topics = doctor.Topics(**given, reliable=reliable, image_transport=image_transport)
        yield from doctor.examine(topics, seconds, models_dir) if seconds else ()
    except Exception as error:  # ROS's own errors, for what nobody has looked for: a finding, too
        yield fail("ros", f"{type(error).__name__}: {error}", "mend what it says, or install ROS again")
