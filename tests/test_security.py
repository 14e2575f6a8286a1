"""What comes from outside is data: nothing in it is executed, and what lies about itself is refused in one line.
Elsewhere: `make TARGET=...` and the workflows in test_hygiene; damaged cache entries and checkpoints in test_cache;
titles, statements and places on the site in test_site; other bytes than the registry's in test_data."""
import gzip
import http.server
import io
import json

import pickle
import shutil
import struct
import subprocess
import tarfile
import threading
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import deepstruct as ds
import deepstruct.data as D
from deepstruct import files
from deepstruct.book import carry, ledger, runner, site
from deepstruct.book.cli import main
from deepstruct.cifar import cifar10
from deepstruct.core import read_saved, save_tensors
from deepstruct.training import read_checkpoint
from deepstruct.wavelet_diffusion.denoisers import read_weights

HARM = []


class Evil:
    def __reduce__(self): return HARM.append, (1,)


@pytest.fixture(autouse=True)
def nothing_ran():
    HARM.clear()
    yield
    assert not HARM


def one_line(e): return '\n' not in str(e.value) and len(str(e.value)) < 500


def evil(path):
    torch.save({'state_dict': Evil(), 'x': torch.ones(8, 8)}, path)
    return path


# --- 1: pickles, in each kind of file that is read
def object_arrays(path):
    np.savez(path, x=np.array([Evil()], dtype=object))
    return path


def old_torch(path): # as torch wrote before its zip files
    torch.save(Evil(), path, _use_new_zipfile_serialization=False)
    return path


def plain_pickle(path):
    path.write_bytes(pickle.dumps(Evil()))
    return path


def object_array(path):
    np.save(path, np.array([Evil()], dtype=object))
    return path


def hdf5_pickle(path): # an opaque value, which no reader of numbers takes
    import h5py
    with h5py.File(path, 'w') as f: f['x'] = np.void(pickle.dumps(Evil()))
    return path


@pytest.mark.parametrize('write, name', [(object_array, 'a.npy'), (object_arrays, 'a.npz'), (evil, 'a.pt'),
                                         (old_torch, 'a.pt'), (plain_pickle, 'a.npy'), (hdf5_pickle, 'a.h5')])
@pytest.mark.parametrize('read', [ds.read_fields, lambda f: ds.read_fields(f.parent)])
def test_pickles_in_maps(write, name, read, tmp_path):
    with pytest.raises(ValueError, match='expected|cannot be read') as e: read(write(tmp_path / name))
    assert one_line(e)


@pytest.mark.parametrize('write', [evil, old_torch, plain_pickle])
@pytest.mark.parametrize('read', [ds.load, read_weights, ds.read_images, lambda f: main(['examine', str(f)])])
def test_pickles_in_models_and_pictures(write, read, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try: assert read(write(tmp_path / 'a.pt')) == 2 # the command's exit status
    except ValueError as e: assert '\n' not in str(e)
    assert not list(tmp_path.glob('*.html'))


@pytest.mark.parametrize('write', [evil, old_torch, plain_pickle])
def test_pickles_in_checkpoints_and_in_the_cache(write, tmp_path, capsys):
    from deepstruct.core import _checksum, _kept
    assert read_checkpoint(write(tmp_path / 'c'), 'cpu') is None
    facts, payload = dict(files={}, seconds=0.), (tmp_path / 'c').read_bytes() # with a right checksum
    head = json.dumps(facts | dict(sha256=_checksum(facts, payload)))
    (tmp_path / 'e.pt').write_bytes(head.encode() + b'\n' + payload)
    assert _kept(tmp_path / 'e.pt') is None
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and 'begins anew' in said[0] and 'computed again' in said[1]


def test_batches_of_pickles_are_no_cifar(tmp_path, monkeypatch):
    """The Python version of CIFAR-10 is pickled; only the binary one is read, so no md5 is needed."""
    monkeypatch.setenv('DEEPSTRUCT_DATA', str(tmp_path))
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / 'cache'))
    (tmp_path / 'cifar10').mkdir()
    for n in [*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch', 'test_batch.bin']:
        (tmp_path / 'cifar10' / n).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match='binary batch of CIFAR-10') as e: cifar10('test')
    assert one_line(e)


# --- 2: headers that lie
def safetensors(path, header, body=b''):
    h = json.dumps(header).encode() if isinstance(header, dict) else header
    path.write_bytes(struct.pack('<Q', len(h)) + h + body)
    return path


LIES = {'longer than the file': dict(x=dict(dtype='F32', shape=[1000, 1000], data_offsets=[0, 4_000_000])),
        'offsets that run back': dict(x=dict(dtype='F32', shape=[2, 2], data_offsets=[16, 0])),
        'a shape of other size': dict(x=dict(dtype='F32', shape=[9, 9], data_offsets=[0, 16])),
        'a type that is none': dict(x=dict(dtype='OBJECT', shape=[2, 2], data_offsets=[0, 16])),
        'negative': dict(x=dict(dtype='F32', shape=[-2, -2], data_offsets=[0, 16])),
        'not JSON': b'{"x": __import__("os")}', 'deep': b'{"x":' + b'[' * 100_000}


@pytest.mark.parametrize('lie', LIES)
@pytest.mark.parametrize('read', [ds.load, ds.read_fields, read_weights])
def test_safetensors_that_lie(lie, read, tmp_path):
    path = safetensors(tmp_path / 'a.safetensors', LIES[lie], bytes(16))
    with pytest.raises(ValueError, match='a.safetensors') as e: read(path)
    assert one_line(e)


def test_a_header_longer_than_the_file(tmp_path):
    (tmp_path / 'a.safetensors').write_bytes(struct.pack('<Q', 2**62) + b'{}')
    for read in (ds.load, ds.read_fields, read_weights):
        with pytest.raises(ValueError, match='a.safetensors'): read(tmp_path / 'a.safetensors')


@pytest.mark.parametrize('words', ['[' * 100_000, '{"kind": "EDM model"}', '[]', '{"kind": ["x"], "about": 1}',
                                   '{"kind": "os.system", "about": {}}', '{"kind": "rainbow model", "about": {}}'])
def test_descriptions_that_are_none(words, tmp_path):
    save_file({'x': torch.ones(2)}, tmp_path / 'm', {'deepstruct': words})
    with pytest.raises(ValueError, match='expected') as e: ds.load(tmp_path / 'm')
    assert one_line(e)


def models():
    from deepstruct.wavelet_diffusion.edm import EDM
    from deepstruct.wavelet_diffusion.log_density import LogDensity
    yield ds.LearnedScattering(1, 8, (4,), classes=2, seed=0)
    yield ds.WSGM(side=8, depth=1, width=4, mults=(1,))
    yield EDM(side=8, nets=(dict(width=4, mults=(1,)),))
    yield LogDensity((1, 8, 8), 4, (1,))


HUGE = [10**9, 'x; import os', [10**6] * 3]


@pytest.mark.parametrize('kind', range(4))
def test_what_describes_a_model_is_not_believed(kind, tmp_path):
    """Every entry of the description in turn: a memory that the weights cannot fill is not asked for."""
    for i, m in enumerate(models()):
        if i == kind: m.save(tmp_path / 'm')
    word, about, tensors = read_saved(tmp_path / 'm')
    assert isinstance(ds.load(tmp_path / 'm'), torch.nn.Module)
    refused = 0
    for k in about:
        for v in HUGE:
            save_tensors(tmp_path / 'bad', word, about | {k: v}, tensors)
            try: ds.load(tmp_path / 'bad')
            except ValueError as e:
                assert '\n' not in str(e)
                refused += 1
    assert refused >= 3


def test_numpy_headers_that_lie(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, dict(descr='<f8', fortran_order=False, shape=(10**6, 10**6)))
    (tmp_path / 'a.npy').write_bytes(head.getvalue() + bytes(64))
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as z: z.writestr('x.npy', head.getvalue() + bytes(64))
    text = head.getvalue().replace(b"'<f8'", b'exit()')
    (tmp_path / 'b.npy').write_bytes(text)
    for name in ('a.npy', 'a.npz', 'b.npy'):
        with pytest.raises(ValueError, match=name) as e: ds.read_fields(tmp_path / name)
        assert one_line(e)


def test_images_that_lie(tmp_path):
    for name, shape in (('a-idx3-ubyte', (10**9, 28, 28)), ('b-idx3-ubyte', (0x7fffffff,) * 3)):
        (tmp_path / name).write_bytes(struct.pack('>4I', 0x803, *shape) + bytes(784))
        with pytest.raises(ValueError, match=name) as e: ds.read_images(tmp_path / name)
        assert one_line(e)
    import zlib
    def part(kind, body): return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
    wide = part(b'IHDR', struct.pack('>IIBBBBB', 10**5, 10**5, 8, 0, 0, 0, 0)) + part(b'IDAT', zlib.compress(bytes(99)))
    (tmp_path / 'c.png').write_bytes(b'\x89PNG\r\n\x1a\n' + wide + part(b'IEND', b''))
    with pytest.raises(ValueError, match='c.png.*DecompressionBomb') as e: ds.read_images(tmp_path / 'c.png')
    assert one_line(e)


# --- 3: bombs: what a file becomes, against what it is (the room is made small here)
@pytest.fixture
def small(monkeypatch): monkeypatch.setattr(files, '_ROOM', 2**20)


def bombs(tmp_path):
    zeros = np.zeros((2048, 2048), np.float32)
    np.savez_compressed(tmp_path / 'a.npz', x=zeros)
    torch.save(torch.from_numpy(zeros), tmp_path / 'whole.pt')
    with zipfile.ZipFile(tmp_path / 'whole.pt') as a, zipfile.ZipFile(tmp_path / 'b.pt', 'w', 8) as b:
        for n in a.namelist(): b.writestr(n, a.read(n))
    import h5py
    from astropy.io import fits
    with h5py.File(tmp_path / 'c.h5', 'w') as f: f.create_dataset('x', data=zeros, compression='gzip')
    with h5py.File(tmp_path / 'd.h5', 'w') as f: f.create_dataset('x', shape=(10**6, 10**6), chunks=(9, 9)) # no chunk
    fits.writeto(tmp_path / 'e.fits.gz', zeros)
    return [tmp_path / n for n in ('a.npz', 'b.pt', 'c.h5', 'd.h5', 'e.fits.gz')]


def test_bombs_among_maps(tmp_path, small):
    for path in bombs(tmp_path):
        with pytest.raises(ValueError, match='claims.*unpacked; expected') as e: ds.read_fields(path)
        assert one_line(e) and path.name in str(e.value)
    assert ds.read_fields(tmp_path / 'whole.pt').shape == (1, 1, 2048, 2048) # that one is no bomb
    with pytest.raises(ValueError, match='plain weights'): read_weights(tmp_path / 'b.pt')


def test_bombs_among_pictures(tmp_path, small, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a = np.zeros((60, 256, 256), np.uint8)
    with gzip.open('a-idx3-ubyte.gz', 'wb') as f: f.write(struct.pack('>4I', 0x803, *a.shape) + a.tobytes())
    import tifffile
    tifffile.imwrite('b.tif', np.zeros((4096, 4096), np.uint8), compression='zlib')
    for name in ('a-idx3-ubyte.gz', 'b.tif'):
        with pytest.raises(ValueError, match='claims.*unpacked; expected') as e: ds.read_images(name)
        assert one_line(e) and main(['examine', name]) == 2
    monkeypatch.setattr(files, '_ROOM', 2**30)
    assert len(ds.read_images('a-idx3-ubyte.gz')) == 60


def test_files_beside_the_file_are_not_read(tmp_path):
    """An HDF5 file whose numbers are another file's bytes, or that links to another."""
    import h5py
    (tmp_path / 'secret').write_bytes(bytes(range(256)) * 4)
    with h5py.File(tmp_path / 'a.h5', 'w') as f:
        f.create_dataset('x', shape=(32, 32), dtype='u1', external=[(str(tmp_path / 'secret'), 0, 1024)])
    with h5py.File(tmp_path / 'b.h5', 'w') as f: f['x'] = h5py.ExternalLink(tmp_path / 'a.h5', 'x')
    for name, words in (('a.h5', 'outside of its file'), ('b.h5', '0 arrays')):
        with pytest.raises(ValueError, match=words) as e: ds.read_fields(tmp_path / name)
        assert one_line(e)


# --- 4: what is fetched: redirects, half of a file, no end; archives with links and other ways out
GOOD = gzip.compress(bytes(1000), mtime=0)
NAME = 'fashion-mnist'


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        way = self.path.split('/')[1]
        if way == 'to-a-file': return self.sent(302, Location='file:///etc/hostname')
        if way == 'to-others': return self.sent(302, Location='/html/x.gz')
        if way == 'in-a-ring': return self.sent(302, Location=self.path)
        if way == 'good': return self.sent(200, GOOD)
        if way == 'html': return self.sent(200, b'<html>not found</html>')
        if way == 'short': return self.sent(200, GOOD[:-9], **{'Content-Length': len(GOOD)})
        if way == 'bomb': return self.sent(200, gzip.compress(bytes(10**7)))
        self.sent(200)
        try:
            for _ in range(10_000): self.wfile.write(bytes(2**16))
        except OSError: pass

    def sent(self, status, body=b'', **headers):
        self.send_response(status)
        for k, v in headers.items(): self.send_header(k, str(v))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_): pass


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A registry of one small file; nothing of it is on this machine."""
    entry = replace(D.REGISTRY[NAME], size='1 MB', sha256={'x.gz': sha256(bytes(1000)).hexdigest()})
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / 'cache'))
    monkeypatch.delenv('DEEPSTRUCT_DATA', raising=False)
    monkeypatch.setattr(D, 'where', lambda name: None)
    monkeypatch.setattr(D.shutil, 'which', lambda name: None)
    def put(**how): monkeypatch.setitem(D.REGISTRY, NAME, replace(entry, **how))
    put()
    return put


@pytest.fixture
def served(shelf):
    web = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield lambda way: shelf(url=f'http://127.0.0.1:{web.server_port}/{way}/')
    web.shutdown()
    web.server_close()


@pytest.mark.parametrize('way', ['to-a-file', 'to-others', 'in-a-ring', 'html', 'short', 'bomb', 'no-end'])
def test_downloads(way, served, tmp_path, capsys):
    served(way)
    with pytest.raises(OSError, match='could not be fetched') as e: D.get(NAME)
    assert one_line(e) and not [p for p in tmp_path.rglob('*') if p.is_file()]
    assert main(['data', 'get', NAME]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith('deepstruct: fashion-mnist could not be fetched')


def test_a_good_download(served, tmp_path):
    served('good')
    assert (D.get(NAME) / 'x.gz').read_bytes() == GOOD


def debian(path, members):
    """A package by hand, since no tool packs such: ar of three members, data.tar last."""
    def tar(members):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode='w:gz') as t:
            for name, kind, what in members:
                m = tarfile.TarInfo(name)
                m.type, m.mode = kind, 0o644
                if kind == tarfile.REGTYPE: m.size = len(what)
                else: m.linkname = what
                t.addfile(m, io.BytesIO(what) if kind == tarfile.REGTYPE else None)
        return out.getvalue()
    said = b'Package: dataset-x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n'
    parts = [('debian-binary', b'2.0\n'), ('control.tar.gz', tar([('./control', tarfile.REGTYPE, said)])),
             ('data.tar.gz', tar(members))]
    path.write_bytes(b'!<arch>\n' + b''.join(
        f'{n:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(b):<10}`\n'.encode() + b + b'\n' * (len(b) % 2) for n, b in parts))


HOME = f'./usr/share/datasets/{NAME}/x.gz'
FILE, SYM, HARD, FIFO, DEVICE = (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
PACKAGES = {
    'a link to the file': [(HOME, SYM, '{home}/x.gz')],
    'a link to a folder above': [('./usr', SYM, '{home}/usr')],
    'a link, and a file through it': [('./out', SYM, '{home}'), ('./out/written', FILE, b'x'), (HOME, FILE, b'x')],
    'a hard link': [(HOME, HARD, '{home}/x.gz')],
    'a pipe': [(HOME, FIFO, '')],
    'a device': [(HOME, DEVICE, '')],
    'a way up': [('../../written', FILE, b'x'), (HOME, FILE, b'x')],
    'a path from the root': [('{home}/written', FILE, b'x'), (HOME, FILE, b'x')],
    'a bomb': [(HOME, FILE, gzip.compress(bytes(10**7)))]}


@pytest.mark.skipif(not shutil.which('dpkg-deb'), reason='no dpkg-deb')
@pytest.mark.parametrize('what', PACKAGES)
def test_packages(what, shelf, tmp_path, monkeypatch):
    home = tmp_path / 'home'
    (home / f'usr/share/datasets/{NAME}').mkdir(parents=True)
    for p in (home / 'x.gz', home / f'usr/share/datasets/{NAME}/x.gz'): p.write_bytes(GOOD) # the right bytes, even
    before = {p: p.lstat() for p in home.rglob('*') if p.is_file()}
    fill = lambda s: s.replace('{home}', str(home)) if isinstance(s, str) else s
    debian(tmp_path / 'x.deb', [(fill(n), kind, fill(v)) for n, kind, v in PACKAGES[what]])
    monkeypatch.setattr(D, '_download', lambda d, folder: 1 / 0)
    monkeypatch.setattr(D.shutil, 'which', lambda name: f'/usr/bin/{name}')
    run = subprocess.run
    def apt(words, **how): # puts the package where apt-get would
        if words[0] == 'apt-get': return shutil.copy(tmp_path / 'x.deb', how['cwd'])
        return run(words, **how)
    monkeypatch.setattr(D.subprocess, 'run', apt)
    with pytest.raises(OSError, match='could not be fetched') as e: D.get(NAME)
    assert one_line(e) and not list((tmp_path / 'cache').rglob('*'))
    assert {p: p.lstat() for p in home.rglob('*') if p.is_file()} == before and not list(tmp_path.rglob('written'))


# --- 5: words are never code, and never move a terminal
WORDS = ["x'; import os; os.system('touch INJECTED') #", '$(touch INJECTED)', '`touch INJECTED`', 'a\nimport os',
         '__import__("os").system("touch INJECTED")', '"""', '{0.__class__}', '../../x', '-n', '\x1b[2J', 'a\0b',
         "smoke'\nimport os"]


@pytest.mark.parametrize('word', WORDS)
def test_targets_presets_and_names(word, toy, monkeypatch, capsys):
    monkeypatch.chdir(toy)
    before = sorted(toy.rglob('*'))
    for command in (['reproduce', '--preset', 'smoke', '--', word], ['reproduce', f'--preset={word}', '--', 'toy'],
                    ['claims', '--', word], ['list', '--', word], ['data', 'get', '--', word],
                    ['data', 'where', '--', word], ['claim', 'new', '--', word], ['carry', '--', word],
                    ['examine', '--', word], ['claim', 'new', f'--of={word}', '--', 'toy.new']):
        status, said = main(command), capsys.readouterr().err
        assert status == 2 and said and all(c.isprintable() or c == '\n' for c in said), (command, said)
    assert sorted(toy.rglob('*')) == before
    with pytest.raises(ValueError): ds.reproduce(word, preset='smoke')
    with pytest.raises(ValueError): ds.reproduce('toy', preset=word)


def test_seeds_are_numbers(toy, monkeypatch):
    """papermill writes parameters into a cell: as literals, whatever they hold."""
    from papermill.translators import PythonTranslator
    page, = [p for p in runner.pages(toy) if p.paper == 'toy']
    for word in WORDS:
        cell = PythonTranslator.codify(runner.parameters(page, word, word), 'x')
        space = {}
        exec(cell, {'__builtins__': {}}, space)
        assert space == dict(preset=word, seed=word)


@pytest.mark.parametrize('rev', ['--force', '-b', '--orphan=x'])
def test_a_revision_is_no_option(rev, monkeypatch, tmp_path):
    monkeypatch.setattr(carry, '_git', lambda *words, at=None: pytest.fail(str(words)) if 'worktree' in words else '')
    with pytest.raises(ValueError, match='no revision'):
        with carry.tree_of(rev, tmp_path): pass


@pytest.mark.parametrize('name', ['a\x1b]0;owned\x07.csv', 'a\x1b[31m.csv', 'a\rb.csv', 'a\u202eb.csv', "a';b.csv"])
def test_names_of_files_do_not_move_the_terminal(name, tmp_path, monkeypatch, capsys):
    (tmp_path / name).write_text('1,2')
    monkeypatch.chdir(tmp_path)
    assert main(['examine', name]) == 2
    assert all(c.isprintable() or c == '\n' for c in capsys.readouterr().err)
    from deepstruct.places import warn_once
    warn_once(f'{name} is damaged')
    runner._say('page', name)
    assert all(c.isprintable() or c == '\n' for c in capsys.readouterr().err)


@pytest.mark.parametrize('why', ['{got.__class__.__init__.__globals__}', '{got:>999999999}', '{got:.99999999f}',
                                 '{got!r}', '{got:{got}}', '{got.x.__format__}', '{os}', '{0}', '{}'])
def test_what_a_reason_may_ask_for(why):
    with pytest.raises(ValueError, match='why: ') as e: ledger.why(why, dict(got=1.5), {})
    assert one_line(e)


def test_what_a_reason_does_ask_for():
    shown, kept = dict(got={'a 1': 1.5}, null=.25, n=1000), dict(long=dict(got=3.))
    said = ledger.why('{got[a 1]:.2f} {null:.1%} {n:,.0f} {long.got:+.2e} {spread}', shown, kept)
    assert said.startswith('1.50 25.0 % 1,000 +')


TOML = ["[paper]\nname = '../../x'", "x = __import__('os')", 'a = ' + '[' * 5000, 'n = ' + '9' * 5000,
        '[paper]\nname = "toy"\ntitle = "<script>alert(1)</script>"', '[paper]\nname = "toy"\ntitle = "\\u001b[2J"']


@pytest.mark.parametrize('text', TOML, ids=range(len(TOML)))
def test_files_of_claims(text, toy, capsys):
    (toy / 'nbs/toy/paper_toy.toml').write_text(text)
    with pytest.raises(ValueError, match='paper_toy.toml'): ledger.load(toy)
    assert main(['claims']) == 2
    assert all(c.isprintable() or c == '\n' for c in capsys.readouterr().err)


@pytest.mark.parametrize('id', ['../../x', '/x', 'a/b', 'a\0', '', 'a\nb', '$(x)', "a'b", '<b>'])
def test_names_of_figures(id):
    with pytest.raises(ValueError, match='plain name'):
        with ds_figure(id): pass


def ds_figure(id):
    from deepstruct.book.claims import figure
    return figure(id, 'title')


# --- 6: what is shown is text
NASTY = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def test_numbers_of_an_explorable_end_no_element(tmp_path, monkeypatch):
    name = next(iter(site.EXPLORABLES))
    monkeypatch.setattr(site, '_static', lambda: tmp_path)
    monkeypatch.setattr(ledger, 'figures', list)
    (tmp_path / f'explore.{name}.json').write_text(json.dumps({'a': '</script><script>alert(1)</script>'}))
    shown = site.explorable(name)
    assert '<script>alert' not in shown and shown.count('</script>') == 1
    inner = shown.split('application/json">')[1].split('</script>')[0]
    assert json.loads(inner) == {'a': '</script><script>alert(1)</script>'}


def test_a_report_shows_names_as_text(tmp_path, monkeypatch):
    from deepstruct.examine import Report
    r = Report(NASTY, NASTY)
    for say in (r.section, r.say, r.code): say(NASTY)
    text = r.write(tmp_path / 'r.html').read_text()
    assert '<script' not in text and '<img src=x' not in text


# --- 7: this repository
def test_no_way_to_execute_what_is_read():
    """No pickle, eval, exec, shell or unguarded torch.load in the package; one name for each exception."""
    import re
    root = Path(__file__).parents[1]
    bad = re.compile(r'\bpickle\.load|allow_pickle=True|weights_only=False|shell=True|os\.system|'
                     r'(?<![.\w])(eval|exec)\(|yaml\.load|extractall|urlretrieve|joblib|verify=False|trust_repo|mktemp\(')
    found = [f'{p.name}: {x}' for p in (root / 'deepstruct').rglob('*.py') for x in p.read_text().splitlines()
             if bad.search(x) and not x.lstrip().startswith(('#', '"'))]
    loads = [x for p in (root / 'deepstruct').rglob('*.py') for x in p.read_text().splitlines()
             if re.search(r'(?<!safetensors\.)torch\.load\(', x) and 'weights_only=True' not in x]
    assert not found and not [x for x in loads if '"' not in x], (found, loads)


def test_the_security_policy_is_linked():
    root = Path(__file__).parents[1]
    text = (root / 'SECURITY.md').read_text()
    assert '(SECURITY.md)' in (root / 'CONTRIBUTING.md').read_text() and '@' not in text and len(text) < 4000
