"""EDM's preconditioning, flow matching in its form, cascades of denoisers, and the judge: against closed forms."""
import math

import numpy as np
import pytest
import torch
from torch import nn

import deepstruct as ds
from deepstruct.fields import gaussian_field
from deepstruct.wavelet_diffusion.edm import (EDM, Architecture, PatchUNet, Plan, edm_loss, euler_flow,
                                              euler_maruyama, factor_weights, flow_levels, karras, noise_levels,
                                              ou_score, preconditioning, scale_bands)
from deepstruct.wavelet_diffusion.gaussian import _spectral, conditional_laws, mode_power, mode_scores, response
from deepstruct.wavelet_diffusion.inception import inception_distance
from deepstruct.wavelet_diffusion.judge import (Judge, gaussian_images, judge_loss, judged, nearest,
                                                precision_recall)
from deepstruct.wavelet_diffusion.quality import frechet
from deepstruct.wavelet_diffusion.sde import forward, sigma_of, time_grid
from deepstruct.wavelet_diffusion.solvers import conditional_denoiser, denoiser_of, gaussian_denoiser
from deepstruct.wavelet_diffusion.wsgm import OBJECTIVES, synthesis

SMALL = Architecture(4, (1, 2))


class Exact(nn.Module):
    """What a network would be whose denoiser is `of(condition)`: one level a call."""
    def __init__(self, of, cin, condition, objective='diffusion', error=0.):
        super().__init__()
        self.of, self.cin, self.condition, self.objective, self.error = of, cin, condition, objective, error

    def forward(self, u, time, condition=None):
        sigma = float((4 * time[0]).exp())
        skip, out, into = preconditioning(self.objective, sigma)
        y = u / into
        return (1 + self.error) * (self.of(condition)(y, sigma) - skip * y) / out


def exact_model(P, depth, objective='diffusion'):
    """A cascade of exact conditional denoisers, db4."""
    m = EDM(side=len(P), depth=depth, wavelet='db4', nets=(SMALL,), objective=objective).double()
    found, coarse = conditional_laws(P, 'db4', len(P) >> depth)
    units = [1.]
    for d in found: units.append(units[-1] * float(d.scale[0]))
    for i, f in enumerate(m.factors):
        j = depth - i # the details of octave j + 1, given x_(j+1)
        if i: f.net = Exact(lambda c, d=found[j]: conditional_denoiser(d, c), 3, 1, objective)
        else: f.net = Exact(lambda c: gaussian_denoiser(coarse), 1, 0, objective)
        sd = torch.as_tensor(found[j].scale[1:]) * units[j] if i else torch.tensor([units[depth]])
        f.mean, f.sd = torch.zeros(len(sd), 1, 1, dtype=torch.float64), sd.double()[:, None, None]
        if i: f.low_mean, f.low_sd = torch.zeros(1, 1, 1).double(), torch.full((1, 1, 1), units[j + 1]).double()
    return m


@pytest.mark.parametrize('objective', OBJECTIVES)
@pytest.mark.parametrize('sigma', [.004, .1, 1., 7., 200.])
def test_inputs_and_targets_have_unit_variance(objective, sigma):
    """In closed form, of x and z as independent unit vectors; for a flow the target has variance 2."""
    skip, out, into = preconditioning(objective, sigma)
    target = np.array([1 - skip, -skip * sigma]) / out
    assert target @ target == pytest.approx(1 if objective == 'diffusion' else 2, rel=1e-9)
    if objective == 'diffusion': # and c_skip makes c_out as small as it can be (EDM, appendix B.6)
        assert into**2 * (1 + sigma**2) == pytest.approx(1)
        for other in (.99 * skip, 1.01 * skip): assert math.hypot(1 - other, other * sigma) > out
    else: np.testing.assert_allclose(target, [1, -1], rtol=1e-9)


def test_diffusion_learns_v_up_to_its_sign():
    """What `wsgm.diffusion_loss` asks of its network."""
    g = torch.Generator().manual_seed(0)
    x, t = torch.randn(5, 3, dtype=torch.float64, generator=g), .6
    xt, z = forward(x, t, g)
    sigma, alpha = float(sigma_of(t)), math.exp(-t)
    skip, out, into = preconditioning('diffusion', sigma)
    y = x + sigma * z
    assert torch.allclose(into * y, xt)
    assert torch.allclose((x - skip * y) / out, -(alpha * z - math.sqrt(1 - alpha**2) * x))


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_the_exact_denoiser_is_where_the_loss_is_flat(objective):
    """The derivative in any direction vanishes within its error; for a network that is off by a fifth it does not."""
    P = mode_power(2, 8)
    x = gaussian_field(lambda *_: torch.as_tensor(P), 4000, 8, torch.Generator().manual_seed(1), torch.float64)
    def slope(error, k):
        def net(u, time, c):
            sigma = (4 * time[:, None, None, None]).exp()
            skip, out, into = preconditioning(objective, sigma)
            D = torch.fft.ifft2(torch.fft.fft2(u / into) * torch.as_tensor(P) / (torch.as_tensor(P) + sigma**2)).real
            exact = (D - skip * u / into) / out
            return exact * (1 + error) + theta * (exact, torch.sin(u), u.roll(1, 3))[k]
        out = []
        for r in range(12):
            theta = torch.zeros((), dtype=torch.float64, requires_grad=True)
            loss = edm_loss(net, x[r * 300:r * 300 + 300], None, objective, generator=torch.Generator().manual_seed(r))
            loss.backward(); out.append(float(theta.grad))
        return np.mean(out) / (np.std(out, ddof=1) / math.sqrt(len(out)))
    assert all(abs(slope(0., k)) < 5 for k in range(3)) and slope(.2, 0) > 8


def test_levels_are_drawn_from_their_laws():
    g = torch.Generator().manual_seed(0)
    s = noise_levels('diffusion', 4000, (.3, 1.2), g).log()
    assert abs(s.mean() - .3) < .01 and abs(s.std() - 1.2) < .02
    u = 1 / (1 + noise_levels('flow', 4000, (9., 9.), g))
    assert (u.sort().values - (torch.arange(4000) + .5) / 4000).abs().max() < 2e-3


@pytest.mark.parametrize('depth', [0, 2])
@pytest.mark.parametrize('objective, sampler', [('diffusion', 'dpm'), ('flow', 'dpm'), ('flow', 'euler')])
def test_exact_denoisers_give_the_law(depth, objective, sampler):
    """One or a cascade, whatever the objective: variances of all modes; with the details of another field they fail."""
    P, n = mode_power(2, 16), 300
    m = exact_model(P, depth, objective)
    how = karras(30, sigma_max=80., sigma_min=.01) if sampler == 'dpm' else euler_flow(150)
    x = m.sample_by(n, how, torch.Generator().manual_seed(3))
    z = mode_scores(_spectral(P**-.5, x))
    assert abs(z.square().mean() - 1) < 4 * math.sqrt(2 / len(z)) + (.4 if sampler == 'euler' else .05)
    if depth and sampler == 'dpm':
        y = m.sample_by(n, how, torch.Generator().manual_seed(3), shuffled=True)
        assert mode_scores(_spectral(P**-.5, y)).square().mean() > 3


@pytest.mark.parametrize('depth', [0, 2])
def test_euler_maruyama_gives_what_its_recursion_says(depth):
    """At 12 steps, where that is far from the law; plain mode by mode."""
    P, n, times = mode_power(2, 16), 600, time_grid('uniform', 12, 5.)
    x = exact_model(P, depth).sample_by(n, euler_maruyama(12), torch.Generator().manual_seed(4))
    v = response(P.ravel(), times)[0].reshape(P.shape)
    z = [mode_scores(_spectral(w**-.5, x)).square().mean() for w in (v, P)]
    assert z[1] > 3
    if not depth: assert abs(z[0] - 1) < 4 * math.sqrt(2 / 256)


def test_euler_of_flows_is_ddim():
    s = flow_levels(5)
    assert s[-1] == 0 and torch.allclose((1 / (1 + s[1:])).diff(), torch.tensor(.2, dtype=torch.float64))
    P = mode_power(1, 8)
    D = gaussian_denoiser(P)
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = x.clone()
    for k in range(5): # x_s = s x + (1 - s) z, velocity (D - x_s) / (1 - s)
        t = max(k / 5, 1e-3)
        y = y + ((k + 1) / 5 - t) * (D(y / t, (1 - t) / t) - y) / (1 - t)
    from deepstruct.wavelet_diffusion.solvers import solve
    assert torch.allclose(solve(D, x * 1000, s, 'ddim'), y, atol=1e-9)


def test_scores_and_denoisers_are_one_another():
    D = gaussian_denoiser(mode_power(2, 8))
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for sigma in (.05, 1., 30.): assert torch.allclose(denoiser_of(ou_score(D))(x, sigma), D(x, sigma), rtol=1e-8)


def test_bands_are_put_together_again():
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    (y, none), *rest = scale_bands(x, 'haar', 2)
    assert none is None and y.shape[2:] == (4, 4)
    for detail, low in rest:
        assert torch.allclose(low, y, atol=1e-5)
        y = synthesis(low, detail, 'haar')
    assert torch.allclose(y, x, atol=1e-5)


def test_patches_keep_every_pixel_apart():
    """The gradient of one output pixel reaches all pixels of its neighbours, and its own condition."""
    net = PatchUNet(1, 1, Architecture(8, (1, 2), groups=4, patch=2, attention=(1,)))
    g = torch.Generator().manual_seed(0)
    for w in net.parameters(): nn.init.normal_(w, std=.2, generator=g)
    x, c = (torch.randn(1, 1, 8, 8, generator=g, requires_grad=True) for _ in range(2))
    net(x, torch.zeros(1), c)[0, 0, 3, 4].backward()
    assert (x.grad != 0).all() and (c.grad != 0).all()
    assert {m.num_groups for m in net.modules() if isinstance(m, nn.GroupNorm)} == {4}


def test_a_model_that_is_trained_saved_and_read(tmp_path):
    P = mode_power(1, 8)
    x = 3 + 2 * gaussian_field(lambda *_: torch.as_tensor(P), 400, 8, torch.Generator().manual_seed(0))
    m = EDM(side=8, depth=1, nets=(SMALL,)).fit(x, 25, seed=0)
    y = m.eval().sample(100, 8, seed=1)
    assert m.history[0]['loss'][-1] < 1.2 and abs(y.mean() - 3) < 1 and .5 < y.std() / x.std() < 2
    m.save(tmp_path / 'm')
    again = ds.load(tmp_path / 'm')
    assert again.plan == m.plan and torch.equal(again.sample(4, 3, seed=1), m.sample(4, 3, seed=1))


def test_training_by_stages(tmp_path, monkeypatch):
    """Factor by factor, each from its own key; another run is another model."""
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path))
    x = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    plan = Plan(8, 1, nets=(SMALL,))
    a, b = EDM.trained(plan, x, 4, 8, 0), EDM.trained(plan, x, 4, 8, 0)
    assert len(list((tmp_path / 'stages').rglob('*.pt'))) == 2 and not list((tmp_path / 'training').glob('*'))
    assert all(torch.equal(v, w) for v, w in zip(a.state_dict().values(), b.state_dict().values()))
    other = EDM.trained(plan, x, 4, 8, 1)
    assert not torch.equal(a.factors[0].net.net.first.weight, other.factors[0].net.net.first.weight)
    assert set(factor_weights(plan, 0, x, 4, 8, 0)) == {'history', 'weights'}


def test_frechet_of_known_gaussians():
    g = torch.Generator().manual_seed(0)
    a, b, mu = torch.tensor([1., 4., .25]), torch.tensor([2., 1., .25]), torch.tensor([.5, 0., -1.])
    A, B = (torch.randn(100_000, 3, generator=g, dtype=torch.float64) * v.sqrt() for v in (a, b))
    known = float(mu.square().sum() + (a.sqrt() - b.sqrt()).square().sum())
    Q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=g))[0] # and turned together
    assert frechet(A, B + mu) == pytest.approx(known, abs=.04) == frechet(A @ Q, (B + mu) @ Q)


class Few(nn.Module): # in place of Inception
    def forward(self, x): return torch.cat([x.mean((2, 3)), x.square().mean((2, 3))], 1)[:, [0, 3, 4]] * 8


def test_inception_distance_is_that_of_its_features():
    pytest.importorskip('torchmetrics')
    g = torch.Generator().manual_seed(3)
    x, y = torch.rand(60, 3, 8, 8, generator=g), torch.rand(70, 3, 8, 8, generator=g).sqrt()
    want = frechet(Few()(x.double()), Few()(y.double()))
    assert inception_distance(x.split(25), y, Few()) == pytest.approx(want, rel=1e-3) and want > 1
    assert abs(inception_distance(y, [y], Few())) < 1e-3
    gray = inception_distance(x[:, :1], y[:, :1].numpy(), Few())
    assert gray == pytest.approx(frechet(*(Few()(z[:, :1].expand(-1, 3, -1, -1).double()) for z in (x, y))), rel=1e-3)
    for bad, words in ((2 * x, r'values in \[0, 1\]'), (x[:, :2], '2 channels'), (x[:1], 'fewer than two images')):
        with pytest.raises(ValueError, match=words): inception_distance(bad, y, Few())


def test_precision_and_recall_by_brute_force():
    g = np.random.default_rng(0)
    a, b = g.normal(size=(30, 2)), g.normal(size=(25, 2)) * 2
    def inside(points, ball):
        r = [sorted(np.linalg.norm(ball - q, axis=1))[3] for q in ball]
        return np.mean([any(np.linalg.norm(q - c) <= s for c, s in zip(ball, r)) for q in points])
    got = precision_recall(torch.tensor(a), torch.tensor(b))
    assert got == pytest.approx((inside(b, a), inside(a, b)))


def test_nearest_by_brute_force():
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(7, 1, 4, 4, generator=g), torch.rand(9, 1, 4, 4, generator=g)
    one_by_one = torch.stack([(b - x).square().sum((1, 2, 3)).sqrt().min() for x in a])
    assert torch.allclose(nearest(a, b, 3), one_by_one, atol=1e-5)


def test_gaussian_images_have_the_moments_of_each_class():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 2
    x = .5 + .03 * torch.randn(60, 1, 2, 2, generator=g) + .2 * (y[:, None, None, None] - .5)
    z = gaussian_images(x, 20_000, y, g).flatten(1)
    up = z.mean(1) > .5
    assert abs(up.float().mean() - .5) < .02
    for c in (0, 1):
        mine = x[y == c].flatten(1)
        assert (torch.cov(z[up == bool(c)].T) - torch.cov(mine.T, correction=0)).abs().max() < 1e-4
        assert abs(z[up == bool(c)].var(0).sum() / mine.var(0, correction=0).sum() - 1) < .025
        assert (z[up == bool(c)].mean(0) - mine.mean(0)).abs().max() < 2e-3


def test_the_judge_sees_noise_of_each_level():
    """The noise of the loss is uniform up to its bound, and the features are of clamped images."""
    x, seen = torch.full((50, 1, 8, 8), .5), []
    judge_loss(x, torch.zeros(50, dtype=torch.long), 400, .1)(
        lambda z: seen.append(z) or torch.zeros(400, 10), torch.Generator().manual_seed(0))
    sd = (seen[0] - .5).flatten(1).std(1)
    assert sd.max() < .13 and abs(sd.mean() - .05) < .005
    net = Judge(10, 8, widths=(2, 2), features=5)
    assert torch.equal(judged(net, x - 2)[0], judged(net, torch.zeros(50, 1, 8, 8))[0])
    h, p, label = judged(net, x)
    assert h.shape == (50, 5) and .1 <= p.min() and p.max() <= 1 and label.shape == (50,)


def untrained(): return EDM(side=8, nets=(SMALL,))


@pytest.mark.parametrize('what, words', [
    (lambda: preconditioning('score', 1.), 'objective is'), (lambda: Plan(6, 2), 'multiple of 2'),
    (lambda: Plan(8, nets=()), '0 networks'), (lambda: Plan(8, noise=(0., 0.)), 'positive'),
    (lambda: Plan(8, objective='energy'), 'objective is'), (lambda: untrained().sample(2), 'no units'),
    (lambda: untrained().fit(torch.rand(4, 1, 16, 16)), 'expected 8'),
    (lambda: untrained().fit(torch.rand(4, 3, 8, 8)), 'channels'),
    (lambda: untrained().fit(torch.zeros(4, 1, 8, 8)), 'constant'),
    (lambda: untrained().fit((255 * torch.rand(4, 1, 8, 8)).byte()), 'floating'),
    (lambda: untrained().fit(torch.rand(9, 1, 8, 8), 0), 'steps'), (lambda: karras(0), 'N'),
    (lambda: karras(5, sigma_max=.01), 'sigma_min'), (lambda: flow_levels(0), 'N is'),
    (lambda: precision_recall(torch.rand(3, 2), torch.rand(9, 2)), 'more than k')])
def test_what_is_refused(what, words):
    with pytest.raises(ValueError, match=words): what()


def test_another_file_is_refused(tmp_path):
    from deepstruct.core import save_tensors
    save_tensors(tmp_path / 'x', 'wavelet diffusion model', {}, {'a': torch.ones(1)})
    with pytest.raises(ValueError, match='expected a EDM model|expected an? EDM model'): EDM.load(tmp_path / 'x')
