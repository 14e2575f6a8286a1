"Energies by dual score matching, against closed forms, quadrature, the heat equation and symmetries."
import math

import numpy as np
import pytest
import torch
from torch import nn

import deepstruct as ds
from deepstruct.core import generator
from deepstruct.wavelet_diffusion.log_density import (InnerProduct, LogDensity, RadialMixture, chi, decibels,
                                                      dual_loss, in_a_plane, normaliser, radial_energy, scores)

def normal(*shape, word='log density'): return torch.randn(*shape, generator=generator(word), dtype=torch.float64)

class Modes(nn.Module): # a centred Gaussian with independent coordinates, and c times log t
    def __init__(self, lam, c=0.):
        super().__init__()
        self.lam, self.c = nn.Parameter(lam.clone()), nn.Parameter(torch.tensor(c).double())
    def forward(self, y, t):
        s = self.lam + t[:, None]
        return (y.square() / s + (2 * math.pi * s).log()).sum(1) / 2 + self.c * t.log()

LAM = torch.tensor([.2, 1., 3., .7], dtype=torch.float64)

def data(n, word='data'): return LAM.sqrt() * normal(n, len(LAM), word=word)

# the two scores

def test_scores_are_the_derivatives():
    y, t = normal(6, 4), torch.linspace(.1, 2, 6).double()
    U, space, time = scores(Modes(LAM), y, t)
    s = LAM + t[:, None]
    want = -sum(torch.distributions.Normal(0, s[:, i].sqrt()).log_prob(y[:, i]) for i in range(4))
    assert torch.allclose(U, want) and torch.allclose(space, y / s)
    assert torch.allclose(time, (1 / s - y.square() / s**2).sum(1) / 2)

def test_time_score_is_a_conditional_mean():
    """Of d/2t - |y - x|^2/2t^2 given y, by quadrature over x, for a mixture of two scales on a line."""
    t, x = .3, torch.linspace(-40, 40, 40_001, dtype=torch.float64)
    prior = sum(torch.distributions.Normal(0., s).log_prob(x).double().exp() for s in (1., 4.)) / 2
    for y in (.0, .8, 2.5, 6.):
        w = prior * torch.exp(-(y - x)**2 / 2 / t)
        mean = lambda f: float((w * f).sum() / w.sum())
        at = torch.tensor([[y]]).double()
        _, space, time = scores(lambda y, t: radial_energy(y, t[:, None], (1, 4)), at, torch.tensor([t]).double())
        assert float(space) == pytest.approx(mean((y - x) / t), abs=1e-7)
        assert float(time) == pytest.approx(mean(1 / 2 / t - (y - x)**2 / 2 / t**2), abs=1e-7)

def test_time_score_obeys_the_heat_equation():
    """dU/dt = (Laplacian of U - |grad U|^2) / 2."""
    U = lambda y, t: radial_energy(y, t[:, None], (1, 2))
    for y in 2 * normal(5, 3):
        t = torch.tensor([.4]).double()
        _, space, time = scores(U, y[None], t)
        H = torch.autograd.functional.hessian(lambda z: U(z[None], t).sum(), y)
        assert float(time) == pytest.approx(float(H.trace() - space.square().sum()) / 2, abs=1e-9)

# the losses

@pytest.mark.parametrize('weight', [0., 1., 5.])
def test_the_truth_is_where_the_gradient_vanishes(weight):
    g = generator('stationary')
    grads, loss = [], dual_loss(lambda g: data(200, word=int(torch.randint(10**9, (1,), generator=g))), .1, 10., weight)
    for _ in range(60):
        U = Modes(LAM)
        loss(U, g).backward()
        grads.append(torch.cat([U.lam.grad, (U.c.grad if weight else 0 * U.lam.grad[:1]).view(1)]))
    grads = torch.stack(grads)
    assert (grads.mean(0).abs() <= 5 * grads.std(0) / 60**.5).all()

@pytest.mark.parametrize('off', [LAM * 1.3, LAM + .2, LAM.flip(0)])
def test_the_truth_has_the_least_loss(off):
    x = data(4000)
    at = lambda weight, *p: float(dual_loss(lambda g: x, .1, 10., weight)(Modes(*p), generator('same noise')).detach())
    for weight in (0., 1.): assert at(weight, LAM) < at(weight, off)
    assert at(1., LAM) < min(at(1., LAM, .2), at(1., LAM, -.2))
    assert at(0., LAM) == pytest.approx(at(0., LAM, 3.), abs=1e-12) # which single score matching does not see

def test_losses_at_the_truth():
    """Per dimension: the space loss is the mean of lam/(lam + t), the time loss half the mean of 1 - (lam'..)^2."""
    x, s = data(100_000), .8
    space = float(dual_loss(lambda g: x, s * .9999, s * 1.0001, 0.)(Modes(LAM), generator('level')).detach())
    both = float(dual_loss(lambda g: x, s * .9999, s * 1.0001, 1.)(Modes(LAM), generator('level')).detach())
    r = s**2 / (LAM + s**2) # time: the variance of |z|^2/2d not explained by y, 1/2d of it times 1 - r^2
    assert space == pytest.approx(float((1 - r).mean()), rel=.02)
    assert both - space == pytest.approx(float((1 - r**2).sum() / 2 / 16), rel=.02)

def test_a_loss_in_any_shape_is_the_same():
    x, flat = normal(5, 2, 3, 4), lambda U: lambda y, t: U(y.flatten(1), t)
    U = Modes(torch.rand(24, generator=generator('shape')).double())
    a = dual_loss(lambda g: x, .1, 1.)(flat(U), generator('a')).detach()
    b = dual_loss(lambda g: x.flatten(1), .1, 1.)(U, generator('a')).detach()
    assert float(a) == pytest.approx(float(b), rel=1e-12)

@pytest.mark.parametrize('levels', [(0., 1.), (1., 1.), (2., 1.), (.1, 1., -1.), (math.nan, 1.), ('a', 1.)])
def test_noise_that_is_none(levels):
    with pytest.raises(ValueError, match='expected'): dual_loss(None, *levels)

# the constant

@pytest.mark.parametrize('c', [0., -7.5])
def test_the_constant_is_that_of_the_large_noise(c):
    U, x = Modes(LAM), data(3000)
    assert float(normaliser(lambda y, t: U(y, t) + c, x, 100., generator('n'))) == pytest.approx(-c, abs=.01)

def test_decibels():
    assert decibels(math.log(10.) * 7, 7) == pytest.approx(10.)
    assert torch.allclose(decibels(torch.tensor([1., -2.]), 2), torch.tensor([1., -2.]) * 5 / math.log(10))

# the toy

def test_radial_energy_is_that_of_scipy():
    from scipy.stats import multivariate_normal
    y = normal(4, 3)
    want = [-np.log(np.mean([multivariate_normal.pdf(v, np.zeros(3), (s**2 + .3) * np.eye(3)) for s in (1, 4)]))
            for v in y.numpy()]
    assert np.allclose(radial_energy(y, .3, (1, 4)), want)

def test_the_family_holds_the_truth():
    """With the coefficients of the exact law the energy is the exact one."""
    U, d = RadialMixture(6, generator=0).double(), 6
    class Exact(nn.Module):
        def forward(self, u): # log (1 + t)
            s = (torch.tensor([1., 16.]).double() + u.expm1()).log() - u # log of variance over 1 + t
            return torch.cat([-s, s / 2 + math.log(2) / d], 1)
    U.coefficients = Exact()
    y, t = 3 * normal(9, d), torch.linspace(.05, 4, 9).double()
    assert torch.allclose(U(y, t), radial_energy(y, t[:, None], (1, 4)))

def test_a_plane_is_enough():
    """Both losses of a radial energy, in 50 dimensions and in the plane of x and z: the same law."""
    U, d, n = RadialMixture(50, generator=2), 50, 20_000
    x = normal(n, d).float()
    flat = torch.stack([chi(d, n, generator('r')), torch.zeros(n)], 1)
    for weight in (0., 3.):
        a = dual_loss(lambda g: x, .2, 5., weight)(U, generator('z')).detach()
        b = dual_loss(lambda g: flat, .2, 5., weight, in_a_plane(d), d)(U, generator('z')).detach()
        assert float(a) == pytest.approx(float(b), rel=.02)
    r = chi(50, 50_000, generator('chi'))
    assert float(r.square().mean()) == pytest.approx(50, rel=.01)
    assert float(r.square().std()) == pytest.approx(10, rel=.03)

def test_radial_energies_see_the_norm_alone():
    U, y, t = RadialMixture(5, 3, generator=1).double(), normal(4, 5), torch.rand(4, generator=generator('t')).double()
    Q = torch.linalg.qr(normal(5, 5, word='Q')).Q
    assert torch.allclose(U(y @ Q, t), U(y, t)) and not torch.allclose(U(2 * y, t), U(y, t))
    a, b = (RadialMixture(4, generator=3).coefficients[0].weight for _ in range(2))
    assert torch.equal(a, b)

# the network

def ready(model, mean=.3, sd=2., word='weights'): # with units, and no weight that is zero
    g = generator(word)
    with torch.no_grad():
        for w in model.parameters(): w.copy_(.3 * torch.randn(w.shape, generator=g) / w[0].numel()**.5)
    model.energy.mean.fill_(mean); model.energy.sd.fill_(sd)
    return model

IMAGES = dict(shape=(1, 8, 12), width=4, patch=2)

@pytest.mark.parametrize('padding', ['zeros', 'circular'])
def test_second_derivatives(padding):
    """Training differentiates the scores: through periodic padding too, whose derivative is written by hand."""
    model = ready(LogDensity((1, 4, 4), 4, (1, 2), 1, padding)).double()
    y, t = normal(2, 1, 4, 4), torch.tensor([.5, 3.]).double()
    w = next(p for n, p in model.named_parameters() if n.endswith('first.weight'))
    def value(a): # a functional of both scores, at weights moved by a
        space, time = scores(lambda y, t: torch.func.functional_call(
            model.energy, {'net.net.first.weight': w + a}, (y, t)), y, t, graph=True)[1:]
        return space.square().sum() + time.sum()
    a = torch.zeros_like(w, requires_grad=True)
    grad, = torch.autograd.grad(value(a), a)
    move = normal(*w.shape, word='move')
    h = 1e-5
    numeric = (value(h * move) - value(-h * move)) / 2 / h
    assert float((grad * move).sum()) == pytest.approx(float(numeric), rel=1e-5)

def test_untrained_it_is_the_white_gaussian():
    model = LogDensity((1, 8, 8), 4)
    model.energy.mean.fill_(.3); model.energy.sd.fill_(2.)
    y = normal(5, 1, 8, 8).float()
    for s in (.2, 1., 20.):
        want = torch.distributions.Normal(.3, (4 + s**2)**.5).log_prob(y).sum((1, 2, 3))
        assert torch.allclose(model.log_prob(y, s), want, rtol=1e-5)
    assert torch.allclose(model.denoise(y, 1.), y - (y - .3) / 5, atol=1e-5)

def test_any_weights_tend_to_the_white_gaussian():
    model = ready(LogDensity((1, 8, 8), 4, noise=(.1, 1e4))).double()
    y, t = 3e3 * normal(4, 1, 8, 8), torch.full((4,), 9e6).double()
    white = -torch.distributions.Normal(.3, (4 + 9e6)**.5).log_prob(y).sum((1, 2, 3)).double()
    far = (model.energy(y, t) - white).abs().max()
    assert far < .05 and (model.energy(y / 3e3, t / 9e6) - white).abs().max() > 1

def test_symmetries_of_the_network():
    x = normal(3, 1, 8, 8).float()
    model = ready(LogDensity((1, 8, 8), 4, padding='circular'))
    assert torch.allclose(model.log_prob(x.roll((4, -4), (2, 3))), model.log_prob(x), atol=1e-3)
    assert not torch.allclose(model.log_prob(x.roll((1, 0), (2, 3))), model.log_prob(x), atol=1e-3)
    assert torch.allclose(model.log_prob(x.flip(0)), model.log_prob(x).flip(0), atol=1e-4)

def test_the_unit_is_a_jacobian():
    """Data times c: the same fit, log p less d log c."""
    x = normal(300, 3).float() + torch.tensor([0., 1., 2.])
    a, b = (LogDensity(3, 8).fit(c * x, 12, 16, seed=4).log_prob(c * x) for c in (1., 8.))
    assert torch.allclose(a - 3 * math.log(8.), b, atol=1e-3)

def test_what_goes_in_and_comes_out():
    x = normal(7, 1, 8, 12)
    model = ready(LogDensity(**IMAGES))
    want = model.log_prob(x)
    assert want.shape == (7,) and want.dtype == torch.float32
    for same in (x.float(), x.numpy(), x.numpy().astype('>f8')):
        assert torch.allclose(model.log_prob(same), want, atol=1e-4)
    assert torch.allclose(model.log_prob(x.half()), want, atol=.5)
    assert torch.allclose(model.log_prob(x, batch=2), want, atol=1e-4)
    assert torch.allclose(model.denoise(x, .5, batch=3), model.denoise(x, .5), atol=1e-5)
    with torch.inference_mode(): assert torch.allclose(model.log_prob(x), want)

def test_denoising_is_tweedie():
    model = ready(LogDensity(**IMAGES)).double()
    x, s, e = normal(2, 1, 8, 12), .7, 1e-5
    D = model.denoise(x, s)
    step = torch.zeros_like(x); step[:, 0, 3, 5] = e
    slope = (model.log_prob(x + step, s) - model.log_prob(x - step, s)) / 2 / e
    assert torch.allclose(D[:, 0, 3, 5], x[:, 0, 3, 5] + s**2 * slope, atol=1e-6)

def test_a_seed_is_a_fit(tmp_path):
    x = normal(60, 1, 8, 8).float()
    fit = lambda seed: LogDensity((1, 8, 8), 4, seed=seed).fit(x, 4, 8, seed=seed)
    a, b = fit(1), fit(1)
    assert torch.equal(a.log_prob(x), b.log_prob(x)) and not torch.equal(a.log_prob(x), fit(2).log_prob(x))
    a.save(tmp_path / 'a')
    again = ds.load(tmp_path / 'a')
    assert isinstance(again, LogDensity) and torch.equal(again.log_prob(x), a.log_prob(x)) and again.shape == (1, 8, 8)

def test_first_weights_leave_the_generator_alone():
    torch.manual_seed(5); a = torch.rand(1); torch.manual_seed(5)
    LogDensity(3); RadialMixture(4, generator=0)
    assert torch.equal(torch.rand(1), a)

# what is learned

def test_mass_is_one_on_a_line():
    torch.manual_seed(0)
    g = generator('lumps')
    x = torch.where(torch.rand(3000, 1, generator=g) < .8, -1., 2.) + .4 * torch.randn(3000, 1, generator=g)
    model = LogDensity(1, 24).fit(x, 300, 64, seed=1, lr=5e-3, average=.98)
    y = torch.linspace(-9, 10, 4000)
    p = model.log_prob(y[:, None]).exp()
    assert float(torch.trapezoid(p, y)) == pytest.approx(1, abs=.2)
    assert float(torch.trapezoid(p * (y < .5), y) / torch.trapezoid(p, y)) == pytest.approx(.8, abs=.1)

def test_mass_is_one_in_the_plane():
    x = normal(3000, 2).float() @ torch.tensor([[1., .8], [0., .4]])
    model = LogDensity(2, 24).fit(x, 250, 64, seed=1, lr=5e-3, average=.98)
    a = torch.linspace(-8, 8, 161)
    p = model.log_prob(torch.cartesian_prod(a, a)).exp()
    assert float(p.sum() * (a[1] - a[0])**2) == pytest.approx(1, abs=.2)
    cov = torch.cov(x.T) + float(model.energy.sd)**2 * .01 * torch.eye(2)
    exact = torch.distributions.MultivariateNormal(x.mean(0), cov).log_prob(x)
    assert float((model.log_prob(x) - exact).square().mean().sqrt()) < .25 # the white Gaussian errs by 0.9
    white = LogDensity(2)
    white.energy.sd.copy_(model.energy.sd)
    assert float((white.log_prob(x) - exact).square().mean().sqrt()) > .4

def test_with_one_loss_the_level_is_not_learned():
    x = normal(200, 2).float()
    dual, single = (LogDensity(2, 24).fit(x, 5, 64, w, seed=1) for w in (1., 0.))
    assert all((p == 0).all() for p in single.energy.level.out.parameters())
    assert any((p != 0).any() for p in dual.energy.level.out.parameters())

# bad input

MODEL = ready(LogDensity(**IMAGES))
OK = torch.zeros(3, 1, 8, 12)

@pytest.mark.parametrize('call, says', [
    (lambda: LogDensity((1, 8, 10)), 'multiples of 4'), (lambda: LogDensity((1, 8, 8), noise=(1., .1)), 'least'),
    (lambda: LogDensity(()), 'shape is'), (lambda: LogDensity((0, 8, 8)), 'whole number'),
    (lambda: LogDensity((1, 8, 8), padding='mirror'), "expected 'zeros'"), (lambda: LogDensity(3, width=0), 'width'),
    (lambda: LogDensity(3).log_prob(torch.zeros(2, 3)), 'no units'),
    (lambda: MODEL.log_prob(OK[:, :, :4]), r'\(batch, 1, 8, 12\)'), (lambda: MODEL.log_prob(OK.long()), 'floating'),
    (lambda: MODEL.log_prob(OK / 0), 'NaN'), (lambda: MODEL.log_prob(OK, 100.), '0.2 to 20'),
    (lambda: MODEL.log_prob(OK, 0.), 'noise of training'), (lambda: MODEL.log_prob(OK, True), 'finite number'),
    (lambda: MODEL.denoise(OK, .01), 'noise of training'), (lambda: LogDensity(3).fit(torch.ones(9, 3)), 'constant'),
    (lambda: LogDensity(3).fit(torch.zeros(1, 3)), 'at least 2'), (lambda: LogDensity(3).fit(OK, 0), r'\(batch, 3\)'),
    (lambda: LogDensity(3).fit(normal(9, 3), batch=0), 'batch'), (lambda: LogDensity(3).fit(normal(9, 3), 0), 'steps')])
def test_bad_input(call, says):
    with pytest.raises(ValueError, match=says): call()

def test_files_of_others(tmp_path):
    from deepstruct.core import save_tensors
    save_tensors(tmp_path / 'other', 'wavelet diffusion model', {}, {'a': torch.zeros(1)})
    save_tensors(tmp_path / 'half', 'log density', MODEL.about, {'constant': torch.zeros(())})
    save_tensors(tmp_path / 'new', 'log density', MODEL.about | {'more': 1}, MODEL.state_dict())
    for name, says in (('other', 'expected a log density'), ('half', 'fit together'), ('new', 'fit together')):
        with pytest.raises(ValueError, match=says): LogDensity.load(tmp_path / name)

def test_any_network_makes_an_energy():
    """Half the inner product with a symmetric linear map: a quadratic form, whose gradient is the map."""
    A = normal(4, 4); A = A + A.T
    class Linear(nn.Module):
        def forward(self, a, log_sigma): return a @ A
    U = InnerProduct(Linear()).double()
    U.sd.fill_(1.5)
    y, t = normal(3, 4, word='y'), torch.tensor([.3, 1., 4.]).double()
    a, k = y / (2.25 + t).sqrt()[:, None], (1.5 / t.sqrt())[:, None]
    assert torch.allclose(scores(U, y, t)[1], (a - k * (a @ A)) / (2.25 + t).sqrt()[:, None])
