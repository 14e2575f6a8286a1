"What paper pages share: oracles by closed forms and second implementations."
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from elsewhere import away, back, elsewhere, leaves
from scipy import stats
from skimage.measure import euler_number
from torch import nn

from deepstruct import training
from deepstruct.core import cache_dir, cached, generator
from deepstruct.lensing import kurtosis, minkowski, peak_counts
from deepstruct.log_concavity.energies import LAPLACIAN, Family, Spline, phi4_family
from deepstruct.log_concavity.free_energy import Tilted
from deepstruct.log_concavity.hessians import conditional_hessians, detail_band, level_spectra, negative
from deepstruct.log_concavity.maximum_likelihood import drawn_log_odds, log_odds_errors
from deepstruct.networks import LearnedScattering, WaveletStep, circularity, multiply_adds
from deepstruct.statistics import (bias_noise, chi2_p, layer_features, over_sampling, power_law, ridge_probe,
                                   shared_values)
from deepstruct.wavelet_diffusion.denoisers import noisy, psnr, psnr_by_scale
from deepstruct.wavelet_diffusion.gaussian import mode_power as power_spectrum, wiener
from deepstruct.wavelets import Octave

def normal(*shape, word='pages'): return torch.randn(*shape, generator=generator(word), dtype=torch.float64)

# estimates and samples

@pytest.mark.parametrize('k', [1, 2, 3, 5, 12])
def test_chi2_is_that_of_scipy_and_of_any_basis(k):
    A, d, truth = normal(k, k) + 3 * torch.eye(k).double(), normal(k, word='d'), normal(k, word='t')
    cov = A @ A.T
    want = stats.chi2.sf(float(d @ torch.linalg.inv(cov) @ d), k)
    assert chi2_p(truth + d, truth, cov) == pytest.approx(want, rel=1e-9)
    assert chi2_p(A @ d, 0 * d, A @ cov @ A.T) == pytest.approx(chi2_p(d, 0 * d, cov), rel=1e-6)

def test_chi2_in_two_dimensions_is_an_exponential():
    for r in (0., .5, 1., 3., 6.):
        d = torch.tensor([r, 0.]).double()
        assert chi2_p(d, 0 * d, torch.eye(2).double()) == pytest.approx(math.exp(-r * r / 2), rel=1e-12)

@pytest.mark.parametrize('sizes', [(2, 3), (2, 1), (3, 3), (3,)])
def test_chi2_refuses_shapes(sizes):
    with pytest.raises(ValueError, match='expected'): chi2_p(torch.ones(2), torch.ones(2), torch.ones(*sizes))

@pytest.mark.parametrize('n', [(10, 20), (40, 20, 10), (7, 100, 900), (1, 2, 3, 4), (5, 6)])
@pytest.mark.parametrize(('a', 'c'), [(.3, 5.), (0., 1.), (2., 0.), (1e-9, 1e-3)])
def test_bias_and_noise_come_back_in_any_order_and_unit(n, a, c):
    e = [a + c / k for k in n]
    assert bias_noise(n, e) == pytest.approx((a, c / max(n)), rel=1e-6, abs=1e-12)
    assert bias_noise(n, [7 * v for v in e]) == pytest.approx((7 * a, 7 * c / max(n)), rel=1e-6, abs=1e-11)

@pytest.mark.parametrize(('n', 'e'), [((1, 1), (1, 2)), ((1,), (1,)), ((1, 2), (1, 0)), ((1, 2), (1, math.nan)),
                                      ((1, 2), (1, 2, 3)), ((0, 2), (1, 2))])
def test_bias_and_noise_are_refused(n, e):
    with pytest.raises(ValueError, match='expected'): bias_noise(n, e)

def test_samples_of_the_data_are_at_distance_one():
    train, mean = torch.arange(12.), lambda q: abs(float(q.mean()) - 4)
    assert over_sampling(lambda q: 3., train[:4], train) == 1
    # of (0..4), (5..9) and not of the two left over: 2, 3
    assert over_sampling(mean, torch.full((5,), 9.), train) == pytest.approx(5 / 2.5)
    for x, y in ((train[:0], train), (train, train[:5])):
        with pytest.raises(ValueError, match='rows'): over_sampling(mean, x, y)

@pytest.mark.parametrize('scale', [1e-9, 1e-3, 1., 40., 1e8])
@pytest.mark.parametrize('copies', [0, 1, 7, 60, 100])
def test_copies_are_counted_in_any_unit(scale, copies):
    data = scale * normal(300, word='data')
    made = torch.cat([data[torch.randperm(300, generator=generator('pick'))[:copies]], scale * normal(100 - copies)])
    assert copies - 2 <= shared_values(made, data) <= copies # the quantile of chance is taken off

def test_power_law_is_the_weighted_fit_bit_by_bit():
    rng = np.random.default_rng(0)
    for _ in range(50):
        L, t = 2.**np.arange(3, 6 + rng.integers(3)), rng.uniform(1, 9, 9)
        t, e = t[:len(L)] * L**1.7, .1 * t[:len(L)]
        x, y, w = np.log(L), np.log(t), (t / e)**2
        m = np.average(x, weights=w)
        f = power_law(L, t, e)
        assert f['slope'] == (w * (x - m) * y).sum() / (w * (x - m)**2).sum()
        assert f['error'] == (w * (x - m)**2).sum()**-.5
        assert power_law(L, t)['slope'] == np.polyfit(x, y, 1)[0]

# layers

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.drop = nn.Identity(), nn.Conv2d(3, 4, 1), nn.Dropout(.5)
    def forward(self, x): return self.drop(self.b(self.a(x)))

def images(n=90, word='images'):
    y = torch.arange(n) % 3
    return torch.randn(n, 3, 4, 4, generator=generator(word)) + nn.functional.one_hot(y, 3)[:, :, None, None], y

def test_layer_features_are_those_of_the_layers():
    net, (x, _) = Net().train(), images()
    got = layer_features(net, iter(['b', 'a']), x, batch=7)
    assert torch.equal(got['a'], x.flatten(1)) and net.training
    assert torch.allclose(got['b'], net.b(x).flatten(1), atol=1e-6)
    assert not any(m._forward_hooks for m in net.modules())
    for wrong in (['c'], ['a', 'A'], ['b.weight']):
        with pytest.raises(ValueError, match='no layer'): layer_features(net, wrong, x)
    twice = nn.Sequential(nn.Flatten(), nn.Linear(48, 48))
    twice.append(twice[1])
    with pytest.raises(ValueError, match='gave 180 rows for 90'): layer_features(twice, ['1'], x)

@pytest.mark.parametrize('d', [1, 2, 5, 30, 200])
def test_ridge_probe_is_ridge_regression(d):
    y, t = torch.arange(100) % 4, torch.arange(60) % 4
    centres = normal(4, d, word='centres')
    x, z = centres[y] + .8 * normal(100, d), centres[t] + .8 * normal(60, d, word='z')
    for r in (1e-3, 1., 50.):
        u = x[:80] - x[:80].mean(0)
        A = u.T @ u + r * u.square().sum(1).mean() * torch.eye(d).double()
        W = torch.linalg.solve(A, u.T @ (nn.functional.one_hot(y[:80], 4).double() - .25))
        want = float((((z - x[:80].mean(0)) @ W).argmax(1) != t).double().mean())
        assert ridge_probe(x, y, z, t, 4, (r,)) == want
    assert ridge_probe(x, y, z, t, 4, (1., 50.)) in [ridge_probe(x, y, z, t, 4, (r,)) for r in (1., 50.)]

def test_ridge_probe_refuses():
    x, y = normal(10, 2), torch.arange(10) % 2
    for share in (0., 1., 1.2):
        with pytest.raises(ValueError, match='share'): ridge_probe(x, y, x, y, 2, share=share)
    with pytest.raises(ValueError): ridge_probe(x, y, x, y + 1, 2)

# networks

def test_multiply_adds_of_convolutions_and_of_wavelets():
    net = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5 * 36, 7)).train()
    assert multiply_adds(net, (2, 6, 6)) == 36 * 9 * 2 * 5 + 5 * 36 * 7 and net.training
    small = LearnedScattering(blocks=[3, 3])
    steps = [m for m in small.modules() if isinstance(m, WaveletStep)]
    cost = multiply_adds(small, (1, 32, 32))
    for dense in (0, 10, 2**30):
        for m in steps: m.dense = dense
        assert multiply_adds(small, (1, 32, 32)) == cost and [m.dense for m in steps] == [dense] * len(steps)

def test_circularity_of_one_image_a_class_and_of_many():
    net, g = LearnedScattering(blocks=[3, 3], generator=generator('net')).eval(), generator('circular')
    x, y = torch.randn(4, 1, 32, 32, generator=g), torch.arange(4)
    assert circularity(net, x, y, 4) == pytest.approx([1, 1], abs=1e-5)
    assert circularity(net, x.repeat(3, 1, 1, 1), y.repeat(3), 4, batch=5) == pytest.approx([1, 1], abs=1e-5)
    z, c = torch.randn(200, 1, 32, 32, generator=g), torch.arange(200) % 4
    w = net.blocks[0].wavelets.pairs(z, net.blocks[0].R)[:, :, 1:].flatten(1, 2)
    w = torch.complex(*w.unbind(2)).flatten(1)
    want = np.mean([float((w[c == k]**2).mean(0).abs().sum() / w[c == k].abs().square().mean(0).sum())
                    for k in range(4)])
    assert circularity(net, z, c, 4)[0] == pytest.approx(want, rel=1e-4) and want < .5

# curvature

def test_negative_eigenvalues_by_hand():
    e = torch.tensor([[-1., 1, 2, 3], [-2, -1, -.5, 1], [1, 2, 3, 4]])
    share, error = negative(e)
    assert share == pytest.approx(4 / 12) and error == pytest.approx(np.std([.25, .75, 0], ddof=1) / 3**.5)
    for bad in (e[0], e[None]):
        with pytest.raises(ValueError, match='eigenvalues'): negative(bad)

@pytest.mark.parametrize('wavelet', ['haar', 'db2'])
def test_spectra_of_levels(wavelet):
    step, x = Octave(wavelet), normal(20, 1, 8, 8)
    model = SimpleNamespace(levels=[phi4_family(8, .68), phi4_family(4, .5)], steps=[step, step])
    fine, coarse = level_spectra(model, x, 3, mean=20)
    assert fine['eigenvalues'].shape == (3, 48) and coarse['eigenvalues'].shape == (12, 12)
    y = step.low(x)
    for q, f, z in ((fine, model.levels[0], x), (coarse, model.levels[1], y)):
        H = conditional_hessians(f, z, detail_band(step, f.n))
        assert torch.allclose(q['eigenvalues'], torch.linalg.eigvalsh(H)[:len(q['eigenvalues'])], atol=1e-10)
        moved = torch.cat([z.roll((a, b), (2, 3)) for a in (0, 1) for b in (0, 1)]) # the stencil is of all translates
        H = conditional_hessians(f, moved, detail_band(step, f.n))
        assert float(q['mean'].mean()) == pytest.approx(float(H.diagonal(dim1=1, dim2=2).mean()), rel=1e-8)
    free = Family(8, stencils=[{(0, 0): 1.}, LAPLACIAN]) # Gaussian: one Hessian, of all fields
    free.theta.copy_(torch.tensor([.5, 1.]))
    one, = level_spectra(SimpleNamespace(levels=[free], steps=[step]), x, 4, mean=9)
    assert torch.allclose(one['eigenvalues'], one['mean'].expand(4, -1), atol=1e-10)
    assert level_spectra(SimpleNamespace(levels=[free], steps=[step]), x, 4)[0]['mean'] is None

def test_scatter_of_log_odds_is_the_predicted_one():
    v = Tilted(Spline(torch.linspace(-1.5, 1.5, 9), even=False))
    theta = torch.cat([12 * v.nodes**2 - 4, torch.zeros(1, dtype=torch.float64)])
    theta[-1] = -float(v.evaluate(torch.zeros(1, dtype=torch.float64), 1, theta)[0])
    exact, n = log_odds_errors(v, theta, 3., 801), 4000
    got = drawn_log_odds(v, theta, n, 150, 0, points=801)
    for k, odds in got.items():
        assert len(odds) == 150 and abs(np.mean(odds)) < 5 * exact[k] / (n * 150)**.5 + .02
        assert np.std(odds) * n**.5 == pytest.approx(exact[k], rel=.25)
    assert got == drawn_log_odds(v, theta, n, 150, 0, points=801)

# maps

def test_kurtosis_is_that_of_scipy():
    for f in (lambda x: x, torch.exp, lambda x: x**3 + 5, torch.sign, lambda x: 1e6 + x):
        x = f(normal(3, 1, 8, 8))
        assert kurtosis(x) == pytest.approx(stats.kurtosis(x.numpy().ravel()), rel=1e-6)
    with pytest.raises(ValueError, match='constant'): kurtosis(torch.ones(2, 1, 4, 4))

def block(*rows): return torch.tensor([[float(c == '#') for c in r] for r in rows])

@pytest.mark.parametrize(('rows', 'area', 'boundary', 'euler'), [
    (['....', '.#..', '....', '....'], 1, 4, 1), (['....', '.##.', '....', '....'], 2, 6, 1),
    (['#...', '.#..', '....', '....'], 2, 8, 1), (['####', '....', '....', '....'], 4, 8, 0),
    (['####', '####', '####', '####'], 16, 0, 0), (['####', '#..#', '####', '####'], 14, 6, -1),
    (['#.#.', '....', '#.#.', '....'], 4, 16, 4), (['....', '....', '....', '....'], 0, 0, 0)])
def test_minkowski_by_hand_wherever_it_stands(rows, area, boundary, euler):
    x = block(*rows)[None, None]
    for shift in ((0, 0), (1, 2), (3, 3)):
        assert minkowski(x.roll(shift, (2, 3)), [.5])[0] * 16 == pytest.approx([area, boundary, euler])
        assert minkowski(x.roll(shift, (2, 3)).mT, [.5])[0] * 16 == pytest.approx([area, boundary, euler])

@pytest.mark.parametrize('seed', range(6))
def test_euler_characteristic_is_that_of_skimage(seed):
    x = torch.zeros(1, 1, 16, 16)
    x[..., 2:-2, 2:-2] = torch.randn(12, 12, generator=generator('euler', seed)) + 2 # off the border: no torus
    for level in (.5, 1.5, 2.5):
        want = euler_number((x[0, 0] > level).numpy(), connectivity=2)
        assert minkowski(x, [level])[0, 2] * 256 == pytest.approx(want)

def test_peaks_are_where_they_were_put():
    x = torch.zeros(2, 1, 8, 8)
    x[0, 0, 0, 0], x[0, 0, 4, 4], x[1, 0, 7, 3], x[1, 0, 7, 4] = 3., 1.5, 2., 1.
    for shift in ((0, 0), (5, 1), (7, 7)):
        assert peak_counts(x.roll(shift, (2, 3)), [0, 1, 2.5, 4]).tolist() == [0, 1, .5]
    y = normal(3, 1, 8, 8).float()
    by_hand = sum(float(v[i, j]) > max(float(v[(i + a) % 8, (j + b) % 8]) for a in (-1, 0, 1) for b in (-1, 0, 1)
                                       if a or b) for v in y[:, 0] for i in range(8) for j in range(8))
    assert peak_counts(y, [-9, 9]) * 3 == pytest.approx([by_hand])

# denoising

@pytest.mark.parametrize('sigma', [.01, .3, 1., 5.])
def test_wiener_is_the_conditional_mean(sigma):
    P = torch.as_tensor(power_spectrum(2, 4))
    F = torch.fft.fft2(torch.eye(16, dtype=torch.float64).view(16, 4, 4)).flatten(1)
    C = (F.conj().T @ torch.diag(P.flatten() + 0j) @ F).real / 16
    y = 2 + normal(5, 1, 4, 4)
    want = 2 + (y - 2).flatten(1) @ torch.linalg.solve(C + sigma**2 * torch.eye(16).double(), C)
    assert torch.allclose(wiener(y, P, sigma, 2).flatten(1), want, atol=1e-10)
    assert torch.allclose(wiener(y, P, 0.), y)
    with pytest.raises(ValueError, match='shape'): wiener(y, P[:2], sigma)

@pytest.mark.parametrize('db', [-8, 0, 3.5, 20, 60])
def test_noise_has_the_level_it_is_called_by(db):
    x = normal(50, 1, 16, 16)
    assert float(psnr(noisy(x, db, 1), x).mean()) == pytest.approx(db, abs=.1)
    assert torch.equal(noisy(x, db, 1), noisy(x, db, 1)) and not torch.equal(noisy(x, db, 1), noisy(x, db, 2))

class Same(nn.Module):
    channels, noise = 1, (0., 1.)
    def forward(self, d, low=None): return d

class Nothing(Same):
    def forward(self, d, low=None): return 0 * d

@pytest.mark.parametrize('depth', [1, 2, 3])
def test_networks_that_do_nothing_leave_the_noise_at_every_scale(depth):
    x = torch.rand(6, 1, 16, 16, generator=generator('photographs'))
    out = psnr_by_scale(Same(), Same(), [Same() for _ in range(depth)], x, (0, 10), lambda db: 7 + db)
    for i, db in enumerate((0, 10)):
        want = psnr(noisy(x, db, 7 + db), x)
        assert torch.allclose(out['flat'][i], want, atol=1e-4)
        assert torch.allclose(out['multiscale'][i], want, atol=1e-3)
        low = x
        for j in range(depth): # in units in which the low-pass is a mean, noise halves from scale to scale
            low = nn.functional.avg_pool2d(low, 2)
            assert float(out[f'scale {j}'][i].mean()) == pytest.approx(db + 20 * math.log10(2) * (j + 1), abs=1.5)
    assert set(out) == {'flat', 'multiscale', 'details = 0', *(f'{k} {j}' for k in ('scale', 'zero')
                                                               for j in range(depth))}
    none = psnr_by_scale(Same(), Same(), [Nothing() for _ in range(depth)], x, (5,))
    for j in range(depth): assert torch.equal(none[f'scale {j}'][0], none[f'zero {j}'][0])
    assert torch.equal(none['multiscale'], none['details = 0'])
    up = nn.functional.interpolate(nn.functional.avg_pool2d(noisy(x, 90, 0), 2**depth), scale_factor=2**depth)
    few = psnr_by_scale(Same(), Same(), [Nothing() for _ in range(depth)], x, (90,), lambda db: 0)
    assert torch.allclose(few['multiscale'][0], psnr(up, x), atol=1e-3)

class Seen(Same):
    def forward(self, d, low=None):
        self.low = low
        return d

def test_details_are_given_the_clean_low_pass_of_their_scale():
    x, nets = torch.rand(4, 1, 16, 16, generator=generator('photographs')), [Seen() for _ in range(3)]
    psnr_by_scale(Same(), Same(), nets, x, (0,), lambda db: 0)
    for j, net in enumerate(nets): # the last that each has seen: the multiscale one comes before
        assert torch.allclose(net.low, nn.functional.avg_pool2d(x, 2**(j + 1)), atol=1e-6)

# training in a stage

@cached
def trained_line(steps, seed):
    x = torch.linspace(-1, 1, 30)[:, None]
    net = nn.Linear(1, 1)
    with torch.no_grad(): [w.zero_() for w in net.parameters()]
    history, w = training.fit_in_stage(net, lambda f, g: (f(x) - 2 * x - 1).square().mean(), steps, lr=.05,
                                       generator=generator('line', seed))
    return {'loss': history['loss'], **w}

def test_training_in_a_stage_learns_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path))
    w = trained_line(300, 0)
    assert float(w['weight']) == pytest.approx(2, abs=.1) and float(w['bias']) == pytest.approx(1, abs=.1)
    place = cache_dir() / 'training'
    assert not place.exists() or not any(place.iterdir())

# devices

Y = torch.arange(60) % 3
ON = {
    'chi2_p': lambda t: chi2_p(t(normal(3)), t(normal(3, word='d')), t(torch.eye(3).double())),
    'over_sampling': lambda t: over_sampling(lambda q: float(q.mean()), t(normal(5)), t(normal(20))),
    'shared_values': lambda t: shared_values(t(normal(20)), t(normal(20))),
    'layer_features': lambda t: layer_features(t(Net()), ['b'], t(images()[0])),
    'ridge_probe': lambda t: ridge_probe(t(normal(60, 4)), t(Y), t(normal(60, 4, word='z')), t(Y), 3),
    'negative': lambda t: negative(t(normal(5, 6))),
    'shapes of maps': lambda t: (kurtosis(t(normal(2, 1, 8, 8))), peak_counts(t(normal(2, 1, 8, 8)), [-3, 0, 3]),
                                 minkowski(t(normal(2, 1, 8, 8)), [0., 1.])),
    'multiply_adds': lambda t: multiply_adds(t(nn.Conv2d(1, 2, 3)), (1, 8, 8)),
    'wiener': lambda t: wiener(t(normal(2, 1, 4, 4)), t(torch.as_tensor(power_spectrum(2, 4))), .3),
    'noisy': lambda t: noisy(t(normal(2, 1, 4, 4)), 5, 0),
    'psnr_by_scale': lambda t: psnr_by_scale(Same(), Same(), [Same()], t(normal(2, 1, 8, 8)), (5,), lambda db: 0)}

@pytest.mark.parametrize('name', ON)
@pytest.mark.filterwarnings('ignore')
def test_what_is_given_on_a_device_is_computed_there(name):
    torch.manual_seed(0)
    want = leaves(ON[name](lambda x: x))
    torch.manual_seed(0)
    with elsewhere(): got = leaves(ON[name](away))
    for a, b in zip(got, want, strict=True):
        if isinstance(b, torch.Tensor): torch.testing.assert_close(back(a), b.detach(), rtol=1e-4, atol=1e-5)
        else: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
