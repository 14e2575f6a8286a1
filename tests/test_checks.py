"""What a stack of fields may break, kind by kind: each test of it against a symmetry, a bound or a second count, and
inputs of every kind that nobody had listed."""
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from deepstruct.core import generator as G, save_tensors
from deepstruct.fields import Phi4, gaussian_field
from deepstruct.log_concavity import your_fields as Y
from deepstruct.log_concavity.diagnose import diagnose
from deepstruct.log_concavity.energies import Family, Spline
from deepstruct.log_concavity.model import LogConcaveModel
torch.set_num_threads(1)
L, N = 16, 200
massive = lambda a, b: 1 / (.1 + 4 - 2 * torch.cos(a) - 2 * torch.cos(b))
rows, cols, b = torch.arange(L)[:, None], torch.arange(L), torch.arange(N)[:, None, None, None]
wave = torch.cos(cols * 2 * math.pi / L)


def gauss(n=N, side=L, name='checks', power=massive): return gaussian_field(power, n, side, G(name))


X = gauss()
U = torch.rand(b.shape, generator=G('checks u'))


def said(x, **options): return Y.check(Y.as_fields(x), **options)[1]


def put(x, value, *at): x = x.clone(); x[(..., *at)] = value; return x


def markov(rho, steps=N):
    out = [gauss(1, name='m')]
    for i in range(steps - 1): out.append(rho * out[-1] + (1 - rho**2)**.5 * gauss(1, name=f'm{i}'))
    return torch.cat(out)


def oblong(n=N): return gauss(n, name='o', power=lambda a, b: 1 / (.1 + 4 * (1 - torch.cos(a)) + (1 - torch.cos(b))))


def spiral_arms(n=100, side=32): # of either sign, all winding the same way
    g, i, out = np.random.default_rng(1), np.arange(side), np.zeros((n, side, side))
    for f, _ in itertools.product(range(n), range(6)):
        x, y, turn, a = *g.random(2) * side, g.random() * 2 * np.pi, g.choice([-1, 1]) * (.5 + g.random())
        dx, dy = (i[None] - x + side / 2) % side - side / 2, (i[:, None] - y + side / 2) % side - side / 2
        r = np.hypot(dx, dy)
        out[f] += a * np.exp(-r**2 / 32) * np.cos(np.arctan2(dy, dx) - turn + .8 * r)
    return torch.from_numpy(out + .05 * g.standard_normal(out.shape)).float()


FAULTS = {
    'the amplitude depends on the place': [
        X * (1 + .9 * wave[:, None] * wave), X * (1 + .5 * wave), X * torch.where(cols < 8, 1., 1.5),
        X * (1 - .6 * ((rows - 7.5)**2 + (cols - 7.5)**2) / 112), torch.where((rows == 3) & (cols == 5), 2.5 * X, X),
        X * (1 + .3 * (-1.)**(rows + cols)), X * torch.hann_window(L)],
    'the mean depends on the place': [
        X + .6 * wave.roll(2)[:, None] * wave, X + .3 * (-1.)**(rows + cols), X + cols / 8.,
        X + 1.5 * ((rows == 3) & (cols == 5)), X + .4 * torch.randn(L, 1, generator=G('read')),
        X + 1.5 * torch.exp(-((rows - 5.)**2 + (cols - 9.)**2) / 8)],
    'with the next pixel': [torch.where(cols < 5, (X + X.roll(1, -1)) / (X + X.roll(1, -1)).std() * X.std(), X)],
    'a fill value, a mask or saturation': [
        put(X, 0., slice(4), slice(4)), put(X, -9., slice(None), 4), X.clamp(max=1.5 * float(X.std())), X.relu(),
        torch.where(torch.rand(X.shape, generator=G('holes')) < .01, 0., X), X.sign() * (X.abs() - 1).relu(),
        torch.where((rows - 7.5)**2 + (cols - 7.5)**2 > 50, 0., X), (X * 100).round().clamp(-128, 127)],
    'have the same value in every field': [put(X, .3, 4, 7), put(X, 0., slice(None), 7), put(X, 1., 0), put(
        X, .2, 0, 0), torch.where((rows + cols) % 5 > 0, X, 1.)],
    'blank': [torch.where(b == 3, 0., X), torch.where(b % 40 == 0, 3., X),
              torch.where(b < 2, X.mean((-1, -2), keepdim=True), X), torch.where(b == 199, -1., X), X * (b != 7)],
    'stand alone': [
        torch.where((b == k) & (rows == 3) & (cols == 4), v, X)
        for k, v in ((0, 1e6), (7, -1e3), (9, 40.), (99, 1e12), (199, -300.))],
    'along the stack': [X * (1 + b / N), torch.where(b < 120, X, 1.3 * X), X + b / N * 2, markov(.9), markov(.6),
                        torch.where(b < 100, X, (X + X.roll(1, -1) + X.roll(1, -2)) / 2)],
    'next one': [X * (1 + .5 * torch.cos(b / 3.)), X + .5 * torch.cos(b * 2 * math.pi / 7), torch.where(
        b % 2 == 0, X, 1000 * X), torch.where(b % 2 == 0, X, X + 3), X * (b // 10 % 2 + 1)],
    'unlike': [torch.where(U < .5, X, 1000 * X), torch.where(U < .3, X / X.std(), torch.randn(X.shape,
        generator=G('w'))), X * (.6 * torch.randn(b.shape, generator=G('ln'))).exp(), torch.where(U < .5, oblong(),
        oblong().mT), torch.where(U < .5, X, X + X.roll(1, -1) + X.roll(1, -2))],
    'than the rest': [torch.where(b == 77, 1000 * X, X), torch.where(b % 70 == 3, .01 * X, X), torch.where(
        b == 5, oblong() * torch.tensor([1., 30.]).repeat(8)[:, None], X), torch.where(b < 3, X * 20, X), torch.where(
        b == 199, torch.cumsum(torch.randn(X.shape, generator=G('cum')), -1) * 30, X)],
    'copies of others': [
        X[:20].repeat(10, 1, 1, 1), torch.cat([X[:50].roll((j, 3 * j), (-1, -2)) for j in range(4)]),
        torch.cat([X, -X]), torch.cat([X[:50], X[:50].flip(-1), X[:50].mT]),
        torch.cat([X[:99], 1.7 * torch.rot90(X[:99], 1, (-1, -2))]),
        torch.cat([X, X[7:8]]), torch.cat([X[:90], X[:90] + 3])],
    'resemble': [
        torch.cat([X[:99], X[:99] + .05 * torch.randn(99, 1, L, L, generator=G('n'))]),
        torch.cat([X[:100], X[:100] + .2 * X[100:]]), X[:50].repeat_interleave(4, 0) + .1 * X,
        X[:100].repeat(2, 1, 1, 1).tanh() + .05 * X, torch.cat([X[:99], X[:99].clamp(-.7, .7) + .01 * X[99:198]])],
    'discrete values': [
        (X > 0).float(), torch.poisson(X.exp(), generator=G('p')), (X * 1.5).round(), torch.floor(2 * X),
        torch.poisson(torch.full_like(X, 20.), generator=G('p')), (X + 300).half().float(),
        X.sign() + 2 * (X.abs() > 1)],
    'not like their mirror images': [
        X + .3 * (X.roll(-1, -1) - X.roll(1, -1)) * X, spiral_arms(), X + .3 * (X.roll(1, -2) - X).square(),
        torch.cumsum(X.relu() - .4, -1) % 3, X + .4 * X.roll(1, -1) * X],
    'not isotropic': [
        oblong(), X + .5 * torch.randn(N, 1, L, 1, generator=G('st')), X + X.roll(1, -1) + X.roll(2, -1),
        X + .7 * X.roll((1, 1), (-1, -2)), X * (1 + .8 * torch.randn(N, 1, L, 1, generator=G('g')).tanh())],
    'not symmetric': [X.exp(), X + .3 * X.square(), X + .5, X + .3 * (X.roll(1, -1) - X.roll(-1, -1)).square(),
                      (X + X.roll(1, -1) + X.roll(1, -2)).square() / 2 - X],
    'heavy tails': [
        torch.from_numpy(np.random.default_rng(0).standard_t(2, X.shape)).float(), X**5, (2 * X).sinh(),
        X / (.05 + gauss(name='den').abs()), X * (torch.rand(X.shape, generator=G('b')) < .02) * 20 + .1 * X],
    'rounding': [X + 1e6, X + 2e5, X - 1e5, 1e-3 * X + 100, 1e3 * X + 1e8],
    'not periodic': [gauss(N, 32)[..., :L, :L], X + torch.randn(N, 1, 1, 1, generator=G('rf')) * cols / 4,
                     torch.cumsum(X, -1) - X.sum(-1, keepdim=True) / 2, torch.cumsum(X, -2), X + (cols - 7.5)**2 / 9 * U
                     * (cols - 7.5).sign()]}


@pytest.mark.parametrize('word,i', [(w, i) for w, of in FAULTS.items() for i in range(len(of))])
def test_every_kind_is_named(word, i):
    heard = said(FAULTS[word][i])
    assert any(word in s for s in heard), heard


@pytest.mark.parametrize('i', range(len(FAULTS['the amplitude depends on the place'])))
def test_a_pattern_is_not_blamed_on_the_border(i):
    heard = said(FAULTS['the amplitude depends on the place'][i])
    assert not any('not periodic' in s or 'along the stack' in s or 'resemble' in s for s in heard), heard


@pytest.mark.parametrize('beta,side,n', ((.5, 8, 100), (.68, 16, 300), (.76, 16, 40), (.68, 8, 25)))
def test_well_behaved_fields_are_left_in_peace(beta, side, n):
    x = Phi4(beta, side).simulate(5 * n, G('peace', beta, side)).fields
    assert not [s for part in x.split(n) for s in said(part)]
    assert not [s for i in range(5) for s in said(gauss(n, side, f'peace {i}'))]


def test_a_phase_that_is_uniform_bounds_the_pattern():
    "Whatever the fields are: a few, with peaks, shifted at random."
    g, alarms = np.random.default_rng(0), 0
    for _ in range(200):
        x = g.standard_t(4, (20, L, L)) * np.exp(.3 * g.standard_normal((20, 1, 1)))
        x = np.stack([np.roll(f, g.integers(0, L, 2), (0, 1)) for f in x])
        alarms += bool(Y.place_faults(torch.from_numpy(x)[:, None], level=.03)) # eight bounds of 3 % in all
    assert alarms / 200 < 8 * .03


def test_sums_over_signs_keep_their_bound():
    for c in (np.ones(12), np.arange(1., 13), np.r_[10., np.ones(11)]):
        signs = np.array(list(itertools.product((-1, 1), repeat=12))) * c
        z = np.array([Y.from_zero(s.mean(), s.std(ddof=1) / 12**.5, 12) for s in signs])
        assert np.allclose(z, signs.sum(1) / np.sqrt((c**2).sum()))
        for t in (1.5, 2, 2.5, 3): assert (np.abs(z) > t).mean() <= 2 * math.exp(-t**2 / 2)


def test_copies_are_counted_exactly():
    x = torch.cat([X[:60], -X[:9].roll((3, 5), (-1, -2)), 5 * X[:4].mT + 2, torch.rot90(X[:7], 3, (-1, -2))])
    assert Y.copies(x) == 20 and Y.copies(X) == 0 and Y.copies(x[torch.randperm(len(x), generator=G('p'))]) == 20
    signs = (x > 0).float()
    assert Y.copies(signs, discrete=True) == 0 and Y.copies(signs[:5].repeat(3, 1, 1, 1), discrete=True) == 10


def test_the_correlation_of_phases_along_a_chain():
    r = Y.resemblance(markov(.8, 400))
    assert r['lag'] == 1 and .55 < r['cosine'] < .8 and r['tau'] > 3 # pi/4 rho for weak ones, 1 for rho = 1
    assert Y.resemblance(X) == dict(lag=0, cosine=0., tau=1., twins=0.)


def test_reflections_turn_the_numbers_of_handedness_round():
    value = lambda of: {k: v for k, (v, _) in of.items()}
    x = torch.randn(30, 1, 32, 32, generator=G('h'), dtype=torch.float64)
    h = value(Y.handedness(x))
    assert len(h) == 21
    for y, flips in ((x.flip(-1), ('horizontal asym', 'handed')), (x.flip(-2), ('vertical asym', 'handed')),
                     (torch.rot90(x, 2, (-1, -2)), ('horizontal asym', 'vertical asym'))):
        for k, v in value(Y.handedness(y)).items():
            assert abs(v - (-1 if k[0].startswith(flips) else 1) * h[k]) < 1e-9, k
    for k, v in value(Y.handedness(x.mT)).items():
        swapped = k[0].replace('horizontal asym', 'vertical asym') if 'horizontal asym' in k[0] else k[0].replace(
            'vertical asym', 'horizontal asym')
        assert abs(v - (1 if 'asym' in k[0] else -1) * h[swapped, k[1]]) < 1e-9, k
    odd = value(Y.oddness(x))
    assert all(abs(v + odd[k]) < 1e-12 for k, v in value(Y.oddness(-x)).items())


SAME = {'oblong': oblong(), 'skew': X.exp(), 'pattern': X * (1 + .9 * wave), 'copies': X[:50].repeat(4, 1, 1, 1),
        'drift': X * (1 + b / N), 'clean': X}


@pytest.mark.parametrize('name', SAME)
def test_fit_says_what_diagnose_says_and_recommendations_obey(name):
    x = SAME[name][::2] if name in ('oblong', 'skew', 'pattern') else SAME[name]
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter('always')
        m = LogConcaveModel('haar', nodes=12, polish_steps=0).fit(x, seed=0)
    d = diagnose(x, wavelets=('haar',), halves=(False,), coarsest=8)
    assert [str(w.message) for w in given] == m.warnings and set(m.warnings) <= set(d.warnings)
    assert (m.options['even'], m.options['isotropic']) == (d.recommend['even'], d.recommend['isotropic'])
    assert d.recommend['even'] == (name != 'skew') and d.recommend['isotropic'] == (name != 'oblong')
    told = diagnose(x, wavelets=('haar',), halves=(False,), coarsest=8, even=True, isotropic=True).recommend
    assert told['even'] == d.recommend['even'] and told['isotropic'] == d.recommend['isotropic']


def test_what_is_asked_for_is_kept_and_warned_of():
    with pytest.warns(UserWarning, match='not symmetric'):
        m = LogConcaveModel('haar', even=True, polish_steps=0).fit(X + .5, seed=0)
    free = LogConcaveModel('haar', even=False, polish_steps=0).fit(X)
    assert m.options['even'] is True and free.options['even'] is False


def test_ising_and_counts_are_refused_for_their_values():
    with pytest.warns(UserWarning), pytest.raises(ValueError, match='singular.*discrete values: 18'):
        LogConcaveModel('haar', nodes=12, polish_steps=0).fit(torch.poisson(X.exp(), generator=G('p')))
    for entry in (lambda x: LogConcaveModel(polish_steps=0).fit(x), diagnose):
        with pytest.raises(ValueError, match='x. is 1 at 100 % of the pixels.*discrete values: 2'):
            entry(X.sign().to(torch.int8).numpy())


class Maps: # as an h5py or xarray variable
    def __init__(self, a): self.a = a
    def __array__(self, dtype=None, copy=None): return self.a


Z = gauss(30, 8)[:, 0].numpy()
TAKEN = {
    'big-endian': Z.astype('>f4'), 'big-endian double': Z.astype('>f8'), 'double': Z.astype(float), 'lists': Z.tolist(),
    'list': list(torch.from_numpy(Z)), 'list of arrays': list(Z), 'longdouble': Z.astype(np.longdouble),
    'half': torch.from_numpy(Z).half(), 'bfloat': torch.from_numpy(Z).bfloat16(), 'array interface': Maps(Z),
    'fortran': np.asfortranarray(Z), 'backwards': Z[::-1].copy()[::-1], 'integers': (Z * 1000).astype('>i2'),
    'unsigned': (Z * 1000 + 9000).astype(np.uint16)}


@pytest.mark.parametrize('kind', TAKEN)
def test_maps_of_any_kind_are_taken(kind):
    x = Y.as_fields(TAKEN[kind])
    assert x.shape == (30, 1, 8, 8) and x.dtype in (torch.float32, torch.float64)
    want = torch.from_numpy(Z)[:, None]
    if kind in ('integers', 'unsigned'): x = (x - (9000 if kind == 'unsigned' else 0)) / 1000
    assert (x - want).abs().max() < 2e-2
    if kind not in ('integers', 'unsigned', 'half', 'bfloat'): assert torch.equal(x.float(), want)
    if kind not in ('double', 'list', 'big-endian', 'half'): return
    m = LogConcaveModel('haar', nodes=3, width=1, polish_steps=0).fit(TAKEN[kind], seed=0)
    assert torch.equal(m.energy(TAKEN[kind]), m.energy(Y.as_fields(TAKEN[kind])))
    assert m.sample(2, seed=0).dtype == (torch.float64 if kind == 'double' else torch.float32)


def test_read_only_maps_are_left_alone_and_large_integers_keep_their_digits(tmp_path):
    np.save(tmp_path / 'x.npy', Z)
    x = np.load(tmp_path / 'x.npy', mmap_mode='r')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert torch.equal(Y.as_fields(x)[:, 0], torch.from_numpy(Z))
    big = (2**40 + (Z * 1000).astype(np.int64))
    assert torch.equal(Y.as_fields(big)[:, 0], torch.from_numpy(big.astype(float)))


@pytest.mark.parametrize('bad,word', [
    ('maps.npy', "the path 'maps.npy'"), ({'a': Z, 'b': Z}, "dict of several arrays, 'a', 'b'"), ((f for f in Z),
     'generator, which can be read once'), ([Z[0], Z[0, :4, :4]], r'maps of shapes \[\(4, 4\), \(8, 8\)\]'),
    (Z.astype(str), 'no array of numbers'), (Z.astype(object), 'object, no array of numbers'), (np.zeros(
        (30, 16, 16), 'M8[s]'), 'datetime64.s., no array'), (np.zeros(30, [('a', float)]), 'no array of numbers')])
def test_what_is_no_stack_of_maps_is_called_by_its_name(bad, word, tmp_path):
    for entry in (Y.as_fields, diagnose, LogConcaveModel(polish_steps=0).fit):
        again = (f for f in Z) if 'generator' in word else bad
        with pytest.raises(ValueError, match=word): entry(again)
    np.savez(tmp_path / 'x.npz', maps=Z, noise=Z)
    with np.load(tmp_path / 'x.npz') as f, pytest.raises(ValueError, match="NpzFile of several arrays, 'maps', 'noi"):
        Y.as_fields(f)


def test_a_constant_offset_is_spoken_of_without_its_digits():
    assert all(len(s) < 250 and '000000' not in s for s in said(X + 1e6))


def test_seeds():
    x, state = gauss(40, 4), torch.get_rng_state()
    m = [LogConcaveModel('haar', polish_steps=1).fit(x, seed=s)
         for s in (3, np.int64(3), torch.Generator().manual_seed(3), None)]
    y = [m[0].sample(5, seed=s) for s in (7, np.int32(7), torch.Generator().manual_seed(7), None, None)]
    assert torch.equal(torch.get_rng_state(), state)
    a, b, c, d = ([h['moments'] for h in k.history] for k in m) # of chains
    assert a == b == c != d and torch.equal(y[0], y[1]) and torch.equal(y[0], y[2]) and not torch.equal(y[3], y[4])
    again = LogConcaveModel('haar', polish_steps=1).fit(x, seed=m[3].seed)
    assert [h['moments'] for h in again.history] == d
    for bad in (1.5, 'a', True):
        with pytest.raises(ValueError, match='seed is'): m[0].sample(1, seed=bad)


def test_couplings_are_the_energy_of_their_level():
    m = LogConcaveModel('haar', polish_steps=0).fit(X.double(), seed=0)
    for level, x in ((0, X[:9].double()), (2, X[:9, :, :4, :4].double())):
        c = m.couplings(level)
        f = Family(c['side'], Spline(c['nodes']), Spline(c['bond nodes']) if c['bond nodes'] is not None else None,
                   [c['pairs']])
        f.theta.copy_(torch.cat([c['curvature'], *([c['bond curvature']] if f.bond else []), torch.ones(1).double()]))
        assert torch.allclose(f.energy(x), m.levels[level].energy(x))
    with pytest.raises(ValueError, match='level is 4; expected a number from 0'): m.couplings(4)
    assert m.history[0]['side'] == 16 and m.sample(2, seed=0).dtype == torch.float64


def test_files_that_are_no_models_are_called_by_name(tmp_path):
    (tmp_path / 'empty').write_bytes(b'')
    (tmp_path / 'text.json').write_text('{"a": 1}')
    save_file({'a': torch.ones(2)}, tmp_path / 'weights.safetensors')
    save_file({'a': torch.ones(2)}, tmp_path / 'header', {'deepstruct': 'not json'})
    for name, about in (('other', {'options': {}, 'levels': []}), ('list', [1, 2])):
        save_tensors(tmp_path / name, 'log-concave model', about, {'a': torch.ones(2)})
    m = LogConcaveModel('haar', polish_steps=0).fit(gauss(40, 4), seed=0)
    m.save(tmp_path / 'whole')
    (tmp_path / 'half').write_bytes((tmp_path / 'whole').read_bytes()[:900])
    for name in ('empty', 'text.json', 'weights.safetensors', 'header', 'other', 'list', 'half', '.'):
        with pytest.raises(ValueError, match='folder' if name == '.' else name):
            LogConcaveModel.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match='nowhere'): LogConcaveModel.load(tmp_path / 'nowhere')
    assert torch.equal(LogConcaveModel.load(tmp_path / 'whole').sample(2, seed=1), m.sample(2, seed=1))
