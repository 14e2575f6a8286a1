"""The blind-denoiser sampler: its law, its exact bias by a second implementation, batches, measurements, and what is
refused."""
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deepstruct.core import generator
from deepstruct.wavelet_diffusion import synthesis as S

def by_hand(lam, start, end, h, beta, adaptive): # moments by explicit products of linear maps
    sigma, t, a, noise = start, 0, 1., 0. # y_t = a y_0 + independent noise of variance `noise`
    while sigma > end:
        t += 1
        k = h * t / (1 + h * (t - 1)) if adaptive else h
        c = (1 - k) + k * lam / (lam + sigma**2)
        a, noise = a * c, noise * c**2 + ((1 - beta * k)**2 - (1 - k)**2) * sigma**2
        sigma *= 1 - beta * k
    return (a**2 * start**2 + noise) * (lam / (lam + sigma**2))**2

@pytest.mark.parametrize('adaptive', (False, True))
@pytest.mark.parametrize('beta', (.1, .5, 1.))
def test_variances(adaptive, beta):
    lam = np.array([.01, .3, 1., 40.])
    got = S.variances(lam, S.ideal_sigmas(2., .03, .05, beta, adaptive), .05, beta, adaptive)
    assert np.allclose(got, [by_hand(x, 2., .03, .05, beta, adaptive) for x in lam])

def test_one_mode_by_simulation():
    lam, kw = 3., dict(h=.1, beta=.4, adaptive=True)
    sig = S.ideal_sigmas(1., .05, **kw)
    x, seen = S.synthesize(lambda y, s: y * lam / (lam + s**2),
                           torch.randn(4, 1, 100, 100, generator=generator('y'), dtype=torch.float64),
                           end=float(sig[-1]) * (1 + 1e-9), ideal=1., seed=generator('mode'), **kw)
    assert all(len(s) == len(sig) for s in seen)
    v = float(S.variances([lam], sig, **kw)[0])
    assert abs(x.square().mean() / v - 1) < 5 * math.sqrt(2 / x.numel())

def test_no_noise_is_the_probability_flow():
    lam, sig = np.array([.1, 1., 10.]), S.ideal_sigmas(1., 1e-3, 1e-3, 1., False)
    assert np.allclose(S.variances(lam, sig, 1e-3, 1., False) / lam, 1 / (1 + lam), rtol=5e-3)

def block_means(s): return lambda x: F.interpolate(F.avg_pool2d(x, s), scale_factor=s)

def blind(y): return .7 * y - .05 * F.avg_pool2d(y, 3, 1, 1).abs()

@pytest.mark.parametrize('measured', (False, True))
def test_batch_is_one_at_a_time(measured):
    start = torch.randn(3, 1, 12, 12, generator=generator('start')) * torch.tensor([1., .3, 3.])[:, None, None, None]
    project = block_means(2) if measured else None
    seen = project(torch.rand(3, 1, 12, 12, generator=generator('seen'))) if measured else None
    run = lambda i: S.synthesize(blind, start[i], end=.05, h=.1, seed=[generator('g', j) for j in range(3)[i]],
                                 projector=project, seen=seen[i] if measured else None)
    whole, steps = run(slice(0, 3))
    for i in range(3):
        x, s = run(slice(i, i + 1))
        assert torch.allclose(x[0], whole[i], atol=1e-5) and len(s[0]) == len(steps[i])
    if measured: assert torch.allclose(project(whole), seen, atol=1e-6)

def test_condition_follows_its_image():
    low = torch.rand(4, 1, 8, 8, generator=generator('low'))
    seen = []
    def net(y, given): seen.append(len(given)); return .5 * y + .01 * (given + y.mean((1, 2, 3), keepdim=True))
    start = torch.randn(4, 1, 8, 8, generator=generator('s')) * torch.tensor([4., 1., .2, 2.])[:, None, None, None]
    gs = lambda: [generator('c', i) for i in range(4)]
    whole, _ = S.synthesize(net, start, end=.05, h=.1, seed=gs(), given=low)
    assert len(set(seen)) > 1
    for i, g in enumerate(gs()): assert torch.allclose(S.synthesize(net, start[i:i + 1], end=.05, h=.1, seed=[g],
                                                                    given=low[i:i + 1])[0][0], whole[i], atol=1e-5)

def test_super_resolution_keeps_block_means():
    x = torch.rand(2, 1, 10, 10, generator=generator('sr'))
    nets = [lambda d, low: .6 * d, lambda d, low: .6 * d + .01 * low]
    r = S.super_resolve(x, nets, sigma=.3, end=.02, h=.1, seed=generator('finer'))
    y, histories = r.samples[0], r.noise
    assert y.shape == (2, 1, 40, 40) and torch.allclose(F.avg_pool2d(y, 4), x, atol=1e-5) and len(histories) == 2

def test_projectors():
    g, shape = generator('p'), (1, 8, 8)
    mask = torch.rand(8, 8, generator=g) < .5
    for p, rank in ((S.keep_pixels(mask), int(mask.sum())), (block_means(4), 4), (S.keep_pixels(mask.numpy()),
                                                                                  int(mask.sum()))):
        S.check_projector(p, shape, g)
        assert (round(float(torch.trace(p(torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8)).reshape(64, 64))))
                == rank)

def test_refused():
    ok = torch.randn(2, 1, 8, 8, generator=generator('ok'))
    oblique = lambda x: x.flip(-1)[..., :1] * torch.ones(8) # idempotent up to the flip, not symmetric
    for call, kind, word in ((lambda: S.ideal_sigmas(1., 2.), ValueError, 'fall'),
                             (lambda: S.step_sizes(2., 3), ValueError, 'h <= 1'),
                             (lambda: S.synthesize(blind, ok, beta=0.), ValueError, 'beta'),
                             (lambda: S.synthesize(blind, ok, end=0.), ValueError, 'end'),
                             (lambda: S.check_projector(lambda x: 2 * x, (1, 8, 8)), ValueError, 'idempotent'),
                             (lambda: S.check_projector(oblique, (1, 8, 8)), ValueError, 'symmetric|idempotent'),
                             (lambda: S.check_projector(lambda x: x + 1, (1, 8, 8)), ValueError, 'linear'),
                             (lambda: S.check_projector(lambda x: x[..., :4], (1, 8, 8)), ValueError, 'same shape'),
                             (lambda: S.super_resolve(2 + ok, []), ValueError, r'\[0, 1\]'),
                             (lambda: S.super_resolve(ok.sigmoid(), 3), ValueError, '2, 4 or 8'),
                             (lambda: S.super_resolve(ok.sigmoid().expand(-1, 3, -1, -1)), ValueError, 'gray'),
                             (lambda: S.synthesize(blind, ok, h=1e-4, most=3), FloatingPointError, 'after 3 steps'),
                             (lambda: S.synthesize(lambda y: -3 * y, ok, h=1.), FloatingPointError, 'image 0 grew'),
                             (lambda: S.synthesize(blind, ok, end=5.), ValueError, 'not above the end'),
                             (lambda: S.synthesize(blind, ok, projector=block_means(2), seen=ok), ValueError,
                              'not a value of the measurement'),
                             (lambda: S.synthesize(blind, ok, projector=lambda x: .5 * x, seen=0 * ok), ValueError,
                              'idempotent'), (lambda: S.start_like(ok[:1], 2, 1.), ValueError, 'at least 2')):
        with pytest.raises(kind, match=word): call()
