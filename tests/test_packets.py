"Half octaves through the whole chain: energies of neighbouring bands, whitening, conditional sampling, the model."
import pytest
import torch

from deepstruct.core import generator
from deepstruct.fields import Phi4
from deepstruct.log_concavity.hessians import detail_band, eigenvalues
from deepstruct.log_concavity.energies import LAPLACIAN, Bands, Family, Spline, apply, neighbours, phi4_family, shells
from deepstruct.log_concavity.langevin import Conditional, Whitening, local_diagonal, mean_stencil, run_chain
from deepstruct.log_concavity.model import LogConcaveModel, drop_idle, gaussian_start
from deepstruct.log_concavity.score_matching import normal_equations
from deepstruct.wavelets import HalfOctave, Octave, packets

D, N = torch.float64, 16
STEPS = [HalfOctave('haar', 1), HalfOctave('haar', 2), HalfOctave('db4', 1), HalfOctave('db4', 2)]
eye = torch.eye(N * N, dtype=D).view(-1, 1, N, N)


def coupled(step): # a positive operator: a mass, a Laplacian, and couplings of bands
    f = Family(N, None, None, [{(0, 0): 1.}, LAPLACIAN, *neighbours(step, N)])
    f.theta[:2] = torch.tensor([1., .5], dtype=D)
    f.theta[2:] = .05 * torch.randn(len(f) - 2, generator=generator('coupled'), dtype=D)
    return f


@pytest.mark.parametrize('step', STEPS, ids=str)
def test_bands_against_the_packets(step):
    x = torch.randn(2, 1, N, N, generator=generator('x'), dtype=D)
    y = packets(x, step.name, 2)
    for Q in neighbours(step, N):
        form = sum(w * (y[:, c[0], c[1]] * torch.roll(y[:, d[0], d[1]], (-s[0], -s[1]), (1, 2))).sum((1, 2))
                   for (c, d, s), w in Q.terms.items())
        assert torch.allclose((x * Q(x)).sum((1, 2, 3)), form, atol=1e-10)
        assert (all(max(d) == 4 - step.step or max(c) == 4 - step.step for c, d, s in Q.terms)
                and all(abs(c[0] - d[0]) + abs(c[1] - d[1]) <= 1 for c, d, s in Q.terms))
        t = Bands(Q.wavelet, Q.terms)(x.mT).mT
        assert torch.allclose(t, Q(x), atol=1e-10) # isotropic families know no transposition
    assert len(neighbours(step, N, False)) > len(neighbours(step, N))


@pytest.mark.parametrize('step', STEPS, ids=str)
def test_whitening_is_the_dense_inverse_root(step):
    f = coupled(step)
    B = detail_band(step, N).flatten(1)
    M = B @ apply(f.kernel(), eye).flatten(1) @ B.T
    white = Whitening(mean_stencil(f, eye[:2]), step, N, floor=0.)
    unit = torch.eye(len(B), dtype=D).view(-1, *step.detail_shape(N))
    W = white(unit).flatten(1).T
    assert torch.allclose(W.T @ M @ W, torch.eye(len(B), dtype=D), atol=1e-9)
    assert (torch.allclose(white.transpose(unit).flatten(1), W, atol=1e-10)
            and torch.allclose(white.inverse(white(unit)), unit, atol=1e-9))
    low = step.low(torch.randn(3, 1, N, N, generator=generator('low'), dtype=D))
    assert torch.allclose(local_diagonal(f, step, eye[:50], low).flatten(1), M.diagonal().expand(3, -1), atol=1e-9)


@pytest.mark.parametrize('step', STEPS, ids=str)
def test_conditional_gradient_by_autograd(step):
    f = Family(N, Spline(torch.linspace(.5, 2, 4)), None, [*(dict.fromkeys(s, 1.) for s in shells(N, 1)),
                                                           *neighbours(step, N)])
    f.theta.copy_(.03 * torch.randn(len(f), generator=generator('theta'), dtype=D))
    f.theta[:4] = 1.
    x = torch.randn(3, 1, N, N, generator=generator('x'), dtype=D)
    target = Conditional(f, step, step.low(x), Whitening(mean_stencil(f, x), step, N))
    y = torch.randn(3, *step.detail_shape(N), generator=generator('y'), dtype=D).requires_grad_()
    exact = f.energy(target.field(y))
    g, = torch.autograd.grad(exact.sum(), y)
    E, mine = target.energy_gradient(y.detach())
    # forces come from a table
    assert torch.allclose(E, exact, rtol=1e-6) and torch.allclose(mine, g, atol=3e-3 * float(g.abs().max()))


@pytest.mark.parametrize('step', STEPS, ids=str)
def test_a_gaussian_is_sampled_and_learned_exactly(step):
    f = coupled(step)
    K = apply(f.kernel(), eye).flatten(1)
    V = detail_band(step, N).flatten(1)
    if step.step == 2: V = torch.cat([V, Octave(step.name).embed_low(torch.eye(N * N // 4, dtype=D).view(-1, 1, N // 2,
        N // 2)).flatten(1)]) # the space of its fields
    else: V = eye.flatten(1)
    G, n = torch.linalg.cholesky(torch.linalg.inv(V @ K @ V.T)), 4000
    x = (torch.randn(n, len(V), generator=generator('gauss'), dtype=D) @ G.T @ V).view(-1, 1, N, N)
    g = Family(N, None, None, f.stencils)
    eq = normal_equations(g, x, step, folds=20)
    theta, cov = eq.jackknife()
    z = (theta - f.theta) / cov.diagonal().sqrt()
    assert z.abs().max() < 4.5 and z.square().mean() < 2.5
    white = Whitening(mean_stencil(f, x[:2]), step, N)
    target = Conditional(f, step, step.low(x), white)
    y, report = run_chain(target, gaussian_start(target, torch.zeros(n, *step.detail_shape(N), dtype=D),
                                                 generator('start')), 2, 4, generator('chain'), .3, adapt=0)
    made = target.field(y)
    assert report.acceptance > .8
    for h in (step.detail, lambda a: apply(LAPLACIAN, a)):
        a, b = h(made).square().flatten(1).mean(1), h(x).square().flatten(1).mean(1)
        assert abs(float(a.mean() - b.mean())) < 5 * float((a - b).std()) / n**.5


@pytest.mark.parametrize('free', (True, False))
def test_couplings_stay_where_held_out_folds_gain(free):
    step, f = HalfOctave('db4', 1), coupled(HalfOctave('db4', 1))
    if not free: f.theta[2:] = 0
    x = (torch.randn(4000, N * N, generator=generator('free'), dtype=D)
         @ torch.linalg.cholesky(torch.linalg.inv(apply(f.kernel(), eye).flatten(1))).T)
    x = x.view(-1, 1, N, N)
    g, eq = drop_idle(f, normal_equations(f, x, step, folds=10))
    assert (len(g) == len(f)) == free and len(eq.g[0]) == len(g)
    z = (eq.solve() - f.theta[:len(g)]).abs()
    assert z[:2].max() < .1


def test_what_a_stencil_holds_is_no_new_coupling():
    step, sides = HalfOctave('haar', 1), [dict.fromkeys(s, 1.) for s in shells(8, 3)]
    assert (len(neighbours(step, 8, True, sides)) < len(neighbours(step, 8))
            and not neighbours(step, 8, True, neighbours(step, 8)))


def test_narrower_bands_are_less_negative():
    x, f = Phi4(.68, N).simulate(100, generator('phi4'), chains=8).fields.double(), phi4_family(N, .68)
    share = {k: float((eigenvalues(f, x, detail_band(s, N)) < 0).double().mean()) for k, s in {'octave': Octave('db4'),
        'first': HalfOctave('db4', 1), 'second': HalfOctave('db4', 2)}.items()}
    assert share['first'] < share['second'] < share['octave']


def test_model_of_half_octaves(tmp_path):
    x = Phi4(.5, N).simulate(600, generator('phi4'), chains=64).fields
    model = LogConcaveModel('db2', half=True, polish_steps=0).fit(x)
    assert [(f.n, s.detail_shape(f.n)) for f, s in zip(model.levels, model.steps)] == [(16, (7, 4, 4)), (16, (5, 4, 4)),
        (8, (7, 2, 2)), (8, (5, 2, 2)), (4, (3, 2, 2)), (2, (3, 1, 1))]
    model.save(tmp_path / 'm')
    again = LogConcaveModel.load(tmp_path / 'm')
    assert (torch.equal(again.energy(x[:3]), model.energy(x[:3]))
            and torch.equal(again.sample(5, generator('s')), model.sample(5, generator('s'))))
    y = model.sample(600, generator('y'))
    assert abs(float(y.var() / x.var()) - 1) < .05


@pytest.mark.parametrize('call, words', [
    (lambda: neighbours(HalfOctave('haar', 1), N)[0].trace(Octave('haar'), N), 'expected a HalfOctave of haar'),
    (lambda: neighbours(HalfOctave('haar', 1), N)[0].trace(HalfOctave('db2', 1), N), 'expected a HalfOctave of haar'),
    (lambda: LogConcaveModel('haar', half=True).fit(torch.randn(4, 1, 8, 8)), 'twenty|20'),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()
