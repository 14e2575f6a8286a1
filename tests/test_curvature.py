"""Smallest eigenvalues without a matrix, memories of vectors, divergences of laws with gaps: against another way."""
import math

import numpy as np
import pytest
import torch

from deepstruct.core import generator
from deepstruct.log_concavity.energies import LAPLACIAN, Family, Spline, phi4_family
from deepstruct.log_concavity.error_bounds import SmallLattice, divergence, kl_terms
from deepstruct.log_concavity.hessians import (WholeField, conditional_hessians, detail_band, eigenvalues, low_bands,
                                               lowest_on_ring, ring_band)
from deepstruct.log_concavity.langevin import relaxation, run_chain
from deepstruct.log_concavity.mixing import cascade_mixing, details_mixing
from deepstruct.log_concavity.model import LogConcaveModel, gaussian_start
from deepstruct.log_concavity.score_matching import NormalEquations, normal_equations
from deepstruct.wavelets import Octave


def bonded(n):
    f = Family(n, Spline([.2, .6, 1.1]), Spline([.3, .8]), [{(0, 0): 1.}, LAPLACIAN])
    f.theta.copy_(torch.tensor([1., -3., 2., .5, .2, -1., .7], dtype=torch.float64))
    return f


@pytest.mark.parametrize('name, n, depth, family', [
    ('haar', 8, 1, phi4_family(8, .5)), ('db2', 8, 2, phi4_family(8, .76)), ('db4', 16, 3, phi4_family(16, .68)),
    ('sym4', 8, 1, bonded(8)), ('db10', 16, 4, bonded(16)), ('coif1', 16, 1, phi4_family(16, 2.))])
def test_smallest_eigenvalue_is_that_of_the_matrix(name, n, depth, family):
    A, B = low_bands(name, n, depth), ring_band(name, n, depth)
    x = torch.randn(3, 1, n, n, generator=generator('ring', name), dtype=torch.float64)
    assert torch.allclose(A, A.T) and torch.allclose(A @ A, A) and round(float(A.trace())) == n - n // 2**depth
    assert len(B) == n**2 - (n - n // 2**depth)**2 and (A @ B @ A).abs().max() < 1e-8
    assert torch.allclose(lowest_on_ring(family, x, A, 1e-8), eigenvalues(family, x, B)[:, 0], atol=1e-6)
    assert torch.allclose(lowest_on_ring(family, x.float(), A, 1e-8), lowest_on_ring(family, x, A, 1e-8), atol=1e-4)


@pytest.mark.parametrize('bad', [
    lambda: low_bands('haar', 16, 0), lambda: low_bands('haar', 16, -1), lambda: low_bands('db4', 16, 5),
    lambda: low_bands('haar', 12, 3), lambda: low_bands('nowavelet', 16, 1),
    lambda: lowest_on_ring(phi4_family(8, .5), torch.zeros(1, 1, 16, 16), low_bands('haar', 8, 1)),
    lambda: lowest_on_ring(phi4_family(8, .5), torch.zeros(1, 2, 8, 8), low_bands('haar', 8, 1)),
    lambda: lowest_on_ring(phi4_family(8, .5), torch.full((1, 1, 8, 8), torch.nan), low_bands('haar', 8, 1))])
def test_what_has_no_ring_is_refused(bad):
    with pytest.raises(ValueError): bad()


def test_memory_of_a_vector():
    """That of each coordinate where all have the same, whatever the axes, the means and the variances."""
    rng = np.random.default_rng(1)
    s = np.zeros((40, 400, 3))
    for t in range(1, 400): s[:, t] = s[:, t - 1] * .8 + rng.standard_normal((40, 3)) * [1., 2., 3.]
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    one, all_, turned = relaxation(s[..., 0]), relaxation(s), relaxation(s @ turn)
    assert relaxation(s[..., :1]).tau == pytest.approx(one.tau, rel=1e-12)
    assert turned.tau == pytest.approx(all_.tau, rel=1e-9) and turned.error == pytest.approx(all_.error, rel=1e-9)
    assert all_.tau == pytest.approx(.5 + .8 / .2, rel=.1) and abs(all_.tau - 4.5) < 4 * all_.error + .1
    shifted = relaxation(s + [5., -2., 1e3], given=False) # a mean of each coordinate
    assert shifted.tau == pytest.approx(relaxation(s, given=False).tau, rel=1e-6)


@pytest.mark.parametrize('shape', [(5,), (1, 9), (9, 1), (1, 9, 2), (4, 1, 2), (4, 9, 0), (2, 3, 4, 5)])
def test_series_without_chains_or_steps_are_refused(shape):
    with pytest.raises(ValueError, match='series'): relaxation(np.random.default_rng(0).standard_normal(shape))


def test_constant_vectors_are_refused():
    with pytest.raises(ValueError, match='constant'): relaxation(np.ones((3, 50, 4)))


@pytest.mark.parametrize('name', ['haar', 'db2'])
def test_laplacians_are_traces_of_hessians_of_bonds_too(name):
    f, step, x = bonded(8), Octave(name), torch.randn(3, 1, 8, 8, generator=generator('bonds'), dtype=torch.float64)
    H = conditional_hessians(f, x, detail_band(step, 8))
    assert torch.allclose(f.laplacians(x, step) @ f.theta, H.diagonal(0, 1, 2).sum(1), rtol=1e-10)
    one, h = x[:1].clone().requires_grad_(), 1e-4 # and the Hessian is the derivative of the gradient
    g, = torch.autograd.grad(f.energy(one).sum(), one)
    assert torch.allclose(g, f.gradient(one.detach()))
    up, down = (f.gradient(x + s * h * x.flip(0)) for s in (1, -1))
    assert torch.allclose((up - down) / (2 * h), f.hessian(x, x.flip(0)), rtol=1e-4, atol=1e-5)


def test_equations_of_one_parameter_by_hand():
    """With H = 2 in every fold the estimate is half the mean of g, its jackknife the variance of that mean."""
    g = torch.randn(12, 1, generator=generator('folds'), dtype=torch.float64)
    eq = NormalEquations(torch.full((12, 1, 1), 2., dtype=torch.float64), g, torch.full((12,), 5., dtype=torch.float64))
    theta, cov = eq.jackknife()
    assert float(theta) == pytest.approx(float(g.mean() / 2))
    assert float(cov) == pytest.approx(float((g / 2).var() / 12))
    for d in (-.3, .2): assert eq.loss(theta + d) - eq.loss(theta) == pytest.approx(d * d)


class Harmonic: # a white Gaussian law
    def energy(self, y): return y.square().sum(1) / 2
    def gradient(self, y): return y
    def energy_gradient(self, y): return self.energy(y), y


@pytest.mark.parametrize('leapfrogs', [1, 4])
def test_long_steps_leave_the_law(leapfrogs):
    """The energy that leapfrogs of size h conserve has variance 1 / (1 - h^2/4): 1.33 at h = 1 without a correction."""
    y = torch.randn(4000, 10, generator=generator('long steps'), dtype=torch.float64)
    y, r = run_chain(Harmonic(), y, 30, leapfrogs, generator('moves', leapfrogs), 1., adapt=0)
    assert .3 < r.acceptance < .9 and r.step == 1. and r.gradients == 30 * leapfrogs
    for k, moment, error in ((2, 1., 2**.5), (4, 3., 96**.5)): # moments, and standard deviations of y^k
        assert abs(float(y.pow(k).mean()) - moment) < 5 * error / y.numel()**.5


def test_chains_start_with_the_law_of_a_gaussian():
    class Off(Harmonic):
        def gradient(self, y): return y - 3
    y = gaussian_start(Off(), torch.zeros(4000, 5, dtype=torch.float64), generator('start'))
    assert abs(float(y.mean()) - 3) < .04 and abs(float(y.var()) - 1) < .05


@pytest.mark.parametrize('kept', [1, 3, 5, 6, 7])
def test_divergence_of_a_law_with_gaps(kept):
    """Of p cut to a set A from p: -log p(A)."""
    small = SmallLattice(7)
    p, q = small.law(phi4_family(2, .68).energy), small.law(phi4_family(2, .5).energy)
    cut = p.clone()
    cut[kept:] = -torch.inf
    assert divergence(cut - cut.flatten().logsumexp(0), p) == pytest.approx(-math.log(p.exp()[:kept].sum()), abs=1e-9)
    assert divergence(p, q) == pytest.approx(sum(kl_terms(p, q)), rel=1e-9)


def test_whole_field_is_no_projection():
    """Normal equations in all sites: sums over a step's details and its low-pass."""
    class Low:
        def detail(self, x): return Octave('db2').low(x)
        def projector_shift(self, n, a): return WholeField().projector_shift(n, a) - Octave('db2').projector_shift(n, a)
    x, f = torch.randn(20, 1, 8, 8, generator=generator('whole'), dtype=torch.float64), phi4_family(8)
    whole, low, high = (normal_equations(f, x, step, folds=2) for step in (WholeField(), Low(), Octave('db2')))
    assert torch.allclose(whole.H, low.H + high.H) and torch.allclose(whole.g, low.g + high.g)


@pytest.fixture(scope='module')
def model():
    x = torch.randn(200, 1, 4, 4, generator=generator('mixing model'))
    return LogConcaveModel('haar', polish_steps=0, even=True, isotropic=True).fit(x, 0), x


def test_scores_are_minus_the_gradients_in_the_details(model):
    (m, x), step = model, Octave('haar')
    for level, fields in enumerate((x[:5], step.low(x[:5]))):
        one = fields.clone().requires_grad_()
        g, = torch.autograd.grad(m.levels[level].energy(one).sum(), one)
        assert torch.allclose(m.score(fields, level), -step.detail(g), rtol=1e-4, atol=1e-5) and g.norm() > .1


def test_weights_of_the_scales(model):
    out = cascade_mixing(*model, 8, generator('mixing'), steps=100)
    assert [q['share'] for q in out['levels']] == [12 / 16, 3 / 16]
    assert out['tau'] == pytest.approx(sum(q['share'] * q['tau'] for q in out['levels']) + .5 / 16)


def test_runs_are_lengthened(model):
    (f, *_), x = model[0].levels, model[1]
    short = details_mixing(f, Octave('haar'), x[:40], 20, least=30, generator=generator('long'))
    assert short['steps'] >= 30 * short['tau'] and short['steps'] in [20 * 2**k for k in range(11)]
    assert details_mixing(f, Octave('haar'), x[:40], 20, least=1e9, most=50, generator=generator('long'))['steps'] == 40
