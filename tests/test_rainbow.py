"""Alignment, kernels, covariances and drawn networks: by other ways than the notebooks', and what bad input gets."""
import math
import warnings

import numpy as np
import pytest
import torch
from scipy import linalg
from sklearn.covariance import ledoit_wolf as sk_ledoit_wolf
from torch import nn

from deepstruct.core import generator
from deepstruct.networks import LearnedScattering, ResNet
from deepstruct.rainbow import alignment as A
from deepstruct.rainbow import covariance as C
from deepstruct.rainbow import kernels as K
from deepstruct.rainbow.dynamics import amplification, stretched
from deepstruct.rainbow.ensembles import job, perceptron, trained_alike, ways
from deepstruct.rainbow.model import (LAWS, RainbowModel, drawn_neurons, logistic_head, residual_streams,
                                      _standardize_again, traced)
from deepstruct.training import rate


def numbers(*shape, name='rainbow', dtype=torch.float64):
    return torch.randn(*shape, generator=generator(name, *shape), dtype=dtype)
def turn(n, name='turn', dtype=torch.float64): return torch.linalg.qr(numbers(n, n, name=name, dtype=dtype)).Q


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize('sizes', [(7, 7), (9, 5), (5, 9)])
def test_moments_do_not_depend_on_batches(dtype, sizes):
    x, y = (numbers(5000, n, name=f'batches{n}', dtype=dtype) for n in sizes)
    one, many = A.Moments(*sizes).update(x, y), A.Moments(*sizes)
    for a, b in zip(x.split(37), y.split(37), strict=True): many.update(a, b)
    wide = x.to(many.cross.dtype).T @ y.to(many.cross.dtype).conj() / 5000
    for m in (one, many):
        assert torch.allclose(m.moment(), wide, atol=1e-6)
        assert abs(A.alignment_error(m) - float((m.energy().sum() - 2 * np.linalg.norm(wide.numpy(), 'nuc'))
                                                / m.energy()[0])) < 1e-6
    B = A.alignment(one)
    G = B.mH @ B if sizes[0] >= sizes[1] else B @ B.mH
    assert torch.allclose(G, torch.eye(len(G), dtype=G.dtype), atol=1e-10)


def test_no_rotation_does_better():
    x, y = numbers(300, 6, name='x'), numbers(300, 6, name='y')
    m = A.Moments(6, 6).update(y, x)
    best = A.alignment_error(m)
    assert A.alignment_error(m, A.alignment(m)) == pytest.approx(best, rel=1e-12)
    assert np.allclose(A.alignment(m).T, linalg.orthogonal_procrustes(x.numpy(), y.numpy())[0], atol=1e-9)
    assert all(A.alignment_error(m, turn(6, f'try{k}')) >= best for k in range(50))
    assert all(A.alignment_error(m, A.alignment(m) @ linalg_exp(.01 * numbers(6, 6, name=f'near{k}'))) >= best
               for k in range(20))


def linalg_root(M): return torch.from_numpy(linalg.sqrtm(M.numpy()).real)
def linalg_exp(B): return torch.linalg.matrix_exp(B - B.T)


def test_null_spaces_are_left_alone():
    x = numbers(100, 8); x[:, 2:5] = 0
    assert torch.allclose(A.alignment(A.Moments(8, 8).update(x, x)), torch.eye(8, dtype=x.dtype), atol=1e-9)
    Q = torch.block_diag(turn(3, 'q'), torch.eye(5, dtype=x.dtype))
    y = numbers(100, 8, name='y'); y[:, 3:] = 0
    assert torch.allclose(A.alignment(A.Moments(8, 8).update(y @ Q.T, y)), Q, atol=1e-9)


def test_convolutional_features_are_samples_at_positions():
    x, y = numbers(8, 3, 4, 5, name='a'), numbers(8, 6, 4, 5, name='b')
    flat = A.Moments(3, 6).update(x.permute(0, 2, 3, 1).reshape(-1, 3), y.permute(0, 2, 3, 1).reshape(-1, 6))
    assert torch.allclose(A.Moments(3, 6).update(x, y).cross, flat.cross)


def test_within_and_between_are_those_of_centred_features():
    x, y, c = numbers(200, 5, name='a'), numbers(200, 4, name='b'), torch.arange(200) % 3
    m = A.Moments(5, 4, classes=3).update(x, y, c)
    u, v = x.clone(), y.clone()
    for k in range(3): u[c == k] -= u[c == k].mean(0); v[c == k] -= v[c == k].mean(0)
    assert (torch.allclose(m.within().moment(), u.T @ v / 200)
            and torch.allclose(m.within().energy(), torch.stack([u.square().sum(), v.square().sum()]) / 200))
    centred = A.Moments(5, 4).update(x, y).within()
    assert torch.allclose(centred.moment(), torch.cov(torch.cat([x, y], 1).T, correction=0)[:5, 5:])


def test_angles_are_those_of_shapes():
    x, Q = numbers(100, 4), turn(4)
    assert A.angle(A.Moments(4, 4).update(x, 3 * x @ Q + 1)) < 1e-5
    shape = lambda z: (z - z.mean(0)) / (z - z.mean(0)).norm()
    y = numbers(100, 4, name='other')
    R, s = linalg.orthogonal_procrustes(shape(x).numpy(), shape(y).numpy())
    assert (np.isclose(A.angle(A.Moments(4, 4).update(x, y)), math.acos(s))
            and np.isclose(np.linalg.norm(shape(x).numpy() @ R - shape(y).numpy())**2, 2 - 2 * s))


def test_networks_keep_their_modes_and_weights():
    nets = [nn.Sequential(nn.Linear(4, 6), nn.Dropout(), nn.ReLU(), nn.Linear(6, 2)).double().train() for _ in range(2)]
    nets[0][1].eval()
    before = [[p.clone() for p in n.parameters()] for n in nets]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always'); A.compared(nets, ('2',), [numbers(50, 4)])
    assert 'dropout' in str(seen[0].message) and nets[0].training and not nets[0][1].training and nets[1][1].training
    assert all(torch.equal(a, b) for n, w in zip(nets, before, strict=True)
               for a, b in zip(n.parameters(), w, strict=True))


def test_the_mean_of_networks_is_found_without_the_data():
    views = [numbers(400, 6, name='truth') @ turn(6, f'v{k}') + .3 * numbers(400, 6, name=f'noise{k}')
             for k in range(4)]
    moments = {(a, b): A.Moments(6, 6).update(views[a], views[b]) for a in range(4) for b in range(a + 1, 4)}
    turns, left = A.aligned_to_mean(moments, 20)
    mean = sum(v @ R.T for v, R in zip(views, turns, strict=True)) / 4
    for v, R in zip(views, turns, strict=True): # each is the best for the mean of the others
        rest = mean * 4 - v @ R.T
        assert np.allclose(linalg.orthogonal_procrustes(v.numpy(), rest.numpy())[0], R.T.numpy(), atol=1e-4)
    assert np.isclose(left, 1 - float(mean.square().sum() / (sum(v.square().sum() for v in views) / 4)))


@pytest.mark.parametrize('name', list(K.ACTIVATIONS))
def test_kernels_are_those_of_many_neurons(name):
    x = numbers(6, 5, name='points')
    w = numbers(300_000, 5, name='neurons', dtype=torch.complex128 if name == 'modulus' else torch.float64)
    f = K.ACTIVATIONS[name](w @ x.T.to(w.dtype))
    G = x @ x.T
    off = (f.T @ f / len(f) - K.dual(name, G)) / (K.product_variance(name, G) / len(f)).sqrt().clamp(min=1e-12)
    square = (f**2).T @ f**2 / len(f) - K.dual(name, G)**2
    assert torch.allclose(square, K.product_variance(name, G), rtol=.05, atol=1e-3 * float(square.max()))
    assert off.abs().max() < 5 and torch.allclose(K.dual(name, G), K.dual(name, G).T)
    assert (torch.isfinite(K.dual(name, torch.zeros(3, 3))).all()
            and torch.isfinite(K.dual(name, torch.ones(3, 3))).all())


def test_layers_of_the_limit_are_those_of_wide_networks():
    net = K.GaussianRainbow(numbers(40, 4, name='points'), [torch.ones(4), torch.tensor([1., .5, .25])])
    wide = net.sample([20_000, 20_000], generator('wide'))
    for k, f in zip(net.K, wide, strict=True): assert (f @ f.T - k).norm() / k.norm() < .03
    assert K.aligned_error(net.Z[2], wide[1]) < .01 * float(net.K[1].trace()) / 40
    Z = net.Z[1]
    assert abs(K.aligned_error(Z, Z @ turn(Z.shape[1]))) < 1e-9


def test_covariance_of_aligned_weights():
    W, Q = numbers(30, 8), turn(8)
    assert (torch.allclose(C.covariance(C.rotated(W, Q)), Q @ C.covariance(W) @ Q.T)
            and torch.allclose(C.covariance([W[:10], W[10:]]), W.T @ W / 30))
    Z = numbers(30, 8, dtype=torch.complex128)
    e, U = torch.linalg.eigvalsh(C.covariance(Z)), turn(8, dtype=torch.complex128)
    # <w, phi> is that of the turned weights on the turned features
    phi = numbers(50, 8, name='phi', dtype=torch.complex128)
    assert torch.allclose(C.rotated(Z, U) @ (U @ phi.T), Z @ phi.T)
    assert e[0] > 0 and torch.allclose(torch.linalg.eigvalsh(C.covariance(C.rotated(Z, turn(8,
        dtype=torch.complex128)))), e)


def test_whitening_by_others_does_not_see_the_covariance():
    Ws = [numbers(40, 10, name=f'net{k}') for k in range(6)]
    mix = numbers(10, 10, name='mix')
    for a, b in zip(C.whitened(Ws), C.whitened([W @ mix for W in Ws]), strict=True):
        assert np.allclose(torch.linalg.svdvals(a), torch.linalg.svdvals(b), rtol=1e-8)
    others = torch.linalg.inv(linalg_root(torch.cat(Ws[1:]).T @ torch.cat(Ws[1:]) / 200))
    z = torch.cat(Ws[1:]) @ others
    assert torch.allclose(z.T @ z / 200, torch.eye(10, dtype=z.dtype))
    assert np.allclose(torch.linalg.svdvals(C.whitened(Ws)[0]), torch.linalg.svdvals(Ws[0] @ others))


@pytest.mark.parametrize('law', LAWS)
def test_drawn_neurons_are_reproducible(law):
    R = numbers(20, 6)
    a, b, c = (drawn_neurons(R, 9, law, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and a.shape == (9, 6)


@pytest.mark.parametrize('law', LAWS)
def test_layers_of_a_stream_share_what_the_law_has_in_common(law):
    """One G, or one choice of neurons: the joint law is that of the joined neurons; what has no common part is
    independent."""
    R, S, n = numbers(20, 4), numbers(20, 3, name='other'), 20_000
    g = generator('own', law)
    a, b = (drawn_neurons(T, n, law, generator=g, joint=generator('stream')) for T in (R, S))
    none = torch.zeros(4, 3, dtype=torch.float64)
    shrunk = math.prod((1 - sk_ledoit_wolf(T.numpy(), assume_centered=True)[1])**.5 for T in (R, S))
    want = {'white': none, 'diagonal': none, 'shrunk': shrunk * R.T @ S / 20}.get(law, R.T @ S / 20)
    assert (a.T @ b / n - want).abs().max() < .05


NETWORKS = {'plain': lambda: perceptron(16, 12, generator=generator('plain')),
            'biases': lambda: perceptron(16, 12, bias=True, generator=generator('plain')),
            'residual': lambda: ResNet(1, 4, generator=generator('residual')),
            'scattering': lambda: LearnedScattering(1, 8, blocks=(3, 4), generator=generator('scattering')),
            'flattened': lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(),
                                               nn.Linear(3 * 36, 5)),
            'after': lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.BatchNorm2d(3, affine=False), nn.Flatten(),
                                           nn.Linear(3 * 36, 5))}


@pytest.mark.parametrize('name', list(NETWORKS))
def test_neurons_as_they_are_give_the_network_back(name):
    net, x = NETWORKS[name](), numbers(300, 1, 8 if name in ('residual', 'scattering', 'flattened', 'after') else 4,
                                       8 if name in ('residual', 'scattering', 'flattened', 'after') else 4,
                                       dtype=torch.float32)
    for m in net.modules():
        if hasattr(m, 'momentum'): m.momentum = 1.
    with torch.no_grad(): net.train()(x)
    net.eval()
    model = RainbowModel().fit(net, [x])
    with torch.no_grad(): same, other = model.sample(law=lambda R, n: R[:n])(x), model.sample(generator('other'))(x)
    scale = float(net(x).detach().abs().max())
    assert float((same - net(x).detach()).abs().max()) < .01 * scale < float((other - net(x).detach()).abs().max())


def test_turned_neurons_are_turned_back():
    """Permuted neurons of every layer: the pooled laws are those of the network."""
    net, x = perceptron(16, 12, depth=3, generator=generator('net')), numbers(2000, 16, dtype=torch.float32)
    twin, order = perceptron(16, 12, depth=3), [torch.randperm(12, generator=generator('order', k)) for k in range(3)]
    with torch.no_grad():
        twin[1].weight.copy_(net[1].weight[order[0]]); twin[3].weight.copy_(net[3].weight[order[1]][:, order[0]])
        twin[5].weight.copy_(net[5].weight[order[2]][:, order[1]])
        twin[7].weight.copy_(net[7].weight[:, order[2]])
    assert torch.allclose(net(x), twin(x), atol=1e-5)
    model = RainbowModel().fit([net, twin], [x])
    for k, o in zip(('3', '5'), order[1:], strict=True):
        assert torch.allclose(model.neurons[k][12:], model.neurons[k][:12][o], atol=1e-3)


def test_drawn_networks_are_aligned_as_they_grow():
    """Drawn neurons in another order: the next layer finds them, and the function is that of the network."""
    net, x = perceptron(16, 12, depth=3, generator=generator('net')), numbers(2000, 16, dtype=torch.float32)
    model, laws = RainbowModel().fit(net, [x]), {'7': lambda R, n: R}
    for k in ('1', '3', '5'): laws[k] = lambda R, n, o=torch.randperm(12, generator=generator('dealt', k)): R[o]
    with torch.no_grad(): want, new, none = (m(x) for m in (net, model.sample(law=laws), model.sample(law=laws,
                                                                                                      aligned=False)))
    assert float((new - want).abs().max()) < .01 * float(want.std()) < float((none - want).std())


@pytest.mark.parametrize('dtype', (torch.float64, torch.complex128))
def test_turned_weights_read_turned_features(dtype):
    W, Q, f = numbers(5, 6, 3, dtype=dtype), turn(6, dtype=dtype), numbers(6, 3, 9, name='f', dtype=dtype)
    of = lambda W, f: torch.einsum('nck,ckp->np', W, f)
    assert torch.allclose(of(C.rotated(W, Q), torch.einsum('dc,ckp->dkp', Q, f)), of(W, f))


def test_networks_of_other_widths_have_features_of_the_same_size():
    net, x = perceptron(16, 64, depth=3, generator=generator('net')), numbers(500, 16, dtype=torch.float32)
    model = RainbowModel().fit(net, [x])
    energy = lambda n: float(torch.stack([model.sample(generator('wide', n, s), like=perceptron(16, n,
        depth=3))[:6](x).square().mean() for s in range(4)]).mean().detach())
    assert (.6 < energy(256) / float(net[:6](x).detach().square().mean()) < 1.6
            and .6 < energy(64) / float(net[:6](x).detach().square().mean()) < 1.6)
    R = numbers(30, 5)
    w = drawn_neurons(R, 20_000, generator=generator('many'))
    assert torch.allclose(w.T @ w / 20_000, R.T @ R / 30, atol=.06)


def test_statistics_of_batches_are_those_of_all():
    net, x = (nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 2)).eval(),
              numbers(50, 1, 8, 8, dtype=torch.float32))
    y = net[0](x).detach().double()
    _standardize_again(net, '1', x.split(7), follows=True)
    assert (torch.allclose(net[1].running_mean.double(), y.mean((0, 2, 3)), atol=1e-6)
            and torch.allclose(net[1].running_var.double(), y.var((0, 2, 3), correction=0), rtol=1e-5))
    assert torch.allclose(net[1](net[0](x)).double(), y - y.mean((0, 2, 3), keepdim=True)
                          + net[1].bias.double()[:, None, None], atol=1e-4)


def test_streams_have_one_order_of_channels():
    """Channels of a stream can be renamed where all that writes to it and all that reads it is known, and not
    otherwise."""
    x, (writers, readers) = numbers(4, 1, 8, 8, dtype=torch.float32), residual_streams(ResNet(1, 4, depth=2))
    assert len(writers) == 3 and [len(w) for w in writers] == [3, 3, 3]
    def renamed(w, r):
        net = ResNet(1, 4, depth=2, generator=generator('streams')).eval()
        modules, layers, order = dict(net.named_modules()), traced(net, x)[0], torch.tensor([2, 0, 3, 1, *range(4, 16)])
        with torch.no_grad():
            for k, m in modules.items():
                if isinstance(m, nn.BatchNorm2d):
                    m.weight.copy_(1 + torch.rand(len(m.weight), generator=generator('gain', k)))
                    m.bias.copy_(torch.randn(len(m.bias), generator=generator('shift', k)))
            before, o = net(x), order[:layers[w[0]].neurons]
            for k in w:
                modules[k].weight.copy_(modules[k].weight[o])
                n = modules[layers[k].norm]
                n.weight.copy_(n.weight[o])
                n.bias.copy_(n.bias[o])
            for k in r: modules[k].weight.copy_(modules[k].weight[:, o])
            return float((net(x) - before).abs().max() / before.abs().max())
    for w, r in zip(writers, readers, strict=True):
        assert renamed(w, r) < 1e-4 < .01 < min(renamed(w[1:], r), renamed(w, r[1:]))
    assert residual_streams(NETWORKS['flattened']()) == ([], [])
    with pytest.raises(ValueError, match='torch.fx can trace'): residual_streams(Branches())


class Branches(nn.Module):
    def __init__(self): super().__init__(); self.a = nn.Linear(2, 2)
    def forward(self, x): return self.a(x) if x.sum() > 0 else x


def test_heads_are_fitted_on_the_labelled_batches():
    net, x, y = (perceptron(16, 12, generator=generator('net')), numbers(400, 16, dtype=torch.float32),
                 torch.arange(400) % 10)
    model = RainbowModel().fit(net, [(x[:100], y[:100])])
    few, many = (model.sample(generator('head'), head='refitted', labelled=b) for b in (None, [(x, y)]))
    with torch.no_grad():
        assert torch.equal(few[3].weight, many[3].weight)
        for new, n in ((few, 100), (many, 400)):
            assert torch.allclose(new[-1].weight, logistic_head(new[:-1](x[:n]), y[:n], 10, bias=False)[0], atol=1e-5)
    assert not torch.allclose(few[-1].weight, many[-1].weight, atol=1e-3)


def test_clipped_kernels_see_projected_channels():
    net, x, V = nn.Sequential(nn.Conv2d(6, 5, 3), nn.ReLU()), numbers(3, 6, 8, 8, dtype=torch.float32), turn(6)[:, :2]
    with torch.no_grad(): assert torch.allclose(C.clipped(net, '0', V)(x),
                                                net(torch.einsum('cd,bdij->bcij', (V @ V.T).float(), x)), atol=1e-5)
    mix = LearnedScattering(1, 8, blocks=(3, 4))
    W = C.layer_weights(mix.blocks[1].mix)[:, :, 0]
    P = torch.linalg.qr(numbers(W.shape[1], 2, dtype=torch.complex64)).Q
    assert torch.allclose(C.layer_weights(C.clipped(mix, 'blocks.1.mix', P).blocks[1].mix)[:, :, 0], W @ P @ P.mH,
                          atol=1e-5)


@pytest.mark.parametrize('how', [dict(epochs=3), dict(epochs=1, batch=50), dict(epochs=.01), dict(decay=.1, epochs=2),
                                 dict(shuffled=True, epochs=2), dict(snapshots=3, epochs=2), dict(steps=4)])
def test_networks_trained_alike_are_those_of_a_loop(how, tmp_path, monkeypatch):
    """Stochastic gradients with momentum, by hand; steps are epochs times images over the batch, rounded."""
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path))
    x, y = numbers(70, 16, dtype=torch.float32), torch.arange(70) % 10
    told = dict(epochs=15, batch=20, lr=.05) | how
    its = job('plain', dict(inputs=16, width=12), (x, y), 1, **told)
    net, g = perceptron(16, 12, generator=generator('first weights', 'plain', its.sizes, 1)), generator('batches', 1)
    o = torch.optim.SGD(net.parameters(), told['lr'], .9, weight_decay=told.get('decay', 0.)) # there are no biases
    steps, way = told.get('steps', max(1, round(told['epochs'] * 70 / told['batch']))), [net[1].weight.detach().clone()]
    if 'shuffled' in how: y = y[torch.randperm(70, generator=generator('labels'))]
    for k in range(steps):
        i = torch.randint(70, (told['batch'],), generator=g)
        o.zero_grad(); nn.functional.cross_entropy(net(x[i]), y[i]).backward()
        for group in o.param_groups: group['lr'] = told['lr'] * rate(k, steps, 50)
        o.step()
        way.append(net[1].weight.detach().clone())
    again = job('plain', its.sizes, (x, its.data[1])).but(run=1, **told) # settled last, as well
    for found in (trained_alike(its), trained_alike(again)):
        assert not found.training and found.seconds >= 0 and all(map(torch.equal, found.parameters(), net.parameters()))
    if 'snapshots' in how:
        kept = [way[0], *[way[min(k, steps)] for k in range(2, 9, 2)]]
        assert steps == 7 and all(map(torch.equal, kept, [w['1.weight'] for w in ways(its)])) and len(ways(its)) == 5


def test_mean_field_outputs_are_averages():
    """A last layer that averages over neurons: its output falls like one over the root of the width, not at all
    when it is standard."""
    x, size = numbers(50, 16, dtype=torch.float32), {}
    for scaling in ('standard', 'mean field'):
        for n in (100, 1600):
            net = perceptron(16, n, scaling=scaling, generator=generator(scaling, n))
            h = net[:-1](x)
            size[scaling, n] = float(net(x).detach().square().mean().sqrt())
            if scaling == 'mean field': assert torch.allclose(net(x), (h @ net[-1].weight.T) / n, atol=1e-6)
    assert .7 < size['standard', 1600] / size['standard', 100] < 1.4
    assert .7 < 4 * size['mean field', 1600] / size['mean field', 100] < 1.4


def test_noise_is_not_amplified():
    """Weights that forget the first ones and have learned nothing: directions of other neurons are like any others."""
    first, last = numbers(300, 40, name='first'), numbers(300, 40, name='last')
    a, c = amplification([first, last], 4, generator=generator('halves'))
    same, _ = amplification([first, last], 4, split=False)
    assert torch.equal(a[0], torch.ones(4)) and (c[0] - 1).abs().max() < 1e-12
    assert abs(float(a[1].mean()) - 1) < .12 < .25 < float(same[1].mean()) - 1 and c[1].abs().mean() < .15


def test_a_common_map_explains_neurons_that_did_not_fit_it():
    first, M = numbers(400, 12, name='stretched'), turn(12) * torch.linspace(.2, 3, 12, dtype=torch.float64)
    out = stretched(first, first @ M, 3, ridge=1e-9, generator=generator('stretched'))
    assert abs(out['explained'] - 1) < 1e-9 and out['permuted'] < .1
    noisy = stretched(first, first @ M + .5 * numbers(400, 12, name='noise'), 12, generator=generator('stretched'))
    power = float(M.square().sum()) # of a neuron's last weights, to which noise adds 12 / 4
    assert abs(noisy['explained'] - (power / (power + 3))) < .03


def test_bad_networks():
    x, net = numbers(40, 16, dtype=torch.float32), perceptron(16, 8)
    toy = x, torch.arange(40) % 10
    for words, f in {'sizes of 1 or more': lambda: perceptron(16, 0),
                     'expected the same': lambda: RainbowModel().fit([net, perceptron(16, 8, depth=3)], [x]),
                     'read once': lambda: RainbowModel().fit(net, iter([x])),
                     'no batches': lambda: RainbowModel().fit(net, []),
                     'NaN': lambda: RainbowModel().fit([net, perceptron(16, 8)], [x * math.nan]),
                     'two or more': lambda: traced(nn.Sequential(nn.Linear(16, 2)), x),
                     'no layer': lambda: RainbowModel().fit(net, [x]).covariance('9'),
                     'expected as many': lambda: trained_alike(job('plain', dict(inputs=16, width=4),
                                                                   (x, torch.zeros(3).long()))),
                     'the network is': lambda: job('deep', {}),
                     'no snapshots': lambda: ways(job('plain', {}, (x, x))),
                     'steps is 0': lambda: trained_alike(job('plain', dict(inputs=16, width=4), toy, epochs=0)),
                     'steps is -2': lambda: trained_alike(job('plain', dict(inputs=16, width=4), toy, epochs=-1,
                                                              batch=20)),
                     'expected adamw or sgd': lambda: job('plain', {}, toy, lr=-1),
                     'and 3 labels': lambda: ways(job('plain', dict(inputs=16, width=4), (x, toy[1][:3]), snapshots=1)),
                     'two times': lambda: amplification([x]),
                     'expected the same ': lambda: stretched(x, x[:3], 2)}.items():
        with pytest.raises(ValueError, match=words.strip()): f()
