//! "Did you mean": the nearest of the names that would have been right.

use strsim::damerau_levenshtein;

/// The candidate that `wrong` was most likely meant to be: equal but for case, or at most a third of its letters off.
pub(crate) fn nearest<'c>(wrong: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
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
    listed(what, known)
}

fn listed<'c>(what: &str, known: impl Iterator<Item = &'c str> + Clone) -> Option<String> {
    let shown: Vec<String> = known.clone().take(24).map(|name| format!("`{name}`")).collect();
    let more = if known.count() > shown.len() { ", …" } else { "" };
    (!shown.is_empty()).then(|| format!("{what}: {}{more}", shown.join(", ")))
}

/// A help line where all that is right can be named: the nearest first, where one is near.
pub(super) fn choices(wrong: &str, known: &[&str]) -> Option<String> {
    let Some(name) = nearest(wrong, known.iter().copied()) else {
        return listed("it may be", known.iter().copied());
    };
    let others = known.iter().copied().filter(|other| *other != name);
    let others = listed("it may also be", others).map(|others| format!(" {others}"));
    Some(format!("did you mean `{name}`?{}", others.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_choices_the_nearest_comes_first_and_all_are_named() {
        let verbs = ["GET", "POST", "PUT"];
        let told = |wrong: &str| choices(wrong, &verbs).unwrap_or_default();
        assert_eq!(told("post"), "did you mean `POST`? it may also be: `GET`, `PUT`");
        assert_eq!(told("fetch"), "it may be: `GET`, `POST`, `PUT`");
        assert_eq!(choices("yse", &["yes"]).as_deref(), Some("did you mean `yes`?"));
    }

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
