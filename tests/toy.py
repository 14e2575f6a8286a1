"""A checkout of one paper notebook in a temporary folder, for what has to be tried on a whole project."""
import json

ROW = '''[[claim]]
id = "toy.mean"
paper = "toy"
where = "goal 0.1"
statement = "The mean of the sample is near zero"
kind = "number"
nature = "measurement"
source = "goal"
scale = "exact"
target = 0.0
tolerance = {abs = 0.2}
tolerance_from = "six standard errors"
set = "before"
presets = ["smoke", "laptop"]
expected = {smoke = "holds", laptop = "holds"}
'''
CELLS = [
    ('', 'import json, os, time\nfrom pathlib import Path\nimport numpy as np\nfrom deepstruct.book.claims import claim, figure, start\nfrom deepstruct.core import cached'),
    ('parameters', "preset = 'laptop'\nseed = 0"),
    ('', "start('toy', 'nbs/toy/paper_toy.ipynb', preset=preset, seed=seed)\nhere = Path(os.environ['DEEPSTRUCT_ROOT'])"),
    ('', "def note(word):\n    with open(here / 'log', 'a') as f: f.write(word + ' ')"),
    ('', "@cached\ndef draw(n, seed):\n    note('draw')\n    return [float(v) for v in np.random.default_rng(seed).normal(size=n)]"),
    ('', 'x = draw(1000, seed)'),
    ('', "note('slow')\ntime.sleep(60 if (here / 'wait').exists() else 0)"),
    ('', "claim('toy.mean', float(np.mean(x)), null=1., n=1000)"),
    ('', "with figure('toy.law', title='A law', where='goal 0.1') as fig:\n    fig.axes[0].hist(x)"),
    ('', "note('end')"),
]


def write(path, cells):
    """A notebook of `(tag, source)` code cells."""
    cells = [dict(cell_type='code', id=f'cell{i}', metadata={'tags': [t]} if t else {}, source=s, outputs=[], execution_count=None)
             for i, (t, s) in enumerate(cells)]
    kernel = {'kernelspec': {'display_name': 'python3', 'language': 'python', 'name': 'python3'}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(cells=cells, metadata=kernel, nbformat=4, nbformat_minor=5)))


def project(home):
    """The whole checkout."""
    home.mkdir(parents=True)
    (home / 'settings.ini').write_text('[DEFAULT]\n')
    (home / 'data').mkdir(parents=True)
    (home / 'data/claims.toml').write_text(ROW)
    write(home / 'nbs/toy/paper_toy.ipynb', CELLS)
    return home
