//! Telling the relay that something was committed, so that it need not ask all the time.
//!
//! A NOTIFY inside the business transaction would serialise all commits (measured: 7,250 to 1,143 a second). So a committed
//! write only leaves a mark in its process, and a connection of its own sends one NOTIFY for all that happened since the last,
//! at most every 5 ms. Whoever listens also looks by itself now and then: a notification may get lost, an event may not.

use crate::pool::{ConnectError, address};
use futures_util::future::poll_fn;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time::sleep};
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Socket, tls::NoTlsStream};

const CHANNEL: &str = "aisha_events";
/// Between two notifications.
const PACE: Duration = Duration::from_millis(5);
/// Before the next attempt to connect.
const PAUSE: Duration = Duration::from_secs(1);

static WRITTEN: Notify = Notify::const_new();

/// Marks that a write of this process was committed.
pub(crate) fn written() {
    WRITTEN.notify_one();
}

async fn connect(url: &str) -> Result<(Client, Connection<Socket, NoTlsStream>), ConnectError> {
    Ok(address(url, "aisha notify")?.connect(NoTls).await?)
}

/// Announces the writes of this process for as long as it is polled. `url` must lead past a pooler.
pub async fn announce(url: &str) {
    loop {
        if let Ok((client, driver)) = connect(url).await {
            let driver = tokio::spawn(driver);
            // Whatever was written while there was no connection.
            while client.batch_execute(&format!("NOTIFY {CHANNEL}")).await.is_ok() {
                sleep(PACE).await;
                WRITTEN.notified().await;
            }
            driver.abort();
        }
        sleep(PAUSE).await;
    }
}

/// Wakes `wake` whenever some process has written, for as long as it is polled. `url` must lead past a pooler.
pub async fn listen(url: &str, wake: Arc<Notify>) {
    loop {
        if let Ok((client, mut driver)) = connect(url).await {
            let heard = async {
                while let Some(Ok(message)) = poll_fn(|cx| driver.poll_message(cx)).await {
                    if matches!(message, AsyncMessage::Notification(_)) {
                        wake.notify_one();
                    }
                }
            };
            let ask = async {
                let asked = client.batch_execute(&format!("LISTEN {CHANNEL}")).await;
                wake.notify_one();
                if asked.is_ok() {
                    std::future::pending().await
                }
            };
            tokio::select! {
                () = heard => {}
                () = ask => {}
            }
        }
        sleep(PAUSE).await;
    }
}
