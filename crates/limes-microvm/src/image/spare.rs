//! SPARE's protocol: the guest says `ready`; a length as 64 bits in network order and as many bytes go to it, and the same comes back.

use super::machines::Open;
use super::{garbage, gone};
use crate::driver::Monitor;
use limes_core::{Error, Result};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const READY: &[u8] = b"ready";

/// How long what a guest has said may take to come through after its machine has ended.
const REST: Duration = Duration::from_millis(100);

/// Waits for what a guest says, but not for one whose machine has ended: what carries its socket may outlive it.
async fn while_it_runs<T>(monitor: &dyn Monitor, what: impl Future<Output = Result<T>>) -> Result<T> {
    let mut what = std::pin::pin!(what);
    tokio::select! {
        biased;
        said = &mut what => return said,
        () = monitor.ended() => {}
    }
    tokio::time::timeout(REST, what).await.unwrap_or_else(|_| Err(gone("it said no more")))
}

/// Waits until the guest has said that it is ready.
///
/// # Errors
/// It says something else, or is gone.
pub(super) async fn ready(socket: &mut UnixStream, monitor: &dyn Monitor) -> Result<()> {
    let mut word = [0; READY.len()];
    let read = async { socket.read_exact(&mut word).await.map_err(|error| gone(&error.to_string())) };
    while_it_runs(monitor, read).await?;
    if word != READY {
        let said = String::from_utf8_lossy(&word).into_owned();
        return Err(garbage(&format!("said {said:?} where `ready` was due")));
    }
    Ok(())
}

/// Sends `payload`, and gives what the guest answers.
///
/// # Errors
/// The answer is longer than `limit` bytes or no text, or the guest is gone.
pub(super) async fn exchange(
    open: &mut Open,
    monitor: &dyn Monitor,
    payload: &[u8],
    limit: u64,
) -> Result<String> {
    let Open::Vsock(socket) = open else { return Err(gone("it has no socket")) };
    let answer = while_it_runs(monitor, answer(socket, payload, limit)).await?;
    String::from_utf8(answer).map_err(|_| garbage("gave an answer that is no UTF-8 text"))
}

async fn answer(socket: &mut UnixStream, payload: &[u8], limit: u64) -> Result<Vec<u8>> {
    let (mut reader, mut writer) = socket.split();
    let send = async {
        writer.write_all(&(payload.len() as u64).to_be_bytes()).await?;
        writer.write_all(payload).await
    };
    let mut send = std::pin::pin!(send);
    let mut hear = std::pin::pin!(hear(&mut reader, limit));
    // A guest may answer before it has read everything.
    tokio::select! {
        biased;
        answer = &mut hear => answer,
        sent = &mut send => {
            sent.map_err(|error| gone(&error.to_string()))?;
            hear.await
        }
    }
}

async fn hear(reader: &mut (impl AsyncRead + Unpin), limit: u64) -> Result<Vec<u8>> {
    let length = reader.read_u64().await.map_err(|error| gone(&error.to_string()))?;
    if length > limit {
        return Err(Error::limit("run guest", "response", limit, format!("{length} bytes")));
    }
    // Memory is taken as bytes come: a length alone costs nothing.
    let mut answer = Vec::new();
    let read =
        reader.take(length).read_to_end(&mut answer).await.map_err(|error| gone(&error.to_string()))?;
    if read as u64 != length {
        return Err(gone(&format!("it announced {length} bytes and sent {read}")));
    }
    Ok(answer)
}
