"""Fields: the simulator against exact answers, identities and itself; statistics against closed forms; bad input."""
import math

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deepstruct.core import generator
from deepstruct.fields import (Phi4, _clusters, _evolve, _exp_minus, _seeds, autocorrelation, autocorrelation_time,
                               binder, gaussian_field, minus_laplacian, radial_spectrum, spectrum_error, virial)
torch.set_num_threads(1)


def mean_error(v): return float(v.mean()), float(v.std() / len(v)**0.5)


def exact_ring(beta):
    """<phi^2>, <m^2>, <phi^4> on the 2x2 torus: four sites on a ring, each bond twice."""
    t = np.linspace(-4, 4, 401)
    v, D = t**4 - t**2, np.diag(t)
    T = np.exp(-(v[:, None] + v) / 2 + 2 * beta * np.outer(t, t))
    mean = lambda *ops: np.trace(np.linalg.multi_dot(ops)) / np.trace(np.linalg.matrix_power(T, 4))
    q = mean(D @ D, T, T, T, T)
    return q, (q + 2 * mean(D, T, D, T, T, T) + mean(D, T, T, D, T, T)) / 4, mean(D @ D @ D @ D, T, T, T, T)


@pytest.mark.parametrize('beta', (0.0, 0.3, 0.76, 1.5))
def test_simulator_against_the_transfer_matrix(beta):
    x = Phi4(beta, 2).simulate(30_000, generator('ring', beta)).fields.double()
    m = x.mean((1, 2, 3))
    for truth, got in zip(exact_ring(beta), ((x**2).mean((1, 2, 3)), m**2, (x**4).mean((1, 2, 3)))):
        value, error = mean_error(got)
        assert abs(value - truth) < 4.5 * error, (beta, value, truth, error)
    assert abs(mean_error(m)[0]) < 4.5 * mean_error(m)[1]


def test_each_move_alone_is_right():
    averages = {}
    for clusters in (False, True):
        phi = np.ones((4, 4, 32))
        _evolve(phi, 0.4, 1.2, 500, 500, clusters, _seeds(generator('alone'), 32))
        seen, kept, acceptance = _evolve(phi, 0.4, 1.2, 4000, 4000, clusters, _seeds(generator('alone', clusters), 32))
        assert 0.3 < acceptance < 0.9 and np.allclose(kept[:, -1], phi.transpose(2, 0, 1), atol=1e-6)
        x = torch.from_numpy(phi).permute(2, 0, 1)[:, None]
        assert (np.allclose(seen[:, -1, 0], Phi4(0.4, 4).energy(x) / 16)
                and np.allclose(seen[:, -1, 1], x.mean((1, 2, 3)))
                and np.allclose(seen[:, -1, 2], (x**2).mean((1, 2, 3))))
        averages[clusters] = [mean_error(torch.from_numpy(s.mean(1)))
                              for s in (seen[..., 0], seen[..., 1]**2, seen[..., 2])]
    for (a, da), (b, db) in zip(averages[False], averages[True]): assert abs(a - b) < 4.5 * math.hypot(da, db)


def test_the_exponential_of_the_inner_loops():
    x = np.concatenate([np.linspace(0, 41, 5001), [1e3, np.inf]])
    assert np.allclose([_exp_minus(v) for v in x], np.exp(-np.minimum(x, 60 * np.log(2))), rtol=1e-11)


def test_cluster_moves_keep_sizes():
    phi = np.random.default_rng(0).normal(size=(8, 8, 3))
    before = phi.copy()
    _evolve(phi, 0.7, 0.0, 5, 5, True, _seeds(generator('signs'), 3))
    assert np.array_equal(np.abs(phi), np.abs(before)) and not np.array_equal(phi, before)


@pytest.mark.parametrize('L', (2, 4, 16))
def test_clusters_against_connected_components(L):
    C = 50
    phi = np.random.default_rng(1).normal(size=(L, L, C))
    before, bond, label, parent, sign = (phi.copy(), np.empty((L, L, C), np.int8), np.zeros((L, L, C), np.int32),
                                         np.empty((L * L, C), np.int32), np.empty((L * L, C)))
    _clusters(phi, 0.7, _seeds(generator('clusters', L), C), bond, label, parent, sign)
    site, flips = np.arange(L * L).reshape(L, L), []
    for k in range(C):
        ends = [np.stack([site[bond[..., k] & way > 0], np.roll(site, 1, axis)[bond[..., k] & way > 0]])
                for way, axis in ((1, 1), (2, 0))]
        a, b = np.concatenate(ends, 1)
        assert (before[..., k].flat[a] * before[..., k].flat[b] > 0).all() # bonds join equal signs
        n, component = connected_components(coo_array((np.ones(len(a)), (a, b)), (L * L, L * L)), directed=False)
        flip = (phi / before)[..., k].flatten()
        assert set(np.unique(flip)) <= {-1., 1.} and all(len(set(flip[component == c])) == 1 for c in range(n))
        used = label[..., k].max() + 1
        assert (parent[:used, k] == np.arange(used)).sum() == n
        flips += [flip[component == c][0] for c in range(n)]
    assert abs(np.mean(flips)) < 4.5 / len(flips)**.5
    same = np.concatenate([before * np.roll(before, 1, axis) for axis in (1, 0)])
    drawn = np.concatenate([bond & 1, bond >> 1])
    chance = np.where(same > 0, 1 - np.exp(-2 * .7 * np.maximum(same, 0)), 0)
    assert abs((drawn - chance).sum()) < 4.5 * (chance * (1 - chance)).sum()**.5


@pytest.mark.parametrize('beta', (0.50, 0.68, 0.76))
def test_virial_and_its_null(beta):
    x = Phi4(beta, 16).simulate(1500, generator('virial', beta)).fields
    value, error = mean_error(virial(x, beta))
    assert abs(value - 1) < 3.5 * error
    null, _ = mean_error(virial(x, beta + 0.05))
    assert abs(null - 1) > 5 * error


def test_critical_averages_of_the_table():
    s = Phi4(0.68, 16).simulate(4000, generator('table'), hot=True)
    x = s.fields.double()
    q, dq = mean_error((x**2).mean((1, 2, 3)))
    m = x.mean((1, 2, 3))
    du = torch.tensor([binder(b) for b in m.unflatten(0, (40, -1))]).std() / 40**0.5
    assert abs(q - 0.834) < 4 * math.hypot(dq, 0.001) and abs(binder(m) - 0.603) < 4 * math.hypot(float(du), 0.002)
    chains = (m**2)[:len(m) // s.chains * s.chains].view(-1, s.chains).T.numpy()
    assert abs(autocorrelation(chains)[1]) < 0.15 and s.left < 0.15 and s.thin >= 3 * max(s.tau.values()) - 1e-9
    assert s.burn >= 60 * max(s.tau.values()) and 0.2 < float((m > 0).double().mean()) < 0.8


def test_generator_is_the_only_randomness():
    run = lambda word, n=10, **k: Phi4(0.5, 4).simulate(n, generator(word), **k).fields
    np.random.seed(1)
    a = run('a')
    np.random.seed(2), torch.manual_seed(5)
    assert torch.equal(a, run('a')) and not torch.equal(a, run('b'))
    assert a.shape == (10, 1, 4, 4) and a.dtype == torch.float32
    assert run('a', 7, chains=3).shape[0] == 7 and run('a', 1).shape[0] == 1 and run('a', 600).shape[0] == 600


def test_energy_gradient_hessian():
    model, x = Phi4(0.9, 6), torch.randn(3, 1, 6, 6, dtype=torch.float64, generator=generator('x'), requires_grad=True)
    bonds = x * (x.roll(1, 2) + x.roll(1, 3))
    assert torch.allclose(model.energy(x), (x**4 - x**2 - 0.9 * bonds).sum((1, 2, 3)))
    assert torch.allclose(torch.autograd.grad(model.energy(x).sum(), x, create_graph=True)[0], model.gradient(x))
    H = torch.autograd.functional.hessian(lambda y: model.energy(y.view(1, 1, 6, 6))[0], x[0].detach().flatten())
    lap = minus_laplacian(torch.eye(36, dtype=torch.float64).view(36, 1, 6, 6)).view(36, 36)
    assert torch.allclose(H, 0.9 * lap + torch.diag(model.d2v(x[0]).detach().flatten()))
    w = 2 * torch.pi * torch.fft.fftfreq(6, dtype=torch.float64)
    assert torch.allclose(torch.linalg.eigvalsh(lap), (4 - 2 * w.cos()[:, None] - 2 * w.cos()).flatten().sort().values,
                          atol=1e-10)


def test_autocorrelation_by_hand_and_in_closed_form():
    s = np.random.default_rng(3).normal(size=(3, 50)).cumsum(1)
    c = s - s.mean()
    by_hand = np.array([np.mean([c[k, :50 - t] @ c[k, t:] / (50 - t) for k in range(3)]) for t in range(50)])
    assert np.allclose(autocorrelation(s), by_hand / by_hand[0])
    rng = np.random.default_rng(4)
    for a in (-0.4, 0.0, 0.8):
        noise, s = rng.normal(size=(10, 20_000)), np.zeros((10, 20_000))
        s[:, 0] = noise[:, 0] / math.sqrt(1 - a * a)
        for t in range(1, 20_000): s[:, t] = a * s[:, t - 1] + noise[:, t]
        tau, error = autocorrelation_time(s)
        assert abs(tau - 0.5 * (1 + a) / (1 - a)) < 4 * error + 0.01


def test_radial_spectrum_of_waves_and_parseval():
    t = torch.arange(16) * 2 * torch.pi / 16
    x = torch.stack([torch.cos(k * t)[:, None].expand(16, 16) for k in (1, 5, 8)])[:, None].double()
    k, P = radial_spectrum(x)
    assert k.tolist() == list(range(1, 9)) and P.argmax(1).tolist() == [0, 4, 7]
    f = np.fft.fftfreq(16, 1 / 16)
    shell = np.rint(np.hypot(f[:, None], f)).astype(int)
    y = torch.randn(2, 1, 16, 16, dtype=torch.float64, generator=generator('parseval'))
    power = (torch.fft.fft2(y, norm='ortho').abs()**2)[:, 0].numpy()
    assert np.allclose(radial_spectrum(y)[1], np.stack([power[:, shell == k].mean(1) for k in range(1, 9)], 1))


def test_gaussian_fields_have_their_covariance():
    # even, not isotropic
    S = lambda a, b: 1 / (0.3 + (4 - 2 * a.cos() - 2 * b.cos()) + 0.5 * torch.sin(a) * torch.sin(b))
    x = gaussian_field(S, 40_000, 8, generator('covariance'), torch.float64)
    w = 2 * torch.pi * torch.fft.fftfreq(8, dtype=torch.float64)
    truth = torch.fft.ifft2(S(w[:, None], w)).real
    got = torch.fft.ifft2((torch.fft.fft2(x).abs()**2).mean(0)[0]).real / 64
    assert (got - truth).abs().max() < 5 * truth[0, 0] / math.sqrt(40_000)
    assert abs(float((x[:, 0, 0, 0]**4).mean() / truth[0, 0]**2) - 3) < 5 * math.sqrt(96 / 40_000)
    assert torch.equal(x[:5], gaussian_field(S, 40_000, 8, generator('covariance'), torch.float64)[:5])
    assert gaussian_field(lambda a, b: 0 * a * b + 1, 2, 4, generator(0)).dtype == torch.float32


def test_binder_limits():
    assert binder(torch.tensor([1., -1., 1., 1.])) == pytest.approx(2 / 3)
    assert abs(binder(torch.randn(200_000, generator=generator('binder'), dtype=torch.float64))) < 0.02


@pytest.mark.parametrize('call, words', [
    (lambda: Phi4(-0.1), 'beta is -0.1'), (lambda: Phi4(float('nan')), 'beta is nan'), (lambda: Phi4('0.5'),
        "beta is '0.5'"), (lambda: Phi4(0.5, 7), 'L is 7'), (lambda: Phi4(0.5, 0), 'L is 0'),
    (lambda: Phi4(0.5, 4).simulate(0, generator(0)), 'n is 0'), (lambda: Phi4(0.5, 4).simulate(5, generator(0),
        chains=-1), 'chains'), (lambda: virial(torch.zeros(2, 8, 8), 1.), 'shape'),
    (lambda: radial_spectrum(torch.full((2, 1, 8, 8), torch.nan)), 'NaN'), (lambda: radial_spectrum(torch.zeros(2, 2, 8,
        8)), 'channels'), (lambda: autocorrelation(np.ones((2, 9))), 'constant'),
    (lambda: autocorrelation([1., np.nan, 2.]), 'NaN'), (lambda: autocorrelation([1.]), 'shape'),
                                         (lambda: gaussian_field(lambda a, b: 1 / (a**2 + b**2), 1, 8, generator(0)),
                                          'infinite'),
    (lambda: gaussian_field(lambda a, b: 1 + 0.5 * a.sin() + 0 * b, 1, 8, generator(0)),
     'even'), (lambda: gaussian_field(lambda a, b: -1 - 0 * a * b, 1, 8, generator(0)), 'negative')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()

# Types, blanks and text: right, or refused by name

X16 = torch.randn(6, 1, 16, 16, generator=generator('half'))

@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16))
@pytest.mark.parametrize('f', [lambda x: Phi4(.6, 16).energy(x), lambda x: Phi4(.6, 16).gradient(x),
                               lambda x: Phi4(.6, 16).d2v(x), lambda x: radial_spectrum(x)[1],
                               lambda x: spectrum_error(x, X16, generator('boot'))['ratio'], lambda x: virial(x, .6)])
def test_half_precision_is_widened(dtype, f):
    x = (30 * X16).to(dtype) # whose fourth powers and sums are beyond the range of half
    got, want = f(x), f(x.float())
    assert got.dtype in (torch.float32, torch.float64) and torch.equal(got, want) and torch.isfinite(got).all()

@pytest.mark.parametrize('dtype', (torch.uint8, torch.int8, torch.int32, torch.int64, torch.bool))
@pytest.mark.parametrize('f', [lambda x: Phi4(.6, 16).energy(x), lambda x: Phi4(.6, 16).gradient(x),
                               lambda x: Phi4(.6, 16).d2v(x), radial_spectrum, minus_laplacian,
                               lambda x: spectrum_error(x, X16), lambda x: virial(x, .6)])
def test_integers_do_not_wrap(dtype, f):
    with pytest.raises(ValueError, match=f'x is {dtype}; expected'): f((9 * X16).to(dtype))

@pytest.mark.parametrize('call, words', [
    (lambda: binder(torch.zeros(5)), 'all zero'), (lambda: binder(torch.ones(5) * 1j), 'complex64'),
    (lambda: binder(['1', '2']), 'm: a list'), (lambda: binder([]), r'shape \(0,\)'),
    (lambda: autocorrelation(torch.randn(9) * 1j), 'complex64'),
    (lambda: autocorrelation(['1', '2', '3']), 'series: a'),
    (lambda: autocorrelation([1., np.nan, 2.]), 'NaN'), (lambda: autocorrelation(np.full(9, .1)), 'constant'),
    (lambda: autocorrelation_time(np.arange(9.), math.nan), 'c is nan'),
    (lambda: autocorrelation_time(np.arange(9.), 0), 'c is 0'),
    (lambda: autocorrelation_time(np.arange(9.), '5'), 'c is'),
    (lambda: spectrum_error(X16, X16[..., :8, :8]), 'x has side 16, y has 8'),
    (lambda: spectrum_error(X16, torch.ones_like(X16)), 'y has no power at wave number 1'),
    (lambda: spectrum_error(torch.zeros_like(X16), X16), 'x has no power'),
    (lambda: radial_spectrum(X16[..., :1, :1]), 'side 1'), (lambda: radial_spectrum(X16.numpy()), 'x is a ndarray'),
    (lambda: gaussian_field(lambda a, b: 1 + 0 * a, 2, 8, 0, torch.float16), 'float16; expected float32'),
    (lambda: gaussian_field(lambda a, b: 1 + 0 * a, 0, 8, 0), 'n is 0'),
    (lambda: gaussian_field(lambda a, b: 1 + 0 * a, 2, 8., 0), 'L is 8.0'),
    (lambda: gaussian_field(lambda a, b: 1 + 0 * a, 2, 8, 1.5), 'seed is 1.5'),
    (lambda: Phi4(.5, 8).simulate(2.5, 0), 'n is 2.5'), (lambda: Phi4(.5, 8).simulate(2, 0, chains=0), 'chains is 0'),
    (lambda: Phi4(.5, 8).simulate(True, 0), 'n is True'), (lambda: Phi4(.5, 8).simulate(2, 'a'), "seed is 'a'")])
def test_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words): call()

@pytest.mark.parametrize('series', [lambda a: a.tolist(), lambda a: torch.from_numpy(a), lambda a: a.astype('>f8'),
                                    lambda a: torch.from_numpy(a).requires_grad_(), lambda a: a[::-1][::-1]])
def test_series_of_any_kind(series):
    a = np.cumsum(np.random.default_rng(0).standard_normal(200)) % 3
    assert autocorrelation_time(series(a)) == autocorrelation_time(a)

def test_a_seed_is_a_generator():
    spectrum = lambda a, b: 1 / (1 + a**2 + b**2)
    one = lambda seed: gaussian_field(spectrum, np.int64(3), np.uint8(8), seed)
    assert torch.equal(one(5), one(np.int16(5))) and torch.equal(one(5), one(torch.Generator().manual_seed(5)))
    a, b = (Phi4(.5, 8).simulate(3, s).fields for s in (5, torch.Generator().manual_seed(5)))
    assert torch.equal(a, b)
