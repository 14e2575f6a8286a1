"""A figure or claim runs the cells that it needs, all of them, and few others."""
import pytest

from deepstruct.book.runner import needed

END = "claim('x', {})"


@pytest.mark.parametrize('cells, keep', [
    (['a = 1', 'b = 2', 'a'], [0, 3]),
    (['a = 1', 'a = 2'], [1, 2]),
    (['a = 1', 'a = a + 1'], [0, 1, 2]),
    (['a = 1', 'a += 1'], [0, 1, 2]),
    (['a = {}', "a['k'] = 1", 'b = a'], [0, 1, 3]),
    (['a = []', 'a.append(1)'], [0, 1, 2]),
    (['a = Model()', 'history = a.fit(1)'], [0, 1, 2]),
    (['a = T()', 'm = a.mean()'], [0, 2]),
    (['a = 1', 'print(a)'], [0, 2]),
    (['a = o()', 'a.weight.data[0] = 1'], [0, 1, 2]),
    (['def f(): return g()', 'def g(): return h', 'h = 3', 'z = 0', 'a = f()'], [0, 1, 2, 4, 5]),
    (['def f(b): return b', 'b = 1', 'a = f(2)'], [0, 2, 3]),
    (['b = 1', 'a = [b for b in range(3)]'], [1, 2]),
    (['b = 1', 'a = [c + b for c in range(3)]'], [0, 1, 2]),
    (['a = 1', 'try: a = 2\nexcept Exception: pass'], [0, 1, 2]),
    (['for i in range(3): a = i'], [0, 1]),
    (['with open("f") as f: a = f.read()'], [0, 1]),
    (['b = 1', 'class K:\n    c = b', 'a = K()'], [0, 1, 2, 3]),
    (['b = 1', 'a = f"{b}"'], [0, 1, 2]),
    (['b = 1', 'a = (lambda c: c + b)(1)'], [0, 1, 2]),
    (['a, (b, *c) = t', 'b = 2'], [0, 2]),
    (['a = 1', "with figure('other') as fig: fig.axes[0].plot(a)"], [0, 2]),
    (['import torch', 'torch.manual_seed(0)', 'z = 1', "start('p', 'n')", 'a = 1'], [0, 1, 3, 4, 5]),
])
def test_needed(cells, keep):
    assert needed([*cells, END.format('a')], {'x'}) == keep


def test_two_targets_and_what_follows():
    cells = ['a = 1', "claim('one', a)", 'b = 2', "claim('two', b)", 'c = 3']
    assert needed(cells, {'one'}) == [0, 1] and needed(cells, {'one', 'two'}) == [0, 1, 2, 3] and needed(cells, set()) == []


def test_every_slice_of_the_book_binds_what_it_reads(root):
    """On the real notebooks: no name that some cell of the page binds is missing in a slice."""
    from deepstruct.book import claims as C
    from deepstruct.book.runner import _Names
    for path in sorted((root / 'nbs').glob('*/paper_*.ipynb')):
        cells = [s for _, s in C.code_cells(path)]
        names = [_Names(s) for s in cells]
        for id in [i for s in cells for _, i, _ in C.called_ids(s)]:
            keep, bound = needed(cells, {id}), set()
            assert keep
            for i in keep:
                elsewhere = set().union(*(n.binds for n in names[:i]), set())
                assert not (names[i].needs & elsewhere) - bound, (path.name, id, i)
                bound |= names[i].binds | names[i].changes
