"""A checkout of one paper's page in a temporary folder, for what has to be tried on a whole project."""
import json

HEAD = '''[paper]
name = "toy"
title = "On Toys"
authors = "A. Author, B. Author"
venue = "Journal of Toys, 2026"
arxiv = "2601.00001"
read = "the whole text"

[[place]]
id = "fig-1"
name = "Fig. 1"
shows = "The law of the sample."
certainty = "V"

[[place]]
id = "fig-2"
name = "Fig. 2"
shows = "The same at a size that needs much."
certainty = "V"
needs = ["ImageNet", "GPU"]

[[place]]
id = "thm-1"
name = "Theorem 1"
shows = "The law of large numbers."
certainty = "M"
'''
ROW = '''
[[row]]
id = "toy.mean"
of = "fig-1"
statement = "The mean of the sample is near zero"
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
PAGE, FILE = 'nbs/toy/paper_toy.ipynb', 'nbs/toy/paper_toy.toml'
CELLS = [
    ('', 'import json, os, time\nfrom pathlib import Path\nimport numpy as np\n'
         'from deepstruct.book.claims import claim, figure, start\nfrom deepstruct.core import cached'),
    ('parameters', "preset = 'laptop'\nseed = 0"),
    ('', "start('toy', 'nbs/toy/paper_toy.ipynb', preset=preset, seed=seed)\n"
         "here = Path(os.environ['DEEPSTRUCT_ROOT'])"),
    ('', "def note(word):\n    with open(here / 'log', 'a') as f: f.write(word + ' ')"),
    ('', '@cached\ndef draw(n, seed):\n    note(\'draw\')\n'
         '    return [float(v) for v in np.random.default_rng(seed).normal(size=n)]'),
    ('', 'x = draw(1000, seed)'),
    ('', "note('slow')\ntime.sleep(60 if (here / 'wait').exists() else 0)"),
    ('', "claim('toy.mean', lambda y: float(np.mean(y)), x, null=np.abs(x), n=1000)"),
    ('', "with figure('toy.law', title='A law', of='fig-1') as fig:\n    fig.axes[0].hist(x)"),
    ('', "note('end')"),
]


def row(id='toy.mean', check=False, **changes):
    """A `[[row]]` or `[[check]]` as TOML; a key set to None is left out."""
    text, changes = ROW, {'id': id, **changes}
    if check: text = text.replace('[[row]]', '[[check]]').replace('"holds"', '"passes"')
    lines = {line.split(' = ')[0]: line for line in text.split('\n')}
    lines |= {k: f'{k} = {_toml(v)}' for k, v in changes.items()}
    return '\n'.join(line for k, line in lines.items() if changes.get(k, '') is not None) + '\n'


def _toml(v):
    if isinstance(v, dict): return '{' + ', '.join(f'{json.dumps(k)} = {_toml(x)}' for k, x in v.items()) + '}'
    return repr(v) if isinstance(v, float) else json.dumps(v)


TOML, CHECK = HEAD + ROW, row('toy.speed', check=True, of=None, presets=['laptop'], expected={'laptop': 'passes'})


def write(path, cells):
    """A notebook of `(tag, source)` code cells."""
    cells = [dict(cell_type='code', id=f'cell{i}', metadata={'tags': [t]} if t else {}, source=s, outputs=[],
                  execution_count=None) for i, (t, s) in enumerate(cells)]
    kernel = {'kernelspec': {'display_name': 'python3', 'language': 'python', 'name': 'python3'}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(cells=cells, metadata=kernel, nbformat=4, nbformat_minor=5)))


def project(home, *rows):
    """The whole checkout, with these rows in place of ROW."""
    home.mkdir(parents=True)
    (home / 'settings.ini').write_text('[DEFAULT]\nlib_name = deepstruct\n')
    write(home / PAGE, CELLS)
    (home / FILE).write_text(HEAD + ''.join(rows or [ROW]))
    return home
