"""The statements on phases against Fourier transforms, quadrature and exact symmetries."""
import math

import numpy as np
import pytest
import torch
from lessons import lesson
from scipy.integrate import quad

from deepstruct.core import generator
from deepstruct.morlet import morlet

T = lesson('phase_collapse/02_theory')
bandwidth, centre, circularity, convolve, even_odd, frequencies = (
    T.bandwidth, T.centre, T.circularity, T.convolve, T.even_odd, T.frequencies)
matched, phase_error, relu_modulus, relu_modulus_range, rotations, translate = (
    T.matched, T.phase_error, T.relu_modulus, T.relu_modulus_range, T.rotations, T.translate)
PSI = morlet(32, 1.2, .4, 1.8, .6)


def signals(*shape, dtype=torch.float64): return torch.randn(*shape, generator=generator('theory', *shape), dtype=dtype)


def test_translations():
    x = signals(2, 9, 9)
    assert torch.allclose(translate(x, (2, -3)).real, x.roll((2, -3), (1, 2)), atol=1e-12)
    assert torch.allclose(translate(translate(x, (.3, .4)), (.7, -.4)), translate(x, (1., 0.)), atol=1e-12)
    # odd sides have no Nyquist frequency
    assert torch.allclose(translate(x, (.37, 1.2)).imag, torch.zeros(2, 9, 9, dtype=torch.float64), atol=1e-12)


def test_centre_and_bandwidth_of_one_frequency():
    n, k = 16, (3, -2)
    u = torch.arange(n, dtype=torch.float64)
    wave = torch.exp(2j * math.pi / n * (k[0] * u[:, None] + k[1] * u))
    assert (torch.allclose(centre(wave), 2 * math.pi / n * torch.tensor(k, dtype=torch.float64))
            and bandwidth(wave) < 1e-6)
    # half a mean square spread of one step, along rows
    two = wave + torch.exp(2j * math.pi / n * ((k[0] + 2) * u[:, None] + k[1] * u))
    step = 2 * math.pi / n
    assert torch.allclose(centre(two), step * torch.tensor([k[0] + 1, k[1]], dtype=torch.float64))
    assert abs(bandwidth(two, (5., 0.)) - step * float(two.norm())) < 1e-9 and bandwidth(two, (0., 1.)) < 1e-6
    assert abs(bandwidth(PSI)**2 - bandwidth(PSI, (1, 0))**2 - bandwidth(PSI, (0, 1))**2) < 1e-12
    assert bandwidth(PSI, xi=centre(PSI) + .2) > bandwidth(PSI)


@pytest.mark.parametrize('tau', [(.01, 0.), (.5, -.5), (2., 1.), (0., 7.3)])
def test_the_bound_holds_and_is_attained(tau):
    t, sigma = math.hypot(*tau), bandwidth(PSI, tau)
    for x in (signals(20, 32, 32), signals(20, 32, 32, dtype=torch.complex128)):
        error = phase_error(x, PSI, tau).abs().amax((1, 2)) / x.flatten(1).norm(dim=1)
        assert (error <= sigma * t).all()
        moduli = (convolve(translate(x, tau), PSI).abs()
                  - convolve(x, PSI).abs()).abs().amax((1, 2)) / x.flatten(1).norm(dim=1)
        assert (moduli <= error + 1e-12).all()
    z = matched(PSI, tau)
    reached = float(phase_error(z, PSI, tau)[0, 0].abs())
    w, xi = frequencies(32), centre(PSI)
    chord = (torch.exp(-1j * (w[0] * tau[0] + w[1] * tau[1]))
             - torch.exp(-1j * (xi[0] * tau[0] + xi[1] * tau[1]))).abs()
    assert (abs(reached - float((chord.square() * torch.fft.fft2(PSI).abs().square()).mean().sqrt())) < 1e-10
            and reached <= sigma * t)
    if t < .1: assert reached > .999 * sigma * t
    real = max(float(phase_error((torch.polar(torch.ones((), dtype=torch.float64), torch.tensor(a, dtype=torch.float64))
                                  * z).real / (torch.polar(torch.ones((), dtype=torch.float64),
                                                           torch.tensor(a, dtype=torch.float64)) * z).real.norm(), PSI,
                                 tau)[0, 0].abs()) for a in np.linspace(0, math.pi, 9))
    assert .7 * reached < real < .8 * reached


def test_modulus_from_phases():
    for K in (3, 4, 7, 12):
        z = torch.polar(torch.full((5000,), 2., dtype=torch.float64),
                        torch.linspace(0, 2 * math.pi, 5000, dtype=torch.float64))
        ratio = relu_modulus(z, K) / 2
        assert (abs(float(ratio.min()) - relu_modulus_range(K)[0]) < 1e-4
                and abs(float(ratio.max()) - relu_modulus_range(K)[1]) < 1e-4)
    integral = quad(lambda a: max((np.exp(-1j * a) * (.3 - 1.1j)).real, 0), -math.pi, math.pi)[0] / 2
    assert (abs(integral - abs(.3 - 1.1j)) < 1e-6
            and abs(float(relu_modulus(torch.tensor(.3 - 1.1j, dtype=torch.complex128), 4000)) - integral) < 1e-6)


def test_rotations_and_circularity():
    x = signals(7, 2, 3, dtype=torch.complex128)
    for K in (2, 3, 8):
        r = rotations(x, K)
        assert r.shape == (7 * K, 2, 3) and torch.allclose(r[:7], x) and r.mean(0).abs().max() < 1e-12
        if K > 2: assert circularity(r).max() < 1e-12
    assert torch.allclose(circularity(x.real * torch.exp(torch.tensor(.3j))), torch.ones(2, 3, dtype=torch.float64))


def test_even_and_odd():
    u = signals(100)
    even, odd = even_odd(lambda v: v**3 + v**2 + 1, u)
    assert torch.allclose(even, u**2 + 1) and torch.allclose(odd, u**3)


def test_bad_input():
    real = torch.rand(8, 8, dtype=torch.float64)
    for call, words in ((lambda: centre(real), 'complex'), (lambda: centre(real[0] + 0j), 'n, n'), (lambda: bandwidth(0j
        * real), 'zero'), (lambda: bandwidth(PSI, (0., 0.)), 'direction'), (lambda: relu_modulus(real, 4), 'complex'),
                        (lambda: relu_modulus(PSI, 2), '3 or more'), (lambda: rotations(real), 'complex'),
                        (lambda: rotations(PSI, 1), '2 or more'), (lambda: circularity(real), 'complex')):
        with pytest.raises(ValueError, match=words): call()
