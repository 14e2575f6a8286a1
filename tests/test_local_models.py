"""Local conditional models: the factorisation by dense matrices, interpolation and energies by closed forms, what
people bring as pictures, measurements by their algebra."""
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import deepstruct as ds
from deepstruct.core import generator
from deepstruct.fields import gaussian_field
from deepstruct.wavelet_diffusion import denoisers as D, local_models as M, synthesis as S
from deepstruct.wavelet_diffusion.gaussian import mode_power

def g(*words): return generator('local models', *words)
def rand(*shape): return torch.rand(shape, generator=g(*shape))

# The density

@pytest.mark.parametrize('wavelet', ('haar', 'db2', 'db4'))
@pytest.mark.parametrize('eta', (0., 1., 3.))
def test_a_density_is_the_product_of_its_factors(eta, wavelet):
    P = mode_power(eta, 8)
    x = gaussian_field(lambda *_: torch.as_tensor(P), 6, 8, g(eta), torch.float64)
    R = np.fft.ifft2(P).real
    at = [(a, b) for a in range(8) for b in range(8)]
    K = torch.tensor([[R[(a - c) % 8, (b - d) % 8] for c, d in at] for a, b in at])
    dense = torch.distributions.MultivariateNormal(torch.zeros(64, dtype=K.dtype), K).log_prob(x.flatten(1))
    assert torch.allclose(M.log_density(x, P), dense)
    assert torch.allclose(M.log_density_by_scales(x, P, wavelet=wavelet), dense)

def test_white_fields_have_no_condition_to_lose():
    x, P = torch.randn(4, 1, 8, 8, generator=g('white'), dtype=torch.float64), np.ones((8, 8))
    assert torch.allclose(M.log_density_by_scales(x, P, conditional=False), M.log_density(x, P))
    assert torch.allclose(M.log_density(x, P), -.5 * (x.square().sum((1, 2, 3)) + 64 * math.log(2 * math.pi)))

def test_what_the_condition_tells_is_lost_on_average():
    P = mode_power(3, 16)
    x = gaussian_field(lambda *_: torch.as_tensor(P), 400, 16, g('lost'), torch.float64)
    lost = M.log_density(x, P) - M.log_density_by_scales(x, P, conditional=False)
    assert lost.mean() > 5 * lost.std() / 20 # a Kullback-Leibler divergence, 400 fields

@pytest.mark.parametrize('bad', (torch.ones(2, 3, 8, 8), torch.ones(8, 8), np.full((1, 1, 8, 8), np.nan)))
def test_densities_refuse(bad):
    with pytest.raises(ValueError, match='x has'): M.log_density(bad, mode_power(3, 8))

# Modes

def test_modes_of_a_wave():
    wave = torch.cos(2 * math.pi * 3 * torch.arange(16.) / 16).expand(2, 1, 16, 16)
    v = M.mode_variances(wave)[0]
    assert v[0, 3] == pytest.approx(64., rel=1e-4) and v.sum() == pytest.approx(128., rel=1e-4) # half of 256

def test_details_that_the_low_pass_tells_leave_nothing():
    low = rand(2, 1, 10, 14)
    x = D.merge(low, torch.cat([.2 * low, low.roll(1, 2), 0 * low], 1))
    assert M.left_by_low(x)[:, [0, 2]].abs().max() < 1e-4
    noise = .1 * torch.randn(4, 3, 20, 20, generator=g('details'))
    left = M.left_by_low(D.merge(torch.randn(4, 1, 20, 20, generator=g('low')), noise))
    assert left.std() == pytest.approx(float(noise.std()), rel=.05) # nothing is told

# Estimates

def test_linear_between_three_corners():
    x = torch.zeros(1, 1, 5, 5); x[..., 0, 4], x[..., 4, 0] = 4., 8.
    mask = torch.zeros(5, 5, dtype=torch.bool); mask[0, 0] = mask[0, 4] = mask[4, 0] = True
    y = M.linear_fill(x, mask)[0, 0]
    assert torch.allclose(y[0], torch.arange(5.)) and torch.allclose(y[:, 0], 2 * torch.arange(5.))
    assert y[1, 1] == 3 and y[4, 4] in (4., 8.) # outside, the nearest

def test_linear_refuses():
    with pytest.raises(ValueError, match='at least 3'): M.linear_fill(rand(1, 1, 4, 4),
                                                                 torch.eye(4) * (torch.arange(4) < 2))
    with pytest.raises(ValueError, match='False everywhere'): M.linear_fill(rand(1, 1, 4, 4), torch.zeros(4, 4))

def test_gradient_energy():
    assert M.gradient_energy(torch.ones(2, 3, 4, 4)).abs().max() == 0
    board = (torch.arange(6)[:, None] + torch.arange(8)) % 2
    assert M.gradient_energy(board.float()) == 2
    x = torch.randn(1, 1, 200, 200, generator=g('noise'))
    assert float(M.gradient_energy(x)) == pytest.approx(4, rel=.05) and torch.allclose(
        M.gradient_energy(3 * x), 9 * M.gradient_energy(x))

def test_alike_has_the_algebra_of_cosines():
    a, b = torch.randn(3, 7, generator=g('a')), torch.randn(5, 7, generator=g('b'))
    c = M.alike(a, b)
    assert c.shape == (3, 5) and torch.allclose(c, M.alike(2 * a, b)) and torch.allclose(c, M.alike(b, a).T)
    assert torch.allclose(M.alike(a, a).diagonal(), torch.ones(3)) and torch.allclose(M.alike(-a, b), -c)

@pytest.mark.parametrize('side', (160, 320))
def test_faces(side):
    found = M.faces(side)
    assert all(x.shape == (1, 1, side, side) and 0 <= x.min() < x.max() <= 1 for x in found.values())
    assert len(found) in ((1, 8) if side == 160 else (0, 2))
    with pytest.raises(ValueError, match='160 or 320'): M.faces(64)

def test_narrow_layers():
    net = D.Denoiser(7, 3, 1, width=16, layers=5, generator=g('net'), noise=(0., .7)).eval()
    d, low = torch.randn(2, 3, 12, 12, generator=g('d')), rand(2, 1, 12, 12)
    a, b = M.Narrow(net)(d, low), net(d, low)
    assert a.dtype == torch.float32 and 0 < (a - b).norm() / b.norm() < .03
    assert (M.Narrow(net).noise, M.Narrow(net).condition) == ((0., .7), 1)

# Measurements

class Smooth(nn.Module): # a stand-in that finds the noise that there is
    channels, condition, noise, divisor = 1, 0, (0., 1.), 1
    def forward(self, y): return F.avg_pool2d(F.pad(y, (2, 2, 2, 2), mode='reflect'), 5, 1)

@pytest.mark.parametrize('project, rank', ((S.block_means(4), 4 * 3), (S.low_frequencies(2), 9),
                                           (S.low_frequencies(1), 1), (S.block_means(1), 192)))
def test_projectors_on_rectangles(project, rank):
    S.check_projector(project, (1, 16, 12), g('probe'))
    trace = project(torch.eye(192, dtype=torch.float64).view(192, 1, 16, 12)).reshape(192, 192).trace()
    assert float(trace) == pytest.approx(rank, abs=1e-8)

def test_a_blur_passes_low_waves_and_stops_high_ones():
    wave = lambda k: torch.cos(2 * math.pi * k * torch.arange(24.) / 24).expand(1, 1, 18, 24)
    see = S.low_frequencies(5)
    assert torch.allclose(see(wave(4)), wave(4), atol=1e-5) and see(wave(5)).abs().max() < 1e-5

@pytest.mark.parametrize('project', (S.block_means(4), S.low_frequencies(3), S.keep_pixels(torch.eye(16, 12) > 0)))
def test_what_is_seen_is_shown(project):
    x = rand(2, 1, 16, 12)
    r = S.restore(project(x), project, denoiser=Smooth(), n=3, seed=0, truth=x, sigma=.5, end=.1, h=.3)
    assert r.samples.shape == (3, 2, 1, 16, 12) and torch.allclose(project(r.samples.flatten(0, 1)),
                                                                   project(x).repeat(3, 1, 1, 1), atol=1e-4)
    again = S.restore(project(x), project, denoiser=Smooth(), n=3, seed=0, sigma=.5, end=.1, h=.3)
    assert torch.equal(again.samples, r.samples) and again.errors is None
    assert set(r.errors) == {'mean', 'sample', 'plain'}

def test_inpainting_is_a_restoration():
    x, mask = rand(1, 1, 12, 16), torch.rand(12, 16, generator=g('mask')) < .5
    see, kw = S.keep_pixels(mask), dict(n=2, seed=3, end=.1, h=.3)
    a = S.inpaint(x, mask, Smooth(), **kw)
    b = S.restore(see(x), see, S.harmonic(x, mask), Smooth(), sigma=.4, beta=.1, **kw)
    assert torch.equal(a.samples, b.samples) and torch.equal(a.plain, b.plain)

def test_missing_pixels_may_be_nan():
    x, mask = rand(1, 1, 12, 16), torch.rand(12, 16, generator=g('mask')) < .5
    kw = dict(denoiser=Smooth(), n=1, seed=3, end=.1, h=.3)
    holed = torch.where(mask, x, math.nan)
    assert torch.equal(S.inpaint(holed, **kw).samples, S.inpaint(x, mask, **kw).samples)
    assert torch.equal(S.inpaint(holed.numpy(), **kw).samples, S.inpaint(x, mask, **kw).samples)

OBLIQUE = torch.randn(144, 20, generator=g('oblique'), dtype=torch.float64) # columns that are not orthonormal
@pytest.mark.parametrize('call, words', (
    (lambda x: S.restore(x, lambda y: ((y.flatten(1).double() @ OBLIQUE) @ OBLIQUE.T).view(y.shape).to(y), x, Smooth()),
     'not idempotent.*orthonormal'),
    (lambda x: S.restore(x, lambda y: y + 1, x, Smooth()), 'not linear'),
    (lambda x: S.restore(x, S.block_means(5), x, Smooth()), 'same shape'),
    (lambda x: S.restore(x, S.block_means(4), x, Smooth()), 'not a value of the measurement'),
    (lambda x: S.restore(S.block_means(4)(x), S.block_means(4), None, Smooth(), sigma=3.),
     'sigma is 3.0.*of training, 1'),
    (lambda x: S.inpaint(x, torch.eye(12), Smooth(), sigma=0.), 'sigma is 0'),
    (lambda x: S.inpaint(x, torch.eye(12), Smooth(), sigma=math.nan), 'sigma is nan'),
    (lambda x: S.draw_images(Smooth(), 1, 12, sigma=9.), 'sigma is 9.0'),
    (lambda x: S.inpaint(x, None, Smooth()), 'True everywhere'),
    (lambda x: S.inpaint(x, 'no-such-mask.png', Smooth()), 'no-such-mask.png is not there'),
    (lambda x: S.draw_images('lsun'), "'lsun' is unknown"), (lambda x: D.denoise('lsun', x), "'lsun' is unknown"),
    (lambda x: S.inpaint(x, torch.eye(12), 'lsun'), "'lsun' is unknown")))
def test_measurements_refuse(call, words):
    with pytest.raises(ValueError, match=words): call(rand(1, 1, 12, 12))

# Pictures

def stored(path, kind): # a ramp from black to white, 10 x 14
    ramp = np.linspace(0, 1, 140).reshape(10, 14)
    if kind == 'sixteen': Image.fromarray((65535 * ramp).round().astype(np.uint16)).save(path / 'x.png')
    elif kind == 'rgba':
        rgba = np.concatenate([np.repeat(ramp[..., None], 3, -1), np.ones((10, 14, 1))], -1)
        Image.fromarray((255 * rgba).round().astype(np.uint8)).save(path / 'x.png')
    elif kind == 'float': Image.fromarray(ramp.astype(np.float32)).save(path / 'x.tif')
    else: Image.fromarray((255 * ramp).round().astype(np.uint8)).save(path / 'x.png')
    return next(path.iterdir()), torch.from_numpy(ramp)[None, None].float()

@pytest.mark.parametrize('as_', (str, lambda p: p))
@pytest.mark.parametrize('kind', ('eight', 'sixteen', 'rgba', 'float'))
def test_one_call_on_a_file(tmp_path, kind, as_):
    file, x = stored(tmp_path, kind)
    net, kw = Smooth(), dict(n=1, seed=0, end=.1, h=.3)
    assert torch.allclose(ds.denoise(net, as_(file)), net(x), atol=.003)
    two = D.Multiscale(Smooth(), [type('Fine', (nn.Module,), dict(
        channels=3, condition=1, noise=(0., 1.), divisor=1, forward=lambda self, d, low: .4 * d))()])
    r = ds.super_resolve(as_(file), two, n=1, seed=0, sigma=.1, end=.05)
    assert torch.allclose(F.avg_pool2d(r.samples[0], 2), x, atol=.003)
    mask = np.ones((10, 14), bool); mask[4:6, 5:8] = False
    Image.fromarray((255 * mask).astype(np.uint8)).save(tmp_path / 'mask.png')
    at = torch.as_tensor(mask)
    a, b = ds.inpaint(as_(file), as_(tmp_path / 'mask.png'), net, **kw), ds.inpaint(x, mask, net, **kw)
    assert torch.allclose(a.samples[..., at], b.samples[..., at], atol=.003)
    assert torch.allclose(a.plain, b.plain, atol=.01)

@pytest.mark.parametrize('dtype', (np.float64, np.float32, np.float16, '>f4', '>f8'))
def test_any_precision_and_sides(dtype):
    x = rand(2, 1, 11, 17).numpy().astype(dtype)
    same = torch.as_tensor(x.astype(np.float32))
    mask = np.arange(187).reshape(11, 17) % 3 > 0
    for call in (lambda x: D.denoise(Smooth(), x),
                 lambda x: S.inpaint(x, mask, Smooth(), n=1, seed=0, end=.1, h=.3).samples):
        assert torch.allclose(call(x).float(), call(same), atol=1e-5)
    with pytest.raises(ValueError, match='uint8; expected floating-point numbers'):
        D.denoise(Smooth(), (255 * same).byte())

def test_the_sampler_keeps_the_variance_that_its_law_promises():
    """One mode of variance 20: the default of `draw_images`, beta lambda < sigma_0^2, keeps most of it; a beta of 0.1,
    as earlier versions had, less than half."""
    keeps = lambda beta: float(S.variances([20.], S.ideal_sigmas(1., .05, .2, beta, False), .2, beta, False)[0]) / 20
    assert keeps(.04) > .6 > .4 > keeps(.1)
