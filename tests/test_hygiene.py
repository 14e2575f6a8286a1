"""What a reader meets: bearable notebooks, ids that lead somewhere, nothing of somebody's machine, files up to date."""
import base64
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from deepstruct.book import ledger as L
from deepstruct.data import fashion_mnist

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
PLACES = 'home', 'root', 'Users', 'tmp', 'work', 'mnt', 'opt', 'private', 'builds' # first folders of absolute paths
LOCAL = re.compile(r'(?<![\w.])/(' + '|'.join(PLACES) + r')/\w|[A-Z]:\\\\Users')
GENERATED = ['README.md', 'data/results/LEDGER.md', 'data/results/GALLERY.md']
README = (ROOT / 'README.md').read_text(encoding='utf-8')


def kept():
    """The files that git keeps; without git those of the archive that are text by their name."""
    call = ['git', 'ls-files', '-z']
    said = subprocess.run(call, cwd=ROOT, capture_output=True, text=True).stdout if shutil.which('git') else ''
    if said: return [ROOT / n for n in said.split('\0') if n and (ROOT / n).is_file()]
    words = 'py ipynb toml md json yml yaml ini cff lock'.split()
    return [p for w in words for p in ROOT.rglob(f'*.{w}') if not {'.venv', '.cache', 'out', 'build'} & set(p.parts)]


def source(nb): return '\n'.join(''.join(c['source']) for c in nb['cells'])


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook(path):
    text = path.read_text(encoding='utf-8')
    nb = json.loads(text)
    first = ''.join(nb['cells'][0]['source'])
    assert len(text) <= 1_500_000 and 'widgets' not in nb['metadata']
    assert first.startswith('# ') and '\n> ' in first, 'begins with a title and a line of description'
    assert len({c['id'] for c in nb['cells']}) == len(nb['cells']), 'each cell has an id of its own'
    for c in nb['cells']:
        assert set(c['metadata'].get('tags', [])) <= {'parameters'}, c['id']
        for o in c.get('outputs', []):
            assert o['output_type'] != 'error' and o.get('name') != 'stderr', c['id']
            data = o.get('data', {})
            said = [*o.get('text', []), *(''.join(v) for k, v in data.items() if not k.startswith('image'))]
            said = ''.join(said)
            digits = path.stem.startswith('paper_') and re.search(r'\d\.\d{9}', said)
            assert not digits, f'{c["id"]} prints numbers of more digits than anyone reads'
            assert not LOCAL.search(said), (c['id'], LOCAL.search(said))
            picture = data.get('image/png')
            if picture: assert len(base64.b64decode(''.join(picture))) <= 250_000, c['id']


@pytest.mark.parametrize('path', [p for p in NOTEBOOKS if p.stem.startswith('paper_')], ids=lambda p: p.stem)
def test_paper_notebook(path):
    nb = json.loads(path.read_text(encoding='utf-8'))
    code = [c for c in nb['cells'] if c['cell_type'] == 'code']
    tagged = [''.join(c['source']) for c in code if 'parameters' in c['metadata'].get('tags', [])]
    assert len(tagged) == 1 and "preset = 'laptop'" in tagged[0] and 'seed = ' in tagged[0]
    above = source(dict(cells=code)).split('\nstart(')[0]
    assert not re.search(r'\b(where|load_\w+|open|fashion_mnist)\(', above), 'a run hears what is read below start(...)'
    assert not any(line.startswith('#|') for c in code for line in ''.join(c['source']).split('\n'))
    assert not re.search(r'if +preset *==|if +.smoke.', source(nb)), 'presets change scale, never code'


def test_ids_lead_somewhere():
    rows, found = L.load().rows, L.scan()
    assert set(found['claim']) == set(rows), 'claims of the pages, and rows and checks of the files beside them'
    for id, row in rows.items(): assert found['claim'][id]['paper'] == row.paper, id
    for preset in L.PRESETS:
        drawn = set(L.records('figures', preset))
        assert set(L.records('claims', preset)) <= set(rows) and drawn <= set(found['figure']), preset
        assert {p.stem for p in (ROOT / 'data/results' / preset / 'figures').glob('*.png')} == drawn, preset


@pytest.mark.parametrize('path', sorted(ROOT.glob('data/results/*/figures/*.png')), ids=lambda p: p.stem)
def test_recorded_pictures(path): assert path.stat().st_size <= 500_000


@pytest.mark.parametrize('name', GENERATED)
def test_generated(name):
    site = pytest.importorskip('deepstruct.book.site')
    assert (ROOT / name).read_text(encoding='utf-8') == site.generated()[name], 'run `make readme`'


def test_readme():
    """One screen a door: who, which papers, how to run it, a picture, within the first hundred lines."""
    assert len(README.encode()) <= 10_000
    top = '\n'.join(README.split('\n')[:100])
    papers = [p for p in L.load().papers.values() if p.arxiv]
    talk = 'Towards a Mathematical Understanding of Deep Convolutional Neural Networks'
    words = ['Florentin Guth', talk, 'git clone', 'make reproduce', 'make test', 'figures/wsgm.fields.png', 'import',
             'data/results/LEDGER.md', *(f'(https://arxiv.org/abs/{p.arxiv})' for p in papers),
             *(p.title for p in papers)]
    assert len(papers) == 9 and not [w for w in words if w not in top]
    assert all(f'arXiv:{p.arxiv}' in README for p in papers), 'BibTeX of each paper'
    assert README.count('\n@') == 10, 'and ours'
    kept = sum(len(fashion_mnist(split)[0]) for split in ('train', 'test'))
    assert f' {kept:,} images of Fashion-MNIST come with the repository' in README


@pytest.mark.parametrize('name', ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'data/README.md', *GENERATED[1:]])
def test_links(name):
    text = (ROOT / name).read_text(encoding='utf-8')
    ours = {m for m in re.findall(r'\]\(([^)\s]+)\)', text) if not m.startswith(('http', '#'))}
    assert not [m for m in ours if not (ROOT / name).parent.joinpath(m.split('#')[0]).exists()]
    slugs = {re.sub(r'[^a-z0-9 _-]', '', h.lower()).replace(' ', '-') for h in re.findall(r'^#+ (.*)$', text, re.M)}
    assert {m[1:] for m in re.findall(r'\]\((#[^)\s]+)\)', text)} <= slugs


def test_no_list_that_no_reader_has():
    """Places of the papers, not numbers of goals that stand nowhere."""
    pattern = re.compile(rb'goal [0-9]')
    assert not [str(p.relative_to(ROOT)) for p in kept() if pattern.search(p.read_bytes())]


def test_no_machine_in_tracked_text():
    """No absolute home path, index or wheel folder in what the project ships."""
    patterns = ['*.toml', '*.ini', '*.lock', '*.md', 'Makefile', 'setup.py', '.github/**/*.yml', '.ci/*',
                '.pre-commit-config.yaml', 'nbs/**/*.toml', 'deepstruct/**/*.py', 'data/**/*.json', 'data/**/*.md']
    for p in (p for pattern in patterns for p in ROOT.glob(pattern)):
        text = p.read_text(encoding='utf-8')
        assert not re.search(r'file:/|\+cpu|--index-url|--find-links', text) and not LOCAL.search(text), p


def test_line_length():
    """120 characters, in notebooks, tests and the package; nbdev writes `__all__` on lines of its own length."""
    ruff = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['tool']['ruff']
    assert ruff['line-length'] == 120 and 'E501' in ruff['lint']['select'] and 'extend-exclude' not in ruff
    assert [k for k, v in ruff['lint']['per-file-ignores'].items() if 'E501' in v] == ['deepstruct/**']
    for p in set((ROOT / 'deepstruct').rglob('*.py')) - {ROOT / 'deepstruct/_modidx.py'}:
        lines = p.read_text(encoding='utf-8').splitlines()
        first = next((k for k, x in enumerate(lines) if x.startswith('# %% ..')), 0) # what stands above is nbdev's
        assert not [f'{p}: {x}' for x in lines[:1] + lines[first:] if len(x) > 120]


@pytest.mark.parametrize('path', sorted(ROOT.glob('.github/workflows/*.yml')), ids=lambda p: p.stem)
def test_workflow(path):
    """Actions by commit; what is typed into a form reaches a script through the environment only."""
    text = path.read_text(encoding='utf-8')
    used = re.findall(r'uses: *(\S+)', text)
    assert used and all(re.fullmatch(r'[\w./-]+@[0-9a-f]{40}', u) for u in used), used
    scripts = re.findall(r'run: *(?:\|\n((?:[ ]{10,}.*\n|\n)+)|(.*))', text)
    assert scripts and not any('${{' in ''.join(s) for s in scripts)


TRICKS = ['wcrg; touch INJECTED #', '$(shell touch INJECTED)', '$$(touch INJECTED)', '`touch INJECTED`', '*', '-n',
          '" ; touch INJECTED; "', "'; touch INJECTED; '", 'a && touch INJECTED', 'a\ntouch INJECTED',
          '${shell touch INJECTED}']


@pytest.mark.skipif(not shutil.which('make'), reason='no make')
@pytest.mark.parametrize('trick', TRICKS)
@pytest.mark.parametrize('name', ['TARGET', 'PRESET', 'JOBS'])
def test_make_runs_nothing_else(trick, name, tmp_path):
    """What a user says reaches the command whole, and the shell never."""
    for n in ('requirements.lock', 'settings.ini', 'setup.py'):
        (tmp_path / n).touch()
        os.utime(tmp_path / n, (0, 0))
    (tmp_path / '.venv/bin').mkdir(parents=True)
    (tmp_path / '.venv/.ready').touch()
    (tmp_path / '.venv/bin/deepstruct').write_text('#!/bin/sh\nfor a; do printf "<%s>" "$a"; done\n')
    (tmp_path / '.venv/bin/deepstruct').chmod(0o755)
    shutil.copy(ROOT / 'Makefile', tmp_path)
    clean = {k: v for k, v in os.environ.items() if k not in ('TARGET', 'PRESET', 'JOBS', 'MAKEFLAGS')}
    for words, env in (([f'{name}={trick}'], clean), ([], clean | {name: trick})):
        call = ['make', '-s', 'reproduce', *words]
        said = subprocess.run(call, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert not (tmp_path / 'INJECTED').exists()
        assert '\n' in trick or f'<{trick}>' in said.stdout, said
