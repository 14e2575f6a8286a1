"""Frames, rectifiers, their Gaussian moments and the two-layer network, against polar factors, quadrature, Monte Carlo
and loops."""
import math

import numpy as np
import pytest
import torch
from lessons import lesson
from scipy import integrate, linalg, stats
from torch import nn
from torch.nn.utils import prune
from torch.nn import functional as nf

from deepstruct.core import generator
from deepstruct.phase_collapse import networks as N
from deepstruct.statistics import ClassMoments, fisher, fisher_floor
from deepstruct.training import fit

M = lesson('phase_collapse/00_frames')

f64 = torch.float64
def normal(*shape, seed='x'): return torch.randn(*shape, generator=generator('frames', seed), dtype=f64)

# ---- frames

@pytest.mark.parametrize('p,d', [(1, 1), (7, 7), (40, 9), (64, 63), (300, 20)])
@pytest.mark.parametrize('equal', [True, False])
def test_random_frame(p, d, equal):
    F = M.random_frame(p, d, generator('f', p, d), equal)
    assert M.parseval_error(F) < 1e-12 and torch.equal(F, M.random_frame(p, d, generator('f', p, d), equal))
    if equal: assert np.allclose(F.norm(dim=1), math.sqrt(d / p), rtol=1e-12)
    x = normal(3, d)
    assert torch.allclose(x @ F.T @ F, x) and torch.allclose((x @ F.T).norm(dim=1), x.norm(dim=1))

def test_random_frame_is_uniform():
    g = generator('haar')
    Q = torch.stack([M.random_frame(3, 2, g) for _ in range(4000)])
    # without the signs of R the diagonal is one-sided
    assert Q.mean(0).abs().max() < 4 / math.sqrt(3 * 4000) and (Q.square().mean(0) - 1 / 3).abs().max() < .02

def test_parseval_error_is_the_change_of_energy():
    W, x = normal(30, 8, seed='w'), normal(8, 20_000)
    change = ((W @ x).norm(dim=0)**2 / x.norm(dim=0)**2 - 1).abs().max()
    s = np.linalg.svd(W.numpy())[1]
    assert (math.isclose(M.parseval_error(W), abs(s**2 - 1).max(), rel_tol=1e-10)
            and .7 * M.parseval_error(W) < change <= M.parseval_error(W))

@pytest.mark.parametrize('shape', [(20, 6), (6, 20), (5, 5)])
def test_nearest_frame_is_the_polar_factor(shape):
    W = normal(*shape)
    got = M.nearest_frame(W)
    assert np.allclose(got, linalg.polar(W.numpy())[0])
    if shape[0] > shape[1]:
        g = generator('near')
        assert all((W - got).norm() <= (W - M.random_frame(*shape, g)).norm() for _ in range(50))
    Z = torch.complex(normal(*shape, seed='re'), normal(*shape, seed='im'))
    assert np.allclose(M.nearest_frame(Z), linalg.polar(Z.numpy())[0])

def test_equal_norms_keeps_the_frame_operator():
    W = normal(50, 6)
    E = M.equal_norms(W)
    assert (torch.allclose(E.T @ E, W.T @ W) and np.allclose(E.norm(dim=1), W.norm() / math.sqrt(50))
            and torch.equal(W, normal(50, 6)))

@pytest.mark.parametrize('shape', [(20, 6), (6, 20)])
@pytest.mark.parametrize('beta', [.01, .1, .5, .9])
def test_parseval_step(shape, beta):
    F = M.nearest_frame(normal(*shape)) + .02 * normal(*shape, seed='e')
    s = torch.linalg.svdvals(F)
    assert torch.allclose(torch.linalg.svdvals(M.parseval_step(F, beta)),
                          (s + beta * s * (1 - s**2)).sort(descending=True).values)
    e = F @ F.T - torch.eye(len(F), dtype=f64) if shape[0] < shape[1] else F.T @ F - torch.eye(shape[1], dtype=f64)
    W = F.clone().requires_grad_()
    gram = W @ W.T if shape[0] < shape[1] else W.T @ W
    ((gram - torch.eye(len(gram), dtype=f64)).square().sum() / 4).backward()
    assert torch.allclose(F - beta * W.grad, M.parseval_step(F, beta)) and e.norm() > 1e-3 # the gradient step
    target = M.nearest_frame(F)
    for _ in range(int(40 / min(beta, 1 - beta))): F = M.parseval_step(F, beta)
    assert torch.allclose(F, target, atol=1e-12) # same singular vectors

def test_parseval_rate_and_range():
    one = torch.ones(1, 1, dtype=f64)
    for beta in (5e-4, .05, .3):
        s = 1 + 1e-6
        assert abs((float(M.parseval_step(s * one, beta)) - 1) / (s - 1) - (1 - 2 * beta)) < 1e-5
        inside, outside = .999 * math.sqrt(1 + 1 / beta) * one, 1.001 * math.sqrt(1 + 2 / beta) * one
        for _ in range(200_000 if beta < 1e-3 else 2000):
            inside = M.parseval_step(inside, beta) if abs(inside - 1) > 1e-9 else inside
        for _ in range(20): outside = M.parseval_step(outside, beta)
        assert abs(float(inside) - 1) < 1e-6 and not abs(float(outside)) < 1e3 * math.sqrt(1 / beta)

def test_frame_module():
    f = M.Frame(6, 15, generator=generator('m'), dtype=f64)
    x, image = normal(4, 6), normal(4, 6, 3, 5, seed='i')
    assert torch.allclose(f(x), x @ f.weight.T) and torch.allclose(f.synthesis(f(x)), x)
    assert (torch.allclose(f(image), nf.conv2d(image, f.weight[..., None, None]))
            and torch.allclose(f.synthesis(f(image)), image))
    assert f.error() < 1e-12 and M.Frame(6, 15, generator=generator('m')).weight.dtype == torch.float32
    assert torch.autograd.gradcheck(lambda w: f.apply_matrix(w, image[:1]), normal(5, 6).requires_grad_())

def drift(steps=100, lr=1e-3, **how):
    f, target = (M.Frame(8, 24, generator=generator('d'), equal=how.pop('equal', True), dtype=f64),
                 normal(24, 8, seed='t'))
    o = torch.optim.SGD(f.parameters(), lr)
    if how: M.keeping(o, nn.Sequential(nn.Identity(), f), **how)
    for _ in range(steps): o.zero_grad(); (f.weight - target).square().sum().backward(); o.step()
    return f

def test_constraint_is_kept():
    free, paper, strong, exact = drift(), drift(beta=5e-4), drift(beta=.2), drift(exact=True, equal=False)
    assert (exact.error() < 1e-12 < strong.error() < .1 and strong.error() < paper.error() / 5
            and paper.error() < free.error())
    # equal norms after each step
    for f in (paper, strong): assert torch.allclose(f.weight.norm(dim=1), torch.full((24,), (8 / 24)**.5, dtype=f64))
    both = drift(exact=True)
    assert both.error() < 1e-12 and (both.weight.norm(dim=1) - (8 / 24)**.5).abs().max() < .02 * (8 / 24)**.5
    assert (exact.weight - drift(steps=1).weight).abs().max() > 1e-2 # it did move

def test_keep_parseval_finds_all():
    nets, P = [M.Frame(3, 9, False, generator('a')),
               nn.Sequential(M.Frame(4, 8, False, generator('b')))], normal(3, 7, 1, 1)
    for f in (nets[0], nets[1][0]): f.weight.data *= 1.1
    M.keep_parseval([*nets, P], exact=True)
    assert (nets[0].error() < 1e-6 and nets[1][0].error() < 1e-6
            and torch.allclose(P.flatten(1) @ P.flatten(1).T, torch.eye(3, dtype=f64)))

# ---- rectifiers

def test_rectifiers():
    u = torch.tensor([-2., -.5, 0., .5, 2.], dtype=f64)
    assert (M.relu(u, .5).tolist() == [0, 0, .5, 1, 2.5] and M.soft_threshold(u, .5).tolist() == [-1.5, 0, 0, 0, 1.5]
            and M.dead_absolute(u, .5).tolist() == [1.5, 0, 0, 0, 1.5])
    v = normal(1000)
    assert torch.allclose(M.soft_threshold(v, .3), nf.softshrink(v, .3)) and torch.equal(M.soft_threshold(v, 0.), v)
    lam = torch.tensor([0., .5, 1.], dtype=f64) # one threshold each
    assert torch.allclose(M.soft_threshold(v[:999].view(-1, 3), lam)[:, 1], nf.softshrink(v[1:999:3], .5))
    # 1-Lipschitz
    assert ((M.soft_threshold(v, .4) - M.soft_threshold(v.flip(0), .4)).abs() <= (v - v.flip(0)).abs() + 1e-15).all()

def test_complex_soft_threshold():
    z = torch.complex(normal(200), normal(200, seed='im')).requires_grad_()
    turn = torch.exp(torch.tensor(1.3j, dtype=torch.complex128))
    out = M.soft_threshold(z, .7)
    assert (torch.allclose(M.soft_threshold(turn * z, .7), turn * out)
            and torch.allclose(out.abs(), nf.relu(z.abs() - .7)))
    far = out.abs() > 0
    assert (torch.allclose(torch.angle(out[far]), torch.angle(z[far]))
            and torch.allclose(M.soft_threshold(z.real, .7), M.soft_threshold(z.real + 0j, .7).real))
    assert torch.autograd.gradcheck(lambda z: M.soft_threshold(z, .7),
                                    z[(z.abs() - .7).abs() > .01].detach()[:20].requires_grad_())
    zero = torch.tensor([0j, 1e-200 + 0j, 1 + 1j], requires_grad=True)
    for lam in (0., .5, 3.):
        zero.grad = None
        M.soft_threshold(zero, lam).abs().sum().backward()
        assert torch.isfinite(torch.view_as_real(zero.grad)).all()
        if lam == 0: assert torch.allclose(torch.autograd.grad(M.soft_threshold(zero, lam).real.sum(), zero)[0],
                                           torch.ones(3, dtype=zero.dtype)) # the identity, at 0 too
    assert torch.equal(M.soft_threshold(zero, 0.), zero)

@pytest.mark.parametrize('lam', [1.2, .3, 0., -.3, -1.2])
def test_even_and_odd(lam):
    u = torch.cat([normal(500), torch.tensor([0., lam, -lam], dtype=f64)])
    even, odd = M.relu_parts(u, lam)
    assert (torch.allclose(even, (M.relu(u, -lam) + M.relu(-u, -lam)) / 2, atol=1e-15)
            and torch.allclose(odd, (M.relu(u, -lam) - M.relu(-u, -lam)) / 2, atol=1e-15))
    if lam >= 0:
        assert torch.allclose(M.relu(u, -lam), (M.dead_absolute(u, lam) + M.soft_threshold(u, lam)) / 2, atol=1e-15)

# ---- moments

def quadrature(f, mu, s, knots):
    points = sorted(min(max(v, mu - 12 * s), mu + 12 * s) for v in knots)
    e = lambda h: sum(integrate.quad(lambda v: h(v) * stats.norm.pdf(v, mu, s), a, b, epsabs=1e-15, epsrel=1e-12)[0]
                      for a, b in zip([mu - 13 * s, *points], [*points, mu + 13 * s]))
    m = e(f)
    return m, e(lambda v: (f(v) - m)**2), e(lambda v: (f(v) - mu)**2)

@pytest.mark.parametrize('mu', [0, .4, -1.5, 6])
@pytest.mark.parametrize('s', [.2, 1, 3])
@pytest.mark.parametrize('lam', [0, .7, 2.5])
def test_moments_by_quadrature(mu, s, lam):
    want = quadrature(lambda v: math.copysign(max(abs(v) - lam, 0), v), mu, s, (-lam, lam))
    got = [*M.soft_threshold_moments(mu, s, lam), M.soft_threshold_risk(mu, s, lam)]
    assert np.allclose(want, got, rtol=1e-8, atol=1e-12)
    for b in (lam, -lam): assert np.allclose(quadrature(lambda v: max(v - b, 0), mu, s, (b,))[:2],
                                             M.relu_moments(mu, s, b), rtol=1e-8, atol=1e-12)

def test_moments_far_from_the_threshold():
    for mu in (50., 1e4, 1e8, -1e8): # the mean is shifted, the variance stays, to the last digits
        m, v = M.soft_threshold_moments(mu, .5, .75)
        assert math.isclose(float(m), mu - math.copysign(.75, mu)) and math.isclose(float(v), .25, rel_tol=1e-12)
        assert math.isclose(float(M.relu_moments(abs(mu), .5, -3.)[1]), .25, rel_tol=1e-12)
    assert all(0 <= float(v) < 1e-300 for v in (*M.relu_moments(-60., 1.), M.soft_threshold_moments(0., 1., 60.)[1]))
    assert (math.isclose(M.relu_moments(0, 3)[0], 3 / math.sqrt(2 * math.pi))
            and math.isclose(M.relu_moments(0, 3)[1], 9 * (1 / 2 - 1 / 2 / math.pi)))
    m, v = M.soft_threshold_moments(torch.tensor([1., 2.]), .5, torch.tensor([[.1], [.2], [.3]]))
    assert (m.shape == v.shape == (3, 2) and m.dtype == f64
            and torch.allclose(M.soft_threshold_moments(torch.tensor([-1., -2.]), .5, .2)[0], -m[1], atol=1e-7))

def test_variance_of_what_is_rarely_beyond_the_threshold():
    mu, lam = .5, 7.
    tail = [integrate.quad(lambda v: (v - lam)**k * stats.norm.pdf(v, sign * mu), lam, lam + 12, epsabs=0,
                           epsrel=1e-10)[0] for k in (1, 2) for sign in (1, -1)]
    m, v = M.soft_threshold_moments(mu, 1., lam)
    assert (math.isclose(m, tail[0] - tail[1], rel_tol=1e-8)
            and math.isclose(v, tail[2] + tail[3] - m**2, rel_tol=1e-8) and v < 1e-11)

def test_risk_is_bias_and_variance_and_monte_carlo():
    mu, n = torch.linspace(-3, 3, 13, dtype=f64), 200_000
    m, v = M.soft_threshold_moments(mu, .8, .6)
    assert torch.allclose(M.soft_threshold_risk(mu, .8, .6), v + (m - mu)**2)
    x = M.soft_threshold(mu + .8 * normal(n, 13), .6)
    assert ((x.mean(0) - m).abs() < 5 * (v / n).sqrt()).all() and ((x.var(0) / v - 1).abs() < .03).all()

# ---- separation

def moments(x, y, C=3): m = ClassMoments(C, x.shape[1]); m.update(x, y); return m

@pytest.mark.parametrize('seed', range(5))
def test_sign_invariant_relu_never_lowers_fisher(seed):
    g = generator('sep', seed)
    y, G = torch.arange(400) % 3, M.random_frame(9, 5, g)
    x = (torch.randn(400, 5, generator=g, dtype=f64) @ torch.randn(5, 5, generator=g, dtype=f64)
         + torch.randn(3, 5, generator=g, dtype=f64)[y] * .2)
    F = M.sign_invariant(G)
    assert M.parseval_error(F) < 1e-12
    u = x @ F.T
    z = M.relu(u)
    assert torch.allclose(z[:, :9] - z[:, 9:], u[:, :9]) and torch.allclose(z[:, :9] + z[:, 9:], u[:, :9].abs())
    # relu(Fx) spans the same features: compare without those that are twice there
    B = torch.cat([x, (x @ G.T).abs()], 1)
    assert fisher(moments(B, y)) >= fisher(moments(x, y)) - 1e-12
    basis = M.sign_invariant(M.random_frame(5, 5, g))
    assert math.isclose(fisher(moments(M.relu(x @ basis.T), y)),
                        fisher(moments(torch.cat([x, (x @ basis[:5].T).abs()], 1), y)), rel_tol=1e-8)

def test_synthesis_undoes_the_separation_of_sign_invariant_frames():
    G, x = M.random_frame(12, 5, generator('g')), normal(20, 5)
    F = M.sign_invariant(G)
    assert (torch.allclose(M.relu(x @ F.T) @ F, x / 2)
            and torch.allclose((x @ F.T).abs() @ F, torch.zeros_like(x), atol=1e-14))
    assert torch.allclose(M.relu(x @ F.T, -.3) @ F, M.concentrate(x, G, .3 * 2**.5) / 2)

def test_discriminant_holds_the_whole_ratio_and_held_out_does_not_flatter():
    y, x = torch.arange(600) % 4, normal(600, 7)
    x = x + normal(4, 7, seed='mu')[y]
    m = moments(x, y, 4)
    assert M.discriminant(m).shape == (7, 3) and math.isclose(M.held_out_fisher(m, m), fisher(m), rel_tol=1e-9)
    null = [M.held_out_fisher(moments(normal(60, 20, seed=('a', k)), y[:60], 4),
                              moments(normal(400, 20, seed=('b', k)), y[:400], 4)) for k in range(60)]
    inside = [fisher(moments(normal(60, 20, seed=('a', k)), y[:60], 4)) for k in range(60)]
    small, large = moments(normal(400, 3), y[:400], 4), moments(normal(60, 20), y[:60], 4)
    # the floor of 3 features, not that of 20
    assert abs(np.mean(null) / fisher_floor(small) - 1) < .25 and abs(np.mean(inside) / fisher_floor(large) - 1) < .15

# ---- concentration

@pytest.mark.parametrize('name', ['basis', 'equal', 'unequal', 'sign'])
@pytest.mark.parametrize('lam', [0., .15, .4])
def test_concentrate_moments(name, lam):
    d, s, g = 10, .3, generator('c', name)
    F = {'basis': lambda: M.random_frame(d, d, g), 'equal': lambda: M.random_frame(25, d, g, equal=True),
         'unequal': lambda: M.random_frame(14, d, g), 'sign': lambda: M.sign_invariant(M.random_frame(d, d, g))}[name]()
    mu, n = torch.zeros(d, dtype=f64), 100_000
    mu[:3] = torch.tensor([1., -.5, .2])
    out = M.concentrate(mu + s * torch.randn(n, d, generator=g, dtype=f64), F, lam)
    mean, var = M.concentrate_moments(mu, F, s, lam)
    assert (out.mean(0) - mean).abs().max() < 5 * s / n**.5 and abs(float(out.var(0).sum()) / var - 1) < .015
    if lam == 0: assert torch.allclose(mean, mu) and math.isclose(var, d * s**2, rel_tol=1e-9)
    m, v = M.soft_threshold_moments(F @ mu, s * F.norm(dim=1), lam)
    if name == 'basis': assert math.isclose(var, float(v.sum()), rel_tol=1e-9) and torch.allclose(mean, F.T @ m)
    assert var <= float(v.sum()) + 1e-9
    if name == 'sign':
        assert math.isclose(var, M.concentrate_moments(mu, F[:d] * 2**.5, s, lam * 2**.5)[1], rel_tol=1e-9)

def test_donoho_johnstone():
    for n in (2, 3, 10, 1000): # one coordinate at a time: the bound is a sum of such
        mu = torch.linspace(0, 12, 2000, dtype=f64)
        lam = M.universal_threshold(1., n)
        assert (M.soft_threshold_risk(mu, 1., lam) <= (2 * math.log(n) + 1) * (1 / n + mu.square().clamp(max=1))
                + 1e-12).all()
    d, p, s = 32, 128, .3
    F, mu = M.random_frame(p, d, generator('dj'), equal=True), torch.zeros(32, dtype=f64)
    mu += 2 * F[3] / F[3].norm()
    tau = s * math.sqrt(d / p)
    mean, var = M.concentrate_moments(mu, F, s, M.universal_threshold(tau, p))
    assert (var + float((mean - mu).square().sum()) < M.donoho_johnstone(F @ mu, tau)
            and math.isclose(M.universal_threshold(.5, 8), .5 * math.sqrt(2 * math.log(8))))
    assert math.isclose(M.donoho_johnstone(torch.tensor([0., 0., 5.]), 2.), (2 * math.log(3) + 1) * (4 + 4))

@pytest.mark.parametrize('p', [None, 12, 30])
def test_sure_is_unbiased(p):
    d, s, lam, n = 12, .4, .35, 50_000
    F = M.random_frame(p, d, generator('sure', p)) if p else None
    mu = torch.linspace(0, 1, d, dtype=f64)**3
    x = mu + s * normal(n, d)
    estimate, loss = M.sure(x, s, lam, F), (M.concentrate(x, torch.eye(d, dtype=f64) if F is None else F, lam)
                                            - mu).square().sum(1)
    assert estimate.shape == (n,) and abs(float((estimate - loss).mean())) < 4 * float((estimate - loss).std()) / n**.5
    if F is None: assert torch.allclose(estimate, d * s**2 - 2 * s**2 * (x.abs() <= lam).to(x).sum(1)
                                        + x.square().clamp(max=lam**2).sum(1)) # Donoho and Johnstone 1995

# ---- network

@pytest.mark.parametrize('shape,size,stride', [((1, 28, 28), 14, 7), ((3, 12, 20), 4, 2), ((2, 9, 9), 9, 1),
                                               ((1, 10, 7), 4, 3), ((2, 8, 8), 4, 4)])
def test_patches(shape, size, stride):
    x = normal(2, *shape)
    p = M.cut_patches(x, size, stride)
    assert (torch.equal(p, nf.unfold(x, size, stride=stride).transpose(1, 2))
            and torch.allclose(M.overlap_average(p, shape, size, stride), x))
    q = normal(*p.shape, seed='q') # what is no image: the mean over the patches
    total = (nf.fold(q.transpose(1, 2), shape[1:], size, stride=stride)
             / nf.fold(torch.ones_like(q).transpose(1, 2), shape[1:], size, stride=stride))
    assert torch.allclose(M.overlap_average(q, shape, size, stride), total)

def net(rho='soft', **kw):
    return M.FrameNetwork((2, 8, 8), 3, rho, patch=4, stride=2, atoms=40, generator=generator('net'), **kw)

@pytest.mark.parametrize('rho', list(M.RHOS))
def test_network_is_the_formula(rho):
    n = net(rho).double()
    x = normal(3, 2, 8, 8)
    x[0, :, :4] = 0 # some patches are zero
    lam, F, out, count = (M.RHOS[rho][0] / 40**.5, n.frame.weight.detach(), torch.zeros(3, 2, 8, 8, dtype=f64),
                          torch.zeros(8, 8, dtype=f64))
    scalar = {'identity': lambda u: u, 'soft': lambda u: math.copysign(max(abs(u) - lam, 0), u),
              'relu': lambda u: max(u, 0), 'relu_bias': lambda u: max(u - lam, 0), 'absolute': abs}[rho]
    for b in range(3):
        for i in range(0, 5, 2):
            for j in range(0, 5, 2):
                v = x[b, :, i:i + 4, j:j + 4].flatten()
                v = v / v.norm() if v.norm() > 0 else v
                out[b, :, i:i + 4, j:j + 4] += (F.T @ torch.tensor([scalar(float(u)) for u in F @ v],
                                                                   dtype=f64)).view(2, 4, 4)
                if b == 0: count[i:i + 4, j:j + 4] += 1
    got = n.represent(x)
    assert torch.allclose(got, out / count, atol=1e-7)
    features = n.features(x)
    assert (torch.allclose(features.view(3, 2, 64).mean((0, 2)), torch.zeros(2, dtype=f64), atol=1e-7)
            and features.shape == (3, 128) and n(x).shape == (3, 3))
    n.eval()
    assert torch.allclose(n(x), n.linear(n.features(x)))
    if rho == 'identity':
        assert torch.allclose(M.cut_patches(got[1:], 4, 4).norm(dim=2) > 0, torch.ones(2, 4, dtype=torch.bool))

def test_sizes_of_the_paper():
    n = M.FrameNetwork(generator=generator('paper'))
    assert (n.parameter_count() == {'frame': 2048 * 196, 'linear': 784 * 10 + 10}
            and sum(p.numel() for p in n.parameters()) == 2048 * 196 + 7850)
    assert (n.lam == 1.5 / 2048**.5
            and M.FrameNetwork(rho='relu_bias', atoms=196, generator=generator('p')).lam == 1 / 14
            and not any('lam' in k for k in n.state_dict()))
    assert n.frame.error() < 1e-5

def test_zero_images_and_gradients():
    n = net('soft')
    x = torch.zeros(4, 2, 8, 8, requires_grad=True)
    n(x).sum().backward()
    assert (torch.isfinite(n.represent(x)).all() and torch.isfinite(x.grad).all()
            and all(torch.isfinite(p.grad).all() for p in n.parameters() if p.grad is not None))
    bright = normal(2, 2, 8, 8).float()
    assert torch.allclose(net().represent(bright), net().represent(50 * bright), atol=1e-6) # of no brightness

@pytest.mark.parametrize('image', [lambda x: 0 * x, lambda x: 0 * x + 1e-38, lambda x: 0 * x - 1e-45,
                                   lambda x: x * 1e-25, lambda x: x * 1e18, lambda x: x * (torch.arange(8) < 3)])
def test_gradients_of_patches_of_any_brightness(image):
    n = net('soft')
    x = image(normal(4, 2, 8, 8).float()).requires_grad_()
    n(x).square().sum().backward()
    assert torch.isfinite(n.represent(x)).all() and torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in n.parameters())

@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_images_of_other_types(dtype):
    with pytest.raises(ValueError, match=str(dtype)): net()(torch.ones(1, 2, 8, 8).to(dtype))

def test_oblong_images_in_double_precision():
    n = M.FrameNetwork((1, 8, 12), patch=4, stride=4, atoms=20, generator=generator('oblong'))
    x = normal(5, 1, 8, 12)
    assert torch.allclose(n.double()(x).float(), n.float()(x.float()), atol=1e-5)
    y = n.represent(x.float())
    assert torch.allclose(y[:, :, :4, 8:], M.FrameNetwork.represent(n, x.float())[..., :4, 8:]) and y.shape == x.shape

def weight_norm(m): return nn.utils.weight_norm(m)
@pytest.mark.parametrize('wrap', [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm,
                                  weight_norm, nn.utils.spectral_norm,
                                  lambda m: prune.l1_unstructured(m, 'weight', .2)])
@pytest.mark.parametrize('make', [lambda: M.Frame(4, 9, generator=generator('w')),
                                  lambda: N.Projection(6, 3, generator('w'))])
def test_a_weight_that_is_computed_is_not_written_to(wrap, make):
    m = make()
    wrap(m)
    m.eval()
    before = m.weight.detach().clone()
    for keep in (M.keep_parseval, N.keep_networks):
        if keep is M.keep_parseval and isinstance(m, N.Projection): continue
        with pytest.raises(ValueError, match='computed from others'): keep(nn.Sequential(m))
    assert torch.equal(m.weight, before)

def test_training_by_fit_keeps_the_frame_and_learns():
    g = generator('task')
    y = torch.arange(300) % 3
    x = torch.rand(300, 2, 8, 8, generator=g)
    x[:, 0, :4] += .5 * (y == 1)[:, None, None]; x[:, 1, :, :4] += .5 * (y == 2)[:, None, None]
    n = net('soft')
    start = n.frame.weight.detach().clone()
    run = fit(n, M.classification_loss(x[:200], y[:200], 50), 40, lr=.1, average=0, every=10, warmup=2,
              generator=generator('run'), optimizer=lambda p: M.keeping(torch.optim.SGD(p, momentum=.9, lr=.1), n,
                                                                        exact=True))
    with torch.no_grad(): error = (n(x[200:]).argmax(1) != y[200:]).float().mean()
    assert (run['loss'][-1] < .5 * run['loss'][0] and error < .1 and n.frame.error() < 1e-5
            and (n.frame.weight - start).abs().max() > 1e-3)

def test_class_measures():
    y = torch.arange(90) % 3
    x = normal(90, 2, 2, 2) + normal(3, 2, 2, 2, seed='mu')[y]
    got = M.class_measures(lambda x: x.flatten(1), x, y, 3, batch=17)
    m = moments(x.flatten(1), y)
    means = m.mean
    assert (math.isclose(got['fisher'], fisher(m), rel_tol=1e-9) and got['floor'] == fisher_floor(m)
            and math.isclose(got['within'], float(m.within().trace()), rel_tol=1e-12))
    assert math.isclose(got['distance'], np.mean([(means[a] - means[b]).norm() for a in range(3) for b in range(a)]),
                        rel_tol=1e-12)

def test_the_global_stream_is_left_alone():
    before = torch.random.get_rng_state()
    n = net(); M.classification_loss(torch.rand(9, 2, 8, 8, generator=generator('r')), torch.arange(9) % 3,
                                     4)(n, generator('s')).backward(); M.keep_parseval(n)
    assert torch.equal(before, torch.random.get_rng_state()) and torch.equal(net().frame.weight, net().frame.weight)

@pytest.mark.parametrize('call,says', [
    (lambda: M.random_frame(3, 5), '3 vectors in dimension 5'), (lambda: M.Frame(5, 4), 'p >= d'),
                                       (lambda: M.parseval_error(torch.ones(2, 3)), '2 vectors'),
                                       (lambda: M.parseval_error(torch.ones(3)), 'shape'),
    (lambda: M.nearest_frame(torch.ones(4, 2)), 'full rank'), (lambda: M.parseval_step(torch.eye(2), 1.), 'beta'),
                                       (lambda: M.parseval_step(torch.eye(2), 0.), 'beta'),
                                       (lambda: M.parseval_step(torch.eye(2), math.nan), 'beta'),
    (lambda: M.keep_parseval(nn.Linear(2, 2)), 'no Frame'),
                                       (lambda: M.equal_norms(torch.ones(2, 2, dtype=torch.complex64)), 'complex'),
                                       (lambda: M.Frame(2, 3, generator=generator('e'))(torch.ones(2, 3)), 'shape'),
                                       (lambda: M.Frame(2, 3, generator=generator('e')).synthesis(torch.ones(2, 2, 4,
                                           4)), 'shape'),
    (lambda: M.soft_threshold(torch.ones(2), -.1), 'lambda'),
                                       (lambda: M.soft_threshold(torch.ones(2), torch.tensor([1., -1.])), 'lambda'),
                                       (lambda: M.soft_threshold(torch.ones(2), math.nan), 'lambda'),
                                       (lambda: M.dead_absolute(torch.ones(2), -1), 'lambda'),
    (lambda: M.soft_threshold_moments(0, 1, -1), 'lambda'), (lambda: M.soft_threshold_risk(0, -1, 1), 'sigma'),
                                       (lambda: M.relu_moments(0, 0), 'sigma'),
                                       (lambda: M.universal_threshold(1., 1), 'n is 1'),
                                       (lambda: M.universal_threshold(0., 9), 'sigma'),
                                       (lambda: M.donoho_johnstone(torch.ones(1), 1.), 'n is 1'),
    (lambda: M.concentrate(torch.ones(2, 3), torch.eye(4), 1.), 'shape'), (lambda: M.concentrate(torch.ones(2, 4),
        torch.ones(3, 4), 1.), 'p >= d'), (lambda: M.concentrate(torch.ones(2, 4), torch.eye(4), -1.), 'lambda'),
    (lambda: M.cut_patches(torch.ones(1, 1, 28, 28), 14, 5), 'tile'),
                                       (lambda: M.cut_patches(torch.ones(1, 1, 28, 28), 4, 8), 'tile'),
                                       (lambda: M.cut_patches(torch.ones(1, 1, 8, 8), 9, 1), 'tile'),
                                       (lambda: M.cut_patches(torch.ones(1, 8, 8), 4, 4), 'shape'),
                                       (lambda: M.cut_patches(torch.ones(1, 1, 8, 8), 4, 0), 'tile'),
    (lambda: M.overlap_average(torch.ones(1, 3, 16), (1, 8, 8), 4, 4), 'shape'), (lambda: net('tanh'), 'tanh'),
                                       (lambda: net(lam=-1.), 'lambda'),
                                       (lambda: net('identity', lam=1.), 'no threshold'),
                                       (lambda: M.FrameNetwork(atoms=195), 'p >= d'),
                                       (lambda: M.FrameNetwork(patch=13), 'tile'),
    (lambda: net()(torch.ones(1, 1, 8, 8)), 'images of shape'),
                                       (lambda: M.classification_loss(torch.ones(3, 1), torch.ones(2)), '3 images'),
                                       (lambda: M.class_measures(lambda x: x, torch.rand(3, 5), torch.arange(3), 3),
                                        'samples')])
def test_bad_input(call, says):
    with pytest.raises(ValueError, match=says): call()
