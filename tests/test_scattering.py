"""The fixed scattering transform against kymatio and against Fourier transforms."""
import math

import pytest
import torch
from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D

from deepstruct.core import generator
from deepstruct.morlet import directions, gabor, morlet
from deepstruct.phase_collapse.scattering import Scattering, Wavelets, folded, scattering_paths


def images(*shape, dtype=torch.float32): return torch.rand(*shape, generator=generator('images', *shape), dtype=dtype)


@pytest.mark.parametrize('J,n,L,order', [(2, 28, 8, 2), (3, 32, 8, 2), (1, 8, 4, 2), (2, 16, 6, 1), (3, 24, 5, 2), (2, 8, 8, 2)])
def test_coefficients_and_gradients_are_those_of_kymatio(J, n, L, order):
    x = images(3, 2, n, n)
    ours, theirs = Scattering(J, n, L, order), ScatteringTorch2D(J=J, shape=(n, n), L=L, max_order=order)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    S, K = ours(a), theirs(b)
    assert S.shape == K.shape == (3, 2, len(ours.paths), n >> J, n >> J) and (S - K).abs().max() < 1e-5
    w = torch.randn(S.shape, generator=generator('weights'))
    (S * w).sum().backward(); (K * w).sum().backward()
    assert (a.grad - b.grad).abs().max() < 1e-4 * b.grad.abs().max()


def by_fourier(x, J, L): # one image, float64, on the padded torus, the slow way
    n = x.shape[-1]
    N = ((n + 2**J) // 2**J + 1) * 2**J
    before = (N - n) // 2
    i = [abs(k) if k < n else 2 * n - 2 - k for k in range(-before, N - before)]
    U = x[i][:, i]
    psi = {(j, l): torch.fft.fft2(morlet(N, .8 * 2**j, t, 3 * math.pi / 4 / 2**j, 4 / L)).real for j in range(J) for l, t in enumerate(directions(L))}
    phi = torch.fft.fft2(gabor(N, .8 * 2**(J - 1))).real
    cut = lambda f, r: folded(folded(f, r).T, r).T
    def filtered(u, f, k): return torch.fft.ifft2(torch.fft.fft2(u) * f)[::k, ::k]
    low = lambda u, r: filtered(u, cut(phi, r), 2**(J - r)).real[1:-1, 1:-1]
    out = {(): low(U, 0)}
    for a in psi:
        u = filtered(U, psi[a], 2**a[0]).abs()
        out[a,] = low(u, a[0])
        for b in psi:
            if b[0] > a[0]: out[a, b] = low(filtered(u, cut(psi[b], a[0]), 2**(b[0] - a[0])).abs(), b[0])
    return torch.stack([out[p] for p in scattering_paths(J, L)])


def test_double_precision():
    x = images(1, 1, 16, 16, dtype=torch.float64)
    assert (Scattering(2, 16, 4, dtype=torch.float64)(x)[0, 0] - by_fourier(x[0, 0], 2, 4)).abs().max() < 1e-12
    S = Scattering(1, 4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(S, images(1, 1, 4, 4, dtype=torch.float64).requires_grad_())


@pytest.mark.parametrize('N,k', [(12, 1), (12, 2), (16, 4), (15, 3)])
def test_wavelets_are_convolutions(N, k):
    filters = torch.randn(3, N, N, generator=generator('filters', N, k), dtype=torch.float64)
    x = images(4, N, N, dtype=torch.float64)
    y = Wavelets(filters, k)(x.transpose(0, 1))
    want = torch.fft.ifft2(torch.fft.fft2(x)[:, None] * filters)[..., ::k, ::k]
    assert torch.allclose(torch.complex(y[:, :, 0], y[:, :, 1]).permute(1, 2, 0, 3), want, atol=1e-12)


def test_paths():
    assert scattering_paths(2, 2) == [(), ((0, 0),), ((0, 1),), ((1, 0),), ((1, 1),), ((0, 0), (1, 0)), ((0, 0), (1, 1)), ((0, 1), (1, 0)), ((0, 1), (1, 1))]
    for J in (1, 2, 3, 4): assert len(scattering_paths(J)) == 1 + 8 * J + 64 * J * (J - 1) // 2


def test_constant_and_zero_images():
    S = Scattering(2, 16)
    y = S(torch.full((1, 1, 16, 16), 3.))[0, 0]
    assert torch.allclose(y[0], torch.full((4, 4), 3.), rtol=1e-3) and y[1:].abs().max() < 1e-4
    zero = torch.zeros(1, 1, 16, 16, requires_grad=True)
    S(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_bad_input():
    S = Scattering(2, 16)
    for call, words in ((lambda: Scattering(2, (16, 12)), 'square'), (lambda: Scattering(2, 15), 'even'), (lambda: Scattering(5, 16), '32 or more'), (lambda: Scattering(2, 16, order=3), 'order'),
                        (lambda: S(images(1, 1, 16, 12)), '16, 16'), (lambda: S(images(1, 1, 16, 16) + 0j), 'float32'), (lambda: S(images(16, 16)), 'batch'), (lambda: S(images(1, 1, 16, 16) * float('inf')), 'infinite')):
        with pytest.raises(ValueError, match=words): call()
