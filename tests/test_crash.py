"""The strided 1x1 convolution whose weight gradient oneDNN gets wrong, or dies of, on AVX2 machines: ours is compared
with a float64 reference in a child process, since the fault can end it. There oneDNN sees no newer processor.
"""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from deepstruct import networks, places, training
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
CHILD = '''
import sys, torch
from deepstruct.networks import Pointwise
torch.set_num_threads(int(sys.argv[1]))
for layout in (torch.contiguous_format, torch.channels_last):
    for c in range(1, 17):
        for stride, out, side, batch in ((2, 8, 16, 4), (2, 5, 9, 3), (3, 8, 12, 2), (1, 4, 8, 2)):
            g = torch.Generator().manual_seed(c)
            theirs = lambda a, b, s: torch.nn.Conv2d(a, b, 1, stride=s, bias=False)
            layer = (Pointwise if sys.argv[2] == 'ours' else theirs)(c, out, stride)
            w = torch.randn(layer.weight.shape, generator=g)
            layer.weight.data.copy_(w)
            x = torch.randn(batch, c, side, side, generator=g)
            mine, exact = x.clone().to(memory_format=layout).requires_grad_(), x.double().requires_grad_()
            v = w.double().requires_grad_()
            y, z = layer(mine), torch.einsum('bchw,oc->bohw', exact[:, :, ::stride, ::stride], v.flatten(1))
            weight = torch.randn(z.shape, generator=g)
            (y * weight).sum().backward(); (z * weight.double()).sum().backward()
            found = ('value', y, z), ('weights', layer.weight.grad, v.grad), ('images', mine.grad, exact.grad)
            for name, a, b in found:
                off = float((a.double() - b).norm() / b.norm().clamp_min(1e-30))
                assert off < 1e-5, (c, stride, layout, name, off)
print('right')
'''


def child(threads, which, isa):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), PYTHONPATH=str(ROOT))
    env.pop('ONEDNN_MAX_CPU_ISA', None)
    return subprocess.run([sys.executable, '-c', CHILD, str(threads), which], env=env | ({'ONEDNN_MAX_CPU_ISA': isa}
        if isa else {}), capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize('threads, isa', [(1, 'AVX2'), (2, 'AVX2'), (2, None)])
def test_pointwise(threads, isa):
    r = child(threads, 'ours', isa)
    assert r.returncode == 0 and r.stdout == 'right\n', (r.returncode, r.stderr[-400:])


def net(*layers): return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


def trained(model, on=None):
    places.warn_once.cache_clear()
    training.fit(model, lambda f, g: f(torch.randn(2, 4, 8, 8, generator=g)).square().mean(), 1, warmup=1, on=on)


@pytest.mark.parametrize('layer, warns', [
    (nn.Conv2d(4, 8, 1, stride=2), True), (nn.Conv2d(4, 8, 1, stride=(1, 2)), True), (nn.Conv2d(4, 8, 1, stride=3,
        bias=False), True), (nn.Conv2d(4, 8, 1, stride=2, groups=2), True),
    (nn.Conv2d(4, 8, 1), False), (nn.Conv2d(4, 8, 3, stride=2), False), (nn.Conv2d(4, 8, 2, stride=2), False),
    (networks.Pointwise(4, 8, 2), False), (nn.Linear(8, 8), False)])
def test_a_users_network_with_such_a_layer(layer, warns, capsys):
    model = net(layer)
    trained(model)
    said = capsys.readouterr().err
    assert ('strided 1x1 convolution' in said) is warns and training.faulty_layers(model) == (['0'] if warns else [])
    if warns: assert said.count('strided') == 1 and '\n' not in said.strip() and said.startswith('deepstruct: 0 is')


def test_many_channels_are_right(): assert training.faulty_layers(nn.Conv2d(16, 8, 1,
    stride=2)) == [] and training.faulty_layers(nn.Conv2d(15, 8, 1, stride=2)) == ['']


def test_it_warns_once(capsys):
    places.warn_once.cache_clear()
    for _ in range(2): training.fit(net(nn.Conv2d(4, 8, 1, stride=2), nn.Conv2d(8, 8, 1, stride=2)), lambda f,
                                    g: f(torch.ones(2, 4, 8, 8)).square().mean(), 1, warmup=1)
    assert capsys.readouterr().err.count('strided') == 1


@pytest.mark.parametrize('width', [1, 4, 15])
def test_our_networks_have_no_such_layer(width, capsys):
    model = networks.ResNet(channels=1, classes=3, width=width)
    assert training.faulty_layers(model) == []
    places.warn_once.cache_clear()
    training.fit(model, lambda f, g: f(torch.ones(2, 1, 16, 16)).square().mean(), 1, warmup=1)
    assert 'strided' not in capsys.readouterr().err
