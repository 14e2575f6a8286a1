"Image classes, Jacobians, memory and the Gaussian twin, against closed forms and brute force."
import math

import numpy as np
import pytest
import torch

from deepstruct.core import generator
from deepstruct.wavelet_diffusion import generalization as G
from deepstruct.wavelet_diffusion.denoisers import Denoiser
from deepstruct.wavelet_diffusion.gaussian import mode_power

def test_smooth_noise_spectrum():
    x = G.smooth_noise((4000, 64), 2., generator('smooth'))
    assert float(x.min()) == 0 and float(x.max()) == 1
    P = torch.fft.rfft((x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)).abs().square().mean(0)
    k = torch.arange(2, 20)
    assert abs(np.polyfit(np.log(k.numpy()), np.log(P[k].numpy()), 1)[0] + 5) < .15 # k^-(alpha + 1/2) in amplitude

def test_c_alpha_is_two_textures():
    x = G.c_alpha(50, 32, 3., generator=generator('c'))
    assert x.shape == (50, 1, 32, 32) and x.dtype == torch.float32 and 0 <= x.min() and x.max() <= 1
    jumps = (x[:, 0, 1:] - x[:, 0, :-1]).abs().amax(1) # down each column there is one edge
    assert jumps.median() > 5 * (x[:, 0, :, 1:] - x[:, 0, :, :-1]).abs().median()
    assert torch.equal(x, G.c_alpha(50, 32, 3., generator=generator('c')))

def test_disks_inside_and_tangents_by_differences():
    x, q = G.disks(20, 24, generator('disks'))
    assert 0 <= x.min() and x.max() <= 1 and ((q[:, 3] - q[:, 4]).abs() >= .2 - 1e-9).all()
    assert (q[:, :2] - q[:, 2:3] >= -1e-9).all() and (q[:, :2] + q[:, 2:3] <= 23 + 1e-9).all()
    T, h = G.disk_tangents(q, 24), 1e-5
    for k in range(5):
        e = torch.zeros(5, dtype=torch.float64); e[k] = h
        d = (G.render_disks(q + e, 24) - G.render_disks(q - e, 24)).flatten(1) / 2 / h
        assert (d - torch.einsum('bk,bkd->bd', torch.einsum('bd,bkd->bk', d, T),
                                 T)).norm(dim=1).max() < 1e-6 * d.norm(dim=1).max()

def test_rays_and_sinusoids_lie_in_their_tangent_spaces():
    g = generator('cone')
    image = torch.rand(1, 6, 6, generator=g, dtype=torch.float64)
    for x, T in (G.rays(5, image, g), G.sinusoids(5, 12, (3, 2), g)):
        x, k = x.flatten(1), T.shape[1]
        assert torch.allclose(T @ T.transpose(1, 2), torch.eye(k, dtype=torch.float64).expand(5, k, k), atol=1e-10)
        assert torch.allclose(torch.einsum('bk,bkd->bd', torch.einsum('bd,bkd->bk', x, T), T), x, atol=1e-10)
    with pytest.raises(ValueError, match='not zero'): G.rays(2, 0 * image)
    with pytest.raises(ValueError, match='sine is not zero'): G.sinusoids(2, 8, (4, 0))

@pytest.mark.parametrize('batch', (7, 1000))
def test_jacobian_and_homogeneity(batch):
    g = generator('jacobian')
    net = Denoiser(7, width=6, layers=5, generator=g).double()
    y = torch.randn(1, 6, 6, generator=g, dtype=torch.float64)
    J = G.jacobian(net, y, batch)
    assert (torch.allclose(J, torch.func.jacrev(net)(y[None]).reshape(36, 36))
            and torch.allclose(J @ y.flatten(), net(y[None]).flatten()))
    assert torch.equal(G.jacobian_rows(net, y, [3, 30], batch), J[[3, 30]])
    probes = torch.randint(2, (4000, 36), generator=g).double() * 2 - 1
    assert (abs(float(((probes @ J) * probes).sum(1).mean() - J.trace())) < 5
            * float(((probes @ J) * probes).sum(1).std()) / 4000**.5)

def test_eigenbasis():
    g = generator('eigen')
    Q = torch.linalg.qr(torch.randn(8, 8, generator=g, dtype=torch.float64)).Q
    lam = torch.linspace(1, -.5, 8, dtype=torch.float64)
    got, V, asymmetry = G.eigenbasis(Q @ torch.diag(lam) @ Q.T)
    assert (torch.allclose(got, lam) and asymmetry < 1e-12
            and torch.allclose((V @ Q).abs(), torch.eye(8, dtype=torch.float64), atol=1e-8))
    A = torch.randn(8, 8, generator=g, dtype=torch.float64); A = A - A.T
    assert (abs(G.eigenbasis(A)[2] - 2) < 1e-9 and abs(G.tangent_energy(V, V[:5]) - 1) < 1e-9
            and G.tangent_energy(V[3:], V[:3]) < 1e-9)

def test_jacobian_of_the_best_denoiser_is_the_posterior_covariance():
    g = generator('posterior')
    train = torch.randn(12, 1, 3, 3, generator=g, dtype=torch.float64)
    best, y = G.empirical_denoiser(train, .7), torch.randn(1, 3, 3, generator=g, dtype=torch.float64)
    J = G.jacobian(best, y)
    w = torch.softmax(-(train - y).square().sum((1, 2, 3)) / 2 / .49, 0)
    x = train.flatten(1) - w @ train.flatten(1)
    assert torch.allclose(J, (w[:, None] * x).T @ x / .49, atol=1e-10)

def test_cosines():
    g = generator('cos')
    a, b = torch.rand(5, 2, 4, 4, generator=g), torch.rand(5, 2, 4, 4, generator=g)
    want = [np.corrcoef(x.flatten(), y.flatten())[0, 1] for x, y in zip(a.numpy(), b.numpy())]
    assert (np.allclose(G.cosines(a, b), want, atol=1e-5)
            and torch.allclose(G.cosines(a, 3 * a + 2), torch.ones(5), atol=1e-5))
    assert torch.equal(G.closest(a[[3, 1]], a).indices, torch.tensor([3, 1]))

@pytest.mark.parametrize('N', (5, 200))
def test_flow_is_the_ode(N):
    g = generator('flow', N)
    train, z, sigma = torch.randn(N, 9, generator=g, dtype=torch.float64) @ torch.randn(9, 9, generator=g,
        dtype=torch.float64), 3 * torch.randn(4, 9, generator=g, dtype=torch.float64), 3.
    S, y, grid = train.T @ train / N, z.clone(), np.linspace(3., 0, 20_001)
    for s, r in zip(grid, grid[1:]): # dy = -sigma score dsigma, by midpoints
        m = (s + r) / 2
        y = y + (r - s) * m * torch.linalg.solve(S + m**2 * torch.eye(9), y.T).T
    assert torch.allclose(G.flow_sample(train, z, sigma), y, atol=2e-3)

def test_twin_limits():
    P = mode_power(2, 8)
    few, many = G.twin(P, 1, 20, generator=generator('few')), G.twin(P, 20_000, 20, generator=generator('many'))
    assert few['closest'].min() > .999 and many['halves'].min() > .99 and many['closest'].mean() < .9
    best = float((torch.as_tensor(P) / (torch.as_tensor(P) + 1)).mean())
    assert abs(many['test'] / best - 1) < .15 and few['train'] < .1 and few['test'] > best

def test_slopes():
    k = torch.arange(1, 1_000_001, dtype=torch.float64)
    for alpha in (.5, 1, 3):
        levels = np.array([40., 50, 60])
        out = [-10 * math.log10(G.oracle_mse(k**(-(alpha + 1) / 2), 10**(-db / 20))) for db in levels]
        assert abs(G.slope(levels, out) - alpha / (alpha + 1)) < .02
    c = torch.tensor([3., 0., 1.])
    assert math.isclose(float(G.oracle_mse(c, 1.)), .9 + .5, rel_tol=1e-6)

def test_refused():
    x = torch.rand(3, 1, 4, 4, generator=generator('x'))
    for call, word in ((lambda: G.c_alpha(2, 16, -1.), 'positive regularities'), (lambda: G.disks(2, 4), 'at least 8'),
                       (lambda: G.empirical_denoiser(x, -1.), 'positive standard'),
                       (lambda: G.empirical_denoiser(x[0], 1.), 'batch'),
                       (lambda: G.cosines(x, x[:2]), 'pairs'), (lambda: G.twin(np.ones((4,
                           4)), 0, 1), 'positive numbers'), (lambda: G.slope([1, 2], [1]), 'two or more')):
        with pytest.raises(ValueError, match=word): call()
