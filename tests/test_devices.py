"""What is given on a device is computed there and comes back there, with the values of the CPU; see `elsewhere`."""
import importlib

import numpy as np
import pytest
import torch
from elsewhere import Away, away, back, elsewhere, leaves
from torch import nn

from deepstruct import classifiers, core, fields, lensing, morlet, networks, statistics, training, turbulence, wavelets
from deepstruct.log_concavity import bridges, diagnose, direct, energies, error_bounds, free_energy, heavy_tails
from deepstruct.log_concavity import hessians, langevin, maximum_likelihood, model, renormalisation, score_matching
from deepstruct.log_concavity import weights, your_fields
from deepstruct.phase_collapse import classification, frames, scattering
from deepstruct.phase_collapse import networks as collapse
from deepstruct.rainbow import alignment, covariance, dynamics, ensembles, kernels
from deepstruct.rainbow import model as rainbow
from deepstruct.wavelet_diffusion import denoisers, gaussian, generalization, quality, sde, synthesis, unet, wsgm

CASES = {}


def case(home, names, why=None, there=False):
    "A module, what of it is asked; why it is expected to fail; does it draw with generators of the device, too?"
    def keep(f): CASES[f'{home} {names}'] = f, why, there; return f
    return keep


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def images(n=8, side=8, channels=1): return normal(n, channels, side, side)
def labels(n, classes=3): return torch.arange(n) % classes
def complex_(*shape, seed=0): return normal(*shape, seed=seed, dtype=torch.complex128)


def grown(net, x): # its output, and the gradients of its parameters and input
    x = x.detach().clone().requires_grad_()
    y = net(x)
    (y.abs().square().sum() if y.is_complex() else y.square().sum()).backward()
    return [y.detach(), x.grad, *[p.grad for p in net.parameters() if p.grad is not None]]


# --- wavelets, fields, turbulence, lensing, filters ---
@case('wavelets', 'pyramid inverse_pyramid')
def _(t, g): bands = wavelets.pyramid(t(images()), 'db2', 2); return bands, wavelets.inverse_pyramid(bands, 'db2')


@case('wavelets', 'packets inverse_packets')
def _(t, g): bands = wavelets.packets(t(images()), 'db4', 2); return bands, wavelets.inverse_packets(bands, 'db4')


def steps(step, x):
    low, detail = step.analysis(x)
    return low, detail, step.synthesis(low, detail), step.low(x), step.detail(x), step.embed_low(low), \
        step.embed_detail(detail)


@case('wavelets', 'Octave.analysis Octave.synthesis Octave.low Octave.detail Octave.embed_low Octave.embed_detail')
def _(t, g): return [steps(wavelets.Octave(w), t(images())) for w in ('haar', 'sym4')]


@case('wavelets', 'HalfOctave.analysis HalfOctave.synthesis HalfOctave.low HalfOctave.detail HalfOctave.embed_low '
      'HalfOctave.embed_detail')
def _(t, g): return [steps(wavelets.HalfOctave('db2', k), t(images())) for k in (1, 2)]


@case('fields', 'minus_laplacian Phi4.energy Phi4.gradient Phi4.d2v virial')
def _(t, g):
    x, m = t(images()), fields.Phi4(.6, 8)
    return fields.minus_laplacian(x), m.energy(x), m.gradient(x), m.d2v(x), fields.virial(x, .6)


@case('fields', 'radial_spectrum binder')
def _(t, g): return fields.radial_spectrum(t(images())), fields.binder(t(normal(50)))


@case('fields', 'spectrum_error', there=True)
def _(t, g): return fields.spectrum_error(t(images()), t(images(6)), g(), boots=5)


@case('turbulence', 'to_modes to_fields advection quadratics step decay')
def _(t, g):
    m = turbulence.Turbulence(L=16)
    w = turbulence.to_modes(m, t(normal(2, 16, 16)))
    return (w, turbulence.to_fields(m, w), turbulence.advection(m, w), turbulence.quadratics(m, w),
            turbulence.step(m, w, .01), turbulence.decay(m, w, .02, 2))


@case('turbulence', 'stir', there=True)
def _(t, g):
    m = turbulence.Turbulence(L=16)
    w = turbulence.to_modes(m, t(normal(2, 16, 16)))
    return turbulence.stir(m, w, .01, g()), w


@case('lensing', 'skewness')
def _(t, g): return lensing.skewness(t(images()))


@case('morlet', 'taps')
def _(t, g): return morlet.taps(t(morlet.step_filters('octave')[1]), 7)


# --- statistics of classes: moments are kept in double precision on the CPU, features are answered where they are
def moments(t, classes=3, d=4, n=60):
    m = statistics.ClassMoments(classes, d)
    m.update(t(normal(n, d) + 3 * torch.eye(classes, d)[labels(n, classes)]), t(labels(n, classes)))
    return m


@case('statistics', 'ClassMoments.update ClassMoments.within ClassMoments.between fisher fisher_floor separation '
      'concentration nc1 nc2 nc3')
def _(t, g):
    m = moments(t)
    return [float(v) for v in (m.within().sum(), m.between().sum(), statistics.fisher(m), statistics.separation(m),
                               statistics.concentration(m), statistics.nc1(m), *statistics.nc2(m).values(),
                               statistics.nc3(m, t(normal(3, 4))))]


@case('statistics', 'ClassMoments.project principal')
def _(t, g): m = moments(t); return float(m.project(t(normal(4, 2))).within().sum())


@case('statistics', 'nearest_mean linear_probe')
def _(t, g):
    m, x = moments(t), t(normal(20, 4))
    return statistics.nearest_mean(m, x), statistics.linear_probe(m)(x)


@case('statistics', 'ClassStatistics.update ClassStatistics.estimate')
def _(t, g):
    s = statistics.ClassStatistics(3, 4, 5)
    s.update(t(normal(90, 4)), t(labels(90)))
    return s.estimate(statistics.fisher)


@case('statistics', 'averaged flattened layer_statistics')
def _(t, g):
    net = t(networks.ResNet(width=4, classes=3, generator=torch.Generator().manual_seed(0)).eval())
    s = statistics.layer_statistics(net, ['stem', 'classifier'], [(t(images(30)), t(labels(30)))], 3, blocks=2)
    z = t(complex_(5, 3, 2, 2))
    return (statistics.averaged(z), statistics.flattened(z),
            [s[k].estimate(lambda m: statistics.fisher(m, 1.)) for k in s])


# --- networks and their training ---
@case('networks', 'modulus reflection')
def _(t, g): z = t(complex_(3, 2)); return networks.modulus(z), networks.reflection(5, 9, z.device)


@case('networks', 'WaveletStep to_pairs to_complex')
def _(t, g):
    w, x, z = t(networks.WaveletStep(angles=4)), t(images(2, 8)), t(complex_(2, 3, 8, 8))
    slow = t(networks.WaveletStep(angles=4, dense=0))
    return w(x), w(z), slow(x), slow(z), networks.to_pairs(z), networks.to_complex(networks.to_pairs(z))


@case('networks', 'Nonlinearity')
def _(t, g):
    z = networks.to_pairs(complex_(4, 3, 4, 4)).float().unflatten(1, (3, 2))
    return [grown(_Pairs(t(networks.Nonlinearity(k, 3))), t(z)) for k in networks.NONLINEARITIES]


class _Pairs(nn.Module):
    def __init__(self, f): super().__init__(); self.f = f
    def forward(self, x): return self.f.pairs(x)


@case('networks', 'StandardizedMix unit')
def _(t, g):
    m = t(networks.StandardizedMix([(2, 1), (3, 2)], 4, generator=g()))
    xs = [t(normal(5, 2, 1, 6)), t(normal(5, 3, 2, 6))]
    return m(xs), m.eval()(xs), m, networks.unit(t(images(channels=3)))


@case('networks', 'ScatteringBlock LearnedScattering')
def _(t, g):
    b = t(networks.ScatteringBlock(1, 4, real=True, generator=g()))
    n = t(networks.LearnedScattering(1, 8, (4, 6), classes=3, generator=g()))
    return grown(b, t(images())), grown(n, t(images())), n, n.eval()(t(images()))


@case('networks', 'ResNet Rectifier Pointwise')
def _(t, g):
    x = t(images(4, 8, 3))
    rect = [grown(t(networks.Rectifier(k, 3)), x) for k in networks.RECTIFIERS]
    return rect, [grown(t(networks.ResNet(3, 4, classes=3, rectifier=k, generator=g())), x) for k in ('relu', 'soft')]


def fabric(device): # of one device that Fabric does not know by name
    from lightning_fabric import Fabric
    from lightning_fabric.accelerators import CPUAccelerator
    from lightning_fabric.strategies import SingleDeviceStrategy

    class There(CPUAccelerator):
        def setup_device(self, device): pass
    f = Fabric(strategy=SingleDeviceStrategy(device=device, accelerator=There()))
    f.launch()
    return f


@case('training', 'fit')
def _(t, g):
    x, y = t(images(20).double()), t(labels(20))
    net, on = networks.ResNet(width=4, classes=3, generator=g()).double(), fabric(x.device) # the network is moved
    def loss(forward, r):
        i = torch.randint(len(x), (8,), generator=r)
        return nn.functional.cross_entropy(forward(x[i]), y[i])
    h = training.fit(net, loss, 3, on=on, generator=g(), every=2, average=.5, lr=.01, clip=0.,
                     valid=lambda m: float(m(x).detach().square().mean()),
                     optimizer=lambda p: torch.optim.SGD(p, .01))
    return h['loss'], h['valid'], net


# --- phase collapse ---
@case('phase_collapse.scattering', 'Scattering')
def _(t, g):
    s = [scattering.Scattering(2, shape, 4, compiled=False) for shape in (8, (12, 8))]
    return [grown(f, t(normal(3, 2, *f.shape))) for f in s]


@case('phase_collapse.scattering', 'average lowest')
def _(t, g):
    x = t(normal(2, 8, 8))
    return scattering.average([t(normal(4, 8)), t(normal(5, 8))], x), scattering.lowest(x[0], 2, 1)


@case('phase_collapse.frames', 'parseval_error nearest_frame equal_norms parseval_step')
def _(t, g):
    F = t(frames.random_frame(6, 4, torch.Generator().manual_seed(0)) + .01)
    return (frames.parseval_error(F), near := frames.nearest_frame(F), frames.equal_norms(near),
            frames.parseval_step(F))


@case('phase_collapse.frames', 'Frame keep_parseval')
def _(t, g):
    F, x = t(frames.Frame(4, 6, generator=torch.Generator().manual_seed(0))), t(normal(3, 4, 2, 2))
    y = F(x)
    frames.keep_parseval(F); a = F.weight.detach().clone()
    frames.keep_parseval(F, exact=True)
    return y, F.synthesis(y), F.error(), a, F


@case('phase_collapse.frames', 'soft_threshold dead_absolute relu')
def _(t, g):
    u, z = t(normal(20)), t(complex_(20))
    return (frames.soft_threshold(u, .3), frames.soft_threshold(z, .3), frames.soft_threshold(z, 0.),
            frames.dead_absolute(z, .2), frames.relu(u, .1))


@case('phase_collapse.frames', 'cut_patches overlap_average FrameNetwork')
def _(t, g):
    x = t(images(4, 8, 2))
    p = frames.cut_patches(x, 4, 2)
    nets = [t(frames.FrameNetwork((2, 8, 8), 3, k, 4, 2, 40, generator=g())) for k in frames.RHOS]
    return p, frames.overlap_average(p, (2, 8, 8), 4, 2), [grown(n, x) for n in nets]


@case('phase_collapse.networks', 'Projection SeparationBlock Concentration SeparationNetwork keep_networks')
def _(t, g):
    x = t(images(4, 8))
    n = t(collapse.SeparationNetwork(1, 8, (4, 6), (8, 12), angles=4, classes=3, generator=g()))
    out = grown(n, x)
    collapse.keep_networks(n)
    return out, n, grown(t(collapse.Projection(3, 4, g())), t(normal(2, 3, 5)))


@case('phase_collapse.classification', 'ScatteringHead')
def _(t, g): return grown(t(classification.ScatteringHead(3, 4, 5, 3, g())), t(images(9, 4, 3)))


@case('classifiers', 'translated mirrored', there=True)
def _(t, g):
    x = t(images(9, 4))
    return classifiers.translated(x, 2, g()), classifiers.mirrored(x, g())


# --- log-concave cascades ---
def family(x, step=None, **kw): return model.level_family(x, **{'width': 1, 'nodes': 4, **kw}, step=step)


def learned(t, f): # with some parameters
    f.theta.copy_(torch.linspace(1, .2, len(f)))
    return t(f)


@case('log_concavity.energies', 'Spline.evaluate Spline.total quantile_nodes shift apply')
def _(t, g):
    x, out = t(images()), []
    for even in (True, False):
        s = energies.Spline(energies.quantile_nodes(x, 5, even), even)
        out += [s.evaluate(x, k, t(normal(5).double())) for k in (0, 1, 2)] + [s.evaluate(x, 1), s.total(x, 2)]
    wide = {(a, b): .1 for a in range(-2, 3) for b in range(-2, 3)}
    return (out, energies.quantile_nodes(x, 5).cpu().numpy(), energies.apply(energies.LAPLACIAN, x),
            energies.apply(wide, x), energies.shift(x, (1, 2)))


FAMILY = 'Family.features Family.gradients Family.laplacians Family.energy Family.gradient Family.hessian'


def asked(f, x, step):
    return (f.features(x), f.gradients(x), f.laplacians(x, step), f.energy(x), f.gradient(x),
            f.hessian(x, x[:2].movedim(0, 1)))


@case('log_concavity.energies', FAMILY)
def _(t, g):
    x = images()
    return [asked(learned(t, family(x, bond_below=b)), t(x), wavelets.Octave('db2')) for b in (0, 16)]


@case('log_concavity.energies', FAMILY + ' Bands neighbours')
def _(t, g):
    x, step = images(), wavelets.HalfOctave('haar', 1)
    f = learned(t, family(x, step))
    return asked(f, t(x), step)


@case('log_concavity.energies', 'Monomials Sigmoids ChannelPairs phi4_family')
def _(t, g):
    x, step = images(6, 4), wavelets.Octave('haar')
    pairs = energies.ChannelPairs(4, energies.Sigmoids(x, 5), step)
    pairs.theta.copy_(torch.linspace(1, .2, len(pairs)))
    return asked(t(energies.phi4_family(4, .6)), t(x), step), asked(t(pairs), t(x), step)


@case('log_concavity.energies', 'Tabulated.energy Tabulated.gradient Tabulated.force')
def _(t, g):
    f, x = energies.Tabulated(learned(t, family(images(), bond_below=16, width=3)), t(images())), t(images())
    return f.energy(x), f.gradient(x), f.force(x)


@case('log_concavity.score_matching', 'normal_equations NormalEquations.solve NormalEquations.jackknife '
      'NormalEquations.loss')
def _(t, g):
    x = images(40)
    eq = score_matching.normal_equations(t(family(x)), t(x), wavelets.Octave('haar'), 4)
    return eq.loss(eq.solve()), *(v.cpu().numpy() for v in (eq.H, eq.solve(), *eq.jackknife()))


@case('log_concavity.score_matching', 'fit_scalar ScalarDensity.log_prob')
def _(t, g):
    s, out = t(normal(200)), []
    for method in ('likelihood', 'score'):
        d = score_matching.fit_scalar(s, k=3, method=method)
        out.append((d.log_prob(s), d.probability(-1., 1.)))
    return out


@case('log_concavity.langevin', 'mean_stencil Whitening Whitening.transpose Whitening.inverse Whitening.quadratic')
def _(t, g):
    x, step = t(images()), wavelets.Octave('haar')
    f = learned(t, family(images(), bond_below=16))
    s = langevin.mean_stencil(f, x)
    d = step.detail(x)
    plain = langevin.Whitening(s, step, 8, like=x)
    varies = t(1 + normal(8, 3, 4, 4).abs().double())
    local = langevin.Whitening(s, step, 8, like=x, diagonal=varies)
    return [(w(d), w.transpose(d), w.inverse(d)) for w in (plain, local)], plain.quadratic(f.kernel(), step)


@case('log_concavity.langevin', 'run_chain Conditional.energy Conditional.gradient Conditional.field local_diagonal '
      'Direct', there=True)
def _(t, g):
    x, step = t(images(20)), wavelets.Octave('haar')
    f = learned(t, family(images(20)))
    s, low = langevin.mean_stencil(f, x), step.low(x)
    out = [langevin.local_diagonal(f, step, x, low[:2])]
    for diagonal in (None, langevin.local_diagonal(f, step, x, low)):
        white = langevin.Whitening(s, step, 8, like=x, diagonal=diagonal)
        target = langevin.Conditional(f, step, low, white)
        y = white.inverse(step.detail(x))
        y, r = langevin.run_chain(target, y, 4, 2, g(), .1, each=diagonal is not None,
                                  observe=lambda y, E: torch.stack([E, y.square().mean((1, 2, 3))], 1))
        out += [target.energy(y), target.gradient(y), target.field(y), r.series, r.acceptance, r.step]
    phi = langevin.Direct(fields.Phi4(.6, 8))
    y, r = langevin.run_chain(phi, x, 4, 1, g(), .1)
    return out, y, r.acceptance


@case('log_concavity.direct', 'direct_mala direct_hmc', there=True)
def _(t, g):
    x = t(images(3))
    series, r = direct.direct_mala(.5, x, 40, 1, g(), adapt=5)
    return series, r.rates, direct.direct_hmc(.5, x, 9, 2, g(), adapt=4)[0]


@case('log_concavity.direct', 'fourier_hmc', there=True)
def _(t, g): return direct.fourier_hmc(.5, t(images(3)), 9, 2, t(torch.ones(8, 5)), g(), adapt=4)[0]


@case('log_concavity.langevin', 'relaxation')
def _(t, g): return langevin.relaxation(t(normal(4, 60))).tau


@case('log_concavity.model', 'LogConcaveModel.fit LogConcaveModel.sample LogConcaveModel.energy LogConcaveModel.score '
      'level_family confine polish drop_idle gaussian_start')
def _(t, g):
    out = []
    for n, half in ((4, False), (8, True)):
        x = t(images(40, n))
        m = model.LogConcaveModel(nodes=4, width=1, polish_steps=int(not half), half=half).fit(x, g())
        out += [m.energy(x[:3]), m.score(x[:3]), m.score(m.steps[0].low(x[:3]), 1),
                m.sample(4, g(), trajectories=2, leapfrogs=1)]
    return out


@case('log_concavity.model', 'LogConcaveModel.save LogConcaveModel.load')
def _(t, g):
    x = images(40, 4)
    m = model.LogConcaveModel(nodes=4, width=1, polish_steps=0).fit(t(x))
    m.save('/tmp/deepstruct-device.safetensors')
    n = model.LogConcaveModel.load('/tmp/deepstruct-device.safetensors')
    return m.energy(t(x)), n.energy(t(x)), m.score(t(x)), n.sample(4, g(), 2, 1, device=t(x).device)


@case('log_concavity.heavy_tails', 'heavy_tailed')
def _(t, g):
    x = t(images(40, 4).exp())
    m = model.LogConcaveModel(nodes=4, width=1, polish_steps=0, even=False).fit(x, g(), heavy_tails.heavy_tailed)
    return m.energy(x)


@case('log_concavity.hessians', 'conditional_hessians eigenvalues mean_spectrum score_power worst_potential rayleigh')
def _(t, g):
    x, f = t(images(5, 4)), learned(t, family(images(5, 4), bond_below=0))
    B = t(hessians.detail_band(wavelets.Octave('haar'), 4))
    return (hessians.conditional_hessians(f, x, B), hessians.eigenvalues(f, x, B), hessians.score_power(f, x, B),
            hessians.mean_spectrum(f, x, B), hessians.worst_potential(f, x, B),
            hessians.rayleigh(fields.minus_laplacian, B))


@case('log_concavity.hessians', 'gaussian_like', there=True)
def _(t, g): return hessians.gaussian_like(t(images()), g())


@case('log_concavity.hessians', 'held_out_losses width_sizes')
def _(t, g):
    x = images(40)
    f = family(x, bond_below=0)
    eq = score_matching.normal_equations(t(f), t(x), wavelets.Octave('haar'), 4)
    return hessians.held_out_losses(eq, hessians.width_sizes(f, 1)).cpu().numpy()


@case('log_concavity.your_fields', 'border_jump anisotropy moments handedness oddness value_faults copies phases '
      'resemblance repetition order_faults scale_faults place_faults check settle')
def _(t, g):
    x, y = t(images(40)), your_fields
    return (y.border_jump(x), y.anisotropy(x), y.moments(x), y.handedness(x), y.oddness(x), y.value_faults(x),
            y.resemblance(x), y.repetition(x), y.order_faults(x), y.scale_faults(x),
            y.check(x, True, True), y.settle(x, None, None, 4)[:2])


@case('log_concavity.your_fields', 'as_fields periodic free_mean')
def _(t, g):
    x = t(images(40))
    return (your_fields.as_fields(x), your_fields.periodic(x), your_fields.periodic(x, 'mirror'),
            your_fields.free_mean(x, generator=g()))


@case('log_concavity.diagnose', 'lanczos spectra', there=True)
def _(t, g):
    x, f, A = t(images(3)), learned(t, family(images(3), bond_below=0)), t(normal(2, 6, 6).double())
    A = A + A.mT
    return (diagnose.lanczos(lambda v: (A @ v[..., None])[..., 0], t(normal(2, 6).double()), 4),
            [diagnose.spectra(f, wavelets.Octave('haar'), x, dense, g()) for dense in (200, 10)])


@case('log_concavity.diagnose', 'diagnose diagnose_step')
def _(t, g):
    d = diagnose.diagnose(t(images(64, 8)), ('haar',), (True,), 1, 3, coarsest=8)
    return [{k: v for k, v in r.items() if k not in ('eigenvalues', 'weights')} for r in d.rows], d.recommend


@case('log_concavity.free_energy', 'free_energy gradient_regression redraw coarse_family')
def _(t, g):
    x, step = t(images(40, 8)), wavelets.Octave('haar')
    f = learned(t, family(images(40, 8)))
    F = free_energy.coarse_family(step.low(x), 1, 4)
    eq = free_energy.free_energy(f, step, x, F, 2, 4, generator=g())
    return eq.H.cpu().numpy(), F.theta.cpu().numpy()


@case('log_concavity.free_energy', 'joint_energy JointEnergy.energy JointEnergy.gradient JointEnergy.project '
      'scalar_energy Tilted')
def _(t, g):
    x = t(images(60, 4))
    m = model.LogConcaveModel(nodes=4, width=1, polish_steps=0, even=False).fit(x)
    j = free_energy.joint_energy(m, x, width=1, folds=4)
    theta, cov = j.project(t(energies.phi4_family(4)), x, 4)
    return j.energy(x), j.gradient(x), theta.cpu().numpy(), cov.cpu().numpy()


@case('log_concavity.free_energy', 'Averages')
def _(t, g):
    x, f = t(images(3)), free_energy.Averages(8, None, None, [energies.LAPLACIAN], ((3, 4), (0, 2)))
    f.theta.copy_(normal(3).double())
    return (f.energy(x), f.gradient(x), f.features(x), f.gradients(x), f.hessian(x, x),
            f.laplacians(x, wavelets.Octave('haar')))


@case('log_concavity.weights', 'effective_size both_sizes averages field_values apart along independence_metropolis '
      'two_sides')
def _(t, g):
    x, w, again = t(images(60, 4)), t(normal(60)), t(normal(3, 60))
    values = weights.field_values(x, fields.Phi4(.6, 4).energy)
    m = model.LogConcaveModel(nodes=4, width=1, polish_steps=0).fit(x, g())
    j = free_energy.joint_energy(m, x, width=1, folds=4)
    a = weights.averages(values, w, again)
    return (values, a, weights.both_sizes(w, w), weights.apart(a, a), weights.along(again, w),
            weights.independence_metropolis(w, 0), weights.two_sides(j, fields.Phi4(.6, 4).energy, x, x))


@case('log_concavity.bridges', 'bridge_paths bridge_regression judge_free_energy mended model_paths mend')
def _(t, g):
    x = t(images(40, 4))
    m = model.LogConcaveModel(nodes=4, width=1, polish_steps=0, even=True).fit(x, g())
    j = free_energy.joint_energy(m, x, width=1, folds=4)
    paths = bridges.model_paths(m, x, 2, 1, g())
    return ([(p.forward, p.reverse) for p in paths], bridges.mend(j, paths).energy(x),
            vars(bridges.judge_free_energy(paths[0], j.free[0])))


@case('log_concavity.error_bounds', 'precision_kl coarse_precision conditional_gaussian_kl gaussian_levels '
      'conditional_gaussian_fisher holley_stroock')
def _(t, g):
    step, A = wavelets.Octave('haar'), normal(16, 16).double()
    K, M, s = t(A @ A.T + torch.eye(16)), t(A @ A.T / 2 + 2 * torch.eye(16)), t(normal(16).double())
    G, B = (t(r) for r in error_bounds.step_rows(step, 16))
    levels = list(error_bounds.gaussian_levels(K, M, [step, step], s))
    return (error_bounds.precision_kl(K, M, s), error_bounds.coarse_precision(K, G, B), levels,
            error_bounds.conditional_gaussian_kl(K, M, G, B, s), error_bounds.conditional_gaussian_fisher(K, M, B, s),
            error_bounds.holley_stroock(t(torch.tensor([1., -2., .5])), .5, 4))


@case('log_concavity.error_bounds', 'marginal given tv kl_terms mala_kernel chain sampled_laws')
def _(t, g):
    p, q = (t(torch.log_softmax(normal(5, 5, 5, seed=s).double().flatten(), 0).view(5, 5, 5)) for s in (0, 1))
    axes = [t(torch.linspace(-1, 1, 5).double())] * 3
    sweeps = [c for _, c in zip(range(3), error_bounds.chain(q, 1, axes, (.1,) * 3))]
    return (error_bounds.marginal(p, 1), error_bounds.given(p, 1), error_bounds.tv(p, q),
            error_bounds.kl_terms(p, q, (1, 2)), error_bounds.mala_kernel(q, 1, axes[1], .1), sweeps,
            list(error_bounds.sampled_laws(q, axes, 2, (1, 2), (.1,) * 3)))


@case('log_concavity.error_bounds', 'residuals sandwich score_error ScoreError')
def _(t, g):
    x, step = t(images(40)), wavelets.Octave('haar')
    f, phi = t(family(images(40))), fields.Phi4(.6, 8)
    eq = score_matching.normal_equations(f, x, step, 4)
    theta = eq.solve().to(x.device)
    e = error_bounds.score_error(f, x, step, phi.gradient)
    at = theta.to(e.theta.device)
    return (error_bounds.residuals(f, x, step, theta), e(at), e.family(), e.estimation(at),
            e.expected(error_bounds.sandwich(eq).to(e.H.device)))


@case('log_concavity.maximum_likelihood', 'maximum_likelihood Whole Windowed')
def _(t, g):
    x, step = normal(200, 1, 4, 4) * .5, wavelets.Octave('haar')
    f, w = energies.phi4_family(4), energies.Family(4, maximum_likelihood.Windowed(4., 4, 2), None,
                                                    [energies.LAPLACIAN])
    for h in (f, w): h.theta.copy_(torch.tensor([.1, 1.9, .01]))
    a = maximum_likelihood.maximum_likelihood(t(f), t(x), None, 4, 8, generator=g())
    b = maximum_likelihood.maximum_likelihood(t(w), t(x), step, 4, 8, generator=g())
    return a.history, b.memory, *(v.cpu().numpy() for v in (a.theta, a.covariance, b.theta, b.covariance))


@case('log_concavity.renormalisation', 'Shannon.analysis Shannon.synthesis octave_conditions likelihood_condition '
      'between_channels stencil_width largest_by_distance')
def _(t, g):
    R, P = renormalisation, t(1 / (renormalisation.laplacian_power(8, 1.5) + .1))
    K = R.between_channels(P, R.Shannon())
    return (steps(R.Shannon(), t(images())), K, *R.octave_conditions(P, wavelets.Octave('db2')), R.stencil_width(K),
            R.largest_by_distance(K), [R.likelihood_condition(P, [{(0, 0): 1.}, energies.LAPLACIAN], s)
                                       for s in (None, R.Shannon())])


@case('log_concavity.renormalisation', 'renormalised scales_apart unmatched conditional_slowing direct_slowing '
      'thermodynamic_integration')
def _(t, g):
    R, step, x = renormalisation, wavelets.Octave('haar'), t(images(6, 4))
    f, out = R.windowed_phi4(4, .5), [*R.renormalised(x, step, 2)[1]]
    a = R.conditional_slowing(f, step, x, x, 20, 2, g())
    return (*out, R.scales_apart(x, step, g()), R.unmatched(x, .5), a.tau, R.direct_slowing(.5, x, 40, 2, g()).tau,
            R.thermodynamic_integration(f, step, step.low(x), x, 2, 10, 2, g()))


# --- wavelet diffusion ---
@case('wavelet_diffusion.sde', 'forward reverse', there=True)
def _(t, g):
    x = t(normal(6, 2))
    out = [core.normal_like(x, g()), sde.forward(x, .3, g()), sde.forward(x, t(torch.linspace(0, 1, 6)), g())]
    score, times = lambda y, s: -y / (1 + s), sde.time_grid('uniform', 5, 2.)
    return out, [sde.reverse(score, x, times, k, g()) for k in sde.SCHEMES]


@case('wavelet_diffusion.sde', 'sigma_of time_of')
def _(t, g): y = t(torch.tensor([.1, .5])); return sde.sigma_of(y), sde.time_of(y)


@case('wavelet_diffusion.gaussian', 'gaussian_score conditional_score mode_scores whiten whiten_details')
def _(t, g):
    P, times, x = gaussian.mode_power(1., 8), sde.time_grid('uniform', 5, 2.), t(images())
    levels, _ = gaussian.conditional_laws(P, 'haar')
    low, detail = wavelets.Octave('haar').analysis(x)
    return (gaussian.gaussian_score(P)(x, .3), gaussian.conditional_score(levels[0], low)(detail, .3),
            gaussian.mode_scores(x), gaussian.whiten(x, P, times),
            gaussian.whiten_details(detail, low, levels[0], times))


@case('wavelet_diffusion.unet', 'UNet TimeFeatures Conv Block Attention')
def _(t, g):
    nets = [unet.UNet(2, 1, 4, (1, 2), attention=(1,), norm=True, padding=p) for p in ('zeros', 'circular')]
    for n in nets: nn.init.normal_(n.last.weight, generator=g())
    x, c, s = t(images(3, 8, 2)), t(images(3, 8)), t(normal(3))
    return [grown(_Given(t(n), s, c), x) for n in nets]


class _Given(nn.Module):
    def __init__(self, net, *given): super().__init__(); self.net, self.given = net, given
    def forward(self, x): return self.net(x, *self.given)


@case('wavelet_diffusion.wsgm', 'diffusion_loss flow_loss score_of flow')
def _(t, g):
    net, x = t(unet.UNet(1, 0, 4, (1, 2))), t(images())
    return (wsgm.diffusion_loss(net, x, None, 2., g()), wsgm.flow_loss(net, x, None, g()),
            wsgm.score_of(net)(x, .3).detach(), wsgm.flow(net, x, 3).detach())


@case('wavelet_diffusion.wsgm', 'analysis synthesis left_open')
def _(t, g):
    low, detail = wsgm.analysis(t(images(4, 8, 3)), 'haar')
    return low, detail, wsgm.synthesis(low, detail, 'haar'), wsgm.left_open(detail, low)


@case('wavelet_diffusion.wsgm', 'WSGM.fit WSGM.sample WSGM.refine', there=False)
def _(t, g):
    x, out = t(images(16, 8)), []
    for objective in wsgm.OBJECTIVES:
        m = wsgm.WSGM(depth=1, width=4, mults=(1, 2), side=8, units='conditional', objective=objective)
        m.fit(x, 3, 4, g(), on=fabric(x.device))
        out += [m.sample(2, 3, seed=g()), m.refine(t(images(2, 4)), 3, seed=g()), m]
    return out


@case('wavelet_diffusion.wsgm', 'WSGM.to WSGM.save WSGM.load WSGM.flops')
def _(t, g):
    m = wsgm.WSGM(depth=1, width=4, mults=(1,), side=8)
    for f in m.factors: f.sd.fill_(1.); f.low_sd.fill_(1.)
    m = t(m)
    m.save('/tmp/deepstruct-device.safetensors')
    return m.sample(2, 3, seed=g()), t(wsgm.WSGM.load('/tmp/deepstruct-device.safetensors')), m.flops()


@case('wavelet_diffusion.denoisers', 'Denoiser Denoiser.folded UNetDenoiser Multiscale Scale')
def _(t, g):
    x, low = t(images(3, 16)), t(images(3, 16, 2))
    d = t(denoisers.Denoiser(7, 1, 0, 4, 5, normalised=True, generator=g()))
    c = t(denoisers.Denoiser(7, 1, 2, 4, 5, returns='noise', generator=g()))
    u = t(denoisers.UNetDenoiser(1, 4, 2, generator=g()))
    m = t(denoisers.Multiscale(denoisers.Denoiser(7, 1, 0, 4, 5, generator=g()),
                               [denoisers.Denoiser(7, 3, 1, 4, 5, generator=g())]))
    return grown(d, x), d, d.eval()(x), d.folded(), grown(_Given(c, low), x), grown(u, x), grown(m, x)


@case('wavelet_diffusion.denoisers', 'split merge mean_pyramid psnr denoise denoising_loss measured_field')
def _(t, g):
    x = t(images(4, 8).sigmoid())
    d = denoisers.Denoiser(3, 1, 0, 4, 3, returns='noise', generator=g())
    d.convolutions[-1].weight.data.mul_(.01)
    d = t(d)
    low, detail = denoisers.split(x)
    return (low, detail, denoisers.merge(low, detail), denoisers.mean_pyramid(x, 2), denoisers.psnr(x, x + .1),
            denoisers.denoise(d, x), denoisers.denoising_loss(lambda g: x)(d, g()).detach(),
            denoisers.measured_field(d, 15, generator=g()))


def shrink(y, low=None, sigma=None): return y / (1 + y.square().mean((1, 2, 3), keepdim=True))


@case('wavelet_diffusion.synthesis', 'synthesize start_like as_generators noise_like', there=True)
def _(t, g):
    y = synthesis.start_like(t(images(6, 8)), 3, 1., seed=g())
    return y, synthesis.synthesize(shrink, y, .3, .3, seed=g())[0]


@case('wavelet_diffusion.synthesis', 'keep_pixels check_projector synthesize harmonic inpaint')
def _(t, g):
    x, mask = t(images(2, 8).sigmoid()), t(torch.ones(8, 8).tril() > 0)
    p, net = synthesis.keep_pixels(mask), t(denoisers.Denoiser(3, 1, 0, 4, 3, generator=g()))
    return (p(x), synthesis.synthesize(shrink, x, .03, .3, seed=g(), projector=p, seen=p(x))[0],
            synthesis.harmonic(x, mask), synthesis.inpaint(x, mask, net, 1, g(), end=.3, h=.3).samples)


@case('wavelet_diffusion.synthesis', 'refine super_resolve', there=True)
def _(t, g):
    x = t(images(2, 8).sigmoid())
    return synthesis.refine(x, [shrink], seed=g(), end=.03, h=.3)[0], \
        synthesis.super_resolve(x, [shrink], seed=g(), end=.03, h=.3).samples


@case('wavelet_diffusion.quality', 'spectrum_distance value_distance coefficient_distance texture_features frechet')
def _(t, g):
    x, y = t(images(6)), t(images(5))
    return (quality.texture_features(x, 2), quality.spectrum_distance(x, y), quality.value_distance(x, y),
            quality.frechet(t(normal(9, 3)), t(normal(8, 3))), quality.coefficient_distance(x, y, depth=1))


@case('wavelet_diffusion.generalization', 'jacobian jacobian_rows eigenbasis tangent_energy empirical_denoiser')
def _(t, g):
    train = t(images(5, 4))
    d, y = generalization.empirical_denoiser(train, .5), train[0]
    J = generalization.jacobian(d, y)
    lam, V, off = generalization.eigenbasis(J)
    return J, lam, off, generalization.tangent_energy(V, V[:2]), d(train), generalization.jacobian_rows(d, y, [1, 3])


@case('wavelet_diffusion.generalization', 'render_disks rays centred cosines closest flow_sample oracle_mse')
def _(t, g):
    p, a, b = t(generalization.disks(2, 8, torch.Generator().manual_seed(0))[1]), t(images(5)), t(images(5) + 1)
    return (generalization.render_disks(p, 8), generalization.rays(3, a[0], g()),
            generalization.cosines(a, b), tuple(generalization.closest(a, b)),
            generalization.oracle_mse(t(normal(9)), 1.),
            [generalization.flow_sample(t(normal(n, 6)), t(normal(4, 6)), 1.) for n in (4, 20)])


# --- rainbow: moments are kept in double precision on the CPU ---
def plain(width=6, seed=0): return ensembles.perceptron(8, width, 2, 3, generator=torch.Generator().manual_seed(seed))


@case('rainbow.alignment', 'Moments.update Moments.within Moments.between alignment alignment_error cosine angle cka '
      'permutation')
def _(t, g):
    m = alignment.Moments(4, 3, 2, autos=True)
    m.update(t(normal(40, 4)), t(normal(40, 3, seed=1)), t(labels(40, 2)))
    A = alignment.alignment(m)
    return [float(v) for v in (A.abs().sum(), alignment.alignment_error(m), alignment.alignment_error(m, A),
                               alignment.cosine(m), alignment.angle(m), alignment.cka(m), m.within().moment().sum(),
                               alignment.permutation(m).sum())]


@case('rainbow.alignment', 'procrustes sample_rows')
def _(t, g):
    M = t(normal(4, 3).double())
    flat = M * t(torch.tensor([1., 1., 0.]))
    return ([alignment.procrustes(m) for m in (M, flat, M * 0)], alignment.procrustes(M, 2),
            alignment.sample_rows(t(images(channels=3))))


@case('rainbow.alignment', 'compared aligned_layers aligned_to_mean caught evaluating')
def _(t, g):
    nets, x = [t(plain(6, k)) for k in range(3)], t(normal(50, 8))
    m = alignment.compared(nets, ['2', '4'], [x], autos=True)
    A, share = alignment.aligned_to_mean({p: v['2'] for p, v in m.items()})
    one = alignment.aligned_layers(nets[0], nets[1], ['2'], [(x, t(labels(50)))], classes=3)['2']
    return [alignment.cka(v['2']) for v in m.values()], share, alignment.cosine(one)


@case('rainbow.covariance', 'covariance rotated layer_weights set_layer_weights clipped')
def _(t, g):
    W, A, net = t(normal(9, 3, 2, 2)), t(normal(2, 3)), t(plain())
    C = covariance.covariance(W)
    V = covariance.basis('weights', 2, covariance.covariance(covariance.layer_weights(net[1])))
    c = covariance.clipped(net, '1', V)
    return (C, covariance.covariance([W, W], True), covariance.rotated(W, A), c, c(t(normal(4, 8))))


@case('rainbow.covariance', 'effective_rank explained')
def _(t, g):
    W = t(normal(9, 4))
    C = covariance.covariance(W)
    return (covariance.effective_rank(C), covariance.explained(C, covariance.basis('features', 2, C).double()))


@case('rainbow.covariance', 'whitened share_outside normal_distance basis gaussian_draws gaussianity', there=True)
def _(t, g):
    Ws = [t(normal(20, 3, seed=s)) for s in range(3)]
    Z, C = covariance.whitened(Ws), covariance.covariance(Ws)
    return ([z.abs() for z in Z], covariance.share_outside(Z[0]), covariance.normal_distance(Z[0]),
            list(covariance.gaussian_draws(Ws, 2, g())), covariance.gaussianity(Ws, draws=3, generator=g()),
            covariance.basis('random', 2, C, generator=g()))


@case('rainbow.kernels', 'dual product_variance coordinates aligned_error first_order_error')
def _(t, g):
    x = t(normal(6, 3))
    G, out = x @ x.T, []
    for k in kernels.ACTIVATIONS:
        K = kernels.dual(k, G)
        out += [K] if k == 'erf' else [K, kernels.product_variance(k, G)]
    Z = kernels.coordinates(kernels.dual('relu', G))
    return (out, Z.abs(), kernels.aligned_error(Z, t(normal(6, 4))),
            kernels.first_order_error(t(normal(9, 3)), t(normal(3).abs())))


@case('rainbow.kernels', 'GaussianRainbow.sample GaussianRainbow.coefficients', there=True)
def _(t, g):
    out = []
    for k in ('relu', 'modulus'):
        r = kernels.GaussianRainbow(t(normal(6, 3)), [t(torch.ones(3)), t(torch.ones(2))], k)
        out += [r.K, [f.abs().sum() for a in ('aligned', 'random') for f in r.sample((5, 4), g(), a)],
                r.coefficients(7, g())[1]]
    return out


@case('rainbow.model', 'RainbowModel.fit RainbowModel.sample RainbowModel.covariance traced')
def _(t, g):
    x, y, out = t(images(60, 8)), t(labels(60)), []
    first = [torch.Generator().manual_seed(k) for k in range(4)]
    conv = [ensembles.convolutional(1, (4, 5), classes=3, generator=f) for f in first[:2]]
    for net in conv: net.train(); net(images(60, 8))
    mix = [networks.LearnedScattering(1, 8, (4, 5), classes=3, generator=f) for f in first[2:]]
    for nets in (conv, mix):
        m = rainbow.RainbowModel().fit([t(n.eval()) for n in nets], [(x, y)])
        out += [m.sample(g()), m.sample(g(), head='refitted', ridge=1.), m.covariance(list(m.layers)[0])]
    return out


@case('rainbow.model', 'drawn_neurons', there=True)
def _(t, g):
    R = [t(normal(9, 4)), t(complex_(9, 4))]
    return [rainbow.drawn_neurons(r, 5, law, generator=g()) for r in R for law in rainbow.LAWS]


@case('rainbow.model', 'logistic_head')
def _(t, g): return [rainbow.logistic_head(t(normal(60, 4)), t(labels(60)), 3, bias=b, steps=5) for b in (True, False)]


@case('rainbow.dynamics', 'leading_directions amplification stretched', there=True)
def _(t, g):
    W = [t(normal(12, 4, seed=s)) for s in range(3)]
    return (dynamics.leading_directions(W[0], 2).abs(), dynamics.amplification(W, 2, generator=g()),
            dynamics.stretched(W[0], W[1], 2, generator=g()))


@case('rainbow.ensembles', 'perceptron convolutional MeanField')
def _(t, g):
    x = t(images(20, 4))
    nets = [ensembles.perceptron(16, 5, 2, 3, True, 'mean field', g()),
            ensembles.convolutional(1, (4, 5), classes=3, generator=g())]
    return [grown(t(n), x) for n in nets]


@case('training', 'accuracy wrong error')
def _(t, g):
    x, y, net = t(images(20, 4)), t(labels(20)), t(ensembles.perceptron(16, 5, 2, 3, True, 'mean field', g()))
    return training.accuracy(net, x, y), training.error(net, (x, y)), float(training.wrong(net, (x, y)).sum())


# --- the tests ---
def top(b): return max(1., float(b.abs().double().max())) if b.numel() and b.dtype != torch.bool else 1.


def seeded(kind):
    return lambda: torch.Generator('cpu' if kind == 'here' else 'meta').manual_seed(0)


KINDS = [pytest.param(k, kind, id=' '.join([*k.split()[:2], *(['drawn there'] if kind == 'there' else [])]),
                      marks=[pytest.mark.xfail(reason=why, strict=True)] if why else [])
         for k, (_, why, there) in CASES.items() for kind in ('here', *(['there'] if there else []))]


@pytest.mark.parametrize('name, kind', KINDS)
@pytest.mark.filterwarnings('ignore')
def test_what_is_given_there_is_computed_there(name, kind):
    f = CASES[name][0]
    torch.manual_seed(0)
    want = leaves(f(lambda x: x, seeded('here')))
    torch.manual_seed(0)
    with elsewhere(): got = leaves(f(away, seeded(kind)))
    assert len(got) == len(want)
    left = [i for i, (a, b) in enumerate(zip(got, want)) if isinstance(b, torch.Tensor) and not isinstance(a, Away)]
    assert not left, f'results {left} of {len(want)} came back on the CPU'
    for a, b in zip(got, want):
        if isinstance(b, torch.Tensor):
            torch.testing.assert_close(back(a), b.detach(), rtol=1e-4, atol=1e-5 * top(b), equal_nan=True)
        elif isinstance(b, (float, np.ndarray)): np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        else: assert isinstance(a, type(b)) and (not isinstance(b, (int, str)) or a == b)


def write(x): x[torch.tensor([0])] = torch.ones(1, 3)


@pytest.mark.parametrize('mix', [
    lambda x: x + torch.ones(3), lambda x: x @ torch.ones(3), lambda x: x.add_(torch.ones(3)), lambda x: x.numpy(),
    lambda x: np.asarray(x), lambda x: torch.stack([x[0, 0], torch.tensor(1.)]), lambda x: torch.ones(3)[x[0] > 0],
    write, lambda x: torch.randn(3, generator=torch.Generator(), device=x.device),
    lambda x: x.normal_(generator=torch.Generator()), lambda x: torch.randn(3, generator=torch.Generator(x.device)),
    lambda x: nn.Linear(3, 2)(x), lambda x: torch.cat([x, torch.ones(2, 3)])])
def test_two_devices_do_not_mix(mix):
    with elsewhere(), pytest.raises((RuntimeError, TypeError)): mix(away(torch.ones(2, 3)))


@pytest.mark.parametrize('ask', [
    lambda x: x[:, [0, 2]], lambda x: x * torch.tensor(2.), lambda x: x[torch.tensor([0])], lambda x: x.clone().mul_(2),
    lambda x: x.new_tensor([1., 2.]), lambda x: torch.tensor([1., 2.]).to(x), lambda x: x.T @ x, lambda x: x[0] @ x.T,
    lambda x: torch.complex(x, -x).conj().imag, lambda x: x.clone().unsqueeze_(0), lambda x: nn.Linear(3, 2).to(x)(x),
    lambda x: torch.full((2,), x[0, 0].item(), device=x.device), lambda x: torch.linspace(0, 1, 3, device=x.device)])
def test_what_a_machine_with_two_devices_does(ask):
    torch.manual_seed(0)
    want = ask(normal(2, 3))
    torch.manual_seed(0)
    with elsewhere(): got = ask(away(normal(2, 3)))
    assert isinstance(got, Away) and got.shape == want.shape
    assert torch.equal(back(got).detach(), want.detach().resolve_neg())


def test_most_of_the_library_is_asked():
    found = {f'{k.split()[0]}.{n}' for k in CASES for n in k.split()[1:]}
    for n in found:
        parts = n.split('.')
        at = 2 if importlib.util.find_spec(f'deepstruct.{parts[0]}').submodule_search_locations else 1
        o = importlib.import_module('deepstruct.' + '.'.join(parts[:at]))
        for p in parts[at:]: o = getattr(o, p)
    assert len(found) >= 60


@pytest.mark.parametrize('preset, word', [('smoke', 'cpu'), ('laptop', 'cpu'), ('long', 'auto'), ('paper', 'auto')])
def test_a_preset_names_its_accelerator(preset, word, monkeypatch, tmp_path):
    from types import SimpleNamespace

    from deepstruct import places, training
    from deepstruct.book.runner import _environment
    run = SimpleNamespace(preset=preset, root=tmp_path, out=tmp_path, folder=tmp_path, package=tmp_path, force=False)
    asked = []
    made = SimpleNamespace(launch=lambda: None)
    monkeypatch.setattr('lightning_fabric.Fabric', lambda accelerator, **_: asked.append(accelerator) or made)
    monkeypatch.delenv('DEEPSTRUCT_ACCELERATOR', raising=False)
    training.fabric()
    with _environment(run, 1): training.fabric(); training.fabric('cpu')
    monkeypatch.setenv('DEEPSTRUCT_ACCELERATOR', 'mps') # what the user says comes first
    with _environment(run, 1): training.fabric()
    assert asked == ['cpu', word, 'cpu', 'mps'] and set(places.ACCELERATORS) == {'smoke', 'laptop', 'long', 'paper'}


def test_what_a_stage_returns_is_on_the_cpu():
    x = torch.arange(3.)
    with elsewhere():
        got = core._at_home({'a': [away(x), 1], 'b': (x, {'c': away(x + 1)})})
        assert [type(v) for v in (got['a'][0], got['b'][1]['c'])] == [torch.Tensor] * 2 and got['b'][0] is x
    assert torch.equal(got['a'][0], x) and torch.equal(got['b'][1]['c'], x + 1)
