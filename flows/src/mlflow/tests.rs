#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use tidegate_engine::plugin::TaskError;

use super::artifacts::Store;
use super::{Mlflow, MlflowError};
use crate::testing::Bench;

/// A server that gives one answer to one request, and shows the request.
fn answering(answer: &'static str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; 10_000];
        let length = stream.read(&mut request).unwrap();
        sender
            .send(String::from_utf8_lossy(&request[..length]).into_owned())
            .unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    (address, receiver)
}

fn client(env: &[(&str, &str)]) -> Result<Option<Mlflow>, MlflowError> {
    let mut bench = Bench::new();
    *bench.env() = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Mlflow::of(&bench.ctx)
}

async fn refused(answer: &'static str) -> MlflowError {
    let (address, _request) = answering(answer);
    let uri = format!("http://{address}");
    client(&[("MLFLOW_TRACKING_URI", &uri)])
        .unwrap()
        .unwrap()
        .experiment("e")
        .await
        .unwrap_err()
}

#[tokio::test]
async fn credentials_go_into_the_header_below_a_prefix_and_into_no_message() {
    let (address, request) = answering("HTTP/1.1 500 oops\r\ncontent-length: 0\r\n\r\n");
    let uri = format!("http://user:hidden@{address}/team/");
    let token = [
        ("MLFLOW_TRACKING_URI", uri.as_str()),
        ("MLFLOW_TRACKING_TOKEN", "canary"),
    ];
    let error = client(&token)
        .unwrap()
        .unwrap()
        .experiment("a b")
        .await
        .unwrap_err();
    let request = request.recv().unwrap();
    assert!(
        request.starts_with("GET /team/api/2.0/mlflow/experiments/get-by-name?experiment_name=a+b"),
        "{request}"
    );
    assert!(request.contains("authorization: Bearer canary\r\n"), "{request}");
    let said = TaskError::from(error).to_string();
    assert!(!said.contains("hidden") && !said.contains("canary"), "{said}");

    let (address, request) = answering("HTTP/1.1 500 oops\r\ncontent-length: 0\r\n\r\n");
    let uri = format!("http://{address}");
    let env = [
        ("MLFLOW_TRACKING_URI", uri.as_str()),
        ("MLFLOW_TRACKING_USERNAME", "me"),
        ("MLFLOW_TRACKING_PASSWORD", "pw"),
    ];
    client(&env).unwrap().unwrap().experiment("e").await.unwrap_err();
    assert!(
        request
            .recv()
            .unwrap()
            .contains("authorization: Basic bWU6cHc=\r\n")
    );
}

#[test]
fn only_http_addresses_are_taken_and_none_is_no_error() {
    assert!(client(&[]).unwrap().is_none());
    assert!(client(&[("MLFLOW_TRACKING_URI", "")]).unwrap().is_none());
    for wrong in [
        "sqlite:///x.db",
        "databricks",
        "/srv/mlruns",
        "ftp://u:secret@host",
    ] {
        let error = client(&[("MLFLOW_TRACKING_URI", wrong)]).err().unwrap();
        assert!(
            matches!(error, MlflowError::Address(_)) && !error.to_string().contains("secret"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn trouble_that_passes_is_told_from_trouble_that_stays() {
    let overloaded = refused("HTTP/1.1 503 x\r\ncontent-length: 5\r\n\r\n<html").await;
    assert!(overloaded.is_passing() && !overloaded.is_unknown_endpoint());
    let code = "HTTP/1.1 400 x\r\ncontent-length: 52\r\n\r\n{\"error_code\": \"INTERNAL_ERROR\", \"message\": \"later\"}";
    assert!(refused(code).await.is_passing());
    let gone = refused("HTTP/1.1 404 x\r\ncontent-length: 5\r\n\r\n<html").await;
    assert!(gone.is_unknown_endpoint() && !gone.is_passing() && !gone.is_absent());
    let login = refused("HTTP/1.1 401 x\r\ncontent-length: 12\r\n\r\nplease login").await;
    assert!(
        !login.is_passing() && login.to_string().contains("401 -: please login"),
        "{login}"
    );
    let cut = refused("HTTP/1.1 200 x\r\ncontent-length: 500\r\n\r\n{\"exp").await;
    assert!(cut.is_passing() && matches!(cut, MlflowError::Unanswered { .. }));
    let other = refused("HTTP/1.1 200 x\r\ncontent-length: 6\r\n\r\n<html>").await;
    assert!(!other.is_passing() && matches!(other, MlflowError::Shape { .. }));
}

#[test]
fn artifact_roots_are_those_that_the_server_stores_for_us() {
    let same = [
        "mlflow-artifacts:/1/models/m-1/artifacts",
        "mlflow-artifacts:///1/models/m-1/artifacts/",
        "mlflow-artifacts://host:5000/1/models/m-1/artifacts",
    ];
    let stores: Vec<_> = same.iter().map(|uri| Store::of(uri).unwrap()).collect();
    assert!(stores.iter().all(|store| *store == stores[0]));
    for other in ["s3://bucket/1", "file:///mlruns/1", "/mlruns/1"] {
        let error = Store::of(other).unwrap_err();
        assert!(
            !error.is_passing() && error.to_string().contains("--artifacts-destination"),
            "{error}"
        );
    }
}
