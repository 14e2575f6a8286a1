"Maximum likelihood against quadrature on the 2x2 lattice and on the line, and its error bars against repeated fits."
import math

import numpy as np
import pytest
import torch
from scipy import integrate, optimize

from deepstruct.core import generator
from deepstruct.fields import Phi4
from deepstruct.log_concavity.energies import LAPLACIAN, Family, Monomials
from deepstruct.log_concavity.error_bounds import SmallLattice
from deepstruct.log_concavity.langevin import SamplingError
from deepstruct.log_concavity.maximum_likelihood import Whole, Windowed, log_odds_errors, maximum_likelihood
from deepstruct.log_concavity.score_matching import normal_equations
from deepstruct.wavelets import Octave

D, TRUTH = torch.float64, torch.tensor([1., -2., .5], dtype=torch.float64)


def family(n, start=TRUTH):
    f = Family(n, Windowed(8., 4, 2), None, [LAPLACIAN])
    f.theta.copy_(start)
    return f


def test_direct_finds_the_exact_maximum_on_the_small_lattice():
    x = Phi4(.5, 2).simulate(800, generator('small')).fields.double()
    f, lattice = family(2), SmallLattice(31)
    data = f.features(x).mean(0)
    Phi = f.features(lattice.fields)
    nll = lambda th: float(data @ (th := torch.tensor(th)) + torch.logsumexp(-(Phi @ th), 0))
    exact = optimize.minimize(nll, TRUTH.numpy(), method='Nelder-Mead',
                              options={'xatol': 1e-4, 'fatol': 1e-8, 'maxiter': 2000}).x
    fit = maximum_likelihood(family(2, 1.1 * TRUTH), x, None, 24, 8, generator=generator('chains'))
    noise = (fit.covariance.diagonal() / 13).sqrt().numpy() # of moments averaged over twelve steps
    assert (np.abs(fit.theta.numpy() - exact) < 4.5 * noise).all()
    p = torch.softmax(-(Phi @ torch.tensor(exact)), 0)
    fisher = ((Phi - p @ Phi).T * p) @ (Phi - p @ Phi)
    ratio = fit.covariance.diagonal() / torch.linalg.inv(fisher).diagonal() * len(x) / (13 / 12)
    assert ((ratio - 1).abs() < .3).all()


@pytest.mark.parametrize('wavelet', (None, Octave('haar')), ids=('direct', 'conditional'))
def test_error_bars_cover_the_truth(wavelet):
    z = []
    for s in range(6):
        x = Phi4(.5, 4).simulate(300, generator('cover', s)).fields
        fit = maximum_likelihood(family(4), x, wavelet, 12, 8, generator=generator('chains', s))
        z.append(float((fit.theta - TRUTH) @ torch.linalg.solve(fit.covariance, fit.theta - TRUTH)) / 3)
        assert fit.gradients == 12 * 8 * 4 and fit.memory < .5
    assert .3 < np.mean(z) < 2.5


def test_whole_is_the_identity():
    x, f = torch.randn(4, 1, 4, 4, generator=generator('x'), dtype=D).requires_grad_(), family(4)
    lap = f.laplacians(x.detach(), Whole())
    g = f.gradients(x)
    for k in range(3):
        rows = torch.stack([torch.autograd.grad(g[:, k].flatten(1)[:, i].sum(), x,
                                                retain_graph=True)[0].flatten(1)[:, i] for i in range(16)], 1)
        assert torch.allclose(rows.sum(1), lap[:, k])
    theta, cov = normal_equations(f, Phi4(.5, 4).simulate(2000, generator('direct')).fields.double(),
                                  Whole()).jackknife()
    assert ((theta - TRUTH).abs() < 4 * cov.diagonal().sqrt()).all()


@pytest.mark.parametrize('h', (1., 3.))
def test_log_odds_errors_against_scipy_and_draws(h):
    theta = torch.tensor([h, -2 * h, .1], dtype=D)

    class Line(Monomials): # t^4, t^2, t
        def evaluate(self, t, order, theta=None): return torch.stack([float(np.prod([p - i for i in range(order)]))
                                                                      * t**max(p - order, 0) for p in (4, 2, 1)], -1)
    e = log_odds_errors(Line(4, 2), theta, 3., 8001)
    f = lambda t: np.exp(-(h * t**4 - 2 * h * t**2 + .1 * t))
    assert np.isclose(e['log_odds'], np.log(integrate.quad(f, 0, 3)[0] / integrate.quad(f, -3, 0)[0]), atol=1e-6)
    t = np.linspace(-3, 3, 8001)
    draw = np.random.default_rng(0).choice(t, (400, 1000), p=f(t) / f(t).sum())
    F, S, R = (Line(4, 2).evaluate(torch.from_numpy(draw), k) for k in (0, 1, 2))
    H, g = torch.einsum('bnk,bnl->bkl', S, S), R.sum(1)
    fits = torch.linalg.solve(H, g)
    def odds(th):
        p = np.exp(-(t[:, None]**np.array([4, 2, 1])) @ th)
        return np.log(p[t > 0].sum() / p[t < 0].sum())
    sd = np.std([odds(th) for th in fits.numpy()])
    assert abs(sd / (e['score'] / 1000**.5) - 1) < .2 and e['likelihood'] <= e['score'] * (1 + 1e-9)


@pytest.mark.parametrize('mean, sd', ((.4, 1.), (1.5, .8), (-.7, 1.1)))
def test_log_odds_errors_of_a_gaussian(mean, sd):
    """Both estimators are its sample moments: z = mean / sd has variance (1 + z^2/2) / n, the odds are those of z."""
    class Moments: # t^2, t
        def evaluate(self, t, k): return torch.stack([(t**2, 2 * t, 2 + 0 * t)[k], (t, 1 + 0 * t, 0 * t)[k]], 1)
    theta = torch.tensor([1 / (2 * sd**2), -mean / sd**2], dtype=D)
    e, z, normal = log_odds_errors(Moments(), theta, 9 * sd + abs(mean)), mean / sd, torch.distributions.Normal(0., 1.)
    low, high = (float(normal.cdf(torch.tensor(s * z, dtype=D))) for s in (-1, 1))
    slope = math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (1 / low + 1 / high)
    assert e['log_odds'] == pytest.approx(math.log(high / low), abs=1e-6)
    for k in ('score', 'likelihood'): assert e[k] == pytest.approx(slope * math.sqrt(1 + z * z / 2), rel=1e-5)


@pytest.mark.parametrize('call, words', [
    (lambda: maximum_likelihood(family(4), torch.randn(5, 1, 4, 4)), '20'),
                                         (lambda: maximum_likelihood(family(4), torch.randn(30, 1, 8, 8)), 'same side'),
    (lambda: maximum_likelihood(family(4), torch.full((30, 1, 4, 4), torch.nan)),
     'NaN'), (lambda: maximum_likelihood(family(4), torch.randn(30, 1, 4, 4), iterations=2), 'four steps')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()


def test_chains_that_stand_still_are_refused():
    x = Phi4(.68, 16).simulate(60, generator('still')).fields
    with pytest.raises(SamplingError, match='know their start'):
        maximum_likelihood(family(16), x, None, 4, 2, generator=generator('chains that stand still'))
