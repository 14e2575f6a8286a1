"""A checkout of one paper notebook in a temporary folder, for what has to be tried on a whole project."""
import json

PAPER = '''[paper]
name = "toy"
title = "A toy"
authors = "Nobody"
venue = "Nowhere"
arxiv = "2301.00001"
read = "the whole text"
'''
PLACE = '''
[[place]]
id = "{id}"
name = "{name}"
shows = "A sample and its mean."
needs = {needs}
certainty = "V"
'''
PLACES = ''.join(PLACE.format(id=i, name=n, needs=k) for i, n, k in (
    ('fig-1', 'Fig. 1', []), ('fig-2-left', 'Fig. 2 left', []), ('fig-2-right', 'Fig. 2 right', []),
    ('fig-3', 'Fig. 3', ['CelebA-HQ']), ('thm-1', 'Theorem 1', []), ('tab-1', 'Table 1', [])))
ROW = '''
[[row]]
id = "toy.mean"
of = "fig-1"
statement = "The mean of the sample is near zero."
kind = "number"
nature = "measurement"
scale = "exact"
target = 0.0
tolerance = {abs = 0.2}
tolerance_from = "six standard errors"
tolerance_date = "before"
protocol_date = "before"
presets = ["smoke", "laptop"]
expected = {smoke = "holds", laptop = "holds"}
'''
TOML = PAPER + PLACES + ROW
CELLS = [
    ('', 'import json, os, time\nfrom pathlib import Path\nimport numpy as np\nfrom deepstruct.book.claims import claim, figure, start\nfrom deepstruct.core import cached'),
    ('parameters', "preset = 'laptop'\nseed = 0"),
    ('', "start('toy', 'nbs/toy/paper_toy.ipynb', preset=preset, seed=seed)\nhere = Path(os.environ['DEEPSTRUCT_ROOT'])"),
    ('', "def note(word):\n    with open(here / 'log', 'a') as f: f.write(word + ' ')"),
    ('', "@cached\ndef draw(n, seed):\n    note('draw')\n    return [float(v) for v in np.random.default_rng(seed).normal(size=n)]"),
    ('', 'x = draw(1000, seed)'),
    ('', "note('slow')\ntime.sleep(60 if (here / 'wait').exists() else 0)"),
    ('', "claim('toy.mean', np.mean, np.array(x), null=np.array(x) + 1, n=1000)"),
    ('', "with figure('toy.law', 'A law', of='fig-1') as fig:\n    fig.axes[0].hist(x)"),
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
    (home / 'settings.ini').write_text('[DEFAULT]\nlib_name = deepstruct\n')
    write(home / 'nbs/toy/paper_toy.ipynb', CELLS)
    (home / 'nbs/toy/paper_toy.toml').write_text(TOML)
    return home
