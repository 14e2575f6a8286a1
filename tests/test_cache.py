"""The cache costs time and never a result: damage, files, places, state and checkpoints, each as a kind."""
import enum
import errno
import gzip
import json
import linecache
import os
import random
import subprocess
import sys
import threading
import types
from collections import OrderedDict, defaultdict, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deepstruct import core, data, places, training
from deepstruct.core import generator, stage_key

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / 'cache'))
    for name in ('DEEPSTRUCT_FORCE', 'DEEPSTRUCT_DATA', 'DEEPSTRUCT_OUT'): monkeypatch.delenv(name, raising=False)
    places.warn_once.cache_clear()
    return tmp_path / 'cache'


class Hidden:
    """What a stage can call and no key sees."""
    def __init__(self, f): self.f = f
    def __call__(self, *a): return self.f(*a)


Hidden.__module__ = 'os' # counts as installed: its state is no content


def cell(source, name='__main__', **space):
    """What a cell of a notebook leaves; `ran()` in it counts."""
    file, runs = f'<ipython-input-{os.urandom(6).hex()}>', []
    linecache.cache[file] = len(source), None, source.splitlines(True), file
    probe = types.ModuleType('probe')
    probe.ran = Hidden(lambda *a: runs.append(a))
    probe.__file__ = os.__file__ # as installed too
    sys.modules['probe'] = probe
    space = {'__name__': name, '__package__': '', **space}
    exec(compile(f'{source}', file, 'exec'), space)
    return types.SimpleNamespace(runs=runs, **{k: v for k, v in space.items() if not k.startswith('__')})


HEAD = 'import os, probe\nfrom deepstruct.core import cached\n'
VALUE = HEAD + '@cached\ndef stage(n):\n probe.ran()\n return {"v": [1. * n] * 40}'


def entry(cache): return next(cache.rglob('*.pt'))


# --- 05: damage
def damaged(cache, harm, capsys):
    """The value comes again, computed; the message names the file; the entry is whole afterwards."""
    page = cell(VALUE)
    first = page.stage(3)
    harm(entry(cache))
    assert page.stage(3) == first and len(page.runs) == 2
    said = capsys.readouterr().err
    path = entry(cache)
    assert page.stage(3) == first and len(page.runs) == (2 if path.is_file() else 3)
    return said, path


@pytest.mark.parametrize('i', range(20))
def test_cut_short(cache, capsys, i):
    length = random.Random(i).randrange(1, 1800)
    said, path = damaged(cache, lambda p: os.truncate(p, min(length, p.stat().st_size - 1)), capsys)
    assert str(path) in said and 'is damaged' in said and said.count('\n') == 1


def flipped(where):
    def harm(p):
        b = bytearray(p.read_bytes())
        i = where(bytes(b))
        b[i] ^= 4
        p.write_bytes(bytes(b))
    return harm


PLACES = {'the value': lambda b: b.index(b'\n') + 700, 'the first byte': lambda b: 0,
          'the last byte': lambda b: len(b) - 1, 'the checksum': lambda b: b.index(b'sha256') + 12,
          'the seconds': lambda b: b.index(b'seconds') + 10, 'the files': lambda b: b.index(b'files') + 1,
          'the versions': lambda b: b.index(b'torch') + 9, 'the line': lambda b: b.index(b'\n')}


@pytest.mark.parametrize('where', PLACES)
def test_one_byte_is_another(cache, capsys, where):
    said, path = damaged(cache, flipped(PLACES[where]), capsys)
    assert str(path) in said and 'is damaged' in said


@pytest.mark.parametrize('content', [b'', b'\n', b'{}', b'{}\n', b'null\n', b'[]\nx',
                                     b'{"sha256": 1, "files": {}, "seconds": 0}\n', b'\xff\xfe\n\x00', b'PK\x03\x04'])
def test_another_content(cache, capsys, content):
    said, path = damaged(cache, lambda p: p.write_bytes(content), capsys)
    assert str(path) in said


def test_a_folder_in_its_place(cache, capsys):
    def harm(p): p.unlink(); (p / 'x').mkdir(parents=True)
    said, path = damaged(cache, harm, capsys)
    assert 'cannot be kept' in said


def test_a_link_to_nothing_in_its_place(cache, capsys):
    def harm(p): p.unlink(); p.symlink_to(cache / 'nowhere')
    damaged(cache, harm, capsys)


def test_a_deleted_entry(cache, capsys): assert damaged(cache, Path.unlink, capsys)[0] == ''


# --- 29: what cannot be written
def failing(error):
    def f(*a, **k): raise error
    return f


def full(*a, **k): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f'/a/.{os.urandom(4).hex()}.tmp')


BROKEN = {
    'a full disk': lambda m: m.setattr(core, 'open', full, raising=False),
    'a full disk under torch.save': lambda m: m.setattr(torch, 'save', failing(RuntimeError('unexpected pos 768'))),
    'a full disk at the end': lambda m: m.setattr(os, 'replace', full),
    'a full disk at the beginning': lambda m: m.setattr(Path, 'mkdir', full),
    'a quota': lambda m: m.setattr(Path, 'touch', failing(OSError(errno.EDQUOT, 'Disk quota exceeded'))),
    'too little memory': lambda m: m.setattr(torch, 'save', failing(MemoryError())),
}


@pytest.mark.parametrize('how', BROKEN)
def test_what_is_computed_comes_also_when_it_cannot_be_written(cache, how, monkeypatch, capsys):
    page = cell(VALUE)
    with monkeypatch.context() as m:
        BROKEN[how](m)
        for n in (1, 2, 1): assert page.stage(n) == {'v': [1. * n] * 40}
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and 'cannot be kept' in said and str(cache) in said
    assert not list(cache.rglob('*.tmp')) and page.stage(1)['v'][0] == 1. and len(page.runs) == 4
    page.stage(1)
    assert len(page.runs) == 4


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch, capsys):
    (tmp_path / 'file').touch()
    for where in ('file', 'file/cache', 'file/a/b'):
        monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / where))
        assert cell(VALUE).stage(2)['v'][0] == 2.
    assert (tmp_path / 'file').read_bytes() == b'' and capsys.readouterr().err.count('cannot be kept') == 3


def test_a_stage_that_fails_leaves_nothing(cache):
    page = cell(HEAD + '@cached\ndef stage(n):\n probe.ran()\n return 1 / n')
    for _ in range(2):
        with pytest.raises(ZeroDivisionError): page.stage(0)
    assert len(page.runs) == 2 and not list(cache.rglob('*')) and not core._RUNNING
    with pytest.raises(ValueError, match='no stage runs'): stage_key()


# --- what a stage may return
P = namedtuple('P', 'a b')


class Mine(torch.Tensor): pass
class Num(enum.IntEnum): A = 1
class Int(int): pass


def mine(): return torch.ones(2).as_subclass(Mine)


RETURNED = [(np.float64(1.), "what stage returns is a numpy.float64"), (np.ones(2), 'numpy.ndarray'),
            ({1}, 'builtins.set'), (P(1, 2), 'test_cache.P'), (mine(), 'test_cache.Mine'),
            (Num.A, 'test_cache.Num'), (Int(1), 'test_cache.Int'), (defaultdict(int), 'collections.defaultdict'),
            (range(2), 'builtins.range'), (iter([]), 'list_iterator'),
            ({'a': [1, np.int64(1)]}, r"returns\['a'\]\[1\] is a numpy.int64"), ({'a': {'b': {2}}},
                r"returns\['a'\]\['b'\] is a builtins.set"), ({np.str_('a'): 1}, 'a key of what stage returns'),
            ((1, [2, (3, {4})]), r'returns\[1\]\[1\]\[1\]'), (Path('.'), 'PosixPath|WindowsPath'), (nn.Linear(1, 1),
                'Linear'), (lambda: 1, 'function'), (torch.Size([1]), 'torch.Size')]


@pytest.mark.parametrize('i', range(len(RETURNED)))
def test_what_cannot_be_stored_is_said_at_the_first_call(cache, i):
    value, says = RETURNED[i]
    page = cell(HEAD + 'import probe\n@cached\ndef stage(n): return probe.value()')
    sys.modules['probe'].value = Hidden(lambda: value)
    with pytest.raises(ValueError, match=says) as e: page.stage(1)
    assert '\n' not in str(e.value) and not list(cache.rglob('*.pt'))


KEPT = [1, -1, 2**80, 0., float('inf'), 1j, True, None, '', 'é\ud800', b'\0', [], (), {}, (1, [2, {'a': (3,)}]),
        {1: 2, (1, 'a'): 3, None: 4}, torch.ones(2), torch.ones(2, dtype=torch.bfloat16),
        torch.zeros(0, 3), torch.tensor(1), torch.arange(6).view(2, 3).T, torch.tensor([1 + 1j]).conj(),
        nn.Parameter(torch.ones(1)), OrderedDict(a=1), nn.Linear(1, 1).state_dict()]


def same(a, b):
    if isinstance(a, torch.Tensor): return type(a) is type(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict): return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize('i', range(len(KEPT)))
def test_what_is_stored_comes_back(cache, i):
    page = cell(HEAD + '@cached\ndef stage(n):\n probe.ran()\n return probe.value()')
    sys.modules['probe'].value = Hidden(lambda: KEPT[i])
    first = page.stage(1)
    assert same(first, page.stage(1)) and same(KEPT[i], first) and len(page.runs) == 1


# --- 01, 03: one name, several stages
def test_two_modules(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, k in (('site_a', 1), ('site_b', -7)):
        source = f'from deepstruct.core import cached\n@cached\ndef statistic(n): return {k}. * n\n'
        (tmp_path / f'{name}.py').write_text(source)
    import site_a
    import site_b
    assert (site_a.statistic(3), site_b.statistic(3)) == (3., -21.)


def test_two_functions_of_one_name():
    page = cell(HEAD + 'def a():\n @cached\n def f(n): return n + 1\n return f\ndef b():\n @cached\n'
                       ' def f(n): return n + 2\n return f\nclass A:\n @cached\n def f(n): return n + 3\n'
                'class B:\n @cached\n def f(n): return n + 4\n@cached\ndef f(n): return n + 5')
    for _ in range(2): assert [page.a()(1), page.b()(1), page.A.f(1), page.B.f(1), page.f(1)] == [2, 3, 4, 5, 6]


def test_two_cells_of_one_name():
    pages = [cell(HEAD + f'K = {k}\n@cached\ndef f(n): return n * K') for k in (2, 3)]
    assert [p.f(2) for p in pages * 2] == [4, 6, 4, 6]


def test_globals_and_closures():
    page = cell(HEAD + 'import torch\nN, W, T = 2., torch.ones(2), {"a": [1]}\n@cached\n'
                       'def by_number(n): return n * N\n@cached\ndef by_tensor(n): return float((n * W).sum())\n'
                '@cached\ndef by_table(n): return n * T["a"][0]\ndef made(k):\n @cached\n def f(n): return n * k\n'
                ' return f')
    assert (page.by_number(3), page.by_tensor(3), page.by_table(3), page.made(2)(3)) == (6., 6., 3, 6)
    space = page.by_number.__stage__.__globals__
    space['N'] = 5.
    page.W.zero_()
    page.T['a'][0] = 7
    assert (page.by_number(3), page.by_tensor(3), page.by_table(3), page.made(5)(3)) == (15., 0., 21, 15)


def test_arguments():
    page = cell(HEAD + '@cached\ndef stage(a, b=2, *c, d=4, **e):\n probe.ran()\n return repr((a, b, c, d, e))')
    for _ in range(2): assert page.stage(1) == page.stage(a=1) == page.stage(1, 2) == page.stage(1, b=2, d=4)
    assert len(page.runs) == 1
    assert len({page.stage(1), page.stage(1.), page.stage(1, 3), page.stage(1, 2, 3), page.stage(1, d=3), page.stage(1,
        x=3), page.stage(True)}) == 7
    with pytest.raises(TypeError): page.stage()


# --- files
def reader(body, head=''): return cell(HEAD + head + f'@cached\ndef stage(path):\n probe.ran()\n {body}')


def npy(p, k):
    with open(p, 'wb') as f: np.save(f, np.full(3, float(k)))
def png(p, k): Image.fromarray(np.full((2, 2), k, np.uint8)).save(p, 'PNG')
def pt(p, k): torch.save(torch.full((2,), float(k)), p)
def gz(p, k): p.write_bytes(gzip.compress(bytes([k]) * 9))
def text(p, k): p.write_text(f'{k}' * 5)
def raw(p, k): p.write_bytes(np.full(4, k, np.float32).tobytes())


READERS = {
    'open': ('with open(path) as f: return f.read()', '', text), 'pathlib': ('return path.read_text()', '', text),
    'os.open': ('f = os.open(path, os.O_RDONLY); x = os.read(f, 9); os.close(f); return x', '', text),
    'bytes as a path': ('return open(os.fsencode(path)).read()', '', text),
    'np.load': ('return float(np.load(path).sum())', 'import numpy as np\n', npy),
    'np.load, mapped': ('return float(np.load(path, mmap_mode="r").sum())', 'import numpy as np\n', npy),
    'np.memmap': ('return float(np.memmap(path, np.float32).sum())', 'import numpy as np\n', raw),
    'np.fromfile': ('return float(np.fromfile(path, np.float32).sum())', 'import numpy as np\n', raw),
    'np.loadtxt': ('return float(np.loadtxt(path).sum())', 'import numpy as np\n', text),
    'PIL': ('with Image.open(path) as im: return int(np.asarray(im).sum())',
            'import numpy as np\nfrom PIL import Image\n', png),
    'torch.load': ('return torch.load(path, weights_only=True)', 'import torch\n', pt),
    'gzip': ('with gzip.open(path) as f: return f.read()', 'import gzip\n', gz),
    'a helper': ('return load(path)', 'def load(p): return p.read_text()\n', text),
    'an inner stage': ('return inner(path)', '@cached\ndef inner(p): return p.read_text()\n', text),
    'a thread': ('out = []\n t = threading.Thread(target=lambda: out.append(path.read_text()))\n t.start(); t.join()\n'
                 ' return out', 'import threading\n', text),
    'a pool': ('with ThreadPoolExecutor(2) as pool: return list(pool.map(lambda p: p.read_text(), [path, path]))',
               'from concurrent.futures import ThreadPoolExecutor\n', text),
    'a pool of stages': ('with ThreadPoolExecutor(2) as pool: return list(pool.map(inner, [path]))',
                         'from concurrent.futures import ThreadPoolExecutor\n'
                         '@cached\ndef inner(p): return p.read_text()\n', text),
    'told': ('reads(path)\n return path.stat().st_size', 'from deepstruct.core import reads\n', text),
    'read and write': ('with open(path, "r+") as f: return f.read()', '', text),
}


def moved_on(p): # a later time of the file, whatever the clock's step is
    s = p.stat()
    os.utime(p, ns=(s.st_atime_ns, s.st_mtime_ns + 10**9))


@pytest.mark.parametrize('how', READERS)
def test_a_file_that_is_read(tmp_path, how):
    body, head, write = READERS[how]
    page, path = reader(body, head), tmp_path / 'd.x'
    write(path, 3)
    first = page.stage(path)
    assert same(first, page.stage(path)) and len(page.runs) == 1
    write(path, 4)
    moved_on(path)
    second = page.stage(path)
    assert len(page.runs) == 2 and (how == 'told' or not same(first, second)) and same(second,
        page.stage(path)) and len(page.runs) == 2
    write(path, 3) # the old content again: one entry a key, so it is computed, and right
    moved_on(path)
    assert same(first, page.stage(path))
    moved_on(path) # only touched
    n = len(page.runs)
    assert same(first, page.stage(path)) and len(page.runs) == n
    path.unlink()
    try: page.stage(path)
    except OSError: pass
    assert len(page.runs) == n + 1


LISTS = {'iterdir': 'sorted(p.name for p in path.iterdir())', 'glob': 'sorted(p.name for p in path.glob("*.t"))',
         'rglob': 'sorted(p.name for p in path.rglob("*"))', 'os.listdir': 'sorted(os.listdir(path))',
         'os.scandir': 'sorted(e.name for e in os.scandir(path))',
         'os.walk': 'sorted(f for _, _, fs in os.walk(path) for f in fs)',
         'all read': '[p.read_text() for p in sorted(path.glob("*.t"))]'}


@pytest.mark.parametrize('how', LISTS)
def test_a_folder_that_is_listed(tmp_path, how):
    page, folder = reader(f'return {LISTS[how]}'), tmp_path / 'd'
    (folder / 'below').mkdir(parents=True)
    for k in 'ab': (folder / f'{k}.t').write_text(k)
    first = page.stage(folder)
    assert page.stage(folder) == first and len(page.runs) == 1
    (folder / 'c.t').write_text('c')
    assert page.stage(folder) != first and len(page.runs) == 2
    (folder / 'c.t').unlink()
    assert page.stage(folder) == first
    (folder / 'a.t').rename(folder / 'z.t')
    assert page.stage(folder) != first
    if how in ('rglob', 'os.walk'):
        n = len(page.runs)
        (folder / 'below/d.t').touch()
        page.stage(folder)
        assert len(page.runs) == n + 1


def test_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = cell(HEAD + '@cached\ndef stage(n): probe.ran(); return sorted(os.listdir()), sorted(e.name for e in '
                       'os.scandir())')
    page.stage(1)
    (tmp_path / 'more').touch()
    assert 'more' in page.stage(1)[0] and len(page.runs) == 2


def test_a_file_that_is_not_there_yet(tmp_path):
    page, path = reader('try: return path.read_text()\n except OSError: return "none"'), tmp_path / 'd'
    assert page.stage(path) == 'none' == page.stage(path) and len(page.runs) == 1
    path.write_text('there')
    assert page.stage(path) == 'there'


def test_a_link_that_is_turned(tmp_path):
    for k in 'ab': (tmp_path / k).mkdir(), (tmp_path / k / 'f').write_text(k)
    page, link = reader('return (path / "f").read_text()'), tmp_path / 'link'
    link.symlink_to(tmp_path / 'a')
    assert page.stage(link) == 'a'
    link.unlink(), link.symlink_to(tmp_path / 'b')
    assert page.stage(link) == 'b'


def test_a_file_that_changes_while_it_is_read(tmp_path, capsys):
    """A value of the old content must not be kept under the new one."""
    page, path = reader('x = path.read_text()\n probe.change()\n return x'), tmp_path / 'd'
    path.write_text('old')
    sys.modules['probe'].change = Hidden(lambda: subprocess.run(['sh', '-c', f'echo newer > {path}'], check=True))
    assert page.stage(path) == 'old' and 'changed while it was read' in capsys.readouterr().err
    sys.modules['probe'].change = Hidden(lambda: None)
    assert page.stage(path).strip() == 'newer'


def test_what_a_stage_writes_itself_is_no_input(tmp_path):
    page = reader('(path / "log").write_text("a"); x = (path / "log").read_text(); (path / "log").unlink(); (path / '
                  '"kept").write_text("b"); return (path / "kept").read_text()')
    for _ in range(3): assert page.stage(tmp_path) == 'b'
    assert len(page.runs) == 1


def test_a_stage_that_is_served_tells_the_outer_one(tmp_path):
    """The inner stage is read from the cache when the outer one runs."""
    path = tmp_path / 'd'
    path.write_text('a')
    page = cell(HEAD + '@cached\ndef inner(p): return p.read_text()\n@cached\ndef outer(p): return inner(p) + "!"')
    assert page.inner(path) == 'a' and page.outer(path) == 'a!'
    path.write_text('bb')
    assert page.outer(path) == 'bb!'


@pytest.mark.parametrize('memory', ['functools.lru_cache', 'functools.cache', 'functools.lru_cache(maxsize=2)'])
def test_what_a_memory_holds_is_no_result(tmp_path, memory):
    """One that was filled from another file, or under another value of a global, is emptied before a stage runs."""
    page, path = cell(HEAD + f'import functools\nN = 1\n@{memory}\ndef load(p): return p.read_text() * N\n'
                      '@cached\ndef one(p): return load(p)\n@cached\ndef two(p): return load(p) + "!"'), tmp_path / 'd'
    path.write_text('a')
    assert page.load(path) == 'a' == page.one(path) and page.two(path) == 'a!'
    path.write_text('bb')
    assert page.two(path) == 'bb!' and page.one(path) == 'bb'
    page.one.__stage__.__globals__['N'] = 2
    assert page.one(path) == 'bbbb' and page.two(path) == 'bbbb!'


# --- $DEEPSTRUCT_DATA
def images(folder, n, k=100):
    folder.mkdir(parents=True)
    for i in range(n): Image.fromarray(np.random.default_rng((k, i)).integers(0, 255, (24, 24),
        dtype=np.uint8)).save(folder / f'{i}.png')
    return folder


PHOTOS = HEAD + ('from deepstruct.data import photo_patches\nfrom deepstruct.core import generator\n'
                 '@cached\ndef stage(n):\n probe.ran()\n'
                 ' x, _, s = photo_patches(8, n, 2, generator("p"))\n return x, s')


def test_data_set_unset_moved_and_changed(tmp_path, monkeypatch):
    page = cell(PHOTOS)
    plain = page.stage(2)
    assert plain[1] == 'embedded photographs' and same(page.stage(2), plain) and len(page.runs) == 1
    images(tmp_path / 'one/images', 6)
    monkeypatch.setenv('DEEPSTRUCT_DATA', str(tmp_path / 'one'))
    own = page.stage(2)
    assert 'DEEPSTRUCT_DATA' in own[1] and len(page.runs) == 2
    (tmp_path / 'one').rename(tmp_path / 'two')
    monkeypatch.setenv('DEEPSTRUCT_DATA', str(tmp_path / 'two'))
    assert same(page.stage(2), own) and len(page.runs) == 2, 'the same data elsewhere'
    (tmp_path / 'two/images/0.png').write_bytes((tmp_path / 'two/images/1.png').read_bytes())
    assert not same(page.stage(2), own) and len(page.runs) == 3
    (tmp_path / 'two/images/5.png').unlink()
    page.stage(2)
    assert len(page.runs) == 4
    monkeypatch.delenv('DEEPSTRUCT_DATA')
    assert same(page.stage(2), plain)


def test_data_mistyped_and_with_a_tilde(tmp_path, monkeypatch):
    page = cell(PHOTOS)
    images(tmp_path / 'home/sets/images', 4)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('DEEPSTRUCT_DATA', '~/sets')
    assert 'DEEPSTRUCT_DATA' in page.stage(2)[1]
    for wrong in ('~/stes', str(tmp_path / 'home/sets/images/0.png'), 'nowhere'):
        monkeypatch.setenv('DEEPSTRUCT_DATA', wrong)
        with pytest.raises(ValueError, match=f'DEEPSTRUCT_DATA is {wrong}, no folder'): page.stage(2)


def test_a_mistyped_data_folder_loses_no_value(tmp_path, monkeypatch, capsys):
    """Of a stage that reads some file, but none of these data."""
    monkeypatch.setenv('DEEPSTRUCT_DATA', str(tmp_path / 'nowhere'))
    (tmp_path / 'd').write_text('a')
    assert reader('return path.read_text()').stage(tmp_path / 'd') == 'a'
    assert 'DEEPSTRUCT_DATA' in capsys.readouterr().err


# --- 27: looking makes nothing
def test_looking_makes_no_folder(cache, monkeypatch):
    assert data.where('berkeley') is None or data.where('berkeley').exists()
    data.list_data(), data.photo_patches(8, 2, 2)
    places.cache_dir(), places.out_dir('smoke'), places.data_dir(), places.find_root()
    monkeypatch.setenv('DEEPSTRUCT_OUT', str(cache.parent / 'out'))
    places.out_dir()
    assert not cache.exists() and not (cache.parent / 'out').exists()


def test_looking_where_nothing_can_be_made(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / 'file/cache'))
    assert data.photo_patches(8, 2, 2)[2] in ('embedded photographs',
                                              'Berkeley photographs') and len(data.list_data()) > 3


def child(code, cwd=None, **env):
    kept = {k: v for k, v in os.environ.items() if not k.startswith('DEEPSTRUCT_') and k not in ('HOME',
        *[n for n, v in env.items() if v is None])}
    env = kept | {k: str(v) for k, v in env.items() if v is not None}
    return subprocess.run([sys.executable, '-c', code], cwd=cwd, env=env, capture_output=True, text=True)


def test_without_a_home(tmp_path):
    """No $HOME and no entry for the user: the cache lies among temporary files."""
    code = ('import pwd, os\ndef nobody(*a): raise KeyError("uid")\npwd.getpwuid = pwd.getpwnam = nobody\n'
            'from deepstruct import places\nplaces.ROOT = None\n'
            'print(places.cache_dir())\nos.environ["DEEPSTRUCT_CACHE"] = "c"\n'
            'print(places.cache_dir(), places.out_dir(), places.data_dir())')
    r = child(code, cwd=tmp_path, TMPDIR=tmp_path, PYTHONPATH=ROOT)
    assert r.returncode == 0 and r.stdout.split() == [str(tmp_path / 'deepstruct-cache'), 'c',
                                                      str(tmp_path / 'out/laptop'), 'None'], r


def test_a_long_folder_for_temporary_files(tmp_path):
    long = tmp_path / ('scratch_of_job_' * 8)
    long.mkdir()
    code = 'from deepstruct.core import cached\n@cached\ndef f(n): return n + 1\nprint(f(1), f(1))'
    r = child(code, cwd=tmp_path, TMPDIR=long, HOME=tmp_path, DEEPSTRUCT_CACHE=long / 'c', PYTHONPATH=ROOT)
    assert r.stdout == '2 2\n' and not r.stderr and len(list(long.rglob('*.pt'))) == 1


def test_numba_on_a_read_only_installation(tmp_path):
    """The variable is set before numba is imported, and only where the package cannot be written."""
    code = ('import os\nreal = os.access\nos.access = lambda p, m, **k: False if str(p).endswith("deepstruct") and m '
            '== os.W_OK else real(p, m, **k)\n'
            'import deepstruct.places\nprint(os.environ["NUMBA_CACHE_DIR"])')
    r = child(code, cwd=tmp_path, TMPDIR=tmp_path, PYTHONPATH=ROOT, NUMBA_CACHE_DIR=None)
    assert r.stdout.strip() == str(tmp_path / 'deepstruct-numba'), r
    r = child(code.replace('False if', 'True if'), cwd=tmp_path, PYTHONPATH=ROOT, NUMBA_CACHE_DIR=tmp_path / 'mine')
    assert r.stdout.strip() == str(tmp_path / 'mine')


@pytest.mark.parametrize('text, found', [('[DEFAULT]\nlib_name = deepstruct\n', True),
                                         ('[DEFAULT]\nlib_name=deepstruct', True), ('[DEFAULT]\nlib_name = other\n',
    False),
                                         ('[DEFAULT]\nlib_name = deepstruct2\n', False), ('', False),
                                         ('[DEFAULT]\n# lib_name = deepstruct\n', False)])
def test_a_root_proves_that_it_is_this_projects(tmp_path, text, found, monkeypatch):
    (tmp_path / 'a/nbs/b').mkdir(parents=True)
    (tmp_path / 'a/settings.ini').write_text(text)
    assert (places.find_root(tmp_path / 'a/nbs/b') == (tmp_path / 'a').resolve()) is found
    monkeypatch.setenv('DEEPSTRUCT_ROOT', str(tmp_path / 'a'))
    if found: assert places.find_root() == (tmp_path / 'a').resolve()
    else:
        with pytest.raises(ValueError, match='no checkout of deepstruct'): places.find_root()


# --- 23: umask and links
@pytest.mark.parametrize('umask, mode', [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600), (0o027, 0o640)])
def test_the_umask(tmp_path, umask, mode, cache):
    before = os.umask(umask)
    try:
        with places.atomic(tmp_path / 'new/f') as p: p.write_text('x')
        cell(VALUE).stage(1)
    finally: os.umask(before)
    assert [f.stat().st_mode & 0o777 for f in (tmp_path / 'new/f', entry(cache))] == [mode] * 2


@pytest.mark.parametrize('mode', [0o600, 0o664, 0o444])
def test_the_mode_of_a_file_that_is_there(tmp_path, mode):
    (tmp_path / 'f').write_text('old'), (tmp_path / 'f').chmod(mode)
    with places.atomic(tmp_path / 'f') as p: p.write_text('new')
    assert (tmp_path / 'f').stat().st_mode & 0o777 == mode and (tmp_path / 'f').read_text() == 'new'


def test_links_are_followed(tmp_path):
    (tmp_path / 'far').mkdir()
    (tmp_path / 'far/target').write_text('old')
    links = {'link': 'far/target', 'twice': 'link', 'to nothing': 'far/new', 'folder': 'far'}
    for name, to in links.items(): (tmp_path / name).symlink_to(to)
    for name, there in (('link', 'target'), ('twice', 'target'), ('to nothing', 'new'), ('folder/other', 'other')):
        with places.atomic(tmp_path / name) as p: p.write_text(name)
        assert (tmp_path / 'far' / there).read_text() == name and (tmp_path / name.split('/')[0]).is_symlink()
    assert sorted(p.name for p in (tmp_path / 'far').iterdir()) == ['new', 'other', 'target']


@pytest.mark.parametrize('stop', [KeyboardInterrupt, SystemExit, ValueError])
def test_half_of_a_file(tmp_path, stop):
    (tmp_path / 'f').write_text('old')
    with pytest.raises(stop), places.atomic(tmp_path / 'f') as p: p.write_text('ha'); raise stop
    assert [q.name for q in tmp_path.iterdir()] == ['f'] and (tmp_path / 'f').read_text() == 'old'


def test_a_long_name(tmp_path):
    with places.atomic(tmp_path / ('n' * 240)) as p: p.write_text('x')
    assert (tmp_path / ('n' * 240)).read_text() == 'x'


# --- DEEPSTRUCT_FORCE
def test_force(monkeypatch):
    page = cell(HEAD + '@cached\ndef inner(n): probe.ran("inner"); return n\n@cached\n'
                       'def outer(n): probe.ran("outer"); return inner(n) + inner(n)')
    page.outer(1)
    assert page.runs == [('outer',), ('inner',)]
    monkeypatch.setenv('DEEPSTRUCT_FORCE', '1')
    page = cell(HEAD + '@cached\ndef inner(n): probe.ran("inner"); return n\n@cached\n'
                       'def outer(n): probe.ran("outer"); return inner(n) + inner(n)')
    for _ in range(3): assert page.outer(1) == 2
    assert page.runs == [('outer',), ('inner',)], 'once in a process'


# --- seeds
DRAWS = HEAD + ('import random\nimport numpy as np\nimport torch\n@cached\ndef stage(n):\n probe.ran()\n'
                ' return [float(torch.rand(1)), float(np.random.rand()), random.random()]')


def state(): return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


def test_random_states(monkeypatch):
    """The value is one of the key; cold and warm runs leave the states as they were."""
    page, seen = cell(DRAWS), []
    for seed in (1, 2):
        monkeypatch.setenv('DEEPSTRUCT_FORCE', '1')
        page = cell(DRAWS)
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        before = state()
        seen.append(page.stage(1))
        assert state() == before
        seen.append(page.stage(1))
        assert state() == before and len(page.runs) == 1
    assert seen[0] == seen[1] == seen[2] == seen[3] and page.stage(2) != seen[0]


def test_states_after_an_error():
    page = cell(HEAD + 'import torch\n@cached\ndef stage(n): torch.rand(1); raise KeyError')
    before = state()
    with pytest.raises(KeyError): page.stage(1)
    assert state() == before


def test_states_of_nested_stages():
    source = HEAD + ('import torch\n@cached\ndef inner(n): return float(torch.rand(1))\n'
                     '@cached\ndef outer(n): return [float(torch.rand(1)), inner(n), float(torch.rand(1))]')
    page = cell(source)
    page.inner(1)
    warm = page.outer(1)
    os.environ['DEEPSTRUCT_FORCE'] = '1'
    try: assert cell(source).outer(1) == warm and warm[0] != warm[2]
    finally: del os.environ['DEEPSTRUCT_FORCE']


# --- 21: words of a generator
SAME = [(1, np.int64(1)), (1, np.uint8(1)), (1., np.float64(1)), ('a', np.str_('a')), (True, np.bool_(True)),
        ([1, 2], [np.int32(1), np.int16(2)]), ((1,), (np.int64(1),)), ({'a': 1}, {np.str_('a'): np.int64(1)}),
        (b'a', np.bytes_(b'a')), (.5, np.float32(.5)), (P(1, 2), (np.int64(1), 2)), (1j, np.complex128(1j)),
        (OrderedDict(a=1), {'a': 1})]


@pytest.mark.parametrize('i', range(len(SAME)))
def test_equal_words_are_one_stream(i):
    a, b = SAME[i]
    assert generator('x', a).initial_seed() == generator('x', b).initial_seed()


def test_other_words_are_other_streams():
    words = [(), (1,), (2,), ('1',), (1.,), (1, 2), ((1, 2),), ([1, 2],), (12,), ('ab',), ('a', 'b'), ({'a': 1},),
             (None,), (1j,), (b'a',), ('a',), (-1,), (1e-300,), (float('nan'),), ('é',)]
    assert len({generator(*w).initial_seed() for w
                in words}) == len(words) and all(0 <= generator(*w).initial_seed() < 2**63 for w in words)


@pytest.mark.parametrize('word', [torch.zeros(9000), np.zeros(3), np.datetime64('2020'), {1, 2}, object(), iter([]),
                                  [np.zeros(1)], {'a': torch.ones(1)}, Path('.')])
def test_words_without_a_stable_text(word):
    with pytest.raises(ValueError, match='is no word'): generator('x', word)


# --- 18: checkpoints
X = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.], [2.]])
square, absolute = (lambda f, g: (f(X) - Y).square().mean()), (lambda f, g: (f(X) - Y).abs().mean())
HOW = dict(lr=.05, warmup=1, average=0., every=10)


def line(bias=True):
    torch.manual_seed(0)
    return nn.Linear(2, 1, bias)


def fit(path, loss=square, net=None, steps=30, **how):
    net = net or line()
    training.fit(net, loss, steps, **{**HOW, **how}, checkpoint=path)
    return net


def other_data(f, g): return (f(X + 1) - Y).square().mean()


def scaled(k): return lambda f, g: k * (f(X) - Y).square().mean()


class Tanh(nn.Linear):
    def forward(self, x): return super().forward(x).tanh()


REFUSED = {
    'another loss': dict(loss=absolute), 'other data': dict(loss=other_data), 'more steps': dict(steps=31),
    'another rate': dict(lr=.06), 'another warm-up': dict(warmup=2), 'another average': dict(average=.5),
    'another clip': dict(clip=2.), 'other entries': dict(every=5),
    'another optimizer': dict(optimizer=lambda p: torch.optim.SGD(p, lr=.1)),
    'another seed': dict(generator=torch.Generator().manual_seed(1)),
    'another network': dict(net=line(False)), 'another class': dict(net=Tanh(2, 1)),
    'another wrapper': dict(net=nn.Sequential(line())), 'words': dict(words='a name'),
}


@pytest.mark.parametrize('how', REFUSED)
def test_a_checkpoint_of_another_run(tmp_path, how):
    fit(tmp_path / 'c')
    content = (tmp_path / 'c').read_bytes()
    with pytest.raises(ValueError, match='is the checkpoint of another run') as e: fit(tmp_path / 'c', **REFUSED[how])
    assert str(tmp_path / 'c') in str(e.value) and '\n' not in str(e.value) and (tmp_path / 'c').read_bytes() == content


def test_a_checkpoint_of_another_closure(tmp_path):
    fit(tmp_path / 'c', scaled(1.))
    fit(tmp_path / 'c', scaled(1.))
    with pytest.raises(ValueError, match='another run'): fit(tmp_path / 'c', scaled(2.))


def test_a_checkpoint_of_changed_tensors(tmp_path):
    a = X.clone()
    loss = (lambda a: lambda f, g: (f(a) - Y).square().mean())(a)
    fit(tmp_path / 'c', loss)
    a[0, 0] += 1e-3
    with pytest.raises(ValueError, match='another run'): fit(tmp_path / 'c', loss)


@pytest.mark.parametrize('words', [None, 'mine', {'data': 'a', 'lr': .1}, [1, 2.]])
def test_words_in_place_of_what_cannot_be_hashed(tmp_path, words):
    g = torch.Generator()
    loss = lambda f, _: (f(X) - Y).square().mean() + 0 * g.initial_seed()
    if words is None:
        with pytest.raises(ValueError, match='what is trained on'): fit(tmp_path / 'c', loss)
        return
    fit(tmp_path / 'c', loss, words=words), fit(tmp_path / 'c', loss, words=words)
    with pytest.raises(ValueError, match='another run'): fit(tmp_path / 'c', loss, words='other')


def test_a_file_that_is_no_checkpoint(tmp_path):
    for value in ({'a': 1}, [1], torch.ones(2), {'key': {}}):
        torch.save(value, tmp_path / 'c')
        with pytest.raises(ValueError, match='another run'): fit(tmp_path / 'c')


HARM = {'cut short': lambda p: os.truncate(p, 300), 'empty': lambda p: os.truncate(p, 0),
        'text': lambda p: p.write_text('x' * 99), 'a pickle': lambda p: p.write_bytes(__import__('pickle').dumps([1])),
        **{f'byte {i} of 16': lambda p, i=i: flipped(lambda b: len(b) * i // 16)(p) for i in range(1, 16)}}


@pytest.mark.parametrize('how', HARM)
def test_a_damaged_checkpoint(tmp_path, capsys, how):
    """Training begins anew, or the damage lies in padding and the result is the same; never another result."""
    whole = fit(None)
    fit(tmp_path / 'c')
    HARM[how](tmp_path / 'c')
    net = fit(tmp_path / 'c')
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), whole.parameters()))
    assert 'is no whole checkpoint' in capsys.readouterr().err or how.startswith('byte')
    assert training.read_checkpoint(tmp_path / 'c', 'cpu')['step'] == 30


@pytest.mark.parametrize('part', ['model', 'average', 'optimizer'])
def test_a_flipped_bit_of_what_is_trained(tmp_path, part):
    """torch.load reads it without a word."""
    whole = fit(None)
    fit(tmp_path / 'c', steps=30)
    state = torch.load(tmp_path / 'c', weights_only=True)
    of = dict(model=lambda: state['model']['weight'], average=lambda: state['average'][0],
              optimizer=lambda: state['optimizer']['state'][0]['exp_avg'])[part]()
    flipped(lambda b: b.rindex(of.numpy().tobytes()) + 2)(tmp_path / 'c')
    assert torch.load(tmp_path / 'c', weights_only=True) and training.read_checkpoint(tmp_path / 'c', 'cpu') is None
    assert all(torch.equal(p, q) for p, q in zip(fit(tmp_path / 'c').parameters(), whole.parameters()))


class Killed(Exception): pass


@pytest.mark.parametrize('at', [1, 10, 11, 25, 29])
@pytest.mark.parametrize('average', [0., .9])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, at, average):
    def loss(f, g): return (f(X[torch.randint(50, (8,), generator=g)]) - 1).square().mean()
    def dies(f, g):
        calls.append(1)
        if len(calls) > at: raise Killed
        return loss(f, g)
    calls, how = [], dict(words='line', average=average)
    whole = fit(None, loss, average=average)
    with pytest.raises(Killed): fit(tmp_path / 'c', dies, **how)
    again = fit(tmp_path / 'c', loss, net=nn.Linear(2, 1) if at > 10 else None, **how) # its first weights do not matter
    assert all(torch.equal(p, q) for p, q in zip(again.parameters(), whole.parameters()))


def test_a_checkpoint_within_a_stage():
    """It belongs to the stage: other arguments, other checkpoint; and a killed stage goes on."""
    source = HEAD + ('import torch\nfrom torch import nn\nfrom deepstruct import training\n'
                     'from deepstruct.core import cache_dir, stage_key\nSTOP = False\n@cached\ndef stage(k):\n'
                     ' torch.manual_seed(0)\n net, x = nn.Linear(1, 1), torch.ones(4, 1)\n'
                     ' def loss(f, g):\n  probe.ran()\n  return (f(x) - k).square().mean()\n'
                     ' training.fit(net, loss, 20, lr=.1, warmup=1, average=0., every=5, checkpoint=cache_dir() / '
                     '"training" / stage_key())\n return net.weight.detach()')
    page = cell(source)
    a, b = page.stage(1.), page.stage(-3.)
    assert len(page.runs) == 40 and not torch.equal(a,
                                                    b) and len(list((places.cache_dir() / 'training').iterdir())) == 2
    for p in (places.cache_dir() / 'stages').rglob('*.pt'): p.unlink()
    assert torch.equal(page.stage(1.), a) and len(page.runs) == 40, 'taken up at its end'


# --- the record beside a value
def test_the_record(cache):
    page = cell(VALUE)
    page.stage(1)
    facts = json.loads(entry(cache).read_bytes().partition(b'\n')[0])
    assert set(facts) == {'sha256', 'files', 'seconds', 'versions', 'device'} and set(facts['versions']) == {'python',
        'torch', 'numpy'} and facts['seconds'] >= 0 and facts['files'] == {}
    assert entry(cache).parent.name == '__main__.stage'


def test_seconds_are_those_from_nothing():
    page = cell(HEAD + 'import time\n@cached\ndef inner(n): time.sleep(.2); return n\n@cached\n'
                       'def outer(n): return inner(n)')
    page.inner(1)
    core.spent()
    page.inner(1)
    assert .2 <= core.spent() < 5
    page.outer(1)
    core.spent()
    page.outer(1)
    assert .2 <= core.spent() < 5 and core.spent() == 0


def test_two_threads_ask_for_one_value():
    page = cell(HEAD + 'import time\n@cached\ndef stage(n): time.sleep(.05); return n + 1')
    out = []
    threads = [threading.Thread(target=lambda: out.append(page.stage(1))) for _ in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert out == [2] * 4


def test_what_no_key_can_hold_is_said_before_anything_runs():
    page = cell(HEAD + 'N = iter([])\n@cached\ndef stage(n): probe.ran(); return next(N)')
    with pytest.raises(ValueError, match='stage, its global N is a builtins.list_iterator'): page.stage(1)
    assert not page.runs
    with pytest.raises(ValueError, match=r'stage\(n\) is a torch._C.Generator'): cell(VALUE).stage(torch.Generator())
