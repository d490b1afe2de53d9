"""A training program as a Tidegate task: `python3 train_ranking.py --epochs 5` by hand, train-by-program.toml in a flow.

The model is a toy (a logistic regression on made-up clicks); what counts is how it talks: params and inputs come in, progress and
loss go out while it runs, the model is an artifact, the metric an output, and a retry goes on from the checkpoint.
"""

import argparse
import json
import math
import random

import tidegate_task


def clicks(seed, count):
    """Made-up rows: features of a shown item, and whether it was clicked."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        x = [1.0, rng.random(), rng.random()]
        rows.append((x, rng.random() < 1 / (1 + math.exp(2 - 3 * x[1] - 1.5 * x[2]))))
    return rows


def score(weights, x):
    return sum(w * v for w, v in zip(weights, x))


def epoch(weights, rows, rate):
    """One pass of gradient descent; answers the mean loss."""
    loss = 0.0
    for x, clicked in rows:
        p = 1 / (1 + math.exp(-score(weights, x)))
        loss -= math.log(p if clicked else 1 - p)
        for at, value in enumerate(x):
            weights[at] -= rate * (p - clicked) * value
    return loss / len(rows)


def ndcg_at_10(weights, rows):
    """Mean NDCG@10 over lists of twenty."""
    total, lists = 0.0, 0
    for start in range(0, len(rows) - 19, 20):
        ranked = sorted(rows[start : start + 20], key=lambda row: -score(weights, row[0]))
        gains = [1 / math.log2(at + 2) for at, row in enumerate(ranked[:10]) if row[1]]
        clicked = min(10, sum(row[1] for row in ranked))
        if clicked:
            total += sum(gains) / sum(1 / math.log2(at + 2) for at in range(clicked))
            lists += 1
    return total / lists


def main():
    task = tidegate_task.context()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=task.params.get("epochs", 5))
    parser.add_argument("--rate", type=float, default=0.05)
    options = parser.parse_args()

    checkpoint = task.checkpoint_dir / "weights.json"
    state = {"epoch": 0, "weights": [0.0, 0.0, 0.0]}
    if tidegate_task.INSIDE and checkpoint.exists():
        state = json.loads(checkpoint.read_text())
        print(f"going on after epoch {state['epoch']}")

    train, held_out = clicks(1, 4000), clicks(2, 2000)
    for step in range(state["epoch"] + 1, options.epochs + 1):
        loss = epoch(state["weights"], train, options.rate)
        state["epoch"] = step
        print(f"epoch {step}: loss {loss:.4f}")
        task.metric("loss", loss, step)
        task.progress(step, options.epochs)
        if tidegate_task.INSIDE:
            checkpoint.write_text(json.dumps(state))

    model = task.artifact_dir / "model.json"
    model.write_text(json.dumps({"weights": state["weights"]}))
    task.artifact("model", model)
    task.output(ndcg_at_10=ndcg_at_10(state["weights"], held_out), epochs=options.epochs)


if __name__ == "__main__":
    main()
