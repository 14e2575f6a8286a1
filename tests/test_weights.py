"""Powers of local means, weights from both sides, paths: against automatic differentiation, closed forms, refits."""
import numpy as np
import pytest
import torch

from deepstruct.core import generator
from deepstruct.fields import Phi4, gaussian_field
from deepstruct.log_concavity import bridges as B, free_energy as F, weights as W
from deepstruct.log_concavity.direct import fourier_hmc
from deepstruct.log_concavity.bridges import model_paths
from deepstruct.log_concavity.energies import LAPLACIAN, Family, Monomials
from deepstruct.log_concavity.free_energy import joint_energy
from deepstruct.log_concavity.mixing import cascade_mixing
from deepstruct.log_concavity.model import LogConcaveModel
from deepstruct.wavelets import Octave

D, haar = torch.float64, Octave('haar')


def normal(*shape, seed=0): return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=D)


@pytest.mark.parametrize('n, terms', [(2, ((3, 4),)), (4, ((3, 2), (5, 6))), (8, ((7, 3), (3, 5))),
                                      (4, ((0, 4), (0, 2))), (1, ((0, 2), (1, 4))), (6, ())])
def test_powers_of_means(n, terms):
    f = F.Averages(n, Monomials(4, 2), None, [LAPLACIAN] if n > 1 else [], terms, .2, .7)
    f.theta.copy_(normal(len(f)))
    x = normal(3, 1, n, n, seed=1).requires_grad_()
    g, = torch.autograd.grad(f.energy(x).sum(), x)
    x = x.detach()
    H = torch.stack([torch.autograd.functional.hessian(lambda z: f.energy(z.view(1, 1, n, n))[0], a.flatten())
                     for a in x])
    eye = torch.eye(n * n, dtype=D).view(1, n * n, n, n).expand(3, -1, -1, -1)
    assert torch.allclose(f.gradient(x), g) and torch.allclose(f.features(x) @ f.theta, f.energy(x))
    assert torch.allclose(torch.einsum('bkij,k->bij', f.gradients(x), f.theta), g[:, 0])
    assert torch.allclose(f.hessian(x, eye).flatten(2), H)
    if n > 1:
        R = haar.embed_detail(torch.eye(3 * n * n // 4, dtype=D).view(-1, 3, n // 2, n // 2)).flatten(1)
        assert torch.allclose(f.laplacians(x, haar) @ f.theta, torch.stack([(R @ h @ R.T).trace() for h in H]))
    for k, p in terms: # by hand: the mean of the window, with wrapping
        if k == 0: continue
        r, y = k // 2, (x[0, 0] - .2) / .7
        m = torch.stack([torch.stack([y[(i + a) % n, (j + b) % n] for a in range(-r, r + 1) for b in range(-r, r + 1)]
                                     ).mean() for i in range(n) for j in range(n)])
        assert torch.isclose((m**p).sum(), f.features(x)[0, len(f) - len(terms) + terms.index((k, p))])


@pytest.mark.parametrize('n, windows, terms', [
    (1, (3, 5), ()), (2, (3, 5), ((3, 4), (3, 6))), (4, (3, 5), ((3, 4), (3, 6), (5, 4), (5, 6))), (8, (), ()),
    (8, (3, 5), ((3, 4), (3, 6), (5, 2), (5, 4), (5, 6)))])
def test_windows_of_a_free_energy(n, windows, terms): # squares of means are left out where the pairs span them
    x = normal(200, 1, n, n)
    f = F.coarse_family(x, nodes=4, windows=windows)
    assert f.terms == terms
    g = f.gradients(x).flatten(2).transpose(1, 2).flatten(0, 1)
    g = g / g.norm(dim=0)
    assert torch.linalg.eigvalsh(g.T @ g)[0] > 1e-7 # none of them is a sum of others
    if (odd := F.coarse_family(x + 1, nodes=4, even=False)).terms:
        assert {p for _, p in odd.terms} <= {2, 3, 4} and abs(odd.centre - 1) < .1


@pytest.mark.parametrize('well, seed', [(1., 0), (1., 1), (3., 2), (.5, 3), (8., 4)]) # two narrow wells
def test_equations_of_single_precision_are_positive(well, seed):
    x = (normal(1500, 1, 4, 4, seed=seed) * .02 + well * normal(1500, 1, 1, 1, seed=seed + 9).sign()).float()
    eq = F.gradient_regression(F.coarse_family(x), x, x, folds=4)
    H, _ = eq.mean()
    d = H.diagonal().rsqrt()
    assert torch.linalg.eigvalsh(d[:, None] * H * d)[0] > -1e-12 and eq.solve(ridge=1e-8).isfinite().all()


def test_draws_keep_the_low_passes():
    x = gaussian_field(lambda a, b: 1 / (.5 + 4 - 2 * a.cos() - 2 * b.cos()), 30, 4, generator('draws'), D)
    f = Family(4, stencils=[{(0, 0): 1.}, LAPLACIAN])
    f.theta.copy_(torch.tensor([.5, 1.], dtype=D))
    y = F.redraw(f, haar, x, 3, generator=generator('r'), draws=2)
    assert torch.allclose(haar.low(y), haar.low(x).repeat_interleave(2, 0)) and not torch.equal(y[0], y[1])
    one, again = (F.redraw(f, haar, x, 3, generator=generator('r'), **k) for k in ({}, {'draws': 1}))
    assert torch.equal(one, again) and torch.equal(one, y[::2])


def test_replicates_are_refits():
    x = gaussian_field(lambda a, b: 1 / (.5 + 4 - 2 * a.cos() - 2 * b.cos()), 220, 4, generator('refit'), D)
    model = LogConcaveModel(nodes=3, polish_steps=0, even=True, isotropic=True).fit(x)
    joint = F.joint_energy(model, x[:200], folds=4)
    again = joint.replicates(x[200:])
    for k in range(4):
        rest = torch.cat([p for i, p in enumerate(x[:200].chunk(4)) if i != k])
        free, y = [], rest
        for f, old in zip(model.levels, joint.free):
            new = F.Averages(old.n, old.site, old.bond, old.stencils, old.terms, old.centre, old.scale)
            F.free_energy(f, haar, y, new, ridge=1e-8)
            free.append(new); y = haar.low(y)
        other = F.JointEnergy(haar, list(model.levels), free, model.density)
        assert torch.allclose(again[k], other.energy(x[200:]), atol=1e-6)
    with pytest.raises(ValueError, match='given'): other.replicates(x)


@pytest.mark.parametrize('v, d', [(1.3, 1), (.8, 5), (1.05, 40), (1.2, 2), (.75, 3)])
def test_sizes_of_gaussians(v, d):
    x = normal(100_000, d, seed=2)
    ratio = lambda y: -(y**2).sum(1) / 2 * (1 / v - 1)
    got, exact = W.both_sizes(ratio(x), ratio(x * v**.5)), lambda u: (u * (2 / u - 1)**.5)**d
    assert abs(got['made'] - exact(v)) < .03 and abs(got['held'] - exact(1 / v)) < .03
    assert got['smaller'] == min(got['made'], got['held'])
    index, rate = W.independence_metropolis(ratio(x)[:30_000], 0)
    assert abs(float(x[index].var()) / v - 1) < .06 and 0 < rate <= 1


def test_averages_of_weighted_fields_and_their_errors():
    x = normal(4000, 3)
    log_w, values = .4 * x[:, 0], {'a': x[:, 0], 'm2': x[:, 1]**2, 'm4': x[:, 1]**4}
    got = W.averages(values, log_w)
    assert abs(got['a'][0] - .4) < 4 * got['a'][1] and abs(got['U4'][0]) < 4 * got['U4'][1]
    assert abs(got['a'][1] * 4000**.5 / np.exp(.08) / (1 + .4**2)**.5 - 1) < .15 # delta method, closed form
    moved = W.averages(values, log_w, torch.stack([(.4 + .1 * k) * x[:, 0] for k in (-1, 1)]))
    assert abs((moved['a'][1]**2 - got['a'][1]**2)**.5 - .1) < .01 # sqrt(1/2 * 2 * .1^2)
    assert W.averages(values) == W.averages(values, torch.full((4000,), 700.))


def test_field_values_by_hand():
    x = normal(2, 1, 8, 8)
    v, a = W.field_values(x, Phi4(.6, 8).energy), x[0, 0].numpy()
    assert np.isclose(v['bond'][0], np.mean([a[i, j] * (a[i - 1, j] + a[i, j - 1]) / 2 for i in range(8)
                                             for j in range(8)]))
    assert np.isclose(v['plaquette'][0], np.mean([a[i, j] * a[i - 1, j] * a[i, j - 1] * a[i - 1, j - 1]
                                                  for i in range(8) for j in range(8)]))
    block = a.reshape(2, 4, 2, 4).mean((1, 3))
    assert np.isclose(v['m4 L/2'][0], (block**4).mean()) and 'm2 L/8' not in v
    assert np.isclose(v['C L/4'][0], np.mean([a[i, j] * (a[i - 2, j] + a[i, j - 2]) / 2 for i in range(8)
                                              for j in range(8)]))
    assert torch.allclose(v['energy'], Phi4(.6, 8).energy(x) / 64)


@pytest.fixture(scope='module')
def gauss(): # its energy, fields, exact free energy, paths
    n, K = 8, Family(8, stencils=[{(0, 0): 1.}, LAPLACIAN])
    K.theta.copy_(torch.tensor([.2, 1.], dtype=D))
    x = gaussian_field(lambda a, b: 1 / (.2 + 4 - 2 * a.cos() - 2 * b.cos()), 600, n, generator('bridge'), D)
    eye = torch.eye(n * n, dtype=D).view(-1, 1, n, n)
    G, M = haar.low(eye).flatten(1).T, K.gradient(eye).flatten(1)
    S = torch.linalg.inv(G @ torch.linalg.inv(M) @ G.T)[0].view(4, 4)
    free = F.Averages(4, stencils=[{(a, b): float(S[a, b]) for a in range(4) for b in range(4)}], terms=((0, 2),))
    free.theta.copy_(torch.tensor([1., 0.], dtype=D))
    return K, x, free, B.bridge_paths(K, haar, x, 8, 2, 4, generator('p'))


@pytest.mark.parametrize('off', (0., .5, -.5, .1, 2.))
def test_a_wrong_free_energy_is_caught_and_mended(gauss, off):
    K, x, free, paths = gauss
    m2 = haar.low(x).mean((1, 2, 3))**2
    wrong = F.Averages(4, stencils=free.stencils, terms=free.terms)
    wrong.theta.copy_(free.theta); wrong.theta[1] -= off / float(m2.std()) / 16 # the feature is 16 M^2
    found = B.judge_free_energy(paths, wrong)
    assert paths.usable and abs(found.error - off) < 4 * found.se + 1e-3 and found.se < .05
    again = B.judge_free_energy(paths, B.mended(wrong, paths))
    assert abs(again.error) < .02 and 'usable' not in str(again)


@pytest.mark.parametrize('gap, usable', ((0., True), (2.9, True), (3.1, False), (12., False)))
def test_paths_that_do_not_overlap(gauss, gap, usable):
    _, _, free, p = gauss
    paths = B.Paths(p.low, p.forward - gap / 2, p.reverse + gap / 2)
    assert paths.usable == usable and ('not usable' in str(B.judge_free_energy(paths, free))) != usable
    if not usable:
        with pytest.raises(ValueError, match='gap'): B.mended(free, paths)


def test_forward_work_is_unbiased(gauss): # Jarzynski, against the determinant
    K, x, free, p = gauss
    w = p.forward + free.energy(p.low) # log Z / Z_R less what depends on x_j
    assert abs(float(torch.logsumexp(w, 0) - np.log(len(w)) - w.median())) < .05 and p.gap > 0


def test_fourier_masses_leave_the_law_alone():
    x = Phi4(.5, 8).simulate(2000, generator('fourier'), chains=40).fields
    power = torch.fft.rfft2(x[:, 0].double()).abs().square().mean(0)
    a, report, _ = fourier_hmc(.5, x[:40], 150, 4, power, generator('f'), adapt=60)
    assert .4 < report.acceptance < .95
    for k, t in enumerate((x.double().mean((1, 2, 3))**2, Phi4(.5, 8).energy(x.double()) / 64)):
        m = a[..., k].mean(1)
        assert abs(float(m.mean() - t.mean())) < 4.5 * float((m.var() / 40 + t.var() / 2000)**.5)


def test_a_power_is_that_of_real_fields_or_refused():
    x = torch.zeros(2, 1, 4, 4)
    power = torch.fft.rfft2(normal(50, 4, 4)).abs().square().mean(0)
    fourier_hmc(.5, x, 1, 1, power, generator('real'), adapt=1)
    for row, column in ((1, 0), (3, 2)): # each has its mirror image, which stays
        other = power.clone()
        other[row, column] *= 1.1
        with pytest.raises(ValueError, match='k and -k by up to 0.1'): fourier_hmc(.5, x, 1, 1, other)
    inner = power.clone()
    inner[1, 1] *= 2 # -k is not stored
    fourier_hmc(.5, x, 1, 1, inner, generator('real'), adapt=1)


def test_two_folds_are_the_least():
    m, e = W.averages({'a': torch.tensor([1., 2., 3., 4.])}, folds=2)['a']
    assert m == 2.5 and abs(e - 1.) < 1e-12 # halves 1.5 and 3.5
    assert W.apart({'a': (1, .3)}, {'a': (1, 0.)}) == {'a': (0., 0.)}


def test_one_field_with_all_of_the_weight_has_an_error_or_none_and_its_shift_is_told():
    a, spare = normal(100), torch.zeros(100)
    spare[7] = 60.                                               # e^-60 would be lost beside 1 in a difference of sums
    m, e = W.averages({'a': a}, spare, folds=50)['a']
    others = torch.cat([a[:6], a[8:]]).double()                  # its fold of two left out: a plain mean of 98
    left = torch.full((50,), float(a[7]), dtype=torch.float64)
    left[3] = float(others.mean())
    assert abs(m - float(a[7])) < 1e-12
    assert e == pytest.approx(float((49 / 50 * (left - left.mean()).square().sum()).sqrt()), rel=1e-9)
    spare[7] = 2000.                                             # e^-2000 is 0 in float64: nothing is left
    m, e = W.averages({'a': a}, spare)['a']
    assert m == float(a[7]) and e != e
    x = Phi4(.6, 4).simulate(40, generator('alone')).fields
    class Joint:
        equations = ()
        def energy(self, y): return torch.zeros(len(y)).index_fill(0, torch.tensor([3]), -4000.)
    out = W.two_sides(Joint(), lambda y: torch.ones(len(y)), x, x)
    plain = W.averages(W.field_values(x))
    m2 = float(W.field_values(x)['m2'][3])
    assert out['density']['m2'][0] == pytest.approx(m2) and out['density']['m2'][1] != out['density']['m2'][1]
    assert out['shift']['m2'] == pytest.approx(m2 / plain['m2'][0] - 1)
    with pytest.raises(ValueError, match='errors'): W.apart(out['density'], plain)


@pytest.mark.parametrize('call, words', [
    (lambda: F.Averages(4, terms=((2, 4),)), 'odd'), (lambda: F.Averages(4, terms=((3, 1),)), 'powers of 2'),
    (lambda: F.Averages(4, scale=0.), 'positive'), (lambda: W.effective_size([0., float('nan')]), 'NaN'),
    (lambda: W.effective_size([-np.inf] * 4), 'minus infinity'),
    (lambda: W.effective_size([np.inf, 0.]), 'largest inf'),
    (lambda: W.effective_size([[0.]]), 'shape'), (lambda: W.averages({'a': normal(9)}, normal(8)), '8 weights'),
    (lambda: W.averages({'a': normal(9), 'b': normal(8)}), 'a (9,), b (8,)'), (lambda: W.averages({}), 'none'),
    (lambda: W.averages({'a': torch.tensor(1.)}), 'a ()'), (lambda: W.averages({'a': normal(9, 2)}), '(9, 2)'),
    (lambda: W.averages({'a': normal(1)}), 'four fields'),
    (lambda: W.averages({'a': normal(9)}, folds=1), 'folds is 1'),
    (lambda: W.apart({'a': (1, 0.), 'b': (1, .1)}, {'a': (1, 0.), 'b': (1, .1)}), "'a'] have errors"),
    (lambda: W.apart({'a': (1, .1)}, {'a': (0., .1)}), 'average of a is 0'),
    (lambda: W.apart({'a': (1, float('nan'))}, {'a': (1, .1)}), 'positive'),
    (lambda: W.averages({'a': normal(3)}), 'four fields'), (lambda: W.along(normal(3), normal(4)), 'one each'),
    (lambda: W.along(normal(3), torch.ones(3)), 'vary'), (lambda: W.apart({'a': (1, 1)}, {}, ['a']), "'a'"),
    (lambda: W.field_values(normal(2, 3, 4, 4)), 'channel'),
    (lambda: W.field_values(normal(2, 1, 4, 4) / 0), 'NaN|finite'),
    (lambda: B.bridge_paths(Family(8, stencils=[LAPLACIAN]), haar, normal(30, 1, 4, 4)), 'side 4'),
    (lambda: B.bridge_paths(Family(4, stencils=[LAPLACIAN]), haar, normal(5, 1, 4, 4)), 'at least 20'),
    (lambda: B.bridge_paths(Family(4, stencils=[LAPLACIAN]), haar, normal(30, 1, 4, 4), steps=1), 'steps'),
    (lambda: B.bridge_regression(B.Paths(normal(5, 1, 2, 2), normal(5), normal(5)), normal(4, 2)), '(5, K)'),
    (lambda: fourier_hmc(.5, torch.ones(2, 1, 4, 4), 5, 2, torch.ones(4, 4)), 'positive numbers'),
    (lambda: fourier_hmc(.5, torch.ones(2, 1, 4, 4), 5, 2, torch.zeros(4, 3)), 'positive numbers'),
    (lambda: fourier_hmc(.5, torch.ones(2, 1, 4, 4), 5, 2, torch.ones(4, 3) / 0), 'positive numbers'),
    (lambda: fourier_hmc(.5, torch.ones(2, 1, 4, 4), 5, 2, torch.arange(1., 13).view(4, 3)), 'between k and -k'),
    (lambda: fourier_hmc(.5, torch.ones(2, 1, 4, 4), 5, 2, torch.ones(4, 3), step=-.1), 'step is -0.1')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words.replace('(', r'\(').replace(')', r'\)')): call()


@pytest.fixture(scope='module')
def others():
    """Models that have no joint energy, and fields."""
    x = gaussian_field(lambda a, b: 1 / (.5 + 2 - torch.cos(a) - torch.cos(b)), 200, 8, generator('others'))
    fitted = lambda **how: LogConcaveModel('haar', polish_steps=0, width=1, nodes=3, **how).fit(x, seed=0)
    return {'plain': fitted(), 'half': fitted(half=True), 'scattering': fitted(scattering=True)}, x

@pytest.mark.parametrize('kind, words', [('half', 'half octaves'), ('scattering', 'scattering=False')])
def test_models_without_a_joint_energy_are_refused(others, kind, words):
    models, x = others
    with pytest.raises(ValueError, match=words): joint_energy(models[kind], x)

@pytest.mark.parametrize('use', [joint_energy, model_paths, cascade_mixing], ids=lambda f: f.__name__)
def test_fields_are_taken_as_fit_takes_them_or_refused(others, use):
    models, x = others
    for bad, words in ((x[..., :4, :4].contiguous(), 'side 4'), (x[:, :, :6, :6], 'side 6'), (x[:1], '1 field'),
                       (x * torch.nan, 'NaN')):
        with pytest.raises(ValueError, match=words): use(models['plain'], bad)
    with pytest.raises(ValueError, match='not fitted'): use(LogConcaveModel('haar'), x)
    with pytest.raises(ValueError, match='half octaves'): use(models['half'], x)

def test_arrays_and_half_precision_give_the_same_joint_energy(others):
    models, x = others
    want = joint_energy(models['plain'], x).free[0].theta
    assert torch.equal(joint_energy(models['plain'], x.numpy()).free[0].theta, want)
    half = joint_energy(models['plain'], x.half()).free[0].theta
    assert torch.equal(half, joint_energy(models['plain'], x.half().float()).free[0].theta)

def test_draws_need_trajectories(others):
    models, x = others
    with pytest.raises(ValueError, match='draws is 7 without trajectories'): joint_energy(models['plain'], x, draws=7)
