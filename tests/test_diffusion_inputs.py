"""What people bring: images of any sides, types and ranges, networks in any state, files in any wrapping, seeds of any
kind. Right answers by symmetry or closed form, refusals by name."""
import math
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from deepstruct.core import generator, save_tensors
from deepstruct.fields import gaussian_field
from deepstruct.wavelet_diffusion import denoisers as D, generalization as G, quality as Q, synthesis as S
from deepstruct.wavelet_diffusion.gaussian import mode_power
from deepstruct.wavelet_diffusion.unet import UNet
from deepstruct.wavelet_diffusion.wsgm import WSGM, Shape, analysis, as_images, synthesis

def g(*words): return generator('inputs', *words)
def rand(*shape, **kw): return torch.rand(shape, generator=g(*shape), **kw)

# Images

X = rand(2, 1, 6, 10).numpy()
def on_disk(tmp_path): np.save(tmp_path / 'x.npy', X); return np.load(tmp_path / 'x.npy', mmap_mode='r')

@pytest.mark.parametrize('make', (
    lambda p: X, lambda p: X.astype('>f4'), lambda p: X.astype('>f8'), lambda p: X.astype(float), on_disk,
    lambda p: np.asfortranarray(X), lambda p: X[:, :, ::-1, ::-1][:, :, ::-1, ::-1], lambda p: np.ma.masked_array(X),
    lambda p: torch.tensor(X).to(memory_format=torch.channels_last), lambda p: torch.tensor(X).mT.contiguous().mT,
    lambda p: torch.tensor(X).to_sparse(), lambda p: torch.tensor(X).requires_grad_(), lambda p: X.tolist()))
def test_images_are_read(tmp_path, make):
    x = as_images(make(tmp_path))
    assert x.dtype in (torch.float32, torch.float64) and np.allclose(x.detach().numpy(), X, atol=1e-7)

@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16, np.float16))
def test_half_precision_is_widened(dtype):
    x = as_images(X.astype(dtype) if isinstance(dtype, type) else torch.tensor(X).to(dtype))
    assert x.dtype == torch.float32 and np.allclose(x.numpy(), X, atol=4e-3)

bad = np.ma.masked_less(X, .5)
@pytest.mark.parametrize('x, words', (
    ((255 * X).astype(np.uint8), 'holds uint8.*x / 255'), ((9 * X).astype('>u2'), 'holds uint16'),
    (X > .5, 'holds bool'),
    (torch.ones(1, 1, 4, 4, dtype=torch.int64), 'holds int64'), (X + 1j, 'holds complex'), (bad, 'masked values'),
    ('photo.png', 'str'), (None, 'NoneType'), ({'x': X}, 'dict'), (X.astype(np.longdouble), 'float128'),
    ((X for _ in 'a'), 'generator'), (X[0, 0], r'\(6, 10\)'), (X[0], r'\(1, 6, 10\)'),
    (X[:, :, :0], r'\(2, 1, 0, 10\)'), (np.where(X > .9, np.nan, X), 'NaN'), (X + np.inf, 'infinite'),
    (X[:0], 'at least 1'), (X[:, :, :5], 'multiples of 2'),
    (X.transpose(0, 2, 3, 1), '6 channels of shape')))
def test_images_are_refused_by_name(x, words):
    with pytest.raises(ValueError, match=words): as_images(x, 'x', 1, 2)

# Sides

@pytest.mark.parametrize('name', ('haar', 'db2', 'db4', 'sym5', 'coif1'))
@pytest.mark.parametrize('h, w, rows', ((8, 8, 3), (4, 4, 2), (16, 16, 2), (6, 6, 4), (12, 12, 5)))
def test_an_octave_of_a_square_repeated(name, h, w, rows):
    x = torch.randn(2, 3, h, w, generator=g(name, h), dtype=torch.float64)
    for dim in (2, 3):
        repeat = lambda z: torch.cat([z] * rows, dim)
        for a, b in zip(analysis(repeat(x), name), analysis(x, name)): assert torch.allclose(a, repeat(b), atol=1e-10)

@pytest.mark.parametrize('sides', ((4, 6), (2, 10), (8, 2), (14, 6), (30, 44)))
def test_an_octave_of_a_rectangle(sides):
    x = torch.randn(2, 2, *sides, generator=g(sides), dtype=torch.float64)
    low, d = analysis(x, 'db3')
    assert torch.allclose(synthesis(low, d, 'db3'), x) and torch.allclose((low**2).sum() + (d**2).sum(), (x**2).sum())
    turned = analysis(x.mT, 'db3')
    assert torch.allclose(turned[0], low.mT) # rows and columns change places, and so do LH and HL
    lh, hl, hh = d.view(2, 2, 3, *d.shape[2:]).unbind(2)
    assert torch.allclose(turned[1].view(2, 2, 3, *d.mT.shape[2:]), torch.stack([hl, lh, hh], 2).mT)
    a, b = D.split(x)
    assert torch.allclose(a, F.avg_pool2d(x, 2)) and torch.allclose(D.merge(a, b), x)

def networks():
    details = [D.Denoiser(5, 3, 1, width=4, layers=4, generator=g('d', i)) for i in range(2)]
    return {'flat': D.Denoiser(5, width=4, layers=4, generator=g('f')),
            'unet': D.UNetDenoiser(1, 4, 2, generator=g('u')),
            'multiscale': D.Multiscale(D.Denoiser(5, width=4, layers=4, generator=g('low')), details)}

@pytest.mark.parametrize('kind', networks())
@pytest.mark.parametrize('sides', ((12, 20), (17, 23), (5, 40), (1, 9), (3, 3), (31, 16)))
def test_denoise_takes_all_sides(kind, sides):
    net, y = networks()[kind].eval(), .3 + .4 * rand(2, 1, *sides)
    x = D.denoise(net, y)
    h, w = sides
    k = net.divisor
    pad = 0, -w % k, 0, -h % k
    with torch.no_grad():
        want = net(F.pad(y, pad, mode='reflect' if pad[1] < w and pad[3] < h else 'replicate'))[..., :h, :w]
    assert x.shape == y.shape and torch.equal(x, want)
    if not any(pad): assert torch.equal(x, net(y))

@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.parametrize('sides', ((5, 8), (3, 3), (1, 6), (10, 4), (7, 9)))
def test_super_resolution_of_rectangles(sides):
    x = rand(2, 1, *sides)
    r = S.super_resolve(x, [lambda d, low: .6 * d + .01 * low] * 2, .3, 3, 7, end=.05, h=.2)
    h, w = sides
    assert r.samples.shape == (3, 2, 1, 4 * h, 4 * w) and r.plain.shape == (2, 1, 4 * h, 4 * w)
    for z in r.samples: assert torch.allclose(F.avg_pool2d(z, 4), x, atol=1e-5)

@pytest.mark.parametrize('sides', ((8, 16), (24, 8), (4, 12), (16, 4), (8, 8)))
@pytest.mark.parametrize('depth', (0, 1, 2))
def test_a_model_of_rectangles(tmp_path, sides, depth):
    x = torch.randn(12, 1, *sides, generator=g(sides)).cumsum(-1)
    m = WSGM(wavelet='db2', depth=depth, side=sides, width=4, mults=(1, 2), padding='circular')
    assert m.fit(x, steps=1, batch=4, seed=0) is m and m.sample(2, 2, seed=0).shape == (2, 1, *sides)
    m.save(tmp_path / 'm')
    assert torch.equal(WSGM.load(tmp_path / 'm', side=m.shape.side).sample(2, 2, seed=3), m.sample(2, 2, seed=3))
    if depth:
        low = analysis(x[:2], 'db2')[0]
        assert torch.allclose(analysis(m.refine(low, 2, j=1, seed=1), 'db2')[0], low, atol=1e-4)

@pytest.mark.parametrize('sides', ((8, 16), (16, 8), (12, 20), (6, 32), (9, 16)))
def test_distances_of_rectangles(sides):
    x, y = (torch.randn(300, 1, *sides, generator=g(sides, i)) for i in range(2))
    assert abs(Q.spectrum_distance(2 * x, x) - math.log(4)) < 1e-6 and Q.spectrum_distance(x, y) < .2
    assert torch.allclose(Q.shell_spectrum(x), Q.shell_spectrum(x.mT)) # a transposed image has the same shells
    assert (Q.shell_spectrum(x) - 1).abs().max() < .3 # white noise has power 1 in each
    f = Q.texture_features(x[:5])
    assert torch.allclose(f, Q.texture_features(x[:5].roll((3, 5), (2, 3))), atol=1e-6) and f.shape[1] == 26
    if not any(n % 2 for n in sides): assert abs(Q.coefficient_distance(x + 9, x, 'db2', 1)) < 1e-4 # details: no mean

def test_repeated_images_have_the_spectrum_of_one_but_finer():
    x = torch.randn(20, 1, 16, 16, generator=g('repeat'))
    P, R = Q.shell_spectrum(x), Q.shell_spectrum(torch.cat([x, x], 3))
    assert len(P) == len(R) == 8 and 0 < float(R.sum() / P.sum()) < 3

# Types, states and devices

@pytest.mark.parametrize('kind', networks())
@pytest.mark.parametrize('dtype', (torch.float64, torch.float16, torch.bfloat16, np.float32, np.float64))
def test_denoise_takes_all_types(kind, dtype):
    net, y = networks()[kind].eval(), .3 + .4 * rand(2, 1, 8, 12)
    z = y.numpy().astype(dtype) if isinstance(dtype, type) else y.to(dtype)
    x = D.denoise(net, z)
    assert x.dtype == (torch.float64 if dtype in (torch.float64, np.float64) else torch.float32)
    assert torch.allclose(x.float(), D.denoise(net, y), atol=2e-2 if getattr(dtype, 'itemsize', 4) == 2 else 1e-5)

@pytest.mark.parametrize('net', (UNet(1, width=4, mults=(1,)), networks()['flat'], networks()['unet']))
@pytest.mark.parametrize('y', (rand(1, 1, 8, 8).double(), rand(1, 1, 8, 8).half(), rand(1, 1, 8, 8).bfloat16(),
                               torch.ones(1, 1, 8, 8, dtype=torch.uint8), torch.ones(1, 1, 8, 8, device='meta')))
def test_a_network_itself_names_the_type(net, y):
    with pytest.raises(ValueError, match='the network is torch.float32 on cpu'):
        net(y, torch.zeros(1)) if isinstance(net, UNet) else net(y)

def in_training(): # dropout, running standard deviations, a random state: all that a measurement could change
    net = nn.Sequential(D.Denoiser(5, width=4, layers=4, normalised=True, generator=g('t')), nn.Dropout(.5))
    net.channels, net.condition, net.noise, net.divisor = 1, 0, (0., 1.), 1
    net[1].eval()
    return net.train(True) and net

@pytest.mark.parametrize('measure', (
    lambda net: D.denoise(net, .3 + .4 * rand(1, 1, 8, 8)), lambda net: G.jacobian(net, rand(1, 4, 4)),
    lambda net: G.jacobian_rows(net, rand(1, 5, 4), [2, 3]),
    lambda net: S.synthesize(net, .5 + rand(2, 1, 8, 8), end=.3, h=.5, seed=0, most=99),
    lambda net: S.inpaint(rand(1, 1, 8, 8), np.eye(8) > 0, net, n=1, seed=0, end=.5, h=.5)))
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_a_network_is_left_as_it_was(measure):
    net = in_training()
    state, modes, random = ({k: v.clone() for k, v in net.state_dict().items()}, [m.training for m in net.modules()],
                            torch.get_rng_state())
    try: measure(net)
    except FloatingPointError: pass
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes and torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in net.parameters())

def test_measuring_a_field_leaves_no_gradients():
    net = D.Denoiser(5, width=4, layers=4, generator=g('field'))
    assert D.measured_field(net, 15, generator=g('y')) == 5 and all(p.grad is None for p in net.parameters())

def test_fit_and_sample_leave_the_random_state():
    before, x = torch.get_rng_state(), torch.randn(8, 1, 8, 8, generator=g('x')).cumsum(-1)
    was = x.clone()
    WSGM(side=8, depth=1, width=4, mults=(1,)).fit(x, steps=2, batch=4).sample(2, 2)
    assert torch.equal(torch.get_rng_state(), before) and torch.equal(x, was)

# Range

calm = .5 + .1 * torch.randn(1, 1, 16, 16, generator=g('calm'))
class Shrink(nn.Module): # a stand-in that finds the noise that there is: the mean of the neighbours
    channels, condition, noise, divisor = 1, 0, (0., 1.), 1
    def forward(self, y): return F.avg_pool2d(F.pad(y, (2, 2, 2, 2), mode='reflect'), 5, 1)

loud = lambda s, m=.9: m + s * torch.randn(1, 1, 16, 16, generator=g('loud', s))
wave = torch.linspace(0, 7, 16).sin().expand(1, 1, 16, 16)
@pytest.mark.parametrize('y', (loud(20), loud(3), loud(1.5), loud(20, .5), 255 * calm, -calm, wave, 2 * wave + .5,
                               torch.cat([calm] * 30 + [loud(5)]), torch.cat([calm] * 300 + [99 * calm])))
def test_outside_the_trained_range(y):
    with pytest.raises(ValueError, match=r'expected an image in \[0, 1\]|trained up to'): D.denoise(Shrink(), y)

@pytest.mark.parametrize('y', (calm, loud(.5, .5), loud(.9, .3), .5 * calm, torch.zeros(1, 1, 16, 16), calm.round()))
def test_inside_the_trained_range(y): assert D.denoise(Shrink(), y).shape == y.shape

@pytest.mark.parametrize('call, words', (
    (lambda: D.denoise(lambda y: y, calm), 'a function; expected a denoiser'),
    (lambda: D.denoise(nn.Identity(), calm), 'a Identity; expected'),
    (lambda: D.denoise(D.Denoiser(5, 3, 1, width=4, layers=4), calm.expand(-1, 3, -1, -1)), 'of details'),
    (lambda: D.psnr(calm, calm[..., :8]), 'expected pairs'), (lambda: D.psnr(calm.expand(2, -1, -1, -1),
                                                                             calm.expand(3, -1, -1, -1)), 'pairs'),
    (lambda: Q.spectrum_distance(calm, calm[..., :8]), 'equal sides'), (lambda: Q.spectrum_distance(0 * calm, calm),
                                                                        'x has no power'),
    (lambda: Q.spectrum_distance(calm, 0 * calm + 1), 'y has no power'),
    (lambda: Q.value_distance(calm, torch.ones(5)), 'does not vary'),
    (lambda: Q.value_distance(calm / 0, calm), 'finite'),
    (lambda: Q.value_distance([], calm), '0 values'), (lambda: Q.frechet(calm[0, 0] * math.nan, calm[0, 0]), 'finite'),
    (lambda: Q.coefficient_distance(calm, calm[..., :6]), 'y has sides 16 x 6'),
    (lambda: Q.coefficient_distance(calm, calm.expand(-1, 2, -1, -1)), 'x has 1 channels, y has 2'),
    (lambda: G.slope([1., math.inf], [1., 2.]), 'finite'),
    (lambda: G.empirical_denoiser((9 * X).astype(int), 1.), 'holds int64')))
def test_measures_refuse(call, words):
    with pytest.raises(ValueError, match=words): call()

# Arguments without effect, or outside the allowed values

def flow(): return WSGM(side=8, depth=1, width=4, mults=(1,), objective='flow').fit(
    torch.randn(8, 1, 8, 8, generator=g('x')).cumsum(-1), steps=1, batch=4, seed=0)
def model(**kw): return WSGM(**(dict(side=8, depth=1, width=4, mults=(1,)) | kw)).fit(
    torch.randn(8, 1, 8, 8, generator=g('x')).cumsum(-1), steps=1, batch=4, seed=0)
low = rand(1, 1, 4, 4)

@pytest.mark.parametrize('call, words', (
    (lambda: flow().sample(1, scheme='heun'), "scheme is 'heun'.*no effect"),
    (lambda: flow().sample(1, grid='uniform'), "grid is 'uniform'.*no effect"),
    (lambda: flow().sample(1, T=3.), 'T is 3.0.*no effect'), (lambda: flow().refine(low, T=3.), 'no effect'),
    (lambda: flow().refine(low, scheme='ancestral'), 'no effect'), (lambda: flow().sample(1, 0), 'steps is 0'),
    (lambda: Shape(objective='flow', T=3.), 'T is 3.0.*no effect on a flow'),
    (lambda: Shape(depth=0, units='conditional'), 'no effect on depth 0'),
    (lambda: Shape(heads=2), 'without attention'), (lambda: Shape(attention=(7,)), 'no network has'),
    (lambda: WSGM(Shape(), depth=3), 'a description and depth'), (lambda: model().sample(1, T=9.), 'T is 9.*at most 5'),
    (lambda: model().sample(1, scheme='ddim'), "'ddim' is unknown"), (lambda: model().sample(1, grid='log'), "'log'"),
    (lambda: model().sample(2.5), 'n is 2.5'), (lambda: model().sample(1, 2.5), 'steps is 2.5'),
    (lambda: model().sample(True), 'n is True'), (lambda: model().sample(1, side=(8, 8, 8)), 'side is'),
    (lambda: model().sample(1, side=0), 'side is 0'), (lambda: model().sample(1, batch=0), 'batch is 0'),
    (lambda: model().sample(2, seed=[1]), '1 seeds for 2'), (lambda: model().sample(1, seed=-1), 'seed is -1'),
    (lambda: model().sample(1, seed='a'), "seed is 'a'"), (lambda: model().refine(low, scales=2), 'scales is 2'),
    (lambda: D.load_published(13, 'flat', 1), 'no effect'), (lambda: D.load_published(40, 'low', 0), 'no effect'),
    (lambda: D.denoiser('lsun'), "'lsun' is unknown"), (lambda: D.Denoiser(5, sizes=(3, 3)), 'came with sizes'),
    (lambda: D.Denoiser(layers=5, sizes=(3, 3)), 'came with sizes'),
    (lambda: D.denoising_loss(None, -1.), 'largest is -1'),
    (lambda: S.start_like(rand(3, 1, 4, 4), 2, 0.), 'sigma is 0'),
    (lambda: S.start_like(rand(3, 1, 4, 4), 0, 1.), 'n is 0'),
    (lambda: S.start_like(rand(3, 1, 4, 4), 2, 1., 2.), 'share is 2'),
    (lambda: S.draw_images(networks()['multiscale'], side=10), 'multiple of 4'),
    (lambda: S.super_resolve(low, 'x4'), "factor is 'x4'"),
    (lambda: S.super_resolve(low.expand(-1, 2, -1, -1), networks()['multiscale']), '2 channels; expected 1'),
    (lambda: S.super_resolve(low, [], truth=low[..., :2]), 'truth has shape'),
    (lambda: S.inpaint(low, np.ones((4, 4)) > 0), 'True everywhere'),
    (lambda: S.inpaint(low, np.zeros((4, 4))), 'False'), (lambda: S.inpaint(low, np.eye(5)), r'expected \(4, 4\)'),
    (lambda: S.inpaint(low, 255 * np.eye(4)), 'to 255'),
    (lambda: S.inpaint(2 * low + 1, np.eye(4), Shrink()), r'\[0, 1\]'),
    (lambda: S.inpaint((9 * low).int(), np.eye(4), Shrink()), 'int32'),
    (lambda: S.inpaint(low.expand(-1, 3, -1, -1), np.eye(4), Shrink()), '3 channels; expected 1')))
def test_arguments_are_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words): call()

@pytest.mark.parametrize('grid, scheme', ((None, 'heun'), ('quadratic', 'heun'), ('geometric', 'ancestral'),
                                          ('uniform', 'euler_ode'), (None, 'brownian')))
def test_every_scheme_runs_on_a_learned_model(grid, scheme):
    m = model()
    for steps in (1, 2, np.int64(3)): assert torch.isfinite(m.sample(2, steps, grid=grid, scheme=scheme, seed=0)).all()

# Seeds

@pytest.mark.parametrize('scheme', ('euler_maruyama', 'ancestral', 'heun'))
@pytest.mark.parametrize('objective', ('diffusion', 'flow'))
def test_the_batch_changes_nothing(scheme, objective):
    m = model(objective=objective)
    draw = lambda batch, seed=5: m.sample(7, 3, seed=seed, batch=batch,
                                          scheme=None if objective == 'flow' else scheme)
    for batch in (1, 2, 3, 6, 7, 64): assert torch.allclose(draw(batch), draw(64), atol=1e-5)
    streams = list(range(7))
    assert torch.allclose(draw(3, streams)[:4], m.sample(4, 3, seed=streams[:4], scheme=None if objective == 'flow'
                                                         else scheme), atol=1e-5) # of n, with a seed each

@pytest.mark.parametrize('seed', (5, np.int64(5), torch.tensor(5), lambda: torch.Generator().manual_seed(5),
                                  np.uint8(5)))
def test_equal_seeds_are_equal(seed):
    m, make = model(), seed if callable(seed) else lambda: seed
    assert torch.equal(m.sample(2, 2, seed=make()), m.sample(2, 2, seed=5)) and m.seed == 5
    start = .5 + torch.randn(2, 1, 8, 8, generator=g('start'))
    run = lambda s: S.synthesize(lambda y: .7 * y, start, end=.05, h=.2, seed=s)[0]
    assert torch.equal(run(make()), run(5)) and not torch.equal(run(5), run(6))

def test_entropy_is_told():
    m = model()
    a = m.sample(2, 2); s = m.seed
    assert not torch.equal(a, m.sample(2, 2)) and torch.equal(a, m.sample(2, 2, seed=s))

# Files

GOOD = {'conv_layers.0.weight': torch.ones(4, 1, 3, 3), 'conv_layers.1.weight': torch.ones(4, 4, 1, 1),
        'conv_layers.2.weight': torch.ones(1, 4, 3, 3), 'BN_layers.0.gammas': torch.ones(1, 4, 1, 1),
        'BN_layers.0.running_sd': torch.ones(1, 4, 1, 1)}
def wrap(prefix): return {prefix + k: v for k, v in GOOD.items()}

@pytest.mark.parametrize('content', (
    GOOD, wrap('module.'), wrap('_orig_mod.'), wrap('module._orig_mod.'), wrap('_orig_mod.module.'), wrap('model.'),
    {'state_dict': wrap('model.'), 'epoch': 7}, {'model_state_dict': GOOD, 'optimizer': {'lr': 1.}},
    {'model': wrap('module.')}, {'params': {'state_dict': GOOD}}, wrap('module.') | {'n_averaged': torch.tensor(3)},
    {k: v.half() for k, v in GOOD.items()}, {k: v.double() for k, v in GOOD.items()}))
def test_weights_in_their_wrappings(tmp_path, content):
    torch.save(content, tmp_path / 'w.pt')
    net = D.read_weights(tmp_path / 'w.pt')
    assert all((c.weight == 1).all() for c in net.convolutions) and net.sizes == (3, 1, 3)
    if all(torch.is_tensor(v) for v in content.values()):
        save_file({k: v.contiguous() for k, v in content.items()}, tmp_path / 'w.safetensors')
        assert D.read_weights(tmp_path / 'w.safetensors').sizes == (3, 1, 3)

class Custom:
    def __reduce__(self): return (open, ('/nowhere-deepstruct', 'w'))

@pytest.mark.parametrize('content, words', (
    ({'model': GOOD, 'ema': GOOD}, 'several sets of weights, model, ema'), (GOOD | wrap('module.'), 'twice'),
    ({}, 'no tensors by name'), ([1, 2], 'no tensors by name'), ({'state_dict': {}}, 'no tensors'),
    (GOOD | {'conv_layers.1.weight': GOOD['conv_layers.1.weight'] * math.nan}, 'NaN.*conv_layers.1'),
    ({'layer1.weight': torch.ones(2)}, 'holds layer1.weight; expected a bias-free denoiser'),
    (GOOD | {'conv_layers.0.weight': 3}, 'expected a bias-free'), (b'<html>404</html>', 'not a file of plain weights'),
    (b'', 'not a file of plain weights'), (pickle.dumps(Custom()), 'not a file of plain weights'),
    (b'\x10\0\0\0\0\0\0\0{"a": [1, 2, 3', 'damaged safetensors'), (None, 'cannot be read')))
def test_files_of_weights_are_refused(tmp_path, content, words):
    path = tmp_path / 'w.pt'
    if isinstance(content, bytes): path.write_bytes(content)
    elif content is None: path.mkdir()
    else: torch.save(content, path)
    with pytest.raises(ValueError, match=words): D.read_weights(path)

def foreign(path, kind):
    if kind == 'folder': path.mkdir()
    elif kind == 'text': path.write_text('no model')
    elif kind == 'torch': torch.save(GOOD, path)
    elif kind == 'tensors': save_file(GOOD, path)
    elif kind == 'version': save_tensors(path, 'wavelet diffusion model', {'channels': 1}, GOOD)
    elif kind == 'cut': model().save(path); path.write_bytes(path.read_bytes()[:-900])
    return path

@pytest.mark.parametrize('kind', ('folder', 'text', 'torch', 'tensors', 'version', 'cut', 'missing'))
def test_models_are_refused_by_name(tmp_path, kind):
    path = foreign(tmp_path / 'some-model', kind)
    with pytest.raises((ValueError, FileNotFoundError), match='some-model.*(expected|no such file)'): WSGM.load(path)

# Measurements against a plain interpolation

@pytest.mark.parametrize('make', (
    lambda m: m.index_fill(0, torch.arange(3, 7), False), lambda m: torch.rand(m.shape, generator=g('m')) < .4,
    lambda m: m.index_fill(1, torch.tensor([0]), False), lambda m: m & (torch.arange(m.numel()).view(m.shape) % 3 > 0),
    lambda m: m.index_fill(0, torch.tensor([11]), False)))
def test_harmonic_interpolation(make):
    mask = make(torch.ones(12, 9, dtype=torch.bool))
    x = torch.randn(3, 2, 12, 9, generator=g('h'), dtype=torch.float64)
    y = S.harmonic(x, mask)
    p = F.pad(y, (1, 1, 1, 1), mode='replicate') # at the border a pixel has no neighbour: its own value counts
    around = (p[..., :-2, 1:-1] + p[..., 2:, 1:-1] + p[..., 1:-1, :-2] + p[..., 1:-1, 2:]) / 4
    assert torch.equal(y[..., mask], x[..., mask]) and torch.allclose(y[..., ~mask], around[..., ~mask], atol=1e-9)
    assert torch.allclose(S.harmonic(x.mT, mask.T), y.mT)

def test_a_ramp_is_harmonic():
    ramp = (torch.arange(10.)[:, None] + 2 * torch.arange(8.)).expand(1, 1, 10, 8)
    mask = torch.ones(10, 8, dtype=torch.bool); mask[3:7, 2:6] = False
    assert torch.allclose(S.harmonic(torch.where(mask, ramp, -99.), mask), ramp, atol=1e-4)

class Wiener(nn.Module): # the best denoiser of a Gaussian field of mean 1/2
    channels, condition, noise, divisor = 1, 0, (0., 9.), 1
    def __init__(self, P): super().__init__(); self.P = P
    def forward(self, y, sigma):
        return .5 + torch.fft.ifft2(torch.fft.fft2(y - .5) * self.P / (self.P + sigma**2)).real

def hole(m): m[6:10, 6:10] = False; return m
@pytest.mark.parametrize('make', (hole, lambda m: torch.rand(16, 16, generator=g('m')) < .3,
                                  lambda m: m.index_fill(1, torch.arange(0, 16, 2), False)))
def test_inpainting_of_a_field_beats_the_interpolation(recwarn, make):
    P = .0009 * torch.as_tensor(mode_power(4, 16))
    x = (.5 + gaussian_field(lambda *_: P, 8, 16, g('field'), torch.float64)).clamp(0, 1)
    mask = make(torch.ones(16, 16, dtype=torch.bool))
    holed = torch.where(mask, x, math.nan)
    r = S.inpaint(holed, mask.numpy(), Wiener(P), n=8, seed=0, truth=x, sigma=.1, end=.002, h=.1, beta=.05, ideal=.1)
    assert not [w for w in recwarn if w.category is UserWarning] and r.samples.shape == (8, 8, 1, 16, 16)
    assert r.errors['mean'] < .85 * r.errors['plain'] and r.errors['mean'] < r.errors['sample']
    assert torch.allclose(r.samples[..., mask], x[..., mask].expand(8, 8, 1, -1))
    same = S.inpaint(holed, mask, Wiener(P), n=8, seed=0, sigma=.1, end=.002, h=.1, beta=.05, ideal=.1)
    assert torch.equal(same.samples, r.samples) and same.errors is None

class Constant(nn.Module):
    channels, condition, noise, divisor = 1, 0, (0., 9.), 1
    def __init__(self, v): super().__init__(); self.v = v
    def forward(self, y): return self.v + 0 * y

@pytest.mark.parametrize('v, words', ((3., 'lie outside'), (-2., 'lie outside'), (1., 'farther from the plain'),
                                      (0., 'has error'), (.9, 'the plain interpolation 0.')))
def test_a_sampler_that_loses_warns(v, words):
    ramp = (.4 + .2 * torch.arange(16.) / 15).expand(1, 1, 16, 16)
    mask = torch.ones(16, 16, dtype=torch.bool); mask[4:12, 4:12] = False
    with pytest.warns(UserWarning, match=words): S.inpaint(ramp, mask, Constant(v), n=2, seed=0, truth=ramp, end=.05)

def test_images_from_noise():
    class Low(nn.Module):
        channels, condition, noise, divisor = 1, 0, (0., 1.), 1
        def forward(self, y): return .5 + .3 * (y - .5)
    class Fine(nn.Module):
        channels, condition, noise, divisor = 3, 1, (0., 1.), 1
        def forward(self, d, low): return .4 * d
    net = D.Multiscale(Low(), [Fine(), Fine()])
    a, b = (S.draw_images(net, 3, (16, 24), 1, h=.2), S.draw_images(net, 2, (16, 24), 1, h=.2))
    assert a.shape == (3, 1, 16, 24) and torch.allclose(a[:2], b, atol=1e-6) # an image of a seed, whatever n
    assert S.draw_images(Low(), 1, 10, 0, h=.2).shape == (1, 1, 10, 10)
