"""Times LightGBM on the table that the example `lambdamart` wrote, with the same parameters. Needs: pip install lightgbm"""

import sys
import time

import lightgbm
import numpy

raw = open(sys.argv[1], "rb").read()
groups, rows, width = numpy.frombuffer(raw, "<u4", 3)
n = int(groups) * int(rows)
x = numpy.frombuffer(raw, "<f4", n * int(width), 12).reshape(n, width)
y = numpy.frombuffer(raw, "u1", n, 12 + n * int(width) * 4)
params = dict(objective="lambdarank", num_leaves=31, learning_rate=0.06, min_data_in_leaf=100, min_sum_hessian_in_leaf=1e-3,
              lambdarank_truncation_level=30, max_bin=255, num_threads=2, verbose=-1)
learnt = 1600  # as in lambdamart.rs
start = time.time()
data = lightgbm.Dataset(x[: learnt * rows], y[: learnt * rows], group=[int(rows)] * learnt)
model = lightgbm.train(params, data, 100)
seconds = time.time() - start
order = numpy.argsort(-model.predict(x[learnt * rows :]).reshape(-1, rows), axis=1, kind="stable")[:, :10]
labels = y.reshape(groups, rows)[learnt:]
discount = 1 / numpy.log2(numpy.arange(2, 12))
gain = (numpy.take_along_axis(labels, order, 1) * discount).sum(1)
ideal = numpy.array([discount[: min(10, count)].sum() for count in labels.sum(1)])
print(f"LightGBM {seconds:.2f} s, NDCG@10 on the lists it has not seen {(gain[ideal > 0] / ideal[ideal > 0]).mean():.4f}")
