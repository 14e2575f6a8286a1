"Closed forms of diffusion on Gaussian fields against dense matrices, scipy, brute force and Monte Carlo."
import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from deepstruct.core import generator
from deepstruct.fields import gaussian_field
from deepstruct.log_concavity import error_bounds as E
from deepstruct.wavelet_diffusion import gaussian as G
from deepstruct.wavelet_diffusion.sde import GRIDS, SCHEMES, check_times, reverse, step_weights, time_grid
from deepstruct.wavelets import WAVELETS, Octave

def dense(P): # covariance of the flattened field
    F = np.kron(*[np.fft.fft(np.eye(len(P)), norm='ortho')] * 2)
    return (F.conj().T @ np.diag(P.ravel()) @ F).real

def generated_covariance(cov, # (d, d) covariance of the field, d = n^2
                         # (d, d)
                         wavelet:str, coarsest:int, normalise:str, times, scheme:str='euler_maruyama') -> np.ndarray:
    """By dense matrices, for small fields: the covariance that the cascade generates, whatever the covariance of the
    data."""
    n = math.isqrt(len(cov))
    times = check_times(times)
    def run(K): # one diffusion: x = G mu + noise of covariance Q
        I = np.eye(len(K))
        S = lambda t: np.linalg.inv(math.exp(-2 * t) * K + (1 - math.exp(-2 * t)) * I)
        G, Q = 0 * I, I
        for t, s in zip(times[:0:-1], times[-2::-1]):
            if scheme == 'heun':
                R, R1, d = S(t), S(s), t - s
                A = I + d / 2 * (I - R + (I - R1) @ (I + d * (I - R)))
                B, b = d / 2 * (math.exp(-t) * (R + d * (I - R1) @ R) + math.exp(-s) * R1), 0.
            else:
                p, q, b = step_weights(scheme, t - s, s == 0)
                A, B = p * I - q * S(t), q * math.exp(-t) * S(t)
            G, Q = A @ G + B, A @ Q @ A.T + b * I
        return G, Q
    if n == coarsest:
        s2 = np.trace(cov) / len(cov)
        return s2 * run(cov / s2)[1]
    unit = torch.eye(n * n, dtype=torch.float64).view(-1, 1, n, n)
    low, detail = Octave(wavelet).analysis(unit)
    G, B = low.flatten(1).numpy().T, detail.flatten(1).numpy().T
    C00, Cd0, Cdd = G @ cov @ G.T, B @ cov @ G.T, B @ cov @ B.T
    M = Cd0 @ np.linalg.inv(C00)
    K = Cdd - M @ Cd0.T
    var = np.diag(Cdd if normalise == 'marginal' else K).reshape(3, -1).mean(1)
    s = np.repeat(np.sqrt(var), len(C00))
    share, noise = run(K / s[:, None] / s)
    A = s[:, None] * share / s @ M # generated details = A x_j + noise
    made = generated_covariance(C00, wavelet, coarsest, normalise, times, scheme)
    X = np.vstack([np.eye(len(C00)), A])
    Y = X @ made @ X.T
    Y[len(C00):, len(C00):] += s[:, None] * noise * s
    W = np.vstack([G, B])
    return W.T @ Y @ W

def gaussian_kl(cov, made) -> float: # nats
    r"$\mathrm{KL}(\mathcal N(0, \mathrm{cov})\,\|\,\mathcal N(0, \mathrm{made}))$."
    return float(np.trace(np.linalg.solve(made, cov)) - len(cov) - np.linalg.slogdet(cov)[1]
                 + np.linalg.slogdet(made)[1]) / 2

def by_definition(lam, mu, times, scheme): # scores of one mode as functions, pushed through the sampler's own step
    S = lambda t: 1 + (lam - 1) * math.exp(-2 * t)
    times = times.tolist()
    v, m = 1., 0.
    for t, s in zip(times[:0:-1], times[-2::-1]):
        d = t - s
        sc = lambda x, u: -(x - math.exp(-u) * mu) / S(u)
        if scheme == 'heun':
            step, b = lambda x: x + d / 2 * (x + sc(x, t) + (y := x + d * (x + sc(x, t))) + sc(y, s)), 0.
        else: p, q, b = step_weights(scheme, d, s == 0); step = lambda x: p * x + q * sc(x, t)
        v, m = (step(1.) - step(0.))**2 * v + b, step(m)
    return v, m


@pytest.mark.parametrize('scheme', SCHEMES)
@pytest.mark.parametrize('kind', GRIDS)
def test_response(scheme, kind):
    lam, times = np.geomspace(.03, 40, 7), time_grid(kind, 25, 3., .05 if kind == 'geometric' else None)
    v, g = G.response(lam, times, scheme)
    for i, l in enumerate(lam):
        np.testing.assert_allclose((v[i], 1.7 * g[i]), by_definition(l, 1.7, times, scheme), rtol=1e-11)


def test_first_order_of_the_paper_facts():
    "The expansion of the variance, and the error of the start."
    lam = np.array([.05, .3, 1., 2., 100.])
    assert (np.isfinite(G.uniform_coefficient(lam)).all() and abs(G.uniform_coefficient(1.) - .5) < 1e-9
            and abs(G.uniform_coefficient(1 + 1e-7) - .5) < 1e-6)
    d = 8 / 200_000
    r = G.response(lam, time_grid('uniform', 200_000, 8.))[0] / lam - 1
    np.testing.assert_allclose(r, d * G.uniform_coefficient(lam) + math.exp(-32) * lam * (1 - lam), rtol=1e-2,
                               atol=1e-8)
    short = time_grid('quadratic', 100_000, 1.5)
    r = G.response(lam[:3], short)[0] / lam[:3] - 1
    np.testing.assert_allclose(r - G.first_order(lam[:3], short), 0, atol=.15 * math.exp(-6.))


def test_kl_halves_twice():
    m = G.plain_modes(G.mode_power(2, 16))
    assert abs(m.kl(time_grid('uniform', 1600, 8.)) * 4 / m.kl(time_grid('uniform', 800, 8.)) - 1) < .05


def test_plain_against_dense():
    P, times = G.mode_power(2.5, 6), time_grid('uniform', 30, 2.)
    cov, made = dense(P), np.eye(36)
    for t, s in zip(times.flip(0).tolist(), times.flip(0)[1:].tolist()):
        A = (1 + t - s) * np.eye(36) - 2 * (t - s) * np.linalg.inv(math.exp(-2 * t) * cov + (1 - math.exp(-2 * t))
                                                                   * np.eye(36))
        made = A @ made @ A.T + 2 * (t - s) * np.eye(36)
    assert abs(gaussian_kl(cov, made) / 36 / G.plain_modes(P).kl(times) - 1) < 1e-9
    assert abs(E.precision_kl(torch.tensor(np.linalg.inv(cov)), torch.tensor(np.linalg.inv(made)))
               / gaussian_kl(cov, made) - 1) < 1e-7
    root = sqrtm(cov)
    bures = np.trace(cov + made - 2 * sqrtm(root @ made @ root).real)
    assert abs(bures / 36 / G.plain_modes(P).wasserstein(times) - 1) < 1e-6


@pytest.mark.parametrize('name', ['haar', 'db2', 'db4', 'sym5', 'coif1', WAVELETS[5]])
def test_bands_are_the_octave(name):
    n, x = 12, torch.randn(1, 1, 12, 12, dtype=torch.float64, generator=generator(name))
    hat = lambda y: np.moveaxis(np.fft.fft2(y.numpy()[0], norm='ortho'), 0, -1)
    U, k = G.bands(name, n), np.fft.fftfreq(6, 1 / 6).astype(int)
    at = np.array([k, k + 6]) % n
    four = np.stack([hat(x)[..., 0][np.ix_(at[a], at[b])] for a in (0, 1) for b in (0, 1)], -1)
    np.testing.assert_allclose(np.einsum('wvab,wvb->wva', U, four), hat(torch.cat(Octave(name).analysis(x), 1)),
                               atol=1e-12)
    np.testing.assert_allclose(U @ U.conj().swapaxes(-1, -2), np.broadcast_to(np.eye(4), U.shape), atol=1e-12)


@pytest.mark.parametrize('name, normalise', [('haar', 'marginal'), ('db2', 'conditional')])
def test_schur_complement_against_dense(name, normalise):
    P = G.mode_power(3, 8) * 2.5
    cov, (low, detail), d = (dense(P), Octave(name).analysis(torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8)),
                             G.details(P, name, normalise))
    g, b = low.flatten(1).numpy().T, detail.flatten(1).numpy().T
    M = b @ cov @ g.T @ np.linalg.inv(g @ cov @ g.T)
    K = b @ cov @ b.T - M @ g @ cov @ b.T
    var = np.diag(K if normalise == 'conditional' else b @ cov @ b.T).reshape(3, -1).mean(1)
    s, s0 = np.repeat(var**.5, 16), math.sqrt(np.trace(g @ cov @ g.T) / 16)
    np.testing.assert_allclose(d.scale, [s0, *var**.5], rtol=1e-10)
    F = np.kron(*[np.fft.fft(np.eye(4), norm='ortho')] * 2)
    full = lambda A, r, c: np.stack([(F.conj().T @ np.diag(A[..., i, j].ravel()) @ F).real for i in range(r)
                                     for j in range(c)]).reshape(r, c, 16, 16).swapaxes(1, 2).reshape(16 * r, 16 * c)
    np.testing.assert_allclose(full(d.K, 3, 3), K / s[:, None] / s, atol=1e-10)
    np.testing.assert_allclose(full(d.M[..., None], 3, 1), M * s0 / s[:, None], atol=1e-10)
    np.testing.assert_allclose(np.sort(d.eigen[0].ravel()), np.linalg.eigvalsh(K / s[:, None] / s), rtol=1e-8)


@pytest.mark.parametrize('scheme', SCHEMES)
@pytest.mark.parametrize('name, normalise', [('haar', 'marginal'), ('db4', 'conditional')])
def test_chain_rule_against_the_whole_field(scheme, name, normalise):
    P, times = G.mode_power(3, 8), time_grid('quadratic', 30, 2.5)
    made = generated_covariance(dense(P), name, 2, normalise, times, scheme)
    assert abs(gaussian_kl(dense(P), made) / 64 / G.wavelet_modes(P, name, 2, normalise).kl(times, scheme) - 1) < 1e-7


def test_conditional_wasserstein_against_dense():
    d, times = G.details(G.mode_power(3, 8), 'haar'), time_grid('uniform', 20, 2.)
    m = d.modes(64)
    v, g = G.response(m.lam, times)
    assert abs(m.wasserstein(times) * 64 - ((m.lam**.5 - v**.5)**2 + (1 - g)**2 * m.mean2).sum()) < 1e-12
    low = gaussian_field(lambda a, b: torch.as_tensor(d.low), 20_000, 4, generator('w'), torch.float64)
    shift = G._mean(d, low, G._function(d, lambda lam: 1 - g.reshape(lam.shape)))
    assert abs(float(shift.square().sum((1, 2, 3)).mean()) / ((1 - g)**2 * m.mean2).sum() - 1) < .03


def test_no_error_is_left_at_many_steps():
    for m in (G.plain_modes(G.mode_power(3, 8)), G.wavelet_modes(G.mode_power(3, 8), 'db4', 2),
              G.wavelet_modes(G.mode_power(3, 8), 'haar', 2, 'conditional')):
        kls = [m.kl(time_grid('geometric', N, 9., 1e-3), 'heun') for N in (100, 1000)]
        assert kls[1] < 1e-5 and kls[1] < kls[0]


@pytest.mark.parametrize('eta, L', [(1.75, 64), (4, 32)])
def test_binned(eta, L):
    for m in (G.plain_modes(G.mode_power(eta, L)), G.wavelet_modes(G.mode_power(eta, L), 'haar')):
        b = m.binned(most=0)
        assert (len(b.lam) < len(m.lam) and abs(b.count.sum() / m.count.sum() - 1) < 1e-12
                and abs(b.mean2.sum() - m.mean2.sum()) < 1e-9 * (1 + m.mean2.sum()))
        for times, scheme in ((time_grid('uniform', 500, 3.), 'euler_maruyama'),
                              (time_grid('geometric', 40, 2., .05), 'heun')):
            if math.isfinite(m.kl(times, scheme)) and m.kl(times, scheme) < 1:
                assert abs(b.kl(times, scheme) / m.kl(times, scheme) - 1) < 1e-5


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('modes', [G.plain_modes(G.mode_power(2, 16)), G.wavelet_modes(G.mode_power(3, 16), 'haar')],
                         ids=['plain', 'haar'])
def test_steps_needed_against_brute_force(grid, modes):
    s = G.steps_needed(modes, 2e-3, grid)
    sigmas = np.geomspace(.02, .6, 40) if grid == 'geometric' else (None,)
    best = lambda N: min(modes.kl(time_grid(grid, N, float(T), a)) for T in np.arange(.5, 4, .03)
                         for a in sigmas)
    assert s.kl <= 2e-3 and abs(modes.kl(time_grid(grid, s.N, s.T, s.sigma_min or None)) / s.kl - 1) < 1e-4
    assert best(s.N) > .98 * s.kl and best(s.N - 1) > 2e-3 * .99 and s.N - 1 <= s.crossing <= s.N
    times, kl = G.best_times(modes, s.N, grid)
    assert len(times) == s.N + 1 and abs(kl / s.kl - 1) < .02 and abs(modes.kl(times) / kl - 1) < 1e-4


def test_formula_and_scaling():
    m = G.plain_modes(G.mode_power(2, 64))
    s = G.steps_needed(m, T=6.)
    assert s.T == pytest.approx(6) and abs(s.N / G.steps_formula(m, 1e-3, 6.) - 1) < .02
    a = 1 / m.lam - m.lam * np.log(m.lam) / 2 / (m.lam - 1)
    assert abs(G.steps_formula(m, 1e-3, 6.) / (6 * math.sqrt((a**2).mean() / 4e-3)) - 1) < 1e-9


@pytest.mark.parametrize('scheme', SCHEMES)
def test_simulation(scheme):
    P, n, times = G.mode_power(3, 16), 400, time_grid('quadratic', 9, 2.2)
    x = reverse(G.gaussian_score(P), torch.randn(n, 1, 16, 16, generator=generator('x', scheme), dtype=torch.float64),
                times, scheme, generator('n', scheme))
    d = G.details(P, 'haar', 'conditional')
    low = gaussian_field(lambda a, b: torch.as_tensor(d.low), n, 8, generator('low', scheme), torch.float64)
    y = reverse(G.conditional_score(d, low), torch.randn(n, 3, 8, 8, generator=generator('y', scheme),
                                                         dtype=torch.float64), times, scheme, generator('m', scheme))
    for z in (G.mode_scores(G.whiten(x, P, times, scheme)), G.mode_scores(G.whiten_details(y, low, d, times, scheme))):
        assert abs(z.square().mean() - 1) < 4 * math.sqrt(2 / len(z)) and z.abs().max() < 5
    other = SCHEMES[SCHEMES.index(scheme) - 1]
    assert G.mode_scores(G.whiten(x, P, times, other)).square().mean() > 1.6


def test_score_against_dense():
    P = G.mode_power(2.2, 8)
    x = torch.randn(1, 1, 8, 8, generator=generator('g'), dtype=torch.float64)
    A = math.exp(-1.) * dense(P) + (1 - math.exp(-1.)) * np.eye(64)
    np.testing.assert_allclose(G.gaussian_score(P)(x, .5).flatten(), -np.linalg.solve(A, x.flatten().numpy()),
                               rtol=1e-9)


def test_cascade_keeps_the_scale():
    P = 7 * G.mode_power(2, 16)
    x = G.sample_cascade(*G.conditional_laws(P, 'db2', 4), 'db2', 400, time_grid('geometric', 60, 4., .05),
                         generator=generator('c'))
    assert abs(float(x.var()) / 7 - 1) < .1


ones = np.ones((8, 8))
@pytest.mark.parametrize('call, words', [
    (lambda: G.mode_power(2, 15), 'L is 15'), (lambda: G.mode_power(-1, 16), 'eta is -1'),
    (lambda: G.plain_modes(np.ones((4, 6))), 'square'), (lambda: G.plain_modes(ones * 0), 'cannot be normalised'),
    (lambda: G.plain_modes(np.arange(1., 65).reshape(8, 8)), 'even power'), (lambda: G.details(np.ones((9, 9)),
        'haar'), 'divisible'), (lambda: G.details(ones, 'haar', 'std'), 'normalisation'),
    (lambda: G.details(ones, 'bior2.2'), 'biorthogonal'), (lambda: G.conditional_laws(ones, 'haar', 3), 'power of two'),
                                         (lambda: G.conditional_laws(ones, 'haar', 0), 'power of two'),
    (lambda: G.response([1., 0.], [0., 1.]), 'positive variances'), (lambda: G.response([1.], [0., 1.],
        'rk4'), 'unknown'), (lambda: G.steps_needed(G.plain_modes(ones), -1.), 'eps'),
    (lambda: G.steps_needed(G.plain_modes(ones), grid='log'), 'grid'), (lambda: G.steps_needed(G.plain_modes(ones),
        scheme='rk4'), 'scheme'), (lambda: G.steps_needed(G.plain_modes(ones), T=0.), 'T is 0'),
    (lambda: G.steps_needed(G.plain_modes(G.mode_power(3, 16)), T=.1, most=500),
     'too small'), (lambda: G.conditional_score(G.details(ones, 'haar'), torch.ones(2, 1, 8, 8)), 'low-pass')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()
