"Learned scattering as a model of the facade: seeds, what is saved and loaded, per-sample gradients."

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from deepstruct.core import generator, save_tensors
from deepstruct.networks import LearnedScattering as Net

def images(side=16, channels=1, **how): return torch.randn(3, channels, side, side, generator=generator('x'), **how)
def same(a, b): return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))

HOWS = [dict(), dict(nonlinearity='soft', threshold=.1), dict(skip=False, angles=6), dict(channels=3, classes=4),
        dict(blocks=[('half', 1, 4), ('second half', 2, 6)]), dict(side=17, crop=True, blocks=(4, 5)),
        dict(nonlinearity='sigmoid', full=True, angles=8)]

@pytest.mark.parametrize('how', HOWS, ids=range(len(HOWS)))
@pytest.mark.parametrize('dtype', (torch.float32, torch.float64))
def test_what_is_saved_is_loaded(how, dtype, tmp_path):
    net, x = Net(**dict(side=16, blocks=(4, 6)) | how, seed=1).to(dtype), images(how.get('side', 16),
                                                                                how.get('channels', 1), dtype=dtype)
    net(x) # running statistics
    net.save(tmp_path / 'net.safetensors')
    again = Net.load(tmp_path / 'net.safetensors')
    assert same(net, again) and not again.training and torch.equal(again(x), net.eval()(x))
    assert again.config == net.config
    assert (tmp_path / 'net.safetensors').stat().st_size < 16 * sum(v.numel() for v in net.state_dict().values()) + 9000

def test_other_files_are_refused_by_name(tmp_path):
    def written(name, content): (tmp_path / name).write_bytes(content); return tmp_path / name
    net = Net(side=8, blocks=(2,), seed=0)
    net.save(tmp_path / 'good')
    whole, state = (tmp_path / 'good').read_bytes(), {k: v.clone() for k, v in net.state_dict().items()}
    def kept(name, state, about, kind='learned scattering network'):
        save_tensors(tmp_path / name, kind, about, state)
        return tmp_path / name
    save_file(state, tmp_path / 'plain')
    torch.save(net, tmp_path / 'pickled'); np.save(tmp_path / 'a.npy', np.zeros(3))
    some = {k: v for k, v in state.items() if 'classifier' not in k}
    for path in (written('text', b'hello'), written('empty', b''), written('half', whole[:len(whole) // 2]),
                 written('changed', whole[:9] + b'}' + whole[10:]), tmp_path, tmp_path / 'pickled', tmp_path / 'a.npy',
                 tmp_path / 'plain', kept('other', state, {}, 'wavelet diffusion model'),
                 kept('less', some, net.config), kept('more', state, {'speed': 3}),
                 kept('wider', state, net.config | {'blocks': [3]}),
                 kept('list', state, [1]), kept('words', state, 'words')):
        words = 'is no file that save|is not a saved LearnedScattering|is a folder|holds a '
        with pytest.raises(ValueError, match=words) as e: Net.load(path)
        assert str(path) in str(e.value)
    with pytest.raises(FileNotFoundError, match='nowhere'): Net.load(tmp_path / 'nowhere')

def test_seeds():
    how = dict(side=8, blocks=(3,))
    before = torch.get_rng_state()
    nets = [Net(**how, seed=5), Net(**how, seed=np.int64(5)), Net(**how, generator=5),
            Net(**how, generator=torch.Generator().manual_seed(5)), Net(**how, seed=torch.Generator().manual_seed(5))]
    assert all(same(n, nets[0]) for n in nets) and nets[0].seed == 5
    free = Net(**how)
    assert not same(free, Net(**how)) and same(free, Net(**how, seed=free.seed))
    assert torch.equal(before, torch.get_rng_state())
    for bad in ('a', 1.5, -1):
        with pytest.raises(ValueError, match='seed'): Net(**how, seed=bad)
    with pytest.raises(ValueError, match='one'): Net(**how, seed=1, generator=2)

@pytest.mark.parametrize('kind', ('modulus', 'soft', 'phase', 'tanh'))
def test_gradients_of_each_image_by_vmap(kind):
    net = Net(side=8, blocks=(3, 2), classes=3, nonlinearity=kind, seed=0).double().eval().requires_grad_(True)
    x, y = images(8, dtype=torch.float64), torch.arange(3)
    w = {k: v.detach() for k, v in net.named_parameters()}
    def loss(w, x, y): return torch.nn.functional.cross_entropy(torch.func.functional_call(net, w, (x[None],)), y[None])
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(w, x, y)
    for i in range(3):
        net.zero_grad()
        torch.nn.functional.cross_entropy(net(x[i:i + 1]), y[i:i + 1]).backward()
        for k, p in net.named_parameters(): assert torch.allclose(each[k][i], p.grad, atol=1e-9), k
