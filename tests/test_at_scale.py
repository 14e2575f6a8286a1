"""The published training protocol on made-up images: crops, rates, errors, checkpoints."""
import numpy as np
import pytest
import torch
from PIL import Image

from deepstruct.core import generator
from deepstruct.networks import ResNet
from deepstruct.phase_collapse.at_scale import (MEAN, SD, Padded, Pictures, centre_crop, configurations, crop_batch,
                                                crop_padded, crop_resized, dropped, top_errors, train_published,
                                                upright)
from deepstruct.training import fabric




def test_crops_come_from_the_image():
    x = torch.arange(2 * 36.).view(2, 6, 6) + 1
    seen = set()
    for k in range(300):
        y = crop_padded(x, 1, generator('crop', k))
        places = [(i, j, f) for i in range(3) for j in range(3) for f in (0, 1)
                  if torch.equal(y, (torch.nn.functional.pad(x, (1,) * 4)[:, i:i + 6, j:j + 6].flip(2) if f
                                     else torch.nn.functional.pad(x, (1,) * 4)[:, i:i + 6, j:j + 6]))]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 18
    x, g = torch.rand(1, 4, 4, generator=generator('image')), generator('half')
    assert np.mean([torch.equal(crop_padded(x, 0, g), x) for _ in range(2000)]) == pytest.approx(.5, abs=.04)


def test_resized_crops():
    gradient = Image.fromarray(np.tile(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], (80, 1, 3)))
    widths = []
    for k in range(200):
        a = np.asarray(crop_resized(gradient, 20, generator('resized', k)))[:, :, 0].astype(float)
        assert a.shape == (20, 20) and np.abs(a - a[:1]).max() <= 1 # columns of one value stay so
        widths.append(abs(a[0, -1] - a[0, 0]) / 2 * 20 / 19)
    assert (20 < min(widths) < 40 and 85 < max(widths) <= 101
            and np.mean([np.asarray(crop_resized(gradient, 20, generator('resized', k)))[0, 0, 0]
                         > np.asarray(crop_resized(gradient, 20, generator('resized', k)))[0, -1, 0]
                         for k in range(200)]) == pytest.approx(.5, abs=.12))
    b = np.asarray(centre_crop(gradient, 70, 70 / 80))[:, :, 0]
    assert np.abs(b[0].astype(float) - np.arange(30, 170, 2)).max() <= 1


def test_rates_drop():
    assert [dropped(e, .01, 70) for e in (0, 69, 70, 140)] == pytest.approx([.01, .01, .001, .0001])


class Constant(torch.nn.Module):
    def __init__(self, scores): super().__init__(); self.scores = torch.tensor(scores)
    def forward(self, x): return self.scores.expand(len(x), -1)


def test_errors_count_the_first_k():
    batches = [(torch.zeros(3, 1), torch.tensor([0, 1, 2])), (torch.zeros(1, 1), torch.tensor([3]))]
    assert top_errors(Constant([.4, .3, .2, .1]), batches, fabric(), (1, 2, 3)) == {1: .75, 2: .5, 3: .25}


def test_a_run_goes_on_where_it_was(tmp_path):
    g = generator('run')
    x, y = torch.rand(24, 3, 8, 8, generator=g), torch.arange(24) % 2
    x[y == 1, 0] += 1
    train, test, on = Padded(x / 2, y), Padded(x / 2, y, train=False), fabric()
    assert torch.allclose(test[3][0] * SD + MEAN, x[3] / 2) and test[3][1] == 1
    make = lambda: ResNet(3, width=4, classes=2, generator=generator('weights'))
    how = dict(every=3, lr=.05, batch=8, on=on, workers=0, top=(1,), checkpoint=tmp_path / 'run.pt')
    first = train_published(make(), train, test, epochs=10, **how)
    assert first['epoch'] == [10] and first['errors'][0]['1'] < .2
    state = torch.load(tmp_path / 'run.pt', weights_only=True)
    assert state['epoch'] == 10 and len(list(tmp_path.iterdir())) == 1
    state['key']['epochs'] = 11
    torch.save(state, tmp_path / 'run.pt')
    again = train_published(make(), train, test, epochs=11, **how)
    assert again['epoch'] == [10, 11] and again['errors'][0] == first['errors'][0]
    with pytest.raises(ValueError, match='another run'): train_published(make(), train, test, epochs=12, **how)
    with pytest.raises(ValueError, match='positive'): train_published(make(), train, test, epochs=0, on=on)


def test_pictures_in_folders(tmp_path):
    for k, name in enumerate(('cat', 'dog')):
        (tmp_path / name).mkdir()
        for i in range(2): Image.new('RGB', (30, 40), (100 * k, 50, 0)).save(tmp_path / name / f'{i}.png')
    data = Pictures(tmp_path, 16, train=False)
    x, y = data[2]
    assert y == 1 and torch.allclose(x * SD + MEAN, torch.tensor([100, 50, 0]).view(3, 1, 1) / 255
                                     * torch.ones(1, 16, 16), atol=1e-5)
    (tmp_path / 'dog' / '1.png').write_bytes(b'no picture')
    with pytest.raises(ValueError, match='cannot be read'): data[3]
    with pytest.raises(ValueError, match='two or more'): Pictures(tmp_path / 'cat')
    with pytest.raises(ValueError, match='no pictures of owl'): Pictures(tmp_path, classes=['cat', 'owl'])


def task(): # images, labels
    x, y = torch.rand(24, 3, 8, 8, generator=generator('run')), torch.arange(24) % 2
    x[y == 1, 0] += 1
    return x / 2, y


def test_a_stopped_run_ends_as_one_that_was_not_and_leaves_the_random_state(tmp_path):
    make = lambda: ResNet(3, width=4, classes=2, generator=generator('weights'))
    data, how = (Padded(*task()), Padded(*task(), train=False)), dict(epochs=4, every=2, lr=.05, batch=8, workers=0)
    whole, part, other = make(), make(), make()
    random = torch.get_rng_state()
    told = train_published(whole, *data, on=fabric(), top=(1, 5), **how)
    assert torch.equal(random, torch.get_rng_state()) and told['errors'][0]['5'] == 0 # of two classes
    calls = []
    def stop(module, args): # in the third epoch of three batches
        calls.extend([1] * module.training)
        if len(calls) == 8: raise KeyboardInterrupt
    other.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        train_published(other, *data, on=fabric(), checkpoint=tmp_path / 'run', **how)
    assert torch.equal(random, torch.get_rng_state())
    torch.manual_seed(7) # another state of the caller's
    train_published(part, *data, on=fabric(), checkpoint=tmp_path / 'run', **how)
    assert all(map(torch.equal, whole.state_dict().values(), part.state_dict().values()))


def test_a_loss_that_is_not_finite():
    x, y = task()
    with pytest.raises(FloatingPointError, match='epoch 0'):
        train_published(ResNet(3, width=4, classes=2), Padded(x, y), Padded(x, y), epochs=1, lr=1e30, batch=8,
                        on=fabric(), workers=0)


X, Y = task()
@pytest.mark.parametrize('x,y,words', [
    (255 * X, Y, 'from 0 to'), ((255 * X).byte(), Y, 'uint8'), (X - 1, Y, 'from -0.9'),
    (X[:, :1], Y, r'\(24, 1, 8, 8\)'), (X[:0], Y[:0], 'some of'), (X[0], Y, r'\(3, 8, 8\)'),
    (X / 0, Y, 'inf'), (X * float('nan'), Y, 'nan'),
    (X, Y[:5], r'\(5,\)'), (X, ['a'] * 24, 'text'), (X, Y.float(), 'float32'), (X, -Y, 'from -1')])
def test_images_in_memory_that_are_refused(x, y, words):
    with pytest.raises(ValueError, match=words): Padded(x, y)


@pytest.mark.parametrize('form', [lambda y: y.numpy(), lambda y: y.tolist(), lambda y: y[:, None], lambda y: y.int(),
                                  lambda y: torch.nn.functional.one_hot(y)])
def test_labels_in_memory(form): assert [Padded(X, form(Y), train=False)[i][1] for i in range(24)] == Y.tolist()


def test_crops_of_a_whole_batch():
    """Each of its images at its own place, all places and both sides about as often."""
    x, pad = torch.arange(1., 1 + 3 * 4 * 5).view(1, 3, 4, 5).repeat(3000, 1, 1, 1), 1
    torch.manual_seed(0)
    y, padded = crop_batch(x, pad), torch.nn.functional.pad(x[0], (pad,) * 4)
    places = [v for i in range(3) for j in range(3) for w in [padded[:, i:i + 4, j:j + 5]] for v in (w, w.flip(2))]
    counts = torch.stack([(y == v).flatten(1).all(1).sum() for v in places])
    assert counts.sum() == 3000 and counts.min() > 110 and counts.max() < 230
    with torch.no_grad(): assert torch.equal(crop_batch(x[:5], 0).sort(3).values, x[:5].sort(3).values)


@pytest.mark.parametrize('data', ['CIFAR-10', 'ImageNet'])
def test_what_a_gpu_would_train(data):
    """Built at its size without memory, and stepped once at a tiny one."""
    found = configurations(data)
    assert len(found) == (10 if data == 'CIFAR-10' else 3)
    for name, (make, how) in found.items():
        with torch.device('meta'): n = sum(p.numel() for p in make(**how).parameters())
        assert 2.6e5 < n < 2.8e5 if 'ResNet' in name else 1.2e7 < n < 5.4e7, name
        few = [(*b[:2], 3) for b in how.get('blocks', ())[:3]]
        if few: how = how | dict(side=8, classes=2, crop=True, blocks=few)
        else: how = how | dict(width=3, depth=1, classes=2)
        net = make(**how, generator=generator('tiny', name))
        before = [p.clone() for p in net.parameters() if p.requires_grad]
        x, y = task()
        train_published(net, Padded(x, y, train=False), Padded(x, y, train=False), epochs=1, lr=.05, batch=24,
                        on=fabric(precision='bf16-mixed'), workers=0, top=(1,), augment=crop_batch)
        after = [p for p in net.parameters() if p.requires_grad]
        assert all(p.isfinite().all() for p in after), name
        assert sum(not torch.equal(p, q) for p, q in zip(before, after)) > len(after) / 2, name
    with pytest.raises(ValueError, match="'MNIST'"): configurations('MNIST')


def test_crops_of_oblong_images():
    x = torch.arange(3 * 4 * 6.).view(3, 4, 6) + 1
    for k in range(50): assert crop_padded(x, 2, generator('oblong', k)).shape == x.shape


GRADIENT = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (30, 1)) # (30, 40), brighter to the right

def exif(turn): e = Image.Exif(); e[0x0112] = turn; return e

@pytest.mark.parametrize('save', [
    lambda p: Image.fromarray(GRADIENT).save(p / 'a.png'), lambda p: Image.fromarray(GRADIENT).convert('RGB').save(
        p / 'a.png'), lambda p: Image.fromarray(GRADIENT).convert('RGBA').save(p / 'a.png'),
    lambda p: Image.fromarray(GRADIENT).convert('P').save(p / 'a.png'),
    lambda p: Image.fromarray(np.repeat(GRADIENT[..., None], 3, 2)).convert('CMYK').save(p / 'a.jpg', quality=100),
    *(lambda p, turn=turn, how=how: Image.fromarray(GRADIENT).transpose(how).save(p / 'a.jpg', exif=exif(turn))
      for turn, how in ((2, Image.Transpose.FLIP_LEFT_RIGHT), (3, Image.Transpose.ROTATE_180),
                        (6, Image.Transpose.ROTATE_90), (8, Image.Transpose.ROTATE_270)))])
def test_pictures_of_every_kind(save, tmp_path):
    save(tmp_path)
    im = np.asarray(upright(next(tmp_path.iterdir()))).astype(int)
    assert im.shape == (30, 40, 3) and abs(im - GRADIENT[..., None]).max() < 8


@pytest.mark.parametrize('save,words', [
    (lambda p: Image.fromarray(GRADIENT.astype(np.uint16) * 257).save(p / 'a.png'), 'I;16'),
    (lambda p: Image.fromarray(GRADIENT.astype(np.int32)).save(p / 'a.tif'), 'kind I'),
    (lambda p: Image.fromarray(GRADIENT.astype(np.float32)).save(p / 'a.tif'), 'kind F'),
    (lambda p: (im := Image.fromarray(GRADIENT)).save(p / 'a.tif', save_all=True, append_images=[im]), '2 pages'),
    (lambda p: Image.merge('LA', [Image.fromarray(GRADIENT)] * 2).save(p / 'a.png'), 'transparent'),
    (lambda p: (im := Image.fromarray(GRADIENT).convert('P')).save(p / 'a.png', transparency=im.getpixel((5, 5))),
     'transparent'),
    (lambda p: (p / 'a.png').write_bytes(b'none'), 'cannot be read')])
def test_pictures_that_are_refused(save, words, tmp_path):
    save(tmp_path)
    with pytest.raises(ValueError, match=words): upright(next(tmp_path.iterdir()))
