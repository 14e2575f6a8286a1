"""Formulas of CSLC's appendices: detailed balance, energies of sub-bands, tails, against other routes."""
import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from deepstruct.core import generator
from deepstruct.fields import gaussian_field
from deepstruct.log_concavity import appendices as A
from deepstruct.log_concavity.energies import Family, Monomials
from deepstruct.log_concavity.score_matching import normal_equations
from deepstruct.wavelets import HalfOctave, packets

D = torch.float64
WELLS = dict(energy=lambda x: x**4 / 4 - x**2 / 2, slope=lambda x: x**3 - x, reach=5.)


def log_density(y, x, delta, g): return -((y - x + delta * g)**2).sum() / (4 * delta)


@pytest.mark.parametrize('d', [1, 5])
@pytest.mark.parametrize('delta', [.01, .3])
def test_ratio_is_that_of_the_densities(d, delta):
    """Metropolis and Hastings: law and proposal there and back."""
    x, y = torch.randn(2, d, generator=generator('ratio', d), dtype=D)
    E, g = (lambda z: (z**4 / 4 - z**2 / 2).sum()), (lambda z: z**3 - z)
    want = E(x) - E(y) + log_density(x, y, delta, g(y)) - log_density(y, x, delta, g(x))
    assert torch.isclose(A.metropolis_ratio(x, y, delta, g(x), g(y), (E(y) - E(x)) / d).sum(), want)
    assert not torch.isclose(A.printed_ratio(x, y, delta, g(x), g(y), (E(y) - E(x)) / d).sum(), want)


@pytest.mark.parametrize('delta, how', [(.05, {}), (.4, {}), (.1, WELLS)])
def test_which_steps_leave_a_law(delta, how):
    assert A.moved(A.metropolis_ratio, delta, **how) < 1e-12
    assert A.moved(A.printed_ratio, delta, **how) > 1e-3 and A.moved(None, delta, **how) > 1e-4


def test_a_chain_moves_as_the_quadrature_says():
    """One step of two million chains from the law, as printed: the variance of a histogram against it."""
    rng, delta = np.random.default_rng(0), .3
    x = rng.standard_normal(2_000_000)
    y = x - delta * x + (2 * delta)**.5 * rng.standard_normal(len(x))
    take = np.log(rng.random(len(x))) < A.printed_ratio(x, y, delta, x, y, (y**2 - x**2) / 2)
    z = np.where(take, y, x)
    edges = np.linspace(-4, 4, 41)
    p = np.diff([.5 * (1 + math.erf(e / 2**.5)) for e in edges])
    tv = np.abs(np.histogram(z, edges)[0] / len(z) - p).sum() / 2
    assert abs(tv - A.moved(A.printed_ratio, delta)) < .004


@pytest.mark.parametrize('spread', [1., 3.])
def test_bumps(spread):
    x = torch.randn(3000, generator=generator('bumps'), dtype=D)
    b, t = A.Bumps(x, 7, spread), torch.linspace(-1.5, 1.5, 301, dtype=D).requires_grad_()
    theta = torch.randn(7, generator=generator('weights'), dtype=D)
    g, = torch.autograd.grad(b.evaluate(t, 0, theta).sum(), t, create_graph=True)
    h, = torch.autograd.grad(g.sum(), t)
    assert torch.allclose(g, b.evaluate(t, 1, theta)) and torch.allclose(h, b.evaluate(t, 2, theta))
    edges = torch.tensor(np.quantile(x, np.arange(1, 7) / 7))
    assert (b.evaluate(edges, 0).abs().max() < 1e-9) == (spread == 1.) # what cannot be learned as printed
    peaks = b.evaluate(b.centres, 0).diagonal()
    assert torch.allclose(peaks, b.quantile * 7**.5)


@pytest.mark.parametrize('step, n', [(HalfOctave('db2', 1), 16), (HalfOctave('db2', 2), 16),
                                     (HalfOctave('haar', 1), 8)])
def test_pairs_stand_once_and_span_the_stationary_ones(step, n):
    pairs = A.sub_band_pairs(step, n)
    m = n // 4
    form = lambda c, d, s: (c, d, s[0] % m, s[1] % m)
    both = [{form(c, d, s), form(d, c, (-s[0], -s[1]))} for c, d, s in pairs]
    assert all(not a & b for i, a in enumerate(both) for b in both[:i])
    assert {c for c, d, _ in pairs if c == d} == set(step.bands)
    assert any(d not in step.bands for _, d, _ in pairs) == (step.step == 1)
    x = torch.randn(200, 1, n, n, generator=generator('span', n), dtype=D)
    H, _ = A.sub_band_equations(x, step, A.Bumps(x, 5), pairs)
    d = H.diagonal().rsqrt()
    assert torch.linalg.eigvalsh(d[:, None] * H * d)[0] > 1e-4 # none is a sum of others


def test_gradients_of_pairs():
    """Of products of PyTorch's own rolls of the packets, by automatic differentiation in the details."""
    step, n = HalfOctave('db2', 1), 16
    x = torch.randn(1, 1, n, n, generator=generator('gradients'), dtype=D)
    site, pairs = A.Bumps(x, 3, 3.), A.sub_band_pairs(step, n, 3)
    got, _ = A.sub_band_gradients(x, step, site, pairs)
    low, y = step.low(x), step.detail(x).requires_grad_()
    bands = packets(step.synthesis(low, y), 'db2', 2)[0]
    for k, (c, d, (a, b)) in list(enumerate(pairs, len(site)))[::23]:
        form = sum(bands[c][i, j] * bands[d][(i + a) % 4, (j + b) % 4] for i in range(4) for j in range(4))
        want, = torch.autograd.grad(form, y, retain_graph=True)
        assert torch.allclose(got[0, k], want.flatten()), (c, d, a, b)


def test_algorithm_1_of_white_noise():
    """Independent sites of variance 1/2: energy x^2, which the pairs of each band with itself have."""
    step, n = HalfOctave('db2', 1), 8
    x = torch.randn(4000, 1, n, n, generator=generator('white'), dtype=D) / 2**.5
    pairs = A.sub_band_pairs(step, n, 1)
    class Nothing(Monomials):
        def evaluate(self, t, order, theta=None): return t.new_zeros(*t.shape, 0)
    theta = torch.linalg.solve(*A.sub_band_equations(x, step, Nothing(), pairs))
    own = torch.tensor([c == d and s == (0, 0) for c, d, s in pairs])
    assert (theta[own] - 1).abs().max() < .05 and theta[~own].abs().max() < .08


def test_equations_are_those_of_score_matching():
    """Squares of all details together, as a stencil, and as the sum of seven pairs."""
    x, step = gaussian_field(lambda a, b: 1 / (1 + 0 * a), 50, 8, generator('same'), dtype=D), HalfOctave('haar', 1)
    own = [(c, c, (0, 0)) for c in step.bands]
    H, g = A.sub_band_equations(x, step, A.Bumps(x, 4, 3.), own)
    eq = normal_equations(Family(8, A.Bumps(x, 4, 3.), None, [{(0, 0): 1.}]), x, step, folds=1)
    K, h = eq.mean()
    assert torch.allclose(H[:4, :4], K[:4, :4]) and torch.allclose(g[:4], h[:4])
    # pairs have no half
    assert torch.allclose(H[4:, 4:].sum() / 4, K[4, 4]) and torch.allclose(g[4:].sum() / 2, h[4])
    assert torch.allclose(H[:4, 4:].sum(1) / 2, K[:4, 4])


@pytest.mark.parametrize('n', [9, 40, 300])
def test_moments_and_tails(n):
    s = chi2.rvs(n, size=200_000, random_state=n) / n
    got, tails = A.inverse_error(n), A.tail_integrals(n)
    z = np.abs(1 / s - 1)
    assert abs(z.mean() / got['first'] - 1) < .02 and abs(got['first'] / tails['first'] - 1) < 1e-6
    assert abs(got['second'] / tails['second'] - 2) < 1e-5 # the factor that the lemma lacks
    beta = np.linspace(0, 30, 300_001)
    P = chi2.cdf(n / (1 + beta), n) + np.where(beta < 1, chi2.sf(n / np.maximum(1 - beta, 1e-9), n), 0)
    assert abs(np.trapezoid(2 * beta * P, beta) / got['second'] - 1) < .02


def test_small_balls():
    t = np.geomspace(1e-6, .99, 40)
    assert A.small_ball_constant([(6, t, t)]) == pytest.approx(1.) # P = t, nu n / 6 = 1
    assert A.small_ball_constant([(6, t, (2 * t)**.5)], nu=.5) == pytest.approx(2.)
    assert A.small_ball_constant([(6, t, 0 * t), (12, t, (3 * t).clip(0, 1)**2)]) == pytest.approx(3., rel=1e-6)


@pytest.mark.parametrize('call, words', [
    (lambda: A.moved(None, -1.), 'delta is -1.0'), (lambda: A.moved(None, 1., reach=2.), 'wider grid'),
    (lambda: A.Bumps(torch.ones(50)), 'coincide'), (lambda: A.inverse_error(3), 'n is 3'),
    (lambda: A.small_ball_constant([(6, [1.], [.5])]), 'between 0 and 1')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()
