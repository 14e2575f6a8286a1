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
mean_gap, half_plane, haar_cascade, in_torus, littlewood_paley = (
    T.mean_gap, T.half_plane, T.haar_cascade, T.in_torus, T.littlewood_paley)
random_cascade, torus_circularity, tree, limit = T.random_cascade, T.torus_circularity, T.tree, T.circularity_limit
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


def grown(m, rng): # one member of the tree, by its definition
    if len(m) == 1: return [m[0] * np.exp(2j * np.pi * rng.random())]
    halves = [grown([*m[:-2], m[-2] * (1 + s * m[-1])], rng) for s in (1, -1)]
    return sum(halves if rng.random() < .5 else halves[::-1], [])


def test_tree_is_the_law_that_is_defined():
    m, rng = [1.2, .5, .3], np.random.default_rng(0)
    every, drawn = tree(m, 8).numpy(), np.array([grown(m, rng) for _ in range(20_000)])
    assert every.shape == (8**4 * 2**3, 4) and len({tuple(r) for r in np.abs(every[::8**4]).round(9).tolist()}) == 8
    for f in (np.mean, np.std):
        for g in (np.abs, np.real, lambda z: np.abs(z[:, :2]).prod(1, keepdims=True)):
            assert np.allclose(f(g(every), 0), f(g(drawn), 0), atol=.02)
    assert tree([2.]).shape == (2, 1) and (tree([2.], 5).abs() - 2).abs().max() < 1e-12


@pytest.mark.parametrize('J', [2, 3, 4])
def test_a_collapse_for_each_level(J):
    start = [1.3, .5, .6, .4][:J - 1]
    one, two = (tree([*start, v]) for v in (.1, .6))
    for d in range(1, J + 1):
        gap = mean_gap(haar_cascade(one, torch.abs, d), haar_cascade(two, torch.abs, d))
        assert gap < 1e-13 if d < J else gap > .02
        assert mean_gap(haar_cascade(one, lambda z: z * z.abs().tanh(), d), haar_cascade(two, lambda z: z, d)) < 1e-13
    last = haar_cascade(two, torch.abs, J)[:, -1, 0]
    assert torch.allclose(last, torch.full_like(last, 2**((J - 1) / 2) * math.prod(start) * .6))
    z = haar_cascade(one, lambda z: z, J)
    assert torch.allclose(z.abs().square().sum((1, 2)), one.abs().square().sum(1)) # the transform is unitary


def test_random_cascades_turn_with_their_input():
    x, turn = signals(20, 3, dtype=torch.complex128), torch.exp(torch.tensor(.7j, dtype=torch.complex128))
    for kind in ('soft', 'sigmoid', 'phase', 'tanh', 'modulus'):
        a, b = (random_cascade(v, kind, 3, generator('turns')) for v in (x, turn * x))
        assert torch.allclose(b, a if kind == 'modulus' else turn * a, atol=1e-9), kind
        assert torch.allclose(a.norm(dim=1), torch.ones(20, dtype=torch.float64))
    assert mean_gap(x, x) == 0 and abs(mean_gap(x[:1] * 0 + 1, x[:1] * 0 - 1) - 2) < 1e-12


def test_taps_on_the_torus():
    taps = signals(2, 5, 5, dtype=torch.complex128)
    x, w = signals(9, 9), in_torus(taps, 9)
    direct = sum(taps[0, i + 2, j + 2] * x.roll((i, j), (0, 1)) for i in range(-2, 3) for j in range(-2, 3))
    assert torch.allclose(convolve(x[None] + 0j, w)[0], direct)


def test_what_the_filters_allow():
    psi = torch.stack([PSI, morlet(32, .8, 1.1, 2.4, 1.)])
    x, y = signals(3, 32, 32), torch.tensor([0, 0, 1])
    moved = torch.stack([x.roll((i, j), (1, 2)) for i in range(0, 32, 2) for j in range(0, 32, 2)]).flatten(0, 1)
    whole = limit(x, y, psi)
    # every second place is enough for positions of every second pixel: the mean over both is the same
    some = torus_circularity(moved, y.repeat(256), psi, 1)
    z = [convolve(x[y == c][:, None] + 0j, psi) for c in (0, 1)]
    want = np.mean([float((v**2).mean((0, 2, 3)).abs().sum() / v.abs().square().mean((0, 2, 3)).sum()) for v in z])
    assert abs(whole - want) < 1e-12 and abs(some - want) < .02
    half = half_plane(psi)
    h = torch.fft.fft2(half)
    assert (h * h.flip((1, 2)).roll((1, 1), (1, 2))).abs().max() < 1e-15 and limit(x, y, half) < 1e-14
    assert h.abs().square().sum() > .45 * torch.fft.fft2(psi).abs().square().sum()


@pytest.mark.parametrize('step', ['octave', 'half', 'second half', 'both halves'])
def test_littlewood_paley_are_the_extreme_values_of_the_operator(step):
    n, filters = 12, []
    for name in ('half', 'second half') if step == 'both halves' else (step,):
        low, high = T.step_filters(name, 4, False, n)
        filters.append([low, *high])
    every = torch.eye(n * n, dtype=torch.float64).view(-1, n, n)
    low = [convolve(every, f) for f in filters[0]]
    out = low if len(filters) == 1 else low[1:] + [convolve(low[0], f) for f in filters[1]]
    W = torch.cat([v.flatten(1) for v in out], 1) # (pixels in, all out)
    for real in (True, False):
        G = W.conj() @ W.T
        s = torch.linalg.eigvalsh(G.real if real else G)
        A, B = littlewood_paley(step, 4, False, real, n)
        assert abs(float(s[0]) - A) < 1e-10 and abs(float(s[-1]) - B) < 1e-10


def test_bad_input():
    real = torch.rand(8, 8, dtype=torch.float64)
    for call, words in ((lambda: centre(real), 'complex'), (lambda: centre(real[0] + 0j), 'n, n'), (lambda: bandwidth(0j
        * real), 'zero'), (lambda: bandwidth(PSI, (0., 0.)), 'direction'), (lambda: relu_modulus(real, 4), 'complex'),
                        (lambda: relu_modulus(PSI, 2), '3 or more'), (lambda: rotations(real), 'complex'),
                        (lambda: rotations(PSI, 1), '2 or more'), (lambda: circularity(real), 'complex'),
                        (lambda: tree([]), '0 level'), (lambda: tree([1.], 1), '1 phases'),
                        (lambda: tree([1.] * 6), 'at most'), (lambda: tree([1., .8, .9]), 'below 0'),
                        (lambda: haar_cascade(PSI[:, :6], abs, 3), '6 leaves'),
                        (lambda: haar_cascade(PSI, abs, 0), '0 non'), (lambda: in_torus(PSI[None], 40), 'odd'),
                        (lambda: in_torus(PSI[None, :5, :5], 4), '4 pixels')):
        with pytest.raises(ValueError, match=words): call()
