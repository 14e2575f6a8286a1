"""The site needs no network; every page, link, place and row is there; text is only text; a browser agrees."""
import ast
import contextlib
import html
import io
import json
import re
from collections import defaultdict
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from browser import Browser

pytest.importorskip('sphinx')
pytestmark = pytest.mark.filterwarnings('ignore')
NASTY = '<script>alert(1)</script> | `a` *b* $x_1$ [c](javascript:d) {role}`e` <img src=x onerror=f>'
SHOWN = '&lt;script&gt;alert(1)&lt;/script&gt; | `a` *b* $x_1$ [c](javascript:d) {role}`e` &lt;img src=x onerror=f&gt;'


CHAPTERS = 'log_concavity', 'wavelet_diffusion', 'phase_collapse', 'rainbow'


class Page(HTMLParser):
    """Addresses of a page, the links and pictures in its article, and the levels of its headings."""
    def __init__(self, text):
        super().__init__()
        self.text, self.ids, self.links, self.images, self.levels, self.inside = text, set(), [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {a['id']} if 'id' in a else set()
        if tag == 'article': self.inside = True
        if tag == 'a' and 'href' in a: self.links.append(a['href'])
        if tag in ('script', 'img') and 'src' in a: self.links.append(a['src'])
        if tag == 'link' and a.get('rel') == 'stylesheet': self.links.append(a['href'])
        if tag == 'img': self.images.append(a)
        if self.inside and re.fullmatch('h[1-6]', tag): self.levels.append(int(tag[1]))

    def handle_endtag(self, tag):
        if tag == 'article': self.inside = False


def built(to):
    from deepstruct.book import site
    site.build(to)
    pages = [p for p in to.rglob('*.html') if '_static' not in p.parts]
    return {p.relative_to(to).with_suffix('').as_posix(): Page(p.read_text(encoding='utf-8')) for p in pages}


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    at, said = tmp_path_factory.mktemp('site') / 'site', io.StringIO()
    with contextlib.redirect_stderr(said): pages = built(at)
    return SimpleNamespace(at=at, pages=pages, said=said.getvalue())


def test_offline(site):
    from deepstruct.book import runner
    assert 'WARNING' not in site.said and 'ERROR' not in site.said, site.said
    own = {'index', 'claims', 'figures', 'atlas', 'differs', 'glossary', 'gpu', 'speed', 'bibliography', 'api/index',
           'search', 'introduction', 'conclusion', 'explore', *(f'{c}/index' for c in CHAPTERS)}
    assert {p.key for p in runner.pages()} | own <= set(site.pages)
    for name, page in site.pages.items():
        assert not re.search(r'<(?:script|img|iframe)[^>]* src="(https?:|//)|<link[^>]*rel="(?:stylesheet|preload)"'
                             r'[^>]*href="https?:', page.text), name
        assert '#| export' not in page.text.replace('&#124;', '|'), name


def test_links(site):
    """No broken link, address or picture, in any page."""
    lost = []
    for name, page in site.pages.items():
        here = (site.at / f'{name}.html').parent
        for to in set(page.links):
            file, _, id = unquote(to).partition('#')
            if re.match(r'[a-z]+:|//', file): continue
            path = (here / file.split('?')[0]).resolve() if file else (site.at / f'{name}.html').resolve()
            there = site.pages.get(path.relative_to(site.at.resolve()).with_suffix('').as_posix())
            if not path.exists() or id and there and path.suffix == '.html' and id not in there.ids:
                lost.append((name, to))
    assert not lost


def test_pictures_and_headings(site):
    for name, page in site.pages.items():
        for a in page.images:
            assert a.get('alt') and not a['alt'].endswith('.png'), (name, a)
            assert a.get('loading') == 'lazy', (name, a)
        if name.startswith('_modules') or name == 'search': continue
        steps = [b - a for a, b in zip(page.levels, page.levels[1:])]
        assert page.levels[0] == 1 and page.levels.count(1) == 1 and max(steps, default=0) <= 1, (name, page.levels)


def test_formulas_are_formulas(site):
    """No dollar is left over outside of code and formulas, and no formula holds a tag or a sentence."""
    for name, page in site.pages.items():
        if name.startswith('_modules'): continue
        body = re.sub(r'(?s)<(pre|code|script|title)\b.*?</\1>', '', page.text)
        formulas = re.findall(r'(?s)<(?:span|div) class="math[^>]*>(.*?)</(?:span|div)>', body)
        rest = re.sub(r'(?s)<(span|div) class="math[^>]*>.*?</\1>|<[^>]*>', '', body)
        assert '$' not in rest.replace('$DEEPSTRUCT', ''), (name, rest[max(rest.find('$') - 80, 0):][:160])
        assert not any('<' in f or '$' in f for f in formulas), name


def test_displayed():
    from deepstruct.book.site import displayed
    assert displayed('a\n$$x\n=1$$\nb') == 'a\n\n$$x\n=1$$\n\nb'
    assert displayed('$$x$$\n$$y$$') == '$$x$$\n\n$$y$$'
    assert displayed('a $x$ and `b`\n\n- c') == 'a $x$ and `b`\n\n- c'


def test_papers_are_linked(site):
    from deepstruct.book import ledger as L
    for p in (p for p in L.load().papers.values() if p.arxiv and not p.about):
        for name in ('index', 'bibliography', 'atlas'):
            assert f'https://arxiv.org/abs/{p.arxiv}' in site.pages[name].links, (p.name, name)
        assert not p.code or p.code in site.pages['bibliography'].links
        assert html.escape(p.title, quote=False) in site.pages['bibliography'].text


def test_atlas_and_ledger(site):
    """From the first page in three clicks to figure and code of each place, and from each row to its cell."""
    from deepstruct.book import ledger as L
    from deepstruct.book import site as S
    claims, atlas = site.pages['claims'], site.pages['atlas']
    assert {'atlas.html', 'claims.html'} <= set(site.pages['index'].links)
    for q in L.places(): assert S._at(q) in atlas.ids, q
    drawn = [f for f in L.figures() if f['png']]
    for f in drawn:
        to = f"{S._html(f['notebook'])}#{f['id']}"
        assert to in site.pages['figures'].links and (to in atlas.links or not L.load().place(f['paper'], f['of'])), to
    for r in L.ledger() + L.ledger(checks=True):
        assert r['id'] in claims.ids and f"{S._html(r['notebook'])}#{r['id']}" in claims.links, r['id']
        assert r['id'] in site.pages[S._html(r['notebook'])[:-5]].ids, r['id']
        if r['verdict'] == 'differs' and not r['check']:
            assert f"claims.html#{r['id']}" in site.pages['differs'].links


TOKEN = r'\{\{(\w+)(?: ((?:[^{}]|\{[^{}]*\})*))?\}\}'


@pytest.fixture(scope='module')
def rows():
    from deepstruct.book import ledger as L
    return {r['id']: r for c in (False, True) for r in L.ledger(checks=c)}


@pytest.fixture(scope='module')
def essays():
    from deepstruct.book import site as S
    said = {p.stem: p.read_text(encoding='utf-8') for p in S._static().glob('*.md')}
    return {k: (s, [(m[1], *' '.join((m[2] or '').split()).partition(': ')[::2]) for m in re.finditer(TOKEN, s)])
            for k, s in said.items()}


def test_essays(essays, rows):
    """Every number, figure and place that an essay names is recorded, and no number of ours is typed beside them."""
    from deepstruct.book import site as S
    for name, (said, tokens) in essays.items():
        lost = []
        seen = S.filled(said, '../', lost, rows)
        assert not lost, (name, lost)
        if name not in CHAPTERS: continue
        assert {'figure', 'place', 'explore', 'row', 'counts'} <= {t[0] for t in tokens} and said.count('$$') >= 4, name
        assert all(words for what, _, words in tokens if what in ('figure', 'row')), f'{name}: a figure has a caption'
        no_math = r'\$\$.*?\$\$|\$[^$]*\$'
        prose = re.sub(no_math + '|' + TOKEN, '', said, flags=re.S)
        assert not re.search(r'(?<![\w-])\d+\.\d+', prose), (name, 'numbers come from the ledger')
        prose = re.sub(r'(?s)``````.*?``````|\\\[<a [^>]*class="cited.*?\\\]|<[^>]*>|' + no_math, '', seen)
        assert len(prose.split()) < 1100, (name, len(prose.split()))
    assert '*not recorded: no.such: x*' in S.filled('{{row no.such: x}}', rows=rows)
    assert '*not recorded' in S.filled('{{row cslc.uniform: {got[no such part]:.2f}}}', rows=rows)


def test_essays_claim_what_was_judged(essays, rows):
    """Under what came out stand no rows that did not; nobody cites what was not judged; failures are told."""
    bad = {'differs', 'falls short'}
    for name, (said, tokens) in essays.items():
        assert not [id for what, id, _ in tokens if what == 'row' and rows[id]['verdict'] == 'not run here'], name
        if name not in CHAPTERS: continue
        parts = re.split(r'^## What (?:came|did not come) out.*$', said, flags=re.M)
        parts = dict(zip(('before', 'came out', 'did not'), parts))
        cited = {k: {rows[m[2].split(':')[0]]['verdict'] for m in re.finditer(TOKEN, p) if m[1] == 'row'}
                 for k, p in parts.items()}
        assert len(parts) == 3 and not bad & (cited['before'] | cited['came out']), (name, cited)
        told = [m[2].split(':')[0] for m in re.finditer(TOKEN, parts['did not']) if m[1] == 'row']
        assert sum(rows[id]['verdict'] in bad for id in told) >= 4, name


def test_numbers_of_papers(essays, rows):
    """A number that an essay gives as a paper's, with a link to a place, is in what that place or its rows say."""
    from deepstruct.book import ledger as L
    for name, (_, tokens) in essays.items():
        for _, id, words in (t for t in tokens if t[0] == 'place' and t[2]):
            paper, place = L.load().place('', id.replace('/', ':'))
            mine = [r for r in rows.values() if L.load().place(r['paper'], str(r['of'])) == (paper, place)]
            there = ' '.join([place.shows, *(f"{r['paper_value']} {r['known']}" for r in mine)])
            numbers = lambda s: set(re.findall(r'\d+(?:\.\d+)?', s))
            assert numbers(words) <= numbers(there), (name, id, words)


WORDS = ['coloured', 'white', 'alignment', 'aligned head', 'refitted head', 'learned scattering', 'skip', 'plaquette',
         'sites and pairs', '$U_4$', 'HH', 'family', 'HMC', 'exact trajectories', 'marginal units', 'conditional units',
         'KPCA', 'Marchenko-Pastur law', 'distance of the pools', 'holds', 'holds at reduced scale', 'differs',
         'passes', 'falls short', 'not run here', 'worst of $n$']


def test_glossary(essays):
    """Words that a reader meets in the essays and the ledger stand in it, and those that essays link to."""
    terms = [s for s in essays['glossary'][0].splitlines() if s and s[0] != ' ']
    assert not set(WORDS) - set(terms) and len(terms) == len(set(terms))
    for name, (said, _) in essays.items():
        asked = {m[2] or m[1] for m in re.finditer(r'\{term\}`([^`<]+?)(?: <([^`>]*)>)?`', said)}
        assert asked <= set(terms), (name, asked - set(terms))


def test_quoted():
    """Numbers of a row in the words of an essay: parts, the extremes, the bound; what is absent is an error."""
    from deepstruct.book import ledger as L
    from deepstruct.book import site as S
    row = next(r for r in L.load().rows.values() if r.id == 'cslc.spectrum')
    r = dict(id=row.id, got={'haar a': .01, 'db4 b': .03, 'haar c': .019}, null={'haar a': 1.}, paper_value=None,
             note='seen; null: other')
    words = '{got.least:.1%} {got.most} {got.worst:.3f} {got[db4 b]:.0%} {null.most:.1f} {asked[db4]}, {note}'
    assert S.quoted(words, r) == '1.0 % 0.03 0.019 3 % 1.0 0.05, seen'
    for words in ('{got[x]}', '{paper}', '{nothing}', '{got.worst:q}'):
        with pytest.raises(LookupError): S.quoted(words, r)
    with pytest.raises(LookupError): S.quoted('words', r | dict(got=None))


def test_what_differs(site, rows):
    """Its page goes by chapter, and has the checks that fall short and the preset of each number."""
    page = site.pages['differs'].text
    heads = [page.index(f'id="{c.replace("_", "-")}"') for c in CHAPTERS]
    assert heads == sorted(heads)
    for r in (r for r in rows.values() if r['verdict'] in ('differs', 'falls short')):
        k = page.index(f'claims.html#{r["id"]}"')
        assert f"at {r['preset']}" in page[k:page.index('</tr>', k)], r['id']
        assert max(h for h in heads if h < k) == heads[CHAPTERS.index(r['notebook'].split('/')[1])], r['id']


def test_order_of_a_page(site):
    """A picture and its preset first, code folded, settings last; chapters in the order of the talk."""
    from deepstruct.book import ledger as L
    from deepstruct.book import runner
    first = site.pages['index'].text
    at = [first.index(f'href="{c}/index.html"') for c in CHAPTERS]
    assert at == sorted(at) and first.index('introduction.html') < at[0]
    drawn = {f['paper'] for f in L.figures() if f['png']}
    for p in (p for p in runner.pages() if p.paper in drawn):
        text = site.pages[p.key].text
        lead, code, end = (text.find(w) for w in ('class="lead"', 'class="cell', '<h2>Settings'))
        assert 0 < lead < code and code < end and 'Presets of what is shown' in text, p.key
        assert 'class Preset' not in re.sub('<[^>]*>', '', text[:end]), p.key


def test_explorables(site):
    """Each has its words, its numbers, and a picture where no script runs; each chapter has one."""
    from deepstruct.book import site as S
    everywhere = {k: re.findall(r'data-explore="(\w+)"', p.text) for k, p in site.pages.items()}
    assert sorted(everywhere['explore']) == sorted(S.EXPLORABLES)
    assert all(everywhere[f'{c}/index'] for c in CHAPTERS)
    for name in S.EXPLORABLES:
        frame = S.explorable(name)
        assert re.search('<noscript><img [^>]*alt="[^"]+"', frame) and '<figcaption><strong>' in frame
        assert (f'explore.{name}.json' in {p.name for p in S._static().iterdir()}) == ('application/json' in frame)


def test_three_clicks(site):
    """First page, atlas, card: the figure and the code of every place that has a status."""
    from deepstruct.book import ledger as L
    from deepstruct.book import site as S
    pages = {f['id']: f"{S._html(f['notebook'])}#{f['id']}" for f in L.figures() if f['png']}
    rows, atlas = {r['id']: r for r in L.ledger()}, site.pages['atlas']
    assert 'atlas.html' in site.pages['index'].links
    for q in L.places():
        if q['status'] not in L.STATUSES[:3]: continue
        ways = {pages[i] for i in q['figures'] if i in pages} | {f'claims.html#{i}' for i in q['rows'] if i in rows}
        assert ways and ways <= set(atlas.links), (q['paper'], q['id'])
        for i in set(q['rows']) & set(rows):
            assert f"{S._html(rows[i]['notebook'])}#{i}" in site.pages['claims'].links, i


def test_reference(site, root):
    """Every public name, what is said beside its arguments, and its source."""
    text = ''.join(p.text for name, p in site.pages.items() if name.startswith('api/'))
    ids = set().union(*(p.ids for name, p in site.pages.items() if name.startswith('api/')))
    for path in (root / 'deepstruct').rglob('*.py'):
        module = '.'.join(path.relative_to(root).with_suffix('').parts)
        tree = ast.parse(path.read_text(encoding='utf-8'))
        if path.name[0] == '_' or module == 'deepstruct.cli': continue
        names = next(ast.unparse(n.value) for n in tree.body if ast.unparse(n).startswith('__all__'))
        for n in tree.body:
            if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and f"'{n.name}'" in names:
                assert f'{module}.{n.name}' in ids, f'{module}.{n.name}'
    for word in ('the first n, classes in turn', '_modules/deepstruct/fields.html#Phi4', '(B, 1, L, L'):
        assert word in text
    assert 'Phi4.energy' in site.pages['_modules/deepstruct/fields'].ids


def test_doors(site):
    """Each notebook can be taken along, byte for byte, and opened elsewhere."""
    from deepstruct.book import runner
    for p in runner.pages():
        assert (site.at / f'notebooks/{p.key}.ipynb').read_bytes() == p.path.read_bytes()
        links = ' '.join(site.pages[p.key].links)
        for where in ('colab.research.google.com/github/', 'mybinder.org/v2/gh/', '/blob/main/nbs/'):
            assert p.key == 'index' or re.search(f'https://\\S*{where}\\S*{p.key}.ipynb', links), (p.key, where)


def test_search(site):
    """It knows a word, a place, a paper, a function, and words of claims."""
    index = json.loads((site.at / 'searchindex.js').read_text()[len('Search.setIndex('):-1])
    titles, files = {t.lower() for t in index['alltitles']}, index['docnames']
    assert 'fig. 5 · cslc' in titles and 'wavelet score-based generative modeling' in titles
    assert any(o[-1] == 'radial_spectrum' for found in index['objects'].values() for o in found)
    as_list = lambda v: v if isinstance(v, list) else [v]
    of = lambda w: {files[k] for k in as_list(index['terms'].get(w, []))}
    assert 'claims' in of('bootstrap') and 'atlas' in of('exponenti') and of('laplacian')


def test_text_is_only_text(toy, tmp_path, monkeypatch):
    from PIL import Image
    from deepstruct.book import ledger
    rows, places, figures = ledger.ledger(), ledger.places(), ledger.figures()
    Image.new('RGB', (4, 4)).save(toy / 'x.png')
    rows = [r | dict(statement=NASTY, note=NASTY) for r in rows]
    figures = [f | dict(title=NASTY, png='x.png', preset='laptop') for f in figures]
    monkeypatch.setattr(ledger, 'ledger', lambda checks=False: [] if checks else rows)
    monkeypatch.setattr(ledger, 'figures', lambda: figures)
    monkeypatch.setattr(ledger, 'places', lambda: [p | dict(shows=NASTY, why=NASTY) for p in places])
    monkeypatch.setattr('deepstruct.book.site.reference', lambda: {'api/index.md': '# Reference'}) # tried above
    pages = built(tmp_path / 'site')
    for name in ('claims', 'figures', 'atlas', 'differs', 'toy/paper_toy'):
        text = pages[name].text
        body = text[text.index('<article'):text.index('</article>')]
        assert not re.search('<script>alert|onerror=f>|href="javascript|class="math', body), name
        assert SHOWN in body.replace('&quot;', '"'), 'it is shown as it was written'


@pytest.mark.parametrize('text', [NASTY, '</td></tr>', '\\<b>', '&lt;b>', '$$x$$', '~~a~~', 'a\nb', '\\', '||', '_a_'])
def test_plain(text):
    from markdown_it import MarkdownIt
    from deepstruct.book.site import grid, plain
    reader = MarkdownIt('commonmark', {'html': True}).enable(['table', 'strikethrough'])
    cell, = re.findall(r'<td>(.*?)</td>', reader.render(grid(['head'], [[plain(text)]])))
    assert '<' not in cell and html.unescape(cell) == ' '.join(text.split())


CONTRAST = """(() => {
  const part = s => { const v = (s.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number); return v.length < 4 ? [...v, 1] : v }
  const over = (a, b) => [0, 1, 2].map(k => a[k] * a[3] + b[k] * (1 - a[3])).concat(1)
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((t, v, k) => t + v * [.2126, .7152, .0722][k], 0)
  const back = e => { if (!e) return [255, 255, 255, 1]; const c = part(getComputedStyle(e).backgroundColor)
    return c[3] === 1 ? c : over(c, back(e.parentElement)) }
  const seen = {}
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()), style = getComputedStyle(e)
    const visible = e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })
    if (!own || !visible || e.closest('mjx-container')) continue
    const b = back(e), f = over(part(style.color), b), [x, y] = [light(f), light(b)].sort((p, q) => q - p)
    const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700
    const ratio = (x + .05) / (y + .05)
    if (ratio < (large ? 3 : 4.5)) seen[style.color + ' on ' + b] = [ratio.toFixed(2), e.outerHTML.slice(0, 120)]
  }
  return seen })()"""
STILL = """Promise.race([Promise.all(document.getAnimations().map(a => a.finished)),
    new Promise(r => setTimeout(r, 3000))]).then(() => 0)""" # colours move to those of the theme
LOOKED = ['index', 'explore', 'introduction', 'conclusion', 'rainbow/index', 'phase_collapse/index', 'claims', 'atlas',
          'log_concavity/index', 'log_concavity/paper_cslc', 'foundations/04_fields',
          'api/foundations', 'glossary']


@pytest.fixture(scope='module')
def browser():
    with Browser() as b: yield b


@pytest.mark.parametrize('width, theme', [(1440, 'light'), (1440, 'dark'), (390, 'light'), (390, 'dark')])
def test_in_a_browser(site, browser, width, theme):
    """Nothing is said on the console, nothing is wider than the phone, all can be read, mathematics is drawn."""
    faults = defaultdict(list)
    for name in LOOKED:
        page = browser.open(site.at / f'{name}.html', width, theme)
        page.js(STILL)
        heavy = page.weight()
        wide, far = page.js('[document.documentElement.scrollWidth, document.documentElement.clientWidth]')
        told = dict(errors=page.errors(), wide=(wide, far) if wide > far else None, contrast=page.js(CONTRAST),
                    heavy=heavy if not 1e4 < heavy < (1e6 if name == 'index' else 3e6) else None)
        if name == 'log_concavity/paper_cslc':
            page.js("new Promise(r => MathJax.startup.promise.then(r).then(() => 0))")
            told['maths'] = None if page.js("document.querySelectorAll('mjx-container').length") > 50 else 'not drawn'
        faults[name] = {k: v for k, v in told.items() if v}
    assert not {k: v for k, v in faults.items() if v}


def test_the_ledger_in_a_browser(site, browser):
    """It filters, sorts by keyboard, and an address opens its row; the atlas filters too."""
    from deepstruct.book import ledger as L
    rows = L.ledger()
    id = next(r['id'] for r in rows[1:] if r['verdict'] == 'holds')
    page = browser.open(site.at / 'claims.html', at=f'#{id}')
    assert page.js(f'document.getElementById("{id}").querySelector("details").open')
    shown = "[...document.querySelector('table.ledger').tBodies[0].rows].filter(r => !r.hidden)"
    ask = """(f => (f.%s.value = '%s', f.dispatchEvent(new Event('input', {bubbles: true}))))(
        document.querySelector('form.filter'))"""
    assert page.js(f'{shown}.length') == len(rows)
    page = browser.open(site.at / 'claims.html', at='?chapter=rainbow')
    assert page.js(f'{shown}.length') == sum(r['notebook'].split('/')[1] == 'rainbow' for r in rows)
    page = browser.open(site.at / 'claims.html')
    page.js(ask % ('verdict', 'differs'))
    assert page.js(f'{shown}.length') == sum(r['verdict'] == 'differs' for r in rows)
    page.js(f'location.hash = "{rows[0]["id"]}"; new Promise(r => setTimeout(r, 300))')
    assert page.js(f'{shown}.length') == len(rows), 'a row that was filtered away comes back when it is asked for'
    page.js("document.querySelectorAll('table.ledger th button')[1].focus()")
    page.key('Enter', 13)
    papers = page.js(f"{shown}.map(r => r.dataset.paper)")
    assert page.js("document.querySelectorAll('table.ledger th')[1].ariaSort") == 'ascending'
    assert papers == sorted(papers)
    page = browser.open(site.at / 'atlas.html')
    page.js(ask % ('words', 'cslc fig. 5'))
    cards = "[...document.querySelectorAll('#atlas > section > section')]"
    left = page.js(f'{cards}.filter(s => !s.hidden).map(s => s.textContent)')
    assert 0 < len(left) < 20 and any('Fig. 5 · cslc' in s for s in left)


def test_search_in_a_browser(site, browser):
    page = browser.open(site.at / 'search.html', at='?q=radial_spectrum')
    page.js("""new Promise(r => { const t = setInterval(() => {
        if (document.querySelector('#search-results li')) { clearInterval(t); r(0) } }, 50) })""")
    assert 'radial_spectrum' in page.js("document.querySelector('#search-results').textContent")


def test_explorables_in_a_browser(site, browser):
    """They answer to keys and to the pointer, say what they show, and play."""
    page = browser.open(site.at / 'explore.html', 390)
    figure = lambda k: f"document.querySelector('#explore-{k}')"
    said = lambda k: page.js(f"{figure(k)}.querySelector('output').textContent")
    from deepstruct.book import site as S
    for k in S.EXPLORABLES:
        named = "[...f.querySelectorAll('input, select')].every(i => i.labels.length && i.labels[0].textContent.trim())"
        drawn = "[...f.querySelectorAll('svg, canvas')].every(i => i.getAttribute('aria-label'))"
        assert page.js(f"(f => f.querySelector('svg, canvas') && {named} && {drawn})({figure(k)})"), k
        before = said(k)
        assert len(before) > 40, k
        page.js(f"{figure(k)}.querySelectorAll('input[type=range]')[0].focus()")
        page.key('ArrowRight', 39)
        if said(k) == before: page.key('ArrowLeft', 37)
        assert said(k) != before, f'{k}: an arrow key moves its first slider'
    for k in ('steps', 'clouds'):
        before = said(k)
        x, y, width = page.js(f"(s => (s.scrollIntoView({{block: 'center'}}), s = s.getBoundingClientRect(), "
                              f"[s.left, s.top + s.height / 2, s.width]))({figure(k)}.querySelector('svg.pick'))")
        for kind in ('mousePressed', 'mouseReleased'):
            page.call('Input.dispatchMouseEvent', type=kind, x=x + .93 * width, y=y, button='left', clickCount=1)
        assert said(k) != before, f'{k}: the pointer picks a point of its curve'
    page.js(f"{figure('frames')}.querySelector('button').click(); new Promise(r => setTimeout(r, 1500))")
    assert page.js(f"{figure('frames')}.querySelector('button').textContent") == 'Stop'
    assert 'Nothing is new' in said('frames') or 'side 2 ' in said('frames')
    assert not page.errors()
