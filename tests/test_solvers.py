"""Solvers of today and their exact errors, the theorems of wavelet diffusion, lattice Hessians and linear scores:
against dense matrices, simulation, quadrature, automatic differentiation and the closed forms of limits."""
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from deepstruct.core import generator
from deepstruct.fields import Phi4, gaussian_field
from deepstruct.wavelet_diffusion import lattice as A, linear_scores as N, solvers as S, theorems as T
from deepstruct.wavelet_diffusion.gaussian import (conditional_score, details, mode_power, plain_modes, response,
                                                   uniform_coefficient, wavelet_modes)
from deepstruct.wavelet_diffusion.sde import sigma_of, time_grid
from deepstruct.wavelet_diffusion.wsgm import WSGM, score_of
from deepstruct.wavelets import Octave

LAM = np.geomspace(.02, 30, 6)

def double(*shape, words='x'): return torch.randn(shape, generator=generator('solvers', words), dtype=torch.float64)

def dense(P): # covariance of the flattened field
    F = np.kron(*[np.fft.fft(np.eye(len(P)), norm='ortho')] * 2)
    return (F.conj().T @ np.diag(P.ravel()) @ F).real

# Solvers

@pytest.mark.parametrize('solver', S.SOLVERS[2:])
@pytest.mark.parametrize('N', (1, 2, 3, 9))
def test_deterministic_solvers_are_their_linear_map(solver, N):
    """The map from the start and from the mean, read off `solve` with two inputs."""
    s = S.edm_sigmas(N, 30., .05) if N > 1 else S.edm_sigmas(1, 30., .05)
    D = lambda mu: lambda y, t: mu + torch.tensor(LAM / (LAM + t * t)) * (y - mu)
    a = S.solve(D(0.), torch.ones(1, 6, dtype=torch.float64), s, solver)[0].numpy()
    g = S.solve(D(1.), torch.zeros(1, 6, dtype=torch.float64), s, solver)[0].numpy()
    v, share = S.solver_response(LAM, s, solver)
    np.testing.assert_allclose(v, (1 + float(s[0])**2) * a**2, rtol=1e-10)
    np.testing.assert_allclose(share, g, rtol=1e-9, atol=1e-12)

@pytest.mark.parametrize('solver', S.SOLVERS[:2])
def test_random_solvers_by_hand(solver):
    """Two steps, written out: the last is a denoising and adds no noise."""
    a, b, lam = 3., .5, .7
    r2, w, u = b * b / a / a, lam / (lam + a * a), lam / (lam + b * b)
    noise = (a * a - b * b) * (1 if solver == 'euler_maruyama' else r2)
    v, g = S.solver_response([lam], [a, b, 0.], solver)
    assert v[0] == pytest.approx(u**2 * ((r2 + (1 - r2) * w)**2 * (1 + a * a) + noise), rel=1e-12)
    assert g[0] == pytest.approx(u * (1 - r2) * (1 - w) + 1 - u, rel=1e-12)

@pytest.mark.parametrize('solver', S.SOLVERS)
def test_many_steps_give_the_data(solver):
    v, g = S.solver_response(LAM, np.append(np.geomspace(400, 2e-3, 3000), 0.), solver)
    assert abs(v / LAM - 1).max() < .02 and (abs(g - 1) < 1.1 * np.sqrt(LAM) / 400 + .002).all() # what the start misses

@pytest.mark.parametrize('solver,order', (('ddim', 1), ('heun', 2), ('dpm_solver_2m', 2)))
def test_orders(solver, order):
    """Of the flow, which multiplies by the ratio of standard deviations."""
    lam, a, b = .4, 12., .05
    def error(n):
        s = np.append(S.edm_sigmas(n, a, b)[:-1], 0.)
        v, _ = S.solver_response([lam], s, solver)
        flow = (1 + a * a) * (lam + b * b) / (lam + a * a) * (lam / (lam + b * b))**2
        return abs(v[0] / flow - 1)
    assert abs(math.log2(error(200) / error(400)) - order) < .2

@pytest.mark.parametrize('solver', S.SOLVERS)
def test_details_by_simulation(solver):
    """Mean square of z over all modes of conditional details, mean included; the variances of the data fail."""
    P, n, s = mode_power(3, 16), 500, S.edm_sigmas(4, 15., .3)
    d = details(P, 'db4')
    low = gaussian_field(lambda a, b: torch.as_tensor(d.low), n, 8, generator('low'), torch.float64)
    start = S.start_noise(double(n, 3, 8, 8), 15., generator('st', solver))
    y = S.solve(S.conditional_denoiser(d, low), start, s, solver, generator('no', solver))
    z = lambda levels, how: (S.solver_whitened(y, d, levels, how, low).square().mean(0) - 1) * math.sqrt(n / 2)
    assert abs(float(z(s, solver).square().mean()) - 1) < 4 * math.sqrt(2 / 192) + .1
    exact = np.append(np.geomspace(300, 1e-3, 500), 0.)
    assert float(z(exact, 'heun').square().mean()) > 2

def test_equals_the_other_clock():
    """Euler-Maruyama of the Brownian motion is the scheme `brownian`, the end apart."""
    times = time_grid('geometric', 12, 3., .05)
    v, g = response(LAM, times[1:], 'brownian')
    s = sigma_of(times).flip(0).numpy()
    w, h = S.solver_response(LAM, s, 'euler_maruyama')
    left = LAM / (LAM + s[-2]**2)
    np.testing.assert_allclose(w, left**2 * v * (1 + s[-2]**2), rtol=1e-9)
    np.testing.assert_allclose(h, left * (g * math.exp(float(times[1]))) + 1 - left, rtol=1e-9)

@pytest.mark.parametrize('scheme', ('euler_maruyama', 'ancestral'))
def test_last_denoising(scheme):
    times = time_grid('uniform', 7, 2.5)
    score = lambda x, t: -(x - math.exp(-t)) / torch.tensor(1 + (LAM - 1) * math.exp(-2 * t))
    x = S.reverse_denoised(score, double(60_000, 6, words=scheme), times, scheme, generator('den', scheme))
    v, g = S.response_denoised(LAM, times, scheme)
    assert abs(x.var(0).numpy() / v - 1).max() < 5 * math.sqrt(2 / 60_000)
    assert (abs(x.mean(0).numpy() - g) / np.sqrt(v)).max() < 5 / math.sqrt(60_000)
    if scheme == 'ancestral': np.testing.assert_allclose(v, response(LAM, times, scheme)[0], rtol=1e-10)

def test_denoiser_of_a_score():
    score = lambda x, t: -x / (1 + (.3 - 1) * math.exp(-2 * t))
    y = double(5)
    assert torch.allclose(S.denoiser_of(score)(y, 1.7), y * .3 / (.3 + 1.7**2), rtol=1e-12)

def test_any_denoiser(): # a network of one factor
    m = WSGM(depth=0, side=8, width=4, mults=(1,), seed=0)
    with torch.no_grad():
        x = S.solve(S.denoiser_of(score_of(m.factors[0].net)), S.start_noise(torch.empty(2, 1, 8, 8), 40.,
                                                                           generator('any')), S.edm_sigmas(4, 40.))
    assert x.shape == (2, 1, 8, 8) and torch.isfinite(x).all()

def test_fewest_evaluations():
    m = plain_modes(mode_power(3, 16))
    e = S.evaluations_needed(m)
    assert e.evaluations == 6 and e.kl <= 1e-3 < S.best_schedule(m, 5).kl # the table that the page confirms
    assert S.evaluations_needed(m, 1e-3, 'heun').evaluations % 2 == 1
    assert S.evaluations_needed(wavelet_modes(mode_power(3, 16), 'db4')).evaluations in (4, 5)
    v, _ = S.solver_response(m.lam, e.sigmas)
    assert float((m.lam / v - 1 - np.log(m.lam / v)).mean()) / 2 == pytest.approx(e.kl, rel=1e-3)

@pytest.mark.parametrize('bad,words', (
    (lambda: S.edm_sigmas(3, 1., 2.), 'sigma_min'), (lambda: S.edm_sigmas(3, rho=0.), 'rho'),
    (lambda: S.edm_sigmas(0), 'N'), (lambda: S.check_sigmas([[1., 0.]]), 'sigmas'),
    (lambda: S.check_sigmas([1., .5]), 'decrease'),
    (lambda: S.check_solver('euler'), 'solver'), (lambda: S.solver_response([0.], [1., 0.]), 'lam'),
    (lambda: S.solve(lambda y, s: y[:1], double(2, 3), [1., 0.]), 'denoiser'),
    (lambda: S.solve(lambda y, s: y * math.inf, double(2, 3), [1., 0.]), 'diverged'),
    (lambda: S.solve(lambda y, s: y, torch.ones(2, dtype=torch.int64), [1., 0.]), 'y is'),
    (lambda: S.evaluations_needed(plain_modes(mode_power(3, 8)), 0.), 'eps'),
    (lambda: S.evaluations_needed(plain_modes(mode_power(3, 8)), 1e-9, 'ddim', most=4), 'steps of ddim')))
def test_refused(bad, words):
    with pytest.raises(ValueError, match=words): bad()

# Theorems

def test_figure_error_by_dense_matrices():
    """One octave of an 8 x 8 field, from the covariance of what is generated, entry by entry."""
    P, n, t = mode_power(2, 8), 9, 3.
    cov, (low, det) = dense(P), Octave('db4').analysis(torch.eye(64, dtype=torch.float64).view(-1, 1, 8, 8))
    G, B = low.flatten(1).numpy().T, det.flatten(1).numpy().T
    C00, C10, C11 = G @ cov @ G.T, B @ cov @ G.T, B @ cov @ B.T
    M = C10 @ np.linalg.inv(C00)
    s = np.repeat(np.sqrt(np.diag(C11).reshape(3, -1).mean(1)), 16)
    lam, V = np.linalg.eigh((C11 - M @ C10.T) / s / s[:, None])
    v, g = response(lam, time_grid('uniform', n, t))
    A_hat = s[:, None] * (V * g) @ V.T @ (M / s[:, None])
    gamma = s[:, None] * ((V * v) @ V.T) * s
    W = np.vstack([G, B])
    made = W.T @ np.block([[C00, C00 @ A_hat.T], [A_hat @ C00, gamma + A_hat @ C00 @ A_hat.T]]) @ W
    F = np.kron(*[np.fft.fft(np.eye(8), norm='ortho')] * 2)
    direct = abs(np.diag(F @ made @ F.conj().T).real - P.ravel()).max() / P.max()
    assert T.figure_error(P, n, t, 'db4') == pytest.approx(direct, rel=1e-9)

@pytest.mark.parametrize('eta,known', ((1, (54, 83, 112, 141)), (2, (88, 137, 188, 243))))
def test_figure_2_has_its_numbers(eta, known):
    assert tuple(T.figure_steps(mode_power(eta, L)) for L in (8, 16, 32, 64)) == known

def test_theorem_1_needs_its_trace():
    lam = plain_modes(mode_power(2, 16)).lam
    made = lambda x, d: response(x, time_grid('uniform', round(8 / d), 8.))[0]
    kl = lambda x, d: float((x / made(x, d) - 1 - np.log(x / made(x, d))).sum()) / 2
    assert kl(lam, .005) < sum(T.theorem_1(lam, 8., .005))
    assert T.theorem_1(lam, 8., .01, third=False)[1] != pytest.approx(T.theorem_1(lam, 8., .01)[1], rel=.05)
    r = response(np.array([.2]), time_grid('uniform', 20_000, 10.))[0][0] / .2 - 1
    assert r * 2000 == pytest.approx(uniform_coefficient(.2), rel=5e-3)

@pytest.mark.parametrize('a,b', ((1., 1.), (.5, 2.), (3., 2.9)))
def test_total_variation(a, b):
    p = lambda s, x: math.exp(-x * x / 2 / s) / math.sqrt(2 * math.pi * s)
    direct = quad(lambda x: abs(p(a, x) - p(b, x)), 0, 40, limit=200)[0]
    assert T.gaussian_variation(a, b) == pytest.approx(direct, abs=1e-6)

def test_constants_of_theorem_2():
    """K and M are suprema: sampled, they are not exceeded and nearly met."""
    lam, t = .3, np.linspace(0, 5, 4001)
    start, steps = T.theorem_2([lam], 5., .01)
    bare = T.theorem_2([lam], 5., .01, score=False)[1]
    S_t = 1 + (lam - 1) * np.exp(-2 * t)
    K, M = (1 / S_t).max(), (2 * abs(lam - 1) / S_t**2).max()
    assert steps / bare == pytest.approx(1 + max(K, 1) + 1.5 * M, rel=1e-6)
    assert bare == pytest.approx(.6 * (1 + (3 * lam**2)**.25)) and start < .02

@pytest.mark.parametrize('name', ('haar', 'db4'))
def test_normalised_extremes(name):
    P = mode_power(1.5, 8)
    low, d = Octave(name).analysis(torch.eye(64, dtype=torch.float64).view(-1, 1, 8, 8))
    W = torch.cat([low.flatten(1), d.flatten(1)], 1).numpy().T
    C = W @ dense(P) @ W.T
    s = np.sqrt(np.repeat(np.diag(C).reshape(4, -1).mean(1), 16))
    direct = np.linalg.eigvalsh(C / s / s[:, None])[[0, -1]]
    np.testing.assert_allclose(T.normalised_extremes(P, name), direct, rtol=1e-4)

# Lattice

@pytest.mark.parametrize('wavelet', (None, 'haar', 'db4'))
def test_hessians(wavelet):
    a, x = A.Quartic(.9, 3.), double(1, 1, 8, 8)
    if wavelet is None: H = torch.autograd.functional.hessian(lambda y: a.energy(y.view(1, 1, 8, 8)).sum(), x.flatten())
    else:
        low, d = Octave(wavelet).analysis(x)
        field = lambda y: Octave(wavelet).synthesis(low, y.view(1, 3, 4, 4))
        H = torch.autograd.functional.hessian(lambda y: a.energy(field(y)).sum(), d.flatten())
    assert torch.allclose(A.hessian_extremes(a, x, wavelet)[0], torch.linalg.eigvalsh(H)[[0, -1]], rtol=1e-9)

def test_actions():
    x = double(2, 1, 6, 6)
    assert torch.allclose(A.actions(.5)['critical'].energy(x), Phi4(.5, 6).energy(x))
    a = A.actions()
    gap = a['printed, pairs once'].energy(x) - a['critical'].energy(x)
    assert torch.allclose(gap, -(1 - 2 * .68) * x.square().sum((1, 2, 3)))

def test_metropolis():
    """The mean of x dE/dx is 1 by partial integration."""
    a = A.Quartic(.3, 1.)
    x = A.metropolis(a, 400, 6, 80, 1)
    m = (4 * x**4 - a.c * x**2 + a.k * x * (4 * x - A.around(x))).mean((1, 2, 3))
    assert abs(m.mean() - 1) < 5 * m.std() / 20
    with pytest.raises(ValueError, match='L is 5'): A.metropolis(a, 2, 5)
    with pytest.raises(ValueError, match='k is'): A.Quartic(-1., 0.)

# Linear scores

def test_divergence_of_the_potentials():
    """Against automatic differentiation, given a coarser field."""
    low, d = double(2, 1, 4, 4), double(2, 3, 4, 4, words='d')
    of = N.Octaves('db4', torch.tensor([1.3, .5, .6, .2]).double())
    for m, mean in enumerate(of.laplacians(d, low)):
        J = torch.autograd.functional.jacobian(lambda y: of.forces(y.view(2, 3, 4, 4), low)[m].flatten(), d.flatten())
        assert float(J.trace() / 2) == pytest.approx(float(mean), rel=1e-6)

def test_linear_score_of_a_gaussian_given_the_coarser_field():
    P = torch.tensor(mode_power(2, 8))
    low, d = Octave('db4').analysis(gaussian_field(lambda *_: P, 5000, 8, generator('lin'), torch.float64))
    scale = torch.cat([low.std()[None], d.std((0, 2, 3))])
    low, d = low / scale[0], d / scale[1:, None, None]
    s = N.fit_linear_score(N.Octaves('db4', scale), d, low)(d, low)
    law = details(P.numpy(), 'db4')
    exact = conditional_score(law, low)(d, 0.)
    assert (s - exact).square().mean() < .05 * exact.square().mean()

def test_linear_diffusion_is_seeded_and_sampled_at_all_grids():
    x = Phi4(.5, 8).simulate(60, generator('ld')).fields
    a, b = (N.LinearDiffusion(x, 8, wavelet='db4', seed=generator('f')) for _ in 'ab')
    assert torch.equal(a.sample(3, 4, generator('s')), b.sample(3, 4, generator('s')))
    assert a.sample(2, 8, generator('s')).shape == (2, 1, 8, 8)
    with pytest.raises(ValueError, match='divisor of 8'): a.sample(1, 3)
    with pytest.raises(ValueError, match='constant'): N.LinearDiffusion(torch.ones(3, 1, 8, 8))

def test_error_of_figure_3():
    x = double(50, 1, 8, 8)
    assert N.figure_3_error(x, x) == (0., 0.)
    D1, D2 = N.figure_3_error(2 * x, x)
    assert D1 == pytest.approx(9) and .2 < D2 < .45
