"""Where jobs run: in this process, in processes of their own, or on a Ray cluster. A killed worker loses nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from ttt3r_ros.errors import UserError

J = TypeVar("J")
R = TypeVar("R")

#: How often a pool is set up anew without a result in between, or Ray tries a job again.
_RETRIES = 3


def in_processes(jobs: Sequence[J], work: Callable[[J], R], workers: int) -> Iterator[tuple[J, R]]:
    """Yield every job with its result as they come, computed by so many processes.

    Jobs of a worker that dies (killed, out of memory) are done by others.

    Raises:
        UserError: workers die again and again.
    """
    left, deaths = list(jobs), 0
    while left:
        # not forked: threads and CUDA do not survive that
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            futures: dict[Future[R], J] = {}
            try:
                futures = {pool.submit(work, job): job for job in left}
                waiting = set(futures)
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        job = futures[future]
                        result = future.result()
                        left.remove(job)
                        deaths = 0
                        yield job, result
            except BrokenProcessPool:
                deaths += 1
                if deaths > _RETRIES:
                    raise UserError(
                        "the processes that compute die again and again, perhaps for lack of memory; use fewer --jobs"
                    ) from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def on_ray(
    jobs: Sequence[J], work: Callable[[J], R], *, address: str | None = None, workers: int = 0, gpus: float = 0.0
) -> Iterator[tuple[J, R]]:
    """Yield every job with its result as they come, computed on a Ray cluster.

    Jobs of a worker that dies are done by others.

    Args:
        jobs: to do.
        work: a function that the workers can import.
        address: of the cluster, 'auto' for the one that this machine is part of; None to start one here.
        workers: of a cluster that is started here; 0 for one a processor.
        gpus: that a job takes.

    Raises:
        UserError: Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs the package ray: pip install 'ttt3r_ros[ray]'") from None
    local: dict[str, Any] = {"num_cpus": workers or None, "include_dashboard": False} if address is None else {}
    try:
        ray.init(address=address, log_to_driver=False, **local)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise UserError(f"there is no Ray cluster at {address or 'this machine'} ({error})") from None
    try:
        remote = ray.remote(max_retries=_RETRIES, num_cpus=1, num_gpus=gpus)(work)
        waiting = {remote.remote(job): job for job in jobs}
        while waiting:
            done, _ = ray.wait(list(waiting))
            for reference in done:
                try:
                    result = ray.get(reference)
                except ray.exceptions.WorkerCrashedError:
                    raise UserError(
                        "the Ray workers that compute die again and again, perhaps for lack of memory"
                    ) from None
                yield waiting.pop(reference), result
    finally:
        ray.shutdown()
