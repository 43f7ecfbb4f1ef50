from __future__ import annotations

from pathlib import Path

from ttt3r_ros.viewer.notice import read_notice, write_notice


def test_the_last_notice_counts_and_none_is_none(tmp_path: Path) -> None:
    file = tmp_path / "notice"
    assert read_notice(None) is None
    assert read_notice(file) is None
    for level, message in (("ok", "it plays"), ("error", "it has failed: größer als <2> Zeilen")):
        write_notice(file, level, message)
        assert read_notice(file) == (level, message)
    assert list(tmp_path.iterdir()) == [file]
