from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from expectations import one_sentence
from training_recipe import TINY_RECIPE

from training.blend import blend, main
from training.export import export
from training.trainer import Trainer
from ttt3r_ros.errors import UserError
from ttt3r_ros.weights.checkpoint import load_network
from ttt3r_ros.weights.load import load_weights


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{seed}.safetensors" for seed in range(2)]
    for seed, path in enumerate(paths):
        export(Trainer(replace(TINY_RECIPE, seed=seed), torch.device("cpu")).state(), path)
    return [str(path) for path in paths]


@pytest.mark.slow
def test_a_blend_lies_between_and_says_what_it_is_of(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "mean.safetensors"
    assert main([*files, "--shares", "0.75,0.25", "--output", str(output)]) == 0
    assert "wrote" in capsys.readouterr().out
    (one, two, mean), provenance = [load_network(f)[0].state_dict() for f in (*files, output)], load_network(output)[1]
    for name, value in mean.items():
        torch.testing.assert_close(value, 0.75 * one[name] + 0.25 * two[name], atol=2e-3, rtol=2e-3)
    assert not torch.allclose(mean["pose_token"], one["pose_token"], atol=1e-3)
    assert provenance["license"] == "Apache-2.0"
    assert [part["share"] for part in provenance["started_from"]["of"]] == [0.75, 0.25]
    assert load_weights(str(output)).segment_frames == TINY_RECIPE.segment_frames


def test_what_cannot_be_averaged_is_named(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for shares in ("0.5,0.6", "1.0", "0.2,0.3,0.5"):
        assert main([*files, "--shares", shares, "--output", str(tmp_path / "no")]) == 2
        assert "a sum of 1" in capsys.readouterr().err
    assert main([*files, "--shares", "half,half", "--output", str(tmp_path / "no")]) == 2
    assert "numbers" in capsys.readouterr().err
    wider = replace(TINY_RECIPE, network=replace(TINY_RECIPE.network, enc_embed_dim=64))
    export(Trainer(wider, torch.device("cpu")).state(), tmp_path / "wide.safetensors")
    with pytest.raises(UserError, match="one shape") as caught:
        blend([files[0], str(tmp_path / "wide.safetensors")], [0.5, 0.5], tmp_path / "no")
    one_sentence(caught.value)
    assert not (tmp_path / "no").exists()
