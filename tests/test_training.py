"""The fit loop: resume bit for bit, stop with the last good weights, refuse other checkpoints; and wavelet diffusion
models on top of it."""
import math

import pytest
import torch
from torch import nn

from deepstruct import training
from deepstruct.core import generator
from deepstruct.wavelet_diffusion.unet import Conv, UNet, Wrap
from deepstruct.wavelet_diffusion.wsgm import (WSGM, Shape, analysis, diffusion_loss, flow_loss, left_open, score_of,
                                               synthesis)

X = torch.randn(300, 4, generator=generator('X'))
Y = X @ torch.tensor([1., -1., 2., .5])[:, None]

def squares(model, g):
    i = torch.randint(300, (32,), generator=g)
    return (model(X[i]) - Y[i]).square().mean()

def mlp(): torch.manual_seed(1); return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
same = lambda a, b: all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values()))

@pytest.mark.parametrize('dies_at', (7, 20, 21, 39))
def test_resumes_bit_for_bit(tmp_path, dies_at):
    calls = [0]
    def dying(model, g):
        calls[0] += 1
        if calls[0] == dies_at: raise KeyboardInterrupt
        return squares(model, g)
    whole, again = mlp(), mlp()
    h = training.fit(whole, squares, 45, lr=.02, generator=generator('r'), every=10)
    with pytest.raises(KeyboardInterrupt): training.fit(again, dying, 45, lr=.02, generator=generator('r'), every=10,
                                                        words='squares', checkpoint=tmp_path / 'c')
    again = mlp()
    k = training.fit(again, squares, 45, lr=.02, generator=generator('r'), every=10, words='squares',
                     checkpoint=tmp_path / 'c')
    assert same(whole, again) and k['loss'] == h['loss'] and k['step'] == [10, 20, 30, 40, 45]
    calls[0] = -1000 # a finished run is read, not trained
    done = mlp()
    training.fit(done, dying, 45, lr=.02, generator=generator('r'), every=10, words='squares',
                 checkpoint=tmp_path / 'c')
    assert same(whole, done) and calls[0] == -1000 and [p.name for p in tmp_path.iterdir()] == ['c']

def test_stops_with_good_weights(tmp_path):
    n = [0]
    def breaks(model, g): n[0] += 1; return squares(model, g) * (math.inf if n[0] > 17 else 1)
    good, model = mlp(), mlp()
    with pytest.raises(training.TrainingStopped, match='loss is inf at step 17.*weights of step 10'):
        training.fit(model, breaks, 40, lr=.02, generator=generator('n'), every=10, checkpoint=tmp_path / 'c')
    state = torch.load(tmp_path / 'c', weights_only=True)
    assert state['step'] == 10 and all(torch.equal(v, state['model'][k]) for k, v in model.state_dict().items())
    with pytest.raises(training.TrainingStopped, match='no step was good'):
        training.fit(good, lambda m, g: squares(m, g) * math.nan, 5)

def test_refuses(tmp_path):
    training.fit(mlp(), squares, 3, checkpoint=tmp_path / 'c')
    with pytest.raises(ValueError, match='another run'): training.fit(mlp(), squares, 4, checkpoint=tmp_path / 'c')
    for how, words in ((dict(steps=0), 'steps is 0'), (dict(steps=3, every=0), 'every is 0'),
                       (dict(steps=3, lr=0.), 'lr is 0'), (dict(steps=2.5), 'steps is 2.5'),
                       (dict(steps=True), 'steps is True'), (dict(steps=3, warmup=-1), 'warmup is -1'),
                       (dict(steps=3, lr=math.nan), 'lr is nan'), (dict(steps=3, lr='.1'), 'lr is'),
                       (dict(steps=3, average=1.5), 'average 1.5'), (dict(steps=3, average=math.nan), 'average nan'),
                       (dict(steps=3, clip=-1.), 'clip -1'), (dict(steps=3, generator=1.5), 'seed is 1.5'),
                       (dict(steps=3, device='cpu', on=training.fabric()), 'not both')):
        with pytest.raises(ValueError, match=words): training.fit(mlp(), squares, **how)
    for loss, words in ((lambda m, g: m(X), r'\(300, 1\)'), (lambda m, g: 1., 'float'),
                        (lambda m, g: None, 'NoneType')):
        with pytest.raises(ValueError, match=f'the loss gives {words}'): training.fit(mlp(), loss, 2)
    with pytest.raises(ValueError, match='no weight'): training.fit(mlp().requires_grad_(False), squares, 2)

def test_rate_warms_up_and_ends(): assert training.rate(0, 100, 9) == .1 and training.rate(99, 100,
    9) < 1e-3 and max(training.rate(k, 100, 9) for k in range(100)) > .9

@pytest.mark.parametrize('wavelet, channels', (('haar', 1), ('db4', 3)))
def test_bands_are_orthonormal(wavelet, channels):
    x = torch.randn(2, channels, 16, 16, dtype=torch.float64, generator=generator('o'))
    low, detail = analysis(x, wavelet)
    assert detail.shape == (2, 3 * channels, 8, 8) and torch.allclose(synthesis(low, detail, wavelet), x)
    assert torch.allclose(low.square().sum() + detail.square().sum(), x.square().sum())

def test_conditional_units_are_the_least_squares_residual():
    low = torch.randn(400, 1, 8, 8, generator=generator('l'), dtype=torch.float64)
    noise = .3 * torch.randn(low.shape, generator=generator('e'), dtype=torch.float64)
    assert abs(left_open(low.roll(1, 3) - 2 * low + noise, low)[0] - .3) < .01

# of the noise, at lam = 1: E |z - z_hat|^2 = E alpha^2 by hand
def test_loss_at_the_best_network_is_the_conditional_variance():
    x, T = torch.randn(20_000, 1, 1, 1, generator=generator('d')), 2.
    got = diffusion_loss(lambda x, s, c: 0 * x, x, None, T, generator('t'))
    u = torch.linspace(0, 1, 20_001)
    assert abs(got - (-2 * T * u**2).exp().mean()) < .02

class Linear(nn.Module): # theta times the exact velocity of a Gaussian of variance lam
    def __init__(self, objective, lam):
        super().__init__()
        self.theta, self.k, self.lam = nn.Parameter(torch.ones(())), objective, lam
    def forward(self, y, log_sigma, c=None):
        s2 = log_sigma.mul(2).exp()[:, None, None, None]
        if self.k == 'flow':
            s = torch.sigmoid(-log_sigma)[:, None, None, None]
            return self.theta * (s * self.lam - (1 - s)) / (s**2 * self.lam + (1 - s)**2) * y
        alpha, sigma = (1 + s2).rsqrt(), (s2 / (1 + s2)).sqrt()
        return self.theta * alpha * sigma * (1 - self.lam) / (alpha**2 * self.lam + sigma**2) * y

def closed_form(objective, lam, T, theta): # what is left of the exact velocity, and what theta times it misses
    u = torch.linspace(0, 1, 20_001, dtype=torch.float64).clamp(1e-3, 1 - 1e-3)
    alpha, s = (-T * u**2).exp(), u
    sigma = (1 - alpha**2).sqrt()
    if objective == 'flow': S, cov, weight = s**2 * lam + (1 - s)**2, s * lam - (1 - s), 1.
    else: S, cov, weight = alpha**2 * lam + sigma**2, alpha * sigma * (1 - lam), alpha**2
    return float((weight * (lam / S + (1 - theta)**2 * cov**2 / S)).mean())

@pytest.mark.parametrize('lam', (.1, .3, 3., 9.))
@pytest.mark.parametrize('objective', ('diffusion', 'flow'))
def test_loss_of_one_parameter(objective, lam):
    "Least at the exact velocity, which a target of the other sign would not leave."
    net, x = Linear(objective, lam), lam**.5 * torch.randn(40_000, 1, 1, 1, generator=generator('one', lam))
    loss = lambda: (diffusion_loss(net, x, None, 3., generator('t')) if objective == 'diffusion'
                    else flow_loss(net, x, None, generator('t')))
    for theta in (-1., 0., .5, 1.):
        with torch.no_grad(): net.theta.fill_(theta)
        assert abs(float(loss().detach()) / closed_form(objective, lam, 3., theta) - 1) < .05
    slope, = torch.autograd.grad(loss(), net.theta)
    with torch.no_grad(): net.theta.fill_(0.)
    assert abs(slope) < .03 * abs(torch.autograd.grad(loss(), net.theta)[0])

@pytest.mark.parametrize('t', (.01, .2, .7, 2., 5.))
@pytest.mark.parametrize('lam', (.1, 1., 4.))
def test_score_of_a_gaussian(lam, t):
    x = torch.randn(50, 1, 2, 3, generator=generator('s', t), dtype=torch.float64)
    S = 1 + (lam - 1) * math.exp(-2 * t)
    assert torch.allclose(score_of(Linear('diffusion', lam).double())(x, t), -x / S, rtol=1e-6, atol=1e-9)

def toy(**kw): return WSGM(**(dict(wavelet='haar', depth=2, side=16, width=4, mults=(1,), padding='circular') | kw))

def images(n=20, c=1, side=16): return torch.randn(n, c, side, side, generator=generator('i', c, side)).cumsum(-1)

def test_a_colour_model_from_fit_to_file(tmp_path):
    m = toy(channels=3, units='conditional', objective='flow')
    assert m.fit(images(c=3), steps=2, batch=4, seed=generator('f'), checkpoint=tmp_path / 'run') is m
    assert [len(h['loss']) for h in m.history] == [1, 1, 1]
    m.save(tmp_path / 'm.safetensors')
    n = WSGM.load(tmp_path / 'm.safetensors', units='conditional', wavelet='haar')
    a, b = (k.sample(3, 2, side=32, seed=4) for k in (m, n))
    assert torch.equal(a, b) and a.shape == (3, 3, 32, 32) and n.shape == m.shape
    for kw, words in ((dict(wavelet='db4'), "wavelet 'haar'"), (dict(units='marginal'), "units 'conditional'"),
                      (dict(colour=3), 'unknown')):
        with pytest.raises(ValueError, match=words): WSGM.load(tmp_path / 'm.safetensors', **kw)
    (tmp_path / 'x').write_bytes(b'not a model')
    with pytest.raises(ValueError, match='no file that save'): WSGM.load(tmp_path / 'x')

def test_refining_keeps_the_low_pass():
    m = toy().fit(images(), steps=1, batch=4, seed=0)
    low = images(2, 1, 8)
    x = m.refine(low, 3, seed=generator('r'))
    y = m.refine(analysis(images(2), 'haar')[0], 3, j=1, seed=generator('r'))
    assert (x.shape == (2, 1, 32, 32) and torch.allclose(analysis(analysis(x, 'haar')[0], 'haar')[0], low, atol=1e-3)
            and y.shape == (2, 1, 16, 16))

def test_seeds_decide(): assert same(toy(seed=3), toy(seed=3)) and not same(toy(seed=3), toy(seed=4))

@pytest.mark.parametrize('stride', (1, 2))
def test_periodic_convolutions_are_those_of_torch(stride):
    x = torch.randn(2, 3, 6, 8, generator=generator('wrap'), dtype=torch.float64)
    conv = Conv(3, 4, 'circular', stride).double()
    theirs = nn.Conv2d(3, 4, 3, stride, 1, padding_mode='circular').double()
    theirs.load_state_dict(conv.state_dict())
    assert torch.allclose(conv(x), theirs(x), rtol=1e-12)
    assert torch.equal(Wrap.apply(x), nn.functional.pad(x, (1, 1, 1, 1), mode='circular'))
    assert torch.autograd.gradcheck(Wrap.apply, x[:1, :1, :3, :4].clone().requires_grad_())

def test_unet_sizes_and_time():
    net = UNet(2, 1, width=8, mults=(1, 2), attention=(1,), norm=True)
    assert net(torch.zeros(1, 2, 6, 10), torch.zeros(1), torch.zeros(1, 1, 6, 10)).shape == (1, 2, 6, 10)

@pytest.mark.parametrize('call, words', [
    (lambda: Shape(side=20, depth=3), 'multiple of 2\\^depth = 8'), (lambda: Shape(units='unit'), "units is 'unit'"),
                                         (lambda: Shape(wavelet='harr'), 'harr'), (lambda: Shape(T=0.), 'T is 0'),
                                         (lambda: Shape(depth=-1), 'depth is -1'),
    (lambda: toy().fit(images(side=8)), 'sides 8 x 8; expected 16'),
                                         (lambda: toy().fit(torch.ones(4, 1, 16, 16)), 'constant'),
                                         (lambda: toy().fit(images(c=3)), '3 channels'),
                                         (lambda: toy().fit(images() * math.nan), 'NaN'),
    (lambda: toy().fit(images(1)), 'at least 2'), (lambda: toy().fit(images(), batch=0), 'batch is 0'),
                                         (lambda: toy().sample(2), 'no units'),
    (lambda: toy().sample(2, 0), 'steps is 0'), (lambda: toy().sample(2, T=0.), 'T is 0'),
                                         (lambda: toy().sample(2, side=18), 'side is 18'), (lambda: toy().sample(0),
                                             'n is 0'), (lambda: toy().refine(torch.zeros(1, 2, 4, 4)), '2 channels'),
    (lambda: toy().refine(torch.zeros(1, 1, 4, 4), scales=3), 'scales is 3'),
                                         (lambda: UNet(1, padding='same'), "padding is 'same'"),
                                         (lambda: UNet(1, 1)(torch.zeros(1, 1, 8, 8), torch.zeros(1),
                                                             torch.zeros(1, 1, 4, 4)), 'condition has shape')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()

def test_threads_half_precision():
    "Two trainings at once, in bf16, end where they end one after the other."
    from concurrent.futures import ThreadPoolExecutor
    def run(job):
        seed, model = job
        def loss(forward, g):
            y = forward(torch.randn(64, 8, generator=g))
            assert y.dtype == torch.float32
            return (y - 1).square().mean()
        training.fit(model, loss, 300, generator=torch.Generator().manual_seed(seed),
                     on=training.fabric(precision='bf16-mixed'))
        return model.weight
    def jobs(): torch.manual_seed(0); return list(enumerate([nn.Linear(8, 1), nn.Linear(8, 1)]))
    one_by_one = [run(j) for j in jobs()]
    with ThreadPoolExecutor(2) as pool: at_once = list(pool.map(run, jobs()))
    for a, b in zip(one_by_one, at_once): assert torch.equal(a, b)


# The loop against one by hand

def by_hand(model, steps, lr, average, warmup, clip, make, seed, ratios=(1.,)):
    "What `fit` promises, in the order of the formulas."
    g, weights = torch.Generator().manual_seed(seed), list(model.parameters())
    optimizer, means = make(weights), [p.detach().clone() for p in weights]
    for k in range(steps):
        optimizer.zero_grad()
        squares(model, g).backward()
        if clip: nn.utils.clip_grad_norm_(weights, clip)
        for group, r in zip(optimizer.param_groups, ratios):
            group['lr'] = lr * r * min(1, (k + 1) / (warmup + 1)) * (1 + math.cos(math.pi * k / steps)) / 2
        optimizer.step()
        a = min(average, (1 + k) / (10 + k))
        for m, p in zip(means, weights): m.mul_(a).add_(p.detach(), alpha=1 - a)
    return means, [p.detach() for p in weights]

@pytest.mark.parametrize('average, warmup, clip, lr', [(0., 50, 1., .02), (.5, 0, 0., .01), (.9, 5, .1, .05),
                                                       (.999, 3, 1., .02), (1., 1, 2., .03)])
@pytest.mark.parametrize('make', [lambda p: torch.optim.AdamW(p, weight_decay=0.),
                                  lambda p: torch.optim.SGD(p, lr=.1, momentum=.9),
                                  lambda p: torch.optim.Adam(p, lr=7.)])
def test_the_loop_is_the_one_by_hand(average, warmup, clip, lr, make):
    model, hand = mlp(), mlp()
    training.fit(model, squares, 30, lr=lr, average=average, warmup=warmup, clip=clip, optimizer=make, generator=5)
    means, last = by_hand(hand, 30, lr, average, warmup, clip, make, 5)
    for p, m in zip(model.parameters(), means): assert torch.allclose(p, m, atol=1e-6)
    assert average < .9 or not all(torch.allclose(p, q, atol=1e-5) for p, q in zip(model.parameters(), last))

def test_validation_sees_the_averages_and_disturbs_nothing():
    "At every entry the number is that of the averaged weights; the weights that go on are the others."
    seen, model, plain = [], mlp(), mlp()
    def valid(m):
        assert not m.training
        seen.append([p.detach().clone() for p in m.parameters()])
        return 0.
    training.fit(model, squares, 20, lr=.02, average=.9, every=10, valid=valid, generator=3)
    training.fit(plain, squares, 20, lr=.02, average=.9, every=10, generator=3)
    assert same(model, plain) and all(torch.equal(a, b) for a, b in zip(seen[-1], model.parameters()))
    g, hand = torch.Generator().manual_seed(3), mlp() # the averages after 10 of 20 steps
    weights, averaged = list(hand.parameters()), training._Averaged(list(hand.parameters()), .9)
    optimizer = torch.optim.AdamW(weights, weight_decay=0.)
    for k in range(10):
        optimizer.zero_grad(); squares(hand, g).backward(); nn.utils.clip_grad_norm_(weights, 1.)
        for group in optimizer.param_groups: group['lr'] = .02 * training.rate(k, 20, 50)
        optimizer.step(); averaged.update(k)
    assert all(torch.equal(a, b) for a, b in zip(seen[0], averaged.means))

@pytest.mark.parametrize('rates', [(.1, .01), (.01, .1), (1., .5), (0., .1)])
def test_groups_keep_the_ratio_of_their_rates(rates, tmp_path):
    make = lambda p: torch.optim.SGD([dict(params=p[:2], lr=rates[0]), dict(params=p[2:], lr=rates[1])])
    model, hand = mlp(), mlp()
    training.fit(model, squares, 30, lr=.05, average=0., warmup=4, optimizer=make, generator=5)
    _, last = by_hand(hand, 30, .05, 0., 4, 1., make, 5, [r / max(rates) for r in rates])
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(model.parameters(), last))
    calls = [0]
    def dying(m, g):
        calls[0] += 1
        if calls[0] == 17: raise KeyboardInterrupt
        return squares(m, g)
    how = dict(lr=.05, average=0., warmup=4, optimizer=make, generator=5, every=5, checkpoint=tmp_path / 'c', words='r')
    with pytest.raises(KeyboardInterrupt): training.fit(mlp(), dying, 30, **how)
    again = mlp()
    training.fit(again, squares, 30, **how)
    assert same(model, again)

def test_equal_numbers_and_seeds_train_alike():
    import numpy as np
    a, b, c = mlp(), mlp(), mlp()
    training.fit(a, squares, 12, lr=.02, generator=7, every=5)
    training.fit(b, squares, np.int64(12), lr=np.float64(.02), generator=np.uint8(7), every=np.int16(5), device='cpu')
    training.fit(c, squares, 12, lr=.02, generator=torch.Generator().manual_seed(7), every=5,
                 device=torch.device('cpu'))
    assert same(a, b) and same(a, c)


# The error of a network

class Table(nn.Module): # scores that are written down
    def __init__(self, scores): super().__init__(); self.scores = nn.Parameter(scores); self.drop = nn.Dropout(.9)
    def forward(self, x): return self.drop(self.scores)[x[:, 0].long()]

SCORES = torch.randn(40, 6, generator=generator('scores'))
INDEX, TRUE = torch.arange(40.)[:, None], torch.randint(6, (40,), generator=generator('true'))

@pytest.mark.parametrize('data', [
    lambda: (INDEX, TRUE), lambda: [INDEX.numpy(), TRUE.tolist()], lambda: (INDEX, TRUE[:, None]),
    lambda: (INDEX, nn.functional.one_hot(TRUE).float()), lambda: zip(INDEX.split(7), TRUE.split(7)),
    lambda: [(INDEX[:20], TRUE[:20]), (INDEX[20:], TRUE[20:])], lambda: [(INDEX, TRUE)],
    lambda: torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INDEX, TRUE), 9),
    lambda: (INDEX.double().numpy().astype('>f8'), TRUE.int())])
@pytest.mark.parametrize('top', (1, 2, 6))
def test_the_error_of_any_data(data, top):
    net = Table(SCORES).train()
    rank = (SCORES > SCORES.gather(1, TRUE[:, None])).sum(1)
    got = training.wrong(net, data(), batch=11, top=top)
    assert torch.equal(got, rank >= top) and net.training
    assert training.error(net, data(), top=top) == float((rank >= top).double().mean())

@pytest.mark.parametrize('net, data, words', [
    (Table(SCORES), (INDEX, TRUE + 1), 'expected integers from 0 to 5'), (Table(SCORES), (INDEX, TRUE[:3]), r'\(3,\)'),
    (Table(SCORES), (INDEX, TRUE.float()), 'expected integers'), (Table(SCORES), (INDEX, ['a'] * 40), 'text'),
    (Table(SCORES), [], 'no image'), (Table(SCORES), iter(()), 'no image'),
    (Table(SCORES), (INDEX[:0], TRUE[:0]), 'no image'),
    (Table(SCORES[:, 0]), (INDEX, TRUE), r'\(40,\) scores'), (Table(SCORES / 0 * 0), (INDEX, TRUE), 'none NaN'),
    (Table(SCORES[:, :, None]), (INDEX, TRUE), r'\(40, 6, 1\) scores'),
    (Table(SCORES), [dict(x=INDEX)], 'a dict with x'),
    (Table(SCORES), (INDEX.byte(), TRUE), 'uint8'), (Table(SCORES), [(INDEX, TRUE, TRUE)], 'a tuple of 3')])
def test_errors_that_are_none(net, data, words):
    with pytest.raises(ValueError, match=words): training.error(net, data)
