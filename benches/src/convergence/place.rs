//! Where a datacenter's programs run: on this machine, or in a network namespace of it.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

use crate::Outcome;

/// How long threads may take to end once what they serve has gone.
const END: Duration = Duration::from_secs(10);

/// Threads that run now.
static THREADS: AtomicUsize = AtomicUsize::new(0);

struct Counted;

impl Counted {
    fn new() -> Self {
        THREADS.fetch_add(1, Ordering::AcqRel);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        THREADS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Waits until every thread has ended: one that was about to hand over a child ends that when nobody takes it.
pub(crate) async fn ended() -> Outcome<()> {
    let begun = Instant::now();
    while THREADS.load(Ordering::Acquire) > 0 {
        if begun.elapsed() > END {
            return Err(
                "threads of the harness do not end; look whether node processes are left".into(),
            );
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// A place to run something in.
#[derive(Clone)]
pub(crate) struct Place {
    namespace: Option<PathBuf>,
}

impl Place {
    /// This machine as it is.
    pub(crate) fn here() -> Self {
        Self { namespace: None }
    }

    /// The network namespace of this name.
    pub(crate) fn namespace(name: &str) -> Self {
        let namespace = PathBuf::from("/var/run/netns").join(name);
        Self {
            namespace: Some(namespace),
        }
    }

    /// Runs something on a thread that is there: its sockets and children are there, too.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> Outcome<T> + Send + 'static,
    ) -> Outcome<Task<T>> {
        let (sender, receiver) = oneshot::channel();
        let (place, counted) = (self.clone(), Counted::new());
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let done = place.enter().and_then(|()| work());
                // Nobody waits any more once the run has been given up.
                let _ = sender.send(done);
                drop(counted);
            })?;
        Ok(Task {
            name: name.to_owned(),
            receiver,
        })
    }

    /// The same for what is async, on a runtime of that thread alone.
    pub(crate) fn run_async<T, F>(
        &self,
        name: &str,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Outcome<Task<T>>
    where
        T: Send + 'static,
        F: Future<Output = Outcome<T>>,
    {
        self.run(name, move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(work())
        })
    }

    fn enter(&self) -> Outcome<()> {
        let Some(path) = &self.namespace else {
            return Ok(());
        };
        let say = |error: &dyn std::fmt::Display| {
            format!(
                "cannot enter the network namespace {}: {error}; run this as root",
                path.display()
            )
        };
        let file = File::open(path).map_err(|error| say(&error))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| say(&error))?;
        Ok(())
    }
}

/// Something that runs on a thread of its own.
pub(crate) struct Task<T> {
    name: String,
    receiver: oneshot::Receiver<Outcome<T>>,
}

impl<T> Task<T> {
    /// Waits for its end.
    pub(crate) async fn done(self) -> Outcome<T> {
        match self.receiver.await {
            Ok(done) => done.map_err(|error| format!("{}: {error}", self.name).into()),
            Err(_) => Err(format!("the thread {:?} panicked", self.name).into()),
        }
    }
}
