"""What the browser computes is what the library computes; the recorded numbers are the library's too."""
import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from deepstruct.book import explore as E
from deepstruct.core import generator
from deepstruct.fields import Phi4
from deepstruct.networks import Nonlinearity
from deepstruct.rainbow.alignment import Moments, alignment, alignment_error
from deepstruct.wavelet_diffusion.gaussian import Modes, response
from deepstruct.wavelet_diffusion.sde import time_grid
from deepstruct.wavelet_diffusion.solvers import best_schedule, edm_sigmas, solver_response
from deepstruct.wavelets import Octave

STATIC = Path(__file__).parents[1] / 'nbs/book/static'


@pytest.fixture(scope='module')
def data(): return {k: json.loads((STATIC / f'explore.{k}.json').read_text(encoding='utf-8')) for k in E.DATA}


def js(expression):
    """Value of an expression in the names of explore.js."""
    node = shutil.which('node') or pytest.skip('no node')
    call = f'const E = require({json.dumps(str(STATIC / "explore.js"))}); console.log(JSON.stringify({expression}))'
    return json.loads(subprocess.run([node, '-e', call], capture_output=True, text=True, check=True).stdout)


def test_they_are_small():
    shared = (STATIC / 'explore.js').stat().st_size
    assert shared < 60_000
    for k in E.DATA: assert (STATIC / f'explore.{k}.json').stat().st_size + shared < 300_000, k


@pytest.mark.parametrize('solver', E.SOLVERS)
def test_response(solver):
    """Variance and share of the mean of a mode, in the browser and here."""
    lam = [1e-3, .2, 1., 3., 250.]
    levels = (time_grid('uniform', 9, 4.) if solver == 'euler_maruyama' else edm_sigmas(9)).tolist()
    got = js(f'{json.dumps(lam)}.map(v => E.respond(v, {json.dumps(levels)}, "{solver}"))')
    want = (response if solver == 'euler_maruyama' else solver_response)(np.array(lam), levels, solver)
    assert np.allclose(np.array(got).T, want, rtol=1e-9, atol=1e-12)


def test_divergence_and_schedules(data):
    row = next(r for r in data['steps']['rows'] if (r['eta'], r['L']) == (2., 16))
    for kind in ('plain', 'wavelets'):
        m, args = row[kind], json.dumps(row[kind])
        modes = Modes(*(np.array(m[k]) for k in ('lam', 'count', 'mean2')), 256)
        for solver in E.SOLVERS[1:]:
            want = best_schedule(modes, 6, solver).kl
            assert js(f'E.best({args}, 16, 6, "{solver}").kl') == pytest.approx(want, rel=1e-6)
        times = time_grid('uniform', 12, 3.)
        got = js(f'E.divergence({args}, 16, E.uniformTimes(12, 3), "euler_maruyama")')
        assert got == pytest.approx(modes.kl(times), rel=1e-9)


def test_steps_are_the_librarys(data):
    assert data['steps']['eps'] == E.EPS
    row = next(r for r in data['steps']['rows'] if (r['eta'], r['L']) == (1., 16))
    for kind, modes in E.modes_of(1., 16).items():
        for k in ('lam', 'count'): assert np.allclose(row[kind][k], getattr(modes, k), rtol=1e-4)
        assert sum(row[kind]['count']) == pytest.approx(256, rel=1e-3), 'a mode for each pixel'
        assert row[kind]['needs'] == {s: E.needed(modes, s) for s in E.SOLVERS}
    for eta in {r['eta'] for r in data['steps']['rows']}:
        mine = [r for r in data['steps']['rows'] if r['eta'] == eta]
        before, last = (r['wavelets']['needs']['euler_maruyama'] for r in mine[-2:])
        assert last <= 1.1 * before + 1 < mine[-1]['plain']['needs']['euler_maruyama']


def test_windows_are_the_librarys(data):
    again = E.windows(etas=(2.,), sigmas=(1., 4.))['rows']
    for r in again:
        old = next(o for o in data['windows']['rows'] if (o['eta'], o['sigma']) == (r['eta'], r['sigma']))
        for k in ('whole', 'details'): assert np.allclose(old[k], r[k], rtol=1e-2, atol=1e-5)


def test_exact_hessians():
    """Those of the second differences of the known energy."""
    x = torch.randn(2, 1, 8, 8, generator=generator(0), dtype=torch.float64)
    B, beta = E.bands_of(8)['octave'], .68
    assert torch.allclose(B.flatten(1) @ B.flatten(1).T, torch.eye(48, dtype=torch.float64), atol=1e-10)
    got = E.exact(beta, x, B)
    g, h = Phi4(beta, 8).gradient, 1e-5
    H = torch.stack([(g(x + h * b) - g(x - h * b)) / (2 * h) for b in B], 1).flatten(2) @ B.flatten(1).T
    assert torch.allclose(got, torch.linalg.eigvalsh((H + H.mT) / 2), atol=1e-6)


def test_spectra(data):
    """Histograms are whole, and the narrower the band the less negative curvature, at every temperature."""
    for row in data['hessians']['rows']:
        for k, s in row['spectra'].items():
            assert sum(s['share']) == pytest.approx(1, abs=.01), k
            edges = np.linspace(s['low'], s['high'], len(s['share']) + 1)
            below = sum(v for v, b in zip(s['share'], edges[1:]) if b <= 0)
            assert below <= s['negative'] + .002 and (s['least'] < 0) == (s['negative'] > 0)
        order = [row['spectra'][f'1 {k}']['negative'] for k in ('whole', 'octave', 'half', 'quarter')]
        assert order == sorted(order, reverse=True) and order[0] > .02 > order[-1]


def test_frames(data):
    """Each frame has the one before it as its low-pass: bytes of the recorded fields, the library's wavelet."""
    field = lambda f, k: torch.tensor(np.frombuffer(base64.b64decode(f[k]), 'u1') / 255. * 2 - 1).view(
        1, 1, f['side'], f['side']) * f['top']
    for row in data['frames']['rows']:
        assert [f['side'] for f in row['frames']] == [2, 4, 8, 16, 32]
        for a, b in zip(row['frames'], row['frames'][1:]):
            step, bytes_apart = Octave('db4'), 2 * (b['top'] + a['top']) / 127
            assert (step.low(field(b, 'fine')) - field(a, 'fine')).abs().max() < bytes_apart
            assert (step.embed_low(field(a, 'fine')) - field(b, 'coarse')).abs().max() < bytes_apart


def test_denoisers(data):
    """The browser computes what the library's networks do; a wider field restores more of pictures that none saw, and
    weights of another order restore nothing."""
    d, sigma = data['denoisers'], .2
    nets = {r['field']: E.unpacked(r['layers']) for r in d['rows']}
    assert tuple(nets) == E.SEEN and all(n.receptive_field == r for r, n in nets.items())
    x = torch.stack([torch.tensor(np.frombuffer(base64.b64decode(b), 'u1') / 255.).float().view(1, 96, 96)
                     for b in d['pictures'].values()])
    y = x + sigma * torch.randn(x.shape, generator=generator('noisy'))
    db = lambda z: float(-10 * (z - x).square().mean((1, 2, 3)).log10().mean())
    with torch.no_grad(): gains = [db(n(y)) - db(y) for n in nets.values()]
    blurred = db(torch.nn.functional.avg_pool2d(y, 3, 1, 1, count_include_pad=False)) - db(y)
    assert sorted(gains) == gains and gains[-1] > max(gains[0] + .5, blurred), (gains, blurred)
    small = y[:1, :, 30:42, 40:52]
    for row in d['rows']:
        call = f'E.denoise(E.kernels({json.dumps(row["layers"])}), {json.dumps(small.flatten().tolist())}, 12)'
        got = js(f'Array.from({call})')
        with torch.no_grad(): want = nets[row['field']](small).flatten()
        assert np.allclose(got, want, atol=1e-4), row['field']
        last = row['layers'][-1]
        turned = base64.b64encode(base64.b64decode(last['bytes'])[::-1]).decode()
        mixed = row['layers'][:-1] + [last | {'bytes': turned}]
        with torch.no_grad(): assert db(E.unpacked(mixed)(y)) < db(y)


def test_a_byte_a_weight():
    from deepstruct.wavelet_diffusion.denoisers import Denoiser
    net = Denoiser(7, width=5, layers=4, generator=generator('bytes'))
    for c, again in zip(net.convolutions, E.unpacked(E.packed(net)).convolutions):
        largest = c.weight.abs().amax((1, 2, 3), keepdim=True)
        assert ((c.weight - again.weight).abs() <= 1.001 * largest / 254).all()


def test_phases():
    """A translated coefficient is that of a direct convolution; the bound holds; non-linearities are the library's."""
    re, im = js('E.signal(3)')
    x = np.fft.ifft(np.array(re) + 1j * np.array(im))
    assert np.abs(x.imag).max() < 1e-12 and (x.real**2).mean() == pytest.approx(1)
    psi, xi = np.fft.ifft(js('E.wavelet(.15)')), js('E.xi')
    assert np.linalg.norm(psi) == pytest.approx(1)
    conv = lambda x: sum(x[-u] * psi[u] for u in range(128)) # at position 0
    z0 = conv(x.real)
    for tau in (0, 3, -5):
        got = complex(*js(f'E.coefficient(E.signal(3), .15, {tau})'))
        assert got == pytest.approx(conv(np.roll(x.real, tau)), abs=1e-10)
        bound = js('E.spread(.15)') * abs(tau) * np.linalg.norm(x)
        assert abs(got - np.exp(-1j * xi * tau) * z0) <= bound + 1e-10
    z = torch.tensor([complex(.3, -.4), complex(.1, .1)]).view(1, 2, 1, 1)
    soft = Nonlinearity('soft', 2, threshold=.2)(z).flatten().detach().numpy()
    got = js('[[.3, -.4], [.1, .1]].map(z => E.RHO.threshold(z, .2))')
    assert np.allclose([complex(*v) for v in got], soft, atol=1e-5)
    want = float(Nonlinearity('modulus', 2)(z).flatten()[0])
    assert js('E.RHO.modulus([.3, -.4])') == pytest.approx([want, 0], abs=1e-6)


@pytest.mark.parametrize('width', [5, 40])
def test_rotation(width):
    """The browser's rotation between two networks is the library's, and its error too."""
    points, W, V, got = js(f'[E.points, E.weights({width}, 1), E.weights({width}, 2), '
                           f'E.align(E.features(E.weights({width}, 1)), E.features(E.weights({width}, 2)))]')
    F, G = (torch.relu(torch.tensor(points, dtype=torch.float64) @ torch.tensor(w, dtype=torch.float64).T) / width**.5
            for w in (W, V))
    m = Moments(width, width).update(F, G)
    assert got['error'] == pytest.approx(alignment_error(m), rel=1e-6)
    assert got['apart'] == pytest.approx(float((F - G).square().sum() / F.square().sum()))
    assert got['error'] < got['apart']
    if width > len(points): return # the data leave the rotation open where they are not
    axes = torch.linalg.svd(F.T @ F).U[:, 1:3]
    turned, sign = (G @ alignment(m).T @ axes).numpy(), np.sign((np.array(got['own']) * (F @ axes).numpy()).sum(0))
    assert np.allclose(np.array(got['after']) * sign, turned, atol=1e-6) # of an axis the sign is free
