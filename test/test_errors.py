from __future__ import annotations

import ast
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.errors import command, quoted, what_was_meant, why_not_imported


@given(st.text(max_size=60))
def test_a_short_text_is_quoted_whole(text):
    assert ast.literal_eval(quoted(text)) == text


@given(st.text(min_size=61), st.integers(3, 60))
def test_a_long_text_is_cut_and_says_so(text, longest):
    shown = ast.literal_eval(quoted(text, longest))
    assert len(shown) == longest
    assert shown == text[: longest - 3] + "..."


@pytest.mark.slow
@given(st.text())
def test_nothing_in_a_text_breaks_the_line_or_reaches_the_terminal(text):
    assert quoted(text).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [("", "''"), ("front camera", "'front camera'"), ("a\nb", r"'a\nb'"), ("\x1b[2J", r"'\x1b[2J'"), ("'", '''"'"''')],
)
def test_what_a_user_sees(text, shown):
    assert quoted(text) == shown


def test_a_misspelt_name_is_told_from_an_unknown_one():
    known = ("max_depth", "max_speed", "weights")
    assert what_was_meant("maxdepth", known) == "did you mean max_depth?"
    assert what_was_meant("camera", known) is None


def test_a_command_is_named_as_it_can_be_typed(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert command("fetch_weights") == "ros2 run ttt3r_ros fetch_weights"
    script = tmp_path / ".venv" / "bin" / "fetch_weights"
    script.parent.mkdir(parents=True)
    script.touch()
    monkeypatch.chdir(tmp_path)
    assert command("fetch_weights") == ".venv/bin/fetch_weights"
    sibling = tmp_path / "videos"
    sibling.mkdir()
    monkeypatch.chdir(sibling)
    assert command("fetch_weights") == str(script)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cv_bridge", "'cv_bridge' is missing: .* install ros-jazzy-cv-bridge$"),
        ("sensor_msgs.msg", "'sensor_msgs' is missing: .* install ros-jazzy-sensor-msgs$"),
        ("torch", "'torch' is missing: install it with python3 -m pip install torch"),
    ],
)
def test_a_missing_library_is_said_with_how_to_get_it(monkeypatch, name, words):
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    assert re.search(words, why_not_imported(ModuleNotFoundError(f"No module named {name!r}", name=name)))


def test_a_library_that_is_there_but_fails_is_said_with_its_reason():
    error = ImportError("numpy.core.multiarray failed\nto import", name="cv_bridge")
    assert why_not_imported(error) == (
        "the Python module cv_bridge cannot be imported: numpy.core.multiarray failed to import"
    )
