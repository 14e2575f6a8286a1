"""One page on somebody's maps, pictures or network: whole, offline, true, and its five lines run."""
import copy
import html
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from zoo import ResNet18

import deepstruct.examine as E
from deepstruct.fields import gaussian_field
from deepstruct.log_concavity.model import LogConcaveModel

SPECTRUM = lambda a, b: 1 / (.3 + 2 - a.cos() - b.cos())


def fields(n=120, side=16, seed=0): return gaussian_field(SPECTRUM, n, side, torch.Generator().manual_seed(seed))


def text(page):
    return html.unescape(re.sub(r'<[^>]+>', ' ', re.sub(r'<style>.*?</style>', '', page.read_text(), flags=re.S)))


def check_page(page):
    "One file: no address but data, pictures that decode, every tag closed."
    source = page.read_text()
    assert (not re.search(r'https?://|src="(?!data:image/png)|<script|<link|url\(', source)
            and 'width=device-width' in source)
    for t in ('table', 'figure', 'div', 'pre', 'ul', 'details'):
        assert source.count(f'<{t}>') + source.count(f'<{t} ') == source.count(f'</{t}>')
    assert len(re.findall('<img alt="[^"]{10,}" src', source)) == source.count('<img') > 1
    return text(page)


def run_code(page, cwd):
    code = html.unescape(re.search('<pre>(.*?)</pre>', page.read_text(), re.S)[1])
    assert len(code.strip().splitlines()) == 5
    out = subprocess.run([sys.executable, '-c', code + '\nprint(tuple(y.shape), energy.isfinite().all().item(), '
                                                       'round(float(x.std()), 2))'], cwd=cwd,
                         capture_output=True, text=True, env={**os.environ, 'DEEPSTRUCT_QUIET': '1'})
    assert out.returncode == 0, out.stderr
    return out.stdout


def test_maps(tmp_path):
    x = fields() * 3 + 7
    np.save(tmp_path / 'maps.npy', x[:, 0].numpy().astype('>f4'))
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    page = E.examine(tmp_path / 'maps.npy', tmp_path / 'a.html', side=8)
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])
    said = check_page(page)
    for words in ('120 maps of 16 x 16', '>f4', 'mean, standard deviation', 'Recommended: LogConcaveModel(',
                  'Euler characteristic',
                  'averaged over blocks of 2 x 2', 'exact duplicates none', 'a Gaussian model would do'):
        assert words in ' '.join(said.split()), words
    again = E.examine(tmp_path / 'maps.npy', tmp_path / 'again.html', side=8)
    pictures = lambda p: re.findall('base64,([^"]+)"', p.read_text())
    strip = lambda p: re.sub(r'\d+ s\b|again|\ba\b', '', text(p).split('How to use it')[0])
    assert strip(page) == strip(again) and pictures(page) == pictures(again) # one seed, one page
    model = LogConcaveModel.load(tmp_path / 'a.safetensors')
    assert model.levels[0].n == 8
    assert run_code(page, tmp_path).startswith('(16, 1, 8, 8) True 1.0')


def test_prepared():
    x = fields(60, 32)
    z, how = E.prepared(x)
    assert torch.allclose(z * how['sd'] + how['mean'], x, atol=1e-5) and len(how['said']) == 1
    z, how = E.prepared(x, 16) # closed maps are averaged
    assert (z.shape == (60, 1, 16, 16)
            and torch.allclose(z * how['sd'] + how['mean'], torch.nn.functional.avg_pool2d(x, 2), atol=1e-5))
    open_ = x[:, :, :24, 3:31]
    z, how = E.prepared(open_) # others are cut, and close afterwards
    assert z.shape == (60, 1, 16, 16) and 'cut into 60' in how['said'][0] and any('Moisan' in s for s in how['said'])
    assert all(abs(r - 1) < .5 or r < 1 for r, _ in E.border_jump(z).values())
    z, how = E.prepared(x - x.mean((1, 2, 3), keepdim=True))
    assert abs(float(z.mean((1, 2, 3)).std()) - .05) < .02 and 'no density' in how['said'][-1]
    z, how = E.prepared(fields(50, 16), most=30)
    assert (len(z) == 30 and torch.equal(z, E.prepared(fields(50, 16), most=30)[0])
            and not torch.equal(z, E.prepared(fields(50, 16), most=30, seed=1)[0]))


def test_cutting_keeps_every_square():
    x = torch.arange(2 * 9 * 13.).reshape(2, 1, 9, 13)
    y = E._cut_up(x, 4)
    assert (y.shape == (12, 1, 4, 4) and torch.equal(y[0, 0], x[0, 0, :4, :4])
            and torch.equal(y[2, 0], x[0, 0, :4, 8:12]))
    assert torch.equal(y[9, 0], x[1, 0, 4:8, :4])


def test_statistics_that_are_not_handed_over():
    x = fields(400, 16)
    g = torch.Generator().manual_seed(1)
    twin = E.gaussian_twin(x, g)
    assert torch.allclose(torch.fft.rfft2(twin).abs(), torch.fft.rfft2(x).abs(), atol=1e-3) # the spectrum of each
    a = E.with_errors(x)
    assert abs(a['kurtosis of increments over 2'][0] - 3) < 5 * a['kurtosis of increments over 2'][1]
    assert abs(a['kurtosis of details, scale 1'][0] - 3) < .5 # three kinds of details, of nearly one variance
    b = torch.zeros(1, 1, 8, 8); b[0, 0, 2:4, 2:5] = 9.; b[0, 0, 6, 6] = 9. # two islands without holes: 2 in 64 pixels
    assert E.kept_out(b - b.mean())['Euler characteristic a pixel, above +1 sd'] == pytest.approx(2 / 64)
    b[0, 0, 1:6, 1:6] = 9.; b[0, 0, 3, 3] = 0.; b[0, 0, 6, 6] = 0. # one with a hole: 0
    assert E.kept_out(b - b.mean())['Euler characteristic a pixel, above -1 sd'] == pytest.approx(0, abs=2 / 64)
    parts = [E.with_errors(fields(100, 16, s))['kurtosis of increments over 1'] for s in range(12)]
    assert .5 < np.std([v for v, _ in parts]) / np.mean([e for _, e in parts]) < 2 # errors are errors


def test_pictures(tmp_path):
    g = np.random.default_rng(0)
    (tmp_path / 'in').mkdir()
    for i in range(6):
        a = np.cumsum(np.cumsum(g.standard_normal((24, 30)), 0), 1)
        Image.fromarray(np.interp(a, (a.min(), a.max()), (0, 255)).astype('u1')).save(tmp_path / f'in/{i}.png')
    page = E.examine(tmp_path / 'in', tmp_path / 'b.html', side=8)
    said = ' '.join(check_page(page).split())
    for words in ('6, made gray', '6 of 30 x 24', 'falls like wave number to the power -', 'What does not hold',
                  'patches of 8 x 8'): assert words in said, words
    if 'seed=' in said: assert run_code(page, tmp_path).startswith('(16, 1, 8, 8) True')


@pytest.fixture(scope='module')
def resnet(): # narrow, with two batches of steps, so that it is no longer at its first weights
    torch.manual_seed(0)
    net = ResNet18(width=4, classes=4, channels=1)
    y = torch.arange(240) % 4
    x = torch.randn(240, 1, 32, 32) + torch.randn(4, 1, 32, 32)[y]
    optimizer = torch.optim.SGD(net.parameters(), .05, .9)
    for _ in range(12): optimizer.zero_grad(); nn.functional.cross_entropy(net(x), y).backward(); optimizer.step()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d): m.momentum = 1.
    with torch.no_grad(): net(x)
    return net, [(a, b) for a, b in zip(x.split(40), y.split(40))]


def test_a_network(resnet, tmp_path):
    net, batches = resnet
    net.train()
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    page = E.examine(net, tmp_path / 'n.html', batches=batches)
    assert (all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
            and torch.equal(random, torch.get_rng_state()))
    assert net.training and net.layer1[0].bn1.training and not any(m._forward_hooks for m in net.modules())
    said = ' '.join(check_page(page).split())
    for words in ('21 layers with weights', 'Fisher ratio', 'layer4.1.conv2', 'two untrained', 'effective rank',
                  'the commonest class'): assert words in said, words
    assert 'is not examined' not in said, re.findall('[^.]*is not examined.{300}', said)
    drawn = dict(re.findall(r'<td>(trained|drawn from[^<]*|white[^<]*)</td><td>([\d.]+)</td>', page.read_text()))
    assert float(drawn['trained']) > 90 and len(drawn) == 3


def test_a_network_by_name_and_against_itself(resnet, tmp_path, monkeypatch):
    net, batches = resnet
    torch.save(net.state_dict(), tmp_path / 'net.pt')
    (tmp_path / 'mine.py').write_text('import torch\nfrom torch import nn\ndef make():\n    torch.manual_seed(0)\n'
        '    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(288, 3))\n'
        '    x, y = torch.randn(96, 1, 8, 8), torch.arange(96) % 3\n    return net, [(x, y)], net\nnot_a_function = '
        '3\ndef wrong(): return 1\n')
    monkeypatch.chdir(tmp_path); monkeypatch.syspath_prepend(str(tmp_path))
    page = E.examine('mine:make', 'm.html')
    said = ' '.join(check_page(page).split())
    assert 'What is in mine:make' in said and re.search(r'3 1\.000 0\.\d+ 1\.000', said) # the last layer against itself
    code = html.unescape(re.search('<pre>(.*?)</pre>', page.read_text(), re.S)[1])
    out = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert len(code.splitlines()) == 5 and out.returncode == 0 and "'3': " in out.stdout, out.stderr
    for bad, words in (('mine:none', 'cannot be imported'), ('nowhere:make', 'cannot be imported'),
                       ('mine:wrong', 'returned a int')):
        with pytest.raises(ValueError, match=words): E.examine(bad, 'm.html')


def test_what_a_network_has_not_is_said(tmp_path):
    net = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3))
    x = torch.randn(60, 4, 8, 8)
    said = text(E.examine(net, tmp_path / 'a.html', batches=[x]))
    assert 'no labels' in said and 'A drawn network' not in said and 'Alignment' in said
    said = text(E.examine(net, tmp_path / 'a.html', batches=[(x, torch.arange(60) % 3)]))
    assert re.search('A drawn network is not examined: .*groups', said)


def test_first_weights():
    net = ResNet18(width=4, classes=4, channels=1).train()
    x = torch.randn(50, 1, 32, 32)
    a, b, c = (E.reinitialised(net, x, s) for s in (0, 0, 1))
    of = lambda n: torch.cat([p.flatten() for p in n.parameters()])
    assert (torch.equal(of(a), of(b)) and not torch.equal(of(a), of(c)) and not torch.equal(of(a), of(net))
            and not a.training)
    assert a(x).std() < 10 and float(a.bn1.running_var.mean()) != 1


@pytest.mark.parametrize('call, words', [
    (lambda d: E.examine(d / 'none.npy'), 'is not there'), (lambda d: E.examine(d), 'neither maps nor pictures'),
    (lambda d: E.examine(fields(), d / 'a.txt'), 'ending in .html'),
                                         (lambda d: E.examine(fields(), d / 'no/a.html'), 'no folder'),
    (lambda d: E.examine(3, d / 'a.html'), 'a int'), (lambda d: E.examine(fields(5), d / 'a.html'), r'5 square\(s\)'),
    (lambda d: E.examine(torch.ones(50, 16, 16), d / 'a.html'), 'constant'),
                                         (lambda d: E.examine(fields(), d / 'a.html', side=12), 'side is 12'),
    (lambda d: E.examine(fields().where(fields() < 2, torch.nan), d / 'a.html'),
     'NaN'), (lambda d: E.examine(fields(), d / 'a.html', batches=[1]), 'belong to a network'),
    (lambda d: E.examine(nn.Linear(3, 3), d / 'a.html'), 'batches='), (lambda d: E.examine(nn.ReLU(), d / 'a.html',
        batches=[torch.ones(9, 3)]), 'no linear'),
    (lambda d: E.examine(nn.Linear(3, 3), d / 'a.html', batches=[{'x': 1}]), 'batches are dict'),
                                         (lambda d: E.examine(nn.Linear(3, 3), d / 'a.html', batches=[]), 'no images'),
    (lambda d: E.examine(nn.Linear(3, 3), d / 'a.html', batches=[(torch.ones(9, 3), torch.ones(9, 3))]),
     r'labels are \(9, 3\)'),
    (lambda d: (np.save(d / 'a.npy', np.ones(3)), Image.new('L', (9, 9)).save(d / 'a.png'), E.examine(d, d / 'a.html')),
     'expected one kind')])
def test_refused_in_one_line(call, words, tmp_path):
    with pytest.raises(ValueError, match=words) as e: call(tmp_path)
    assert '\n' not in str(e.value) and not (tmp_path / 'a.html').exists()
