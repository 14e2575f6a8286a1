"Local denoisers: fields, counts, homogeneity, the published files, and what is refused."
import hashlib
import pickle

import pytest
import torch
from torch.nn import functional as F

from deepstruct import data
from deepstruct.core import generator
from deepstruct.wavelet_diffusion import denoisers as D

COUNTS = {5: (80_192, 83_072), 9: (145_728, 148_608), 13: (211_264, 214_144), 23: (375_104, 377_984),
          43: (702_784, 705_664)}
here = data.where('denoisers-flat') and data.where('denoisers-multiscale')
needs_weights = pytest.mark.skipif(not here, reason='the published denoisers are not on this machine')

def learned(net): return sum(p.numel() for p in net.parameters())

@pytest.mark.parametrize('r', COUNTS)
def test_parameters_of_the_paper(r):
    assert learned(D.Denoiser(r, normalised=True)) == COUNTS[r][0]
    assert learned(D.Denoiser(r, channels=3, condition=1, normalised=True)) == COUNTS[r][1]

def test_low_pass_network_of_the_paper():
    net = D.Denoiser(41, layers=20, normalised=True)
    assert learned(net) == 665_856 and net.receptive_field == 41

@pytest.mark.parametrize('r', (3, 5, 9, 13, 23))
@pytest.mark.parametrize('condition', (0, 1))
def test_measured_field(r, condition):
    g = generator('field', r)
    net = D.Denoiser(r, channels=3 if condition else 1, condition=condition, width=6, layers=12, generator=g)
    low = torch.randn(4, 1, 45, 45, generator=g)
    assert D.measured_field((lambda y: net(y, low)) if condition else net, 45, net.channels, g) == r

def test_bias_free_is_homogeneous_in_training_mode_too():
    g = generator('homogeneous')
    y, low = torch.randn(4, 3, 16, 16, generator=g), torch.randn(4, 1, 16, 16, generator=g)
    for returns in ('image', 'noise'):
        for normalised in (False, True):
            net = D.Denoiser(5, 3, 1, width=6, layers=5, normalised=normalised, returns=returns, generator=g).eval()
            a, b = net(7 * y, 7 * low), 7 * net(y, low)
            assert (a - b).abs().max() < 1e-5 * b.abs().max()

def test_noise_and_image_are_complements():
    g = generator('complement')
    a, b = (D.Denoiser(5, width=6, layers=4, returns='image', generator=g),
            D.Denoiser(5, width=6, layers=4, returns='noise'))
    b.load_state_dict(a.state_dict())
    y = torch.randn(2, 1, 12, 12, generator=g)
    assert torch.allclose(a(y) + b(y), y, atol=1e-6)

def test_scale_layer_against_numpy():
    x = torch.randn(8, 3, 5, 5, generator=generator('scale')) * torch.tensor([1., 2., 3.])[:, None, None] + 5
    layer = D.Scale(3)
    y = layer(x)
    sd = x.double().numpy().std(axis=(0, 2, 3))
    assert torch.allclose(y, x / torch.tensor(sd, dtype=torch.float32)[:, None, None], rtol=1e-3)
    assert torch.allclose(layer.sd.flatten(), torch.tensor(.9 + .1 * sd, dtype=torch.float32), rtol=1e-3)

def test_haar_in_means():
    x = torch.rand(3, 2, 8, 8, generator=generator('haar'))
    low, d = D.split(x)
    a, b, c, e = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    assert torch.allclose(low, F.avg_pool2d(x, 2), atol=1e-6)
    assert torch.allclose(d[:, :3].abs(), torch.stack([(a + b - c - e)[:, 0], (a - b + c - e)[:, 0],
                                                       (a - b - c + e)[:, 0]], 1).abs() / 4, atol=1e-6)
    assert torch.allclose(D.merge(low, d), x, atol=1e-6)

def test_multiscale_by_hand():
    class Half(torch.nn.Module):
        channels, condition, noise = 1, 0, (0., 1.)
        def forward(self, y, low=None): return y / 2 if low is None else y / 4 + 0 * low
    y = torch.rand(2, 1, 16, 16, generator=generator('hand'))
    m = D.Multiscale(Half(), [Half(), Half()])
    low, details = D.mean_pyramid(y, 2)
    assert torch.allclose(m(y), D.merge(D.merge(low / 2, details[1] / 4), details[0] / 4), atol=1e-6)
    assert torch.allclose(m(y, details=False), F.interpolate(low / 2, scale_factor=4), atol=1e-6)

def test_denoising_loss_of_the_best_and_the_worst():
    g, x = generator('loss'), .5 * torch.randn(400, 1, 8, 8, generator=generator('x'))
    zero = D.denoising_loss(lambda g: x, 1.)(lambda y: 0 * y, g)
    same = D.denoising_loss(lambda g: x, 1.)(lambda y: y, g)
    assert abs(zero / x.square().mean() - 1) < 1e-5 and abs(same - 1 / 5) < .05 # E u^4 = 1/5

def test_weighted_loss():
    x = .5 * torch.randn(4000, 1, 4, 4, generator=generator('x'))
    got = D.denoising_loss(lambda g: x, 1., .1, 2.)(lambda y: y, generator('loss')) # error sigma^2 over sigma^2
    assert abs(got - 1) < .02
    with pytest.raises(ValueError, match='least sigma'): D.denoising_loss(lambda g: x, 1., 0., 1.)

def test_unet():
    net, y = D.UNetDenoiser(2, 8, 2, generator=generator('u')), torch.randn(2, 2, 16, 16, generator=generator('y'))
    assert (torch.allclose(net(5 * y), 5 * net(y), rtol=1e-4, atol=1e-4)
            and learned(net) == 9 * (2 * 8 + 8 * 8 + 8 * 16 + 16 * 16 + 16 * 32 + 32 * 32 + 48 * 16 + 16 * 16 + 24 * 8
                                     + 8 * 8) + 16)
    assert D.measured_field(net, 16, 2, generator('f')) > 16 - 2
    with pytest.raises(ValueError, match='multiple of 4'): net(y[..., :6, :6])

def test_half_precision_training_of_scales():
    from deepstruct import training
    net = D.Denoiser(5, width=4, layers=4, normalised=True)
    training.fit(net, D.denoising_loss(lambda g: torch.rand(4, 1, 8, 8, generator=g)), 2,
                 on=training.fabric(precision='bf16-mixed'))
    assert torch.isfinite(net(torch.rand(1, 1, 8, 8, generator=generator('r')))).all()

def test_refused():
    net = D.Denoiser(5, width=4, layers=4, generator=generator('net'))
    for call, word in ((lambda: D.denoise(net, 255 * torch.rand(1, 1, 8, 8)), r'expected an image in \[0, 1\]'),
                       (lambda: D.denoise(net, torch.rand(1, 3, 8, 8)), 'gray'),
                       (lambda: D.mean_pyramid(torch.rand(1, 1, 6, 6), 2), 'multiples of 4'),
                       (lambda: D.load_published(7), 'not published'),
                       (lambda: D.published_multiscale(size=80), '160 or 320'),
                       (lambda: D.check_range(-torch.ones(1, 1, 4, 4)), 'values from -1 to -1'),
                       (lambda: D.Denoiser(6), 'odd number'), (lambda: D.Denoiser(45), 'to 43')):
        with pytest.raises(ValueError, match=word): call()
    with pytest.raises(ValueError, match='trained up to 1.00'):
        D.denoise(net, .5 + 3 * torch.randn(1, 1, 16, 16, generator=generator('loud')))
    D.denoise(net, torch.rand(1, 1, 16, 16, generator=generator('calm')))

class Evil:
    def __reduce__(self): return (open, ('/nowhere-deepstruct-evil', 'w'))

def test_files_that_are_refused(tmp_path):
    def saved(name, content): torch.save(content, tmp_path / name); return tmp_path / name
    good = {'conv_layers.0.weight': torch.ones(4, 1, 3, 3), 'conv_layers.1.weight': torch.ones(4, 4, 1, 1),
            'conv_layers.2.weight': torch.ones(1, 4, 3, 3), 'BN_layers.0.gammas': torch.ones(1, 4, 1, 1),
            'BN_layers.0.running_sd': torch.ones(1, 4, 1, 1)}
    net = D.read_weights(saved('good.pt', {f'module.{k}': v for k, v in good.items()}))
    assert net.sizes == (3, 1, 3) and net.returns == 'noise'
    with open(tmp_path / 'evil.pt', 'wb') as f: pickle.dump(Evil(), f)
    cut = tmp_path / 'cut.pt'; cut.write_bytes((tmp_path / 'good.pt').read_bytes()[:300])
    tampered = hashlib.sha256(b'').hexdigest()
    for path, sha, word in ((tmp_path / 'evil.pt', None, 'not a file of plain weights'),
                            (cut, None, 'not a file of plain weights'), (tmp_path / 'good.pt', tampered, 'sha256'),
                            (tmp_path / 'none.pt', None, 'cannot be read'),
                            (saved('list.pt', [torch.ones(2)]), None, 'no tensors by name'),
                            (saved('bias.pt', good | {'conv_layers.0.bias': torch.ones(4)}), None, 'bias-free'),
                            (saved('wide.pt', good | {'conv_layers.1.weight': torch.ones(5, 4, 1, 1)}), None,
                             'fit together'), (saved('k5.pt', good | {'conv_layers.1.weight': torch.ones(4, 4, 5, 5)}),
                                               None, 'bias-free')):
        with pytest.raises(ValueError, match=word): D.read_weights(path, sha)

@needs_weights
def test_published_counts_and_fields():
    g = generator('published')
    for r, (flat, given) in COUNTS.items():
        assert learned(D.load_published(r, fold=False)) == flat
        for j in (0, 1): assert learned(D.load_published(r, 'details', j, fold=False)) == given
    assert learned(D.load_published(40, 'low', fold=False)) == 665_856
    a, b = D.load_published(13, fold=False), D.load_published(13)
    y = torch.rand(1, 1, 40, 40, generator=g)
    assert torch.allclose(a(y), b(y), atol=1e-4) and D.measured_field(b, 31, generator=g) == 13
