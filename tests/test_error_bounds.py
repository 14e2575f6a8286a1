"""Error bounds: closed forms against other routes, kernels against loops, inequalities on random laws, what an
estimate costs against its spread."""
import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from deepstruct.core import generator
from deepstruct.fields import Phi4
from deepstruct.log_concavity import error_bounds as E
from deepstruct.log_concavity.energies import LAPLACIAN, Family, Spline, phi4_family
from deepstruct.log_concavity.score_matching import NormalEquations, normal_equations
from deepstruct.wavelets import HalfOctave, Octave
torch.set_num_threads(1)
D = torch.float64
CASCADES = {'haar': [Octave('haar')] * 3, 'db3': [Octave('db3')] * 2,
            'half': [HalfOctave('db2', 1), HalfOctave('db2', 2), Octave('haar')]}


def precision(d, *words): # well conditioned, nothing stationary
    A = torch.randn(d, 2 * d, generator=generator(*words), dtype=D)
    return A @ A.T / (2 * d) + .2 * torch.eye(d, dtype=D)


def pair(d, *words): return precision(d, 'K', *words), precision(d, 'Q', *words), .3 * torch.randn(d,
    generator=generator('s', *words), dtype=D)


def normal(K, mean=None):
    return MultivariateNormal(torch.zeros(len(K), dtype=D) if mean is None else mean, precision_matrix=K)


def draws(K, mean, n, *words): return mean + torch.randn(n, len(K), generator=generator('draws', *words),
                                                         dtype=D) @ torch.linalg.inv(torch.linalg.cholesky(K))


def conditional(K, G, B, mean, low): # of Bx given Gx, by covariances
    P = torch.linalg.inv(K)
    gain = B @ P @ G.T @ torch.linalg.inv(G @ P @ G.T)
    return B @ mean + (low - G @ mean) @ gain.T, B @ P @ B.T - gain @ G @ P @ B.T


@pytest.mark.parametrize('step, d', [(Octave('haar'), 16), (Octave('db3'), 64), (HalfOctave('haar', 1), 64),
                                     (HalfOctave('db2', 2), 36)])
def test_rows_are_the_step(step, d):
    G, B = E.step_rows(step, d)
    U = torch.cat([G, B])
    assert torch.allclose(U @ U.T, torch.eye(d, dtype=D), atol=1e-10)
    n, first = (8, HalfOctave(step.name, 1)) if getattr(step, 'step', 1) == 2 else (math.isqrt(d), None)
    field = torch.randn(3, 1, n, n, generator=generator('rows'), dtype=D)
    x = field.flatten(1) @ E.step_rows(first, n * n)[0].T if first else field.flatten(1)
    low, detail = step.analysis(first.low(field) if first else field)
    assert torch.allclose(x @ B.T, detail.flatten(1), atol=1e-10)
    if getattr(step, 'step', 2) == 2: assert torch.allclose(x @ G.T, low.flatten(1), atol=1e-10)
    # the field without its top quarter, from its coefficients
    else: assert torch.allclose(x @ G.T @ G, low.flatten(1), atol=1e-10)


def test_precision_kl():
    K, Q, s = pair(12)
    assert np.isclose(E.precision_kl(K, Q, s), float(kl_divergence(normal(K, s), normal(Q))), rtol=1e-10)
    assert np.isclose(E.precision_kl(Q, K), float(kl_divergence(normal(Q), normal(K))), rtol=1e-10)
    assert abs(E.precision_kl(K, (1 + 1e-6) * K) / (12 * 1e-12 / 4) - 1) < 1e-4 # where determinants have no digits left


@pytest.mark.parametrize('name', CASCADES)
def test_chain_rule_and_each_term(name):
    K, Q, s = pair(64, name)
    levels = list(E.gaussian_levels(K, Q, CASCADES[name], s))
    terms = [E.conditional_gaussian_kl(k, q, G, B, m)
             for k, q, m, G, B in levels[:-1]] + [E.precision_kl(*levels[-1][:3])]
    assert abs(sum(terms) / float(kl_divergence(normal(K, s), normal(Q))) - 1) < 1e-10 and min(terms) > 0
    U = torch.eye(64, dtype=D)
    P, R = torch.linalg.inv(K), torch.linalg.inv(Q)
    for (k, q, m, G, B), term in zip(levels, terms): # the marginals, by covariances
        assert torch.allclose(torch.linalg.inv(k), U @ P @ U.T, atol=1e-9) and torch.allclose(m, U @ s)
        assert torch.allclose(torch.linalg.inv(q), U @ R @ U.T, atol=1e-9)
        U = U if G is None else G @ U
    k, q, m, G, B = levels[0] # the first term, averaged over drawn x_1
    low = draws(k, m, 1000, name) @ G.T
    (a, S), (b, T) = conditional(k, G, B, m, low), conditional(q, G, B, torch.zeros_like(m), low)
    each = kl_divergence(MultivariateNormal(a, S.expand(1000, -1, -1)), MultivariateNormal(b, T.expand(1000, -1, -1)))
    assert abs(float(each.mean()) - terms[0]) < 4.5 * float(each.std()) / 1000**.5
    assert each.std() > 1e-3 # the average matters


def test_fisher_is_the_mean_square_of_the_score_difference():
    K, Q, s = pair(16)
    G, B = E.step_rows(Octave('haar'), 16)
    x = draws(K, s, 20_000, 'fisher').requires_grad_()
    diff, = torch.autograd.grad((normal(K, s).log_prob(x) - normal(Q).log_prob(x)).sum(), x)
    square = (diff @ B.T).square().sum(1)
    assert (abs(float(square.mean()) - E.conditional_gaussian_fisher(K, Q, B, s)) < 4.5 * float(square.std())
            / 20_000**.5)
    A, Am = B @ K @ B.T, B @ Q @ B.T # and by the conditional laws
    M = torch.linalg.solve(Am, B @ Q @ G.T) - torch.linalg.solve(A, B @ K @ G.T)
    S = G @ torch.linalg.inv(K) @ G.T
    delta = B @ s + torch.linalg.solve(Am, B @ Q @ G.T @ G @ s)
    other = (torch.trace((Am - A) @ torch.linalg.solve(A, Am - A)) + torch.trace(Am @ M @ S @ M.T @ Am)
             + (Am @ delta).square().sum())
    assert np.isclose(float(other), E.conditional_gaussian_fisher(K, Q, B, s), rtol=1e-10)


def test_log_sobolev():
    G, B = E.step_rows(Octave('haar'), 16)
    violations = 0
    for i in range(40):
        K, Q, s = pair(16, i)
        kl, fisher = E.conditional_gaussian_kl(K, Q, G, B, s), E.conditional_gaussian_fisher(K, Q, B, s)
        assert kl <= fisher / (2 * float(torch.linalg.eigvalsh(B @ Q @ B.T)[0]))
        soft = Q / 40 # a model that spreads too far
        kl, fisher = E.conditional_gaussian_kl(K, soft, G, B, s), E.conditional_gaussian_fisher(K, soft, B, s)
        assert kl <= fisher / (2 * float(torch.linalg.eigvalsh(B @ soft @ B.T)[0]))
        violations += kl > fisher / (2 * float(torch.linalg.eigvalsh(B @ K @ B.T)[-1]))
    assert violations > 20 # the curvature of the data is no constant
    K, _, _ = pair(16)
    lam, V = torch.linalg.eigh(B @ K @ B.T)
    for a, v in zip(lam, V.T):
        kl, fisher = E.conditional_gaussian_kl(K, K, G, B, B.T @ v), E.conditional_gaussian_fisher(K, K, B, B.T @ v)
        assert (np.isclose(kl, float(a) / 2, rtol=1e-10)
                and np.isclose(kl / (fisher / (2 * float(lam[0]))), float(lam[0] / a), rtol=1e-10))


@pytest.mark.parametrize('theta, lam, sites', [((1., -2.36, .68), 0., 1), ((1., -1., .3), 2., 1),
                                               ((.5, -2., 1.), 1., 3), ((2., 1., .5), 4., 2)])
def test_holley_stroock(theta, lam, sites):
    a, q, k = theta
    best, alpha, osc = E.holley_stroock(torch.tensor(theta), lam, sites)
    assert np.isclose(best, alpha * math.exp(-osc))
    c, t = -2 * q - k * lam, np.linspace(-3, 3, 60_001)
    for al in (alpha, .7 * alpha, 1.4 * alpha): # the decomposition at any alpha, and that none is better
        if c + al <= 0: continue
        t1 = math.sqrt((c + al) / (4 * a))
        b = np.where(np.abs(t) < t1, a * t**4 - (c + al) / 2 * t**2, a * t1**4 - (c + al) / 2 * t1**2)
        U = a * t**4 + q * t**2 + k * lam / 2 * t**2 - b
        curve = np.diff(U, 2) / (t[1] - t[0])**2
        assert abs(curve.min() - al) < 1e-3 and al * math.exp(-sites * np.ptp(b)) <= best * (1 + 1e-6)
        if al == alpha: assert np.isclose(sites * np.ptp(b), osc, atol=1e-6)
    if sites > 1: return
    h, t = 6 / 1200, np.linspace(-3, 3, 1201) # the gap of the diffusion is no smaller
    p = np.exp(-(a * t**4 + (q + k * lam / 2) * t**2))
    flow = np.sqrt(p[1:] * p[:-1]) / h**2
    L = np.diag(np.r_[flow, 0] + np.r_[0, flow]) - np.diag(flow, 1) - np.diag(flow, -1)
    gap = np.linalg.eigvalsh(L / np.sqrt(np.outer(p, p)))[1]
    assert best <= gap < 30 * best
    for tilt in (.3, 1., 3.): # the inequality itself
        r = p * np.exp(tilt * t - .2 * tilt * t**2)
        r, w = r / r.sum(), p / p.sum()
        assert (r * np.log(r / w)).sum() <= (r * (tilt - .4 * tilt * t)**2).sum() / (2 * best)


def random_law(*words, shape=(5, 5, 5, 5), scale=1.): return torch.log_softmax(scale * torch.randn(math.prod(shape),
    generator=generator(*words), dtype=D), 0).reshape(shape)


def test_small_lattice():
    small, beta = E.SmallLattice(), .68
    p = small.law(Phi4(beta, 2).energy)
    x = small.fields
    assert (x.shape == (15**4, 1, 2, 2) and abs(float(p.exp().sum()) - 1) < 1e-12
            and float(x[15**4 // 2].abs().max()) < 1e-12)
    assert torch.allclose(x.mean((1, 2, 3)).reshape(p.shape)[:, 3, 4, 5] * 2, small.axes[0], atol=1e-12)
    t = np.linspace(-4, 4, 401)
    T = np.exp(-(t[:, None]**4 - t[:, None]**2 + t**4 - t**2) / 2 + 2 * beta * np.outer(t, t))
    mean = lambda k: np.trace(np.diag(t**k) @ np.linalg.matrix_power(T, 4)) / np.trace(np.linalg.matrix_power(T, 4))
    for k in (2, 4): assert abs(float(p.exp().flatten() @ (x**k).mean((1, 2, 3))) / mean(k) - 1) < 1e-3
    drawn = small.draw(p, 20_000, generator('draw')).square().mean((1, 2, 3))
    assert abs(float(drawn.mean()) / mean(2) - 1) < 4.5 * float(drawn.std()) / 20_000**.5 / mean(2) + 1e-3


def test_marginals_and_terms():
    p, q = random_law('p'), random_law('q')
    assert torch.allclose(E.marginal(p, 2).exp(), p.exp().sum((2, 3)))
    assert (torch.allclose(E.given(p, 2).exp().sum((2, 3)), torch.ones(5, 5, dtype=D))
            and torch.allclose(E.marginal(p, 2)[:, :, None, None] + E.given(p, 2), p))
    P, Q = p.exp().numpy(), q.exp().numpy()
    whole = (P * np.log(P / Q)).sum()
    second = 0.
    for i in range(5): # E over x_1 of the KL of the next axis
        a, b = P.sum((2, 3))[i], Q.sum((2, 3))[i]
        second += a.sum() * (a / a.sum() * np.log(a / a.sum() / (b / b.sum()))).sum()
    for levels in ((4,), (1, 3), (2, 2), (1, 1, 2), (1, 1, 1, 1)):
        assert np.isclose(sum(E.kl_terms(p, q, levels)), whole, rtol=1e-10)
    assert np.isclose(E.kl_terms(p, q, (1, 1, 2))[1], second, rtol=1e-10)
    assert np.isclose(E.tv(p, q), np.abs(P - Q).sum() / 2)


def looped_kernel(q, grid, step): # q (N,)
    n, P = len(q), np.zeros((len(q), len(q)))
    slope = np.gradient(q, grid)
    r = np.array([[math.exp(-(grid[b] - grid[a] - step * slope[a])**2 / (4 * step)) for b in range(n)]
                  for a in range(n)])
    r /= r.sum(1, keepdims=True)
    for a in range(n):
        for b in range(n):
            if a != b: P[a, b] = r[a, b] * min(1, math.exp(q[b] - q[a]) * r[b, a] / r[a, b])
        P[a, a] = 1 - P[a].sum()
    return P


@pytest.mark.parametrize('axis', range(3))
def test_kernel(axis):
    q, grid = random_law('kernel', shape=(5, 5, 5)), torch.linspace(-1, 1, 5, dtype=D)
    K = E.mala_kernel(q, axis, grid, .2)
    for i, j in itertools.product(range(5), range(5)):
        assert np.allclose(K[i, j], looped_kernel(q.movedim(axis, -1)[i, j].numpy(), grid.numpy(), .2), atol=1e-12)
    law = q.exp().movedim(axis, -1)
    assert torch.allclose((law[..., None] * K).sum(-2), law, atol=1e-15) and (K >= 0).all()
    assert torch.allclose(E.mala_kernel(q + 3, axis, grid, .2), K)


def test_chain_is_a_product_of_matrices():
    q, axes, steps, T = (random_law('chain', shape=(3, 3, 3)),
                         [torch.linspace(-r, r, 3, dtype=D) for r in (1., .7, .9)], (.3, .1, .2), 3)
    states = list(itertools.product(range(3), range(3)))
    laws = [c for _, c in zip(range(T + 1), E.chain(q, 1, axes, steps))]
    for i in range(3):
        sweep = np.eye(9)
        for axis in (1, 2):
            P = np.zeros((9, 9))
            for (s, (a, b)), (t, (c, d)) in itertools.product(enumerate(states), enumerate(states)):
                if axis == 1 and b == d: P[s, t] = looped_kernel(q[i, :, b].numpy(), axes[1].numpy(), .1)[a, c]
                if axis == 2 and a == c: P[s, t] = looped_kernel(q[i, a].numpy(), axes[2].numpy(), .2)[b, d]
            sweep = sweep @ P
        for t, law in enumerate(laws):
            assert np.allclose(law[i].flatten(), np.linalg.matrix_power(sweep, t)[4], atol=1e-12)
    alone = [c for _, c in zip(range(3), E.chain(E.marginal(q, 1), 0, axes, steps))]
    assert np.allclose(alone[2], np.linalg.matrix_power(looped_kernel(E.marginal(q, 1).numpy(), axes[0].numpy(), .3),
                                                        2)[1], atol=1e-12)


@pytest.mark.parametrize('levels', [(1, 3), (1, 1, 2), (2, 2), (1, 1, 1, 1)])
def test_cascade_and_its_bound(levels):
    axes = [torch.linspace(-1, 1, 5, dtype=D)] * 4
    tight = 0.
    for seed in range(3):
        q = random_law('q', seed)
        p = torch.log_softmax((q + .2 * torch.randn(q.shape, generator=generator('p', seed), dtype=D)).flatten(),
                              0).reshape(q.shape)
        learning = math.sqrt(sum(E.kl_terms(p, q, levels)) / 2)
        for t, (made, mean, sup) in enumerate(E.sampled_laws(q, axes, 30, levels)):
            assert abs(float(made.exp().sum()) - 1) < 1e-12 and len(mean) == len(levels)
            assert (E.tv(made, q) <= sum(mean) + 1e-12 and E.tv(made, p) <= learning + sum(mean)
                    and all(m <= s + 1e-12 for m, s in zip(mean, sup)))
            k = 0 # the errors, from the law that came out
            for size, m in zip(levels, mean):
                a, b, w = (E.given(E.marginal(made, k + size), k).exp(), E.given(E.marginal(q, k + size), k).exp(),
                           E.marginal(made, k).exp() if k else torch.ones(()))
                d = (a - b).abs().sum(tuple(range(k, k + size))) / 2
                assert abs(float(torch.where(w > 0, w * d, torch.zeros_like(w * d)).sum()) - m) < 1e-10
                k += size
            tight = max(tight, E.tv(made, q) / sum(mean))
    assert tight > .5 and E.tv(made, q) < .1


@pytest.fixture(scope='module')
def fields(): return Phi4(.68, 8).simulate(4000, generator('error bounds', 'test')).fields


def test_residuals_by_automatic_differentiation(fields):
    x, wav = fields[:3, :, :4, :4].double(), Octave('db2')
    f = Family(4, Spline([.2, .6, 1.1]), Spline([.3, .8]), [{(0, 0): 1.}, LAPLACIAN])
    theta = torch.randn(len(f), generator=generator('theta'), dtype=D).requires_grad_()
    for xi, r in zip(x, E.residuals(f, x, wav, theta.detach(), batch=2)):
        _, B = E.step_rows(wav, 16)
        energy = lambda d: f.features((xi.flatten() + d @ B).reshape(1, 1, 4, 4))[0] # all features
        zero = torch.zeros(len(B), dtype=D)
        J = torch.autograd.functional.jacobian(energy, zero)
        lap = torch.stack([torch.trace(torch.autograd.functional.hessian(lambda d: energy(d)[k], zero))
                           for k in range(len(f))])
        loss = (theta @ J).square().sum() / 2 - theta @ lap
        pull, = torch.autograd.grad(loss, theta)
        assert torch.allclose(-pull, r, rtol=1e-6, atol=1e-8)


def test_sandwich_on_equations_of_known_law():
    g, n, K = generator('sandwich'), 400, 2
    A = torch.tensor([[1., .4], [.4, 2.]], dtype=D)
    def draw(sets):
        u = torch.randn(sets, n, K, 3, generator=g, dtype=D)
        H = A + .1 * (u @ u.mT - 3 * torch.eye(K, dtype=D)) # mean A
        r = torch.randn(sets, n, K, generator=g, dtype=D) @ torch.tensor([[2., .5], [0., 1.]], dtype=D)
        star = torch.tensor([1., -1.], dtype=D)
        return H, H @ star + r + .5 * u[..., 0], star # correlated with H
    H, b, star = draw(600)
    fits = torch.linalg.solve(H.mean(1), b.mean(1))
    truth = torch.cov(fits.T)
    one = NormalEquations(H[0], b[0], torch.ones(n, dtype=D))
    r = b[0] - H[0] @ one.solve()
    exact = E.sandwich(one, r)
    assert torch.allclose(exact, E.sandwich(one), rtol=1e-10) # folds of one field each
    each = torch.stack([E.sandwich(NormalEquations(h, c, torch.ones(n, dtype=D))) for h, c in zip(H[:300], b[:300])])
    assert ((each.mean(0) / truth).diagonal() - 1).abs().max() < .2 and abs(float(each.mean(0)[0, 1] - truth[0,
        1])) < .2 * float(truth.diagonal().prod())**.5
    parts = list(torch.arange(n).split([10, 30, 50, 20, 40, 60, 25, 15, 70, 80])) # uneven folds
    uneven = torch.stack([E.sandwich(NormalEquations(torch.stack([h[i].mean(0) for i in parts]),
                                                     torch.stack([c[i].mean(0) for i in parts]),
                                                     torch.tensor([float(len(i)) for i in parts], dtype=D)))
                          for h, c in zip(H[:300], b[:300])])
    assert ((uneven.mean(0) / each.mean(0)).diagonal() - 1).abs().max() < .09 # without 1 - sum w^2, 0.13 off
    z = torch.einsum('sk,kl,sl->s', fits - star, torch.linalg.inv(truth), fits - star) / K
    assert abs(float(z.mean()) - 1) < .15


def test_sandwich_of_fields(fields):
    f, haar = phi4_family(8, .68), Octave('haar')
    eq = normal_equations(f, fields, haar, folds=80)
    r = E.residuals(f, fields, haar, eq.solve())
    cov, (_, jack) = E.sandwich(eq, r), eq.jackknife()
    assert r.mean(0).abs().max() < 1e-4 * eq.mean()[1].abs().max()
    for other in (E.sandwich(eq), jack):
        assert ((other.diagonal() / cov.diagonal()).log().abs() < 4.5 * (2 / 79)**.5).all()
    H, g = eq.mean()
    fits = torch.stack([eq.solve([i]) for i in range(80)]) # 80 sets of 50
    z = torch.einsum('rk,kl,rl->r', fits - f.theta, torch.linalg.inv(80 * cov), fits - f.theta) / 3
    assert abs(float(z.mean()) - 1) < 4.5 * float(z.std()) / 80**.5
    excess = np.array([eq.loss(t) - eq.loss(f.theta) for t in fits])
    optimism = np.array([eq.loss(f.theta, [i]) - eq.loss(t, [i]) for i, t in enumerate(fits)])
    half = float((H * cov).sum()) * 80 / 2
    for v in (excess, optimism): assert abs(v.mean() - half) < 4.5 * v.std() / 80**.5 and v.mean() > .5 * half


def test_score_error(fields):
    wav, truth = Octave('db2'), Phi4(.68, 8)
    x = fields[:300].double()
    f = Family(8, Spline([.2, .6, 1.1]), None, [LAPLACIAN])
    error = E.score_error(f, x, wav, truth.gradient, batch=77)
    true = wav.detail(truth.gradient(x))
    for i in range(3):
        theta = error.theta + .3 * i * torch.randn(len(f), generator=generator('theta', i), dtype=D)
        f.theta.copy_(theta)
        direct = float((wav.detail(f.gradient(x)) - true).square().sum() / true.square().sum())
        assert (np.isclose(error(theta), direct, rtol=1e-8)
                and np.isclose(error.family() + error.estimation(theta), direct, rtol=1e-8))
        assert direct >= error.family() - 1e-12
    w = torch.rand(300, generator=generator('w'), dtype=D)
    w[:100] = 0
    f.theta.copy_(torch.ones(len(f)))
    d = (wav.detail(f.gradient(x)) - true).square().sum((1, 2, 3))
    assert np.isclose(E.score_error(f, x, wav, truth.gradient, w / w.sum())(f.theta),
                      float(w @ d / (w @ true.square().sum((1, 2, 3)))), rtol=1e-8)
    cov = precision(len(f), 'cov') * 1e-3
    draws = (error.theta + torch.randn(20_000, len(f), generator=generator('draws'), dtype=D)
             @ torch.linalg.cholesky(cov).T)
    cost = torch.einsum('bk,kl,bl->b', draws - error.theta, error.H, draws - error.theta) / error.c
    assert abs(float(cost.mean()) / error.expected(cov) - 1) < .05
    exact = phi4_family(8)
    best = E.score_error(exact, x, wav, truth.gradient)
    assert abs(best.family()) < 1e-10 and torch.allclose(best.theta, phi4_family(8, .68).theta, rtol=1e-6)
    stein = normal_equations(exact, fields, wav).solve() # score matching, without the true gradient
    assert E.score_error(exact, fields, wav, truth.gradient).estimation(stein) < .01


def test_three_errors():
    small, truth = E.SmallLattice(9), Phi4(.68, 2)
    p = small.law(truth.energy)
    f = phi4_family(2)
    theta = phi4_family(2, .68).theta * torch.tensor([1.2, 1.1, .8], dtype=D)
    e = E.three_errors(small, truth, f, theta, 5)
    # the family holds the truth
    assert e['family'] < 1e-9 and abs(e['score_family']) < 1e-9 and torch.equal(f.theta, theta)
    q = small.law(f.energy)
    coarse = p.exp().sum((1, 2, 3))
    mine = coarse[:, None, None, None] * q.exp() / q.exp().sum((1, 2, 3), keepdim=True)
    assert np.isclose(e['estimation'], float((p.exp() - mine).abs().sum()) / 2, atol=1e-9)
    for t, (_, c) in enumerate(zip(range(6), E.chain(q, 1, small.axes))):
        made = coarse[:, None, None, None] * c
        assert (np.isclose(e['sampling'][t], float((mine - made).abs().sum()) / 2)
                and np.isclose(e['total'][t], float((p.exp() - made).abs().sum()) / 2))
    g = Family(2, None, None, [{(0, 0): 1.}, LAPLACIAN])
    best = E.score_error(g, small.fields, small.wavelet, truth.gradient, p.exp().flatten()).theta
    e = E.three_errors(small, truth, g, best, 2)
    assert (e['estimation'] < 1e-12 and abs(e['score_estimation']) < 1e-12 and e['family'] > .1
            and e['score_family'] > .1)
    assert (e['total'] <= e['family'] + e['estimation'] + e['sampling'] + 1e-12).all() and len(e['total']) == 3


@pytest.mark.parametrize('bad, said', [
    (lambda: E.step_rows(Octave('haar'), 63), '63 values'),
    (lambda: E.step_rows(HalfOctave('haar', 2), 64), '64 values'),
    (lambda: E.precision_kl(torch.eye(3, dtype=D), -torch.eye(3, dtype=D)), 'not positive definite'),
    (lambda: E.precision_kl(torch.eye(3, dtype=D), torch.eye(4, dtype=D)), 'expected the same'),
    (lambda: E.precision_kl(torch.ones(3, 2, dtype=D), torch.eye(3, dtype=D)), 'symmetric'),
    (lambda: E.holley_stroock((-1., 0., 1.), 2., 4), 'quartic'),
    (lambda: E.SmallLattice(8), '8 points'),
    (lambda: E.kl_terms(random_law('p'), random_law('q'), (1, 2)), 'levels'),
    (lambda: next(E.sampled_laws(random_law('q'), None, 1, (0, 4))), 'levels'),
    (lambda: E.mala_kernel(random_law('q'), 0, torch.linspace(-1, 1, 5, dtype=D), -1.), 'step'),
    (lambda: E.sandwich(NormalEquations(torch.eye(2, dtype=D)[None], torch.ones(1, 2, dtype=D),
                                        torch.ones(1, dtype=D))), 'one fold'),
    (lambda: E.sandwich(NormalEquations(torch.eye(2, dtype=D)[None], torch.ones(1, 2, dtype=D), torch.ones(1, dtype=D)),
                        torch.ones(5, 3, dtype=D)), 'residuals'),
    (lambda: E.residuals(phi4_family(8), torch.full((2, 1, 8, 8), torch.nan), Octave('haar'), torch.zeros(3, dtype=D)),
     'NaN'),
])
def test_bad_input(bad, said):
    with pytest.raises(ValueError, match=said): bad()
