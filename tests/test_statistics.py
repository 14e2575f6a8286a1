"Class moments and what is computed from them, against numpy, scikit-learn and closed forms."
import math

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn

from deepstruct import statistics as S
from deepstruct.core import generator

def data(n=400, d=5, C=4, equal=True):
    g = generator('data', n, d, C)
    y = torch.arange(n) % C if equal else torch.randint(C, (n,), generator=g)
    return (torch.randn(n, d, generator=g, dtype=torch.float64) @ torch.randn(d, d, generator=g, dtype=torch.float64)
            + torch.randn(C, d, generator=g, dtype=torch.float64)[y], y)

def stats(x, y, C=4, size=33, blocks=10):
    s = S.ClassStatistics(C, x.shape[1], blocks)
    for a, b in zip(x.split(size), y.split(size)): s.update(a, b)
    return s

@pytest.mark.parametrize('size', (1, 33, 1000))
@pytest.mark.parametrize('equal', (True, False))
def test_moments(size, equal):
    x, y = data(equal=equal)
    m = stats(x, y, size=size).moments()
    mu = np.stack([x[y == c].numpy().mean(0) for c in range(4)])
    W = np.mean([np.cov(x[y == c].numpy().T, bias=True) for c in range(4)], 0)
    B = np.cov(mu.T, bias=True)
    assert np.allclose(m.mean, mu) and np.allclose(m.within(), W) and np.allclose(m.between(), B)
    assert math.isclose(S.fisher(m), np.trace(np.linalg.solve(W, B)) / 4, rel_tol=1e-9)
    assert math.isclose(S.separation(m), np.trace(B) / np.trace(B + W), rel_tol=1e-9)
    gaps = [((mu[a] - mu[b])**2).sum() for a in range(4) for b in range(a)]
    assert math.isclose(S.concentration(m), np.trace(W) / np.mean(gaps), rel_tol=1e-9)
    assert math.isclose(S.nc1(m), np.trace(W @ np.linalg.pinv(B)) / 4, rel_tol=1e-6)

def test_large_offsets_do_not_cancel():
    x, y = data()
    assert math.isclose(S.fisher(stats(x + 1e6, y).moments()), S.fisher(stats(x, y).moments()), rel_tol=1e-6)

def test_fisher_by_scikit_learn():
    x, y = data()
    z = LinearDiscriminantAnalysis(solver='svd').fit(x.numpy(), y.numpy()).transform(x.numpy())
    means = np.stack([z[y.numpy() == c].mean(0) for c in range(4)])
    assert math.isclose(S.fisher(stats(x, y).moments()), (means**2).sum() / 16, rel_tol=1e-9)

def test_more_features_never_lower_fisher_and_projection_agrees():
    x, y = data()
    values = [S.fisher(stats(x[:, :k], y).moments()) for k in range(1, 6)]
    assert all(a <= b + 1e-12 for a, b in zip(values, values[1:]))
    s, V = stats(x, y), torch.randn(5, 2, generator=generator('V'), dtype=torch.float64)
    assert math.isclose(S.fisher(s.project(V).moments()), S.fisher(stats(x @ V, y).moments()), rel_tol=1e-9)
    total = np.cov(x.numpy().T, bias=True)
    P = S.principal(s.moments(), 3)
    assert (torch.allclose(P.T @ P, torch.eye(3, dtype=torch.float64), atol=1e-10)
            and math.isclose(float((P.T @ torch.as_tensor(total) @ P).trace()), np.linalg.eigvalsh(total)[-3:].sum(),
                             rel_tol=1e-6))

def test_jackknife_of_a_mean_is_the_standard_error():
    x = torch.randn(1000, 1, generator=generator('jack'), dtype=torch.float64)
    s = S.ClassStatistics(2, 1, 100); s.update(x, torch.arange(1000) // 5 % 2)
    value, error = s.estimate(lambda m: float(m.mean.mean()))
    assert math.isclose(value, float(x.mean()), abs_tol=.01) and abs(error / (float(x.std()) / 1000**.5) - 1) < .25

def test_floor():
    g = generator('floor')
    values = []
    for _ in range(200):
        s = S.ClassStatistics(3, 8); s.update(torch.randn(60, 8, generator=g), torch.arange(60) % 3)
        values.append(S.fisher(s.moments()))
    assert abs(np.mean(values) - S.fisher_floor(s.moments())) < 4 * np.std(values) / 200**.5

def test_linear_probe():
    x, y = data()
    want = LinearDiscriminantAnalysis(solver='lsqr', priors=[.25] * 4).fit(x.numpy(), y.numpy()).predict(x.numpy())
    assert (S.linear_probe(stats(x, y).moments(), 0.)(x).numpy() == want).mean() > .995

def test_layers_by_hooks():
    g = generator('hooks')
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 2))
    x, y = torch.randn(40, 1, 8, 8, generator=g), torch.arange(40) % 2
    out = S.layer_statistics(net, ['1', '3'], zip(x.split(7), y.split(7)), 2)
    z = net[:2](x).mean((2, 3)).detach().double()
    assert torch.allclose(out['1'].moments().mean, torch.stack([z[y == c].mean(0) for c in (0, 1)]), atol=1e-6)
    assert (not net[1]._forward_hooks
            and S.layer_statistics(net, ['1'], [(x, y)], 2, S.flattened)['1'].moments().features == 108)
    with pytest.raises(ValueError, match="no layer '7'"): S.layer_statistics(net, ['7'], [(x, y)], 2)
    assert S.averaged(torch.ones(2, 3, 4, 4, dtype=torch.complex64)).shape == (2, 6)

def test_refused():
    x, y = data(20, 15)
    for call, word in ((lambda: S.ClassStatistics(1, 3), 'two or more'),
                       (lambda: S.ClassStatistics(2, 3, 1), 'two or more'), (lambda: stats(x, y + 1), 'from 0 to 3'),
                       (lambda: stats(x * math.inf, y), 'NaN or infinite'),
                       (lambda: S.fisher(stats(x, y).moments()), 'floor is infinite'),
                       (lambda: stats(x[:3], y[:3]).moments(), 'no sample')):
        with pytest.raises(ValueError, match=word): call()
    assert S.fisher_floor(stats(x, y).moments()) == math.inf and S.fisher(stats(x, y).moments(), .1) > 0

# Blocks: whatever the order of the samples

def shuffles(n, C): # orders in which the same samples may come
    y = torch.arange(n) % C
    yield 'in turn', torch.arange(n)
    yield 'class by class', y.argsort(stable=True)
    yield 'backwards', torch.arange(n).flip(0)
    yield 'in pairs', torch.arange(n).view(-1, 2).flip(0).flatten()
    yield 'at random', torch.randperm(n, generator=generator('order'))

@pytest.mark.parametrize('C, each', [(10, 20), (10, 40), (5, 2), (2, 7), (3, 13), (20, 3)])
def test_no_order_empties_a_class(C, each):
    x, y = torch.randn(C * each, 3, generator=generator('o', C, each)), torch.arange(C * each) % C
    for _, i in shuffles(C * each, C) if C * each % 2 == 0 else [('', torch.arange(C * each))]:
        s = stats(x[i], y[i], C, size=7)
        value, error = s.estimate(S.separation)
        assert error > 0 and math.isclose(value, S.separation(stats(x, y, C).moments()), rel_tol=1e-9)
        assert max(int(b.n.max()) for b in s.blocks) <= -(-each // 10)

def test_errors_do_not_follow_a_period_of_the_samples():
    "Ten copies in turn, each with its own offset: dealt in turn, every block would be one copy."
    g = generator('period')
    x = torch.randn(2000, 1, generator=g) + torch.linspace(-3, 3, 10).repeat(200)[:, None]
    s = S.ClassStatistics(2, 1); s.update(x, torch.arange(2000) // 10 % 2)
    assert s.estimate(lambda m: float(m.mean.mean()))[1] < 2 * float(x.std()) / 2000**.5

def test_one_sample_has_no_error():
    s = stats(*data(9, 2, 4, True)) # classes of 3, 2, 2, 2
    s.update(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))
    assert s.estimate(S.separation)[1] > 0
    with pytest.raises(ValueError, match='class 3 has one sample'): stats(*data(7, 2, 4)).estimate(S.separation)

# The floor of unequal classes, and of few samples

@pytest.mark.parametrize('n, d', [([30, 30, 30], 8), ([100, 10, 10], 8), ([200, 3, 3], 5), ([40, 20, 10, 5], 12),
                                  ([400, 2], 3), ([60, 30, 9, 9, 9], 30), ([25, 1, 1], 4)])
def test_floor_of_unequal_classes(n, d):
    g, y, values = generator('unequal', n, d), torch.repeat_interleave(torch.tensor(n)), []
    for _ in range(400):
        m = S.ClassMoments(len(n), d); m.update(torch.randn(len(y), d, generator=g), y)
        values.append(S.fisher(m))
    floor = S.fisher_floor(m)
    assert abs(np.mean(values) - floor) < 4 * np.std(values) / 400**.5 + .03 * floor

@pytest.mark.parametrize('n', (3, 4, 7, 30))
def test_floor_of_two_classes_is_the_mean_of_F(n):
    "Of one feature and two classes the ratio is F / 4 (n - 1) times n / n: an exact mean."
    from scipy.stats import f
    m = S.ClassMoments(2, 1); m.update(torch.randn(2 * n, 1, generator=generator('F', n)), torch.arange(2 * n) % 2)
    x = [float(m.mean[c]) for c in (0, 1)]
    F = (x[0] - x[1])**2 * n / 2 / (float(m.scatter.sum()) / (2 * n - 2))
    assert math.isclose(S.fisher(m) / F, 1 / (4 * (n - 1)), rel_tol=1e-9)
    assert math.isclose(S.fisher_floor(m), f(1, 2 * n - 2).mean() / (4 * (n - 1)), rel_tol=1e-9)

def test_floor_grows_into_the_equal_one():
    floor = lambda n: S.fisher_floor(moments_of(n, 4))
    assert math.isclose(floor([1000, 1001]), floor([1000, 1000]), rel_tol=1e-3) and floor([900, 100]) > 2 * floor(
        [500, 500]) and floor([5, 1]) == math.inf

def moments_of(n, d, mean=None, scatter=None):
    m = S.ClassMoments(len(n), d)
    for c, k in enumerate(n): m.add(c, k, torch.zeros(d, dtype=torch.float64) if mean is None else mean[c],
                                    k * torch.eye(d, dtype=torch.float64) if scatter is None else scatter[c])
    return m

# Degenerate: never the best value, never a raw error

POINTS = torch.eye(3, dtype=torch.float64)
@pytest.mark.parametrize('mean, what', [(torch.zeros(3, 3), 'all 3 class means'), (torch.ones(3, 3) * .1, 'all 3'),
                                        (POINTS[[0, 0, 1]], 'classes 0 and 1'), (POINTS[[2, 1, 2]], 'classes 0 and 2'),
                                        (1e6 + POINTS[[0, 1, 1]], 'classes 1 and 2')])
@pytest.mark.parametrize('tight', (0., 1e-6, 1.))
def test_classes_on_one_point_have_not_collapsed(mean, what, tight):
    m = moments_of([50] * 3, 3, mean.double(), [50 * tight * torch.eye(3, dtype=torch.float64)] * 3)
    with pytest.raises(ValueError, match=what): S.nc1(m)
    if 'all' in what:
        for f in (S.nc2, S.concentration, lambda m: S.nc3(m, POINTS)):
            with pytest.raises(ValueError, match='class means are the same'): f(m)

@pytest.mark.parametrize('dead', [[0], [4], [1, 3], [0, 1, 2]])
@pytest.mark.parametrize('value', (0., .1, -7., 1e5))
def test_features_that_never_vary_do_not_count(dead, value, capsys):
    x, y = data()
    z = torch.stack([torch.full((400,), value, dtype=torch.float64) if k in dead else x[:, k] for k in range(5)], 1)
    rest = [k for k in range(5) if k not in dead]
    s, t = stats(z, y), stats(x[:, rest], y)
    for f in (S.fisher, S.fisher_floor): assert math.isclose(f(s.moments()), f(t.moments()), rel_tol=1e-9)
    assert np.allclose(s.estimate(S.fisher), t.estimate(S.fisher))
    assert torch.equal(S.linear_probe(s.moments(), 0.)(z), S.linear_probe(t.moments(), 0.)(x[:, rest]))

@pytest.mark.parametrize('spoil, what', [
    (lambda x, y: torch.cat([x, x[:, :1]], 1), 'determine others'),
    (lambda x, y: torch.cat([x, 1 - x.sum(1, keepdim=True)], 1), 'determine others'),
    (lambda x, y: torch.softmax(x.float(), 1), 'determine others'),
    (lambda x, y: torch.cat([x, y[:, None].double()], 1), 'feature 5 varies between classes and within none'),
    (lambda x, y: torch.nn.functional.one_hot(y).double(), 'within none'),
    (lambda x, y: torch.ones(400, 3), 'none of the 3 features')])
def test_undefined_ratios_are_named(spoil, what):
    x, y = data()
    m = stats(spoil(x, y), y).moments()
    for f in (S.fisher, lambda m: S.linear_probe(m, 0.)):
        with pytest.raises(ValueError, match=what): f(m)

def test_no_moments_no_number():
    for f in (S.fisher, S.fisher_floor, S.separation, S.concentration, S.nc1, S.nc2, lambda m: S.principal(m, 1)):
        with pytest.raises(ValueError, match='class 0 has no sample'): f(S.ClassMoments(3, 2))

# Labels of every usual kind; the shift of moments

@pytest.mark.parametrize('kind', [lambda y: y.numpy(), lambda y: y.tolist(), lambda y: y.int(), lambda y: y.byte(),
                                  lambda y: y[:, None], lambda y: y.numpy().astype('>i2'), lambda y: y.numpy()[::1],
                                  lambda y: nn.functional.one_hot(y), lambda y: nn.functional.one_hot(y).float(),
                                  lambda y: [np.int64(v) for v in y], lambda y: list(y.unbind()),
                                  lambda y: y.numpy().astype(np.uint16), lambda y: nn.functional.one_hot(y).numpy()])
def test_labels_are_read(kind):
    x, y = data(40, 2)
    s = S.ClassStatistics(4, 2); s.update(x, kind(y))
    assert torch.equal(s.moments().mean, stats(x, y, size=40).moments().mean)

@pytest.mark.parametrize('labels, what', [(['a'] * 4, 'text'), ([0., 1., 2., 3.], 'expected integers'),
                                          ([[.5, .5, 0, 0]] * 4, 'not one-hot'), ([0, 1, 2], r'\(3,\)'),
                                          ([1, 2, 3, 4], 'from 1 to 4'), ([-1, 0, 1, 2], 'from -1'),
                                          ([[0, 1, 2, 3]], r'\(1, 4\)'), (3, r'\(\)'), ([None] * 4, 'object'),
                                          ([[1, 1, 0, 0]] * 4, 'not one-hot'), ([[0], [1, 2], [3], [0]], 'numbers'),
                                          (torch.zeros(4, dtype=torch.cfloat), 'expected integers'), ({0, 1}, 'set')])
def test_labels_are_refused(labels, what):
    for s in (S.ClassStatistics(4, 2), S.ClassMoments(4, 2)):
        with pytest.raises(ValueError, match=what): s.update(torch.randn(4, 2), labels)

@pytest.mark.parametrize('shift', (1e3, -1e5, 1e7))
@pytest.mark.parametrize('dtype', (torch.float32, torch.float64))
def test_no_statistic_sees_an_offset(shift, dtype):
    x, y = data()
    x = (x * 64).round() / 64 # exact in either type
    z = (x + shift).to(dtype)
    x = (z.double() - shift)
    a, b = stats(x, y).moments(), stats(z, y).moments()
    for f in (S.fisher, S.separation, S.concentration, S.nc1): assert math.isclose(f(a), f(b), rel_tol=1e-5)
    assert torch.equal(S.nearest_mean(a, x), S.nearest_mean(b, z))
    assert torch.equal(S.linear_probe(a)(x), S.linear_probe(b)(z))

# Hooks: what the module gave, all of it, once, in a known layout; and a network that is left as it was

class Tokens(nn.Module): # (B, 1, 4, 4) -> (B, 5, 6), with attention, a rectifier in place, and dropout
    def __init__(self, batch_first=True):
        super().__init__()
        self.cut, self.norm, self.relu = nn.Conv2d(1, 6, 2, 2), nn.LayerNorm(6), nn.ReLU(inplace=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=batch_first)
        self.line, self.drop, self.head = nn.Linear(6, 6), nn.Dropout(.5), nn.Linear(6, 2)
        self.batch_first = batch_first
    def forward(self, x):
        z = self.norm(self.cut(x).flatten(2).transpose(1, 2))
        z = z if self.batch_first else z.transpose(0, 1)
        z = self.relu(self.line(self.attention(z, z, z)[0]))
        return self.head(self.drop(z).mean(1 if self.batch_first else 0))

def one(net, layer, x, y, **how): return S.layer_statistics(net, [layer], [(x, y)], 2, **how)[layer].moments().mean

@pytest.mark.parametrize('batch_first', (True, False))
@pytest.mark.parametrize('B', (4, 12))
def test_tokens_are_averaged_over_positions(batch_first, B): # 4 tokens: as many as images, for B = 4
    torch.manual_seed(0)
    net = Tokens(batch_first).eval()
    x, y = torch.randn(B, 1, 4, 4, generator=generator('tokens')), torch.arange(B) % 2
    with torch.no_grad():
        z = net.norm(net.cut(x).flatten(2).transpose(1, 2))
        t = z if batch_first else z.transpose(0, 1)
        attended = net.attention(t, t, t)[0]
        lines = net.line(attended)
        back = lambda v: v if batch_first else v.transpose(0, 1)
    class_means = lambda v: torch.stack([v[y == c].mean(0) for c in (0, 1)]).double()
    for layer, want in (('attention', back(attended).mean(1)), ('line', back(lines).mean(1)),
                        ('relu', back(lines).relu().mean(1)), ('norm', back(t).mean(1)),
                        ('drop', back(lines).relu().mean(1)), ('cut', net.cut(x).mean((2, 3)).detach())):
        assert torch.allclose(one(net, layer, x, y), class_means(want), atol=1e-6), layer

@pytest.mark.parametrize('net, layer, want', [
    (nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.ReLU(inplace=True)), '1', lambda n, x: n[:2](x)),
    (nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True)), '0', lambda n, x: n[0](x).mean((2, 3))),
    (nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.SiLU(inplace=True), nn.Hardtanh(inplace=True)), '1',
     lambda n, x: n[:2](x)),
    (nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ELU(inplace=True)), '1',
     lambda n, x: n[:2](x).mean((2, 3))),
    (nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Dropout(.9), nn.LeakyReLU(inplace=True)), '2',
     lambda n, x: n[:2](x))])
@pytest.mark.parametrize('reduce', (S.averaged, S.flattened))
def test_in_place_changes_come_too_late(net, layer, want, reduce):
    x, y = torch.randn(20, 1, 4, 4, generator=generator('place')), torch.arange(20) % 2
    with torch.no_grad(): z = want(net.eval(), x)
    if reduce is S.flattened and z.shape[1] == 3 and layer in ('0', '1') and isinstance(net[0], nn.Conv2d): return
    assert torch.allclose(one(net.train(), layer, x, y, reduce=reduce), torch.stack([z[y == c].mean(0) for c in (0, 1)]
                                                                                    ).double(), atol=1e-6)

def images(n=24, side=8): return torch.randn(n, 1, side, side, generator=generator('images', n)), torch.arange(n) % 2

class Moving(nn.Module): # a module of the user that writes in a buffer, in any mode, and draws
    def __init__(self): super().__init__(); self.register_buffer('count', torch.zeros(1))
    def forward(self, x): self.count += 1; self.last = torch.rand(1); return x

def test_measuring_leaves_the_network_as_it_was():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(.5), Moving(), nn.AdaptiveAvgPool2d(1),
                        nn.Flatten(), torch.nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2)))
    net[1].eval() # one frozen by hand
    before, modes = {k: v.clone() for k, v in net.state_dict().items()}, [m.training for m in net.modules()]
    x, y = images()
    state = torch.get_rng_state()
    a, b = (one(net, '4', x, y) for _ in range(2))
    assert torch.equal(a, b) and torch.equal(state, torch.get_rng_state())
    assert [m.training for m in net.modules()] == modes and all(not m._forward_hooks for m in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    with pytest.raises(ValueError, match='labels'): one(net, '4', x, y + 7)
    assert [m.training for m in net.modules()] == modes

class Twice(nn.Module):
    def __init__(self): super().__init__(); self.conv, self.relu = nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()
    def forward(self, x): return self.relu(self.conv(self.relu(x))).mean((2, 3))

class Last(nn.Module): # channels last, in a module that nothing is known of
    def forward(self, x): return x.permute(0, 2, 3, 1)

@pytest.mark.parametrize('net, layer, what', [
    (Twice(), 'relu', 'more than once'),
    (nn.Sequential(nn.Conv2d(1, 3, 3), Last(), nn.Flatten()), '1', 'channels stand'),
    (nn.Sequential(nn.Conv2d(1, 3, 3), Last(), nn.LayerNorm(3)), '', 'channels stand'),
    (nn.Sequential(nn.Sequential(nn.Conv2d(1, 3, 3), Last()), nn.Flatten()), '0', 'channels stand'),
    (nn.Sequential(nn.Unflatten(1, (1, 1)), nn.Flatten(), nn.Linear(64, 2)), '0', 'channels stand'),
    (nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(0, 1)), '1', 'one row for each'),
    (nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Unflatten(1, (2, 4))), '2', 'channels stand')])
def test_what_is_not_known_is_asked(net, layer, what):
    with pytest.raises(ValueError, match=what): one(net, layer, *images())

def test_the_axis_of_channels_may_be_said():
    x, y = images()
    net = nn.Sequential(nn.Conv2d(1, 3, 3), Last(), nn.Flatten())
    assert torch.allclose(one(net, '1', x, y, channels=-1), one(net, '0', x, y), atol=1e-12)
    net[1].channel_axis = -1
    assert torch.allclose(one(net, '1', x, y), one(net, '0', x, y), atol=1e-12)

@pytest.mark.parametrize('batches, what', [(lambda x, y: [], 'no image'), (lambda x, y: iter([]), 'no image'),
                                           (lambda x, y: [(x[:0], y[:0])], 'no image'),
                                           (lambda x, y: [dict(image=x, label=y)], 'a dict with image, label'),
                                           (lambda x, y: [x], 'a Tensor'), (lambda x, y: [(x, y, y)], 'a tuple of 3'),
                                           (lambda x, y: [((x * 9).byte(), y)], 'uint8'),
                                           (lambda x, y: [('a.png', y)], 'numbers'),
                                           (lambda x, y: [(x, y[:3])], r'\(3,')])
def test_batches_are_refused_by_name(batches, what):
    x, y = images()
    with pytest.raises(ValueError, match=what): S.layer_statistics(nn.Conv2d(1, 3, 3), [''], batches(x, y), 2)

def test_batches_of_arrays_and_names_that_are_drawn():
    x, y = images()
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    a = S.layer_statistics(net, (k for k in ('0', '1')), [(x.numpy(), y.numpy()), [x.numpy().astype('>f4'), y]], 2)
    assert set(a) == {'0', '1'} and a['1'].moments().n.sum() == 48
    for bad, what in (('0', "layers is '0'"), ([], 'layers is empty')):
        with pytest.raises(ValueError, match=what): S.layer_statistics(net, bad, [(x, y)], 2)
    half = S.averaged(torch.full((2, 3, 100, 100), 60000., dtype=torch.float16))
    assert half.dtype == torch.float32 and torch.allclose(half, torch.tensor(6e4))

# Power laws

def test_power_law_by_scipy():
    from scipy.optimize import curve_fit
    rng = np.random.default_rng(0)
    x = np.array([4., 8, 12, 20, 32, 64])
    y = 2.5 * x**-.7 * np.exp(.05 * rng.standard_normal(6))
    e = y * rng.uniform(.02, .2, 6)
    law = S.power_law(x, y, e)
    (c, a), cov = curve_fit(lambda u, c, a: c + a * u, np.log(x), np.log(y), sigma=e / y, absolute_sigma=True)
    assert np.allclose([law['factor'], law['slope'], law['error']], [math.exp(c), a, cov[1, 1]**.5])
    assert np.isclose(law['chi2'], (((np.log(y) - c - a * np.log(x)) * y / e)**2).sum()) and law['dof'] == 4
    assert np.allclose(law['local'], np.diff(np.log(y)) / np.diff(np.log(x)))
    free = S.power_law(x, y)
    (c, a), cov = curve_fit(lambda u, c, a: c + a * u, np.log(x), np.log(y))
    assert np.allclose([free['slope'], free['error']], [a, cov[1, 1]**.5]) and free['chi2'] is None
    assert free['slope'] == np.polyfit(np.log(x), np.log(y), 1)[0]

def test_power_law_errors_cover():
    rng, x, z = np.random.default_rng(1), np.array([8., 16, 32, 64]), []
    for _ in range(500):
        y = x**1.3 * np.exp([.05, .1, .02, .2] * rng.standard_normal(4))
        law = S.power_law(x, y, y * [.05, .1, .02, .2])
        z.append(((law['slope'] - 1.3) / law['error'], law['chi2'], *(law['local'] - 1.3) / law['local_error']))
    z = np.array(z)
    assert np.abs(z[:, [0, 2, 3, 4]].std(0) - 1).max() < .1 and abs(z[:, 1].mean() - 2) < .3

@pytest.mark.parametrize('scale', (1e-9, 7., 1e9))
@pytest.mark.parametrize('kind', (list, tuple, torch.tensor, lambda v: np.array(v, '>f4'), lambda v: np.array(v)[::-1]))
def test_power_law_of_other_units_and_types(scale, kind):
    x, y, e = [8., 16., 32., 64.], [1., 3., 7., 20.], [.1, .2, .5, 2.]
    a, b = S.power_law(x, y, e), S.power_law(kind(x), [scale * v for v in kind(y)], [scale * v for v in kind(e)])
    assert math.isclose(a['slope'], b['slope'], rel_tol=1e-6) and math.isclose(a['error'], b['error'], rel_tol=1e-6)
    assert np.allclose(a['local'], b['local'], rtol=1e-6)

@pytest.mark.parametrize('x, y, e, words', [
    ([8, 16], [1, -1], None, 'y has'), ([0, 16], [1, 2], None, 'x has'), ([8, 16], [1, math.nan], None, 'y has'),
    ([8, 16], [1, 2], [0, 1], 'error has'), ([8, 16, 32], [1, 2], None, 'y has'), ([8, 8], [1, 2], None, 'two places'),
    ([8], [1], None, 'two places'), ([8, 16], [1, 2], [.1, math.inf], 'error has'), ([], [], None, 'two places'),
    ([[8, 16]], [[1, 2]], None, 'x has'), (['8', '16'], [1, 2], None, 'x: a list')])
def test_power_law_refuses(x, y, e, words):
    with pytest.raises(ValueError, match=words): S.power_law(x, y, e)

def test_power_law_of_few_and_repeated_points():
    assert S.power_law([1, 2], [3, 6])['error'] is None and math.isclose(S.power_law([1, 2], [3, 6])['slope'], 1)
    twice = S.power_law([1, 1, 2, 2], [1, 1.1, 2, 2.1], [.1] * 4)
    assert twice['local'] is None and twice['local_error'] is None and twice['error'] > 0
