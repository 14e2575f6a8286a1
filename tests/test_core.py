"""Seeds, whole numbers, labels, batches, and measuring that leaves a network as it was."""
import numpy as np
import pytest
import torch
from torch import nn

from deepstruct.core import (check_batch, check_fields, check_labels, generator, measuring, seeded, tensor, whole)
from deepstruct.fields import Phi4
from deepstruct.lensing import Cosmology, Lensing
from deepstruct.turbulence import Turbulence


@pytest.mark.parametrize('one', [np.int8(3), np.uint16(3), np.int64(3), torch.tensor(3), np.array(3),
                                 np.array(3, '>i4')])
def test_equal_whole_numbers_are_equal(one):
    assert whole(one, 'n') == 3 and type(whole(one, 'n')) is int
    assert seeded(one).initial_seed() == seeded(3).initial_seed()

@pytest.mark.parametrize('bad', [True, np.True_, torch.tensor(True), 3., np.float32(3), '3', None, [3],
                                 np.array([3, 4]), 0, -1, 3 + 0j, b'3'])
def test_other_things_are_no_whole_numbers(bad):
    with pytest.raises(ValueError, match='L is .*expected a whole number, at least 1'): whole(bad, 'L')

@pytest.mark.parametrize('a, b', [
    (np.int64(1), 1), (np.float64(.25), .25), (np.str_('a'), 'a'), ([np.int32(1), (np.int8(2),)], [1, (2,)]),
    (dict(n=np.uint8(3)), dict(n=3)), (np.bool_(True), True), (np.complex128(1j), 1j), (np.bytes_(b'x'), b'x')])
def test_words_of_numpy_are_words(a, b):
    assert generator('run', a).initial_seed() == generator('run', b).initial_seed()

@pytest.mark.parametrize('word', [torch.tensor(1), np.arange(3), {1, 2}, object(), lambda: 0, [torch.ones(2)],
                                  range(3)])
def test_words_without_a_stable_text(word):
    with pytest.raises(ValueError, match='is no word'): generator('run', word)

def test_seeds():
    g = torch.Generator().manual_seed(5)
    assert seeded(g) is g and seeded(None).initial_seed() != seeded(None).initial_seed()
    g = seeded()
    assert torch.equal(torch.rand(4, generator=g), torch.rand(4, generator=seeded(g.initial_seed())))
    assert seeded(2**64 - 1).initial_seed() != seeded(0).initial_seed()
    for bad in (2**64, -1, 1.5, 'a', np.random.default_rng(0), [1], torch.ones(2)):
        with pytest.raises(ValueError, match='seed is'): seeded(bad)

@pytest.mark.parametrize('one, other', [
    (lambda: Phi4(np.float64(.5), np.int64(8)), lambda: Phi4(.5, 8)),
    (lambda: Phi4(np.float32(.5), torch.tensor(8)), lambda: Phi4(.5, 8)),
    (lambda: Cosmology(np.float64(.25), h=1), lambda: Cosmology(.25, h=1.)),
    (lambda: Lensing(particles=np.int32(16), mesh=np.uint8(32), side=np.float64(64)),
     lambda: Lensing(particles=16, mesh=32, side=64.)),
    (lambda: Turbulence(np.int64(32), shell=np.array([3, 5]), drag=np.float64(.25)), lambda: Turbulence(32, drag=.25)),
    (lambda: Turbulence(32, shell=[np.int8(3), 5], order=np.int64(4)), lambda: Turbulence(32, shell=(3., 5.))),
    (lambda: Turbulence(32, courant=np.float64(2), viscosity=np.float64(.5)), lambda: Turbulence(32, viscosity=.5))])
def test_models_of_equal_numbers_are_one(one, other):
    assert one() == other() and hash(one()) == hash(other()) and repr(one()) == repr(other())

@pytest.mark.parametrize('make, name', [
    (lambda: Phi4(True), 'beta'), (lambda: Phi4('.5'), 'beta'), (lambda: Phi4(.5, True), 'L'),
    (lambda: Phi4(.5, 8.), 'L'), (lambda: Phi4(float('nan')), 'beta'), (lambda: Phi4(.5 + 0j), 'beta'),
    (lambda: Cosmology(h='.7'), 'h'), (lambda: Cosmology(n_s=True), 'n_s'), (lambda: Lensing(mesh=32.), 'mesh'),
    (lambda: Lensing(side=float('nan')), 'side'), (lambda: Lensing(particles=True), 'particles'),
    (lambda: Lensing(step='.1'), 'step'), (lambda: Turbulence(32.), 'L'), (lambda: Turbulence(drag='1'), 'drag'),
    (lambda: Turbulence(order=4.), 'order'), (lambda: Turbulence(courant=None), 'courant'),
    (lambda: Turbulence(shell=4.), 'shell'), (lambda: Turbulence(shell=(3., 'a')), 'shell')])
def test_parameters_are_refused_by_name(make, name):
    with pytest.raises(ValueError, match=f'{name} is'): make()

@pytest.mark.parametrize('x', [np.float32(np.ones((1, 1, 4, 4))), np.ones((1, 1, 4, 4)), [[[[1.]]]], None, 'maps.npy'])
def test_no_tensor_is_said_to_be_none(x):
    with pytest.raises(ValueError, match=f'x is a {type(x).__name__}; expected a torch tensor'): check_fields(x)

@pytest.mark.parametrize('a', [np.arange(6.).reshape(2, 3), np.arange(6, dtype='>f4').reshape(2, 3),
                               np.arange(6, dtype='>i8').reshape(2, 3), np.arange(6.).reshape(3, 2).T[:, ::-1],
                               [[1, 2], [3, 4]], np.arange(3, dtype=np.uint16), [torch.tensor(1.), torch.tensor(2.)]])
def test_numbers_of_any_layout(a):
    assert np.array_equal(tensor(a).double().numpy(), np.asarray(a).astype(float))

def test_arrays_are_copied_and_text_is_none():
    a = np.arange(3.)
    tensor(a)[0] = 7
    assert a[0] == 0
    for bad in ('maps', ['a'], [None], np.array(['2020-01-01'], 'M8'), np.longdouble([1]), [[1], [1, 2]], {'x': 1}):
        with pytest.raises(ValueError, match='x'): tensor(bad)

def test_labels_go_where_they_came_from():
    y = torch.tensor([[0.], [1.]])
    with pytest.raises(ValueError, match='expected integers'): check_labels(y)
    assert check_labels(y.long(), 2).dtype == torch.int64 and check_labels([2, 0]).tolist() == [2, 0]
    assert check_labels(torch.zeros(0, dtype=torch.int32), 3).shape == (0,)
    with pytest.raises(ValueError, match=r'expected \(5,\)'): check_labels([0, 1], 2, 5)
    x, y = check_batch([np.ones((2, 1), '>f8'), [1, 0]], 2)
    assert x.dtype == torch.float64 and y.tolist() == [1, 0]


class Renews(nn.Module): # a buffer that is replaced, one that is written in
    def __init__(self):
        super().__init__()
        self.register_buffer('a', torch.zeros(2)); self.register_buffer('b', torch.zeros(2), persistent=False)
        self.register_buffer('c', None)
    def forward(self, x): self.a = self.a + 1; self.b.add_(1); return x

@pytest.mark.parametrize('net', [nn.BatchNorm1d(3), nn.Sequential(nn.Linear(3, 3), nn.Dropout(.5), nn.BatchNorm1d(3)),
                                 nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), Renews(),
                                 nn.BatchNorm1d(3, momentum=None), nn.RReLU()])
def test_measuring(net):
    net.train()
    x = torch.randn(8, 3)
    before, buffers = {k: v.clone() for k, v in net.named_buffers()}, dict(net.named_buffers())
    state = torch.get_rng_state()
    try:
        with measuring(net) as same:
            assert same is net and not any(m.training for m in net.modules()) and not torch.is_grad_enabled()
            net(x); net.train(); net(x); torch.rand(3); raise KeyError
    except KeyError: pass
    assert all(m.training for m in net.modules()) and torch.is_grad_enabled()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) and v is buffers[k] for k, v in net.named_buffers())
