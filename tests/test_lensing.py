"""Weak lensing: closed forms of the background, conservation laws of the particle mesh, projections against sums,
pools that share nothing."""
import math

import numpy as np
import pytest
import torch
from scipy import integrate

from deepstruct import lensing as L
from deepstruct.core import generator

SMALL = L.Lensing(particles=8, mesh=16, side=100., step=.2, a_start=.2)


def test_background_against_quadrature():
    eds, c = L.Cosmology(omega_m=1.), L.Cosmology()
    a = np.linspace(.1, 1, 7)
    assert (np.allclose(eds.growth(a), a, rtol=1e-10)
            and np.allclose(eds.distance(a), 2 * L.HUBBLE * (1 - np.sqrt(a)), rtol=1e-10))
    for x in (.3, .7):
        assert np.isclose(c.distance(x), L.HUBBLE * integrate.quad(lambda t: 1 / (t**2 * c.expansion(t)), x, 1)[0],
                          rtol=1e-8)
        grow = lambda t: c.expansion(t) * integrate.quad(lambda s: 1 / (s * c.expansion(s))**3, 0, t)[0] # Heath (1977)
        assert np.isclose(c.growth(x), grow(x) / grow(1.), rtol=1e-6)
        assert np.isclose(c.momentum(x), x**3 * c.expansion(x) * (c.growth(x + 1e-5) - c.growth(x - 1e-5)) / 2e-5,
                          rtol=1e-6)
    assert np.isclose(c.scale_factor(c.distance(.4)), .4)


def test_sigma8_is_what_was_asked():
    c = L.Cosmology(sigma8=.9)
    ball = lambda x: 3 * (np.sin(x) - x * np.cos(x)) / x**3
    f = lambda u: (k := math.exp(u))**3 * float(L.linear_power(c, k)) * ball(8 * k)**2 / (2 * math.pi**2)
    assert np.isclose(integrate.quad(f, math.log(1e-4), math.log(30), limit=400)[0], .81, rtol=2e-3)


def test_mass_and_momentum_are_conserved():
    g = np.random.default_rng(0)
    x, p = g.uniform(-50, 150, (3, 300)), np.zeros((3, 300))
    mesh, planes = np.zeros((8, 8, 8)), np.zeros((3, 8, 8))
    L.deposit(x, 100., mesh); L.project(x, 100., planes)
    assert np.isclose(mesh.sum(), 300) and np.allclose(planes.sum((1, 2)), 300)
    for m in range(3): assert np.allclose(planes[m], mesh.sum(m))
    L.kick(x, 100., L.potential(x, 100., 8, np.float64), 1., p)
    assert np.abs(p.sum(1)).max() < 1e-9 * np.abs(p).sum()
    assert np.abs(p).max() > 0


def test_linear_growth_of_a_box():
    model = L.Lensing(particles=16, mesh=32, side=400., step=.05, a_start=.1)
    x, p = L.initial(model, L.linear_modes(model, generator('growth')))
    k, early = L.density_power(x, model.side, 32)
    (_, x), = L.evolve(model, x, p, [.3])
    late = L.density_power(x, model.side, 32)[1]
    D = model.cosmology.growth
    assert np.allclose(late[:3] / early[:3], (D(.3) / D(.1))**2, rtol=.05) # the longest waves stay linear


def test_pools_are_disjoint_and_maps_have_no_mean():
    train, test = (L.plane_pool(SMALL, name, 2) for name in ('train', 'test'))
    again = L.box_planes(SMALL, 'train', 0)
    assert torch.equal(train[0], again)
    boxes = [*train.flatten(1), *test.flatten(1)]
    assert all((a - b).abs().max() > 0 for i, a in enumerate(boxes) for b in boxes[:i])
    maps = L.convergence_maps(SMALL, train, 50, generator('maps'), pixels=8)
    assert maps.fields.shape == (50, 1, 8, 8) and maps.fields.mean((1, 2, 3)).abs().max() < 1e-4 * maps.fields.std()
    assert set(maps.boxes.flatten().tolist()) <= {0, 1}
    flat = L.convergence_maps(SMALL, torch.full_like(train, .5), 3, generator('flat'), pixels=8).fields
    # a constant contrast gives the sum of the weights
    assert torch.allclose(flat, torch.full_like(flat, .5 * float(SMALL.slabs[0].sum())), rtol=1e-4)
    assert (L.box_error(SMALL, train, lambda f: float(f.std()), 20, generator('boots'), 5, pixels=8) >= 0).all()


def test_skewness():
    x = torch.distributions.Exponential(1.).rsample((20, 1, 64, 64))
    assert abs(L.skewness(x) - 2) < .15 and abs(L.skewness(torch.randn(50, 1, 32, 32, generator=generator('s')))) < .05


@pytest.mark.parametrize('call, words', [
    (lambda: L.Cosmology(omega_m=1.5), 'omega_m'), (lambda: L.Lensing(particles=7), 'even integer'),
                                         (lambda: L.Lensing(particles=64, mesh=96), 'multiple'),
                                         (lambda: L.Lensing(z_source=20.), 'source'),
    (lambda: L.plane_pool(SMALL, 'train', 0), 'boxes is 0'), (lambda: L.convergence_maps(SMALL, torch.zeros(2, 2),
        3, generator('x')), 'planes have shape'),
    (lambda: L.convergence_maps(SMALL, L.plane_pool(SMALL, 'train', 1), 3, generator('x'), pixels=5), 'divisor'),
    (lambda: L.convergence_maps(SMALL, L.plane_pool(SMALL, 'train', 1) / 0, 3, generator('x'), pixels=8), 'NaN'),
    (lambda: list(L.evolve(SMALL, np.zeros((3, 8)), np.zeros((3, 8)), [.1])), 'increase')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()
