//! Reads flow files and the files they name. The only part of `spec` that touches the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use toml::de::DeTable;

use super::diagnostic::Diagnostic;
use super::source::{FileProblem, SourceFile};

/// Largest flow file, in bytes.
const FLOW_CAP: u64 = 8 << 20;
/// Largest file that a flow may name, in bytes.
const FILE_CAP: u64 = 1 << 20;
/// Most folders that are walked.
const FOLDERS: usize = 10_000;

/// What was found under some paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// The flow files, in order of the paths given, sorted within a folder.
    pub sources: Vec<SourceFile>,
    /// What could not be read: missing, too large, not UTF-8, two files of one name.
    pub problems: Vec<Diagnostic>,
}

/// Reads flow files: a file as it is, a folder with all its `*.toml` (hidden ones, `Cargo.toml` and `tidegate.toml` apart).
pub fn load<P: AsRef<Path>>(paths: &[P]) -> Loaded {
    let mut loaded = Loaded::default();
    let mut files = Vec::new();
    for path in paths {
        let path = path.as_ref();
        if path.is_dir() {
            walk(path, &mut BTreeSet::new(), &mut files);
        } else {
            files.push(path.to_owned());
        }
    }
    let mut seen = BTreeSet::new();
    files.retain(|path| seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone())));
    for path in files {
        match read_flow(&path) {
            Ok(source) => loaded.sources.push(source),
            Err(problem) => loaded.problems.push(*problem),
        }
    }
    loaded.problems.extend(twins(&loaded.sources));
    loaded
}

fn walk(folder: &Path, seen: &mut BTreeSet<PathBuf>, files: &mut Vec<PathBuf>) {
    // A folder that was walked before came through a symbolic link.
    let fresh = fs::canonicalize(folder).is_ok_and(|real| seen.insert(real));
    let Ok(entries) = fs::read_dir(folder) else { return };
    if !fresh || seen.len() > FOLDERS {
        return;
    }
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let hidden = name.is_empty() || name.starts_with(['.', '#']);
        if hidden {
            continue;
        }
        if path.is_dir() {
            walk(&path, seen, files);
        } else if name.ends_with(".toml") && !matches!(name, "Cargo.toml" | "tidegate.toml") && path.is_file()
        {
            files.push(path);
        }
    }
}

/// A flow is known by its file's name; two files of one name would replace each other for ever.
fn twins(sources: &[SourceFile]) -> Vec<Diagnostic> {
    let mut first: BTreeMap<String, &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for source in sources {
        if let Some(other) = first.insert(source.stem().to_lowercase(), &source.path) {
            let message = format!("flow `{}` is also defined by {other}", source.stem());
            let problem = Diagnostic::of_file(&source.path, "duplicate-flow", message);
            problems.push(problem.with_help("rename one of the two files, and the `name` in it"));
        }
    }
    problems
}

fn read_flow(path: &Path) -> Result<SourceFile, Box<Diagnostic>> {
    let shown = path.display().to_string();
    let bytes = read(path, FLOW_CAP).map_err(|problem| {
        let (code, message) = match problem {
            FileProblem::Missing => ("no-such-file", "there is no such file".to_owned()),
            FileProblem::TooLarge(size) => (
                "too-large",
                format!("it has {size} bytes; a flow file has at most 8 MiB"),
            ),
            other => ("unreadable", other.to_string()),
        };
        Box::new(Diagnostic::of_file(&shown, code, message))
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        Box::new(not_text(&shown, &error.as_bytes()[..valid]))
    })?;
    let mut source = SourceFile::new(shown, &text);
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    for name in named_files(&source.text) {
        let found = read_named(folder, &name);
        source.files.insert(name, found);
    }
    Ok(source)
}

fn not_text(file: &str, valid: &[u8]) -> Diagnostic {
    let text = String::from_utf8_lossy(valid);
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let message = format!("byte {} is not UTF-8", valid.len());
    let mut problem = Diagnostic::of_file(file, "not-utf8", message).with_help("save the file as UTF-8");
    (problem.line, problem.column, problem.end_line, problem.end_column) = (line, column, line, column + 1);
    problem
}

/// Reads a regular file of at most `cap` bytes. Never waits: a pipe is opened without blocking, and refused.
fn read(path: &Path, cap: u64) -> Result<Vec<u8>, FileProblem> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => FileProblem::Missing,
        _ => FileProblem::Unreadable(error.to_string()),
    };
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(FileProblem::NotRegular);
    }
    let mut bytes = Vec::new();
    file.take(cap + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > cap {
        Err(FileProblem::TooLarge(meta.len().max(cap + 1)))
    } else {
        Ok(bytes)
    }
}

fn read_named(folder: &Path, name: &str) -> Result<String, FileProblem> {
    let path = Path::new(name);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if name.is_empty() || !plain || name.contains('\0') {
        return Err(FileProblem::NotBelow);
    }
    let full = folder.join(path);
    let real = fs::canonicalize(&full).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => FileProblem::Missing,
        _ => FileProblem::Unreadable(error.to_string()),
    })?;
    let home = fs::canonicalize(folder).map_err(|error| FileProblem::Unreadable(error.to_string()))?;
    if !real.starts_with(&home) {
        return Err(FileProblem::LeadsOut);
    }
    let bytes = read(&real, FILE_CAP)?;
    String::from_utf8(bytes).map_err(|error| FileProblem::NotText(error.utf8_error().valid_up_to()))
}

/// The files that the tasks of a flow name: `files = [..]` and `*_file` in `with`.
fn named_files(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if !text.contains("file") {
        return names;
    }
    let (root, _) = DeTable::parse_recoverable(text);
    let tasks = root
        .get_ref()
        .get("tasks")
        .and_then(|node| node.get_ref().as_table());
    for task in tasks.into_iter().flat_map(|tasks| tasks.values()) {
        let table = task.get_ref().as_table();
        let files = table
            .and_then(|t| t.get("files"))
            .and_then(|node| node.get_ref().as_array());
        let listed = files
            .into_iter()
            .flat_map(|files| files.iter())
            .filter_map(|n| n.get_ref().as_str());
        names.extend(listed.map(str::to_owned));
        let with = table
            .and_then(|t| t.get("with"))
            .and_then(|node| node.get_ref().as_table());
        let inputs = with.into_iter().flat_map(|with| with.iter());
        let inputs = inputs.filter(|(key, _)| key.get_ref().ends_with("_file"));
        names.extend(inputs.filter_map(|(_, node)| node.get_ref().as_str().map(str::to_owned)));
    }
    names
}
