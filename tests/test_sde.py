"""Reverse samplers against their own Gaussian recursions, the two clocks, time grids, mixtures against autograd and
quadrature."""
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from deepstruct.core import generator
from deepstruct.wavelet_diffusion.sde import (GRIDS, SCHEMES, Mixture, brownian_score, forward, langevin, ou_score,
                                              reverse, reverse_brownian, sigma_of,
                                              step_weights, time_grid, time_of)

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
    times, n = time_grid(kind, 9, 2.5, .1), 40_000
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
    assert torch.allclose(time_of(sigma_of(t)), t, rtol=1e-9)
    x, s = torch.randn(40, 3, generator=generator('x'), dtype=torch.float64), float(sigma_of(.7))
    blurred = lambda y, sigma: -(y - MU) / (LAM + sigma**2)
    assert (torch.allclose(brownian_score(score)(x, s), blurred(x, s))
            and torch.allclose(ou_score(blurred)(x, .7), score(x, .7)))
    times = time_grid('quadratic', 7, 2.)
    a = reverse(score, x, times, 'brownian', generator('same'))
    assert torch.allclose(a, reverse_brownian(blurred, math.exp(2.) * x, sigma_of(times), generator('same')), rtol=1e-9)


def test_step_weights_agree_to_first_order():
    p, q, b = np.array([step_weights(s, 1e-5) for s in ('euler_maruyama', 'ancestral', 'brownian')]).T
    assert np.ptp(p) < 1e-9 and np.ptp(q) < 1e-9 and np.ptp(b) < 1e-8
    assert step_weights('ancestral', .1, last=True)[2] == 0 and step_weights('ancestral', .1)[2] > 0


def test_grids():
    assert torch.allclose(time_grid('quadratic', 4, 2.), torch.tensor([0, .125, .5, 1.125, 2.], dtype=torch.float64))
    t = time_grid('geometric', 8, 3., .02)
    assert torch.allclose(sigma_of(t[1:]).log().diff(), sigma_of(t[1:]).log().diff()[0].expand(7), rtol=1e-9)
    assert abs(float(sigma_of(t[1])) - .02) < 1e-12 and t[-1] == 3 and len(time_grid('geometric', 1, 3.)) == 2


def test_mixture():
    mix = Mixture((3., 1.), ((-2., 0.), (2., 1.)), (.5, 1.))
    x = mix.sample(60_000, generator('m'))
    assert (abs(mix.shares(x)[0] - .75) < .02
            and torch.allclose(x.mean(0), torch.tensor([-1., .25], dtype=torch.float64), atol=.03))
    line = Mixture((1., 2.), ((-1.,), (1.,)), (.3, .6))
    for t in (0., .5):
        density = lambda u: math.exp(float(line.log_prob(torch.tensor([[u]], dtype=torch.float64), t)))
        assert abs(integrate.quad(density, -12, 12, points=(-1, 1))[0] - 1) < 1e-7
        v = [(s * s - 1) * math.exp(-2 * t) + 1 for s in (.3, .6)]
        assert abs(density(.3) - sum(w * stats.norm.pdf(.3, m * math.exp(-t), c**.5)
                                     for w, m, c in zip((1 / 3, 2 / 3), (-1, 1), v))) < 1e-12
        y = x[:20].clone().requires_grad_()
        assert torch.allclose(torch.autograd.grad(mix.log_prob(y, t).sum(), y)[0], mix.score(y, t), rtol=1e-9,
                              atol=1e-12)


def test_langevin_keeps_a_gaussian_up_to_its_step():
    h = .1
    x = langevin(lambda x: -x, torch.zeros(20_000, dtype=torch.float64), h, 200, generator('l'))
    assert abs(x.var() - 1 / (1 - h / 2)) < .05 # the stationary variance of the discrete chain


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
                                         (lambda: Mixture((1.,), ((0.,), (1.,)), (1.,)), 'as many'),
    (lambda: Mixture((0.,), ((0.,),), (1.,)), 'positive'), (lambda: langevin(lambda x: -x, torch.ones(2), 0., 5),
                                                            'positive')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()
