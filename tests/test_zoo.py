"The zoo itself: features by hand end in the network's output; permuted networks are the same functions."
import pytest
import torch
from zoo import ZOO

each = pytest.mark.parametrize('m', ZOO, ids=lambda m: m.name)

@each
def test_features_by_hand_lead_to_the_output(m):
    net, x = m.net(), m.images(7)
    f = m.features(net, x)
    assert set(f) == set(m.streams) and torch.allclose(list(f.values())[-1], net(x), atol=1e-5)

@each
def test_permuted_networks_are_the_same_function_with_other_features(m):
    net, x = m.net(), m.images(7)
    other, at = m.permuted(net)
    assert torch.allclose(other(x), net(x), atol=1e-4)
    a, b = m.features(net, x), m.features(other, x)
    for k, p in at.items():
        if p is None: continue
        assert torch.allclose(b[k], a[k].index_select(m.axis[k], p), atol=1e-4), k
        assert not torch.equal(p, torch.arange(len(p)))
