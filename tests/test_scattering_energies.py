"""Scattering-covariance energies: symmetries, autograd, a second way to each number, and what must be refused."""
import numpy as np
import pytest
import torch

from deepstruct.core import generator
from deepstruct.fields import gaussian_field
from deepstruct.lensing import ring_excess, rooted
from deepstruct.log_concavity import scattering_energies as S
from deepstruct.log_concavity.energies import Family, Spline, shells
from deepstruct.log_concavity.model import LogConcaveModel
from deepstruct.wavelets import HalfOctave, Octave
torch.set_num_threads(1)
STEPS = (Octave('haar'), Octave('db2'), HalfOctave('haar', 1), HalfOctave('db4', 1), HalfOctave('db4', 2))
massive = lambda a, b: 1 / (.2 + 4 - 2 * torch.cos(a) - 2 * torch.cos(b))


def energy(step, even=True, dtype=torch.float64, n=8):
    x = gaussian_field(massive, 60, n, generator('x'), torch.float64).to(dtype)
    x = x * (1 + x.roll(2, -1).abs()) # not Gaussian
    if step == HalfOctave('db4', 2): x = HalfOctave('db4', 1).low(x)
    u = [.5, 1.5] if even else [-1., 0., 1.]
    plain = Family(n, Spline(u, even=even), None, [dict.fromkeys(s, 1.) for s in shells(n, 1)])
    f = S.ScatteringEnergy(plain, step, None, [-1., 0., 1.])
    f.size = S.LocalSize(n, S._scales(step)[1:], even).fit(f.given(x), f.waves(x).abs().square())
    f.theta.copy_(torch.rand(len(f), generator=generator('theta')))
    return f, x


@pytest.mark.parametrize('even', (True, False))
@pytest.mark.parametrize('step', STEPS, ids=str)
def test_derivatives(step, even):
    """In the details, the low-pass held: by autograd; the Laplacian by the trace of the Hessian."""
    f, x = energy(step, even)
    x = x[:2]
    low, d = f.given(x), step.detail(x).requires_grad_()
    g, = torch.autograd.grad(f.energy(low + step.embed_detail(d)).sum(), d)
    assert torch.allclose(step.detail(f.gradient(x)), g) and torch.allclose(f.features(x) @ f.theta, f.energy(x))
    one = lambda v: f.energy(low[:1] + step.embed_detail(v.view(1, *d.shape[1:]))).sum()
    H = torch.autograd.functional.hessian(one, d[0].detach().flatten())
    assert torch.allclose(f.laplacians(x[:1], step) @ f.theta, H.trace())
    v = torch.randn(d[:1].shape, generator=generator('v'), dtype=d.dtype)
    assert torch.allclose(step.detail(f.hessian(x[:1], step.embed_detail(v))), (H @ v.flatten()).view(v.shape))


@pytest.mark.parametrize('step', STEPS, ids=str)
def test_symmetries(step):
    """A shift by the coarse grid moves no feature; nor does the sign, where the energy is even."""
    f, x = energy(step)
    s = 8 // step.detail_shape(8)[1]
    assert torch.allclose(f.features(x.roll((s, -s), (-2, -1))), f.features(x))
    assert torch.allclose(f.features(-x), f.features(x))
    g, _ = energy(step, even=False)
    assert not torch.allclose(g.features(-x), g.features(x))


@pytest.mark.parametrize('dtype', (torch.float32, torch.float64))
def test_follows_its_input(dtype):
    f, x = energy(Octave('db2'), dtype=dtype)
    before = x.clone()
    f.white = S.LocalWhitening(f, x)
    W = f.white.at(f.given(x))
    d = f.step.detail(x)
    made = f.energy(x), f.gradient(x), f.features(x), W(d), W.transpose(d), f.second(x, x)
    assert all(t.dtype == dtype for t in made)
    assert torch.equal(x, before) and torch.allclose(W(W.inverse(d)), d, atol=1e-4)


@pytest.mark.parametrize('factor', (1e-3, .1, 7., 1e3))
def test_size_follows_the_unit(factor):
    """Fields in other units have a size in those units, and the same normalised waves."""
    f, x = energy(Octave('db2'))
    g, _ = energy(Octave('db2'))
    y, p = f.given(factor * x), f.waves(factor * x).abs().square()
    g.size = S.LocalSize(8, S._scales(f.step)[1:], True).fit(y, p)
    assert torch.allclose(g.size(y), f.size(f.given(x)) + np.log(factor), atol=1e-3)


@pytest.mark.parametrize('wild', (10., 1e3, 1e6))
def test_nothing_is_foretold_beyond_what_was_seen(wild):
    f, x = energy(Octave('db2'))
    s = f.size(f.given(wild * x))
    assert float(s.max()) <= f.size.ends[1] and torch.isfinite(f.energy(wild * x)).all()


@pytest.mark.parametrize('seed', range(5))
def test_constrained(seed):
    """Karush, Kuhn, Tucker: feasible, and the gradient is a non-negative combination of what binds."""
    g = generator('kkt', seed)
    R, A = (torch.randn(n, 6, generator=g, dtype=torch.float64) for n in (6, 12))
    H, c, b = R @ R.T + torch.eye(6), torch.randn(6, generator=g, dtype=torch.float64), -torch.ones(12).double() / 4
    t = S.constrained(H, c, A, b, 0.)
    slack, force = A @ t - b, H @ t - c
    binding = slack < 1e-8
    assert slack.min() > -1e-8
    if not binding.any(): assert force.abs().max() < 1e-8; return
    m = torch.linalg.lstsq(A[binding].T, force[:, None]).solution
    assert torch.allclose(A[binding].T @ m, force[:, None], atol=1e-7) and m.min() > -1e-7


def test_contradictions_are_refused():
    one = torch.ones(1, 1).double()
    with pytest.raises(ValueError, match='contradict'):
        S.constrained(one, one[0], torch.cat([one, -one]), one[0].repeat(2))


@pytest.mark.parametrize('value', ('yes', 1, None, 0., [True]))
def test_scattering_is_yes_or_no(value):
    with pytest.raises(ValueError, match='scattering is'): LogConcaveModel('haar', scattering=value)


def test_model(tmp_path):
    """Fitted twice from one seed it is one model; saved and loaded it is the same; low levels are sites and pairs."""
    x = gaussian_field(massive, 120, 8, generator('model'))
    before = x.clone()
    fit = lambda: LogConcaveModel('db2', half=True, scattering=True, polish_steps=1, polish_fields=40, even=True,
                                  isotropic=True, nodes=3).fit(x, seed=3)
    a, b = fit(), fit()
    a.save(tmp_path / 'm')
    c = LogConcaveModel.load(tmp_path / 'm')
    made = [m.sample(20, seed=1) for m in (a, b, c)]
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2]) and torch.equal(x, before)
    assert [isinstance(f, S.ScatteringEnergy) for f in c.levels] == [True, True, False, False]
    d = a.steps[0].detail(x[:3].double()).requires_grad_()
    low = a.levels[0].given(x[:3].double())
    g, = torch.autograd.grad(a.levels[0].energy(low + a.steps[0].embed_detail(d)).sum(), d)
    assert torch.allclose(a.score(x[:3].double()), -g, atol=1e-8)


@pytest.mark.parametrize('frequency', ((0, 3), (4, 4), (5, 1), (8, 0), (8, 8)))
def test_lattices_are_seen(frequency):
    """Of any period; white noise has none."""
    x = torch.randn(400, 1, 16, 16, generator=generator('lattice'))
    u = torch.arange(16) * 2 * np.pi / 16
    wave = .5 * torch.cos(frequency[0] * u[:, None] + frequency[1] * u)
    assert ring_excess(x[:200], x[200:]) < 4.5 < 10 < ring_excess(x[:200] + wave, x[200:])


@pytest.mark.parametrize('cut', (-.1, 1., 2., np.nan))
def test_shares_that_are_none(cut):
    with pytest.raises(ValueError, match='cut is'): rooted(torch.rand(10, 1, 4, 4), cut=cut)


def test_rooted():
    x = torch.rand(200, 1, 4, 4, generator=generator('root')) + 3
    y = rooted(x)
    assert len(y) == 198 and y.min() >= 0 and torch.equal(rooted(x, 0., 0.), x.sqrt()) and len(rooted(x[:20])) == 20


def test_confining():
    """Where the inequalities hold the Hessian in the details is positive at fields that nobody fitted, scaled too."""
    f, x = energy(Octave('db2'), n=16)
    f.nodes = f.size(f.given(x)).flatten().quantile(torch.tensor([.01, .5, .95], dtype=torch.float64))
    A, b = S.confining(f, x)
    t = S.constrained(torch.eye(len(f)).double(), -torch.ones(len(f)).double(), A, b) # as small as they allow
    f.theta.copy_(t)
    B = f.step.embed_detail(torch.eye(192, dtype=torch.float64).view(192, 3, 8, 8))[:, 0]
    at = torch.cat([x[:2], 5 * x[:2]])
    H = torch.stack([f.hessian(y[None], B[None])[0].flatten(1) @ B.flatten(1).T for y in at])
    assert torch.linalg.eigvalsh(H).min() > 0
