"""Files of arrays in pieces are the files that the library writes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load, save

from mpcompile.emission.tensors import _TYPES, serialise
from mpcompile.runner import disk

KINDS = st.sampled_from(sorted(_TYPES))


@given(
    st.dictionaries(
        st.text(min_size=1),
        KINDS.flatmap(lambda k: arrays.arrays(k, arrays.array_shapes(min_dims=0, min_side=0))),
    )
)
def test_pieces_are_the_file_of_the_library(given: dict[str, np.ndarray]) -> None:
    given.pop("__metadata__", None)
    pieces = serialise(given)
    assert isinstance(pieces, list)
    joined = b"".join(pieces)
    assert joined == save(given, {"format": "pt"})
    back = load(joined)
    assert back.keys() == given.keys()
    for name, array in given.items():
        assert back[name].dtype == array.dtype and back[name].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3).T, np.arange(6.0)[::2], np.arange(3, dtype=">f8")], ids=str
)
def test_any_layout_of_memory(array: np.ndarray) -> None:
    back = load(b"".join(serialise({"a": array})))["a"]
    assert back.tolist() == array.tolist()


def test_a_type_without_a_name_is_refused() -> None:
    with pytest.raises(KeyError):
        serialise({"a": np.zeros(1, np.complex64)})


def test_nothing_is_copied(tmp_path) -> None:  # type: ignore[no-untyped-def]
    large = {str(i): np.zeros(1 << 20, np.float32) for i in range(4)}
    tracemalloc.start()
    payload = serialise(large)
    disk.digest(payload)
    disk.write(tmp_path / "file", payload)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert (tmp_path / "file").stat().st_size > 4 << 22
