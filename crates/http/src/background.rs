//! Work beside the requests: a thread with a runtime of its own, because connections to the database belong to one thread.

use std::{
    future::Future,
    io,
    thread::{self, JoinHandle},
};
use tokio::{runtime::Builder, sync::watch};

/// A process that answers requests and has silently stopped its other work looks healthy. Everything here survives a kill, and
/// whoever runs the process starts it again.
struct EndWithUs(&'static str);

impl Drop for EndWithUs {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!(work = self.0, "work in the background has panicked: the process ends");
            std::process::abort();
        }
    }
}

/// Work that goes on until it is told to stop.
#[derive(Debug)]
pub struct Background {
    name: &'static str,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Dropped, the work is told to stop and not waited for.
impl Drop for Background {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Background {
    /// Starts a thread called `name` (at most 15 bytes show) and runs there what `prepare` returns. `prepare` is called
    /// inside the runtime; its work should end soon after the receiver says `true`, having finished or given back what is in
    /// hand.
    ///
    /// # Errors
    /// When `prepare` fails or there is no thread.
    pub fn start<W, F>(
        name: &'static str,
        prepare: impl FnOnce(watch::Receiver<bool>) -> anyhow::Result<W>,
    ) -> anyhow::Result<Self>
    where
        W: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        let work = {
            let _inside = runtime.enter();
            prepare(stopped)?
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _end = EndWithUs(name);
            runtime.block_on(work());
        })?;
        Ok(Self { name, stop, thread: Some(thread) })
    }

    /// Tells the work to stop and returns when it has.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn stop(mut self) -> io::Result<()> {
        self.stop.send_replace(true);
        let (name, thread) = (self.name, self.thread.take());
        let joined = tokio::task::spawn_blocking(move || thread.map_or(Ok(()), JoinHandle::join));
        joined.await.map_err(io::Error::other)?.map_err(|_| io::Error::other(format!("{name} has panicked")))
    }
}

#[cfg(test)]
mod tests {
    use super::Background;
    use std::{env, process::Command, thread, time::Duration};

    #[test]
    fn a_panic_ends_the_process() {
        let inner = ["--exact", "background::tests::panics", "--ignored", "--nocapture"];
        let done = Command::new(env::current_exe().unwrap()).args(inner).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains("on purpose"), "{} {said}", done.status);
    }

    #[test]
    #[ignore = "the inside of a_panic_ends_the_process, which needs a process of its own"]
    fn panics() {
        let _work = Background::start("panics", |_| Ok(|| async { panic!("on purpose") })).unwrap();
        thread::sleep(Duration::from_secs(30));
    }
}
