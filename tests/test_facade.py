"""The doors of `import deepstruct as ds`: opened at first use, one way of seeding, of saving, of asking the book."""
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import deepstruct as ds
from deepstruct.core import generator


def run(code):
    """What fresh Python prints."""
    got = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    return got.stdout.strip()


def test_the_import_is_light():
    """No torch before a door is opened; 0.3 s over Python's own start, the best of three."""
    assert run("import sys, deepstruct; print('torch' in sys.modules, 'numpy' in sys.modules)") == 'False False'
    def seconds(code):
        begun = time.perf_counter()
        run(code)
        return time.perf_counter() - begun
    assert min(seconds('import deepstruct') for _ in range(3)) < min(seconds('pass') for _ in range(3)) + .3


def test_every_door_opens():
    assert {*dir(ds)} == {*ds.__all__, '__version__'} and all(callable(getattr(ds, n)) for n in ds.__all__)
    with pytest.raises(AttributeError, match='no_door'): ds.no_door


@pytest.mark.parametrize('first', ['from deepstruct.lensing import Lensing', 'import deepstruct.lensing', 'ds.lensing',
                                   'from deepstruct import lensing', 'ds.phi4', 'import deepstruct.facade'])
def test_a_door_and_a_module_of_one_name(first):
    """Whichever is asked for first."""
    code = f'import deepstruct as ds\n{first}\nfrom deepstruct.lensing import Lensing, skewness\n'
    code += 'print(callable(ds.lensing), ds.lensing.Lensing is Lensing, tuple(ds.lensing(2, 8, seed=0, boxes=1, '
    assert run(code + 'particles=8, mesh=8).shape))') == 'True True (2, 1, 8, 8)'


MADE = {'phi4': lambda s: ds.phi4(5, side=4, beta=.3, seed=s),
        'gaussian_field': lambda s: ds.gaussian_field(torch.ones(4, 4), 5, side=4, seed=s),
        'turbulence': lambda s: ds.turbulence(8, side=8, seed=s, shell=(1., 2.)),
        'lensing': lambda s: ds.lensing(3, side=8, seed=s, boxes=1, particles=8, mesh=8)}


@pytest.mark.parametrize('name', MADE)
def test_seeds(name, capsys):
    """An int, numpy's, or a generator of that seed are one; another is another; none is told."""
    make = MADE[name]
    a = make(3)
    assert torch.equal(a, make(np.int64(3))) and torch.equal(a, make(torch.Generator().manual_seed(3)))
    assert not torch.equal(a, make(4)) and a.ndim == 4 and a.dtype == torch.float32
    capsys.readouterr()
    b = make(None)
    told = int(capsys.readouterr().err.split('seed=')[1].split()[0])
    assert torch.equal(b, make(told))
    for bad in ('3', 1.5, True, -1):
        with pytest.raises(ValueError, match='seed'): make(bad)


def test_a_spectrum_as_numbers_or_as_a_function():
    power = torch.rand(8, 8, generator=generator('power'), dtype=torch.float64)
    power = power + power.flip(0, 1).roll((1, 1), (0, 1))
    assert torch.equal(ds.gaussian_field(power, 3, 8, seed=0), ds.gaussian_field(lambda *_: power, 3, 8, seed=0))
    for bad in (power[:4], power + 1j, -power, power + torch.arange(8.)):
        with pytest.raises(ValueError, match='spectrum'): ds.gaussian_field(bad, 3, 8, seed=0)


def test_every_model_is_opened_by_one_door(tmp_path):
    x = ds.phi4(60, side=4, beta=.3, seed=0)
    fields = ds.LogConcaveModel('haar', polish_steps=0).fit(x, seed=0)
    diffusion = ds.WSGM(side=8, depth=1, width=8).fit(torch.randn(20, 1, 8, 8, generator=generator('w')), steps=1,
                                                      seed=0)
    network = ds.LearnedScattering(side=8, blocks=(2,), seed=0)
    rainbow = ds.RainbowModel().fit([torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(),
                                                         torch.nn.Linear(6, 2))],
                                    [torch.randn(30, 4, generator=generator('r'))])
    for k, m in enumerate((fields, diffusion, network, rainbow)):
        m.save(tmp_path / str(k))
        assert type(ds.load(tmp_path / str(k))) is type(m)
    assert torch.equal(ds.load(tmp_path / '0').sample(2, seed=1), fields.sample(2, seed=1))
    (tmp_path / 'text').write_text('no model')
    for bad in ('text', '.'):
        with pytest.raises(ValueError, match=f'{tmp_path}'): ds.load(tmp_path / bad)
    from deepstruct.core import save_tensors
    save_tensors(tmp_path / 'other', 'teapot', {}, {'a': torch.ones(1)})
    with pytest.raises(ValueError, match='holds a teapot'): ds.load(tmp_path / 'other')


def test_fisher_by_hand():
    """Two classes at distance d along one axis of unit white noise: the ratio of a linear layer, and chance."""
    from deepstruct.statistics import ClassMoments, fisher
    y = torch.arange(2000) % 2
    x = torch.randn(2000, 5, generator=generator('f')) + 3. * y[:, None] * torch.eye(5)[0]
    torch.manual_seed(0) # a random plane may miss the axis
    net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(5, 2))
    m = ClassMoments(2, 2)
    m.update(net(x).detach(), y)
    got = ds.fisher(net, (x, y), ['1'])['1']
    assert abs(got['ratio'] / fisher(m) - 1) < 1e-9 and got['ratio'] > got['floor'] + 5 * got['error']
    assert abs(got['floor'] * (2000 - 2 - 2 - 1) - 1) < 1e-9 # (C - 1) d / C over N - C - d - 1
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 64)
    assert abs(ds.fisher(net, loader, ['1'])['1']['ratio'] / got['ratio'] - 1) < 1e-9


def test_the_book_is_asked():
    rows = ds.claims('cslc')
    assert 'cslc' in {r['paper'] for r in rows} < {r['paper'] for r in ds.claims()} and 'verdict' in repr(rows)
    assert repr(ds.claims('cslc text, p. 7')) == 'no claim' != repr(ds.claims('cslc Fig. 5'))
    with pytest.raises(ValueError, match='near'): ds.claims('cslk')
