"""The fixed scattering transform, in torch and compiled, against kymatio and against slow Fourier transforms."""
import copy
import io
import math
import pickle

import numpy as np
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

@pytest.mark.parametrize('compiled', (True, False))
@pytest.mark.parametrize('J,shape,L,order', [(2, (28, 28), 8, 2), (3, (32, 32), 8, 2), (3, (28, 20), 8, 2), (1, (8, 8),
    4, 2), (2, (4, 10), 5, 2), (3, (8, 34), 1, 2), (3, (24, 22), 2, 2),
                                             (2, (16, 12), 16, 2), (2, (16, 30), 6, 1), (1, (2, 6), 3, 2),
                                             (4, (16, 16), 3, 2)])
def test_coefficients_and_gradients_are_those_of_kymatio(J, shape, L, order, compiled):
    x = images(3, 2, *shape)
    ours, theirs = S.Scattering(J, shape, L, order, compiled=compiled), ScatteringTorch2D(J, shape, L, order)
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

@pytest.mark.parametrize('J,shape,L', [(2, (28, 20), 4), (3, (32, 32), 4), (3, (40, 24), 3)])
def test_both_precisions_against_the_definition(J, shape, L):
    x = images(1, 1, *shape, dtype=torch.float64)
    y, want = S.Scattering(J, shape, L)(x), slow(x[0, 0], J, L)
    assert y.dtype == torch.float64 and (y[0, 0] - want).abs().max() < 1e-10
    z = S.Scattering(J, shape, L, compiled=True)(x.float())
    assert z.dtype == torch.float32 and (z[0, 0] - want).abs().max() < 2e-6

def test_first_and_second_derivatives():
    f, x = S.Scattering(2, (4, 6), 3), images(2, 1, 4, 6, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(f, x) and torch.autograd.gradgradcheck(f, x, rtol=1e-2, atol=1e-4)

def test_second_derivatives_of_the_compiled_transform():
    f, slow_one = S.Scattering(2, (8, 6), 3, compiled=True), S.Scattering(2, (8, 6), 3)
    x, v = images(2, 8, 6), images(1, 2, 8, 6)[0]
    def product(f, x, v): # Hessian of the energy times v, and the gradient by the weights of the coefficients
        x, w = x.clone().requires_grad_(), torch.ones(len(f.paths), 2, 1, dtype=x.dtype, requires_grad=True)
        g, = torch.autograd.grad((f(x).square() * w).sum(), x, create_graph=True)
        return torch.autograd.grad((g * v).sum(), (x, w))
    for a, b in zip(product(f, x, v), product(slow_one, x.double(), v.double())):
        assert (a - b).abs().max() < 1e-4 * b.abs().max()

@pytest.mark.parametrize('sides,k', [((12, 8), 1), ((12, 8), 2), ((8, 24), 4), ((16, 12), 4)])
def test_a_layer_is_a_convolution_on_every_kth_position(sides, k):
    g = generator('layer', *sides)
    psi = torch.randn(5, *sides, generator=g, dtype=torch.float64)
    psi[:, :sides[0] // k] = 0 # a row of blocks that does not count
    x, blocks = torch.randn(3, *sides, generator=g, dtype=torch.float64), S.filter_blocks(psi, k, torch.float64)
    assert len(blocks) == (k * (k - 1) if k > 1 else 0) or k == 1
    if k == 1: blocks = S.filter_blocks(psi + 1, 1, torch.float64); psi = psi + 1
    z = S.convolved(torch.fft.fft2(x), blocks)
    want = torch.fft.ifft2(torch.fft.fft2(x)[:, None] * psi)[..., ::k, ::k]
    assert (z - want).abs().max() < 1e-12

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
    f.area = 2**14 # two images at a time
    assert (torch.allclose(f(x), y, atol=1e-6) and torch.allclose(f(x[3:4, 1:2]), y[3:4, 1:2], atol=1e-6)
            and torch.allclose(f(x.double()).float(), y, atol=1e-6))
    assert (torch.allclose(f(x.flip(0).transpose(0, 1)), y.flip(0).transpose(0, 1), atol=1e-6) and not f.state_dict()
            and not list(f.parameters()))
    assert torch.equal(copy.deepcopy(f).double()(x), f(x)) and f(x).dtype == torch.float32

@pytest.mark.parametrize('J,shape', [(2, (31, 31)), (2, (33, 33)), (3, (37, 32)), (1, (3, 2)), (3, (9, 15)),
                                     (2, (5, 7)), (3, (8, 9)), (4, (17, 31))])
@pytest.mark.parametrize('compiled', (True, False))
def test_odd_sides_are_those_of_kymatio(J, shape, compiled):
    x = images(2, *shape)
    ours, theirs = S.Scattering(J, shape, 4, compiled=compiled), ScatteringTorch2D(J, shape, 4)
    assert ours(x).shape == theirs(x).shape and (ours(x) - theirs(x)).abs().max() < 1e-5
    assert (gradient(ours, x, 1.) - gradient(theirs, x, 1.)).norm() < 1e-4 * gradient(theirs, x, 1.).norm()

@pytest.mark.parametrize('lead', [(), (1,), (4,), (2, 3), (2, 1, 3), (1, 1, 1, 2)])
def test_any_axes_in_front(lead):
    f, x = S.Scattering(2, (12, 9), 3), images(*lead, 12, 9)
    y = f(x)
    assert y.shape == (*lead, len(f.paths), 3, 2)
    assert torch.allclose(y.reshape(-1, *y.shape[-3:]), torch.stack([f(a) for a in x.reshape(-1, 12, 9)]), atol=1e-6)

F, X = S.Scattering(2, (12, 10), 3), images(3, 2, 12, 10)

@pytest.mark.parametrize('given', [
    lambda x: x.double(), lambda x: x.numpy(), lambda x: x.numpy().astype('>f4'), lambda x: x.numpy().astype('>f8'),
    lambda x: x.numpy()[::-1][::-1], lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    lambda x: x.to(memory_format=torch.channels_last), lambda x: torch.nn.Parameter(x), lambda x: x[:, :1].expand(-1, 2,
        -1, -1), lambda x: x.clone().requires_grad_()], ids=range(10))
def test_layouts_and_types_of_numbers(given):
    x = given(X)
    want = F(torch.as_tensor(np.array(x.detach() if isinstance(x, torch.Tensor) else x, 'f8')))
    y = F(x)
    assert y.dtype == (torch.float64 if str(x.dtype).endswith(('64', 'f8')) else torch.float32)
    assert torch.allclose(y.double(), want, atol=1e-6)

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_half_precision_is_computed_wide(dtype):
    x = X.to(dtype)
    assert F(x).dtype == torch.float32 and torch.equal(F(x), F(x.float()))
    assert torch.equal(F(X.numpy().astype('f2')), F(X.half()))

@pytest.mark.parametrize('compiled', (True, False))
@pytest.mark.parametrize('dtype', (torch.bfloat16, torch.float16))
def test_autocast_changes_nothing(compiled, dtype):
    f, x = S.Scattering(2, (12, 10), 3, compiled=compiled), X.clone().requires_grad_()
    with torch.autocast('cpu', dtype): y = f(x)
    assert y.dtype == torch.float32 and torch.equal(y, f(X))
    y.sum().backward()
    assert torch.allclose(x.grad, gradient(f, X, 1.), atol=1e-6)

@pytest.mark.parametrize('compiled', (True, False))
@pytest.mark.parametrize('dims', (0, 1, -3))
def test_under_vmap_and_functional_gradients(compiled, dims):
    f = S.Scattering(2, (12, 10), 3, compiled=compiled)
    y = torch.func.vmap(f, in_dims=dims)(X)
    assert torch.allclose(y, f(X.movedim(dims, 0)), atol=1e-6)
    one = lambda x: f(x).square().sum()
    each = torch.func.vmap(torch.func.grad(one))(X)
    assert torch.allclose(each, torch.stack([gradient(lambda z: f(z).square(), x, 1.) for x in X]), atol=1e-5)
    small = S.Scattering(1, (4, 2), 2, compiled=compiled)
    x = images(4, 2, dtype=torch.float64)
    J = torch.func.jacrev(small)(x)
    assert torch.allclose(J, torch.autograd.functional.jacobian(small, x), atol=1e-9)

@pytest.mark.parametrize('power', (-300, -140, -90, -41, 41, 60, 100))
@pytest.mark.parametrize('compiled', (True, False))
def test_units_of_any_size(power, compiled):
    F = S.Scattering(2, (12, 10), 3, compiled=compiled)
    dtype = torch.float64 if abs(power) > 110 else torch.float32
    x = X.to(dtype) * torch.tensor([1, 2.**power, -1], dtype=dtype).view(3, 1, 1, 1) # in one batch with others
    want = F(X.to(dtype)) * torch.tensor([1, 2.**power, 1], dtype=dtype).view(3, 1, 1, 1, 1)
    want[2, :, 0] *= -1
    assert ((F(x) - want).abs().amax((1, 2, 3, 4)) < 1e-6 * want.abs().amax((1, 2, 3, 4))).all()

@pytest.mark.parametrize('compiled', (True, False))
@pytest.mark.parametrize('image', [lambda x: 0 * x, lambda x: torch.ones_like(x), lambda x: x * 0 + 1e-30,
                                   lambda x: x * (torch.arange(12) < 1)[:, None], lambda x: -0. * x,
                                   lambda x: torch.zeros_like(x).index_fill(0, torch.tensor([0]), 1.)])
def test_gradients_where_nothing_is(image, compiled):
    f = S.Scattering(2, (12, 10), 3, compiled=compiled)
    x = image(X).requires_grad_()
    f(x).square().sum().backward()
    assert torch.isfinite(x.grad).all()

def test_what_was_built_does_not_depend_on_the_callers_mode():
    for mode in (torch.inference_mode(), torch.no_grad(), torch.device('meta'), torch.autocast('cpu', torch.bfloat16)):
        for compiled in (True, False):
            with mode:
                f = S.Scattering(2, (12, 10), 3, compiled=compiled)
                f(X)
            assert torch.isfinite(gradient(f, X, 1.)).all()
    try:
        torch.set_default_dtype(torch.float64)
        f = S.Scattering(2, (12, 10), 3)
        y = f(X)
    finally: torch.set_default_dtype(torch.float32)
    assert y.dtype == torch.float32 and torch.equal(y, F(X))

@pytest.mark.parametrize('compiled', (True, False))
def test_saved_without_what_can_be_built_again(compiled):
    f, buffers = S.Scattering(3, 32, compiled=compiled), []
    for call in (lambda: None, lambda: f(images(2, 1, 32, 32)), lambda: f(images(1, 1, 32, 32, dtype=torch.float64))):
        call()
        buffers.append(io.BytesIO()); torch.save(f, buffers[-1])
    assert len({len(b.getvalue()) for b in buffers}) == 1
    assert len(pickle.dumps(copy.deepcopy(f))) == len(pickle.dumps(f))
    buffers[-1].seek(0)
    g = torch.load(buffers[-1], weights_only=False)
    x = images(2, 1, 32, 32)
    assert torch.equal(g(x), f(x)) and f._built and torch.allclose(torch.jit.trace(f, x)(x), f(x), atol=1e-6)

def test_on_a_device_without_values():
    y = F(X.to('meta'))
    assert y.device.type == 'meta' and y.shape == F(X).shape
    from torch._subclasses import FakeTensorMode
    with FakeTensorMode():
        f = S.Scattering(2, (12, 10), 3)
        assert f(torch.empty(2, 12, 10, device='meta')).device.type == 'meta' and f(torch.empty(2, 12, 10)).shape == (
            2, len(f.paths), 3, 2)

def test_whole_numbers_of_any_kind():
    f = S.Scattering(np.int64(2), (np.int32(12), np.uint8(10)), np.int16(3))
    assert torch.equal(f(X), F(X)) and torch.equal(S.Scattering(2, torch.Size((12, 10)), 3)(X), F(X))

@pytest.mark.parametrize('call,words', [
    (lambda: S.Scattering(2, (3, 16)), r'\(3, 16\)'), (lambda: S.Scattering(5, 16), '32 or more'),
    (lambda: S.Scattering(2, (16,)), 'two sides'), (lambda: S.Scattering(2, 16.), '16.0'),
    (lambda: S.Scattering(2, (16, 16.5)), 'whole'), (lambda: S.Scattering(2, '16'), 'whole'),
    (lambda: S.Scattering(2, None), 'None'), (lambda: S.Scattering(2, (1, 16, 16)), 'two sides'),
    (lambda: S.Scattering(0, 16), 'J is 0'), (lambda: S.Scattering(1.5, 16), 'J is 1.5'),
    (lambda: S.Scattering(True, 16), 'J is True'), (lambda: S.Scattering('2', 16), 'J is 2'),
    (lambda: S.Scattering(2, 16, order=3), 'order is 3'), (lambda: S.Scattering(2, 16, 0), 'L is 0'),
    (lambda: F(images(1, 1, 10, 12)), r'\(1, 1, 10, 12\)'), (lambda: F(images(12, 10, 3)), r'\(12, 10, 3\)'),
    (lambda: F(images(10)), r'\(10,\)'), (lambda: F(X[:0]), 'one or more'), (lambda: F(X[:, :0]), 'one or more'),
    (lambda: F(torch.where(X == X.max(), math.nan, X)), '1 values'), (lambda: F(X / 0), 'NaN or infinite'),
    (lambda: F((X * 1e9).half()), '720 values'), (lambda: F(X + 0j), 'complex64'),
    (lambda: F((255 * X).byte()), 'uint8.*255'), (lambda: F((255 * X).byte().numpy()), 'uint8.*255'),
    (lambda: F(X.long()), 'int64'), (lambda: F(X > 0), 'bool'), (lambda: F(['a', 'b']), 'list of'),
    (lambda: F('x'), 'a str of'),
    (lambda: F(X.numpy().astype('longdouble')), 'float128'), (lambda: F(X.numpy().astype(object)), 'object'),
    (lambda: F(None), 'NoneType')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()

# ---- what kymatio's own tests of its 2-D transform in torch ask for
@pytest.mark.parametrize('order', (1, 2))
@pytest.mark.parametrize('compiled', (True, False))
def test_padded_images_and_lists_of_paths(order, compiled):
    for J, shape, L in ((2, (31, 33), 4), (3, (32, 32), 8), (1, (9, 4), 1)):
        how = dict(pre_pad=True, out_type='list')
        ours = S.Scattering(J, shape, L, order, compiled=compiled, **how)
        theirs, x = ScatteringTorch2D(J, shape, L, order, **how), images(2, 3, *ours.sides)
        assert ours.sides == (theirs._M_padded, theirs._N_padded)
        for a, b in zip(ours(x), theirs(x), strict=True):
            assert [a[k] for k in ('j', 'n', 'theta')] == [tuple(b[k]) for k in ('j', 'n', 'theta')]
            assert a['coef'].shape == b['coef'].shape and (a['coef'] - b['coef']).abs().max() < 1e-5
        array = S.Scattering(J, shape, L, order, pre_pad=True, compiled=compiled)
        assert torch.equal(torch.stack([c['coef'] for c in ours(x)], -3), array(x))
        w = torch.randn(array(x).shape, generator=generator('w'))
        theirs.out_type = 'array'
        g, h = gradient(array, x, w), gradient(theirs, x, w)
        assert (g - h).norm() < 1e-4 * h.norm()

def test_order_one_is_the_beginning_of_order_two():
    x = images(2, 1, 20, 24)
    a, b = S.Scattering(2, (20, 24), 4, 1)(x), S.Scattering(2, (20, 24), 4)(x)
    assert torch.allclose(a, b[..., :a.shape[-3], :, :], atol=1e-7)

@pytest.mark.parametrize('n,J', [(n, J) for n in (31, 32, 33) for J in (1, 2, 4)] + [(32, 5), ((37, 32), 5)])
def test_images_of_zeros_of_all_sizes(n, J):
    f = S.Scattering(J, n, 3)
    y = f(torch.zeros(2, 3, *f.shape))
    assert y.shape == (2, 3, len(f.paths), *(k // 2**J for k in f.shape)) and not y.any()
    assert y.device.type == 'cpu' and S.Scattering(J, n, 3, pre_pad=True)(torch.zeros(f.sides)).shape == y.shape[2:]

@pytest.mark.parametrize('x,words', [(torch.zeros(()), r'shape \(\)'), (torch.zeros(32), r'shape \(32,\)'),
                                     (None, 'images'), (torch.randn(31, 31), r'expected \(batch, channels, 32, 32\)')])
def test_what_is_no_image(x, words):
    with pytest.raises(ValueError, match=words): S.Scattering(3, 32)(x)

def test_padded_images_of_another_size_and_too_many_octaves():
    with pytest.raises(ValueError, match=r'\(batch, channels, 48, 48\)'):
        S.Scattering(3, 32, pre_pad=True)(torch.zeros(32, 32))
    with pytest.raises(ValueError, match='1024 or more'): S.Scattering(10, 10)

def test_images_that_are_not_contiguous_are_taken(): # kymatio refuses them
    x = images(8, 8)[::2, ::2]
    assert torch.equal(S.Scattering(1, 4)(x), S.Scattering(1, 4)(x.contiguous()))

def test_arrays_and_pipelines():
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    x = images(7, 12, 10).numpy()
    f = S.Scattering(2, (12, 10), 3)
    assert type(f.numpy(x)) is np.ndarray and np.array_equal(f.numpy(x), f(torch.from_numpy(x)).numpy())
    t = S.ScatteringTransformer(2, (12, 10), 3, batch=3)
    rows = make_pipeline(t, StandardScaler()).fit_transform(x.reshape(7, -1))
    want = f.numpy(x).reshape(7, -1)
    assert np.allclose(rows, (want - want.mean(0)) / want.std(0), atol=1e-4)
    assert np.array_equal(clone(t).predict(x.reshape(7, -1).astype('f8')), f.numpy(x.astype('f8')).reshape(7, -1))
    whole = (9 * x).astype('i4')
    assert np.array_equal(t.transform(whole.reshape(7, -1)), f.numpy(whole.astype('f8')).reshape(7, -1))
    for bad in (x, x.reshape(7, -1)[:, 1:]):
        with pytest.raises(ValueError, match='expected rows of 120 pixels'): t.fit(bad)

# ---- the kernel
@pytest.mark.parametrize('sides', [(6, 8), (14, 22), (48, 36), (20, 26), (160, 12)])
def test_transforms_of_lanes(sides):
    g = np.random.default_rng(0)
    from deepstruct.phase_collapse import compiled as C
    for n in sides:
        x, t = g.normal(size=(n, 8)) + 1j * g.normal(size=(n, 8)), C.Tables()
        f, W = t.transform(n), np.zeros(64 * n, np.float32)
        T, _, I = t.arrays()
        W[:16 * n] = np.stack([x.real, x.imag], 1).ravel()
        C.fft(T.ctypes.data, I.ctypes.data, f, W.ctypes.data, 32 * n, 16 * n, 0, 16, 16 * n, 16, 0)
        y = W[16 * n:32 * n].reshape(n, 2, 8)
        assert np.abs(y[:, 0] + 1j * y[:, 1] - np.fft.fft(x, axis=0)).max() < 1e-5 * n**.5

def test_the_kernel_is_used_where_it_serves(monkeypatch):
    from deepstruct.phase_collapse import compiled as C
    there, made = [False], []
    monkeypatch.setattr(C, 'compiled', lambda way=False: there[0])
    monkeypatch.setattr(C, 'compile_now', lambda way=False: made.append(way))
    f, x = S.Scattering(2, (12, 10), 3), images(5, 12, 10)
    assert not f.quick(x) and not made # not compiled, and few images
    there[0] = True
    assert f.quick(x) and made == [False] and f.quick(x.clone().requires_grad_()) and made == [False, False, True]
    with torch.no_grad(): assert f.quick(x.clone().requires_grad_()) and made[3:] == [False]
    there[0] = False
    g = copy.deepcopy(f)
    assert g._seen == 0 and not g.quick(x)
    assert g.quick(x[:1].expand(S.PAYS // g.area, 12, 10)) # so many that it pays
    assert S.Scattering(2, (12, 10), 3, compiled=True).quick(x)
    never = S.Scattering(2, (12, 10), 3, compiled=False)
    there[0] = True
    assert not never.quick(x) and not f.quick(x.double()) and not f.quick(x.to('meta'))
