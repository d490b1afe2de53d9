//! `tidegate demo`, from an empty home to a promoted model: a person signs in, reads the evidence and clicks, in a real browser, on
//! a phone, and without scripts.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fantoccini::{Client, Locator};
use rustix::process::Signal;
use serde_json::Value;
use tidegate_engine::clock;
use tidegate_test_fixtures::browser::Browser;
use tidegate_test_fixtures::process::{self, Process};
use tidegate_test_fixtures::run::free_port;
use tidegate_test_fixtures::tidegate::Tidegate;
use tidegate_test_fixtures::wait;

use crate::house::{SOON, tidegate};

/// 60 s are promised on two cores that do nothing else; beside other tests it is given three times that, and the time is printed.
const WAITING: Duration = Duration::from_secs(180);
/// What the run goes on with after a click.
const CLICKED: Duration = Duration::from_secs(30);

/// A demo that waits for a person.
struct Demo {
    tidegate: Tidegate,
    process: Process,
    /// Address of the approval's page.
    link: String,
    password: String,
}

impl Demo {
    fn start() -> Self {
        let tidegate = tidegate();
        let began = clock::monotonic();
        let port = free_port().to_string();
        let mut process = tidegate.spawn(&["demo", "--port", &port]);
        let line = process.wait_for_line("/approvals/", WAITING);
        eprintln!("empty home to waiting: {:.1} s", began.elapsed().as_secs_f64());
        let link = line.split_whitespace().last().unwrap().to_owned();
        assert!(
            link.starts_with(&format!("http://127.0.0.1:{port}/approvals/")),
            "{line}"
        );
        let line = process.wait_for_line("Sign in as demo with", SOON);
        let password = line.split_whitespace().last().unwrap().to_owned();
        Self {
            tidegate,
            process,
            link,
            password,
        }
    }

    fn page(&self, path: &str) -> String {
        let (origin, _) = self.link.split_once("/approvals/").unwrap();
        format!("{origin}{path}")
    }

    /// The answer of a verb beside it.
    fn json(&self, words: &[&str]) -> Value {
        let done = self.tidegate.run(&[words, &["-o", "json"]].concat());
        assert_eq!(done.code(), 0, "{done:?}\n{}", self.process.output());
        serde_json::from_str(&done.stdout).unwrap()
    }

    /// The approvals that are open.
    fn asked(&self) -> Vec<Value> {
        self.json(&["approvals"])["items"].as_array().unwrap().clone()
    }

    /// Ends it as a person would. It leaves no process.
    fn interrupt(&mut self) {
        self.process.signal(Signal::INT);
        let status = self.process.wait(SOON);
        assert_eq!(status.code(), Some(0), "{}", self.process.output());
        let left = of_home(self.tidegate.home());
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Processes that speak of a home in their arguments or environment.
fn of_home(home: &Path) -> Vec<String> {
    let home = home.to_str().unwrap();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let text = |pid: u32, file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let ours = pids.filter(|pid| process::is_alive(*pid) && *pid != std::process::id());
    ours.map(|pid| (pid, text(pid, "cmdline"), text(pid, "environ")))
        .filter(|(_, arguments, environment)| arguments.contains(home) || environment.contains(home))
        .map(|(pid, arguments, _)| format!("{pid} {arguments}"))
        .collect()
}

#[tokio::test]
async fn it_comes_up_to_a_person_who_promotes_in_a_browser_and_ctrl_c_leaves_nothing() {
    let mut demo = Demo::start();
    let asked = demo.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let browser = Browser::open().await;
    sign_in(&browser.client, &demo).await;
    the_page_shows_the_evidence(&browser.client, &asked[0]).await;
    browser.screenshot("demo-approval").await;
    fits_a_phone(&browser, "demo-approval-phone").await;
    promote(&browser.client, &demo, &asked[0]).await;
    browser.screenshot("demo-run").await;
    the_model_is_in_production(&demo, asked[0]["run"].as_str().unwrap());
    decline_without_scripts(&browser, &demo).await;
    demo.interrupt();
}

/// The link leads to the sign-in page, and from there to where it was meant to lead.
async fn sign_in(client: &Client, demo: &Demo) {
    client.goto(&demo.link).await.unwrap();
    let form = client
        .form(Locator::Css("form[action='/sign-in']"))
        .await
        .unwrap();
    form.set_by_name("name", "demo").await.unwrap();
    form.set_by_name("password", &demo.password).await.unwrap();
    form.submit().await.unwrap();
    assert_eq!(client.current_url().await.unwrap().as_str(), demo.link);
}

/// Every rule as a sentence with the numbers it was judged on, and what the click will do.
async fn the_page_shows_the_evidence(client: &Client, approval: &Value) {
    let shown = text(client, "main").await;
    let evidence = &approval["evidence"];
    let rules = evidence["rules"].as_array().unwrap();
    assert!(!rules.is_empty(), "{evidence:#}");
    let sentences = rules
        .iter()
        .map(|rule| rule["judgement"]["why"].as_str().unwrap());
    for sentence in sentences {
        assert!(shown.contains(sentence), "{sentence:?} in {shown}");
        assert!(sentence.contains(|c: char| c.is_ascii_digit()), "{sentence}");
    }
    for words in [
        approval["action"].as_str().unwrap(),
        approval["digest"].as_str().unwrap(),
    ] {
        assert!(shown.contains(words), "{words:?} in {shown}");
    }
    let candidates = client
        .find_all(Locator::Css(".compare td[data-label='Candidate']"))
        .await
        .unwrap();
    let mut numbers = Vec::new();
    for cell in candidates {
        numbers.push(cell.text().await.unwrap());
    }
    let measured = evidence["outputs"]["evaluate"]["metrics"]["temporal_full"]["ndcg_at_10"]["value"]
        .as_f64()
        .unwrap();
    let near = |cell: &String| {
        let number = cell
            .split_whitespace()
            .next()
            .and_then(|word| word.parse::<f64>().ok());
        number.is_some_and(|number| (number - measured).abs() < 0.001)
    };
    assert!(numbers.iter().any(near), "{measured} in {numbers:?}");
}

/// Nothing of the page lies beside the screen of a phone.
async fn fits_a_phone(browser: &Browser, name: &str) {
    browser.resize(390, 844).await;
    let width = browser
        .client
        .execute("return document.documentElement.scrollWidth", vec![])
        .await
        .unwrap();
    browser.screenshot(name).await;
    assert!(width.as_u64().unwrap() <= 390, "{width}");
    browser.resize(1280, 900).await;
}

/// Clicks Promote; the run's page, open in the browser, becomes `succeeded`.
async fn promote(client: &Client, demo: &Demo, approval: &Value) {
    let button = Locator::Css("button[value='approve']");
    let button = client.find(button).await.unwrap();
    assert!(button.text().await.unwrap().contains("Promote"));
    let comment = client
        .find(Locator::Css("textarea[name='comment']"))
        .await
        .unwrap();
    comment.send_keys("better on the same users").await.unwrap();
    button.click().await.unwrap();
    let shown = text_with(client, "Approved").await;
    assert!(shown.contains("better on the same users"), "{shown}");
    let run = approval["run"].as_str().unwrap();
    client.goto(&demo.page(&format!("/runs/{run}"))).await.unwrap();
    let began = clock::monotonic();
    loop {
        let head = text(client, "#run-head").await;
        if head.contains("succeeded") {
            return;
        }
        assert!(began.elapsed() < CLICKED, "{head}\n{}", demo.process.output());
        clock::sleep(Duration::from_millis(100)).await;
    }
}

/// What the command line says of it.
fn the_model_is_in_production(demo: &Demo, run: &str) {
    let runs = demo.json(&["runs"]);
    let states: Vec<&str> = runs["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["succeeded", "succeeded"], "both nights");
    let history = demo.json(&["models", "history", "ranking_model"]);
    let moves: Vec<&Value> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["alias"] == "production")
        .collect();
    assert_eq!(moves.len(), 2, "{history:#}");
    let newest = moves.iter().find(|step| step["run"] == run).unwrap();
    assert_eq!((&newest["before"], &newest["version"]), (&1.into(), &2.into()));
    assert!(newest["actor"].as_str().unwrap().contains("demo"), "{newest}");
    assert!(newest["evidence"].as_str().is_some(), "{newest}");
    let models = demo.json(&["models"]);
    let aliases = models["items"][0]["aliases"].as_array().unwrap();
    let production = aliases
        .iter()
        .find(|alias| alias["alias"] == "production")
        .unwrap();
    assert_eq!(production["version"], 2);
    let verified = demo.tidegate.run(&["ledger", "verify"]);
    assert_eq!(verified.code(), 0, "{verified:?}");
}

/// On a phone that runs no scripts, a gate of another flow is declined.
async fn decline_without_scripts(browser: &Browser, demo: &Demo) {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ask-a-person.toml");
    let applied = demo.tidegate.run(&["apply", example]);
    assert_eq!(applied.code(), 0, "{applied:?}");
    let run = demo.json(&["run", "ask-a-person"]);
    let run = run["id"].as_str().unwrap();
    let asked = wait::until("the second question", SOON, || demo.asked().pop());
    assert_eq!(asked["run"], run);
    browser.set_javascript(false).await;
    browser.resize(390, 844).await;
    let client = &browser.client;
    let place = format!("/approvals/{}", asked["id"].as_str().unwrap());
    client.goto(&demo.page(&place)).await.unwrap();
    let no = client.find(Locator::Css("button[value='reject']")).await.unwrap();
    no.click().await.unwrap();
    text_with(client, "Rejected: the gate stays closed").await;
    let ended = demo.tidegate.run_within(SOON, &["show", run, "--watch"]);
    assert_eq!(ended.code(), 3, "{ended:?}");
}

/// What the page says once it says `words`: a click is over before the page that it leads to is there.
async fn text_with(client: &Client, words: &str) -> String {
    let began = clock::monotonic();
    loop {
        let shown = text(client, "main").await;
        if shown.contains(words) {
            return shown;
        }
        assert!(began.elapsed() < SOON, "no {words:?} in {shown}");
        clock::sleep(Duration::from_millis(100)).await;
    }
}

async fn text(client: &Client, css: &str) -> String {
    // The page may draw itself anew between the two questions.
    for _ in 0..20 {
        if let Ok(found) = client.find(Locator::Css(css)).await
            && let Ok(text) = found.text().await
        {
            return text;
        }
        clock::sleep(Duration::from_millis(50)).await;
    }
    panic!("{css} is not on the page {:?}", client.current_url().await)
}
