//! QEMU's machine protocol.

use super::{PATIENCE, unavailable};
use limes_core::Result;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// A connection: a JSON object a line, commands answered in order, events between.
pub(in crate::driver) struct Control {
    lines: BufReader<UnixStream>,
    line: String,
}

impl Control {
    pub fn new(socket: UnixStream) -> Self {
        Self { lines: BufReader::new(socket), line: String::new() }
    }

    pub async fn greet(&mut self) -> Result<()> {
        self.next().await?;
        // Migration says by events when it is over: there is nothing to look at again and again.
        let capabilities = json!({ "capabilities": [{ "capability": "events", "state": true }] });
        self.run("qmp_capabilities", json!({})).await?;
        self.run("migrate-set-capabilities", capabilities).await
    }

    async fn next(&mut self) -> Result<Value> {
        self.line.clear();
        let read = tokio::time::timeout(PATIENCE, self.lines.read_line(&mut self.line)).await;
        match read {
            Ok(Ok(count)) if count > 0 => serde_json::from_str(&self.line)
                .map_err(|error| unavailable(format!("it said `{}`", self.line.trim())).from_source(error)),
            Ok(Err(error)) => Err(unavailable("its control socket failed".into()).from_source(error)),
            Ok(Ok(_)) => Err(unavailable("it closed its control socket".into())),
            Err(_) => Err(unavailable("it does not answer on its control socket".into())),
        }
    }

    /// Has it do something.
    ///
    /// # Errors
    /// It cannot, or is gone.
    pub async fn run(&mut self, command: &str, arguments: Value) -> Result<()> {
        self.ask(command, arguments).await.map(drop)
    }

    /// What it answers to a command.
    ///
    /// # Errors
    /// It cannot, or is gone.
    pub async fn ask(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let order = json!({ "execute": command, "arguments": arguments }).to_string() + "\n";
        let sent = self.lines.get_mut().write_all(order.as_bytes()).await;
        sent.map_err(|error| unavailable(format!("cannot send it `{command}`")).from_source(error))?;
        loop {
            let mut answer = self.next().await?;
            if let Some(said) = answer.get_mut("return") {
                return Ok(said.take());
            }
            if let Some(error) = answer.get("error") {
                let said = error["desc"].as_str().unwrap_or("no reason given").to_owned();
                return Err(unavailable(format!("{command}: {said}")));
            }
        }
    }

    /// Waits until the migration under way is over.
    pub async fn migrated(&mut self) -> Result<()> {
        loop {
            let event = self.next().await?;
            if event["event"] != "MIGRATION" {
                continue;
            }
            match event["data"]["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => return Err(unavailable("the snapshot failed".into())),
                _ => {}
            }
        }
    }
}
