"""What commands write into their folders."""

from __future__ import annotations

import json
import os

import pytest

from ttt3r_ros.cli.folders import write_json
from ttt3r_ros.errors import UserError


def test_json_may_name_files_whose_names_are_no_utf_8(tmp_path):
    content = {"source": os.fsdecode(b"caf\xe9.mp4"), "title": "café"}
    write_json(tmp_path / "run.json", content)
    text = (tmp_path / "run.json").read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert "café" in text


def test_json_that_cannot_be_written_is_said_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written: "):
        write_json(tmp_path / "file" / "run.json", {})
