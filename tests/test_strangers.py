"""What a stranger tried through the public doors: inputs that nobody listed, right or refused for their own reason."""
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import deepstruct as ds
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

def test_two_pairs_are_two_batches(net, data):
    (x, y), other = data, Net()
    halves = ((x[:24], y[:24]), (x[24:], y[24:]))
    assert ds.align(net, other, halves).error() == pytest.approx(ds.align(net, other, [data]).error(), rel=1e-4)

class Sometimes(Net):
    def forward(self, x): h = F.relu(self.c(x)); return self.f((self.d(h) if len(x) > 4 else h[:, :5]).mean((2, 3)))

def test_a_layer_that_some_batches_pass_by(data):
    with pytest.raises(ValueError, match="layer 'd'"): ds.fisher(Sometimes(), data, ['d'])

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
