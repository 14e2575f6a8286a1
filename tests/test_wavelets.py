"""Wavelets against PyWavelets, against their own transpose, and against bad input."""
import numpy as np
import pytest
import pywt
import torch

from deepstruct.core import generator
from deepstruct.wavelets import (WAVELETS, HalfOctave, Octave, check_wavelet, inverse_packets, inverse_pyramid,
                                 packets, pyramid, step_matrix)

pytestmark = pytest.mark.filterwarnings('ignore:Level value')
SOME = ('haar', 'db2', 'db4', 'sym8', 'coif5', 'db38')
torch.set_num_threads(1)


def field(n, batch=3, dtype=torch.float64, seed=0):
    return torch.randn(batch, 1, n, n, dtype=dtype, generator=generator('test', n, seed))


@pytest.mark.parametrize('name', WAVELETS)
def test_every_wavelet_band_by_band(name):
    x = field(48, 2)
    ours, theirs = pyramid(x, name, 3), pywt.wavedec2(x[:, 0].numpy(), name, 'periodization', 3)
    assert np.allclose(ours[0][:, 0], theirs[0], atol=1e-10)
    for a, b in zip(ours[1:], theirs[1:]): assert np.allclose(a, np.stack(b, 1), atol=1e-10)
    assert torch.allclose(inverse_pyramid(ours, name), x, atol=1e-9)
    assert torch.isclose(sum(b.square().sum() for b in ours), x.square().sum(), rtol=1e-9)


@pytest.mark.parametrize('name', SOME)
@pytest.mark.parametrize('n', (2, 4, 6, 34, 40, 64, 96, 128, 144))
def test_short_lines_odd_tiles_and_long_filters(name, n):
    step, x = Octave(name), field(n)
    low, detail = step.analysis(x)
    a, hvd = pywt.dwt2(x[:, 0].numpy(), name, 'periodization')
    assert np.allclose(low[:, 0], a, atol=1e-10) and np.allclose(detail, np.stack(hvd, 1), atol=1e-10)
    u, v = torch.randn_like(low), torch.randn_like(detail)
    back = step.synthesis(u, v)
    # <A^T y, x> = <y, A x>
    assert torch.isclose((back * x).sum(), (u * low).sum() + (v * detail).sum(), rtol=1e-8, atol=1e-8)
    assert torch.allclose(step.low(back), u, atol=1e-9) and torch.allclose(step.detail(back), v, atol=1e-9)
    assert torch.allclose(step.embed_low(u) + step.embed_detail(v), back, atol=1e-9)


def test_orientation_of_the_details():
    # changes from row to row only
    rows = torch.tensor([1., -1.] * 4, dtype=torch.float64)[:, None].expand(1, 1, 8, 8)
    power = Octave('db2').detail(rows).square().sum((0, 2, 3))
    assert torch.allclose(power, torch.tensor([64., 0., 0.], dtype=torch.float64), atol=1e-9)
    assert torch.allclose(Octave('db2').detail(rows.mT).square().sum((0, 2, 3)),
                          torch.tensor([0., 64., 0.], dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize('step', (Octave('haar'), Octave('coif2'), HalfOctave('haar', 1), HalfOctave('db4', 1),
                                  HalfOctave('db2', 2)), ids=str)
@pytest.mark.parametrize('n', (4, 12))
def test_projector_entry_by_entry(step, n):
    E = torch.eye(n * n, dtype=torch.float64).view(-1, 1, n, n)
    P = step.embed_detail(step.detail(E)).view(n, n, n, n)
    i, j = torch.meshgrid(torch.arange(n), torch.arange(n), indexing='ij')
    for a, b in ((0, 0), (1, 0), (0, 1), (-1, 2), (n - 1, n)):
        assert torch.allclose(step.projector_shift(n, (a, b)), P[i, j, (i + a) % n, (j + b) % n], atol=1e-10)
    assert torch.isclose(step.projector_diag(n).sum(), torch.tensor(float(np.prod(step.detail_shape(n))),
                                                                    dtype=torch.float64))
    assert torch.equal(step.projector_diag(n), step.projector_shift(n, (0, 0)))


@pytest.mark.parametrize('name', ('haar', 'db4', 'sym8'))
@pytest.mark.parametrize('n', (4, 12, 32))
def test_two_half_octaves_are_one_octave(name, n):
    x, first, second, octave = field(n), HalfOctave(name, 1), HalfOctave(name, 2), Octave(name)
    mid, d1 = first.analysis(x)
    low, d2 = second.analysis(mid)
    assert (mid.shape[1:], d1.shape[1:], low.shape[1:], d2.shape[1:]) == (first.low_shape(n), first.detail_shape(n),
                                                                          second.low_shape(n), second.detail_shape(n))
    assert torch.allclose(low, octave.low(x), atol=1e-9)
    assert torch.allclose(first.synthesis(second.synthesis(low, d2), d1), x, atol=1e-9)
    assert (torch.allclose(first.detail(mid), torch.zeros_like(d1), atol=1e-9)
            and torch.allclose(first.low(mid), mid, atol=1e-9))
    assert (torch.allclose(d1, torch.stack([packets(x, name, 2)[:, i, k] for i, k in first.bands], 1))
            and torch.allclose(d2, torch.stack([packets(x, name, 2)[:, i, k] for i, k in second.bands], 1)))
    for step, d in ((first, d1), (second, d2)): assert torch.allclose(step.detail(step.embed_detail(d)), d, atol=1e-9)
    assert torch.isclose(d1.square().sum() + d2.square().sum(), octave.detail(x).square().sum())
    assert torch.allclose(second.embed_low(low), octave.embed_low(low), atol=1e-9)
    assert torch.allclose(first.projector_diag(n) + second.projector_diag(n), octave.projector_diag(n), atol=1e-10)


@pytest.mark.parametrize('depth', (0, 1, 3))
def test_packets_in_order_of_frequency(depth):
    x = field(32, 2)
    bands = packets(x, 'db3', depth)
    tree = pywt.WaveletPacket2D(x[1, 0].numpy(), 'db3', 'periodization', depth)
    theirs = (np.array([[node.data for node in row] for row in tree.get_level(depth, 'freq')]) if depth
              else x[1, 0].numpy()[None, None])
    assert np.allclose(bands[1], theirs, atol=1e-10)
    assert torch.allclose(inverse_packets(bands, 'db3'), x, atol=1e-10)
    t = torch.arange(32, dtype=torch.float64)
    centre = [packets(torch.cos(torch.pi * (b + .5) / 8 * t).expand(1, 1, 32, 32), 'sym12',
                      3).square().sum((0, 1, 3, 4)).argmax().item() for b in range(8)]
    assert centre == list(range(8))


def test_cache_sized_parts_change_nothing():
    x = field(32, 300, torch.float32).requires_grad_()
    whole, pieces = pyramid(x, 'db2', 3), [pyramid(y, 'db2', 3) for y in x.split(100)]
    for b, parts in zip(whole, zip(*pieces)): assert torch.allclose(b, torch.cat(parts), atol=1e-6)
    sum(b.square().sum() for b in whole).backward()
    assert torch.allclose(x.grad, 2 * x, atol=1e-4)


def test_differentiable_after_inference_mode_and_on_views():
    with torch.inference_mode(): pyramid(field(16), 'sym5', 2), packets(field(16), 'sym5', 2)
    x = field(4, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(pyramid(x, 'sym5', 2)), x)
    assert torch.autograd.gradcheck(lambda x: packets(x, 'sym5', 2), x)
    y = field(64)
    assert torch.allclose(Octave('db4').low(y.mT), Octave('db4').low(y).mT, atol=1e-12)
    assert torch.allclose(Octave('haar').detail(y[..., ::2, ::2]), Octave('haar').detail(y[..., ::2, ::2].contiguous()))
    assert Octave('db4').low(y.float()).dtype == torch.float32
    assert [tuple(b.shape) for b in pyramid(y[:0], 'db4', 2)] == [(0, 1, 16, 16), (0, 3, 16, 16), (0, 3, 32, 32)]


nan = field(8).index_fill(0, torch.tensor([1]), torch.nan)


@pytest.mark.parametrize('call, words', [
    (lambda: pyramid(field(12), 'haar', 3), 'multiple of 8'), (lambda: pyramid(field(8), 'haar', -1), 'depth is'),
                                         (lambda: pyramid(nan, 'db4', 1), 'NaN'),
    (lambda: pyramid(field(8)[:, :, :4], 'haar', 1), r'\(3, 1, 4, 8\)'), (lambda: pyramid(field(8)[:, 0], 'haar',
        1), 'expected'), (lambda: pyramid(field(8).long(), 'haar', 1), 'int64'),
    (lambda: pyramid(field(8).expand(3, 2, 8, 8), 'haar', 1), '1, n, n'), (lambda: Octave('db99'), "'db99' is unknown"),
                                         (lambda: check_wavelet('bior4.4'), 'biorthogonal'),
    (lambda: check_wavelet('dmey'), '2e-3'), (lambda: check_wavelet('morl'), 'unknown'), (lambda: step_matrix('haar',
        7), 'side 7'), (lambda: Octave('haar').analysis(field(7)), 'multiple of 2'),
    (lambda: packets(nan, 'haar', 1), 'NaN'), (lambda: packets(field(12), 'haar', 3), 'multiple of 8'),
                                         (lambda: HalfOctave('haar', 3), 'expected 1 or 2'),
    (lambda: HalfOctave('haar', 1).analysis(field(6)), 'multiple of 4'), (lambda: HalfOctave('haar',
        2).embed_detail(field(8)), '5, n, n'), (lambda: Octave('haar').synthesis(field(4), field(4)), '3, n, n'),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()
