//! Changes of tenants, and resets, as the message broker tells them.
//!
//! While the broker is away, what is remembered may be wrong until its time is over; readiness says so.

use crate::resolver::Resolver;
use aisha_bus::{Bus, Envelope, Heard, Outgoing, Publisher};
use aisha_kernel::{Error, clock, new_id};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Mutex;
use uuid::Uuid;

/// The reset of a replica, for all others. It concerns no tenant, so no subscription gets it.
const RESET: &str = "tenantresolve.reset";

/// What the record of a tenant says, or what it said before a change.
#[derive(Debug, Default, Deserialize)]
struct Tenant {
    id: Option<Uuid>,
    slug: Option<String>,
}

fn tenant(json: &RawValue) -> Tenant {
    serde_json::from_str(json.get()).unwrap_or_default()
}

/// Who has reset.
#[derive(Debug, Serialize, Deserialize)]
struct Reset {
    instance: Uuid,
}

/// Forgets for as long as the service runs. `instance` is this process.
pub async fn forget_what_changes(bus: Bus, resolver: Arc<Resolver>, instance: Uuid) {
    let mut listener = bus.listen(vec!["tenant.*".to_owned(), RESET.to_owned()]);
    while let Some(heard) = listener.next().await {
        match heard {
            Heard::Connected => resolver.forget_all(),
            Heard::Message(message) => hear(&resolver, instance, &message.envelope).await,
        }
    }
}

async fn hear(resolver: &Resolver, instance: Uuid, said: &Envelope) {
    if said.event == RESET {
        let by = serde_json::from_str::<Reset>(said.data.get()).map(|r| r.instance);
        // The own one is done already, and what was counted since then counts.
        if by.ok() != Some(instance) {
            tracing::info!("the cache was reset on another replica");
            resolver.reset();
        }
        return;
    }
    let now = tenant(&said.data);
    let before = said.previous.as_deref().map(tenant).unwrap_or_default();
    match now.id.or(said.tenant_id) {
        Some(id) => {
            let slugs: Vec<&str> = [&now.slug, &before.slug].into_iter().filter_map(|slug| slug.as_deref()).collect();
            resolver.forget(id, &slugs).await;
        }
        // Not to be understood, but something is different.
        None => resolver.forget_all(),
    }
}

/// Tells the other replicas about a reset.
#[derive(Debug)]
pub struct Herald {
    publisher: Mutex<Publisher>,
    instance: Uuid,
}

impl Herald {
    /// For this process.
    #[must_use]
    pub fn new(bus: &Bus, instance: Uuid) -> Self {
        Self { publisher: Mutex::new(Publisher::new(bus, &[])), instance }
    }

    /// Returns when the broker has taken the message.
    ///
    /// # Errors
    /// 503 when the broker is away.
    pub async fn announce_reset(&self) -> Result<(), Error> {
        let envelope = Envelope {
            id: new_id(),
            seq: 0,
            event: RESET.to_owned(),
            timestamp: clock::now().format(&Rfc3339).map_err(Error::internal)?,
            tenant_id: None,
            data: to_raw_value(&Reset { instance: self.instance }).map_err(Error::internal)?,
            previous: None,
        };
        let message = Outgoing::new(&envelope, "tenantresolve", None).map_err(Error::internal)?;
        self.publisher.lock().await.publish(&[message]).await
    }
}
