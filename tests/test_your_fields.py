"""One's own fields: each fault against its message, each number against a closed form, a dense matrix or the true
energy."""
import numpy as np
import pytest
import torch

from deepstruct.core import generator
from deepstruct.fields import Phi4, gaussian_field
from deepstruct.log_concavity import diagnose as G, your_fields as Y
from deepstruct.log_concavity.energies import Spline, phi4_family
from deepstruct.log_concavity.heavy_tails import heavy_tailed
from deepstruct.log_concavity.hessians import curvature, detail_band, eigenvalues
from deepstruct.log_concavity.model import LogConcaveModel, coarser, level_family, reduced
from deepstruct.log_concavity.score_matching import normal_equations
from deepstruct.wavelets import HalfOctave, Octave
torch.set_num_threads(1)
D = torch.float64
massive = lambda a, b: 1 / (.2 + 4 - 2 * torch.cos(a) - 2 * torch.cos(b))


def gauss(n=200, L=16, name='g', dtype=torch.float32): return gaussian_field(massive, n, L, generator(name), dtype)


@pytest.fixture(scope='module')
def phi(): return Phi4(.68, 16).simulate(600, generator('your phi')).fields


def with_nan(x): x = x.clone(); x[2, 0, 1, :3] = torch.nan; x[5, 0, 0, 0] = torch.inf; return x


@pytest.mark.parametrize('bad,word', (
    (with_nan(gauss()), '4 values in 2 of 200 fields are NaN or infinite'), (np.ma.masked_less(gauss(30)[:, 0].numpy(),
        -1), 'masked'), (gauss()[:5], r'5 field\(s\); expected at least 20'),
    (gauss()[..., :12, :12], 'power of two'), (gauss()[..., :12], 'square'), (gauss().expand(-1, 3, -1, -1), 'square'),
                                      (torch.ones(30, 8, 8) * 7, r'constant \(7\)'), (gauss()[0, 0], 'square'),
                                      (gauss() + 1j, 'real maps'), (np.array(['a', 'b']), 'no array of numbers'),
                                      (None, 'no array of numbers')))
def test_what_cannot_be_modelled_is_one_clear_error(bad, word):
    for entry in (Y.as_fields, G.diagnose):
        with pytest.raises(ValueError, match=word): entry(bad)


@pytest.mark.parametrize('options,word', ((dict(wavelets=('bior2.2',)), 'orthogonal'), (dict(wavelets=('nope',)),
    'unknown'), (dict(wavelets=()), 'wavelets'), (dict(widest=0), 'widest'), (dict(coarsest=32), 'no step')))
def test_bad_options(options, word):
    with pytest.raises(ValueError, match=word): G.diagnose(gauss(30), **options)


def test_entries_are_alike_and_left_alone():
    x = gauss(40)
    for y in (x, x[:, 0], x.numpy(), x[:, 0].numpy(), np.ma.masked_array(x.numpy())):
        assert torch.equal(Y.as_fields(y), x)
    assert Y.as_fields((x * 100).int().numpy()).dtype == torch.float32 and Y.as_fields(x.double()).dtype == D
    before = x.clone()
    G.diagnose(x, wavelets=('haar',), halves=(False,), coarsest=8)
    assert torch.equal(before, x)


def student(): return torch.from_numpy(np.random.default_rng(0).standard_t(2, (200, 1, 16, 16))).float()


@pytest.mark.parametrize('x,options,word', (
    (gauss(100, 32)[..., :16, :16], {}, 'not periodic'), (gaussian_field(lambda a, b: 1 / (.1 + 4 * (1 - torch.cos(a))
        + 2 * (1 - torch.cos(b))), 200, 16, generator('o')), {}, 'not isotropic'),
    (gaussian_field(lambda a, b: 1 / (.1 + 4 - 2 * torch.cos(a) - 2 * torch.cos(b) + 1.5 * torch.sin(a) * torch.sin(b)),
                    200, 16, generator('o')), {}, 'diagonals'),
    (gauss().exp(), {}, 'not symmetric'), (gauss() + 1, {}, 'mean'), (student(), {}, 'heavy tails'),
                                            (gauss() - gauss().mean((1, 2, 3), keepdim=True), {}, 'same mean'),
    (gaussian_field(lambda a, b: massive(a, b) * (a.abs() < 2) * (b.abs() < 2), 200, 16, generator('b')), {},
     'no power'), (Y.periodic(gauss()[..., :8, :8], 'mirror'), {}, 'no power')))
def test_what_is_doubtful_is_warned_of(x, options, word):
    said = Y.check(Y.as_fields(x), **options)[1]
    assert any(word in s for s in said), said


def test_clean_fields_are_left_in_peace(phi):
    assert sum(bool(Y.check(gauss(100, 16, f'clean {i}'))[1]) for i in range(30)) == 0 and not Y.check(phi)[1]
    oblong = gaussian_field(lambda a, b: 1 / (.1 + 4 * (1 - torch.cos(a)) + 2 * (1 - torch.cos(b))), 200, 16,
                            generator('o'))
    assert (not Y.check(oblong, isotropic=False)[1]
            and not any('symmetric' in s for s in Y.check(gauss().exp(), even=False)[1]))


def test_too_few_samples_are_warned_of(phi):
    for x, few in ((phi[:25], True), (phi[:25].numpy(), True), (phi, False)):
        said = G.diagnose(x, wavelets=('haar',), halves=(False,)).warnings
        assert any('too few samples' in s for s in said) == few, said


def test_border_jump_is_one_on_the_torus_and_known_off_it():
    r = Y.border_jump(gauss(400, 16, dtype=D))
    assert all(abs(v - 1) < 4.5 * e for v, e in r.values())
    ramp = (torch.arange(8, dtype=D).expand(30, 1, 8, 8) + 1e-9
            * torch.randn(30, 1, 8, 8, generator=generator(0), dtype=D))
    assert abs(Y.border_jump(ramp)['horizontal'][0] - 49) < 1e-6


def test_smooth_part_solves_its_equation():
    u = gauss(3, 32, dtype=D)[..., :16, :16]
    s = u - Y.periodic(u)
    L = lambda y: y.roll(1, -1) + y.roll(-1, -1) + y.roll(1, -2) + y.roll(-1, -2) - 4 * y
    v = torch.zeros_like(u)
    for i in range(16):
        for a, b in ((0, 15), (15, 0)):
            v[:, 0, i, a] += u[:, 0, i, b] - u[:, 0, i, a]
            v[:, 0, a, i] += u[:, 0, b, i] - u[:, 0, a, i]
    assert torch.allclose(L(s), v, atol=1e-10) and s.mean((1, 2, 3)).abs().max() < 1e-12
    inside = u.clone()
    inside[..., -1], inside[..., -1, :] = inside[..., 0], inside[..., 0, :]
    assert torch.allclose(Y.periodic(inside), inside, atol=1e-10) # nothing jumps, nothing is taken


def test_mirror_keeps_every_value_and_unknown_treatments_are_refused():
    u = gauss(3)
    m = Y.periodic(u, 'mirror')
    assert (m.shape == (3, 1, 32, 32) and torch.equal(m[..., :16, :16], u) and torch.equal(m, m.flip(-1))
            and torch.equal(m, m.flip(-2)))
    with pytest.raises(ValueError, match="expected 'smooth' or 'mirror'"): Y.periodic(u, 'taper')


def test_moments_of_known_laws():
    x = torch.randn(400, 1, 16, 16, generator=generator('m'), dtype=D)
    for y, third, kurtosis in ((x, 0, 3), (x.exp(), None, None), (x.sign() * x.abs().sqrt(), 0, None),
                               (-torch.rand(x.shape, generator=generator('u'), dtype=D).log() - 1, 2, 9)):
        m = Y.moments(y)
        if third is not None: assert abs(m['third moment'][0] - third) < 5 * m['third moment'][1] + 1e-3
        if kurtosis is not None: assert abs(m['kurtosis'][0] - kurtosis) < 5 * m['kurtosis'][1] + 1e-2


@pytest.mark.parametrize('step', (Octave('haar'), Octave('db4'), HalfOctave('db4', 1), HalfOctave('haar', 2)), ids=str)
def test_lanczos_against_dense_matrices(phi, step):
    f, x = phi4_family(16, .68), phi[:24]
    e = eigenvalues(f, x, detail_band(step, 16))
    r, w = G.spectra(f, step, x, dense=0)
    exact, _ = G.spectra(f, step, x, dense=1000)
    assert torch.allclose(exact, e) and torch.allclose(w.sum(1), torch.ones(24, dtype=D))
    assert (r[:, 0] >= e[:, 0] - 1e-9).all() and (r[:, 0] - e[:, 0]).max() < .02 * e.median() and (r[:, -1] <= e[:, -1]
        + 1e-9).all()
    assert abs(float((w * (r < 0)).sum(1).mean() - (e < 0).double().mean())) < .02
    assert abs(float((w * r).sum(1).mean() - e.mean())) < .05 * float(e.mean()) # the trace


def test_lanczos_stops_where_the_space_ends():
    A = torch.diag(torch.tensor([1., 2., 2., 5.], dtype=D))
    v = torch.tensor([[1., 1., 0., 0.], [1., 1., 1., 1.]], dtype=D)
    e, w = G.lanczos(lambda y: y @ A, v, 4)
    for row, want in zip(range(2), ({1.: .5, 2.: .5}, {1.: .25, 2.: .5, 5.: .25})):
        for value, weight in want.items():
            assert abs(float(w[row][(e[row] - value).abs() < 1e-8].sum()) - weight) < 1e-8


def test_coarser_potentials_are_potentials_of_their_nodes():
    s = Spline(torch.linspace(.1, 3, 12, dtype=D))
    A, t = coarser(s.nodes, 4), torch.linspace(-4, 4, 200, dtype=D)
    few = Spline(s.nodes[np.linspace(0, 11, 4).round().astype(int)])
    for order in (1, 2): assert torch.allclose(s.evaluate(t, order) @ A.T, few.evaluate(t, order), atol=1e-10)
    assert torch.allclose(s.evaluate(t, 2) @ coarser(s.nodes, 1).T, torch.ones(200, 1, dtype=D))


def test_reduced_equations_are_those_of_the_smaller_family(phi):
    f = level_family(phi, 2, 8)
    eq = normal_equations(f, phi, Octave('haar'), folds=4)
    small, A = reduced(eq, f, 3, 1)
    g = f.gradients(phi[:5].double())[:, :A.shape[1]]
    assert (A.shape == (4, len(f.site) + 1)
            and torch.allclose(A @ eq.H[0][:A.shape[1], :A.shape[1]] @ A.T, small.H[0]) and g.shape[1] == A.shape[1])


def test_gaussian_fields_are_log_concave_everywhere_and_the_simplest_is_recommended():
    d = G.diagnose(gauss(400), wavelets=('haar', 'db4'))
    assert (not d.warnings and all(r['negative'] == 0 and r['fields'] == 1 and r['nodes'] == 1 for r in d.rows)
            and not d.recommend['half'])
    r = d.rows[0] # the exact spectrum of the conditional Hessian: that of the inverse covariance on the details
    k = torch.fft.fftfreq(16, dtype=D) * 2 * torch.pi
    K = torch.fft.ifft2(1 / massive(k[:, None], k)).real
    B = detail_band(Octave('haar'), 16)
    H = torch.einsum('dij,eij->de', torch.fft.ifft2(torch.fft.fft2(B) * torch.fft.fft2(K)).real, B)
    e = torch.linalg.eigvalsh(H)
    assert abs(r['condition'] / float(e[-1] / e[0]) - 1) < .1


def test_phi4_has_the_true_curvature_at_the_finest_scale(phi):
    d = G.diagnose(phi, wavelets=('haar', 'db4'))
    for w in ('haar', 'db4'):
        for half, step in ((False, Octave(w)), (True, HalfOctave(w, 1))):
            r = next(r for r in d.rows if r['wavelet'] == w and (r['of'] != 'octaves') == half)
            true = curvature(eigenvalues(phi4_family(16, .68), phi[-75:], detail_band(step, 16)))['negative']
            assert abs(r['negative'] - true) < .01 + 2 * r['negative error'], (w, half, r['negative'], true)
    assert d.recommend['half']


def test_the_result_prints_draws_and_makes_a_model():
    x = gauss(100, 8)
    d = G.diagnose(x, wavelets=('haar',))
    lines = d.table().split('\n')
    assert len(lines) == 2 + len(d.rows) and len({l.count('|') for l in lines}) == 1
    assert 'Recommended: LogConcaveModel(wavelet=' in str(d)
    fig = d.figure()
    assert len(fig.axes) == 2
    assert LogConcaveModel(**d.recommend, polish_steps=0).fit(x).sample(3, generator('s')).shape == (3, 1, 8, 8)


@pytest.mark.parametrize('sign', (1, -1))
def test_heavy_tails_are_inside_the_window(sign):
    x = sign * gauss(name='tails').exp()
    family = level_family(x, width=2, nodes=8, even=False)
    u, v = family.site.nodes, heavy_tailed(family, x, (3, 2), 1e-4).site.nodes
    low, high = np.quantile(x.numpy(), (1e-4, 1 - 1e-4))
    assert low < u[0] and high > u[-1] and len(v) == len(u) + 5 and (v.diff() > 0).all() and torch.equal(v[3:-2], u)
    assert float(v[0]) == pytest.approx(low) and float(v[-1]) == pytest.approx(high)
    assert torch.allclose(v[:4].diff(), v[1] - v[0]) and torch.allclose(v[-3:].diff(), v[-1] - v[-2])
    assert torch.equal(heavy_tailed(family, x, (3, 2), .1).site.nodes, u) # holds it already
    assert torch.equal(heavy_tailed(family, x, (0, 0)).site.nodes, u)
    with pytest.raises(ValueError, match='even'): heavy_tailed(level_family(x, nodes=8), x)
    with pytest.raises(ValueError, match='between 0 and 0.5'): heavy_tailed(family, x, beyond=.5)


def test_free_mean_lets_a_fixed_mean_be_modelled():
    x = gauss(200, 8)
    x = x - x.mean((1, 2, 3), keepdim=True)
    with pytest.raises(ValueError, match='means that vary'): LogConcaveModel(polish_steps=0).fit(x)
    y = Y.free_mean(x, generator=generator('f'))
    assert (torch.allclose(y - y.mean((1, 2, 3), keepdim=True), x, atol=1e-5)
            and .8 < y.mean((1, 2, 3)).std() / (.05 * x.std()) < 1.2)
    assert LogConcaveModel(polish_steps=0).fit(y).sample(4, generator('s')).shape == (4, 1, 8, 8)


def test_a_mean_hessian_that_is_not_positive_is_never_recommended():
    row = lambda wavelet, condition, negative: dict(wavelet=wavelet, of='octaves', condition=condition,
                                                    negative=negative, side=8, **{'negative error': 0.})
    assert G.choose_projector([row('haar', np.inf, 0.), row('db4', 9., .2)]) == ('db4', False)
    assert (G.choose_projector([row('haar', 9., .2), row('db4', 9., 0.)]) == ('db4', False)
            and G.choose_projector([row('haar', 9., 0.), row('db4', 9., 0.)]) == ('haar', False))
    half = row('haar', 9., 0.) | dict(of='half octaves')
    assert (G.choose_projector([half, row('haar', 9., 0.)]) == ('haar', False)
            and G.choose_projector([half, row('haar', 9., .1)]) == ('haar', True))
    assert (G.choose_projector([row('haar', 99., 0.), row('db4', 9., 0.)]) == ('db4', False)
            and G.choose_projector([row('db4', 999., 0.), half]) == ('haar', True))
