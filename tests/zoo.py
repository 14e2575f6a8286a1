"""Networks as users write them, small; each with its features by hand and with its neurons permuted.

`for m in ZOO: net = m.net(); x, y = m.images(), m.labels()`. `m.features(net, x)` is {layer: features} without hooks,
on an evaluated network; `m.axis[layer]` is the axis of the channels there. `m.permuted(net, seed)` is a network of the
same function, and {layer: p} such that its features are those of the first at channels p (None: the outputs)."""
import copy
import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

CLASSES, SIDE = 5, 32

# ---- as torchvision writes ResNet-18
def conv3x3(a, b, stride=1): return nn.Conv2d(a, b, kernel_size=3, stride=stride, padding=1, bias=False)

class BasicBlock(nn.Module):
    def __init__(self, inplanes, planes, stride=1, downsample=None):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(inplanes, planes, stride), nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv3x3(planes, planes), nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None: identity = self.downsample(x)
        out += identity
        return self.relu(out)

class ResNet18(nn.Module):
    def __init__(self, width=8, classes=CLASSES, channels=3): # torchvision: 64, 1000
        super().__init__()
        self.inplanes = width
        self.conv1 = nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1, self.layer2 = self._make_layer(width, 1), self._make_layer(2 * width, 2)
        self.layer3, self.layer4 = self._make_layer(4 * width, 2), self._make_layer(8 * width, 2)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(8 * width, classes)

    def _make_layer(self, planes, stride):
        down = None
        if stride != 1 or self.inplanes != planes:
            down = nn.Sequential(nn.Conv2d(self.inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
        first = BasicBlock(self.inplanes, planes, stride, down)
        self.inplanes = planes
        return nn.Sequential(first, BasicBlock(planes, planes))

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))

def resnet_features(net, x):
    out = {'conv1': (c := net.conv1(x)), 'bn1': (b := net.bn1(c)), 'maxpool': (x := net.maxpool(F.relu(b)))}
    for i in range(1, 5):
        for j, block in enumerate(getattr(net, f'layer{i}')):
            at, short = f'layer{i}.{j}', x if block.downsample is None else block.downsample(x)
            out[f'{at}.conv1'] = c = block.conv1(x)
            out[f'{at}.bn1'] = b = block.bn1(c)
            out[f'{at}.conv2'] = c = block.conv2(F.relu(b))
            out[f'{at}.bn2'] = b = block.bn2(c)
            out[at] = x = F.relu(b + short)
    return out | {'avgpool': (p := x.mean((2, 3), keepdim=True)), 'fc': net.fc(p.flatten(1))}

def norm(at, s): return {f'{at}.{k}': {0: s} for k in ('weight', 'bias', 'running_mean', 'running_var')}
def bare(at, s): return {f'{at}.{k}': {0: s} for k in ('weight', 'bias')}

def resnet_axes():
    out, s = {'conv1.weight': {0: 'x1'}, **norm('bn1', 'x1')}, 'x1'
    for i in range(1, 5):
        for j in range(2):
            at, before, s, inner = f'layer{i}.{j}', s, f'x{i}', f'i{i}{j}'
            out |= {f'{at}.conv1.weight': {0: inner, 1: before}, **norm(f'{at}.bn1', inner),
                    f'{at}.conv2.weight': {0: s, 1: inner}, **norm(f'{at}.bn2', s)}
            if i > 1 and j == 0:
                out |= {f'{at}.downsample.0.weight': {0: s, 1: before}, **norm(f'{at}.downsample.1', s)}
    return out | {'fc.weight': {1: 'x4'}}

def resnet_streams():
    out = {'conv1': 'x1', 'bn1': 'x1', 'maxpool': 'x1', 'avgpool': 'x4', 'fc': None}
    for i in range(1, 5):
        for j in range(2):
            at = f'layer{i}.{j}'
            out |= {at: f'x{i}', f'{at}.bn2': f'x{i}', f'{at}.conv2': f'x{i}', f'{at}.bn1': f'i{i}{j}',
                    f'{at}.conv1': f'i{i}{j}'}
    return out

# ---- VGG: a rectifier in place behind every convolution, max-pooling, dropout
class VGG(nn.Module):
    def __init__(self, widths=(8, 'M', 12, 'M', 16, 16, 'M'), classes=CLASSES, channels=3, hidden=24, pool=2):
        super().__init__()
        layers = []
        for v in widths:
            if v == 'M': layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            else: layers += [nn.Conv2d(channels, v, kernel_size=3, padding=1), nn.ReLU(inplace=True)]; channels = v
        self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d((pool, pool))
        self.classifier = nn.Sequential(nn.Linear(channels * pool * pool, hidden), nn.ReLU(True), nn.Dropout(),
                                        nn.Linear(hidden, hidden), nn.ReLU(True), nn.Dropout(),
                                        nn.Linear(hidden, classes))

    def forward(self, x): return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))

def vgg_features(net, x):
    out = {}
    for at, part in (('features', net.features), ('avgpool', [net.avgpool]), ('classifier', net.classifier)):
        for i, m in enumerate(part):
            if i == 0 and at == 'classifier': x = x.flatten(1)
            out[at if at == 'avgpool' else f'{at}.{i}'] = x = F.relu(x) if isinstance(m, nn.ReLU) else m(x.clone())
    return out

VGG_AXES = {'features.0.weight': {0: 'a'}, 'features.0.bias': {0: 'a'}, 'features.3.weight': {0: 'b', 1: 'a'},
            'features.3.bias': {0: 'b'}, 'features.6.weight': {0: 'c', 1: 'b'}, 'features.6.bias': {0: 'c'},
            'features.8.weight': {0: 'd', 1: 'c'}, 'features.8.bias': {0: 'd'},
            'classifier.0.weight': {0: 'e', 1: ('d', 1, 4)}, 'classifier.0.bias': {0: 'e'},
            'classifier.3.weight': {0: 'f', 1: 'e'}, 'classifier.3.bias': {0: 'f'}, 'classifier.6.weight': {1: 'f'}}
VGG_STREAMS = {**{f'features.{i}': s for i, s in enumerate('aaabbbccddd')}, 'avgpool': 'd',
               **{f'classifier.{i}': s for i, s in enumerate('eeefff')}, 'classifier.6': None}

# ---- vision transformers: an attention of their own, and torch's
class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).reshape(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-2, -1) * (D // self.heads)**-.5).softmax(-1)
        return self.proj((a @ v).transpose(1, 2).reshape(B, T, D))

class Block(nn.Module):
    def __init__(self, dim, heads, own):
        super().__init__()
        self.norm1, self.norm2, self.own = nn.LayerNorm(dim), nn.LayerNorm(dim), own
        self.attn = Attention(dim, heads) if own else nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(.1), nn.Linear(2 * dim, dim))

    def attend(self, z): return self.attn(z) if self.own else self.attn(z, z, z, need_weights=False)[0]
    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

class ViT(nn.Module): # 16 patches and a class token: as many tokens, 17, as no width here
    def __init__(self, own=True, dim=16, depth=2, heads=4, patch=8, classes=CLASSES, channels=3):
        super().__init__()
        self.patch_embed = nn.Conv2d(channels, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, (SIDE // patch)**2 + 1, dim))
        self.blocks = nn.Sequential(*[Block(dim, heads, own) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def tokens(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed

    def forward(self, x): return self.head(self.norm(self.blocks(self.tokens(x)))[:, 0])

def vit_features(net, x):
    out, x = {'patch_embed': net.patch_embed(x)}, net.tokens(x)
    for i, b in enumerate(net.blocks):
        at = f'blocks.{i}'
        out[f'{at}.norm1'] = z = b.norm1(x)
        out[f'{at}.attn'] = a = b.attend(z)
        x = x + a
        out[f'{at}.norm2'] = z = b.norm2(x)
        for k, m in enumerate(b.mlp): out[f'{at}.mlp.{k}'] = z = m(z)
        out[f'{at}.mlp'] = z
        out[at] = x = x + z
    return out | {'norm': (z := net.norm(x)), 'head': net.head(z[:, 0])}

def vit_axes(own):
    out = {'patch_embed.weight': {0: 'x'}, 'patch_embed.bias': {0: 'x'}, 'cls_token': {2: 'x'}, 'pos_embed': {2: 'x'},
           **bare('norm', 'x'), 'head.weight': {1: 'x'}}
    for i in range(2):
        at, qkv, proj = f'blocks.{i}', *(('qkv.', 'proj') if own else ('in_proj_', 'out_proj'))
        heads = ('heads 4', 3, 1)
        out |= {**bare(f'{at}.norm1', 'x'), **bare(f'{at}.norm2', 'x'), f'{at}.attn.{qkv}weight': {0: heads, 1: 'x'},
                f'{at}.attn.{qkv}bias': {0: heads}, f'{at}.attn.{proj}.weight': {0: 'x', 1: 'heads 4'},
                f'{at}.attn.{proj}.bias': {0: 'x'}, f'{at}.mlp.0.weight': {0: f'm{i}', 1: 'x'},
                f'{at}.mlp.0.bias': {0: f'm{i}'}, f'{at}.mlp.3.weight': {0: 'x', 1: f'm{i}'},
                f'{at}.mlp.3.bias': {0: 'x'}}
    return out

VIT_STREAMS = {'patch_embed': 'x', 'norm': 'x', 'head': None,
               **{f'blocks.{i}{k}': 'x' for i in range(2) for k in ('', '.norm1', '.norm2', '.attn', '.mlp', '.mlp.3')},
               **{f'blocks.{i}.mlp.{k}': f'm{i}' for i in range(2) for k in range(3)}}
VIT_AXIS = {k: 1 if k == 'patch_embed' else -1 for k in VIT_STREAMS}

class Encoder(nn.Module): # torch's own layers, with a fast path in evaluation that passes the modules by
    def __init__(self, dim=16, heads=4, patch=8, classes=CLASSES, channels=3):
        super().__init__()
        self.patch_embed = nn.Conv2d(channels, dim, patch, patch)
        layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(dim, classes)

    def forward(self, x): return self.head(self.encoder(self.patch_embed(x).flatten(2).transpose(1, 2)).mean(1))

def encoder_features(net, x):
    out = {'patch_embed': (x := net.patch_embed(x))}
    x = x.flatten(2).transpose(1, 2)
    for i, b in enumerate(net.encoder.layers):
        at = f'encoder.layers.{i}'
        out[f'{at}.self_attn'] = a = b.self_attn(x, x, x, need_weights=False)[0]
        out[f'{at}.norm1'] = z = b.norm1(x + a)
        out[f'{at}.linear1'] = h = b.linear1(z)
        out[f'{at}.linear2'] = h = b.linear2(F.relu(h))
        out[f'{at}.norm2'] = out[at] = x = b.norm2(z + h)
    return out | {'encoder': x, 'head': net.head(x.mean(1))}

def encoder_axes():
    out = {'patch_embed.weight': {0: 'x'}, 'patch_embed.bias': {0: 'x'}, 'head.weight': {1: 'x'}}
    for i in range(2):
        at = f'encoder.layers.{i}'
        out |= {**bare(f'{at}.norm1', 'x'), **bare(f'{at}.norm2', 'x'),
                f'{at}.self_attn.in_proj_weight': {0: ('heads 4', 3, 1), 1: 'x'},
                f'{at}.self_attn.in_proj_bias': {0: ('heads 4', 3, 1)},
                f'{at}.self_attn.out_proj.weight': {0: 'x', 1: 'heads 4'}, f'{at}.self_attn.out_proj.bias': {0: 'x'},
                f'{at}.linear1.weight': {0: f'm{i}', 1: 'x'}, f'{at}.linear1.bias': {0: f'm{i}'},
                f'{at}.linear2.weight': {0: 'x', 1: f'm{i}'}, f'{at}.linear2.bias': {0: 'x'}}
    return out

ENCODER_STREAMS = {'patch_embed': 'x', 'encoder': 'x', 'head': None,
                   **{f'encoder.layers.{i}{k}': f'm{i}' if k == '.linear1' else 'x' for i in range(2)
                      for k in ('', '.self_attn', '.norm1', '.norm2', '.linear1', '.linear2')}}

# ---- GroupNorm
class GroupNormNet(nn.Module):
    def __init__(self, widths=(8, 12, 16), groups=4, classes=CLASSES, channels=3):
        super().__init__()
        layers = []
        for w in widths:
            layers += [nn.Conv2d(channels, w, 3, 2, 1), nn.GroupNorm(groups, w), nn.SiLU(inplace=True)]; channels = w
        self.body, self.head = nn.Sequential(*layers), nn.Linear(channels, classes)

    def forward(self, x): return self.head(self.body(x).mean((2, 3)))

def group_features(net, x):
    out = {}
    for i, m in enumerate(net.body): out[f'body.{i}'] = x = F.silu(x) if isinstance(m, nn.SiLU) else m(x)
    return out | {'head': net.head(x.mean((2, 3)))}

GROUP_AXES = {**bare('body.1', 'a 4'), **bare('body.4', 'b 4'), **bare('body.7', 'c 4'), 'body.0.weight': {0: 'a 4'},
              'body.0.bias': {0: 'a 4'}, 'body.3.weight': {0: 'b 4', 1: 'a 4'}, 'body.3.bias': {0: 'b 4'},
              'body.6.weight': {0: 'c 4', 1: 'b 4'}, 'body.6.bias': {0: 'c 4'}, 'head.weight': {1: 'c 4'}}
GROUP_STREAMS = {**{f'body.{i}': f'{"abc"[i // 3]} 4' for i in range(9)}, 'head': None}

# ---- ConvNeXt: depthwise convolution, then LayerNorm and linear layers with the channels last
class ConvNeXtBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(dim, dim, 7, padding=3, groups=dim), nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        z = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.pwconv2(self.act(self.pwconv1(z)))).permute(0, 3, 1, 2)

class ConvNeXt(nn.Module):
    def __init__(self, dim=10, depth=2, classes=CLASSES, channels=3):
        super().__init__()
        self.stem = nn.Conv2d(channels, dim, 4, 4)
        self.blocks, self.norm = nn.Sequential(*[ConvNeXtBlock(dim) for _ in range(depth)]), nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x): return self.head(self.norm(self.blocks(self.stem(x)).mean((2, 3))))

def convnext_features(net, x):
    out = {'stem': (x := net.stem(x))}
    for i, b in enumerate(net.blocks):
        at = f'blocks.{i}'
        out[f'{at}.dwconv'] = z = b.dwconv(x)
        for k in ('norm', 'pwconv1', 'act', 'pwconv2'):
            z = getattr(b, k)(z.permute(0, 2, 3, 1) if k == 'norm' else z)
            out[f'{at}.{k}'] = z
        out[at] = x = x + (b.gamma * z).permute(0, 3, 1, 2)
    return out | {'norm': (z := net.norm(x.mean((2, 3)))), 'head': net.head(z)}

def convnext_axes():
    out = {'stem.weight': {0: 'x'}, 'stem.bias': {0: 'x'}, **bare('norm', 'x'), 'head.weight': {1: 'x'}}
    for i in range(2):
        at = f'blocks.{i}'
        out |= {**bare(f'{at}.dwconv', 'x'), **bare(f'{at}.norm', 'x'), f'{at}.gamma': {0: 'x'},
                f'{at}.pwconv1.weight': {0: f'm{i}', 1: 'x'}, f'{at}.pwconv1.bias': {0: f'm{i}'},
                f'{at}.pwconv2.weight': {0: 'x', 1: f'm{i}'}, f'{at}.pwconv2.bias': {0: 'x'}}
    return out

CONVNEXT_STREAMS = {'stem': 'x', 'norm': 'x', 'head': None,
                    **{f'blocks.{i}{k}': f'm{i}' if k in ('.pwconv1', '.act') else 'x' for i in range(2)
                       for k in ('', '.dwconv', '.norm', '.pwconv1', '.act', '.pwconv2')}}
CONVNEXT_AXIS = {k: -1 if k.split('.')[-1] in ('norm', 'pwconv1', 'act', 'pwconv2') else 1 for k in CONVNEXT_STREAMS}

# ---- grouped (ResNeXt) and depthwise separable (MobileNet) convolutions
class Grouped(nn.Module):
    def __init__(self, width=12, groups=3, classes=CLASSES, channels=3):
        super().__init__()
        def layer(a, b, k, stride=1, g=1):
            return [nn.Conv2d(a, b, k, stride, k // 2, groups=g, bias=False), nn.BatchNorm2d(b), nn.ReLU6(inplace=True)]
        self.stem = nn.Sequential(*layer(channels, width, 3, 2))
        self.separable = nn.Sequential(*layer(width, width, 3, 2, width), *layer(width, width, 1))
        self.grouped = nn.Sequential(*layer(width, 2 * width, 3, 2, groups))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(.2), nn.Linear(2 * width, classes))

    def forward(self, x): return self.head(self.grouped(self.separable(self.stem(x))))

def grouped_features(net, x):
    out = {}
    for at in ('stem', 'separable', 'grouped', 'head'):
        for i, m in enumerate(getattr(net, at)):
            out[f'{at}.{i}'] = x = F.relu6(x) if isinstance(m, nn.ReLU6) else m(x)
        out[at] = x
    return out

GROUPED_AXES = {'stem.0.weight': {0: 'a'}, **norm('stem.1', 'a'), 'separable.0.weight': {0: 'a'},
                **norm('separable.1', 'a'), 'separable.3.weight': {0: 'b 3', 1: 'a'}, **norm('separable.4', 'b 3'),
                'grouped.0.weight': {0: 'c like b 3', 1: 'b 3 inner'}, **norm('grouped.1', 'c like b 3'),
                'head.3.weight': {1: 'c like b 3'}}
GROUPED_STREAMS = {**{f'stem.{i}': 'a' for i in range(3)}, **{f'separable.{i}': 'aaabbb'[i].replace('b', 'b 3')
                   for i in range(6)}, **{f'grouped.{i}': 'c like b 3' for i in range(3)}, 'head.0': 'c like b 3',
                   'head.1': 'c like b 3', 'head.2': 'c like b 3', 'head.3': None, 'stem': 'a', 'separable': 'b 3',
                   'grouped': 'c like b 3', 'head': None}

# ---- the permutations of streams: 'x' any; 'x 4' of 4 groups and within them alike; 'c like b 3' the same groups as b
class Permutations:
    def __init__(self, seed): self.g, self.known = torch.Generator().manual_seed(seed), {}
    def order(self, name, n):
        if name not in self.known: self.known[name] = torch.randperm(n, generator=self.g)
        return self.known[name]

    def of(self, stream, n): # index of n channels
        name, *rest = stream.split()
        if not rest: return self.order(name, n)
        if rest[-1] == 'inner': return self.order(f'{name} inner', n)
        k, leader = int(rest[-1]), rest[1] if rest[0] == 'like' else name
        outer, inner = self.order(f'{leader} outer', k), self.order(f'{name} inner', n // k)
        return (outer[:, None] * (n // k) + inner).flatten()

@dataclass
class Member:
    name: str
    make: object # () -> network
    by_hand: object # (network, images) -> {layer: features}
    axes: dict # parameter -> {axis: stream, or (stream, before, after)}
    streams: dict # layer -> stream
    axis: dict # layer -> axis of its channels

    def net(self, seed=0): # in evaluation mode; norms and running statistics away from 0 and 1
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = self.make()
            for k, p in net.state_dict().items():
                if p.ndim == 4: nn.init.kaiming_normal_(p)
                elif p.is_floating_point() and any(w in k for w in ('norm', 'bn', 'cls_token', 'pos_embed')):
                    p.add_(torch.randn(p.shape) / 4)
            with torch.no_grad():
                for _ in range(8): net.train()(self.images())
        return net.eval()

    def images(self, n=60, seed=0): # (n, 3, 32, 32), of classes in turn
        g, t = torch.Generator().manual_seed(seed), torch.arange(SIDE) / SIDE
        waves = torch.stack([torch.sin(2 * math.pi * (c + 1) * (t[:, None] + c * t)) for c in range(CLASSES)])
        return waves[self.labels(n), None] * torch.tensor([1, .5, -1]).view(3, 1, 1) + .5 * torch.randn(
            n, 3, SIDE, SIDE, generator=g)

    def labels(self, n=60): return torch.arange(n) % CLASSES

    @torch.no_grad()
    def features(self, net, x): return {k: v.clone() for k, v in self.by_hand(net, x).items()}

    @torch.no_grad()
    def permuted(self, net, seed=1):
        other, streams, sizes = copy.deepcopy(net), Permutations(seed), {}
        state = other.state_dict()
        for name, axes in self.axes.items():
            for axis, stream in axes.items():
                stream, before, after = (stream, 1, 1) if isinstance(stream, str) else stream
                n = state[name].shape[axis] // before // after
                if 'inner' not in stream: sizes[stream] = n
                at = torch.arange(before * n * after).view(before, n, after)[:, streams.of(stream, n)].flatten()
                state[name].copy_(state[name].index_select(axis, at))
        every = {k: None if s is None else streams.of(s, sizes[s]) for k, s in self.streams.items()}
        return other, every

def member(name, make, by_hand, axes, streams, axis=1):
    return Member(name, make, by_hand, axes, streams, axis if isinstance(axis, dict) else dict.fromkeys(streams, axis))

ENCODER_AXIS = {k: 1 if k == 'patch_embed' else -1 for k in ENCODER_STREAMS}
ZOO = [member('resnet18', ResNet18, resnet_features, resnet_axes(), resnet_streams()),
       member('vgg', VGG, vgg_features, VGG_AXES, VGG_STREAMS),
       member('vit', partial(ViT, True), vit_features, vit_axes(True), VIT_STREAMS, VIT_AXIS),
       member('vit_mha', partial(ViT, False), vit_features, vit_axes(False), VIT_STREAMS, VIT_AXIS),
       member('encoder', Encoder, encoder_features, encoder_axes(), ENCODER_STREAMS, ENCODER_AXIS),
       member('groupnorm', GroupNormNet, group_features, GROUP_AXES, GROUP_STREAMS),
       member('convnext', ConvNeXt, convnext_features, convnext_axes(), CONVNEXT_STREAMS, CONVNEXT_AXIS),
       member('grouped', Grouped, grouped_features, GROUPED_AXES, GROUPED_STREAMS)]
