"Image classes, Jacobians, memory and the Gaussian twin, against closed forms and brute force."
import math

import numpy as np
import pytest
import torch

from deepstruct.core import generator
from deepstruct.wavelet_diffusion import generalization as G
from deepstruct.wavelet_diffusion.denoisers import Denoiser, UNetDenoiser
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

def test_printed_filter_is_a_brownian_path():
    exponent = lambda alpha, printed: G.lipschitz(G.smooth_noise((300, 2048), alpha, generator('printed'), printed))
    assert abs(exponent(1., True) - .5) < .06 and abs(exponent(.5, False) - .5) < .06 and exponent(1., False) > .85
    steps = torch.randn(400, 1024, generator=generator('steps'), dtype=torch.float64)
    assert abs(G.lipschitz((steps - steps.mean(1, keepdim=True)).cumsum(1)) - .5) < .03 # a bridge, periodic
    k = torch.fft.fftfreq(8, 1 / 8)
    assert math.isclose(float(G.noise_filter(8, 2, 1.)[3, 2]), float(k[3]**2 + k[2]**2)**-1) # |k|^-2 in two dimensions

def test_images_are_made_of_their_parts():
    above, (u, v), (a, b) = G.c_alpha_parts(6, 16, 2., 3., generator('parts'))
    x = G.c_alpha(6, 16, 2., 3., generator('parts'))[:, 0].double()
    assert torch.allclose(x[above == 1], (u + (1 - u) * a)[above == 1], atol=1e-6)
    assert torch.allclose(x[above == 0], (v * b)[above == 0], atol=1e-6) and 0 <= above.min() and above.max() == 1
    c = 8 * a.numel() / 6 / 256 # every column is 0, at most one mixed pixel, then 1
    assert c > 0 and ((above > 0) & (above < 1)).sum(1).max() <= 1 and (above.diff(dim=1) >= 0).all()

def test_contour_told_by_brute_force():
    sigmas, L = (.02, .1, .5), 6
    got = G.contour_mse(1, L, 2., sigmas, generator('contour'))[0]
    above, u, _ = G.c_alpha_parts(1, L, 2., generator=generator('contour'))
    k = torch.fft.fftfreq(L, 1 / L, dtype=torch.float64)
    P = ((k[:, None]**2 + k**2).clamp(min=1)**-3) / 12
    wave = torch.exp(2j * math.pi / L * torch.einsum('ap,bp->ab',
        torch.cartesian_prod(torch.arange(L), torch.arange(L)),
                                                     torch.cartesian_prod(torch.arange(L), torch.arange(L))).double())
    K = ((wave * P.flatten()) @ wave.conj().T).real / L**2
    free = G.smooth_noise((64, L, L), 2., torch.Generator().manual_seed(0))
    K = K * float(free.var((1, 2)).mean() / (P.mean() - P[0, 0] / L**2))
    a = above.flatten()
    S = sum(torch.outer(d, d) * K for d in (a * (1 - u[0]).flatten(), (1 - a) * u[1].flatten()))
    for s, e in zip(sigmas, got):
        W = S @ torch.linalg.inv(S + s**2 * torch.eye(L * L)) # error of the posterior mean, written out
        B = torch.eye(L * L) - W
        assert math.isclose(float(e), float((B @ S @ B.T + s**2 * W @ W.T).trace()) / L**2, rel_tol=1e-6)

def test_the_bound_is_the_divergence_of_gaussians():
    g = generator('kl')
    A, B = (torch.randn(6, 9, generator=g, dtype=torch.float64) for _ in range(2))
    S, T = A @ A.T / 9, B @ B.T / 9
    p, q = (torch.distributions.MultivariateNormal(torch.zeros(6, dtype=torch.float64), M) for M in (S, T))
    assert math.isclose(G.gaussian_kl(S, T), float(torch.distributions.kl_divergence(p, q)), rel_tol=1e-9)
    s = np.geomspace(.02, 5, 600)
    got = G.kl_bound(s, [G.wiener_excess(S, T, v) for v in s])
    assert math.isclose(got, G.gaussian_kl(S, T, .02) - G.gaussian_kl(S, T, 5.), rel_tol=1e-3)
    x = torch.distributions.MultivariateNormal(torch.zeros(6, dtype=torch.float64), S)
    torch.manual_seed(0)
    x, one = x.sample((200_000,)), .25 * torch.eye(6)
    y = x + .5 * torch.randn(x.shape, generator=g, dtype=torch.float64)
    error = lambda M: (y @ torch.linalg.solve(M + one, M) - x).square().sum(1)
    gap = error(T) - error(S)
    assert abs(float(gap.mean()) - G.wiener_excess(S, T, .5)) < 5 * float(gap.std()) / len(x)**.5
    assert math.isclose(G.kl_bound([1., math.e], [2., 2 * math.e**2]), 2) # a constant in log sigma

def test_paths_of_a_linear_denoiser():
    y = torch.randn(3, 1, 4, 4, generator=generator('path'), dtype=torch.float64)
    x, s = G.paths(lambda v: .25 * v, y, h=.2, steps=5)
    for t in range(5):
        assert torch.allclose(x[t], .25 * .85**t * y)
        assert torch.allclose(s[t], .75 * .85**t * y.square().mean((1, 2, 3)).sqrt())
    net = Denoiser(5, width=4, layers=3, generator=generator('net'))
    net.train(); G.paths(net, y, steps=2)
    assert net.training and all(w.grad is None for w in net.parameters())

def test_parting():
    line = torch.linspace(0, 1, 11).view(-1, 1, 1, 1, 1)
    late = torch.cat([torch.zeros(9, 1, 1, 1, 1), torch.ones(2, 1, 1, 1, 1)])
    x = torch.cat([line, late, torch.ones_like(line)], 1)
    assert torch.allclose(G.parting(x, 0 * x), torch.tensor([6 / 11, 9 / 11, 0.]))

def test_near_copies_are_dropped():
    g = generator('copies')
    a, b = torch.rand(30, 1, 5, 5, generator=g), torch.rand(20, 1, 5, 5, generator=g)
    both = torch.cat([b, 2 * a[:4] + .5])
    kept, near = G.without_copies(a, both, batch=7)
    want = torch.tensor([max(np.corrcoef(u.flatten(), v.flatten())[0, 1] for v in a.numpy()) for u in both.numpy()])
    assert torch.equal(kept, b) and torch.allclose(near.double(), want, atol=1e-5)

def test_basis_gain_by_hand():
    I = torch.eye(3, dtype=torch.float64)
    Q = torch.tensor([[.5**.5, .5**.5, 0], [.5**.5, -.5**.5, 0], [0, 0, 1.]], dtype=torch.float64)
    x = torch.tensor([2., 0, 0], dtype=torch.float64) # one coefficient 2 against two of 2^(1/2)
    own, other = 4 / 5, 2 * 2 / 3
    assert math.isclose(G.basis_gain(I, Q[None], x, 1.), 10 * math.log10(other / own))
    assert math.isclose(G.basis_gain(I, I[None], x, 1.), 0, abs_tol=1e-12)

@pytest.mark.parametrize('levels', (1, 2, 3))
def test_field_and_weights_of_a_unet(levels):
    net = UNetDenoiser(width=4, levels=levels, generator=generator('unet', levels))
    want = G.unet_field(levels)
    assert min(want) == {1: 18, 2: 44, 3: 92}[levels]
    if levels < 3: # the gradient of one pixel
        at = 32
        y = torch.randn(6, 1, 64, 64, generator=generator('y')).requires_grad_()
        rows = torch.autograd.grad(net(y)[..., at, at].sum(), y)[0].abs().sum((0, 1, 3)).nonzero()
        assert int(rows.max() - rows.min()) + 1 == want[0]
    w = [5 << i for i in range(levels + 1)]
    convolution = lambda a, b: torch.nn.Conv2d(a, b, 3, bias=False)
    parts = [convolution(*ab) for a, b in zip([1, *w], w) for ab in ((a, b), (b, b))]
    for a in w[:-1]:
        parts += [torch.nn.ConvTranspose2d(2 * a, a, 2, 2, bias=False), convolution(2 * a, a), convolution(a, a)]
    scales = 2 * (sum(w) + sum(w[:-1])) # one for each channel of each convolution
    assert G.unet_parameters(levels, 5) == sum(q.numel() for m in parts for q in m.parameters()) + 5 + scales

def test_refused():
    x = torch.rand(3, 1, 4, 4, generator=generator('x'))
    for call, word in ((lambda: G.c_alpha(2, 16, -1.), 'positive regularities'),
                       (lambda: G.kl_bound([1., .5], [0., 0.]), 'rising'),
                       (lambda: G.lipschitz(x[:, 0, 0], (2,)), 'two different'),
                       (lambda: G.gaussian_kl(torch.eye(2), torch.zeros(2, 2)), 'singular|infinite'),
                       (lambda: G.disks(2, 4), 'at least 8'),
                       (lambda: G.empirical_denoiser(x, -1.), 'positive standard'),
                       (lambda: G.empirical_denoiser(x[0], 1.), 'batch'),
                       (lambda: G.cosines(x, x[:2]), 'pairs'), (lambda: G.twin(np.ones((4,
                           4)), 0, 1), 'positive numbers'), (lambda: G.slope([1, 2], [1]), 'two or more')):
        with pytest.raises(ValueError, match=word): call()
