//! The protocols of images against guests that say whatever a test has them say.

use super::machines::Open;
use super::{port, spare};
use crate::channel::Channel;
use crate::driver::{Monitor, Snapshot};
use bytes::Bytes;
use limes_core::{Body, BoxFuture, Error, ErrorKind, Result};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;

/// A machine that listens where `address` says, and ends when it is told to.
#[derive(Default)]
struct Scripted {
    address: Option<std::net::SocketAddr>,
    end: Notify,
}

impl Monitor for Scripted {
    fn computed(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    fn why(&mut self) -> String {
        String::new()
    }

    fn snapshot<'a>(&'a mut self, _: &'a mut Channel) -> BoxFuture<'a, Result<Arc<dyn Snapshot>>> {
        Box::pin(async { Err(Error::new(ErrorKind::Internal, "test", "no snapshots")) })
    }

    fn reset<'a>(&'a mut self, _: &'a mut Channel) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(Error::new(ErrorKind::Internal, "test", "no resets")) })
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.end.notified())
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            match self.address {
                Some(address) => TcpStream::connect(address).await,
                None => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }
}

const LIMIT: u64 = 1000;

/// What comes of a call whose guest sends `answer`, and closes.
async fn answered(answer: &[u8]) -> Result<String> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(answer).await.unwrap();
    theirs.shutdown().await.unwrap();
    spare::exchange(&mut Open::Vsock(ours), &Scripted::default(), b"question", LIMIT).await
}

fn framed(length: u64, bytes: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes(), bytes].concat()
}

#[tokio::test]
async fn a_guest_of_spare_gets_its_payload_and_is_heard() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let guest = tokio::spawn(async move {
        theirs.write_all(b"ready").await.unwrap();
        let length = theirs.read_u64().await.unwrap();
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        theirs.read_exact(&mut payload).await.unwrap();
        payload.reverse();
        theirs.write_all(&framed(length, &payload)).await.unwrap();
        theirs
    });
    let monitor = Scripted::default();
    spare::ready(&mut ours, &monitor).await.unwrap();
    // Larger than what the socket holds.
    let payload = "ab".repeat(1 << 20);
    let answer = spare::exchange(&mut Open::Vsock(ours), &monitor, payload.as_bytes(), 4 << 20).await;
    assert_eq!(answer.unwrap(), "ba".repeat(1 << 20));
    drop(guest.await.unwrap());
}

#[tokio::test]
async fn another_word_than_ready_is_garbage() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"reader").await.unwrap();
    let error = spare::ready(&mut ours, &Scripted::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::GuestFailure);
    assert!(error.to_string().contains("\"reade\""));
}

#[tokio::test]
async fn lengths_that_lie_take_no_memory() {
    let kind = |answer: Result<String>| answer.unwrap_err().kind();
    assert_eq!(kind(answered(&framed(u64::MAX, b"x")).await), ErrorKind::LimitExceeded);
    assert_eq!(kind(answered(&framed(LIMIT + 1, b"x")).await), ErrorKind::LimitExceeded);
    assert_eq!(kind(answered(&framed(LIMIT, b"short")).await), ErrorKind::Unavailable);
    assert_eq!(kind(answered(b"\0\0").await), ErrorKind::Unavailable);
    assert_eq!(kind(answered(&framed(2, b"\xff\xff")).await), ErrorKind::GuestFailure);
    assert_eq!(answered(&framed(2, b"ok, and more")).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_machine_that_has_ended_is_not_waited_for() {
    // Whoever carries the socket holds it open.
    let (mut ours, _theirs) = UnixStream::pair().unwrap();
    let monitor = Scripted::default();
    monitor.end.notify_one();
    assert_eq!(spare::ready(&mut ours, &monitor).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// What comes of a request whose guest answers its connections with these bytes, one after the other.
async fn responded(answers: &'static [&'static [u8]]) -> Result<(u16, Bytes)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let monitor = Scripted { address: listener.local_addr().ok(), ..Scripted::default() };
    tokio::spawn(async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            if !answer.is_empty() {
                let mut request = [0; 1024];
                let _ = socket.read(&mut request).await.unwrap();
                socket.write_all(answer).await.unwrap();
            }
        }
    });
    let (head, ()) =
        http::Request::post("/path?query").header("connection", "close").body(()).unwrap().into_parts();
    let request = port::outgoing(head, Bytes::from_static(b"body"));
    assert!(!request.headers().contains_key("connection"));
    let response = port::exchange(&mut Open::Port(None), &monitor, request, LIMIT).await?;
    let status = response.status().as_u16();
    match response.into_body() {
        Body::Full(bytes) => Ok((status, bytes)),
        Body::Empty => Ok((status, Bytes::new())),
        Body::Stream(_) => panic!("the body is whole"),
    }
}

#[tokio::test]
async fn a_connection_that_closes_without_a_byte_is_made_anew() {
    let answer = responded(&[b"", b"", b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"]).await;
    assert_eq!(answer.unwrap(), (202, Bytes::from_static(b"ok")));
}

#[tokio::test]
async fn what_is_no_http_is_garbage() {
    for answer in [&b"what is this?\r\n\r\n"[..], b"HTTP/9.9 200 OK\r\n\r\n", b"\0\0\0\0\r\n\r\n"] {
        let answers: &'static [&'static [u8]] = Box::leak(Box::new([answer]));
        assert_eq!(responded(answers).await.unwrap_err().kind(), ErrorKind::GuestFailure);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_too_long_is_none() {
    let cut = responded(&[b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"]).await;
    assert_eq!(cut.unwrap_err().kind(), ErrorKind::Unavailable);
    let mut long = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n".to_vec();
    long.extend([b'x'; 1001]);
    let answers: &'static [&'static [u8]] = Box::leak(Box::new([&*Box::leak(long.into_boxed_slice())]));
    assert_eq!(responded(answers).await.unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[tokio::test]
async fn a_port_of_a_machine_that_has_ended_is_not_waited_for() {
    let monitor = Scripted::default();
    monitor.end.notify_one();
    assert_eq!(port::reach(&monitor).await.unwrap_err().kind(), ErrorKind::Unavailable);
}
