"""The fixed scattering transform against kymatio and against slow Fourier transforms; its layers against their
transposes."""
import copy
import math

import pytest
import torch
from kymatio.scattering2d.filter_bank import filter_bank
from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D

from deepstruct.core import generator
from deepstruct.morlet import directions, gabor, morlet
from deepstruct.phase_collapse import scattering as S

def images(*shape, dtype=torch.float32): return torch.rand(*shape, generator=generator('images', *shape), dtype=dtype)

def gradient(f, x, w):
    x = x.clone().requires_grad_()
    return torch.autograd.grad((f(x) * w).sum(), x)[0]

@pytest.mark.parametrize('matrices', (True, False))
@pytest.mark.parametrize('J,shape,L,order', [(2, (28, 28), 8, 2), (3, (32, 32), 8, 2), (3, (28, 20), 8, 2), (1, (8, 8),
    4, 2), (2, (4, 10), 5, 2), (3, (8, 34), 1, 2), (3, (24, 22), 2, 2),
                                             (2, (16, 12), 16, 2), (2, (16, 30), 6, 1), (1, (2, 6), 3, 2),
                                             (4, (16, 16), 3, 2)])
def test_coefficients_and_gradients_are_those_of_kymatio(J, shape, L, order, matrices):
    x = images(3, 2, *shape)
    ours, theirs = S.Scattering(J, shape, L, order, matrices), ScatteringTorch2D(J, shape, L, order)
    a, b = ours(x), theirs(x)
    K = 1 + L * J + (order == 2) * L**2 * J * (J - 1) // 2
    assert (a.shape == b.shape == (3, 2, K, shape[0] >> J, shape[1] >> J) and len(ours.paths) == K
            and (a - b).abs().max() < 1e-5)
    w = torch.randn(a.shape, generator=generator('weights'))
    g, h = gradient(ours, x, w), gradient(theirs, x, w)
    assert (g - h).norm() < 1e-4 * h.norm() # near a zero of a wavelet coefficient rounding turns its phase

def slow(x, J, L): # (n1, n2) float64: definition by definition, filters from squares
    n, N = x.shape, [(s // 2**J + 2) * 2**J for s in x.shape]
    square = math.lcm(*N)
    on_grid = lambda f: torch.fft.fft2(f.view(square // N[0], N[0], square // N[1], N[1]).sum((0, 2)))
    reflected = lambda k, m: abs(k) if k < m else 2 * m - 2 - k
    a, b = ([reflected(k, m) for k in range(-((M - m) // 2), (M + m) // 2)] for m, M in zip(n, N))
    psi = {(j, l): on_grid(morlet(square, .8 * 2**j, t, 3 * math.pi / 4 / 2**j, 4 / L)) for j in range(J)
           for l, t in enumerate(directions(L))}
    phi = on_grid(gabor(square, .8 * 2**(J - 1)) + 0j)
    def at(f, r): # the filter on the grid of step 2^r
        for dim in (0, 1):
            f = torch.fft.fftshift(f, dim)
            f = torch.fft.ifftshift(f.narrow(dim, (f.shape[dim] - f.shape[dim] // 2**r) // 2, f.shape[dim] // 2**r),
                                    dim)
        return f
    filtered = lambda u, f, k: torch.fft.ifft2(torch.fft.fft2(u) * f)[::k, ::k]
    low = lambda u, r: filtered(u, at(phi, r), 2**(J - r)).real[1:-1, 1:-1]
    out = {(): low(x[a][:, b], 0)}
    for p in psi:
        u = filtered(x[a][:, b], psi[p], 2**p[0]).abs()
        out[p,] = low(u, p[0])
        for q in psi:
            if q[0] > p[0]: out[p, q] = low(filtered(u, at(psi[q], p[0]), 2**(q[0] - p[0])).abs(), q[0])
    return torch.stack([out[p] for p in S.scattering_paths(J, L)])

@pytest.mark.parametrize('matrices', (True, False))
@pytest.mark.parametrize('J,shape,L', [(2, (28, 20), 4), (3, (32, 32), 4), (3, (40, 24), 3)])
def test_double_precision_against_the_definition(J, shape, L, matrices):
    x = images(1, 1, *shape, dtype=torch.float64)
    y = S.Scattering(J, shape, L, matrices=matrices)(x)
    assert y.dtype == torch.float64 and (y[0, 0] - slow(x[0, 0], J, L)).abs().max() < 1e-10

def test_first_and_second_derivatives():
    f, x = S.Scattering(2, (4, 6), 3), images(2, 1, 4, 6, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(f, x) and torch.autograd.gradgradcheck(f, x, rtol=1e-2, atol=1e-4)

def test_gradient_at_nothing_is_zero():
    for z in (torch.zeros(2, 3), torch.full((2, 3), 1e-30)):
        z = z.requires_grad_()
        g, = torch.autograd.grad(S.modulus(z).sum(), z)
        assert torch.isfinite(g).all() and g.abs().max() <= 1
    assert torch.isfinite(gradient(S.Scattering(2, 8), torch.zeros(1, 1, 8, 8), 1.)).all()

@pytest.mark.parametrize('L', range(1, 10))
def test_mirrors(L):
    order, m = S.mirror_order(L)
    t = torch.tensor(directions(L))[order]
    assert (sorted(order) == list(range(L)) and torch.allclose(t[L - m:], -t[:m])
            and len({round(abs(float(a)), 9) for a in t[:L - m]}) == L - m)

@pytest.mark.parametrize('sides,steps,mirrored', [((12, 8), [1, 2], 0), ((8, 24), [1, 2, 4], 2), ((16, 12), [2, 4], 1),
                                                  ((16, 12), [1], 0)])
def test_matrices_are_convolutions_and_their_transposes(sides, steps, mirrored):
    g = generator('layer', *sides)
    psi = [torch.randn(5, *sides, generator=g, dtype=torch.float64) for _ in steps]
    if mirrored: psi[0][-mirrored:] = psi[0][:mirrored].flip(2).roll(1, 2) # the others have no mirrors: found out
    pad = [S.reflection(n - 4, n) for n in sides]
    a, b = S.MatrixWavelets(psi, steps, pad, mirrored=mirrored), S.FourierWavelets(psi, steps, pad)
    assert [o[2] for o in a.octaves] == [mirrored] + [0] * (len(steps) - 1)
    x = torch.randn(sides[0] - 4, sides[1] - 4, 3, generator=g, dtype=torch.float64)
    y = [torch.randn(z.shape, generator=g, dtype=torch.float64) for z in b(x)]
    for u, v in zip(a(x), b(x)): assert u.shape == v.shape and (u - v).abs().max() < 1e-12
    assert abs(sum((u * v).sum() for u, v in zip(a(x), y)) - (x * a.transposed(*y)).sum()) < 1e-9
    wide = nn_pad(x[..., 1])
    for z, f, k in zip(a(x), psi, steps):
        assert (torch.complex(*z)[..., 4 * 3 + 1]
                - torch.fft.ifft2(torch.fft.fft2(wide) * f[4])[::k, ::k]).abs().max() < 1e-12

def nn_pad(x): return torch.nn.functional.pad(x[None], (2, 2, 2, 2), 'reflect')[0]

def test_filters_are_those_of_kymatio():
    psi, bank = S.wavelets(3, (48, 40), 6), filter_bank(48, 40, 3, 6)
    for a, b in zip(psi.flatten(0, 1), bank['psi']):
        for r, f in enumerate(b['levels']):
            assert (S.lowest(S.lowest(a, 2**r), 2**r, 0) - torch.from_numpy(f)).abs().max() < 1e-5
    for r, f in enumerate(bank['phi']['levels']): assert (torch.outer(S.lowest(S.gaussian(3,
        48), 2**r), S.lowest(S.gaussian(3, 40), 2**r)) - torch.from_numpy(f)).abs().max() < 1e-5

def test_paths():
    assert S.scattering_paths(2, 2) == [(), ((0, 0),), ((0, 1),), ((1, 0),), ((1, 1),), ((0, 0), (1, 0)),
                                        ((0, 0), (1, 1)), ((0, 1), (1, 0)), ((0, 1), (1, 1))]
    f = S.Scattering(2, 16, 4)
    # a wave along the first direction
    stripes = torch.cos(3 * math.pi / 4 * torch.arange(16.))[:, None].expand(1, 1, 16, 16)
    y = f(stripes)[0, 0].mean((1, 2))
    one = [k for k, p in enumerate(f.paths) if len(p) == 1]
    assert f.paths[max(one, key=lambda k: float(y[k]))] == ((0, directions(4).index(0.)),)

def test_blocks_batches_and_types_do_not_matter():
    f, x = S.Scattering(2, (16, 12), 5), images(7, 3, 16, 12)
    y = f(x)
    f.block = 2
    assert (torch.allclose(f(x), y, atol=1e-6) and torch.allclose(f(x[3:4, 1:2]), y[3:4, 1:2], atol=1e-6)
            and torch.allclose(f(x.double()).float(), y, atol=1e-6))
    assert (torch.allclose(f(x.flip(0).transpose(0, 1)), y.flip(0).transpose(0, 1), atol=1e-6) and not f.state_dict()
            and not list(f.parameters()))
    assert torch.equal(copy.deepcopy(f).double()(x), f(x)) and f(x).dtype == torch.float32

def test_bad_input():
    f = S.Scattering(2, 16)
    nan = images(1, 1, 16, 16); nan[0, 0, 3, 3] = math.nan
    for call, words in ((lambda: S.Scattering(2, (15, 16)), r'\(15, 16\).*even'), (lambda: S.Scattering(5,
        16), '32 or more'), (lambda: S.Scattering(2, (16,)), 'two even sides'), (lambda: S.Scattering(0, 16), 'J is 0'),
                        (lambda: S.Scattering(2, 16, order=3), 'order is 3'),
                        (lambda: S.Scattering(2, 16, 0), 'L is 0'), (lambda: f(images(1, 1, 16,
                            12)), r'\(1, 1, 16, 12\)'), (lambda: f(images(16, 16)), r'\(16, 16\)'),
                        (lambda: f(nan), '1 values'), (lambda: f(images(1, 1, 16, 16) + 0j), 'complex64'),
                        (lambda: f(torch.zeros(1, 1, 16, 16, dtype=torch.int64)), 'int64'), (lambda: f([1.]), 'list'),
                        (lambda: f(images(1, 1, 16, 16).half()), 'float16'),
                        (lambda: f(images(0, 1, 16, 16)), 'one or more')):
        with pytest.raises(ValueError, match=words): call()
