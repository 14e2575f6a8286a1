"""Networks as users write them, by symmetry: permuted neurons compute the same function, and no rotation, CKA,
covariance or draw may see them; what cannot be done is refused by its own name."""
import copy
import json
import warnings

import numpy as np
import pytest
import torch
from deepstruct.rainbow.alignment import Moments, align, aligned_layers, alignment_error, angle, cka, cosine
from deepstruct.rainbow.covariance import clipped, plain_copy, set_layer_weights
from deepstruct.rainbow.model import RainbowModel, residual_streams, traced
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune
from zoo import ZOO

pytestmark = pytest.mark.filterwarnings('ignore:.*samples for', 'ignore:.*for each neuron', 'ignore:.*dropout',
                                        'ignore:.*weight_norm', 'ignore:.*deprecated', 'ignore:enable_nested')
MEMBERS = {m.name: m for m in ZOO}


def images(n=60, *shape, seed=3):
    return torch.randn(n, *(shape or (3, 32, 32)), generator=torch.Generator().manual_seed(seed))


def alive(m): # with running statistics of its own features, so that none dies
    net = m.net()
    for k in net.modules():
        if isinstance(k, nn.BatchNorm2d): k.momentum = 1.
    with torch.random.fork_rng(), torch.no_grad():
        net.train()(m.images())
    for k in net.modules():
        if isinstance(k, nn.BatchNorm2d): k.running_var.mul_(1.2); k.running_mean.add_(.05)
    return net.eval()


def kept(R, n): return R[:n]
def outputs(net, x):
    with torch.no_grad(): return net(x)
def near(a, b, to=1e-3): return float((a - b).abs().max()) < to * float(b.abs().max())


@pytest.mark.parametrize('name', MEMBERS)
def test_permuted_neurons_are_the_same_representation(name):
    m = MEMBERS[name]
    net, x = alive(m), m.images()
    twin, order = m.permuted(net)
    by_hand = m.features(net, x)
    places = [k for k in m.streams if not k.endswith('self_attn') and not (name == 'vit_mha' and k.endswith('attn'))]
    for k, found in aligned_layers(net, twin, places, [x[:40], x[40:]], autos=True).items():
        f = by_hand[k].movedim(m.axis[k], -1).flatten(0, -2).double()
        if float((f - f.mean(0)).square().sum()) < 1e-12 * float(f.square().sum()): continue # dead
        assert abs(float(found.energy()[0]) / float(f.square().sum(1).mean()) - 1) < 1e-4, k
        assert abs(alignment_error(found)) < 1e-5 and angle(found) < 3e-3 and abs(cka(found) - 1) < 1e-5, k
        p = torch.eye(f.shape[1], dtype=f.dtype)
        if order[k] is not None: p = p[order[k]]
        assert abs(alignment_error(found, p.T)) < 1e-5, k


@pytest.mark.parametrize('name', ('vit_mha', 'encoder'))
def test_tuples_are_refused_or_read(name):
    m = MEMBERS[name]
    net, x = m.net(), m.images(20)
    k = next(k for k in m.streams if k.endswith('attn'))
    with pytest.raises(ValueError, match='tuple in place of one tensor'): aligned_layers(net, net, (k,), [x])
    found = aligned_layers(net, m.permuted(net)[0], (k,), [x], read=lambda m, y: y[0], channels=-1)[k]
    assert abs(alignment_error(found)) < 1e-5 and found.samples == 20 * m.features(net, x)[k].shape[1]


REFUSED = {'vit': 'channel by channel', 'vit_mha': 'attention is not supported', 'convnext': 'groups',
           'encoder': 'attention is not supported', 'grouped': 'groups'}


@pytest.mark.parametrize('name', MEMBERS)
def test_models_of_users_networks(name):
    m = MEMBERS[name]
    net, x = alive(m), m.images()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]): RainbowModel().fit(net, [x])
        return
    twin, order = m.permuted(net)
    model = RainbowModel().fit([net, twin], [x])
    seen = aligned_layers(net, net, list(model.layers), [x], inputs=True, autos=True)
    for k, l in list(model.layers.items())[1:-1]: # the same neurons, as far as the features tell
        at = order[(l.norm or k).split('.downsample')[0]]
        S = seen[k].autos[0]
        D = (l.channels, l.positions) if len(S) == l.channels else (len(S), 1)
        act = lambda R, S=S, D=D: torch.einsum('nck,cd,ndk->n', *(R[:, :D[0] * D[1]].double().view(-1, *D), S, R[
            :, :D[0] * D[1]].double().view(-1, *D)))
        one, two = model.neurons[k][:l.neurons], model.neurons[k][l.neurons:]
        if at is not None: assert (act(two - one[at]) <= 1e-4 * act(one).max()).all() and act(one).max() > 0, k
    for k in before: assert torch.equal(before[k], net.state_dict()[k])
    for n in net.modules(): # with the statistics of these images a kept law gives the network back
        if isinstance(n, nn.BatchNorm2d): n.momentum = 1.
    if name == 'groupnorm': assert near(outputs(RainbowModel().fit(net, [x]).sample(law=kept), x), outputs(net, x))
    drawn = RainbowModel().fit(net, [(x, m.labels())]).sample(seed=1, head='refitted')
    assert torch.isfinite(outputs(drawn, x)).all()


def computed(name, f=lambda m, k: m):
    layer = f(nn.Linear(64, 16), name)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), f(nn.Linear(16, 12), name), nn.ReLU(), nn.Linear(12, 5))
class Doubled(nn.Module):
    def forward(self, w): return 2 * w.tanh()
def twice_pruned(m, _):
    prune.l1_unstructured(m, 'weight', .3)
    prune.random_unstructured(m, 'weight', .3)
    return m
def registered(m, _): parametrize.register_parametrization(m, 'weight', Doubled()); return m
COMPUTED = {'weight_norm': lambda m, _: parametrizations.weight_norm(m), 'old weight_norm': lambda m, _:
            nn.utils.weight_norm(m), 'spectral_norm': lambda m, _: parametrizations.spectral_norm(m),
            'old spectral_norm': lambda m, _: nn.utils.spectral_norm(m), 'orthogonal': lambda m, _:
            parametrizations.orthogonal(m), 'pruned': lambda m, _: prune.l1_unstructured(m, 'weight', .5),
            'twice pruned': twice_pruned, 'own': registered, 'pruned bias': lambda m, _: prune.l1_unstructured(m,
                'bias', .5)}


@pytest.mark.parametrize('name', COMPUTED)
@pytest.mark.parametrize('train', (False, True))
def test_weights_that_are_computed_are_drawn(name, train):
    torch.manual_seed(0)
    net, x = computed(name, COMPUTED[name]), images(80, 1, 8, 8)
    outputs(net.train(), x)
    net.train(train)
    before, keys = {k: v.clone() for k, v in net.state_dict().items()}, type(net[1])
    model = RainbowModel().fit(net, [x])
    drawn, same = model.sample(seed=1), model.sample(law=kept)
    cut = clipped(net, '3', torch.linalg.qr(torch.randn(16, 2)).Q)
    assert net.training == train and type(net[1]) is keys and list(before) == list(net.state_dict())
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())
    net.eval()
    assert near(outputs(same, x), outputs(net, x)) and not near(outputs(drawn, x), outputs(net, x), .05)
    for i in (1, 3): assert not near(drawn[i].weight, net[i].weight, .05)
    assert torch.linalg.matrix_rank(cut.eval()[3].weight) <= 2 and not near(outputs(cut, x), outputs(net, x), .01)
    assert near(outputs(plain_copy(net), x), outputs(net, x), 1e-6)


def test_writing_is_read_again():
    layer = parametrizations.weight_norm(nn.Linear(4, 3))
    with pytest.raises(ValueError, match='keeps other weights'): set_layer_weights(layer, torch.randn(3, 4, 1))


class Made(nn.Module): # a forward from a function
    def __init__(self, f, **parts):
        super().__init__()
        self.f = f
        for k, m in parts.items():
            if isinstance(m, nn.Module): self.add_module(k, m)
            else: self.register_parameter(k, nn.Parameter(m))
    def forward(self, x): return self.f(self, x)


conv, bn = (lambda a=1, b=4: nn.Conv2d(a, b, 3)), (lambda n=4: nn.BatchNorm2d(n))
FLAT = {'channels first': (lambda z: z.flatten(1), (6, 36)),
        'channels last': (lambda z: z.permute(0, 2, 3, 1).flatten(1),
        (6, 36)), 'turned': (lambda z: z.transpose(2, 3).flatten(1), (6, 36)), 'rows, channels, columns':
        (lambda z: z.permute(0, 2, 1, 3).reshape(len(z), -1), (6, 36)), 'backwards': (lambda z: z.flatten(1).flip(1),
        (6, 36)), 'mean': (lambda z: z.mean((2, 3)), (6, 1)), 'two pools': (lambda z: torch.cat([z.mean((2, 3)),
        z.amax((2, 3))], 1), (6, 2)), 'tanh': (lambda z: z.tanh().flatten(1), (6, 36)), 'relu6, pooled': (lambda z:
        F.max_pool2d(F.relu6(z), 2).permute(0, 2, 3, 1).flatten(1), (6, 9)),
        'unit': (lambda z: F.normalize(z).flatten(1), (6, 36)),
        'unit, last': (lambda z: F.normalize(z).permute(0, 3, 2, 1).flatten(1), (6, 36)),
        'part': (lambda z: z[:, :4].flatten(1), (144, 1))}


@pytest.mark.parametrize('name', FLAT)
def test_flattened_in_any_order(name):
    """The twin's channels are permuted, and the columns of its linear layer with them: found numerically here."""
    f, (C, K) = FLAT[name]
    torch.manual_seed(1)
    x = images(300 if name == 'part' else 80, 1, 8, 8)
    order = torch.tensor([3, 0, 1, 2, 4, 5] if name == 'part' else [3, 0, 5, 1, 4, 2])
    D = f(torch.zeros(1, 6, 6, 6)).shape[1]
    net = Made(lambda m, x: m.b(f(m.a(x).relu())), a=nn.Conv2d(1, 6, 3), b=nn.Linear(D, 5)).eval()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin.a.weight.copy_(net.a.weight[order]); twin.a.bias.copy_(net.a.bias[order])
        probe = torch.randn(40 + 2 * D, 6, 6, 6).abs()
        A, B = f(probe), f(probe[:, order]) # coordinates of the twin's flattening, by the data
        match = torch.cdist((B - B.mean(0)).T, (A - A.mean(0)).T).argmin(1)
        twin.b.weight.copy_(net.b.weight[:, match])
    assert near(outputs(twin, x), outputs(net, x), 1e-4)
    l = traced(net, x)[0]['b']
    assert (l.channels, l.positions) == (C, K)
    model = RainbowModel().fit([net, twin], [x])
    assert model.history[0]['b'] < 1e-5 and near(model.neurons['b'][5:], model.neurons['b'][:5], 1e-2)
    assert near(outputs(RainbowModel().fit(net, [x]).sample(law=kept), x), outputs(net, x))


def gate(m, x): a, b = m.a(x.flatten(1)).chunk(2, 1); return m.b(a.sigmoid() * b)
def squeeze(m, x):
    z = m.a(x).relu()
    return m.d(m.c(z * m.b(z.mean((2, 3))).sigmoid()[:, :, None, None]).mean((2, 3)))
def dense(m, x): z = m.a(x).relu(); return m.d(torch.cat([z, m.b(z).relu()], 1).mean((2, 3)))
READS = {'gate': (gate, dict(a=nn.Linear(64, 8), b=nn.Linear(4, 3)), 'channel by channel'),
         'mixed tokens': (lambda m, x: m.c(m.b(m.a(x[:, 0]).relu().transpose(1, 2)).relu().mean(2)),
                          dict(a=nn.Linear(8, 6), b=nn.Linear(8, 6), c=nn.Linear(6, 3)), 'channel by channel'),
         'channels as positions': (lambda m, x: m.b(m.a(x).relu().permute(0, 2, 1, 3)).mean((2, 3)),
                                   dict(a=conv(1, 6), b=nn.Conv2d(6, 3, 1)), 'channel by channel'),
         'squeeze and excite': (squeeze, dict(a=conv(1, 6), b=nn.Linear(6, 6), c=conv(6, 5), d=nn.Linear(5, 3)), None),
         'dense': (dense, dict(a=conv(1, 6), b=nn.Conv2d(6, 4, 3, padding=1), d=nn.Linear(10, 3)), None),
         'shuffled': (lambda m, x: m.b(F.channel_shuffle(m.a(x).relu(), 2)).mean((2, 3)), dict(a=conv(1, 6),
                      b=conv(6, 3)), None),
         'one channel': (lambda m, x: m.b(m.a(x).relu()).mean((2, 3)), dict(a=conv(1, 1), b=conv(1, 3)), None),
         'functional softmax': (lambda m, x: m.b(m.a(x.flatten(1)).softmax(1)), dict(a=nn.Linear(64, 6), b=nn.Linear(6,
                                3)), None),
         'attention by hand': (lambda m, x: m.b((lambda z: (z @ z.mT).softmax(-1) @ z)(m.a(x[:, 0]))).mean(1),
                               dict(a=nn.Linear(8, 6), b=nn.Linear(6, 3)), None)}


@pytest.mark.parametrize('name', READS)
def test_who_reads_what(name):
    f, parts, words = READS[name]
    torch.manual_seed(0)
    net, x = Made(f, **parts).eval(), images(40, 1, 8, 8)
    if words:
        with pytest.raises(ValueError, match=words): traced(net, x)
    else: assert near(outputs(RainbowModel().fit(net, [x]).sample(law=kept), x), outputs(net, x))


NORMED = {'behind': (nn.Sequential(conv(), bn()), '1'), 'identity': (nn.Sequential(conv(), nn.Identity(), bn()), '2'),
          'dropout': (nn.Sequential(conv(), nn.Dropout(), bn()), '2'), 'rectified': (nn.Sequential(conv(), nn.ReLU(),
              bn()), ''), 'rectified in place': (nn.Sequential(conv(), nn.ReLU(inplace=True), bn()), ''),
          'by function in place': (Made(lambda m, x: m.b(F.relu_(m.a(x))), a=conv(), b=bn()), ''),
          'copied': (Made(lambda m, x: m.b(m.a(x).clone()), a=conv(), b=bn()), 'b'),
          'scaled': (Made(lambda m, x: m.b(2 * m.a(x)), a=conv(), b=bn()), ''),
          'read twice': (Made(lambda m, x: (lambda z: m.b(z) + z)(m.a(x)), a=conv(), b=bn()), ''),
          'read by another': (Made(lambda m, x: (lambda z: m.b(z) + m.c(z))(m.a(x)), a=conv(), b=bn(),
                                   c=nn.Conv2d(4, 4, 1)), ''),
          'a view': (Made(lambda m, x: m.b(m.a(x).view(-1, 4, 36)).view(-1, 4, 6, 6), a=conv(), b=nn.BatchNorm1d(4)),
                     '')}


@pytest.mark.parametrize('name', NORMED)
def test_a_batch_norm_belongs_to_a_layer_by_its_values(name):
    torch.manual_seed(0)
    part, norm = NORMED[name]
    net, x = nn.Sequential(copy.deepcopy(part), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)), images(50, 1, 8, 8)
    for m in net.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.momentum = 1.
            nn.init.constant_(m.weight, 1.5) # one gain for all is what a norm elsewhere keeps
    outputs(net.train(), x)
    net.eval()
    model = RainbowModel().fit(net, [x])
    assert next(iter(model.layers.values())).norm == (f'0.{norm}' if norm else '')
    assert near(outputs(model.sample(law=kept), x), outputs(net, x), 2e-2)


def guarded(m, x):
    if not x.is_floating_point() or x.dim() != 4 or x.shape[1] != 1 or x.size(2) % 2: raise ValueError('images')
    z = m.a(x)
    return m.c((z + m.b(z.relu())).mean((2, 3)))


def test_streams_behind_checks_of_the_input():
    parts = dict(a=conv(), b=nn.Conv2d(4, 4, 3, padding=1), c=nn.Linear(4, 3))
    assert residual_streams(Made(guarded, **parts)) == ([('a', 'b')], [('b', 'c')])
    for f in (lambda m, x: m.a(x) if x.mean() > 0 else x, lambda m, x: m.a(x) if len(x) > 3 else x):
        with pytest.raises(ValueError, match='torch.fx can trace'): residual_streams(Made(f, a=conv()))


def far(offset, dtype=torch.float32): return lambda z: (z + offset).to(dtype)
SHIFTS = {'100': far(100), '1000': far(1000), '-3000': far(-3000), '1e5 in double': far(1e5, torch.float64),
          'one channel':
          lambda z: z + 1000 * torch.eye(6)[2], 'bfloat16': far(0, torch.bfloat16), 'half, large': lambda z: (z
          * 1000).half(), 'half, small': lambda z: (z / 1000).half(), 'integers': lambda z: (z * 100 + 5000).int(),
          'complex': lambda z: torch.complex(z + 900, z.flip(1) - 900), 'drifts': lambda z: z + torch.arange(len(z))[:,
          None] // 100 * 50.}


@pytest.mark.parametrize('name', SHIFTS)
@pytest.mark.parametrize('size', (1, 7, 400))
def test_moments_of_features_with_a_mean(name, size):
    g = torch.Generator().manual_seed(2)
    z, w = torch.randn(2, 400, 6, generator=g)
    x, y = (SHIFTS[name](v + .3 * z) for v in (z, w))
    wide = [v.to(torch.complex128 if v.is_complex() else torch.float64) for v in (x, y)]
    m = Moments(6, 6, autos=True)
    for a, b in zip(x.split(size), y.split(size), strict=True): m.update(a, b)
    c = [v - v.mean(0) for v in wide]
    scale = float(c[0].norm() * c[1].norm()) / 400
    assert float((m.within().moment() - c[0].T @ c[1].conj() / 400).abs().max()) < 1e-5 * scale
    assert near(m.moment(), wide[0].T @ wide[1].conj() / 400, 1e-5)
    r = float(torch.linalg.svdvals(c[0].T @ c[1].conj()).sum() / c[0].norm() / c[1].norm())
    assert abs(cosine(m, centred=True) - r) < 1e-5
    if not x.is_complex():
        K, L = (v @ v.T for v in c)
        hsic = lambda K, L: unbiased(K, L)
        assert abs(cka(m) - hsic(K, L) / (hsic(K, K) * hsic(L, L))**.5) < 1e-4
        assert abs(cka(m, unbiased=False) - float((K * L).sum() / K.norm() / L.norm())) < 1e-5


def unbiased(K, L): # Song et al. 2012, by Gram matrices
    n, K, L = len(K), K.clone().fill_diagonal_(0), L.clone().fill_diagonal_(0)
    return float(((K * L).sum() + K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (K.sum(0) @ L.sum(0)))
                 / (n * (n - 3)))


DEGENERATE = {'zero': torch.zeros(50, 4), 'constant': torch.full((50, 4), .1), 'constant, large': torch.full((50, 4),
              12345.678), 'constant, double': torch.full((50, 4), .1, dtype=torch.float64), 'each its own':
              torch.randn(4).expand(50, 4), 'half': torch.full((50, 4), 8.).half()}


@pytest.mark.parametrize('name', DEGENERATE)
@pytest.mark.parametrize('f', (angle, cka, lambda m: cka(m, unbiased=False), lambda m: cosine(m, centred=True)))
def test_what_does_not_vary_agrees_with_nothing(name, f):
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    for pair, who in (((DEGENERATE[name], x), 'reference'), ((x, DEGENERATE[name]), 'other')):
        m = Moments(4, 4, autos=True)
        for a, b in zip(*(v.split(20) for v in pair), strict=True): m.update(a, b)
        with pytest.raises(ValueError, match=f'the {who}.* does not vary'): f(m)


def test_one_sample_and_zero():
    m = Moments(3, 3).update(torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(ValueError, match='1 samples'): angle(m)
    with pytest.raises(ValueError, match='reference is zero'): cosine(Moments(3, 3).update(torch.zeros(5, 3),
                                                                                           torch.ones(5, 3)))
    with pytest.raises(ValueError, match='at the same positions'): Moments(3, 3).update(torch.ones(2, 3, 4, 6),
                                                                                        torch.ones(2, 3, 6, 4))


@pytest.mark.parametrize('copies', ((2, 1), (1, 2), (3, 3), (2, 5)))
def test_networks_of_unlike_widths_have_one_scale(copies):
    """Each neuron several times, its outgoing weights shared among the copies: the same function and the same law."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 4)), images(300, 9)
    p, q = copies
    wide = nn.Sequential(nn.Linear(9, 8 * p), nn.ReLU(), nn.Linear(8 * p, 7 * q), nn.ReLU(), nn.Linear(7 * q, 4))
    with torch.no_grad():
        for i, (a, b) in zip((0, 2, 4), ((p, 1), (q, p), (1, q)), strict=True):
            wide[i].weight.copy_(net[i].weight.repeat(a, b) / b); wide[i].bias.copy_(net[i].bias.repeat(a))
    assert near(outputs(wide, x), outputs(net, x), 1e-5)
    model = RainbowModel().fit([net, wide], [x])
    for k, n in (('0', 8), ('2', 7), ('4', 4)):
        times = len(model.neurons[k]) // n - 1
        assert near(model.neurons[k][n:], model.neurons[k][:n].repeat(times, 1), 1e-3), k
    assert near(outputs(model.sample(law=kept), x), outputs(net, x))


class Counting(nn.Module): # statistics that it moves in every pass
    def __init__(self): super().__init__(); self.register_buffer('mean', torch.zeros(6)); self.register_buffer('n',
        torch.zeros((), dtype=torch.long))
    def forward(self, x): self.mean.lerp_(x.mean(0), .1); self.n = self.n + 1; return x
class Renamed(nn.Dropout): pass


@pytest.mark.parametrize('train', (True, False))
@pytest.mark.parametrize('part', (nn.BatchNorm1d(6), nn.Dropout(), Counting(), Renamed(.3), nn.AlphaDropout(.2),
                                  nn.BatchNorm1d(6, momentum=None)))
def test_the_users_network_stays_as_it_was(part, train):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(9, 6), copy.deepcopy(part), nn.ReLU(), nn.Linear(6, 3)).train(train), images(90, 9)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), 30, shuffle=True)
    modes, state, rng = [m.training for m in net.modules()], copy.deepcopy(net.state_dict()), torch.get_rng_state()
    A = align(net, net, loader)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        new = RainbowModel().fit(net, loader).sample(seed=0)
    cut = clipped(net, '3', torch.eye(6)[:, :2])
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in state.items())
    assert torch.equal(rng, torch.get_rng_state())
    assert modes == [m.training for m in net.modules()] == [m.training for m in cut.modules()] and not new.training
    assert all(abs(e) < 1e-6 for e in A.error().values()) and all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize('f', (lambda x: F.dropout(x), lambda x: x + torch.randn_like(x), lambda x: x
                               * torch.bernoulli(torch.full_like(x, .5))))
def test_random_features_are_refused(f):
    net, x, rng = Made(lambda m, x: m.b(f(m.a(x))), a=nn.Linear(9, 6), b=nn.Linear(6, 3)), images(40, 9), None
    rng = torch.get_rng_state()
    for run in (lambda: align(net, net, [x]), lambda: RainbowModel().fit(net, [x])):
        with pytest.raises(ValueError, match='draws random numbers'): run()
    assert torch.equal(rng, torch.get_rng_state())


mlp = lambda: nn.Sequential(nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 3))
V = images(40, 9)
BAD = {'a state dict': (lambda: (mlp().state_dict(), [V]), 'OrderedDict.*load_state_dict'),
       'a path': (lambda: ('net.pt', [V]), 'is a str.*load the network first'),
       'scripted': (lambda: (torch.jit.trace(mlp(), V), [V]), 'scripted'),
       'meta': (lambda: (mlp().to('meta'), [V]), 'device meta'),
       'lazy': (lambda: (nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2)), [V]), 'no values yet'),
       'dicts': (lambda: (mlp(), [{'pixels': V, 'label': V}]), "dict with 'pixels', 'label'"),
       'strings': (lambda: (mlp(), ['abc']), 'a batch is a str'),
       'one tensor': (lambda: (mlp(), V), 'one tensor'),
       'an iterator': (lambda: (mlp(), iter([V])), 'read once'),
       'NaN': (lambda: (mlp(), [V * float('nan')]), 'NaN or infinite'),
       'infinite': (lambda: (mlp(), [V / 0]), 'NaN or infinite'),
       'own forward': (lambda: (nn.Sequential(Halved(9, 6), nn.ReLU(), nn.Linear(6, 3)), [V]), 'forward of its own'),
       'matrix of the parent': (lambda: (Made(lambda m, x: m.b(m.a(x) @ m.w), a=nn.Linear(9, 6), w=torch.randn(6, 6),
                                              b=nn.Linear(6, 3)), [V]), "'w' of 'Made' is a matrix"),
       'instance statistics': (lambda: (nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(
           4, track_running_stats=True), nn.Flatten(), nn.Linear(144, 2)).eval(), [images(9, 1, 8, 8)]),
                               'keeps statistics'),
       'tied by storage': (lambda: (shared(), [V]), 'have one weight'),
       'other inputs': (lambda: ([mlp(), nn.Sequential(nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 4))], [V]),
                        'expected the same'),
       'attention': (lambda: (nn.Sequential(nn.Linear(9, 8), nn.TransformerEncoderLayer(8, 2)), [V]),
                     'attention is not supported')}
class Halved(nn.Linear):
    def forward(self, x): return super().forward(x) / 2
def shared():
    net = nn.Sequential(nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 9))
    net[2].weight.data = net[0].weight.data
    return net


@pytest.mark.parametrize('name', BAD)
def test_errors_name_what_is_wrong(name):
    make, words = BAD[name]
    net, batches = make()
    with pytest.raises(ValueError, match=words): RainbowModel().fit(net, batches)


def test_quantised_networks_are_refused():
    net = torch.ao.quantization.quantize_dynamic(mlp(), {nn.Linear})
    for f in (lambda: RainbowModel().fit(net, [V]), lambda: align(net, net, [V])):
        with pytest.raises(ValueError, match='quantised'): f()


@pytest.mark.parametrize('batches', ([V.numpy()], [V.numpy().astype('>f8')], [(V.numpy(), np.zeros(40))], [(V, 0, 1)],
                                     [[V, torch.zeros(40)]], torch.utils.data.DataLoader(V, 40)))
def test_batches_of_many_kinds(batches):
    net = mlp()
    got, want = (align(net, net, b).moments['0'].cross for b in (batches, [V]))
    assert torch.allclose(got, want, rtol=1e-4)
    assert near(outputs(RainbowModel().fit(net, batches).sample(law=kept), V), outputs(net, V))


Y = torch.arange(40) % 3
LABELS = {'int32': (Y.int(), None), 'uint8': (Y.byte(), None), 'a column': (Y[:, None], None),
          'numpy': (Y.numpy(), None), 'one-hot': (F.one_hot(Y), None), 'a list': (Y.tolist(), None),
          'float': (Y.double(), 'float64'), 'above': (Y + 1, '1 to 3'), 'below': (Y - 1, '-1 to 1'),
          'few': (Y[:30], 'expected .40,'), 'a matrix': (Y[:, None].expand(40, 2), 'expected .40,')}


@pytest.mark.parametrize('name', LABELS)
def test_labels_of_many_kinds(name):
    y, words = LABELS[name]
    model = RainbowModel().fit(mlp(), [(V, y)])
    if words:
        with pytest.raises(ValueError, match=words): model.sample(head='refitted')
    else: assert torch.equal(model.sample(seed=0, head='refitted')[2].weight, RainbowModel().fit(
        model.net, [(V, Y)]).sample(seed=0, head='refitted')[2].weight)


def test_seeds():
    model = RainbowModel().fit(mlp(), [V])
    a, b = model.sample(seed=3), model.sample(seed=torch.Generator().manual_seed(3))
    assert torch.equal(a[0].weight, b[0].weight) and model.seed == 3
    c = model.sample()
    assert torch.equal(c[0].weight, model.sample(seed=model.seed)[0].weight)
    assert not torch.equal(a[0].weight, c[0].weight)
    assert model.fit(mlp(), [V]) is model and isinstance(model.history, list)


def test_saved_models(tmp_path):
    net, x = MEMBERS['groupnorm'].net(), MEMBERS['groupnorm'].images()
    model = RainbowModel().fit([net, MEMBERS['groupnorm'].permuted(net)[0]], [x])
    model.save(at := tmp_path / 'm.safetensors')
    law, whole = RainbowModel.load(at), RainbowModel.load(at, MEMBERS['groupnorm'].net(5), [x])
    assert torch.equal(law.covariance('body.3'), model.covariance('body.3')) and law.history == model.history
    assert torch.equal(outputs(whole.sample(seed=1), x), outputs(model.sample(seed=1), x))
    law.save(tmp_path / 'again.safetensors')
    assert near(outputs(RainbowModel.load(tmp_path / 'again.safetensors', net, [x]).sample(seed=1), x),
                outputs(model.sample(seed=1), x), 1e-6)
    with pytest.raises(ValueError, match='loaded without'): law.sample()
    with pytest.raises(ValueError, match='do not fit'): RainbowModel.load(at, mlp())
    (tmp_path / 'text').write_text('hello'); save_file({'a': torch.ones(2)}, tmp_path / 'foreign')
    (tmp_path / 'half').write_bytes(at.read_bytes()[:300])
    for name in ('text', 'foreign', 'half'):
        with pytest.raises(ValueError, match=f'{name} is no file .*expected a rainbow model'):
            RainbowModel.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match='absent'): RainbowModel.load(tmp_path / 'absent')
    assert json.dumps(model.history)
