"""Jittor, imported once in the way that it needs: nothing is downloaded, no other framework is imported, and its
cache lies where `tunelab doctor --prepare jittor` has put it."""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import os
import platform
import signal
import sys
from pathlib import Path
from typing import Any

from tunelab.backends.jittor.environment import HOME, MKL, python_config
from tunelab.errors import RunError

PR_SET_PDEATHSIG = 1
SA_ONSTACK = 0x08000000
SETTINGS = {
    "nvcc_path": "",  # with an NVIDIA driver and no nvcc it would download a CUDA toolkit
    "use_mkl": "1",
    "FIX_TORCH_ERROR": "0",  # else it imports torch where it finds one
    "use_mpi": "0",
    "log_silent": "1",
    "cache_name": "default",  # else the git branch around the package
}


def _as_a_child() -> None:
    """Jittor compiles by forked processes, which would keep this one's way to treat signals: SIGTERM, by which it ends
    them, must end them; Ctrl-C must not reach a compiler in the middle of a step that will be checkpointed."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class _SignalAction(ctypes.Structure):
    """Linux's `struct sigaction` as glibc has it (sigaction(2))."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_char * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def _signals_as_before() -> None:
    """Jittor ends the process where it hears of Ctrl-C; what this process had told to happen happens again.

    And signals get a stack of their own: oneDNN 2's product has its stack pointer in a buffer of the heap, below which
    what a signal writes destroys what lies there ("corrupted size vs. prev_size", sometimes, or another tensor).
    Python asks for such a stack wherever it hears a signal, faulthandler makes it, and Jittor does not ask for it.
    """
    if (before := signal.getsignal(signal.SIGINT)) is not None:
        signal.signal(signal.SIGINT, before)
    faulthandler.disable()  # enabled already it would leave Jittor's handlers in place
    faulthandler.enable()
    libc, action = ctypes.CDLL(None), _SignalAction()
    for number in (signal.SIGCHLD, signal.SIGQUIT):
        libc.sigaction(number, None, ctypes.byref(action))
        action.flags |= SA_ONSTACK
        libc.sigaction(number, ctypes.byref(action), None)


def _imported() -> Any:
    import numpy as np

    if int(np.__version__.split(".")[0]) >= 2:
        raise RunError(f"numpy {np.__version__}: with numpy 2 Jittor reads arrays as random numbers")
    home, real = Path(sys.prefix).parent / HOME, os.environ.get("HOME")
    os.environ.update(SETTINGS | {"JITTOR_HOME": str(home), "python_config_path": str(python_config() or "")})
    os.environ["HOME"] = str(home)  # it remembers JITTOR_HOME in a file there
    library = home / MKL / "lib" / "libmkldnn.so"  # by its name alone it is sought in the system's folders
    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    os.register_at_fork(after_in_child=_as_a_child)
    known = platform.platform, platform.node
    platform.platform = platform.node = lambda *_, **__: "tunelab"  # its cache is one for each name of a host
    try:
        found: Any = importlib.import_module("jittor")
    except SystemExit:  # "jit_utils updated, please rerun your command", with exit status 0
        rule = "its cache was made by another compiler or Python"
        raise RunError(f"Jittor wants to compile itself again: {rule}; tunelab doctor --prepare jittor") from None
    finally:
        platform.platform, platform.node = known
        if real is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = real
    found.flags.use_cuda = 0
    _signals_as_before()
    return found


jt: Any = _imported()


def num_kernels() -> int:
    """Compiled kernels that this process has loaded."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return len({line.rpartition(" ")[2] for line in lines if "/jit/" in line and line.endswith(".so")})
