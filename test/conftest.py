"""Every process that runs tests has a ROS domain and a ROS_HOME of its own, and never leaves this computer."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from ttt3r_ros.ros.domain import free_domain

if TYPE_CHECKING:
    from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

MAX_WORKERS = 8

# However busy the machine is, and the same examples in every run; `--hypothesis-profile explore` draws others, and
# twice as many.
ANY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.register_profile("explore", ANY_MACHINE)
settings.register_profile("the same", ANY_MACHINE, derandomize=True, max_examples=50)
settings.load_profile("the same")

# As the node does it, see docs/adr/0007: nodes under test and this process share the cores.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(free_domain())

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers share the cores
    os.environ["ROS_HOME"] = str(Path(os.environ.get("ROS_HOME", "~/.ros")).expanduser() / worker)


@pytest.hookimpl(optionalhook=True)  # a machine that is lent for its GPU may have no pytest-xdist
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start two workers a core for tests over DDS, which wait most of their time, and one for the others."""
    cores = len(os.sched_getaffinity(0))
    return min(cores if _is_without_dds(config) else 2 * cores, MAX_WORKERS)


def pytest_configure(config: pytest.Config) -> None:
    """Let a test that makes a ROS node without being marked fail at once, whichever process makes it."""
    if _is_without_dds(config):
        os.environ["ROS_DOMAIN_ID"] = "none, since this test is not marked dds"


@pytest.fixture(scope="session", autouse=True)
def drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let one worker draw the textures of the synthetic world, which takes seconds, and the others read them."""
    if worker is None:
        yield
        return
    import numpy as np
    import torch

    from ttt3r_ros.synthetic import atlas

    draw, files = atlas._texels, [tmp_path_factory.getbasetemp().parent / f"textures_{i}.npy" for i in range(2)]

    def texels(families: bool) -> Tensor:
        file = files[families]
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not file.exists():
                np.save(file, draw(families).numpy())
            return torch.from_numpy(np.load(file))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atlas, "_texels", texels)
        yield
    for file in files:
        file.unlink(missing_ok=True)  # 110 MB


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: small networks gain nothing from more, and the process can be forked."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def own_handlers() -> Iterator[None]:
    """Signals are handled as before once a program has run in this process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a network as small as can be."""
    from rule_weights import TINY, rule_network

    from ttt3r_ros.weights.checkpoint import save_network

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_network(rule_network(TINY), path, provenance={"made": "by rule, for tests"})
    return path


def _is_without_dds(config: pytest.Config) -> bool:
    return "not dds" in config.option.markexpr


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m gpu`` look only into files that have such tests, so that they need neither ROS nor evo."""
    if config.option.markexpr != "gpu":
        return None
    files = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    return None if any("mark.gpu" in path.read_text(encoding="utf-8") for path in files) else True
