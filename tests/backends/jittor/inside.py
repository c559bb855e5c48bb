"""Executed under Jittor's own Python by test_network.py: `inside.py START JOB`, with what is asked in JOB (JSON)."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np


def opened(asked):
    from tunelab.catalogue import load
    from tunelab.config.run import RunConfig
    from tunelab.study.planning.plan import load_backend

    run = RunConfig.model_validate(asked["run"])
    backend = load_backend("jittor")
    located = backend.locate(run.model)
    method = None if asked.get("method") is None else load("methods", asked["method"][0])(**asked["method"][1])
    return backend.session(run, method, located=located, text=backend.text(run.model, located), notes=[])


def answer(asked, folder, number):
    from tunelab.backends.jittor.framework import jt
    from tunelab.backends.jittor.network import Inputs
    from tunelab.config.schema import Generation
    from tunelab.records import Batch, TokenRow

    session = opened(asked)
    if "read" in asked:
        session.read_model(Path(asked["read"]))
    for step in range(asked.get("steps", 0)):
        ids = np.arange(3, 19, dtype=np.int32)
        session.seed(0, step)
        session.accumulate(Batch((TokenRow(0, ids, ids > 6),)), denominator=12, last=True)
        session.update(learning_rate=1e-2, max_norm=1.0)
    if "write" in asked:
        Path(asked["write"]).mkdir()
        session.write_model(Path(asked["write"]))
    if "logits" in asked:
        ids_BT = np.array(asked["logits"])
        positions_BT = np.tile(np.arange(ids_BT.shape[1]), (len(ids_BT), 1))
        with jt.no_grad():
            logits = session.model.logits(session.model.hidden(Inputs(ids_BT, positions_BT))).numpy()
        np.save(folder / f"logits-{number}.npy", logits.reshape(*ids_BT.shape, -1))
    if "packed" in asked:
        rows = [
            TokenRow(0, np.array(ids, np.int32), np.array(learned), starts=tuple(at))
            for ids, learned, at in asked["packed"]
        ]
        session.verify(Batch(tuple(rows[-1:])))
        losses = [session.evaluate([Batch((row,))])[0].loss_sum for row in rows]
        (folder / f"losses-{number}.json").write_text(json.dumps(losses))
    if "prompts" in asked:
        prompts = [np.array(ids, dtype=np.int32) for ids in asked["prompts"]]
        several = [Generation(**each) for each in asked["settings"]]
        told = [session.generate(prompts, settings, progress=lambda found: None) for settings in several]
        (folder / f"texts-{number}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    runpy.run_path(sys.argv[1])["register"]()
    job = Path(sys.argv[2])
    for number, asked in enumerate(json.loads(job.read_text())):
        answer(asked, job.parent, number)
    assert "torch" not in sys.modules
    print("DONE")
