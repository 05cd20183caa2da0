//! The role `webhooks`: events from the broker become deliveries in the database, and deliveries become requests.
//!
//! Several senders work side by side. What is due is claimed from the database under a lease, sent, and what became of it
//! written down; a sender that dies loses nothing, another one sends what it had when the lease has run out.
//!
//! A subscription's limits hold exactly, because only one sender at a time has any of its deliveries (see
//! `aisha_webhooks::dispatch`) and keeps them in a [`lane`]. A receiver that does not answer holds up its own lane only: it
//! has few requests under way, fewer the longer it fails, and never more than a part of all.
//!
//! Belongs here: the loops, and how many requests are under way. Does not belong here: the rows (`aisha_webhooks`), the
//! requests themselves (`aisha_clients::outbound`), the broker (`aisha_bus`).

mod claim;
mod lane;
mod record;
mod request;
mod size;

use aisha_auth::sealing::Sealer;
use aisha_bus::{Bus, Message, consume, topology};
use aisha_clients::outbound::Outbound;
use aisha_db::{Db, DbConfig};
use aisha_http::Background;
use aisha_kernel::{Error, ErrorCode, FieldError};
use aisha_webhooks::intake::{self, Incoming, Key};
use lane::State;
use std::{cell::RefCell, collections::HashSet, sync::Arc};
use tokio::sync::{Notify, mpsc, watch};
use uuid::Uuid;

/// What requests name themselves.
pub const USER_AGENT: &str = concat!("Aisha-CRM-Webhooks/", env!("CARGO_PKG_VERSION"));
/// Messages that the broker sends ahead.
const PREFETCH: u16 = 400;

/// What a sender needs.
#[derive(Clone)]
pub struct SenderConfig {
    /// The database.
    pub db: DbConfig,
    /// The broker; without one only what is handed over or in the database already is sent.
    pub amqp_url: Option<String>,
    /// What opens the secrets.
    pub sealer: Arc<Sealer>,
    /// The way out.
    pub outbound: Outbound,
    /// `WEBHOOK_RETRIES`: whether what failed is tried again, where the subscription does not say no.
    pub retries: bool,
    /// Only the deliveries of these tenants; all, if it is `None`. For tests, which share a database.
    pub only: Option<HashSet<Uuid>>,
}

/// Starts a sender on a thread of its own. The handle takes events on and has them sent at once.
///
/// # Errors
/// When an address cannot be used.
pub fn start(config: SenderConfig) -> anyhow::Result<(Background, Handle)> {
    let mut handle = None;
    let background = Background::start("webhooks", |stop| {
        let sender = Sender::new(config)?;
        handle = Some(sender.handle());
        Ok(move || sender.run(stop))
    })?;
    Ok((background, handle.ok_or_else(|| anyhow::anyhow!("the sender was not made"))?))
}

/// Hands events to a sender, past the broker.
#[derive(Clone)]
pub struct Handle {
    wake: mpsc::UnboundedSender<Vec<Key>>,
}

impl Handle {
    /// Has the sender look at these subscriptions now.
    pub fn wake(&self, keys: Vec<Key>) {
        // A sender that has ended leaves them to the others.
        let _ = self.wake.send(keys);
    }
}

/// A sender that has not begun.
pub struct Sender {
    config: SenderConfig,
    db: Db,
    me: Uuid,
    wake: mpsc::UnboundedSender<Vec<Key>>,
    woken: mpsc::UnboundedReceiver<Vec<Key>>,
    bus: Option<Bus>,
}

/// What the loops share.
struct Work {
    config: SenderConfig,
    db: Db,
    me: Uuid,
    state: RefCell<State>,
    /// Something is no longer in hand.
    freed: Notify,
    stop: watch::Receiver<bool>,
}

impl Sender {
    /// Must be called inside the runtime that [`Sender::run`] will run on.
    ///
    /// # Errors
    /// When an address cannot be used.
    pub fn new(config: SenderConfig) -> anyhow::Result<Self> {
        let db =
            Db::new(&DbConfig { pool_size: 4, application_name: "crm-core webhooks".into(), ..config.db.clone() })?;
        let bus = config.amqp_url.as_deref().map(Bus::connect_lazy).transpose()?;
        let (wake, woken) = mpsc::unbounded_channel();
        Ok(Self { config, db, me: aisha_kernel::new_id(), wake, woken, bus })
    }

    /// Hands events to it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { wake: self.wake.clone() }
    }

    /// Sends until told to stop; then finishes what is under way and gives back the rest. Dropped, it is as if the process
    /// had been killed.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let Self { config, db, me, wake, woken, bus } = self;
        let work =
            Work { config, db: db.clone(), me, state: RefCell::default(), freed: Notify::new(), stop: stop.clone() };
        let (reports, reported) = mpsc::unbounded_channel();
        let intake = async {
            if let Some(bus) = bus {
                let take = async |batch: &[Message]| take_on(&db, &wake, batch).await;
                consume(&bus, &topology::WEBHOOKS, PREFETCH, stop.clone(), take).await;
            }
        };
        tokio::join!(intake, work.claim_all(woken, reports, stop.clone()), work.record_all(reported));
    }
}

async fn take_on(db: &Db, wake: &mpsc::UnboundedSender<Vec<Key>>, batch: &[Message]) -> Result<(), Error> {
    let events: Result<Vec<Incoming>, Error> = batch.iter().map(incoming).collect();
    let keys = intake::take_on(db, &events?).await?;
    metrics::counter!("webhook_events_total").increment(batch.len() as u64);
    if !keys.is_empty() {
        let _ = wake.send(keys);
    }
    Ok(())
}

fn incoming(message: &Message) -> Result<Incoming, Error> {
    let envelope = &message.envelope;
    let body = std::str::from_utf8(&message.body).map_err(|_| Error {
        details: vec![FieldError::new("body", "must be UTF-8")],
        ..Error::new(ErrorCode::ValidationFailed, "this is no event")
    })?;
    Ok(Incoming {
        tenant_id: envelope.tenant_id,
        event_id: envelope.id,
        event: envelope.event.clone(),
        seq: envelope.seq,
        record_id: message.record_id,
        happened_at: envelope.timestamp.clone(),
        body: body.to_owned(),
    })
}
