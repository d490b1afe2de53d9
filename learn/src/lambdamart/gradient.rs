//! Lambdas of one list: the change of NDCG by each swap, times the pull of its logistic loss.

use super::Params;
use crate::metrics::discount;

/// Writes the first and second derivatives of one group; answers its loss: of each pair that stands wrong or might, the change
/// of NDCG by the swap times `ln(1 + e^-gap)`.
pub(super) fn lambdas(scores: &[f64], labels: &[u8], params: &Params, out: &mut [(f64, f64)]) -> f64 {
    out.fill((0.0, 0.0));
    let positives = labels.iter().filter(|label| **label > 0).count();
    if positives == 0 || positives == labels.len() {
        return 0.0;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let ideal: f64 = (0..positives.min(params.truncation)).map(discount).sum();
    let spread = scores[order[0]] != scores[order[order.len() - 1]];
    let [with, without] = [1u8, 0].map(|wanted| {
        let is = |place: &usize| u8::from(labels[order[*place]] > 0) == wanted;
        (0..order.len()).filter(is).collect::<Vec<usize>>()
    });
    let discounts: Vec<f64> = (0..order.len()).map(discount).collect();
    let (mut total, mut loss) = (0.0, 0.0);
    for place in 0..order.len().min(params.truncation) {
        let others = if labels[order[place]] > 0 { &without } else { &with };
        let after = others.partition_point(|other| *other <= place);
        for other in &others[after..] {
            let (a, b) = (order[place], order[*other]);
            let (high, low) = if labels[a] > 0 { (a, b) } else { (b, a) };
            let gap = scores[high] - scores[low];
            let mut delta = (discounts[place] - discounts[*other]).abs() / ideal;
            loss += delta * softplus(-gap);
            if spread {
                delta /= 0.01 + gap.abs();
            }
            let pull = 1.0 / (1.0 + gap.exp());
            let (first, second) = (pull * delta, pull * (1.0 - pull) * delta);
            out[high] = (out[high].0 - first, out[high].1 + second);
            out[low] = (out[low].0 + first, out[low].1 + second);
            total += 2.0 * first;
        }
    }
    if total > 0.0 {
        let norm = (1.0 + total).log2() / total;
        out.iter_mut()
            .for_each(|pair| *pair = (pair.0 * norm, pair.1 * norm));
    }
    loss
}

/// `ln(1 + e^x)`, for any finite `x`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
