//! What is killed, frozen or restarted in the middle of a run leaves a run that ends as if nothing had happened, nothing done
//! twice, and an auditor without findings.

mod everything;
mod frozen;
mod postgres;
mod storm;
mod worker;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use tidegate_engine::view::Run;
use tidegate_test_fixtures::process::wait_gone;
use tidegate_test_fixtures::wait;

use crate::house::{House, SOON};

/// What a killed worker left running is gone within this, once another has taken its tasks over.
const ORPHANED: Duration = Duration::from_secs(10);

/// A task of the flow "steps": it notes in the home's `notes` when it begins and ends, and between does `script`.
fn step(house: &House, (name, needs): (&str, &str), script: &str) -> String {
    let notes = house.tidegate.home().join("notes");
    let notes = notes.display();
    format!(
        "[tasks.{name}]\nuses = \"command\"\nneeds = [{needs}]\nwith = {{ shell = '''\n\
         echo begin {name} >> {notes}\n{script}\necho end {name} >> {notes}\n''' }}\n\n"
    )
}

/// A script that hangs the first time it runs, and does nothing the second time.
fn hangs_once(house: &House, name: &str) -> String {
    let tried = house.tidegate.home().join(format!("tried-{name}"));
    let tried = tried.display();
    format!("if [ ! -e {tried} ]; then touch {tried}; sleep 300; fi")
}

/// Waits until a script of [`hangs_once`] hangs.
fn wait_until_it_hangs(house: &House, name: &str) {
    let tried = house.tidegate.home().join(format!("tried-{name}"));
    wait::until(&format!("{name} to hang"), SOON, || tried.exists().then_some(()));
}

/// How often each note was made.
fn notes(house: &House) -> BTreeMap<String, usize> {
    let text = fs::read_to_string(house.tidegate.home().join("notes")).unwrap_or_default();
    let mut counted = BTreeMap::new();
    for line in text.lines() {
        *counted.entry(line.to_owned()).or_default() += 1;
    }
    counted
}

fn wait_for_note(house: &House, note: &str) {
    wait::until(note, SOON, || notes(house).contains_key(note).then_some(()));
}

/// Fails unless the notes are exactly these, so often.
fn assert_notes(house: &House, wanted: &[(&str, usize)]) {
    let wanted = wanted.iter().map(|(note, count)| ((*note).to_owned(), *count));
    assert_eq!(notes(house), wanted.collect());
}

/// Waits until what a killed worker left running is gone: whoever takes its tasks over ends it.
fn wait_until_gone(orphans: &[u32]) {
    for orphan in orphans {
        wait_gone(*orphan, ORPHANED);
    }
}

/// Which epoch each task came to.
fn epochs(run: &Run) -> Vec<(&str, i64)> {
    run.tasks
        .iter()
        .map(|task| (task.name.as_str(), task.epoch))
        .collect()
}
