//! "Did you mean": the nearest of the names that would have been right.

use strsim::damerau_levenshtein;

/// The candidate that `wrong` was most likely meant to be: equal but for case, or at most a third of its letters off.
pub(super) fn nearest<'c>(wrong: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let folded = wrong.to_lowercase();
    let letters = folded.chars().count();
    let limit = (letters / 3).max(1);
    candidates
        .filter(|c| c.chars().count().abs_diff(letters) <= limit)
        .map(|c| (damerau_levenshtein(&folded, &c.to_lowercase()), c))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// A help line: the nearest name, else all of them when they are few.
pub fn help<'c>(wrong: &str, what: &str, known: impl Iterator<Item = &'c str> + Clone) -> Option<String> {
    if let Some(name) = nearest(wrong, known.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let shown: Vec<String> = known.clone().take(24).map(|name| format!("`{name}`")).collect();
    let more = if known.count() > shown.len() { ", …" } else { "" };
    (!shown.is_empty()).then(|| format!("{what}: {}{more}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let known = ["timeout", "retry", "needs"];
        assert_eq!(nearest("timout", known.into_iter()), Some("timeout"));
        assert_eq!(nearest("Needs", known.into_iter()), Some("needs"));
        assert_eq!(nearest("cache", known.into_iter()), None);
        assert_eq!(
            help("cache", "known", known.into_iter()).as_deref(),
            Some("known: `timeout`, `retry`, `needs`")
        );
    }
}
