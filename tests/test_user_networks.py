"""Class statistics of networks as users write them: against features by hand, and unchanged by a permutation of neurons
that leaves the network's function as it is."""
import copy
import math

import pytest
import torch
from torch import nn
from zoo import CLASSES, ZOO

from deepstruct.classifiers import neural_collapse, train
from deepstruct.core import generator
from deepstruct.statistics import (ClassMoments, concentration, fisher, fisher_floor, layer_statistics, nc1, nc2, nc3,
                                   nearest_mean, separation)
from deepstruct.training import wrong

N = 60
each = pytest.mark.parametrize('m', ZOO, ids=lambda m: m.name)

def batches(m, n=N): return list(zip(m.images(n).split(40), m.labels(n).split(40)))

def by_hand(f, axis): # means over all axes but batch and channels
    return f if f.ndim == 2 else f.movedim(axis, 1).flatten(2).mean(2)

def reduced(m, net): # {layer: (N, d) float64}
    f = m.features(net, m.images(N))
    return {k: by_hand(v, m.axis[k]).double() for k, v in f.items()}

def moments(x, y):
    out = ClassMoments(CLASSES, x.shape[1])
    out.update(x, y)
    return out

def asked(m): # layers, by the axis of their channels that must be said: inside the block are both layouts
    said = {k: 1 for k in m.streams if m.name == 'convnext' and k in ('blocks.0', 'blocks.1')}
    return [(None, [k for k in m.streams if k not in said])] + ([(1, list(said))] if said else [])

def measured(m, net, every=1): # {layer: moments}
    return {k: s.moments() for axis, layers in asked(m)
            for k, s in layer_statistics(net, layers[::every], batches(m), CLASSES, channels=axis).items()}

def close(a, b, tol=1e-4): return (a - b).abs().max() <= tol * b.abs().max().clamp(min=1e-6)

@each
def test_statistics_of_every_layer_are_those_by_hand(m):
    net = m.net()
    want, y = reduced(m, net), m.labels(N)
    for k, a in measured(m, net).items():
        b = moments(want[k], y)
        assert close(a.mean, b.mean) and close(a.scatter, b.scatter, 1e-3), k
        for f in (lambda m: fisher(m, .1), separation, concentration):
            assert math.isclose(f(a), f(b), rel_tol=1e-3), k

@each
def test_permuted_neurons_change_nothing(m):
    net = m.net()
    other, at = m.permuted(net)
    a, b = (measured(m, n) for n in (net, other))
    for k, p in at.items():
        u, v = a[k], b[k]
        if p is not None: assert close(v.mean, u.mean[:, p]), k
        for f in (lambda m: fisher(m, .1), separation, concentration, lambda m: nc1(m), lambda m: nc2(m)['angle'],
                  lambda m: nc2(m)['equinorm'], lambda m: fisher_floor(m)):
            assert math.isclose(f(u), f(v), rel_tol=2e-2), k

@each
def test_order_and_size_of_batches_and_order_of_classes_change_nothing(m):
    net, k = m.net(), list(m.streams)[0]
    x, y = m.images(N), m.labels(N)
    want = layer_statistics(net, [k], [(x, y)], CLASSES)[k].moments()
    for i in (torch.randperm(N, generator=generator('order')), y.argsort(), torch.arange(N).flip(0)):
        for size in (1, 7, N)[i[0] == N - 1:]:
            got = layer_statistics(net, [k], zip(x[i].split(size), y[i].split(size)), CLASSES)[k].moments()
            assert close(got.mean, want.mean) and close(got.scatter, want.scatter, 1e-3)

@each
@pytest.mark.parametrize('training', (True, False))
def test_a_network_in_training_is_measured_in_evaluation_and_left_alone(m, training):
    net = m.net()
    want = measured(m, net, 4)
    net.train(training)
    part = next(c for c in net.modules() if not list(c.children()))
    part.train(not training) # a mode of its own
    modes, before, random = [c.training for c in net.modules()], copy.deepcopy(net.state_dict()), torch.get_rng_state()
    got = measured(m, net, 4)
    for k in want: assert torch.equal(got[k].mean, want[k].mean), k
    assert modes == [c.training for c in net.modules()] and torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert not any(c._forward_hooks or c._forward_pre_hooks for c in net.modules())

@pytest.mark.parametrize('form', [lambda y: y.int(), lambda y: y[:, None], lambda y: y.numpy(), lambda y: y.tolist(),
                                  lambda y: nn.functional.one_hot(y, CLASSES), lambda y: y.numpy().astype('>i2'),
                                  lambda y: y.byte(), lambda y: nn.functional.one_hot(y, CLASSES).bool().numpy()])
def test_labels_of_every_form(form):
    m = ZOO[0]
    net, x, y = m.net(), m.images(N), m.labels(N)
    want = layer_statistics(net, ['layer1'], [(x, y)], CLASSES)['layer1'].moments()
    got = layer_statistics(net, ['layer1'], [(x, form(y))], CLASSES)['layer1'].moments()
    assert torch.equal(got.scatter, want.scatter)
    assert torch.equal(wrong(net, (x, form(y))), wrong(net, (x, y)))

@each
def test_collapse_of_the_last_layer_by_hand(m):
    net = m.net()
    head, last = [(k, c) for k, c in net.named_modules() if isinstance(c, nn.Linear) and c.out_features == CLASSES][-1]
    caught = []
    hook = last.register_forward_pre_hook(lambda c, a: caught.append(a[0].detach().clone()))
    with torch.no_grad(): scores = net(m.images(N))
    hook.remove()
    h, y = caught[0].double(), m.labels(N)
    M = moments(h, y)
    mu = torch.stack([h[y == c].mean(0) for c in range(CLASSES)])
    v = mu - mu.mean(0)
    W = torch.stack([(h[y == c] - mu[c]).T @ (h[y == c] - mu[c]) / (y == c).sum() for c in range(CLASSES)]).mean(0)
    B = v.T @ v / CLASSES
    assert math.isclose(nc1(M), float((W @ torch.linalg.pinv(B, rtol=1e-10)).trace() / CLASSES), rel_tol=1e-6)
    w = last.weight.detach().double()
    assert math.isclose(nc3(M, last.weight), float((w / w.norm() - v / v.norm()).square().sum()), rel_tol=1e-9)
    assert torch.equal(nearest_mean(M, h), (h[:, None] - mu).square().sum(2).argmin(1))
    assert torch.equal(wrong(net, (m.images(N), y)), scores.argmax(1) != y)
    net.train()
    got = neural_collapse(net, (m.images(N), y), batch=17)
    near = float((nearest_mean(M, h) != scores.argmax(1)).double().mean())
    error = float((scores.argmax(1) != y).double().mean())
    want = dict(error=error, nc1=nc1(M), **nc2(M), nc3=nc3(M, last.weight), nc4=near)
    assert got.keys() >= want.keys() and all(math.isclose(got[k], v, rel_tol=1e-3) for k, v in want.items())
    assert got == neural_collapse(net, (m.images(N), y[:, None].numpy()), head, 17) and net.training

@each
def test_each_of_them_is_trained(m):
    net, x, y = m.net(), m.images(40), m.labels(40)
    random, loss = torch.get_rng_state(), lambda net: float(nn.functional.cross_entropy(net(x), y))
    with torch.no_grad(): before = loss(net)
    how = dict(epochs=2, batch=20, lr=.01, seed=0)
    given, net = (net, copy.deepcopy(net.state_dict())), train(net, (x, y), **how)
    assert net is not given[0] and not net.training and torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(given[0].state_dict().values(), given[1].values()))
    with torch.no_grad(): assert loss(net) < before
    again = train(m.net(), (x.double().numpy(), y.numpy()), **how) # seeds, of dropout too
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values()))

def test_a_simplex_has_collapsed():
    y = torch.arange(40) % 4
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False))
    with torch.no_grad(): net[1].weight.copy_(torch.eye(4) - .25)
    got = neural_collapse(net, (nn.functional.one_hot(y, 4).float().view(-1, 1, 2, 2), y))
    assert all(abs(v) < 1e-6 for v in got.values())

def test_a_last_layer_that_is_not_found():
    x, y = torch.randn(40, 8, generator=generator('x')), torch.arange(40) % 2
    ends = nn.Sequential(nn.Linear(8, 4), nn.ReLU(inplace=True), nn.Linear(4, 2), nn.LogSoftmax(1))
    with pytest.raises(ValueError, match='expected `layer`'): neural_collapse(ends, (x, y))
    assert neural_collapse(ends, (x, y), '2')['nc1'] > 0
    for layer in ('3', '9'):
        with pytest.raises(ValueError, match=f"'{layer}' is"): neural_collapse(ends, (x, y), layer)
    with pytest.raises(ValueError, match='no sample'): neural_collapse(ends, (x, 0 * y), '2')
    with pytest.raises(ValueError, match='from 0 to 2'): neural_collapse(ends, (x, y * 2), '2')
    with pytest.raises(ValueError, match='same mean|the same'): neural_collapse(ends, (0 * x, y), '2')

# ---- what is not supported says so
class Odd(nn.Module):
    def __init__(self, f, layer=None):
        super().__init__()
        self.f, self.layer = f, layer or nn.Identity()
    def forward(self, x): return self.f(self, x)

def refused(net, layer, words, x=None, y=None, **how):
    x = torch.randn(30, 3, 8, 8, generator=generator('odd')) if x is None else x
    with pytest.raises(ValueError, match=words):
        layer_statistics(net, [layer], [(x, torch.arange(len(x)) % 3 if y is None else y)], 3, **how)

def test_a_block_with_both_layouts_is_asked_about():
    m = next(m for m in ZOO if m.name == 'convnext')
    with pytest.raises(ValueError, match="'blocks.0' .ConvNeXtBlock.*channels"):
        layer_statistics(m.net(), ['blocks.0'], batches(m), CLASSES)

def test_refusals_name_what_is_not_supported():
    conv = nn.Conv2d(3, 4, 3)
    shared = nn.Conv2d(3, 3, 3, padding=1)
    refused(Odd(lambda s, x: s.layer(s.layer(x)), shared), 'layer', "'layer' is used more than once")
    refused(Odd(lambda s, x: x, conv), 'layer', "'layer' was not used")
    refused(Odd(lambda s, x: s.layer(x), conv), 'lager', "no layer 'lager'")
    refused(Odd(lambda s, x: s.layer(x)['a'], Odd(lambda s, x: {'a': x})), 'layer', "'layer' gives a dict")
    refused(Odd(lambda s, x: s.layer(x), Odd(lambda s, x: x.mean())), 'layer', 'one row for each')
    refused(Odd(lambda s, x: s.layer(x), Odd(lambda s, x: x.flatten(0, 1))), 'layer', 'one row for each')
    refused(Odd(lambda s, x: s.layer(x.flatten(2)), nn.Identity()), 'layer', 'nothing tells where its channels')
    refused(Odd(lambda s, x: s.layer(x), conv), 'layer', 'text', y=['a', 'b', 'c'] * 10)
    refused(Odd(lambda s, x: s.layer(x), conv), 'layer', 'from 0 to 9', y=torch.arange(30) % 10)
    refused(Odd(lambda s, x: s.layer(x), conv), 'layer', 'NaN', x=torch.full((30, 3, 8, 8), math.nan))
    refused(Odd(lambda s, x: s.layer(x), conv), 'layer', 'uint8', x=torch.zeros(30, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match='no image'): layer_statistics(conv, [''], [], 3)
    spent = iter([(torch.randn(30, 3, 8, 8), torch.arange(30) % 3)])
    list(spent)
    with pytest.raises(ValueError, match='spent'):
        layer_statistics(Odd(lambda s, x: s.layer(x), conv), ['layer'], spent, 3)

def test_what_no_rule_knows_is_asked_for():
    net = Odd(lambda s, x: s.layer(x.flatten(2)), nn.Identity()) # (B, 3, 64): tokens first, or channels?
    x, y = torch.randn(30, 3, 8, 8, generator=generator('odd')), torch.arange(30) % 3
    for axis, want in ((1, x.flatten(2).mean(2)), (-1, x.flatten(2).mean(1))):
        got = layer_statistics(net, ['layer'], [(x, y)], 3, channels=axis)['layer'].moments()
        assert close(got.mean, torch.stack([want[y == c].double().mean(0) for c in range(3)]))
