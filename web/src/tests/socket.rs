//! The accept loop on a real socket: slow clients are hung up on, others are served, the end is orderly.

use std::time::Duration;

use tidegate_engine::clock;
use tidegate_engine::plugin::Registry;
use tidegate_engine::store::Store;
use tidegate_test_fixtures::postgres;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::bench::secret_key;
use crate::{Config, Services, serve};

async fn ask(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_hung_up_on_while_others_are_served() {
    let database = postgres::database().await;
    let store = Store::connect(&database.url, 2).await.unwrap();
    store.migrate().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(serve(
        Config::default(),
        Services {
            store,
            registry: Registry::default(),
            secret_key: secret_key(),
        },
        listener,
        stop.clone(),
    ));
    let begun = clock::monotonic();
    let mut slow = Vec::new();
    for i in 0..200 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Half of them never finish their head, half of them their body.
        let text: &[u8] = if i % 2 == 0 {
            b"GET /healthz HTTP/1.1\r\nx-a: "
        } else {
            b"POST /sign-in HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 100\r\n\r\nname="
        };
        stream.write_all(text).await.unwrap();
        slow.push(stream);
    }
    assert!(ask(address).await.starts_with("HTTP/1.1 200"));
    for mut stream in slow {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(14), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a slow client is still connected");
        let answer = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert!(begun.elapsed() < Duration::from_secs(14));
    stop.cancel();
    serving.await.unwrap().unwrap();
    assert!(
        TcpStream::connect(address).await.is_err(),
        "it accepts nothing more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_header_fields_are_refused() {
    let database = postgres::database().await;
    let store = Store::connect(&database.url, 2).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(serve(
        Config::default(),
        Services {
            store,
            registry: Registry::default(),
            secret_key: secret_key(),
        },
        listener,
        stop.clone(),
    ));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n",
        "a: b\r\n".repeat(1000)
    );
    // The server may hang up while we still write.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    assert!(
        String::from_utf8_lossy(&text).starts_with("HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&text)
    );
    stop.cancel();
    serving.await.unwrap().unwrap();
}
