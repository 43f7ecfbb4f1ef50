from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.errors import UserError
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.covariance_file import MAX_BYTES, read_covariance, write_covariance

CONSTANTS = [item.name for item in fields(CovarianceModel)]


@given(st.lists(st.floats(0, 1e6), min_size=len(CONSTANTS), max_size=len(CONSTANTS)))
def test_constants_survive_their_file(tmp_path: Path, values: list[float]):
    model = CovarianceModel(**dict(zip(CONSTANTS, values)))
    write_covariance(tmp_path / "covariance.json", model, {"weights": "small.safetensors"})
    assert read_covariance(str(tmp_path / "covariance.json")) == model


def test_no_file_means_the_constants_of_the_package():
    assert read_covariance("") == CovarianceModel()


@pytest.mark.parametrize(
    ("fitted_to", "told"),
    [
        ({"weights": "a.safetensors", "fingerprint": "ours"}, False),
        ({"weights": "a.safetensors", "fingerprint": "theirs"}, True),
        ({"fingerprint": 7}, True),
        ({"weights": "a.safetensors"}, False),  # which weights these are, nobody knows
        ({}, False),
    ],
)
def test_constants_of_other_weights_are_used_with_a_warning(tmp_path: Path, fitted_to: dict, told: bool):
    path, model, said = tmp_path / "covariance.json", CovarianceModel(depth=2.0), []
    write_covariance(path, model, fitted_to)
    assert read_covariance(str(path), "ours", warn=said.append) == model
    assert read_covariance(str(path), warn=said.append) == model  # whoever has no weights in mind is told nothing
    assert len(said) == told
    assert all("was fitted to other weights (" in sentence and "\n" not in sentence for sentence in said)


def good() -> dict:
    return {"format": "ttt3r_ros covariance", "version": 5, "model": asdict(CovarianceModel()), "fitted_to": {}}


def changed(**model: object) -> str:
    return json.dumps({**good(), "model": {**asdict(CovarianceModel()), **model}})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is not a covariance file"),
        ("{", "is not a covariance file"),
        ("[" * 100_000, "is not a covariance file"),
        ("[1, 2]", "is not a covariance file"),
        (json.dumps({"model": asdict(CovarianceModel())}), "is not a covariance file"),
        ('{"format": "ttt3r_ros covariance", "pad": "' + "x" * MAX_BYTES + '"}', "is not a covariance file"),
        (json.dumps({**good(), "version": 4}), "has version '4' but this program reads version 5"),
        (json.dumps({**good(), "model": None}), f"the constant '{CONSTANTS[0]}' in the covariance file .* is missing"),
        (changed(wobble=1.0), "the constant 'wobble' in the covariance file .* is unknown"),
        (
            changed(scale=-0.1),
            "the constant scale in the covariance file .* is '-0.1' but must be a number from 0 to 1000000;",
        ),
        (changed(scale=1e200), r"the constant scale .* is '1e\+200' but must be a number from"),
        (changed(scale=10**400), r"the constant scale .* is '10000.*' but must be a number from"),
        (changed(scale=float("nan")), "the constant scale .* is 'nan' but must be a number"),
        (changed(scale=float("inf")), "the constant scale .* is 'inf' but must be a number"),
        (changed(scale=True), "the constant scale .* is 'True' but must be a number"),
        (changed(scale="wide"), "the constant scale .* is 'wide' but must be a number"),
    ],
)
def test_a_file_that_cannot_be_used_is_said(tmp_path: Path, content: str, words: str):
    path = tmp_path / "covariance.json"
    path.write_text(content)
    with pytest.raises(UserError, match=words) as error:
        read_covariance(str(path))
    assert "\n" not in str(error.value)
    assert "benchmark.covariance --output" in str(error.value)


def test_a_file_that_cannot_be_reached_is_said(tmp_path: Path):
    with pytest.raises(UserError, match=r"none\.json cannot be read: No such file"):
        read_covariance(str(tmp_path / "none.json"))
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_covariance(str(tmp_path))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not a covariance file"):
        read_covariance(str(tmp_path / "bytes"))
    with pytest.raises(UserError, match="cannot be written: No such file"):
        write_covariance(tmp_path / "none" / "covariance.json", CovarianceModel(), {})
