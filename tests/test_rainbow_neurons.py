"""Exchanged neurons, laws that keep covariances, Gaussianity, power laws: by closed forms, symmetries, simulation."""
import numpy as np
import pytest
import torch
from scipy.special import zeta
from torch import nn

import deepstruct as ds
from deepstruct.core import generator
from deepstruct.rainbow import learned as L
from deepstruct.rainbow import neurons as N
from deepstruct.rainbow import power_laws as P
from deepstruct.rainbow.kernels import aligned_error
from deepstruct.rainbow.model import RainbowModel


def normal(*shape, name='neurons', dtype=torch.float64):
    return torch.randn(*shape, generator=generator(name, *shape), dtype=dtype)


def networks(law, r, K=4, n=20, d=10):
    x, g = normal(200, d, name=f'x{r}'), generator(law, r)
    W = torch.randn(K, n, d, generator=g, dtype=torch.float64)
    if law == 'repelling': W = torch.linalg.qr(W.view(-1, d, d).mT).Q.mT.reshape(K, n, d) * d**.5
    if law == 'of a network': W = W * torch.randn(K, 1, d, generator=g, dtype=torch.float64).exp()
    return [(x @ w.T).relu() for w in W]


@pytest.mark.parametrize('law, low, high', [('independent', .93, 1.07), ('repelling', .5, .85),
                                            ('of a network', 1.3, 9)])
def test_exchanged_neurons(law, low, high):
    ratio = np.mean([N.exchanged(networks(law, r), 8, generator('deal', r))['ratio'] for r in range(25)])
    assert low < ratio < high


def test_exchange_is_exact_where_neurons_are_exchangeable():
    """p is uniform: its mean over many sets of independent draws is a half, whatever the law."""
    cubes = lambda r: [f**3 for f in networks('independent', r, K=2, n=6)]
    p = [N.exchanged(cubes(r), 9, generator('p', r))['p'] for r in range(120)]
    assert abs(np.mean(p) - .55) < .1 # of two-sided ranks among ten: (.2 + .4 + ... + 1) / 5 = .6 at most


def test_ratio_does_not_depend_on_scale_rotation_or_dtype():
    F, Q = networks('independent', 0), torch.linalg.qr(normal(200, 200, name='Q')).Q
    one = N.exchanged(F, 6, generator('a'))
    for G in ([7 * f for f in F], [Q @ f for f in F], [f.to(torch.complex128) * 1j for f in F]):
        assert N.exchanged(G, 6, generator('a'))['ratio'] == pytest.approx(one['ratio'], rel=1e-8)


def test_distance_of_networks_is_the_aligned_error():
    a, b = networks('independent', 1)[:2]
    energy = float(a.square().sum() + b.square().sum()) / 2 / len(a)
    assert N.exchanged([a, b], 2)['measured'] == pytest.approx(aligned_error(a, b) / energy, rel=1e-9)


def test_independence_of_users_networks():
    def net(r):
        torch.manual_seed(r)
        return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 8))
    x = normal(40, 1, 8, 8, dtype=torch.float32)
    with torch.random.fork_rng(): nets = [net(r) for r in range(3)]
    out = ds.independence(nets, [(x, torch.zeros(40))], ['0', '3'], 4, seed=0)
    assert list(out) == ['0', '3'] and all(v['ratio'] > 0 and 0 < v['p'] <= 1 for v in out.values())
    again = ds.independence(nets, [x[:20], x[20:]], ['0'], 4, seed=0)
    assert again['0']['measured'] == pytest.approx(out['0']['measured'], rel=1e-4)


@pytest.mark.parametrize('dtype', [torch.float64, torch.complex128])
def test_orthogonal_mix_keeps_the_covariance(dtype):
    R = normal(12, 7, dtype=dtype)
    W = N.orthogonal_mix(generator('mix'))(R, 12)
    assert torch.allclose(W.mH @ W, R.mH @ R) and (W - R).norm() > .5 * R.norm()
    few = torch.stack([(w := N.orthogonal_mix(generator('few', k))(R, 5)).mH @ w / 5 for k in range(1500)]).mean(0)
    assert (few - R.mH @ R / 12).norm() < .15 * (R.mH @ R / 12).norm()


@pytest.mark.parametrize('bias', [0, 1])
def test_factorised_covariance(bias):
    R = normal(50, 3 * 4 + bias)
    W = N.factorised(3, generator('f'))(R, 60_000)
    T = R[:, :12].view(50, 3, 4)
    want = torch.kron(torch.einsum('nck,ndk->cd', T, T), torch.einsum('nck,ncl->kl', T, T)) / T.square().sum() / 50
    assert (W[:, :12].T @ W[:, :12] / 60_000 - want).norm() < .03 * want.norm()
    if bias: assert float(W[:, 12].square().mean()) == pytest.approx(float(R[:, 12].square().mean()), rel=.05)


def test_laws_of_a_model():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3)), normal(60, 5, dtype=torch.float32)
    m = RainbowModel().fit(net, [x])
    new = m.sample(0, law=N.orthogonal_mix(generator('model')))
    W, V = (torch.cat([n[0].weight, n[0].bias[:, None]], 1).detach() for n in (net, new))
    assert torch.allclose(W.T @ W, V.T @ V, atol=1e-4)
    m.sample(0, law={'0': N.factorised(5, generator('model'))})


@pytest.mark.parametrize('dtype', [torch.float64, torch.complex128])
def test_white_rows_are_inside_the_bulk_and_others_are_found(dtype):
    Z = normal(40, 100, dtype=dtype) # q = 2.5
    assert N.outside_bulk(Z) <= .1 < .3 < N.outside_bulk(Z * .93**torch.arange(100))
    Ws = [w * .9**torch.arange(12) for w in normal(6, 12, 12, dtype=dtype)]
    sizes = torch.rand(6, 12, 1, generator=generator('sizes'), dtype=torch.float64) * 2
    t = N.gaussian_test([w * s for w, s in zip(Ws, sizes)], 19, generator('t'))
    assert t['outside']['p'] <= .2 and N.gaussian_test(Ws, 19, generator('t'))['rejected']['got'] < .5


def test_gaussian_test_does_not_depend_on_the_covariance():
    """Whitened by others in all dimensions, W and W M have the same eigenvalues."""
    Ws, M = list(normal(5, 10, 8)), normal(8, 8, name='M')
    a, b = (N.gaussian_test(w, 5, generator('same'))['outside']['got'] for w in (Ws, [w @ M for w in Ws]))
    assert a == pytest.approx(b, abs=1e-6)


def test_false_alarms():
    rate = N.false_alarms(list(normal(6, 8, 6)), 60, 9, .2, generator('alarms'))
    assert all(.04 < v < .38 for v in rate.values())


@pytest.mark.parametrize('alpha', [1.5, 2., 3.])
def test_no_error_is_below_the_floor(alpha):
    for n in (8, 32): assert P.gaussian_neurons(alpha, n, 2000, generator=generator('g', n))[0] > P.rank_floor(alpha, n)
    assert P.one_frequency(alpha, 32, generator('f')) > P.rank_floor(alpha, 32, twice=True)
    m = np.arange(11, 2_000_001.)
    assert P.rank_floor(alpha, 10) == pytest.approx((m**-alpha).sum() / zeta(alpha) + (
        2e6**(1 - alpha) / (alpha - 1)) / zeta(alpha), rel=1e-3)


def test_components_that_are_not_drawn_enter_by_their_means():
    few, many = (np.mean([P.gaussian_neurons(1.5, 16, d, generator=generator('d', d, k))[0] for k in range(60)])
                 for d in (400, 4000))
    assert few == pytest.approx(many, rel=.03)


def test_frequencies_by_many_features():
    """n times the first-order error of a single frequency, drawn n times: Var over 2 lambda for a circle of phases."""
    e = np.mean([P.one_frequency(20., 400, generator('one', k)) for k in range(200)]) # all neurons have m = 1
    assert 400 * e == pytest.approx(.25, rel=.15)


def test_symmetries():
    x, even = normal(100, 8), (2.**-torch.arange(4, dtype=torch.float64)).repeat_interleave(2)
    moved = P.turned_circle(x, .9)
    assert torch.allclose(moved.square().sum(1), x.square().sum(1))
    assert torch.allclose(P.turned_circle(moved, -.9), x)
    assert P.equivariance_error(x, x, even, 12, generator=generator('g')) == pytest.approx(0, abs=1e-9)
    odd = even * torch.tensor([1.8, .2], dtype=torch.float64).repeat(4)
    a, b = (P.equivariance_error(x, moved, C, 400, generator=generator('g')) for C in (even, odd))
    assert a < .05 < .15 < b


def test_learned_scattering_is_read_as_its_matrices_see_it():
    net = L.independent_scattering(generator('net'), channels=1, side=8, blocks=(3, 4), skip=False)
    x = normal(80, 1, 8, 8, dtype=torch.float32)
    with torch.no_grad(): [net.train()(x) for _ in range(80)]
    C = L.second_moment(net.eval(), [x], 1)
    assert float(C.diagonal().real.mean()) == pytest.approx(1, abs=.1) # standardised
    assert L.layer_moments([net, net], [x])[0, 1][1].moment().shape == (15, 15)
    W = L.pooled_weights([net, net], [x])[2]
    assert torch.allclose(W[0], W[1], atol=1e-4) # turned to itself


@pytest.mark.parametrize('f, words', [
    (lambda: N.exchanged([torch.ones(3, 2)]), 'two or more'), (lambda: N.exchanged([torch.ones(3, 2)] * 2, 1), 'draws'),
    (lambda: N.gaussian_test([torch.ones(3, 4)] * 2), 'twice as many'), (lambda: P.theorem_exponent(1), 'more than 1'),
    (lambda: ds.independence([nn.Linear(2, 2)] * 2, [torch.ones(3, 2)], ['x']), 'no layer'),
    (lambda: N.factorised(5)(torch.ones(4, 7), 2), 'a multiple')])
def test_bad_input(f, words):
    with pytest.raises(ValueError, match=words): f()
