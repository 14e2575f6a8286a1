"""What a stranger tried through the public doors: inputs that nobody listed, right or refused for their own reason."""
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

import deepstruct as ds
from deepstruct.core import steady
from deepstruct.examine import _collected
from deepstruct.log_concavity.your_fields import check
from deepstruct.rainbow.alignment import Moments, alignment_error, angle, cka


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.d, self.f = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 3, padding=1), nn.Linear(5, 4)
    def forward(self, x): return self.f(self.middle(F.relu(self.d(F.relu(self.c(x))))).mean((2, 3)))
    def middle(self, x): return x


class Dropped(Net):
    def middle(self, x): return F.dropout(x, .5, True)
class Noisy(Net):
    def middle(self, x): return x + torch.randn(x.shape)
class Sampled(Net):
    def middle(self, x): return x[:, torch.randperm(x.shape[1])]
class Dithered(Net):
    def middle(self, x): return x + torch.rand_like(x)
class Thinned(Net):
    def middle(self, x): return x * torch.bernoulli(torch.full_like(x, .9))
class Alpha(Net):
    def middle(self, x): return F.alpha_dropout(x, .3, True)


class Pooled(Net): # what an image gives depends on the others
    def middle(self, x): return F.batch_norm(x, None, None, training=True)
class Centred(Net):
    def middle(self, x): return x - x.mean(0)
class Shared(Net):
    def middle(self, x): return x * len(x) * torch.softmax(9 * x.mean((2, 3)), 0)[:, :, None, None]
class Ranked(Net):
    def middle(self, x): return x.argsort(0).float()
class Rolled(Net):
    def middle(self, x): return x + x.roll(1, 0)
class Statless(Net):
    def __init__(self): super().__init__(); self.n = nn.BatchNorm2d(5, track_running_stats=False)
    def middle(self, x): return self.n(x)


@pytest.fixture
def net(): torch.manual_seed(0); return Net().eval()

@pytest.fixture
def data():
    g = torch.Generator().manual_seed(1)
    return torch.rand(48, 3, 8, 8, generator=g), torch.arange(48) % 4

VERBS = {'error': lambda n, d: ds.error(n, [d]), 'fisher': lambda n, d: ds.fisher(n, [d], ['d']),
         'collapse': lambda n, d: ds.neural_collapse(n, [d]), 'align': lambda n, d: ds.align(n, Net(), [d]).error(),
         'rainbow': lambda n, d: ds.RainbowModel().fit([n], [d]).layers}
AGAINST = [v for k, v in VERBS.items() if k not in ('align', 'rainbow')]

@pytest.mark.parametrize('as_given', [torch.Tensor.double, torch.Tensor.half, torch.Tensor.bfloat16,
    lambda x: x.numpy().astype('f8'), lambda x: x.numpy().astype('>f4'), lambda x: x.numpy()[::-1][::-1]])
def test_images_of_any_floating_type(as_given, net, data):
    x, y = data
    z = as_given(x)
    exact = torch.as_tensor(np.asarray(z, 'f4') if isinstance(z, np.ndarray) else z).float()
    for verb in AGAINST: assert str(verb(net, (z, y))) == str(verb(net, (exact, y)))
    for verb in VERBS.values(): verb(net, (z, y))

@pytest.mark.parametrize('kind', [Dropped, Noisy, Sampled, Dithered, Thinned, Alpha])
@pytest.mark.parametrize('verb', VERBS)
def test_networks_that_draw_in_evaluation_are_refused(kind, verb, data):
    with pytest.raises(ValueError, match=f'{kind.__name__} draws random numbers'): VERBS[verb](kind().eval(), data)

@pytest.mark.parametrize('kind', [Pooled, Centred, Shared, Ranked, Rolled, Statless])
@pytest.mark.parametrize('verb', VERBS)
def test_networks_that_mix_the_images_of_a_batch_are_refused(kind, verb, data):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match='other features beside other images|keeps no statistics'):
        VERBS[verb](kind().eval(), data)

class Chaotic(nn.Module): # rounding grows by a factor at each layer
    def __init__(self): super().__init__(); self.f = nn.ModuleList(nn.Linear(8, 8) for _ in range(40))
    def forward(self, x):
        for f in self.f: x = torch.tanh(3 * f(x))
        return x
class Squeezed(nn.Module):
    def forward(self, x): return x.mean(1).squeeze()
class Sides(nn.Module): # outputs of other layouts beside
    def forward(self, x): return x, x.expand(2, *x.shape), x.T @ x * 0, x[:, :0], x.argmax(1), x.log()
class Wide(nn.Module):
    def forward(self, x): return x.double().expand(16, *x.shape)

@pytest.mark.parametrize('n', [1, 2, 3, 5, 16, 40])
@pytest.mark.parametrize('kind', [Chaotic, Squeezed, Sides, Wide])
def test_networks_of_one_image_at_a_time_pass(kind, n):
    torch.manual_seed(n)
    with torch.no_grad(): steady(kind(), torch.randn(n, 8))

@pytest.mark.parametrize('verb', VERBS)
@pytest.mark.parametrize('lay', [lambda x: x.movedim(1, -1), lambda x: x[:, :1], lambda x: x.flatten(1), lambda x: x[0],
                                 lambda x: x[:, :, None]])
def test_images_that_the_network_does_not_take(verb, lay, net, data):
    x, y = lay(data[0]), data[1]
    with pytest.raises(ValueError, match=r'takes no torch.float32 batch of shape|have shape|expected'):
        VERBS[verb](net, (x, y[:len(x)]))

@pytest.mark.parametrize('as_given', [lambda x, m: np.ma.masked_array(x, m), lambda x, m: [*np.ma.masked_array(x, m)],
    lambda x, m: np.ma.masked_where(m, x, copy=False), lambda x, m: tuple(np.ma.masked_array(x, m)),
    lambda x, m: np.ma.masked_array(x.astype('f8'), m)])
@pytest.mark.parametrize('verb', ['error', 'fisher', 'collapse', 'scatter', 'labels'])
def test_masked_values_are_refused(verb, as_given, net, data):
    x, y = (v.numpy() for v in data)
    z = as_given(x, x > .99)
    with pytest.raises(ValueError, match='masked'):
        if verb == 'scatter': ds.Scattering2D(2, 8)(z)
        elif verb == 'labels': VERBS['error'](net, (data[0], np.ma.masked_array(y, y == 2)))
        else: VERBS[verb](net, (z, data[1]))

def test_networks_of_two_types_are_no_ensemble(net, data):
    with pytest.raises(ValueError, match='float32 and of torch.float64; expected one type'):
        ds.RainbowModel().fit([net, Net().double()], [data])

@pytest.mark.parametrize('ridge', ['a', None, -1., float('nan'), [1.], True])
def test_ridges_that_are_none(ridge, net, data):
    with pytest.raises(ValueError, match='ridge is'):
        ds.RainbowModel().fit([net], [data]).sample(0, head='refitted', ridge=ridge)

@pytest.mark.parametrize('how', [{'compiled': 'x'}, {'compiled': 2}, {'compiled': .5}, {'pre_pad': None},
                                 {'out_type': 'tensor'}, {'out_type': None}])
def test_ways_of_scattering_that_there_are_not(how):
    with pytest.raises(ValueError, match='compiled is .* out_type'): ds.Scattering2D(2, 32, **how)

@pytest.mark.parametrize('verb, c', [(ds.super_resolve, 3), (ds.super_resolve, 2),
                                     (lambda x: ds.inpaint(x, torch.eye(8, dtype=torch.bool)), 3),
                                     (lambda x: ds.super_resolve(x, 8), 3), (lambda x: ds.super_resolve(x, True), 1)])
def test_nothing_is_fetched_for_images_that_cannot_be_served(verb, c, monkeypatch):
    monkeypatch.setattr('deepstruct.data.get', None)
    with pytest.raises(ValueError, match='channels; expected 1|factor is True'): verb(torch.rand(1, c, 8, 8))

@pytest.mark.parametrize('verb', [ds.diagnose, lambda x, **k: ds.LogConcaveModel(polish_steps=0).fit(x, seed=0, **k)])
def test_borders_are_an_argument(verb):
    cut = ds.gaussian_field(lambda a, b: 1 / (.1 + a**2 + b**2), 300, 16, seed=0)[..., :8, :8]
    said = lambda **k: _heard(verb, cut, **k)
    assert any("not periodic" in s and "borders='smooth'" in s for s in said())
    assert not any('not periodic' in s for s in said(borders='smooth'))
    with pytest.raises(ValueError, match="borders are 'taper'"): verb(cut, borders='taper')

def _heard(f, *args, **kwargs):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter('always')
        found = f(*args, **kwargs)
    return [*found.warnings, *(str(w.message) for w in heard)]

@pytest.mark.parametrize('verb', VERBS)
@pytest.mark.parametrize('dtype', [torch.uint8, torch.int8])
def test_bytes_are_refused_by_name(verb, dtype, net, data):
    with pytest.raises(ValueError, match='images are torch.u?int8'): VERBS[verb](net, (data[0].to(dtype), data[1]))

WHOLE = {'error': lambda n, d: ds.error(n, d), 'fisher': lambda n, d: ds.fisher(n, d, ['d']),
         'collapse': lambda n, d: ds.neural_collapse(n, d), 'train': lambda n, d: ds.train(n, d, epochs=.1, seed=0),
         'align': lambda n, d: ds.align(n, Net(), d), 'rainbow': lambda n, d: ds.RainbowModel().fit([n], d)}

@pytest.mark.parametrize('verb', WHOLE)
def test_a_data_set_is_no_loader(verb, net, data):
    with pytest.raises(ValueError, match=r'data is a TensorDataset.*DataLoader\(data'):
        WHOLE[verb](net, torch.utils.data.TensorDataset(*data))

@pytest.mark.parametrize('pair', [tuple, list, lambda d: (d[0][:2], d[1][:2]), lambda d: (d[0].numpy(), d[1].numpy()),
                                  lambda d: (d[0].double(), d[1].float())])
@pytest.mark.parametrize('verb', ['align', 'rainbow'])
def test_one_pair_is_no_list_of_batches(verb, pair, net, data):
    with pytest.raises(ValueError, match='and their labels; expected a list'): WHOLE[verb](net, pair(data))

@pytest.mark.parametrize('verb', [k for k in WHOLE if k not in ('align', 'rainbow')])
def test_a_dict_is_no_pair(verb, net, data):
    with pytest.raises(ValueError, match='data is a dict with x, y'): WHOLE[verb](net, dict(zip('xy', data)))

def test_two_pairs_are_two_batches(net, data):
    (x, y), other = data, Net()
    halves = ((x[:24], y[:24]), (x[24:], y[24:]))
    assert ds.align(net, other, halves).error() == pytest.approx(ds.align(net, other, [data]).error(), rel=1e-4)

class Sometimes(Net):
    def forward(self, x): h = F.relu(self.c(x)); return self.f((self.d(h) if len(x) > 4 else h[:, :5]).mean((2, 3)))

def test_a_layer_that_some_batches_pass_by(data):
    with pytest.raises(ValueError, match="layer 'd'"): ds.fisher(Sometimes(), data, ['d'])

# weights that are computed, which torch does not copy
def masked(net): prune.l1_unstructured(net.d, 'weight', .5)
def without_neurons(net): prune.ln_structured(net.c, 'weight', .5, 2, 0)
def without_bias(net): prune.random_unstructured(net.f, 'bias', .5)
def normed(net): nn.utils.weight_norm(net.d)
def spectral(net): nn.utils.spectral_norm(net.d)
def both(net): prune.l1_unstructured(net.c, 'weight', .3), nn.utils.parametrizations.weight_norm(net.d)

@pytest.mark.filterwarnings('ignore:.*weight_norm')
@pytest.mark.parametrize('change', [masked, without_neurons, without_bias, normed, spectral, both])
def test_training_with_computed_weights(change, net, data):
    change(net)
    net(data[0])
    before, at_first = {k: v.clone() for k, v in net.state_dict().items()}, net(data[0])
    new = ds.train(net, data, epochs=2, seed=0)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not torch.equal(new(data[0]), at_first)
    for k, mask in net.named_buffers():
        if k.endswith('mask'):
            weight = new.get_submodule(k.rpartition('.')[0]).__getattribute__(k.rpartition('.')[2][:-5])
            assert not weight[mask == 0].any()

@pytest.mark.parametrize('pair', [tuple, list, lambda d: [d], lambda d: (d[0].numpy(), d[1].numpy()),
                                  lambda d: [(d[0].double(), d[1])]])
def test_examine_takes_data_as_the_others_do(pair, net, data):
    x, y = _collected(pair(data), net, 40)
    torch.testing.assert_close((x, y), (data[0][:40], data[1][:40]))

# moments of features of any size
@pytest.mark.parametrize('size', [1e-30, 1e-25, 1e-18, 1e18, 1e25, 1e30])
def test_moments_do_not_depend_on_the_unit(size):
    g = torch.Generator().manual_seed(2)
    a, b = torch.randn(2, 300, 8, generator=g)
    Q = torch.linalg.qr(torch.randn(8, 8, generator=g))[0]
    measure = lambda u, v: [f(Moments(8, 8, autos=True).update(u, v)) for f in (cka, angle, alignment_error)]
    assert measure(a * size, b * size) == pytest.approx(measure(a, b), rel=1e-4)
    assert measure(a * size, a @ Q * size) == pytest.approx([1, 0, 0], abs=1e-3)

@pytest.mark.parametrize('size', [1e-200, 1e-100, 1e100, 1e200])
def test_moments_out_of_range_are_refused(size):
    with pytest.raises(ValueError, match='the largest feature is'):
        Moments(3, 3).update(torch.ones(4, 3).double() * size, torch.ones(4, 3).double())

@pytest.mark.parametrize('most, many', [(1e6, 1), (1e6, 3), (1e7, 1), (3e6, 5), (1e8, 2)])
def test_cka_of_massive_samples_is_right_or_refused(most, many):
    g = torch.Generator().manual_seed(3)
    a, b = (torch.cat([z, most * z[:many]]) for z in torch.randn(2, 300, 8, generator=g))
    exact = cka(Moments(8, 8, autos=True).update(a.double(), b.double()))
    try: found = cka(Moments(8, 8, autos=True).update(a, b))
    except ValueError as e: assert 'outweigh' in str(e)
    else: assert found == pytest.approx(exact, abs=.01)

# pictures
@pytest.mark.parametrize('n', [0, -1, 1.5, True, '2'])
def test_how_many_pictures(n, tmp_path):
    from PIL import Image
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / 'a.png')
    with pytest.raises(ValueError, match='n is'): ds.read_images(tmp_path, n=n)

@pytest.mark.parametrize('source', [np.zeros((4, 8, 8)), torch.zeros(4, 8, 8), 7, None, [np.zeros((8, 8))]])
def test_pictures_are_read_from_paths(source):
    with pytest.raises(ValueError, match='expected a folder, a file'): ds.read_images(source)

@pytest.mark.parametrize('shape', [(16, 16, 30), (8, 8, 400), (32, 32, 5), (20, 20, 40), (64, 64, 6)])
def test_stacks_in_the_last_axis_are_warned_of(shape):
    x = np.random.default_rng(0).normal(size=shape)
    with pytest.warns(UserWarning, match='moveaxis'): ds.read_fields(x)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert ds.read_fields(np.moveaxis(x, -1, 0)).shape == (shape[2], 1, *shape[:2])

# fields
@pytest.fixture(scope='module')
def fields(): return ds.gaussian_field(lambda a, b: 1 / (a**2 + b**2 + .3)**1.5, 150, 8, seed=0).double()

def fitted(x, **how):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return ds.LogConcaveModel(width=1, nodes=5, **{'polish_steps': 0, **how}).fit(x, seed=0)

@pytest.mark.parametrize('unit', [-100, -66, -33, 40, 100])
def test_the_unit_of_fields_is_of_no_account(unit, fields):
    x, unit = fields.float(), 2.**unit
    there, here = fitted(x * unit), fitted(x.double())
    if unit == 2.**-66:
        a, b = (model.sample(8, seed=1).double() for model in (there, here))
        torch.testing.assert_close(a / unit, b, rtol=1e-4, atol=1e-4)
    E = here.energy(x.double())
    E[:, -1] += np.log(unit) # of the density of the coarsest value
    torch.testing.assert_close(there.energy(x * unit).double(), E, rtol=1e-4, atol=1e-4)

@pytest.mark.parametrize('mean', [100, -100, 300, 3000, -1000])
def test_means_far_from_zero_are_warned_of(mean, fields):
    said = lambda x: any('standard deviations from 0' in w for w in check(x)[1])
    assert said(fields + mean) and not said(fields + mean / 300)

def test_polish_that_does_not_arrive_is_warned_of():
    x = ds.gaussian_field(lambda a, b: 1 / (a**2 + b**2 + .3)**1.5, 300, 8, seed=2)
    assert not any('polish' in w for w in fitted(x, polish_steps=2).warnings)
    model = fitted(x.exp(), polish_steps=2)
    assert any('polish' in w for w in model.warnings)

@pytest.mark.parametrize('blow', [lambda x: x.repeat_interleave(2, -1).repeat_interleave(2, -2),
    lambda x: x.repeat(1, 1, 2, 2), lambda x: x.repeat_interleave(4, -1).repeat_interleave(4, -2),
    lambda x: x.mean(-1, keepdim=True).expand(-1, -1, -1, 8), lambda x: x[..., :1, :].expand(-1, -1, 8, -1)])
def test_fields_without_power_say_so(blow, fields):
    try: assert any('no power' in w for w in fitted(blow(fields)).warnings)
    except ValueError as e: assert 'no power' in str(e)

@pytest.mark.parametrize('half', ['no', 0, 1, None, 'False'])
def test_half_is_a_truth_value(half):
    with pytest.raises(ValueError, match='half is'): ds.LogConcaveModel(half=half)

@pytest.mark.parametrize('power', [torch.ones(8, 8) + 1j, np.ones((8, 8)) * 1j, lambda a, b: 1 + 0j * a,
                                   lambda a, b: np.ones((8, 8), 'c8'), lambda a, b: 2j])
def test_a_complex_power_is_none(power):
    with pytest.raises(ValueError, match='spectrum is complex'): ds.gaussian_field(power, 2, 8, seed=0)

@pytest.mark.parametrize('how', [dict(channels=0), dict(blocks=()), dict(blocks=(4, 0)), dict(classes=0),
                                 dict(side=16.), dict(channels='1'), dict(blocks=(4, 1.5))])
def test_learned_scattering_of_no_size(how):
    with pytest.raises(ValueError, match='expected'): ds.LearnedScattering(**{'side': 16, 'blocks': (4,), **how})

class Blur(nn.Module):
    def __init__(self): super().__init__(); self.w = nn.Parameter(torch.full((1, 1, 3, 3), 1 / 9))
    def forward(self, y): return F.conv2d(F.pad(y, (1, 1, 1, 1), mode='replicate'), self.w)

@pytest.mark.parametrize('shape', [(1, 1, 16, 16), (2, 1, 16, 24), (1, 1, 15, 17)])
def test_a_denoiser_of_ones_own(shape):
    x, mask = torch.rand(shape), torch.ones(shape[2:], dtype=torch.bool)
    mask[3:6, 4:9] = False
    r = ds.inpaint(x, mask, Blur(), n=1, seed=0, h=.3)
    assert torch.equal(r.samples[0][..., mask], x[..., mask])
    with pytest.raises(ValueError, match='without `channels`'): ds.synthesize(Blur(), 1, 16, seed=0)

@pytest.mark.parametrize('x, how, word', [(torch.rand(16, 16, 3), {}, 'x has shape'), (torch.rand(16, 16), {}, 'x has'),
    (torch.rand(1, 1, 16, 16), dict(sigma=-1.), 'sigma is'), (torch.rand(1, 1, 16, 16), dict(sigma=0.), 'sigma is'),
    (torch.rand(1, 1, 16, 16), dict(sigma=float('nan')), 'sigma is')])
def test_what_cannot_be_inpainted(x, how, word):
    mask = torch.ones(16, 16, dtype=torch.bool)
    mask[3:6] = False
    with pytest.raises(ValueError, match=word): ds.inpaint(x, mask, Blur(), seed=0, **how)
