"""Reads model files without letting them run code: arrays and sparse matrices only, everything else is refused."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from avatar.errors import BadInput
from avatar.files import read_npz


class _Chumpy:
    """Stands for a chumpy array (chumpy itself is dead and can't be imported); keeps its state only."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """The array held: `Ch` keeps it as `x`; `Select` keeps a source `a`, flat indices, and a shape."""
        if "x" in self.state:
            return plain(self.state["x"])
        picked = plain(self.state["a"]).ravel()[plain(self.state["idxs"])]
        shape = self.state.get("preferred_shape")
        return picked if shape is None else picked.reshape(tuple(shape))


def _reconstructor(cls: type, base: type, state: Any) -> Any:
    """What Python 2 pickles call `copy_reg._reconstructor`, for chumpy objects alone."""
    if cls is not _Chumpy or base is not object or state is not None:
        raise pickle.UnpicklingError(f"refused to build a {cls}")
    return _Chumpy()


def _allowed() -> dict[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
        ("copy_reg", "_reconstructor"): _reconstructor,
        ("copyreg", "_reconstructor"): _reconstructor,
        ("__builtin__", "object"): object,
        ("builtins", "object"): object,
        ("chumpy.ch", "Ch"): _Chumpy,
        ("chumpy.reordering", "Select"): _Chumpy,
    }
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = reconstruct
        table[f"{core}.multiarray", "scalar"] = scalar
        table[f"{core}.numeric", "_frombuffer"] = _frombuffer
    for kind in ("csc", "csr", "coo"):
        for module in (f"scipy.sparse.{kind}", f"scipy.sparse._{kind}"):
            table[module, f"{kind}_matrix"] = getattr(sp, f"{kind}_matrix")
    return table


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them in old pickle protocols; no other codec is needed."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"refused codec {encoding}")
    return text.encode("latin1")


def _frombuffer(buffer: bytes | bytearray, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)  # type: ignore[call-overload]


class _ArraysOnly(pickle.Unpickler):
    def __init__(self, file: io.BufferedIOBase) -> None:
        super().__init__(file, encoding="latin1")
        self.allowed = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def plain(value: Any) -> Any:
    """Chumpy stand-ins and sparse matrices as dense arrays; everything else as it is."""
    if isinstance(value, _Chumpy):
        return value.array()
    return value.toarray() if sp.issparse(value) else value


def load_arrays(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle, with its arrays dense. Nothing in the file is ever called.

    Raises:
        BadInput: the file is no pickle, holds something else than a dictionary, or asks for any class or function
            other than numpy arrays, scipy.sparse matrices and chumpy arrays.
    """
    try:
        with path.open("rb") as f:
            data = _ArraysOnly(f).load()
        if not isinstance(data, dict):
            raise pickle.UnpicklingError(f"it holds a {type(data).__name__}")
        return {str(key): plain(value) for key, value in data.items()}
    # A damaged or hostile stream can fail in any of these ways.
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise BadInput(
            f"{path} is refused: it is not a plain FLAME file",
            expected="a pickled dictionary of numpy arrays, as downloaded from the FLAME site",
            got=str(error),
            fix="download the model again; never open a pickle from elsewhere",
        ) from error


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays in an .npz.

    Raises:
        BadInput: the file is none, or holds pickled objects.
    """
    try:
        return read_npz(path)
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} can't be read", expected="an .npz of plain arrays", got=str(error)) from error
