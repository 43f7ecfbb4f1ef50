from __future__ import annotations

import argparse

import pytest

from ttt3r_ros.cli.arguments import (
    at_least_one,
    file_path,
    folder_path,
    name,
    not_negative,
    output_file,
    output_folder,
    positive,
    tcp_port,
    zero_or_more,
)


def test_numbers_in_range_are_read():
    assert (positive("0.5"), not_negative("0"), at_least_one("1")) == (0.5, 0.0, 1)
    assert (zero_or_more("0"), tcp_port("65535")) == (0, 65535)


@pytest.mark.parametrize(
    ("read", "text", "sentence"),
    [
        (positive, "0", "must be greater than 0, got 0"),
        (positive, "inf", "must be greater than 0, got inf"),
        (positive, "nan", "must be greater than 0, got nan"),
        (not_negative, "-0.1", "must not be negative, got -0.1"),
        (at_least_one, "0", "must be at least 1, got 0"),
        (positive, "abc", "must be a number, got 'abc'"),
        (not_negative, "", "must be a number, got ''"),
        (at_least_one, "1.5", "must be a whole number, got '1.5'"),
        (zero_or_more, "-1", "must not be negative, got -1"),
        (tcp_port, "65536", "must be from 0 to 65535, got 65536"),
        (file_path, "", "must name a file, got an empty string"),
        (folder_path, "", "must name a folder, got an empty string; . is the current one"),
        (name, "", "must be a name, got an empty string"),
        (output_file, "", "must name a file, got an empty string"),
        (output_file, "/", "must name a file, but / is a folder"),
        (output_file, "/nowhere/a.json", "cannot write /nowhere/a.json: there is no folder /nowhere"),
        (output_folder, f"{__file__}/a/b", f"must name a folder, but {__file__} is a file"),
    ],
)
def test_others_are_refused_in_a_sentence(read, text, sentence):
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{sentence}$"):
        read(text)
