"""Times of fixed scattering against kymatio, and of learned blocks against convolutions with the same filters: one
thread, in turn, least processor time: `python tests/bench_scattering.py [repetitions]`. Prints ratios; not a test."""
import sys
import time

import torch
from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D

from deepstruct.core import generator
from deepstruct.networks import WaveletStep, cheapest
from deepstruct.phase_collapse.scattering import Scattering


def seconds(f, x):
    start = time.process_time()
    y = f(x)
    if x.requires_grad: torch.autograd.grad(y.square().sum(), x)
    return time.process_time() - start


def least(fs, x, repetitions): # of each, in turn
    for f in fs: seconds(f, x)
    return [min(t) for t in zip(*([seconds(f, x) for f in fs] for _ in range(repetitions)))]


def fixed(batch, J, side, repetitions):
    theirs, torch_only, ours = (ScatteringTorch2D(J, (side, side)), Scattering(J, side, compiled=False),
                                Scattering(J, side, compiled=True))
    x = torch.rand(batch, 1, side, side, generator=generator('bench'))
    for z, what in ((x, 'forward'), (x.clone().requires_grad_(), 'with gradient')):
        a, b, c = least((theirs, torch_only, ours), z, repetitions)
        print(f'{batch:3d} of {side} x {side}, J = {J}, {what:13s}: kymatio {1e3 * a:7.1f} ms, torch {1e3 * b:6.1f} '
              f'({a / b:.1f} times as fast), compiled {1e3 * c:6.2f} ({a / c:.1f})', flush=True)


def learned(side, channels, batch, repetitions):
    ours, direct = cheapest(WaveletStep()), WaveletStep(dense=0)
    x = torch.randn(batch, 2 * channels, side, side, generator=generator('bench'))
    for z, what in ((x, 'forward'), (x.clone().requires_grad_(), 'with gradient')):
        a, b = least([lambda v, w=w: w.pairs(v, 2) for w in (direct, ours)], z, repetitions)
        print(f'wavelets of {batch} maps of {side} x {side}, {channels} channels, {what:13s}: conv2d {1e3 * a:6.1f} '
              f'ms, ours {1e3 * b:6.1f} ({a / b:.2f})', flush=True)


if __name__ == '__main__':
    torch.set_num_threads(1)
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    for batch, J, side in ((64, 3, 32), (1, 3, 32), (64, 2, 28), (1, 2, 28), (1, 4, 128), (8, 3, 64)):
        fixed(batch, J, side, n if batch > 1 or side > 100 else 4 * n)
    for side, channels, batch in ((32, 64, 8), (16, 64, 16), (8, 128, 32)): learned(side, channels, batch, n)
