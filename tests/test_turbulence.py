"""Turbulence: exact flows, what advection conserves, the order of the scheme, the budget of the stirred flow, bad
input."""
import math

import pytest
import torch

from deepstruct.core import generator
from deepstruct.fields import gaussian_field
from deepstruct.turbulence import Turbulence, advection, decay, quadratics, step, stir, to_fields, to_modes
torch.set_num_threads(1)
D = torch.float64
IDEAL = Turbulence(L=32, drag=0., injection=0.)
T = 2 * torch.pi * torch.arange(32, dtype=D) / 32


def rough(n=2, L=32, size=2.): # random truncated modes
    m = Turbulence(L=L)
    w = to_modes(m, gaussian_field(lambda a, b: 1 / (1 + 20 * (a**2 + b**2))**3, n, L, generator('rough'), D)[:, 0])
    w[:, 0, 0] = 0
    return w * (size / to_fields(m, w).std())


@pytest.mark.parametrize('order,fade', ((1, lambda k2: .1 + .02 * k2), (2, lambda k2: .1 + .02 * k2**2)))
@pytest.mark.parametrize('a,b,k2', ((2, 2, 8), (1, 3, 10)))
def test_taylor_green_decays_exactly(order, fade, a, b, k2):
    model = Turbulence(L=32, drag=.1, viscosity=.02, order=order, injection=0.)
    x = 3 * torch.cos(a * T)[:, None] * torch.cos(b * T)
    assert torch.allclose(to_fields(model, decay(model, to_modes(model, x[None]), .7, 20))[0],
                          math.exp(-.7 * fade(k2)) * x, atol=1e-12)


def test_a_shear_is_steady_and_tilted_shears_too():
    for k in ((0, 3), (3, 0), (2, 3)):
        s = k[0] * T[:, None] + k[1] * T
        x = torch.cos(s) - 2 * torch.sin(2 * s) + .5 * torch.cos(3 * s) # many wave lengths, one direction
        assert torch.allclose(to_fields(IDEAL, decay(IDEAL, to_modes(IDEAL, x[None]), 1., 40))[0], x, atol=1e-12)
    both = (torch.cos(3 * T)[:, None] + torch.cos(2 * T)).expand(32, 32)
    assert (to_fields(IDEAL, decay(IDEAL, to_modes(IDEAL, both[None]), 1., 40))[0] - both).abs().max() > .1


def test_velocity_is_divergence_free_with_the_right_curl():
    w = rough()
    uv = advection(IDEAL, w)[1]
    k = 1j * torch.fft.fftfreq(32, 1 / 32, dtype=D)
    f = torch.fft.fft2(uv)
    assert (f[:, 0] * k + f[:, 1] * k[:, None]).abs().max() < 1e-10
    assert torch.allclose(torch.fft.ifft2(f[:, 1] * k - f[:, 0] * k[:, None]).real, to_fields(IDEAL, w), atol=1e-12)


def test_ideal_flow_conserves_energy_and_enstrophy_to_the_order_of_the_scheme():
    w, drift, ends = rough(), [], []
    start = quadratics(IDEAL, w)['content']
    for steps in (20, 40, 80):
        ends.append(decay(IDEAL, w, .6, steps))
        drift.append((quadratics(IDEAL, ends[-1])['content'] / start - 1).abs().max().item())
    assert drift[-1] < 1e-6 and drift[0] > 8 * drift[1] > 64 * drift[2]
    reference = decay(IDEAL, w, .6, 320)
    error = [float((e - reference).abs().max()) for e in ends]
    assert abs(math.log2(error[1] / error[2]) - 4) < .4
    moved = float((to_fields(IDEAL, ends[-1]) - to_fields(IDEAL, w)).abs().max())
    assert moved > .5 # it is no steady flow that is conserved


def test_viscous_flow_loses_what_it_says():
    model = Turbulence(L=32, drag=.05, viscosity=1e-3, order=1, injection=0.)
    w = rough()
    q, h = quadratics(model, w), 1e-3
    after, before = (quadratics(model, step(model, w, t)[0])['content'] for t in (h, -h))
    assert torch.allclose((after - before) / (2 * h), -q['drag'] - q['viscosity'], rtol=1e-5)


def test_single_precision_follows_double():
    w = rough()
    assert torch.allclose(decay(IDEAL, w.to(torch.complex64), .3, 20).to(torch.complex128), decay(IDEAL, w, .3, 20),
                          atol=1e-3)


def test_forcing_is_real_confined_and_of_the_stated_size():
    model = Turbulence(L=16, shell=(2., 3.))
    w = torch.zeros(3000, 16, model.K + 1, dtype=torch.complex128)
    gain = stir(model, w, .5, generator('f'))
    f = to_fields(model, w)
    assert torch.allclose(to_modes(model, f), w, atol=1e-12) and torch.allclose(gain, quadratics(model, w)['content'])
    k = torch.fft.fftfreq(16, 1 / 16, dtype=D)
    r, P = torch.hypot(k[:, None], k), torch.fft.fft2(f, norm='ortho').abs().square().mean(0)
    on = (r >= 2) & (r <= 3)
    assert P[~on].max() < 1e-25 and P[on].std() / P[on].mean() < .1
    mean, error = float(gain[:, 0].mean()), float(gain[:, 0].std()) / 3000**.5
    assert abs(mean - .5) < 4.5 * error


def test_stationary_flow_balances_its_budget_and_repeats():
    model = Turbulence(L=16, shell=(2., 3.), drag=1., viscosity=1e-3, order=1)
    s = model.simulate(64, generator('flow'), chains=16)
    assert s.fields.shape == (64, 1, 16, 16) and s.fields.dtype == torch.float32 and s.left < .2
    for b in s.budget.values():
        assert abs(b['balance']) < 4.5 * b['error'] and b['drag'] > 10 * b['error']
    assert torch.equal(s.fields, model.simulate(64, generator('flow'), chains=16).fields)
    assert float(s.fields.mean((1, 2, 3)).abs().max()) < 1e-5


@pytest.mark.parametrize('make', (
    lambda: Turbulence(L=31), lambda: Turbulence(L=64.), lambda: Turbulence(shell=(3., 60.)), lambda: Turbulence(L=32,
        shell=(5., 3.)), lambda: Turbulence(drag=-1.), lambda: Turbulence(drag=math.nan),
    lambda: Turbulence(courant=3.), lambda: Turbulence(order=0), lambda: Turbulence(drag=0.).simulate(2, generator(0)),
                                  lambda: Turbulence(injection=0.).simulate(2, generator(0)),
    lambda: Turbulence(L=16).simulate(0, generator(0)), lambda: Turbulence(L=16).simulate(2, generator(0),
        dtype=torch.float16), lambda: Turbulence(L=16).simulate(2, generator(0), interval=0.)))
def test_bad_input(make):
    with pytest.raises(ValueError, match='expected'): make()


def test_a_flow_that_blows_up_is_an_error():
    with pytest.raises(ValueError, match='no longer finite'): decay(IDEAL, rough(size=300.), 50., 100)
