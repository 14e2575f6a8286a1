"""Neural collapse of any data and network, and training past the last error: oracles, controls, odd inputs."""
import math

import numpy as np
import pytest
import torch
from torch import nn

from deepstruct.classifiers import Job, frame, neural_collapse
from deepstruct.core import generator
from deepstruct.phase_collapse import terminal_phase as T


def blobs(sizes=(30, 30, 30), side=2, seed=0): # three clouds as images
    g = generator('blobs', seed)
    y = torch.cat([torch.full((n,), c) for c, n in enumerate(sizes)])
    means = torch.randn(len(sizes), side * side, generator=g)
    return (means[y] + .3 * torch.randn(len(y), side * side, generator=g)).view(-1, 1, side, side), y


def mlp(classes=3, generator=None):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, classes))
    with torch.no_grad():
        for p in net.parameters(): p.uniform_(-.5, .5, generator=generator)
    return net


NET = mlp(generator=generator('net'))
PHASE = T.Phase((0, 3, 10, 40), batch=16)


def close(a, b, tol=1e-6): return a.keys() == b.keys() and all(math.isclose(a[k], b[k], abs_tol=tol) for k in a)


def test_order_form_and_batches_of_the_data_do_not_matter():
    x, y = blobs((30, 20, 10))
    want = neural_collapse(NET, (x, y), test=(x, y))
    i = torch.randperm(60, generator=generator('order'))
    forms = [(x[i], y[i]), (x, y[:, None]), (x.numpy(), y.tolist()), (x.double(), y.byte()),
             (x, nn.functional.one_hot(y)),
             [(a, b) for a, b in zip(x.split(7), y.split(7))]]
    for data in forms: assert close(neural_collapse(NET, data, batch=9, test=data), want)
    for k in ('error', 'nc1', 'nc4'): assert math.isclose(want[f'test {k}'], want[k], abs_tol=1e-12)
    assert math.isclose(want['imbalance'], 2 / 3)


def test_classes_count_alike_however_large():
    x, y = blobs()
    more = torch.cat([x, x[:30], x[:30]]), torch.cat([y, y[:30], y[:30]]) # class 0 three times
    a, b = neural_collapse(NET, (x, y)), neural_collapse(NET, more)
    for k in ('nc1', 'equinorm', 'equiangular', 'angle', 'nc3'): assert math.isclose(a[k], b[k], rel_tol=1e-9)
    assert a['imbalance'] == 0 and math.isclose(b['imbalance'], 2 / 3)


@pytest.mark.parametrize('dtype,tol', [(torch.float64, 1e-5), (torch.bfloat16, .1), (torch.float16, .02)])
def test_networks_of_other_precision(dtype, tol):
    import copy
    x, y = blobs()
    a, b = neural_collapse(NET, (x, y)), neural_collapse(copy.deepcopy(NET).to(dtype), (x, y))
    assert all(abs(a[k] - b[k]) <= tol * max(1, abs(a[k])) for k in a)


def test_what_is_measured_by_hand():
    x, y = blobs((12, 9, 15))
    tx, ty = blobs((6, 6, 6), seed=1)
    got, W = neural_collapse(NET, (x, y), test=(tx, ty)), NET[-1].weight.detach().double()
    h, th = (NET[:-1](v).detach().double() for v in (x, tx))
    means = torch.stack([h[y == c].mean(0) for c in range(3)])
    M = means - means.mean(0)
    cos = torch.tensor([torch.cosine_similarity(M[a], M[b], 0) for a in range(3) for b in range(3) if a != b])
    assert math.isclose(got['equiangular'], float(cos.std(correction=0)), rel_tol=1e-5)
    assert math.isclose(got['angle'], float((cos + .5).abs().mean()), rel_tol=1e-5)
    n = W.norm(dim=1)
    assert math.isclose(got['classifier equinorm'], float(n.std(correction=0) / n.mean()), rel_tol=1e-6)
    assert math.isclose(got['nc3'], T.duality(W, M), rel_tol=1e-6)
    near = (th[:, None] - means).norm(dim=2).argmin(1)
    assert math.isclose(got['test nc4'], float((near != NET(tx).argmax(1)).double().mean()))
    assert got['test nc1'] != got['nc1']


@pytest.mark.parametrize('data,words', [
    (lambda x, y: (x[:60], y[:60]), 'class 2 has no sample'), (lambda x, y: (x, 0 * y), 'no sample'),
    (lambda x, y: (x[[0, 1, 30, 31, 60]], y[[0, 1, 30, 31, 60]]), 'class 2 has one sample'),
    (lambda x, y: (x, y + 1), 'from 1 to 3'), (lambda x, y: (x, y.float()), 'float32'),
    (lambda x, y: (x / 0, y), 'NaN'), (lambda x, y: (0 * x, y), 'the same'),
    (lambda x, y: (x[:0], y[:0]), 'no image|some')])
def test_what_cannot_be_measured(data, words):
    with pytest.raises(ValueError, match=words): neural_collapse(NET, data(*blobs()))
    if words in ('from 1 to 3', 'float32'):
        with pytest.raises(ValueError, match=words): neural_collapse(NET, blobs(), test=data(*blobs()))


def test_more_classes_than_a_simplex_has_room_for(capsys):
    x, y = blobs((8,) * 6)
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 6))
    assert neural_collapse(narrow, (x, y))['angle'] > 0 and '6 classes in 3 features' in capsys.readouterr().err


@pytest.mark.parametrize('C', (2, 3, 10))
def test_frames(C):
    V = T.simplex(C)
    assert max(frame(3 * V).values()) < 1e-7 and torch.allclose(V.norm(dim=1), torch.ones(C).double())
    assert math.isclose(float(T.least_distance(V)), (2 * C / (C - 1))**.5)
    got = frame(torch.eye(C))
    assert got['equinorm'] == 0 and got['equiangular'] == 0 and math.isclose(got['angle'], 1 / (C - 1))
    with pytest.raises(ValueError, match='none that is 0'): frame(torch.zeros(C, 2))


def test_a_run_that_stops_goes_on(monkeypatch, tmp_path):
    data = blobs()
    job = Job('mlp', mlp, {}, data, 3)
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / 'a'))
    want = T.at_look(job, PHASE, 3)
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / 'b'))
    T.at_look(job, PHASE, 1)
    kept = lambda: len(list(tmp_path.glob('b/stages/*at_look/*.pt')))
    assert kept() == 2
    got = T.at_look(job, PHASE, 3) # takes up look 1
    assert kept() == 4 and all(torch.equal(got['weights'][k], v) for k, v in want['weights'].items())
    other = T.at_look(Job('mlp', mlp, {}, data, 4), PHASE, 3)['weights']
    assert not torch.equal(want['weights']['1.weight'], other['1.weight'])


def test_looks_measures_and_the_last_layer_alone(monkeypatch, tmp_path):
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path))
    train, test = blobs(), blobs(seed=0)
    job = Job('mlp', mlp, {}, train)
    path = T.measured(job, PHASE, test)
    assert path['epoch'] == [0, 3, 10, 40] and all(len(v) == 4 for v in path.values())
    assert path == T.measured(job, PHASE, test)
    alone = T.measured_alone(job, PHASE, 1, test)
    for k in ('nc1', 'equinorm', 'angle', 'test nc1'): assert np.allclose(alone[k], path[k][1], rtol=1e-6)
    assert math.isclose(alone['nc3'][0], path['nc3'][1], rel_tol=1e-6) and alone['epoch'] == [3, 10, 40]
    assert len({round(v, 9) for v in alone['nc3']}) == 3


def test_each_image_once_an_epoch():
    for n, batch in ((60, 16), (61, 60), (7, 50)):
        parts = T.orders(n, batch, 1, 2)
        assert torch.cat(parts).sort().values.tolist() == list(range(n))
        assert min(map(len, parts)) > 1 and max(map(len, parts)) <= batch
    assert not torch.equal(torch.cat(T.orders(60, 16, 1, 2)), torch.cat(T.orders(60, 16, 1, 3)))
    x, y = blobs()
    z = T.permuted((x, y), 5)
    assert z[0] is x and z[1].bincount().tolist() == [30] * 3 and not torch.equal(z[1], y)


def test_the_change_that_fools():
    x, _ = blobs()
    W = torch.randn(3, 4, generator=generator('W'))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False))
    with torch.no_grad(): flat[1].weight.copy_(W)
    s = x.flatten(1) @ W.T
    k = s.argmax(1)
    gap = (s.gather(1, k[:, None]) - s) / (W[k][:, None] - W).norm(dim=2).clamp(min=1e-9)
    want = gap.scatter(1, k[:, None], math.inf).amin(1) / x.flatten(1).norm(dim=1)
    assert torch.allclose(T.robustness(flat, x), 1.02 * want, rtol=1e-4) and not flat[1].weight.grad
    assert torch.allclose(T.robustness(flat, 7 * x), 1.02 * want, rtol=1e-4) # of the image's own size
    with pytest.raises(ValueError, match='positive norm'): T.robustness(flat, 0 * x)
    constant = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad(): constant[1].weight.zero_(); constant[1].bias.copy_(torch.arange(3.))
    assert torch.isinf(T.robustness(constant, x)).all()


def test_collapsed_features_have_dual_layers():
    g = generator('dual')
    Q = torch.linalg.qr(torch.randn(9, 5, generator=g, dtype=torch.float64)).Q
    V, other = T.simplex(5) @ Q.T, torch.randn(5, 9, generator=g, dtype=torch.float64)
    other = other - other.mean(0)
    assert T.duality(T.descended(V, 500), V) < 1e-12 and T.duality(T.descended(other, 500), other) > 1e-3
    for steps in (1, 50): # against autograd
        W, b = torch.zeros(5, 9, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
        for _ in range(steps):
            W, b = W.requires_grad_(), b.requires_grad_()
            loss = nn.functional.cross_entropy(other @ W.T + b, torch.arange(5))
            dW, db = torch.autograd.grad(loss, (W, b))
            W, b = (W - dW).detach(), (b - db).detach()
        assert torch.allclose(T.descended(other, steps), W)


def test_searches_do_not_beat_the_simplex():
    found = T.spread_out(torch.randn(3, 5, 6, generator=generator('starts'), dtype=torch.float64), 300)
    best = (2 * 5 / 4)**.5
    assert (found.norm(dim=2) <= 1 + 1e-9).all() and (T.least_distance(found) <= best + 1e-9).all()
    assert T.least_distance(found).max() > .98 * best
    e = [T.confusion(V, .4, 40_000, generator('noise')) for V in (T.simplex(5), torch.eye(5).double())]
    assert e[0] < e[1]


@pytest.mark.parametrize('call,words', [
    (lambda: T.Phase((0,)), r'looks are \(0,\)'), (lambda: T.Phase((0, 5, 5)), 'rising'),
    (lambda: T.Phase((0, 1), batch=1), 'batch is 1'), (lambda: T.simplex(1), '1 class'),
    (lambda: T.Phase((0, 1), lr=0), 'positive rate')])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words): call()


def test_interpolation():
    for errors, k in (([.3, .2], 1), ([.3, .0, .02, 0, 0], 3), ([0, 0], 0), ([.5, .01], 1)):
        assert T.interpolation(errors) == k
