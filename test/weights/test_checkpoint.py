"""Weights files: what is read equals what was written, and no bytes whatever crash the reader."""

from __future__ import annotations

import argparse
import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from expectations import assert_equal, one_sentence, refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from published_files import DPT_STRING, TINY, TINY_DPT, published_state, rewrite, save_published
from resident import resident_bytes
from rule_weights import rule_image, rule_network

from ttt3r_ros.errors import UserError
from ttt3r_ros.model import Network
from ttt3r_ros.model.fingerprint import fingerprint
from ttt3r_ros.weights.checkpoint import load_checkpoint, load_network, save_network
from ttt3r_ros.weights.native_file import read_native
from ttt3r_ros.weights.published import published_key

ABLE = torch.cpu.get_capabilities()
HAS_VNNI = bool(ABLE.get("avx512_vnni") or ABLE.get("avx_vnni") or ABLE.get("amx_int8"))
INT8 = pytest.param(torch.int8, marks=pytest.mark.skipif(not HAS_VNNI, reason="no VNNI instructions"))


@pytest.fixture(scope="module")
def safetensors_bytes(tmp_path_factory: pytest.TempPathFactory, network: Network) -> bytes:
    path = tmp_path_factory.mktemp("native") / "tiny.safetensors"
    save_network(network, path, provenance={})
    return path.read_bytes()


class TestRoundTrip:
    def test_published_linear(self, tmp_path: Path, network: Network) -> None:
        loaded, provenance = load_network(save_published(tmp_path / "tiny.pth"))
        assert_equal(loaded, network)
        assert provenance == {"source": "tiny.pth"}
        assert not loaded.training
        assert not any(parameter.requires_grad for parameter in loaded.parameters())

    @pytest.mark.slow
    def test_published_dpt_and_back(self, tmp_path: Path) -> None:
        complete = published_state(TINY_DPT)
        state = dict(complete)
        for level in range(4):  # either name of a repeated tensor may be missing
            del state[f"downstream_head.dpt_self.scratch.layer_rn.{level}.weight"]
            del state[f"downstream_head.dpt_cross.scratch.layer{level + 1}_rn.weight"]
        loaded, _ = load_network(save_published(tmp_path / "dpt.pth", state, argparse.Namespace(model=DPT_STRING)))
        for key, value in loaded.state_dict().items():
            assert torch.equal(value, complete[published_key(key)]), key
        save_network(loaded, tmp_path / "dpt.safetensors", provenance={})
        assert_equal(load_network(tmp_path / "dpt.safetensors")[0], loaded)

    def test_native(self, tmp_path: Path, network: Network) -> None:
        path = tmp_path / "tiny.safetensors"
        provenance = {
            "source": "somewhere",
            "license": "CC-BY-NC-SA-4.0",
            "note": 'ünïcode "quoted"',
            "sha256": "0" * 64,
        }
        save_network(network, path, provenance=provenance)
        loaded, found = load_network(path)
        assert_equal(loaded, network)
        assert found == provenance
        assert read_native(path).is_intact()
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
        assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR

    @pytest.mark.slow
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_file_loads_as_float32(self, tmp_path: Path, network: Network, dtype: torch.dtype) -> None:
        path = tmp_path / "half.safetensors"
        save_network(network, path, provenance={}, dtype=dtype)
        assert read_native(path).dtypes == {dtype}
        for key, value in load_network(path)[0].state_dict().items():
            assert value.dtype == torch.float32
            assert torch.equal(value, network.state_dict()[key].to(dtype).float())

    @pytest.mark.slow
    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_published_in_another_dtype(self, tmp_path: Path, network: Network, dtype: torch.dtype) -> None:
        state = {key: value.to(dtype) for key, value in published_state().items()}
        loaded, _ = load_network(save_published(tmp_path / "tiny.pth", state))
        for key, value in loaded.state_dict().items():
            assert torch.equal(value, network.state_dict()[key].to(dtype).float())

    def test_weights_stay_memory_mapped(self, tmp_path: Path, network: Network) -> None:
        save_network(network, tmp_path / "tiny.safetensors", provenance={})
        for path in (save_published(tmp_path / "tiny.pth"), tmp_path / "tiny.safetensors"):
            loaded, _ = load_network(path)
            maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line]
            spans = [tuple(int(end, 16) for end in line[0].split("-")) for line in maps]
            for key, value in loaded.state_dict().items():
                assert any(start <= value.data_ptr() < stop for start, stop in spans), key

    @pytest.mark.slow
    @pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16, INT8])
    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_nothing_of_the_file_stays_in_memory(
        self, tmp_path: Path, network: Network, precision: torch.dtype, suffix: str
    ) -> None:
        """What is float32 still comes back when the network reads it, all else does not."""
        path = tmp_path / f"tiny.{suffix}"
        save_published(path) if suffix == "pth" else save_network(network, path, provenance={})
        loaded, _ = load_network(path, precision=precision)
        assert resident_bytes(path) == 0
        image = rule_image(0, 32, 48)[None]
        expected = rule_network(TINY).set_precision(precision).step(image, None)[0]
        assert torch.equal(loaded.step(image, None)[0].translation, expected.translation)
        assert resident_bytes(path) > 0

    @pytest.mark.slow
    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
    def test_fingerprint_is_of_the_file_whatever_the_precision(self, tmp_path: Path, dtype: torch.dtype) -> None:
        state = {key: value.to(dtype) for key, value in published_state().items()}
        path = save_published(tmp_path / "tiny.pth", state)
        expected = fingerprint(load_network(path)[0])
        for precision in (torch.float32, torch.bfloat16, torch.float16):
            assert load_checkpoint(path, precision=precision).fingerprint == expected
        save_network(load_network(path)[0], tmp_path / "tiny.safetensors", provenance={})
        assert load_checkpoint(tmp_path / "tiny.safetensors").fingerprint == expected


class TestOtherFiles:
    def test_name_with_a_nul(self) -> None:
        with pytest.raises(UserError):
            load_network("a\0b")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_unreadable(self, tmp_path: Path, pth_bytes: bytes) -> None:
        (tmp_path / "tiny.pth").write_bytes(pth_bytes)
        (tmp_path / "tiny.pth").chmod(0)
        assert "Permission denied" in refusal(tmp_path / "tiny.pth")


class TestSaving:
    def test_an_interruption_leaves_the_old_file(self, tmp_path: Path, network: Network) -> None:
        path = tmp_path / "t.safetensors"
        path.write_bytes(b"old")

        def interrupt(done: int, total: int) -> None:
            assert not path.read_bytes().startswith(b"\x00")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            save_network(network, path, provenance={}, progress=interrupt)
        assert path.read_bytes() == b"old"
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

    def test_a_value_too_large_for_half_precision_is_not_saved(self, tmp_path: Path) -> None:
        network = rule_network(TINY)
        network.pose_token.data[0, 0, 0] = 1e5
        save_network(network, tmp_path / "t.safetensors", provenance={})
        with pytest.raises(UserError, match=r"pose_token has values .* float16"):
            save_network(network, tmp_path / "half.safetensors", provenance={}, dtype=torch.float16)
        assert [entry.name for entry in tmp_path.iterdir()] == ["t.safetensors"]

    def test_a_file_in_use_is_replaced_not_written_into(self, tmp_path: Path, network: Network) -> None:
        path = tmp_path / "t.safetensors"
        save_network(network, path, provenance={})
        running, _ = load_network(path)
        other = rule_network(TINY)
        other.pose_token.data += 1
        save_network(other, path, provenance={})
        assert_equal(running, network)
        assert_equal(load_network(path)[0], other)

    def test_full_disk(self, tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(UserError) as caught:
            save_network(network, tmp_path / "t.safetensors", provenance={})
        assert "cannot be written: No space left" in one_sentence(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_unknown_folder(self, tmp_path: Path, network: Network) -> None:
        with pytest.raises(UserError, match="cannot be written: No such file"):
            save_network(network, tmp_path / "nowhere" / "t.safetensors", provenance={})

    def test_dtype(self, tmp_path: Path, network: Network) -> None:
        with pytest.raises(ValueError, match="int8"):
            save_network(network, tmp_path / "t.safetensors", provenance={}, dtype=torch.int8)


def loads_or_says_why(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        load_network(path)
    except UserError as error:
        one_sentence(error)


MANY = settings(max_examples=30)


class TestAnyBytes:
    @MANY
    @given(
        start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x10\0\0\0\0\0\0\0{"]), rest=st.binary(max_size=300)
    )
    def test_random(self, tmp_path: Path, start: bytes, rest: bytes) -> None:
        loads_or_says_why(tmp_path / "file", start + rest)

    @pytest.mark.slow
    @MANY
    @given(data=st.data())
    def test_mutated_description(self, tmp_path: Path, pth_bytes: bytes, data: st.DataObject) -> None:
        """The archive's own checksum would stop these at once; here it fits."""

        def change(name: str, content: bytes) -> bytes:
            return mutate(data, content, [(0, len(content))]) if name.endswith("data.pkl") else content

        rewrite(pth_bytes, tmp_path / "rewritten", change)
        loads_or_says_why(tmp_path / "file", (tmp_path / "rewritten").read_bytes())

    @pytest.mark.slow
    @MANY
    @given(data=st.data())
    def test_mutated_safetensors(self, tmp_path: Path, safetensors_bytes: bytes, data: st.DataObject) -> None:
        header = 8 + int.from_bytes(safetensors_bytes[:8], "little")
        spans = [(0, 8), (8, 800), (8, header), (header, len(safetensors_bytes))]
        loads_or_says_why(tmp_path / "file", mutate(data, safetensors_bytes, spans))


def mutate(data: st.DataObject, content: bytes, spans: list[tuple[int, int]]) -> bytes:
    """Change, take out or put in a few bytes within some spans."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        start, stop = data.draw(st.sampled_from(spans))
        at = data.draw(st.integers(start, stop - 1))
        kind = data.draw(st.sampled_from(["set", "flip", "cut", "insert"]))
        if kind == "set":
            changed[at : at + 1] = data.draw(st.binary(min_size=1, max_size=8))
        elif kind == "flip":
            at = min(at, len(changed) - 1)
            changed[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del changed[at : at + data.draw(st.integers(1, 40))]
        else:
            changed[at:at] = data.draw(st.binary(max_size=20))
    return bytes(changed)
