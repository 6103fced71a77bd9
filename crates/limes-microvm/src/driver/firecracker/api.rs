//! Firecracker's HTTP API, on one connection.

use super::{PATIENCE, unavailable};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use limes_core::Result;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// A connection to the API of one process. Requests are answered one after the other.
pub(super) struct Api {
    sender: SendRequest<Full<Bytes>>,
    /// It moves no bytes unless it is polled.
    connection: Connection<TokioIo<UnixStream>, Full<Bytes>>,
}

impl Api {
    /// Connects to an API whose socket is there.
    ///
    /// # Errors
    /// It does not listen.
    pub async fn connect(path: &Path) -> Result<Self> {
        let socket = connect(path).await.map_err(|error| failed("connecting to its API", &error))?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| failed("connecting to its API", &error))?;
        Ok(Self { sender, connection })
    }

    /// Sends one request and waits until it has been carried out.
    ///
    /// # Errors
    /// It was refused, or the process is gone.
    pub async fn request(&mut self, method: &str, path: &str, body: &Value) -> Result<()> {
        let what = format!("{method} {path}");
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| failed(&what, &error))?;
        let Self { sender, connection } = self;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        let answered = async {
            tokio::pin!(exchange);
            tokio::select! {
                answered = &mut exchange => answered,
                ended = connection => match ended {
                    Ok(()) => exchange.await,
                    Err(error) => Err(error),
                },
            }
        };
        let (status, body) = tokio::time::timeout(PATIENCE, answered)
            .await
            .map_err(|_| failed(&what, &"no answer"))?
            .map_err(|error| failed(&what, &error))?;
        if status.is_success() {
            return Ok(());
        }
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let said = said["fault_message"].as_str().unwrap_or("no reason given");
        Err(failed(&what, &format!("{status}: {said}")))
    }
}

fn failed(what: &str, why: &dyn std::fmt::Display) -> limes_core::Error {
    unavailable(format!("{what} failed: {why}"))
}

/// Between the making of the socket and the process listening on it a connection is refused, and nothing tells of that moment.
async fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let mut left = 100;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused && left > 0 => left -= 1,
            connected => return connected,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
