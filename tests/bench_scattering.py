"""Times of one forward and backward pass against kymatio, one core, in turn: `python tests/bench_scattering.py
[repetitions]`. Prints ratios of medians; not a test."""
import statistics
import sys
import time

import torch
from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D

from deepstruct.core import generator
from deepstruct.phase_collapse.scattering import Scattering


def seconds(transform, x):
    start = time.perf_counter()
    torch.autograd.grad(transform(x).square().sum(), x)
    return time.perf_counter() - start


def ratio(batch, J, side, repetitions):
    ours, theirs = Scattering(J, side), ScatteringTorch2D(J, (side, side))
    x = torch.rand(batch, 1, side, side, generator=generator('bench')).requires_grad_()
    times = [(seconds(theirs, x), seconds(ours, x)) for _ in range(repetitions + 2)][2:]
    a, b = (statistics.median(t) for t in zip(*times))
    print(f'{batch:3d} images of {side} x {side}, J = {J}: kymatio {1e3 * a:6.1f} ms, ours {1e3 * b:6.1f} ms, '
          f'{a / b:.1f} times as fast', flush=True)


if __name__ == '__main__':
    torch.set_num_threads(1)
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    for batch, J, side in ((64, 3, 32), (1, 3, 32), (64, 2, 28), (1, 2, 28), (8, 3, 64), (1, 3, 128)):
        ratio(batch, J, side, n)
