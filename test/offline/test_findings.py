from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.run_log import Moment
from ttt3r_ros.geometry import Intrinsics, T_from_pose
from ttt3r_ros.offline.findings import Findings, count, load_findings, save_findings
from ttt3r_ros.offline.selection import Cursor


def moment(i: int) -> Moment:
    return Moment(
        stamp_ns=i,
        rgb=np.full((4, 6, 3), i, np.uint8),
        depth=np.full((4, 6), np.nan if i == 1 else i, np.float32),
        confidence=np.full((4, 6), 1 + i, np.float32),
        true_depth=np.full((4, 6), 2 * i, np.float32) if i % 2 else None,
        points_odom=np.empty((0, 3), np.float32),
        colors=np.empty((0, 3), np.uint8),
        point_confidence=np.empty(0, np.float32),
        intrinsics=Intrinsics(50.5, 51.5, 3.0, 2.0, 6, 4),
        T_odom_camera=T_from_pose([i, 0, 1], [1, 0, 0, 0]),
    )


def findings(frames: int) -> Findings:
    found = Findings(segments=3, unconnected=2, camera=Intrinsics(50.5, 51.5, 3.0, 2.0, 6, 4), seconds=12.5)
    for i in range(frames):
        found.poses[1_700_000_000_000_000_123 + i] = T_from_pose([i, 0, 1], [1, 0.1 * i, 0, 0])
        found.true_poses[i] = T_from_pose([2 * i, 0, 1], [1, 0, 0, 0])
        found.depth_errors.append((0.1 * i, 1.0))
        found.moments.add(moment(i) if found.moments.wants_next() else None)
    found.lost += [5, 7]
    found.lost_reasons.update({"the image is black": 2})
    found.segment_reasons.update({"the stream began": 1, "after # frames": 2})
    found.cursor = Cursor(frames - 1, frames, 1)
    return found


def flat(found: Findings) -> dict[str, object]:
    """Return it with arrays that compare."""
    plain = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    for name in ("poses", "true_poses"):
        plain[name] = {stamp: T.tolist() for stamp, T in plain[name].items()}
    plain["moments"] = [
        {name: repr(value.tolist()) if isinstance(value, np.ndarray) else value for name, value in vars(m).items()}
        for m in found.moments
    ]
    return plain


@pytest.mark.parametrize("frames", [1, 5, 60])
def test_nothing_is_lost_in_a_file(tmp_path, frames):
    found = findings(frames)
    save_findings(tmp_path / "f", found)
    assert flat(load_findings(tmp_path / "f")) == flat(found)


def test_of_a_damaged_file_one_sentence_is_said(tmp_path):
    file = tmp_path / "f"
    save_findings(file, findings(5))
    data = file.read_bytes()
    for damaged in (b"", b"noise", data[: len(data) // 2], data + b"\0"):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"f is (not part of a run|truncated or damaged; start over)"):
            load_findings(file)
    file.unlink()
    with pytest.raises(UserError, match=r"cannot be read \(No such file or directory\); start over with --overwrite"):
        load_findings(file)


def test_reasons_that_differ_in_numbers_count_under_the_first():
    reasons: Counter[str] = Counter()
    for reason in ("no image for 3.000 s", "the image is black", "no image for 12.5 s"):
        count(reasons, reason)
    count(reasons, "the image is black", 2)
    assert reasons == {"no image for 3.000 s": 2, "the image is black": 3}
