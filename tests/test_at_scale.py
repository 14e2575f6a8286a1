"""The published training protocol on made-up images: crops, rates, errors, checkpoints."""
import numpy as np
import pytest
import torch
from PIL import Image

from deepstruct.core import generator
from deepstruct.networks import ResNet
from deepstruct.phase_collapse.at_scale import (MEAN, SD, Padded, Pictures, centre_crop, crop_padded, crop_resized,
                                                dropped, top_errors, train_published)
from deepstruct.training import fabric




def test_crops_come_from_the_image():
    x = torch.arange(2 * 36.).view(2, 6, 6) + 1
    seen = set()
    for k in range(300):
        y = crop_padded(x, 1, generator('crop', k))
        places = [(i, j, f) for i in range(3) for j in range(3) for f in (0, 1)
                  if torch.equal(y, (torch.nn.functional.pad(x, (1,) * 4)[:, i:i + 6, j:j + 6].flip(2) if f
                                     else torch.nn.functional.pad(x, (1,) * 4)[:, i:i + 6, j:j + 6]))]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 18
    x, g = torch.rand(1, 4, 4, generator=generator('image')), generator('half')
    assert np.mean([torch.equal(crop_padded(x, 0, g), x) for _ in range(2000)]) == pytest.approx(.5, abs=.04)


def test_resized_crops():
    gradient = Image.fromarray(np.tile(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], (80, 1, 3)))
    widths = []
    for k in range(200):
        a = np.asarray(crop_resized(gradient, 20, generator('resized', k)))[:, :, 0].astype(float)
        assert a.shape == (20, 20) and np.abs(a - a[:1]).max() <= 1 # columns of one value stay so
        widths.append(abs(a[0, -1] - a[0, 0]) / 2 * 20 / 19)
    assert (20 < min(widths) < 40 and 85 < max(widths) <= 101
            and np.mean([np.asarray(crop_resized(gradient, 20, generator('resized', k)))[0, 0, 0]
                         > np.asarray(crop_resized(gradient, 20, generator('resized', k)))[0, -1, 0]
                         for k in range(200)]) == pytest.approx(.5, abs=.12))
    b = np.asarray(centre_crop(gradient, 70, 70 / 80))[:, :, 0]
    assert np.abs(b[0].astype(float) - np.arange(30, 170, 2)).max() <= 1


def test_rates_drop():
    assert [dropped(e, .01, 70) for e in (0, 69, 70, 140)] == pytest.approx([.01, .01, .001, .0001])


class Constant(torch.nn.Module):
    def __init__(self, scores): super().__init__(); self.scores = torch.tensor(scores)
    def forward(self, x): return self.scores.expand(len(x), -1)


def test_errors_count_the_first_k():
    batches = [(torch.zeros(3, 1), torch.tensor([0, 1, 2])), (torch.zeros(1, 1), torch.tensor([3]))]
    assert top_errors(Constant([.4, .3, .2, .1]), batches, fabric(), (1, 2, 3)) == {1: .75, 2: .5, 3: .25}


def test_a_run_goes_on_where_it_was(tmp_path):
    g = generator('run')
    x, y = torch.rand(24, 3, 8, 8, generator=g), torch.arange(24) % 2
    x[y == 1, 0] += 1
    train, test, on = Padded(x / 2, y), Padded(x / 2, y, train=False), fabric()
    assert torch.allclose(test[3][0] * SD + MEAN, x[3] / 2) and test[3][1] == 1
    make = lambda: ResNet(3, width=4, classes=2, generator=generator('weights'))
    how = dict(every=3, lr=.05, batch=8, on=on, workers=0, top=(1,), checkpoint=tmp_path / 'run.pt')
    first = train_published(make(), train, test, epochs=10, **how)
    assert first['epoch'] == [10] and first['errors'][0]['1'] < .2
    state = torch.load(tmp_path / 'run.pt', weights_only=True)
    assert state['epoch'] == 10 and len(list(tmp_path.iterdir())) == 1
    state['key']['epochs'] = 11
    torch.save(state, tmp_path / 'run.pt')
    again = train_published(make(), train, test, epochs=11, **how)
    assert again['epoch'] == [10, 11] and again['errors'][0] == first['errors'][0]
    with pytest.raises(ValueError, match='another run'): train_published(make(), train, test, epochs=12, **how)
    with pytest.raises(ValueError, match='positive'): train_published(make(), train, test, epochs=0, on=on)


def test_pictures_in_folders(tmp_path):
    for k, name in enumerate(('cat', 'dog')):
        (tmp_path / name).mkdir()
        for i in range(2): Image.new('RGB', (30, 40), (100 * k, 50, 0)).save(tmp_path / name / f'{i}.png')
    data = Pictures(tmp_path, 16, train=False)
    x, y = data[2]
    assert y == 1 and torch.allclose(x * SD + MEAN, torch.tensor([100, 50, 0]).view(3, 1, 1) / 255
                                     * torch.ones(1, 16, 16), atol=1e-5)
    (tmp_path / 'dog' / '1.png').write_bytes(b'no picture')
    with pytest.raises(ValueError, match='cannot be read'): data[3]
    with pytest.raises(ValueError, match='two or more'): Pictures(tmp_path / 'cat')
    with pytest.raises(ValueError, match='no pictures of owl'): Pictures(tmp_path, classes=['cat', 'owl'])
