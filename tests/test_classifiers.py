"Training of classifiers against a hand loop; jobs found again; labels, images and networks of other kinds."
import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deepstruct import classifiers as C
from deepstruct.core import generator
from deepstruct.networks import parameter_groups
from deepstruct.phase_collapse import classification as P
from deepstruct.training import rate, wrong

def toy(n=60, side=8, classes=3, seed='toy'):
    x, y = torch.randn(n, 1, side, side, generator=generator(seed)), torch.arange(n) % classes
    x[:, 0, 0] += y[:, None]
    return x, y

def mlp(classes=3, generator=None):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, classes))
    with torch.no_grad():
        for p in net.parameters(): p.copy_(torch.randn(p.shape, generator=generator) / 5)
    return net

def same(a, b): return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values()))

@pytest.mark.parametrize('how', [dict(), dict(method='sgd', lr=.1, decay=.01, clip=0.), dict(shift=2, flips=True),
                                 dict(clip=.01), dict(method='sgd', momentum=0., shuffled=True), dict(steps=5)])
def test_a_training_is_the_loop_by_hand(how):
    (x, y), r = toy(), C.Recipe(**dict(epochs=2, batch=16) | how)
    net, mine = mlp(generator=generator('w')), mlp(generator=generator('w'))
    net = C.train(net, (x, y), r, seed=generator('batches'))
    g = generator('batches')
    torch.randint(2**62, (), generator=g)
    if r.shuffled: y = y[torch.randperm(60, generator=generator('labels'))]
    groups = parameter_groups(mine, r.decay)
    o = torch.optim.SGD(groups, r.lr, r.momentum) if r.method == 'sgd' else torch.optim.AdamW(groups, r.lr)
    steps = r.steps or 8
    for k in range(steps):
        i = torch.randint(60, (16,), generator=g)
        z = C.translated(x[i], r.shift, g)
        z = C.mirrored(z, g) if r.flips else z
        o.zero_grad(); F.cross_entropy(mine(z), y[i]).backward()
        if r.clip: nn.utils.clip_grad_norm_(mine.parameters(), r.clip)
        for group in o.param_groups: group['lr'] = r.lr * rate(k, steps, 50)
        o.step()
    assert same(net, mine) and not net.training and r.length(60) == steps

@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path))
    return tmp_path

def test_a_job_is_found_again_and_its_way_is_kept(cache, monkeypatch):
    job = C.Job('mlp', mlp, {'classes': 3}, toy(), recipe=C.Recipe(epochs=4, batch=16, snapshots=2))
    a, way = C.trained(job), C.weights_on_the_way(job)
    assert list(way) == ['000005', '000010', '000015'] and same(a, C.trained(job)) and a.seconds >= 0
    assert all(torch.equal(way['000015'][k], v) for k, v in a.state_dict().items())
    part = job.but(snapshots=0)
    assert same(C.trained(part), a) # looking changes nothing
    half = C.untrained(job) # along the cosine of the whole run
    half.load_state_dict(way['000005'])
    assert not same(half, a) and not same(half, C.untrained(job))
    assert not list((cache / 'training').glob('*'))
    assert not same(C.trained(job.but(run=1)), a) and not same(C.trained(job.but(lr=.01)), a)

def test_a_stopped_run_goes_on_with_all_its_snapshots(cache, monkeypatch):
    job = C.Job('mlp', mlp, {}, toy(), recipe=C.Recipe(epochs=40, batch=16, snapshots=14, shift=1))
    whole, calls, atomic = C.weights_on_the_way(job), [], C.atomic
    def failing(path):
        calls.append(path)
        if len(calls) == 7: raise KeyboardInterrupt
        return atomic(path)
    with monkeypatch.context() as m:
        m.setenv('DEEPSTRUCT_FORCE', '1')
        m.setattr(C, 'atomic', failing)
        m.setattr('deepstruct.core._kept', lambda path: None)
        with pytest.raises(KeyboardInterrupt): C.weights_on_the_way(job)
        m.setattr(C, 'atomic', atomic)
        again = C.weights_on_the_way(job)
    assert list(again) == list(whole) and len(whole) == 15
    assert all(torch.equal(again[k][p], whole[k][p]) for k in whole for p in whole[k])

def test_jobs_with_changes():
    job = C.Job('mlp', mlp, {'a': 1}, (), recipe=C.Recipe(lr=.1))
    other = job.but(sizes={'b': 2}, run=3, epochs=9, data=(1, 2))
    assert (other.sizes, other.run, other.data) == ({'a': 1, 'b': 2}, 3, (1, 2))
    assert (other.recipe.epochs, other.recipe.lr) == (9, .1)
    assert job.sizes == {'a': 1} and job.run == 0 and job.but(recipe=C.Recipe(batch=5), lr=.2).recipe == C.Recipe(
        batch=5, lr=.2)
    with pytest.raises(TypeError): job.but(speed=1)

@pytest.mark.parametrize('kind,sizes', [('scattering', dict(side=16, blocks=[4])), ('resnet', dict(width=4)),
                                        ('separation', dict(side=16, widths=(4,), angles=4, atoms=(6,))),
                                        ('frames', dict(shape=(1, 16, 16), patch=8, stride=8, atoms=80))])
def test_kinds_of_the_chapter_keep_what_they_must(kind, sizes, cache):
    data = toy(40, 16)
    job = P.classifier(kind, sizes, data, epochs=2, batch=20, lr=.01)
    net = C.trained(job)
    assert same(C.untrained(job), C.untrained(job)) and not same(net, C.untrained(job))
    for m in net.modules():
        if hasattr(m, 'error'): assert m.error() < .05
        if type(m).__name__ == 'Projection':
            W = m.weight.detach()
            assert ((W @ W.T if len(W) < W.shape[1] else W.T @ W) - torch.eye(min(W.shape))).norm() < .05
    first = next(p for p in net.parameters() if p.ndim == 4) if kind == 'resnet' else None
    assert first is None or first.is_contiguous(memory_format=torch.channels_last)

@pytest.mark.parametrize('kind,sizes,shape', [
    ('scattering', dict(side=16, blocks=[4, 4]), (1, 16, 16)), ('resnet', dict(width=4), (1, 16, 16)),
    ('separation', dict(side=16, widths=(4, 4), angles=4, atoms=(8, 8)), (1, 16, 16)),
    ('frames', dict(shape=(1, 14, 14), patch=7, atoms=64), (1, 14, 14)), ('head', dict(channels=9, side=4), (9, 4, 4))])
def test_everything_stands_on_the_device_of_the_network(kind, sizes, shape):
    job = P.classifier(kind, sizes)
    net, x = C.untrained(job).to('meta').train(), torch.rand(3, *shape, device='meta')
    y = net(C.mirrored(C.translated(x, 2), None))
    assert y.device.type == 'meta' and y.shape == (3, 10)
    y.sum().backward()
    if job.recipe.after and kind != 'head': job.recipe.after(net)
    assert all(p.device.type == 'meta' for p in net.parameters())

def test_what_is_kept_is_kept_after_each_step():
    seen, net = [], mlp(generator=generator('w'))
    def halve(n): seen.append(n); n[1].weight.data.mul_(.5)
    net = C.train(net, toy(), epochs=2, batch=20, lr=1e-9, seed=0, after=halve)
    assert seen == [net] * 6 and torch.allclose(net[1].weight, mlp(generator=generator('w'))[1].weight / 64)

LABELS = [lambda y: y.int(), lambda y: y.numpy(), lambda y: y.tolist(), lambda y: y[:, None], lambda y: y.byte(),
          lambda y: F.one_hot(y), lambda y: F.one_hot(y).bool(), lambda y: y.numpy().astype('>i4'),
          lambda y: y.numpy()[:, None], lambda y: tuple(y.tolist()), lambda y: y.short()[:, None]]

@pytest.mark.parametrize('form', LABELS, ids=range(len(LABELS)))
def test_labels_of_any_form(form):
    x, y = toy()
    a, b = (mlp(generator=generator('w')) for _ in range(2))
    a, b = C.train(a, (x, y), epochs=1, seed=0), C.train(b, (x, form(y)), epochs=1, seed=0)
    assert same(a, b) and torch.equal(wrong(a, (x, form(y))), wrong(a, (x, y)))

@pytest.mark.parametrize('form', [lambda x: x.numpy(), lambda x: x.numpy().astype('>f4'), lambda x: x.double(),
                                  lambda x: x.mT.contiguous().mT, lambda x: x.tolist(),
                                  lambda x: x.clone().requires_grad_(), lambda x: np.asfortranarray(x.numpy())])
def test_images_of_any_form(form):
    x, y = toy()
    a, b = (mlp(generator=generator('w')) for _ in range(2))
    a, b = C.train(a, (x, y), epochs=1, seed=0), C.train(b, (form(x), y), epochs=1, seed=0)
    assert same(a, b)

def test_errors_by_hand_leaves_the_network_alone():
    x, y = toy(64)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(.5), nn.Flatten(), nn.Linear(144, 3))
    net[1].running_mean += 1
    want = copy.deepcopy(net).eval()(x).argmax(1) != y
    state, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    net[2].eval()
    for batch in (1, 7, 64, 500): assert torch.equal(wrong(net, (x, y), batch), want)
    assert net.training and net[1].training and not net[2].training and torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())

def test_seeds():
    data = toy()
    make = lambda: nn.Sequential(nn.Flatten(), nn.Dropout(.3), mlp(generator=generator('w')))
    a, b, c, d = (C.train(make(), data, epochs=1, seed=s) for s in (3, np.int64(3), 4, None))
    assert same(a, b) and not same(a, c) and not same(c, d)
    seed = d.history['seed'] # drawn, and told: the same again
    assert a.history['seed'] == 3 and same(d, C.train(make(), data, epochs=1, seed=seed))

def test_frozen_parts_stay_and_devices_follow():
    net = mlp(generator=generator('w')).double()
    net[1].weight.requires_grad_(False)
    before, given = net[1].weight.clone(), copy.deepcopy(net.state_dict())
    mine, net = net, C.train(net, toy(), epochs=2, seed=0)
    assert all(torch.equal(v, given[k]) for k, v in mine.state_dict().items()) # the caller's is as it was
    assert torch.equal(net[1].weight, before) and net[3].weight.dtype == torch.float64
    assert not net[1].weight.requires_grad and net.history['loss']

def test_a_run_of_ones_own_is_taken_up_again(tmp_path):
    data, how = toy(), dict(epochs=20, batch=10, lr=.01, snapshots=3, seed=0, words='mine')
    whole = C.train(mlp(generator=generator('w')), data, **how)
    assert sorted(whole.history['way']) == [30, 60, 90, 120]
    first = C.train(mlp(generator=generator('w')), data, checkpoint=tmp_path / 'run', **how)
    again = C.train(mlp(generator=generator('other')), data, checkpoint=tmp_path / 'run', **how) # already at its end
    assert same(whole, first) and same(whole, again) and sorted(again.history['way']) == [30, 60, 90, 120]

def test_translations_of_oblong_images():
    x = torch.arange(2. * 3 * 5).view(1, 2, 3, 5).repeat(200, 1, 1, 1)
    y = C.translated(x, 4, generator('t'))
    seen = {(i, j) for a, b in zip(x, y) for i in range(3) for j in range(5) if torch.equal(b, a.roll((i, j), (1, 2)))}
    assert len(seen) == 15 and torch.equal(C.translated(x, 0), x)

BAD = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
X, Y = toy()
@pytest.mark.parametrize('call,words', [
    (lambda: C.train(BAD, (X, Y + 1)), 'from 1 to 3'), (lambda: C.train(BAD, (X, -Y)), 'from -2 to 0'),
    (lambda: C.train(BAD, (X, Y.float())), 'float32'), (lambda: C.train(BAD, (X, Y[:9])), r'\(9,\)'),
    (lambda: C.train(BAD, (X, ['a', 'b', 'c'] * 20)), 'text'),
    (lambda: C.train(BAD, (X, np.array(['a'] * 60))), 'text'),
    (lambda: C.train(BAD, (X, torch.rand(60, 3))), 'one-hot'), (lambda: C.train(BAD, X), 'a Tensor'),
    (lambda: C.train(BAD, {'x': X, 'y': Y}), 'dict'), (lambda: C.train(BAD, (X[:0], Y[:0])), 'some images'),
    (lambda: C.train(BAD, (torch.where(X == X.max(), torch.nan, X), Y)), '1 values'),
    (lambda: C.train(BAD, ((X * 255).byte(), Y)), 'uint8'), (lambda: C.train(BAD, (X, Y), epochs=0), 'steps is 0'),
    (lambda: C.train(BAD, (X, Y), lr=-1), 'lr is -1'), (lambda: C.train(BAD, (X, Y), batch=0), 'batch is 0'),
    (lambda: C.train(BAD, (X, Y), method='adam'), "'adam'"), (lambda: C.train(BAD, (X, Y), seed='a'), 'seed'),
    (lambda: C.train(nn.Flatten(), (X, Y)), 'no weights'), (lambda: C.train(nn.Conv2d(1, 3, 3), (X, Y)), 'scores'),
    (lambda: C.train(BAD.requires_grad_(False), (X, Y)) or BAD, 'no weights'),
    (lambda: wrong(BAD, (X[:0], Y[:0])), 'no image'), (lambda: wrong(BAD, (X, Y[:9])), r'\(9,\)'),
    (lambda: wrong(BAD, (X, [['a']] * 60)), 'text'),
    (lambda: wrong(nn.Flatten(2), (X, Y)), 'scores'), (lambda: wrong(BAD, (X / 0, Y)), 'NaN'),
    (lambda: wrong(BAD, (X.byte(), Y)), 'uint8'),
    (lambda: C.translated(X, -1), '-1 pixels'), (lambda: P.classifier('transformer', {}), "'transformer'"),
    (lambda: C.trained(C.Job('mlp', mlp, {}, (X, Y[:9]))), '60 images and 9'),
    (lambda: P.paired(torch.ones(2, 5), torch.ones(2, 4)), r'\(2, 4\)'), (lambda: P.paired(torch.ones(5),
        torch.ones(5)), r'\(5,\)'), (lambda: P.paired(torch.ones(2, 1), torch.ones(2, 1)), 'two or more'),
    (lambda: P.paired(torch.ones(0, 5), torch.ones(1, 5)), r'\(0, 5\)'),
    (lambda: P.ScatteringHead(9, 4)(torch.ones(2, 9, 4, 3)), r'\(2, 9, 4, 3\)'),
    (lambda: P.ScatteringHead(9, 4)(torch.ones(2, 9, 4, 4).byte()), 'uint8')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()
