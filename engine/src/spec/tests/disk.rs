//! Files as they lie on a disk.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.sources.iter().map(SourceFile::stem).collect()
}

#[test]
fn a_folder_is_walked_and_what_is_no_flow_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in [
        "b.toml",
        "a.toml",
        "sub/c.toml",
        "Cargo.toml",
        "tidegate.toml",
        ".#a.toml",
        ".git/x.toml",
        "a.toml~",
        "n.txt",
    ] {
        put(root, name, "x = 1");
    }
    symlink(root, root.join("sub/loop")).unwrap();
    symlink(root.join("nowhere"), root.join("dangling.toml")).unwrap();
    mknodat(
        CWD,
        root.join("pipe.toml"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let loaded = load(&[root]);
    assert_eq!(names(&loaded), ["a", "b", "c"]);
    assert_eq!(loaded.problems, []);
    let pipe = load(&[root.join("pipe.toml")]);
    assert_eq!(pipe.problems[0].message, "it is not a regular file");
}

#[test]
fn what_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    put(root, "bytes.toml", b"[flow]\nx = \"\xff\"");
    put(root, "big.toml", vec![b'#'; (8 << 20) + 1]);
    put(root, "twin.toml", "");
    put(root, "sub/Twin.toml", "");
    let loaded = load(&[root.to_owned(), root.join("none.toml")]);
    let told: Vec<_> = loaded
        .problems
        .iter()
        .map(|d| (d.code.as_str(), d.line, d.column, d.message.as_str()))
        .collect();
    assert_eq!(
        told[..3],
        [
            (
                "too-large",
                1,
                1,
                "it has 8388609 bytes; a flow file has at most 8 MiB"
            ),
            ("not-utf8", 2, 6, "byte 12 is not UTF-8"),
            ("no-such-file", 1, 1, "there is no such file"),
        ]
    );
    assert_eq!((told.len(), told[3].0), (4, "duplicate-flow"));
    assert!(render_text(&loaded.problems, "", false).contains("none.toml:1:1: there is no such file"));
}

#[test]
fn files_that_a_flow_names_are_read_from_its_folder_and_from_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    put(root, "secret.sql", "SELECT 2");
    put(root, "flows/sql/a.sql", "SELECT 1");
    put(root, "flows/big.sql", vec![b' '; (1 << 20) + 1]);
    symlink(root.join("secret.sql"), root.join("flows/out.sql")).unwrap();
    let files = [
        "sql/a.sql",
        "../secret.sql",
        "/etc/passwd",
        "out.sql",
        "big.sql",
        "none.sql",
        "sql",
    ];
    let text = format!(
        "[flow]\nname = \"x\"\n[tasks.a]\nuses = \"command\"\nwith = {{ argv = [] }}\nfiles = {files:?}\n"
    );
    put(root, "flows/x.toml", text);
    let loaded = load(&[root.join("flows/x.toml")]);
    let found = check(&loaded.sources[0], &registry(), &env).unwrap_err();
    let told: Vec<&str> = found.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "file `../secret.sql`: it must be a relative path without `..`",
            "file `/etc/passwd`: it must be a relative path without `..`",
            "file `out.sql`: it leads out of the flow file's folder",
            "file `big.sql`: it has 1048577 bytes; at most 1 MiB may belong to a flow",
            "file `none.sql`: there is no such file",
            "file `sql`: it is not a regular file",
        ]
    );
    assert_eq!(loaded.sources[0].files["sql/a.sql"], Ok("SELECT 1".to_owned()));
}
