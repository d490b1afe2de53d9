"""Writes reference_metrics.json: lists without ties, and what ranx and ir_measures say they are worth.

Not part of `make test`, whose Python stays small; run it by hand when a metric is added:
    python3 -m venv /tmp/v && /tmp/v/bin/pip install ranx==0.3.21 ir_measures==0.4.3
    /tmp/v/bin/python learn/tests/reference_metrics.py > learn/tests/reference_metrics.json
"""

import json
import random

import ir_measures
from ir_measures import AP, RR, P, R, Success, nDCG
from ranx import Qrels, Run, evaluate

NAMES = {
    "ndcg": ("ndcg@10", nDCG @ 10),
    "recall": ("recall@10", R @ 10),
    "precision": ("precision@10", P @ 10),
    "hit_rate": ("hit_rate@10", Success @ 10),
    "mrr": ("mrr@10", RR @ 10),
    "map": ("map@10", AP @ 10),
}

draw = random.Random(20)
cases = []
for number in range(60):
    items = list(range(40))
    draw.shuffle(items)
    ranked = items[: draw.choice([3, 10, 12, 40])]
    relevant = sorted(draw.sample(range(40), draw.choice([1, 2, 5, 15])))
    query = f"q{number}"
    run = {query: {f"i{item:02}": 100.0 - place for place, item in enumerate(ranked)}}
    qrels = {query: {f"i{item:02}": 1 for item in relevant}}
    case = {"list": ranked, "relevant": relevant}
    for name, (by_ranx, by_ir) in NAMES.items():
        ranx = float(evaluate(Qrels(qrels), Run(run), by_ranx))
        ir = float(ir_measures.calc_aggregate([by_ir], qrels, run)[by_ir])
        case[name] = [round(ranx, 6), round(ir, 6)]
    cases.append(case)
print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")
