"""The mechanics of `make bench`, on toys whose times are known; nothing real is timed."""
import json

import bench
import numpy as np
import pytest
from bench import Case, Growth, Pair, grown, measured


@pytest.fixture
def clock(monkeypatch):
    """Processor time that goes on only where a program says so: `clock(2.)` makes one that takes two seconds."""
    now = [0.]
    monkeypatch.setattr(bench.time, 'process_time', lambda: now[0])
    monkeypatch.setattr(bench, 'memory', lambda f: 1.)
    def program(takes, gives=1.):
        def f(): now[0] += takes() if callable(takes) else takes; return [np.array([gives])]
        return f
    return program


def case(ours, theirs, **how): return Case('toy', 'a sum', 'its peer', lambda: Pair(ours, theirs), 1e-6, **how)


def test_ratio_is_the_peers_time_over_ours(clock):
    row = measured(case(clock(.5), clock(1.5)), 5)
    assert (row['ratio'], row['least'], row['most'], row['difference']) == pytest.approx((3, 3, 3, 0))
    assert row['seconds'] == pytest.approx([.5, 1.5]) and not row['at_least'] and 'slower' not in bench.line(row)
    assert 'slower' in bench.line(measured(case(clock(1.5), clock(.5)), 5))
    row = measured(case(clock(3.), clock(1.), unit='products'), 5)
    assert row['ratio'] == pytest.approx(3) and 'products' in bench.line(row)


def test_median_least_and_most_over_rounds(clock):
    takes = iter([1., 1., 1., 4., 2.]) # the answer, the number of calls, three rounds
    row = measured(case(clock(1.), clock(lambda: next(takes))), 3)
    assert (row['least'], row['ratio'], row['most']) == pytest.approx((1, 2, 4))


@pytest.mark.parametrize('wrong', (1.001, np.nan, np.inf))
def test_unequal_answers_stop_it(clock, wrong):
    with pytest.raises(ValueError, match='a sum: answers differ from its peer by'):
        measured(case(clock(1.), clock(1., wrong)), 3)
    with pytest.raises(ValueError, match='answers differ'): measured(case(clock(1., wrong), clock(1.)), 3)


def test_answers_of_another_size_stop_it(clock):
    with pytest.raises(ValueError, match='2 and 1 numbers'): measured(case(lambda: [1., 2.], clock(1.)), 3)


def test_an_absent_peer_is_said_and_left_out(capsys, tmp_path, clock):
    def make(): import a_peer_that_nobody_has # noqa: F401
    out = bench.run([Case('toy', 'a sum', 'its peer', make, 0.), case(clock(1.), clock(2.))], [], {}, 3)
    said = capsys.readouterr().out
    assert 'its peer is not installed, left out' in said and [c.get('ratio') for c in out['cases']] == [None, 2]
    bench.write(out, tmp_path / 'bench.json')
    assert json.loads((tmp_path / 'bench.json').read_text()) == out and len(list(tmp_path.iterdir())) == 1


def test_a_peer_that_does_not_end_gives_a_bound():
    c = Case('toy', 'a fit', 'its peer', lambda: Pair(lambda: 1., lambda: 1., both=lambda: (1., 20., True)), 0.)
    row = measured(c, 3)
    assert row['at_least'] and row['ratio'] == 20 and '> 20.00' in bench.line(row)


def test_exponent_of_a_square(clock):
    row = grown(Growth('toy', 'a square', 'side', 2, (2, 4, 8), lambda n: clock(float(n * n))), 3)
    assert row['exponent'] == pytest.approx(2) and row['local'] == pytest.approx([2, 2])
    assert row['seconds'] == pytest.approx([4, 16, 64]) and '2.00, in theory 2' in bench.growth_line(row)


def test_memory_is_what_a_call_adds():
    more = bench.memory(lambda: np.ones(2**23))
    assert more is None or 60 < more < 100
