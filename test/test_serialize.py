from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ttt3r_ros.serialize import flattened, unflattened


@dataclass(frozen=True)
class Inner:
    T: npt.NDArray[np.float64]
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    count: int
    scale: float
    on: bool
    name: str
    size: tuple[int, int] | None
    values: tuple[float, ...]
    pairs: tuple[tuple[float, float], ...]
    tensor: Tensor | None
    inner: Inner | None
    many: tuple[Inner, ...]
    image: npt.NDArray[np.uint8] | None = None


WHOLE = Outer(
    count=3,
    scale=0.5,
    on=True,
    name="ü\n",
    size=(4, 3),
    values=(1.0, 2.0),
    pairs=((1.0, 2.0),),
    tensor=torch.arange(6.0).view(2, 3),
    inner=Inner(np.eye(4)),
    many=(Inner(np.zeros(2), "b"), Inner(np.ones((1, 2)))),
    image=np.arange(4, dtype=np.uint8),
)
EMPTY = Outer(0, 0.0, False, "", None, (), (), None, None, ())


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


def same(a: Any, b: Any) -> bool:
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, tuple):
        return type(b) is tuple and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (np.ndarray, Tensor)):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("value", [WHOLE, EMPTY], ids=["whole", "empty"])
def test_what_is_flattened_comes_back(value):
    plain, tensors = flattened(value)
    assert same(unflattened(Outer, through_json(plain), tensors), value)


@given(
    st.builds(
        Outer,
        count=st.integers(),
        scale=st.floats(allow_nan=False, allow_infinity=False),
        on=st.booleans(),
        name=st.text(),
        size=st.none() | st.tuples(st.integers(), st.integers()),
        values=st.lists(st.floats(-1e300, 1e300)).map(tuple),
        pairs=st.just(()),
        tensor=st.none(),
        inner=st.none(),
        many=st.just(()),
        image=st.none(),
    )
)
def test_plain_values_come_back(value):
    assert same(unflattened(Outer, through_json(flattened(value)[0]), {}), value)


def test_numbers_of_numpy_become_plain():
    plain, _ = flattened(dataclasses.replace(EMPTY, scale=np.float32(0.5), count=np.int64(7)))
    assert through_json(plain)["scale"] == 0.5
    assert through_json(plain)["count"] == 7


def test_tensors_are_copies():
    _, tensors = flattened(WHOLE)
    tensors["tensor"].zero_()
    tensors["inner.T"].zero_()
    assert WHOLE.tensor.sum() == 15
    assert WHOLE.inner.T.sum() == 4


@pytest.mark.parametrize(
    "value",
    [
        dataclasses.replace(EMPTY, scale=float("nan")),
        dataclasses.replace(EMPTY, values=(1.0, float("inf"))),
        dataclasses.replace(EMPTY, inner=Inner(np.full(2, np.nan))),
    ],
)
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match=r"not finite|not a finite number"):
        flattened(value)


WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.none()),
)


@given(st.sampled_from([f.name for f in dataclasses.fields(Outer)]), WRONG)
def test_a_value_of_another_kind_is_refused_or_comes_back_as_it_was(name, wrong):
    plain, tensors = flattened(WHOLE)
    plain[name] = wrong
    try:
        found = unflattened(Outer, plain, tensors)
    except ValueError:
        return
    again, _ = flattened(found)
    assert again[name] == wrong
    assert isinstance(again[name], bool) == isinstance(wrong, bool)


@pytest.mark.parametrize("change", ["extra field", "lacking field", "extra tensor", "lacking tensor", "no dict"])
def test_what_does_not_fit_is_refused(change):
    plain, tensors = flattened(WHOLE)
    if change == "extra field":
        plain["more"] = 1
    elif change == "lacking field":
        del plain["count"]
    elif change == "extra tensor":
        tensors["more"] = torch.zeros(1)
    elif change == "lacking tensor":
        del tensors["inner.T"]
    else:
        plain["inner"] = []
    with pytest.raises(ValueError, match=r"missing or unknown fields|is unknown|is missing"):
        unflattened(Outer, plain, tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bfloat16, torch.bool])
def test_an_array_of_another_kind_is_refused(dtype):
    plain, tensors = flattened(WHOLE)
    tensors["inner.T"] = torch.zeros(4, 4, dtype=dtype)
    with pytest.raises(ValueError, match=r"inner\.T is not an array of float64"):
        unflattened(Outer, plain, tensors)
