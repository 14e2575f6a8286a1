"""Layers of the learned scattering networks against their definitions, and what bad input gets."""
import math

import numpy as np
import pytest
import torch
from kymatio.scattering2d.filter_bank import filter_bank

from deepstruct import training
from deepstruct.cifar import CIFAR10, cifar10
from deepstruct.core import generator
from deepstruct.morlet import STEPS, directions, gabor, morlet, step_filters, step_taps, taps
from deepstruct.networks import (NONLINEARITIES, PUBLISHED, LearnedScattering, Nonlinearity, Rectifier, ResNet,
                                 StandardizedMix, WaveletStep, parameter_groups,
                                 modulus, parameter_table, reflection, to_complex, to_pairs, unit)
from deepstruct.phase_collapse.networks import Concentration, SeparationBlock, SeparationNetwork, keep_networks
from deepstruct.statistics import averaged, layer_statistics


def numbers(*shape, name='networks', **how): return torch.randn(*shape, generator=generator(name, *shape), **how)


@pytest.mark.parametrize('side,J,L', [(32, 2, 8), (48, 3, 6)])
def test_filters_are_those_of_kymatio(side, J, L):
    bank = filter_bank(side, side, J, L)
    ours = [morlet(side, .8 * 2**j, t, 3 * math.pi / 4 / 2**j, 4 / L) for j in range(J) for t in directions(L)]
    for a, b in zip(ours, bank['psi'], strict=True):
        assert np.abs(torch.fft.fft2(a).numpy() - b['levels'][0]).max() < 1e-5
    assert np.abs(torch.fft.fft2(gabor(side, .8 * 2**(J - 1))).numpy() - bank['phi']['levels'][0]).max() < 1e-5


def test_half_octaves_keep_their_published_energies():
    for step, L, full, low in (('octave', 4, False, .027), ('octave', 8, False, .002), ('octave', 8, True, .26)):
        phi, psi = step_filters(step, L, full, 64)
        kept = torch.fft.fft2(phi).abs()**2 + torch.fft.fft2(psi).abs().square().sum(0)
        assert abs(float(kept.min()) - low) < .1 * low + .001
    assert taps(step_filters('octave', 4)[1], 5)[1] < 1e-5
    for step in STEPS: assert step_taps(step, 4)[1:].sum((1, 2)).abs().max() < 1e-12


def test_reflection_is_that_of_numpy():
    for n, pad in ((8, 3), (5, 4), (2, 3), (3, 7)):
        assert reflection(n, n + 2 * pad).tolist() == np.pad(np.arange(n), pad, mode='reflect').tolist()
    for n, N in ((8, 11), (5, 6), (1, 4), (28, 32), (7, 7), (2, 9)):
        want = np.pad(np.arange(n), ((N - n) // 2, N - n - (N - n) // 2), mode='reflect')
        assert reflection(n, N).tolist() == want.tolist()
    with pytest.raises(ValueError, match='n is 5, N is 4'): reflection(5, 4)


@pytest.mark.parametrize('step', STEPS)
@pytest.mark.parametrize('stride', [1, 2])
def test_the_matrix_is_the_convolution(step, stride):
    for x in (numbers(2, 3, 8, 8, dtype=torch.float64), numbers(2, 3, 8, 8, dtype=torch.complex128)):
        for full in (False, True):
            how = dict(step=step, stride=stride, angles=4 if step != 'second half' or not full else 8, full=full)
            a, b = WaveletStep(**how)(x), WaveletStep(**how, dense=0)(x)
            assert torch.allclose(a, b, atol=1e-12) and a.shape == (2, 3, 1 + how['angles'], 8 // stride, 8 // stride)


def test_wavelets_of_one_frequency():
    "A plane wave inside the image is multiplied by the Fourier transform of the filter."
    n, omega = 33, torch.tensor([.9, -1.7], dtype=torch.float64)
    u = torch.arange(n, dtype=torch.float64) - n // 2
    wave = torch.exp(1j * (omega[0] * u[:, None] + omega[1] * u))
    k = step_taps('octave', 4)
    v = torch.arange(-3, 4, dtype=torch.float64)
    factor = (k * torch.exp(-1j * (omega[0] * v[:, None] + omega[1] * v))).sum((1, 2))
    assert torch.allclose(WaveletStep(stride=1)(wave[None, None])[0, 0, :, n // 2, n // 2], factor, atol=1e-12)


@pytest.mark.parametrize('kind', NONLINEARITIES)
def test_nonlinearities(kind):
    rho = Nonlinearity(kind, 4, threshold=.3).double()
    z = numbers(3, 4, 5, dtype=torch.complex128).requires_grad_()
    assert torch.autograd.gradcheck(rho, z)
    assert (torch.autograd.gradcheck(lambda *_: rho(z.detach()), tuple(rho.parameters())) if list(rho.parameters())
            else True)
    out, turn = rho(z), torch.polar(torch.ones((), dtype=torch.float64), torch.tensor(1.1, dtype=torch.float64))
    if kind == 'modulus': assert torch.allclose(rho(turn * z), out)
    elif kind not in ('real soft', 'relu'):
        assert torch.allclose(rho(turn * z), turn * out)
        if kind in ('soft', 'tanh', 'identity'): assert (out.abs() <= z.abs() + 1e-12).all()
    zero = torch.zeros(1, 4, 2, dtype=torch.complex128, requires_grad=True)
    rho(zero).abs().sum().backward()
    assert torch.isfinite(torch.view_as_real(zero.grad)).all()


def test_soft_thresholds_by_their_definition():
    z = numbers(2, 3, 50, dtype=torch.complex128)
    b = torch.tensor([.1, .5, 1.], dtype=torch.float64)
    for kind, want in (('soft', torch.where(z.abs() > b[:, None], z * (1 - b[:, None] / z.abs()), 0)),
                       ('real soft', torch.complex(*(v.sign() * (v.abs() - b[:, None]).clamp(min=0)
                                                     for v in (z.real, z.imag))))):
        rho = Nonlinearity(kind, 3).double()
        rho.threshold.data.copy_(b)
        assert torch.allclose(rho(z), want, atol=2e-6)


@pytest.mark.parametrize('out', [3, 9])
def test_mix_standardizes_then_multiplies(out):
    mix = StandardizedMix([(4, 2), (3, 1)], out, momentum=1., generator=generator('mix', out)).double()
    xs = [2 + 3 * numbers(6, 4, 2, 10, dtype=torch.float64), 5 * numbers(6, 3, 1, 10, dtype=torch.float64) - 1]
    y = torch.cat([torch.complex(xs[0][:, :, 0], xs[0][:, :, 1]), xs[1][:, :, 0] + 0j], 1)
    m = y.mean((0, 2), keepdim=True)
    S = (y - m) / ((y - m).abs().square().mean((0, 2), keepdim=True) + 1e-5).sqrt()
    P = torch.complex(*mix.weight)
    want = torch.einsum('od,bdm->bom', P, S)
    got = mix(xs).unflatten(1, (-1, 2))
    assert torch.allclose(torch.complex(got[:, :, 0], got[:, :, 1]), want)
    assert torch.allclose(mix.eval()(xs).unflatten(1, (-1, 2)), got, atol=1e-6)
    assert torch.allclose(P @ P.mH if out < 7 else P.mH @ P, torch.eye(min(out, 7), dtype=P.dtype), atol=1e-6)
    xs[0].requires_grad_()
    mix.train()
    assert torch.autograd.gradcheck(lambda a: mix([a, xs[1]]), xs[0])
    with pytest.raises(ValueError, match='expected'): mix(xs[:1])


def test_unit_vectors_and_zeros():
    x = numbers(2, 5, 7)
    x[0, :, 0] = 0
    x.requires_grad_()
    y = unit(x)
    y.square().sum().backward()
    assert (torch.allclose(y.norm(dim=1)[:, 1:], torch.ones(2, 6), atol=1e-6) and not y[0, :, 0].any()
            and torch.isfinite(x.grad).all())
    assert torch.autograd.gradcheck(unit, numbers(2, 5, 7, dtype=torch.float64).requires_grad_())


def test_separation_blocks_rectify_at_four_phases():
    block = SeparationBlock(2, 5, angles=4, generator=generator('block')).eval()
    with torch.no_grad():
        block.standardize.running_mean.copy_(numbers(34)); block.standardize.running_var.copy_(1 + numbers(34)**2)
    x = numbers(3, 2, 8, 8)
    z = block.wavelets(x)
    turned = [torch.relu((torch.polar(torch.ones(()), torch.tensor(-k * math.pi / 2)) * z[:, :, 1:]).real).flatten(1, 2)
              for k in range(4)]
    pairs = lambda a, b: torch.stack([a, b], 2).flatten(1, 2)
    channels = torch.cat([z[:, :, 0].real, pairs(turned[0], turned[1]), pairs(turned[2], turned[3])], 1).flatten(2)
    want = torch.einsum('oc,bcm->bom', block.project.weight, block.standardize(channels))
    assert torch.allclose(block(x).flatten(2), want / want.norm(dim=1, keepdim=True), atol=1e-5)


def test_published_sizes():
    with torch.device('meta'): got = {(k, skip): sum(parameter_table(LearnedScattering(**a, skip=skip)).values())
                                      for k, a in PUBLISHED.items() for skip in (False, True)}
    assert {k: round(v / 1e6, 2) for k, v in got.items()} == {('CIFAR-10', False): 12.25, ('CIFAR-10', True): 24.46,
                                                              ('ImageNet', False): 29.05, ('ImageNet', True): 53.5}
    with torch.device('meta'): net = LearnedScattering(**PUBLISHED['ImageNet'])
    assert net.sides == [224, 112, 112, 56, 56, 28, 28, 14, 14, 7, 7, 3]


@pytest.mark.parametrize('skip', [True, False])
def test_networks_in_half_precision_and_on_any_layer(skip):
    x = numbers(6, 1, 16, 16)
    net = LearnedScattering(side=16, blocks=(4, 6), skip=skip, generator=generator('net')).eval()
    with torch.autocast('cpu', torch.bfloat16): half = net(x)
    assert (half.float() - net(x)).abs().max() < .05 * net(x).abs().max()
    slow = LearnedScattering(side=16, blocks=(4, 6), skip=skip, generator=generator('net')).eval()
    for m in slow.modules():
        if isinstance(m, WaveletStep): m.dense = 0
    assert torch.allclose(slow(x), net(x), atol=1e-5)
    y = torch.tensor([0, 1, 0, 1, 0, 1])
    stats = layer_statistics(net, ['blocks.0', 'blocks.1'], [(x, y)], 2, blocks=2)
    assert [s.blocks[0].features for s in stats.values()] == [8, 12]
    z = to_complex(net.blocks[0](x))
    assert (torch.allclose(averaged(z), averaged(net.blocks[0](x)), atol=1e-6)
            and torch.allclose(to_pairs(z), net.blocks[0](x)))


def test_a_network_learns():
    g = generator('learns')
    x, y = torch.randn(64, 1, 16, 16, generator=g), torch.arange(64) % 2
    x[y == 1] = x[y == 1].roll(1, 3) + x[y == 1] # classes of two textures
    for net in (LearnedScattering(side=16, blocks=(4, 6), classes=2, generator=g), ResNet(width=4, classes=2,
        generator=g), SeparationNetwork(side=16, widths=(4, 6), atoms=(8, 12), angles=4, classes=2, generator=g)):
        history = training.fit(net, lambda f, g: torch.nn.functional.cross_entropy(f(x), y), 40, lr=.02, average=0.,
                               warmup=5, every=20)
        assert history['loss'][-1] < .8 * history['loss'][0]


def test_what_is_not_decayed():
    net = LearnedScattering(blocks=(2, 2), nonlinearity='soft')
    decayed, free = parameter_groups(net, .1)
    assert {p.ndim for p in decayed['params']} == {2, 3} and all(any(p is q for q in free['params'])
                                                                 for n, p in net.named_parameters() if 'threshold' in n)


def test_batch_norms_and_biases_do_not_decay():
    """A step of AdamW without gradients: kernels shrink by rate times decay, what stands once a channel stays."""
    net = ResNet(width=2, rectifier='soft')
    optimizer = torch.optim.AdamW(parameter_groups(net, .1), lr=.5)
    before = [p.detach().clone() for p in net.parameters()]
    for p in net.parameters(): p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, q in zip(net.parameters(), before): assert torch.allclose(p, .95 * q if q.ndim > 1 else q, rtol=1e-6)
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules()) and min(p.ndim for p in before) == 1


def test_rectifiers_add_up():
    u = numbers(2, 3, 5, 5)
    for b in (0., .3): assert torch.allclose(Rectifier('dead absolute', 3, b)(u) + Rectifier('soft', 3, b)(u),
                                             2 * torch.relu(u - b), atol=1e-6)
    net = ResNet(width=4, bias=False, rectifier='soft', learned=False)
    assert not any(p.requires_grad for n, p in net.named_parameters() if 'threshold' in n or n.endswith('1.bias'))


def test_frames_and_projections_stay_tight():
    net = SeparationNetwork(side=16, widths=(4, 6), atoms=(8, 12), angles=4, generator=generator('tight'))
    with torch.no_grad(): [p.add_(.02 * numbers(*p.shape)) for p in net.blocks.parameters()]
    for _ in range(200): keep_networks(net, .05)
    for b in net.blocks:
        P = b[0].project.weight.detach()
        assert (P @ P.T - torch.eye(len(P))).abs().max() < 1e-3 and b[1].frame.error() < .1
    layer = Concentration(4, 8, 'identity')
    x = numbers(2, 4, 3, 3)
    assert torch.allclose(layer(x), x, atol=1e-5)


def test_bad_input():
    for call, words in ((lambda: WaveletStep()(torch.rand(1, 1, 7, 7)), 'multiple of 2'),
                        (lambda: WaveletStep()(torch.rand(1, 1, 8, 6)), 'n, n'),
                        (lambda: WaveletStep('third'), 'the step'),
                        (lambda: Nonlinearity('modulus', 2)(torch.rand(1, 2, 3)), 'complex'),
                        (lambda: Nonlinearity('cubic', 2), 'modulus'),
                        (lambda: to_pairs(torch.rand(1, 1, 2, 2)), 'complex'),
                        (lambda: to_complex(torch.rand(1, 3, 2, 2)), 'pairs'),
                        (lambda: LearnedScattering(side=28), 'cannot be halved'),
                        (lambda: LearnedScattering(side=4, blocks=(2, 2, 2)), 'fewer halvings'),
                        (lambda: LearnedScattering(side=8, blocks=(2,))(torch.zeros(1, 1, 8, 8, dtype=torch.complex64)),
                         'real'), (lambda: Rectifier('soft', 1, -.1), 'threshold'),
                        (lambda: Rectifier('elu', 1), 'relu'),
                        (lambda: step_filters('second half', 2), 'three or more'), (lambda: gabor(8, 0.), 'positive'),
                        (lambda: taps(torch.rand(8, 8), 4), 'odd')):
        with pytest.raises(ValueError, match=words): call()


def test_cifar_from_both_layouts(tmp_path, monkeypatch):
    from PIL import Image
    monkeypatch.setenv('DEEPSTRUCT_DATA', str(tmp_path))
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / 'cache'))
    with pytest.raises(ValueError, match='not on this machine'): cifar10()
    pixels = torch.randint(0, 256, (20, 3, 32, 32), generator=generator('cifar'), dtype=torch.uint8).numpy()
    folder = tmp_path / 'cifar10'
    for i, im in enumerate(pixels):
        place = folder / 'test' / CIFAR10[i % 10]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(im.transpose(1, 2, 0)).save(place / f'{i // 10:04d}.png')
    x, y = cifar10('test')
    assert np.array_equal((x * 255).round().byte().numpy(), pixels) and y.tolist() == list(range(10)) * 2
    with pytest.raises(ValueError, match='split'): cifar10('valid')
    with pytest.raises(ValueError, match='n is 21'): cifar10('test', 21)
    with pytest.raises(ValueError, match='no pictures of airplane'): cifar10('train')
    np.concatenate([np.arange(20, dtype=np.uint8)[:, None] % 10, pixels.reshape(20, -1)],
                   1).tofile(folder / 'test_batch.bin')
    a, b = cifar10('test', 12)
    assert torch.equal(a, x[:12]) and torch.equal(b, y[:12])
    (folder / 'test_batch.bin').write_bytes(b'\x0b' * 3073)
    with pytest.raises(ValueError, match='binary batch'): cifar10('test')


# Gradients at exactly 0, and beside it

def blank(kind, n=4, side=16): # images of which some are blank
    x = numbers(n, 1, side, side, name='blank')
    if kind == 'one': x[0] = 0
    if kind == 'all': x.zero_()
    if kind == 'flat': x[1] = 3.
    if kind == 'half': x[:, :, :, :8] = 0
    if kind == 'tiny': x *= 1e-20
    if kind == 'denormal': x *= 1e-42
    return x.requires_grad_()


@pytest.mark.parametrize('kind', ('one', 'all', 'flat', 'half', 'tiny', 'denormal'))
@pytest.mark.parametrize('rho', NONLINEARITIES)
@pytest.mark.parametrize('train', (True, False))
def test_gradients_are_finite_where_images_are_blank(kind, rho, train):
    net = LearnedScattering(classes=3, side=16, blocks=(3, 4, 5), nonlinearity=rho, skip=rho != 'soft',
                            generator=generator('blank net')).train(train)
    x = blank(kind)
    for _ in range(2): torch.nn.functional.cross_entropy(net(x), torch.tensor([0, 1, 2, 0])).backward()
    for p in (x, *net.parameters()): assert torch.isfinite(p.grad).all()
    if rho not in ('phase', 'sigmoid'): assert all((p.grad.abs() < 1e9).all() for p in net.parameters())


@pytest.mark.parametrize('kind', ('one', 'all', 'flat', 'half'))
@pytest.mark.parametrize('rectifier', ('relu', 'absolute', 'dead absolute', 'soft'))
def test_resnet_gradients_where_images_are_blank(kind, rectifier):
    net, x = ResNet(width=4, classes=3, rectifier=rectifier, generator=generator('r')), blank(kind)
    torch.nn.functional.cross_entropy(net(x), torch.tensor([0, 1, 2, 0])).backward()
    for p in (x, *net.parameters()): assert p.grad is None or torch.isfinite(p.grad).all()


@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16, torch.float32, torch.float64))
@pytest.mark.parametrize('size', (0., 1e-7, 1., 1e3))
def test_unit_in_every_precision(dtype, size):
    x = (size * numbers(2, 5, 3, dtype=torch.float64)).to(dtype).requires_grad_()
    y = unit(x)
    y.sum().backward()
    want = torch.nn.functional.normalize(x.detach().double(), dim=1, eps=1e-30)
    assert y.dtype == dtype and (torch.isfinite(x.grad).all() or size == 1e-7) # beyond the range of half
    assert torch.allclose(y.double(), want, atol=2e-2 if torch.finfo(dtype).bits == 16 else 1e-6)


@pytest.mark.parametrize('make', [
    lambda: (numbers(3, 4, dtype=torch.complex128), None), lambda: (numbers(2, 3, 4, dtype=torch.float64), 0),
    lambda: (numbers(3, 2, 4, dtype=torch.float64), 1), lambda: (numbers(3, 4, 2, dtype=torch.float64), -1),
    lambda: (numbers(3, 4, 2, 5, dtype=torch.float64), 2),
    lambda: (numbers(3, 4, dtype=torch.complex128).conj(), None)])
def test_one_modulus(make):
    z, dim = make()
    want = z.abs() if dim is None else torch.linalg.vector_norm(z, dim=dim)
    assert torch.allclose(modulus(z, dim), want)
    assert torch.autograd.gradcheck(lambda z: modulus(z, dim), z.clone().requires_grad_())
    zero = torch.zeros_like(z).requires_grad_()
    modulus(zero, dim).sum().backward()
    assert not zero.grad.any()
    assert torch.equal(modulus(z.float() if dim is not None else z.to(torch.complex64), dim).isfinite().all(),
                       torch.tensor(True))


@pytest.mark.parametrize('z, dim', [(torch.ones(2, 3), None), (torch.ones(3, 2), 0), (torch.ones(2, 3).long(), 0)])
def test_modulus_refuses(z, dim):
    with pytest.raises(ValueError, match='expected complex numbers, or pairs'): modulus(z, dim)


# Moments of images that are far from zero

@pytest.mark.parametrize('shift', (1e2, 1e4, -1e5, 1e6))
@pytest.mark.parametrize('R', (1, 2))
def test_the_mix_does_not_see_an_offset(shift, R):
    x = (8 * numbers(12, 3, R, 20)).round() / 8 # exact with every offset
    make = lambda: StandardizedMix([(3, R)], 4, momentum=1., generator=generator('offset'))
    a, b = make(), make()
    exact = make().double()
    u, v, w = x.clone().requires_grad_(), (x + shift).requires_grad_(), (x + shift).double().requires_grad_()
    for mix, z in ((a, u), (b, v), (exact, w)): mix([z]).square().sum().backward()
    assert torch.allclose(b.scale, a.scale, rtol=1e-3) and torch.allclose(b.mean[:, :R], a.mean[:, :R] + shift)
    assert torch.allclose(b.weight.grad, exact.weight.grad.float(), atol=.1 * float(exact.weight.grad.abs().max()))
    assert torch.allclose(exact.scale.float(), a.scale, rtol=1e-5)


def test_constant_channels_are_not_blown_up():
    mix = StandardizedMix([(2, 1)], 2, momentum=1., generator=generator('constant'))
    mix([torch.full((4, 2, 1, 9), 1234.5)])
    assert torch.allclose(mix.scale, torch.tensor(1e-5).sqrt().expand(2), rtol=1e-3)


# Types, saving, autocast

@pytest.mark.parametrize('dtype', (torch.uint8, torch.int8, torch.int64, torch.bool, torch.complex64))
@pytest.mark.parametrize('net', (lambda: LearnedScattering(side=8, blocks=(2,)), lambda: ResNet(width=2)))
def test_images_of_integers_are_refused(dtype, net):
    with pytest.raises(ValueError, match=f'{dtype}; expected real'): net()(torch.zeros(2, 1, 8, 8, dtype=dtype))


def test_integers_into_wavelets_and_other_channels():
    for dtype in (torch.uint8, torch.int32):
        with pytest.raises(ValueError, match='floating'): WaveletStep()(torch.zeros(1, 1, 8, 8, dtype=dtype))
    with pytest.raises(ValueError, match=r'expected real ones, \(batch, 3, n, n\)'): ResNet(3)(torch.zeros(1, 1, 8, 8))


def test_what_is_saved_are_the_weights(tmp_path):
    import copy
    net = LearnedScattering(side=32, blocks=(4, 6), generator=generator('saved'))
    x = numbers(2, 1, 32, 32)
    y = net.eval()(x)
    torch.save(net, tmp_path / 'net')
    weights = sum(t.numel() * t.element_size() for t in net.state_dict().values())
    assert (tmp_path / 'net').stat().st_size < 1.5 * weights + 2e5
    again = torch.load(tmp_path / 'net', weights_only=False)
    assert torch.equal(again(x), y) and torch.equal(copy.deepcopy(net)(x), y)
    assert net.blocks[0].wavelets.matrices and not copy.deepcopy(net).blocks[0].wavelets.matrices


def test_measured_first_trained_later():
    "Matrices that are made without gradients serve the training."
    net = LearnedScattering(side=16, blocks=(3, 4), generator=generator('first'))
    with torch.inference_mode(): net(numbers(2, 1, 16, 16))
    net(numbers(2, 1, 16, 16)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
