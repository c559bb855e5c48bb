"""Executed under Jittor's own Python by test_signals.py: `signalled.py START KIND`. Products while signals come."""

import os
import runpy
import signal
import sys
import time

import numpy as np

SECONDS = 4.0
EVERY = 0.002


def children(product):
    """Each end of one is a signal to the thread that started it, in the midst of some product."""

    def after_a_start():
        os.posix_spawn("/bin/true", ["true"], {})
        for _ in range(6):
            product()

    return repeated(after_a_start)


def heard(product):
    came = []
    signal.signal(signal.SIGALRM, lambda *received: came.append(None))
    signal.setitimer(signal.ITIMER_REAL, EVERY, EVERY)
    done = repeated(product)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert len(came) > 100
    return done


def repeated(product):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        product()


def main():
    runpy.run_path(sys.argv[1])["register"]()
    from tunelab.backends.jittor.framework import jt

    draw = np.random.default_rng(0)
    left, right = draw.random((119, 256), np.float32), draw.random((256, 512), np.float32)
    a, b = jt.array(left), jt.array(right)

    def product():
        found = jt.matmul(a.transpose(1, 0), jt.matmul(a, b))
        found.sync()
        return found

    {"children": children, "heard": heard}[sys.argv[2]](product)
    assert np.allclose(product().numpy(), left.T @ (left @ right), rtol=1e-4)


if __name__ == "__main__":
    main()
