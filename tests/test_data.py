"""Data: what is embedded, what is found, what is fetched, and what is refused."""
import gzip
import hashlib
import lzma
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import deepstruct.data as D
from deepstruct.core import generator


def idx(a): return bytes([0, 0, 8, a.ndim]) + np.array(a.shape, '>i4').tobytes() + a.tobytes()


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A registry whose 'fashion-mnist' is four tiny files, with nothing on this machine."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, (6, 28, 28), np.uint8), np.arange(6, dtype=np.uint8),
              rng.integers(0, 255, (4, 28, 28), np.uint8), np.arange(4, dtype=np.uint8)]
    files = dict(zip(D.REGISTRY['fashion-mnist'].sha256, map(idx, arrays)))
    entry = D.Data('fashion-mnist', 'here', 'MIT', 'tiny', {f: hashlib.sha256(b).hexdigest() for f, b in files.items()},
                   'http://nowhere.invalid/')
    monkeypatch.setitem(D.REGISTRY, 'fashion-mnist', entry)
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / 'cache'))
    monkeypatch.delenv('DEEPSTRUCT_DATA', raising=False)
    monkeypatch.setattr(D, 'Path',
                        lambda *p: Path(*(str(q).replace('/usr/share/datasets', str(tmp_path / 'none')) for q in p)))
    monkeypatch.setattr(D.shutil, 'which', lambda name: None)
    D._fashion.cache_clear()
    yield files, arrays
    D._fashion.cache_clear()


def put(files, folder, damage=None):
    folder.mkdir(parents=True)
    for f, b in files.items(): (folder / f).write_bytes(gzip.compress(b[:-1] if f == damage else b))


def test_embedded_images_are_balanced_and_small():
    path = D.where('fashion-mnist-15k')
    assert path.stat().st_size < 8e6
    D.verified(path, D.REGISTRY['fashion-mnist-15k'].sha256[path.name])
    array = np.load(lzma.open(path), allow_pickle=False)
    for split, rows, each in (('train', array[:10_000], 1000), ('test', array[10_000:], 500)):
        x, y = D.fashion_mnist(split)
        assert x.dtype == torch.float32 and y.dtype == torch.int64 and torch.bincount(y).tolist() == [each] * 10
        assert (np.array_equal((255 * x).round().byte().numpy().reshape(-1, 784), rows[:, 1:])
                and np.array_equal(y, rows[:, 0]))
    x, y = D.fashion_mnist('test', 7)
    assert x.shape == (7, 1, 28, 28) and torch.equal(x, D.fashion_mnist('test')[0][:7])
    x.zero_()
    assert D.fashion_mnist('test', 7)[0].max() == 1            # callers cannot spoil the copy that is kept


def test_listing():
    rows = D.list_data()
    assert [set(r) for r in rows] == [{'name', 'source', 'size', 'licence', 'sha256', 'where', 'get'}] * len(rows)
    readme = (Path(__file__).parents[1] / 'data/README.md').read_text()
    for d in D.REGISTRY.values(): assert d.licence and d.name in readme and all(h in readme for h in d.sha256.values())


def test_every_set_says_how_it_can_be_had():
    told = {r['name']: r['get'] for r in D.list_data()}
    for d in D.REGISTRY.values():
        assert d.embedded or d.url or d.by_hand or d.name == 'photographs'
        assert not d.by_hand or 'https://' in told[d.name] and f'$DEEPSTRUCT_DATA/{d.name}' in told[d.name]
    assert set(told) == set(D.REGISTRY) and {'cifar10', 'celeba-hq', 'berkeley'} <= set(told)
    assert told['fashion-mnist'] == 'deepstruct data get fashion-mnist'


@pytest.mark.parametrize('name', ['berkeley', 'cifar10', 'celeba-hq'])
def test_sets_by_hand(name, tmp_path, monkeypatch):
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('DEEPSTRUCT_DATA', str(tmp_path))
    at = lambda: next(r['where'] for r in D.list_data() if r['name'] == name)
    assert at() is None
    with pytest.raises(OSError, match='https://.*DEEPSTRUCT_DATA'): D.get(name)
    for f in ['test', 'train400', 'set68']: (tmp_path / name / f).mkdir(parents=True)
    assert at() == tmp_path / name
    if name != 'berkeley': assert D.get(name) == tmp_path / name
    else:
        with pytest.raises(ValueError, match='sha256'): D.get(name)


def test_found_in_order(tiny, tmp_path, monkeypatch):
    files, arrays = tiny
    assert D.where('fashion-mnist') is None
    with pytest.raises(ValueError, match='deepstruct data get fashion-mnist'): D.fashion_mnist(full=True)
    put(files, tmp_path / 'cache/data/fashion-mnist')
    assert D.where('fashion-mnist') == D.get('fashion-mnist') == tmp_path / 'cache/data/fashion-mnist'
    x, y = D.fashion_mnist('train', full=True)
    assert (np.array_equal((255 * x[:, 0]).round().byte(), arrays[0]) and y.tolist() == list(range(6))
            and len(D.fashion_mnist('test', full=True)[0]) == 4)
    put(files, tmp_path / 'mine/fashion-mnist')
    monkeypatch.setenv('DEEPSTRUCT_DATA', str(tmp_path / 'mine'))
    assert D.where('fashion-mnist') == tmp_path / 'mine/fashion-mnist'


def test_damaged_files_are_refused(tiny, tmp_path):
    put(tiny[0], tmp_path / 'cache/data/fashion-mnist', damage='t10k-labels-idx1-ubyte.gz')
    for call in (lambda: D.get('fashion-mnist'), lambda: D.fashion_mnist(full=True)):
        with pytest.raises(ValueError, match='t10k-labels.*expected'): call()
    (tmp_path / 'cache/data/fashion-mnist/t10k-labels-idx1-ubyte.gz').write_bytes(gzip.compress(b'x')[:-6])
    with pytest.raises(ValueError, match='damaged'): D.get('fashion-mnist')


def test_fetching_verifies_falls_back_and_leaves_nothing_half_done(tiny, tmp_path, monkeypatch):
    files, home = tiny[0], tmp_path / 'cache/data/fashion-mnist'
    def wrong(d, folder): put({f: b + b'!' for f, b in files.items()},
                              folder / 'x'), [p.rename(folder / p.name) for p in (folder / 'x').iterdir()]
    def right(d, folder): put(files, folder / 'x'), [p.rename(folder / p.name) for p in (folder / 'x').iterdir()]
    monkeypatch.setattr(D, '_download', wrong)
    with pytest.raises(OSError, match='DEEPSTRUCT_DATA/fashion-mnist'): D.get('fashion-mnist')
    assert not home.exists() and D.where('fashion-mnist') is None
    monkeypatch.setattr(D.shutil, 'which', lambda name: '/usr/bin/' + name)
    monkeypatch.setattr(D, '_from_debian', right)
    assert D.get('fashion-mnist') == home and sorted(p.name for p in home.iterdir()) == sorted(files)


def test_photographs():
    for name in D.PHOTOGRAPHS:
        x = D.photograph(name)
        assert x.ndim == 4 and x.shape[:2] == (1, 1) and 0 <= x.min() and x.max() <= 1 and x.std() > 0.02
    x = D.photographs(64)
    assert x.shape == (10, 1, 64, 64) and x.dtype == torch.float32
    assert torch.allclose(D.photograph('grass', 64), torch.nn.functional.avg_pool2d(D.photograph('grass'), 8),
                          atol=1e-6)
    assert D.photograph('moon', 600).shape[-1] == 600


def test_held_out_patches_are_of_other_places(monkeypatch):
    """Photographs whose pixels are numbered: no pixel is in both parts, and what is held out is the right fifth."""
    names, h, w = list(D.PHOTOGRAPHS), 20, 50
    monkeypatch.delenv('DEEPSTRUCT_DATA', raising=False)
    monkeypatch.setattr(D, 'where', lambda name: None)
    monkeypatch.setattr(D, 'photograph', lambda name: torch.arange(h * w).view(1, 1, h, w) + 1e4 * names.index(name))
    train, test, source = D.photo_patches(6, 4000, 4000, generator('held out'))
    assert source == 'embedded photographs' and train.shape == test.shape == (4000, 1, 6, 6)
    a, b = (torch.cat([p.unique() for p in x.split(500)]).unique() for x in (train, test))
    assert not torch.isin(a, b).any() and len(a) > .98 * 10 * h * 40 and len(b) > .98 * 10 * h * 10
    assert (a % 1e4 % w).max() == 39 and (b % 1e4 % w).min() == 40


def test_the_wheel_carries_the_images(tmp_path):
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, 'setup.py', '-q', 'build_py', '-d', str(tmp_path)], cwd=root, check=True,
                   capture_output=True)
    carried = tmp_path / 'deepstruct/_data'
    assert (carried / 'fashion_mnist.npy.xz').read_bytes() == (root
                                                               / 'data/fashion_mnist.npy.xz').read_bytes() and (carried
                                                                   / 'nbs/log_concavity/paper_cslc.toml').exists()


def padded(x): return torch.nn.functional.pad((x - .286) / .353, (2, 2, 2, 2), value=-.286 / .353) # as the pages did


def test_one_loader_gives_what_the_pages_made_of_the_images():
    x, y = D.fashion_mnist('train', full=False)
    i = torch.cat([(y == c).nonzero()[:30, 0] for c in range(10)])
    for how, a, b in ((dict(n=50), x[:50], y[:50]), (dict(n=50, start=70), x[70:120], y[70:120]),
                      (dict(start=9_990), x[-10:], y[-10:]), (dict(n=300, balanced=True), x[i], y[i])):
        for more, z in ((dict(), a), (dict(normalised=True), (a - .286) / .353),
                        (dict(side=32, normalised=True), padded(a)),
                        (dict(side=32), torch.nn.functional.pad(a, (2, 2, 2, 2)))):
            got = D.fashion_mnist('train', **how, **more)
            assert torch.equal(got[0], z) and torch.equal(got[1], b) and got[0].dtype == torch.float32
    whole = D.where('fashion-mnist') is not None
    assert all(torch.equal(a, b) for a, b in zip(D.fashion_mnist('test', 9, full=None),
                                                 D.fashion_mnist('test', 9, full=whole)))


@pytest.mark.parametrize('how, words', [
    (dict(side=30), 'side is 30'), (dict(n=15, balanced=True), 'multiple of 10'),
                                        (dict(n=20, start=1, balanced=True), 'from image 1'),
    (dict(n=10, start=9_995), 'n is 10 from image 9995'), (dict(start=-1), 'image -1'),
                                        (dict(n=10_001), 'get fashion-mnist'),
    (dict(n=10_000, start=10_000), 'expected 1 to 10,000')])
def test_the_loader_refuses(how, words):
    with pytest.raises(ValueError, match=words): D.fashion_mnist('train', **how)


@pytest.mark.parametrize('call, words', [
    (lambda: D.get('mnist'), "'mnist' is unknown; expected one of fashion-mnist-15k"), (lambda: D.where(''), 'unknown'),
                                         (lambda: D.fashion_mnist('val'), "'val'"),
    (lambda: D.fashion_mnist(n=0), 'n is 0'), (lambda: D.fashion_mnist('test', 5001), '5,000'),
                                         (lambda: D.photograph('lena'), 'camera'),
                                         (lambda: D.photograph(side=0), 'side is 0')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()
