"""Times the two towers in PyTorch on `user,item,value,seconds` with a header line: the same loss, length and batch as ours. Needs: pip install torch numpy

    python learn/examples/two_tower.py events.csv
    RAYON_NUM_THREADS=1 cargo run -p tidegate-learn --example baselines -- events.csv towers_alone
"""

import sys
import time

import numpy
import torch

PASSES = 5
torch.set_num_threads(1)
torch.manual_seed(0)
rows = numpy.loadtxt(sys.argv[1], delimiter=",", skiprows=1, usecols=(0, 1))
users, items = (torch.from_numpy(numpy.unique(rows[:, at], return_inverse=True)[1]) for at in (0, 1))
pairs = torch.unique(torch.stack([users, items], 1), dim=0)
seen = torch.zeros(int(users.max()) + 1, int(items.max()) + 1, dtype=torch.bool)
seen[pairs[:, 0], pairs[:, 1]] = True
towers = [torch.nn.Embedding(int(ids.max()) + 1, 128, sparse=False) for ids in (users, items)]
start = time.process_time()
adam = torch.optim.Adam([tower.weight for tower in towers], lr=0.01)
for epoch in range(PASSES):
    total = 0.0
    for batch in pairs[torch.randperm(len(pairs))].split(1024):
        u, v = (torch.nn.functional.normalize(tower(batch[:, at])) for at, tower in enumerate(towers))
        logits = u @ v.T / 0.15
        others = seen[batch[:, :1], batch[:, 1][None]] & (batch[:, 1][None] != batch[:, 1][:, None])
        logits = logits.masked_fill(others, -1e9)
        same = (batch[:, 1][None] == batch[:, 1][:, None])
        loss = (torch.logsumexp(logits, 1) - torch.logsumexp(logits.masked_fill(~same, -1e9), 1)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        total += loss.item() * len(batch)
print(f"PyTorch {torch.__version__}: {len(pairs)} pairs, {PASSES} passes in {time.process_time() - start:.1f} s of one thread, last loss {total / len(pairs):.3f}")
