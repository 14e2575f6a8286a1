"""Compiled HMC against the cluster simulator and its own energy; a cascade fitted by sites; the time to an error
against draws."""
import numpy as np
import pytest
import torch

from deepstruct.core import generator
from deepstruct.fields import Phi4, autocorrelation_time
from deepstruct.log_concavity.model import LogConcaveModel
from deepstruct.log_concavity.direct import direct_hmc, direct_mala, time_to_error


@pytest.mark.parametrize('beta, leapfrogs', ((.5, 4), (.68, 12)))
def test_hmc_keeps_the_law(beta, leapfrogs):
    x = Phi4(beta, 8).simulate(3000, generator('law', beta), chains=60).fields
    truth = torch.stack([x.double().mean((1, 2, 3))**2, Phi4(beta, 8).energy(x.double()) / 64], 1)
    series, report, seconds = direct_hmc(beta, x[:50], 500, leapfrogs, generator('hmc', beta))
    assert .5 < report.acceptance < .9 and seconds > 0
    for k in (0, 1):
        tau = autocorrelation_time(series[..., k].numpy())[0]
        error = float((series[..., k].var() * 2 * tau / series[..., k].numel() + truth[:, k].var() / len(x)).sqrt())
        assert abs(float(series[..., k].mean() - truth[:, k].mean())) < 4.5 * error


@pytest.fixture(scope='module')
def four(): # sites, whose averages are sums over a grid
    t = torch.linspace(-2.6, 2.6, 33, dtype=torch.float64)
    x = torch.cartesian_prod(t, t, t, t).view(-1, 1, 2, 2)
    p = torch.softmax(-(E := Phi4(.4, 2).energy(x)), 0)
    return p @ x.mean((1, 2, 3))**2, p @ E


def judged(series, truths):
    for s, truth in zip(series[:, 50:].unbind(2), truths):
        error = float(s.var() * 2 * autocorrelation_time(s.numpy())[0] / s.numel())**.5
        assert abs(float(s.mean() - truth)) < 4.5 * error < .1 * float(s.std())


def test_mala_keeps_the_law(four):
    """Uncorrected, these steps give other averages, and do not diverge."""
    look = lambda x: torch.stack([x.mean((1, 2, 3))**2, Phi4(.4, 2).energy(x)], 1)
    make = lambda **how: direct_mala(.4, torch.ones(200, 1, 2, 2), 1500, 3, generator('mala'), .3, 0, **how)
    series, report = make()
    assert .5 < report.acceptance < .99 and torch.allclose(series[..., :2], make(observe=look)[0])
    judged(series[..., :2], four)


def test_hmc_of_four_sites(four):
    series, report, _ = direct_hmc(.4, torch.ones(200, 1, 2, 2), 1200, 3, generator('four'), .22, 0)
    assert .5 < report.acceptance < .99
    judged(series * torch.tensor([1., 4.]), four)


def test_hmc_is_reproducible_and_survives_a_bad_step():
    x = Phi4(.6, 4).simulate(20, generator('x'), chains=20).fields
    a, b = (direct_hmc(.6, x[:4], 50, 4, generator('same'))[0] for _ in range(2))
    assert torch.equal(a, b)
    assert direct_hmc(.6, x[:4], 50, 64, generator('wild'), step=5., adapt=100)[0].isfinite().all()


def test_time_to_error_against_an_autoregressive_chain():
    rho, rng, T = .8, np.random.default_rng(0), 2000
    z = rng.standard_normal((400, T + 200))
    for t in range(1, T + 200): z[:, t] = rho * z[:, t - 1] + (1 - rho**2)**.5 * z[:, t]
    means = 1 + .3 * z[:, 200:].mean(1) # of a quantity of mean 1 and spread .3
    tau = .5 * (1 + rho) / (1 - rho)
    assert abs(time_to_error(means.std(), .3, 1., tau) / T - 1) < .2
    assert (time_to_error(.01, .3, 1., bias=.02) == float('inf')
            and time_to_error(.01, .3, 1., bias=.006) > time_to_error(.01, .3, 1.))


def test_each_level_gets_as_many_sites():
    x = Phi4(.5, 8).simulate(1200, generator('sites'), chains=60).fields
    model = LogConcaveModel('haar', polish_steps=0).fit(x.split(200), seed=0, finest=60)
    assert [(r['side'], r['fields']) for r in model.history] == [(8, 60), (4, 240), (2, 960)]
    whole = LogConcaveModel('haar', polish_steps=0).fit(x)
    assert torch.allclose(model.density.theta, whole.density.theta, rtol=1e-6) # all values of the coarsest field
    y = model.sample(300, generator('y'))
    assert abs(float(y.var() / x.var()) - 1) < .1


@pytest.mark.parametrize('call, words', [
    (lambda: time_to_error(-1., 1., 1.), 'positive'), (lambda: direct_hmc(.6, torch.ones(2, 1, 4, 4), 10, 0),
                                                       'leapfrogs'),
    (lambda: direct_hmc(.6, torch.full((2, 1, 4, 4), torch.nan), 10, 2),
     'NaN'), (lambda: LogConcaveModel().fit([torch.randn(5, 1, 4, 4)], finest=5), 'at least 20'),
    (lambda: LogConcaveModel().fit([], finest=5), 'at least 20'),
    (lambda: LogConcaveModel().fit([torch.randn(50, 1, 6, 6)], finest=5), 'power of two')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()
