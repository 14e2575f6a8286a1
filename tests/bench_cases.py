"""The table of `make bench`: what is timed, beside what, and how equal the answers have to be."""
import time
import warnings
from functools import partial

import numpy as np
import pywt
import torch
from bench import Case, Growth, Pair, seconds

from deepstruct import fields
from deepstruct.core import generator
from deepstruct.log_concavity.model import level_family
from deepstruct.log_concavity.score_matching import normal_equations
from deepstruct.networks import WaveletStep, cheapest
from deepstruct.phase_collapse.scattering import Scattering
from deepstruct.rainbow.alignment import Moments, alignment, alignment_error, cka
from deepstruct.wavelet_diffusion.denoisers import Denoiser
from deepstruct.wavelet_diffusion.sde import reverse
from deepstruct.wavelet_diffusion.solvers import edm_sigmas, solve
from deepstruct.wavelets import Octave, inverse_packets, inverse_pyramid, packets, pyramid

torch.set_num_threads(1)
warnings.filterwarnings('ignore', message='Level value') # a filter longer than the coarsest grid
PRECISION = {torch.float32: 1e-4, torch.float64: 1e-10}
SHORT = {torch.float32: 'f32', torch.float64: 'f64'}


def noise(*shape, dtype=torch.float32): return torch.randn(*shape, dtype=dtype, generator=generator('bench'))


def bands(theirs): # (low, (h, v, d), ...) -> as `pyramid` orders them
    return [theirs[0], *(np.stack([np.asarray(v) for v in d], 1) for d in theirs[1:])]


# Wavelets
def forward_pywt(name, dtype, batch, n, J=5):
    x = noise(batch, 1, n, n, dtype=dtype)
    ours, theirs = (lambda: pyramid(x, name, J)), (lambda: pywt.wavedec2(x[:, 0].numpy(), name, 'periodization', J))
    return Pair(ours, theirs, lambda: (ours(), bands(theirs())))


def inverse_pywt(name, dtype, batch, n, J=5):
    x = noise(batch, 1, n, n, dtype=dtype)
    p, q = pyramid(x, name, J), pywt.wavedec2(x[:, 0].numpy(), name, 'periodization', J)
    return Pair(lambda: inverse_pyramid(p, name), lambda: pywt.waverec2(q, name, 'periodization'))


def forward_ptwt(dtype, batch, n, J=5):
    import ptwt
    x = noise(batch, 1, n, n, dtype=dtype)
    ours, theirs = (lambda: pyramid(x, 'haar', J)), (lambda: ptwt.wavedec2(x[:, 0], 'haar', mode='periodic', level=J))
    return Pair(ours, theirs, lambda: (ours(), bands(theirs())))


def inverse_ptwt(dtype, batch, n, J=5):
    import ptwt
    x = noise(batch, 1, n, n, dtype=dtype)
    p, q = pyramid(x, 'haar', J), ptwt.wavedec2(x[:, 0], 'haar', mode='periodic', level=J)
    return Pair(lambda: inverse_pyramid(p, 'haar'), lambda: ptwt.waverec2(q, 'haar'))


def packets_pywt(name, batch, n, depth=2):
    x = noise(batch, 1, n, n, dtype=torch.float64)
    def theirs():
        w = pywt.WaveletPacket2D(x[:, 0].numpy(), name, 'periodization', depth, axes=(-2, -1))
        return np.stack([np.stack([v.data for v in row], 1) for row in w.get_level(depth, 'freq')], 1)
    return Pair(lambda: packets(x, name, depth), theirs)


def unpackets_pywt(name, batch, n, depth=2):
    x = noise(batch, 1, n, n, dtype=torch.float64)
    p, y = packets(x, name, depth), x[:, 0].numpy()
    nodes = pywt.WaveletPacket2D(y, name, 'periodization', depth, axes=(-2, -1)).get_level(depth)
    def theirs():
        w = pywt.WaveletPacket2D(None, name, 'periodization', depth, axes=(-2, -1))
        for v in nodes: w[v.path] = v.data
        return w.reconstruct(update=False)
    return Pair(lambda: inverse_packets(p, name), theirs)


# Scattering
def with_gradient(f, x):
    return torch.autograd.grad(f(x).square().sum(), x)[0] if x.requires_grad else f(x)


def scattering(batch, J, side, gradient, compiled):
    from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D
    x = torch.rand(batch, 1, side, side, generator=generator('bench')).requires_grad_(gradient)
    return Pair(*(partial(with_gradient, S, x) for S in (Scattering(J, side, compiled=compiled),
                                                        ScatteringTorch2D(J, (side, side)))))


def block(side, channels, batch, gradient, choose):
    x = noise(batch, 2 * channels, side, side).requires_grad_(gradient)
    ours, direct = choose(WaveletStep()), WaveletStep(dense=0)
    return Pair(*(partial(with_gradient, lambda v, w=w: w.pairs(v, 2), x) for w in (ours, direct)))


# Fields
BETA, WIDTH = .5, 1.


def checkerboard(phi, rng): # (C, L, L), changed in place
    L = phi.shape[-1]
    i, j = np.indices((L, L))
    for colour in range(2):
        near = np.roll(phi, 1, 1) + np.roll(phi, -1, 1) + np.roll(phi, 1, 2) + np.roll(phi, -1, 2)
        new = phi + WIDTH * (2 * rng.random(phi.shape) - 1)
        rise = (new**2 - phi**2) * (new**2 + phi**2 - 1) - BETA * near * (new - phi)
        np.copyto(phi, new, where=((i + j) % 2 == colour) & (rng.random(phi.shape) < np.exp(-np.maximum(rise, 0))))


def lattice(L, chains=32):
    phi = np.zeros((L, L, chains))
    return phi, partial(fields._metropolis, phi, BETA, WIDTH, fields._seeds(generator('bench'), chains),
                        np.zeros(chains, np.int64))


def sweeps(L=32):
    (phi, ours), other, rng = lattice(L), np.zeros((32, L, L)), np.random.default_rng(1)
    theirs = lambda: checkerboard(other, rng)
    def answers(): # of each chain: mean square and product of neighbours, over time
        seen = []
        for t in range(150):
            ours(), theirs()
            a = phi.transpose(2, 0, 1)
            if t >= 50: seen.append([[(x * y).mean((1, 2)) for y in (x, np.roll(x, 1, 1))] for x in (a, other)])
        return np.mean(seen, 0)
    return Pair(ours, theirs, answers)


def in_errors(a, b): # of the means over chains
    return float((np.abs(a.mean(1) - b.mean(1)) / np.sqrt((a.var(1) + b.var(1)) / a.shape[1])).max())


# Fit
def level(n_fields, L=16):
    x = fields.gaussian_field(lambda a, b: 1 / (.3 + a * a + b * b), n_fields, L, generator('bench'))
    return x, level_family(x), Octave('haar')


def adam(family, x, wavelet, enough, most): # -> theta, seconds, whether it ended early
    scale = family.gradients(x[:200]).square().mean((0, 2, 3)).rsqrt()
    theta, g = torch.zeros(len(family), requires_grad=True), generator('bench')
    opt, start = torch.optim.Adam([theta], .03), time.process_time()
    for step in range(10**6):
        y = x[torch.randint(len(x), (64,), generator=g)].requires_grad_()
        force, = torch.autograd.grad((family.features(y) @ (theta * scale)).sum(), y, create_graph=True)
        trace = family.laplacians(y.detach(), wavelet) @ (theta * scale)
        loss = (wavelet.detail(force).square().sum((1, 2, 3)) / 2 - trace).mean()
        opt.zero_grad(); loss.backward(); opt.step()
        spent = time.process_time() - start
        if step % 10 == 0 and enough((theta * scale).detach().double()): return spent, False
        if spent > most: return spent, True


def fit(n_fields=1000):
    x, family, wavelet = level(n_fields)
    ours = lambda: normal_equations(family, x, wavelet)
    eq = ours()
    best = eq.solve()
    least = eq.loss(best)
    def both():
        spent = seconds(lambda: ours().solve())
        return spent, *adam(family, x, wavelet, lambda t: eq.loss(t) < .99 * least, 20 * spent)
    def answers(): # the loss of the solution: from the equations; by automatic differentiation of the energy
        y, theta = x.clone().requires_grad_(), best.float()
        force, = torch.autograd.grad((family.features(y) @ theta).sum(), y)
        direct = wavelet.detail(force).square().sum((1, 2, 3)) / 2 - family.laplacians(x, wavelet) @ theta
        return torch.tensor([least]), direct.mean()[None]
    return Pair(lambda: ours().solve(), lambda: adam(family, x, wavelet, lambda t: False, 0), answers, both)


# Alignment
def representations(samples, width):
    x = noise(samples, width) @ torch.diag(torch.arange(1, width + 1)**-.5)
    return x, x.roll(1, 1) + .3 * noise(samples, width).flip(0)


def moments(x, y, **how):
    m = Moments(x.shape[1], y.shape[1], **how)
    for a, b in zip(x.split(2000), y.split(2000)): m.update(a, b)
    return m


def aligned(x, y):
    m = moments(x, y)
    A = alignment(m)
    return A, alignment_error(m, A)


def alignments(samples, width):
    x, y = representations(samples, width)
    def direct(): # in double precision, the data at once
        X, Y = x.double(), y.double()
        U, _, Vh = torch.linalg.svd(X.T @ Y)
        return float((Y @ (U @ Vh).T - X).square().sum() / X.square().sum())
    return Pair(lambda: aligned(x, y), lambda: x.T @ y,
                lambda: ([aligned(x, y)[1]], [direct()]))


def linear_cka(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(x.T @ y)**2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def ckas(samples, width):
    x, y = representations(samples, width)
    a, b = x.numpy(), y.numpy()
    return Pair(lambda: np.array([cka(moments(x, y, autos=True), unbiased=False)]),
                lambda: np.array([linear_cka(a, b)]))


# Denoisers and samplers
@torch.no_grad()
def denoiser(): # as after training: each channel with factors of its own
    net = Denoiser(13, normalised=True, width=32, generator=generator('bench')).eval()
    for s in net.scales: s.gamma.copy_(1 + .3 * noise(*s.gamma.shape)); s.sd.copy_(1 + .3 * noise(*s.sd.shape).abs())
    return net


def folded(side=96):
    net, x = denoiser(), noise(1, 1, side, side)
    short, quiet = net.folded(), torch.no_grad()
    return Pair(lambda: quiet(short)(x), lambda: quiet(net)(x))


@torch.no_grad()
def sampler(batch=4, side=32, N=10):
    net, x, s = denoiser().folded(), 80 * noise(batch, 1, side, side), edm_sigmas(N)
    net = torch.no_grad()(net)
    def by_hand(y):
        for a, b in zip(s.tolist(), s.tolist()[1:]): y = b / a * y + (1 - b / a) * net(y)
        return y
    def bare():
        for _ in range(N): net(x)
    ours = lambda: solve(lambda y, sigma: net(y), x, s, 'ddim')
    return Pair(ours, bare, lambda: (ours(), by_hand(x)))


@torch.no_grad()
def reversal(batch=4, side=32, N=10):
    net, x, t = torch.no_grad()(denoiser().folded()), noise(batch, 1, side, side), np.linspace(0, 2, N + 1)
    def by_hand(y): # the probability flow by Heun's method
        for a, b in zip(t[:0:-1].tolist(), t[-2::-1].tolist()):
            slope = y + net(y)
            ahead = y + (a - b) * slope
            y = y + (a - b) / 2 * (slope + ahead + net(ahead))
        return y
    def bare():
        for _ in range(2 * N): net(x)
    ours = lambda: reverse(lambda y, s: net(y), x, t, 'heun')
    return Pair(ours, bare, lambda: (ours(), by_hand(x)))


# The table
EIGHT = [(name, dtype, batch, n) for name in ('haar', 'db4') for dtype in PRECISION
         for batch, n in ((64, 128), (1, 512))]
KINDS = [('pyramid', forward_pywt, forward_ptwt), ('inverse pyramid', inverse_pywt, inverse_ptwt)]
CASES = [
    *(Case('wavelets', f'{kind}, {name} {SHORT[t]}, {b} of {n} x {n}', 'PyWavelets', partial(f, name, t, b, n),
           PRECISION[t]) for kind, f, _ in KINDS for name, t, b, n in EIGHT),
    *(Case('wavelets', f'{kind}, {name} {SHORT[t]}, {b} of {n} x {n}', 'ptwt', partial(f, t, b, n), PRECISION[t])
      for kind, _, f in KINDS for name, t, b, n in EIGHT if name == 'haar'),
    *(Case('packets', f'{kind} of depth 2, {name} f64, {b} of {n} x {n}', 'WaveletPacket2D',
           partial(f, name, b, n), 1e-10)
      for kind, f in (('packets', packets_pywt), ('inverse packets', unpackets_pywt))
      for name, b, n in (('haar', 64, 32), ('db4', 64, 128), ('db4', 1, 512))),
    *(Case('scattering', f'scattering in {"numba" if c else "torch"}, {b} of {n} x {n}, J = {J}{", with gradient" * g}',
           'kymatio', partial(scattering, b, J, n, g, c), 1e-4)
      for b, J, n in ((64, 3, 32), (1, 3, 32), (1, 4, 128)) for c in (False, True) for g in (False, True)),
    *(Case('learned', f'wavelets of {b} maps of {n} x {n}, {c} channels{how}{", with gradient" * g}',
           'conv2d, same filters', partial(block, n, c, b, g, choose), 1e-4)
      for n, c, b in ((32, 64, 4), (16, 64, 8), (8, 128, 16))
      for how, choose in (('', lambda w: w), (', cheapest', cheapest))[:1 + (n == 32)] for g in (False, True)),
    Case('fields', 'Metropolis sweep of phi^4, 32 chains, L = 32', 'numpy checkerboard', sweeps, 5, in_errors),
    Case('fit', 'closed-form fit, 1,000 fields, L = 16', 'Adam, within 1 % of loss', fit, 1e-4),
    Case('alignment', 'moments, alignment and error, 20,000 of 512', 'product of the data',
         partial(alignments, 20_000, 512), 1e-4, unit='products'),
    Case('alignment', 'CKA, 20,000 of 256', "numpy, netrep's formula", partial(ckas, 20_000, 256), 1e-4),
    Case('denoisers', 'denoiser folded, 1 of 96 x 96', 'not folded', folded, 1e-4),
    Case('sampling', '10 steps of ddim, 4 of 32 x 32', 'bare network calls', sampler, 1e-4),
    Case('sampling', "10 steps of Heun's reverse process, 4 of 32 x 32", 'bare network calls', reversal, 1e-4)]


def growing_fit(n):
    x, family, wavelet = level(n)
    return lambda: normal_equations(family, x, wavelet).solve()


def growing_alignment(samples):
    pair = representations(samples, 128)
    return lambda: aligned(*pair)


def on_noise(f, n, dtype=torch.float32):
    x = noise(1, 1, n, n, dtype=dtype)
    return lambda: f(x)


def growing_scattering(n, J=3): return on_noise(Scattering(J, n), n)


GROWTH = [
    *(Growth('wavelets', f'{k}, {w} f32, 1 image', 'side', 2, (128, 256, 512, 1024), f)
      for w in ('haar', 'db4') for k, f in (
          ('pyramid', partial(on_noise, lambda x, w=w: pyramid(x, w, 5))),
          ('pyramid there and back', partial(on_noise, lambda x, w=w: inverse_pyramid(pyramid(x, w, 5), w))))),
    Growth('packets', 'packets, db4, depth 2, 1 image', 'side', 2, (64, 128, 256, 512),
           partial(on_noise, lambda x: packets(x, 'db4', 2))),
    Growth('scattering', 'scattering, J = 3, 1 image', 'side', 2, (32, 64, 128, 256), growing_scattering),
    Growth('fields', 'Metropolis sweep, 32 chains', 'side', 2, (16, 32, 64, 128), lambda L: lattice(L)[1]),
    Growth('fit', 'closed-form fit, L = 16', 'fields', 1, (250, 500, 1000, 2000), growing_fit),
    Growth('alignment', 'moments, alignment and error, width 128', 'samples', 1, (5000, 10_000, 20_000, 40_000),
           growing_alignment)]
