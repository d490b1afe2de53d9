//! Private clusters that are really made, killed and taken over.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test tells another process of itself what to do by a variable"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, Executor, PgConnection};
use tidegate_test_fixtures::process::{Process, is_alive, wait_gone};
use tidegate_test_fixtures::{run, wait};

use super::*;
use crate::clock;

const SOON: Duration = Duration::from_secs(20);
const HOME: &str = "TIDEGATE_TEST_EMBEDDED_HOME";

fn options(home: impl Into<PathBuf>) -> Options {
    Options {
        home: home.into(),
        ..Options::default()
    }
}

async fn keep(url: &str, value: i32) {
    let mut conn = PgConnection::connect(url).await.unwrap();
    conn.execute("create table if not exists kept (x int)")
        .await
        .unwrap();
    sqlx::query("insert into kept values ($1)")
        .bind(value)
        .execute(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
}

async fn kept(url: &str) -> Vec<i32> {
    let mut conn = PgConnection::connect(url).await.unwrap();
    let values = sqlx::query_scalar("select x from kept order by x")
        .fetch_all(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
    values
}

fn postmaster(home: &Path) -> u32 {
    let text = fs::read_to_string(home.join("pg/data/postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// Not a test: another process that holds a home. Without the variable it does nothing.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a process of the tests is told by its environment what it is"
)]
async fn holder_entry() {
    let home = std::env::vars_os().find(|(name, _)| name == HOME);
    if let Some((_, home)) = home {
        let home = PathBuf::from(home);
        match start(&options(&home)).await {
            Ok(embedded) => {
                keep(embedded.url(), 1).await;
                println!("holder is up");
                std::future::pending::<()>().await;
            }
            Err(error) => println!("holder failed: {error:?}"),
        }
    }
}

/// This test binary where everybody may run it.
fn own_program(beside: &Path) -> PathBuf {
    let copy = beside.join("program");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

fn holder(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--exact", "--nocapture", "embedded::tests::holder_entry"])
        .env(HOME, home);
    command
}

fn spawn_holder(mut command: Command, log: &Path) -> Process {
    Process::start(&mut command, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_home_to_a_query_and_back() {
    let dir = run::temp_dir();
    let home = dir.path().join("new/home");
    let begun = clock::monotonic();
    let embedded = start(&options(&home)).await.unwrap();
    keep(embedded.url(), 7).await;
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "took {:?}",
        begun.elapsed()
    );
    assert_eq!(url_of(&home).as_deref(), Some(embedded.url()), "others find it");
    let mode = |name: &str| {
        fs::metadata(home.join("pg").join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode(""), mode("data"), mode("password")), (0o700, 0o700, 0o600));
    let pid = postmaster(&home);
    embedded.stop().await;
    assert!(!is_alive(pid));
    assert_eq!(url_of(&home), None);
    let begun = clock::monotonic();
    let again = start(&options(&home)).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "took {:?}",
        begun.elapsed()
    );
    assert_eq!(kept(again.url()).await, [7]);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_the_password_or_over_the_network() {
    let dir = run::temp_dir();
    let embedded = start(&options(dir.path())).await.unwrap();
    let (head, tail) = embedded.url().split_once('@').unwrap();
    let (scheme, _) = head.rsplit_once(':').unwrap();
    let wrong = PgConnection::connect(&format!("{scheme}:guess@{tail}"))
        .await
        .unwrap_err();
    assert!(wrong.to_string().contains("password"), "{wrong}");
    let mut conn = PgConnection::connect(embedded.url()).await.unwrap();
    let show = async |conn: &mut PgConnection, sql: &'static str| -> String {
        sqlx::query_scalar(sql).fetch_one(conn).await.unwrap()
    };
    assert_eq!(show(&mut conn, "show listen_addresses").await, "");
    assert_eq!(show(&mut conn, "show fsync").await, "on");
    let pid = postmaster(dir.path());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(!uid.split_whitespace().any(|id| id == "0"), "{uid}");
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(
        !String::from_utf8_lossy(&environ).contains("NEXTEST"),
        "it sees nothing of our environment"
    );
    conn.close().await.unwrap();
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_says_who_holds_the_home() {
    let dir = run::temp_dir();
    let home = dir.path().join("home");
    let mut other = spawn_holder(
        holder(&own_program(dir.path()), &home),
        &dir.path().join("holder"),
    );
    other.wait_for_line("holder is up", SOON);
    let error = start(&options(&home)).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&format!("in use by process {}", other.pid())),
        "{text}"
    );
    assert!(text.contains("holder_entry"), "the command line is named: {text}");
    assert_eq!(
        kept(&url_of(&home).unwrap()).await,
        [1],
        "its server can be used all the same"
    );
    other.kill();
    start(&options(&home)).await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_of_a_killed_parent_is_taken_over() {
    let dir = run::temp_dir();
    let home = dir.path().join("home");
    let mut parent = spawn_holder(
        holder(&own_program(dir.path()), &home),
        &dir.path().join("holder"),
    );
    parent.wait_for_line("holder is up", SOON);
    let server = postmaster(&home);
    parent.kill();
    assert!(is_alive(server), "the server outlives its parent");
    let embedded = start(&options(&home)).await.unwrap();
    assert_eq!(postmaster(&home), server, "it is the same server");
    assert_eq!(kept(embedded.url()).await, [1]);
    embedded.stop().await;
    wait_gone(server, SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_recovered_with_its_orphans_gone() {
    let dir = run::temp_dir();
    let embedded = start(&options(dir.path())).await.unwrap();
    keep(embedded.url(), 1).await;
    // A backend in a long statement notices the end of its server late.
    let mut busy = PgConnection::connect(embedded.url()).await.unwrap();
    let sleeping = tokio::spawn(async move { busy.execute("select pg_sleep(60)").await.map(drop) });
    keep(embedded.url(), 2).await;
    signal(postmaster(dir.path()), Signal::KILL);
    drop(embedded);
    let embedded = start(&options(dir.path())).await.unwrap();
    assert_eq!(kept(embedded.url()).await, [1, 2], "what was committed is there");
    assert!(sleeping.await.unwrap().is_err());
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pid_file_that_names_a_stranger_or_nobody_is_no_obstacle() {
    let dir = run::temp_dir();
    let embedded = start(&options(dir.path())).await.unwrap();
    let stopped = fs::read_to_string(dir.path().join("pg/data/postmaster.pid")).unwrap();
    embedded.stop().await;
    let owner = fs::metadata(dir.path().join("pg")).unwrap();
    // A stranger of the server's own account is what PostgreSQL itself would be fooled by.
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;
    let mut stranger = Command::new("sleep");
    stranger
        .arg("60")
        .current_dir("/")
        .uid(owner.uid())
        .gid(owner.gid());
    let stranger = Process::start(&mut stranger, &dir.path().join("stranger"));
    for pid in [stranger.pid(), 4_194_303] {
        let path = dir.path().join("pg/data/postmaster.pid");
        let (_, rest) = stopped.split_once('\n').unwrap();
        fs::write(&path, format!("{pid}\n{rest}")).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        assert_eq!(url_of(dir.path()), None);
        start(&options(dir.path())).await.unwrap().stop().await;
    }
    assert!(is_alive(stranger.pid()), "the stranger is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_killed_half_way_is_begun_anew() {
    let dir = run::temp_dir();
    let half = dir.path().join("pg/data.new/base");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("1"), "half").unwrap();
    start(&options(dir.path())).await.unwrap().stop().await;
    assert!(!half.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_too_deep_for_a_socket_works_too() {
    let dir = run::temp_dir();
    let home = dir
        .path()
        .join("much/deeper/than/the/path/of/a/socket".repeat(4))
        .join("and a % sign");
    let embedded = start(&options(&home)).await.unwrap();
    keep(embedded.url(), 3).await;
    assert_eq!(kept(&url_of(&home).unwrap()).await, [3]);
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_root_can_do_an_ordinary_user_can() {
    if !rustix::process::geteuid().is_root() {
        return; // then all tests here show it
    }
    let dir = run::temp_dir();
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(65_534), Some(65_534)).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(own_program(dir.path()))
        .args(["--exact", "--nocapture", "embedded::tests::holder_entry"])
        .env(HOME, &home);
    let mut user = spawn_holder(command, &dir.path().join("user"));
    user.wait_for_line("holder is up", SOON);
    let server = postmaster(&home);
    user.kill();
    signal(server, Signal::INT);
    wait_gone(server, SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_closed_to_the_servers_account_gets_its_data_elsewhere() {
    if !rustix::process::geteuid().is_root() {
        return; // the server runs as ourselves
    }
    let dir = run::temp_dir();
    let home = dir.path().join("private/home");
    fs::create_dir_all(&home).unwrap();
    fs::set_permissions(dir.path().join("private"), fs::Permissions::from_mode(0o700)).unwrap();
    let embedded = start(&options(&home)).await.unwrap();
    keep(embedded.url(), 4).await;
    assert_eq!(kept(&url_of(&home).unwrap()).await, [4]);
    embedded.stop().await;
    let elsewhere = home.join("pg").canonicalize().unwrap();
    assert!(
        elsewhere.starts_with("/var/lib/tidegate"),
        "{}",
        elsewhere.display()
    );
    fs::remove_dir_all(elsewhere).unwrap();
    let anew = start(&options(&home)).await.unwrap();
    wait::until("a fresh cluster after its folder was removed", SOON, || {
        url_of(&home)
    });
    anew.stop().await;
    fs::remove_dir_all(home.join("pg").canonicalize().unwrap()).unwrap();
}

#[tokio::test]
async fn without_postgres_the_way_to_it_is_named() {
    let dir = run::temp_dir();
    let wrong = Options {
        bin: Some(dir.path().to_owned()),
        ..options(dir.path())
    };
    let text = start(&wrong).await.unwrap_err().to_string();
    assert!(text.contains("holds no `initdb`"), "{text}");
    assert!(EmbeddedError::NoBinaries.to_string().contains("apt-get install"));
    fs::create_dir(dir.path().join("pg/data")).unwrap();
    fs::write(dir.path().join("pg/data/PG_VERSION"), "9999\n").unwrap();
    let text = start(&options(dir.path())).await.unwrap_err().to_string();
    assert!(text.contains("postgresql-9999"), "{text}");
}
