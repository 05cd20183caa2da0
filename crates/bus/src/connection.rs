//! One connection that is kept up in the background.

use futures_util::StreamExt;
use lapin::{Channel, Connection, ConnectionProperties, Event, uri::AMQPUri};
use std::{fmt, str::FromStr, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle, time};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the state is looked at besides waiting for the library's events.
const STATUS_CHECK: Duration = Duration::from_secs(1);

/// What can be wrong when a [`Bus`] is made.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The URL is not an AMQP URL. The text does not contain it, since it carries a password.
    #[error("the broker URL is not a valid AMQP URL")]
    Url,
}

/// A handle to the broker connection of this process. Clones share it; when the last one goes, the connection closes.
#[derive(Clone)]
pub struct Bus(Arc<Keeper>);

type Current = Option<Arc<Connection>>;

struct Keeper {
    current: watch::Receiver<Current>,
    task: JoinHandle<()>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("connected", &self.is_connected()).finish()
    }
}

impl Bus {
    /// Starts connecting in the background and returns at once; must be called inside a Tokio runtime. The connection is
    /// tried again for ever, after 250 ms at first and 10 s at most.
    pub fn connect_lazy(amqp_url: &str) -> Result<Self, BusError> {
        let uri = AMQPUri::from_str(amqp_url).map_err(|_| BusError::Url)?;
        let (sender, current) = watch::channel(None);
        let task = tokio::spawn(keep_up(uri, sender));
        Ok(Self(Arc::new(Keeper { current, task })))
    }

    /// Whether the connection is up right now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.current.borrow().is_some()
    }

    /// A channel of the connection, or why there is none right now.
    pub(crate) async fn channel(&self) -> Result<Channel, String> {
        let connection = self.0.current.borrow().clone().ok_or("not connected")?;
        match time::timeout(CONNECT_TIMEOUT, connection.create_channel()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(e)) => Err(text(e)),
            Err(_) => Err("no channel in time".to_owned()),
        }
    }

    /// Does `work` for as long as the connection lasts that is up now; when it is lost, `work` is dropped where it stands.
    ///
    /// The library alone does not see to that: an acknowledgement by `Delivery::ack` that is asked for while the
    /// connection breaks may wait for ever, neither done nor refused (lapin 4.12.3).
    pub(crate) async fn while_connected<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let mut current = self.0.current.clone();
        if current.borrow_and_update().is_none() {
            return Err("not connected".to_owned());
        }
        tokio::select! {
            done = work => done,
            _ = current.changed() => Err("the connection was lost".to_owned()),
        }
    }

    /// Waits until the connection is up; returns at once while it is.
    pub(crate) async fn connected(&self) {
        // Ends early only when the keeper is gone, and with it whoever waits.
        let _ = self.0.current.clone().wait_for(Option::is_some).await;
    }
}

/// What the library says went wrong.
#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
pub(crate) fn text(e: lapin::Error) -> String {
    e.to_string()
}

async fn keep_up(uri: AMQPUri, current: watch::Sender<Current>) {
    let mut pause = FIRST_PAUSE;
    let mut reported = false;
    loop {
        let reason = match connect(&uri).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                current.send_replace(Some(Arc::clone(&connection)));
                if reported {
                    tracing::info!("the message broker is back");
                } else {
                    tracing::debug!("connected to the message broker");
                }
                (reported, pause) = (false, FIRST_PAUSE);
                let reason = lost(&connection).await;
                current.send_replace(None);
                reason
            }
            Err(reason) => reason,
        };
        if !reported {
            tracing::warn!(reason, "the message broker is away, trying again in the background");
            reported = true;
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn connect(uri: &AMQPUri) -> Result<Connection, String> {
    let properties = ConnectionProperties::default().with_connection_name("aisha".into());
    match time::timeout(CONNECT_TIMEOUT, Connection::connect_uri(uri.clone(), properties)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(e)) => Err(text(e)),
        Err(_) => Err(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

/// Waits until the connection is gone and says why.
async fn lost(connection: &Connection) -> String {
    let mut events = connection.events_listener();
    loop {
        match time::timeout(STATUS_CHECK, events.next()).await {
            Ok(Some(Event::Error(e))) => return e.to_string(),
            Ok(None) => return "the connection was closed".to_owned(),
            Ok(Some(_)) | Err(_) => {}
        }
        if !connection.status().connected() {
            return "the connection was closed".to_owned();
        }
    }
}
