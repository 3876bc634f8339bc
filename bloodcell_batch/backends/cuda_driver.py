"""NVIDIA's driver, asked before any runtime is imported: PyTorch takes seconds only to say that there is no GPU."""

import ctypes
import sys


def has_driver() -> bool:
    """Whether the CUDA driver's library is installed; it may still be too old, or without a card."""
    return _library() is not None


def driver_cuda_version() -> str:
    """Newest CUDA version that the driver runs, such as "13.0"; empty without a driver."""
    library = _library()
    version = ctypes.c_int()
    if library is None or library.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return ""
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
