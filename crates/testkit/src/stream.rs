//! A client of the event stream: Server-Sent Events, one after the other.

use crate::Client;
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;
use std::{pin::Pin, time::Duration};
use tokio::time::timeout;

/// An open stream.
pub struct EventStream {
    body: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>,
    buffer: String,
    /// What to go on from: the last `id`, be it of an event or alone.
    pub place: Option<String>,
}

/// One event of a stream.
#[derive(Debug, Clone)]
pub struct Streamed {
    /// What to go on from.
    pub id: String,
    /// The event's name.
    pub event: String,
    /// The event.
    pub data: Value,
}

impl EventStream {
    /// Opens `path` as this client, after `last` if there is one; the status where that is not 200.
    pub async fn open(client: &Client, path: &str, last: Option<&str>) -> Result<Self, u16> {
        Self::try_open(client, path, last).await.unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// The same where the other side may be away.
    ///
    /// # Errors
    /// Why there was no answer.
    pub async fn try_open(client: &Client, path: &str, last: Option<&str>) -> Result<Result<Self, u16>, String> {
        let (base, credential) = client.raw();
        let http = awc::Client::builder().disable_timeout().finish();
        let mut request = http.get(format!("{base}{path}"));
        if let Some(credential) = credential {
            request = request.insert_header(credential);
        }
        if let Some(last) = last {
            request = request.insert_header(("last-event-id", last));
        }
        let answer = request.send().await.map_err(|e| e.to_string())?;
        if answer.status().as_u16() != 200 {
            return Ok(Err(answer.status().as_u16()));
        }
        assert_eq!(answer.headers().get("content-type").unwrap(), "text/event-stream");
        Ok(Ok(Self { body: Box::pin(answer), buffer: String::new(), place: None }))
    }

    /// The next event within `patience`; `None` when the stream ends or nothing comes.
    pub async fn next_within(&mut self, patience: Duration) -> Option<Streamed> {
        timeout(patience, self.next()).await.ok().flatten()
    }

    /// What still comes until the stream ends; `None` when it does not end within `patience`.
    pub async fn rest_within(&mut self, patience: Duration) -> Option<Vec<Streamed>> {
        let mut rest = Vec::new();
        let end = async {
            while let Some(event) = self.next().await {
                rest.push(event);
            }
        };
        timeout(patience, end).await.ok().map(|()| rest)
    }

    /// Waits until the place to go on from is another one, without an event.
    pub async fn place_changes_within(&mut self, patience: Duration) -> bool {
        let before = self.place.clone();
        let changed = async {
            while self.place == before {
                assert!(self.block().await?.is_none(), "an event");
            }
            Some(())
        };
        timeout(patience, changed).await.is_ok_and(|changed| changed.is_some())
    }

    async fn next(&mut self) -> Option<Streamed> {
        loop {
            if let Some(event) = self.block().await? {
                return Some(event);
            }
        }
    }

    /// The next block, and the event in it if there is one; `None` when the stream ends.
    async fn block(&mut self) -> Option<Option<Streamed>> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.buffer = rest;
                let field = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).map(str::to_owned);
                let id = field("id: ");
                self.place = id.clone().or(self.place.take());
                return Some(field("event: ").map(|event| {
                    let data = serde_json::from_str(&field("data: ").unwrap()).unwrap();
                    Streamed { id: id.unwrap_or_default(), event, data }
                }));
            }
            let chunk = self.body.next().await?.ok()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}
