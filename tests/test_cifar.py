"""CIFAR-10: two layouts give the same images in the same order, and what is no CIFAR-10 is refused."""
import numpy as np
import pytest
import torch
from PIL import Image

import deepstruct.data as D
from deepstruct.cifar import CIFAR10, cifar10

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32)).astype('u1')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('DEEPSTRUCT_DATA', str(tmp_path))
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cifar10'


def pictures(folder, name=lambda i: f'{i:04d}.png'):
    for i, im in enumerate(PIXELS):
        f = folder / 'test' / CIFAR10[i % 10] / name(i // 10)
        f.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(im.transpose(1, 2, 0)).save(f)


@pytest.mark.parametrize('name', [lambda i: f'{i:04d}.png', lambda i: f'{3 * i + 4}_cat.png'],
                         ids=['padded', 'by number'])
def test_two_layouts_are_one_set(folder, name):
    assert D.where('cifar10') is None and next(r for r in D.list_data() if r['name'] == 'cifar10')['where'] is None
    pictures(folder, name)
    x, y = cifar10('test')
    assert D.where('cifar10') == folder == D.get('cifar10')
    assert torch.equal((255 * x).round().byte(), torch.from_numpy(PIXELS)) and y.tolist() == list(range(10)) * 4
    (folder / 'test/cat/.DS_Store.png').write_bytes(b'no picture')
    assert torch.equal(cifar10('test')[0], x)
    rows = np.concatenate([np.arange(40, dtype=np.uint8)[:, None] % 10, PIXELS.reshape(40, -1)], 1)
    rows.tofile(folder / 'test_batch.bin')
    a, b = cifar10('test', 12)
    assert torch.equal(a, x[:12]) and torch.equal(b, y[:12])


@pytest.mark.parametrize('spoil, words', [
    (np.zeros((32, 32), 'u2'), 'kind I;16'), (np.zeros((32, 32, 4), 'u1'), 'kind RGBA'),
                                          (np.zeros((32, 32), 'f4'), 'kind F'),
    (np.zeros((31, 32, 3), 'u1'), '32 x 31'), (np.zeros((32, 32, 2), 'u1'), 'kind LA')])
def test_pictures_that_are_none_of_it(folder, spoil, words):
    pictures(folder)
    f = folder / 'test/dog/0001.png'
    if spoil.dtype == 'f4': # a TIFF under another name
        Image.fromarray(spoil).save(f, 'TIFF')
    else: Image.fromarray(spoil).save(f)
    with pytest.raises(ValueError, match=words): cifar10('test')


@pytest.mark.parametrize('call, words', [
    (lambda f: cifar10('valid'), "'valid'"), (lambda f: cifar10(), 'not on this machine'),
    (lambda f: (pictures(f), cifar10('test', 41)), 'n is 41; expected 1 to 40'),
                                         (lambda f: (pictures(f), cifar10('train')), 'no pictures of airplane'),
    (lambda f: (f.mkdir(), (f / 'test_batch.bin').write_bytes(b'x' * 3073), cifar10('test')), 'no|labels below 10')])
def test_refused(folder, call, words):
    with pytest.raises(ValueError, match=words): call(folder)
