"""Runs of a whole (small) project: status, figures, ids, what is skipped, and what a killed run leaves."""
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import toy as T

from deepstruct.book import runner as R


# a job in the background starts deaf to Ctrl-C
MAIN = ('import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); '
        'from deepstruct.book.cli import main; sys.exit(main())')


def command(*words):
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([sys.executable, '-c', MAIN, *words], **pipes)


def log(toy): return (toy / 'log').read_text().split() if (toy / 'log').exists() else []


def wait_for(f, seconds=40):
    end = time.time() + seconds
    while not f():
        assert time.time() < end, 'waited too long'
        time.sleep(.1)


def whole(out):
    """Every file under its final name can be read."""
    for p in out.rglob('*'):
        if p.suffix in ('.json', '.ipynb') and not p.name.startswith('.'): json.loads(p.read_text())
        if p.suffix == '.npz': np.load(p)
    assert not list(out.rglob('*.stamp.json'))


def alive(pid):
    return os.path.exists(f'/proc/{pid}') and 'Z' not in open(f'/proc/{pid}/stat').read().split()[2]


def test_killed_then_resumed(toy):
    (toy / 'wait').touch()
    out = toy / 'out/smoke'
    for how, status in ((signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)):
        before = log(toy).count('slow')
        p = command('reproduce', '--preset', 'smoke')
        wait_for(lambda: log(toy).count('slow') > before)
        kernels = subprocess.run(['pgrep', '-P', str(p.pid)], capture_output=True, text=True).stdout.split()
        assert kernels
        p.send_signal(how)
        told = p.communicate()
        assert p.returncode == status, told
        assert how == signal.SIGKILL or 'stopped' in told[1] and 'the same command goes on from here' in told[1]
        wait_for(lambda: not any(map(alive, kernels)))
        whole(out)
    (toy / 'wait').unlink()
    p = command('reproduce', '--preset', 'smoke')
    told, err = p.communicate()
    assert (p.returncode == 0 and '1 ran' in told and '1 figures' in told and 'notebook 1 of 1' in err
            and 'toy.law' in err)
    assert log(toy).count('draw') == 1 and log(toy)[-1] == 'end'
    p = command('reproduce', '--preset', 'smoke')
    assert '1 unchanged' in p.communicate()[0] and log(toy).count('end') == 1


def test_a_figure_runs_its_page_from_the_top(toy):
    done, = R.run(['toy Fig. 1'], 'smoke')
    assert done['status'] == 'ran' and log(toy) == ['draw', 'slow'] and done['figures'] == ['toy.law']
    assert (toy / 'out/smoke/figures/toy.law.png').exists() and (toy / 'out/smoke/claims/toy.mean.json').exists()


def test_record_and_failures(toy):
    from deepstruct.book.cli import main
    assert main(['reproduce', '--record']) == 0
    path = toy / T.PAGE
    kept = json.loads((toy / 'data/results/laptop/claims.json').read_text())
    assert [r['id'] for r in kept] == ['toy.mean'] and len(kept[0]['key']) >= 16 and kept[0]['seconds'] > 0
    assert (toy / 'data/results/laptop/figures/toy.law.png').exists()
    outputs = {c['id']: c['outputs'] for c in json.loads(path.read_text())['cells']}
    assert any('image/png' in o.get('data', {}) for o in outputs['cell8'])
    assert 'injected-parameters' not in path.read_text() and 'papermill' not in path.read_text()
    (toy / T.FILE).write_text((toy / T.FILE).read_text().replace('target = 0.0', 'target = 0.5'))
    assert main(['reproduce', 'toy.mean']) == 1
    T.write(path, [*T.CELLS[:3], ('', '1 / 0'), *T.CELLS[3:]])
    before = (toy / 'data/results/laptop/claims.json').read_text()
    done = R.run(['toy'], record_it=True)
    assert (done[0]['status'] == 'failed'
            and 'ZeroDivisionError: division by zero · cell 4 of paper_toy (1 / 0)' in done[0]['error'])
    assert '\n' not in done[0]['error'] and (toy / 'out/laptop/notebooks/toy/paper_toy.failed.ipynb').exists()
    assert (toy / 'data/results/laptop/claims.json').read_text() == before


def test_a_page_without_the_parameter_is_refused(toy):
    T.write(toy / T.PAGE, [(t, s.replace("preset = 'laptop'", "size = 'laptop'")) for t, s in T.CELLS])
    done = R.run(['toy'], 'smoke')
    assert done[0]['status'] == 'failed' and 'declares no parameter preset' in done[0]['error']
