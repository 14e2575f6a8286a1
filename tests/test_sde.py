"""Reverse samplers against their own Gaussian recursions, the two clocks, time grids, and what they refuse."""
import math

import numpy as np
import pytest
import torch

from deepstruct.core import generator, normal_like
from deepstruct.wavelet_diffusion.sde import (GRIDS, SCHEMES, forward, reverse, sigma_of, step_weights,
                                              time_grid, time_of)

LAM, MU = .4, -1.5
S = lambda t: 1 + (LAM - 1) * math.exp(-2 * t)
score = lambda x, t: -(x - math.exp(-t) * MU) / S(t)

def recursion(times, scheme): # each scheme from its definition
    v, m, times = 1., 0., times.tolist()
    for t, s in zip(times[:0:-1], times[-2::-1]):
        d, mu, r = t - s, math.exp(-t) * MU, 1 / S(t)
        if scheme == 'euler_maruyama': v, m = (1 + d - 2 * d * r)**2 * v + 2 * d, m + d * (m - 2 * r * (m - mu))
        elif scheme in ('ancestral', 'brownian'):
            alpha = math.exp(-2 * d)
            noise = {'ancestral': (1 - alpha) * (s > 0), 'brownian': 1 / alpha - 1}[scheme]
            v, m = (1 - (1 - alpha) * r)**2 * v / alpha + noise, (m - (1 - alpha) * r * (m - mu)) / math.sqrt(alpha)
        elif scheme == 'euler_ode': v, m = (1 + d - d * r)**2 * v, m + d * (m - r * (m - mu))
        else:
            flow = lambda x, u: x - (x - math.exp(-u) * MU) / S(u)
            step = lambda x: x + d / 2 * (flow(x, t) + flow(x + d * flow(x, t), s))
            v, m = (step(1.) - step(0.))**2 * v, step(m) # affine: the slope is the multiplier
    return v, m


@pytest.mark.parametrize('scheme', SCHEMES)
@pytest.mark.parametrize('kind', GRIDS)
def test_each_scheme_is_its_recursion(scheme, kind):
    times, n = time_grid(kind, 9, 2.5, .1 if kind == 'geometric' else None), 40_000
    x = reverse(score, torch.randn(n, 1, generator=generator(scheme, kind), dtype=torch.float64), times, scheme,
                generator('noise', scheme, kind))
    v, m = recursion(times, scheme)
    assert abs(x.var() / v - 1) < 4.5 * math.sqrt(2 / n) and abs(x.mean() - m) < 4.5 * math.sqrt(v / n)
    others = [recursion(times, o)[0] for o in SCHEMES if o != scheme]
    assert min(abs(o / v - 1) for o in others) > .01 or kind == 'geometric' # a test that could tell them apart


def test_exact_at_many_steps():
    for scheme in SCHEMES:
        v, m = recursion(time_grid('quadratic', 20_000, 8.), scheme)
        assert abs(v / LAM - 1) < 2e-3 and abs(m / MU - 1) < 2e-3


def test_forward_is_the_marginal():
    x = MU + LAM**.5 * torch.randn(100_000, 2, generator=generator('f'), dtype=torch.float64)
    y, z = forward(x, .8, generator('z'))
    assert torch.allclose(y, math.exp(-.8) * x + math.sqrt(1 - math.exp(-1.6)) * z)
    assert abs(y.mean() - math.exp(-.8) * MU) < .01 and abs(y.var() / S(.8) - 1) < .02
    t = torch.rand(5, generator=generator('t'), dtype=torch.float64)
    y, z = forward(x[:5], t, generator('times'))
    assert (all(torch.allclose(y[i], (-t[i]).exp() * x[i] + (1 - (-2 * t[i]).exp()).sqrt() * z[i]) for i in range(5))
            and torch.equal(forward(x[:5], 0.)[0], x[:5]))


def test_clocks():
    t = torch.tensor([1e-6, .1, 1., 5.], dtype=torch.float64)
    assert torch.allclose(time_of(sigma_of(t)), t, rtol=1e-9) and abs(float(sigma_of(.5)) - (math.e - 1)**.5) < 1e-12


def test_step_weights_agree_to_first_order():
    p, q, b = np.array([step_weights(s, 1e-5) for s in ('euler_maruyama', 'ancestral', 'brownian')]).T
    assert np.ptp(p) < 1e-9 and np.ptp(q) < 1e-9 and np.ptp(b) < 1e-8
    assert step_weights('ancestral', .1, last=True)[2] == 0 and step_weights('ancestral', .1)[2] > 0


def test_grids():
    assert torch.allclose(time_grid('quadratic', 4, 2.), torch.tensor([0, .125, .5, 1.125, 2.], dtype=torch.float64))
    t = time_grid('geometric', 8, 3., .02)
    assert torch.allclose(sigma_of(t[1:]).log().diff(), sigma_of(t[1:]).log().diff()[0].expand(7), rtol=1e-9)
    assert abs(float(sigma_of(t[1])) - .02) < 1e-12 and t[-1] == 3 and len(time_grid('geometric', 1, 3.)) == 2


def test_dtype_seed_and_shape():
    x = torch.randn(2, 3, 4, 4, generator=generator('d'))
    a, b = (reverse(lambda x, t: -x, x, time_grid('uniform', 5, 1.), generator=generator('s')) for _ in range(2))
    assert a.dtype == torch.float32 and torch.equal(a, b) and a.shape == x.shape


@pytest.mark.parametrize('call, words', [
    (lambda: time_grid('uniform', 0, 1.), 'N is 0'), (lambda: time_grid('uniform', 2.5, 1.), 'N is 2.5'),
                                         (lambda: time_grid('uniform', 4, -1.), 'T is -1'),
    (lambda: time_grid('uniform', 4, math.nan), 'T is nan'),
                                         (lambda: time_grid('linear', 4, 1.), "'linear' is unknown"),
                                         (lambda: time_grid('geometric', 4, 1., 0.), 'sigma_min'),
    (lambda: reverse(score, torch.ones(2), [0., 1.], 'ddim'), "'ddim' is unknown"),
                                         (lambda: reverse(score, torch.ones(2), [1., 0.]), 'increase'),
    (lambda: reverse(score, torch.ones(2), [0.]), 'shape'), (lambda: reverse(lambda x, t: x[:1], torch.ones(2),
                                                                             [0., 1.]), 'score has shape'),
    (lambda: reverse(lambda x, t: x * math.nan, torch.ones(2), [0., 1.]), 'diverged'),
                                         (lambda: forward(torch.ones(2), -1.), 'at least 0'),
    (lambda: forward(torch.ones(2), torch.ones(3)), 'shape'), (lambda: step_weights('heun', .1), 'unknown'),
    (lambda: time_grid('uniform', 4, 1., .1), 'sigma_min is 0.1'),
    (lambda: time_grid('quadratic', 4, 1., 1e-3), 'a quadratic grid'), (lambda: time_grid('uniform', True, 1.), 'N is'),
    (lambda: time_grid('uniform', 4, 'long'), "T is 'long'"), (lambda: time_grid('uniform', 4, None), 'T is None'),
    (lambda: forward(torch.ones(2, dtype=torch.uint8), .1), 'torch.uint8'),
    (lambda: forward([1., 2.], .1), 'a list'), (lambda: forward(np.ones(2), .1), 'a ndarray'),
    (lambda: forward(torch.ones(2, dtype=torch.complex64), .1), 'complex64'),
    (lambda: reverse(score, torch.ones(2, dtype=torch.int64), [0., 1.]), 'torch.int64'),
    (lambda: reverse(score, torch.ones(2), [0., 1.], generator=[generator('one')]), '1 generators for 2')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()


def test_numbers_of_any_type():
    want = time_grid('geometric', 5, 2., .05)
    for N, T, low in ((np.int64(5), np.float32(2), np.float64(.05)), (torch.tensor(5), torch.tensor(2.), .05)):
        assert torch.equal(time_grid('geometric', N, T, low), want)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_a_stream_each_is_one_at_a_time(scheme):
    "Sample k of a batch is what its own generator makes of it alone."
    x, times = torch.randn(3, 2, 4, generator=generator('x')), time_grid('quadratic', 4, 2.)
    streams = lambda: [generator('stream', k) for k in range(3)]
    whole = reverse(score, x, times, scheme, streams())
    for k, g in enumerate(streams()): assert torch.equal(reverse(score, x[k:k + 1], times, scheme, [g])[0], whole[k])
    g = generator('noise')
    one = normal_like(x, [generator('n', k) for k in range(3)])[1]
    assert torch.equal(one, torch.randn(2, 4, generator=generator('n', 1)))
    assert torch.equal(normal_like(x, g), torch.randn(3, 2, 4, generator=generator('noise')))


@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16))
def test_half_precision_is_widened(dtype):
    x = torch.randn(5, generator=generator('half')).to(dtype)
    a, b = (reverse(score, z, time_grid('uniform', 4, 1.), generator=generator('s')) for z in (x, x.float()))
    assert a.dtype == torch.float32 and torch.equal(a, b) and forward(x, .1)[0].dtype == torch.float32
